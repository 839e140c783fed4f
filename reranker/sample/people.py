"""Who is in the sample: persons, publishers, and what each person is to each author.

Persons come first, publishers after them, and both are authors; the first persons are the viewers.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FloatArray, frozen
from reranker.signals import RELATIONS

DOMAIN_RATINGS = Path(__file__).with_name("domains.csv")
N_OTHER_PERSONS = 250
PERSON = "person"

COUNTRY_SHARES = {
    "US": 0.26,
    "IN": 0.20,
    "BR": 0.13,
    "MM": 0.11,
    "DE": 0.10,
    "PL": 0.08,
    "MX": 0.06,
    "JP": 0.03,
    "TH": 0.03,
}
LANGUAGE_COUNTRY = {"es": "MX", "de": "DE", "pt": "BR", "my": "MM", "th": "TH", "ja": "JP"}

# How many people a post of such an author reaches, in the median.
_MEDIAN_AUDIENCE = {
    PERSON: 70.0,
    "reputable": 5000.0,
    "local": 1200.0,
    "hyperpartisan": 4000.0,
    "fabricated": 2500.0,
    "health_hoax": 1800.0,
    "entertainment": 7000.0,
    "seller": 1500.0,
}
# Some persons post one kind of harm again and again.
_LEANING_SHARES = {"": 0.86, "toxic": 0.06, "misinformation": 0.04, "outrage": 0.04}


@dataclass(frozen=True)
class Publisher:
    """An invented outlet."""

    name: str
    domain: str
    kind: str
    country: str


@dataclass(frozen=True, eq=False)
class People:
    """Authors, a = n_persons + number of publishers; persons first.

    Attributes:
        author_id, kind, country: per author.
        leaning: per author, the kind of harm that a repeat offender posts, "" for the others.
        audience: (a,) typical number of people reached by a post.
        relation: (n_persons, a) index into RELATIONS of each person to each author.
        publishers: the last a - n_persons authors.
        n_persons: how many authors are persons.
    """

    author_id: tuple[str, ...]
    kind: tuple[str, ...]
    country: tuple[str, ...]
    leaning: tuple[str, ...]
    audience: FloatArray
    relation: NDArray[np.int8]
    publishers: tuple[Publisher, ...]
    n_persons: int

    def publisher_of(self, author: int) -> Publisher:
        """The publisher that is this author."""
        return self.publishers[author - self.n_persons]


@cache
def read_publishers() -> tuple[Publisher, ...]:
    """The publishers bundled with the package."""
    with Path(__file__).with_name("publishers.toml").open("rb") as file:
        kinds = tomllib.load(file)["kinds"]
    return tuple(
        Publisher(name, domain, kind, country)
        for kind, rows in kinds.items()
        for name, domain, country in rows
    )


def draw_people(n_users: int, rng: np.random.Generator) -> People:
    """People for a sample with this many viewers."""
    publishers = read_publishers()
    n_persons = n_users + N_OTHER_PERSONS
    homes = [*apportioned(COUNTRY_SHARES, n_persons, rng), *(p.country for p in publishers)]
    kinds = [*[PERSON] * n_persons, *(p.kind for p in publishers)]
    leaning = [*apportioned(_LEANING_SHARES, n_persons, rng), *[""] * len(publishers)]
    median = np.array([_MEDIAN_AUDIENCE[kind] for kind in kinds])
    audience = median * rng.lognormal(0.0, 0.9, len(kinds))
    country = np.array(homes)
    between_persons = _ties(country[:n_persons], audience[:n_persons], rng)
    return People(
        author_id=(*(f"person_{i:03d}" for i in range(n_persons)), *(_handle(p) for p in publishers)),
        kind=tuple(kinds),
        country=tuple(homes),
        leaning=tuple(leaning),
        audience=frozen(audience),
        relation=frozen(np.hstack([between_persons, _pages(country, n_persons, rng)])),
        publishers=publishers,
        n_persons=n_persons,
    )


def _handle(publisher: Publisher) -> str:
    return publisher.domain.removesuffix(".example")


def apportioned(shares: dict[str, float], n: int, rng: np.random.Generator) -> list[str]:
    """Names in random order, n in all, each as often as its share says, to within one."""
    names = list(shares)
    edges = np.cumsum([shares[name] for name in names])
    middle = (np.arange(n) + 0.5) / max(n, 1) * edges[-1]
    codes = rng.permutation(np.searchsorted(edges, middle))
    return [names[code] for code in codes.tolist()]


def _ties(country: NDArray[np.str_], audience: FloatArray, rng: np.random.Generator) -> NDArray[np.int8]:
    """(p, p) relations between persons: friendship is mutual, shared groups too, following is not."""
    n = len(country)
    same = country[:, None] == country[None, :]
    p_friend = np.where(same, np.minimum(0.6, 14.0 / same.sum(axis=1)), 2.0 / n)
    friend = _mutual(rng.random((n, n)) < p_friend)
    close = friend & _mutual(rng.random((n, n)) < 0.25)
    in_group = rng.random((n, 30)) < np.where(same[:, rng.integers(n, size=30)], 0.14, 0.02)  # (p, groups)
    shared = (in_group.astype(np.int64) @ in_group.T.astype(np.int64)) > 0
    follows = rng.random((n, n)) < 12.0 * audience / audience.sum()
    tie = np.full((n, n), RELATIONS.index("stranger"), dtype=np.int8)
    for name, mask in (("follower", follows), ("group_member", shared), ("friend", friend)):
        tie[mask] = RELATIONS.index(name)
    tie[close] = RELATIONS.index("close_friend")
    return tie


def _mutual(mask: BoolArray) -> BoolArray:
    upper = np.triu(mask, 1)
    return upper | upper.T


def _pages(country: NDArray[np.str_], n_persons: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """(p, publishers) "page" where the person follows the publisher."""
    home, outlet = country[:n_persons], country[n_persons:]
    p_follow = np.where(home[:, None] == outlet[None, :], 0.4, 0.08)
    followed = rng.random(p_follow.shape) < p_follow
    return np.where(followed, RELATIONS.index("page"), RELATIONS.index("stranger")).astype(np.int8)

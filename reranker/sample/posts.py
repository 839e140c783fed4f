"""The posts of the sample: who wrote what, when, in which kind, and what is true of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FloatArray, IntArray, frozen
from reranker.sample.people import LANGUAGE_COUNTRY, PERSON, People, apportioned
from reranker.sample.phrases import PostGroup, read_phrases
from reranker.signals import MEDIA_TYPES

START = np.datetime64("2025-03-03T00:00:00", "us")
SPAN_HOURS = 14 * 24.0
_POSTING_HOURS = 13.6 * 24.0  # so that the last posts still find a viewer

HARMS = ("toxic", "misinformation", "outrage", "clickbait", "graphic")
KIND_SHARES = {
    "benign": 0.74,
    "toxic": 0.08,
    "misinformation": 0.06,
    "outrage": 0.05,
    "clickbait": 0.05,
    "graphic": 0.02,
}
# Whose links persons pass on, by kind of post; of benign posts by topic.
_LINKED = {
    "benign": ("reputable", "local"),
    "toxic": ("hyperpartisan",),
    "misinformation": ("fabricated", "health_hoax"),
    "outrage": ("hyperpartisan",),
    "clickbait": ("entertainment",),
    "graphic": ("fabricated",),
}
_LINKED_TOPICS = {"food": ("entertainment",), "entertainment": ("entertainment",), "event": ("local",)}


@dataclass(frozen=True, eq=False)
class Posts:
    """n posts in order of time.

    Attributes:
        post_id, group, text: per post; a text may be None or empty.
        author: (n,) index into the people.
        publisher: (n,) index into the people of the outlet that is linked or writes, or -1.
        media: (n,) index into MEDIA_TYPES.
        created_at: (n,) datetime64[us].
        near: (n,) closeness to the line that moderation draws, in [0, 1).
        outliers: rows that went viral, most viral first.
        brigaded: rows that a few accounts flooded with angry reactions.
        spammed: rows under which a ring writes one-word comments.
    """

    post_id: tuple[str, ...]
    group: tuple[PostGroup, ...]
    text: tuple[str | None, ...]
    author: IntArray
    publisher: IntArray
    media: NDArray[np.int8]
    created_at: NDArray[np.datetime64]
    near: FloatArray
    outliers: IntArray
    brigaded: IntArray
    spammed: IntArray

    @property
    def n(self) -> int:
        """Number of posts."""
        return len(self.post_id)

    def is_harm(self, harm: str) -> BoolArray:
        """(n,) True where the generator made the post of this kind."""
        return np.array([group.kind == harm for group in self.group])


def draw_posts(n: int, people: People, rng: np.random.Generator) -> Posts:
    """Posts by these people, n of them."""
    groups = _draw_groups(n, rng)
    desk = _Desk(people, rng)
    author = np.array([desk.author(group) for group in groups], dtype=np.int64)
    media = np.array([MEDIA_TYPES.index(group.media[rng.integers(len(group.media))]) for group in groups])
    publisher = [desk.publisher(*row) for row in zip(groups, author.tolist(), media.tolist(), strict=True)]
    hours = np.sort(rng.uniform(0.0, _POSTING_HOURS, n))
    near = np.array([group.near for group in groups]) + rng.normal(0.0, 0.08, n)
    kinds = [people.kind[i] for i in author.tolist()]
    outliers, brigaded, spammed = _specials(groups, kinds, media)
    return Posts(
        post_id=tuple(f"p{i:04d}" for i in range(n)),
        group=tuple(groups),
        text=tuple(_draw_texts(groups, media, rng)),
        author=frozen(author),
        publisher=frozen(np.array(publisher, dtype=np.int64)),
        media=frozen(media.astype(np.int8)),
        created_at=frozen(after(np.full(n, START), hours)),
        near=frozen(np.clip(near, 0.0, 0.99)),
        outliers=outliers,
        brigaded=brigaded,
        spammed=spammed,
    )


def after(time: NDArray[np.datetime64], hours: FloatArray) -> NDArray[np.datetime64]:
    """The time that many hours later, to the microsecond."""
    later: NDArray[np.datetime64] = time + np.round(hours * 3600e6).astype("timedelta64[us]")
    return later


def _draw_groups(n: int, rng: np.random.Generator) -> list[PostGroup]:
    groups = read_phrases().groups
    drawn: list[PostGroup] = []
    for kind in apportioned(KIND_SHARES, n, rng):
        pool = [group for group in groups if group.kind == kind]
        weight = np.array([group.weight for group in pool])
        drawn.append(pool[rng.choice(len(pool), p=weight / weight.sum())])
    return drawn


class _Desk:
    """Finds authors and links; keeps the pools, so that each is built once."""

    def __init__(self, people: People, rng: np.random.Generator) -> None:
        self._people = people
        self._rng = rng
        self._activity = rng.lognormal(0.0, 0.8, len(people.kind))
        self._pools: dict[tuple[str, str, str | None], IntArray] = {}

    def author(self, group: PostGroup) -> int:
        """An author for the group; most harm by persons comes from those who lean to it."""
        kind = group.by[self._rng.integers(len(group.by))]
        leaning = group.kind if kind == PERSON and self._rng.random() < 0.65 else ""
        return self._draw(kind, leaning, LANGUAGE_COUNTRY.get(group.language))

    def publisher(self, group: PostGroup, author: int, media: int) -> int:
        """The outlet behind the post: its author, or the one that a person links to; -1 for none."""
        if self._people.kind[author] != PERSON:
            return author
        if MEDIA_TYPES[media] != "link":
            return -1
        by_kind = _LINKED[group.kind]
        linked = _LINKED_TOPICS.get(group.topic, by_kind) if group.kind == "benign" else by_kind
        return self._draw(linked[self._rng.integers(len(linked))], "", None)

    def _draw(self, kind: str, leaning: str, country: str | None) -> int:
        key = (kind, leaning, country)
        if key not in self._pools:
            self._pools[key] = self._pool(kind, leaning, country)
        pool = self._pools[key]
        weight = self._activity[pool]
        return int(self._rng.choice(pool, p=weight / weight.sum()))

    def _pool(self, kind: str, leaning: str, country: str | None) -> IntArray:
        """Authors of the kind; the country matters more than the leaning where nobody has both."""
        people = self._people
        of_kind = np.array(people.kind) == kind
        at_home = of_kind & (np.array(people.country) == country) if country else of_kind
        fitting = at_home & (np.array(people.leaning) == leaning)
        nearest = next(mask for mask in (fitting, at_home, of_kind) if mask.any())
        return np.flatnonzero(nearest).astype(np.int64)


def _draw_texts(
    groups: list[PostGroup], media: NDArray[np.int64], rng: np.random.Generator
) -> list[str | None]:
    """A text per post, redrawn a few times where it was there before; some pictures have none."""
    phrases = read_phrases()
    seen: set[str] = set()
    texts: list[str | None] = []
    for group, code in zip(groups, media.tolist(), strict=True):
        if group.kind == "benign" and group.by == (PERSON,) and MEDIA_TYPES[code] in ("photo", "video"):
            blank = rng.random()
            if blank < 0.05:
                texts.append(None if blank < 0.035 else "")
                continue
        for _ in range(12):
            text = phrases.post(group, rng)
            if text not in seen:
                break
        seen.add(text)
        texts.append(text)
    return texts


def _specials(
    groups: list[PostGroup], kinds: list[str], media: NDArray[np.int64]
) -> tuple[IntArray, IntArray, IntArray]:
    """The posts with a story: viral ones, brigaded ones, spammed ones; none where no post fits."""

    def rows(kind: str, author_kind: str) -> IntArray:
        fits = [g.kind == kind and k == author_kind for g, k in zip(groups, kinds, strict=True)]
        return np.flatnonzero(fits).astype(np.int64)

    sold = rows("benign", "seller")
    sold_live = sold[media[sold] == MEDIA_TYPES.index("live_video")]
    teasing, forged = rows("clickbait", "entertainment"), rows("misinformation", "fabricated")
    sober = rows("benign", "reputable")
    middle = [pool[len(pool) // 2 :][:1] for pool in (teasing, forged)]
    brigaded = sober[[len(sober) // 3, 2 * len(sober) // 3]] if len(sober) > 2 else sober[:0]
    return np.concatenate([sold_live[:2], *middle]), brigaded, sold_live[2:3]

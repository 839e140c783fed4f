"""The sample's sentences, read from phrases.toml, and texts made of them by filling slots."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_SLOT = re.compile(r"\{(\w+)\}")
_SENTENCE_START = re.compile(r"(^|[.!?] )([a-z])")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeioAEIO])")
_TWO_ARTICLES = re.compile(r"\b(the) the\b", re.IGNORECASE)


@dataclass(frozen=True)
class PostGroup:
    """Post templates of one kind, topic and tone; the fields are explained in phrases.toml."""

    kind: str
    topic: str
    tone: str
    by: tuple[str, ...]
    media: tuple[str, ...]
    near: float
    weight: float
    texts: tuple[str, ...]
    more: tuple[str, ...]
    language: str = "en"
    hard: str | None = None
    event: bool = False


@dataclass(frozen=True)
class Phrases:
    """All that phrases.toml holds.

    Attributes:
        slots: what may fill each slot.
        groups: the post templates.
        comments: comment templates by manner.
        manners: by tone of the post, the manners of its comments and their cumulative shares.
        moral_emotional: lower-case words of the moral-emotional lexicon.
    """

    slots: dict[str, tuple[str, ...]]
    groups: tuple[PostGroup, ...]
    comments: dict[str, tuple[str, ...]]
    manners: dict[str, tuple[tuple[str, ...], tuple[float, ...]]]
    moral_emotional: frozenset[str]

    def fill(self, template: str, language: str, rng: np.random.Generator) -> str:
        """The template with each slot filled; English texts get their capitals and articles right."""

        def choose(match: re.Match[str]) -> str:
            return one_of(self.slots[match[1]], rng)

        text = _SLOT.sub(choose, template)
        if language != "en" or "{" not in template:
            return text
        text = _TWO_ARTICLES.sub(r"\1", _ARTICLE.sub(r"\1n ", text))
        return _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)

    def post(self, group: PostGroup, rng: np.random.Generator) -> str:
        """A post of one to three sentences."""
        parts = [one_of(group.texts, rng)]
        n_more = min(len(group.more), int(rng.choice(3, p=(0.35, 0.5, 0.15))))
        if n_more:
            parts += [group.more[i] for i in rng.choice(len(group.more), n_more, replace=False)]
        return self.fill(" ".join(parts), group.language, rng)

    def comment(self, manner: str, rng: np.random.Generator) -> str:
        """A comment in this manner."""
        return self.fill(one_of(self.comments[manner], rng), "en", rng)

    def count_moral_emotional(self, text: str) -> int:
        """How many words of the text are in the moral-emotional lexicon."""
        return sum(word in self.moral_emotional for word in re.findall(r"\w+", text.lower()))


def one_of(values: tuple[str, ...], rng: np.random.Generator) -> str:
    """One of the values, each as likely."""
    return values[int(rng.random() * len(values))]


@cache
def read_phrases() -> Phrases:
    """The phrases bundled with the package."""
    with Path(__file__).with_name("phrases.toml").open("rb") as file:
        data = tomllib.load(file)
    groups = tuple(_group(entry) for entry in data["posts"])
    manners = {}
    for tone, shares in data["manners"].items():
        cumulative = np.cumsum(list(shares.values()), dtype=np.float64)
        manners[tone] = (tuple(shares), tuple((cumulative / cumulative[-1]).tolist()))
    return Phrases(
        slots={name: tuple(values) for name, values in data["slots"].items()},
        groups=groups,
        comments={manner: tuple(texts) for manner, texts in data["comments"].items()},
        manners=manners,
        moral_emotional=frozenset(data["moral_emotional"]),
    )


def _group(entry: dict[str, Any]) -> PostGroup:
    fields: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return PostGroup(**fields)

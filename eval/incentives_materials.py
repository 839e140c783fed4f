"""What the diagnostics of incentives are made from, and how near to the line each candidate is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from eval.lexicon import Lexicon
from eval.upworthy import HeadlineArms
from reranker.columns import FloatArray, closest
from reranker.ranking import Ranking

NO_SCORES = (
    "no estimate of harm: pass --scores or a --model, or --near with an attr_ column that holds how near to "
    "the line each post is"
)


@dataclass(frozen=True, eq=False)
class Materials:
    """What the diagnostics are made from.

    Attributes:
        ranking: of the feed by the policy whose demotions are looked at, with its estimates of harm.
        near: an attribute of the feed that holds closeness to the line, or None for the policy's estimates.
        truth: attributes that hold known harm in [0, 1].
        moral: moral-emotional words, or None.
        negative: words that make a comment or headline negative, or None.
        comment_share: an attribute that holds the share of negative comments, or None.
        groups: publisher to the name of its group, of two; the first named is compared with the second.
        headlines: headline tests, or None.
        seed: of the bands.
    """

    ranking: Ranking
    near: str | None = None
    truth: tuple[str, ...] = ()
    moral: Lexicon | None = None
    negative: Lexicon | None = None
    comment_share: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    headlines: HeadlineArms | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        attributes = self.ranking.feed.attributes
        for name in (self.near, self.comment_share, *self.truth):
            if name is not None and name not in attributes:
                known = ", ".join(attributes) or "none"
                raise ValueError(
                    f"attribute: expected one of {known}, got {name!r}{closest(name, tuple(attributes))}"
                )
        if self.groups and len(set(self.groups.values())) != 2:
            raise ValueError(f"groups: expected two, got {len(set(self.groups.values()))}")


def closeness(materials: Materials) -> FloatArray:
    """(n,) of each candidate to the policy's line: the largest harm over its line's; 1 is the line.

    NaN where nothing was scored; a label that was not scored for a post is left out of the largest.

    Raises:
        ValueError: no estimate of a demoted label, and no attribute named.
    """
    ranking = materials.ranking
    if materials.near is not None:
        return ranking.feed.attributes[materials.near]
    if ranking.harms is None:
        raise ValueError(NO_SCORES)
    scored = ranking.harms.posts
    labels = [label for label in ranking.policy.demotion if label in scored.labels]
    if not labels:
        raise ValueError(
            f"policy: expected one that demotes a scored label, got {ranking.policy.name}; name one with "
            "--policy, or an attr_ column with --near"
        )
    table = np.array(
        [scored.column(label)[0].astype(np.float64) / ranking.policy.demotion[label].line for label in labels]
    )
    known = ~np.isnan(table).all(axis=0)
    return np.where(known, np.nanmax(np.where(known, table, 0.0), axis=0), np.nan)


def near_in_words(materials: Materials) -> str:
    """What closeness is measured by."""
    if materials.near is not None:
        return f"attr_{materials.near}, as the feed states it"
    return "the largest estimated harm over the line that the policy draws for it"

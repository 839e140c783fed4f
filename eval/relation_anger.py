"""Who sends anger: angry reactions received per post, by the sender's relation to the author.

People said that they dislike to receive them, from friends and from strangers alike. A total of a post does
not say who reacted; single acts, or a log with the viewer's own action, do.
"""

from dataclasses import dataclass

import numpy as np

from eval.clustered import LEVEL, Estimate, clustered_ratio
from reranker.columns import FloatArray, IntArray
from reranker.signals import RELATIONS

FEWEST_AUTHORS = 10


@dataclass(frozen=True)
class RelationAnger:
    """Anger from one relation.

    Attributes:
        relation: of the sender to the author; "unknown" where it was not recorded.
        n_angry: angry reactions.
        per_post: received per post, by author.
        share: of the reactions from this relation that are angry, by author; None without other reactions.
    """

    relation: str
    n_angry: float
    per_post: Estimate
    share: Estimate | None


def anger_received(
    angry: FloatArray, reactions: FloatArray, author: IntArray, *, level: float = LEVEL
) -> tuple[RelationAnger, ...]:
    """Angry reactions received per post from each relation that sent any reaction; all together first.

    Posts that received none count. For a log, a row is a view, and the angry reaction the viewer's own.

    Args:
        angry: (n, 7) of each post, by index into RELATIONS and unknown last.
        reactions: (n, 7) all reactions, angry ones included.
        author: (n,) integer codes of who received them.
        level: of the intervals.

    Raises:
        ValueError: shapes that differ, counts below 0 or more angry than all, fewer than 10 authors, or no
            angry reaction.
    """
    width = len(RELATIONS) + 1
    if angry.shape != (len(author), width) or reactions.shape != angry.shape:
        raise ValueError(
            f"angry: expected shape {(len(author), width)}, got {angry.shape} and {reactions.shape}"
        )
    if not ((angry >= 0) & (angry <= reactions)).all():
        raise ValueError("angry: expected counts from 0 to those of all reactions, got others")
    n_authors = len(np.unique(author))
    if n_authors < FEWEST_AUTHORS:
        raise ValueError(f"author: expected at least {FEWEST_AUTHORS}, got {n_authors}")
    if not angry.any():
        raise ValueError("angry: expected at least one angry reaction, got none")
    every = [("all", angry.sum(axis=1), reactions.sum(axis=1))]
    every += [
        (name, angry[:, i], reactions[:, i])
        for i, name in enumerate((*RELATIONS, "unknown"))
        if reactions[:, i].any()
    ]
    ones = np.ones(len(author))
    return tuple(
        RelationAnger(
            name,
            float(got.sum()),
            clustered_ratio(got, ones, author, level=level),
            clustered_ratio(got, of, author, level=level) if len(np.unique(author[of > 0])) > 1 else None,
        )
        for name, got, of in every
    )

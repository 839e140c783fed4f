"""The front of many policies, and the one of them that takes off most harm within limits on what is lost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reranker.columns import BoolArray, FloatArray


@dataclass(frozen=True)
class Limit:
    """How much of an outcome may be lost, as a share of what the original shows of it.

    Attributes:
        name: as the user wrote it: an outcome, "activity" or "topic:NAME".
        margin: 0.01 is one percent.
    """

    name: str
    margin: float

    def __str__(self) -> str:
        """As the command line takes it."""
        return f"{self.name}={self.margin:g}"


def parse_limit(text: str) -> Limit:
    """A limit from "comments=0.01".

    Raises:
        ValueError: no name, or a margin that is no number in (0, 1).

    Example:
        >>> parse_limit("topic:politics=0.10").margin
        0.1
    """
    name, _, margin = text.rpartition("=")
    try:
        share = float(margin)
    except ValueError:
        share = np.nan
    if not name or not 0 < share < 1:
        raise ValueError(f'--max-loss: expected NAME=SHARE such as "comments=0.01", got {text!r}')
    return Limit(name, share)


def on_front(harm: FloatArray, activity: FloatArray) -> BoolArray:
    """(P,) whether no other policy has less harm and as much activity, or as little harm and more activity.

    Example:
        >>> on_front(np.array([-0.2, -0.1, -0.1]), np.array([-0.1, 0.0, -0.1])).tolist()
        [True, True, False]
    """
    order = np.lexsort((-activity, harm))
    front, best = np.zeros(len(harm), dtype=bool), -np.inf
    for i in order:
        if activity[i] > best:
            front[i], best = True, activity[i]
    return front


def shortfall(low: FloatArray, limits: Sequence[Limit]) -> FloatArray:
    """(P, Q) by how much the lower bound of each loss is beyond its limit; 0 or less where it holds."""
    margins = np.array([limit.margin for limit in limits])
    return -margins - low


def choose(harm: FloatArray, low: FloatArray, limits: Sequence[Limit]) -> int:
    """The policy with the least harm among those whose lower bounds hold every limit.

    Args:
        harm: (P,) estimated change of harm exposure.
        low: (P, Q) lower bounds of the change of what must not be lost.
        limits: Q of them.

    Raises:
        ValueError: none holds them all; says which limit binds and by how much.
    """
    short = shortfall(low, limits)
    holds = (short < 0).all(axis=1)
    if not holds.any():
        raise ValueError(_what_binds(short, limits))
    return int(np.argmin(np.where(holds, harm, np.inf)))


def _what_binds(short: FloatArray, limits: Sequence[Limit]) -> str:
    least = short.min(axis=0)
    alone = [f"{limit} by {_points(by)}" for limit, by in zip(limits, least, strict=True) if by >= 0]
    if alone:
        told = f"no policy holds {' nor '.join(alone)} even alone"
    else:
        nearest = int(np.argmin(short.max(axis=1)))
        at = int(np.argmax(short[nearest]))
        told = (
            f"each can be held alone but not all together: the nearest policy misses {limits[at]} by "
            f"{_points(float(short[nearest, at]))}"
        )
    return (
        f"--max-loss: expected one of {len(short)} policies to stay within the limits with 95% "
        f"confidence, got none; {told}. Widen the limit or the space, try more policies, or bring more users"
    )


def _points(share: float) -> str:
    return "more than can be measured" if not np.isfinite(share) else f"{100 * share:.2f} points"

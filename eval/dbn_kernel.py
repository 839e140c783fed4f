"""The loops of the dynamic Bayesian model of clicks, compiled: one pass over the slots of all slates.

Additions come in a fixed order, without fast-math. Records are named tuples because compiled loops read them.
"""

from typing import NamedTuple

import numpy as np

from eval.kernel import compiled
from reranker.columns import BoolArray, FloatArray, IntArray

_TINY, _SMALL = 1e-300, 1e-100


class Sessions(NamedTuple):
    """Slates: (s,) item and clicked, (n + 1,) offsets, (n,) depth or empty, (n,) weight."""

    item: IntArray
    clicked: BoolArray
    offsets: IntArray
    depth: IntArray
    weight: FloatArray


class Chances(NamedTuple):
    """Parameters: (items,) attraction and satisfaction, or (s,) of each slot; the chance to read on."""

    attraction: FloatArray
    satisfaction: FloatArray
    gamma: float


class Counts(NamedTuple):
    """What is expected to have happened, added to.

    Attributes:
        items: (items, 4) examined, clicked, clicks whose satisfaction left a trace, of those satisfied.
        going: (2,) times read on, and times that it could have been.
    """

    items: FloatArray
    going: FloatArray


@compiled
def _above(sessions: Sessions, chances: Chances, r: int, counts: Counts) -> tuple[int, float]:
    """Down to the last slot that was examined for certain: its position, or -1, and the log-likelihood."""
    first, n, w = sessions.offsets[r], sessions.offsets[r + 1] - sessions.offsets[r], sessions.weight[r]
    sure = sessions.depth[r] - 1 if sessions.depth.size else -1
    for k in range(n - 1, sure, -1):
        if sessions.clicked[first + k]:
            sure = k
            break
    likelihood, chance = 0.0, 1.0
    for k in range(sure + 1):
        j = sessions.item[first + k]
        counts.items[j, 0] += w
        if sessions.clicked[first + k]:
            counts.items[j, 1] += w
            chance *= chances.attraction[j]
            if k < sure:  # read on after it
                counts.items[j, 2] += w
                chance *= 1.0 - chances.satisfaction[j]
        else:
            chance *= 1.0 - chances.attraction[j]
        if k < sure:
            chance *= chances.gamma
        if chance < _SMALL:  # one logarithm per slate, unless it is long
            likelihood += w * np.log(max(chance, _TINY))
            chance = 1.0
    counts.going[0] += w * max(sure, 0)
    counts.going[1] += w * max(sure, 0)
    return sure, likelihood + w * np.log(max(chance, _TINY))


@compiled
def _below(
    sessions: Sessions, chances: Chances, at: tuple[int, int], quiet: FloatArray, counts: Counts
) -> float:
    """Below the last slot `at` (slate, position) examined for certain nothing was clicked: how far was read?

    `quiet` is scratch: the chance of no click from each position on, once it is examined.
    """
    r, sure = at
    first, n, w = sessions.offsets[r], sessions.offsets[r + 1] - sessions.offsets[r], sessions.weight[r]
    gamma, stopped = chances.gamma, sessions.depth.size > 0  # a logged depth says that nothing was
    if stopped:
        quiet[sure + 1] = 0.0
    else:
        left = 1.0
        for k in range(n - 1, sure, -1):
            quiet[k] = (1.0 - chances.attraction[sessions.item[first + k]]) * left
            left = 1.0 - gamma + gamma * quiet[k]
    reached, chance = 1.0, quiet[sure + 1]
    if sure >= 0:
        j, click = sessions.item[first + sure], sessions.clicked[first + sure]
        left = 1.0 - gamma + gamma * quiet[sure + 1]  # of nothing below, if not satisfied
        happy = chances.satisfaction[j] if click else 0.0
        chance = max(happy + (1.0 - happy) * left, _TINY)
        happy /= chance
        counts.items[j, 2] += w * click
        counts.items[j, 3] += w * happy
        reached = (1.0 - happy) * gamma * quiet[sure + 1] / max(left, _TINY)
        counts.going[0] += w * reached
        counts.going[1] += w * (1.0 - happy)
    if not stopped:
        for k in range(sure + 1, n):
            counts.items[sessions.item[first + k], 0] += w * reached
            if k < n - 1:
                counts.going[1] += w * reached
                reached *= gamma * quiet[k + 1] / max(1.0 - gamma + gamma * quiet[k + 1], _TINY)
                counts.going[0] += w * reached
    return float(w * np.log(max(chance, _TINY)))


@compiled
def expect_sessions(sessions: Sessions, chances: Chances) -> tuple[FloatArray, FloatArray, float]:
    """What each item and the reading on are expected to have seen, and the log-likelihood.

    Down to the last click all is known: everything was examined, and every click but the last left the
    reader unsatisfied. Whether the last did leaves no trace on the last slot of a slate.

    Args:
        sessions: the slates, with depths from 1 where logged.
        chances: by item.

    Returns:
        The two arrays of `Counts`, and the log-likelihood.
    """
    counts = Counts(np.zeros((len(chances.attraction), 4)), np.zeros(2))
    longest, likelihood = 0, 0.0
    for r in range(len(sessions.offsets) - 1):
        longest = max(longest, sessions.offsets[r + 1] - sessions.offsets[r])
    quiet = np.ones(longest + 1)
    for r in range(len(sessions.offsets) - 1):
        if sessions.weight[r] > 0.0:
            sure, known = _above(sessions, chances, r, counts)
            likelihood += known
            if sure < sessions.offsets[r + 1] - sessions.offsets[r] - 1:
                likelihood += _below(sessions, chances, (r, sure), quiet, counts)
    return counts.items, counts.going, likelihood


@compiled
def predict_clicks(clicked: BoolArray, offsets: IntArray, chances: Chances, out: FloatArray) -> None:
    """Write the chance of a click on each slot given the clicks above it in its slate.

    Args:
        clicked: (s,).
        offsets: (n + 1,) slots of each slate.
        chances: by slot.
        out: (s,) written.
    """
    for r in range(len(offsets) - 1):
        seen = 1.0
        for k in range(offsets[r], offsets[r + 1]):
            out[k] = seen * chances.attraction[k]
            if clicked[k]:
                seen = chances.gamma * (1.0 - chances.satisfaction[k])
            else:
                seen *= chances.gamma * (1.0 - chances.attraction[k]) / max(1.0 - out[k], _TINY)

"""How often each candidate is seen when a policy draws at random and people stop at what they read.

Exact, where drawing rankings would leave noise: what is left to draw from depends on which candidates stand
above and not on their order, so a sum over sets of candidates replaces one over rankings.
"""

from itertools import combinations

import numpy as np
from numba import njit

from eval.browsing import check_chances
from reranker.columns import FloatArray, IntArray

MAX_CANDIDATES = 16
MAX_SETS = 20_000
_SMALL = 1e-200  # a sum of strengths below it is taken again, relative to the largest that is left


def expected_views(
    score: FloatArray, offsets: IntArray, temperature: float, stop: FloatArray, n_slots: int
) -> FloatArray:
    """(c, K) chance that each candidate stands in each slot and is looked at: Plackett-Luce and a cascade.

    Summed over slots and times a reward per look it is the value of the policy: `Responses.direct` of
    `eval.off_policy`. With `stop` 0 it is the chance to stand in the slot.

    Args:
        score: (c,) finite.
        offsets: (n + 1,) candidates of each request, at most `MAX_CANDIDATES`.
        temperature: in the unit of the scores, above 0.
        stop: (c,) chance to read no further after the candidate, once looked at.
        n_slots: K; slots beyond the candidates of a request are 0.

    Raises:
        ValueError: scores that are not finite, a temperature that is not above 0, a chance outside [0, 1], or
            more candidates or slots than can be summed over.

    Source: Plackett, The analysis of permutations, 1975, equation 3, with the cascade of Craswell and others,
    2008; the sum over sets is ours.

    Example:
        >>> two = expected_views(np.log([3.0, 1.0]), np.array([0, 2]), 1.0, np.array([0.5, 0.0]), 2)
        >>> two.round(9).tolist()
        [[0.75, 0.25], [0.25, 0.375]]
    """
    check_chances(stop, "stop", int(offsets[-1]))
    if score.shape != stop.shape or not np.isfinite(score).all():
        raise ValueError(f"score: expected {len(stop)} finite numbers, got shape {score.shape}")
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    if n_slots < 1:
        raise ValueError(f"n_slots: expected at least 1, got {n_slots}")
    lengths = np.diff(offsets)
    logit = np.ascontiguousarray(score / temperature, dtype=np.float64)
    reads_on = np.ascontiguousarray(1.0 - stop, dtype=np.float64)
    seen = np.zeros((len(score), n_slots))
    for length in np.unique(lengths[lengths > 0]).tolist():
        starts = np.ascontiguousarray(offsets[:-1][lengths == length])
        _add_views(logit, reads_on, starts, (length, *_sets(length, min(n_slots, length))), seen)
    return seen


def _sets(length: int, n_slots: int) -> tuple[IntArray, IntArray]:
    """Sets of fewer than `n_slots` candidates as bits, smaller ones first, and the size of each."""
    if length > MAX_CANDIDATES:
        raise ValueError(f"candidates: expected at most {MAX_CANDIDATES} of a request, got {length}")
    sets = [(sum(1 << j for j in one), size) for size in range(n_slots)
            for one in combinations(range(length), size)]  # fmt: skip
    if len(sets) > MAX_SETS:
        raise ValueError(f"n_slots: expected at most {MAX_SETS} sets of candidates, got {len(sets)}")
    bits, sizes = np.array(sets, dtype=np.int64).T
    return np.ascontiguousarray(bits), np.ascontiguousarray(sizes)


def _left(logit: FloatArray, strength: FloatArray, placed: int, left: FloatArray) -> float:
    total = 0.0
    for j in range(len(logit)):
        left[j] = 0.0 if (placed >> j) & 1 else strength[j]
        total += left[j]
    if total < _SMALL:  # what is left is far below what stands above: measure it against its own top
        top = -np.inf
        for j in range(len(logit)):
            if not (placed >> j) & 1:
                top = max(top, logit[j])
        total = 0.0
        for j in range(len(logit)):
            left[j] = 0.0 if (placed >> j) & 1 else np.exp(logit[j] - top)
            total += left[j]
    return total


_strength_left = njit(cache=True, nogil=True, error_model="numpy")(_left)


def _views(
    logit: FloatArray,
    reads_on: FloatArray,
    starts: IntArray,
    sets: tuple[int, IntArray, IntArray],
    seen: FloatArray,
) -> None:
    length, placed, sizes = sets
    n_slots = sizes[-1] + 1
    reach = np.zeros(1 << length)  # chance that a set is placed and that people read on below it
    left = np.empty(length)
    for start in starts:
        own = logit[start : start + length]
        strength = np.exp(own - own.max())
        reach[placed] = 0.0
        reach[0] = 1.0
        for s in range(len(placed)):
            one, k = placed[s], sizes[s]
            share = reach[one] / _strength_left(own, strength, one, left)
            for j in range(length):
                if not (one >> j) & 1:
                    here = share * left[j]
                    seen[start + j, k] += here
                    if k + 1 < n_slots:
                        reach[one | (1 << j)] += here * reads_on[start + j]


_add_views = njit(cache=True, nogil=True, error_model="numpy")(_views)

"""Browsing models: the chance that each slot of a slate is examined.

A slate is the slots of one request, best first; all slates stand one after another and `slot_offsets`
(n + 1,) cuts them. `Ranking.order` with `Ranking.offsets` are such slates. No model is the truth: a change
is reported under at least two, and one whose sign depends on the model is a statement about the model.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from eval.browsing_kernel import multiply_down
from eval.clustered import Estimate
from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.engagement import request_sums

Status = Literal["IDENTIFIED", "BOUNDED", "MODEL_ONLY", "REFUSED"]
Slates = tuple[IntArray, IntArray]  # rows of the candidates shown (s,), slot_offsets (n + 1,)


def slot_positions(slot_offsets: IntArray) -> IntArray:
    """(s,) the position of each slot in its slate, from 0.

    Example:
        >>> slot_positions(np.array([0, 2, 2, 5])).tolist()
        [0, 1, 0, 1, 2]
    """
    lengths = np.diff(slot_offsets)
    return np.arange(int(slot_offsets[-1]), dtype=np.int64) - np.repeat(slot_offsets[:-1], lengths)


def top_examination(slot_offsets: IntArray, k: int) -> FloatArray:
    """(s,) 1 for the first k slots of each slate, 0 below: the share of the top, not a reader.

    Raises:
        ValueError: k below 1.
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    return (slot_positions(slot_offsets) < k).astype(np.float64)


def rbp_examination(slot_offsets: IntArray, gamma: float) -> FloatArray:
    """(s,) gamma ** position: a constant chance of reading on.

    Raises:
        ValueError: gamma outside [0, 1].

    Source: Moffat and Zobel, Rank-biased precision, 2008.
    """
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma: expected a number in [0, 1], got {gamma}")
    return np.power(gamma, slot_positions(slot_offsets).astype(np.float64))


def position_examination(slot_offsets: IntArray, theta: FloatArray) -> FloatArray:
    """(s,) theta[position]: the position-based model, and a survival curve of the scroll depth.

    Args:
        slot_offsets: (n + 1,) slots of each slate.
        theta: (K,) chance that each position is examined.

    Raises:
        ValueError: a slate longer than theta, or a position in use whose value is not in [0, 1].
    """
    longest = int(np.diff(slot_offsets).max(initial=0))
    if longest > len(theta):
        raise ValueError(
            f"theta: expected a value for each of {longest} positions, got {len(theta)}; shorten the slates"
        )
    used = theta[:longest]
    if not ((used >= 0) & (used <= 1)).all():
        k = int(np.argmin((used >= 0) & (used <= 1)))
        raise ValueError(f"theta: expected numbers in [0, 1], got {used[k]} at position {k}")
    return np.asarray(theta[slot_positions(slot_offsets)], dtype=np.float64)


def cascade_examination(stop: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(s,) the product of 1 - stop over the slots above: reading from the top until one stops.

    What stands above decides what is seen below, so moving a post changes the exposure of others.

    Args:
        stop: (s,) chance to stop after each slot, once examined.
        slot_offsets: (n + 1,) slots of each slate.

    Raises:
        ValueError: a chance outside [0, 1], or another length than the slots.

    Source: Craswell, Zoeter, Taylor and Ramsey, An experimental comparison of click position-bias models,
    2008, with a stop that depends on the post.

    Example:
        >>> stop = np.array([0.5, 0.1, 0.3, 0.1, 0.1])
        >>> cascade_examination(stop, np.array([0, 5])).round(6).tolist()
        [1.0, 0.5, 0.45, 0.315, 0.2835]
    """
    check_chances(stop, "stop", int(slot_offsets[-1]))
    examined = np.empty(len(stop))
    multiply_down(np.ascontiguousarray(stop, dtype=np.float64), slot_offsets, examined)
    return examined


def satisfied_stop(p_click: FloatArray, satisfaction: float | FloatArray, gamma: float) -> FloatArray:
    """(s,) chance to stop after an examined slot: satisfied by a click, or tired without it.

    1 - gamma (1 - p_click * satisfaction), for `cascade_examination`.

    Source: Chapelle and Zhang, A dynamic Bayesian network click model for web search ranking, 2009.
    """
    return np.asarray(1.0 - gamma * (1.0 - p_click * satisfaction), dtype=np.float64)


def logged_examination(viewed: BoolArray, slot_offsets: IntArray) -> FloatArray:
    """(s,) 1 for each slot that was logged as viewed: exact, and for the policy that was served only.

    Raises:
        ValueError: another length than the slots.
    """
    if len(viewed) != slot_offsets[-1]:
        raise ValueError(f"viewed: expected {slot_offsets[-1]} slots, got {len(viewed)}")
    return viewed.astype(np.float64)


def view_depth(viewed: BoolArray, slot_offsets: IntArray) -> IntArray:
    """(n,) slots down to the last one viewed, 0 where none was; a slot skipped on the way counts."""
    depth = np.zeros(len(slot_offsets) - 1, dtype=np.int64)
    request = np.repeat(np.arange(len(depth)), np.diff(slot_offsets))
    np.maximum.at(depth, request[viewed], slot_positions(slot_offsets)[viewed] + 1)
    return depth


def tied_examination(examination: FloatArray, score: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(s,) slots of equal score share their mean: what a tie broken at random gives.

    Right for models of the position alone; in a cascade the order within a tie changes what is below.

    Args:
        examination: (s,) of every candidate in order of score, 0 beyond what is shown.
        score: (s,) the final score, falling within a slate.
        slot_offsets: (n + 1,) slots of each slate.

    Example:
        >>> score, shown = np.array([5.0, 3, 3, 3, 1]), np.array([1.0, 0.5, 0.25, 0, 0])
        >>> tied_examination(shown, score, np.array([0, 5])).tolist()
        [1.0, 0.25, 0.25, 0.25, 0.0]
    """
    if len(score) == 0:
        return np.zeros(0)
    new = np.empty(len(score), dtype=bool)
    new[0], new[1:] = True, score[1:] != score[:-1]
    new[slot_offsets[:-1][np.diff(slot_offsets) > 0]] = True
    starts = np.append(np.flatnonzero(new), len(score))
    lengths = np.diff(starts)
    return np.repeat(request_sums(examination, starts) / lengths, lengths)


def candidate_examination(examination: FloatArray, rows: IntArray, n: int) -> FloatArray:
    """(n,) the examination of each candidate, 0 for those not shown, from that of the slots (s,).

    Args:
        examination: (s,) of the slots.
        rows: (s,) the candidate in each slot; `Ranking.order`, or a log's slate.
        n: candidates.
    """
    return np.asarray(np.bincount(rows, weights=examination, minlength=n), dtype=np.float64)


def expected_examination(
    draws: Sequence[Slates], examine: Callable[[Slates], FloatArray], n: int
) -> tuple[FloatArray, FloatArray]:
    """(n,) mean examination of each candidate under a random policy, and its Monte Carlo standard error.

    Add the error to that of what is computed from it. Where the slot marginals are known, the mean for a
    model of the position alone is exactly their product with theta; this serves every model.

    Args:
        draws: rankings of the same candidates, drawn from the policy; at least 2.
        examine: (s,) the examination of the slots of one draw.
        n: candidates.

    Raises:
        ValueError: fewer than 2 draws.
    """
    if len(draws) < 2:
        raise ValueError(f"draws: expected at least 2, got {len(draws)}")
    total, squares = np.zeros(n), np.zeros(n)
    for draw in draws:
        found = candidate_examination(examine(draw), draw[0], n)
        total += found
        squares += found**2
    m = len(draws)
    mean = total / m
    variance = np.maximum(squares / m - mean**2, 0.0) * m / (m - 1)
    return mean, np.sqrt(variance / m)


def status_over_models(changes: Sequence[Estimate]) -> Status:
    """IDENTIFIED where the change has one sign under every browsing model, else MODEL_ONLY.

    Exactly 0 under all of them is one sign; 0 under some is not.

    Raises:
        ValueError: fewer than 2 models.
    """
    if len(changes) < 2:
        raise ValueError(f"browsing models: expected at least 2, got {len(changes)}")
    signs = {float(np.sign(change.value)) for change in changes}
    return "IDENTIFIED" if len(signs) == 1 else "MODEL_ONLY"


def check_chances(values: FloatArray, name: str, length: int) -> None:
    """Refuse what is not a probability per slot.

    Raises:
        ValueError: another length, or a value outside [0, 1].
    """
    if len(values) != length:
        raise ValueError(f"{name}: expected {length} values, got {len(values)}")
    inside = (values >= 0) & (values <= 1)
    if not inside.all():
        row = int(np.argmin(inside))
        raise ValueError(f"{name}: expected numbers in [0, 1], got {values[row]} at slot {row}")

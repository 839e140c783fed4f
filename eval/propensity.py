"""Whether logged propensities are those that were served with, asked of the log alone, without a target.

A logger that says how likely each item was also says how surprising its own choices should be on average. A
wrong temperature shows there at once, where weights that happen to average 1 would hide it.
"""

import numpy as np

from eval.browsing import slot_positions
from eval.weights import check_slots
from reranker.columns import FloatArray, IntArray, ragged_rows
from reranker.engagement import request_sums


def expected_log_steps(
    score: FloatArray,
    offsets: IntArray,
    slate: IntArray,
    slot_offsets: IntArray,
    temperature: float | FloatArray,
    *,
    from_rank: int | IntArray = 1,
) -> FloatArray:
    """(s,) the mean log chance of the item at each slot, given what stands above: minus the entropy there.

    Log step propensities minus these have mean 0 at every slot if the log is right; with another temperature
    they have not, since they are the derivative of its log-likelihood by log(1 / temperature).

    Args:
        score: (c,) of the candidates, as served.
        offsets: (n + 1,) candidates of each request.
        slate: (s,) rows of the candidates served.
        slot_offsets: (n + 1,) slots of each request.
        temperature: of all or (n,) of each request; at 0 nothing was drawn, and the result is 0.
        from_rank: the first rank, from 1, that was drawn; the result is 0 above it.

    Raises:
        ValueError: lengths that do not fit, scores that are not finite, or a temperature below 0.

    Source: Cox and Hinkley, Theoretical Statistics, 1974, section 9.3 (the score test).

    Example:
        >>> even = expected_log_steps(np.zeros(3), np.array([0, 3]), np.array([2, 0]), np.array([0, 2]), 1.0)
        >>> np.exp(even).round(6).tolist()
        [0.333333, 0.5]
    """
    check_slots(offsets, score)
    check_slots(slot_offsets, slate.astype(np.float64))
    if len(offsets) != len(slot_offsets):
        raise ValueError(f"slot_offsets: expected {len(offsets) - 1} requests, got {len(slot_offsets) - 1}")
    n = len(offsets) - 1
    heat = np.broadcast_to(np.asarray(temperature, dtype=np.float64), (n,))
    if not (heat >= 0).all():
        raise ValueError(f"temperature: expected at least 0, got {heat.min()}")
    drawn_from = np.where(heat > 0, np.broadcast_to(np.asarray(from_rank), (n,)) - 1, np.iinfo(np.int64).max)
    lengths = np.diff(offsets)
    logit = score / np.repeat(np.where(heat > 0, heat, 1.0), lengths)
    expected = np.zeros(len(slate))
    left = np.ones(len(score), dtype=np.bool_)
    position = slot_positions(slot_offsets)
    request_of_slot = np.repeat(np.arange(n), np.diff(slot_offsets))
    for k in range(int(position.max(initial=-1)) + 1):
        at = np.flatnonzero(position == k)
        drawn = at[drawn_from[request_of_slot[at]] <= k]
        if len(drawn):
            # only requests that drew a slot k, and of their candidates those in no slot above it
            request = request_of_slot[drawn]
            rows = ragged_rows(offsets[:-1][request], lengths[request])
            kept = left[rows]
            before = np.concatenate(([0], np.cumsum(kept)))
            ends = before[np.concatenate(([0], np.cumsum(lengths[request])))]
            expected[drawn] = _minus_entropy(logit[rows[kept]], ends)
        left[slate[at]] = False
    return expected


def _minus_entropy(logit: FloatArray, offsets: IntArray) -> FloatArray:
    """(n,) mean of the log of softmax under itself, per group."""
    lengths = np.diff(offsets)
    centred = logit - np.repeat(np.maximum.reduceat(logit, offsets[:-1]), lengths)
    strength = np.exp(centred)
    total = request_sums(strength, offsets)
    return request_sums(strength * centred, offsets) / total - np.log(total)

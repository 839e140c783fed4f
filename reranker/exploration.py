"""Plackett-Luce exploration over scores: slates drawn, and the exact probability of what was served.

A slate is filled from the top: slot by slot a candidate is drawn with probability proportional to
exp(score / temperature) among those that are left. The draw is the argmax of scores plus Gumbel noise, and
the noise of a request comes from a counter-based generator keyed by (seed, request key): requests may be
split, ordered and repeated in any way, and each gets the same slate. Temperature 0 is the order of scores.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from reranker.columns import FloatArray, IntArray, first_row, ragged_rows
from reranker.draw_kernel import add_marginals, draw_slates, prefix_propensities, served_marginals
from reranker.policy import Exploration

MAX_MARGINAL_CANDIDATES = 12
MAX_MARGINAL_SLOTS = 4


def request_keys(ids: Iterable[str]) -> NDArray[np.uint64]:
    """(n,) a 64-bit hash of each id, the same in every process: the key of a request's randomness.

    Example:
        >>> request_keys(["r1"]).tolist() == request_keys(["r0", "r1"])[1:].tolist()
        True
    """
    hashes = b"".join(blake2b(one.encode(), digest_size=8).digest() for one in ids)
    return np.frombuffer(hashes, "<u8").astype(np.uint64)


def sample_rankings(
    score: FloatArray,
    offsets: IntArray,
    temperature: float | FloatArray,
    n_slots: int,
    *,
    seed: int,
    request_key: NDArray[np.uint64],
) -> tuple[IntArray, IntArray]:
    """A slate per request, drawn by Plackett-Luce: its rows (s,), and its slots' offsets (n + 1,).

    The noise of candidate i of a request, counted from 0, is the i-th word of numpy's
    Philox(key=[seed, request_key]): two policies on the same candidates share it (common Gumbels).

    Args:
        score: (c,) finite; equal scores go by row.
        offsets: (n + 1,) request r has candidates offsets[r] to offsets[r + 1].
        temperature: in the unit of the scores, of all or (n,) of each request; 0 draws nothing.
        n_slots: length of a slate; shorter where there are fewer candidates.
        seed: of the draw, reduced modulo 2**64.
        request_key: (n,) see `request_keys`.

    Raises:
        ValueError: a score is not finite, a temperature below 0 or not finite, or a length does not fit.

    Source: Yellott, The relationship between Luce's choice axiom, Thurstone's theory and the double
    exponential distribution, 1977; Kool, van Hoof and Welling, Stochastic beams and where to find them, 2019.

    Example:
        >>> keys = request_keys(["a", "b"])
        >>> slate, slots = sample_rankings(np.array([1.0, 3, 2, 5]), np.array([0, 3, 4]), 0.0, 2,
        ...     seed=1, request_key=keys)
        >>> slate.tolist(), slots.tolist()
        ([1, 2, 3], [0, 2, 3])
    """
    score, offsets = _checked_scores(score, offsets)
    n = len(offsets) - 1
    if n_slots < 1:
        raise ValueError(f"n_slots: expected at least 1, got {n_slots}")
    if len(request_key) != n:
        raise ValueError(f"request_key: expected {n} keys, got {len(request_key)}")
    heat = _checked_temperature(temperature, n)
    slot_offsets = np.concatenate(([0], np.cumsum(np.minimum(np.diff(offsets), n_slots)))).astype(np.int64)
    slate = np.empty(int(slot_offsets[-1]), dtype=np.int64)
    keys = np.ascontiguousarray(request_key, dtype=np.uint64)
    draw_slates(score, offsets, heat, slot_offsets, np.uint64(seed % 2**64), keys, slate)
    return slate, slot_offsets


def draw_order(
    score: FloatArray,
    offsets: IntArray,
    temperature: FloatArray,
    rule: Exploration,
    *,
    seed: int,
    request_key: NDArray[np.uint64],
) -> tuple[IntArray, FloatArray]:
    """Ranks `rule.from_rank` to `rule.n_slots` drawn: the places (k,) to take, and the log probability (k,).

    Above and below, the places keep their order, with probability 1 given what stands above.

    Args:
        score: (k,) of the candidates in their finished order, best first in each request.
        offsets: (n + 1,) requests in it.
        temperature: (n,) of each request, 0 to keep its order.
        rule: which ranks.
        seed: as in `sample_rankings`.
        request_key: (n,) as in `sample_rankings`.
    """
    lengths = np.diff(offsets)
    head = np.minimum(lengths, rule.from_rank - 1)
    rows = ragged_rows(offsets[:-1] + head, lengths - head)
    cut = np.concatenate(([0], np.cumsum(lengths - head)))
    n_slots = rule.n_slots - rule.from_rank + 1
    drawn, slots = sample_rankings(score[rows], cut, temperature, n_slots, seed=seed, request_key=request_key)
    probability = log_prefix_propensity(score[rows], cut, drawn, slots, temperature)
    request = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(score)) - offsets[request]
    wanted = np.where(place < head[request], place, place + n_slots)  # those not drawn come after those drawn
    k = np.arange(len(drawn)) - np.repeat(slots[:-1], np.diff(slots))
    wanted[rows[drawn]] = np.repeat(head, np.diff(slots)) + k
    order = np.lexsort((wanted, request))
    last = np.minimum(place - head[request], np.diff(slots)[request] - 1)  # the slot that decides each place
    return order, np.where(last >= 0, np.append(probability, 0.0)[slots[:-1][request] + last], 0.0)


def log_prefix_propensity(
    score: FloatArray,
    offsets: IntArray,
    slate: IntArray,
    slot_offsets: IntArray,
    temperature: float | FloatArray,
    *,
    from_rank: int | IntArray = 1,
) -> FloatArray:
    """(s,) log pi(a_1, ..., a_k | request) up to each slot: 0 or less, and never rising along a slate.

    The sum of exponentials of the candidates that are left is built from those in no slot, adding the slots
    from the last one up: nothing is subtracted, so a dominating candidate leaves no NaN behind.

    Args:
        score: (c,) finite.
        offsets: (n + 1,) candidates of each request.
        slate: (s,) rows of the candidates served.
        slot_offsets: (n + 1,) slots of each request.
        temperature: of all or (n,) of each request. At 0 the order of scores has probability 1 and every
            other prefix -inf.
        from_rank: the first rank, from 1, that was drawn; those above it take the best candidate left.

    Raises:
        ValueError: as `sample_rankings`; or a slot holds a row of another request, or a row twice.

    Source: Plackett, The analysis of permutations, 1975, equation 3.

    Example:
        >>> logits, one = np.array([2.0, 1.0, 0.0]), np.array([0, 3])
        >>> served = log_prefix_propensity(logits, one, np.array([1, 0]), np.array([0, 2]), 1.0)
        >>> np.exp(served).round(6).tolist()
        [0.244728, 0.215556]
    """
    score, offsets = _checked_scores(score, offsets)
    slate, slot_offsets = _checked_slate(slate, slot_offsets, offsets)
    n = len(offsets) - 1
    heat = _checked_temperature(temperature, n)
    fixed = np.broadcast_to(np.asarray(from_rank, dtype=np.int64) - 1, (n,))
    if (fixed < 0).any():
        raise ValueError(f"from_rank: expected at least 1, got {fixed.min() + 1}")
    fixed = np.where(heat == 0.0, np.iinfo(np.int64).max, fixed)
    out = np.empty(len(slate))
    prefix_propensities(score, offsets, slate, slot_offsets, np.where(heat == 0.0, 1.0, heat), fixed, out)
    return out


def slot_marginals(score: FloatArray, temperature: float, n_slots: int) -> FloatArray:
    """(K, C) the exact probability that each candidate of one request stands in each slot.

    Rows add up to 1; with K = C columns do too. Exact by a sum over sets of placed candidates: for at most 12
    candidates and 4 slots.

    Args:
        score: (C,) finite.
        temperature: in the unit of the scores; 0 gives ones and zeros.
        n_slots: K; cut to C.

    Raises:
        ValueError: as `sample_rankings`; or there are more candidates or slots than that.

    Example:
        >>> slot_marginals(np.array([2.0, 1.0, 0.0]), 1.0, 2).round(3).tolist()
        [[0.665, 0.245, 0.09], [0.281, 0.511, 0.208]]
    """
    score, offsets = _checked_scores(score, np.array([0, len(score)]))
    heat = float(_checked_temperature(temperature, 1)[0])
    k = min(n_slots, len(score))
    _check_small(offsets, np.array([0, k]))
    out = np.zeros((k, len(score)))
    if heat == 0.0:
        out[np.arange(k), np.argsort(-score, kind="stable")[:k]] = 1.0
    else:
        add_marginals(score, heat, out)
    return out


def log_slot_propensity(
    score: FloatArray,
    offsets: IntArray,
    slate: IntArray,
    slot_offsets: IntArray,
    temperature: float | FloatArray,
) -> FloatArray:
    """(s,) log pi(a stands in slot k | request) of each served candidate, whatever stands above it.

    The marginal that item-position weights need; exact, see `slot_marginals`. -inf where it cannot occur, or
    is below the smallest double.

    Raises:
        ValueError: as `log_prefix_propensity` and `slot_marginals`.
    """
    score, offsets = _checked_scores(score, offsets)
    slate, slot_offsets = _checked_slate(slate, slot_offsets, offsets)
    heat = _checked_temperature(temperature, len(offsets) - 1)
    _check_small(offsets, slot_offsets)
    if (heat == 0.0).any():
        raise ValueError("temperature: expected more than 0 for marginals, got 0; use the prefix propensity")
    out = np.empty(len(slate))
    served_marginals(score, offsets, slate, slot_offsets, heat, out)
    with np.errstate(divide="ignore"):
        return np.log(out)


def _checked_scores(score: FloatArray, offsets: IntArray) -> tuple[FloatArray, IntArray]:
    score = np.ascontiguousarray(score, dtype=np.float64)
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    if len(offsets) == 0 or offsets[0] != 0 or (np.diff(offsets) < 0).any() or offsets[-1] != len(score):
        raise ValueError(f"offsets: expected 0 first, never falling, {len(score)} last")
    if not np.isfinite(score).all():
        at = first_row(~np.isfinite(score))
        raise ValueError(f"score: expected finite numbers, got {score[at]} at row {at}")
    return score, offsets


def _checked_temperature(temperature: float | FloatArray, n: int) -> FloatArray:
    heat = np.asarray(temperature, dtype=np.float64)
    if heat.ndim and heat.shape != (n,):
        raise ValueError(f"temperature: expected one number or {n}, got {heat.size}")
    heat = np.ascontiguousarray(np.broadcast_to(heat, (n,)))
    wrong = ~(np.isfinite(heat) & (heat >= 0.0))
    if wrong.any():
        at = first_row(wrong)
        raise ValueError(f"temperature: expected a finite number >= 0, got {heat[at]} at request {at}")
    return heat


def _checked_slate(slate: IntArray, slot_offsets: IntArray, offsets: IntArray) -> tuple[IntArray, IntArray]:
    slate = np.ascontiguousarray(slate, dtype=np.int64)
    slots = np.ascontiguousarray(slot_offsets, dtype=np.int64)
    if len(slots) != len(offsets) or slots[0] != 0 or (np.diff(slots) < 0).any() or slots[-1] != len(slate):
        raise ValueError(
            f"slot_offsets: expected {len(offsets)} numbers, 0 first, never falling, {len(slate)} last"
        )
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(slots))
    outside = (slate < offsets[request]) | (slate >= offsets[request + 1])
    if outside.any():
        at = first_row(outside)
        low, high = offsets[request[at]], offsets[request[at] + 1]
        raise ValueError(f"slate: expected a row from {low} to {high - 1}, got {slate[at]} at slot {at}")
    used = np.zeros(int(offsets[-1]), dtype=np.bool_)
    used[slate] = True
    if int(used.sum()) != len(slate):
        rows, counts = np.unique(slate, return_counts=True)
        raise ValueError(f"slate: expected each row once, got row {rows[counts > 1][0]} twice")
    return slate, slots


def _check_small(offsets: IntArray, slot_offsets: IntArray) -> None:
    most, longest = np.diff(offsets).max(initial=0), np.diff(slot_offsets).max(initial=0)
    if most > MAX_MARGINAL_CANDIDATES or longest > MAX_MARGINAL_SLOTS:
        raise ValueError(
            f"marginals: expected at most {MAX_MARGINAL_CANDIDATES} candidates and {MAX_MARGINAL_SLOTS} "
            f"slots, got {most} and {longest}"
        )

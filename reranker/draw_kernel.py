"""The loops of exploration, compiled: Philox words, Plackett-Luce draws, their propensities and marginals.

They release the GIL and work request by request: what a request gets depends on nothing but its own rows.
Scores are always taken relative to the best candidate that is left, so that no size of score and no
temperature gives inf - inf, and sums of exponentials are only added to, never subtracted from.
"""

# ruff: noqa: PLR0917
# mypy: disallow-untyped-decorators=False

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reranker.columns import FloatArray, IntArray

_WORD = np.uint64(1)  # numba: an integer literal beside a uint64 would make a float of both
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_MULTIPLY = (np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157))
_BUMP = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B))
_MANTISSA = np.uint64(11)
_UNIT = 2.0**-53


@njit(cache=True, nogil=True, inline="always")
def _high_word(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 bits of the product of two words."""
    a_low, a_high, b_low, b_high = a & _LOW, a >> _HALF, b & _LOW, b >> _HALF
    middle = a_high * b_low + ((a_low * b_low) >> _HALF)
    other = a_low * b_high + (middle & _LOW)
    return a_high * b_high + (middle >> _HALF) + (other >> _HALF)


@njit(cache=True, nogil=True)
def write_uniforms(seed: np.uint64, key: np.uint64, out: FloatArray) -> None:
    """Write numbers in (0, 1): the words of Philox-4x64-10 with key (seed, key) from counter 1 on.

    Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011, section 3.3.
    """
    counter = np.uint64(0)
    for start in range(0, len(out), 4):
        counter += _WORD
        a, b, c, d = counter, np.uint64(0), np.uint64(0), np.uint64(0)
        k0, k1 = seed, key
        for _ in range(10):
            high_a, low_a = _high_word(_MULTIPLY[0], a), _MULTIPLY[0] * a
            high_c, low_c = _high_word(_MULTIPLY[1], c), _MULTIPLY[1] * c
            a, b, c, d = high_c ^ b ^ k0, low_c, high_a ^ d ^ k1, low_a
            k0 += _BUMP[0]
            k1 += _BUMP[1]
        left = len(out) - start
        out[start] = (np.float64(a >> _MANTISSA) + 0.5) * _UNIT
        if left > 1:
            out[start + 1] = (np.float64(b >> _MANTISSA) + 0.5) * _UNIT
        if left > 2:
            out[start + 2] = (np.float64(c >> _MANTISSA) + 0.5) * _UNIT
        if left > 3:
            out[start + 3] = (np.float64(d >> _MANTISSA) + 0.5) * _UNIT


@njit(cache=True, nogil=True)
def draw_slates(
    score: FloatArray,
    offsets: IntArray,
    temperature: FloatArray,
    slot_offsets: IntArray,
    seed: np.uint64,
    request_key: NDArray[np.uint64],
    slate: IntArray,
) -> None:
    """Write the rows that Gumbel-top-k puts in the slots of each request; equal keys go by row.

    Args:
        score: (c,) finite.
        offsets: (n + 1,) candidates of each request.
        temperature: (n,) 0 for the order of the scores.
        slot_offsets: (n + 1,) slots of each request, no more than it has candidates.
        seed: the first half of the generator's key.
        request_key: (n,) the second half.
        slate: (s,) written.
    """
    for r in range(len(offsets) - 1):
        low, n_slots = offsets[r], slot_offsets[r + 1] - slot_offsets[r]
        own = score[low : offsets[r + 1]]
        gumbel, left = np.zeros(len(own)), np.ones(len(own), dtype=np.bool_)
        if temperature[r] > 0.0:
            write_uniforms(seed, request_key[r], gumbel)
            for i in range(len(own)):
                gumbel[i] = -np.log(-np.log(gumbel[i]))
        key, top = np.empty(len(own)), np.inf
        for k in range(n_slots):
            best_score = -np.inf
            for i in range(len(own)):
                if left[i] and own[i] > best_score:
                    best_score = own[i]
            if best_score != top:  # only then do the keys change
                top = best_score
                for i in range(len(own)):
                    key[i] = (own[i] - top) / temperature[r] + gumbel[i] if temperature[r] > 0.0 else own[i]
            best = -1
            for i in range(len(own)):
                if left[i] and (best < 0 or key[i] > key[best]):
                    best = i
            left[best] = False
            slate[slot_offsets[r] + k] = low + best


@njit(cache=True, nogil=True)
def prefix_propensities(
    score: FloatArray,
    offsets: IntArray,
    slate: IntArray,
    slot_offsets: IntArray,
    temperature: FloatArray,
    n_fixed: IntArray,
    out: FloatArray,
) -> None:
    """Write the logarithm of the probability of each prefix of each slate.

    Args:
        score: (c,) finite.
        offsets: (n + 1,) candidates of each request.
        slate: (s,) rows, each of its own request and at most once.
        slot_offsets: (n + 1,) slots of each request.
        temperature: (n,) above 0, or any where all slots are fixed.
        n_fixed: (n,) first slots of each request that take the best candidate left.
        out: (s,) written; 0 or less and never rising, -inf where the prefix cannot occur.
    """
    for r in range(len(offsets) - 1):
        first, n_slots = slot_offsets[r], slot_offsets[r + 1] - slot_offsets[r]
        fixed = min(n_fixed[r], n_slots)
        own = score[offsets[r] : offsets[r + 1]]
        at, found = slate[first : first + n_slots] - offsets[r], out[first : first + n_slots]
        left = np.ones(len(own), dtype=np.bool_)
        total = 0.0 if _take_best(own, left, at[:fixed], found[:fixed]) else -np.inf
        _log_shares(own, left, at[fixed:], temperature[r], found[fixed:])
        for k in range(fixed, n_slots):
            total += found[k]
            found[k] = total


@njit(cache=True, nogil=True)
def _take_best(own: FloatArray, left: NDArray[np.bool_], at: IntArray, found: FloatArray) -> bool:
    """Whether each slot holds the best of those left; writes 0 while it does, then -inf."""
    holds = True
    for k in range(len(at)):
        best = -1
        for i in range(len(own)):
            if left[i] and (best < 0 or own[i] > own[best]):
                best = i
        holds = holds and at[k] == best
        left[at[k]] = False
        found[k] = 0.0 if holds else -np.inf
    return holds


@njit(cache=True, nogil=True)
def _log_shares(
    own: FloatArray, left: NDArray[np.bool_], at: IntArray, temperature: float, found: FloatArray
) -> None:
    """Write log P(this one next, of those left) for each slot.

    The mass of those left is that of the candidates in no slot, to which slots are added from the last up.
    """
    for k in range(len(at)):
        left[at[k]] = False
    top, mass = -np.inf, 0.0
    for i in range(len(own)):
        if left[i] and own[i] > top:
            top = own[i]
    for i in range(len(own)):
        if left[i]:
            mass += np.exp((own[i] - top) / temperature)
    for k in range(len(at) - 1, -1, -1):
        here = own[at[k]]
        if here > top:
            mass = 1.0 + (mass * np.exp((top - here) / temperature) if mass > 0.0 else 0.0)
            top = here
        else:
            mass += np.exp((here - top) / temperature)
        found[k] = (here - top) / temperature - np.log(mass)


@njit(cache=True, nogil=True)
def add_marginals(own: FloatArray, temperature: float, out: FloatArray) -> None:
    """Add P(candidate i stands in slot k) to out (K, C), by the probability of each set of placed ones.

    Args:
        own: (C,) scores of one request.
        temperature: above 0.
        out: (K, C) zeros, K at most C.
    """
    n_slots, n = out.shape
    reached = np.zeros(1 << n)  # by set, as bits; a set comes after all its subsets
    reached[0] = 1.0
    share = np.empty(n)
    for placed in range(1 << n):
        size = 0
        for i in range(n):
            size += (placed >> i) & 1
        if size >= n_slots or reached[placed] == 0.0:
            continue
        top, mass = -np.inf, 0.0
        for i in range(n):
            if not (placed >> i) & 1 and own[i] > top:
                top = own[i]
        for i in range(n):
            if not (placed >> i) & 1:
                share[i] = np.exp((own[i] - top) / temperature)
                mass += share[i]
        for i in range(n):
            if not (placed >> i) & 1:
                p = reached[placed] * (share[i] / mass)
                out[size, i] += p
                reached[placed | (1 << i)] += p


@njit(cache=True, nogil=True)
def served_marginals(
    score: FloatArray,
    offsets: IntArray,
    slate: IntArray,
    slot_offsets: IntArray,
    temperature: FloatArray,
    out: FloatArray,
) -> None:
    """Write P(the served candidate stands in its slot) of every slot; arguments as for the propensities."""
    for r in range(len(offsets) - 1):
        first, n_slots = slot_offsets[r], slot_offsets[r + 1] - slot_offsets[r]
        found = np.zeros((n_slots, offsets[r + 1] - offsets[r]))
        add_marginals(score[offsets[r] : offsets[r + 1]], temperature[r], found)
        for k in range(n_slots):
            out[first + k] = found[k, slate[first + k] - offsets[r]]

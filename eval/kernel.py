"""The loops of evaluation at scale, compiled: hashes, bootstrap weights, exact sums, slates of many policies.

They release the GIL. The sums are of whole numbers, so that neither the order of the rows nor the number
of threads changes a bit; the rest works request by request in a fixed order, without fast-math.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reranker.columns import FloatArray, IntArray

Words = NDArray[np.uint64]
Function = TypeVar("Function", bound=Callable[..., object])
compiled: Callable[[Function], Function] = njit(cache=True, nogil=True)

_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)
_LOW_BITS = 32
_LOW = 2**_LOW_BITS


@compiled
def _mixed(z: np.uint64) -> np.uint64:
    """One word with every bit of the input in every bit of the output; one to one."""
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


@compiled
def mix64(z: Words) -> Words:
    """(n,) each word with every bit of the input in every bit of the output; one to one.

    Source: Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014 (with variant 13 of
    Stafford's constants).
    """
    out = np.empty_like(z)
    for i in range(len(z)):
        out[i] = _mixed(z[i])
    return out


@compiled
def fill_words(key: Words, counter: Words, out: NDArray[np.uint32]) -> None:
    """Write 32 uniform bits per key and replicate; two replicates share a counter.

    Args:
        key: (n,) mixed.
        counter: (ceil(b / 2),) mixed.
        out: (n, b) written.
    """
    for i in range(len(key)):
        for b in range(out.shape[1]):
            word = _mixed(key[i] ^ counter[b >> 1])
            out[i, b] = np.uint32(word >> _HALF) if b & 1 else np.uint32(word)


@compiled
def fill_weights(key: Words, counter: Words, thresholds: NDArray[np.uint32], out: FloatArray) -> None:
    """Write how many thresholds each of the words of `fill_words` reaches.

    Args:
        key: (n,) mixed.
        counter: (ceil(b / 2),) mixed.
        thresholds: increasing.
        out: (n, b) written.
    """
    words = np.empty(2 * len(counter), dtype=np.uint32)
    for i in range(len(key)):
        for j in range(len(counter)):
            word = _mixed(key[i] ^ counter[j])
            words[2 * j] = np.uint32(word)
            words[2 * j + 1] = np.uint32(word >> _HALF)
        row = out[i]
        for b in range(len(row)):
            weight = 0
            for k in range(len(thresholds)):  # no branch: the loop over b becomes vector instructions
                weight += words[b] >= thresholds[k]
            row[b] = weight


@compiled
def _add(value: float, cell: IntArray, at: int) -> None:
    """Add a number as cell[at] * 2**-8 + cell[at + 1] * 2**-40, both whole."""
    scaled = value * 256.0
    whole = np.floor(scaled)
    cell[at] += np.int64(whole)
    cell[at + 1] += np.int64(np.rint((scaled - whole) * _LOW))


@compiled
def add_rows(values: FloatArray, group: IntArray, out: IntArray) -> None:
    """Add each row to its group as a whole number of 2**-40, in two parts: high * 2**-8 + low * 2**-40.

    Args:
        values: (n, d) finite, below 2**52 in size.
        group: (n,) row of `out`.
        out: (groups, d, 2) high and low added to; low is not carried over: at most 2**30 rows per call.
    """
    for i in range(len(group)):
        for j in range(values.shape[1]):
            _add(values[i, j], out[group[i], j], 0)


@compiled
def add_moments(values: FloatArray, group: IntArray, out: IntArray) -> None:
    """Add to each group, as `add_rows` does, x, x * x, x * x of policy 0, and x * the policy's metric 0.

    Args:
        values: (n, p, m) finite, with squares below 2**52.
        group: (n,) index into the groups.
        out: (groups, p, m, 8) added to: the four, high and low of each side by side, as groups are met in
            any order and each is one stretch of memory.
    """
    for i in range(len(group)):
        for p in range(values.shape[1]):
            for m in range(values.shape[2]):
                x, cell = values[i, p, m], out[group[i], p, m]
                _add(x, cell, 0)
                _add(x * x, cell, 2)
                _add(x * values[i, 0, m], cell, 4)
                _add(x * values[i, p, 0], cell, 6)


@compiled
def group_keys(key: Words, table: NDArray[np.int32], first: Words, code: NDArray[np.int32]) -> int:
    """Write the distinct keys in the order in which they come, and which of them each row has; how many.

    Args:
        key: (n,).
        table: a power of two above n, of -1: where keys have been seen, by hash.
        first: (n,) written as far as there are distinct keys.
        code: (n,) written.
    """
    found, mask = 0, np.uint64(len(table) - 1)
    for i in range(len(key)):
        slot = _mixed(key[i]) & mask
        while table[slot] >= 0 and first[table[slot]] != key[i]:
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = found
            first[found] = key[i]
            found += 1
        code[i] = table[slot]
    return found


@compiled
def carry(high: IntArray, low: IntArray) -> None:
    """Move what is beyond 32 bits in `low` to `high`, so that equal sums are equal bytes."""
    for i in range(high.size):
        high[i] += low[i] >> _LOW_BITS
        low[i] &= _LOW - 1


@compiled
def decode(values: NDArray[np.generic], table: FloatArray, first: int, out: FloatArray) -> None:
    """Write the columns of one request, row by row: codes by the table, or numbers as they are.

    Args:
        values: (a, c) uint8 codes, or numbers.
        table: (256,) what each code stands for, or empty for numbers.
        first: the request's first column.
        out: (a, columns) written.
    """
    for j in range(out.shape[0]):
        row, found = out[j], values[j, first : first + out.shape[1]]
        if table.size:
            for i in range(len(row)):
                row[i] = table[int(found[i])]
        else:
            for i in range(len(row)):
                row[i] = found[i]


@compiled
def score_candidates(  # noqa: PLR0917 - compiled functions take arrays one by one
    weights: FloatArray,
    cap: float,
    curves: FloatArray,
    actions: FloatArray,
    harms: FloatArray,
    multiplier: FloatArray,
    out: FloatArray,
) -> None:
    """Write min(cap, multiplier * weighted sum of the actions) times the demotions of one policy.

    Args:
        weights: (a,) one per action.
        cap: the largest score before demotion.
        curves: (h, 3) start, line and floor of each harm's demotion; a floor of 1 demotes nothing.
        actions: (a, c) of one request.
        harms: (h, c) of it, NaN where not scored, which demotes nothing.
        multiplier: (c,) of it.
        out: (c,) written.
    """
    out[:] = 0.0
    for j in range(len(weights)):
        if weights[j] != 0.0:
            row = actions[j]
            for i in range(len(out)):
                out[i] += weights[j] * row[i]
    for i in range(len(out)):
        out[i] = min(cap, out[i] * multiplier[i])
    for h in range(len(curves)):
        start, line, floor = curves[h]
        if floor != 1.0:
            column = harms[h]
            for i in range(len(out)):
                p = column[i]
                if p >= start:
                    depth = 1.0 if p >= line else (p - start) / (line - start)
                    kept = 1.0 - (1.0 - floor) * depth
                    # a score below zero is demoted by making it lower, not by bringing it up to zero
                    out[i] = out[i] * kept if out[i] > 0.0 else out[i] * (2.0 - kept)


@compiled
def fill_top(score: FloatArray, best: FloatArray, top: IntArray) -> int:
    """Write the candidates with the highest scores, best first, equal ones in their order; how many.

    Args:
        score: (c,).
        best: (k,) room for their scores.
        top: (k,) written.
    """
    slots, filled = len(top), 0
    for i in range(len(score)):
        x = score[i]
        if filled == slots and not x > best[slots - 1]:
            continue
        at = filled if filled < slots else slots - 1
        while at > 0 and best[at - 1] < x:
            best[at], top[at] = best[at - 1], top[at - 1]
            at -= 1
        best[at], top[at] = x, i
        filled = min(filled + 1, slots)
    return filled


@compiled
def add_exposure(  # noqa: PLR0917 - compiled functions take arrays one by one
    top: IntArray,
    examination: FloatArray,
    stop: FloatArray,
    actions: FloatArray,
    harms: FloatArray,
    out: FloatArray,
) -> None:
    """Add what one slate shows: views, then per harm the scored views and the harm, then the actions.

    Args:
        top: (k,) candidates, best first.
        examination: (at least k,) chance that a position is seen by whoever does not stop.
        stop: (c,) chance of stopping after each candidate, or empty.
        actions: (a, c) probabilities given a view.
        harms: (h, c) probabilities, NaN where not scored.
        out: (1 + 2 * h + a,) added to.
    """
    n_harms, reach = harms.shape[0], 1.0
    for k in range(len(top)):
        i = top[k]
        seen = examination[k] * reach
        out[0] += seen
        for h in range(n_harms):
            p = harms[h, i]
            if not np.isnan(p):
                out[1 + h] += seen
                out[1 + n_harms + h] += seen * p
        for j in range(actions.shape[0]):
            out[1 + 2 * n_harms + j] += seen * actions[j, i]
        if stop.size:
            reach *= 1.0 - stop[i]


@compiled
def measure_requests(  # noqa: PLR0917 - compiled functions take arrays one by one
    offsets: IntArray,
    actions: NDArray[np.generic],
    action_table: FloatArray,
    harms: NDArray[np.generic],
    harm_table: FloatArray,
    multiplier: FloatArray,
    stop: FloatArray,
    weights: FloatArray,
    cap: FloatArray,
    curves: FloatArray,
    examination: FloatArray,
    out: FloatArray,
) -> None:
    """Rank every request under every policy and write what its slate shows.

    Args:
        offsets: (r + 1,) candidates of the requests worked on.
        actions: (a, c) codes or numbers.
        action_table: (256,) or empty.
        harms: (h, c) codes or numbers, NaN where not scored.
        harm_table: (256,) or empty.
        multiplier: (c,) or empty for 1.
        stop: (c,) or empty.
        weights: (p, a).
        cap: (p,).
        curves: (p, h, 3).
        examination: (k,) slots.
        out: (r, p, 3 + 2 * h + a) written: `add_exposure`, 1 where the slate is not that of the first
            policy, and 1.
    """
    longest, slots, last = 0, len(examination), out.shape[2] - 1
    for r in range(len(offsets) - 1):
        longest = max(longest, offsets[r + 1] - offsets[r])
    p_action, p_harm = np.empty((actions.shape[0], longest)), np.empty((harms.shape[0], longest))
    factor, score = np.ones(longest), np.empty(longest)
    best, top, baseline = np.empty(slots), np.empty(slots, dtype=np.int64), np.empty(slots, dtype=np.int64)
    for r in range(len(offsets) - 1):
        first, n = offsets[r], offsets[r + 1] - offsets[r]
        own_actions, own_harms = p_action[:, :n], p_harm[:, :n]
        decode(actions, action_table, first, own_actions)
        decode(harms, harm_table, first, own_harms)
        if multiplier.size:
            factor[:n] = multiplier[first : first + n]
        own_stop = stop[first : first + n] if stop.size else stop
        for p in range(len(weights)):
            score_candidates(weights[p], cap[p], curves[p], own_actions, own_harms, factor[:n], score[:n])
            filled = fill_top(score[:n], best, top)
            values = out[r, p]
            values[:] = 0.0
            add_exposure(top[:filled], examination, own_stop, own_actions, own_harms, values)
            if p == 0:
                baseline[:] = top
            for k in range(filled):
                if top[k] != baseline[k]:
                    values[last - 1] = 1.0
            values[last] = 1.0

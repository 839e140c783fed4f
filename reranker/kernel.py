"""The two loops that numpy is slow at, compiled: engagement sums, and counting authors down an order.

Both release the GIL, and work request by request in a fixed order of additions, without fast-math: what
a row gets does not depend on the rows that are worked on beside it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reranker.columns import FloatArray, IntArray


@njit(cache=True, nogil=True)
def add_signal_sums(
    values: FloatArray,
    weights: FloatArray,
    classes: NDArray[np.int32],
    multiplier: FloatArray,
    offsets: IntArray,
    start: int,
    signal: IntArray,
    out: FloatArray,
) -> None:
    """Add the positive score that each signal has in each request to out (signals, requests).

    Args:
        values: (S, n) counts.
        weights: (C, S) by class.
        classes: (n,) class of each row, or empty for class 0.
        multiplier: (n,) or empty for 1.
        offsets: (k + 1,) rows of the k requests worked on.
        start: column of `out` that the first of them has.
        signal: (S,) row of `out` for each signal.
        out: sums are added here.
    """
    for k in range(len(offsets) - 1):
        for j in range(values.shape[0]):
            total = 0.0
            for i in range(offsets[k], offsets[k + 1]):
                weight = weights[classes[i] if classes.size else 0, j]
                if weight > 0.0:
                    total += weight * values[j, i] * (multiplier[i] if multiplier.size else 1.0)
            out[signal[j], start + k] += total


@njit(cache=True, nogil=True)
def add_engagement(
    values: FloatArray,
    weights: FloatArray,
    classes: NDArray[np.int32],
    multiplier: FloatArray,
    offsets: IntArray,
    shares: FloatArray,
    factor: FloatArray,
    out: FloatArray,
) -> None:
    """Add one group's engagement to out: positive, endorsed anyway, endorsed with quality, negative.

    Args:
        values: (S, n) counts.
        weights: (C, S) by class.
        classes: (n,) class of each row, or empty for class 0.
        multiplier: (n,) or empty for 1.
        offsets: (k + 1,) rows of the k requests worked on.
        shares: (2, S) the parts of each signal endorsed anyway, and with quality.
        factor: (S, k) what the guard leaves of a signal in each request, or empty.
        out: (4, rows) from the first request's first row on.
    """
    first = offsets[0]
    group = np.zeros(out.shape)
    for k in range(len(offsets) - 1):
        low, high = offsets[k] - first, offsets[k + 1] - first
        for j in range(values.shape[0]):
            kept = factor[j, k] if factor.size else 1.0
            anyway, scaled = shares[0, j], shares[1, j]
            if classes.size == 0:
                weight = weights[0, j]
                if weight > 0.0:
                    weight *= kept
                    for i in range(low, high):
                        gain = weight * values[j, first + i]
                        group[0, i] += gain
                        group[1, i] += anyway * gain
                        group[2, i] += scaled * gain
                elif weight < 0.0:
                    for i in range(low, high):
                        group[3, i] += weight * values[j, first + i]
            else:
                for i in range(low, high):
                    weight = weights[classes[first + i], j]
                    if weight > 0.0:
                        gain = weight * kept * values[j, first + i]  # rounded as above: blocks must agree
                        group[0, i] += gain
                        group[1, i] += anyway * gain
                        group[2, i] += scaled * gain
                    else:
                        group[3, i] += weight * values[j, first + i]
    for row in range(4):
        for i in range(out.shape[1]):
            out[row, i] += group[row, i] * (multiplier[first + i] if multiplier.size else 1.0)


@njit(cache=True, nogil=True)
def count_authors(
    order: IntArray, author: NDArray[np.int32], offsets: IntArray, n_authors: int, out: IntArray
) -> None:
    """Write how many posts of its author stand above each row in its request; 0 for a null author.

    Args:
        order: (n,) rows request by request, best first.
        author: (n,) codes below n_authors, -1 where null.
        offsets: (r + 1,) requests in `order`.
        n_authors: number of codes.
        out: (n,) by row.
    """
    seen = np.zeros(n_authors, dtype=np.int64)
    for k in range(len(offsets) - 1):
        for at in range(offsets[k], offsets[k + 1]):
            code = author[order[at]]
            if code >= 0:
                out[order[at]] = seen[code]
                seen[code] += 1
        for at in range(offsets[k], offsets[k + 1]):
            code = author[order[at]]
            if code >= 0:
                seen[code] = 0

"""The loops that numpy is slow at, compiled: engagement sums, harms of a row, authors down an order.

They release the GIL, and work request by request in a fixed order of additions, without fast-math: what
a row gets does not depend on the rows that are worked on beside it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reranker.columns import FloatArray, IntArray

_TILE = 256  # rows whose estimates stay in the cache


@njit(cache=True, nogil=True)
def add_signal_sums(
    values: FloatArray,
    weights: FloatArray,
    classes: NDArray[np.int32],
    multiplier: FloatArray,
    offsets: IntArray,
    signal: IntArray,
    out: FloatArray,
) -> None:
    """Add the positive score that each signal has in each request to out (signals, k).

    Args:
        values: (S, n) counts.
        weights: (C, S) by class.
        classes: (n,) class of each row, or empty for class 0.
        multiplier: (n,) or empty for 1.
        offsets: (k + 1,) rows of the k requests worked on.
        signal: (S,) row of `out` for each signal.
        out: sums are added here.
    """
    for j in range(values.shape[0]):
        if weights[:, j].max() <= 0.0:
            continue
        for k in range(len(offsets) - 1):
            total, x = 0.0, values[j, offsets[k] : offsets[k + 1]]
            for i in range(len(x)):
                row = offsets[k] + i
                weight = weights[classes[row] if classes.size else 0, j]
                if weight > 0.0:
                    total += weight * x[i] * (multiplier[row] if multiplier.size else 1.0)
            out[signal[j], k] += total


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
    for k in range(len(offsets) - 1):
        rows = slice(offsets[k], offsets[k + 1])
        group = np.zeros((4, offsets[k + 1] - offsets[k]))
        for j in range(values.shape[0]):
            kept = factor[j, k] if factor.size else 1.0
            anyway, scaled = shares[0, j], shares[1, j]
            x = values[j, rows]  # a slice: its index needs no check, so that the loops are vectorised
            if classes.size == 0:
                weight = weights[0, j]
                if weight > 0.0:
                    weight *= kept
                    for i in range(len(x)):
                        gain = weight * x[i]
                        group[0, i] += gain
                        group[1, i] += anyway * gain
                        group[2, i] += scaled * gain
                elif weight < 0.0:
                    for i in range(len(x)):
                        group[3, i] += weight * x[i]
            else:
                own = classes[rows]
                for i in range(len(x)):
                    weight = weights[own[i], j]
                    if weight > 0.0:
                        gain = weight * kept * x[i]  # rounded as above: blocks must agree
                        group[0, i] += gain
                        group[1, i] += anyway * gain
                        group[2, i] += scaled * gain
                    else:
                        group[3, i] += weight * x[i]
        low = offsets[k] - first
        for row in range(4):
            for i in range(group.shape[1]):
                scale = multiplier[offsets[k] + i] if multiplier.size else 1.0
                out[row, low + i] += group[row, i] * scale


@njit(cache=True, nogil=True)
def read_harms(
    probability: NDArray[np.float32],
    confidence: NDArray[np.float32],
    start: int,
    harms: IntArray,
    weights: FloatArray,
    lined: IntArray,
    curves: FloatArray,
    unscored: float,
    quality: FloatArray,
    multiplier: FloatArray,
) -> None:
    """Write the quality and the demotion that the estimates of harm give to some rows.

    Args:
        probability: (n, L) estimates, NaN where not scored.
        confidence: (n, L) the weight of each estimate.
        start: the first row.
        harms: (h,) columns that lower the quality, the product of 1 - weight * probability.
        weights: (h,) their weights.
        lined: (m,) columns that have a borderline curve.
        curves: (m, 3) start, line and floor of each.
        unscored: multiplier, once, of a row that some curve's label was not scored for.
        quality: (rows,) written.
        multiplier: (rows,) written: the product of 1 - confidence * (1 - floor) * depth.
    """
    quality[:] = 1.0
    multiplier[:] = 1.0
    for low in range(0, len(quality), _TILE):
        high = min(low + _TILE, len(quality))
        kept, product = quality[low:high], multiplier[low:high]
        unknown = np.zeros(high - low, dtype=np.bool_)
        for h in range(len(harms)):
            column = probability[start + low : start + high, harms[h]]
            for i in range(len(kept)):
                p = np.float64(column[i])
                kept[i] *= 1.0 - weights[h] * (0.0 if np.isnan(p) else p)
        for c in range(len(lined)):
            column = probability[start + low : start + high, lined[c]]
            sure = confidence[start + low : start + high, lined[c]]
            begin, line, depth_at_line = curves[c, 0], curves[c, 1], 1.0 - curves[c, 2]
            for i in range(len(product)):
                p = np.float64(column[i])
                if p >= begin:
                    depth = 1.0 if p >= line else (p - begin) / (line - begin)
                    product[i] *= 1.0 - np.float64(sure[i]) * depth_at_line * depth
                elif np.isnan(p):
                    unknown[i] = True
        if unscored != 1.0:
            for i in range(len(product)):
                if unknown[i]:
                    product[i] *= unscored


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

"""The loop of `page_exports`: pools read from the top while some pages count twice and others not at all."""

import numpy as np

from eval.kernel import compiled
from reranker.columns import FloatArray, IntArray


@compiled
def shown_means(  # noqa: PLR0917 - compiled functions take arrays one by one
    offsets: IntArray,
    group: IntArray,
    values: FloatArray,
    copies: IntArray,
    depth: IntArray,
    seen: FloatArray,
) -> FloatArray:
    """Weighted mean of each outcome over what each pool shows, per resample; NaN where nothing has a value.

    A post that counts w times takes w places, one after another.

    Args:
        offsets: (r + 1,) pools in the ranked rows.
        group: (s,) of each ranked row.
        values: (s, m) outcomes, NaN where null.
        copies: (b, G) how often each group counts.
        depth: (b, r) places that are read at most.
        seen: (d + 1,) sum of the weights of the first places; d at least the largest depth.

    Returns:
        (b, r, m).
    """
    n_resamples, n_pools, m = len(copies), len(offsets) - 1, values.shape[1]
    out = np.empty((n_resamples, n_pools, m))
    total, known = np.empty(m), np.empty(m)
    for b in range(n_resamples):
        for r in range(n_pools):
            total[:] = 0.0
            known[:] = 0.0
            place, last = 0, depth[b, r]
            for i in range(offsets[r], offsets[r + 1]):
                if place >= last:
                    break
                after = min(place + copies[b, group[i]], last)
                if after > place:
                    weight = seen[after] - seen[place]
                    for j in range(m):
                        if not np.isnan(values[i, j]):
                            total[j] += weight * values[i, j]
                            known[j] += weight
                    place = after
            for j in range(m):
                out[b, r, j] = total[j] / known[j] if known[j] > 0.0 else np.nan
    return out

"""Spearman's rank correlation with an interval for rows that come in clusters."""

import numpy as np

from eval.clustered import LEVEL, Estimate, from_influence
from reranker.columns import FloatArray, IntArray


def rank_correlation(x: FloatArray, y: FloatArray, cluster: IntArray, *, level: float = LEVEL) -> Estimate:
    """Spearman's correlation, ties at their middle rank; the interval lets rows of a cluster be alike.

    The error is the linearised one of the ranks, which are themselves estimated. Correlations near 1 need
    another interval: the ends are cut at -1 and 1.

    Args:
        x: (n,) finite.
        y: (n,) finite.
        cluster: (n,) integer codes.
        level: of the interval.

    Raises:
        ValueError: lengths that differ, values that are not finite, a column that does not vary, or fewer
            than 2 clusters.

    Source: Borkowf, Computing the nonnull asymptotic variance and the asymptotic relative efficiency of
    Spearman's rank correlation, 2002.
    """
    if not x.shape == y.shape == cluster.shape:
        raise ValueError(f"rows: expected one length, got {x.shape}, {y.shape} and {cluster.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("rows: expected finite numbers, got others")
    u, v = _centred_rank(x), _centred_rank(y)
    spread_u, spread_v = float((u * u).mean()), float((v * v).mean())
    if not (spread_u > 0 and spread_v > 0):
        raise ValueError("rows: expected values that vary, got one")
    value = float((u * v).mean()) / np.sqrt(spread_u * spread_v)
    together = u * v + _above(x, v) + _above(y, u)
    alone_u, alone_v = u * u + 2 * _above(x, u), v * v + 2 * _above(y, v)
    influence = together / np.sqrt(spread_u * spread_v) - value / 2 * (
        alone_u / spread_u + alone_v / spread_v
    )
    found = from_influence(float(value), influence - influence.mean(), cluster, level=level)
    return Estimate(
        found.value,
        found.standard_error,
        max(found.low, -1.0),
        min(found.high, 1.0),
        found.level,
        found.n,
        found.n_clusters,
        found.df,
        is_fieller=found.low < -1 or found.high > 1,
    )


def _centred_rank(x: FloatArray) -> FloatArray:
    """(n,) share of the rows below, ties counted half, less one half."""
    _, code, count = np.unique(x, return_inverse=True, return_counts=True)
    below = np.concatenate([[0], np.cumsum(count)[:-1]])
    rank: FloatArray = ((below + count / 2) / len(x))[code] - 0.5
    return rank


def _above(x: FloatArray, values: FloatArray) -> FloatArray:
    """(n,) for each row i the mean over rows j of values[j] where x[j] is above x[i], half where equal."""
    code = np.unique(x, return_inverse=True)[1]
    total = np.bincount(code, values)
    above = np.cumsum(total[::-1])[::-1] - total / 2
    found: FloatArray = above[code] / len(x)
    return found

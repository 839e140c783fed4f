"""Intervals of estimates whose rows come by viewer: the rows of one are alike, viewers are independent."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy import stats

from reranker.columns import FloatArray, IntArray

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95% interval.

    Attributes:
        value, low, high: as named.
        n: rows.
        n_clusters: viewers, or whatever else the rows come by.
    """

    value: float
    low: float
    high: float
    n: int
    n_clusters: int

    def as_dict(self) -> dict[str, float | int]:
        """For JSON."""
        return asdict(self)


def clustered(
    value: float,
    influence: FloatArray,
    cluster: IntArray,
    *,
    extra: FloatArray | None = None,
    n_clusters: int | None = None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval | None:
    """An estimate with a t interval; None with fewer than two clusters.

    Args:
        value: the estimate.
        influence: (n,) of each row on it; the sum over all rows is 0.
        cluster: (n,) codes from 0.
        extra: (G,) influence by code that comes from elsewhere, such as an estimate it is computed with.
        n_clusters: clusters that it rests on, where these are fewer than there are rows of.
        bounds: what it can be; the interval is cut there.
    """
    total = np.bincount(cluster, influence, 0 if extra is None else len(extra)).astype(np.float64)
    if extra is not None:
        total += extra
    n_clusters = len(np.unique(cluster)) if n_clusters is None else n_clusters
    if n_clusters < 2:
        return None
    error = float(np.sqrt((total**2).sum() * n_clusters / (n_clusters - 1)))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, n_clusters - 1)) * error
    low, high = max(bounds[0], value - half), min(bounds[1], value + half)
    return Interval(float(value), float(min(low, value)), float(max(high, value)), len(cluster), n_clusters)


def weighted_mean(
    values: FloatArray,
    weight: FloatArray,
    cluster: IntArray,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval | None:
    """The weighted mean of values (n,) with its clustered interval; None with fewer than two clusters."""
    total = weight.sum()
    mean = float(weight @ values / total)
    return clustered(mean, weight * (values - mean) / total, cluster, bounds=bounds)

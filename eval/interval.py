"""Intervals of a paired change, from a bootstrap over users.

The statistic is the change of the mean over requests, each request with weight 1. Users, not requests,
are drawn again: the requests of one user are alike, and an interval that ignores that is too narrow.
"""

from dataclasses import dataclass

import numpy as np

from reranker.columns import FloatArray, IntArray

N_RESAMPLES = 2_000
LEVEL = 0.95
CHUNK = 4_000_000  # Poisson draws held at once


@dataclass(frozen=True)
class Interval:
    """A percentile interval and the standard error, from the same resamples."""

    low: float
    high: float
    standard_error: float

    def contains(self, value: float) -> bool:
        """Whether a value lies in the closed interval."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Change:
    """How one mean over requests differs between two policies.

    Attributes:
        original, treatment: the means over the requests that both policies can be measured on.
        absolute: treatment - original.
        relative: absolute / original, None where the original is 0.
        absolute_interval, relative_interval: None where refused.
        n_requests, n_clusters: what the means rest on.
        refused: why there is no interval, or "".
    """

    original: float | None
    treatment: float | None
    absolute: float | None
    relative: float | None
    absolute_interval: Interval | None
    relative_interval: Interval | None
    n_requests: int
    n_clusters: int
    refused: str


def paired_changes(
    original: FloatArray,
    treatment: FloatArray,
    cluster: IntArray,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> tuple[Change, ...]:
    """The change of each of m statistics, with an interval.

    The percentile interval of a cluster bootstrap with Poisson(1) weights. Valid for many clusters that are
    independent of each other and of which none dominates; with fewer than 2 it is refused. Requests that
    both policies rank alike contribute exactly 0.

    Args:
        original: (r, m) per request under the original policy, NaN where nothing was measured.
        treatment: (r, m) under the other policy.
        cluster: (r,) codes from 0 of the users; the requests themselves where there are no users.
        seed: of the resampling; the same seed gives the same intervals.
        n_resamples: resamples.
        level: of the intervals.

    Source: Chamandy, Muralidharan, Najmi and Naidu, Estimating uncertainty for massive data streams, 2012
    (Poisson weights).

    Example:
        >>> before, after = np.array([[0.2], [0.4], [0.6]]), np.array([[0.1], [0.4], [0.4]])
        >>> change = paired_changes(before, after, np.array([0, 1, 2]), seed=1)[0]
        >>> round(change.relative, 6), change.absolute_interval.high <= 0
        (-0.25, True)
    """
    used = ~(np.isnan(original) | np.isnan(treatment))
    n_groups = int(cluster.max()) + 1 if len(cluster) else 0
    # per cluster, for each statistic: sum of the original, sum of the differences, number of requests
    sums = np.zeros((3, n_groups, original.shape[1]))
    for column, values in zip(sums, (original, treatment - original, np.ones_like(original)), strict=True):
        np.add.at(column, cluster, np.where(used, values, 0.0))
    low, high = (1 - level) / 2, (1 + level) / 2
    replicates = resample_sums(sums, seed=seed, n_resamples=n_resamples)
    return tuple(_change(sums[:, :, j], replicates[:, :, j], (low, high)) for j in range(sums.shape[2]))


def resample_sums(sums: FloatArray, *, seed: int, n_resamples: int) -> FloatArray:
    """(3, n_resamples, m) sums (3, clusters, m) under Poisson(1) weights of the clusters."""
    rng = np.random.default_rng(seed)
    _, n_groups, m = sums.shape
    made = np.empty((3, n_resamples, m))
    step = max(1, CHUNK // max(n_groups, 1))
    for start in range(0, n_resamples, step):
        stop = min(start + step, n_resamples)
        weights = rng.poisson(1.0, (stop - start, n_groups)).astype(np.float64)
        made[:, start:stop] = weights @ sums  # (3, step, m)
    return made


def _change(sums: FloatArray, replicates: FloatArray, quantiles: tuple[float, float]) -> Change:
    """One statistic: `sums` (3, clusters) as seen, `replicates` (3, resamples)."""
    before, difference, count = sums.sum(axis=1)
    n_requests, n_clusters = int(count), int((sums[2] > 0).sum())
    if n_requests == 0:
        return Change(None, None, None, None, None, None, 0, 0, "nothing was measured")
    original, absolute = float(before / count), float(difference / count)
    relative = absolute / original if original > 0 else None
    absolute_interval = relative_interval = None
    refused = ""
    if n_clusters < 2:
        refused = f"an interval needs at least 2 independent clusters, got {n_clusters}"
    else:
        drawn = replicates[:, replicates[2] > 0]
        absolute_interval = _interval(drawn[1] / drawn[2], quantiles)
        if relative is not None and (drawn[0] > 0).all():
            relative_interval = _interval(drawn[1] / drawn[0], quantiles)
    return Change(
        original=original,
        treatment=original + absolute,
        absolute=absolute,
        relative=relative,
        absolute_interval=absolute_interval,
        relative_interval=relative_interval,
        n_requests=n_requests,
        n_clusters=n_clusters,
        refused=refused,
    )


def _interval(values: FloatArray, quantiles: tuple[float, float]) -> Interval:
    low, high = np.quantile(values, quantiles)
    return Interval(float(low), float(high), float(values.std(ddof=1)))

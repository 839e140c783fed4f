"""Estimates whose rows come in clusters: the rows of one user are alike, users are independent.

Everything goes through one influence value per row: its sums by cluster give the standard error, whatever
the statistic. Ratios are ratios of sums, never means of ratios. A statistic of one cluster has no interval;
ratios over fewer than 50 have the bias-reduced error, as the plain one is too small for them.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from eval.bias_reduced import FEW_CLUSTERS, RatioPart, influence_of
from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.fieller import fieller

LEVEL = 0.95
FIELLER_FROM = 0.05  # squared relative half-width of the baseline from which the delta method misleads
Ratio = tuple[FloatArray, FloatArray]


@dataclass(frozen=True)
class Estimate:
    """A value with a symmetric t interval, or another where that is said.

    Attributes:
        value: the estimate.
        standard_error: by cluster; 0.0 only where no cluster differs from the estimate.
        low, high: the interval; -inf and inf where it is unbounded.
        level: of the interval.
        n: rows.
        n_clusters: independent clusters the standard error rests on.
        df: degrees of freedom of the t quantile; None is n_clusters - 1.
        is_fieller: whether low and high are Fieller's or another skewed interval, not value -+ t standard
            errors.
    """

    value: float
    standard_error: float
    low: float
    high: float
    level: float
    n: int
    n_clusters: int
    df: float | None = None
    is_fieller: bool = False

    @property
    def degrees_of_freedom(self) -> float:
        """Degrees of freedom of the t quantile."""
        return float(self.n_clusters - 1) if self.df is None else self.df

    @property
    def bounded(self) -> bool:
        """Whether both ends of the interval are finite."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def interval(self, level: float) -> tuple[float, float]:
        """The symmetric t interval at another level, also where low and high are Fieller's."""
        half = t_quantile(level, self.degrees_of_freedom) * self.standard_error
        return self.value - half, self.value + half


def from_influence(
    value: float, influence: FloatArray, cluster: IntArray, *, level: float = LEVEL
) -> Estimate:
    """An estimate with the sandwich standard error of its influence values, clustered.

    estimate - truth = mean of the influence values, to first order; they sum to 0. The variance is
    G / (G - 1) times the sum of the squared, centred cluster totals over n squared; quantiles from t(G - 1).

    Args:
        value: the estimate.
        influence: (n,) per row, in units of the estimate.
        cluster: (n,) integer codes, any values.
        level: of the interval.

    Raises:
        ValueError: fewer than 2 clusters, lengths that differ, or values that are not finite.

    Source: Liang and Zeger, Longitudinal data analysis using generalized linear models, 1986, eq. 7.
    """
    totals = cluster_totals((influence,), cluster)
    return from_cluster_influence(value, totals[0] / len(influence), n=len(influence), level=level)


def from_cluster_influence(
    value: float, influence: FloatArray, *, n: int, level: float = LEVEL, df: float | None = None
) -> Estimate:
    """An estimate from one influence value per cluster, whose sum (not mean) is the error.

    Args:
        value: the estimate.
        influence: (G,) what each cluster adds to the error of the estimate.
        n: rows behind it.
        level: of the interval.
        df: degrees of freedom; None is G - 1.

    Raises:
        ValueError: fewer than 2 clusters.
    """
    n_clusters = len(influence)
    _check_clusters(n_clusters)
    centred = influence - influence.mean()
    error = float(np.sqrt(n_clusters / (n_clusters - 1) * (centred * centred).sum()))
    half = t_quantile(level, n_clusters - 1 if df is None else df) * error
    value = float(value)
    return Estimate(value, error, value - half, value + half, level, n, n_clusters, df)


def clustered_mean(
    values: FloatArray, cluster: IntArray, *, level: float = LEVEL, reduce_below: int = FEW_CLUSTERS
) -> Estimate:
    """The mean of the rows, each with weight 1, and its interval by cluster; see `clustered_ratio`.

    Raises:
        ValueError: fewer than 2 clusters, lengths that differ, or values that are not finite.

    Example:
        >>> estimate = clustered_mean(np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 1]))
        >>> estimate.value, round(estimate.standard_error, 9)
        (2.0, 1.0)
    """
    return clustered_ratio(values, np.ones(len(values)), cluster, level=level, reduce_below=reduce_below)


def clustered_ratio(
    numerator: FloatArray,
    denominator: FloatArray,
    cluster: IntArray,
    *,
    level: float = LEVEL,
    reduce_below: int = FEW_CLUSTERS,
) -> Estimate:
    """Sum of the numerators over sum of the denominators, linearised.

    Clusters without any denominator are left out of the rate and of G.

    Args:
        numerator: (n,) per row, such as views of harm.
        denominator: (n,) at least 0, such as views.
        cluster: (n,) integer codes, any values.
        level: of the interval.
        reduce_below: clusters below which the error is bias-reduced (CR2, Satterthwaite); from there on, or
            with 0, the plain sandwich with t(G - 1).

    Raises:
        ValueError: fewer than 2 clusters with a denominator, a negative one, or values that are not finite.

    Source: Cochran, Sampling Techniques, 3rd edition, 1977, eq. 6.13 and chapter 9A.
    """
    totals = cluster_totals((numerator, denominator), cluster)
    kept = _in_a_rate(totals)
    ratio, residual = _ratio(totals[0, kept], totals[1, kept])
    parts = (RatioPart(1.0, residual, totals[1, kept]),)
    influence, df = influence_of(parts, reduce_below)
    return _estimate(ratio, influence[0], n=len(numerator), level=level, df=df)


def clustered_ratio_change(
    first: Ratio, second: Ratio, cluster: IntArray, *, level: float = LEVEL, reduce_below: int = FEW_CLUSTERS
) -> Estimate:
    """The ratio of the second minus that of the first on the same rows: paired, one influence per cluster.

    Rows on which both agree add to the level of both and nothing to the difference; equal columns give
    exactly 0.0 with standard error 0.0.

    Args:
        first: numerator (n,) and denominator (n,) under the baseline.
        second: the same under the other policy.
        cluster: (n,) integer codes, any values.
        level: of the interval.
        reduce_below: as `clustered_ratio`.

    Raises:
        ValueError: as `clustered_ratio`, for either.
    """
    totals = cluster_totals((*first, *second), cluster)
    kept = _in_a_rate(totals)
    r0, e0 = _ratio(totals[0, kept], totals[1, kept])
    r1, e1 = _ratio(totals[2, kept], totals[3, kept])
    parts = RatioPart(-1.0, e0, totals[1, kept]), RatioPart(1.0, e1, totals[3, kept])
    (z0, z1), df = influence_of(parts, reduce_below)
    return _estimate(r1 - r0, z1 - z0, n=len(first[0]), level=level, df=df)


def relative_change(
    first: Ratio, second: Ratio, cluster: IntArray, *, level: float = LEVEL, reduce_below: int = FEW_CLUSTERS
) -> Estimate:
    """The ratio of the second over that of the first, minus 1, on the same rows.

    Delta method; Fieller's interval where the baseline is noisy (t^2 se0^2 / r0^2 > 0.05), which is
    unbounded, -inf to inf, where the baseline cannot be told from 0.

    Args:
        first: numerator (n,) and denominator (n,) under the baseline.
        second: the same under the other policy.
        cluster: (n,) integer codes, any values.
        level: of the interval.
        reduce_below: as `clustered_ratio`.

    Raises:
        ValueError: as `clustered_ratio`; or a baseline of 0, to which nothing is relative.

    Source: Fieller, Some problems in interval estimation, 1954; Deng, Knoblich and Lu, Applying the delta
    method in metric analytics, 2018, section 2.
    """
    totals = cluster_totals((*first, *second), cluster)
    kept = _in_a_rate(totals)
    r0, e0 = _ratio(totals[0, kept], totals[1, kept])
    r1, e1 = _ratio(totals[2, kept], totals[3, kept])
    _check_baseline(r0)
    rho = r1 / r0
    parts = RatioPart(-rho / r0, e0, totals[1, kept]), RatioPart(1 / r0, e1, totals[3, kept])
    (z0, z1), df = influence_of(parts, reduce_below)
    estimate = _estimate(rho - 1, (z1 - rho * z0) / r0, n=len(first[0]), level=level, df=df)
    scale = 1.0
    if df is None:
        z0, z1 = z0 - z0.mean(), z1 - z1.mean()
        scale = len(z0) / (len(z0) - 1)
    # Not z @ z: BLAS splits long products by thread, and the last digits with them.
    covariance = (
        float(scale * (z0 * z0).sum()),
        float(scale * (z0 * z1).sum()),
        float(scale * (z1 * z1).sum()),
    )
    return _fieller_where_noisy(estimate, (r0, r1), covariance)


def relative_of(
    values: tuple[float, float],
    covariance: tuple[float, float, float],
    *,
    n: int,
    n_clusters: int,
    level: float = LEVEL,
    df: float | None = None,
) -> Estimate:
    """values[1] / values[0] - 1 with delta or Fieller interval, from the variances of the two.

    Args:
        values: baseline and other.
        covariance: variance of the baseline, covariance, variance of the other.
        n: rows behind it.
        n_clusters: independent clusters behind it.
        level: of the interval.
        df: degrees of freedom; None is n_clusters - 1.

    Raises:
        ValueError: a baseline of 0.
    """
    (r0, r1), (v00, v01, v11) = values, covariance
    _check_baseline(r0)
    _check_clusters(n_clusters)
    rho = r1 / r0
    error = float(np.sqrt(max(v11 - 2 * rho * v01 + rho**2 * v00, 0.0))) / abs(r0)
    half = t_quantile(level, n_clusters - 1 if df is None else df) * error
    estimate = Estimate(rho - 1, error, rho - 1 - half, rho - 1 + half, level, n, n_clusters, df)
    return _fieller_where_noisy(estimate, values, covariance)


def cluster_totals(columns: tuple[FloatArray, ...], cluster: IntArray) -> FloatArray:
    """(columns, G) sums of each column by cluster, clusters in the order of their codes.

    Raises:
        ValueError: lengths that differ from the codes', or values that are not finite.
    """
    for column in columns:
        if column.shape != cluster.shape:
            raise ValueError(f"cluster: expected shape {column.shape} as the values, got {cluster.shape}")
        if not np.isfinite(column).all():
            row = int(np.argmin(np.isfinite(column)))
            raise ValueError(f"values: expected finite numbers, got {column[row]} at row {row}")
    n = len(cluster)
    if n and int(cluster.min()) >= 0 and int(cluster.max()) < 4 * n + 1024:
        codes, n_codes = cluster, int(cluster.max()) + 1
        seen = np.bincount(codes, minlength=n_codes) > 0
    else:
        unique, codes = np.unique(cluster, return_inverse=True)
        n_codes, seen = len(unique), np.ones(len(unique), dtype=bool)
    totals = [np.bincount(codes, weights=column, minlength=n_codes)[seen] for column in columns]
    return np.asarray(totals, dtype=np.float64).reshape(len(columns), -1)


def t_quantile(level: float, df: float) -> float:
    """The two-sided t quantile: half the width of an interval, in standard errors.

    Raises:
        ValueError: a level outside (0, 1) or no degree of freedom.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number in (0, 1), got {level}")
    if not df > 0:
        raise ValueError(f"degrees of freedom: expected more than 0, got {df}")
    return float(special.stdtrit(df, (1 + level) / 2))


def _check_baseline(value: float) -> None:
    if value == 0:
        raise ValueError("baseline: expected a value other than 0 for a relative change, got 0")


def _check_clusters(n_clusters: int) -> None:
    if n_clusters < 2:
        raise ValueError(f"clusters: expected at least 2 users, got {n_clusters}")


def _in_a_rate(totals: FloatArray) -> BoolArray:
    """(G,) whether a cluster enters any of the ratios; `totals` (2 or 4, G) numerators and denominators."""
    for numerator, denominator in zip(totals[::2], totals[1::2], strict=True):
        if (denominator < 0).any():
            raise ValueError(f"denominator: expected at least 0 per cluster, got {denominator.min()}")
        _check_clusters(int(((denominator > 0) | (numerator != 0)).sum()))
        if not (denominator > 0).any():
            raise ValueError("denominator: expected a sum above 0, got 0")
    kept: BoolArray = (totals != 0).any(axis=0)
    return kept


def _ratio(numerator: FloatArray, denominator: FloatArray) -> tuple[float, FloatArray]:
    """The ratio of the sums, and per cluster (G,) what is left of the numerator."""
    ratio = numerator.sum() / denominator.sum()
    return float(ratio), numerator - ratio * denominator


def _estimate(value: float, influence: FloatArray, *, n: int, level: float, df: float | None) -> Estimate:
    """An estimate from `influence_of`: plain without degrees of freedom, bias-reduced with them."""
    if df is None:
        return from_cluster_influence(value, influence, n=n, level=level)
    error = float(np.sqrt((influence * influence).sum()))
    half = t_quantile(level, df) * error
    return Estimate(value, error, value - half, value + half, level, n, len(influence), df)


def _fieller_where_noisy(
    estimate: Estimate, values: tuple[float, float], covariance: tuple[float, float, float]
) -> Estimate:
    t = t_quantile(estimate.level, estimate.degrees_of_freedom)
    if estimate.standard_error == 0:  # the two are proportional in every cluster: exact whatever the baseline
        return estimate
    if t**2 * covariance[0] / values[0] ** 2 <= FIELLER_FROM:
        return estimate
    low, high = fieller(values, covariance, t)
    return replace(estimate, low=low, high=high, is_fieller=True)

"""Quantiles of two arms and their difference: of rows that come in clusters, or of totals of users.

The interval of a quantile is read off the data itself, at the ranks that the clustered error of the share
below it allows. So it needs no density, may be skewed, and has no end where the data do not reach.
"""

from dataclasses import dataclass

import numpy as np

from eval.clustered import LEVEL, Estimate, clustered_ratio, t_quantile
from reranker.columns import FloatArray, IntArray


@dataclass(frozen=True)
class Quantile:
    """A quantile and its interval.

    Attributes:
        value: the smallest value with at least this share at or below it.
        low, high: values of the data; -inf or inf where there are too few beyond.
        tied: share of the rows that have exactly this value.
        gap: to the nearest other value, where rows share this one; else 0. Counts have a gap of 1.
        df: degrees of freedom behind the interval.
        n, n_clusters: rows and clusters.
    """

    value: float
    low: float
    high: float
    tied: float
    gap: float
    df: float
    n: int
    n_clusters: int


def clustered_quantile(values: FloatArray, cluster: IntArray, at: float, *, level: float = LEVEL) -> Quantile:
    """A quantile over rows with an interval by cluster.

    The ranks are n (at -+ t standard errors of the share at or below the quantile), rounded outwards; that
    error is never taken as less than independent rows would have. Ties make it longer, never shorter.

    Args:
        values: (n,).
        cluster: (n,) integer codes, any values; of users, or of what was randomised.
        at: such as 0.99.
        level: of the interval.

    Raises:
        ValueError: `at` outside (0, 1), fewer than 2 clusters, or values that are not finite.

    Source: Woodruff, Confidence intervals for medians and other position measures, 1952; Deng, Knoblich and
    Lu, Applying the delta method in metric analytics, 2018, section 4 (outer interval).

    Example:
        >>> found = clustered_quantile(np.arange(1000.0), np.arange(1000), 0.9)
        >>> found.value, found.low, found.high
        (899.0, 880.0, 919.0)
    """
    if not 0 < at < 1:
        raise ValueError(f"at: expected a quantile in (0, 1), got {at}")
    n = len(values)
    if n == 0:
        raise ValueError("values: expected at least 1 row, got 0")
    if not np.isfinite(values).all():
        raise ValueError(f"values: expected finite numbers, got {values[~np.isfinite(values)][0]}")
    ordered = np.sort(values)
    value = float(ordered[_rank(n * at) - 1])
    share = clustered_ratio((values <= value).astype(np.float64), np.ones(n), cluster, level=level)
    error = max(share.standard_error, float(np.sqrt(at * (1 - at) / n)))
    half = n * t_quantile(level, share.degrees_of_freedom) * error
    first, last = (int(np.searchsorted(ordered, value, side=side)) for side in ("left", "right"))
    others = ordered[max(first - 1, 0)], ordered[min(last, n - 1)]
    gaps = [abs(float(other) - value) for other in others if other != value]
    lower, upper = int(np.floor(n * at - half)), int(np.ceil(n * at + half)) + 1  # ranks, from 1
    return Quantile(
        value=value,
        low=float(ordered[lower - 1]) if lower >= 1 else -np.inf,
        high=float(ordered[upper - 1]) if upper <= n else np.inf,
        tied=(last - first) / n,
        gap=min(gaps) if gaps and last - first > 1 else 0.0,
        df=share.degrees_of_freedom,
        n=n,
        n_clusters=share.n_clusters,
    )


def quantile_difference(control: Quantile, treatment: Quantile, *, level: float = LEVEL) -> Estimate:
    """Treatment minus control of independent arms, each end from the ends of the two intervals.

    Values that rows share, such as counts, are taken for rounded ones: each side is longer by half the gap.

    Args:
        control: at the same level as the result.
        treatment: likewise.
        level: of the intervals.

    Source: Zou and Donner, Construction of confidence limits about effect measures: a general approach,
    2008, equation 3.
    """
    slack = treatment.gap / 2, control.gap / 2
    low = np.hypot(treatment.value - treatment.low + slack[0], control.high - control.value + slack[1])
    high = np.hypot(treatment.high - treatment.value + slack[0], control.value - control.low + slack[1])
    value = treatment.value - control.value
    return _skewed(value, (value - float(low), value + float(high)), (control, treatment), level)


def quantile_ratio(control: Quantile, treatment: Quantile, *, level: float = LEVEL) -> Estimate | None:
    """Treatment over control, minus 1; None unless both are above 0.

    The interval is that of the difference of logarithms: a quantile of logarithms is the logarithm of the
    quantile.

    Args:
        control: at the same level as the result.
        treatment: likewise.
        level: of the intervals.
    """
    if min(control.value, treatment.value) <= 0:
        return None
    with np.errstate(divide="ignore"):
        lows, middles, highs = np.log(
            [
                [max(arm.low - arm.gap / 2, 0.0) for arm in (control, treatment)],
                [control.value, treatment.value],
                [arm.high + arm.gap / 2 for arm in (control, treatment)],
            ]
        )
    middle = middles[1] - middles[0]
    low = middle - np.hypot(middles[1] - lows[1], highs[0] - middles[0])
    high = middle + np.hypot(highs[1] - middles[1], middles[0] - lows[0])
    value, ends = float(np.expm1(middle)), (float(np.expm1(low)), float(np.exp(high) - 1))
    return _skewed(value, ends, (control, treatment), level)


def _rank(position: float) -> int:
    """The rank from 1 of the smallest value with this many at or below it, rounding errors apart."""
    return max(int(np.ceil(position - 1e-9 * position)), 1)


def _skewed(
    value: float, ends: tuple[float, float], arms: tuple[Quantile, Quantile], level: float
) -> Estimate:
    """An estimate whose standard error is that of the finite sides of its interval."""
    df = min(arm.df for arm in arms)
    sides = np.array([value - ends[0], ends[1] - value])
    known = sides[np.isfinite(sides)]
    error = float(known.mean() / t_quantile(level, df)) if len(known) else np.inf
    n, n_clusters = arms[0].n + arms[1].n, arms[0].n_clusters + arms[1].n_clusters
    return Estimate(value, error, *ends, level, n, n_clusters, df, is_fieller=True)

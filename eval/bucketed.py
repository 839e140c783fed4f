"""Estimates from sufficient statistics: rates per view and their paired change, clustered by user.

The clusters are those of the statistics. With 4,096 buckets the standard error itself is known to about
1.1%, and t has at most 4,095 degrees of freedom.
"""

from dataclasses import dataclass, replace

import numpy as np

from eval.clustered import LEVEL, Estimate, clustered_ratio, clustered_ratio_change
from eval.clustered import relative_change as clustered_relative_change
from eval.exact import ExactSums
from eval.interval import Interval
from eval.sufficient import MOMENTS, SufficientStatistics
from reranker.columns import FloatArray


@dataclass(frozen=True)
class Rate:
    """One metric per another, such as harm per view, in one segment or (None) in all together."""

    numerator: str
    denominator: str
    segment: str | None = None


def rate(statistics: SufficientStatistics, of: Rate, policy: str, *, level: float = LEVEL) -> Estimate:
    """Sum of the numerator over sum of the denominator under a policy.

    Raises:
        ValueError: an unknown name, fewer than 2 clusters, or nothing in the denominator.
    """
    numerator, denominator = _ratio(statistics, of, policy)
    made = clustered_ratio(numerator, denominator, np.arange(len(numerator)), level=level)
    return _counted(made, statistics, of)


def rate_change(
    statistics: SufficientStatistics, of: Rate, policies: tuple[str, str], *, level: float = LEVEL
) -> Estimate:
    """The rate under the second policy minus that under the first, on the same requests.

    Raises:
        ValueError: as `rate`.

    Source: as `clustered.clustered_ratio_change`, with buckets of users for clusters.
    """
    first, second = (_ratio(statistics, of, policy) for policy in policies)
    made = clustered_ratio_change(first, second, np.arange(len(first[0])), level=level)
    return _counted(made, statistics, of)


def relative_rate_change(
    statistics: SufficientStatistics, of: Rate, policies: tuple[str, str], *, level: float = LEVEL
) -> Estimate:
    """The rate under the second policy over that under the first, minus 1.

    Raises:
        ValueError: as `rate`; or a rate of 0 under the first policy.
    """
    first, second = (_ratio(statistics, of, policy) for policy in policies)
    made = clustered_relative_change(first, second, np.arange(len(first[0])), level=level)
    return _counted(made, statistics, of)


def resampled_rate_change(
    statistics: SufficientStatistics, of: Rate, policies: tuple[str, str], *, level: float = LEVEL
) -> Interval:
    """The percentile interval of the paired change over the resamples of users.

    Raises:
        ValueError: the statistics hold no resamples, or in one of them nothing is in the denominator.
    """
    if not statistics.plan.n_resamples:
        raise ValueError("n_resamples: expected statistics with resamples, got 0")
    rates = []
    for policy in policies:
        numerator, denominator = (
            _column(statistics.replicates, statistics, policy, (metric, of.segment))
            for metric in (of.numerator, of.denominator)
        )
        if not (denominator > 0).all():
            raise ValueError(f"{of.denominator}: expected more than 0 in every resample, got 0 in some")
        rates.append(numerator / denominator)
    drawn = rates[1] - rates[0]
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(low), float(high), float(drawn.std(ddof=1)))


def design_effect(statistics: SufficientStatistics, of: Rate, policy: str) -> float:
    """How many times larger the variance of a rate is by cluster than if all requests were independent.

    The rate must be per the plan's first metric, whose products with the others are kept.

    Raises:
        ValueError: another denominator, or as `rate`.

    Source: Kish, Survey Sampling, 1965, section 8.2.
    """
    if of.denominator != statistics.plan.metrics[0]:
        raise ValueError(
            f"denominator: expected {statistics.plan.metrics[0]!r}, the plan's first, got {of.denominator!r}"
        )
    estimate = rate(statistics, of, policy)
    n, r = estimate.n, estimate.value
    square, cross = (
        float(_moment(statistics, kind, policy, (of.numerator, of.segment)).sum())
        for kind in ("square", "with_first")
    )
    views = (of.denominator, of.segment)
    views_square = float(_moment(statistics, "square", policy, views).sum())
    total = float(_moment(statistics, "sum", policy, views).sum())
    independent = n / (n - 1) * (square - 2 * r * cross + r**2 * views_square) / total**2
    return estimate.standard_error**2 / independent


def paired_correlation(statistics: SufficientStatistics, metric: str, policy: str) -> float:
    """Correlation over requests of a metric under a policy and under the first; NaN where one is constant.

    Comparing on the same requests divides the variance of the difference by about 1 / (1 - correlation).
    """
    n = int(statistics.n_requests.sum())
    baseline, where = statistics.plan.policies[0], (metric, None)

    def total(kind: str, name: str) -> float:
        return float(_moment(statistics, kind, name, where).sum())

    x, y = total("sum", baseline), total("sum", policy)
    covariance = total("with_baseline", policy) - x * y / n
    variances = (total("square", baseline) - x**2 / n) * (total("square", policy) - y**2 / n)
    return covariance / float(np.sqrt(variances)) if variances > 0 else float("nan")


def _ratio(statistics: SufficientStatistics, of: Rate, policy: str) -> tuple[FloatArray, FloatArray]:
    numerator, denominator = (
        _moment(statistics, "sum", policy, (metric, of.segment)) for metric in (of.numerator, of.denominator)
    )
    return numerator, denominator


def _moment(
    statistics: SufficientStatistics, kind: str, policy: str, where: tuple[str, str | None]
) -> FloatArray:
    """(k,) per cluster."""
    at = MOMENTS.index(kind)
    moments = ExactSums(statistics.moments.high[at], statistics.moments.low[at])
    return _column(moments, statistics, policy, where)


def _column(
    sums: ExactSums, statistics: SufficientStatistics, policy: str, where: tuple[str, str | None]
) -> FloatArray:
    """(k,) of sums (k, S, P, M): of one segment, or exactly added over all."""
    plan, (metric, segment) = statistics.plan, where
    p, m = _index("policy", policy, plan.policies), _index("metric", metric, plan.metrics)
    one = ExactSums(sums.high[:, :, p, m], sums.low[:, :, p, m])
    if segment is None:
        return one.sum(axis=1).to_float()
    return one.to_float()[:, _index("segment", segment, plan.segments)]


def _index(kind: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise ValueError(f"{kind}: expected one of {', '.join(names)}, got {name!r}")
    return names.index(name)


def _counted(estimate: Estimate, statistics: SufficientStatistics, of: Rate) -> Estimate:
    """The same with the requests, not the clusters, as n."""
    plan = statistics.plan
    counts = statistics.n_requests
    if of.segment is not None:
        counts = counts[:, _index("segment", of.segment, plan.segments)]
    return replace(estimate, n=int(counts.sum()))

"""Many comparisons at once: adjusted p-values, and bands that hold for all statistics together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special, stats

from eval.clustered import LEVEL, Estimate, cluster_totals, t_quantile
from reranker.columns import BoolArray, FloatArray, IntArray

N_DRAWS = 20_000
Finding = Literal["identical", "decreased", "increased", "not shown"]


def holm(p: FloatArray) -> FloatArray:
    """(m,) p-values adjusted so that the chance of any false rejection is held.

    Raises:
        ValueError: a p-value outside [0, 1] or missing.

    Source: Holm, A simple sequentially rejective multiple test procedure, 1979.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).round(4).tolist()
        [0.03, 0.06, 0.06, 0.02]
    """
    _check_p(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """(m,) p-values adjusted so that the expected share of false ones among the rejected is held.

    Raises:
        ValueError: a p-value outside [0, 1] or missing.

    Source: Benjamini and Hochberg, Controlling the false discovery rate, 1995.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005])).round(4).tolist()
        [0.02, 0.04, 0.04, 0.02]
    """
    _check_p(p)
    return np.asarray(stats.false_discovery_control(p, method="bh"), dtype=np.float64)


def p_below(estimate: Estimate) -> float:
    """The one-sided p-value of a change that is truly 0 or more, from the t of its interval; 1 for none."""
    return _tail(estimate, 1.0)


def p_above(estimate: Estimate) -> float:
    """The one-sided p-value of a change that is truly 0 or less."""
    return _tail(estimate, -1.0)


def p_of(ends: Sequence[Estimate]) -> float:
    """The two-sided p-value of a change that is known but for bounds: the largest of those at its ends.

    It is 1 where the ends have unlike signs, as a change of 0 lies between them, and for no change at all.

    Args:
        ends: the change, or the least and the most that it may be.

    Example:
        >>> round(p_of([Estimate(-2.0, 1.0, -3.96, -0.04, 0.95, 900, 900, df=np.inf)]), 4)
        0.0455
    """
    sides = {float(np.sign(end.value)) for end in ends}
    if len(sides) > 1 or 0.0 in sides:
        return 1.0
    return 2.0 * max(_tail(end, -side) for end in ends for side in sides)


def _tail(estimate: Estimate, side: float) -> float:
    """P(T < side * value / standard error); without any spread the sign decides."""
    if estimate.standard_error == 0:
        return 0.0 if side * estimate.value < 0 else 1.0
    return float(special.stdtr(estimate.degrees_of_freedom, side * estimate.value / estimate.standard_error))


def finding(ends: Sequence[Estimate], p_adjusted: float, *, level: float = LEVEL) -> Finding:
    """What a family of changes, taken together, lets one say of one of them.

    Args:
        ends: as `p_of`.
        p_adjusted: by `holm`, so that the chance of any wrong direction in the family is 1 - level at most.
        level: of the family.
    """
    if all(end.value == 0 and end.standard_error == 0 for end in ends):
        return "identical"
    if p_adjusted > 1.0 - level:
        return "not shown"
    return "decreased" if ends[0].value < 0 else "increased"


@dataclass(frozen=True, eq=False)
class Bands:
    """Intervals of m statistics that cover all of them at once at the stated level.

    Attributes:
        value, standard_error, low, high: (m,) each.
        critical: standard errors between a value and its ends.
        level: of all together.
        n_clusters: what they rest on.
    """

    value: FloatArray
    standard_error: FloatArray
    low: FloatArray
    high: FloatArray
    critical: float
    level: float
    n_clusters: int


def simultaneous_bands(
    value: FloatArray,
    influence: FloatArray,
    cluster: IntArray,
    *,
    seed: int,
    level: float = LEVEL,
    n_draws: int = N_DRAWS,
) -> Bands:
    """Bands from the largest of m t statistics, whose correlation is that of the clusters' influence.

    The maximum is drawn from the multivariate t with G - 1 degrees of freedom, and its quantile is held
    between that of one statistic and that of m independent ones. Valid for a fixed list of policies, also
    when the best of the list is then picked.

    Args:
        value: (m,) the estimates, such as the changes of m policies against one baseline.
        influence: (n, m) per row; each column sums to 0 and its mean is the error of the estimate.
        cluster: (n,) integer codes of the users.
        seed: of the draws.
        level: of all together.
        n_draws: draws of the maximum.

    Raises:
        ValueError: fewer than 2 clusters, shapes that differ, or values that are not finite.

    Source: Hothorn, Bretz and Westfall, Simultaneous inference in general parametric models, 2008, section 3.
    """
    if influence.shape != (len(cluster), len(value)):
        raise ValueError(f"influence: expected shape {(len(cluster), len(value))}, got {influence.shape}")
    totals = cluster_totals(tuple(influence.T), cluster) / len(cluster)  # (m, G)
    n_clusters = totals.shape[1]
    if n_clusters < 2:
        raise ValueError(f"clusters: expected at least 2 users, got {n_clusters}")
    totals -= totals.mean(axis=1, keepdims=True)
    covariance = n_clusters / (n_clusters - 1) * (totals @ totals.T)
    error = np.sqrt(np.diagonal(covariance))
    moving = error > 0
    critical = t_quantile(level, n_clusters - 1)
    if moving.sum() > 1:
        scale = error[moving]
        correlation = covariance[np.ix_(moving, moving)] / np.outer(scale, scale)
        critical = _largest(correlation, n_clusters - 1, level, (seed, n_draws))
    half = critical * error
    return Bands(value, error, value - half, value + half, critical, level, n_clusters)


def split_users(cluster: IntArray, *, seed: int) -> BoolArray:
    """(n,) whether a row's user is in the half on which a policy is chosen; the other half reports it.

    The best of many policies looks better than it is on the users that chose it, and not on the others.

    Args:
        cluster: (n,) integer codes of the users.
        seed: of the split.
    """
    users, codes = np.unique(cluster, return_inverse=True)
    chosen = np.zeros(len(users), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(users))[: len(users) // 2]] = True
    return np.asarray(chosen[codes])


def _largest(correlation: FloatArray, df: int, level: float, draws: tuple[int, int]) -> float:
    """The quantile of the largest absolute value of a multivariate t; `draws` is seed and number."""
    seed, n_draws = draws
    rng = np.random.default_rng(seed)
    m = len(correlation)
    roots, vectors = np.linalg.eigh(correlation)
    spread = vectors * np.sqrt(np.maximum(roots, 0.0))
    largest = np.empty(n_draws)
    step = max(1, 2_000_000 // m)
    for start in range(0, n_draws, step):
        stop = min(start + step, n_draws)
        largest[start:stop] = np.abs(rng.standard_normal((stop - start, m)) @ spread.T).max(axis=1)
    drawn = np.quantile(largest / np.sqrt(rng.chisquare(df, n_draws) / df), level)
    return float(np.clip(drawn, t_quantile(level, df), t_quantile(level ** (1 / m), df)))


def _check_p(p: FloatArray) -> None:
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():  # NaN compares false
        raise ValueError(f"p: expected p-values in [0, 1], got {p[~((p >= 0) & (p <= 1))]}")

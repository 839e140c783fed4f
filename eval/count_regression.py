"""Counts on what a post has, each publisher compared with itself: Poisson and negative binomial.

The level of each group is absorbed, never a column, so that thousands of publishers cost nothing. The error
is the sandwich by cluster whatever the family: Poisson is right for any count, or amount, whose mean is
exp(level + x b), and the negative binomial weighs the same posts otherwise, so that a few viral ones decide
less. Where the two disagree, the mean is not what the model says.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import optimize, special

from eval.cluster_regression import ClusterRegression, cluster_regression
from eval.clustered import LEVEL, Estimate
from reranker.columns import FloatArray, IntArray

Family = Literal["poisson", "negative binomial"]
_STEPS, _ROUNDS = 200, 50
_FAR = 20.0  # a coefficient, in standard deviations of its column, beyond which it is on its way to infinity
_SMALLEST_DISPERSION = 1e-8


@dataclass(frozen=True, eq=False)
class CountFit:
    """A fit of p coefficients.

    Attributes:
        family: of the likelihood.
        coefficients: (p,) change of the log of the mean per unit of each column.
        dispersion: a of the variance m + a m^2; 0 for Poisson.
        n, n_groups: rows and groups that say something.
        n_silent: rows of groups that do not: one row, or nothing but zeros.
        working: the least squares of the last step, which has the errors.
    """

    family: Family
    coefficients: FloatArray
    dispersion: float
    n: int
    n_groups: int
    n_silent: int
    working: ClusterRegression

    def slope(self, column: int, *, level: float = LEVEL) -> Estimate:
        """Change of the log of the mean per unit of a column, its error bias-reduced by cluster.

        Raises:
            ValueError: one cluster alone decides it.
        """
        contrast = np.zeros(len(self.coefficients))
        contrast[column] = 1.0
        return self.working.estimate(contrast, level=level)

    def rate_ratio(self, column: int, *, level: float = LEVEL) -> Estimate:
        """How many times the mean it is per further unit of a column; the interval is that of its log."""
        return exponentiated(self.slope(column, level=level))


def exponentiated(log: Estimate) -> Estimate:
    """The estimate of exp(value), its interval carried over and its error by the delta method."""
    value = float(np.exp(log.value))
    with np.errstate(over="ignore"):
        low, high = float(np.exp(log.low)), float(np.exp(log.high))
    return replace(
        log, value=value, standard_error=value * log.standard_error, low=low, high=high, is_fieller=True
    )


def fit_counts(
    counts: FloatArray,
    columns: FloatArray,
    group: IntArray,
    cluster: IntArray,
    *,
    family: Family = "poisson",
) -> CountFit:
    """The regression of counts on columns within groups, by iterated least squares.

    Args:
        counts: (n,) at least 0; for Poisson also amounts.
        columns: (n, p) without an intercept: each group has its own level.
        group: (n,) integer codes; all alike for one level.
        cluster: (n,) integer codes of what is independent; groups should lie within clusters.
        family: "poisson" is the conditional likelihood; "negative binomial" (NB2) also fits the dispersion.

    Raises:
        ValueError: counts below 0 or not finite, none above 0, a column that does not vary within groups,
            fewer than 2 clusters, or separation: a coefficient without a finite best value.

    Source: Hausman, Hall and Griliches, Econometric models for count data with an application to the
    patents-R&D relationship, 1984; Hilbe, Negative Binomial Regression, 2nd edition, 2011, chapter 8;
    Guimarães and Portugal, A simple feasible procedure to fit models with high-dimensional fixed effects,
    2010 (absorbed levels).
    """
    _check(counts, columns, group, cluster)
    told, code = _telling(counts, group)
    y, x = counts[told], columns[told]
    scale = _spread(x, code)
    x = x / scale
    dispersion = 0.0
    mean, b = _solve(y, x, code, dispersion, None)
    if family == "negative binomial":
        for _ in range(_ROUNDS):
            before, dispersion = dispersion, _dispersion(y, mean)
            mean, b = _solve(y, x, code, dispersion, mean)
            if abs(dispersion - before) <= 1e-6 * max(dispersion, _SMALLEST_DISPERSION):
                break
        else:
            raise ValueError("counts: expected a dispersion that settles, got none")
    weight = mean / (1 + dispersion * mean)
    centred = _within(x * scale, weight, code)  # in the caller's units
    working = cluster_regression(
        centred, _within(np.log(mean) + (y - mean) / mean, weight, code), cluster[told], weight=weight
    )
    n_groups = int(code.max()) + 1
    return CountFit(family, b / scale, dispersion, len(y), n_groups, int((~told).sum()), working)


def _check(counts: FloatArray, columns: FloatArray, group: IntArray, cluster: IntArray) -> None:
    n = len(counts)
    if columns.ndim != 2 or not len(columns) == len(group) == len(cluster) == n:
        shapes = counts.shape, columns.shape, group.shape, cluster.shape
        raise ValueError(f"columns: expected (n, p) and as many counts, groups and clusters, got {shapes}")
    wrong = ~(np.isfinite(counts) & (counts >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"counts: expected finite numbers of at least 0, got {counts[row]:g} at row {row}")
    if not np.isfinite(columns).all():
        raise ValueError("columns: expected finite numbers, got others")
    if not (counts > 0).any():
        raise ValueError("counts: expected some above 0, got none")


def _telling(
    counts: FloatArray, group: IntArray
) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], IntArray]:
    """(n,) rows of groups that say something, and for these the code of the group from 0."""
    code = np.unique(group, return_inverse=True)[1]
    told = (np.bincount(code, counts)[code] > 0) & (np.bincount(code)[code] > 1)
    if not told.any():
        raise ValueError("counts: expected a publisher with two posts and a count above 0, got none")
    return told, np.unique(code[told], return_inverse=True)[1].astype(np.int64)


def _spread(x: FloatArray, code: IntArray) -> FloatArray:
    """(p,) standard deviation of each column within groups."""
    spread: FloatArray = np.sqrt((_within(x, np.ones(len(x)), code) ** 2).mean(axis=0))
    still = ~(spread > 1e-9 * (1 + np.abs(x).max(axis=0)))
    if still.any():
        raise ValueError(
            f"columns: expected each to vary within a publisher, got none in column {int(still.argmax())}"
        )
    return spread


def _within(values: FloatArray, weight: FloatArray, code: IntArray) -> FloatArray:
    """Values (n,) or (n, p) less the weighted mean of their group."""
    total = np.bincount(code, weight)
    table = values if values.ndim == 2 else values[:, None]
    means = [np.bincount(code, weight * column) / total for column in table.T]
    centred: FloatArray = table - np.column_stack(means)[code]
    return centred if values.ndim == 2 else centred[:, 0]


def _solve(
    y: FloatArray, x: FloatArray, code: IntArray, dispersion: float, start: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Means (n,) and coefficients (p,) of the best fit at a dispersion."""
    mean = (y + (np.bincount(code, y) / np.bincount(code))[code]) / 2 if start is None else start
    eta, b = np.log(mean), np.zeros(x.shape[1])
    for _ in range(_STEPS):
        weight = mean / (1 + dispersion * mean)
        response = eta + (y - mean) / mean
        columns, target = _within(x, weight, code), _within(response, weight, code)
        # Not BLAS: it splits long sums by thread, and the last digits with them.
        gram = np.array([[(weight * p * q).sum() for q in columns.T] for p in columns.T])
        side = np.array([(weight * p * target).sum() for p in columns.T])
        try:
            found = np.linalg.solve(gram, side)
        except np.linalg.LinAlgError:
            raise ValueError("columns: expected none that others make up") from None
        if not np.isfinite(found).all() or np.abs(found).max() > _FAR:
            raise ValueError("columns: separation: posts with it have all counts or none, so no finite ratio")
        total = np.bincount(code, weight)
        level = np.bincount(code, weight * (response - (x * found).sum(axis=1))) / total
        moved = np.clip(level[code] + (x * found).sum(axis=1), -50, 50) - eta
        eta = eta + np.clip(moved, -5, 5)
        mean = np.exp(eta)
        b, step = found, float(np.abs(found - b).max())
        if step < 1e-10 and np.abs(moved).max() < 1e-7:
            return mean, b
    raise ValueError("columns: separation, or no finite best value within the steps allowed")


def _dispersion(y: FloatArray, mean: FloatArray) -> float:
    """The most likely a of the variance m + a m^2 at these means; 0 where that is no larger than m."""
    values, times = np.unique(y, return_counts=True)

    def loss(log: float) -> float:
        r = float(np.exp(-log))
        of_counts = (times * (special.gammaln(values + r) - special.gammaln(r))).sum()
        of_means = ((y + r) * np.log1p(mean / r)).sum() - (y * np.log(mean / r)).sum()
        return -float(of_counts - of_means)

    found = optimize.minimize_scalar(
        loss, bounds=(np.log(_SMALLEST_DISPERSION), 7.0), method="bounded", options={"xatol": 1e-8}
    )
    best = float(np.exp(found.x))
    return 0.0 if best < 10 * _SMALLEST_DISPERSION else best

"""Least squares whose rows come in few clusters: the bias-reduced sandwich (CR2) of any contrast.

Only sums by cluster are kept, so a cluster may have millions of rows. Columns are made orthonormal first;
what is left per cluster is a (p, p) matrix, never one of its rows.
"""

from dataclasses import dataclass

import numpy as np

from eval.clustered import LEVEL, Estimate, t_quantile
from reranker.columns import FloatArray, IntArray

_ALONE = 1e-8  # 1 - leverage below which one cluster decides a direction
_COLLINEAR = 1e-10  # of the largest diagonal element


@dataclass(frozen=True, eq=False)
class ClusterRegression:
    """A fit of p coefficients to rows in G clusters.

    Attributes:
        coefficients: (p,).
        covariance: (p, p), bias-reduced; nothing in directions that one cluster alone decides.
        n: rows.
        gram: (G, p, p) of the orthonormal columns within each cluster.
        root: (G, p, p) inverse square root of 1 - gram.
        to_columns: (p, p) from a contrast of coefficients to one of the orthonormal columns.
        alone: (directions, p) of the orthonormal columns that one cluster alone decides.
    """

    coefficients: FloatArray
    covariance: FloatArray
    n: int
    gram: FloatArray
    root: FloatArray
    to_columns: FloatArray
    alone: FloatArray

    def estimate(self, contrast: FloatArray, *, level: float = LEVEL) -> Estimate:
        """A weighted sum of the coefficients, with Satterthwaite's degrees of freedom of its own.

        These are far below G where it rests on few clusters, such as one treated country of ten.

        Args:
            contrast: (p,) weight of each coefficient.
            level: of the interval.

        Raises:
            ValueError: one cluster alone decides it, so that its error cannot be told.
        """
        at = self.to_columns @ contrast
        if (np.abs(self.alone @ at) > 1e-6 * np.linalg.norm(at)).any():
            raise ValueError("clusters: expected at least 2 behind the contrast, got one alone")
        value, variance = float(contrast @ self.coefficients), float(contrast @ self.covariance @ contrast)
        error = float(np.sqrt(max(variance, 0.0)))
        df = self.degrees_of_freedom(contrast)
        half = t_quantile(level, df) * error
        return Estimate(value, error, value - half, value + half, level, self.n, len(self.gram), df)

    def degrees_of_freedom(self, contrast: FloatArray) -> float:
        """Satterthwaite's: of the variance of a contrast if the rows were independent and equally noisy."""
        adjusted = self.root @ (self.to_columns @ contrast)  # (G, p)
        through = np.einsum("gij,gj->gi", self.gram, adjusted)
        spread = np.diag((adjusted * through).sum(axis=1)) - through @ through.T
        return float(np.trace(spread) ** 2 / (spread**2).sum())


def cluster_regression(
    design: FloatArray, outcome: FloatArray, cluster: IntArray, *, weight: FloatArray | None = None
) -> ClusterRegression:
    """Least squares with the error of few clusters.

    The covariance is unbiased if rows are independent with variances in proportion to 1 / weight, and close
    to it in general. With each row a cluster of its own it is HC2.

    Args:
        design: (n, p) columns, the intercept among them.
        outcome: (n,).
        cluster: (n,) integer codes, any values.
        weight: (n,) above 0; None is 1.

    Raises:
        ValueError: lengths that differ, values that are not finite, columns that others make up, or fewer
            than 2 clusters.

    Source: Bell and McCaffrey, Bias reduction in standard errors for linear regression with multi-stage
    samples, 2002; Pustejovsky and Tipton, Small-sample methods for cluster-robust variance estimation and
    hypothesis testing in fixed effects models, 2018, equations 6 and 11.
    """
    scale = np.ones(len(outcome)) if weight is None else np.sqrt(_checked(design, outcome, cluster, weight))
    _checked(design, outcome, cluster, scale)
    codes = np.unique(cluster, return_inverse=True)[1]
    n_groups, p = int(codes.max()) + 1, design.shape[1]
    if n_groups < 2:
        raise ValueError(f"clusters: expected at least 2, got {n_groups}")
    columns, upper = np.linalg.qr(design * scale[:, None])
    size = np.abs(np.diagonal(upper))
    if len(columns) < p or size.min() <= _COLLINEAR * size.max():
        raise ValueError(f"design: expected {p} columns of which none is made up of others")
    scaled = outcome * scale
    at_columns = columns.T @ scaled
    residual = scaled - columns @ at_columns
    gram, score = np.empty((n_groups, p, p)), np.empty((n_groups, p))
    for i in range(p):
        score[:, i] = np.bincount(codes, weights=columns[:, i] * residual, minlength=n_groups)
        for j in range(i + 1):
            total = np.bincount(codes, weights=columns[:, i] * columns[:, j], minlength=n_groups)
            gram[:, i, j] = gram[:, j, i] = total
    value, vector = np.linalg.eigh(gram)
    decided = value > 1 - _ALONE
    factor = np.where(decided, 0.0, 1 / np.sqrt(np.where(decided, 1.0, 1 - value)))
    root = np.einsum("gik,gk,gjk->gij", vector, factor, vector)
    adjusted = np.einsum("gij,gj->gi", root, score)
    inverse = np.linalg.inv(upper)
    return ClusterRegression(
        coefficients=inverse @ at_columns,
        covariance=inverse @ (adjusted.T @ adjusted) @ inverse.T,
        n=len(outcome),
        gram=gram,
        root=root,
        to_columns=inverse.T,
        alone=np.swapaxes(vector, 1, 2)[decided],
    )


def _checked(design: FloatArray, outcome: FloatArray, cluster: IntArray, weight: FloatArray) -> FloatArray:
    n = len(outcome)
    if design.ndim != 2 or not len(design) == len(cluster) == len(weight) == n or n == 0:
        shapes = design.shape, outcome.shape, cluster.shape, weight.shape
        raise ValueError(f"design: expected (n, p) and as many outcomes, clusters and weights, got {shapes}")
    for name, column in (("design", design), ("outcome", outcome), ("weight", weight)):
        if not np.isfinite(column).all():
            raise ValueError(f"{name}: expected finite numbers, got {column[~np.isfinite(column)][0]}")
    if not (weight > 0).all():
        raise ValueError(f"weight: expected numbers above 0, got {weight.min()}")
    return weight

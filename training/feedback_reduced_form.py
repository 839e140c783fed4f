"""What randomised doses did to the outcome and to the feedback received, with errors clustered by author.

All that instrumental variables need is in these few numbers: effects per unit of feedback, how strong the
instruments are and which ratios the data do not contradict are computed from them alone.
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg, stats

from reranker.columns import FloatArray, IntArray

_COLLINEAR = 1e-7
_ROUNDING = 1e-10  # share of an outcome that counts as noise where there is none, as if it was rounded


@dataclass(frozen=True, eq=False)
class ReducedForm:
    """Least squares of m outcomes on K regressors, other columns partialled out.

    Attributes:
        coefficients: (K, m).
        covariance: (m, K, m, K) of the coefficients, clustered.
        gram: (K, K) cross products of the regressors.
        noise: (m, m) covariance of the residuals.
        n: rows.
        n_clusters: G.
    """

    coefficients: FloatArray
    covariance: FloatArray
    gram: FloatArray
    noise: FloatArray
    n: int
    n_clusters: int

    @property
    def critical(self) -> float:
        """The 95% quantile of the Wald statistic of one restriction, from t with G - 1 degrees of freedom."""
        return float(stats.t.ppf(0.975, self.n_clusters - 1) ** 2)

    def covariance_of(self, combination: FloatArray) -> FloatArray:
        """(K, K) covariance of `coefficients @ combination`."""
        found: FloatArray = np.einsum("a,aibj,b->ij", combination, self.covariance, combination)
        return found

    def wald(self, combination: FloatArray) -> float:
        """The statistic that `coefficients @ combination` is 0, chi-square with K degrees of freedom if so.

        Of outcomes (posts, received) and a combination (1, -effects) this is Anderson and Rubin's test of
        those effects.
        """
        moved = self.coefficients @ combination
        return float(moved @ np.linalg.solve(self.covariance_of(combination), moved))

    def wald_gradient(self, combination: FloatArray) -> tuple[float, FloatArray]:
        """`wald` and its derivative by the combination (m,)."""
        moved = self.coefficients @ combination
        weighted = np.linalg.solve(self.covariance_of(combination), moved)
        bend = np.einsum("aibj,i,b,j->a", self.covariance, weighted, combination, weighted)
        return float(moved @ weighted), 2 * (self.coefficients.T @ weighted - bend)


def reduced_form(
    regressors: FloatArray, outcomes: FloatArray, controls: FloatArray, cluster: IntArray
) -> ReducedForm:
    """The regression of outcomes (n, m) on regressors (n, K) and controls (n, q), clustered.

    The controls must hold the intercept; columns among them that others make up do no harm.

    Args:
        regressors: none of which the others and the controls make up.
        outcomes: several, so that their errors are known together.
        controls: what is partialled out.
        cluster: (n,) codes from 0.

    Raises:
        ValueError: a regressor is made up of others.
    """
    n, k, m = len(regressors), regressors.shape[1], outcomes.shape[1]
    basis = orthonormal(controls)
    left = regressors - basis @ (basis.T @ regressors)
    right = outcomes - basis @ (basis.T @ outcomes)
    gram = left.T @ left
    size = np.sqrt(np.diagonal(gram))
    if (size == 0).any() or np.linalg.eigvalsh(gram / np.outer(size, size))[0] < _COLLINEAR:
        raise ValueError("regressors: expected none that the others and the controls make up")
    coefficients = np.linalg.solve(gram, left.T @ right)
    residual = right - left @ coefficients
    n_clusters = int(cluster.max()) + 1
    scores = np.empty((n_clusters, m, k))
    for a in range(m):
        for j in range(k):
            scores[:, a, j] = np.bincount(cluster, left[:, j] * residual[:, a], minlength=n_clusters)
    influence = (scores @ np.linalg.inv(gram)).reshape(n_clusters, m * k)
    df = n - k - basis.shape[1]
    factor = n_clusters / (n_clusters - 1) * (n - 1) / df
    rounding = np.diag(_ROUNDING * (right**2).mean(axis=0))  # feedback may be the dose itself
    covariance = (factor * influence.T @ influence).reshape(m, k, m, k)
    covariance += np.einsum("ab,ij->aibj", rounding, np.linalg.inv(gram))
    return ReducedForm(
        coefficients=np.asarray(coefficients, dtype=np.float64),
        covariance=covariance,
        gram=gram,
        noise=residual.T @ residual / df + rounding,
        n=n,
        n_clusters=n_clusters,
    )


def orthonormal(columns: FloatArray) -> FloatArray:
    """(n, r) orthonormal columns that span what the given ones (n, q) span; r is their rank."""
    found, upper, _ = linalg.qr(columns / _length(columns), mode="economic", pivoting=True)
    kept = np.abs(np.diagonal(upper)) > _COLLINEAR
    return np.asarray(found[:, kept], dtype=np.float64)


def independent(columns: FloatArray) -> FloatArray:
    """(n, r) those of the columns (n, q) that the ones chosen before do not make up."""
    _, upper, order = linalg.qr(columns / _length(columns), mode="economic", pivoting=True)
    kept = np.abs(np.diagonal(upper)) > _COLLINEAR
    return np.asarray(columns[:, np.sort(order[: len(kept)][kept])], dtype=np.float64)


def _length(columns: FloatArray) -> FloatArray:
    size = np.linalg.norm(columns, axis=0)
    return np.where(size > 0, size, 1.0)

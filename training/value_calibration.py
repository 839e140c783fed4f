"""Whether predicted probabilities come true: calibration line and error, for answers that come by cluster."""

import numpy as np
from scipy import special

from reranker.columns import FloatArray, IntArray
from training.value_interval import Interval, clustered

N_BINS = 15
_STEPS = 100


def calibration_line(
    answer: FloatArray, p: FloatArray, weight: FloatArray, cluster: IntArray
) -> tuple[Interval | None, Interval | None]:
    """Slope and intercept of the log-odds of an answer on those predicted: 1 and 0 when calibrated.

    By weighted maximum likelihood; None where there is one prediction only, or no finite optimum.

    Source: Cox, Two further applications of a model for binary regression, 1958.
    """
    x = np.column_stack([special.logit(p), np.ones(len(p))])
    beta = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        fit = special.expit(x @ beta)
        information = (x * (weight * fit * (1 - fit))[:, None]).T @ x
        if np.linalg.cond(information) > 1e12:
            return None, None
        step = np.linalg.solve(information, x.T @ (weight * (answer - fit)))
        beta = beta + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-10:
            break
    else:
        return None, None
    pull = weight * (answer - special.expit(x @ beta))
    influence = (x * pull[:, None]) @ np.linalg.inv(information)
    slope, intercept = (clustered(float(beta[i]), influence[:, i], cluster) for i in range(2))
    return slope, intercept


def calibration_error(answer: FloatArray, p: FloatArray, weight: FloatArray) -> float:
    """Root of the debiased mean square gap in bins of equal weight; tied predictions share a bin.

    Source: Kumar, Liang and Ma, Verified uncertainty calibration, 2019, section 4.
    """
    values, at = np.unique(p, return_inverse=True)
    mass = np.bincount(at, weight, len(values))
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bins = np.minimum((middle * N_BINS).astype(np.int64), N_BINS - 1)[at]
    square = 0.0
    for b in np.unique(bins):
        rows = bins == b
        own, residual = weight[rows], (answer - p)[rows]
        gap = float(own @ residual / own.sum())
        noise = float(own**2 @ (residual - gap) ** 2) / own.sum() ** 2
        square += own.sum() / weight.sum() * (gap**2 - noise)
    return float(np.sqrt(max(0.0, square)))

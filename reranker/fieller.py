"""Fieller's interval of a ratio whose baseline is noisy."""

import numpy as np


def fieller(
    values: tuple[float, float], covariance: tuple[float, float, float], t: float
) -> tuple[float, float]:
    """The relative changes that the data do not contradict; -inf, inf where that set has no end.

    Args:
        values: baseline and other.
        covariance: variance of the baseline, covariance, variance of the other.
        t: quantile, in standard errors.
    """
    (r0, r1), (v00, v01, v11) = values, covariance
    a, b, c = r0**2 - t**2 * v00, r0 * r1 - t**2 * v01, r1**2 - t**2 * v11
    if a <= 0:
        return -np.inf, np.inf
    half = np.sqrt(max(b**2 - a * c, 0.0))
    return float((b - half) / a - 1), float((b + half) / a - 1)

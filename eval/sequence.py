"""Intervals that may be looked at every day: they hold at all times at once."""

import numpy as np

from reranker.columns import FloatArray


def sequence_half_width(
    n: FloatArray, sigma: FloatArray | float, *, planned_n: float, alpha: float = 0.05
) -> FloatArray:
    """Half-widths of an asymptotic confidence sequence of a mean, at each n.

    With probability 1 - alpha (for large n) the mean stays inside at every n, so a test may stop whenever it
    likes. Narrowest near the planned n; wider than a fixed-n interval everywhere.

    Args:
        n: independent units seen so far, such as users; at least 1.
        sigma: standard deviation of one unit, known or estimated at each n.
        planned_n: where the sequence shall be narrowest.
        alpha: two-sided error.

    Raises:
        ValueError: an n below 1, a negative or missing sigma, or an alpha outside (0, 1).

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, Time-uniform central limit theory and asymptotic
    confidence sequences, 2024, theorem 2.2 and appendix B.2.

    Example:
        >>> sequence_half_width(np.array([1_000.0, 10_000.0]), 1.0, planned_n=5_000).round(6).tolist()
        [0.106375, 0.030615]
    """
    spread = np.asarray(sigma, dtype=np.float64)
    if not (np.asarray(n) >= 1).all() or not planned_n >= 1:
        raise ValueError(f"n: expected at least 1, got {np.min(n)}, planned {planned_n}")
    if not (spread >= 0).all():
        raise ValueError(f"sigma: expected at least 0, got {spread.min()}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha: expected a number in (0, 1), got {alpha}")
    tuning = -2 * np.log(alpha)
    rho2 = (tuning + np.log(tuning + 1)) / planned_n
    width = np.sqrt(2 * (n * rho2 + 1) / (n**2 * rho2) * np.log(np.sqrt(n * rho2 + 1) / alpha))
    return np.asarray(width * spread, dtype=np.float64)

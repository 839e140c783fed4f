"""The bias-reduced error (CR2) of ratios over few clusters, with Satterthwaite's degrees of freedom.

The plain sandwich takes residuals for errors. A cluster that holds much of a ratio pulls the ratio to itself,
so its residual is too small, and t(G - 1) counts clusters that hardly matter as full ones.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reranker.columns import FloatArray

FEW_CLUSTERS = 50  # below which errors are bias-reduced
_WHOLE = 1 - 1e-9  # share of a ratio above which one cluster is all of it


class RatioPart(NamedTuple):
    """One ratio of sums within a statistic.

    Attributes:
        weight: of the ratio in the statistic, such as -1 for the baseline of a difference.
        residual: (G,) numerator - ratio * denominator of each cluster.
        denominator: (G,) at least 0.
    """

    weight: float
    residual: FloatArray
    denominator: FloatArray


def influence_of(parts: Sequence[RatioPart], reduce_below: int) -> tuple[FloatArray, float | None]:
    """(parts, G) what each cluster adds to the error of each ratio; degrees of freedom where bias-reduced.

    Args:
        parts: the ratios.
        reduce_below: clusters from which on the influence is the plain one, without degrees of freedom.

    Raises:
        ValueError: fewer clusters, one of which is all of a ratio.
    """
    if len(parts[0].residual) >= reduce_below:
        return np.stack([part.residual / part.denominator.sum() for part in parts]), None
    return reduced_influence(parts), satterthwaite(parts)


def reduced_influence(parts: Sequence[RatioPart]) -> FloatArray:
    """(parts, G) what each cluster adds to the error of each ratio; the squares sum to its variance.

    Each residual is divided by the root of 1 - its cluster's share of the denominator, which makes the
    variance unbiased where it grows with the denominator. Not centred: the sum is not 0.

    Args:
        parts: the ratios; their weights are not used.

    Raises:
        ValueError: a ratio that one cluster is all of.

    Source: Bell and McCaffrey, Bias reduction in standard errors for linear regression with multi-stage
    samples, 2002, for a weighted mean as the regression.
    """
    return np.stack([p.residual / (p.denominator.sum() * np.sqrt(1 - _share(p))) for p in parts])


def satterthwaite(parts: Sequence[RatioPart]) -> float:
    """Degrees of freedom of the bias-reduced variance of the weighted sum of ratios.

    Twice the squared mean over the variance of that variance, if rows were independent with a variance in
    proportion to the denominator, alike for all ratios. G - 1 for one ratio over clusters of one size, fewer
    where sizes differ.

    Args:
        parts: the ratios.

    Raises:
        ValueError: a ratio that one cluster is all of.

    Source: Bell and McCaffrey, 2002, section 4; Pustejovsky and Tipton, Small-sample methods for
    cluster-robust variance estimation, 2018, section 3.

    Example:
        >>> equal, one_large = np.ones(10), np.append(np.ones(9), 9.0)
        >>> [round(satterthwaite([RatioPart(1.0, equal, sizes)]), 2) for sizes in (equal, one_large)]
        [9.0, 3.25]
    """
    share = np.stack([_share(p) for p in parts])  # (a, G)
    kappa = np.array([p.weight**2 / p.denominator.sum() for p in parts])
    pull = share / np.sqrt(1 - share)  # (a, G)
    own = kappa @ (share / (1 - share))  # (G,)
    crossed = (pull @ pull.T) ** 2
    spread = (own * own).sum() - 2 * (own * (kappa @ pull**2)).sum() + kappa @ crossed @ kappa
    return float(kappa.sum() ** 2 / spread)


def _share(part: RatioPart) -> FloatArray:
    """(G,) share of the denominator that each cluster holds."""
    share: FloatArray = part.denominator / part.denominator.sum()
    if (share > _WHOLE).any():
        raise ValueError("clusters: expected at least 2 with a part of the denominator, got 1")
    return share

"""Whether effects of several parts are one effect, when the same users may be in more than one part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from eval.clustered import Estimate, cluster_totals
from eval.shrinkage import Segments, random_effects
from reranker.columns import FloatArray, IntArray

DIFFERENT_P = 0.05


@dataclass(frozen=True)
class Difference:
    """Whether the parts of a dimension differ in a figure.

    Attributes:
        dimension, metric: of what.
        n_parts: with an effect of their own.
        p: that all of them have one effect, by a Wald test with the covariance of the users; F.
        p_adjusted: by Holm over dimensions and figures.
        variance: of the true effects between parts (DerSimonian and Laird's).
        i2: share of the spread of effects that is not noise.
        lowest, highest: the parts with the least and the largest effect.
        both_signs: whether effects that exclude 0 have unlike signs.
        n_users: behind the test.
    """

    dimension: str
    metric: str
    n_parts: int
    p: float
    p_adjusted: float
    variance: float | None
    i2: float | None
    lowest: str
    highest: str
    both_signs: bool
    n_users: int

    @property
    def differs(self) -> bool:
        """Whether one figure for all would mislead."""
        return self.p_adjusted <= DIFFERENT_P


def compare_effects(
    named: tuple[str, str],
    segments: Sequence[str],
    effects: Sequence[Estimate],
    influence: Sequence[FloatArray],
    user: IntArray,
) -> Difference:
    """The test of one figure over the parts of a dimension; `p_adjusted` is yet that of one test.

    Args:
        named: dimension and metric.
        segments: names of g parts.
        effects: of each.
        influence: (n,) per request of the whole log: its sum is the error of each effect.
        user: (n,) codes of the users.
    """
    p, n_users = wald(np.array([one.value for one in effects]), np.array(influence), user)
    spread = shrink(effects)
    values = [one.value for one in effects]
    sides = {np.sign(one.value) for one in effects if one.low > 0 or one.high < 0}
    return Difference(
        dimension=named[0],
        metric=named[1],
        n_parts=len(effects),
        p=p,
        p_adjusted=p,
        variance=None if spread is None else spread.variance,
        i2=None if spread is None else spread.i2,
        lowest=segments[int(np.argmin(values))],
        highest=segments[int(np.argmax(values))],
        both_signs=len(sides) > 1,
        n_users=n_users,
    )


def wald(effect: FloatArray, influence: FloatArray, user: IntArray) -> tuple[float, int]:
    """The p-value that g effects are one, and the users behind it.

    Where the parts share no user this is Cochran's test with known variances, but for F in place of
    chi-square; where they do, as devices and publishers, Cochran's would be wrong.

    Args:
        effect: (g,).
        influence: (g, n) whose sums are the errors of the effects.
        user: (n,) integer codes.

    Source: Wald, Tests of statistical hypotheses concerning several parameters, 1943; Hotelling, The
    generalization of Student's ratio, 1931 (the F).
    """
    totals = cluster_totals(tuple(influence), user)  # (g, G)
    n_users = totals.shape[1]
    totals = totals[:-1] - totals[-1]
    totals -= totals.mean(axis=1, keepdims=True)
    contrast = effect[:-1] - effect[-1]
    covariance = n_users / (n_users - 1) * (totals @ totals.T)
    rank = int(np.linalg.matrix_rank(covariance, hermitian=True))
    if not rank or n_users <= rank:
        return (1.0 if not contrast.any() else 0.0) if not rank else 1.0, n_users
    statistic = float(contrast @ np.linalg.pinv(covariance, hermitian=True) @ contrast)
    f = statistic * (n_users - rank) / (rank * (n_users - 1))
    return float(special.fdtrc(rank, n_users - rank, f)), n_users


def shrink(effects: Sequence[Estimate]) -> Segments | None:
    """The effects drawn together; None where fewer than 2, or one of them has no error at all."""
    error = np.array([one.standard_error for one in effects])
    if len(effects) < 2 or not (error > 0).all():
        return None
    return random_effects(np.array([one.value for one in effects]), error, level=effects[0].level)

"""Arms of whole countries or communities: few units, t with G - 2 degrees of freedom, a permutation test.

Users of one country move together. An error by user takes thousands of them for independent and calls
noise an effect more often than not.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from eval.arms import p_of_no_difference
from eval.clustered import LEVEL, Estimate, cluster_totals, relative_of, t_quantile
from reranker.columns import BoolArray, FloatArray, IntArray

MOST_ENUMERATED = 20_000


@dataclass(frozen=True)
class ClusterTrial:
    """The effect in an experiment on whole clusters.

    Attributes:
        control, treatment: ratio of sums in either arm.
        difference: treatment minus control, t with G - 2 degrees of freedom.
        relative: treatment over control, minus 1; None where the control is 0.
        p: two-sided, of the t test.
        p_randomisation: share of assignments at least as extreme as the one that was used.
        n_assignments: how many were compared, the one that was used among them.
        exact: whether these are all.
    """

    control: float
    treatment: float
    difference: Estimate
    relative: Estimate | None
    p: float
    p_randomisation: float
    n_assignments: int
    exact: bool


def cluster_trial(
    treated: BoolArray,
    numerator: FloatArray,
    denominator: FloatArray,
    cluster: IntArray,
    *,
    seed: int,
    level: float = LEVEL,
) -> ClusterTrial:
    """Two arms to which whole clusters were assigned at random.

    The variance is pooled over the clusters of both arms, as under no effect; where sizes or spreads differ
    much, see `effects.cluster_effect`. Clusters without a denominator are left out. The permutation test is
    of no effect on anyone, with the t statistic; it enumerates up to 20,000 assignments and draws beyond.

    Args:
        treated: (n,) per row, the same within a cluster.
        numerator: (n,) per row.
        denominator: (n,) per row, at least 0; ones count users.
        cluster: (n,) integer codes of what was randomised.
        seed: of the drawn assignments.
        level: of the intervals.

    Raises:
        ValueError: a cluster in both arms, or an arm with fewer than 2 clusters.

    Source: Donner and Klar, Design and Analysis of Cluster Randomization Trials in Health Research, 2000,
    chapter 7; Wu and Ding, Randomization tests for weak null hypotheses, 2021 (studentised statistic).
    """
    totals = cluster_totals(
        (numerator, denominator, treated.astype(np.float64), np.ones(len(treated))), cluster
    )
    above, below, n_treated, n_rows = totals[:, (totals[0] != 0) | (totals[1] > 0)]
    side = n_treated > 0
    if (side & (n_treated < n_rows)).any():
        raise ValueError("treated: expected one arm per cluster, got a cluster in both")
    n_clusters, n_second = len(side), int(side.sum())
    if min(n_second, n_clusters - n_second) < 2:
        raise ValueError(f"clusters: expected at least 2 per arm, got {n_clusters - n_second} and {n_second}")
    found = _fit(side[None], above, below)
    control, treatment, variance = (float(part[0]) for part in found)
    df = float(n_clusters - 2)
    value, error = treatment - control, math.sqrt(variance / n_second + variance / (n_clusters - n_second))
    half = t_quantile(level, df) * error
    effect = Estimate(value, error, value - half, value + half, level, len(treated), n_clusters, df)
    relative = None
    if control != 0:
        own = variance / (n_clusters - n_second), 0.0, variance / n_second
        relative = relative_of(
            (control, treatment), own, n=len(treated), n_clusters=n_clusters, level=level, df=df
        )
    assignments, exact = _assignments(side, seed)
    p_randomisation = _share_as_extreme(found, _fit(assignments, above, below), exact)
    n_assignments = len(assignments) + (not exact)
    p = p_of_no_difference(effect)
    return ClusterTrial(control, treatment, effect, relative, p, p_randomisation, n_assignments, exact)


def arms_of_clusters(arm: IntArray, cluster: IntArray) -> IntArray:
    """(G,) the arm of each cluster, in the order of their codes.

    Args:
        arm: (n,) from 0, per user.
        cluster: (n,) integer codes, any values.

    Raises:
        ValueError: a cluster in two arms.
    """
    codes, first, of_user = np.unique(cluster, return_index=True, return_inverse=True)
    made = arm[first]
    astray = made[of_user] != arm
    if astray.any():
        code = codes[of_user[np.argmax(astray)]]
        raise ValueError(f"cluster: expected one arm per cluster, got two for {code}")
    return made


def _fit(sides: BoolArray, above: FloatArray, below: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """For each assignment (a, G) the two ratios (a,) and the pooled variance of a cluster (a,)."""
    n_clusters = sides.shape[1]
    ratios, squares = [], np.zeros(len(sides))
    for members in (~sides, sides):
        weight = members.astype(np.float64)
        mean = weight @ below / weight.sum(axis=1)
        if (mean <= 0).any():
            raise ValueError("denominator: expected a sum above 0 in either arm, got 0")
        ratio = weight @ above / (weight @ below)
        residual = (above - ratio[:, None] * below) / mean[:, None]
        squares += (weight * residual**2).sum(axis=1)
        ratios.append(ratio)
    return ratios[0], ratios[1], squares / (n_clusters - 2)


def _assignments(side: BoolArray, seed: int) -> tuple[BoolArray, bool]:
    """(a, G) other assignments with as many treated clusters, and whether they are all."""
    n_clusters, n_second = len(side), int(side.sum())
    if math.comb(n_clusters, n_second) <= MOST_ENUMERATED:
        members = np.array(list(combinations(range(n_clusters), n_second)))
        sides = np.zeros((len(members), n_clusters), dtype=bool)
        np.put_along_axis(sides, members, True, axis=1)
        return sides, True
    rng = np.random.default_rng(seed)
    return rng.permuted(np.tile(side, (MOST_ENUMERATED - 1, 1)), axis=1), False


def _share_as_extreme(
    used: tuple[FloatArray, FloatArray, FloatArray],
    others: tuple[FloatArray, FloatArray, FloatArray],
    exact: bool,
) -> float:
    """Share of assignments whose squared t is at least that of the one used; drawn ones never give 0."""
    squared, reference = _squared_t(others), float(_squared_t(used)[0])
    n_extreme = int((squared >= reference * (1 - 1e-9)).sum())
    return n_extreme / len(squared) if exact else (n_extreme + 1) / (len(squared) + 1)


def _squared_t(fit: tuple[FloatArray, FloatArray, FloatArray]) -> FloatArray:
    control, treatment, variance = fit
    squared = (treatment - control) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):  # no spread at all: any difference is extreme
        return np.where(squared == 0, 0.0, squared / variance)

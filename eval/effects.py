"""The effect of one arm against another, for whatever was randomised: users, triggered users or clusters."""

from dataclasses import dataclass

import numpy as np

from eval.arms import (
    IMBALANCE,
    ArmMeans,
    Covariate,
    adjusted,
    arm_means,
    balance_p,
    design_columns,
    difference,
    p_of_no_difference,
    relative_difference,
)
from eval.cluster_regression import cluster_regression
from eval.clustered import LEVEL, Estimate, clustered_ratio_change, relative_change, relative_of
from eval.sample_ratio import OVERALL_P
from eval.trigger import diluted_means
from reranker.columns import BoolArray, FloatArray, IntArray

CAP_AT = 0.999  # of the users of both arms together


@dataclass(frozen=True)
class Effect:
    """Two arms and their difference.

    Attributes:
        control, treatment: the values.
        difference: treatment minus control.
        relative: treatment over control, minus 1; None where the control is 0.
        p: two-sided, of no difference. A large one is no evidence that nothing changed.
    """

    control: float
    treatment: float
    difference: Estimate
    relative: Estimate | None
    p: float


@dataclass(frozen=True, eq=False)
class Compared:
    """The users of two arms.

    Attributes:
        treated: (n,) which arm.
        level: of the intervals.
        triggered: (n,) who met the change, where the effect on them is to be diluted to all; else None.
        cluster: (n,) codes of what was randomised, where users were not; else None.
    """

    treated: BoolArray
    level: float = LEVEL
    triggered: BoolArray | None = None
    cluster: IntArray | None = None


def effect(means: ArmMeans, *, level: float = LEVEL) -> Effect:
    """The difference and the relative effect of two arms of users."""
    absolute = difference(means, level=level)
    relative = relative_difference(means, level=level) if means.values[0] != 0 else None
    return Effect(*means.values, absolute, relative, p_of_no_difference(absolute))


def measured(compared: Compared, above: FloatArray, below: FloatArray | None) -> Effect:
    """The effect on a mean or ratio.

    Args:
        compared: the users.
        above: (n,) numerator.
        below: (n,) denominator; None counts users.
    """
    if compared.cluster is None:
        return effect(_means(compared, above, below), level=compared.level)
    return cluster_effect(compared.treated, above, below, compared.cluster, level=compared.level)


def measured_alike(
    compared: Compared,
    columns: tuple[FloatArray, FloatArray | None],
    covariates: tuple[Covariate, ...],
    assigned_at: FloatArray,
) -> Effect:
    """The effect as if the arms had been alike before; see `arms.adjusted`.

    Args:
        compared: the users.
        columns: (n,) numerator, and (n,) denominator or None.
        covariates: from before the assignment.
        assigned_at: (n,) time of each user's assignment.
    """
    if compared.cluster is None:
        made = adjusted(_means(compared, *columns), covariates, assigned_at)
        return effect(made, level=compared.level)
    above, below = columns
    under = np.ones(len(above)) if below is None else below
    kept = under > 0
    extra = design_columns(covariates)[kept]
    weight = under[kept]
    extra = extra - weight @ extra / weight.sum()
    treated = compared.treated[kept].astype(np.float64)
    design = np.column_stack((1.0 - treated, treated, extra))
    fit = cluster_regression(design, above[kept] / weight, compared.cluster[kept], weight=weight)
    contrast = np.zeros(design.shape[1])
    contrast[:2] = -1.0, 1.0
    absolute = fit.estimate(contrast, level=compared.level)
    first, second = float(fit.coefficients[0]), float(fit.coefficients[1])
    relative = None
    if first != 0:
        contrast[:2] = -second / first**2, 1.0 / first
        (v00, v01), (_, v11) = fit.covariance[:2, :2].tolist()
        df = fit.degrees_of_freedom(contrast)
        sizes = {"n": absolute.n, "n_clusters": absolute.n_clusters}
        relative = relative_of((first, second), (v00, v01, v11), level=compared.level, df=df, **sizes)
    return Effect(first, second, absolute, relative, p_of_no_difference(absolute))


def cluster_effect(
    treated: BoolArray,
    above: FloatArray,
    below: FloatArray | None,
    cluster: IntArray,
    *,
    level: float = LEVEL,
) -> Effect:
    """The effect where whole clusters were randomised: ratios of sums, the bias-reduced error by cluster.

    The arms may differ in how much their clusters vary and in how large they are; the pooled test of
    `randomised_clusters.cluster_trial` takes both for equal.

    Args:
        treated: (n,) per row, the same within a cluster.
        above: (n,) numerator.
        below: (n,) denominator; None counts rows.
        cluster: (n,) integer codes.
        level: of the intervals.

    Raises:
        ValueError: an arm without a denominator or one cluster alone in it.
    """
    under = np.ones(len(above)) if below is None else below
    control, treatment = ((above * side, under * side) for side in (~treated, treated))
    always = len(cluster) + 1
    absolute = clustered_ratio_change(control, treatment, cluster, level=level, reduce_below=always)
    first = float(control[0].sum() / control[1].sum())
    relative = None
    if first != 0:
        relative = relative_change(control, treatment, cluster, level=level, reduce_below=always)
    return Effect(first, first + absolute.value, absolute, relative, p_of_no_difference(absolute))


def unbalanced(compared: Compared, covariates: tuple[Covariate, ...]) -> tuple[str, ...]:
    """Names of the covariates that the arms differ in by more than chance would have it."""
    found = []
    for covariate in covariates:
        known = np.isfinite(covariate.values)
        if compared.cluster is None:
            p = balance_p(covariate, compared.treated)
        elif too_few(_kept(compared, known), None):
            p = 1.0
        else:
            p = measured(_kept(compared, known), covariate.values[known], None).p
        if p < IMBALANCE:
            found.append(covariate.name)
    return tuple(found)


def too_few(compared: Compared, below: FloatArray | None) -> str:
    """Why an arm has too little to measure, or ""."""
    counted = np.ones(len(compared.treated), dtype=bool) if below is None else below > 0
    counted = counted if compared.triggered is None else counted & compared.triggered
    sides = (counted & compared.treated, counted & ~compared.treated)
    unit = "users" if compared.cluster is None else "clusters"
    codes = np.arange(len(counted)) if compared.cluster is None else compared.cluster
    fewest = min(len(np.unique(codes[side])) for side in sides)
    return "" if fewest >= 2 else f"an arm has {fewest} {unit} to measure, at least 2 are needed"


def leaking(compared: Compared, above: FloatArray, below: FloatArray | None) -> str:
    """Why dilution does not hold: the users who never met the change differ between the arms."""
    if compared.triggered is None:
        return ""
    rows = ~compared.triggered
    rest, below = _kept(compared, rows), None if below is None else below[rows]
    if too_few(rest, below):
        return ""
    p = measured(rest, above[rows], below).p
    return f"users who never met the change differ between the arms, p = {p:.2g}" if p < OVERALL_P else ""


def winsorised(
    numerator: FloatArray, denominator: FloatArray | None, *, at: float = CAP_AT
) -> tuple[FloatArray, FloatArray | None]:
    """Totals with the largest capped: numerator and denominator alike, over the same users of both arms.

    Args:
        numerator: (n,) totals of the users of both arms.
        denominator: (n,) or None; users without one set no cap.
        at: quantile of the cap.
    """
    if denominator is None:
        return np.minimum(numerator, np.quantile(numerator, at)), None
    counted = denominator > 0
    if not counted.any():
        return numerator, denominator
    caps = np.quantile(numerator[counted], at), np.quantile(denominator[counted], at)
    return np.minimum(numerator, caps[0]), np.minimum(denominator, caps[1])


def _kept(compared: Compared, rows: BoolArray) -> Compared:
    """Some of the users, without dilution."""
    cluster = None if compared.cluster is None else compared.cluster[rows]
    return Compared(compared.treated[rows], compared.level, cluster=cluster)


def _means(compared: Compared, above: FloatArray, below: FloatArray | None) -> ArmMeans:
    if compared.triggered is None:
        return arm_means(compared.treated, above, below)
    return diluted_means(compared.treated, compared.triggered, above, below)

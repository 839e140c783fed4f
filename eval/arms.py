"""Two arms of randomised users: their means or ratios, and what each user adds to the error of both.

A ratio metric is the ratio of the sums over users. Adjustment by what is known from before, dilution and
relative effects are all functions of one influence value per user and arm, so no covariance is forgotten.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from eval.clustered import LEVEL, Estimate, relative_of, t_quantile
from reranker.columns import BoolArray, FloatArray

IMBALANCE = 1e-5  # below this p, arms that differ before are no accident; accidents are what adjusting is for


@dataclass(frozen=True, eq=False)
class ArmMeans:
    """The values of two arms.

    Attributes:
        values: of the control and of the treatment.
        influence: (2, n) what each user adds to the error of either; a sum, not a mean.
        treated: (n,) the arm of each user.
    """

    values: tuple[float, float]
    influence: FloatArray
    treated: BoolArray


def arm_means(treated: BoolArray, numerator: FloatArray, denominator: FloatArray | None = None) -> ArmMeans:
    """Per arm the sum of the numerators over that of the denominators, by the delta method.

    Args:
        treated: (n,) per user.
        numerator: (n,) total of each user.
        denominator: (n,) total of each user, at least 0; None counts users.

    Raises:
        ValueError: an arm with fewer than 2 users that have a denominator, or values that are not finite.

    Source: Deng, Knoblich and Lu, Applying the delta method in metric analytics, 2018, section 3.
    """
    below = np.ones(len(numerator)) if denominator is None else denominator
    for name, column in (("numerator", numerator), ("denominator", below)):
        if column.shape != treated.shape:
            raise ValueError(f"{name}: expected shape {treated.shape}, got {column.shape}")
        if not np.isfinite(column).all():
            raise ValueError(f"{name}: expected finite numbers, got {column[~np.isfinite(column)][0]}")
    if (below < 0).any():
        raise ValueError(f"denominator: expected at least 0, got {below.min()}")
    values, influence = [], np.zeros((2, len(treated)))
    for arm, members in enumerate((~treated, treated)):
        n_counted = int((below[members] > 0).sum())
        if n_counted < 2:
            raise ValueError(f"arm {arm}: expected at least 2 users with a denominator, got {n_counted}")
        total = below[members].sum()
        values.append(float(numerator[members].sum() / total))
        influence[arm, members] = (numerator[members] - values[arm] * below[members]) / total
    return ArmMeans((values[0], values[1]), influence, treated)


def difference(means: ArmMeans, *, level: float = LEVEL) -> Estimate:
    """Treatment minus control, with Welch's degrees of freedom.

    Source: Welch, The generalization of Student's problem when several different population variances are
    involved, 1947.
    """
    error, df = _contrast(means, means.influence[1] - means.influence[0])
    value, n = means.values[1] - means.values[0], len(means.treated)
    half = t_quantile(level, df) * error
    return Estimate(value, error, value - half, value + half, level, n, n, df)


def relative_difference(means: ArmMeans, *, level: float = LEVEL) -> Estimate:
    """Treatment over control, minus 1: delta method, or Fieller where the control is noisy.

    Raises:
        ValueError: a control of 0, to which nothing is relative.
    """
    n = len(means.treated)
    covariance = np.zeros((2, 2))
    for centred in _centred(means, means.influence):
        covariance += centred.shape[1] / (centred.shape[1] - 1) * (centred @ centred.T)
    (v00, v01), (_, v11) = covariance.tolist()
    rho = means.values[1] / means.values[0] if means.values[0] != 0 else 0.0
    _, df = _contrast(means, means.influence[1] - rho * means.influence[0])
    return relative_of(means.values, (v00, v01, v11), n=n, n_clusters=n, level=level, df=df)


def p_of_no_difference(estimate: Estimate) -> float:
    """The two-sided p-value of a true value of 0. A large one is no evidence of no effect."""
    if estimate.standard_error == 0:
        return 1.0 if estimate.value == 0 else 0.0
    t = abs(estimate.value) / estimate.standard_error
    return float(2 * special.stdtr(estimate.degrees_of_freedom, -t))


@dataclass(frozen=True, eq=False)
class Covariate:
    """Something known of each user from before the experiment.

    Attributes:
        name: in messages.
        values: (n,) NaN where nothing is known, such as of new users.
        until: (n,) time of the last fact in it, in the unit of the assignment.
    """

    name: str
    values: FloatArray
    until: FloatArray


def adjusted(
    means: ArmMeans,
    covariates: tuple[Covariate, ...],
    assigned_at: FloatArray,
    *,
    slopes: Literal["pooled", "by arm"] = "pooled",
) -> ArmMeans:
    """The same two arms as if their users had been alike before (CUPED; Lin where slopes are by arm).

    Each mean moves by the slope times the distance of its arm's covariates from those of all users. That
    mean of all is common to the arms, and the influence carries it. Unknown values get the mean and a column
    that says so.

    Args:
        means: unadjusted.
        covariates: from before the assignment.
        assigned_at: (n,) time of each user's assignment.
        slopes: one for both arms, or one each.

    Raises:
        ValueError: a covariate with facts from after the assignment, or one that the arms differ in.

    Source: Deng, Xu, Kohavi and Walker, Improving the sensitivity of online controlled experiments, 2013,
    section 3; Lin, Agnostic notes on regression adjustments to experimental data, 2013, section 4.
    """
    for covariate in covariates:
        check_until(covariate, assigned_at)
        _check_balance(covariate, means.treated)
    design = design_columns(covariates)
    if design.shape[1] == 0:
        return means
    everyone = design - design.mean(axis=0)
    masks = (~means.treated, means.treated)
    within = [everyone[mask] - everyone[mask].mean(axis=0) for mask in masks]
    outcomes = [means.influence[arm, mask] * mask.sum() for arm, mask in enumerate(masks)]
    if slopes == "pooled":
        common = np.linalg.lstsq(np.concatenate(within), np.concatenate(outcomes))[0]
        found = [common, common]
    else:
        found = [np.linalg.lstsq(x, y)[0] for x, y in zip(within, outcomes, strict=True)]
    values, influence = list(means.values), means.influence.copy()
    for arm, (mask, slope) in enumerate(zip(masks, found, strict=True)):
        values[arm] -= float(everyone[mask].mean(axis=0) @ slope)
        influence[arm, mask] -= within[arm] @ slope / mask.sum()
        influence[arm] += everyone @ slope / len(everyone)
    return ArmMeans((values[0], values[1]), influence, means.treated)


def balance_p(covariate: Covariate, treated: BoolArray) -> float:
    """The p-value of a covariate being alike in both arms; 1.0 where too few are known to tell."""
    known = np.isfinite(covariate.values)
    if min((known & treated).sum(), (known & ~treated).sum()) < 2:
        return 1.0
    return p_of_no_difference(difference(arm_means(treated[known], covariate.values[known])))


def check_until(covariate: Covariate, assigned_at: FloatArray) -> None:
    """Refuse facts from after the assignment: the treatment may have moved them.

    Raises:
        ValueError: a known value whose last fact is not before the user's assignment.
    """
    late = np.isfinite(covariate.values) & ~(covariate.until < assigned_at)
    if late.any():
        user = int(np.argmax(late))
        raise ValueError(
            f"covariate {covariate.name}: expected facts from before the assignment at {assigned_at[user]}, "
            f"got one at {covariate.until[user]} (user {user})"
        )


def _check_balance(covariate: Covariate, treated: BoolArray) -> None:
    p = balance_p(covariate, treated)
    if p < IMBALANCE:
        raise ValueError(
            f"covariate {covariate.name}: expected arms that were alike before, got p = {p:.2g}; "
            "either the assignment is broken or the treatment moved it"
        )


def design_columns(covariates: tuple[Covariate, ...]) -> FloatArray:
    """(n, columns) the covariates that vary, unknown values at the mean, and columns of which are unknown."""
    columns = []
    for covariate in covariates:
        known = np.isfinite(covariate.values)
        if known.any():
            columns.append(np.where(known, covariate.values, covariate.values[known].mean()))
            columns.append((~known).astype(np.float64))
    n = len(covariates[0].values) if covariates else 0
    kept = [column for column in columns if column.min() < column.max()]
    return np.column_stack(kept) if kept else np.empty((n, 0))


def _centred(means: ArmMeans, influence: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The columns of each arm around their mean: users of an arm vary, its size does not."""
    parts = influence[..., ~means.treated], influence[..., means.treated]
    first, second = (part - part.mean(axis=-1, keepdims=True) for part in parts)
    return first, second


def _contrast(means: ArmMeans, influence: FloatArray) -> tuple[float, float]:
    """The standard error of a contrast (n,) and its degrees of freedom."""
    parts = _centred(means, influence)
    sizes = np.array([len(part) for part in parts])
    variances = np.array([part @ part for part in parts]) * sizes / (sizes - 1)
    total = float(variances.sum())
    if total == 0:
        return 0.0, float(sizes.sum() - 2)
    return float(np.sqrt(total)), float(total**2 / (variances**2 / (sizes - 1)).sum())

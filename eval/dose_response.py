"""Effects at several strengths of one change: is there a line, a plateau, a reversal; how far is safe?

Doses are counted from the baseline, such as (5 - weight) for angry from 5 to 0. All arms share one control,
so their effects are correlated: every fit uses the whole covariance.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import optimize, special

from eval.clustered import LEVEL, t_quantile
from eval.multiplicity import holm
from reranker.columns import FloatArray

MISFIT_P = 0.05


@dataclass(frozen=True, eq=False)
class Doses:
    """Effects against the baseline.

    Attributes:
        dose: (d,) above 0 and rising.
        effect: (d,) change from the baseline.
        covariance: (d, d) of the effects.
    """

    dose: FloatArray
    effect: FloatArray
    covariance: FloatArray

    def __post_init__(self) -> None:
        d = len(self.dose)
        if self.effect.shape != (d,) or self.covariance.shape != (d, d) or d == 0:
            raise ValueError(
                f"doses: expected {d} effects and their covariance, "
                f"got {self.effect.shape} and {self.covariance.shape}"
            )
        if not ((self.dose > 0).all() and (np.diff(self.dose) > 0).all()):
            raise ValueError(f"dose: expected numbers above 0 in rising order, got {self.dose}")
        if not (np.isfinite(self.effect).all() and np.isfinite(self.covariance).all()):
            raise ValueError("doses: expected finite effects and covariances")
        if not (np.linalg.eigvalsh(self.covariance) > 0).all():
            raise ValueError("covariance: expected a positive definite matrix")

    @property
    def error(self) -> FloatArray:
        """(d,) standard errors."""
        return np.asarray(np.sqrt(np.diagonal(self.covariance)))


def against_control(dose: FloatArray, value: FloatArray, standard_error: FloatArray) -> Doses:
    """Effects of independent arms against a shared control, which is the arm of dose 0.

    Args:
        dose: (d + 1,) rising from 0.
        value: (d + 1,) mean of each arm.
        standard_error: (d + 1,) of each mean.

    Raises:
        ValueError: the first dose is not 0.
    """
    if dose[0] != 0:
        raise ValueError(f"dose: expected the control at 0 first, got {dose[0]}")
    noise = standard_error**2
    return Doses(dose[1:], value[1:] - value[0], np.diag(noise[1:]) + noise[0])


@dataclass(frozen=True)
class Line:
    """effect = slope x dose.

    Attributes:
        slope, standard_error: per unit of dose.
        misfit, misfit_p: chi-square of the lack of fit with d - 1 degrees of freedom; p is None with 1 dose.
    """

    slope: float
    standard_error: float
    misfit: float
    misfit_p: float | None

    @property
    def fits(self) -> bool:
        """Whether a line is not contradicted; with one dose nothing can contradict it."""
        return self.misfit_p is None or self.misfit_p >= MISFIT_P

    def interval(self, dose: float, level: float = LEVEL) -> tuple[float, float]:
        """Of the effect at a dose."""
        half = t_quantile(level, np.inf) * self.standard_error * dose
        return self.slope * dose - half, self.slope * dose + half


def line(doses: Doses) -> Line:
    """A line through 0 by generalised least squares.

    Source: Draper and Smith, Applied Regression Analysis, 1998, chapters 2 and 9.
    """
    weight = np.linalg.inv(doses.covariance)
    information = float(doses.dose @ weight @ doses.dose)
    slope = float(doses.dose @ weight @ doses.effect) / information
    residual = doses.effect - slope * doses.dose
    misfit, df = float(residual @ weight @ residual), len(doses.dose) - 1
    return Line(slope, information**-0.5, misfit, float(special.chdtrc(df, misfit)) if df else None)


@dataclass(frozen=True, eq=False)
class Monotone:
    """A fit that only rises, or only falls.

    Attributes:
        fitted: (d,) from 0 at the baseline.
        reversals: pairs of doses between which the effect goes back, significantly after Holm at 5 %.
    """

    fitted: FloatArray
    reversals: tuple[tuple[float, float], ...]

    @property
    def is_monotone(self) -> bool:
        """Whether no reversal was found; otherwise another term, such as comments, may take over."""
        return not self.reversals


def monotone(doses: Doses, *, rising: bool) -> Monotone:
    """The isotonic fit, weighted by the inverse variances, and where the effects contradict it.

    Args:
        doses: the effects.
        rising: whether a higher dose should give a higher effect.

    Source: Barlow and others, Statistical Inference under Order Restrictions, 1972, chapter 1.
    """
    sign = 1.0 if rising else -1.0
    found = optimize.isotonic_regression(sign * doses.effect, weights=doses.error**-2)
    pairs = list(combinations(range(len(doses.dose) + 1), 2))  # 0 is the baseline
    effect = np.append(0.0, sign * doses.effect)
    covariance = np.pad(doses.covariance, (1, 0))
    back = [
        (effect[i] - effect[j]) / np.sqrt(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j])
        for i, j in pairs
    ]
    adjusted = holm(special.ndtr(-np.array(back)))
    where = np.append(0.0, doses.dose)
    reversals = tuple(
        (float(where[i]), float(where[j])) for (i, j), p in zip(pairs, adjusted, strict=True) if p < 0.05
    )
    return Monotone(sign * np.maximum(found.x, 0.0), reversals)


@dataclass(frozen=True)
class Saturation:
    """effect = plateau x dose / (half_dose + dose).

    Attributes:
        plateau: the effect of an endless dose.
        half_dose: the dose of half of it (ED50).
        low, high: of the half dose, from the profile of the fit; 0 or inf where it has no end.
        misfit_p: of the lack of fit with d - 2 degrees of freedom; None with 2 doses.
        identified: whether the half dose has both ends; otherwise a line or a step fits as well.
    """

    plateau: float
    half_dose: float
    low: float
    high: float
    misfit_p: float | None
    identified: bool

    def effect(self, dose: float) -> float:
        """The effect at a dose."""
        return self.plateau * dose / (self.half_dose + dose)


def saturation(doses: Doses, *, level: float = LEVEL) -> Saturation:
    """The Emax curve by generalised least squares, profiled over the half dose.

    The half dose is searched from 1/1000 of the smallest dose to 1000 times the largest.

    Args:
        doses: at least 2.
        level: of the interval of the half dose.

    Raises:
        ValueError: fewer than 2 doses.

    Source: Macdougall, Analysis of dose-response studies: Emax model, 2006; Venzon and Moolgavkar, A method
    for computing profile-likelihood-based confidence intervals, 1988.
    """
    if len(doses.dose) < 2:
        raise ValueError(f"doses: expected at least 2 for a curve, got {len(doses.dose)}")
    weight = np.linalg.inv(doses.covariance)

    def fit(log_half: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Plateau and chi-square at each half dose."""
        shape = doses.dose / (np.exp(log_half)[:, None] + doses.dose)  # (grid, d)
        weighted = shape @ weight
        plateau = weighted @ doses.effect / (weighted * shape).sum(axis=1)
        residual = doses.effect - plateau[:, None] * shape
        return plateau, ((residual @ weight) * residual).sum(axis=1)

    grid = np.linspace(np.log(doses.dose[0] / 1000), np.log(doses.dose[-1] * 1000), 4001)
    profile = fit(grid)[1]
    best = int(profile.argmin())
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = optimize.minimize_scalar(
        lambda x: float(fit(np.array([x]))[1][0]), bounds=around, method="bounded", options={"xatol": 1e-12}
    )
    plateau, misfit = (float(part[0]) for part in fit(np.array([found.x])))
    kept = np.flatnonzero(profile <= misfit + special.chdtri(1, 1 - level))
    low = 0.0 if len(kept) and kept[0] == 0 else float(np.exp(grid[kept[0]] if len(kept) else found.x))
    high = (
        np.inf
        if len(kept) and kept[-1] == len(grid) - 1
        else float(np.exp(grid[kept[-1]] if len(kept) else found.x))
    )
    df = len(doses.dose) - 2
    p = float(special.chdtrc(df, misfit)) if df else None
    return Saturation(plateau, float(np.exp(found.x)), low, high, p, low > 0 and bool(np.isfinite(high)))


@dataclass(frozen=True)
class SafeDose:
    """How far a guardrail allows to go.

    Attributes:
        tested: the largest tested dose that is non-inferior, as is every smaller one; None where not even the
            smallest is.
        by_line: the largest dose with the line's lower bound above -margin, at most the largest tested; None
            where the line does not fit.
    """

    tested: float | None
    by_line: float | None


def largest_safe_dose(doses: Doses, margin: float, *, level: float = LEVEL) -> SafeDose:
    """The largest dose whose lower 95 % bound is above -margin, for a metric of which more is better.

    Tested doses are gone through from the smallest and the first failure ends it, so no correction for their
    number is needed. Nothing is said beyond the largest tested dose.

    Args:
        doses: relative effects on the guardrail.
        margin: above 0.
        level: of the two-sided interval.

    Raises:
        ValueError: a margin that is not above 0.

    Source: Maurer, Hothorn and Lehmacher, Multiple comparisons in drug clinical trials: a-priori ordered
    hypotheses, 1995.
    """
    if not margin > 0:
        raise ValueError(f"margin: expected a number above 0, got {margin}")
    z = t_quantile(level, np.inf)
    safe = np.cumprod(doses.effect - z * doses.error > -margin)
    tested = float(doses.dose[int(safe.sum()) - 1]) if safe[0] else None
    fitted, largest, by_line = line(doses), float(doses.dose[-1]), None
    if fitted.fits:
        fall = z * fitted.standard_error - fitted.slope  # how far the lower bound falls per unit of dose
        by_line = min(margin / fall, largest) if fall > 0 else largest
    return SafeDose(tested, by_line)

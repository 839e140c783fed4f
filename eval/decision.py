"""Decisions about a change against a margin that was fixed beforehand.

"Unaffected" is a claim of equivalence: it is said of EQUIVALENT and of nothing else, never because an
interval holds 0. A gate of several guardrails passes when each is non-inferior, so none is split.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from eval.clustered import Estimate
from eval.margins import Margins, Scope

Decision = Literal["EQUIVALENT", "NON-INFERIOR", "INFERIOR", "DIFFERENT-WITHIN-MARGIN", "INCONCLUSIVE"]
ALPHA = 0.05  # of each of the two one-sided tests; half of it for non-inferiority
POWER = 0.8


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests.

    Attributes:
        p_lower: of a change at or below -margin.
        p_upper: of a change at or above +margin.
        low, high: the interval at level 1 - 2 alpha.
        equivalent: whether that interval lies inside the margin.
    """

    p_lower: float
    p_upper: float
    low: float
    high: float
    equivalent: bool

    @property
    def p(self) -> float:
        """The p-value of equivalence: the larger of the two."""
        return max(self.p_lower, self.p_upper)


def equivalence(estimate: Estimate, margin: float, *, alpha: float = ALPHA) -> Equivalence:
    """Whether a relative change is inside (-margin, margin), by two one-sided t tests.

    Where the interval of the estimate is Fieller's, it is used as it is and the p-values are 1 unless it lies
    inside: the baseline is then too noisy for the t tests.

    Args:
        estimate: a relative change, or any change in units of the margin.
        margin: above 0.
        alpha: of each test.

    Raises:
        ValueError: an estimate that is not finite, or a margin that is not above 0.

    Source: Schuirmann, A comparison of the two one-sided tests procedure and the power approach, 1987.

    Example:
        >>> change = Estimate(-0.002, 0.00189547018, -0.0057, 0.0017, 0.95, 400_000, 400_000, df=math.inf)
        >>> test = equivalence(change, 0.01)
        >>> test.equivalent, f"{test.p:.3e}"
        (True, '1.218e-05')
    """
    _check(estimate, margin)
    low, high = _interval(estimate, 1 - 2 * alpha)
    equivalent = -margin < low and high < margin
    if estimate.is_fieller and not equivalent:
        return Equivalence(1.0, 1.0, low, high, False)
    p_lower, p_upper = (
        _tail(distance, estimate) for distance in (estimate.value + margin, margin - estimate.value)
    )
    return Equivalence(p_lower, p_upper, low, high, equivalent)


@dataclass(frozen=True)
class Verdict:
    """What may be said of one metric.

    Attributes:
        decision: see `decide`.
        estimate: the relative change it rests on.
        margin: the margin, a share.
        test: the two one-sided tests.
        low, high: the 95 % interval.
        non_inferior: whether `low` is above -margin, which is what a gate asks.
        n_needed: clusters in all for 80 % power at no true change; None unless INCONCLUSIVE.
    """

    decision: Decision
    estimate: Estimate
    margin: float
    test: Equivalence
    low: float
    high: float
    non_inferior: bool
    n_needed: int | None


def decide(estimate: Estimate, margin: float) -> Verdict:
    """One of five verdicts on a relative change of a metric of which more is better.

    EQUIVALENT: the 90 % interval is inside the margin. DIFFERENT-WITHIN-MARGIN: the same, and the 95 %
    interval excludes 0. INFERIOR: the 95 % interval is below -margin. NON-INFERIOR: it is above -margin.
    INCONCLUSIVE: none of these. An unbounded interval is INCONCLUSIVE.

    Args:
        estimate: a relative change.
        margin: above 0, fixed before the result was read.

    Raises:
        ValueError: an estimate that is not finite, or a margin that is not above 0.

    Source: Piaggio and others, Reporting of noninferiority and equivalence randomized trials, 2012, figure 1.
    """
    test = equivalence(estimate, margin)
    low, high = _interval(estimate, 1 - ALPHA)
    decision: Decision = "INCONCLUSIVE"
    if test.equivalent:
        decision = "EQUIVALENT" if low <= 0 <= high else "DIFFERENT-WITHIN-MARGIN"
    elif high < -margin:
        decision = "INFERIOR"
    elif low > -margin:
        decision = "NON-INFERIOR"
    n_needed = None
    if decision == "INCONCLUSIVE" and estimate.bounded:
        shrink = _z_sum(ALPHA, POWER) * estimate.standard_error / margin
        n_needed = max(math.ceil(estimate.n_clusters * shrink**2), estimate.n_clusters + 1)
    return Verdict(decision, estimate, margin, test, low, high, low > -margin, n_needed)


def in_words(metric: str, verdict: Verdict) -> str:
    """A sentence on one metric, made from its decision and never from a p-value.

    Example:
        >>> change = Estimate(0.001, 0.002, -0.003, 0.005, 0.95, 900, 900)
        >>> in_words("Comments", decide(change, 0.01))
        'Comments: unaffected within 1% (+0.10%, 90% interval -0.23% to +0.43%).'
    """
    change, margin = _percent(verdict.estimate.value), f"{100 * verdict.margin:.3g}%"
    wide = f"({change}, 95% interval {_percent(verdict.low)} to {_percent(verdict.high)})"
    test = verdict.test
    narrow = f"({change}, 90% interval {_percent(test.low)} to {_percent(test.high)})"
    if verdict.n_needed is None:
        remedy = "the baseline is too small to compare with"
    else:
        remedy = f"about {verdict.n_needed:,} users would show it if nothing changed"
    words: dict[Decision, str] = {
        "EQUIVALENT": f"unaffected within {margin} {narrow}",
        "DIFFERENT-WITHIN-MARGIN": f"it changed {wide}, by less than the margin of {margin} {narrow}",
        "NON-INFERIOR": f"not lower by {margin} or more {wide}; a rise above {margin} is not excluded",
        "INFERIOR": f"lower by more than {margin} {wide}",
        "INCONCLUSIVE": f"this data cannot tell whether it is lower by {margin} {wide}; {remedy}",
    }
    return f"{metric}: {words[verdict.decision]}."


@dataclass(frozen=True)
class Gate:
    """Whether every guardrail held.

    Attributes:
        passed: each required guardrail was measured and is non-inferior, under the planned margins.
        verdicts: metric to verdict.
        failing: metrics that are not shown to be non-inferior.
        not_measured: required metrics without an estimate.
        margins_digest: of the margins that were used.
        banner: a warning where these are not the planned ones, or "".
    """

    passed: bool
    verdicts: Mapping[str, Verdict]
    failing: tuple[str, ...]
    not_measured: tuple[str, ...]
    margins_digest: str
    banner: str


def gate(
    estimates: Mapping[str, Estimate],
    agreed: Margins,
    *,
    required: Sequence[str] | None = None,
    scope: Scope = "overall",
    planned_digest: str | None = None,
) -> Gate:
    """An intersection-union test: all guardrails non-inferior, each at the full alpha.

    Args:
        estimates: metric to its relative change.
        agreed: the margins.
        required: metrics that must hold; None is every one with a margin in the scope.
        scope: "overall" or "country".
        planned_digest: the digest of the planned margins; None, no plan, cannot pass.

    Raises:
        ValueError: a metric without a margin.

    Source: Berger, Multiparameter hypothesis testing and acceptance sampling, 1982.
    """
    needed = tuple(agreed.table(scope) if required is None else required)
    verdicts = {name: decide(found, agreed.of(name, scope)) for name, found in estimates.items()}
    failing = tuple(name for name in needed if name in verdicts and not verdicts[name].non_inferior)
    not_measured = tuple(name for name in needed if name not in verdicts)
    banner = agreed.banner(planned_digest)
    passed = bool(needed) and not (failing or not_measured or banner)
    return Gate(passed, verdicts, failing, not_measured, agreed.digest, banner)


def sample_size(variation: float, margin: float, *, alpha: float = ALPHA, power: float = POWER) -> int:
    """Users per arm for a test of equivalence when nothing truly changed.

    Args:
        variation: standard deviation over mean of users, who are independent.
        margin: relative.
        alpha: of each one-sided test.
        power: in (0, 1).

    Source: Chow, Shao and Wang, Sample Size Calculations in Clinical Research, 2008, section 3.2.3.

    Example:
        >>> sample_size(0.6, 0.01), sample_size(0.6, 0.005)
        (61660, 246639)
    """
    return math.ceil(2 * (_z_sum(alpha, power) * variation / margin) ** 2)


def smallest_margin(standard_error: float, *, alpha: float = ALPHA, power: float = 0.9) -> float:
    """The smallest margin that a test with this standard error can show when nothing truly changed.

    Args:
        standard_error: of the relative change, such as that of an A/A replay of the planned length.
        alpha: of each one-sided test.
        power: in (0, 1).
    """
    return _z_sum(alpha, power) * standard_error


def equivalence_power(
    standard_error: float, margin: float, *, truth: float = 0.0, alpha: float = ALPHA
) -> float:
    """The probability that two one-sided tests find equivalence at a true change (normal approximation)."""
    z = float(special.ndtri(1 - alpha))
    upper = special.ndtr((margin - truth) / standard_error - z)
    return float(max(upper + special.ndtr((margin + truth) / standard_error - z) - 1, 0.0))


def _z_sum(alpha: float, power: float) -> float:
    return float(special.ndtri(1 - alpha) + special.ndtri(1 - (1 - power) / 2))


def _check(estimate: Estimate, margin: float) -> None:
    if not (np.isfinite(estimate.value) and np.isfinite(estimate.standard_error)):
        raise ValueError(
            f"estimate: expected a finite value and standard error, got {estimate.value} "
            f"and {estimate.standard_error}"
        )
    if not margin > 0:
        raise ValueError(f"margin: expected a number above 0, got {margin}")


def _interval(estimate: Estimate, level: float) -> tuple[float, float]:
    if not estimate.is_fieller:
        return estimate.interval(level)
    if estimate.level < level - 1e-9:
        raise ValueError(f"estimate: expected a Fieller interval at level {level}, got {estimate.level}")
    return estimate.low, estimate.high


def _tail(distance: float, estimate: Estimate) -> float:
    """P(T > distance / standard error); without any spread the sign decides."""
    if estimate.standard_error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(special.stdtr(estimate.degrees_of_freedom, -distance / estimate.standard_error))


def _percent(value: float) -> str:
    return f"{100 * value:+.2f}%" if np.isfinite(value) else "no end"

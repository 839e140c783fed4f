"""What each guardrail does as the treatment gets stronger: a line, a reversal, and how far is safe.

All strengths are replayed on the same requests, so their effects are correlated; the fits use the whole
covariance. Strengths are tried from the weakest up and the first that is not shown to be safe ends it, so
that trying many cannot make one of them pass by luck.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.clustered import Estimate, Ratio, cluster_totals
from eval.dose_response import Doses, largest_safe_dose, line, monotone
from eval.launch_checks import Check, Checked, Family
from reranker.columns import FloatArray, IntArray


@dataclass(frozen=True)
class DoseResponse:
    """One guardrail over the strengths, under the main browsing model.

    Attributes:
        family, name: of the guardrail.
        strengths: rising.
        effects: the relative change at each, the worst end where it is bounded; None where not measured.
        safe: the largest strength at which it holds, as it does at every smaller one; None where it does not
            even at the smallest.
        safe_by_line: the largest strength within the margin by a line through all of them, between those that
            were tried; None where no line fits.
        slope: change per unit of strength, by the line.
        line_p: of the lack of fit; None with one strength.
        reversals: pairs of strengths between which the effect goes back, significantly.
        not_fitted: why there is no line and no test of reversals, or "".
    """

    family: Family
    name: str
    strengths: tuple[float, ...]
    effects: tuple[Estimate | None, ...]
    safe: float | None
    safe_by_line: float | None = None
    slope: float | None = None
    line_p: float | None = None
    reversals: tuple[tuple[float, float], ...] = ()
    not_fitted: str = ""


def largest_safe(held: Mapping[float, bool]) -> float | None:
    """The largest strength that holds together with every smaller one; None where the smallest does not.

    Each strength is one intersection-union test at its full alpha. As the first failure ends the sequence,
    the chance of calling any strength safe that is not is alpha at most, however many are tried.

    Source: Maurer, Hothorn and Lehmacher, Multiple comparisons in drug clinical trials: a-priori ordered
    hypotheses, 1995.

    Example:
        >>> largest_safe({0.25: True, 0.5: True, 0.75: False, 1.0: True})
        0.5
    """
    safe = None
    for strength in sorted(held):
        if not held[strength]:
            break
        safe = strength
    return safe


def dose_responses(by_strength: Mapping[float, Checked], cluster: IntArray) -> tuple[DoseResponse, ...]:
    """Harm, activity and topics over the strengths.

    Args:
        by_strength: the checks of each strength.
        cluster: (r,) codes of the users.
    """
    strengths = tuple(sorted(by_strength))
    order: dict[tuple[Family, str], None] = {}
    for checked in by_strength.values():
        order.update(dict.fromkeys(checked.columns))
    return tuple(_response(key, strengths, by_strength, cluster) for key in order)


def _response(
    key: tuple[Family, str],
    strengths: tuple[float, ...],
    by_strength: Mapping[float, Checked],
    cluster: IntArray,
) -> DoseResponse:
    own = [[check for check in by_strength[s].checks if (check.family, check.name) == key] for s in strengths]
    main = [checks[0] for checks in own]
    found = DoseResponse(
        family=key[0],
        name=key[1],
        strengths=strengths,
        effects=tuple(check.worst for check in main),
        safe=largest_safe(
            {s: all(c.holds for c in checks) for s, checks in zip(strengths, own, strict=True)}
        ),
    )
    columns = [by_strength[s].columns.get(key) for s in strengths]
    return _fitted(found, main, [one for one in columns if one is not None], cluster)


def _fitted(
    found: DoseResponse, main: Sequence[Check], columns: Sequence[tuple[Ratio, Ratio]], cluster: IntArray
) -> DoseResponse:
    effects = [effect for effect in found.effects if effect is not None]
    moved = [i for i, effect in enumerate(effects) if effect.standard_error > 0]
    reason = _unfit(effects, len(columns), len(main))
    if reason:
        return _with(found, not_fitted=reason)
    value = np.array([effects[i].value for i in moved])
    error = np.array([effects[i].standard_error for i in moved])
    influence = np.array([relative_influence(*columns[i], cluster) for i in moved])
    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = np.outer(error, error) * np.corrcoef(influence).reshape(len(moved), len(moved))
    rises = found.family == "harm"
    sign = -1.0 if rises else 1.0  # in the direction of good
    try:
        doses = Doses(np.array([found.strengths[i] for i in moved]), sign * value, covariance)
    except ValueError:
        return _with(found, not_fitted="two strengths rank alike")
    fitted = line(doses)
    back = monotone(doses, rising=bool(doses.effect[-1] >= 0)).reversals
    return _with(
        found,
        safe_by_line=largest_safe_dose(doses, main[0].margin).by_line,
        slope=sign * fitted.slope,
        line_p=fitted.misfit_p,
        reversals=back,
    )


def _unfit(effects: Sequence[Estimate], n_columns: int, n_strengths: int) -> str:
    """Why no dose-response can be fitted, or ""."""
    if min(len(effects), n_columns) < n_strengths:
        return "it was not measured at every strength"
    if n_strengths < 2:
        return "strengths: expected at least 2, got 1"
    if not all(np.isfinite(effect.value) for effect in effects):
        return "the original shows none of it"
    if all(effect.standard_error == 0 for effect in effects):
        still = all(effect.value == 0 for effect in effects)
        return "nothing changes at any strength" if still else "it moves alike for all"
    return ""


def _with(found: DoseResponse, **changes: object) -> DoseResponse:
    return DoseResponse(**{**found.__dict__, **changes})


def relative_influence(first: Ratio, second: Ratio, cluster: IntArray) -> FloatArray:
    """(G,) what each user adds to the error of a relative change of two ratios of sums, to first order.

    Only its correlation is used: the errors are those of `eval.clustered.relative_change`.

    Args:
        first: numerator (r,) and denominator (r,) under the original.
        second: under the treatment.
        cluster: (r,) codes of the users.
    """
    n0, d0, n1, d1 = cluster_totals((*first, *second), cluster)
    r0, r1 = n0.sum() / d0.sum(), n1.sum() / d1.sum()
    return np.asarray(((n1 - r1 * d1) / d1.sum() - r1 / r0 * (n0 - r0 * d0) / d0.sum()) / r0)

"""The answer of a gate: whether every check holds, why not, and what may be said of harm.

Passing needs no correction for the number of checks, claims do; see `eval.launch_gate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.comparison import Comparison
from eval.launch_checks import Check, Checked, Scene
from eval.launch_dose import DoseResponse
from eval.launch_plan import LaunchPlan
from eval.multiplicity import Finding, finding, holm, p_of

MOST_SETTINGS = 4  # that a heading names


@dataclass(frozen=True)
class Claim:
    """What may be said of a harm at a strength, of all harms at all strengths as one family.

    Attributes:
        name, strength: of what.
        p, p_adjusted: two-sided, the largest over browsing models and ends; Holm's.
        finding: the direction that may be said.
        own_ruler: whether the classifier or the ratings that demote measured it.
        counts: whether it is evidence of an improvement, or of a harm that rose.
    """

    name: str
    strength: float
    p: float
    p_adjusted: float
    finding: Finding
    own_ruler: bool
    counts: bool


def own_ruler_of(comparison: Comparison) -> tuple[str, ...]:
    """Harms that what was changed measures itself: the demoting classifier's, the ratings', the angry share.

    Where the weight of angry reactions was changed, fewer of them show that the setting works and no more.
    """
    keys = [key for key, _, _ in comparison.differences]
    touched = any(key.endswith("weights.angry") or key.split(".")[0] == "anger" for key in keys)
    measured = any(outcome.name == "angry_share" for outcome in comparison.outcomes)
    return (*comparison.own_ruler, *(("angry_share",) if touched and measured else ()))


def change_words(comparison: Comparison) -> str:
    """What would be launched: the two names, or the settings that differ where the names do not tell."""
    first, second = comparison.original, comparison.treatment
    if first.name != second.name or first.overlays != second.overlays or not comparison.differences:
        return f"{'+'.join((first.name, *first.overlays))} → {'+'.join((second.name, *second.overlays))}"
    told = [
        f"{key} {_setting(old)} → {_setting(new)}" for key, old, new in comparison.differences[:MOST_SETTINGS]
    ]
    more = len(comparison.differences) - len(told)
    return f"{first.name}, {', '.join(told)}" + (f" and {more} more" if more else "")


def _setting(value: object) -> str:
    if value is None:
        return "not set"
    return f"{value:g}" if isinstance(value, float) else str(value)


def passes(checks: Sequence[Check]) -> bool:
    """Whether all hold and at least one harm was measured: an intersection-union test."""
    harm = any(check.family == "harm" and check.state == "pass" for check in checks)
    return harm and all(check.holds for check in checks)


def claims_of(
    by_strength: Mapping[float, Checked], own_ruler: Sequence[str], *, own_ruler_counts: bool
) -> tuple[Claim, ...]:
    """What may be said of each harm at each strength; one family over all of them.

    A harm with a check that has no figure, at any browsing model, is not in the family.

    Args:
        by_strength: the checks.
        own_ruler: harms that the demoting classifier measured.
        own_ruler_counts: whether a fall of these is evidence.
    """
    groups: dict[tuple[str, float], list[Check]] = {}
    for strength, checked in by_strength.items():
        for check in checked.checks:
            if check.family == "harm":
                groups.setdefault((check.name, strength), []).append(check)
    known = {
        key: [end for check in checks for end in check.ends]
        for key, checks in groups.items()
        if all(check.ends and all(np.isfinite(end.value) for end in check.ends) for check in checks)
    }
    p = np.array([p_of(ends) for ends in known.values()])
    made = []
    for (key, ends), one, adjusted in zip(known.items(), p.tolist(), holm(p).tolist(), strict=True):
        own = key[0] in own_ruler
        said = finding(ends, adjusted)
        counts = said == "increased" or (said == "decreased" and (own_ruler_counts or not own))
        made.append(Claim(*key, one, adjusted, said, own, counts))
    return tuple(made)


def reasons_of(
    checks: Sequence[Check], plan: LaunchPlan, planned: str | None, *, unit: str
) -> tuple[str, ...]:
    """One line for each thing that does not hold; what cannot be measured for one reason stands together.

    Args:
        checks: at full strength.
        plan: what must hold.
        planned: the digest as planned.
        unit: what an interval is over, "users" or "requests".
    """
    lines = [banner] if (banner := plan.banner(planned)) else []
    told: dict[tuple[str, str], Check] = {}
    for check in sorted(checks, key=lambda one: one.state != "fail"):  # failures first, else as they came
        if not check.holds:
            told.setdefault((check.family, check.name), check)
    together: dict[tuple[str, str], list[str]] = {}  # what has no figure for one and the same reason
    for check in told.values():
        if check.state == "not measured":
            together.setdefault((check.family, check.reason), []).append(check.name)
        else:
            lines.append(_reason(check, unit))
    lines += [
        f"{family} {', '.join(names)}: not measured: {why}" for (family, why), names in together.items()
    ]
    if not lines and not passes(checks):
        lines.append("harm: expected at least one to be measured, got none")
    return tuple(lines)


def _reason(check: Check, unit: str) -> str:
    where = f"{check.family} {check.name}" + (f" ({check.browsing})" if check.browsing else "")
    worst = check.worst
    if worst is None or not np.isfinite(worst.value):
        return f"{where}: {check.reason}"
    if check.family == "demotion":
        found = f"{1000 * worst.value:.1f} of 1,000, at most {1000 * worst.high:.1f}"
        limit, unit = f"limit {1000 * check.margin:g}", "full demotions"
    else:
        low, high = (
            pick(getattr(end, side) for end in check.ends) for pick, side in ((min, "low"), (max, "high"))
        )
        values = sorted(100 * end.value for end in check.ends)
        found = (
            " to ".join(f"{value:+.2f}%" for value in values) + f" ({100 * low:+.2f}% to {100 * high:+.2f}%)"
        )
        limit = f"margin {'+' if check.family == 'harm' else '-'}{100 * check.margin:g}%"
    said = "beyond" if check.state == "fail" else "not shown to be within"
    more = (
        ""
        if check.n_needed is None
        else f"; about {check.n_needed:,} {unit} would show it if nothing changed"
    )
    return f"{where}: {found}, {said} the {limit}{more}"


def warnings_of(
    scene: Scene, claims: Sequence[Claim], doses: Sequence[DoseResponse], own_ruler: Sequence[str]
) -> tuple[str, ...]:
    """What to look at although it does not decide, one line each."""
    lines = []
    if scene.same_order:
        lines.append("the two policies rank every request alike: every difference is exactly 0")
    lines += [
        f"{one.name} rose at strength {one.strength:g} (adjusted p {one.p_adjusted:.2g})"
        for one in claims
        if one.finding == "increased"
    ]
    lines += [
        f"{one.family} {one.name} does not move one way: it goes back from strength {a:g} to {b:g}"
        for one in doses
        for a, b in one.reversals
    ]
    if own_ruler:
        lines.append(f"measured by what was changed, which overstates the effect: {', '.join(own_ruler)}")
    return tuple(lines)

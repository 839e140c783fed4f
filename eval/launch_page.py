"""A launch gate as one page: the answer, why, every check, the strengths. Nothing from outside it."""

from pathlib import Path

from eval.clustered import Estimate
from eval.launch_checks import Check, Family, State
from eval.launch_dose import DoseResponse
from eval.launch_gate import LaunchGate
from eval.launch_verdict import change_words
from eval.logged_figures import Mark, mark_plot
from eval.page_sections import Table
from eval.template import page_template
from eval.words import Tone, in_words, percent, title

TEMPLATE = Path(__file__).with_name("launch.html.j2")
SAID: dict[State, str] = {
    "pass": "holds",
    "fail": "FAILS",
    "inconclusive": "cannot be told: does not pass",
    "not measured": "not measured",
}
TONES: dict[State, Tone] = {
    "pass": "better",
    "fail": "worse",
    "inconclusive": "warning",
    "not measured": "open",
}
FAMILIES: tuple[tuple[Family, str, str], ...] = (
    ("harm", "Harm must not rise", "Exposure per view. The interval must end below the margin."),
    ("activity", "Activity must not fall", "What the shown posts had gathered, not what people would do."),
    ("topic", "Topics must not be silenced", "Exposure to the topic, and to it without the harm about it."),
    ("group", "Groups must be treated alike", "Exposure against all others, relative to the original."),
    (
        "demotion",
        "Demotions must demote",
        "Full demotions that leave a post at or above its request's median.",
    ),
)


def render_gate(found: LaunchGate) -> str:
    """The page as HTML."""
    compared = found.comparison
    return page_template(TEMPLATE).render(
        found=found,
        change=change_words(compared),
        compared=compared,
        families=[
            (name, caption, _plot(found, family), _table(found, family))
            for family, name, caption in FAMILIES
            if any(check.family == family for check in found.at())
        ],
        claims=_claims(found),
        doses=_doses(found),
        segments=_segments(found),
        strengths=", ".join(f"{s:g}" for s in found.plan.strengths),
    )


def check_title(check: Check) -> str:
    """What is checked, in words."""
    return title(check.name)


def check_cells(check: Check, unit: str) -> tuple[str, ...]:
    """A check as the cells of a table: what, how far people read, change, interval, margin, answer."""
    said = SAID[check.state] + (", and the plan lets it go" if check.allowed and not check.ends else "")
    if check.reason:
        said += f": {check.reason}"
    if check.n_needed is not None:
        what = "full demotions" if check.family == "demotion" else unit
        said += f"; about {check.n_needed:,} {what} would show it if nothing changed"
    return (
        check_title(check),
        check.browsing if check.browsing and check.ends else "n/a",
        _change(check),
        _interval(check),
        _margin(check),
        said,
    )


def _change(check: Check) -> str:
    if not check.ends:
        return "n/a"
    if check.family == "demotion":
        return f"{1000 * check.ends[0].value:.1f} of 1,000"
    return " to ".join(_percent(end.value) for end in sorted(check.ends, key=lambda end: end.value))


def _interval(check: Check) -> str:
    if not check.ends:
        return "n/a"
    low, high = min(end.low for end in check.ends), max(end.high for end in check.ends)
    if check.family == "demotion":
        return f"{1000 * low:.1f} to {1000 * high:.1f}"
    return f"{_percent(low)} to {_percent(high)}"


def _margin(check: Check) -> str:
    if check.family == "demotion":
        return f"{1000 * check.margin:g} of 1,000"
    return percent(check.margin if check.family == "harm" else -check.margin)


def _percent(value: float) -> str:
    return percent(value) if abs(value) < float("inf") else "no end"


def _table(found: LaunchGate, family: Family) -> Table:
    """A row per check; what has no figure stands once for all browsing models."""
    told: dict[tuple[str, str], Check] = {}
    for check in found.at():
        if check.family == family:
            told.setdefault((check.name, check.browsing if check.ends else ""), check)
    heads = ("figure", "shown", "change", "95% interval", "margin", "says")
    cells = tuple(check_cells(check, found.comparison.cluster) for check in told.values())
    return Table(heads, cells, tuple(_css(TONES[check.state]) for check in told.values()))


def _css(tone: Tone) -> str:
    return "" if tone == "open" else tone


def _plot(found: LaunchGate, family: Family) -> str:
    """Each figure under the main browsing model, its margin shaded."""
    if family == "demotion":
        return ""
    main: dict[str, Check] = {}
    for check in found.at():
        if check.family == family and check.ends:
            main.setdefault(check.name, check)
    marks = [
        Mark(check_title(check), _change(check), *_ends(check), tone=TONES[check.state], margin=check.margin)
        for check in main.values()
    ]
    return mark_plot(f"gate-{family}", marks, "change from the original", relative=True)


def _ends(check: Check) -> tuple[float | None, float | None, float | None]:
    low, high = min(end.low for end in check.ends), max(end.high for end in check.ends)
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        return None, None, None
    return (check.ends[0].value if len(check.ends) == 1 else None), low, high


def _claims(found: LaunchGate) -> Table | None:
    if not found.claims:
        return None
    cells = tuple(
        (
            title(one.name),
            f"{one.strength:g}",
            f"{one.p:.2g}",
            f"{one.p_adjusted:.2g}",
            one.finding
            + (" (measured by what was changed" if one.own_ruler else "")
            + ("" if not one.own_ruler else ")" if one.counts else ": no evidence)"),
        )
        for one in found.claims
    )
    tones = tuple(
        "worse" if one.finding == "increased" else "better" if one.counts else "" for one in found.claims
    )
    return Table(("harm", "strength", "p", "adjusted p (Holm)", "may be said"), cells, tones)


def _doses(found: LaunchGate) -> tuple[Table, Table] | None:
    """How far each figure is safe, and its change at each strength."""
    if not found.doses:
        return None
    shapes = tuple(
        (_figure(dose), _strength(dose.safe, "none"), _strength(dose.safe_by_line, "n/a"), _shape(dose))
        for dose in found.doses
    )
    turned = tuple("warning" if dose.reversals else "" for dose in found.doses)
    changes = tuple(
        (_figure(dose), f"{strength:g}", _effect(effect))
        for dose in found.doses
        for strength, effect in zip(dose.strengths, dose.effects, strict=True)
    )
    return (
        Table(("figure", "safe up to", "by a line", "as it gets stronger"), shapes, turned),
        Table(("figure", "strength", "change (95% interval)"), changes, ("",) * len(changes), folded=True),
    )


def _figure(dose: DoseResponse) -> str:
    return f"{title(dose.name)} ({dose.family})"


def _segments(found: LaunchGate) -> Table | None:
    checks = found.segments.checks
    if not checks:
        return None
    heads = ("segment", "figure", "users", "change", "drawn together", "margin", "says")
    cells = tuple(
        (
            f"{one.dimension} {one.segment}",
            f"{in_words(one.name)} ({one.family})",
            f"{one.effect.n_clusters:,}",
            _effect(one.effect),
            "n/a" if one.shrunk is None else _percent(one.shrunk),
            percent(one.margin if one.family == "harm" else -one.margin),
            one.colour + (", screened" if one.screened else ""),
        )
        for one in checks
    )
    colours = {"red": "worse", "green": "better", "grey": "warning"}
    return Table(heads, cells, tuple(colours[one.colour] for one in checks))


def _effect(effect: Estimate | None) -> str:
    if effect is None:
        return "n/a"
    return f"{_percent(effect.value)} ({_percent(effect.low)} to {_percent(effect.high)})"


def _strength(value: float | None, without: str) -> str:
    return without if value is None else f"{value:.2g}"


def _shape(dose: DoseResponse) -> str:
    if dose.not_fitted:
        return dose.not_fitted
    if dose.reversals:
        a, b = dose.reversals[0]
        return f"goes back from {a:g} to {b:g}: investigate"
    if dose.line_p is not None and dose.line_p < 0.05:
        return "one way, not a line"
    return "one way, a line fits"

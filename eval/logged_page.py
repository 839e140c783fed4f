"""A comparison on a log as one page: what may be said, plots, every figure. Nothing from outside it."""

from collections.abc import Callable
from pathlib import Path

from eval.audit_words import HEADS, TONES, audit_cells, p_words
from eval.clustered import Estimate
from eval.decision import Verdict
from eval.findings import DECIDED
from eval.findings import TONES as DECIDED_TONES
from eval.logged_comparison import LoggedComparison
from eval.logged_figures import Mark, mark_plot
from eval.logged_parts import MIN_USERS, RATE
from eval.logged_policy import LogPolicy
from eval.logged_rows import HARM, LoggedRow
from eval.logged_segments import SegmentRow
from eval.logged_words import metric_title, row_title, told, who_measured
from eval.page_sections import Table
from eval.template import page_template
from eval.words import Tone, in_words, number, percent

TEMPLATE = Path(__file__).with_name("logged.html.j2")
TONE_WORDS = {"better": "better", "worse": "worse", "open": "open", "note": "", "warning": ""}
MOST_PLOTTED = 3  # harms told apart by parts
MOST_SETTINGS = 4  # that a heading names


def render_logged(found: LoggedComparison) -> str:
    """The page as HTML."""
    said = told(found)
    return page_template(TEMPLATE).render(
        found=found,
        change=_heading(found),
        summary=said[0],
        sentences=[one for one in said[1:] if one.tone != "warning"],
        warnings=[one for one in said[1:] if one.tone == "warning"],
        tones=TONE_WORDS,
        who=who_measured(found).text,
        harms=_harm_table(found),
        audits=_audit_table(found),
        activity=_activity_table(found),
        plots=_plots(found),
        parts=[(dimension, *_part_tables(found, dimension)) for dimension in _dimensions(found)],
        least_users=MIN_USERS,
        mixes=_mix_table(found),
        figures=_every_figure(found),
        gates=_gate_table(found),
        loggers=_logger_table(found),
    )


def _heading(found: LoggedComparison) -> str:
    """What the treatment is, or what of its settings differs where there are few such."""
    first, second = (_settings(policy) for policy in (found.original, found.treatment))
    keys = [key for key in {**first, **second} if first.get(key) != second.get(key)]
    if not (first and second) or not 0 < len(keys) <= MOST_SETTINGS:
        return f"{found.original.name} → {found.treatment.name}"
    return ", ".join(f"{key} {first.get(key, 'not set')} → {second.get(key, 'not set')}" for key in keys)


def _settings(policy: LogPolicy) -> dict[str, str]:
    """Weights and demotions as they are written; {} for the logger, whose are not known."""
    made = {name: f"{weight:g}" for name, weight in (policy.weights or {}).items()}
    for name, curve in policy.demotion.items():
        made[f"demotion of {in_words(name)}"] = f"{curve.start:g}:{curve.line:g}:{curve.floor:g}"
    return made | ({} if policy.temperature is None else {"temperature": f"{policy.temperature:g}"})


def _dimensions(found: LoggedComparison) -> list[str]:
    return list(dict.fromkeys(row.dimension for row in found.segments.rows))


def _harm_table(found: LoggedComparison) -> Table | None:
    rows = [row for row in found.rows if row.metric.startswith(HARM)]
    if not rows:
        return None
    cells = tuple(
        (
            row_title(row),
            row.level,
            _change(row),
            _ends(row.low, row.high),
            "n/a" if row.p is None else p_words(row.p),
            "n/a" if row.p_adjusted is None else p_words(row.p_adjusted),
            f"{row.finding}: {row.status}" if row.finding else f"{row.status}: {'; '.join(row.reasons)}",
        )
        for row in rows
    )
    heads = ("harm", "level", "change", "interval", "p", "adjusted p (Holm)", "finding")
    return Table(heads, cells, tuple(_finding_tone(row) for row in rows))


def _finding_tone(row: LoggedRow) -> str:
    tone = "open" if row.finding is None else TONES[row.finding]
    return "" if tone == "open" else tone


def _audit_table(found: LoggedComparison) -> Table | None:
    if not found.audits:
        return None
    cells, tones = audit_cells(found.audits)
    return Table(HEADS, cells, tones)


def _activity_table(found: LoggedComparison) -> Table | None:
    rows = [row for row in found.rows if row.verdicts]
    if not rows:
        return None
    heads = ("activity", "change", "90% interval", "95% interval", "margin", "verdict")
    cells = tuple(_activity(row, verdict) for row in rows for verdict in row.verdicts)
    tones = tuple(DECIDED_TONES[verdict.decision] for row in rows for verdict in row.verdicts)
    return Table(heads, cells, tuple("" if tone == "open" else tone for tone in tones))


def _activity(row: LoggedRow, verdict: Verdict) -> tuple[str, ...]:
    needed = "" if verdict.n_needed is None else f"; about {verdict.n_needed:,} users are needed"
    name = row_title(row) + ("" if len(row.verdicts) == 1 else ", at an end of its bounds")
    return (
        name,
        percent(verdict.estimate.value),
        _ends(verdict.test.low, verdict.test.high, relative=True),
        _ends(verdict.low, verdict.high, relative=True),
        f"{percent(verdict.margin).removeprefix('+')} ({(row.margin_of or '').replace('_', ' ')})",
        f"{verdict.decision}: {DECIDED[verdict.decision]}{needed}",
    )


def _plots(found: LoggedComparison) -> list[dict[str, str]]:
    """The whole, then the parts as small multiples."""
    rates = [row for row in found.rows if row.metric.startswith(RATE) and row.level == "L1" and row.relative]
    activity = [row for row in found.rows if row.verdicts and row.relative]
    plots = [
        (
            "Harm per 1,000 views",
            "Left is less. Coloured where the family of all harms lets it be said.",
            mark_plot("harm", [_whole(row) for row in rates], "change from the original", relative=True),
        ),
        (
            "Activity",
            "Right is more. Shaded: the margin.",
            mark_plot(
                "activity", [_whole(row) for row in activity], "change from the original", relative=True
            ),
        ),
    ]
    figures = [*(row.metric for row in rates[:MOST_PLOTTED]), "positive_activity"]
    for dimension in _dimensions(found):
        for metric in figures:
            rows = [r for r in found.segments.rows if (r.dimension, r.metric) == (dimension, metric)]
            unit = "change per 1,000 views" if metric.startswith(RATE) else "change from the original"
            svg = mark_plot(
                f"{dimension}-{metric}".replace(".", "-"), [_in_part(row, found) for row in rows], unit,
                relative=not metric.startswith(RATE),
            )  # fmt: skip
            caption = "Coloured: an alarm, or red by its margin. Small, below: drawn towards the other parts."
            plots.append((f"{metric_title(metric)}, by {dimension}", caption, svg))
    return [{"title": title, "caption": caption, "svg": svg} for title, caption, svg in plots if svg]


def _whole(row: LoggedRow) -> Mark:
    assert row.relative is not None
    tone: Tone = "open"
    if row.finding is not None:
        tone = TONES[row.finding]
    elif row.decision is not None:
        tone = DECIDED_TONES[row.decision]
    return Mark(
        row_title(row),
        percent(row.relative.value),
        row.relative.value,
        row.relative.low,
        row.relative.high,
        tone,
        margin=row.verdicts[0].margin if row.verdicts else None,
    )


def _in_part(row: SegmentRow, found: LoggedComparison) -> Mark:
    if row.low is None or row.high is None:
        return Mark(row.segment, "insufficient" if row.insufficient else "refused")
    margin = None
    if row.row.margin_of is not None and row.dimension in _by_request(found):
        margin = found.margins.of(row.row.margin_of)
    form = percent if row.scale == "relative" else number
    value = None if row.estimate is None else row.estimate.value
    reading = "bounded" if value is None else form(value)
    tone: Tone = "worse" if row.alarm or row.colour == "red" else "open"
    return Mark(row.segment, reading, value, row.low, row.high, tone, row.shrunk, margin)


def _by_request(found: LoggedComparison) -> set[str]:
    """Dimensions of requests: activity is only told of those."""
    return {row.dimension for row in found.segments.rows if row.metric == "positive_activity"}


def _part_tables(found: LoggedComparison, dimension: str) -> tuple[Table, Table | None]:
    rows = [row for row in found.segments.rows if row.dimension == dimension]
    heads = (dimension, "figure", "users", "change", "interval", "drawn together", "q of worse", "says")
    cells = tuple(
        (
            row.segment,
            metric_title(row.metric),
            f"{row.n_users:,}",
            _segment_change(row),
            _ends(row.low, row.high, relative=row.scale == "relative"),
            "n/a" if row.shrunk is None else _form(row)(row.shrunk[0]),
            "n/a" if row.q is None else p_words(row.q),
            _says(row),
        )
        for row in rows
    )
    tones = tuple("worse" if row.alarm or row.colour == "red" else "" for row in rows)
    differences = [one for one in found.segments.differences if one.dimension == dimension]
    if not differences:
        return Table(heads, cells, tones, folded=True), None
    told_apart = tuple(
        (
            metric_title(one.metric),
            str(one.n_parts),
            p_words(one.p),
            p_words(one.p_adjusted),
            "n/a" if one.i2 is None else f"{100 * one.i2:.0f}%",
            f"{one.lowest} to {one.highest}",
            ("they differ" + (", in both directions" if one.both_signs else ""))
            if one.differs
            else "not shown",
        )
        for one in differences
    )
    named = ("do they differ?", "parts", "p", "adjusted p (Holm)", "I²", "least to most", "says")
    return (
        Table(heads, cells, tones, folded=True),
        Table(named, told_apart, tuple("worse" if one.differs else "" for one in differences)),
    )


def _form(row: SegmentRow) -> Callable[[float], str]:
    return percent if row.scale == "relative" else number


def _segment_change(row: SegmentRow) -> str:
    return "n/a" if row.estimate is None else _form(row)(row.estimate.value)


def _says(row: SegmentRow) -> str:
    if row.insufficient:
        return "insufficient"
    parts = [row.row.status if row.row.status != "REFUSED" else f"REFUSED: {'; '.join(row.row.reasons)}"]
    if row.alarm:
        parts.append("ALARM")
    if row.colour is not None:
        parts.append(row.colour)
    return ", ".join(parts)


def _mix_table(found: LoggedComparison) -> Table | None:
    if not found.segments.mixes:
        return None
    cells = tuple(
        (metric_title(one.metric), one.dimension, _with_ends(one.within), _with_ends(one.mix))
        for one in found.segments.mixes
    )
    heads = ("change of", "by", "within the parts", "by their mix")
    return Table(heads, cells, ("",) * len(cells), folded=True)


def _with_ends(found: Estimate) -> str:
    return f"{number(found.value)} ({_ends(found.low, found.high)})"


def _every_figure(found: LoggedComparison) -> Table:
    heads = ("figure", "level", "original", "treatment", "change", "interval", "other estimators", "status")
    cells = tuple(
        (
            row_title(row),
            row.level,
            number(row.original),
            number(row.treatment),
            _change(row),
            _ends(row.low, row.high),
            "; ".join(f"{name} {number(one.value)}" for name, one in row.checks.items()) or "n/a",
            row.status if row.status == "IDENTIFIED" else f"{row.status}: {'; '.join(row.reasons)}",
        )
        for row in found.rows
    )
    return Table(heads, cells, ("",) * len(cells))


def _gate_table(found: LoggedComparison) -> Table:
    names = (found.original.name, found.treatment.name)
    cells = tuple(
        (name, check.code, "holds" if check.passed else "FAILS", check.detail)
        for name, gate in zip(names, found.gates, strict=True)
        for check in gate.checks
    )
    heads = ("policy", "would fail as", "", "what was found")
    return Table(heads, cells, tuple("worse" if row[2] == "FAILS" else "" for row in cells), folded=True)


def _logger_table(found: LoggedComparison) -> Table | None:
    if found.loggers is None:
        return None
    cells = tuple(
        (
            one.name,
            f"{one.n_requests:,}",
            f"{one.temperature:g}",
            str(one.from_rank),
            _policy_words(one.policy),
        )
        for one in found.loggers.each
    )
    return Table(("logger", "requests", "temperature", "from rank", "draws over"), cells, ("",) * len(cells))


def _policy_words(policy: LogPolicy | None) -> str:
    return "the logged score" if policy is None else policy.name


def _change(row: LoggedRow) -> str:
    if row.change is None:
        return "n/a"
    relative = "" if row.relative is None else f" ({percent(row.relative.value)})"
    return f"{number(row.change.value)}{relative}"


def _ends(low: float | None, high: float | None, *, relative: bool = False) -> str:
    if low is None or high is None:
        return "n/a"
    if abs(low) == float("inf") or abs(high) == float("inf"):
        return "no end"
    form = percent if relative else number
    return f"{form(low)} to {form(high)}"

"""Tables of the page on what may be claimed: verdicts, rates among views, other orders, topics, holders."""

from dataclasses import dataclass

from eval.audit_words import HEADS, audit_cells
from eval.clustered import Estimate
from eval.comparison import Comparison
from eval.concentration import Concentration
from eval.findings import DECIDED
from eval.guardrails import Guardrail
from eval.other_orders import Amplification
from eval.rows import Row
from eval.topics import TopicFinding
from eval.view_rows import PER_DAY, VIEWS
from eval.words import in_words, number, percent, title

CLAIMS = {
    "IDENTIFIED": "however far people read",
    "BOUNDED": "within bounds",
    "MODEL_ONLY": "depends on how far people read",
    "REFUSED": "refused",
}
ONE_MODEL = "looked at one way only"
MANY = 8  # rows from which a table is folded


@dataclass(frozen=True)
class Table:
    """A table of the page: heads, and cells with the class of each row's last one.

    Attributes:
        heads: of the columns.
        rows: cells of each row.
        tones: "better", "worse" or "" for each row.
        folded: whether it is shown only where it is opened.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tones: tuple[str, ...]
    folded: bool = False


def claim_words(found: Row | Guardrail | Amplification | TopicFinding) -> str:
    """What may be claimed of a figure, in words."""
    if any(reason.startswith("browsing models: expected at least 2") for reason in found.reasons):
        return ONE_MODEL
    return CLAIMS[found.status]


def guardrail_table(comparison: Comparison) -> Table | None:
    """The verdict on each activity outcome in the main view; None where there is none."""
    found = [one for one in comparison.guardrails if one.browsing == comparison.browsing[0]]
    if not found:
        return None
    tones = {"EQUIVALENT": "better", "NON-INFERIOR": "better", "INFERIOR": "worse"}
    return Table(
        ("on what is shown", "change", "90% interval", "95% interval", "margin", "verdict"),
        tuple(_guardrail(one, comparison.cluster) for one in found),
        tuple(tones.get(one.decision or "", "") if one.status != "MODEL_ONLY" else "" for one in found),
    )


def _guardrail(found: Guardrail, cluster: str) -> tuple[str, ...]:
    margin = f"{percent(found.margin).removeprefix('+')} ({found.margin_of.replace('_', ' ')})"
    if found.verdict is None:
        return title(found.metric), "n/a", "n/a", "n/a", margin, f"refused: {'; '.join(found.reasons)}"
    verdict = found.verdict
    words = f"{verdict.decision}: {DECIDED[verdict.decision]}"
    if verdict.n_needed is not None:
        words += f"; about {verdict.n_needed:,} {cluster} are needed"
    if found.status == "MODEL_ONLY":
        words += f" ({claim_words(found)})"
    return (
        title(found.metric),
        percent(verdict.estimate.value),
        _ends(verdict.test.low, verdict.test.high),
        _ends(verdict.low, verdict.high),
        margin,
        words,
    )


def _ends(low: float, high: float) -> str:
    return "no end" if abs(low) == float("inf") else f"{percent(low)} to {percent(high)}"


def views_table(comparison: Comparison, model: str) -> Table | None:
    """Harm per 1,000 views and per user-day under one browsing model; None where no outcome is a harm."""
    rows = _of_views(comparison, model, refused=False)
    if not rows:
        return None
    own = set(comparison.own_ruler)
    return Table(
        ("exposure", "per 1,000 views", "change", "95% interval", "per user-day", "change", "claim"),
        tuple(
            _views(row, comparison.views_row(row.metric, model, PER_DAY), row.metric in own) for row in rows
        ),
        tuple("" if row.status == "MODEL_ONLY" else _tone(row) for row in rows),
        folded=model != comparison.browsing[0],
    )


def refused_views_table(comparison: Comparison) -> Table | None:
    """Exposures of which no rate is claimed in the main view, with bounds; None where there is none."""
    rows = _of_views(comparison, comparison.browsing[0], refused=True)
    if not rows:
        return None
    cells = tuple((title(row.metric), _bounds(row), _short(row)) for row in rows)
    heads = ("exposure", "per 1,000 views, all without a value harmless to all harmful", "refused because")
    return Table(heads, cells, ("",) * len(cells), folded=True)


def _of_views(comparison: Comparison, model: str, *, refused: bool) -> list[Row]:
    rows = [row for row in comparison.view_rows if row.browsing == model and row.measure == VIEWS]
    return [row for row in rows if (row.status == "REFUSED") == refused]


def _tone(row: Row) -> str:
    return {"decreased": "better", "increased": "worse"}.get(row.claimed, "")


def _views(row: Row, per_day: Row | None, own: bool) -> tuple[str, ...]:
    name = f"{title(row.metric)}{' (its own ruler)' if own else ''}"
    days = ("not known", "n/a")
    if per_day is not None and per_day.status != "REFUSED":
        days = (_before_after(per_day), _change(per_day))
    low, high = row.interval
    form = percent if row.scale == "relative" else number
    interval = "no end" if low is None or high is None else f"{form(low)} to {form(high)}"
    claim = claim_words(row) if row.direction != "identical" else "the same"
    if row.claimed == "not shown":
        claim = f"not shown over {row.family}; {claim}"
    if row.status == "BOUNDED":
        claim = f"{claim}: {_bounds(row)}"
    return name, _before_after(row), _change(row), interval, *days, claim


def _short(row: Row) -> str:
    shares = row.share_unscored_original, row.share_unscored_treatment
    if shares[0] is None or shares[1] is None or max(shares[0], shares[1]) == 0:
        return "; ".join(row.reasons)
    return f"{100 * shares[0]:.1f}% and {100 * shares[1]:.1f}% of the views have no value"


def _before_after(row: Row) -> str:
    return f"{number(row.original)} → {number(row.treatment)}"


def _change(row: Row) -> str:
    return percent(row.relative) if row.relative is not None else number(row.absolute)


def _bounds(row: Row) -> str:
    if row.original_low is None:
        return "n/a"
    first = f"{number(row.original_low)} to {number(row.original_high)}"
    return f"{first} → {number(row.treatment_low)} to {number(row.treatment_high)}"


def audits_table(comparison: Comparison) -> Table | None:
    """Harm among views corrected by labels of people, in the main view; None where there are none."""
    rows = [row for row in comparison.audits if row.browsing == comparison.browsing[0]]
    if not rows:
        return None
    cells, tones = audit_cells(rows)
    return Table(HEADS, cells, tones)


def orders_table(comparison: Comparison) -> Table | None:
    """Harm against other orders of the same candidates in the main view; None where all are refused."""
    main = [one for one in comparison.amplifications if one.browsing == comparison.browsing[0]]
    kept = [one for one in main if one.status != "REFUSED"]
    if not kept:
        return None
    return Table(
        ("exposure", "against", "original", "treatment", "claim"),
        tuple(_order(one) for one in kept),
        ("",) * len(kept),
        folded=len(kept) > MANY,
    )


def _order(found: Amplification) -> tuple[str, ...]:
    first, second = (_with_interval(one) for one in (found.original, found.treatment))
    return title(found.metric), found.against, first, second, claim_words(found)


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "n/a"
    return f"{percent(estimate.value)} ({_ends(estimate.low, estimate.high)})"


def topics_table(comparison: Comparison) -> Table | None:
    """Topics beside the harmful treatment of them in the main view; None where no pair was measured."""
    main = [one for one in comparison.topics if one.browsing == comparison.browsing[0]]
    if not main:
        return None
    return Table(
        ("topic without the harm", "change", "with the harm", "margin", "verdict"),
        tuple(_topic(one, comparison.cluster) for one in main),
        tuple("better" if one.passes and one.status == "IDENTIFIED" else "" for one in main),
    )


def _topic(found: TopicFinding, cluster: str) -> tuple[str, ...]:
    name = f"{title(found.topic)} without {in_words(found.harm)}"
    margin = percent(found.margin).removeprefix("+")
    if not found.verdicts:
        return name, "n/a", "n/a", margin, f"refused: {'; '.join(found.reasons)}"
    words = " or ".join(dict.fromkeys(f"{one}: {DECIDED[one]}" for one in found.decisions))
    needed = max((one.n_needed or 0 for one in found.verdicts), default=0)
    if needed:
        words += f"; about {needed:,} {cluster} are needed"
    if found.status == "MODEL_ONLY":
        words += f" ({claim_words(found)})"
    harmful = found.harmful[1]
    return name, _range(found.harmless), "n/a" if harmful is None else percent(harmful.value), margin, words


def _range(pair: tuple[Estimate | None, Estimate | None]) -> str:
    """The two readings of a change; one where they are told alike."""
    told = dict.fromkeys(percent(one.value) for one in pair if one is not None)
    return " or ".join(told) or "n/a"


def holders_table(comparison: Comparison) -> Table | None:
    """The largest share of the harmful views that one post, or one publisher, holds; None where none."""
    found = {(one.metric, one.by): one for one in comparison.concentrations}
    metrics = list(dict.fromkeys(one.metric for one in comparison.concentrations))
    if not metrics:
        return None
    rows = [(title(m), *(_top(found.get((m, by))) for by in ("post", "publisher"))) for m in metrics]
    heads = ("harmful views of", "of one post, at most", "of one publisher, at most")
    return Table(heads, tuple(rows), ("",) * len(rows), folded=len(rows) > MANY)


def _top(found: Concentration | None) -> str:
    if found is None:
        return "n/a"
    return f"{_share(found.top_original)} → {_share(found.top_treatment)}"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}%"


def publishers_table(comparison: Comparison) -> Table | None:
    """The publishers whose share of views changed most; None where the feed has none or nothing moved."""
    found = comparison.publishers
    if found is None or not found.holders:
        return None
    rows = tuple(
        (
            one.name,
            f"{_share(one.views_original)} → {_share(one.views_treatment)}",
            _points(one.views_treatment - one.views_original),
        )
        for one in found.holders
    )
    return Table(("publisher", "share of views", "points"), rows, ("",) * len(rows), folded=True)


def _points(change: float) -> str:
    return percent(change, 2).removesuffix("%")


def contributors_table(comparison: Comparison) -> tuple[str, Table] | None:
    """The publishers with most harmful views of the first exposure that another than the demoter measured."""
    own = set(comparison.own_ruler)
    known = [one for one in comparison.concentrations if one.by == "publisher" and one.holders]
    chosen = next((one for one in known if one.metric.startswith("is_")), None)
    chosen = chosen or next((one for one in known if one.metric not in own), known[0] if known else None)
    if chosen is None:
        return None
    rows = tuple(
        (
            one.name,
            f"{_share(one.harm_original)} → {_share(one.harm_treatment)}",
            f"{_share(one.views_original)} → {_share(one.views_treatment)}",
        )
        for one in chosen.holders
    )
    heads = ("publisher", "share of the harmful views", "share of views")
    return in_words(chosen.metric), Table(heads, rows, ("",) * len(rows), folded=True)


def publishers_line(comparison: Comparison) -> str:
    """How concentrated the views are on publishers, in one sentence; "" without publishers."""
    found = comparison.publishers
    if found is None:
        return ""
    return (
        f"Views fall on {found.n:,} publishers with a concentration (Herfindahl-Hirschman index, 1 for one "
        f"publisher) of {number(found.concentration_original)} before and "
        f"{number(found.concentration_treatment)} after; {100 * found.share_unknown[0]:.1f}% and "
        f"{100 * found.share_unknown[1]:.1f}% of the views are of posts without a publisher."
    )

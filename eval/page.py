"""The report as one page: what a person reads first stands first. No scripts, nothing from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.audit_words import p_words
from eval.comparison import Comparison
from eval.diagnostics import Mover
from eval.figures import change_plot, sweep_plot
from eval.findings import LEVEL, who_measured
from eval.outcomes import OutcomeKind
from eval.page_sections import (
    audits_table,
    claim_words,
    contributors_table,
    guardrail_table,
    holders_table,
    orders_table,
    publishers_line,
    publishers_table,
    refused_views_table,
    topics_table,
    views_table,
)
from eval.rows import ALL, Row
from eval.segments import MOST_SEGMENTS
from eval.sweep import Sweep
from eval.template import page_template
from eval.verdict import verdict
from eval.words import Sentence, in_words, number, percent, title

TEMPLATE = Path(__file__).with_name("report.html.j2")
SNIPPET = 140  # characters
TONES = {"better": "better", "worse": "worse", "open": "open", "note": "", "warning": ""}
METHOD = (
    "Both policies rank the same requests. For each request the outcome is averaged over what the policy "
    "shows, weighted by how likely each place is seen; then over requests, each counting once.",
    "Intervals come from a bootstrap over {clusters} ({n:,} resamples): they say how the figures would "
    "vary with other {clusters} like these.",
    "Exposures are a family: one is said to have fallen or risen only where its interval leaves 0 out and "
    "its p-value, adjusted by Holm over all exposures of that measure and browsing model, is at most .05. "
    "No interval is adjusted, and of segments nothing is claimed: of many, some leave 0 out by chance.",
    "A post without a value is left out and counted; it is never taken as harmless.",
    "An interval that holds 0 means that no change could be measured. It does not mean that there is none: "
    "that claim needs a margin fixed beforehand and an equivalence test, as the activity has above.",
    "Rates among views are sums over sums, so that a long feed counts more; their intervals, and those that "
    "are held to margins, are analytic, by {clusters}. More than 2% of views without a value, or shares of "
    "them that differ by more than 0.2 points, refuse a rate.",
    "Activity is what the shown posts had gathered already, not what people would do.",
)


@dataclass(frozen=True)
class Note:
    """Why a post moved: sentences, and terms with what each adds.

    `snippet` is of its text, or None; `request_id` is needed where several requests show the post.
    """

    post_id: str
    sentences: tuple[str, ...] = ()
    terms: tuple[tuple[str, float], ...] = ()
    snippet: str | None = None
    request_id: str | None = None


def render_page(
    comparison: Comparison,
    sweep: Sweep | None,
    notes: Sequence[Note],
    *,
    show_text: bool = False,
    config_digest: str = "",
) -> str:
    """The page as HTML; snippets of posts only where `show_text` asks for them."""
    every = [row for row in comparison.rows if row.segment_by == ALL]
    return page_template(TEMPLATE).render(
        original=comparison.original,
        treatment=comparison.treatment,
        change=_change(comparison),
        data=comparison.context.data,
        data_digest=comparison.data_digest,
        n_candidates=comparison.n_candidates,
        n_requests=comparison.n_requests,
        n_clusters=comparison.n_clusters,
        cluster=comparison.cluster,
        browsing=comparison.browsing,
        level=LEVEL,
        claims=_claims(comparison),
        who=who_measured(comparison).text,
        sentences=_in_order([one for one in verdict(comparison) if one.text != LEVEL]),
        tones=TONES,
        plots=_plots(comparison, sweep),
        tiles=_tiles(comparison),
        movers=_movers(comparison, notes, show_text),
        all_rows=[_cells(row, in_words(row.metric)) for row in every],
        segments=_segments(comparison),
        mixes=[_mix(mix.metric, mix.dimension, mix.within, mix.mix) for mix in comparison.mixes],
        left_out=[
            f"{dimension}: the {MOST_SEGMENTS} largest segments are shown, {n:,} smaller ones are not."
            for dimension, n in comparison.segments_left_out.items()
        ],
        outcomes=[
            {"label": in_words(o.name), "meaning": o.meaning, "model": o.model} for o in comparison.outcomes
        ],
        method=[text.format(clusters=comparison.cluster, n=comparison.n_resamples) for text in METHOD],
        settings=[(key, _value(a), _value(b)) for key, a, b in comparison.differences],
        config_digest=config_digest,
        margins_digest=comparison.margins.digest,
        seed=comparison.seed,
        n_resamples=comparison.n_resamples,
    )


def _in_order(sentences: list[Sentence]) -> list[Sentence]:
    """The summary, then what got better or worse, then the rest."""
    return [sentences[0], *sorted(sentences[1:], key=lambda one: one.tone not in ("better", "worse"))]


def _claims(comparison: Comparison) -> dict[str, Any]:
    """The tables on what may be claimed, by name."""
    return {
        "guardrails": guardrail_table(comparison),
        "views": [(model, views_table(comparison, model)) for model in comparison.browsing],
        "refused_views": refused_views_table(comparison),
        "audits": audits_table(comparison),
        "orders": orders_table(comparison),
        "topics": topics_table(comparison),
        "holders": holders_table(comparison),
        "publishers": publishers_table(comparison),
        "publishers_line": publishers_line(comparison),
        "contributors": contributors_table(comparison),
    }


def _change(comparison: Comparison) -> str:
    """What the treatment is, in a heading."""
    new = comparison.treatment
    if new.name != comparison.original.name:
        return new.title or new.name
    settings = [f"{key} {_value(a)} → {_value(b)}" for key, a, b in comparison.differences[:3]]
    more = len(comparison.differences) - 3
    return ", ".join(settings) + (f" and {more} more" if more > 0 else "") or "the same policy"


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plots(comparison: Comparison, sweep: Sweep | None) -> list[dict[str, str]]:
    reading = f"Hollow: before. Filled: a change that was measured, in the {comparison.browsing[0]}"
    others = f"; below it, smaller: {', '.join(comparison.browsing[1:])}." if comparison.browsing[1:] else "."
    plots = [
        (
            "What people are shown",
            f"Left is less. Filled only where it holds with all exposures counted. {reading}{others}",
            _kind_plot(comparison, "exposure"),
        ),
        (
            "Activity on what is shown",
            f"Right is more. Shaded: the margin; what lies inside is grey. {reading}{others}",
            _kind_plot(comparison, "activity"),
        ),
        ("Who and what is shown", f"{reading}{others}", _kind_plot(comparison, "context")),
    ]
    if sweep is not None:
        caption = f"Change from the original weight, {sweep.original_weight:g}, with the 95% interval."
        plots.append(("The weight of an angry reaction", caption, sweep_plot(sweep)))
    plots += [
        (f"{title(row.metric)} by {dimension}", f"{reading}.", svg)
        for dimension, row, svg in _segment_plots(comparison)
    ]
    return [{"title": title, "caption": caption, "svg": svg} for title, caption, svg in plots if svg]


def _kind_plot(comparison: Comparison, kind: OutcomeKind) -> str:
    rows = [
        row
        for row in comparison.rows
        if row.kind == kind and row.segment_by == ALL and row.browsing == comparison.browsing[0]
    ]
    rows = [row for row in rows if row.relative is not None]
    also = [[comparison.row(row.metric, model) for model in comparison.browsing[1:]] for row in rows]
    return change_plot(
        kind,
        [(title(row.metric), row) for row in rows],
        also if len(comparison.browsing) > 1 else (),
        margins=[
            found.margin if (found := comparison.guardrail(row.metric)) is not None else None for row in rows
        ],
    )


def _segment_plots(comparison: Comparison) -> list[tuple[str, Row, str]]:
    """The first exposure, by each dimension that has segments."""
    made = []
    for dimension in dict.fromkeys(row.segment_by for row in comparison.rows if row.segment_by != ALL):
        rows = [row for row in comparison.rows if row.segment_by == dimension and row.kind == "exposure"]
        rows = [row for row in rows if row.metric == rows[0].metric]
        svg = change_plot(f"by-{dimension}", [(row.segment or "unknown", row) for row in rows])
        if rows:
            made.append((dimension, rows[0], svg))
    return made


def _tiles(comparison: Comparison) -> list[tuple[str, str]]:
    facts = comparison.diagnostics
    share = [
        (f"of the {comparison.browsing[0]} stay in it", facts.overlap_at_k),
        ("of requests have another order", facts.share_changed),
        ("of requests show other posts at the top", facts.share_top_changed),
    ]
    plain = [
        ("rank-biased overlap (p = 0.9)", facts.rbo),
        ("rank correlation (Spearman)", facts.rank_correlation),
        ("places that a post moves, on average", facts.mean_move),
    ]
    tiles = [(name, f"{100 * value:.1f}%") for name, value in share if value is not None]
    return tiles + [(name, f"{value:.3g}") for name, value in plain if value is not None]


def _movers(
    comparison: Comparison, notes: Sequence[Note], show_text: bool
) -> list[tuple[str, list[dict[str, Any]]]]:
    facts = comparison.diagnostics
    known = {(note.post_id, note.request_id): note for note in notes}

    def note_of(mover: Mover) -> Note:
        of_post = known.get((mover.post_id, None), Note(mover.post_id))
        return known.get((mover.post_id, mover.request_id), of_post)

    return [
        (heading, [_mover(mover, note_of(mover), show_text) for mover in movers])
        for heading, movers in (("Down", facts.down), ("Up", facts.up))
        if movers
    ]


def _mover(mover: Mover, note: Note, show_text: bool) -> dict[str, Any]:
    snippet = " ".join(note.snippet.split()) if show_text and note.snippet else ""
    return {
        "post_id": mover.post_id,
        "request_id": mover.request_id,
        "n_candidates": f"{mover.n_candidates:,}",
        "move": f"{mover.original_rank or 'removed'} → {mover.treatment_rank or 'removed'}",
        "sentences": note.sentences,
        "terms": [(term.replace("_", " "), number(value)) for term, value in note.terms],
        "snippet": snippet if len(snippet) <= SNIPPET else f"{snippet[:SNIPPET].rstrip()}…",
    }


def _segments(comparison: Comparison) -> list[tuple[str, list[dict[str, str]]]]:
    tables: dict[str, list[dict[str, str]]] = {}
    for row in comparison.rows:
        if row.segment_by != ALL:
            label = f"{row.segment or 'unknown'}: {in_words(row.metric)}"
            tables.setdefault(row.segment_by, []).append(_cells(row, label))
    return list(tables.items())


def _mix(metric: str, dimension: str, within: float, mix: float) -> dict[str, str]:
    return {"label": in_words(metric), "dimension": dimension, "within": number(within), "mix": number(mix)}


def _cells(row: Row, label: str) -> dict[str, str]:
    """One row of a table, in words."""
    interval = "none"
    if row.relative_low is not None:
        interval = f"{percent(row.relative_low)} to {percent(row.relative_high)}"
    elif row.absolute_low is not None:
        interval = f"{number(row.absolute_low)} to {number(row.absolute_high)} (absolute)"
    n_shown = row.n_shown_original + row.n_shown_treatment
    unscored = (row.n_unscored_original + row.n_unscored_treatment) / n_shown if n_shown else 0.0
    tone = ""
    if row.kind != "context" and row.claimed in ("decreased", "increased"):
        tone = "better" if (row.direction == "decreased") == (row.kind == "exposure") else "worse"
    return {
        "label": label,
        "browsing": row.browsing,
        "original": number(row.original),
        "treatment": number(row.treatment),
        "change": percent(row.relative) if row.relative is not None else number(row.absolute),
        "interval": interval,
        "n_requests": f"{row.n_requests:,}",
        "n_clusters": f"{row.n_clusters:,}",
        "unscored": f"{100 * unscored:.1f}%",
        "claim": claim_words(row),
        "status": f"refused: {row.refused}" if row.refused and row.direction == "refused" else row.claimed,
        "p": "" if row.p_adjusted is None else p_words(row.p_adjusted),
        "tone": tone,
    }

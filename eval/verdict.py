"""What a comparison found, in plain sentences made from its status codes.

An interval that holds 0 is "did not change measurably". That a change is small enough not to matter is
another claim, which needs a margin set beforehand and an equivalence test; `eval.findings` words it.
"""

from eval.audit_words import p_words
from eval.comparison import Comparison
from eval.findings import (
    activity_finding,
    audited,
    decision_summary,
    family_notes,
    gate_notes,
    level_note,
    one_holder,
    other_verdicts,
    own_ruler_text,
    rates_text,
    refused_rates,
    topic_sentences,
    who_measured,
)
from eval.rows import ALL, Row
from eval.words import MINUS, Sentence, in_words, number, percent, title

__all__ = ["MINUS", "Sentence", "in_words", "number", "percent", "verdict"]
FEW_CLUSTERS = 20
MANY_UNSCORED = 0.02
VERBS = {"decreased": "fell", "increased": "rose"}
SAID = VERBS | {
    "not measurable": "did not change measurably",
    "not shown": "is not shown to have changed",
    "identical": "is the same in every request",
    "refused": "has no interval",
    "not measured": "was not measured",
}


def verdict(comparison: Comparison) -> tuple[Sentence, ...]:
    """Findings first, those of an independent measure before the rest; then what they do not cover."""
    main = [
        row for row in comparison.rows if row.segment_by == ALL and row.browsing == comparison.browsing[0]
    ]
    own = set(comparison.own_ruler)
    ordered = [row for row in main if row.kind == "exposure" and row.metric not in own]
    ordered += [row for row in main if row.kind == "activity"]
    ordered += [row for row in main if row.kind == "exposure" and row.metric in own]
    found = [_sentence(row, comparison) for row in ordered]
    disagreeing = [text for row in main if (text := _depends_on_model(row, comparison))]
    return (
        _summary(main, comparison),
        *audited(comparison),
        *found,
        *topic_sentences(comparison),
        *(Sentence("open", text) for text in (*disagreeing, *other_verdicts(comparison))),
        level_note(),
        *_notes(comparison),
        *family_notes(main),
        *gate_notes(comparison),
        who_measured(comparison),
        *_warnings(comparison, main),
    )


def _summary(main: list[Row], comparison: Comparison) -> Sentence:
    """How many outcomes went which way."""
    parts = []
    for kind, lead in (("exposure", "Exposure"), ("activity", "Activity")):
        rows = [row for row in main if row.kind == kind]
        judged = decision_summary(rows, comparison)
        part = [row for row in rows if _among_scored(row)]
        said = [row.claimed for row in rows if row.metric not in judged and row not in part]
        family = next((row.family for row in rows if row.family), "")
        counts = [
            (sum(s == "decreased" for s in said), "fell"),
            (len(part), "fell among the posts that have a value"),
            (sum(s == "increased" for s in said), "rose"),
            (sum(s == "not shown" for s in said), f"not shown to have changed (p adjusted over {family})"),
            (sum(s == "not measurable" for s in said), "did not change measurably"),
            (sum(s == "identical" for s in said), "exactly the same in every request"),
            *((list(judged.values()).count(words), words) for words in dict.fromkeys(judged.values())),
            (sum(s in ("refused", "not measured") for s in said), "could not be judged"),
        ]
        told = ", ".join(f"{count} {words}" for count, words in counts if count)
        if told:
            parts.append(f"{lead}, {len(rows)} outcome{'s' if len(rows) > 1 else ''}: {told}.")
    return Sentence("note", " ".join(parts) or "Neither exposure nor activity was measured.")


def _sentence(row: Row, comparison: Comparison) -> Sentence:
    """The finding on one outcome: a verdict on activity, rates among views beside exposure."""
    if row.kind == "activity" and row.direction not in ("identical", "not measured"):
        judged = activity_finding(row.metric, comparison)
        if judged is not None:
            return judged
    found = _finding(row)
    return Sentence(found.tone, f"{found.text}{rates_text(row, comparison)}")


def _finding(row: Row) -> Sentence:
    exposure = row.kind == "exposure"
    subject = f"Exposure to {in_words(row.metric)}" if exposure else title(row.metric)
    if row.direction == "not measured":
        return Sentence("open", f"{subject}: not measured; no shown post has a value.")
    if row.direction == "identical":
        return Sentence("open", f"{subject}: exactly the same under both policies in every request.")
    before_after = f"{number(row.original)} before, {number(row.treatment)} after"
    if row.direction == "refused":
        text = f"{subject}: {_size(row)} ({before_after}), without an interval: {row.refused}."
        return Sentence("open", f"{text} That is an observation, not a finding.")
    numbers = f"{_size(row)}, 95% interval {_interval(row)}"
    over = "" if row.p_adjusted is None else f"; p {p_words(row.p_adjusted)}, adjusted over {row.family}"
    if row.claimed in ("not measurable", "not shown"):
        return _unshown(row, subject, (numbers, f"{before_after}{over}"))
    good = (row.direction == "decreased") == exposure
    if _among_scored(row):
        text = f"{subject} fell among the posts that have a value ({numbers}; {before_after}{over})."
        return Sentence("open", f"{text} Whether it fell among all is not shown.")
    text = f"{subject} {VERBS[row.direction]} ({numbers}; {before_after}{over})."
    if exposure and not good:
        text += " The treatment shows more of it, not less."
    return Sentence("better" if good else "worse", text)


def _unshown(row: Row, subject: str, figures: tuple[str, str]) -> Sentence:
    """No finding: the interval holds 0, or leaves it out as one of so many may by chance."""
    numbers, more = figures
    if row.claimed == "not shown":
        text = f"{subject} is not shown to have changed ({numbers}; {more})"
        return Sentence("open", f"{text}: its own interval leaves 0 out, the adjusted p-value does not hold.")
    why = (
        "this comparison does not show that it fell"
        if row.kind == "exposure"
        else "a change this small is not excluded"
    )
    return Sentence("open", f"{subject} did not change measurably ({numbers}): {why}.")


def _among_scored(row: Row) -> bool:
    """Whether a fall of an exposure is known of some posts only, too many having no value."""
    return row.kind == "exposure" and row.claimed == "decreased" and row.status == "REFUSED"


def _size(row: Row) -> str:
    return percent(row.relative) if row.relative is not None else f"{_signed(row.absolute)} in absolute terms"


def _interval(row: Row) -> str:
    if row.relative_low is not None:
        return f"{percent(row.relative_low)} to {percent(row.relative_high)}"
    return f"{_signed(row.absolute_low)} to {_signed(row.absolute_high)} in absolute terms"


def _signed(value: float | None) -> str:
    text = number(value)
    return f"+{text}" if value is not None and value > 0 else text


def _depends_on_model(main: Row, comparison: Comparison) -> str | None:
    """Where another model of how far people read says something else."""
    if main.kind == "context" or main.direction in ("refused", "not measured"):
        return None
    judged = comparison.guardrail(main.metric)
    if judged is not None and judged.verdict is not None:
        return None  # `other_verdicts` says it
    others = [comparison.row(main.metric, model) for model in comparison.browsing[1:]]
    unlike = [row for row in others if row.claimed != main.claimed]
    if not unlike:
        return None
    parts = [f"under {row.browsing} it {SAID[row.claimed]} ({_size(row)})" for row in unlike]
    name = in_words(main.metric)
    opposite = {main.claimed, *(row.claimed for row in unlike)} >= {"decreased", "increased"}
    lead = "No direction can be claimed for" if opposite else "How far people read matters for"
    return f"{lead} {name}: {main.browsing} is shown above; {'; '.join(parts)}."


def _notes(comparison: Comparison) -> list[Sentence]:
    facts, top = comparison.diagnostics, comparison.browsing[0]
    notes = []
    if facts.share_changed is not None and facts.overlap_at_k is not None:
        text = (
            f"The order changed in {100 * facts.share_changed:.0f}% of {facts.n_requests:,} requests; "
            f"{100 * facts.overlap_at_k:.1f}% of the posts in the {top} stayed there."
        )
        notes.append(Sentence("note", text))
    for policy, value in sorted(comparison.context.ineffective.items()):
        if value is not None:
            text = f"Of 1,000 full demotions of the {policy} policy, {number(value)} did not work."
            notes.append(Sentence("warning" if value > 0 else "note", text))
    return notes


def _warnings(comparison: Comparison, main: list[Row]) -> list[Sentence]:
    texts = []
    if comparison.own_ruler:
        texts.append(own_ruler_text(comparison))
    if any(key.endswith("weights.angry") for key, _, _ in comparison.differences) and any(
        row.metric == "angry_share" for row in main
    ):
        texts.append(
            "The weight of the angry reaction is among what was changed. A lower share of angry reactions "
            "shows that the setting works; it does not show by itself that harm fell."
        )
    texts += refused_rates(comparison)
    texts += [text for row in main if (text := _unscored(row))]
    if 2 <= comparison.n_clusters < FEW_CLUSTERS:
        texts.append(
            f"There are only {comparison.n_clusters} independent {comparison.cluster}: "
            "the intervals are too narrow."
        )
    texts += one_holder(comparison)
    if comparison.guardrails and comparison.gate.banner:
        texts.append(comparison.gate.banner)
    texts += _unscored_terms(comparison)
    return [Sentence("warning", text) for text in texts]


def _unscored_terms(comparison: Comparison) -> list[str]:
    """Terms of a policy that this feed has no data for."""
    first, second = comparison.original.unscored, comparison.treatment.unscored
    named = (
        [("Both policies have", first)]
        if first == second
        else [("The original policy has", first), ("The treatment policy has", second)]
    )
    return [
        f"{who} terms that this data cannot score: "
        f"{', '.join(term.removeprefix('signal ').replace('_', ' ') for term in terms)}."
        for who, terms in named
        if terms
    ]


def _unscored(row: Row) -> str | None:
    """A caution where many shown posts of an exposure have no value."""
    n_shown = row.n_shown_original + row.n_shown_treatment
    n_unscored = row.n_unscored_original + row.n_unscored_treatment
    if row.kind != "exposure" or row.direction == "not measured" or n_unscored <= MANY_UNSCORED * n_shown:
        return None
    text = f"{100 * n_unscored / n_shown:.0f}% of the shown posts have no value for {in_words(row.metric)}"
    if row.original_low is None:
        return f"{text}; they are left out."
    return (
        f"{text} and are left out. With all of them at 0 or all at 1 the mean would lie between "
        f"{number(row.original_low)} and {number(row.original_high)} before, "
        f"{number(row.treatment_low)} and {number(row.treatment_high)} after."
    )

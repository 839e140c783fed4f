"""What a comparison found, in plain sentences made from its status codes.

An interval that holds 0 is "did not change measurably". That a change is small enough not to matter is
another claim, which needs a margin set beforehand and an equivalence test; it is not made here.
"""

from dataclasses import dataclass
from typing import Literal

from eval.comparison import Comparison
from eval.rows import ALL, Row

Tone = Literal["better", "worse", "open", "note", "warning"]
MINUS = "\u2212"
FEW_CLUSTERS = 20
MANY_UNSCORED = 0.02
TITLES = {
    "angry_share": "angry reactions",
    "low_quality": "low-quality sources",
    "divisive": "divisive words",
    "moral_emotional": "moral-emotional words",
    "positive_activity": "activity without angry reactions",
    "all_activity": "activity with angry reactions",
    "close_ties": "posts from friends",
}
VERBS = {"decreased": "fell", "increased": "rose"}
SAID = VERBS | {
    "not measurable": "did not change measurably",
    "identical": "is the same in every request",
    "refused": "has no interval",
    "not measured": "was not measured",
}


@dataclass(frozen=True)
class Sentence:
    """One finding and how it bears on the goal: less exposure to harm, no loss of activity."""

    tone: Tone
    text: str


def in_words(metric: str) -> str:
    """A metric's name in a sentence."""
    if metric.startswith("is_"):
        return f"{metric.removeprefix('is_').replace('_', ' ')} (known)"
    return TITLES.get(metric, metric.removeprefix("media_").replace("_", " "))


def percent(value: float | None, digits: int | None = None) -> str:
    """A signed percentage such as +1.2%, with more digits where it is small.

    Example:
        >>> percent(0.0123), percent(0.0023), percent(0.000012), percent(None), percent(0.0)
        ('+1.2%', '+0.23%', '+0.001%', 'n/a', '0%')
    """
    if value is None:
        return "n/a"
    if value == 0:
        return "0%"
    digits = (1 if abs(value) >= 0.01 else 2) if digits is None else digits
    while digits < 4 and float(f"{100 * value:.{digits}f}") == 0:
        digits += 1
    return f"{100 * value:+.{digits}f}%".replace("-", MINUS)


def number(value: float | None) -> str:
    """A number with four significant digits or a little more.

    Example:
        >>> number(0.074341), number(47.0), number(12345.6), number(None)
        ('0.07434', '47.00', '12,346', 'n/a')
    """
    if value is None:
        return "n/a"
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}" if value else "0").replace("-", MINUS)


def verdict(comparison: Comparison) -> tuple[Sentence, ...]:
    """Findings first, those of an independent measure before the rest; then what they do not cover."""
    main = [
        row for row in comparison.rows if row.segment_by == ALL and row.browsing == comparison.browsing[0]
    ]
    own = set(comparison.own_ruler)
    ordered = [row for row in main if row.kind == "exposure" and row.metric not in own]
    ordered += [row for row in main if row.kind == "activity"]
    ordered += [row for row in main if row.kind == "exposure" and row.metric in own]
    found = [_finding(row) for row in ordered]
    disagreeing = [text for row in main if (text := _depends_on_model(row, comparison))]
    return (
        _summary(main),
        *found,
        *(Sentence("open", text) for text in disagreeing),
        *_notes(comparison),
        *_warnings(comparison, main),
    )


def _summary(main: list[Row]) -> Sentence:
    """How many outcomes went which way."""
    parts = []
    for kind, lead in (("exposure", "Exposure"), ("activity", "Activity")):
        statuses = [row.status for row in main if row.kind == kind]
        counts = [
            (sum(s == "decreased" for s in statuses), "fell"),
            (sum(s == "increased" for s in statuses), "rose"),
            (sum(s in ("not measurable", "identical") for s in statuses), "did not change measurably"),
            (sum(s in ("refused", "not measured") for s in statuses), "could not be judged"),
        ]
        told = ", ".join(f"{count} {words}" for count, words in counts if count)
        if told:
            parts.append(f"{lead}, {len(statuses)} outcome{'s' if len(statuses) > 1 else ''}: {told}.")
    return Sentence("note", " ".join(parts) or "Neither exposure nor activity was measured.")


def _finding(row: Row) -> Sentence:
    exposure = row.kind == "exposure"
    name = in_words(row.metric)
    subject = f"Exposure to {name}" if exposure else name[:1].upper() + name[1:]
    if row.status == "not measured":
        return Sentence("open", f"{subject}: not measured; no shown post has a value.")
    if row.status == "identical":
        return Sentence("open", f"{subject}: exactly the same under both policies in every request.")
    before_after = f"{number(row.original)} before, {number(row.treatment)} after"
    if row.status == "refused":
        text = f"{subject}: {_size(row)} ({before_after}), without an interval: {row.refused}."
        return Sentence("open", f"{text} That is an observation, not a finding.")
    numbers = f"{_size(row)}, 95% interval {_interval(row)}"
    if row.status == "not measurable":
        text = f"{subject} did not change measurably ({numbers})."
        why = (
            "this comparison does not show that it fell"
            if exposure
            else "a change this small is not excluded"
        )
        return Sentence("open", f"{text[:-1]}: {why}.")
    good = (row.status == "decreased") == exposure
    text = f"{subject} {VERBS[row.status]} ({numbers}; {before_after})."
    if exposure and not good:
        text += " The treatment shows more of it, not less."
    return Sentence("better" if good else "worse", text)


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
    if main.kind == "context" or main.status in ("refused", "not measured"):
        return None
    others = [comparison.row(main.metric, model) for model in comparison.browsing[1:]]
    unlike = [row for row in others if row.status != main.status]
    if not unlike:
        return None
    parts = [f"under {row.browsing} it {SAID[row.status]} ({_size(row)})" for row in unlike]
    name = in_words(main.metric)
    opposite = {main.status, *(row.status for row in unlike)} >= {"decreased", "increased"}
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
        names = ", ".join(in_words(name) for name in comparison.own_ruler)
        texts.append(
            f"The classifier or ratings that demoted also measure {names}. Demotion lowers its own estimate "
            "by construction, so these figures overstate the effect; an independent measure is needed."
        )
    if any(key.endswith("weights.angry") for key, _, _ in comparison.differences) and any(
        row.metric == "angry_share" for row in main
    ):
        texts.append(
            "The weight of the angry reaction is among what was changed. A lower share of angry reactions "
            "shows that the setting works; it does not show by itself that harm fell."
        )
    texts += [text for row in main if (text := _unscored(row))]
    if 2 <= comparison.n_clusters < FEW_CLUSTERS:
        texts.append(
            f"There are only {comparison.n_clusters} independent {comparison.cluster}: "
            "the intervals are too narrow."
        )
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
    if row.kind != "exposure" or row.status == "not measured" or n_unscored <= MANY_UNSCORED * n_shown:
        return None
    text = f"{100 * n_unscored / n_shown:.0f}% of the shown posts have no value for {in_words(row.metric)}"
    if row.original_low is None:
        return f"{text}; they are left out."
    return (
        f"{text} and are left out. With all of them at 0 or all at 1 the mean would lie between "
        f"{number(row.original_low)} and {number(row.original_high)} before, "
        f"{number(row.treatment_low)} and {number(row.treatment_high)} after."
    )

"""What a comparison claims of activity, of rates among views and of topics, and who measured it.

The word for "nothing happened" is written by `eval.decision.in_words` alone, for one of five verdicts.
"""

from collections.abc import Sequence

from eval import decision
from eval.audit_words import audit_sentences, label_facts
from eval.comparison import Comparison
from eval.decision import Decision, Verdict
from eval.guardrails import Guardrail
from eval.harm_views import MOST_UNSCORED, MOST_UNSCORED_GAP
from eval.rows import Row
from eval.topics import TopicFinding
from eval.view_rows import PER_DAY, VIEWS
from eval.words import Sentence, Tone, in_words, number, percent, title

LEVEL = (
    "Level L0, what would sit where: both policies rank the candidates that were logged. What people would "
    "do (L1), whether they would come back (L2) and what would be posted next (L3) is not claimed."
)
DECIDED: dict[Decision, str] = {
    "EQUIVALENT": "within the margin",
    "DIFFERENT-WITHIN-MARGIN": "changed by less than the margin",
    "NON-INFERIOR": "not lower by the margin",
    "INFERIOR": "lower by more than the margin",
    "INCONCLUSIVE": "cannot be told",
}
TONES: dict[Decision, Tone] = {
    "EQUIVALENT": "better",
    "DIFFERENT-WITHIN-MARGIN": "open",
    "NON-INFERIOR": "better",
    "INFERIOR": "worse",
    "INCONCLUSIVE": "open",
}
ONE_HOLDER = 0.25  # share of the harmful views from which a finding is about one post or publisher


def level_note() -> Sentence:
    """The level of every claim of a comparison."""
    return Sentence("note", LEVEL)


def decision_summary(rows: Sequence[Row], comparison: Comparison) -> dict[str, str]:
    """Metric to the words for its verdict, for those that have one and are not the same in every request."""
    found = {
        row.metric: judged.decision
        for row in rows
        if row.direction != "identical" and (judged := comparison.guardrail(row.metric))
    }
    return {metric: DECIDED[one] for metric, one in found.items() if one is not None}


def activity_finding(metric: str, comparison: Comparison) -> Sentence | None:
    """The verdict on one activity outcome; None where it has no margin or no verdict."""
    found = comparison.guardrail(metric)
    if found is None or found.verdict is None:
        return None
    text = verdict_text(f"{title(metric)} on what is shown", found.verdict, comparison)
    if found.status != "MODEL_ONLY":
        return Sentence(TONES[found.verdict.decision], text)
    if len(comparison.browsing) > 1:
        text += f" That is for the {found.browsing}; where people read otherwise the verdict is another."
    return Sentence("open", text)


def verdict_text(subject: str, verdict: Verdict, comparison: Comparison) -> str:
    """A verdict in words; where the feed has no users, its requests are what more is needed of."""
    text = decision.in_words(subject, verdict)
    return text.replace(" users would show it", f" {comparison.cluster} would show it")


def other_verdicts(comparison: Comparison) -> list[str]:
    """Where another model of how far people read leads to another verdict on activity."""
    texts = []
    for main in comparison.guardrails:
        if main.browsing != comparison.browsing[0] or main.verdict is None:
            continue
        others = [comparison.guardrail(main.metric, model) for model in comparison.browsing[1:]]
        unlike = [one for one in others if one and one.decision != main.decision]
        if unlike:
            told = "; ".join(f"under {one.browsing} {_decided(one)}" for one in unlike)
            name = in_words(main.metric)
            texts.append(
                f"How far people read matters for {name}: {_decided(main)} under {main.browsing}; {told}."
            )
    return texts


def _decided(found: Guardrail) -> str:
    return "refused" if found.decision is None else DECIDED[found.decision]


def rates_text(row: Row, comparison: Comparison) -> str:
    """Harm per 1,000 views and per user-day, to stand after a finding on exposure; "" where refused."""
    views = comparison.views_row(row.metric)
    if row.kind != "exposure" or views is None or row.direction in ("identical", "not measured"):
        return ""
    if views.status == "REFUSED":
        return ""
    text = f" Of 1,000 views, {number(views.original)} \u2192 {number(views.treatment)} are harmful"
    per_day = comparison.views_row(row.metric, measure=PER_DAY)
    if per_day is not None and per_day.status != "REFUSED":
        text += (
            f"; of a person's views in a day, {number(per_day.original)} \u2192 {number(per_day.treatment)}"
        )
    if views.status == "MODEL_ONLY" and len(comparison.browsing) > 1:
        text += "; the sign depends on how far people read"
    return f"{text}."


def refused_rates(comparison: Comparison) -> list[str]:
    """Exposures of which no rate among views is claimed, by the kind of reason."""
    refused: dict[str, list[Row]] = {}
    for row in comparison.view_rows:
        if row.browsing == comparison.browsing[0] and row.measure == VIEWS and row.status == "REFUSED":
            lost = max(row.share_unscored_original or 0.0, row.share_unscored_treatment or 0.0)
            refused.setdefault("" if lost > 0 else "; ".join(row.reasons), []).append(row)
    texts = []
    for reason, rows in refused.items():
        shares = [share for r in rows for share in (r.share_unscored_original, r.share_unscored_treatment)]
        most = max((share for share in shares if share is not None), default=0.0)
        why = reason or (
            f"up to {100 * most:.1f}% of the views have no value, where at most {100 * MOST_UNSCORED:.0f}% "
            f"may, and the policies may differ by {100 * MOST_UNSCORED_GAP:.1f} points"
        )
        names = ", ".join(in_words(row.metric) for row in rows)
        texts.append(f"No rate of harm among views is claimed of {names}: {why}.")
    return texts


def topic_sentences(comparison: Comparison) -> list[Sentence]:
    """Whether posts about a topic went with the harm about it, in the main browsing model."""
    main = [one for one in comparison.topics if one.browsing == comparison.browsing[0]]
    return [_topic_sentence(one, comparison) for one in main if one.status != "REFUSED"]


def _topic_sentence(found: TopicFinding, comparison: Comparison) -> Sentence:
    subject = f"Views about {in_words(found.topic)} without {in_words(found.harm)}"
    least, most = found.verdicts
    if least.decision == most.decision:
        text = verdict_text(subject, most, comparison)
        tone = "open" if found.status == "MODEL_ONLY" else TONES[most.decision]
        return Sentence(tone, text)
    return Sentence(
        "open",
        f"{subject}: {DECIDED[least.decision]} if topic and harm never coincide, {DECIDED[most.decision]} if "
        f"they do as often as they can (margin {percent(found.margin).removeprefix('+')}).",
    )


def family_notes(main: Sequence[Row]) -> list[Sentence]:
    """How findings on exposure are adjusted, and that intervals are not.

    Args:
        main: the rows over all candidates in the main browsing model.
    """
    family = next((row.family for row in main if row.family), "")
    if not family:
        return []
    text = (
        f"Whether exposure fell or rose is decided over {family} together: p-values are adjusted (Holm), so "
        "that the chance of any wrong finding among them is at most 5%. Each interval is of its figure by "
        "itself, and not adjusted."
    )
    return [Sentence("note", text)]


def audited(comparison: Comparison) -> list[Sentence]:
    """What labels by people say in the main browsing model."""
    return audit_sentences([row for row in comparison.audits if row.browsing == comparison.browsing[0]])


def own_ruler_text(comparison: Comparison) -> str:
    """The warning that the demoter measures its own work, and what to read instead."""
    known = [name for name in comparison.own_ruler if (row := comparison.audit(name)) and row.change]
    text = (
        f"The classifier or ratings that demoted also measure {_names(comparison.own_ruler)}. Demotion "
        "lowers its own estimate by construction, so these figures overstate the effect; "
    )
    if set(known) == set(comparison.own_ruler):
        return f"{text}read the figures corrected by labels instead."
    if known:
        text += f"for {_names(known)} read the figure corrected by labels instead; for the others "
    return (
        f"{text}an independent measure is needed: label a sample of the posts that the two policies show "
        "differently (`reranker audit sample` draws it) and give it to --audit-labels."
    )


def _names(metrics: Sequence[str]) -> str:
    return ", ".join(in_words(name) for name in metrics)


def gate_notes(comparison: Comparison) -> list[Sentence]:
    """Which guardrails a replay leaves open."""
    if not comparison.guardrails:
        return []
    missing = ", ".join(name.replace("_", " ") for name in comparison.gate.not_measured)
    if not missing:
        return []
    return [
        Sentence(
            "note", f"A launch is not cleared by this: {missing} have margins too and need an experiment."
        )
    ]


def who_measured(comparison: Comparison) -> Sentence:
    """Which classifier demoted, which measured, and where figures do not come from one."""
    demoted = comparison.context.demoted_with
    measured = comparison.context.measured_with or "+".join(
        dict.fromkeys(o.model for o in comparison.outcomes if o.kind == "exposure" and o.model)
    )
    observed = [in_words(o.name) for o in comparison.outcomes if o.kind == "exposure" and o.model is None]
    text = f"Demoted by: {demoted or 'no classifier'}. Measured by: {measured or 'no classifier'}"
    if observed:
        text += f"; not by a classifier: {', '.join(observed)}"
    if comparison.context.labels is not None:
        text += f"; and by people, {label_facts(comparison.context.labels)}"
    elif measured and not comparison.own_ruler:
        text += (
            ". Its errors are in these figures; a labelled sample (`reranker audit sample`) takes them out"
        )
    return Sentence("note", f"{text}.")


def one_holder(comparison: Comparison) -> list[str]:
    """Cautions where one post or publisher holds much of the harmful views."""
    texts = []
    for by in ("post", "publisher"):
        found = {
            one.metric: max(one.top_original or 0.0, one.top_treatment or 0.0)
            for one in comparison.concentrations
            if one.by == by
        }
        held = {metric: share for metric, share in found.items() if share >= ONE_HOLDER}
        if held:
            told = ", ".join(f"{in_words(metric)} ({100 * share:.0f}%)" for metric, share in held.items())
            texts.append(
                f"One {by} alone holds much of the harmful views of {told}: the intervals speak of these "
                f"{by}s, not of {by}s like them."
            )
    return texts

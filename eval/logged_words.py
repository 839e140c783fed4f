"""A comparison on a log in plain words: sentences made from its codes, what is claimed first."""

from collections.abc import Sequence

from eval.audit_words import SAID, TONES, audit_sentences, label_facts, p_words
from eval.clustered import LEVEL
from eval.decision import in_words
from eval.findings import TONES as DECIDED_TONES
from eval.logged_comparison import LoggedComparison
from eval.logged_parts import MIN_USERS
from eval.logged_rows import HARM, LoggedRow
from eval.logged_segments import SegmentRow
from eval.shrinkage import SCREEN_Q
from eval.support import MENDED_BY, WRONG
from eval.words import Sentence, percent
from eval.words import in_words as harm_words

CAUTIONS = {
    "TAIL_CAUTION": "a few slates carry much of the weight, so the intervals may be somewhat narrow",
    "MODEL_SHARE_CAUTION": "some of what a policy serves is seen through the response model alone",
    "RIPS_DISAGREES": "the estimate by weights alone is another: the model and the weights do not agree",
    "SIPS_DISAGREES": "the estimate that assumes nothing of reading is another: people may look ahead",
}
TITLES = {
    "views": "posts viewed per request",
    "positive_activity": "positive activity per request",
    "all_activity": "all activity per request, angry reactions included",
    "comments": "comments per request",
    "reshares": "reshares per request",
}
_ENDS = ("At the least", "At the most")
MOST_NAMED = 8  # parts in one sentence
WRONG_CODES = tuple(code for code, text in MENDED_BY.items() if text == WRONG)


def sentences(found: LoggedComparison) -> list[str]:
    """What may be said, in plain words; none rests on a raw p-value."""
    return [sentence.text for sentence in told(found)]


def told(found: LoggedComparison) -> list[Sentence]:
    """The sentences, each with how it bears on the goal: less harm, no loss of activity."""
    harms = [row for row in found.rows if row.metric.startswith(HARM) and row.ends]
    return [
        _of_log(found),
        *_of_loggers(found),
        *audit_sentences(found.audits),
        *(_of_harm(row, found.settings.level) for row in harms),
        *([Sentence("warning", found.banner)] if found.banner else []),
        *(sentence for row in found.rows for sentence in _of_row(row, found)),
        *_of_guardrails(found),
        *_of_segments(found),
        who_measured(found),
        *_own_ruler(found),
        *_cautions(found),
    ]


def row_title(row: LoggedRow) -> str:
    """What a row measures."""
    return metric_title(row.metric)


def metric_title(metric: str) -> str:
    """What a metric is, in words."""
    kind, _, name = metric.partition(".")
    label = harm_words(name)
    titles = {
        "harm_views": f"{label} in what is viewed, per request",
        "harm_prevalence": f"{label} per 1,000 views",
        "action": f"{label} per request",
    }
    return TITLES.get(metric) or titles[kind]


def _of_log(found: LoggedComparison) -> Sentence:
    who = f"{found.n_requests:,} requests of {found.n_users:,} users"
    details = [check.detail for gate in found.gates for check in gate.checks if not check.passed]
    why = "; ".join(dict.fromkeys(([found.uneven] if found.uneven else []) + details))
    users = "" if found.needed_users is None else f" About {found.needed_users:,} such users would do."
    mend = f" What would mend it: {found.remedy}.{users}" if found.remedy else ""
    what = "what the treatment would have changed"
    words = {
        "IDENTIFIED": f"{who} identify {what}, one request at a time.",
        "BOUNDED": f"{who} bound {what}: {why}.{mend}",
        "MODEL_ONLY": f"{who} cannot say {what}, and only a response model can guess: {why}.{mend}",
        "REFUSED": f"{who} cannot say {what}: {why}.{mend}",
    }
    return Sentence("note" if found.status == "IDENTIFIED" else "warning", words[found.status])


def _of_loggers(found: LoggedComparison) -> list[Sentence]:
    if found.loggers is None:
        return []
    each = ", ".join(
        f"{one.name} ({one.n_requests:,} requests at temperature {one.temperature:g})"
        for one in found.loggers.each
    )
    n, column = len(found.loggers.each), found.loggers.column
    text = f"Weighed against the mixture of {n} loggers, by {column}: {each}."
    if found.loggers.by_score:
        text += " Taken as given: the logged score is what each of them would have drawn by."
    else:
        text += " Each one's policy gives the propensities that were logged of its own requests."
    return [Sentence("note", text)]


def _of_harm(row: LoggedRow, level: float) -> Sentence:
    """How much more or less harm, whether its family lets one say so, and over which requests that holds."""
    held = f"{100 * (level if row.level == 'L1' else LEVEL):g}% interval {row.low:+.4g} to {row.high:+.4g}"
    how = "where posts would stand" if row.level == "L0" else "as people would have read"
    found = row.finding or "not shown"
    if row.change is None:
        size = f"between these ends whatever was not logged or scored: {held}"
    else:
        relative = "" if row.relative is None else f" ({100 * row.relative.value:+.2f}%)"
        size = f"{row.change.value:+.4g}{relative}, {held}"
    over = "" if row.p_adjusted is None else f"; p {p_words(row.p_adjusted)}, adjusted over {row.family}"
    model = " It depends on the browsing model." if row.status == "MODEL_ONLY" else ""
    subject = row_title(row)
    return Sentence(
        TONES[found], f"{subject[:1].upper()}{subject[1:]}, {how}, {SAID[found]}: {size}{over}.{model}"
    )


def _of_row(row: LoggedRow, found: LoggedComparison) -> list[Sentence]:
    """Verdicts on activity, refusals, and what a model alone expects."""
    said, title = [], row_title(row).capitalize()
    if len(row.verdicts) == 1:
        tone = DECIDED_TONES[row.verdicts[0].decision]
        said.append(Sentence(tone, in_words(title, row.verdicts[0])))
    elif row.verdicts:
        least, most = (in_words(name, one) for name, one in zip(_ENDS, row.verdicts, strict=True))
        said.append(Sentence("open", f"{title}, {row.decision} over what was not logged. {least} {most}"))
    if row.status == "REFUSED" and found.status != "REFUSED":
        said.append(Sentence("open", f"{row_title(row)} ({row.level}): refused: {'; '.join(row.reasons)}."))
    if row.model is not None and row.sensitivity is not None:
        text = (
            f"{row_title(row)}: a response model alone expects {row.model:+.4g}; predictions off by "
            f"{row.sensitivity:.1%} where the policies differ could make that nothing."
        )
        said.append(Sentence("open", text))
    return said


def _of_guardrails(found: LoggedComparison) -> list[Sentence]:
    """Whether the measured guardrails hold together, and which a log cannot measure."""
    held = found.guardrails
    if not held.verdicts:
        return []
    names = ", ".join(name.replace("_", " ") for name in held.verdicts)
    text = f"Guardrails that were measured ({names}): all must hold, so that none is adjusted. "
    text += (
        f"Not shown to hold: {', '.join(name.replace('_', ' ') for name in held.failing)}."
        if held.failing
        else "All are held."
    )
    if held.not_measured:
        missing = ", ".join(name.replace("_", " ") for name in held.not_measured)
        text += f" A launch is not cleared by this: {missing} have margins too and need an experiment."
    return [Sentence("worse" if held.failing else "note", text)]


def _of_segments(found: LoggedComparison) -> list[Sentence]:
    rows, said = found.segments.rows, []
    for row in rows:
        if row.alarm:
            what = "more harm" if row.scale != "relative" else "less activity"
            said.append(Sentence("worse", f"{_part(row)}: {what}. {_size(row)}; q = {row.q:.2g}."))
        elif row.colour == "red":
            said.append(Sentence("worse", f"{_part(row)}: not shown to hold its margin. {_size(row)}."))
    for one in found.segments.differences:
        if one.differs:
            signs = ", and in both directions" if one.both_signs else ""
            said.append(
                Sentence(
                    "warning",
                    f"{metric_title(one.metric).capitalize()} does not change alike in every {one.dimension} "
                    f"(p {p_words(one.p_adjusted)}, adjusted){signs}: lowest in {one.lowest}, highest in "
                    f"{one.highest}. One figure for all would mislead.",
                )
            )
    few = dict.fromkeys(f"{row.dimension} {row.segment}" for row in rows if row.insufficient)
    if few:
        text = (
            f"Too little data to say anything of: {_named(list(few))}. A part needs {MIN_USERS} users, and "
            "to be worth as many by its weights."
        )
        said.append(Sentence("open", text))
    refused = {
        f"{row.dimension} {row.segment}": "; ".join(row.row.reasons)
        for row in rows
        if row.row.status == "REFUSED" and not row.insufficient
    }
    if refused:
        why = "; ".join(dict.fromkeys(refused.values()))
        text = f"Refused in {_named(list(refused))}: {why}."
        if {code for row in rows for code in row.row.reasons} & set(WRONG_CODES):
            text += (
                " Where the propensities of a part are wrong, so are those of the whole, which may cancel."
            )
        said.append(Sentence("warning", text))
    if rows and not any(row.alarm for row in rows):
        n = sum(row.p_worse is not None for row in rows)
        said.append(
            Sentence(
                "note", f"No change for the worse stands out in {n} figures of parts (q {SCREEN_Q:.2f})."
            )
        )
    return said


def _part(row: SegmentRow) -> str:
    return f"{row.dimension} {row.segment}, {metric_title(row.metric)}"


def _size(row: SegmentRow) -> str:
    form = percent if row.scale == "relative" else (lambda value: f"{value:+.4g}")
    ends = f"interval {form(row.low)} to {form(row.high)}" if row.low is not None else "no interval"
    return ends if row.estimate is None else f"{form(row.estimate.value)}, {ends}"


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def who_measured(found: LoggedComparison) -> Sentence:
    """Which scores demoted, which measured, and what people labelled."""
    demoted = ", ".join(found.demoted_by) or "none"
    measured = ", ".join(
        dict.fromkeys(row.metric.partition(".")[2] for row in found.rows if row.metric.startswith(HARM))
    )
    text = f"Logged scores that one policy demotes by and the other does not: {demoted}. "
    if "logger" in {found.original.name, found.treatment.name}:
        text += "What the logger demoted by is not in its log. "
    text += f"Scores that measure: {measured or 'none'}"
    if found.context.labels is not None:
        text += f"; and people, {label_facts(found.context.labels)}"
    return Sentence("note", f"{text}.")


def _own_ruler(found: LoggedComparison) -> list[Sentence]:
    """The warning that a score measures its own work, and what to read instead."""
    if not found.own_ruler:
        return []
    names = ", ".join(found.own_ruler)
    known = {row.metric for row in found.audits if row.change is not None}
    text = (
        f"The scores of {names} demote and measure: they see their own misses as harmless, so that these "
        "figures overstate the effect; "
    )
    if set(found.own_ruler) <= known:
        return [Sentence("warning", f"{text}read those corrected by labels instead.")]
    return [
        Sentence(
            "warning",
            f"{text}have a sample labelled (eval.audit_design draws it) and give it to --audit-labels.",
        )
    ]


def _cautions(found: LoggedComparison) -> list[Sentence]:
    weighed = [row for row in found.rows if row.level == "L1" and row.status != "REFUSED"]
    said = []
    for code in dict.fromkeys(code for row in weighed for code in row.cautions if code in CAUTIONS):
        held = [metric_title(row.metric) for row in weighed if code in row.cautions]
        where = "" if len(held) == len(weighed) else f" Of {_named(held)}."
        said.append(Sentence("warning", f"Caution ({code}): {CAUTIONS[code]}.{where}"))
    return said

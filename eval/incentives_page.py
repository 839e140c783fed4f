"""The diagnostics of incentives as one page: what was found, then each with its picture and its limits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.clustered import Estimate
from eval.count_regression import exponentiated
from eval.figures import BETTER, OPEN, WORSE
from eval.incentives import Incentives
from eval.incentives_figures import borderline_plot, interval_plot
from eval.incentives_words import between, relative, sentences
from eval.moral_words import PUBLISHED
from eval.template import page_template
from eval.words import in_words, number

TEMPLATE = Path(__file__).with_name("incentives.html.j2")
MOST_ALARMS = 50
LIFT_COLOURS = {"over-represented": WORSE, "under-represented": BETTER}


@dataclass(frozen=True)
class Table:
    """Cells under heads; `tones` has one word per row, or ""."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tones: tuple[str, ...]
    folded: bool = False


@dataclass(frozen=True)
class AlarmCard:
    """One alarm: the post, its signs beside their habits, and what else it may be."""

    title: str
    signs: tuple[str, ...]
    said: str


@dataclass(frozen=True)
class Section:
    """One diagnostic on the page."""

    title: str
    part: str
    limits: str
    plot: str = ""
    tables: tuple[tuple[str, Table], ...] = ()
    alarms: tuple[AlarmCard, ...] = ()


def render_incentives(found: Incentives, data: str = "") -> str:
    """The page as HTML, with nothing from outside and no text of a post."""
    sections = (
        _borderline(found),
        _moral(found),
        _negative(found),
        _headlines(found),
        _lifts(found),
        _groups(found),
        _correlations(found),
        _received(found),
        _gaming(found),
    )
    return page_template(TEMPLATE).render(
        found=found,
        data=data,
        sentences=sentences(found),
        sections=[(one, found.part(one.part)) for one in sections],
        missing=[part for part in found.parts if part.status != "measured"],
        tones={"better": "better", "worse": "worse", "open": "open", "note": "", "warning": ""},
    )


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, folded: bool = False) -> Table:
    return Table(heads, tuple(rows), ("",) * len(rows), folded)


def _borderline(found: Incentives) -> Section:
    rows = [
        (
            name,
            curve.shape,
            "n/a" if curve.at_the_line is None else relative(curve.at_the_line, 0),
            f"{int(curve.n.sum()):,}",
            f"{curve.n_units:,}",
        )
        for name, curve in found.borderline.items()
    ]
    heads = ("Measure", "Towards the line", "Nearest against farthest", "Posts", "Units")
    return Section(
        "Does it pay to come near the line?",
        "borderline",
        f"Closeness: {found.near}; 1 is the line. Each measure is over its publisher's mean (1). Bars hold "
        "for all steps at once with 95%; a rise is said only where no curve that falls lies within them. "
        "What is not scored is left out.",
        borderline_plot(found.borderline) if found.borderline else "",
        (("", _table(heads, rows)),) if rows else (),
    )


def _moral(found: Incentives) -> Section:
    shown: list[tuple[str, Estimate]] = []
    rows = []
    for name, one in found.moral.items():
        fits = (
            ("Poisson, nothing held", one.poisson),
            ("Poisson, length held", one.poisson_held),
            ("negative binomial, length held", one.negative_binomial),
        )
        for title, ratio in fits:
            if ratio is not None:
                shown.append((f"{name}: {title}", ratio))
                rows.append((name, title, between(ratio, 3), f"{ratio.degrees_of_freedom:.0f}", f"{one.n:,}"))
    shown += [
        (f"published: {source}", Estimate(value, 0.0, low, high, 0.95, 0, 0))
        for source, value, low, high in PUBLISHED
        if found.moral
    ]
    heads = ("Counted", "Model", "Rate ratio per word", "Degrees of freedom", "Posts")
    return Section(
        "Do moral-emotional words spread a post?",
        "moral words",
        "Within publishers, intervals by publisher (CR2). Few degrees of freedom mean that few publishers "
        "decide; the negative binomial lets viral posts decide less. Shared more with such words is not "
        "shared because of them.",
        interval_plot("moral", shown, reference=1.0, label="times as many per further word"),
        (("", _table(heads, rows)),) if rows else (),
    )


def _negative(found: Incentives) -> Section:
    one = found.negative
    limits = (
        "Slope per publisher, drawn to the mean of all by how noisy it is. A scandal brings both clicks and "
        "negative comments: this is no effect of comments."
    )
    if one is None:
        return Section("Do negative comments come with clicks?", "negative comments", limits)
    raw, shrunk = one.segments.effect, one.segments.shrunk
    order = sorted(range(len(raw)), key=lambda i: -shrunk[i])
    shown = [("all publishers", exponentiated(one.pooled))]
    rows = []
    for i in order:
        log = Estimate(
            float(shrunk[i]), float(one.segments.shrunk_error[i]), float(one.segments.low[i]),
            float(one.segments.high[i]), 0.95, one.n[i], len(raw),
        )  # fmt: skip
        ratio = exponentiated(log)
        shown.append((one.publishers[i], ratio))
        own = exponentiated(Estimate(float(raw[i]), 0.0, float(raw[i]), float(raw[i]), 0.95, one.n[i], 1))
        rows.append((one.publishers[i], f"{own.value:.2f}", between(ratio), f"{one.n[i]:,}"))
    heads = ("Publisher", "Raw", "Shrunk", "Posts")
    tables = [("By publisher", _table(heads, rows, folded=True))]
    if one.left_out:
        tables.append(("Left out", _table(("Publisher", "Why"), list(one.left_out), folded=True)))
    label = f"times the {found.negative_of} per further tenth of negative comments"
    plot = interval_plot("negative", shown, reference=1.0, label=label)
    return Section("Do negative comments come with clicks?", "negative comments", limits, plot, tuple(tables))


def _headlines(found: Incentives) -> Section:
    one = found.headlines
    rows = []
    if one is not None:
        rows = [
            ("click-through, relative", relative(one.relative), f"{one.n_informative:,} of {one.n_tests:,}"),
            ("share of tests won", between(one.wins, 3), f"{one.n_informative:,} of {one.n_tests:,}"),
        ]
    return Section(
        "Headlines with a negative word, randomised",
        "headline tests",
        "Who met which headline was random; the words were an editor's choice, so it is the effect of "
        "headlines as written.",
        tables=(("", _table(("Measure", "Estimate", "Tests"), rows)),) if rows else (),
    )


def _lifts(found: Incentives) -> Section:
    told = [one for one in found.lifts if one.lift is not None]
    ordered = sorted(told, key=lambda one: -(one.lift.value if one.lift else 0.0))
    shown = [(f"{one.reaction} · {in_words(one.harm)}", one.lift) for one in ordered if one.lift is not None]
    colours = [
        LIFT_COLOURS.get(one.direction, OPEN) for one in ordered
    ]  # of the finding, not of one interval
    rows = [
        (
            one.reaction,
            in_words(one.harm),
            one.refused if one.lift is None else between(one.lift),
            number(one.base),
            number(one.high),
            f"{one.n_high:,} of {one.n:,}",
            one.direction,
        )
        for one in found.lifts
    ]
    heads = ("High share of", "Harm", "Lift", "P(harm)", "P(harm | high)", "Posts", "Finding")
    return Section(
        "Which harms come with which reactions?",
        "reaction lift",
        "P(harm | the tenth of posts with the highest share of the reaction) over P(harm), intervals by "
        "publisher; findings hold 5% false discoveries over the table. A classifier that errs on angry texts "
        "makes a lift of its own.",
        interval_plot("lift", shown, reference=1.0, label="lift", colours=colours),
        (("Every reaction and harm", _table(heads, rows, folded=True)),) if rows else (),
    )


def _groups(found: Incentives) -> Section:
    rows = []
    if found.group_ratio is not None:
        rows = [
            (" over ".join(found.groups), between(found.group_ratio), f"{found.group_ratio.n_clusters:,}")
        ]
    return Section(
        "Is one group of publishers angrier?",
        "angry groups",
        "Angry reactions among all, each month compared with itself (Mantel and Haenszel), interval by "
        "publisher.",
        tables=(("", _table(("Groups", "Ratio of angry shares", "Publishers"), rows)),) if rows else (),
    )


def _correlations(found: Incentives) -> Section:
    rows = [
        (one.name, between(one.rho), f"{one.rho.n:,}", f"{one.rho.n_clusters:,}")
        for one in found.correlations
    ]
    shown = [(one.name, one.rho) for one in found.correlations]
    return Section(
        "What does a high angry share go with?",
        "angry correlations",
        "Spearman's rank correlation over posts with ten reactions, interval by publisher.",
        interval_plot(
            "correlations", shown, reference=0.0, label="rank correlation", colours=[OPEN] * len(shown)
        ),
        (("", _table(("Angry share with", "Correlation", "Posts", "Units"), rows)),) if rows else (),
    )


def _received(found: Incentives) -> Section:
    rows = [
        (
            one.relation.replace("_", " "),
            between(one.per_post, 3),
            "n/a" if one.share is None else between(one.share, 3),
            f"{one.n_angry:,.0f}",
        )
        for one in found.received
    ]
    shown = [(one.relation.replace("_", " "), one.per_post) for one in found.received]
    return Section(
        "Who sends anger?",
        "angry received",
        "Received per post, by the sender's relation to the author; posts without any count. Intervals by "
        "author.",
        interval_plot(
            "received", shown, reference=0.0, label="angry reactions per post", colours=[OPEN] * len(shown)
        ),
        (("", _table(("From", "Per post", "Share of reactions", "Angry reactions"), rows)),) if rows else (),
    )


def _gaming(found: Incentives) -> Section:
    limits = (
        "Two signs at once, each beyond how posts of this file differ anyway; at most 5% of alarms are false "
        "on average where posts differ as the model says. Every alarm has an innocent explanation beside it."
    )
    if found.gaming is None:
        return Section("Does somebody game it?", "gaming", limits)
    alarms = tuple(
        AlarmCard(
            f"{alarm.kind}: post {found.post_ids[alarm.post]}",
            tuple(f"{s.name} {s.share:.0%}, habit {s.habit:.0%}" for s in alarm.signs),
            f"Adjusted p {alarm.p_adjusted:.2g}. It may also be {alarm.innocent}.",
        )
        for alarm in found.gaming.alarms[:MOST_ALARMS]
    )
    tested = [(kind, f"{n:,}", "") for kind, n in found.gaming.n_tested.items()]
    tested += [(kind, "0", why) for kind, why in found.gaming.refused.items()]
    table = _table(("Alarm", "Posts tested", "Refused because"), tested)
    return Section(
        "Does somebody game it?", "gaming", limits, tables=(("What was tested", table),), alarms=alarms
    )

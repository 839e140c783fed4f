"""A simulation as one page without scripts: the answer, the weeks, what it hinges on, the targets."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.clustered import Estimate
from eval.figures import BETTER, GRID, MUTED, OPEN, STYLE, SURFACE, WIDTH, WORSE, svg_of
from eval.simulate.measures import BY_NAME
from eval.simulate.study import PLOTTED, TABLE, Comparison, Row, Simulation, sentences, status_of
from eval.template import page_template
from eval.verdict import number

TEMPLATE = Path(__file__).with_name("simulation.html.j2")
TONES = {"better": "better", "worse": "worse", "open": "open", "within": "within margin", "warning": ""}


def render_page(simulation: Simulation) -> str:
    """The page as HTML."""
    p = simulation.p
    return page_template(TEMPLATE).render(
        title=simulation.scenario.title,
        original=" ".join(simulation.scenario.original),
        treatment=" ".join(simulation.scenario.treatment),
        digests=simulation.digests,
        world=p.name,
        world_digest=p.digest,
        n_users=simulation.n_users,
        n_weeks=simulation.n_weeks,
        n_seeds=simulation.n_seeds,
        burn_in=p.burn_in_weeks,
        first_seed=simulation.first_seed,
        sentences=sentences(simulation),
        tones=TONES,
        plots=[(_title(name), _week_plot(simulation.row(name))) for name in PLOTTED],
        hinge_plot=_hinge_plot(simulation.variants, "misinformation"),
        rows=[_cells(row) for row in simulation.rows],
        columns=[BY_NAME[name].title for name in TABLE],
        variants=[_comparison(one) for one in simulation.variants],
        others=[_comparison(one) for one in simulation.others],
        honesty=[_honesty(row) for row in simulation.rows if row.first_session is not None],
        targets=[
            (
                t.title,
                t.basis,
                number(t.value),
                _bounds(t.low, t.high),
                "met" if t.met else "missed",
                t.source,
            )
            for t in simulation.targets
        ],
        marks=[(mark, p.marked(mark)) for mark in ("fitted", "documented", "assumed")],
    )


def _title(name: str) -> str:
    title = BY_NAME[name].title
    return title[:1].upper() + title[1:]


def shown(estimate: Estimate, *, relative: bool) -> str:
    """A change in words: a percentage, or a difference.

    Example:
        >>> shown(Estimate(0.012, 0.001, 0.010, 0.014, 0.95, 8, 8), relative=True)
        '+1.20%'
    """
    text = f"{100 * estimate.value:+.2f}%" if relative else f"{estimate.value:+.4f}"
    return text.replace("-", "\u2212")


def interval(estimate: Estimate, *, relative: bool) -> str:
    """The ends of its interval in words."""
    ends = (estimate.low, estimate.high)
    parts = [f"{100 * end:+.2f}%" if relative else f"{end:+.4f}" for end in ends]
    return " to ".join(parts).replace("-", "\u2212")


def _tone(name: str, estimate: Estimate) -> str:
    """Whether a change is for the better: less harm, more activity and satisfaction; the rest is neither."""
    kind, status = BY_NAME[name].kind, status_of(estimate)
    if status not in ("decreased", "increased") or kind == "signal":
        return ""
    wanted = "decreased" if kind in ("exposure", "supply") else "increased"
    return "better" if status == wanted else "worse"


def _cells(row: Row) -> dict[str, str]:
    relative = row.measure.relative
    return {
        "title": row.measure.title,
        "unit": row.measure.unit,
        "before": number(row.before),
        "change": shown(row.change, relative=relative),
        "interval": interval(row.change, relative=relative),
        "last": shown(row.weeks[-1], relative=relative),
        "status": row.status if row.verdict is None else row.verdict.decision,
        "tone": _tone(row.measure.name, row.change),
    }


def _honesty(row: Row) -> tuple[str, str, str, str]:
    assert row.first_session is not None
    return (
        row.measure.title,
        shown(row.first_session, relative=True),
        shown(row.weeks[0], relative=True),
        shown(row.weeks[-1], relative=True),
    )


def _comparison(one: Comparison) -> tuple[str, str, list[tuple[str, str, str]]]:
    cells = []
    for name in TABLE:
        estimate, relative = one.changes[name], BY_NAME[name].relative
        value, ends = shown(estimate, relative=relative), interval(estimate, relative=relative)
        cells.append((value, ends, _tone(name, estimate)))
    return one.title, one.shows, cells


def _bounds(low: float, high: float) -> str:
    if high == float("inf"):
        return f"at least {number(low)}"
    return f"{number(low)} to {number(high)}"


def _week_plot(row: Row) -> str:
    """The change by week, with its interval over worlds."""
    name, scale = row.measure.name, 100.0 if row.measure.relative else 1.0
    colour = {"better": BETTER, "worse": WORSE}.get(_tone(name, row.change), OPEN)
    weeks = range(1, len(row.weeks) + 1)
    values = [scale * week.value for week in row.weeks]
    low, high = [scale * week.low for week in row.weeks], [scale * week.high for week in row.weeks]
    with rc_context({**STYLE, "svg.hashsalt": f"week-{name}"}):
        figure = Figure(figsize=(WIDTH, 1.7), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(weeks, low, high, color=colour, alpha=0.22, linewidth=0)
        axes.plot(weeks, values, color=colour, linewidth=1.6)
        axes.axhline(0.0, color=MUTED, linewidth=0.8, zorder=0)
        axes.set_xlim(1, max(len(row.weeks), 2))
        bottom, top = min([*low, 0.0]), max([*high, 0.0])
        room = 0.1 * (top - bottom) or 0.1
        axes.set_ylim(bottom - room, top + room)
        axes.set_xlabel("week after the change", fontsize=8.5)
        axes.yaxis.set_major_formatter(
            lambda value, _: f"{value:+.3g}{'%' if row.measure.relative else ''}".replace("-", "\u2212")
        )
        _plain_axes(axes)
        return svg_of(figure, f"week-{name}")


def _hinge_plot(variants: Sequence[Comparison], measure: str) -> str:
    """The change of one measure under each assumption."""
    name = f"hinge-{measure}"
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, 0.42 * len(variants) + 0.5), layout="constrained")
        axes = figure.subplots()
        for place, one in enumerate(variants):
            estimate = one.changes[measure]
            colour = {"better": BETTER, "worse": WORSE}.get(_tone(measure, estimate), OPEN)
            ends = 100 * estimate.low, 100 * estimate.high
            axes.plot(ends, (-place, -place), color=colour, linewidth=1.8)
            axes.plot(100 * estimate.value, -place, "o", color=colour, markersize=6, markeredgecolor=SURFACE)
            axes.text(
                0.0,
                -place + 0.3,
                one.title,
                transform=axes.get_yaxis_transform(),
                fontsize=8,
                va="center",
            )
        axes.set_ylim(-len(variants) + 0.5, 0.7)
        axes.set_yticks([])
        axes.axvline(0.0, color=MUTED, linewidth=0.8, zorder=0)
        axes.set_xlabel(f"change of {BY_NAME[measure].title} per view, %", fontsize=8.5)
        _plain_axes(axes)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
        return svg_of(figure, name)


def _plain_axes(axes: Axes) -> None:
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)

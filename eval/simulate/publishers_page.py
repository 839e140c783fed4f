"""The long run as one page without scripts: where each policy leads, how fast, and what that hinges on."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.clustered import Estimate
from eval.figures import BETTER, GRID, INK, MUTED, OPEN, STYLE, SURFACE, WIDTH, WORSE, svg_of
from eval.simulate.asked_policies import CALIBRATED
from eval.simulate.long_run import WITHIN, LongRun, Row
from eval.simulate.long_run_report import checks_of, sentences
from eval.simulate.two_parties import CURVE
from eval.template import page_template

TEMPLATE = Path(__file__).with_name("publishers.html.j2")
TONES = {"better": "better", "worse": "worse", "open": "", "warning": ""}
FOLLOWED = ("fb-2018-h1", "x-2026", "chronological", "harm-aware", "prosocial-2024")  # as lines by week
HINGES = ("fb-2020-10", "harm-aware")
COMPARED = ("fb-2018-h1", "fb-2020-10", "x-2026", "harm-aware")


def render_publishers(found: LongRun) -> str:
    """The page as HTML."""
    there = {row.spec for row in found.rows}
    compared = [name for name in COMPARED if name in there]
    return page_template(TEMPLATE).render(
        found=found,
        fitted=found.fitted,
        calibrated=CALIBRATED,
        sentences=sentences(found),
        tones=TONES,
        share_plot=_share_plot(found),
        week_plot=_week_plot([found.row(name) for name in FOLLOWED if name in there], found),
        pair_plots=[
            (name, _pair_plot(found.row(name), found)) for name in (CALIBRATED, HINGES[1]) if name in there
        ],
        hinge_plots=[(name, _hinge_plot(found.row(name), found)) for name in HINGES if name in there],
        rows=[_cells(row, found) for row in found.rows],
        compared=compared,
        hinges=_hinges(found, compared),
        speeds=[_speeds(row) for row in found.rows if row.half_weeks is not None],
        loops=[_loop(row) for row in found.rows],
        boosted=_boosted(found),
        checks=checks_of(found),
        percent=percent,
        marks=[(mark, found.market.marked(mark)) for mark in ("fitted", "documented", "assumed")],
    )


def percent(share: float | None, digits: int = 0) -> str:
    """A share in percent.

    Example:
        >>> percent(0.5), percent(0.021, 1), percent(None)
        ('50%', '2.1%', 'none')
    """
    return "none" if share is None else f"{100 * share:.{digits}f}%"


def _tone(row: Row, before: float) -> str:
    return {"back": "better", "beyond": "better", "part of the way": "", "stays": "worse"}[row.status(before)]


def _colour(row: Row, before: float) -> str:
    return {"better": BETTER, "worse": WORSE}.get(_tone(row, before), OPEN)


def _cells(row: Row, found: LongRun) -> dict[str, str]:
    low, high = row.range
    middle = float(row.reach.gap_at(found.market.share_before))
    return {
        "spec": row.spec,
        "title": row.title,
        "gap": f"{round(middle, 2) + 0.0:+.2f}".replace("-", "\u2212"),
        "share": percent(row.share),
        "error": f"\u00b1{196 * row.error:.1f}",
        "range": f"{percent(low)} to {percent(high)}",
        "alone": percent(row.alone),
        "pair": percent(row.game.settled),
        "views": percent(row.negative_views),
        "half": _week(row.half_weeks),
        "back": _week(row.back_weeks),
        "status": row.status(found.market.share_before),
        "tone": _tone(row, found.market.share_before),
        "rival": percent(row.game.rival_alone),
        "cost": f"{round(100 * row.game.cost_alone) + 0:+d}%".replace("-", "\u2212"),
        "answer": f"{round(row.game.answer, 2) + 0.0:+.2f}".replace("-", "\u2212"),
        "stable": str(sum(point.stable for point in row.game.points)),
        "points": str(len(row.game.points)),
    }


def _week(week: int | None) -> str:
    return "\u2013" if week is None else str(week)


def _hinges(found: LongRun, names: Sequence[str]) -> list[tuple[str, list[str]]]:
    lines = [("As assumed", [percent(found.row(name).share) for name in names])]
    for place, other in enumerate(found.alternatives):
        lines.append((other.title, [percent(found.row(name).others[place]) for name in names]))
    return lines


def _speeds(row: Row) -> tuple[str, ...]:
    slow, fast = row.speeds
    return (row.spec, *(_week(one) for one in (slow, row.half_weeks, fast)))


def _loop(row: Row) -> tuple[str, ...]:
    loop = row.loop
    return (
        row.spec,
        f"{loop.comments[0]:.2f}",
        f"{loop.comments[1]:.2f}",
        f"{loop.gain:.2f}",
        f"{loop.runaway_at:.2f}",
        "runs away" if loop.unlimited is None else f"{loop.unlimited:.2f}",
        "runs away" if loop.posts is None else f"{loop.posts:.2f}",
        "" if loop.negative is None else percent(loop.negative),
    )


def _boosted(found: LongRun) -> list[tuple[str, str, str, str]]:
    rows = (
        ("pairs that talk afterwards, further share of all", "talking", 100, "points"),
        ("messages afterwards", "messages", 100, "%"),
        ("messages per post that the boost showed", "per_post", 1, ""),
    )
    lines = []
    for title, name, scale, unit in rows:
        truth = _amount(scale * getattr(found.truth, name), unit)
        effect, null = (_interval(getattr(one, name), scale, unit) for one in (found.answers, found.null))
        lines.append((title, truth, effect, null))
    effect, null = (_interval(one.naive, 100, "%") for one in (found.answers, found.null))
    truth = _amount(100 * found.truth.messages, "%")
    lines.append(("messages afterwards, of pairs that saw more (misleading)", truth, effect, null))
    return lines


def _amount(value: float, unit: str) -> str:
    space = " " if unit == "points" else ""
    return f"{value:+.3g}{space}{unit}".replace("-", "\u2212")


def _interval(one: Estimate, scale: float, unit: str) -> str:
    ends = " to ".join(_amount(scale * end, "") for end in (one.low, one.high))
    return f"{_amount(scale * one.value, unit)} ({ends})"


def _share_plot(found: LongRun) -> str:
    """A dot per policy at its equilibrium, on the range over the assumptions."""
    first, second = found.market.share_before, found.market.share_after
    rows = sorted(found.rows, key=lambda row: row.share)
    with rc_context({**STYLE, "svg.hashsalt": "shares"}):
        figure = Figure(figsize=(WIDTH, 0.4 * len(rows) + 0.6), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(100 * (first - WITHIN), 100 * (first + WITHIN), color=GRID, linewidth=0, zorder=0)
        for share in (first, second):
            axes.axvline(100 * share, color=MUTED, linewidth=0.8, zorder=0.5)
        for place, row in enumerate(rows):
            colour, height = _colour(row, first), -float(place)
            axes.plot([100 * end for end in row.range], (height, height), color=colour, linewidth=1.8)
            axes.plot(100 * row.share, height, "o", color=colour, markersize=6, markeredgecolor=SURFACE)
            _label(axes, height + 0.42, row.spec, percent(row.share))
        axes.set_ylim(-len(rows) + 0.6, 0.8)
        axes.set_xlim(0, 100)
        axes.set_yticks([])
        axes.set_xlabel("negative posts of a party at rest, %", fontsize=8.5)
        _plain_axes(axes, "x")
        return svg_of(figure, "shares")


def _label(axes: Axes, height: float, left: str, right: str) -> None:
    ground = {"facecolor": SURFACE, "edgecolor": "none", "pad": 0.5}
    across = axes.get_yaxis_transform()
    axes.text(0.0, height, left, transform=across, fontsize=8, va="center", bbox=ground, zorder=3)
    axes.text(
        1.0, height, right, transform=across, fontsize=8, va="center", ha="right", bbox=ground, zorder=3
    )


def _week_plot(rows: Sequence[Row], found: LongRun) -> str:
    """The share of a party by week after a switch to each of a few policies."""
    first = found.market.share_before
    with rc_context({**STYLE, "svg.hashsalt": "weeks"}):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        axes = figure.subplots()
        axes.axhspan(100 * (first - WITHIN), 100 * (first + WITHIN), color=GRID, linewidth=0, zorder=0)
        ends = _apart([100 * float(row.path.party[-1]) for row in rows], 6.0)
        weeks = len(rows[0].path.party) - 1 if rows else 1
        for row, end in zip(rows, ends, strict=True):
            colour = _colour(row, first)
            axes.plot(range(weeks + 1), 100 * row.path.party, color=colour, linewidth=1.6)
            axes.text(weeks * 1.02, end, row.spec, fontsize=8, va="center", color=INK)
        axes.set_xlim(0, weeks)
        axes.set_ylim(0, 100)
        axes.set_xlabel("weeks after the switch from fb-2018-h1", fontsize=8.5)
        axes.set_ylabel("negative posts, %", fontsize=8.5)
        _plain_axes(axes, "y")
        return svg_of(figure, "weeks")


def _apart(places: Sequence[float], least: float) -> list[float]:
    """The places, moved so that labels at them do not overlap, in the order given."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for below, above in pairwise(order):
        moved[above] = max(moved[above], moved[below] + least)
    return moved


def _pair_plot(row: Row, found: LongRun) -> str:
    """Where either party settles while the other is held, crossing at the equilibria."""
    name = f"pair-{row.spec}"
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, WIDTH), layout="constrained")
        axes = figure.subplots()
        curve = 100 * row.game.curve
        axes.plot((0, 100), (0, 100), color=GRID, linewidth=0.8, zorder=0)
        axes.plot(100 * CURVE, curve, color=WORSE, linewidth=1.6)
        axes.plot(curve, 100 * CURVE, color=BETTER, linewidth=1.6, linestyle="--")
        for point in row.game.points:
            own, rival = (100 * share for share in point.shares)
            face = INK if point.stable else SURFACE
            axes.plot(own, rival, "o", markersize=7, markerfacecolor=face, markeredgecolor=INK)
        axes.axvline(100 * found.market.share_before, color=GRID, linewidth=0.8, zorder=0)
        axes.axhline(100 * found.market.share_before, color=GRID, linewidth=0.8, zorder=0)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_aspect("equal")
        axes.set_xlabel("negative posts of party A, %", fontsize=8.5)
        axes.set_ylabel("of party B, %", fontsize=8.5)
        _plain_axes(axes, "both")
        return svg_of(figure, name)


def _hinge_plot(row: Row, found: LongRun) -> str:
    """The equilibrium share under each other assumption, against that as assumed."""
    name = f"hinge-{row.spec}"
    known = [
        (other.title, share)
        for other, share in zip(found.alternatives, row.others, strict=True)
        if share is not None
    ]
    known.sort(key=lambda pair: -abs(pair[1] - row.share))
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, 0.36 * len(known) + 0.6), layout="constrained")
        axes = figure.subplots()
        axes.axvline(100 * row.share, color=MUTED, linewidth=0.8, zorder=0)
        for place, (title, share) in enumerate(known):
            colour = WORSE if share > row.share + 0.005 else BETTER if share < row.share - 0.005 else OPEN
            axes.plot((100 * row.share, 100 * share), (-place, -place), color=colour, linewidth=3, alpha=0.5)
            axes.plot(100 * share, -place, "o", color=colour, markersize=5.5, markeredgecolor=SURFACE)
            _label(axes, -place + 0.45, title, percent(share))
        axes.set_ylim(-len(known) + 0.6, 0.8)
        axes.set_xlim(0, 100)
        axes.set_yticks([])
        axes.set_xlabel(f"negative posts of a party under {row.spec}, %", fontsize=8.5)
        _plain_axes(axes, "x")
        return svg_of(figure, name)


def _plain_axes(axes: Axes, grid: str) -> None:
    axes.grid(axis=grid, color=GRID, linewidth=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)

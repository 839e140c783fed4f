"""The plots of a report, as SVG to put into a page: no scripts, no fonts, the page's own colours.

Labels stand above their marks and not beside them, so that a plot is readable on a telephone.
"""

import re
from collections.abc import Sequence
from io import StringIO
from textwrap import fill
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.rows import Row
from eval.sweep import Sweep
from eval.words import in_words, number, percent

WIDTH = 4.3  # inches; a page shows a plot about as wide as a telephone at scale 1
# stand-ins that become the page's colours
INK, MUTED, GRID, SURFACE = "#010101", "#020202", "#030303", "#040404"
BETTER, WORSE, OPEN = "#050505", "#060606", "#070707"
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    SURFACE: "surface",
    BETTER: "better",
    WORSE: "worse",
    OPEN: "open",
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.unicode_minus": True,
}


def colour_of(row: Row) -> str:
    """Blue for what is better, orange for what is worse, grey for what is open."""
    if row.claimed not in ("decreased", "increased") or row.kind == "context":
        return OPEN
    return BETTER if (row.direction == "decreased") == (row.kind == "exposure") else WORSE


def change_plot(
    name: str,
    rows: Sequence[tuple[str, Row]],
    also: Sequence[Sequence[Row]] = (),
    *,
    margins: Sequence[float | None] = (),
) -> str:
    """Each row from before (0) to after, in percent of before, with its interval; "" without rows.

    Args:
        name: of the plot, for its ids.
        rows: with their labels, from top to bottom.
        also: per row, the same under other browsing models, as small marks below.
        margins: per row, how much of it may be lost, as a band around 0; None where it has none. What
            lies inside its band is neither better nor worse.
    """
    bands = dict(zip([label for label, _ in rows], margins, strict=False))
    rows = [(label, row) for label, row in rows if row.relative is not None]
    if not rows:
        return ""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        pitch = 0.62 if also else 0.5
        height = pitch * len(rows) + 0.55
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.03, 0.42 / height, 0.94, 1 - 0.45 / height))
        for place, (label, row) in enumerate(rows):
            band = bands.get(label)
            if band:
                ends = (-100 * band, 100 * band)
                low, high = -place - (0.4 if also else 0.2), -place + 0.16
                axes.fill_between(ends, low, high, color=GRID, linewidth=0, zorder=0.5)
            _mark(axes, -float(place), row, 1.0, band)
            _over(axes, 0.0, -place + 0.34, label, ha="left", weight="bold")
            _over(axes, 1.0, -place + 0.34, _reading(row), ha="right")
            for step, other in enumerate(also[place] if place < len(also) else ()):
                _mark(axes, -place - 0.16 * (step + 1), other, 0.45, band)
        axes.axvline(0.0, color=MUTED, linewidth=0.8, zorder=0)
        axes.set_ylim(-len(rows) + (0.45 if also else 0.6), 0.6)
        axes.set_yticks([])
        known = [row for _, row in rows] + [row for others in also for row in others]
        _percent_axis(axes, known, max((band for band in bands.values() if band), default=0.0))
        axes.set_xlabel("change from the original policy", fontsize=8.5)
        return svg_of(figure, name)


def _mark(axes: Axes, height: float, row: Row, scale: float, band: float | None) -> None:
    if row.relative is None:
        return
    low, high = row.interval
    inside = band is not None and low is not None and high is not None and -band < low and high < band
    value, colour = 100 * row.relative, OPEN if inside else colour_of(row)
    axes.plot(
        [0.0, value], [height, height], color=colour, linewidth=4 * scale, alpha=0.3, solid_capstyle="butt"
    )
    if row.relative_low is not None and row.relative_high is not None:
        ends = (100 * row.relative_low, 100 * row.relative_high)
        axes.plot(
            ends, (height, height), color=colour, linewidth=1.6 * scale, marker="|", markersize=7 * scale
        )
    if scale == 1.0:
        axes.plot(0.0, height, "o", markersize=5, markerfacecolor=SURFACE, markeredgecolor=MUTED)
    filled = colour if row.claimed in ("decreased", "increased") else SURFACE
    axes.plot(
        value,
        height,
        "o",
        markersize=8 * scale,
        markerfacecolor=filled,
        markeredgecolor=colour,
        mew=1.6 * scale,
    )


def _over(axes: Axes, across: float, height: float, text: str, **style: Any) -> None:
    """Text above a mark, on the page's own ground so that no line runs through it."""
    ground = {"facecolor": SURFACE, "edgecolor": "none", "pad": 0.8}
    axes.text(
        across,
        height,
        text,
        transform=axes.get_yaxis_transform(),
        va="center",
        bbox=ground,
        zorder=3,
        **style,
    )


def _reading(row: Row) -> str:
    return f"{number(row.original)} → {number(row.treatment)}\u2002{percent(row.relative)}"


def _percent_axis(axes: Axes, rows: Sequence[Row], margin: float) -> None:
    """Limits that hold every interval, the margin, and at least one percent of the data's span beside."""
    ends = [0.0, -100 * margin, 100 * margin]
    for row in rows:
        ends += [100 * v for v in (row.relative, row.relative_low, row.relative_high) if v is not None]
    low, high = min(ends), max(ends)
    room = 0.06 * max(high - low, 1.0)
    axes.set_xlim(low - room, high + room)
    digits = 0 if high - low > 6 else 1 if high - low > 2.5 else 2
    axes.xaxis.set_major_formatter(lambda value, _: percent(value / 100, digits))
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def sweep_plot(sweep: Sweep) -> str:
    """One small plot per outcome: its change by the weight of the angry reaction, with the interval."""
    metrics = (
        [row.metric for row in sweep.points[0].rows if row.direction != "not measured"]
        if sweep.points
        else []
    )
    metrics = [m for m in metrics if any(_row(point.rows, m).relative is not None for point in sweep.points)]
    if not metrics:
        return ""
    n_lines = -(-len(metrics) // 2)
    with rc_context({**STYLE, "svg.hashsalt": "sweep"}):
        figure = Figure(figsize=(WIDTH, 1.45 * n_lines + 0.25), layout="constrained")
        grid = figure.subplots(n_lines, 2, squeeze=False, sharex=True)
        for place, axes in enumerate(grid.flat):
            if place < len(metrics):
                _panel(axes, sweep, metrics[place])
            else:
                axes.set_visible(False)
        for axes in grid[-1]:
            axes.set_xlabel("weight of an angry reaction", fontsize=8.5)
        return svg_of(figure, "sweep")


def _panel(axes: Axes, sweep: Sweep, metric: str) -> None:
    points = [(point.weight, _row(point.rows, metric)) for point in sweep.points]
    known = [(weight, row) for weight, row in points if row.relative is not None]
    weights = [weight for weight, _ in known]
    values = [100 * (row.relative or 0.0) for _, row in known]
    low = [
        100 * (row.relative_low if row.relative_low is not None else row.relative or 0.0) for _, row in known
    ]
    high = [
        100 * (row.relative_high if row.relative_high is not None else row.relative or 0.0)
        for _, row in known
    ]
    decisive = [colour_of(row) for _, row in known if colour_of(row) != OPEN]
    colour = decisive[0] if decisive else OPEN
    axes.fill_between(weights, low, high, color=colour, alpha=0.22, linewidth=0)
    axes.plot(weights, values, color=colour, linewidth=1.6)
    for weight, value, (_, row) in zip(weights, values, known, strict=True):
        own = colour_of(row)
        filled = SURFACE if own == OPEN else own
        axes.plot(weight, value, "o", markersize=4.5, markerfacecolor=filled, markeredgecolor=own)
    axes.axhline(0.0, color=MUTED, linewidth=0.8, zorder=0)
    bottom, top = min([*low, -1.0]), max([*high, 1.0])
    axes.set_ylim(bottom - 0.1 * (top - bottom), top + 0.1 * (top - bottom))
    axes.set_title(fill(in_words(metric), 20), fontsize=8.5, loc="left", weight="bold")
    axes.yaxis.set_major_formatter(lambda value, _: percent(value / 100, 0 if top - bottom > 5 else 1))
    axes.locator_params(axis="y", nbins=4)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def _row(rows: Sequence[Row], metric: str) -> Row:
    return next(row for row in rows if row.metric == metric)


def svg_of(figure: Figure, name: str) -> str:
    """The figure as an element of a page: ids of its own, the page's colours, no date."""
    out = StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{name}-", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    return svg.replace("'DejaVu Sans'", "inherit")

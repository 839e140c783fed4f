"""Pictures of the diagnostics of incentives, as SVG in the page's own colours."""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.borderline import BorderlineCurve
from eval.clustered import Estimate
from eval.figures import BETTER, GRID, MUTED, OPEN, STYLE, SURFACE, WIDTH, WORSE, svg_of
from eval.words import MINUS

MOST_ROWS = 24
COLOURS = {"rises": WORSE, "falls": BETTER}


def borderline_plot(curves: dict[str, BorderlineCurve]) -> str:
    """Two small plots a line: means with their bands, and the monotone curve that the bands leave."""
    n_lines = -(-len(curves) // 2)
    with rc_context({**STYLE, "svg.hashsalt": "borderline"}):
        figure = Figure(figsize=(1.6 * WIDTH, 2.1 * n_lines), layout="constrained")
        grid = figure.subplots(n_lines, 2, squeeze=False)
        for axes in grid.flat[len(curves) :]:
            axes.set_visible(False)
        for axes, (name, curve) in zip(grid.flat, curves.items(), strict=False):
            _curve(axes, name, curve)
        for axes in grid[-1]:
            axes.set_xlabel("closeness to the line (1)", fontsize=8.5)
        return svg_of(figure, "borderline")


def _curve(axes: Axes, name: str, curve: BorderlineCurve) -> None:
    colour = COLOURS.get(curve.shape, OPEN)
    x = curve.closeness
    best = curve.falling if curve.shape == "falls" else curve.rising
    band = curve.falling_band if curve.shape == "falls" else curve.rising_band
    if curve.shape in COLOURS and band is not None:
        axes.fill_between(x, band[0], band[1], color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, best, color=colour, linewidth=1.8)
    axes.vlines(x, curve.low, curve.high, color=colour, linewidth=1.1)
    axes.plot(x, curve.mean, "o", markersize=4, markerfacecolor=SURFACE, markeredgecolor=colour)
    axes.axhline(1.0, color=MUTED, linewidth=0.7, zorder=0)
    axes.axvline(1.0, color=MUTED, linewidth=0.7, linestyle=(0, (3, 3)), zorder=0)
    axes.set_title(
        f"{fill(name[:1].upper() + name[1:], 26)}: {curve.shape}", fontsize=8.5, loc="left", weight="bold"
    )
    axes.set_xlim(0, max(1.05, float(x.max()) * 1.05))
    _plain(axes, "y")


def interval_plot(
    name: str,
    rows: Sequence[tuple[str, Estimate]],
    *,
    reference: float,
    label: str,
    colours: Sequence[str] = (),
) -> str:
    """Estimates with their intervals, one above the other, beside a line at `reference`; "" without rows."""
    n, rows = len(rows), list(rows)[:MOST_ROWS]
    if not rows:
        return ""
    label += f" (first {len(rows)} of {n})" if n > len(rows) else ""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        height = 0.36 * len(rows) + 0.6
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.03, 0.42 / height, 0.94, 1 - 0.48 / height))
        low, high = _limits([one for _, one in rows], reference)
        for place, (title, one) in enumerate(rows):
            colour = colours[place] if colours else _colour(one, reference)
            ends = [float(np.clip(end, low, high)) for end in (one.low, one.high)]
            axes.plot(ends, [-place, -place], color=colour, linewidth=1.6)
            for end, inside, beyond in zip(ends, (one.low, one.high), ("<", ">"), strict=True):
                mark = "|" if end == inside else beyond  # an arrow where the interval leaves the picture
                axes.plot(end, -place, mark, color=colour, markersize=6, clip_on=False)
            axes.plot(np.clip(one.value, low, high), -place, "o", color=colour, markersize=6)
            said = f"{one.value:.2f}".replace("-", MINUS)
            for across, text, side in ((0.0, title, "left"), (1.0, said, "right")):
                axes.text(
                    across, -place + 0.36, text, transform=axes.get_yaxis_transform(), va="center",
                    ha=side, fontsize=8, bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 0.5},
                )  # fmt: skip
        axes.axvline(reference, color=MUTED, linewidth=0.8, zorder=0)
        axes.set_xlim(low, high)
        axes.set_ylim(-len(rows) + 0.5, 0.75)
        axes.set_yticks([])
        axes.set_xlabel(label, fontsize=8.5)
        _plain(axes, "x")
        axes.spines["left"].set_visible(False)
        return svg_of(figure, name)


def _limits(rows: Sequence[Estimate], reference: float) -> tuple[float, float]:
    """Ends that hold the values, and the intervals up to three times the spread of the values."""
    values = [one.value for one in rows] + [reference]
    room = max(max(values) - min(values), 0.05 * max(abs(reference), 1.0))
    ends = [e for one in rows for e in (one.low, one.high) if np.isfinite(e)]
    low = max(min([*ends, *values]), min(values) - 1.5 * room)
    high = min(max([*ends, *values]), max(values) + 1.5 * room)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _colour(one: Estimate, reference: float) -> str:
    return WORSE if one.low > reference else BETTER if one.high < reference else OPEN


def _plain(axes: Axes, grid: str) -> None:
    if grid == "y":
        axes.locator_params(axis="y", nbins=5)
        axes.grid(axis="y", color=GRID, linewidth=0.6)
    else:
        axes.locator_params(axis="x", nbins=6)
        axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8)
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)

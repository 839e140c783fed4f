"""Dots and whiskers of a comparison on a log: one mark per figure or part, nothing where nothing is known."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.figures import BETTER, GRID, INK, MUTED, OPEN, STYLE, SURFACE, WIDTH, WORSE, svg_of
from eval.words import Tone, percent

COLOURS = {"better": BETTER, "worse": WORSE}


@dataclass(frozen=True)
class Mark:
    """One line of a plot; without ends it is a label and the reason why there are none.

    Attributes:
        label: what it is of.
        reading: the figure in words.
        value: the change; None where only its ends are known.
        low, high: the interval; None for no mark.
        tone: "better" or "worse" where that may be said.
        shrunk: the change drawn towards the others, a small mark below; None for none.
        margin: how much may be lost, as a band around 0; None for none.
    """

    label: str
    reading: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    tone: Tone = "open"
    shrunk: tuple[float, float, float] | None = None
    margin: float | None = None

    @property
    def ends(self) -> tuple[float, ...]:
        """All that the axis must hold."""
        ends = [
            end for end in (self.value, self.low, self.high) if end is not None and abs(end) < float("inf")
        ]
        ends += list(self.shrunk or ())
        return (*ends, *(() if self.margin is None else (-self.margin, self.margin)))


def mark_plot(name: str, marks: Sequence[Mark], unit: str, *, relative: bool) -> str:
    """Changes from 0, each with its interval; "" where no mark has one.

    Args:
        name: of the plot, for its ids.
        marks: from top to bottom.
        unit: of the axis, in words.
        relative: whether the numbers are shares, told in percent.
    """
    ends = [end for mark in marks for end in mark.ends]
    if not any(mark.low is not None for mark in marks) or not ends:
        return ""
    with rc_context({**STYLE, "svg.hashsalt": name}):
        pitch = 0.55
        height = pitch * len(marks) + 0.55
        figure = Figure(figsize=(WIDTH, height))
        axes = figure.add_axes((0.03, 0.42 / height, 0.94, 1 - 0.45 / height))
        low, high = min(0.0, *ends), max(0.0, *ends)
        room = 0.06 * ((high - low) or 1.0)
        axes.set_xlim(low - room, high + room)
        for place, mark in enumerate(marks):
            _draw(axes, -float(place), mark)
        axes.axvline(0.0, color=MUTED, linewidth=0.8, zorder=0)
        axes.set_ylim(-len(marks) + 0.5, 0.6)
        axes.set_yticks([])
        _axis(axes, high - low, relative=relative)
        axes.set_xlabel(unit, fontsize=8.5)
        return svg_of(figure, name)


def _draw(axes: Axes, height: float, mark: Mark) -> None:
    colour = COLOURS.get(mark.tone, OPEN)
    if mark.margin is not None:
        ends = (-mark.margin, mark.margin)
        axes.fill_between(ends, height - 0.24, height + 0.16, color=GRID, linewidth=0, zorder=0.5)
    above, ink = height + 0.34, INK if mark.low is not None else MUTED
    ground = {"facecolor": SURFACE, "edgecolor": "none", "pad": 0.8}
    for text, across, align in ((mark.label, 0.0, "left"), (mark.reading, 1.0, "right")):
        axes.text(
            across, above, text, transform=axes.get_yaxis_transform(), va="center", ha=align, zorder=3,
            weight="bold" if align == "left" else "normal", color=ink, bbox=ground,
        )  # fmt: skip
    if mark.low is None or mark.high is None:
        return
    left, right = axes.get_xlim()
    ends = (max(mark.low, left), min(mark.high, right))
    axes.plot(ends, (height, height), color=colour, linewidth=1.6, marker="|", markersize=7)
    if mark.value is not None:
        filled = SURFACE if mark.tone == "open" else colour
        axes.plot(
            mark.value, height, "o", markersize=7, markerfacecolor=filled, markeredgecolor=colour, mew=1.6
        )
    if mark.shrunk is not None:
        value, low, high = mark.shrunk
        axes.plot((low, high), (height - 0.15, height - 0.15), color=MUTED, linewidth=0.8)
        axes.plot(value, height - 0.15, "o", markersize=3.5, color=MUTED)


def _axis(axes: Axes, span: float, *, relative: bool) -> None:
    if relative:
        digits = 0 if span > 0.06 else 1 if span > 0.025 else 2
        axes.xaxis.set_major_formatter(lambda value, _: percent(value, digits))
    axes.locator_params(axis="x", nbins=6)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=8.5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)

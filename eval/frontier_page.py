"""The page of a frontier: its picture, the policy to take, what its limits came to, every figure."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from eval.figures import BETTER, GRID, INK, MUTED, OPEN, STYLE, SURFACE, WIDTH, WORSE, svg_of
from eval.frontier import Frontier, Point
from eval.frontier_measures import HARM
from eval.frontier_words import LEVEL, n_tried, name_of, sentences, shown
from eval.template import page_template
from eval.words import in_words, percent
from eval.words import title as titled
from reranker.columns import FloatArray

TEMPLATE = Path(__file__).with_name("frontier.html.j2")
TONES = {"better": "better", "worse": "worse", "open": "open", "note": "", "warning": ""}


def render_page(found: Frontier, *, data: str = "") -> str:
    """The page as HTML."""
    return page_template(TEMPLATE).render(
        data=data,
        found=found,
        level=LEVEL,
        activity=in_words(found.measures.activity),
        n_tried=n_tried(found),
        sentences=sentences(found),
        tones=TONES,
        picture=front_plot(found),
        limits=[_limit(found, limit.name, limit.margin) for limit in found.limits],
        settings=_settings(found),
        front=[_row(point, found) for point in _told(found)],
        harms=[
            (titled(name), f"{100 * weight:.0f}%", *_halves(found.recommended, name))
            for name, weight in found.measures.harm.items()
        ],
    )


def front_plot(found: Frontier) -> str:
    """Harm across, activity up: every trial on train, the front on held-out users with its whiskers."""
    activity = found.measures.activity
    with rc_context({**STYLE, "svg.hashsalt": "front"}):
        canvas = Canvas(figsize=(WIDTH, 4.0), layout="constrained")
        axes = canvas.subplots()
        cloud = [(100 * p.train[HARM].value, 100 * p.train[activity].value) for p in found.points]
        axes.plot(*zip(*cloud, strict=True), ".", color=OPEN, alpha=0.35, markersize=4, zorder=1)
        for point in found.front:
            _whiskers(axes, point, activity, BETTER if point.holds else OPEN)
        best = found.recommended
        if not best.on_front:
            _whiskers(axes, best, activity, BETTER)
        _whiskers(axes, found.base_point, activity, WORSE)
        _mark(axes, _at(found.base_point, activity), "s", WORSE, found.base.name)
        axes.plot(
            *_at(best, activity), "o", markersize=13, markerfacecolor="none", markeredgecolor=INK, mew=1.6
        )
        _label(axes, _at(best, activity), "recommended", 12)
        _mark(axes, (0.0, 0.0), "D", INK, found.original.name)
        axes.axhline(0.0, color=MUTED, linewidth=0.8, zorder=0)
        axes.axvline(0.0, color=MUTED, linewidth=0.8, zorder=0)
        axes.margins(0.08)
        axes.set_xlabel("change of exposure to harm (less is better)", fontsize=8.5)
        axes.set_ylabel(f"change of {in_words(activity)}", fontsize=8.5)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_in_percent(_decimals(axis.get_majorticklocs())))
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, labelsize=8.5)
        for side in ("left", "right", "top", "bottom"):
            axes.spines[side].set_visible(False)
        return svg_of(canvas, "front")


def _in_percent(digits: int) -> Callable[[float, float], str]:
    return lambda value, _: percent(value / 100, digits)


def _decimals(ticks: FloatArray) -> int:
    """How many decimals tell neighbouring ticks apart."""
    step = f"{ticks[1] - ticks[0]:.4f}".rstrip("0")
    return len(step.partition(".")[2])


def _at(point: Point, activity: str) -> tuple[float, float]:
    assert point.held_out is not None
    return 100 * point.held_out[HARM].value, 100 * point.held_out[activity].value


def _whiskers(axes: Axes, point: Point, activity: str, colour: str) -> None:
    assert point.held_out is not None
    harm, act = point.held_out[HARM], point.held_out[activity]
    x, y = _at(point, activity)
    axes.plot([100 * harm.low, 100 * harm.high], [y, y], color=colour, linewidth=1.2, alpha=0.55, zorder=2)
    axes.plot([x, x], [100 * act.low, 100 * act.high], color=colour, linewidth=1.2, alpha=0.55, zorder=2)
    axes.plot(x, y, "o", markersize=5.5, markerfacecolor=colour, markeredgecolor=SURFACE, zorder=3)


def _mark(axes: Axes, at: tuple[float, float], marker: str, colour: str, name: str) -> None:
    axes.plot(*at, marker, markersize=7, markerfacecolor=colour, markeredgecolor=SURFACE, zorder=4)
    _label(axes, at, name, -13)


def _label(axes: Axes, at: tuple[float, float], name: str, below: int) -> None:
    ground = {"facecolor": SURFACE, "edgecolor": "none", "pad": 0.6, "alpha": 0.8}
    left = at[0] > sum(axes.get_xlim()) / 2
    axes.annotate(
        name,
        at,
        xytext=(4 if not left else -4, below),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=8.5,
        weight="bold",
        bbox=ground,
        zorder=5,
    )


def _told(found: Frontier) -> list[Point]:
    """The front, least harm first, then the base and the two chosen where they are not on it."""
    front = {point.number: point for point in found.front}
    others = sorted({found.recommended.number, found.simpler.number, found.base_point.number} - set(front))
    return [*front.values(), *(found.points[number] for number in others)]


def _halves(point: Point, name: str) -> tuple[str, str]:
    return shown(point.train[name]), shown(None if point.held_out is None else point.held_out[name])


def _row(point: Point, found: Frontier) -> dict[str, Any]:
    activity = found.measures.activity
    band = point.band
    return {
        "name": name_of(point, found),
        "marked": point.number == found.recommended.number,
        "harm": _halves(point, HARM),
        "activity": _halves(point, activity),
        "shrinkage": f"{100 * point.shrinkage(HARM):+.1f}".replace("-", "\u2212"),
        "band": "" if band is None else f"{percent(band[0])} to {percent(band[1])}",
        "activity_band": "" if band is None else f"{percent(band[2])} to {percent(band[3])}",
        "holds": "yes" if point.holds else "no",
    }


def _limit(found: Frontier, name: str, margin: float) -> dict[str, Any]:
    point = found.recommended
    assert point.held_out is not None
    held = point.held_out[name].low > -margin
    return {
        "name": titled(name),
        "margin": f"\u2212{100 * margin:g}%",
        "train": shown(point.train[name]),
        "held_out": shown(point.held_out[name]),
        "verdict": "held" if held else "not shown to hold",
        "tone": "better" if held else "worse",
    }


def _settings(found: Frontier) -> list[tuple[str, ...]]:
    """Each setting of the space: what the base has, the recommended, and the simpler policy."""
    rows = []
    for key, base in found.space.of_base().items():
        mine, plain = (p.values.get(key, base) for p in (found.recommended, found.simpler))
        cells = ("none" if value is None else f"{value:.3g}" for value in (base, mine, plain))
        rows.append((key.replace("+", " + "), *cells))
    return rows

"""Words and numbers as reports write them."""

import math
from dataclasses import dataclass
from typing import Literal

Tone = Literal["better", "worse", "open", "note", "warning"]
MINUS = "\u2212"
TITLES = {
    "angry_share": "angry reactions",
    "low_quality": "low-quality sources",
    "divisive": "divisive words",
    "moral_emotional": "moral-emotional words",
    "positive_activity": "activity without angry reactions",
    "all_activity": "activity with angry reactions",
    "close_ties": "posts from friends",
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


def title(metric: str) -> str:
    """A metric's name at the start of a sentence."""
    words = in_words(metric)
    return words[:1].upper() + words[1:]


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
        >>> number(0.074341), number(47.0), number(12345.6), number(0.0000244812), number(None)
        ('0.07434', '47.00', '12,346', '0.00002448', 'n/a')
    """
    if value is None:
        return "n/a"
    if 0 < abs(value) < 1e-4:  # without an exponent
        text = f"{value:.{3 - math.floor(math.log10(abs(value)))}f}"
    else:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.4g}" if value else "0"
    return text.replace("-", MINUS)

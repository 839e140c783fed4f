"""Effects of many segments: how much they truly differ, and which of them calls an alarm.

Shrinkage is for sizes, not for alarms: a true fall in one small country is shrunk away, so the raw effects
decide and the shrunk ones can only add an alarm. Too little data is grey, never green.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from eval.clustered import LEVEL
from eval.decision import POWER
from eval.multiplicity import benjamini_hochberg
from reranker.columns import BoolArray, FloatArray

SCREEN_Q = 0.10
Colour = Literal["red", "grey", "green"]


@dataclass(frozen=True, eq=False)
class Segments:
    """Effects of g segments, raw and shrunk; publish both.

    Attributes:
        effect, standard_error: (g,) raw.
        mean, mean_standard_error: of the segments.
        variance: of the true effects between segments (DerSimonian and Laird's), at least 0.
        q, q_p: Cochran's test that all segments have one effect, chi-square with g - 1 degrees of freedom.
        i2: share of the spread that is not noise.
        shrunk: (g,) effects drawn to the mean.
        shrunk_error: (g,) their standard errors.
        low, high: (g,) intervals around `shrunk`.
    """

    effect: FloatArray
    standard_error: FloatArray
    mean: float
    mean_standard_error: float
    variance: float
    q: float
    q_p: float
    i2: float
    shrunk: FloatArray
    shrunk_error: FloatArray
    low: FloatArray
    high: FloatArray


def random_effects(effect: FloatArray, standard_error: FloatArray, *, level: float = LEVEL) -> Segments:
    """Effects of segments as draws from one normal distribution.

    The intervals of the shrunk effects carry the uncertainty of the segment, of the mean and of the variance
    between segments; with fewer than 4 segments they are as wide as the raw ones. They cover on average over
    segments, not in each: one unlike all others is shrunk too far.

    Args:
        effect: (g,) at least 2.
        standard_error: (g,) above 0.
        level: of the intervals.

    Raises:
        ValueError: fewer than 2 segments, or values that are not finite or not above 0.

    Source: DerSimonian and Laird, Meta-analysis in clinical trials, 1986; Morris, Parametric empirical Bayes
    inference, 1983, section 5 (intervals); Higgins and Thompson, Quantifying heterogeneity in a
    meta-analysis, 2002.
    """
    _check(effect, standard_error)
    g, noise = len(effect), standard_error**2
    weight = 1 / noise
    centre = (weight @ effect) / weight.sum()
    q = float(weight @ (effect - centre) ** 2)
    spare = weight.sum() - (weight @ weight) / weight.sum()
    variance = max(0.0, (q - (g - 1)) / float(spare))
    weight = 1 / (noise + variance)
    mean, mean_variance = float((weight @ effect) / weight.sum()), float(1 / weight.sum())
    pull = noise / (noise + variance)  # 1: all the way to the mean
    shrunk = mean + (1 - pull) * (effect - mean)
    careful = max(g - 3, 0) / (g - 1) * pull  # the variance between segments is itself uncertain
    share = weight / weight.sum()
    spread = noise * (1 - (1 - share) * careful)
    if g > 3:
        typical = share @ noise
        spread += 2 / (g - 3) * careful**2 * (typical + variance) / (noise + variance) * (effect - mean) ** 2
    error = np.sqrt(spread)
    z = float(special.ndtri((1 + level) / 2))
    q_p = float(special.chdtrc(g - 1, q))
    i2 = max(0.0, (q - (g - 1)) / q) if q > 0 else 0.0
    ends = shrunk - z * error, shrunk + z * error
    root = float(np.sqrt(mean_variance))
    return Segments(effect, standard_error, mean, root, variance, q, q_p, i2, shrunk, error, *ends)


@dataclass(frozen=True, eq=False)
class Guard:
    """A colour for each segment and why.

    Attributes:
        colour: (g,) see `guard`.
        non_inferior: (g,) whether the raw 95 % interval is above -margin.
        powered: (g,) whether that had an 80 % chance if nothing changed.
        screened: (g,) whether the raw effect is below 0 after Benjamini and Hochberg at q = 0.10.
        p_beyond: (g,) probability of a true effect below -margin, from the shrunk effects.
    """

    colour: tuple[Colour, ...]
    non_inferior: BoolArray
    powered: BoolArray
    screened: BoolArray
    p_beyond: FloatArray


def guard(segments: Segments, margin: FloatArray | float, *, screened: BoolArray | None = None) -> Guard:
    """Red, grey or green for each segment of a metric of which more is better.

    Red: the raw effect is screened as a fall and is not shown to be within the margin; or non-inferiority
    fails although there was enough data; or the shrunk effect is more likely than not beyond the margin.
    Grey: not red, and too little data to show non-inferiority. Green: enough data and non-inferior.

    Args:
        segments: see `random_effects`.
        margin: above 0, one for all or (g,).
        screened: (g,) falls that were screened over more figures than these; None screens these alone.

    Raises:
        ValueError: a margin that is not above 0.
    """
    margins = np.broadcast_to(np.asarray(margin, dtype=np.float64), segments.effect.shape)
    if not (margins > 0).all():
        raise ValueError(f"margin: expected numbers above 0, got {margins.min()}")
    error = segments.standard_error
    z = float(special.ndtri(0.975))
    non_inferior = segments.effect - z * error > -margins
    powered = margins / error - z >= special.ndtri(POWER)
    if screened is None:
        screened = benjamini_hochberg(special.ndtr(segments.effect / error)) <= SCREEN_Q
    p_beyond = special.ndtr((-margins - segments.shrunk) / np.maximum(segments.shrunk_error, 1e-300))
    red = (screened & ~non_inferior) | (powered & ~non_inferior) | (p_beyond > 0.5)
    colour: tuple[Colour, ...] = tuple(
        "red" if is_red else "green" if is_powered else "grey"
        for is_red, is_powered in zip(red.tolist(), powered.tolist(), strict=True)
    )
    return Guard(colour, non_inferior, powered, screened, p_beyond)


def _check(effect: FloatArray, standard_error: FloatArray) -> None:
    if effect.ndim != 1 or effect.shape != standard_error.shape or len(effect) < 2:
        raise ValueError(f"segments: expected at least 2, got {effect.shape} and {standard_error.shape}")
    if not np.isfinite(effect).all():
        raise ValueError(f"effect: expected finite numbers, got {effect[~np.isfinite(effect)][0]}")
    if not (np.isfinite(standard_error) & (standard_error > 0)).all():
        raise ValueError(f"standard_error: expected finite numbers above 0, got {standard_error.min()}")

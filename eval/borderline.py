"""The borderline curve: does engagement rise as content comes near the line of a policy, or fall?

Posts are cut into steps of the way to the line. The steps have bands that hold for all of them at once, and a
curve that only rises, or only falls, either fits through all the bands or does not: so each shape is refuted
or not, and "it rises" is said only where a falling curve is refuted and a rising one is not. Nothing is
assumed of the shape between.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression

from eval.clustered import LEVEL, Estimate, relative_change
from eval.multiplicity import N_DRAWS, simultaneous_bands
from reranker.columns import FloatArray, IntArray

Shape = Literal["rises", "falls", "rises and falls", "cannot be told"]
N_STEPS = 10
FEWEST_POSTS, FEWEST_UNITS = 30, 10  # of a step; smaller ones are joined to the next
FEWEST_STEPS = 3
FEWEST_OF_A_UNIT = 5  # posts, for a habit to compare them with


@dataclass(frozen=True, eq=False)
class BorderlineCurve:
    """Mean engagement along the way to the line, in m steps.

    Attributes:
        closeness: (m,) mean of each step; 1 is the line.
        n: (m,) posts.
        mean, low, high: (m,) of each step; the bands hold for all steps at once.
        rising, falling: (m,) the best curve that never falls, and that never rises (isotonic regression).
        rising_band, falling_band: (2, m) where every such curve in accord lies; None where none is.
        shape: see `borderline_curve`.
        at_the_line: mean of the last step over that of the first, minus 1; None where the first is 0.
        n_units: publishers, authors or users behind it.
    """

    closeness: FloatArray
    n: IntArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray
    rising: FloatArray
    falling: FloatArray
    rising_band: FloatArray | None
    falling_band: FloatArray | None
    shape: Shape
    at_the_line: Estimate | None
    n_units: int


def borderline_curve(
    closeness: FloatArray,
    engagement: FloatArray,
    unit: IntArray,
    *,
    seed: int = 0,
    level: float = LEVEL,
    n_steps: int = N_STEPS,
) -> BorderlineCurve:
    """Mean engagement by closeness to the line, with bands, and what shape that leaves.

    "rises": no curve that only falls lies within the bands, and one that only rises does. "falls": the
    reverse. "rises and falls": neither does. "cannot be told": both do, as a flat one would. If the true
    curve never falls, `rising_band` covers all of it with probability `level`: the bands of the steps do, and
    at each step a curve that never falls is at least the largest lower end before and at most the least upper
    end after.

    Args:
        closeness: (n,) estimated harm over the line's, at least 0; 1 and more is at the line or beyond, a
            step of its own. NaN is left out.
        engagement: (n,) of the post, such as `relative_to_habit` gives; NaN is left out.
        unit: (n,) integer codes of what is independent.
        seed: of the bands.
        level: of each curve's bands.
        n_steps: equal steps before the line.

    Raises:
        ValueError: lengths that differ, values below 0, no engagement above 0, or fewer than 3 steps with 30
            posts of 10 units.

    Source: Barlow, Bartholomew, Bremner and Brunk, Statistical Inference under Order Restrictions, 1972
    (isotonic regression); Zuckerberg, A blueprint for content governance and enforcement, 2018 (the claim).
    """
    _check(closeness, engagement, unit)
    known = ~(np.isnan(closeness) | np.isnan(engagement))
    x, y, who = closeness[known], engagement[known], np.unique(unit[known], return_inverse=True)[1]
    if not (y > 0).any():
        raise ValueError("engagement: expected some above 0, got none")
    step = _steps(x, who, n_steps)
    m = int(step.max()) + 1
    n = np.bincount(step, minlength=m)
    mean = np.bincount(step, y) / n
    influence = np.zeros((len(y), m))
    influence[np.arange(len(y)), step] = (y - mean[step]) * (len(y) / n)[step]
    bands = simultaneous_bands(mean, influence, who, seed=seed, level=level, n_draws=N_DRAWS)
    up = _monotone_band(bands.low, bands.high)
    down = _monotone_band(bands.low[::-1], bands.high[::-1])
    shape: Shape = (
        "cannot be told" if up is not None and down is not None
        else "rises" if up is not None else "falls" if down is not None else "rises and falls"
    )  # fmt: skip
    return BorderlineCurve(
        closeness=np.bincount(step, x) / n,
        n=n.astype(np.int64),
        mean=mean,
        low=bands.low,
        high=bands.high,
        rising=isotonic_regression(mean, weights=n).x,
        falling=isotonic_regression(mean, weights=n, increasing=False).x,
        rising_band=up,
        falling_band=None if down is None else down[:, ::-1],
        shape=shape,
        at_the_line=_ends(y, step, who, level),
        n_units=int(who.max()) + 1,
    )


def _check(closeness: FloatArray, engagement: FloatArray, unit: IntArray) -> None:
    for name, values in (("closeness", closeness), ("engagement", engagement)):
        if values.shape != unit.shape:
            raise ValueError(f"{name}: expected shape {unit.shape} as the units, got {values.shape}")
        if (values < 0).any():
            raise ValueError(f"{name}: expected numbers of at least 0, got {np.nanmin(values):g}")


def relative_to_habit(
    engagement: FloatArray, unit: IntArray, *, habit_of: FloatArray | None = None
) -> FloatArray:
    """(n,) engagement over the mean of the unit's posts, so that large publishers do not make the curve.

    NaN where the unit has fewer than 5 posts with a value or a mean of 0. Where a unit's posts all lie at one
    closeness it says nothing, which draws the curve towards flat.

    Args:
        engagement: (n,) at least 0, NaN where not measured.
        unit: (n,) integer codes.
        habit_of: (n,) take the mean of this instead, such as engagement before a demotion.
    """
    base = engagement if habit_of is None else habit_of
    code = np.unique(unit, return_inverse=True)[1]
    known = ~np.isnan(base)
    count = np.bincount(code, known)
    total = np.bincount(code, np.where(known, base, 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        habit = np.where((count >= FEWEST_OF_A_UNIT) & (total > 0), total / count, np.nan)
        relative: FloatArray = engagement / habit[code]
    return relative


def _steps(x: FloatArray, who: IntArray, n_steps: int) -> IntArray:
    """(n,) step of each post, from 0; small steps are joined to the one nearer to the line, the last back."""
    raw = np.minimum((x * n_steps).astype(np.int64), n_steps)
    joined, at, held = np.zeros(n_steps + 1, dtype=np.int64), 0, np.zeros(len(x), dtype=bool)
    full = []  # steps that were large enough
    for place in range(n_steps + 1):
        joined[place] = at
        held |= raw == place
        if held.sum() >= FEWEST_POSTS and len(np.unique(who[held])) >= FEWEST_UNITS:
            full.append(at)
            at, held = at + 1, np.zeros(len(x), dtype=bool)
    if len(full) < FEWEST_STEPS:
        raise ValueError(
            f"closeness: expected at least {FEWEST_STEPS} steps of the way to the line with {FEWEST_POSTS} "
            f"posts of {FEWEST_UNITS} publishers each, got {len(full)}"
        )
    found: IntArray = np.minimum(joined, len(full) - 1)[raw]
    return found


def _monotone_band(low: FloatArray, high: FloatArray) -> FloatArray | None:
    """(2, m) where a curve that never falls can lie within bands; None where none can."""
    least = np.maximum.accumulate(low)
    most = np.minimum.accumulate(high[::-1])[::-1]
    return None if (least > most).any() else np.stack([least, most])


def _ends(y: FloatArray, step: IntArray, who: IntArray, level: float) -> Estimate | None:
    first, last = ((step == place).astype(np.float64) for place in (0, int(step.max())))
    if not (y * first).sum() > 0:
        return None
    return relative_change((y * first, first), (y * last, last), who, level=level)

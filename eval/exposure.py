"""How much of an outcome a ranking shows: a mean per request, weighted by how likely each position is seen.

A post whose outcome is null is left out of both sums and counted; it is never taken as harmless. What the
mean would be if all such posts were harmless, or all harmful, is given beside it.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.engagement import request_sums
from reranker.ranking import Ranking


@dataclass(frozen=True)
class Browsing:
    """How far down people read.

    Attributes:
        name: what reports call it.
        kind: a fixed number of posts, a share of the request's candidates, a constant chance of reading on,
            or the logarithmic discount.
        amount: the number, the share, or the chance; unused by log2.
        minimum: posts that a share covers at least.
    """

    name: str
    kind: Literal["top", "share", "rbp", "log2"]
    amount: Fraction = Fraction(1)
    minimum: int = 1


def browsing(spec: str, minimum: int = 5) -> Browsing:
    """A browsing model from its short name: "10%" or "25" (the top), "rbp:0.8", "log2".

    Args:
        spec: the short name.
        minimum: posts that a share covers at least.

    Raises:
        ValueError: the name is none of these, or its number is out of range.

    Example:
        >>> browsing("10%").name
        'top 10% (at least 5)'
        >>> top_k(browsing("10%"), np.array([20, 79, 290])).tolist()
        [5, 7, 29]
    """
    try:
        if spec == "log2":
            return Browsing("log2 discount", "log2")
        if spec.startswith("rbp:"):
            chance = Fraction(spec.removeprefix("rbp:"))
            if 0 < chance < 1:
                return Browsing(f"RBP {float(chance):g}", "rbp", chance)
        elif spec.endswith("%"):
            share = Fraction(spec.removesuffix("%")) / 100
            if 0 < share <= 1 and minimum >= 1:
                return Browsing(f"top {spec} (at least {minimum})", "share", share, minimum)
        elif int(spec) >= 1:
            return Browsing(f"top {int(spec)}", "top", Fraction(int(spec)))
    except (ValueError, ZeroDivisionError):
        pass
    raise ValueError(f'browsing: expected "10%", "25", "rbp:0.8" or "log2", got {spec!r}')


def top_k(model: Browsing, n_candidates: IntArray) -> IntArray:
    """(r,) how many posts of each request are shown; requests with fewer show all of them."""
    if model.kind == "top":
        return np.full(len(n_candidates), model.amount.numerator, dtype=np.int64)
    share = n_candidates * model.amount.numerator // model.amount.denominator
    return np.maximum(model.minimum, share)


def position_weights(model: Browsing, position: IntArray, request: IntArray, offsets: IntArray) -> FloatArray:
    """(n,) the weight of each candidate: 0 where its position is -1 (removed).

    Top: 1 for the first k, else 0. RBP: gamma ** position. log2: 1 / log2(position + 2). Positions from 0.

    Source: Moffat and Zobel, Rank-biased precision, 2008; Järvelin and Kekäläinen, Cumulated gain, 2002.
    """
    shown = position >= 0
    at = np.maximum(position, 0)
    if model.kind == "rbp":
        weight: FloatArray = np.power(float(model.amount), at.astype(np.float64))
    elif model.kind == "log2":
        weight = 1.0 / np.log2(at + 2.0)
    else:
        weight = (at < top_k(model, np.diff(offsets))[request]).astype(np.float64)
    return np.where(shown, weight, 0.0)


@dataclass(frozen=True, eq=False)
class Exposure:
    """What each request shows of one outcome; all (r,).

    Attributes:
        mean: weighted mean over the posts that have a value; NaN where none has one.
        total: weighted sum over them.
        weight: sum of their weights.
        low, high: the mean if every post without a value had 0, or 1; the mean itself where all have one.
        n_shown, n_unscored: posts with a weight above 0, and those of them without a value.
        every: sum of the weights of all posts, with a value or without.
    """

    mean: FloatArray
    total: FloatArray
    weight: FloatArray
    low: FloatArray
    high: FloatArray
    n_shown: FloatArray
    n_unscored: FloatArray
    every: FloatArray

    @property
    def share_unscored(self) -> float | None:
        """Share of all views that are of posts without a value; None where there is no view."""
        views = float(self.every.sum())
        lost = float(self.every[self.n_unscored > 0].sum() - self.weight[self.n_unscored > 0].sum())
        return lost / views if views > 0 else None


def measure_exposure(
    ranking: Ranking, weights: FloatArray, values: FloatArray, among: BoolArray | None = None
) -> Exposure:
    """What each request of a ranking shows of an outcome.

    Args:
        ranking: what is shown.
        weights: (n,) of `position_weights`.
        values: (n,) the outcome, NaN where null.
        among: (n,) count only these candidates; None counts all.
    """
    offsets = ranking.feed.offsets
    weights = weights if among is None else np.where(among, weights, 0.0)
    shown, known = weights > 0, ~np.isnan(values)
    every = request_sums(weights, offsets)
    scored = request_sums(np.where(known, weights, 0.0), offsets)
    total = request_sums(weights * np.where(known, values, 0.0), offsets)
    n_unscored = request_sums((shown & ~known).astype(np.float64), offsets)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, low = total / scored, total / every
        high = (total + (every - scored)) / every
    whole = n_unscored == 0
    return Exposure(
        mean=mean,
        total=total,
        weight=scored,
        low=np.where(whole, mean, low),
        high=np.where(whole, mean, high),
        n_shown=request_sums(shown.astype(np.float64), offsets),
        n_unscored=n_unscored,
        every=every,
    )

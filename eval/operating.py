"""Where to put a threshold: by what errors cost, with a band for people to look at, or with a guarantee."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FloatArray, IntArray


def cost_threshold(cost_false_alarm: float, cost_miss: float) -> float:
    """The probability from which flagging costs less than not flagging; only for calibrated probabilities.

    Raises:
        ValueError: a cost that is not above 0.

    Source: Elkan, The foundations of cost-sensitive learning, 2001, eq. 2.

    Example:
        >>> cost_threshold(1.0, 4.0)
        0.2
    """
    _check_costs(cost_false_alarm, cost_miss)
    return cost_false_alarm / (cost_false_alarm + cost_miss)


@dataclass(frozen=True)
class DeferralBand:
    """Below `low` leave the post, from `high` on act, between them let people decide."""

    low: float
    high: float


def deferral_band(cost_false_alarm: float, cost_miss: float, cost_review: float) -> DeferralBand:
    """The probabilities at which a review, taken as right, costs less than either decision.

    Both ends are the cost threshold where a review is never worth it.

    Raises:
        ValueError: a cost that is not above 0.

    Source: Chow, On optimum recognition error and reject tradeoff, 1970.

    Example:
        >>> deferral_band(1.0, 10.0, 0.5)
        DeferralBand(low=0.05, high=0.5)
    """
    _check_costs(cost_false_alarm, cost_miss, cost_review)
    low, high = cost_review / cost_miss, 1 - cost_review / cost_false_alarm
    if low >= high:
        low = high = cost_threshold(cost_false_alarm, cost_miss)
    return DeferralBand(low, high)


@dataclass(frozen=True)
class RiskControl:
    """A threshold whose expected loss is bounded.

    Attributes:
        threshold: posts above it are kept out; None where no threshold meets the bound.
        mean_loss: at it in the calibration data; NaN without one.
        bound: what the guarantee says of the next unit: at most this on average.
        n: units.
    """

    threshold: float | None
    mean_loss: float
    bound: float
    n: int


def control_risk(
    loss: FloatArray, thresholds: FloatArray, bound: float, *, unit: IntArray | None = None
) -> RiskControl:
    """The most lenient threshold at which the expected loss of the next unit is at most the bound.

    Valid in finite samples if the units and the next one are exchangeable: users drawn like the ones to
    come. It is an average over draws of the calibration data, not a promise for each of them, and says
    nothing once what users see has changed. A loss that falls as the threshold rises is replaced by its
    running maximum.

    Args:
        loss: (n, m) in [0, 1] of each request at each threshold.
        thresholds: (m,) increasing, strictest first.
        bound: in (0, 1).
        unit: (n,) user of each request, whose mean loss is what counts; None takes each request alone.

    Raises:
        ValueError: shapes that do not fit, a loss or bound out of range, or thresholds that do not rise.

    Source: Angelopoulos, Bates, Fisch, Lei and Schuster, Conformal risk control, 2024, theorem 1 and
    section 2.3 (losses that are not monotone).
    """
    if loss.ndim != 2 or loss.shape[1] != len(thresholds) or (np.diff(thresholds) <= 0).any():
        raise ValueError(
            f"thresholds: expected {loss.shape[-1]} that rise, got {len(thresholds)}: {thresholds[:5]}"
        )
    if not len(loss) or not ((loss >= 0) & (loss <= 1)).all() or not 0 < bound < 1:
        raise ValueError(f"loss: expected rows of numbers in [0, 1] and a bound in (0, 1), got {bound}")
    worst = np.maximum.accumulate(loss, axis=1)
    if unit is not None:
        codes, of_row = np.unique(unit, return_inverse=True)
        totals = np.zeros((len(codes), loss.shape[1]))
        np.add.at(totals, of_row, worst)
        worst = totals / np.bincount(of_row)[:, None]
    n, mean = len(worst), worst.mean(axis=0)
    met = np.flatnonzero(n / (n + 1) * mean + 1 / (n + 1) <= bound)
    if not met.size:
        return RiskControl(None, float("nan"), bound, n)
    at = int(met[-1])
    return RiskControl(float(thresholds[at]), float(mean[at]), bound, n)


def top_k_loss(
    p: FloatArray, harmful: BoolArray, offsets: IntArray, k: int, thresholds: FloatArray
) -> FloatArray:
    """(r, m) share of k slots that hold harm when posts above each threshold are kept out and others move up.

    Args:
        p: (n,) probabilities of ranked posts, best first in each request.
        harmful: (n,) what people found.
        offsets: (r + 1,) requests.
        k: slots; empty ones hold no harm.
        thresholds: (m,).

    Raises:
        ValueError: no slot.
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    start = offsets[:-1]
    made = np.empty((len(start), len(thresholds)))
    for j, threshold in enumerate(thresholds):
        kept = np.concatenate([[0], np.cumsum(p <= threshold)])
        place = kept[1:] - np.repeat(kept[start], np.diff(offsets))  # from 1, among the kept
        shown: NDArray[np.bool_] = (p <= threshold) & (place <= k) & harmful
        found = np.concatenate([[0], np.cumsum(shown)])
        made[:, j] = (found[offsets[1:]] - found[start]) / k
    return made


def _check_costs(*costs: float) -> None:
    for cost in costs:
        if not 0 < cost < np.inf:
            raise ValueError(f"cost: expected a number above 0, got {cost}")

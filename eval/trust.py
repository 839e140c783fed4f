"""How far a response model can be trusted: is it calibrated where it is used, and what error would matter."""

from dataclasses import dataclass

import numpy as np

from eval.clustered import Estimate, clustered_ratio
from reranker.columns import BoolArray, FloatArray, IntArray, freeze_arrays
from reranker.engagement import request_sums

N_BINS = 15


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predicted against observed, in bins of as many rows each.

    Attributes:
        predicted: (b,) mean prediction.
        observed: (b,) mean outcome.
        low, high: (b,) interval of the mean outcome, by user; NaN where a bin holds one user.
        count: (b,) rows.
        ratio: sum of outcomes over sum of predictions; 1 is calibrated in the large.
        squared_error: mean squared gap of the bins less what noise alone would make; about 0 or below where
            calibrated.
    """

    predicted: FloatArray
    observed: FloatArray
    low: FloatArray
    high: FloatArray
    count: IntArray
    ratio: Estimate
    squared_error: float

    def __post_init__(self) -> None:
        freeze_arrays(self)


@dataclass(frozen=True)
class Sensitivity:
    """How wrong the model would have to be on the slots that differ for the finding to change.

    Attributes:
        difference: target minus logger, per request, as the model has it.
        sign: smallest relative error of single predictions that could make the difference 0; None where the
            policies do not differ.
        margin: the same for reaching the nearer end of (-margin, margin), from inside or outside; None where
            no margin was given or the policies do not differ.
    """

    difference: float
    sign: float | None
    margin: float | None

    @property
    def smallest(self) -> float | None:
        """Gamma*: the smaller of the two."""
        known = [value for value in (self.sign, self.margin) if value is not None]
        return min(known, default=None)


def calibration(
    predicted: FloatArray,
    outcome: FloatArray,
    user: IntArray,
    *,
    rows: BoolArray | None = None,
    n_bins: int = N_BINS,
) -> Calibration:
    """How predictions compare with outcomes, over some rows: all, a segment, or the slots a policy changes.

    Args:
        predicted: (m,) out-of-fold probabilities.
        outcome: (m,) 0 or 1, of slots that were looked at.
        user: (m,) integer codes.
        rows: (m,) which rows count; None is all.
        n_bins: of equal counts, fewer where there are fewer rows.

    Raises:
        ValueError: lengths that differ, predictions outside [0, 1], or fewer than 2 users.

    Source: Kumar, Liang and Ma, Verified uncertainty calibration, 2019, definition 4.1 (the debiased error).
    """
    if not len(predicted) == len(outcome) == len(user):
        raise ValueError(f"outcome: expected {len(predicted)} rows, got {len(outcome)} and {len(user)} users")
    if not ((predicted >= 0) & (predicted <= 1)).all():
        raise ValueError("predicted: expected probabilities in [0, 1]")
    if rows is not None:
        predicted, outcome, user = predicted[rows], outcome[rows], user[rows]
    ratio = clustered_ratio(outcome, predicted, user)
    parts = [part for part in np.array_split(np.argsort(predicted, kind="stable"), n_bins) if len(part)]
    found = np.array([_bin(predicted[part], outcome[part], user[part]) for part in parts])
    p, y = found[:, 0], found[:, 1]
    count = np.array([len(part) for part in parts], dtype=np.int64)
    noise = y * (1.0 - y) / np.maximum(count - 1, 1)
    error = float(np.average((p - y) ** 2 - noise, weights=count))
    return Calibration(p, y, found[:, 2], found[:, 3], count, ratio, error)


def sensitivity(
    target: FloatArray,
    logging: FloatArray,
    changed: BoolArray,
    slot_offsets: IntArray,
    *,
    margin: float | None = None,
) -> Sensitivity:
    """The relative error on changed slots that would flip the sign of a model's effect, or cross a margin.

    Each prediction on a changed slot may be off by a factor between 1 - gamma and 1 + gamma, in the direction
    that hurts most; the rest cancels. Gamma* = distance / mean over requests of what the model expects on the
    changed slots of both policies.

    Args:
        target: (s,) expected reward at each slot under the target: examination times response.
        logging: (s,) the same under the logger.
        changed: (s,) where the two put different items.
        slot_offsets: (n + 1,).
        margin: in reward per request.

    Raises:
        ValueError: no requests, or a margin that is not above 0.

    Source: in the manner of Rosenbaum, Observational Studies, 2002, chapter 4.
    """
    n = len(slot_offsets) - 1
    if n < 1:
        raise ValueError("slot_offsets: expected at least 1 request, got 0")
    if margin is not None and not margin > 0:
        raise ValueError(f"margin: expected a number above 0, got {margin}")
    difference = float(request_sums(target - logging, slot_offsets).sum() / n)
    at_stake = float(np.where(changed, np.abs(target) + np.abs(logging), 0.0).sum() / n)
    if at_stake == 0:
        return Sensitivity(difference, None, None)
    to_margin = None if margin is None else abs(abs(difference) - margin) / at_stake
    return Sensitivity(difference, abs(difference) / at_stake, to_margin)


def _bin(predicted: FloatArray, outcome: FloatArray, user: IntArray) -> tuple[float, float, float, float]:
    mean = float(outcome.mean())
    if len(np.unique(user)) < 2:
        return float(predicted.mean()), mean, float("nan"), float("nan")
    estimate = clustered_ratio(outcome, np.ones(len(outcome)), user)
    return float(predicted.mean()), mean, estimate.low, estimate.high

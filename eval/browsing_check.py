"""Whether a browsing model fits: its curve of view depth or clicks against the log, and its log-loss."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from eval.browsing import cascade_examination, check_chances, slot_positions
from eval.browsing_fit import slots_at_risk
from eval.clustered import Estimate, clustered_ratio
from reranker.columns import BoolArray, FloatArray, IntArray

LARGEST_GAP = 0.01  # of the view-depth curve, for a model to be called fitting


@dataclass(frozen=True, eq=False)
class DepthCurve:
    """How many reach or click each position, over the slates that have it; all (K,).

    Attributes:
        predicted, observed: share of slates whose slot there is examined or clicked, by the model and in the
            log.
        n_slates: slates that have the position.
    """

    predicted: FloatArray
    observed: FloatArray
    n_slates: IntArray

    @property
    def max_gap(self) -> float:
        """Largest difference between the two curves."""
        return float(np.abs(self.predicted - self.observed).max())

    @property
    def fits(self) -> bool:
        """Whether no position is off by more than a percentage point; below 10,000 slates, noise may be."""
        return self.max_gap <= LARGEST_GAP


def depth_curve(stop: FloatArray, slot_offsets: IntArray, depth: IntArray) -> DepthCurve:
    """The curve of view depth that a model predicts, and the one in the log, on the same slates.

    For one device, pass its slates alone.

    Args:
        stop: (s,) chance to stop after each slot; 1 - gamma for RBP, `Survival.hazard[position]`.
        slot_offsets: (n + 1,) slots of each slate.
        depth: (n,) slots examined, from 1.

    Raises:
        ValueError: a chance outside [0, 1], or depths that are not of these slates.
    """
    slots_at_risk(slot_offsets, depth)  # checks the depths
    position = slot_positions(slot_offsets)
    seen = position < np.repeat(depth, np.diff(slot_offsets))
    n_slates = np.bincount(position)
    columns = (cascade_examination(stop, slot_offsets), seen.astype(np.float64))
    predicted, observed = (np.bincount(position, weights=column) / n_slates for column in columns)
    return DepthCurve(predicted, observed, n_slates.astype(np.int64))


def click_curve(p_click: FloatArray, clicked: BoolArray, slot_offsets: IntArray) -> DepthCurve:
    """The click rate of each position that a model predicts, and the one in the log, on the same slates.

    For logs of clicks without depths. A model may fit the clicks and still be wrong about what was seen.

    Args:
        p_click: (s,) chance of a click on each slot, such as examination times attraction.
        clicked: (s,).
        slot_offsets: (n + 1,) slots of each slate.

    Raises:
        ValueError: a chance outside [0, 1], or another length than the slots.
    """
    check_chances(p_click, "p_click", int(slot_offsets[-1]))
    check_chances(clicked.astype(np.float64), "clicked", int(slot_offsets[-1]))
    position = slot_positions(slot_offsets)
    n_slates = np.bincount(position)
    columns = (p_click, clicked.astype(np.float64))
    predicted, observed = (np.bincount(position, weights=column) / n_slates for column in columns)
    return DepthCurve(predicted, observed, n_slates.astype(np.int64))


def click_log_loss(
    p_click: FloatArray, clicked: BoolArray, slot_offsets: IntArray, cluster: IntArray
) -> Estimate:
    """Mean negative log-likelihood of the clicks, in nats per slot; by user.

    Two models are compared on the same slots; held out, the one with the lower loss is the better.

    Args:
        p_click: (s,) chance of a click on each slot given the clicks above it.
        clicked: (s,).
        slot_offsets: (n + 1,) slots of each slate.
        cluster: (n,) codes of the users.

    Raises:
        ValueError: a chance outside [0, 1], another length, or an event of probability 0.
    """
    check_chances(p_click, "p_click", int(slot_offsets[-1]))
    likelihood = np.where(clicked, p_click, 1.0 - p_click)
    if not (likelihood > 0).all():
        raise ValueError("p_click: expected chances above 0 for what happened, got 0")
    users = np.repeat(cluster, np.diff(slot_offsets))
    return clustered_ratio(-np.log(likelihood), np.ones(len(likelihood)), users)


def stop_log_loss(stop: FloatArray, slot_offsets: IntArray, depth: IntArray, cluster: IntArray) -> Estimate:
    """Mean negative log-likelihood, in nats per slot that one could have stopped at; by user.

    Infinite loss is refused: a model that calls what happened impossible has no place here.

    Raises:
        ValueError: a chance outside [0, 1], depths that do not fit, or an event of probability 0.
    """
    check_chances(stop, "stop", int(slot_offsets[-1]))
    risk, stopped = slots_at_risk(slot_offsets, depth)
    likelihood = np.where(stopped, stop, 1.0 - stop)[risk]
    if not (likelihood > 0).all():
        raise ValueError("stop: expected chances above 0 for what happened, got 0")
    users = np.repeat(cluster, np.diff(slot_offsets))[risk]
    return clustered_ratio(-np.log(likelihood), np.ones(len(likelihood)), users)


def held_out_log_loss(
    predict: Callable[[BoolArray], FloatArray],
    slot_offsets: IntArray,
    depth: IntArray,
    cluster: IntArray,
    *,
    n_folds: int = 5,
    seed: int = 0,
) -> Estimate:
    """The log-loss of a model on users it was not fitted on.

    Args:
        predict: from (n,) which slates to fit on, to (s,) chances to stop on all slates.
        slot_offsets: (n + 1,) slots of each slate.
        depth: (n,) slots examined, from 1.
        cluster: (n,) codes of the users; all slates of one user are in one fold.
        n_folds: folds.
        seed: of the assignment of users to folds.

    Raises:
        ValueError: fewer users than folds, fewer than 2 folds, or as `stop_log_loss`.
    """
    users, code = np.unique(cluster, return_inverse=True)
    if not 2 <= n_folds <= len(users):
        raise ValueError(f"n_folds: expected 2 to {len(users)} users, got {n_folds}")
    fold = np.random.default_rng(seed).permutation(len(users))[code] % n_folds  # (n,)
    stop = np.empty(int(slot_offsets[-1]))
    slot_fold = np.repeat(fold, np.diff(slot_offsets))
    for i in range(n_folds):
        held = slot_fold == i
        stop[held] = predict(fold != i)[held]
    return stop_log_loss(stop, slot_offsets, depth, cluster)

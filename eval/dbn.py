"""The dynamic Bayesian model of clicks: read on until satisfied by a click, or tired.

Each examined post is clicked with its attraction; a clicked one satisfies with its satisfaction, which ends
the reading; who is not satisfied reads on with probability gamma. Who examined what is not logged where only
clicks are: it is inferred, session by session, by expectation-maximisation. Logged depths are used if given.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eval.browsing import cascade_examination, satisfied_stop
from eval.browsing_fit import check_depths
from eval.counter_random import poisson_weights
from eval.dbn_kernel import Chances, Sessions, expect_sessions, predict_clicks
from eval.hashing import user_keys
from eval.interval import LEVEL, Interval
from eval.judged import percentile_interval
from reranker.columns import BoolArray, FloatArray, IntArray, freeze_arrays

SHRINKAGE = 1.0  # pseudo-observations of the mean item added to each item's attraction and satisfaction
TOLERANCE = 1e-6  # of every parameter, between two steps
RESAMPLED_TOLERANCE = 1e-5
MAX_STEPS = 2_000
N_RESAMPLES = 200


@dataclass(frozen=True, eq=False)
class ClickedSlates:
    """Slates and what was clicked on them.

    Attributes:
        item: (s,) codes from 0 of the posts, or of posts alike; best first within a slate.
        clicked: (s,).
        slot_offsets: (n + 1,) slots of each slate.
        depth: (n,) slots examined, from 1; None where only clicks were logged.

    Raises:
        ValueError: lengths that differ, an empty slate, a negative code, or a click below the depth.
    """

    item: IntArray
    clicked: BoolArray
    slot_offsets: IntArray
    depth: IntArray | None = None

    def __post_init__(self) -> None:
        length, n_slots = np.diff(self.slot_offsets), int(self.slot_offsets[-1])
        if not len(self.item) == len(self.clicked) == n_slots or len(length) == 0:
            got = len(self.item), len(self.clicked)
            raise ValueError(f"item: expected {n_slots} slots of at least 1 slate, got {got[0]} and {got[1]}")
        if (length < 1).any():
            raise ValueError(f"slot_offsets: expected no empty slate, got one at {int(np.argmin(length))}")
        if self.item.min() < 0:
            raise ValueError(f"item: expected codes from 0, got {self.item.min()}")
        if self.depth is not None:
            check_depths(self.depth, length)
            last = np.full(len(length), -1)
            request = np.repeat(np.arange(len(length)), length)
            position = np.arange(n_slots) - self.slot_offsets[:-1][request]
            np.maximum.at(last, request[self.clicked], position[self.clicked])
            if (last >= self.depth).any():
                row = int(np.argmax(last >= self.depth))
                raise ValueError(f"clicked: expected clicks on examined slots, got one below at slate {row}")
        freeze_arrays(self)

    @property
    def n_slates(self) -> int:
        """How many slates there are."""
        return len(self.slot_offsets) - 1

    def of(self, chosen: BoolArray) -> "ClickedSlates":
        """The chosen slates (n,) alone."""
        length = np.diff(self.slot_offsets)
        slots = np.repeat(chosen, length)
        offsets = np.concatenate(([0], np.cumsum(length[chosen])))
        depth = None if self.depth is None else self.depth[chosen]
        return ClickedSlates(self.item[slots], self.clicked[slots], offsets, depth)


@dataclass(frozen=True, eq=False)
class Dbn:
    """A fitted model.

    Attributes:
        gamma: chance to read on when not satisfied.
        attraction: (items,) chance that an examined item is clicked; the mean for items without a slot.
        satisfaction: (items,) chance that a clicked item ends the reading; the mean where none was clicked.
        mean_attraction, mean_satisfaction: over what was examined and clicked, for items never met.
        log_likelihood: of the log, in nats, without the pull to the mean.
        n_steps: steps taken.
        converged: whether they came to rest.
    """

    gamma: float
    attraction: FloatArray
    satisfaction: FloatArray
    mean_attraction: float
    mean_satisfaction: float
    log_likelihood: float
    n_steps: int
    converged: bool

    def of_items(self, item: IntArray) -> tuple[FloatArray, FloatArray]:
        """(s,) attraction and satisfaction of items; the means for those the fit has not met."""
        known = item < len(self.attraction)
        at = np.where(known, item, 0)
        return (
            np.where(known, self.attraction[at], self.mean_attraction),
            np.where(known, self.satisfaction[at], self.mean_satisfaction),
        )


def fit_dbn(
    slates: ClickedSlates,
    *,
    weight: FloatArray | None = None,
    start: Dbn | None = None,
    shrinkage: float = SHRINKAGE,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
) -> Dbn:
    """The model by expectation-maximisation; each step costs a pass over the slots.

    Valid if people read from the top, click only by the item, and stop for good. Whether someone was
    satisfied or tired shows only where items were clicked both last and not last; from clicks alone gamma
    is as good as the attractions are. Satisfaction by the last slot of a slate leaves no trace.

    Args:
        slates: what was shown and clicked.
        weight: (n,) of each slate, such as a bootstrap weight; None counts each once.
        start: where to start from; None starts from the share of clicks.
        shrinkage: observations of the mean item that are added to each item.
        max_steps: after which it ends unconverged.
        tolerance: largest change of any parameter at which it ends.

    Raises:
        ValueError: no click at all, a negative weight or shrinkage.

    Source: Chapelle and Zhang, A dynamic Bayesian network click model for web search ranking, 2009, section 4
    and appendix (the M-step here gives each item a beta prior at the mean).

    Example:
        >>> both_ways, clicked = np.array([0, 1, 1, 0] * 20), np.array([True, False, False, True] * 20)
        >>> slates = ClickedSlates(both_ways, clicked, np.arange(0, 81, 2))
        >>> fit_dbn(slates).attraction.round(2).tolist()
        [0.99, 0.03]
    """
    once = np.ones(slates.n_slates) if weight is None else weight
    if shrinkage < 0 or len(once) != slates.n_slates or not (once >= 0).all():
        raise ValueError(
            f"weight, shrinkage: expected {slates.n_slates} and one of at least 0, got {shrinkage}"
        )
    clicks = float(np.repeat(once, np.diff(slates.slot_offsets)) @ slates.clicked)
    if clicks == 0:
        raise ValueError("clicked: expected at least 1 click, got 0")
    fit = _first(slates, clicks / max(float(once @ np.diff(slates.slot_offsets)), 1e-300), start)
    depth = np.zeros(0, dtype=np.int64) if slates.depth is None else slates.depth
    sessions = Sessions(slates.item, slates.clicked, slates.slot_offsets, depth, once)
    n_steps, change, likelihood = 0, np.inf, -np.inf
    while n_steps < max_steps and change > tolerance:
        chances = Chances(fit.attraction, fit.satisfaction, fit.gamma)
        counts, total, likelihood = expect_sessions(sessions, chances)
        following = _maximised(fit, counts, total, shrinkage)
        change = max(
            abs(following.gamma - fit.gamma),
            float(np.abs(following.attraction - fit.attraction).max()),
            float(np.abs(following.satisfaction - fit.satisfaction).max()),
        )
        fit = following
        n_steps += 1
    return replace(fit, log_likelihood=float(likelihood), n_steps=n_steps, converged=change <= tolerance)


def _first(slates: ClickedSlates, share: float, start: Dbn | None) -> Dbn:
    n_items = int(slates.item.max()) + 1
    if start is not None:
        attraction, satisfaction = start.of_items(np.arange(n_items))
        return replace(start, attraction=attraction, satisfaction=satisfaction)
    mean, ones = min(1.5 * share, 0.5), np.ones(n_items)
    return Dbn(0.8, mean * ones, 0.5 * ones, mean, 0.5, -np.inf, 0, False)


def _maximised(fit: Dbn, counts: FloatArray, total: FloatArray, shrinkage: float) -> Dbn:
    """The parameters that the expected counts (items, 4) and (2,) of reading on make most likely."""
    examined, clicked, asked, satisfied = counts.T
    mean_a = float(clicked.sum() / max(examined.sum(), 1e-300))
    mean_s = float(satisfied.sum() / asked.sum()) if asked.sum() > 0 else fit.mean_satisfaction
    rate = (
        (above + shrinkage * mean) / np.maximum(below + shrinkage, 1e-300)
        for above, below, mean in ((clicked, examined, mean_a), (satisfied, asked, mean_s))
    )
    attraction, satisfaction = rate
    if shrinkage == 0:
        attraction = np.where(examined > 0, attraction, mean_a)
        satisfaction = np.where(asked > 0, satisfaction, mean_s)
    gamma = float(total[0] / total[1]) if total[1] > 0 else fit.gamma
    return replace(
        fit,
        gamma=gamma,
        attraction=attraction,
        satisfaction=satisfaction,
        mean_attraction=mean_a,
        mean_satisfaction=mean_s,
    )


def dbn_stops(fit: Dbn, item: IntArray) -> FloatArray:
    """(s,) chance to stop after each slot once examined, for `cascade_examination` and `depth_curve`.

    Args:
        fit: the model.
        item: (s,) of any slates, those of another policy too.
    """
    return satisfied_stop(*fit.of_items(item), fit.gamma)


def dbn_clicks(fit: Dbn, slates: ClickedSlates) -> FloatArray:
    """(s,) chance of a click on each slot given the clicks above it, for `click_log_loss`."""
    out = np.empty(len(slates.item))
    chances = Chances(*fit.of_items(slates.item), fit.gamma)
    predict_clicks(slates.clicked, slates.slot_offsets, chances, out)
    return out


def dbn_click_rates(fit: Dbn, item: IntArray, slot_offsets: IntArray) -> FloatArray:
    """(s,) chance of a click on each slot, whatever happened above, for `click_curve`."""
    seen = cascade_examination(dbn_stops(fit, item), slot_offsets)
    rates: FloatArray = seen * fit.of_items(item)[0]
    return rates


@dataclass(frozen=True, eq=False)
class DbnIntervals:
    """How far a fit may be off by the users it happens to rest on.

    Attributes:
        gamma: of the chance to read on.
        satisfaction: of the mean satisfaction.
        examination: (2, K) lowest and highest mean examination of each position on the slates of the fit.
        attraction_error, satisfaction_error: (items,) standard errors.
    """

    gamma: Interval
    satisfaction: Interval
    examination: FloatArray
    attraction_error: FloatArray
    satisfaction_error: FloatArray


def dbn_intervals(
    slates: ClickedSlates,
    fit: Dbn,
    cluster: IntArray,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> DbnIntervals:
    """Percentile intervals from refits to Poisson resamples of the users.

    Args:
        slates: what the fit was made from.
        fit: with the usual shrinkage; refits start from it.
        cluster: (n,) integer codes of the users.
        seed: of the resamples.
        n_resamples: refits.
        level: of the intervals.

    Raises:
        ValueError: fewer than 2 users.
    """
    codes, of_slate = np.unique(cluster, return_inverse=True)
    if len(codes) < 2 or len(cluster) != slates.n_slates:
        raise ValueError(
            f"clusters: expected at least 2 users over {slates.n_slates} slates, "
            f"got {len(codes)} over {len(cluster)}"
        )
    draws = poisson_weights(user_keys(codes), n_resamples, seed=seed)
    length = np.diff(slates.slot_offsets)
    position = np.arange(len(slates.item)) - np.repeat(slates.slot_offsets[:-1], length)
    per_position = np.bincount(position)
    made, sums = [], np.zeros((2, 2, len(fit.attraction)))
    for b in range(n_resamples):
        weight = np.ascontiguousarray(draws[of_slate, b])
        again = fit_dbn(slates, weight=weight, start=fit, tolerance=RESAMPLED_TOLERANCE)
        seen = cascade_examination(dbn_stops(again, slates.item), slates.slot_offsets)
        curve = np.bincount(position, weights=seen) / per_position
        made.append(np.concatenate(([again.gamma, again.mean_satisfaction], curve)))
        both = np.stack((again.attraction, again.satisfaction))
        sums += both, both**2
    table = np.array(made)
    ends = np.quantile(table[:, 2:], ((1 - level) / 2, (1 + level) / 2), axis=0)
    variance = np.maximum(sums[1] / n_resamples - (sums[0] / n_resamples) ** 2, 0.0)
    errors = np.sqrt(variance * n_resamples / (n_resamples - 1))
    gamma, satisfaction = (percentile_interval(table[:, k], level) for k in (0, 1))
    return DbnIntervals(gamma, satisfaction, ends, errors[0], errors[1])


def held_out_clicks(
    slates: ClickedSlates,
    cluster: IntArray,
    *,
    n_folds: int = 5,
    seed: int = 0,
    fit: Callable[[ClickedSlates], Dbn] = fit_dbn,
) -> FloatArray:
    """(s,) chance of a click on each slot given the clicks above it, by fits that have not seen the user.

    Args:
        slates: what was shown and clicked.
        cluster: (n,) integer codes of the users; all slates of one user are in one fold.
        n_folds: folds.
        seed: of the assignment of users to folds.
        fit: from slates to a model.

    Raises:
        ValueError: fewer users than folds, or fewer than 2 folds.
    """
    users, code = np.unique(cluster, return_inverse=True)
    if not 2 <= n_folds <= len(users):
        raise ValueError(f"n_folds: expected 2 to {len(users)} users, got {n_folds}")
    fold = np.random.default_rng(seed).permutation(len(users))[code] % n_folds
    out = np.empty(len(slates.item))
    slot_fold = np.repeat(fold, np.diff(slates.slot_offsets))
    for i in range(n_folds):
        made = fit(slates.of(fold != i))
        out[slot_fold == i] = dbn_clicks(made, slates.of(fold == i))
    return out

"""Fits of browsing models from how far people scrolled: RBP, a survival curve, a hazard of posts.

A slate of `length` slots was read down to slot `depth`, from 1. Someone who read all of it was stopped by
its end, not by will: such slates are right-censored, never stops. Slates without a view are left out first.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from eval.browsing import slot_positions
from eval.clustered import LEVEL, Estimate, cluster_totals, clustered_ratio
from reranker.columns import BoolArray, FloatArray, IntArray

N_FREE = 10  # positions with a hazard level of their own
RIDGE = 1e-3  # on the whole log-likelihood, per standardised coefficient: keeps separable data finite


def check_depths(depth: IntArray, length: IntArray) -> None:
    """Refuse depths that are not of these slates.

    Raises:
        ValueError: lengths that differ, none at all, or a depth outside 1 to the slate's length.
    """
    if depth.shape != length.shape or len(depth) == 0:
        raise ValueError(f"depth: expected one per slate and at least one, got {depth.shape}, {length.shape}")
    inside = (depth >= 1) & (depth <= length)
    if not inside.all():
        row = int(np.argmin(inside))
        raise ValueError(
            f"depth: expected 1 to {length[row]} slots, got {depth[row]} at slate {row}; leave out slates "
            "without a view"
        )


def fit_rbp(depth: IntArray, length: IntArray, cluster: IntArray, *, level: float = LEVEL) -> Estimate:
    """The chance of reading on, gamma = 1 - stops / examined slots that were not the last.

    Valid if the chance is the same at every slot and for everyone.

    Args:
        depth: (n,) slots examined, from 1.
        length: (n,) slots of the slate.
        cluster: (n,) codes of the users.
        level: of the interval.

    Raises:
        ValueError: depths that do not fit, or fewer than 2 users who could have stopped.

    Source: Zhang, Park and Moffat, Click-based evidence for decaying weight distributions in search
    effectiveness metrics, 2010, with slates that were read to the end as censored.
    """
    check_depths(depth, length)
    stops = clustered_ratio(
        (depth < length).astype(np.float64),
        np.minimum(depth, length - 1).astype(np.float64),
        cluster,
        level=level,
    )
    return Estimate(
        value=1.0 - stops.value,
        standard_error=stops.standard_error,
        low=1.0 - stops.high,
        high=1.0 - stops.low,
        level=level,
        n=stops.n,
        n_clusters=stops.n_clusters,
        df=stops.df,
    )


@dataclass(frozen=True, eq=False)
class Survival:
    """How far down people read, by position from 0; all (K,), NaN where nobody could be observed.

    Attributes:
        examination: chance that the position is examined; 1 at the first. theta of `position_examination`.
        standard_error: of it, by user.
        hazard: chance to stop after the position, once examined.
        n_at_risk: slates that were examined to the position and went on below it.
        n_stops: of those, how many were left there.
    """

    examination: FloatArray
    standard_error: FloatArray
    hazard: FloatArray
    n_at_risk: IntArray
    n_stops: IntArray


def fit_survival(depth: IntArray, length: IntArray, cluster: IntArray) -> Survival:
    """The survival curve of the scroll depth, with slates read to their end as censored.

    Valid if long and short slates are read alike where both go on. With every slate a user of its own, the
    variance is Greenwood's, but for the factor G / (G - 1).

    Args:
        depth: (n,) slots examined, from 1.
        length: (n,) slots of the slate.
        cluster: (n,) codes of the users.

    Raises:
        ValueError: depths that do not fit, or fewer than 2 users.

    Source: Kaplan and Meier, Nonparametric estimation from incomplete observations, 1958.
    """
    check_depths(depth, length)
    k = int(length.max())
    last = np.minimum(depth, length - 1)  # positions at which one could have stopped are 0 to last - 1
    at_risk = np.bincount(last, minlength=k + 1)[::-1].cumsum()[::-1][1:]  # (K,) last > position
    stopped = depth < length
    stops = np.bincount(depth[stopped] - 1, minlength=k)
    with np.errstate(invalid="ignore", divide="ignore"):
        hazard = stops / at_risk
        factor = 1.0 / (at_risk * (1.0 - hazard))
        cumulative = np.concatenate(([0.0], np.cumsum(hazard * factor)))
    survival = np.concatenate(([1.0], np.cumprod(1.0 - hazard)))[:k]
    error = np.zeros(k)
    for j in range(1, k):
        if not np.isfinite(cumulative[j]):
            error[j] = 0.0 if survival[j] == 0 else np.nan
            continue
        left = np.where(stopped & (depth <= j), factor[np.minimum(depth, j) - 1], 0.0)
        influence = cumulative[np.minimum(last, j)] - left  # (n,) of log survival
        totals = cluster_totals((influence,), cluster)[0]
        groups = len(totals)
        if groups < 2:
            raise ValueError(f"clusters: expected at least 2 users, got {groups}")
        error[j] = survival[j] * np.sqrt(groups / (groups - 1) * (totals @ totals))
    return Survival(survival, error, hazard, at_risk.astype(np.int64), stops.astype(np.int64))


@dataclass(frozen=True, eq=False)
class Hazard:
    """A logistic chance to stop after each examined slot.

    Attributes:
        intercept: at the first position, with all features 0.
        position: (n_free - 1,) what positions 1, 2 and so on add; the last serves all below it.
        coefficients: (p,) log-odds per unit of each feature.
        covariance: (p, p) of the coefficients, by user.
        n_rows, n_stops: slots one could have stopped at, and stops.
    """

    intercept: float
    position: FloatArray
    coefficients: FloatArray
    covariance: FloatArray
    n_rows: int
    n_stops: int

    @property
    def standard_error(self) -> FloatArray:
        """(p,) of the coefficients."""
        return np.asarray(np.sqrt(np.diag(self.covariance)), dtype=np.float64)


def slots_at_risk(slot_offsets: IntArray, depth: IntArray) -> tuple[BoolArray, BoolArray]:
    """(s,) slots one could have stopped at (examined, not the slate's last), and those one did stop at.

    Raises:
        ValueError: depths that are not of these slates.
    """
    length = np.diff(slot_offsets)
    check_depths(depth, length)
    position = slot_positions(slot_offsets)
    each = np.repeat(depth, length)
    return position < np.minimum(each, np.repeat(length, length) - 1), (position == each - 1) & (
        each < np.repeat(length, length)
    )


def fit_hazard(
    features: FloatArray,
    slot_offsets: IntArray,
    depth: IntArray,
    cluster: IntArray,
    *,
    n_free: int = N_FREE,
    ridge: float = RIDGE,
) -> Hazard:
    """A logistic regression of "stopped here" on the slots one could have stopped at.

    Valid if a stop depends on the slot just examined, its position and the features alone. Newton steps in a
    trust region on standardised columns; the covariance is a sandwich by user.

    Args:
        features: (s, p) of every slot, such as the harm score, dwell, the user's pace; no intercept.
        slot_offsets: (n + 1,) slots of each slate.
        depth: (n,) slots examined, from 1.
        cluster: (n,) codes of the users.
        n_free: positions with a level of their own; the last serves all below it.
        ridge: penalty on half the squared standardised coefficients, the intercept left free.

    Raises:
        ValueError: a feature that is not finite, no stop or nothing but stops, or no convergence.

    Source: Singer and Willett, It's about time: using discrete-time survival analysis, 1993.
    """
    risk, stop = slots_at_risk(slot_offsets, depth)
    if features.ndim != 2 or len(features) != slot_offsets[-1]:
        raise ValueError(f"features: expected ({slot_offsets[-1]}, p) numbers, got {features.shape}")
    if not np.isfinite(features[risk]).all():
        raise ValueError("features: expected finite numbers on every examined slot, got a missing one")
    stopped = stop[risk].astype(np.float64)
    if not 0 < stopped.sum() < len(stopped):
        raise ValueError(f"stops: expected some and not all of {len(stopped)} slots, got {stopped.sum():g}")
    free = min(n_free, int(np.diff(slot_offsets).max()) - 1)
    design = np.hstack([_position_columns(slot_offsets, free)[risk], features[risk]])
    centre, scale = design.mean(axis=0), design.std(axis=0)
    scale[scale == 0] = 1.0
    standard = np.hstack([np.ones((len(design), 1)), (design - centre) / scale])
    penalty = np.append(0.0, np.full(design.shape[1], ridge))
    found, curvature = _newton(standard, stopped, penalty)
    per_slot = np.repeat(cluster, np.diff(slot_offsets))[risk]
    score = standard * (stopped - special.expit(standard @ found))[:, None]
    totals = cluster_totals(tuple(np.ascontiguousarray(score.T)), per_slot)  # (1 + q, G)
    groups = totals.shape[1]
    if groups < 2:
        raise ValueError(f"clusters: expected at least 2 users, got {groups}")
    bread = np.linalg.inv(curvature)
    covariance = bread @ (totals @ totals.T * groups / (groups - 1)) @ bread
    slope, q = found[1:] / scale, free - 1
    return Hazard(
        intercept=float(found[0] - slope @ centre),
        position=slope[:q],
        coefficients=slope[q:],
        covariance=(covariance[1:, 1:] / np.outer(scale, scale))[q:, q:],
        n_rows=len(stopped),
        n_stops=int(stopped.sum()),
    )


def hazard_stops(fit: Hazard, features: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(s,) chance to stop after each slot, for `cascade_examination`.

    Raises:
        ValueError: another number of features than was fitted.
    """
    if features.shape != (slot_offsets[-1], len(fit.coefficients)):
        raise ValueError(
            f"features: expected ({slot_offsets[-1]}, {len(fit.coefficients)}) numbers, got {features.shape}"
        )
    place = np.minimum(slot_positions(slot_offsets), len(fit.position))
    level = np.concatenate(([0.0], fit.position))[place]
    return np.asarray(special.expit(fit.intercept + level + features @ fit.coefficients), dtype=np.float64)


def _position_columns(slot_offsets: IntArray, free: int) -> FloatArray:
    """(s, free - 1) which of the positions 1 to free - 1 a slot is at, the last holding all below."""
    place = np.minimum(slot_positions(slot_offsets), max(free - 1, 0))
    return np.asarray(place[:, None] == np.arange(1, max(free, 1)), dtype=np.float64)


def _newton(x: FloatArray, y: FloatArray, penalty: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The penalised maximum likelihood (q,) and the curvature there (q, q)."""
    n = len(y)

    def value(b: FloatArray) -> float:
        z = x @ b
        return float((np.logaddexp(0.0, z) - y * z).sum() + 0.5 * penalty @ b**2) / n

    def gradient(b: FloatArray) -> FloatArray:
        return np.asarray((x.T @ (special.expit(x @ b) - y) + penalty * b) / n, dtype=np.float64)

    def curvature(b: FloatArray) -> FloatArray:
        p = special.expit(x @ b)
        return np.asarray(((x * (p * (1.0 - p))[:, None]).T @ x + np.diag(penalty)) / n, dtype=np.float64)

    start = np.zeros(x.shape[1])
    start[0] = special.logit(y.mean())
    made = optimize.minimize(
        value, start, method="trust-exact", jac=gradient, hess=curvature, options={"gtol": 1e-9}
    )
    if np.abs(gradient(made.x)).max() > 1e-6:
        raise ValueError(f"hazard: expected the fit to converge, got {made.message}")
    return np.asarray(made.x, dtype=np.float64), n * curvature(made.x)

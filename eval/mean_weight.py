"""The decisive check of a log: its weights average 1 if the propensities are those that were served with.

Wrong propensities pass every check of spread and fail this one. It is asked of the steps of the weights, slot
by slot: products of them have tails so heavy that the mean of a right log is often far too low, and the error
stated for it too small as well.
"""

import numpy as np
from scipy import special

from eval.browsing import slot_positions
from eval.clustered import clustered_mean
from eval.overlap import SAME, Check, Limits, Served, log_steps, request_of_slot, z_score
from reranker.columns import FloatArray

_BOUND = 1e-6  # entropy of a logger that is bound to one item


def mean_weights(served: Served, weight: FloatArray, limits: Limits) -> tuple[Check, Check]:
    """The weights average 1, at every slot and over all; clustered by user.

    What is averaged are the steps of the weights: the chance of a slot's item given what stands above it,
    target over logger. Whatever stands above, a step averages 1, and so it does times a factor that is fixed
    before the item is drawn. The factor is how much the logger draws there, 1 - exp(-entropy): where it is
    nearly bound to one item, the rare others have weights so large that the mean of any log is too low and
    its error too small, and a log can say nothing. Where the target serves what the logger never does,
    the share of that is known only on average over what stands above, and the weights themselves are tested.

    Source: weights fixed before each draw as in Hadad, Hirshberg, Zhan, Wager and Athey, Confidence intervals
    for policy evaluation in adaptive experiments, 2021, section 2; Sidak, Rectangular confidence regions for
    the means of multivariate normal distributions, 1967 (the limit for all slots together).
    """
    slot = slot_positions(served.slot_offsets)
    n_slots = int(slot.max(initial=-1)) + 1
    parts = [(f"at rank {k + 1}", slot == k) for k in range(n_slots)]
    if served.unsupported is not None and served.unsupported.any():
        what, excess, factor = "weights", weight - 1.0 + served.unsupported, np.ones(len(weight))
    else:
        what, (excess, factor) = "steps of the weights", _step_excess(served)
        if n_slots > 1:  # a single small error at every slot shows in their sum
            parts.append(("over all ranks", slot >= 0))
    user = served.user[request_of_slot(served)]
    found = []
    for where, at in parts:
        held = at & (factor > 0)
        if len(np.unique(user[held])) < 2:
            continue  # what one user reached has no standard error
        z = z_score(clustered_mean(excess[held], user[held]))
        mean = 1.0 + float(excess[held].sum() / factor[held].sum())
        found.append((z, f"{what} average {mean:.4g} {where}, z = {z:.1f}; right ones average 1"))
    low, high = min(found, default=(0.0, "no weights")), max(found, default=(0.0, "no weights"))
    limit = _limit_of_all(limits.max_z, len(found))
    return (
        Check("MEAN_WEIGHT_LOW", low[0] >= -limit, low[0], -limit, low[1]),
        Check("MEAN_WEIGHT_HIGH", high[0] <= limit, high[0], limit, high[1]),
    )


def _step_excess(served: Served) -> tuple[FloatArray, FloatArray]:
    """(s,) step of the weight less 1, times a factor; and (s,) the factor, 0 where no step is defined."""
    offsets = served.slot_offsets
    logging, target = (log_steps(log, offsets) for log in (served.log_logging, served.log_target))
    factor = np.isfinite(target) | np.isneginf(target)  # NaN below a prefix that the target never serves
    step = np.exp(np.minimum(np.where(factor, target - logging, 0.0), 300.0))
    drawn = np.ones(len(step))
    if served.expected_log_step is not None:
        expected = np.minimum(served.expected_log_step, 0.0)
        # just as surprising as expected: all items alike, or nothing known, whichever was drawn
        flat = (np.abs(expected - logging) <= SAME) & (expected < -_BOUND)
        drawn = np.where(flat, 1.0, -np.expm1(expected))
    drawn = np.where(factor, drawn, 0.0)
    return drawn * (step - 1.0), drawn


def _limit_of_all(z: float, n: int) -> float:
    """The limit of each of n tests that together fail a right log as often as one with limit z."""
    return float(special.ndtri((1.0 - 2.0 * special.ndtr(-z)) ** (1.0 / max(n, 1)) / 2.0 + 0.5))

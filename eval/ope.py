"""Off-policy estimators: what a policy would have earned, from the logs of another that ranked at random.

Each returns one value per request, whose mean is the estimate: one clustered interval serves them all
(`eval.off_policy`). The self-normalised ones return linearised values, so that this holds for them too.

Slots of request i are slot_offsets[i] to slot_offsets[i + 1]; its weight at slot k is the ratio of the
target's to the logger's propensity of the prefix served down to k, so that its last one is the slate's.
"""

import numpy as np

from eval.browsing import slot_positions
from eval.weights import check_slots, slate_weights
from reranker.columns import FloatArray, IntArray
from reranker.engagement import request_sums

SWITCH = 10.0  # weight from which `switch_dr` trusts the response model alone


def sips(weight: FloatArray, reward: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(n,) standard slate importance sampling: the slate's weight times all its reward.

    Unbiased whatever the users do, where the logger supports all slates of the target. Its variance grows
    with the number of slots.

    Args:
        weight: (s,) prefix weights.
        reward: (s,) per slot.
        slot_offsets: (n + 1,).

    Raises:
        ValueError: lengths that do not fit, or values that are not finite.
    """
    check_slots(slot_offsets, weight, reward)
    return request_sums(slate_weights(weight, slot_offsets) * reward, slot_offsets)


def iips(marginal_weight: FloatArray, reward: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(n,) independent importance sampling: each slot weighted as if alone.

    Unbiased only where the reward of a slot does not depend on what stands in the others (position-based
    browsing). Biased for users who stop at what they read: see `eval.off_policy.independence_z`.

    Args:
        marginal_weight: (s,) chance of the item at its slot, target over logger, whatever stands above.
        reward: (s,) per slot.
        slot_offsets: (n + 1,).

    Raises:
        ValueError: lengths that do not fit, or values that are not finite.

    Source: Li, Abbasi-Yadkori, Kveton, Muthukrishnan, Vinay and Wen, Offline evaluation of ranking policies
    with click models, 2018, section 4.2.
    """
    check_slots(slot_offsets, marginal_weight, reward)
    return request_sums(marginal_weight * reward, slot_offsets)


def rips(weight: FloatArray, reward: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(n,) reward-interaction importance sampling: each slot weighted by the prefix down to it.

    Unbiased where the reward of a slot depends only on it and on what stands above: cascades, position-based
    browsing. Biased where people look ahead.

    Args:
        weight: (s,) prefix weights.
        reward: (s,) per slot.
        slot_offsets: (n + 1,).

    Raises:
        ValueError: lengths that do not fit, or values that are not finite.

    Source: McInerney, Brost, Chandar, Mehrotra and Carterette, Counterfactual evaluation of slate
    recommendations with sequential reward interactions, 2020, equation 4.
    """
    check_slots(slot_offsets, weight, reward)
    return request_sums(weight * reward, slot_offsets)


def snips(weight: FloatArray, reward: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(n,) self-normalised importance sampling, slot by slot, linearised: the mean is the estimate.

    V_k = sum(w r) / sum(w) at slot k; request i adds V_k + w / mean(w) (r - V_k), the estimate plus its
    influence. A constant reward has no error at all. Biased by O(1 / n), consistent where the weights passed
    make the plain estimator unbiased: prefix weights as `rips`, `slate_weights` as `sips`, marginal ones as
    `iips`.

    Args:
        weight: (s,) at least 0.
        reward: (s,) per slot.
        slot_offsets: (n + 1,).

    Raises:
        ValueError: lengths that do not fit, values that are not finite, or a slot with only zero weights.

    Source: Swaminathan and Joachims, The self-normalized estimator for counterfactual learning, 2015,
    equation 4; its influence from the delta method.
    """
    check_slots(slot_offsets, weight, reward)
    slot = slot_positions(slot_offsets)
    count = np.bincount(slot)
    weight_sum = np.bincount(slot, weights=weight)
    if len(slot) and not (weight_sum > 0).all():
        k = int(np.argmin(weight_sum))
        raise ValueError(f"weight: expected a sum above 0 at slot {k}, got {weight_sum[k]}")
    value = np.bincount(slot, weights=weight * reward) / weight_sum
    # the logger's and the target's slates are as long, so the share of requests with a slot k is known
    linearised = value[slot] + weight * (count / weight_sum)[slot] * (reward - value[slot])
    return request_sums(linearised, slot_offsets)


def dr(
    weight: FloatArray, reward: FloatArray, slot_offsets: IntArray, predicted: FloatArray, direct: FloatArray
) -> FloatArray:
    """(n,) doubly robust: the model's value of the target, plus the slate's weight times what it missed.

    Unbiased whatever the users do, with right propensities or with a right model; the model must not have
    seen the user (cross-fitting).

    Args:
        weight: (s,) prefix weights.
        reward: (s,) per slot.
        slot_offsets: (n + 1,).
        predicted: (s,) reward that the model expects at each served slot.
        direct: (n,) reward that it expects of the target's slates; the mean over its rankings.

    Raises:
        ValueError: lengths that do not fit, or values that are not finite.

    Source: Dudik, Langford and Li, Doubly robust policy evaluation and learning, 2011, equation 1.
    """
    check_slots(slot_offsets, weight, reward, predicted, per_request=(direct,))
    return direct + sips(weight, reward - predicted, slot_offsets)


def cascade_dr(
    weight: FloatArray,
    reward: FloatArray,
    slot_offsets: IntArray,
    action_value: FloatArray,
    state_value: FloatArray,
) -> FloatArray:
    """(n,) doubly robust along the slate: V_1 + sum over slots of w_k (r_k + V_k+1 - Q_k).

    Unbiased where the reward of a slot depends only on it and on what stands above, with right propensities
    or right values.

    Args:
        weight: (s,) prefix weights.
        reward: (s,) per slot.
        slot_offsets: (n + 1,).
        action_value: (s,) Q_k, reward expected from slot k on, given what is served down to k and then the
            target.
        state_value: (s,) V_k, the mean of Q_k over what the target puts at k below the prefix served.

    Raises:
        ValueError: lengths that do not fit, or values that are not finite.

    Source: Kiyohara, Saito, Matsuhiro, Narita, Shimizu and Yamamoto, Doubly robust off-policy evaluation for
    ranking policies under the cascade behavior model, 2022, equation 6.
    """
    check_slots(slot_offsets, weight, reward, action_value, state_value)
    full = np.flatnonzero(np.diff(slot_offsets))
    following = np.append(state_value[1:], 0.0)[: len(state_value)]
    following[slot_offsets[1:][full] - 1] = 0.0  # nothing follows the last slot
    values = request_sums(weight * (reward + following - action_value), slot_offsets)
    values[full] += state_value[slot_offsets[:-1][full]]
    return values


def switch_dr(
    weight: FloatArray,
    reward: FloatArray,
    slot_offsets: IntArray,
    predicted: FloatArray,
    direct: FloatArray,
    *,
    switch: float = SWITCH,
) -> FloatArray:
    """(n,) doubly robust along prefixes, without the correction where the weight exceeds `switch`.

    Unbiased as `rips` (or as `sips`, given `slate_weights`) where no weight exceeds `switch`, or where the
    model is right beyond it; `switch_bias` bounds the rest. `predicted` at a slot may use only that slot and
    what stands above. With switch = inf it is the doubly robust estimator by prefixes.

    Args:
        weight: (s,) prefix weights.
        reward: (s,) per slot.
        slot_offsets: (n + 1,).
        predicted: (s,) reward that the model expects at each served slot.
        direct: (n,) reward that it expects of the target's slates.
        switch: at least 1, so that the logger's own weights are kept.

    Raises:
        ValueError: lengths that do not fit, values that are not finite, or a switch below 1.

    Source: Wang, Agarwal and Dudik, Optimal and adaptive off-policy evaluation in contextual bandits, 2017,
    equation 6, with the doubly robust estimator below the threshold.
    """
    check_slots(slot_offsets, weight, reward, predicted, per_request=(direct,))
    kept = np.where(weight <= _check_switch(switch), weight, 0.0)
    return direct + request_sums(kept * (reward - predicted), slot_offsets)


def switch_bias(
    weight: FloatArray,
    reward: FloatArray,
    slot_offsets: IntArray,
    predicted: FloatArray,
    *,
    switch: float = SWITCH,
) -> FloatArray:
    """(n,) weight times the model's miss where `switch_dr` left the correction out; the mean bounds its bias.

    The arguments are those of `switch_dr`.

    Raises:
        ValueError: as `switch_dr`.
    """
    check_slots(slot_offsets, weight, reward, predicted)
    dropped = np.where(weight > _check_switch(switch), weight, 0.0)
    return request_sums(dropped * np.abs(reward - predicted), slot_offsets)


def dros(
    weight: FloatArray,
    reward: FloatArray,
    slot_offsets: IntArray,
    predicted: FloatArray,
    direct: FloatArray,
    *,
    shrinkage: float,
) -> FloatArray:
    """(n,) doubly robust along prefixes with weights shrunk to shrinkage w / (w^2 + shrinkage).

    Biased towards the model by design, less with a larger parameter: inf gives the doubly robust
    estimator, 0 the model alone.

    The arguments are those of `switch_dr`, and `shrinkage`, at least 0.

    Raises:
        ValueError: lengths that do not fit, values that are not finite, or a negative shrinkage.

    Source: Su, Dimakopoulou, Krishnamurthy and Dudik, Doubly robust off-policy evaluation with shrinkage,
    2020, section 4 (optimistic shrinkage).
    """
    check_slots(slot_offsets, weight, reward, predicted, per_request=(direct,))
    if not shrinkage >= 0:
        raise ValueError(f"shrinkage: expected at least 0, got {shrinkage}")
    if np.isinf(shrinkage):
        kept = weight
    else:
        kept = shrinkage * weight / np.maximum(weight**2 + shrinkage, np.finfo(np.float64).tiny)
    return direct + request_sums(kept * (reward - predicted), slot_offsets)


def _check_switch(switch: float) -> float:
    if not switch >= 1:
        raise ValueError(f"switch: expected at least 1, got {switch}")
    return switch

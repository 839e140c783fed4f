"""From logged slates to "target minus logger": one estimator, its interval, and what it assumes.

The difference is always paired: both policies are estimated by the same estimator on the same requests, the
logger with weights of exactly 1, so that where the two agree nothing is added, not even noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from eval.clustered import Estimate, clustered_mean, relative_change
from eval.ope import SWITCH, dr, iips, rips, sips, snips, switch_bias, switch_dr
from eval.overlap import z_score
from eval.weights import check_slots, slate_weights
from reranker.columns import FloatArray, IntArray, freeze_arrays

Behaviour = Literal["any", "cascade", "independent"]
Estimator = Literal["sips", "iips", "rips", "snsips", "sniips", "snrips", "dr", "switch_dr"]

# what users may do for the estimator to be unbiased (self-normalised: consistent)
HOLDS: Mapping[Estimator, tuple[Behaviour, ...]] = MappingProxyType(
    {
        "sips": ("any", "cascade", "independent"),
        "snsips": ("any", "cascade", "independent"),
        "dr": ("any", "cascade", "independent"),
        "rips": ("cascade", "independent"),
        "snrips": ("cascade", "independent"),
        "switch_dr": ("cascade", "independent"),
        "iips": ("independent",),
        "sniips": ("independent",),
    }
)
SWITCHES = (2.0, 3.0, 5.0, SWITCH, 20.0, 50.0, 100.0, float("inf"))


@dataclass(frozen=True, eq=False)
class SlateLog:
    """What was served, what came of it, and how much more often the target would have served it.

    Attributes:
        weight: (s,) prefix weights, target over logger.
        reward: (s,) per slot.
        slot_offsets: (n + 1,) slots of each request.
        user: (n,) integer codes.
        marginal_weight: (s,) of the item at its slot, for `iips`; None where not known.

    Raises:
        ValueError: lengths that do not fit, values that are not finite, or a negative weight.
    """

    weight: FloatArray
    reward: FloatArray
    slot_offsets: IntArray
    user: IntArray
    marginal_weight: FloatArray | None = None

    def __post_init__(self) -> None:
        marginal = () if self.marginal_weight is None else (self.marginal_weight,)
        check_slots(self.slot_offsets, self.weight, self.reward, *marginal)
        if self.user.shape != (len(self.slot_offsets) - 1,):
            raise ValueError(f"user: expected shape ({len(self.slot_offsets) - 1},), got {self.user.shape}")
        if any((column < 0).any() for column in (self.weight, *marginal)):
            raise ValueError("weight: expected at least 0")
        freeze_arrays(self)


@dataclass(frozen=True, eq=False)
class Responses:
    """What a response model expects; it must not have seen the users it is asked about.

    Attributes:
        predicted: (s,) reward at each served slot, from it and what stands above.
        direct: (n,) reward of the target's slates: the mean over its rankings.
        direct_logging: (n,) the same of the logger.
    """

    predicted: FloatArray
    direct: FloatArray
    direct_logging: FloatArray

    def __post_init__(self) -> None:
        freeze_arrays(self)


@dataclass(frozen=True)
class PolicyEstimate:
    """Reward per request under the target and the logger, and the paired difference.

    Attributes:
        estimator: its short name.
        behaviour: what users are taken to do.
        target: under the target policy.
        logging: under the logger, by the same estimator.
        difference: target minus logging, on the same requests.
        relative: difference over logging; None where the logger's value is 0.
        bias_bound: of `switch_dr`, at most how far it is off because of the switch; 0.0 for the others.
    """

    estimator: Estimator
    behaviour: Behaviour
    target: Estimate
    logging: Estimate
    difference: Estimate
    relative: Estimate | None
    bias_bound: float


@dataclass(frozen=True, eq=False)
class SwitchChoice:
    """Which switch Lepski's rule takes, and what it saw.

    Attributes:
        switch: the chosen one.
        candidates: (m,) from the smallest bias (largest switch) on.
        differences: (m,) target minus logging under each.
        standard_errors: (m,) of each, by user.
    """

    switch: float
    candidates: FloatArray
    differences: FloatArray
    standard_errors: FloatArray


def evaluate(
    log: SlateLog,
    *,
    estimator: Estimator = "switch_dr",
    behaviour: Behaviour = "cascade",
    responses: Responses | None = None,
    switch: float = SWITCH,
    level: float = 0.95,
) -> PolicyEstimate:
    """Target, logger and their paired difference per request, by user.

    Args:
        log: see `SlateLog`.
        estimator: see `eval.ope`.
        behaviour: what users do; an estimator that is biased under it is refused.
        responses: for `dr` and `switch_dr`.
        switch: of `switch_dr`.
        level: of the intervals.

    Raises:
        ValueError: an estimator that the behaviour makes biased, responses or marginal weights that are
            needed and missing, or fewer than 2 users.
    """
    if behaviour not in HOLDS[estimator]:
        raise ValueError(
            f"{estimator}: expected users whose behaviour is {' or '.join(HOLDS[estimator])}, "
            f"got {behaviour}, under which it is biased"
        )
    target, logging = per_request(log, estimator, responses, switch)
    ones = np.ones(len(target))
    value = clustered_mean(logging, log.user, level=level)
    bound = 0.0
    if estimator == "switch_dr" and responses is not None:
        missed = switch_bias(log.weight, log.reward, log.slot_offsets, responses.predicted, switch=switch)
        bound = float(missed.mean())
    return PolicyEstimate(
        estimator=estimator,
        behaviour=behaviour,
        target=clustered_mean(target, log.user, level=level),
        logging=value,
        difference=clustered_mean(target - logging, log.user, level=level),
        relative=relative_change((logging, ones), (target, ones), log.user, level=level)
        if value.value != 0
        else None,
        bias_bound=bound,
    )


def per_request(
    log: SlateLog, estimator: Estimator, responses: Responses | None = None, switch: float = SWITCH
) -> tuple[FloatArray, FloatArray]:
    """(n,) values whose means are the estimates of the target and of the logger, equal where both agree.

    Raises:
        ValueError: responses or marginal weights that are needed and missing.
    """
    slots, one = log.slot_offsets, np.ones(len(log.weight))
    if estimator in {"dr", "switch_dr"}:
        if responses is None:
            raise ValueError(f"{estimator}: expected responses of a model, got None")
        predicted = responses.predicted
        if estimator == "dr":
            return (
                dr(log.weight, log.reward, slots, predicted, responses.direct),
                dr(one, log.reward, slots, predicted, responses.direct_logging),
            )
        return (
            switch_dr(log.weight, log.reward, slots, predicted, responses.direct, switch=switch),
            switch_dr(one, log.reward, slots, predicted, responses.direct_logging, switch=switch),
        )
    weight = _plain_weights(log, estimator)
    plain = {"sips": sips, "rips": rips, "iips": iips}.get(estimator, snips)
    return plain(weight, log.reward, slots), plain(one, log.reward, slots)


def independence_z(log: SlateLog) -> float:
    """How far `iips` is from `rips` on the same log, in standard errors by user.

    Where slots do not interact both are unbiased; beyond 3 they do, and `iips` does not apply. A small value
    is no proof: a log of few requests, or of policies that hardly differ, cannot tell.

    Raises:
        ValueError: no marginal weights, or fewer than 2 users.

    Source: the comparison of two estimators of which one stays consistent: Hausman, Specification tests in
    econometrics, 1978.
    """
    apart = (
        iips(_plain_weights(log, "iips"), log.reward, log.slot_offsets)
        - rips(log.weight, log.reward, log.slot_offsets)
    )  # fmt: skip
    return z_score(clustered_mean(apart, log.user))


def choose_switch(
    log: SlateLog, responses: Responses, candidates: Sequence[float] = SWITCHES, *, width: float = 2.0
) -> SwitchChoice:
    """The switch with the smallest standard error of the difference that no less biased one contradicts.

    An interval that is then computed with it does not know that it was chosen; `SWITCH` fixed beforehand is
    the default for that reason.

    Args:
        log: see `SlateLog`.
        responses: see `Responses`.
        candidates: switches, at least 1 each.
        width: half-width of the intervals that are compared, in standard errors.

    Raises:
        ValueError: no candidates, one below 1, or fewer than 2 users.

    Source: Su, Srinath and Krishnamurthy, Adaptive estimator selection for off-policy evaluation, 2020,
    algorithm 1 (SLOPE), after Lepski and Spokoiny, Optimal pointwise adaptive methods, 1997.
    """
    if not candidates:
        raise ValueError("candidates: expected at least 1 switch, got none")
    ordered = sorted(set(candidates), reverse=True)  # bias grows along it
    found = [clustered_mean(np.subtract(*per_request(log, "switch_dr", responses, switch)), log.user)
             for switch in ordered]  # fmt: skip
    values = np.array([estimate.value for estimate in found])
    errors = np.array([estimate.standard_error for estimate in found])
    # noise may make an error grow as the switch falls; the rule needs widths that do not
    half = width * np.minimum.accumulate(errors)
    chosen = 0
    for i in range(1, len(ordered)):
        if (np.abs(values[i] - values[:i]) > half[i] + (np.sqrt(6.0) - 1.0) * half[:i]).any():
            break
        chosen = i
    return SwitchChoice(ordered[chosen], np.array(ordered), values, errors)


def _plain_weights(log: SlateLog, estimator: Estimator) -> FloatArray:
    if estimator in {"iips", "sniips"}:
        if log.marginal_weight is None:
            raise ValueError(f"{estimator}: expected marginal weights, got None")
        return log.marginal_weight
    return slate_weights(log.weight, log.slot_offsets) if estimator == "snsips" else log.weight

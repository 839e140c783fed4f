"""What each request of a log says of two policies: values whose means are the estimates, batch by batch.

Everything here is of single requests, so that batches are joined, put in the order of the requests' keys, and
give the same numbers to the last bit however the log was cut and ordered.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from eval.browsing import candidate_examination
from eval.guardrails import GATES
from eval.logged_policy import LogPolicy, PolicyOnLog, draw_log, rank_log
from eval.logged_response import LogModel, position_examiner, user_codes
from eval.ope import rips, sips, switch_bias, switch_dr
from eval.outcomes import CLICKS, COMMENTS, NEGATIVE_REACTIONS, RESHARES
from eval.propensity import expected_log_steps
from reranker.columns import BoolArray, FloatArray, IntArray, ragged_rows
from reranker.engagement import request_sums
from reranker.exploration import request_keys
from reranker.impressions import ImpressionLog
from reranker.signals import REACTIONS

POSITIVE = (*(r for r in REACTIONS if r not in NEGATIVE_REACTIONS), *COMMENTS, *RESHARES, *CLICKS)
ACTIVITY: Mapping[str, tuple[str, ...]] = {
    "positive_activity": POSITIVE,
    "all_activity": (*POSITIVE, *NEGATIVE_REACTIONS),
    "comments": COMMENTS,
    "reshares": RESHARES,
}
assert set(GATES) <= set(ACTIVITY)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        views: whether views were logged; without them there is no model and no harm among views.
        harms: labels.
        actions: that were logged.
        switch: of `switch_dr`.
        n_draws: slates per policy and request that a model is averaged over.
        seed: of the draws.
    """

    views: bool
    harms: tuple[str, ...]
    actions: tuple[str, ...]
    switch: float
    n_draws: int
    seed: int

    @property
    def activity(self) -> dict[str, tuple[str, ...]]:
        """The logged actions that make up each index of activity."""
        members = {name: tuple(one for one in of if one in self.actions) for name, of in ACTIVITY.items()}
        return {name: of for name, of in members.items() if of}

    @property
    def metrics(self) -> tuple[str, ...]:
        """M names, in the order of the rows of `RequestValues`."""
        seen = ("views", *(f"harm_views.{name}" for name in self.harms)) if self.views else ()
        return (*seen, *self.activity, *(f"action.{name}" for name in self.actions))


@dataclass(frozen=True, eq=False)
class RequestValues:
    """n requests with s slots and e candidates that either policy shows; the last axis is one of the three.

    Attributes:
        request: (n,) keys.
        user: (n,) codes.
        day: (n,) days since 1970, -1 where the time was not logged.
        n_slots, n_shown: (n,).
        main: (2, M, n) the estimate under the original and the treatment.
        rips, sips: (M, n) treatment minus original, by weights alone.
        bias: (M, n) bound of what the switch left out, of both.
        gain, loss: (M, n) what the model alone expects more and less of, candidate by candidate.
        most: (M, n) largest reward of a slot.
        unsupported: (2, n) expected slots of each policy that the logger never serves so.
        modelled: (2, n) those of them that the model stands in for, in requests that are known in full.
        both_known: (n,) all that both policies would rank was logged.
        unscored: (2, H, n) views of candidates without a score under each policy.
        unscored_bounds: (2, H, n) least and most that such views may add to the difference of harm.
        log_logging, expected_step: (s,) see `eval.overlap.Served`.
        log_target, unsupported_slot: (2, s) of each policy.
        seen: (B, 2, e) chance that a candidate is looked at, by browsing model and policy.
        harm: (H, e) of the candidates shown.
    """

    request: NDArray[np.uint64]
    user: IntArray
    day: IntArray
    n_slots: IntArray
    n_shown: IntArray
    main: FloatArray
    rips: FloatArray
    sips: FloatArray
    bias: FloatArray
    gain: FloatArray
    loss: FloatArray
    most: FloatArray
    unsupported: FloatArray
    modelled: FloatArray
    both_known: BoolArray
    unscored: FloatArray
    unscored_bounds: FloatArray
    log_logging: FloatArray
    expected_step: FloatArray
    log_target: FloatArray
    unsupported_slot: FloatArray
    seen: FloatArray
    harm: FloatArray


_OF_SLOTS = ("log_logging", "expected_step", "log_target", "unsupported_slot")
_OF_SHOWN = ("seen", "harm")


def joined_values(parts: Iterable[RequestValues]) -> RequestValues:
    """All requests in the order of their keys."""
    held = list(parts)
    every = {item.name: np.concatenate([getattr(part, item.name) for part in held], axis=-1)
             for item in fields(RequestValues)}  # fmt: skip
    order = np.argsort(every["request"], kind="stable")
    chosen = {"n": order}
    for name, length in (("s", every["n_slots"]), ("e", every["n_shown"])):
        chosen[name] = ragged_rows((np.cumsum(length) - length)[order], length[order])
    made = {}
    for name, values in every.items():
        per = "s" if name in _OF_SLOTS else "e" if name in _OF_SHOWN else "n"
        made[name] = values[..., chosen[per]]
    return RequestValues(**made)


def measure(
    log: ImpressionLog, policies: tuple[LogPolicy, LogPolicy], model: LogModel | None, plan: Plan
) -> RequestValues:
    """What the requests of one batch say of the original and the treatment.

    Args:
        log: the batch.
        policies: the original and the treatment.
        model: None where views were not logged.
        plan: what is measured.
    """
    ranked = (rank_log(policies[0], log), rank_log(policies[1], log))
    reward = _rewards(log, plan)
    seen = _examined(log, ranked, model, plan)
    expected = _expected(log, model, plan) if model is not None else None
    weights = [_weights(one, log) for one in ranked]
    slots = log.slot_offsets
    main = np.empty((2, len(reward), log.n))
    bias = np.zeros((len(reward), log.n))
    served = None if model is None else model.examine(log)(log.slate)
    for m, own in enumerate(reward):
        for p in (0, 1):
            if expected is None or served is None:
                main[p, m] = rips(weights[p], own, slots)
                continue
            predicted = served * expected[m][log.slate]
            direct = request_sums(seen[0, p] * expected[m], log.offsets)
            if not policies[p].is_logger:  # where its draws are not known, what it served stands for them
                direct = np.where(ranked[p].known, direct, 0.0)
            main[p, m] = switch_dr(weights[p], own, slots, predicted, direct, switch=plan.switch)
            bias[m] += switch_bias(weights[p], own, slots, predicted, switch=plan.switch)
    gain, loss = (_changes(sign * (seen[0, 1] - seen[0, 0]), expected, log, len(reward)) for sign in (1, -1))
    shown = np.flatnonzero((seen > 0).any(axis=(0, 1)))
    unscored, unscored_bounds = _unscored(log, weights, plan)
    missed = [request_sums(one.unsupported, slots) for one in ranked]
    return RequestValues(
        request=request_keys(log.request_id.values)[log.request_id.codes],
        user=user_codes(log),
        day=_days(log),
        n_slots=np.diff(slots),
        n_shown=np.bincount(log.request_of_row[shown], minlength=log.n).astype(np.int64),
        main=main,
        rips=np.stack([rips(weights[1] - weights[0], own, slots) for own in reward]),
        sips=np.stack([sips(weights[1] - weights[0], own, slots) for own in reward]),
        bias=bias,
        gain=gain,
        loss=loss,
        most=np.stack([np.full(log.n, own.max(initial=0.0)) for own in reward]),
        unsupported=np.stack(missed),
        modelled=np.stack([own * one.known for own, one in zip(missed, ranked, strict=True)]),
        both_known=ranked[0].known & ranked[1].known,
        unscored=unscored,
        unscored_bounds=unscored_bounds,
        log_logging=np.minimum(log.log_prefix_propensity, 0.0),
        expected_step=_expected_steps(log),
        log_target=np.stack([one.log_prefix for one in ranked]),
        unsupported_slot=np.stack([one.unsupported for one in ranked]),
        seen=seen[:, :, shown],
        harm=np.stack([log.harm[name][shown].astype(np.float64) for name in plan.harms])
        if plan.harms
        else np.zeros((0, len(shown))),
    )


def _rewards(log: ImpressionLog, plan: Plan) -> list[FloatArray]:
    """(s,) per metric; harm that was not scored is left out here and bounded beside it."""
    made: list[FloatArray] = []
    if plan.views and log.viewed is not None:
        made.append(log.viewed.astype(np.float64))
        seen = made[0]
        made += [seen * np.nan_to_num(log.harm[name][log.slate].astype(np.float64)) for name in plan.harms]
    actions = {name: log.action[name].astype(np.float64) for name in plan.actions}
    made += [_total(actions, of, log.n_slots) for of in plan.activity.values()]
    return [*made, *actions.values()]


def _expected(log: ImpressionLog, model: LogModel, plan: Plan) -> list[FloatArray]:
    """(c,) per metric: what each candidate is expected to bring once it is looked at."""
    made = [np.ones(log.n_candidates)]
    made += [np.nan_to_num(log.harm[name].astype(np.float64)) for name in plan.harms]
    actions = model.respond(log)
    made += [_total(actions, of, log.n_candidates) for of in plan.activity.values()]
    return [*made, *(actions[name] for name in plan.actions)]


def _total(columns: Mapping[str, FloatArray], names: Iterable[str], n: int) -> FloatArray:
    total = np.zeros(n)
    for name in names:
        total = total + columns[name]
    return total


def _weights(ranked: PolicyOnLog, log: ImpressionLog) -> FloatArray:
    """(s,) prefix weights; 1 where the log has no propensities, which its gate refuses."""
    apart = ranked.log_prefix - np.minimum(log.log_prefix_propensity, 0.0)
    return np.exp(np.minimum(np.where(np.isnan(apart), 0.0, apart), 300.0))


def _examined(
    log: ImpressionLog, ranked: tuple[PolicyOnLog, PolicyOnLog], model: LogModel | None, plan: Plan
) -> FloatArray:
    """(B, 2, c) the chance that each candidate is looked at, over draws that both policies share."""
    if model is None:
        position = np.arange(max(int(np.diff(log.slot_offsets).max(initial=0)), 1)).astype(np.float64)
        curves: tuple[FloatArray, ...] = (0.8**position, 1.0 / np.log2(position + 2.0))
        examiners = [position_examiner(log, theta) for theta in curves]
    else:
        examiners = [model.examine(log), position_examiner(log, model.theta)]
    keys = request_keys(log.request_id.values)[log.request_id.codes]
    seen = np.zeros((len(examiners), 2, log.n_candidates))
    for p, one in enumerate(ranked):
        n_draws = plan.n_draws if (one.temperature > 0).any() else 1
        for draw in range(n_draws):
            rows = draw_log(one, log, keys, seed=plan.seed + draw)
            for b, examiner in enumerate(examiners):
                seen[b, p] += candidate_examination(examiner(rows), rows, log.n_candidates)
        seen[:, p] /= n_draws
    return seen


def _changes(
    shift: FloatArray, expected: list[FloatArray] | None, log: ImpressionLog, n_metrics: int
) -> FloatArray:
    """(M, n) the reward that the model expects of candidates that are looked at more."""
    if expected is None:
        return np.zeros((n_metrics, log.n))
    more = np.maximum(shift, 0.0)
    return np.stack([request_sums(more * own, log.offsets) for own in expected])


def _unscored(log: ImpressionLog, weights: list[FloatArray], plan: Plan) -> tuple[FloatArray, FloatArray]:
    """Views of what was not scored, under both policies, and what they may add to the difference of harm.

    One candidate has one truth under both policies, so only where their weights differ does it count.
    """
    shares = np.zeros((2, len(plan.harms), log.n))
    bounds = np.zeros((2, len(plan.harms), log.n))
    apart = weights[1] - weights[0]
    for h, name in enumerate(plan.harms):
        if log.viewed is None:
            continue
        blind = (log.viewed & np.isnan(log.harm[name][log.slate])).astype(np.float64)
        for p in (0, 1):
            shares[p, h] = rips(weights[p], blind, log.slot_offsets)
        bounds[0, h] = request_sums(np.minimum(apart, 0.0) * blind, log.slot_offsets)
        bounds[1, h] = request_sums(np.maximum(apart, 0.0) * blind, log.slot_offsets)
    return shares, bounds


def _expected_steps(log: ImpressionLog) -> FloatArray:
    """(s,) what the log chance of each slot should be on average; as it is where that cannot be told."""
    steps = np.diff(log.log_prefix_propensity, prepend=0.0)
    first = log.position == 0
    steps[first] = log.log_prefix_propensity[first]
    steps = np.nan_to_num(steps)
    heat = np.full(log.n, np.nan) if log.temperature is None else log.temperature
    lacking = np.isnan(heat)
    lacking[log.request_of_row[np.isnan(log.score)]] = True
    if log.n_total is not None:
        lacking |= log.n_total != np.diff(log.offsets)
    known = expected_log_steps(
        np.nan_to_num(log.score), log.offsets, log.slate, log.slot_offsets, np.where(lacking, 0.0, heat),
        from_rank=1 if log.from_rank is None else log.from_rank,
    )  # fmt: skip
    return np.where(lacking[log.request_of_slot], steps, known)


def _days(log: ImpressionLog) -> IntArray:
    if log.time is None:
        return np.full(log.n, -1, dtype=np.int64)
    return np.where(np.isnat(log.time), -1, log.time.astype("datetime64[D]").astype(np.int64))

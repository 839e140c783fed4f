"""What each request of a log says of two policies, batch by batch.

Everything here is of single requests; `eval.logged_request` joins them.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from eval.browsing import candidate_examination
from eval.logged_plan import Plan
from eval.logged_policy import LogPolicy, PolicyOnLog, draw_log, rank_log
from eval.logged_request import RequestValues
from eval.logged_response import LogModel, position_examiner, user_codes
from eval.ope import rips, sips, switch_bias, switch_dr
from eval.overlap import log_steps
from eval.propensity import expected_log_steps
from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.engagement import request_sums
from reranker.exploration import request_keys
from reranker.impressions import ImpressionLog


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
    served = None if model is None else model.examine(log)(log.slate)
    # where the draws of a logger are not known, what it served stands for them
    stands = [one.known | policy.is_logger for one, policy in zip(ranked, policies, strict=True)]
    main, bias = np.empty((2, len(reward), log.n)), np.zeros((len(reward), log.n))
    for m, own in enumerate(reward):
        for p in (0, 1):
            if expected is None or served is None:
                main[p, m] = rips(weights[p], own, slots)
                continue
            predicted = served * expected[m][log.slate]
            direct = np.where(stands[p], request_sums(seen[0, p] * expected[m], log.offsets), 0.0)
            main[p, m] = switch_dr(weights[p], own, slots, predicted, direct, switch=plan.switch)
            bias[m] += switch_bias(weights[p], own, slots, predicted, switch=plan.switch)
    gain, loss = (_changes(sign * (seen[0, 1] - seen[0, 0]), expected, log, len(reward)) for sign in (1, -1))
    was_served = np.zeros(log.n_candidates, dtype=np.bool_)
    was_served[log.slate] = plan.keeps_posts
    shown = np.flatnonzero((seen > 0).any(axis=(0, 1)) | was_served)
    posts = shown if plan.keeps_posts else shown[:0]
    exposure = _exposures(log, stands, weights, (seen[0], served), plan)
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
        expected_step=expected_steps(log),
        log_target=np.stack([one.log_prefix for one in ranked]),
        unsupported_slot=np.stack([one.unsupported for one in ranked]),
        seen=seen[:, :, shown],
        harm=np.stack([log.harm[name][shown].astype(np.float64) for name in plan.harms])
        if plan.harms
        else np.zeros((0, len(shown))),
        segment=_stacked([parts.codes(log) for parts in plan.of_requests], log.n),
        arm=np.full(log.n, -1, dtype=np.int64),
        group=_stacked([parts.codes(log)[posts] for parts in plan.of_candidates], len(posts)),
        item=log.item_id[posts],
        looked=_looked(log)[posts],
        exposure=exposure[:, posts],
    )


def _stacked(columns: list[IntArray], n: int) -> IntArray:
    return np.stack(columns) if columns else np.zeros((0, n), dtype=np.int64)


def _looked(log: ImpressionLog) -> BoolArray:
    """(c,) which candidates were served and looked at."""
    looked = np.zeros(log.n_candidates, dtype=np.bool_)
    if log.viewed is not None:
        looked[log.slate] = log.viewed
    return looked


def _exposures(
    log: ImpressionLog,
    stands: list[BoolArray],
    weights: list[FloatArray],
    looks: tuple[FloatArray, FloatArray | None],
    plan: Plan,
) -> FloatArray:
    """(2, c) views of each candidate under each policy: what the model expects, and the weighted rest.

    Args:
        log: the batch.
        stands: (n,) of each policy, whether the model speaks for a request.
        weights: (s,) of each policy.
        looks: (2, c) how likely each candidate is looked at, and (s,) the same of those served, None without
            a model.
        plan: what is measured.
    """
    made = np.zeros((2, log.n_candidates))
    if log.viewed is None or not plan.keeps_posts:
        return made
    seen, served = looks
    for p in (0, 1):
        if served is None:
            made[p, log.slate] = weights[p] * log.viewed
            continue
        made[p] = np.where(stands[p][log.request_of_row], seen[p], 0.0)
        kept = np.where(weights[p] <= plan.switch, weights[p], 0.0)
        made[p, log.slate] += kept * (log.viewed - served)
    return made


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


def expected_steps(log: ImpressionLog) -> FloatArray:
    """(s,) what the log chance of each slot should be on average; as it is where that cannot be told."""
    steps = np.nan_to_num(log_steps(log.log_prefix_propensity, log.slot_offsets))
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

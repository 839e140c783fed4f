"""One log of the test-bed evaluated as a user would evaluate it, and the truth that it is held against."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eval.broken_logs import broken_logs, served
from eval.browsing import cascade_examination
from eval.expected_views import expected_views
from eval.off_policy import Behaviour, Responses, SlateLog, evaluate, independence_z
from eval.proof import DEFAULT, ESTIMATORS, FLAGGED, GATED, METRICS, WEIGHTS, GateVerdict, Replicate, Truth
from eval.simulate.parameters import ACTIONS, Parameters, load_parameters
from eval.simulate.testbed import METRICS as TRUE_METRICS
from eval.simulate.testbed import N_SLOTS, Logged, angry_zero, log_score, logged, true_values
from eval.support import SupportReport, gate
from eval.weights import pareto_k
from reranker.columns import FloatArray, IntArray
from reranker.engagement import request_sums

CHUNK = 100_000  # users of a truth that is drawn at once
_AT = [TRUE_METRICS.index(name) for name in METRICS]


@dataclass(frozen=True)
class Setting:
    """Where the estimators are tried.

    Attributes:
        name: as shown.
        world: "shipped", or "moderate": see `moderate_heat`.
        temperature: of the logger and the target.
    """

    name: str
    world: Literal["shipped", "moderate"]
    temperature: float

    def parameters(self) -> Parameters:
        """The numbers of its world."""
        return load_parameters() if self.world == "shipped" else moderate_heat(load_parameters())


SETTINGS = (
    Setting("moderate heat, T = .30", "moderate", 0.30),
    Setting("moderate heat, T = .16", "moderate", 0.16),
    Setting("shipped world, T = .30", "shipped", 0.30),
    Setting("shipped world, T = .16", "shipped", 0.16),
)


@dataclass(frozen=True)
class Sizes:
    """How much is drawn.

    Attributes:
        replicates: logs of each setting.
        n_users, n_requests: users of a log, and requests of each.
        n_truth: users that a true value is drawn from, in hundreds of thousands rounded up.
        broken_every: broken logs are made of every so many-th log.
        seed: of all.
    """

    replicates: int = 400
    n_users: int = 2_000
    n_requests: int = 5
    n_truth: int = 2_000_000
    broken_every: int = 8
    seed: int = 1


def moderate_heat(p: Parameters, *, base: float = 4.0, noise: float = 1.0, line: float = 3.0) -> Parameters:
    """A world whose angry reactions are many and moderate where the shipped one's are few and extreme.

    The defaults make "angry at 0" change about a fifth of the requests at a temperature of .16, as in the
    reference test-bed, and spread the change over many posts.

    Args:
        p: the world to start from.
        base: log-odds added to an angry reaction on any post.
        noise: sd of what a viewer feels about a post, in log-odds of an angry reaction.
        line: slope of those log-odds in the closeness to the line.
    """
    i = ACTIONS.index("angry")

    def put(values: tuple[float, ...], value: float) -> tuple[float, ...]:
        return (*values[:i], value, *values[i + 1 :])

    return replace(
        p,
        action_base=put(p.action_base, p.action_base[i] + base),
        action_noise=put(p.action_noise, noise),
        action_line=put(p.action_line, line),
    )


def calibrated_views(log: Logged, target_score: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(s,) chance that what was served is looked at, and (c,) of candidates under target and logger.

    As often at each slot as the log says on average. Predictions that have no such calibration put Switch-DR
    off by the share of the target that its switch leaves to them.
    """
    seen = cascade_examination(log.p_stop[log.slate], log.slot_offsets).reshape(-1, N_SLOTS)
    ratio = log.viewed.reshape(-1, N_SLOTS).mean(axis=0) / seen.mean(axis=0)
    target, logger = (
        expected_views(score, log.offsets, log.temperature, log.p_stop, N_SLOTS) @ ratio
        for score in (target_score, log.score)
    )
    return (seen * ratio).ravel(), target, logger


def _responses(log: Logged, views: tuple[FloatArray, FloatArray, FloatArray], metric: str) -> Responses:
    """What the ranker's own predictions say: they are off by 30 %, and so is where people stop.

    Nothing is fitted to the log but how often each slot is looked at on average: four numbers from so many
    requests need no folds of users.
    """
    seen, target, logger = views
    per_look = {
        "views": np.ones(len(log.harm)),
        "harm_views": log.harm,
        "like": log.p_action[:, ACTIONS.index("like")],
        "comment": log.p_action[:, [ACTIONS.index(a) for a in ("comment", "significant_comment")]].sum(
            axis=1
        ),
    }[metric]
    return Responses(
        predicted=seen * per_look[log.slate],
        direct=request_sums(target * per_look, log.offsets),
        direct_logging=request_sums(logger * per_look, log.offsets),
    )


def marginal_weights(log: Logged, target_score: FloatArray) -> FloatArray:
    """(s,) chance of what was served at its slot, target over logger, whatever stands above it."""
    slot: IntArray = np.tile(np.arange(N_SLOTS), len(log.user))
    never_stop = np.zeros(len(log.score))
    target, logger = (
        expected_views(score, log.offsets, log.temperature, never_stop, N_SLOTS)[log.slate, slot]
        for score in (target_score, log.score)
    )
    return target / logger


def replicate(setting: Setting, number: int, sizes: Sizes) -> Replicate:
    """One log of a setting, all estimators and the gate on it.

    Args:
        setting: see `SETTINGS`.
        number: of the log, from 0.
        sizes: see `Sizes`.
    """
    seed = 1_000_000 * sizes.seed + 100_000 * SETTINGS.index(setting) + number
    log = logged(sizes.n_users, sizes.n_requests, setting.temperature, seed, setting.parameters())
    target_score = log_score(log.p_action, angry_zero())
    good = served(log, target_score)
    verdicts = {name: gate(good, estimator=name) for name in GATED}
    views, marginal = calibrated_views(log, target_score), marginal_weights(log, target_score)
    found, z = [], []
    for metric in METRICS:
        own = SlateLog(
            weight=np.exp(good.log_target - good.log_logging),
            reward=log.reward(metric),
            slot_offsets=log.slot_offsets,
            user=log.user,
            marginal_weight=marginal,
        )
        found.append(_estimates(own, _responses(log, views, metric)))
        z.append(independence_z(own))
    broken: dict[str, dict[str, GateVerdict]] = {}
    if number % sizes.broken_every == 0:
        made = broken_logs(log, target_score, seed)
        broken = {
            kind: {name: _verdict(gate(one, estimator=name)) for name in GATED} for kind, one in made.items()
        }
    table = np.array(found)  # (M, E, 4)
    return Replicate(
        number=number,
        value=table[..., 0],
        standard_error=table[..., 1],
        relative=table[..., 2],
        relative_error=table[..., 3],
        independence_z=np.array(z),
        verdicts={name: _verdict(one) for name, one in verdicts.items()},
        effective_share=verdicts[WEIGHTS].check("ESS_SHARE_LOW").value or 0.0,
        pareto_k=pareto_k(np.exp(good.log_target - good.log_logging)[log.slot_offsets[1:] - 1]),
        model_share=verdicts[DEFAULT].check("MODEL_SHARE_HIGH").value or 0.0,
        broken=broken,
    )


def _verdict(report: SupportReport) -> GateVerdict:
    return report.status, report.reasons


def _estimates(own: SlateLog, expected: Responses) -> list[tuple[float, float, float, float]]:
    """Per estimator the difference, its error, the relative change and its error."""
    made = []
    for name in ESTIMATORS:
        behaviour: Behaviour = "independent" if name == FLAGGED else "cascade"
        one = evaluate(own, estimator=name, behaviour=behaviour, responses=expected)
        change, relative = one.difference, one.relative
        if relative is None:
            raise ValueError(f"{name}: expected a log in which anything happened, got none")
        made.append((change.value, change.standard_error, relative.value, relative.standard_error))
    return made


def truth_part(setting: Setting, number: int, sizes: Sizes) -> Truth:
    """True values from `CHUNK` users, of whom no log and no other part knows any."""
    n = min(CHUNK, sizes.n_truth)
    seed = 1_000_000 * sizes.seed + 100_000 * SETTINGS.index(setting) + number
    found = true_values(n, setting.temperature, seed, p=setting.parameters())
    return Truth(
        logger=found.logger[_AT],
        difference=found.difference[_AT],
        standard_error=found.standard_error[_AT],
        changed=found.changed,
        changed_items=found.changed_items,
        n_users=n,
    )


def pooled(parts: Sequence[Truth]) -> Truth:
    """The mean of parts of equal size."""

    def mean(name: str) -> FloatArray:
        return np.asarray(np.mean([getattr(part, name) for part in parts], axis=0))

    squares = np.sum([part.standard_error**2 for part in parts], axis=0)
    return Truth(
        logger=mean("logger"),
        difference=mean("difference"),
        standard_error=np.sqrt(squares) / len(parts),
        changed=float(mean("changed")),
        changed_items=float(mean("changed_items")),
        n_users=sum(part.n_users for part in parts),
    )

"""What many logs of known truth say: bias, error, coverage, the gate, and tests of equivalence."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.broken_logs import REASONS
from eval.clustered import Estimate, t_quantile
from eval.decision import equivalence
from eval.off_policy import Estimator
from reranker.columns import BoolArray, FloatArray, freeze_arrays

METRICS = ("views", "harm_views", "like", "comment")
ESTIMATORS: tuple[Estimator, ...] = ("sips", "rips", "iips", "snrips", "dr", "switch_dr")
FLAGGED: Estimator = "iips"  # biased for users who stop at what they read: shown, and judged by no bar
DEFAULT: Estimator = "switch_dr"
WEIGHTS: Estimator = (
    "rips"  # whose verdict by the gate is that of all estimators that use weights as they are
)
GATED: tuple[Estimator, ...] = (DEFAULT, WEIGHTS)
GateVerdict = tuple[str, tuple[str, ...]]  # status and reasons
JUDGED_FROM = (
    0.25  # share of logs from which an estimator is judged: a gate that accepts fewer picks lucky ones
)
ASSURED = 0.8  # share of logs whose stated error is no larger than the one that is planned with
_SWITCH = ESTIMATORS.index(DEFAULT)
_PLANNED_STEPS = (
    1.6448536269514722 + 1.2815515655446004
)  # z of 0.95, and of 0.9 for a power of 0.8 at no change


@dataclass(frozen=True, eq=False)
class Truth:
    """True values of one setting, of the metrics of `METRICS`.

    Attributes:
        logger: (M,) per request under the logger.
        difference: (M,) target minus logger.
        standard_error: (M,) of the difference.
        changed, changed_items: shares of requests and of items that differ under common noise.
        n_users: drawn.
    """

    logger: FloatArray
    difference: FloatArray
    standard_error: FloatArray
    changed: float
    changed_items: float
    n_users: int

    def __post_init__(self) -> None:
        freeze_arrays(self)


@dataclass(frozen=True, eq=False)
class Replicate:
    """What was found in one log.

    Attributes:
        number: of the log within its setting.
        value, standard_error: (M, E) the paired difference, metrics by estimators.
        relative, relative_error: (M, E) the same over the logger's value.
        independence_z: (M,) see `eval.off_policy.independence_z`.
        verdicts: of the gate, by estimator of `GATED`.
        effective_share, pareto_k: of the weights as they are.
        model_share: of the target, that the switch leaves to the model.
        broken: per kind of broken log the same verdicts; empty where none was made.
    """

    number: int
    value: FloatArray
    standard_error: FloatArray
    relative: FloatArray
    relative_error: FloatArray
    independence_z: FloatArray
    verdicts: Mapping[str, GateVerdict]
    effective_share: float
    pareto_k: float
    model_share: float
    broken: Mapping[str, Mapping[str, GateVerdict]]

    def __post_init__(self) -> None:
        freeze_arrays(self)


@dataclass(frozen=True)
class Errors:
    """How far an estimator was off; changes are relative to the logger's true value.

    Attributes:
        n: logs.
        bias: mean error.
        bias_z: the same in its standard errors, of the replicates and of the truth.
        rmse: root of the mean squared error.
        error_ratio: mean standard error over the standard deviation of the estimates.
        coverage: of 95 % intervals.
    """

    n: int
    bias: float
    bias_z: float
    rmse: float
    error_ratio: float
    coverage: float


@dataclass(frozen=True)
class Cell:
    """One estimator of one metric.

    Attributes:
        metric, estimator: which.
        truth, truth_error: the true relative change and its standard error.
        all_logs: over every log.
        by_default: over those in which the default estimator is IDENTIFIED; None for fewer than 2.
        accepted: over those in which this one is; None for fewer than 2.
    """

    metric: str
    estimator: Estimator
    truth: float
    truth_error: float
    all_logs: Errors
    by_default: Errors | None
    accepted: Errors | None


@dataclass(frozen=True)
class Equivalences:
    """How often Switch-DR was called equivalent, by a margin planned for a power of 80 % at no change.

    Planned with an error that 80 % of logs do not exceed: with the mean error half of all logs would have
    less power than planned, and all of them less on average, as power falls faster than it rises.

    Attributes:
        metric: which.
        margin: relative.
        false: share of tests, of both sides, where the truth was exactly at the margin.
        power: share where there was no change.
    """

    metric: str
    margin: float
    false: float
    power: float


@dataclass(frozen=True)
class Refusals:
    """What the gate did with one kind of broken log.

    Attributes:
        kind: of `REASONS`.
        n: logs.
        identified: how many it let through for any estimator.
        right_reason: how many it refused for all, with one of the codes that name what is broken.
    """

    kind: str
    n: int
    identified: int
    right_reason: int


@dataclass(frozen=True)
class SettingProof:
    """All that was found in one setting.

    Attributes:
        name: of the setting.
        n: logs.
        changed, changed_items: see `Truth`.
        accepted: share of good logs that the gate accepted, by estimator of `GATED`.
        reasons: how often each reason was given for a refusal, likewise.
        effective_share, pareto_k, model_share: medians, see `Replicate`.
        flagged: (M,) share of logs in which `independence_z` was beyond 3, per metric.
        cells, equivalences, refusals: the tables.
    """

    name: str
    n: int
    changed: float
    changed_items: float
    accepted: Mapping[str, float]
    reasons: Mapping[str, Mapping[str, int]]
    effective_share: float
    pareto_k: float
    model_share: float
    flagged: tuple[float, ...]
    cells: tuple[Cell, ...]
    equivalences: tuple[Equivalences, ...]
    refusals: tuple[Refusals, ...]

    def cell(self, metric: str, estimator: Estimator) -> Cell:
        """The cell of a metric and an estimator."""
        return next(one for one in self.cells if (one.metric, one.estimator) == (metric, estimator))

    def rmse_ratio(self, metric: str) -> tuple[float, float | None]:
        """RMSE of Switch-DR over that of RIPS, in all logs and in those in which Switch-DR is IDENTIFIED."""
        ours, theirs = self.cell(metric, DEFAULT), self.cell(metric, "rips")
        accepted = None
        if ours.by_default is not None and theirs.by_default is not None:
            accepted = ours.by_default.rmse / theirs.by_default.rmse
        return ours.all_logs.rmse / theirs.all_logs.rmse, accepted


def summarise(name: str, replicates: Sequence[Replicate], truth: Truth, n_users: int) -> SettingProof:
    """The tables of one setting.

    Args:
        name: of the setting.
        replicates: at least 2.
        truth: of the same setting.
        n_users: of each log.

    Raises:
        ValueError: fewer than 2 replicates.
    """
    if len(replicates) < 2:
        raise ValueError(f"{name}: expected at least 2 replicates, got {len(replicates)}")
    accepted = {
        name: np.array([one.verdicts[name][0] == "IDENTIFIED" for one in replicates]) for name in GATED
    }
    value, error = (np.stack([getattr(one, part) for one in replicates]) for part in
                    ("value", "standard_error"))  # fmt: skip
    z = np.abs([one.independence_z for one in replicates])
    return SettingProof(
        name=name,
        n=len(replicates),
        changed=truth.changed,
        changed_items=truth.changed_items,
        accepted={name: float(kept.mean()) for name, kept in accepted.items()},
        reasons={
            name: dict(Counter(code for one in replicates for code in one.verdicts[name][1]).most_common())
            for name in GATED
        },
        effective_share=float(np.median([one.effective_share for one in replicates])),
        pareto_k=float(np.median([one.pareto_k for one in replicates])),
        model_share=float(np.median([one.model_share for one in replicates])),
        flagged=tuple((z > 3).mean(axis=0).tolist()),
        cells=tuple(
            _cell(m, e, truth, (value[:, m, e], error[:, m, e], accepted), t_quantile(0.95, n_users - 1))
            for m in range(len(METRICS))
            for e in range(len(ESTIMATORS))
        ),
        equivalences=tuple(_equivalences(m, replicates, truth, n_users) for m in range(len(METRICS))),
        refusals=_refusals(replicates),
    )


def _cell(
    m: int,
    e: int,
    truth: Truth,
    found: tuple[FloatArray, FloatArray, Mapping[Estimator, BoolArray]],
    quantile: float,
) -> Cell:
    value, error, accepted = found
    own = accepted[DEFAULT if ESTIMATORS[e] == DEFAULT else WEIGHTS]
    level, true, unsure = (float(x[m]) for x in (truth.logger, truth.difference, truth.standard_error))
    parts = [
        _errors((value[kept] - true) / level, error[kept] / level, unsure / level, quantile)
        if kept.sum() >= 2
        else None
        for kept in (np.ones(len(value), dtype=np.bool_), accepted[DEFAULT], own)
    ]
    assert parts[0] is not None
    return Cell(METRICS[m], ESTIMATORS[e], true / level, unsure / level, parts[0], parts[1], parts[2])


def _errors(miss: FloatArray, error: FloatArray, truth_error: float, quantile: float) -> Errors:
    spread = float(miss.std(ddof=1))
    bias = float(miss.mean())
    return Errors(
        n=len(miss),
        bias=bias,
        bias_z=bias / float(np.hypot(spread / np.sqrt(len(miss)), truth_error)),
        rmse=float(np.sqrt((miss**2).mean())),
        error_ratio=float(error.mean()) / spread,
        coverage=float((np.abs(miss) <= quantile * error).mean()),
    )


def _equivalences(m: int, replicates: Sequence[Replicate], truth: Truth, n_users: int) -> Equivalences:
    """The margin is so many errors wide that no change is found equivalent with a power of 80 %.

    Source: an upper limit of the error in the place of its mean as in Browne, On the use of a pilot sample
    for sample size determination, 1995.
    """
    value = np.array([one.relative[m, _SWITCH] for one in replicates])
    error = np.array([one.relative_error[m, _SWITCH] for one in replicates])
    margin = _PLANNED_STEPS * float(np.quantile(error, ASSURED))
    miss = value - truth.difference[m] / truth.logger[m]

    def share(true_change: float) -> float:
        """Of logs called equivalent, had the truth been another."""
        tests = (
            equivalence(Estimate(a + true_change, s, 0.0, 0.0, 0.95, n_users, n_users), margin)
            for a, s in zip(miss.tolist(), error.tolist(), strict=True)
        )
        return float(np.mean([test.equivalent for test in tests]))

    return Equivalences(METRICS[m], margin, (share(margin) + share(-margin)) / 2, share(0.0))


def _refusals(replicates: Sequence[Replicate]) -> tuple[Refusals, ...]:
    made = []
    for kind, right in REASONS.items():
        found = [tuple(one.broken[kind].values()) for one in replicates if kind in one.broken]
        let_through = sum(any(status == "IDENTIFIED" for status, _ in log) for log in found)
        named = sum(
            all(status != "IDENTIFIED" and not set(right).isdisjoint(codes) for status, codes in log)
            for log in found
        )
        made.append(Refusals(kind, len(found), let_through, named))
    return tuple(made)

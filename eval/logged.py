"""Two policies on logged impressions: what people would have seen and done under one instead of the other.

Level L1: one request, same people, same candidates. Each estimate is paired on the same requests and stands
on the propensities of the log; a log that cannot answer is refused with what would mend it. Level L0, what
would stand where, is beside it and needs no propensities.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import numpy as np

from eval.browsing import Status
from eval.clustered import LEVEL
from eval.logged_policy import LOGGER, LogPolicy, agrees_with_log, rank_log
from eval.logged_response import LogModel, Sample, fit_log_model, joined, sample_of
from eval.logged_rows import LoggedRow, LogVerdict, exposure_rows, outcome_rows
from eval.logged_values import Plan, RequestValues, joined_values, measure
from eval.margins import Margins, load_margins
from eval.ope import SWITCH
from eval.overlap import Limits, Served
from eval.support import MENDED_BY, WRONG, SupportReport, gate
from reranker.columns import FeedError, IntArray
from reranker.exploration import request_keys
from reranker.impressions import ImpressionLog

N_DRAWS = 32


@dataclass(frozen=True)
class LoggedSettings:
    """How a comparison is made; all of it is in its digest.

    Attributes:
        level: of the intervals.
        switch: weight from which the response model alone is trusted.
        n_draws: slates per policy and request that the model is averaged over.
        seed: of the draws and of the folds.
        limits: of the gate.
    """

    level: float = LEVEL
    switch: float = SWITCH
    n_draws: int = N_DRAWS
    seed: int = 0
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.n_draws < 2:
            raise ValueError(f"n_draws: expected at least 2, got {self.n_draws}")


@dataclass(frozen=True)
class LoggedComparison:
    """Everything that was found.

    Attributes:
        original, treatment: the policies.
        settings: how it was made.
        served_by: which of the two served the log: "original", "treatment", "both" or "neither".
        rows: one per metric and level.
        gates: of the original and the treatment.
        status: of estimates by weights.
        reasons, remedy, needed_users: of both gates together.
        n_requests, n_users: in the log.
        n_unknown: requests of which not all that both policies would rank was logged.
        margins: of the activity.
        banner: where the margins are not those of the plan.
        digest: sha256 of policies, settings and margins.
    """

    original: LogPolicy
    treatment: LogPolicy
    settings: LoggedSettings
    served_by: str
    rows: tuple[LoggedRow, ...]
    gates: tuple[SupportReport, SupportReport]
    status: Status
    reasons: tuple[str, ...]
    remedy: str
    needed_users: int | None
    n_requests: int
    n_users: int
    n_unknown: int
    margins: Margins
    banner: str
    digest: str

    def row(self, metric: str, level: str = "L1") -> LoggedRow:
        """The row of a metric.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if (row.metric, row.level) == (metric, level):
                return row
        raise KeyError(f"{metric} at {level}")


def compare_logged(
    logs: Iterable[ImpressionLog],
    original: LogPolicy,
    treatment: LogPolicy,
    *,
    settings: LoggedSettings | None = None,
    margins: Margins | None = None,
    planned_digest: str | None = None,
) -> LoggedComparison:
    """What a treatment would have changed against an original, from the log of either or of a third.

    Args:
        logs: batches, gone through twice; of an iterator all batches are held.
        original: the baseline.
        treatment: the other policy.
        settings: see `LoggedSettings`.
        margins: of the activity; None for those shipped.
        planned_digest: the digest of the margins as planned, before the result was read.

    Raises:
        FeedError: no requests, a request twice, or a column that a policy ranks by was not logged.
        ModuleNotFoundError: views were logged, and scikit-learn is not installed.

    Source: Jeunen and Ustimenko, Delta-OPE: off-policy estimation with pairs of policies, 2024 (the paired
    difference); estimators as `eval.ope`.
    """
    settings, agreed = settings or LoggedSettings(), margins or load_margins()
    batches = list(logs) if iter(logs) is logs else logs
    plan, served_by, sample = _scan(batches, (original, treatment), settings)
    model = _fitted(sample, settings.seed)
    made_by = tuple(
        LogPolicy(LOGGER, None) if serves else policy
        for policy, serves in zip((original, treatment), served_by, strict=True)
    )
    pair = (made_by[0], made_by[1])
    values = joined_values(measure(log, pair, model, plan) for log in batches if log.n)
    _refuse_twice(values)
    same = pair[0].digest == pair[1].digest
    found = tuple(_gate(values, p, settings.limits) for p in (0, 1))
    gates = (found[0], found[1])
    status, reasons = _status(gates, has_model=model is not None)
    verdict = LogVerdict(status, reasons, _cautions(gates), same)
    rows = (
        *outcome_rows(values, plan, verdict, agreed, settings.level),
        *exposure_rows(values, plan, ("cascade", "position") if model is not None else ("rbp", "log2")),
    )
    return LoggedComparison(
        original=original,
        treatment=treatment,
        settings=settings,
        served_by={(True, True): "both", (True, False): "original", (False, True): "treatment"}.get(
            served_by, "neither"
        ),
        rows=rows,
        gates=gates,
        status=status,
        reasons=reasons,
        remedy="; ".join(dict.fromkeys(one.remedy for one in gates if one.remedy)),
        needed_users=max((one.needed_users for one in gates if one.needed_users is not None), default=None),
        n_requests=len(values.user),
        n_users=len(np.unique(values.user)),
        n_unknown=int((~values.both_known).sum()),
        margins=agreed,
        banner=agreed.banner(planned_digest),
        digest=_digest(original, treatment, settings, agreed),
    )


def _scan(
    batches: Iterable[ImpressionLog], policies: tuple[LogPolicy, LogPolicy], settings: LoggedSettings
) -> tuple[Plan, tuple[bool, bool], list[Sample]]:
    """What all batches have, whether each policy is the logger, and the slots that models are fitted on."""
    views, served_by = True, [True, True]
    harms: set[str] | None = None
    actions: set[str] | None = None
    samples: list[Sample] = []
    for log in batches:
        if not log.n:
            continue
        views &= log.viewed is not None
        harms = set(log.harm) if harms is None else harms & set(log.harm)
        actions = set(log.action) if actions is None else actions & set(log.action)
        for p, policy in enumerate(policies):
            served_by[p] &= policy.is_logger or agrees_with_log(rank_log(policy, log), log)
        if views:
            keys = request_keys(log.request_id.values)[log.request_id.codes]
            samples = [*samples, sample_of(log, keys)]
    if harms is None or actions is None:
        raise FeedError("logs: expected at least one request, got none")
    if not (views or actions):
        raise FeedError("logs: expected views or actions, got neither")
    plan = Plan(
        views, tuple(sorted(harms)) if views else (), tuple(sorted(actions)),
        settings.switch, settings.n_draws, settings.seed,
    )  # fmt: skip
    return plan, (served_by[0], served_by[1]), samples if views else []


def _fitted(samples: list[Sample], seed: int) -> LogModel | None:
    """The response model; None without views, or without a second user to learn from."""
    if not samples:
        return None
    sample = joined(samples)
    if len(np.unique(sample.user)) < 2 or not sample.viewed.any():
        return None
    return fit_log_model(sample, seed=seed)


def _refuse_twice(values: RequestValues) -> None:
    again = np.flatnonzero(values.request[1:] == values.request[:-1])
    if again.size:
        raise FeedError(f"request_id: expected each request once, got {again.size} again")


def _gate(values: RequestValues, p: int, limits: Limits) -> SupportReport:
    served = Served(
        log_logging=values.log_logging,
        log_target=values.log_target[p],
        slot_offsets=np.concatenate(([0], np.cumsum(values.n_slots))).astype(np.int64),
        user=_codes(values.user),
        unsupported=np.clip(values.unsupported_slot[p], 0.0, 1.0),
        expected_log_step=values.expected_step,
    )
    return gate(served, limits)


def _codes(user: IntArray) -> IntArray:
    return np.unique(user, return_inverse=True)[1].astype(np.int64)


def _status(gates: tuple[SupportReport, SupportReport], *, has_model: bool) -> tuple[Status, tuple[str, ...]]:
    """The worse of both; where there are no random draws to weigh, what a model can say, by that name."""
    reasons = tuple(dict.fromkeys(code for one in gates for code in one.reasons))
    found = {one.status for one in gates}
    if "REFUSED" not in found:
        return ("BOUNDED" if "BOUNDED" in found else "IDENTIFIED"), reasons
    undrawn = {"PROPENSITY_MISSING", "LOGGER_DETERMINISTIC"} & set(reasons)
    if undrawn and has_model and not {"ONE_USER", "PROPENSITY_IMPOSSIBLE", *_WRONG} & set(reasons):
        return "MODEL_ONLY", reasons
    return "REFUSED", reasons


_WRONG = tuple(code for code, text in MENDED_BY.items() if text == WRONG)


def _cautions(gates: tuple[SupportReport, SupportReport]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(code for one in gates for code in one.cautions))


def _digest(original: LogPolicy, treatment: LogPolicy, settings: LoggedSettings, agreed: Margins) -> str:
    content = [original.as_dict(), treatment.as_dict(), asdict(settings), agreed.digest]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

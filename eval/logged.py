"""Two policies on logged impressions: what people would have seen and done under one instead of the other.

Level L1: one request, same people, same candidates. Each estimate is paired on the same requests and stands
on the propensities of the log; a log that cannot answer is refused with what would mend it. Level L0, what
would stand where, is beside it and needs no propensities.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np

from eval.audit_findings import check_harms
from eval.browsing import Status
from eval.logged_audit import logged_audit
from eval.logged_batches import LogFiles, of_batches
from eval.logged_comparison import LoggedComparison, LoggedContext, LoggedSettings
from eval.logged_exposure import exposure_rows
from eval.logged_mixture import UNEVEN, Loggers, loggers_of, uneven, uneven_segments
from eval.logged_plan import DIMENSIONS, Plan
from eval.logged_policy import LOGGER, LogPolicy
from eval.logged_request import RequestValues, joined_values
from eval.logged_response import LogModel, Sample, fit_log_model, joined
from eval.logged_rows import LogVerdict, in_families, outcome_rows
from eval.logged_scan import LogScan, scan
from eval.logged_scores import with_scores
from eval.logged_segments import segment_findings
from eval.logged_values import measure
from eval.margins import Margins, load_margins
from eval.off_policy import Estimator
from eval.overlap import Limits, Served
from eval.support import MENDED_BY, WRONG, SupportReport, gate
from reranker.columns import FeedError
from reranker.impressions import ImpressionLog
from reranker.ray_session import RaySession


def compare_logged(
    logs: Iterable[ImpressionLog],
    original: LogPolicy,
    treatment: LogPolicy,
    *,
    settings: LoggedSettings | None = None,
    context: LoggedContext | None = None,
) -> LoggedComparison:
    """What a treatment would have changed against an original, from the log of either or of a third.

    Args:
        logs: batches, gone through twice, and once more for a mixture; of an iterator all batches are held.
        original: the policy in force; "logger" stands for whatever served, of a mixture for all of it.
        treatment: the other policy.
        settings: see `LoggedSettings`.
        context: see `LoggedContext`.

    Raises:
        FeedError: no requests, a request twice, a column that a policy ranks by or a dimension that was asked
            for was not logged, or as `loggers_of`.
        ValueError: labels of no post or no harm of the log.
        ModuleNotFoundError: views were logged, and scikit-learn is not installed.

    Source: Jeunen and Ustimenko, Delta-OPE: off-policy estimation with pairs of policies, 2024 (the paired
    difference); estimators as `eval.ope`.
    """
    settings, context = settings or LoggedSettings(), context or LoggedContext()
    agreed = context.margins or load_margins()
    batches = list(logs) if iter(logs) is logs else logs
    loggers = None if context.mixture is None else loggers_of(batches, context.mixture)
    if loggers is not None:
        loggers.check_targets((original, treatment))
    dimensions = DIMENSIONS if settings.segments is None else settings.segments
    seen = scan(batches, (original, treatment), dimensions, loggers)
    plan, served_by = _plan(seen, settings, context), seen.served_by
    pairs = zip((original, treatment), served_by, strict=True)
    known = next((policy for policy, serves in pairs if serves and not policy.is_logger), None)
    session = batches.session if isinstance(batches, LogFiles) else None
    model = _fitted(seen.samples, settings.seed, session)
    made_by = tuple(
        LogPolicy(LOGGER, None) if serves else policy
        for policy, serves in zip((original, treatment), served_by, strict=True)
    )
    pair = (made_by[0], made_by[1])
    measured = partial(
        _measured, pair=pair, model=model, plan=plan, drawn_by=known if loggers is None else loggers
    )
    values = joined_values(one for one in of_batches(measured, batches) if one is not None)
    _refuse_twice(values)
    same = pair[0].digest == pair[1].digest
    estimator: Estimator = "switch_dr" if model is not None else "rips"
    gates = _gates(values, settings.limits, estimator, settings.switch)
    status, reasons = _status(gates, has_model=model is not None)
    unlike = "" if loggers is None else uneven(uneven_segments(values.arm, values.segment, values.user))
    if unlike:
        status, reasons = "REFUSED", (UNEVEN, *reasons)
    verdict = LogVerdict(status, reasons, _cautions(gates), same)

    def gated(part: RequestValues, limits: Limits) -> tuple[tuple[SupportReport, SupportReport], LogVerdict]:
        found = _gates(part, limits, estimator, settings.switch)
        own = _status(found, has_model=model is not None)
        return found, LogVerdict(*own, _cautions(found), same)

    rows = (
        *outcome_rows(values, plan, verdict, agreed, settings.level),
        *exposure_rows(values, plan, ("cascade", "position") if model is not None else ("rbp", "log2")),
    )
    return LoggedComparison(
        original=original,
        treatment=treatment,
        settings=settings,
        context=context,
        served_by={(True, True): "both", (True, False): "original", (False, True): "treatment"}.get(
            served_by, "neither"
        ),
        loggers=loggers,
        rows=in_families(rows, settings.level),
        segments=segment_findings(
            values, plan, verdict, agreed, limits=settings.limits, gates=gated, level=settings.level
        ),
        audits=logged_audit(values, plan, verdict, context.labels, level=settings.level)
        if context.labels is not None
        else (),
        gates=gates,
        status=status,
        reasons=reasons,
        remedy="; ".join(dict.fromkeys((*([EACH_ITS_OWN] if unlike else []), *_remedies(gates)))),
        needed_users=max((one.needed_users for one in gates if one.needed_users is not None), default=None),
        uneven=unlike,
        n_requests=len(values.user),
        n_users=int(values.user.max()) + 1,
        n_unknown=int((~values.both_known).sum()),
        margins=agreed,
        banner=agreed.banner(context.planned_margins),
        digest=_digest((original, treatment), settings, context, agreed),
    )


EACH_ITS_OWN = "leave --mixture out, so that each request is weighed by its own logger"


def _remedies(gates: tuple[SupportReport, SupportReport]) -> list[str]:
    return [one.remedy for one in gates if one.remedy]


def _measured(
    log: ImpressionLog,
    pair: tuple[LogPolicy, LogPolicy],
    model: LogModel | None,
    plan: Plan,
    drawn_by: LogPolicy | Loggers | None,
) -> RequestValues | None:
    """What a batch says, None of an empty one.

    Args:
        log: the batch.
        pair: the original and the treatment.
        model: None where views were not logged.
        plan: what is measured.
        drawn_by: a policy that is known to have served, whose scores are taken where none were logged, or the
            loggers of a mixture, whose propensities are taken.
    """
    if not log.n:
        return None
    if isinstance(drawn_by, LogPolicy):
        return measure(with_scores(log, drawn_by), pair, model, plan)
    if drawn_by is None:
        return measure(log, pair, model, plan)
    mixed = drawn_by.mixed(log)
    found = measure(mixed, pair, model, plan)
    return replace(found, expected_step=drawn_by.expected_steps(log, mixed), arm=drawn_by.arms(log))


def _plan(seen: LogScan, settings: LoggedSettings, context: LoggedContext) -> Plan:
    """What is measured on a log."""
    views = seen.samples is not None
    if not (views or seen.actions):
        raise FeedError("logs: expected views or actions, got neither")
    plan = Plan(
        views, tuple(sorted(seen.harms)) if views else (), tuple(sorted(seen.actions)),
        settings.switch, settings.n_draws, settings.seed,
        parts=seen.counts.parts(asked_for=settings.segments is not None), posts=context.labels is not None,
    )  # fmt: skip
    if context.labels is not None:
        check_harms(context.labels, plan.harms)
    return plan


def _fitted(samples: Sequence[Sample] | None, seed: int, session: RaySession | None) -> LogModel | None:
    """The response model; None without views, or without a second user to learn from."""
    if not samples:
        return None
    sample = joined(samples)
    if len(np.unique(sample.user)) < 2 or not sample.viewed.any():
        return None
    return fit_log_model(sample, seed=seed, session=session)


def _refuse_twice(values: RequestValues) -> None:
    again = np.flatnonzero(values.request[1:] == values.request[:-1])
    if again.size:
        raise FeedError(f"request_id: expected each request once, got {again.size} again")


def _gates(
    values: RequestValues, limits: Limits, estimator: Estimator, switch: float
) -> tuple[SupportReport, SupportReport]:
    first, second = (
        gate(
            Served(
                log_logging=values.log_logging,
                log_target=values.log_target[p],
                slot_offsets=values.slot_offsets,
                user=values.user,
                unsupported=np.clip(values.unsupported_slot[p], 0.0, 1.0),
                expected_log_step=values.expected_step,
            ),
            limits,
            estimator=estimator,
            switch=switch,
        )
        for p in (0, 1)
    )
    return first, second


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


def _digest(
    policies: tuple[LogPolicy, LogPolicy], settings: LoggedSettings, context: LoggedContext, agreed: Margins
) -> str:
    content = {
        "policies": [policy.as_dict() for policy in policies],
        "settings": asdict(settings),
        "margins": agreed.digest,
        "labels": None if context.labels is None else context.labels.digest,
        "mixture": None if context.mixture is None else context.mixture.as_dict(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

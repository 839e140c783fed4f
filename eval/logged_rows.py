"""The rows of a comparison on a log: per metric an estimate, what it may be called, and a decision.

A row that is refused has no number. One that is bounded has no single number either: its interval holds
whatever the slates that were never logged, and the posts that were never scored, may have earned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from eval.browsing import Status
from eval.clustered import FIELLER_FROM, LEVEL, Estimate, clustered_mean, from_influence, relative_change
from eval.decision import Decision, Verdict, decide
from eval.guardrails import GATES, margin_name
from eval.harm_views import MOST_UNSCORED, MOST_UNSCORED_GAP, PER
from eval.logged_plan import Plan
from eval.logged_request import RequestValues
from eval.margins import Margins
from eval.multiplicity import Finding, finding, holm, p_of
from eval.overlap import z_score
from eval.trust import sensitivity
from reranker.columns import FloatArray, IntArray

SMALL_DEFICIT = "not all that the policies serve could have been logged: see the bounds"
APART = 3.0  # standard errors by which two estimators of one difference should not be apart
HARM = ("harm_views.", "harm_prevalence.")


@dataclass(frozen=True)
class LoggedRow:
    """One metric: treatment minus original.

    Attributes:
        metric: views, harm_views.LABEL and actions per request; harm_prevalence.LABEL per 1,000 views.
        level: L1, or L0 for what would stand where.
        method: how it was made.
        status: what it may be called; REFUSED has no number.
        reasons: why it is not IDENTIFIED, codes of the gate first.
        cautions: what does not refuse, and is to be known.
        original, treatment: the metric under each.
        change: the difference and its interval; None where BOUNDED, REFUSED or MODEL_ONLY at L1.
        low, high: the interval; where BOUNDED, widened by what was not logged.
        bounds: where BOUNDED, the least and the most that the change is estimated at.
        relative: change over original, where that is above 0.
        margin_of: whose margin an activity is held to.
        verdicts: against it; where BOUNDED, at both ends.
        checks: the same difference by other estimators.
        bias_bound: at most how far the switch puts it off.
        model: where MODEL_ONLY, the difference that the response model expects; it has no interval.
        sensitivity: relative error of the model's predictions that could make that difference 0.
        ends: the change, or where BOUNDED the least and the most that it is estimated at.
        family: what it is adjusted together with; "" where it is no finding of its own.
        p, p_adjusted: two-sided, and by Holm over the family.
        finding: what the family lets one say of it.
    """

    metric: str
    level: Literal["L0", "L1"]
    method: str
    status: Status
    reasons: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    original: float | None = None
    treatment: float | None = None
    change: Estimate | None = None
    low: float | None = None
    high: float | None = None
    bounds: tuple[float, float] | None = None
    relative: Estimate | None = None
    margin_of: str | None = None
    verdicts: tuple[Verdict, ...] = ()
    checks: Mapping[str, Estimate] = field(default_factory=dict)
    bias_bound: float | None = None
    model: float | None = None
    sensitivity: float | None = None
    ends: tuple[Estimate, ...] = ()
    family: str = ""
    p: float | None = None
    p_adjusted: float | None = None
    finding: Finding | None = None

    @property
    def decision(self) -> Decision | None:
        """The verdict in one word; INCONCLUSIVE where the ends of the bounds have different ones."""
        found = {verdict.decision for verdict in self.verdicts}
        return None if not found else found.pop() if len(found) == 1 else "INCONCLUSIVE"


@dataclass(frozen=True)
class LogVerdict:
    """What the gates said of the log.

    Attributes:
        status: of estimates by weights.
        reasons: codes of what failed.
        cautions: codes that do not refuse.
        same: whether both policies are one.
    """

    status: Status
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    same: bool


def outcome_rows(
    values: RequestValues, plan: Plan, log: LogVerdict, agreed: Margins, level: float = LEVEL
) -> tuple[LoggedRow, ...]:
    """L1: views, harm views and prevalence of each label, activity, single actions."""
    rows = []
    for m, metric in enumerate(plan.metrics):
        row = _outcome_row(values, plan, log, m, level)
        if metric in GATES and row.status in {"IDENTIFIED", "BOUNDED"}:
            row = _decided(row, values, m, agreed, same=log.same)
        rows.append(row)
    for h, label in enumerate(plan.harms):
        rows.append(prevalence_row(values, rows[1 + h], f"harm_prevalence.{label}", h, level))
    return tuple(rows)


def in_families(rows: Sequence[LoggedRow], level: float = LEVEL) -> tuple[LoggedRow, ...]:
    """The rows with p-values of harm adjusted by Holm, over all figures of harm of a level.

    The guardrails of the activity are another family: all of them must hold, so none is adjusted. A row that
    depends on the browsing model is counted in, and is no finding.
    """
    made = list(rows)
    for of in ("L1", "L0"):
        held = [
            i for i, row in enumerate(rows) if row.level == of and row.metric.startswith(HARM) and row.ends
        ]
        p = np.array([p_of(rows[i].ends) for i in held])
        for i, raw, adjusted in zip(held, p.tolist(), holm(p).tolist(), strict=True):
            said = finding(rows[i].ends, adjusted, level=level)
            if rows[i].status == "MODEL_ONLY":
                said = "not shown"
            family = f"harm at {of}, {len(held)} figure{'s' if len(held) > 1 else ''}"
            made[i] = replace(rows[i], family=family, p=raw, p_adjusted=adjusted, finding=said)
    return tuple(made)


def _outcome_row(values: RequestValues, plan: Plan, log: LogVerdict, m: int, level: float) -> LoggedRow:
    metric, h = plan.metrics[m], m - 1
    is_harm = metric.startswith("harm_views.")
    row = LoggedRow(
        metric, "L1", "switch_dr" if plan.views else "rips", log.status, log.reasons, log.cautions
    )
    if log.status == "REFUSED":
        return row
    if log.status == "MODEL_ONLY":
        return _model_row(replace(row, method="direct"), values, m, h if is_harm else None)
    if row.status == "IDENTIFIED" and not log.same and (values.unsupported > 0).any():
        # within the limit of the gate; yet what is not known is bounded here too, never left out
        row = replace(row, status="BOUNDED", reasons=(*row.reasons, SMALL_DEFICIT))
    if is_harm:
        row = with_unscored(row, values, h)
        if row.status == "REFUSED":
            return row
    first, second = values.main[:, m]
    change = clustered_mean(second - first, values.user, level=level)
    checks = {
        "rips": clustered_mean(values.rips[m], values.user, level=level),
        "sips": clustered_mean(values.sips[m], values.user, level=level),
    }
    row = replace(row, checks=checks, cautions=(*row.cautions, *_disagreements(second - first, values, m)))
    if plan.views:
        row = replace(row, bias_bound=float(values.bias[m].mean()))
    ends = _ends(values, m, h if is_harm else None, same=log.same)
    if row.status == "BOUNDED":
        low, high = (clustered_mean(end, values.user, level=level) for end in ends)
        return replace(row, low=low.low, high=high.high, bounds=(low.value, high.value), ends=(low, high))
    base = float(first.mean())
    return replace(
        row,
        original=base,
        treatment=float(second.mean()),
        change=change,
        low=change.low,
        high=change.high,
        relative=_relative(first, second, values.user, level),
        ends=(change,),
    )


def with_unscored(row: LoggedRow, values: RequestValues, h: int) -> LoggedRow:
    """The row of a harm, refused or bounded where views under either policy are of posts without a score."""
    views, blind = values.main[:, 0].mean(axis=1), values.unscored[:, h].mean(axis=1)
    first, second = (float(b / v) if v > 0 else 0.0 for b, v in zip(blind, views, strict=True))
    return _with_unscored(row, first, second)


def _with_unscored(row: LoggedRow, first: float, second: float) -> LoggedRow:
    """Harm that is refused or bounded because some views are of posts without a score."""
    reasons = []
    if max(first, second) > MOST_UNSCORED:
        reasons.append(f"unscored views: expected at most {MOST_UNSCORED:.1%}, got {max(first, second):.2%}")
    if abs(second - first) > MOST_UNSCORED_GAP:
        reasons.append(
            f"unscored views: expected policies that differ by at most {100 * MOST_UNSCORED_GAP:.1f} points, "
            f"got {100 * abs(second - first):.2f}"
        )
    if reasons:
        return replace(row, status="REFUSED", reasons=(*row.reasons, *reasons))
    if max(first, second) > 0:
        return replace(row, status="BOUNDED", reasons=(*row.reasons, "unscored views: see the bounds"))
    return row


def _ends(values: RequestValues, m: int, h: int | None, *, same: bool) -> tuple[FloatArray, FloatArray]:
    """(n,) the difference if what was not logged, or not scored, were at its least, and at its most."""
    low = high = values.main[1, m] - values.main[0, m]
    if h is not None:
        low, high = low + values.unscored_bounds[0, h], high + values.unscored_bounds[1, h]
    if same:
        return low, high
    most = float(values.most[m].max(initial=0.0))
    return (
        low - (values.unsupported[0] + values.modelled[1]) * most,
        high + (values.unsupported[1] + values.modelled[0]) * most,
    )


def _disagreements(difference: FloatArray, values: RequestValues, m: int) -> tuple[str, ...]:
    """Estimators that should agree and do not."""
    found = []
    if abs(z_score(clustered_mean(difference - values.rips[m], values.user))) > APART:
        found.append("RIPS_DISAGREES")
    if abs(z_score(clustered_mean(values.sips[m] - values.rips[m], values.user))) > APART:
        found.append("SIPS_DISAGREES")
    return tuple(found)


def _model_row(row: LoggedRow, values: RequestValues, m: int, h: int | None) -> LoggedRow:
    """What the response model alone expects: no interval, as its own error is not in any."""
    known = values.both_known
    if not known.any():
        return replace(row, status="REFUSED", reasons=(*row.reasons, "no request is known in full"))
    if h is not None:
        kept = np.repeat(known, values.n_shown)
        seen = values.seen[0][:, kept]
        blind = np.isnan(values.harm[h, kept])
        shares = seen[:, blind].sum(axis=1) / np.maximum(seen.sum(axis=1), np.finfo(float).tiny)
        row = _with_unscored(row, float(shares[0]), float(shares[1]))
        if row.status == "REFUSED":
            return row
        row = replace(row, status="MODEL_ONLY")
    gain, loss = values.gain[m, known], values.loss[m, known]
    each = np.arange(len(gain) + 1)
    found = sensitivity(gain, loss, np.ones(len(gain), dtype=np.bool_), each)
    return replace(row, sensitivity=found.sign, model=found.difference)


def prevalence_row(values: RequestValues, harm: LoggedRow, metric: str, h: int, level: float) -> LoggedRow:
    """Harm per 1,000 views: a ratio of sums, so that a feed that is read further cannot hide in it."""
    row = LoggedRow(metric, "L1", harm.method, harm.status, harm.reasons, harm.cautions)
    if harm.status == "REFUSED":
        return row
    if harm.status == "MODEL_ONLY" or {"SUPPORT_DEFICIT", SMALL_DEFICIT} & set(harm.reasons):
        return replace(row, status="REFUSED", reasons=(*row.reasons, "a rate has no simple bound"))
    views, users = values.main[:, 0], values.user
    if not (views.mean(axis=1) > 0).all():
        return replace(row, status="REFUSED", reasons=(*row.reasons, "views: expected some, got none"))
    (first, z0), *ends = (
        _rate(rate_of, seen)
        for rate_of, seen in (
            (values.main[0, 1 + h], views[0]),
            (values.main[1, 1 + h] + values.unscored_bounds[0, h], views[1]),
            (values.main[1, 1 + h] + values.unscored_bounds[1, h], views[1]),
        )
    )
    low, high = (from_influence(rate - first, z - z0, users, level=level) for rate, z in ends)
    if harm.status == "BOUNDED":
        return replace(row, low=low.low, high=high.high, bounds=(low.value, high.value), ends=(low, high))
    second, z1 = ends[0]
    noise = from_influence(first, z0, users, level=level)
    row = replace(row, original=first, treatment=second, change=low, low=low.low, high=low.high, ends=(low,))
    if first <= 0 or (noise.high - first) ** 2 > FIELLER_FROM * first**2:
        return row  # nothing is said relative to a baseline that is hardly above 0
    rho = second / first
    return replace(row, relative=from_influence(rho - 1.0, (z1 - rho * z0) / first, users, level=level))


def _rate(harm: FloatArray, views: FloatArray) -> tuple[float, FloatArray]:
    """Harm per 1,000 views, and (n,) its influence; values of single requests may be below 0."""
    rate = float(harm.sum() / views.sum())
    return PER * rate, PER * (harm - rate * views) / views.mean()


def _relative(first: FloatArray, second: FloatArray, user: IntArray, level: float) -> Estimate | None:
    if first.mean() <= 0:
        return None
    once = np.ones(len(first))
    return relative_change((first, once), (second, once), user, level=level)


def _decided(row: LoggedRow, values: RequestValues, m: int, agreed: Margins, *, same: bool) -> LoggedRow:
    """The row with verdicts on its relative change: one, or one at each end of its bounds."""
    name = margin_name(row.metric, agreed)
    if name is None:
        return row
    first, second = values.main[:, m]
    seconds = [second]
    if row.status == "BOUNDED":
        seconds = [first + end for end in _ends(values, m, None, same=same)]
    changes = [_relative(first, one, values.user, LEVEL) for one in seconds]
    verdicts = tuple(decide(change, agreed.of(name)) for change in changes if change is not None)
    return replace(row, margin_of=name, verdicts=verdicts)

"""The figures of each part of a log: of the requests of a country, or of the posts of a publisher.

A part with fewer than 100 users, or worth fewer by its weights, is insufficient: no figure of it is told.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from eval.clustered import Estimate, relative_change
from eval.guardrails import GATES
from eval.harm_views import PER
from eval.logged_plan import Parts, Plan
from eval.logged_request import RequestValues
from eval.logged_rows import LoggedRow, LogVerdict, outcome_rows, prevalence_row, with_unscored
from eval.margins import Margins
from eval.overlap import Limits
from eval.support import SupportReport
from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.engagement import request_sums

MIN_USERS = 100
INSUFFICIENT = "INSUFFICIENT"
RATE = "harm_prevalence."
Gates = Callable[[RequestValues, Limits], tuple[tuple[SupportReport, SupportReport], LogVerdict]]


@dataclass(frozen=True, eq=False)
class Part:
    """One figure of one part.

    Attributes:
        parts, segment: of which dimension it is, and its name.
        row: the figure.
        ends: the change on the scale that parts are compared on, or its ends where bounded; () where refused.
        influence: (n,) of every request of the log on that change; None where it is no one number, or is
            relative to a baseline too noisy for a normal error.
        n_requests, n_users: of the part.
    """

    parts: Parts
    segment: str
    row: LoggedRow
    ends: tuple[Estimate, ...]
    influence: FloatArray | None
    n_requests: int
    n_users: int


def _too_few(n_users: float, what: str) -> str:
    return f"{INSUFFICIENT}: expected at least {MIN_USERS} {what}, got {n_users:.0f}"


def of_requests(
    values: RequestValues,
    chosen: IntArray,
    named: tuple[Parts, str],
    rest: tuple[Plan, LogVerdict, Margins, float],
    gating: tuple[Limits, Gates],
) -> list[Part]:
    """The figures of the requests of a part, under a gate of their own."""
    (plan, log, agreed, level), (limits, gates) = rest, gating
    part = values.take(chosen)
    n_users = len(np.unique(part.user))
    figures = _figures(plan)
    if n_users < MIN_USERS:
        verdict, few = replace(log, status="REFUSED"), _too_few(n_users, "users")
    else:
        checked, verdict = gates(part, limits)
        effective = min(gate.check("ESS_LOW").value or 0.0 for gate in checked)
        few = "" if verdict.same or effective >= MIN_USERS else _too_few(effective, "users by their weights")
    made = []
    if few:
        refused = [LoggedRow(name, "L1", "switch_dr", "REFUSED", (few,)) for name in figures]
        return [Part(*named, row, (), None, len(chosen), n_users) for row in refused]
    rows = {row.metric: row for row in outcome_rows(part, plan, verdict, agreed, level)}
    for row in (rows[name] for name in figures):
        ends, influence = _effect(part, plan, row)
        whole = None
        if influence is not None:
            whole = np.zeros(len(values.user))
            whole[chosen] = influence / len(chosen)
        made.append(Part(*named, row, ends, whole, len(chosen), n_users))
    return made


def _figures(plan: Plan) -> tuple[str, ...]:
    """What parts are compared in: rates of harm, views, and the activity that has a margin."""
    harms = tuple(f"harm_prevalence.{label}" for label in plan.harms)
    return (*harms, *(name for name in ("views", *GATES) if name in plan.metrics))


def _effect(
    part: RequestValues, plan: Plan, row: LoggedRow
) -> tuple[tuple[Estimate, ...], FloatArray | None]:
    """The change on the scale that parts are compared on, and (n,) its influence, where it is one number."""
    if row.status == "REFUSED" or not row.ends:
        return (), None
    if row.metric.startswith(RATE):
        if row.change is None:
            return row.ends, None
        h = 1 + plan.harms.index(row.metric.removeprefix(RATE))
        z = [_rate_influence(part.main[p, h], part.main[p, 0]) for p in (0, 1)]
        return row.ends, z[1] - z[0]
    if row.relative is None:
        return tuple(verdict.estimate for verdict in row.verdicts), None
    if row.relative.is_fieller:
        return (row.relative,), None
    m = plan.metrics.index(row.metric)
    first, second = part.main[:, m]
    rho = float(second.sum() / first.sum())
    return (row.relative,), (second - rho * first) / first.mean()


def _rate_influence(harm: FloatArray, views: FloatArray) -> FloatArray:
    rate = harm.sum() / views.sum()
    return np.asarray(PER * (harm - rate * views) / views.mean(), dtype=np.float64)


def of_candidates(
    values: RequestValues,
    inside: BoolArray,
    named: tuple[Parts, str],
    rest: tuple[Plan, LogVerdict, float],
) -> list[Part]:
    """Views of the posts of a part, and the harm among them, over all requests."""
    plan, log, level = rest
    offsets, request = values.shown_offsets, np.repeat(np.arange(len(values.user)), values.n_shown)
    n_users = len(np.unique(values.user[request[inside & values.looked]]))
    n_requests = len(np.unique(request[inside & values.looked]))
    names = ("views", *(f"harm_prevalence.{label}" for label in plan.harms))
    rows = [LoggedRow(name, "L1", "switch_dr", log.status, log.reasons, log.cautions) for name in names]
    if n_users < MIN_USERS:
        few = _too_few(n_users, "users who looked at one of its posts")
        refused = [replace(row, status="REFUSED", reasons=(few,)) for row in rows]
        return [Part(*named, row, (), None, n_requests, n_users) for row in refused]
    part = _masked(values, inside, len(plan.harms), offsets)
    made = [_views_of(part, rows[0], level)]
    for h, row in enumerate(rows[1:]):
        scored = with_unscored(row, part, h) if row.status == "IDENTIFIED" else row
        rate = prevalence_row(part, scored, row.metric, h, level)
        ends, influence = _effect(part, plan, rate)
        made.append((rate, ends, None if influence is None else influence / len(values.user)))
    return [Part(*named, row, ends, whole, n_requests, n_users) for row, ends, whole in made]


def _masked(values: RequestValues, inside: BoolArray, n_harms: int, offsets: IntArray) -> RequestValues:
    """The requests with the views of the posts of a part alone."""
    seen = np.where(inside, values.exposure, 0.0)
    main = np.empty((2, 1 + n_harms, len(values.user)))
    unscored, bounds = np.zeros((2, n_harms, len(values.user))), np.zeros((2, n_harms, len(values.user)))
    for p in (0, 1):
        main[p, 0] = request_sums(seen[p], offsets)
    for h in range(n_harms):
        blind, harm = np.isnan(values.harm[h]), np.nan_to_num(values.harm[h])
        for p in (0, 1):
            main[p, 1 + h] = request_sums(seen[p] * harm, offsets)
            unscored[p, h] = request_sums(seen[p] * blind, offsets)
        apart = (seen[1] - seen[0]) * blind
        bounds[0, h] = request_sums(np.minimum(apart, 0.0), offsets)
        bounds[1, h] = request_sums(np.maximum(apart, 0.0), offsets)
    return replace(values, main=main, unscored=unscored, unscored_bounds=bounds)


def _views_of(
    part: RequestValues, row: LoggedRow, level: float
) -> tuple[LoggedRow, tuple[Estimate, ...], FloatArray | None]:
    first, second = part.main[:, 0]
    if row.status != "IDENTIFIED" or not first.sum() > 0:
        reason = (
            "views: expected some under the original" if row.status == "IDENTIFIED" else "see the whole log"
        )
        return replace(row, status="REFUSED", reasons=(*row.reasons, reason)), (), None
    once = np.ones(len(first))
    change = relative_change((first, once), (second, once), part.user, level=level)
    if change.is_fieller:
        return replace(row, relative=change, ends=(change,)), (change,), None
    rho = float(second.sum() / first.sum())
    influence = (second - rho * first) / first.mean() / len(first)
    row = replace(
        row, original=float(first.mean()), treatment=float(second.mean()), relative=change, ends=(change,)
    )
    return row, (change,), influence

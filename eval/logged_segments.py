"""Parts of a log told apart: a change that is good for the whole may hurt a country or one kind of device.

Sizes are shrunk, alarms are not: every figure is screened as it is, over all parts and figures together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special

from eval.clustered import LEVEL, Estimate
from eval.differing import Difference, compare_effects, shrink
from eval.guardrails import GATES
from eval.logged_parts import INSUFFICIENT, MIN_USERS, RATE, Gates, Part, of_candidates, of_requests
from eval.logged_plan import Plan
from eval.logged_request import RequestValues
from eval.logged_rows import LoggedRow, LogVerdict
from eval.margins import Margins
from eval.mix_change import MixRow, mix_rows
from eval.multiplicity import benjamini_hochberg, holm, p_above, p_below
from eval.overlap import Limits
from eval.shrinkage import SCREEN_Q, Colour, guard
from reranker.columns import IntArray


@dataclass(frozen=True)
class SegmentRow:
    """One figure in one part of a log: treatment minus original.

    Attributes:
        dimension, segment: the part; its column and value.
        metric, level, method, status, reasons, cautions, decision: as `LoggedRow`.
        scale: of the estimate: "relative" for views and activity, "per 1,000 views" for harm.
        original, treatment: the figure under each.
        estimate: the change; None where BOUNDED, whose interval is in low and high, or REFUSED.
        low, high: the interval.
        shrunk: the change drawn towards that of all parts, low and high; None where it is not comparable.
        p_worse: one-sided, of a change for the worse; None where nothing is worse by itself.
        q: p_worse adjusted over all parts and figures (Benjamini and Hochberg).
        alarm: whether q is at most 0.10.
        colour: of an activity against its margin; see `eval.shrinkage.guard`.
        n_requests, n_users: of the part.
    """

    dimension: str
    segment: str
    metric: str
    scale: Literal["relative", "per 1,000 views"]
    row: LoggedRow
    estimate: Estimate | None
    low: float | None
    high: float | None
    shrunk: tuple[float, float, float] | None
    p_worse: float | None
    q: float | None
    alarm: bool
    colour: Colour | None
    n_requests: int
    n_users: int

    @property
    def insufficient(self) -> bool:
        """Whether the part is too small to say anything of."""
        return any(reason.startswith(INSUFFICIENT) for reason in self.row.reasons)


@dataclass(frozen=True, eq=False)
class SegmentFindings:
    """All parts.

    Attributes:
        rows: by dimension, part and figure.
        differences: per dimension and figure, whether the parts differ among each other.
        mixes: per dimension of candidates and harm, what changed within parts and by their mix.
    """

    rows: tuple[SegmentRow, ...] = ()
    differences: tuple[Difference, ...] = ()
    mixes: tuple[MixRow, ...] = ()


def segment_findings(
    values: RequestValues,
    plan: Plan,
    log: LogVerdict,
    agreed: Margins,
    *,
    limits: Limits,
    gates: Gates,
    level: float = LEVEL,
) -> SegmentFindings:
    """What the parts of the plan say; nothing where the log as a whole has no weights to estimate by.

    Args:
        values: of all requests.
        plan: what was measured.
        log: what the gates said of the whole log.
        agreed: margins of the activity.
        limits: of the gate.
        gates: the gates on some requests under other limits.
        level: of the intervals.
    """
    if log.status not in {"IDENTIFIED", "BOUNDED"} or not plan.parts:
        return SegmentFindings()
    found: list[Part] = []
    n_gated = 2 * sum(len(parts.segments) for parts in plan.of_requests)
    limits = replace(limits, min_effective=MIN_USERS, max_z=_spread_over(limits.max_z, max(n_gated, 1)))
    for d, parts in enumerate(plan.of_requests):
        for code, name in parts.segments:
            chosen = np.flatnonzero(values.segment[d] == code)
            found += of_requests(values, chosen, (parts, name), (plan, log, agreed, level), (limits, gates))
    for d, parts in enumerate(plan.of_candidates):
        for code, name in parts.segments:
            found += of_candidates(values, values.group[d] == code, (parts, name), (plan, log, level))
    screened = _screened([_row(one) for one in found])
    rows, differences = _shrunk(screened, found, values.user, agreed)
    mixes = mix_rows(values, plan, level=level) if log.status == "IDENTIFIED" else ()
    return SegmentFindings(rows, differences, mixes)


def _spread_over(z: float, n: int) -> float:
    """The limit of each of n two-sided tests that holds all of them to that of one."""
    return float(-special.ndtri(special.ndtr(-z) / n))


def _row(found: Part) -> SegmentRow:
    row, ends = found.row, found.ends
    harm = row.metric.startswith(RATE)
    low = min((end.low for end in ends), default=None)
    high = max((end.high for end in ends), default=None)
    return SegmentRow(
        dimension=found.parts.name,
        segment=found.segment,
        metric=row.metric,
        scale="per 1,000 views" if harm else "relative",
        row=row,
        estimate=ends[0] if len(ends) == 1 else None,
        low=low,
        high=high,
        shrunk=None,
        p_worse=_p_worse(found, harm=harm),
        q=None,
        alarm=False,
        colour=None,
        n_requests=found.n_requests,
        n_users=found.n_users,
    )


def _p_worse(found: Part, *, harm: bool) -> float | None:
    """Of more harm, or of less activity in a part of the requests; the smaller one where bounded."""
    if not found.ends or (not harm and (found.row.metric not in GATES or found.parts.per != "request")):
        return None
    return min(p_above(end) if harm else p_below(end) for end in found.row.ends)


def _screened(rows: Sequence[SegmentRow]) -> list[SegmentRow]:
    """With alarms: which changes for the worse stand out of all that were looked at."""
    at = [i for i, row in enumerate(rows) if row.p_worse is not None]
    q = benjamini_hochberg(np.array([rows[i].p_worse for i in at], dtype=np.float64)) if at else np.zeros(0)
    made = list(rows)
    for i, one in zip(at, q.tolist(), strict=True):
        made[i] = replace(rows[i], q=one, alarm=one <= SCREEN_Q)
    return made


def _shrunk(
    rows: Sequence[SegmentRow], found: Sequence[Part], user: IntArray, agreed: Margins
) -> tuple[tuple[SegmentRow, ...], tuple[Difference, ...]]:
    """With sizes drawn together and colours, and whether the parts of each dimension differ."""
    made, differences = list(rows), []
    for dimension, metric in dict.fromkeys((row.dimension, row.metric) for row in rows):
        at = [
            i
            for i, row in enumerate(rows)
            if (row.dimension, row.metric) == (dimension, metric) and found[i].influence is not None
        ]
        effects = [found[i].ends[0] for i in at]
        if len(at) < 2:
            continue
        influence = [one for i in at if (one := found[i].influence) is not None]
        differences.append(
            compare_effects((dimension, metric), [rows[i].segment for i in at], effects, influence, user)
        )
        shrunk = shrink(effects)
        if shrunk is None:
            continue
        colours: Sequence[Colour | None] = [None] * len(at)
        margin_of = found[at[0]].row.margin_of
        if margin_of is not None and found[at[0]].parts.per == "request":
            screened = np.array([rows[i].alarm for i in at])
            colours = guard(shrunk, agreed.of(margin_of), screened=screened).colour
        ends = zip(shrunk.shrunk.tolist(), shrunk.low.tolist(), shrunk.high.tolist(), strict=True)
        for i, colour, end in zip(at, colours, ends, strict=True):
            made[i] = replace(made[i], shrunk=end, colour=colour)
    p = holm(np.array([one.p for one in differences])) if differences else np.zeros(0)
    held = [replace(one, p_adjusted=float(q)) for one, q in zip(differences, p.tolist(), strict=True)]
    return tuple(made), tuple(held)

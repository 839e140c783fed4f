"""A comparison on a log for people and for programs: a page, a table's cells, and one JSON file.

The same comparison gives the same bytes. A row that is refused has its reasons and no number.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.audit_findings import AuditRow
from eval.audit_words import p_words
from eval.clustered import Estimate
from eval.decision import Gate, Verdict
from eval.differing import Difference
from eval.logged_comparison import LoggedComparison
from eval.logged_page import render_logged
from eval.logged_parts import MIN_USERS
from eval.logged_policy import LogPolicy
from eval.logged_rows import LoggedRow
from eval.logged_segments import SegmentRow
from eval.logged_words import row_title, sentences
from eval.mix_change import MixRow
from eval.report import label_content
from eval.shrinkage import SCREEN_Q
from eval.support import SupportReport
from reranker.writing import atomic

SCHEMA = 1
NAME = "logged.json"
PAGE = "logged.html"
HEADINGS = (
    "metric",
    "level",
    "original",
    "treatment",
    "change",
    "interval",
    "adjusted p",
    "status",
    "decision",
)


def as_json(found: LoggedComparison) -> dict[str, Any]:
    """The whole comparison as plain values; null where there is no number."""
    return {
        "schema": SCHEMA,
        "digest": found.digest,
        "original": _policy(found.original),
        "treatment": _policy(found.treatment),
        "settings": asdict(found.settings),
        "served_by": found.served_by,
        "loggers": None if found.loggers is None else _loggers(found),
        "loggers_uneven": found.uneven,
        "models": {"demoted_by": list(found.demoted_by), "measured_by_the_demoter": list(found.own_ruler)},
        "labels": None if found.context.labels is None else label_content(found.context.labels),
        "n_requests": found.n_requests,
        "n_users": found.n_users,
        "n_unknown_requests": found.n_unknown,
        "status": found.status,
        "reasons": list(found.reasons),
        "remedy": found.remedy,
        "needed_users": found.needed_users,
        "gates": {
            name: _gate(gate) for name, gate in zip(("original", "treatment"), found.gates, strict=True)
        },
        "margins_digest": found.margins.digest,
        "margins_banner": found.banner,
        "guardrails": _guardrails(found.guardrails),
        "rows": [_row(row, found) for row in found.rows],
        "audits": [_audit(row, found) for row in found.audits],
        "segments": {
            "least_users": MIN_USERS,
            "screen_q": SCREEN_Q,
            "rows": [_segment(row, found) for row in found.segments.rows],
            "differences": [_difference(one, found) for one in found.segments.differences],
            "mixes": [_mix(one, found) for one in found.segments.mixes],
        },
        "sentences": sentences(found),
    }


def write_logged(found: LoggedComparison, directory: str | Path) -> tuple[Path, Path]:
    """Writes `logged.json` and `logged.html` into a directory, made where there is none; their paths."""
    folder = Path(directory)
    folder.mkdir(exist_ok=True)
    text = json.dumps(as_json(found), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    paths = folder / NAME, folder / PAGE
    for path, content in zip(paths, (text + "\n", render_logged(found)), strict=True):
        with atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return paths


def cells(row: LoggedRow) -> tuple[str, ...]:
    """A row of the table, under `HEADINGS`; a decision is on activity, and a finding on harm."""
    change = None if row.change is None else row.change.value
    relative = "" if row.relative is None else f" ({100 * row.relative.value:+.2f}%)"
    interval = "" if row.low is None or row.high is None else f"{row.low:+.4g} to {row.high:+.4g}"
    return (
        row_title(row),
        row.level,
        _number(row.original),
        _number(row.treatment),
        "" if change is None else f"{change:+.4g}{relative}",
        interval,
        "" if row.p_adjusted is None else p_words(row.p_adjusted),
        row.status,
        row.decision or row.finding or "",
    )


def _policy(policy: LogPolicy) -> dict[str, Any]:
    return {"name": policy.name, "digest": policy.digest, **policy.as_dict()}


def _gate(gate: SupportReport) -> dict[str, Any]:
    return {
        "status": gate.status,
        "cautions": list(gate.cautions),
        "needed_users": gate.needed_users,
        "remedy": gate.remedy,
        "checks": [
            {
                "code": check.code,
                "passed": check.passed,
                "value": _finite(check.value),
                "limit": check.limit,
                "detail": check.detail,
            }
            for check in gate.checks
        ],
    }


def _row(row: LoggedRow, found: LoggedComparison) -> dict[str, Any]:
    return {
        "metric": row.metric,
        "level": row.level,
        "policy": found.treatment.name,
        "baseline": found.original.name,
        "method": row.method,
        "status": row.status,
        "reasons": list(row.reasons),
        "cautions": list(row.cautions),
        "original": _finite(row.original),
        "treatment": _finite(row.treatment),
        "estimate": _estimate(row.change),
        "interval": None if row.low is None else [_finite(row.low), _finite(row.high)],
        "bounds": None if row.bounds is None else [_finite(end) for end in row.bounds],
        "relative": _estimate(row.relative),
        "margin_of": row.margin_of,
        "decision": row.decision,
        "family": row.family or None,
        "p": _finite(row.p),
        "p_adjusted": _finite(row.p_adjusted),
        "finding": row.finding,
        "verdicts": [_verdict(verdict) for verdict in row.verdicts],
        "checks": {name: _estimate(check) for name, check in row.checks.items()},
        "bias_bound": _finite(row.bias_bound),
        "model": _finite(row.model),
        "sensitivity": _finite(row.sensitivity),
        "n_requests": found.n_requests,
        "n_users": found.n_users,
        "config_digest": found.digest,
    }


def _part(found: LoggedComparison, n_users: int) -> dict[str, Any]:
    """What stands beside every number."""
    return {
        "level": "L1",
        "policy": found.treatment.name,
        "baseline": found.original.name,
        "n_users": n_users,
        "config_digest": found.digest,
    }


def _segment(one: SegmentRow, found: LoggedComparison) -> dict[str, Any]:
    return _part(found, one.n_users) | {
        "dimension": one.dimension,
        "segment": one.segment,
        "metric": one.metric,
        "scale": one.scale,
        "method": one.row.method,
        "status": one.row.status,
        "reasons": list(one.row.reasons),
        "cautions": list(one.row.cautions),
        "insufficient": one.insufficient,
        "original": _finite(one.row.original),
        "treatment": _finite(one.row.treatment),
        "estimate": _estimate(one.estimate),
        "interval": None if one.low is None else [_finite(one.low), _finite(one.high)],
        "shrunk": None if one.shrunk is None else [_finite(end) for end in one.shrunk],
        "p_worse": _finite(one.p_worse),
        "q": _finite(one.q),
        "alarm": one.alarm,
        "colour": one.colour,
        "decision": one.row.decision,
        "n_requests": one.n_requests,
    }


def _difference(one: Difference, found: LoggedComparison) -> dict[str, Any]:
    return asdict(one) | _part(found, one.n_users) | {"differs": one.differs}


def _mix(one: MixRow, found: LoggedComparison) -> dict[str, Any]:
    return _part(found, one.n_users) | {
        "dimension": one.dimension,
        "metric": one.metric,
        "status": found.status,
        "within": _estimate(one.within),
        "mix": _estimate(one.mix),
    }


def _audit(one: AuditRow, found: LoggedComparison) -> dict[str, Any]:
    content = asdict(one) | {"change": _estimate(one.change), "relative": _estimate(one.relative)}
    if one.represented is not None:
        content["represented"] = {"share": one.represented.share, "z": _finite(one.represented.z)}
    return content | _part(found, one.n_users) | {"unit": "per 1,000 views"}


def _guardrails(held: Gate) -> dict[str, Any]:
    return {
        "method": "intersection-union: each at the full level, as all must hold",
        "passed": held.passed,
        "measured": {name: verdict.decision for name, verdict in held.verdicts.items()},
        "failing": list(held.failing),
        "not_measured": list(held.not_measured),
    }


def _loggers(found: LoggedComparison) -> dict[str, Any]:
    assert found.loggers is not None
    return {
        "column": found.loggers.column,
        "by_score": found.loggers.by_score,
        "each": [
            {
                "name": one.name,
                "policy": None if one.policy is None else _policy(one.policy),
                "n_requests": one.n_requests,
                "temperature": one.temperature,
                "from_rank": one.from_rank,
            }
            for one in found.loggers.each
        ],
    }


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "value": _finite(found.value),
        "standard_error": _finite(found.standard_error),
        "low": _finite(found.low),
        "high": _finite(found.high),
        "level": found.level,
        "n_users": found.n_clusters,
    }


def _verdict(found: Verdict) -> dict[str, Any]:
    return {
        "decision": found.decision,
        "margin": found.margin,
        "low": _finite(found.low),
        "high": _finite(found.high),
        "low_90": _finite(found.test.low),
        "high_90": _finite(found.test.high),
        "n_needed": found.n_needed,
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _finite(value: float | None) -> float | None:
    """No end is null, as JSON has no infinity."""
    return None if value is None or not math.isfinite(value) else float(value)

"""A comparison on a log for people and for programs: sentences, a table's cells, and one JSON file.

The same comparison gives the same bytes. A row that is refused has its reasons and no number.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.clustered import LEVEL, Estimate
from eval.decision import Verdict, in_words
from eval.logged import LoggedComparison
from eval.logged_policy import LogPolicy
from eval.logged_rows import LoggedRow
from eval.support import SupportReport
from reranker.writing import atomic

SCHEMA = 1
NAME = "logged.json"
CAUTIONS = {
    "TAIL_CAUTION": "a few slates carry much of the weight, so the intervals may be somewhat narrow",
    "RIPS_DISAGREES": "the estimate by weights alone is another: the model and the weights do not agree",
    "SIPS_DISAGREES": "the estimate that assumes nothing of reading is another: people may look ahead",
}
HEADINGS = ("metric", "level", "original", "treatment", "change", "interval", "status", "decision")
TITLES = {
    "views": "posts viewed per request",
    "positive_activity": "positive activity per request",
    "all_activity": "all activity per request, angry reactions included",
    "comments": "comments per request",
    "reshares": "reshares per request",
}


def as_json(found: LoggedComparison) -> dict[str, Any]:
    """The whole comparison as plain values; null where there is no number."""
    return {
        "schema": SCHEMA,
        "digest": found.digest,
        "original": _policy(found.original),
        "treatment": _policy(found.treatment),
        "settings": asdict(found.settings),
        "served_by": found.served_by,
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
        "rows": [_row(row, found) for row in found.rows],
        "sentences": sentences(found),
    }


def write_logged(found: LoggedComparison, directory: str | Path) -> Path:
    """Writes `logged.json` into a directory, which is made where there is none; its path."""
    path = Path(directory)
    path.mkdir(exist_ok=True)
    path /= NAME
    with atomic(path) as temporary:
        text = json.dumps(as_json(found), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def sentences(found: LoggedComparison) -> list[str]:
    """What may be said, in plain words; none rests on a p-value."""
    said = [_of_log(found)]
    said += [
        _of_harm(row, found.settings.level)
        for row in found.rows
        if "harm" in row.metric and row.low is not None
    ]
    if found.banner:
        said.append(found.banner)
    for row in found.rows:
        title = TITLES.get(row.metric, row.metric).capitalize()
        if len(row.verdicts) == 1:
            said.append(in_words(title, row.verdicts[0]))
        elif row.verdicts:
            least, most = (in_words(name, one) for name, one in zip(_ENDS, row.verdicts, strict=True))
            said.append(f"{title}, {row.decision} over what was not logged. {least} {most}")
        if row.status == "REFUSED" and found.status != "REFUSED":
            said.append(f"{_title(row)} ({row.level}): refused: {'; '.join(row.reasons)}.")
        if row.model is not None and row.sensitivity is not None:
            said.append(
                f"{_title(row)}: a response model alone expects {row.model:+.4g}; predictions off by "
                f"{row.sensitivity:.1%} where the policies differ could make that nothing."
            )
    codes = dict.fromkeys(code for row in found.rows for code in row.cautions)
    return [*said, *(f"Caution ({code}): {CAUTIONS[code]}." for code in codes if code in CAUTIONS)]


_ENDS = ("At the least", "At the most")


def cells(row: LoggedRow) -> tuple[str, ...]:
    """A row of the table: metric, level, original, treatment, change, interval, status, decision."""
    change = None if row.change is None else row.change.value
    relative = "" if row.relative is None else f" ({100 * row.relative.value:+.2f}%)"
    interval = "" if row.low is None or row.high is None else f"{row.low:+.4g} to {row.high:+.4g}"
    return (
        _title(row),
        row.level,
        _number(row.original),
        _number(row.treatment),
        "" if change is None else f"{change:+.4g}{relative}",
        interval,
        row.status,
        row.decision or "",
    )


def _of_log(found: LoggedComparison) -> str:
    who = f"{found.n_requests:,} requests of {found.n_users:,} users"
    details = [check.detail for gate in found.gates for check in gate.checks if not check.passed]
    why = "; ".join(dict.fromkeys(details))
    users = "" if found.needed_users is None else f" About {found.needed_users:,} such users would do."
    mend = f" What would mend it: {found.remedy}.{users}" if found.remedy else ""
    what = "what the treatment would have changed"
    words = {
        "IDENTIFIED": f"{who} identify {what}, one request at a time.",
        "BOUNDED": f"{who} bound {what}: {why}.{mend}",
        "MODEL_ONLY": f"{who} cannot say {what}, and only a response model can guess: {why}.{mend}",
        "REFUSED": f"{who} cannot say {what}: {why}.{mend}",
    }
    return words[found.status]


def _of_harm(row: LoggedRow, level: float) -> str:
    """How much more or less harm, and over which requests that holds."""
    held = f"{100 * (level if row.level == 'L1' else LEVEL):g}% interval {row.low:+.4g} to {row.high:+.4g}"
    how = "where posts would stand" if row.level == "L0" else "as people would have read"
    if row.change is None:
        return f"{_title(row)}, {how}: between these ends whatever was not logged or scored: {held}."
    relative = "" if row.relative is None else f" ({100 * row.relative.value:+.2f}%)"
    model = " It depends on the browsing model." if row.status == "MODEL_ONLY" else ""
    return f"{_title(row)}, {how}: {row.change.value:+.4g}{relative}, {held}.{model}"


def _title(row: LoggedRow) -> str:
    kind, _, label = row.metric.partition(".")
    titles = {
        "harm_views": f"{label} in what is viewed, per request",
        "harm_prevalence": f"{label} per 1,000 views",
        "action": f"{label} per request",
    }
    return TITLES.get(row.metric) or titles[kind]


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
        "verdicts": [_verdict(verdict) for verdict in row.verdicts],
        "checks": {name: _estimate(check) for name, check in row.checks.items()},
        "bias_bound": _finite(row.bias_bound),
        "model": _finite(row.model),
        "sensitivity": _finite(row.sensitivity),
        "n_requests": found.n_requests,
        "n_users": found.n_users,
        "config_digest": found.digest,
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

"""A comparison as files: comparison.json, comparison.parquet and report.html.

The same comparison gives the same bytes. Every row says what it may be used for: level, policy, baseline,
estimate, interval, method, status, counts and the digest of all settings. No text of a post is in the first
two, and in the page only where it is asked for.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval.audit_findings import AuditRow
from eval.audit_labels import HumanLabels
from eval.clustered import Estimate
from eval.comparison import Comparison
from eval.exposure_family import METHOD as FAMILY_METHOD
from eval.guardrails import METHOD as GUARDRAIL_METHOD
from eval.guardrails import Guardrail
from eval.page import Note, render_page
from eval.provenance import PolicyFacts
from eval.rows import ALL, MEAN, Row
from eval.sweep import Sweep
from eval.topics import TOPIC_MARGIN
from eval.verdict import verdict
from reranker.writing import atomic

SCHEMA = 3
DIGITS = 10  # significant ones, so that the order of a sum does not show


def write_report(
    comparison: Comparison,
    sweep: Sweep | None,
    explanations: Sequence[Note],
    directory: str | Path,
    *,
    show_text: bool = False,
) -> tuple[Path, ...]:
    """Write comparison.json, comparison.parquet and report.html, and return their paths.

    Args:
        comparison: what to report.
        sweep: the same policy at other weights of the angry reaction, or None.
        explanations: why posts moved; those of other posts than the movers go to the JSON only.
        directory: where to; made where it is missing.
        show_text: put a short snippet of each mover's text on the page, where a note has it.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "comparison.json": comparison_json(comparison, sweep, explanations),
        "report.html": render_page(
            comparison,
            sweep,
            explanations,
            show_text=show_text,
            config_digest=config_digest(comparison),
        ),
    }
    for name, text in texts.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    table = comparison_table(comparison)
    with atomic(folder / "comparison.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return tuple(folder / name for name in ("comparison.json", "comparison.parquet", "report.html"))


def comparison_json(comparison: Comparison, sweep: Sweep | None, explanations: Sequence[Note] = ()) -> str:
    """The comparison as JSON with sorted keys: every figure with its interval, n and status."""
    digest = config_digest(comparison)
    content = {
        "schema": SCHEMA,
        "config_digest": digest,
        "original": asdict(comparison.original),
        "treatment": asdict(comparison.treatment),
        "differences": [
            {"key": key, "original": first, "treatment": second}
            for key, first, second in comparison.differences
        ],
        "data": {
            "name": comparison.context.data,
            "digest": comparison.data_digest,
            "n_requests": comparison.n_requests,
            "n_candidates": comparison.n_candidates,
        },
        "models": {
            "demoted_with": comparison.context.demoted_with,
            "measured_with": comparison.context.measured_with,
            "measured_by_the_demoter": comparison.own_ruler,
        },
        "method": {
            "browsing": comparison.browsing,
            "cluster": comparison.cluster,
            "n_clusters": comparison.n_clusters,
            "seed": comparison.seed,
            "n_resamples": comparison.n_resamples,
            "interval_level": comparison.interval_level,
            "exposure_family": FAMILY_METHOD,
        },
        "verdict": [asdict(sentence) for sentence in verdict(comparison)],
        "outcomes": [
            {"name": o.name, "kind": o.kind, "unit": o.unit, "meaning": o.meaning, "model": o.model}
            for o in comparison.outcomes
        ],
        "rows": [asdict(row) | contract(row, comparison, digest) for row in every_row(comparison)],
        "margins": {
            "digest": comparison.margins.digest,
            "planned_digest": comparison.context.planned_margins,
            "overall": dict(comparison.margins.overall),
        },
        "guardrails": [_guardrail(one, comparison, digest) for one in comparison.guardrails],
        "amplifications": [asdict(one) for one in comparison.amplifications],
        "labels": None if comparison.context.labels is None else label_content(comparison.context.labels),
        "audits": [_audit(one, comparison, digest) for one in comparison.audits],
        "topics": [asdict(one) | {"decisions": one.decisions} for one in comparison.topics],
        "concentrations": [asdict(one) for one in comparison.concentrations],
        "publishers": None if comparison.publishers is None else asdict(comparison.publishers),
        "segments_left_out": comparison.segments_left_out,
        "mixes": [asdict(mix) for mix in comparison.mixes],
        "diagnostics": asdict(comparison.diagnostics),
        "ineffective_demotions_per_1000": dict(comparison.context.ineffective),
        "angry_sweep": None if sweep is None else asdict(sweep),
        "explanations": [
            {
                "post_id": note.post_id,
                "request_id": note.request_id,
                "sentences": note.sentences,
                "terms": note.terms,
            }
            for note in explanations
        ],
    }
    return json.dumps(_plain(content), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def comparison_table(comparison: Comparison) -> pa.Table:
    """The rows as a table; what they rest on is in its metadata."""
    columns: dict[str, Any] = {}
    rows, digest = every_row(comparison), config_digest(comparison)
    for item in fields(Row):
        values: Any = [_plain(getattr(row, item.name)) for row in rows]
        is_number = "float" in str(item.type)
        kind: pa.DataType = pa.float64() if is_number else pa.int64() if item.type is int else pa.string()
        columns[item.name] = pa.array(values, pa.list_(pa.string()) if item.name == "reasons" else kind)
    added = [contract(row, comparison, digest) for row in rows]
    for name, kind in CONTRACT.items():
        columns[name] = pa.array([_plain(row[name]) for row in added], kind)
    facts = {
        "schema": str(SCHEMA),
        "config_digest": digest,
        "margins_digest": comparison.margins.digest,
        "original": comparison.original.name,
        "original_digest": comparison.original.digest,
        "treatment": comparison.treatment.name,
        "treatment_digest": comparison.treatment.digest,
        "data_digest": comparison.data_digest,
        "seed": str(comparison.seed),
        "n_resamples": str(comparison.n_resamples),
    }
    return pa.table(columns).replace_schema_metadata(facts)


def every_row(comparison: Comparison) -> tuple[Row, ...]:
    """Means over requests, then rates among views."""
    return (*comparison.rows, *comparison.view_rows)


CONTRACT: dict[str, pa.DataType] = {
    "policy": pa.string(),
    "baseline": pa.string(),
    "estimate": pa.float64(),
    "estimate_scale": pa.string(),
    "estimate_low": pa.float64(),
    "estimate_high": pa.float64(),
    "n_users": pa.int64(),
    "margin": pa.float64(),
    "decision": pa.string(),
    "n_needed": pa.int64(),
    "config_digest": pa.string(),
}


def contract(row: Row, comparison: Comparison, digest: str) -> dict[str, str | float | None]:
    """What a row needs to stand alone, beside its own fields.

    Args:
        row: of the comparison.
        comparison: what it is of.
        digest: of `config_digest`.
    """
    judged = None
    if row.segment_by == ALL and row.measure == MEAN:
        judged = comparison.guardrail(row.metric, row.browsing)
    verdict = None if judged is None else judged.verdict
    low, high = row.interval
    return {
        "policy": _policy(comparison.treatment),
        "baseline": _policy(comparison.original),
        "estimate": row.estimate,
        "estimate_scale": row.scale,
        "estimate_low": low,
        "estimate_high": high,
        "n_users": row.n_clusters if comparison.cluster == "users" else None,
        "margin": None if judged is None else judged.margin,
        "decision": None if verdict is None else verdict.decision,
        "n_needed": None if verdict is None else verdict.n_needed,
        "config_digest": digest,
    }


def _policy(facts: PolicyFacts) -> str:
    return f"{facts.name}@{facts.digest[:12]}"


def _guardrail(found: Guardrail, comparison: Comparison, digest: str) -> dict[str, Any]:
    """A verdict with what it rests on; its interval is not that of the row, which is from a bootstrap."""
    verdict = found.verdict
    change = None if verdict is None else verdict.estimate
    return {
        "metric": found.metric,
        "browsing": found.browsing,
        "level": found.level,
        "policy": _policy(comparison.treatment),
        "baseline": _policy(comparison.original),
        "estimate": None if change is None else change.value,
        "standard_error": None if change is None else change.standard_error,
        "low": None if verdict is None else verdict.low,
        "high": None if verdict is None else verdict.high,
        "low_90": None if verdict is None else verdict.test.low,
        "high_90": None if verdict is None else verdict.test.high,
        "p_equivalence": None if verdict is None else verdict.test.p,
        "method": GUARDRAIL_METHOD,
        "status": found.status,
        "reasons": found.reasons,
        "margin": found.margin,
        "margin_of": found.margin_of,
        "decision": found.decision,
        "n_needed": None if verdict is None else verdict.n_needed,
        "n_requests": found.n_requests,
        "n_users": found.n_clusters if comparison.cluster == "users" else None,
        "config_digest": digest,
    }


def label_content(labels: HumanLabels) -> dict[str, Any]:
    """What a file of labels holds, without the labels."""
    return {
        "name": labels.name,
        "digest": labels.digest,
        "samples": {
            harm: {
                "n_labels": sample.n_labels,
                "n_raters": sample.n_raters,
                "n_twice": sample.n_twice,
                "krippendorff_alpha": sample.agreement,
                "is_frame": sample.is_frame,
            }
            for harm, sample in labels.samples.items()
        },
    }


def audit_content(found: AuditRow) -> dict[str, Any]:
    """An audited change per 1,000 views as plain values; null where there is no number."""
    return asdict(found) | {
        "unit": "per 1,000 views",
        "change": _estimate(found.change),
        "relative": _estimate(found.relative),
    }


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {name: getattr(found, name) for name in ("value", "standard_error", "low", "high", "level")}


def _audit(found: AuditRow, comparison: Comparison, digest: str) -> dict[str, Any]:
    return audit_content(found) | {
        "policy": _policy(comparison.treatment),
        "baseline": _policy(comparison.original),
        "config_digest": digest,
    }


def config_digest(comparison: Comparison) -> str:
    """sha256 over everything that decides the figures: policies, data, outcomes, margins, method."""
    settings = {
        "schema": SCHEMA,
        "original": comparison.original.digest,
        "treatment": comparison.treatment.digest,
        "data": comparison.data_digest,
        "outcomes": [(o.name, o.kind, o.unit, o.model) for o in comparison.outcomes],
        "browsing": comparison.browsing,
        "margins": comparison.margins.digest,
        "topic_margin": TOPIC_MARGIN,
        "labels": None if comparison.context.labels is None else comparison.context.labels.digest,
        "cluster": comparison.cluster,
        "seed": comparison.seed,
        "n_resamples": comparison.n_resamples,
        "interval_level": comparison.interval_level,
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Containers as JSON has them, numbers rounded to `DIGITS`, null for an interval without an end."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value

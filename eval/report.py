"""A comparison as files: comparison.json, comparison.parquet and report.html.

The same comparison gives the same bytes. No text of a post is in the first two, and in the page only where
it is asked for.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval.comparison import Comparison
from eval.page import Note, render_page
from eval.rows import Row
from eval.sweep import Sweep
from eval.verdict import verdict
from reranker.writing import atomic

SCHEMA = 1
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
        "report.html": render_page(comparison, sweep, explanations, show_text=show_text),
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
    content = {
        "schema": SCHEMA,
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
        },
        "verdict": [asdict(sentence) for sentence in verdict(comparison)],
        "outcomes": [
            {"name": o.name, "kind": o.kind, "unit": o.unit, "meaning": o.meaning, "model": o.model}
            for o in comparison.outcomes
        ],
        "rows": [asdict(row) for row in comparison.rows],
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
    for item in fields(Row):
        values: Any = [_plain(getattr(row, item.name)) for row in comparison.rows]
        is_number = "float" in str(item.type)
        kind: pa.DataType = pa.float64() if is_number else pa.int64() if item.type is int else pa.string()
        columns[item.name] = pa.array(values, kind)
    facts = {
        "original": comparison.original.name,
        "original_digest": comparison.original.digest,
        "treatment": comparison.treatment.name,
        "treatment_digest": comparison.treatment.digest,
        "data_digest": comparison.data_digest,
        "seed": str(comparison.seed),
        "n_resamples": str(comparison.n_resamples),
    }
    return pa.table(columns).replace_schema_metadata(facts)


def _plain(value: Any) -> Any:
    """Containers as JSON has them, and numbers rounded to `DIGITS`."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value

"""A launch gate as files: JSON of every check, claim and dose, and one page; same input, same bytes."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eval.clustered import Estimate
from eval.launch_checks import Check
from eval.launch_dose import DoseResponse
from eval.launch_gate import LaunchGate
from eval.launch_page import render_gate
from eval.launch_plan import LaunchPlan
from reranker.writing import atomic

GATE_SCHEMA = 1


def write_gate(found: LaunchGate, directory: str | Path) -> tuple[Path, Path]:
    """Write gate.json and gate.html into a directory, which is made; each whole or not at all."""
    folder = Path(directory)
    folder.mkdir(exist_ok=True)
    text = json.dumps(gate_json(found), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    paths = folder / "gate.json", folder / "gate.html"
    for path, content in zip(paths, (text + "\n", render_gate(found)), strict=True):
        with atomic(path) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return paths


def gate_json(found: LaunchGate) -> dict[str, Any]:
    """The gate as JSON: the answer first, then what it rests on. An end that is unbounded is null."""
    compared = found.comparison
    content = {
        "schema": GATE_SCHEMA,
        "passed": found.passed,
        "reasons": list(found.reasons),
        "warnings": list(found.warnings),
        "largest_safe_strength": found.safe_strength,
        "level": "L0",
        "original": asdict(compared.original),
        "treatment": asdict(compared.treatment),
        "data": {
            "digest": compared.data_digest,
            "n_candidates": compared.n_candidates,
            "n_requests": compared.n_requests,
            f"n_{compared.cluster}": compared.n_clusters,
        },
        "plan": plan_json(found.plan) | {"planned": found.planned},
        "strengths_blended": found.blended,
        "checks": [_check(check) for check in found.checks],
        "claims": [asdict(claim) for claim in found.claims],
        "doses": [_dose(dose) for dose in found.doses],
        "effectiveness": found.effectiveness.as_dict(),
        "groups_too_small": list(found.small_groups),
        "segments": [asdict(one) | {"effect": _estimate(one.effect)} for one in found.segments.checks],
        "segments_not_judged": list(found.segments.not_judged),
        "largest_safe_settings": list(found.safe_settings),
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def plan_json(plan: LaunchPlan) -> dict[str, Any]:
    """The plan as JSON, with its digest."""
    return asdict(plan) | {
        "activity": {"overall": dict(plan.activity.overall), "country": dict(plan.activity.country)}
    }


def _check(check: Check) -> dict[str, Any]:
    return asdict(check) | {"ends": [_estimate(end) for end in check.ends], "holds": check.holds}


def _dose(dose: DoseResponse) -> dict[str, Any]:
    return asdict(dose) | {"effects": [None if one is None else _estimate(one) for one in dose.effects]}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": estimate.value,
        "standard_error": estimate.standard_error,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "n_clusters": estimate.n_clusters,
    }


def _plain(value: Any) -> Any:
    """JSON without what it has no word for."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

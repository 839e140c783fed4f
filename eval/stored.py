"""Sufficient statistics as bytes and files: equal statistics are equal bytes."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from eval.exact import ExactSums
from eval.sufficient import Plan, SufficientStatistics
from reranker.writing import atomic

VERSION = 1


def to_bytes(statistics: SufficientStatistics) -> bytes:
    """The statistics in the safetensors format, with the plan as metadata."""
    arrays = {
        "key": statistics.key,
        "n_requests": statistics.n_requests,
        "sketch": statistics.sketch,
    }
    for name in ("moments", "replicates"):
        sums: ExactSums = getattr(statistics, name)
        arrays |= {f"{name}_high": sums.high, f"{name}_low": sums.low}
    plan = json.dumps({"version": VERSION, "plan": asdict(statistics.plan)}, sort_keys=True)
    return save(arrays, {"statistics": plan})  # one entry: several come in no fixed order


def write_statistics(statistics: SufficientStatistics, path: str | Path) -> None:
    """Writes the statistics to a file that is there whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(to_bytes(statistics))


def read_statistics(path: str | Path) -> SufficientStatistics:
    """The statistics of a file.

    Raises:
        ValueError: the file holds something else, or was cut off.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            said = (file.metadata() or {}).get("statistics")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except SafetensorError as error:
        raise ValueError(f"{path}: expected sufficient statistics, got {error}") from None
    found = json.loads(said) if said else {}
    if found.get("version") != VERSION:
        raise ValueError(f"{path}: expected statistics of version {VERSION}, got {found.get('version')}")
    plan: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in found["plan"].items()
    }
    return SufficientStatistics(
        Plan(**plan),
        arrays["key"],
        arrays["n_requests"],
        ExactSums(arrays["moments_high"], arrays["moments_low"]),
        ExactSums(arrays["replicates_high"], arrays["replicates_low"]),
        arrays["sketch"],
    )

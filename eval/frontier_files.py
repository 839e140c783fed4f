"""A frontier as files: the recommended policy, its evidence, every trial, and a page.

The same frontier gives the same bytes.
"""

import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eval.frontier import Figures, Frontier, Point
from eval.frontier_page import render_page
from eval.frontier_words import finding, sentences
from eval.report import DIGITS
from reranker.policy import DESCRIPTIVE, Policy, build_policy
from reranker.writing import atomic

SCHEMA = 1
NAMES = ("recommended.toml", "frontier.json", "trials.parquet", "frontier.html")


def write_frontier(found: Frontier, directory: str | Path, *, data: str = "") -> tuple[Path, ...]:
    """Write recommended.toml, frontier.json, trials.parquet and frontier.html, and return their paths.

    Args:
        found: what to write.
        directory: where to; made where it is missing.
        data: a name for the data, for the page.
    """
    texts = (policy_toml(found), evidence_json(found, data=data), None, render_page(found, data=data))
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    files = tuple(folder / name for name in NAMES)
    for path, text in zip(files, texts, strict=True):
        with atomic(path) as temporary:
            if text is None:
                pq.write_table(trials_table(found), temporary)
            else:
                temporary.write_text(text, encoding="utf-8")
    return files


def policy_toml(found: Frontier) -> str:
    """The recommended policy as a file of its own, every setting in it and none inherited.

    Its digest is that of the policy that was measured.
    """
    policy = found.policy
    own = dict(found.recommended.values)
    changed = {key for d in found.space.dimensions if d.key in own for key in d.settings}
    origin = f"evidence: frontier.json, policy {found.recommended.number} of {len(found.points)}"
    sources = dict(policy.sources) | dict.fromkeys(sorted(changed), origin)
    described = {
        "schema": 1,
        "name": "frontier",
        "date": "",
        "title": f"Least harm within limits, searched around {found.base.name}",
        "description": f"{finding(found)} Data {found.data_digest[:12]}, seed {found.plan.seed}.",
    }
    content = _settings(policy)
    lines = ["# Written by `reranker frontier`; try it with: reranker rank FEEDS --policy recommended.toml"]
    lines += _toml(described | content | {"sources": sources})
    return "\n".join(lines).rstrip() + "\n"


def evidence_json(found: Frontier, *, data: str = "") -> str:
    """All that the recommendation rests on, as JSON."""
    plan, measures = found.plan, found.measures
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "level": "L0",
        "data": data,
        "data_digest": found.data_digest,
        "original": {"name": found.original.name, "digest": found.original.digest},
        "base": {"name": found.base.name, "digest": found.base.digest, "model": found.base.model},
        "recommended": found.recommended.number,
        "recommended_digest": found.policy.digest,
        "simpler": found.simpler.number,
        "confirmed": found.confirmed,
        "failures": list(found.failures),
        "sentences": [one.text for one in sentences(found)],
        "harm": dict(measures.harm),
        "harm_left_out": list(measures.left_out),
        "measured_by_what_demotes": list(found.own_ruler),
        "activity": measures.activity,
        "statistics": dict(measures.columns),
        "limits": {limit.name: limit.margin for limit in found.limits},
        "space": {
            "digest": found.space.digest,
            "ranges": {d.key: [d.low, d.high] for d in found.space.dimensions},
            "left_out": list(found.space.left_out),
        },
        "search": {"sampler": "TPE, multi-objective", "optuna": version("optuna"), "n_trials": plan.n_trials},
        "seed": plan.seed,
        "shown": plan.shown,
        "interval": f"expanded percentile bootstrap over {found.cluster}, {plan.n_resamples} resamples, 95%",
        "band": "simultaneous over harm and activity of the front: largest t of the same resamples, 95%",
        "n_candidates": found.n_candidates,
        "n_requests": found.n_requests,
        "n_users": {"train": found.n_users[0], "held_out": found.n_users[1]},
        "points": [_point(point) for point in found.points],
    }
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


def trials_table(found: Frontier) -> pa.Table:
    """One row per policy: what it sets, and each change with its interval; held-out null where not asked."""
    rows: list[dict[str, Any]] = []
    for point in found.points:
        row: dict[str, Any] = {
            "number": point.number,
            "kind": point.kind,
            "digest": point.digest,
            "holds": point.holds,
            "on_front": point.on_front,
        }
        row |= {f"set.{key}": point.values.get(key) for key in found.space.keys}
        for half, figures in (("train", point.train), ("held_out", point.held_out)):
            for name in found.measures.statistics:
                parts = _figure(figures, name)
                row |= {f"{half}.{name}.{part}": parts.get(part) for part in PARTS}
        rows.append(_plain(row))
    return pa.Table.from_pylist(rows, schema=_schema(found))


PARTS = ("value", "low", "high", "standard_error")


def _schema(found: Frontier) -> pa.Schema:
    fields: list[tuple[str, pa.DataType]] = [("number", pa.int64()), ("kind", pa.string())]
    fields += [("digest", pa.string()), ("holds", pa.bool_()), ("on_front", pa.bool_())]
    fields += [(f"set.{key}", pa.float64()) for key in found.space.keys]
    statistics = found.measures.statistics
    fields += [
        (f"{half}.{name}.{part}", pa.float64())
        for half in ("train", "held_out")
        for name in statistics
        for part in PARTS
    ]
    return pa.schema(fields)


def _figure(figures: Figures | None, name: str) -> dict[str, float]:
    return {} if figures is None else {part: getattr(figures[name], part) for part in PARTS}


def _point(point: Point) -> dict[str, Any]:
    halves = {"train": point.train, "held_out": point.held_out}
    return {
        "number": point.number,
        "kind": point.kind,
        "digest": point.digest,
        "values": dict(point.values),
        "holds": point.holds,
        "on_front": point.on_front,
        "band": None if point.band is None else list(point.band),
        **{
            half: None if figures is None else {name: _figure(figures, name) for name in figures}
            for half, figures in halves.items()
        },
    }


def _settings(policy: Policy) -> dict[str, Any]:
    """What decides the ranking and is not as in an empty policy."""
    empty = build_policy({"schema": 1, "name": "empty"}, "empty").model_dump(mode="json", by_alias=True)
    content = policy.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=set(DESCRIPTIVE))
    return {key: value for key, value in content.items() if value != empty.get(key) and key != "schema"}


def _toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Lines of a table: its values, then the tables in it."""
    lines = [f"{_key(name)} = {_value(x)}" for name, x in table.items() if not isinstance(x, dict)]
    if path and lines:
        lines.insert(0, f"[{'.'.join(map(_key, path))}]")
    lines += [""] if lines else []
    for name, x in table.items():
        if isinstance(x, dict):
            lines += _toml(x, (*path, name))
    return lines


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _value(value: Any) -> str:
    """A string, number, truth or list as TOML; JSON writes these alike."""
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Containers as JSON has them, numbers rounded, null for what has no end or no value."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value

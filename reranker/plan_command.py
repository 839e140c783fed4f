"""`reranker plan`: cores, GPUs and bytes that a platform's day takes, and what of that was measured."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer
from rich.table import Table

from reranker.capacity import Plan, Traffic, plan_capacity
from reranker.capacity_rates import RATES, read_rates
from reranker.policy import PolicyError
from reranker.terminal import console

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
Speed = Literal["default", "fast"]


def plan(
    *,
    impressions: Annotated[
        float, typer.Option("--impressions-per-day", help="Slots shown, such as 1e10.", show_default=False)
    ],
    candidates: Annotated[int, typer.Option("--candidates", help="Of each request.", min=1)] = 200,
    policies: Annotated[int, typer.Option("--policies", help="That are compared.", min=1)] = 2,
    posts: Annotated[
        float | None,
        typer.Option("--posts-per-day", help="Distinct texts to read; default: a tenth of the impressions."),
    ] = None,
    characters: Annotated[float, typer.Option("--characters", help="Of a text, on average.")] = 200.0,
    slots: Annotated[int, typer.Option("--slots", help="Shown of each request.", min=1)] = 10,
    speed: Annotated[str, typer.Option("--speed", help='"default" or "fast".')] = "default",
    retention_days: Annotated[float, typer.Option("--retention-days", help="Logs are kept.")] = 30.0,
    sample: Annotated[
        float, typer.Option("--sample", help="Share of users who are logged and evaluated.")
    ] = 0.01,
    gpu_posts_per_s: Annotated[
        float | None,
        typer.Option("--gpu-posts-per-s", help="What benchmarks/gpu.py printed on one of your GPUs."),
    ] = None,
    rates: Annotated[
        Path, typer.Option("--rates", help="What one of your cores does, as reranker/capacity.toml.")
    ] = RATES,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what a day of traffic takes: cores, GPUs and bytes, what dominates, and what is extrapolated."""
    chosen: Speed | None = next((one for one in get_args(Speed) if one == speed), None)
    if chosen is None:
        raise PolicyError(f"--speed: expected one of {list(get_args(Speed))}, got {speed!r}")
    traffic = Traffic(
        impressions, candidates, policies, posts, characters, slots, retention_days, sample, chosen
    )
    found = plan_capacity(traffic, read_rates(rates), gpu_posts_per_s)
    if as_json:
        console.print_json(json.dumps(as_content(traffic, found)))
    else:
        print_plan(found)


def as_content(traffic: Traffic, found: Plan) -> dict[str, object]:
    """A plan as JSON has it."""
    return {
        "schema": 1,
        "traffic": asdict(traffic),
        "stages": [asdict(stage) for stage in found.stages],
        "core_hours": found.core_hours,
        "dominant": found.dominant.name,
        "gpus": asdict(found.gpus),
        "volumes": [asdict(volume) for volume in found.volumes],
        "memory_mib": asdict(found.memory),
        "assumptions": list(found.assumptions),
    }


def print_plan(found: Plan) -> None:
    """The stages, the volumes, and what both rest on."""
    table = Table("a day's work", "amount", "a core does", "core hours", "share", "cores", box=None)
    table.add_column("basis", min_width=len("extrapolated"))  # the column that a narrow terminal keeps whole
    for stage in found.stages:
        share = stage.core_hours / found.core_hours if found.core_hours else 0.0
        table.add_row(
            stage.name,
            f"{stage.amount:.3g} {stage.unit}",
            f"{stage.per_core:.3g}/s",
            _hours(stage.core_hours),
            f"{share:.1%}",
            f"{stage.cores:,}",
            stage.basis,
        )
    console.print(table, soft_wrap=True)
    kept = Table("stored", "each", "a day", "kept", "", box=None)
    for volume in found.volumes:
        kept.add_row(
            volume.name,
            f"{volume.bytes_each:.4g} B",
            said_bytes(volume.per_day),
            said_bytes(volume.kept),
            volume.note,
        )
    console.print(kept, soft_wrap=True)
    share = found.dominant.core_hours / found.core_hours
    needed = "" if found.gpus.needed is None else f"{found.gpus.needed:,}; "
    lines = [
        f"dominates: {found.dominant.name}, {share:.0%} of {_hours(found.core_hours)} core hours a day",
        f"GPUs to score texts: {needed}{found.gpus.note}",
        f"memory: {found.memory.evaluate:.0f} MiB a process that evaluates, whatever the size of the log; "
        f"up to {found.memory.classifier:.0f} MiB one that scores texts",
        *(f"assumed: {one}" for one in found.assumptions),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _hours(hours: float) -> str:
    return f"{hours:.3g}" if hours < 100 else f"{hours:,.0f}"


def said_bytes(n: float) -> str:
    """A number of bytes for people, by powers of 1,000."""
    for unit in _BYTES[:-1]:
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} {_BYTES[-1]}"

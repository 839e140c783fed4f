"""`reranker audit COMMAND`: logs of impressions, checked before anything is estimated from them."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from reranker.columns import FeedError
from reranker.terminal import console

audit_app = typer.Typer(help="Logs of impressions.", no_args_is_help=True)

LogsArgument = Annotated[
    Path,
    typer.Argument(help="A .parquet file of impressions, or a directory of such.", show_default=False),
]


@audit_app.callback()
def _audit() -> None:
    """Logs of impressions."""  # keeps `validate` a command of its own while it is the only one


@audit_app.command("validate")
def validate_command(
    logs: LogsArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check every request of LOGS, count what it holds, and say which estimators it supports."""
    from reranker.impression_files import read_impressions  # noqa: PLC0415 - pyarrow, as every command does
    from reranker.log_summary import summarise, supported  # noqa: PLC0415 - compiled loops

    found = summarise(read_impressions(logs))
    if not found.n_requests:
        raise FeedError(f"{logs}: expected requests, got none")
    counts = {
        "requests": found.n_requests,
        "users": found.n_users,
        "candidates": found.n_candidates,
        "slots": found.n_slots,
        "views": found.n_views if found.has_views else None,
        "slots with an action": found.n_acted if found.columns["action"] else None,
        "of these without a view": found.n_without_view if found.has_views else None,
        "requests with propensities": found.n_requests - found.n_unlogged,
        "requests drawn": found.n_drawn,
        "propensities recomputed": found.n_recomputed,
        "of these disagreeing": found.n_disagreeing if found.n_recomputed else None,
        "requests cut short": found.n_truncated if "n_total" in found.columns["optional"] else None,
    }
    supports = supported(found)
    if as_json:
        estimators = [{"estimator": s.estimator, "supported": s.supported, "why": s.why} for s in supports]
        content = {"counts": counts, "missing": found.missing(), "estimators": estimators}
        console.print_json(json.dumps(content))
        return
    table = Table(box=None, show_header=False)
    for name, count in counts.items():
        table.add_row(name, "not logged" if count is None else f"{count:,}")
    console.print(table)
    for line in found.missing():
        console.print(f"missing: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    for one in supports:
        answer = "yes" if one.supported else "no"
        why = f" ({one.why})" if one.why else ""
        console.print(f"{answer:>3}  {one.estimator}{why}", markup=False, highlight=False, soft_wrap=True)

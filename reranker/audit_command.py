"""`reranker audit COMMAND`: logs of impressions, checked before anything is estimated from them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table

from reranker.columns import FeedError
from reranker.inputs import OutputOption, check_output, told
from reranker.terminal import console, errors

if TYPE_CHECKING:
    from reranker.impressions import ImpressionLog

audit_app = typer.Typer(help="Logs of impressions.", no_args_is_help=True)

LogsArgument = Annotated[
    Path,
    typer.Argument(help="A .parquet file of impressions, or a directory of such.", show_default=False),
]


AuditLabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--audit-labels",
        help="Labels by people: .csv or .parquet with item, harm, y, sampling_prob and maybe rater.",
        show_default=False,
    ),
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


PolicyArgument = Annotated[
    str,
    typer.Option(
        help='"logger", weights such as like=1,love=5,angry=0, or NAME_OR_FILE[+OVERLAY...].',
        show_default=False,
    ),
]


class _Files:
    """The batches of a log, read anew each time they are gone through."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> "Iterator[ImpressionLog]":
        from reranker.impression_files import read_impressions  # noqa: PLC0415

        return read_impressions(self.path)


@audit_app.command("compare")
def compare_command(
    logs: LogsArgument,
    *,
    original: PolicyArgument,
    treatment: PolicyArgument,
    output: OutputOption,
    temperature: Annotated[
        float | None, typer.Option(help="Of both policies; 0 draws nothing. Default: that of the logger.")
    ] = None,
    scale: Annotated[str, typer.Option(help='Unit of the temperature: "linear" or "log" scores.')] = "linear",
    margins: Annotated[
        Path | None, typer.Option(help="Margins of the activity, as eval/margins.toml.")
    ] = None,
    planned_margins: Annotated[
        str | None, typer.Option(help="Digest of the margins as planned; a warning where others are used.")
    ] = None,
    audit_labels: AuditLabelsOption = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(
            help="A segment or group of the log to tell apart; repeatable. Default: country, language, "
            "device, relation, media and publisher, where logged."
        ),
    ] = None,
    mixture: Annotated[
        str | None, typer.Option(help="The segment that says which of several loggers served each request.")
    ] = None,
    logger: Annotated[
        list[str] | None,
        typer.Option(help="Of a mixture: VALUE=POLICY, or VALUE=score where all draw over the logged score."),
    ] = None,
) -> None:
    """What a treatment would have changed against an original; LOGS that cannot say are refused."""
    from eval.audit_labels import read_labels  # noqa: PLC0415 - the evaluation, as every command does
    from eval.logged import compare_logged  # noqa: PLC0415
    from eval.logged_comparison import LoggedContext, LoggedSettings  # noqa: PLC0415
    from eval.logged_mixture import parse_mixture  # noqa: PLC0415
    from eval.logged_policy import Scale, parse_policy  # noqa: PLC0415
    from eval.logged_report import HEADINGS, cells, write_logged  # noqa: PLC0415
    from eval.logged_words import sentences  # noqa: PLC0415
    from eval.margins import SHIPPED, load_margins  # noqa: PLC0415

    check_output(output)
    if scale not in {"linear", "log"}:
        raise FeedError(f"--scale: expected linear or log, got {scale!r}")
    if (mixture is None) != (not logger):
        raise FeedError("--mixture: expected with at least two --logger, got one without the other")
    unit = cast("Scale", scale)
    pair = [parse_policy(one, temperature=temperature, scale=unit) for one in (original, treatment)]
    loggers = None if mixture is None else parse_mixture(mixture, logger or (), scale=unit)
    try:
        with told(), errors.status("comparing"):
            context = LoggedContext(
                load_margins(margins or SHIPPED),
                planned_margins,
                None if audit_labels is None else read_labels(audit_labels),
                loggers,
            )
            settings = LoggedSettings(segments=None if segment is None else tuple(segment))
            found = compare_logged(_Files(logs), pair[0], pair[1], settings=settings, context=context)
    except ModuleNotFoundError as error:
        raise FeedError(str(error)) from None
    _, page = write_logged(found, output)
    for name, policy in (("original", original), ("treatment", treatment)):
        console.print(f"{name}: {policy}", markup=False, highlight=False, soft_wrap=True)
    table = Table(*HEADINGS, box=None)
    for row in found.rows:
        table.add_row(*cells(row))
    console.print(table)
    for sentence in sentences(found):
        console.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True, markup=False)

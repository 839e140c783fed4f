"""`reranker audit COMMAND`: logs checked and compared, and posts drawn for people to label."""

import json
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.table import Table

from reranker.anger import AngerBaseline
from reranker.columns import FeedError
from reranker.engine import Engine, with_engine
from reranker.inputs import (
    DeviceOption,
    DomainsOption,
    FeedsArgument,
    InteractionsOption,
    ModelOption,
    OutputOption,
    Reading,
    ScoresOption,
    SetOption,
    check_output,
    harms_of,
    read,
    told,
)
from reranker.location import Location
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.terminal import console, errors

_REQUESTS, _TEMPERATURE, _TRUE_USERS = 5, 0.3, 100_000  # of the example

audit_app = typer.Typer(help="Logs of impressions, and labels by people.", no_args_is_help=True)

LogsArgument = Annotated[
    Location,
    typer.Argument(
        parser=Location.of,
        help="A .parquet file of impressions, or a directory of such; a path or a URL such as s3://.",
        show_default=False,
    ),
]


AuditLabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--audit-labels",
        help="Labels by people: .csv or .parquet with item, harm, y, sampling_prob and maybe rater.",
        show_default=False,
    ),
]


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


@audit_app.command("compare")
@with_engine
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
    engine: Engine,
) -> None:
    """What a treatment would have changed against an original; LOGS that cannot say are refused.

    With --engine ray each file of LOGS is read by one worker, which needs it under the same name, and to open
    a URL itself.
    """
    from eval.audit_labels import read_labels  # noqa: PLC0415 - the evaluation, as every command does
    from eval.logged import compare_logged  # noqa: PLC0415
    from eval.logged_batches import LogFiles  # noqa: PLC0415
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
        with told(), errors.status("comparing"), engine.session() as session:
            context = LoggedContext(
                load_margins(margins or SHIPPED),
                planned_margins,
                None if audit_labels is None else read_labels(audit_labels),
                loggers,
            )
            settings = LoggedSettings(segments=None if segment is None else tuple(segment))
            found = compare_logged(
                LogFiles(logs, session), pair[0], pair[1], settings=settings, context=context
            )
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


@audit_app.command("sample")
def sample_command(
    feeds: FeedsArgument,
    *,
    output: OutputOption,
    original: Annotated[str, typer.Option("--original", help="The policy in force.")] = "fb-2018-h1",
    treatment: Annotated[str, typer.Option("--treatment", help="The policy to try.")] = "fb-2020-10",
    settings: SetOption = None,
    set_treatment: Annotated[
        list[str] | None, typer.Option("--set-treatment", help="For the treatment only; repeatable.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Posts to label, on average.", min=1)] = 500,
    seed: Annotated[int, typer.Option("--seed", help="Of the drawing.", min=0)] = 0,
    harm: Annotated[
        list[str] | None,
        typer.Option("--harm", help="What to label; repeatable. Default: what a policy demotes, or all."),
    ] = None,
    shown: Annotated[
        str, typer.Option("--shown", help='As of compare: "10%", "25", "rbp:0.8", "log2".')
    ] = "10%",
    interactions: InteractionsOption = None,
    model: ModelOption = "bundled",
    domains: DomainsOption = None,
    scores: ScoresOption = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Write texts beside the posts.")] = False,
    device: DeviceOption = "auto",
) -> None:
    """Draw posts of FEEDS for people to label, by how differently two policies show them.

    Fill the column y of the file (1 harmful, 0 not, between for a doubt), every row, and give it to
    `reranker compare --audit-labels`. Labellers should not see the columns stratum and sampling_prob.
    """
    from eval.audit_draw import draw_feed_audit, harms_to_label, write_to_label  # noqa: PLC0415
    from eval.audit_sample import FEWEST_POSITIVES  # noqa: PLC0415
    from eval.exposure import browsing  # noqa: PLC0415
    from eval.outcomes import standard_outcomes  # noqa: PLC0415

    check_output(output, ".csv")
    common = tuple(settings or ())
    policies = [load_policy(original, common), load_policy(treatment, (*common, *(set_treatment or ())))]
    with told():
        browsing(shown)
    feed = read(feeds, interactions)
    harms = harms_of(feed, policies, scores, Reading(model, domains, device=device))
    baseline = AngerBaseline.fit(feed)
    first, second = (Reranker(policy, baseline=baseline).rank(feed, harms) for policy in policies)
    demoted = [label for policy in policies for label in policy.demotion]
    with told():
        chosen = harms_to_label(standard_outcomes(feed, harms), demoted, harm or ())
        drawn = draw_feed_audit(first, second, chosen, n_labels=n, seed=seed, shown=shown)
    write_to_label(drawn, output, feed.text.to_list() if show_text else None)
    console.print(f"{len(drawn.item):,} of {drawn.n_frame:,} posts to label: {output}", soft_wrap=True)
    for name, count in drawn.expected.items():
        few = f"; below {FEWEST_POSITIVES} an interval is rough" if count < FEWEST_POSITIVES else ""
        console.print(f"{name}: about {count:,.0f} of them harmful by the scores{few}", soft_wrap=True)


@audit_app.command("example")
def example_command(
    *,
    output: OutputOption,
    users: Annotated[
        int, typer.Option("--users", help="Simulated users, of 5 requests each.", min=1_500)
    ] = 2_000,
    seed: Annotated[int, typer.Option("--seed", help="Of the log.", min=0)] = 0,
) -> None:
    """Write the log of a simulated ranker that draws at random, and say what is true of its angry weight."""
    from eval.logged_words import metric_title  # noqa: PLC0415
    from eval.simulate.impressions import LABEL, impression_log  # noqa: PLC0415
    from eval.simulate.testbed import angry_zero, logged, true_values  # noqa: PLC0415
    from reranker.impression_files import write_impressions  # noqa: PLC0415

    check_output(output, ".parquet")
    with errors.status("simulating"):
        log = impression_log(logged(users, _REQUESTS, _TEMPERATURE, seed))
        truth = true_values(_TRUE_USERS, _TEMPERATURE, seed)
        write_impressions([log], output)
    console.print(f"{log.n:,} requests of {users:,} users: {output}", soft_wrap=True)
    console.print(f"true of the angry reaction at 0, per request (from {_TRUE_USERS:,} other users):")
    table = Table("what is true", "as logged", "at 0", "change", "standard error", box=None)
    names = ("views", f"harm_views.{LABEL}", "action.like", "comments", "action.angry")
    columns = (truth.logger, truth.target, truth.difference, truth.standard_error)
    for name, *values in zip(names, *columns, strict=True):
        table.add_row(metric_title(name), *(f"{value:.5g}" for value in values))
    console.print(table)
    weights = ",".join(f"{name}={weight:g}" for name, weight in angry_zero().items())
    console.print("try:")
    for command in (
        f"reranker audit validate {output}",
        f"reranker audit compare {output} --original logger --treatment {weights} --scale log -o result",
    ):
        console.print(f"  {command}", markup=False, highlight=False, soft_wrap=True)

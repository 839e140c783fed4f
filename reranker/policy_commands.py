"""`reranker policies`: policies as dated, named data, and `reranker weights`, what their weights carry."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from reranker.effectiveness import measure_effectiveness, refuse_to_demote_everything
from reranker.inputs import (
    FeedsArgument,
    InteractionsOption,
    PolicyOption,
    Reading,
    ScoresOption,
    SetOption,
    ranked,
    read,
    with_reading,
)
from reranker.policy import Policy
from reranker.presets import differences, list_presets, load_policy, numbers_without_source, switch_overlay
from reranker.scoring import effective_weights
from reranker.terminal import console, effectiveness_line, print_unscored

policies_app = typer.Typer(help="Policies as dated, named data.", no_args_is_help=True)


@policies_app.command("list")
def policies_list() -> None:
    """List the bundled policies and overlays."""
    table = Table(box=None)
    table.add_column("name", no_wrap=True)
    for column in ("date", "kind", "digest"):
        table.add_column(column, no_wrap=True)
    table.add_column("what it is")
    for info in list_presets():
        table.add_row(info.name, info.date, info.kind, (info.digest or "")[:8], info.title)
    console.print(table)


@policies_app.command("show")
def policies_show(
    policy: Annotated[str, typer.Argument(help="NAME_OR_FILE[+OVERLAY...]", show_default=False)],
    settings: SetOption = None,
) -> None:
    """Print a policy with everything it inherits, and where each number comes from."""
    chosen = load_policy(policy, settings or ())
    console.print(f"[bold]{chosen.name}[/bold]  {chosen.date}  digest {chosen.digest}", highlight=False)
    console.print(chosen.title, chosen.description, sep="\n")
    table = Table("key", "value", "source")
    for key, value, _ in differences(chosen, load_policy("uniform", ['score.order_by="engagement"'])):
        if value is not None:
            table.add_row(key, str(value), _source_of(chosen, key))
    console.print(table)


@policies_app.command("diff")
def policies_diff(
    first: Annotated[str, typer.Argument(show_default=False)],
    second: Annotated[str, typer.Argument(show_default=False)],
) -> None:
    """Print the keys in which two policies differ."""
    left, right = load_policy(first), load_policy(second)
    found = differences(left, right)
    if not found:
        console.print(f"{first} and {second} have the same settings: digest {left.digest[:12]}")
        return
    table = Table("key", first, second)
    for key, a, b in found:
        table.add_row(key, "-" if a is None else str(a), "-" if b is None else str(b))
    console.print(table)


@policies_app.command("check")
@with_reading
def policies_check(
    policy: Annotated[str, typer.Argument(help="NAME_OR_FILE[+OVERLAY...]", show_default=False)],
    feeds: Annotated[Path | None, typer.Option("--feeds", help="Try its demotions on these feeds.")] = None,
    settings: SetOption = None,
    interactions: InteractionsOption = None,
    scores: ScoresOption = None,
    *,
    reading: Reading,
) -> None:
    """Check a policy: its keys, its sources and, on feeds, whether its demotions demote."""
    chosen = load_policy(policy, settings or ())
    console.print(f"{chosen.name}: valid, digest {chosen.digest}", highlight=False)
    unsourced = numbers_without_source(policy.split("+", maxsplit=1)[0])
    if unsourced:
        console.print(f"numbers without a source: {', '.join(unsourced)}", style="yellow")
    if feeds is None:
        return
    ranking = ranked(feeds, chosen, interactions, scores, reading)
    refuse_to_demote_everything(ranking)
    console.print(effectiveness_line(measure_effectiveness(ranking)), soft_wrap=True)
    print_unscored(ranking)


@policies_app.command("switch")
def policies_switch(
    policy: Annotated[str, typer.Argument(help="The policy in use.", show_default=False)],
    overlay: Annotated[str, typer.Argument(help="The overlay, such as break-the-glass.", show_default=False)],
    on: Annotated[bool, typer.Option("--on/--off", help="Lay it on or take it off.")],
    by: Annotated[str, typer.Option("--by", help="Who decided.")],
    reason: Annotated[str, typer.Option("--reason", help="Why.")],
    audit: Annotated[Path, typer.Option("--audit", help="The file that the record is appended to.")],
) -> None:
    """Lay an overlay on a policy or take it off, with an audit record; prints the policy to use."""
    after, record = switch_overlay(policy, overlay, on=on, by=by, reason=reason)
    with audit.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record.as_dict()) + "\n")
    console.print(after, highlight=False)


def _source_of(policy: Policy, key: str) -> str:
    parts = key.split(".")
    for i in range(len(parts), 0, -1):
        source = policy.sources.get(".".join(parts[:i]))
        if source is not None:
            return source
    return ""


def weights(
    feeds: FeedsArgument,
    policy: PolicyOption = "fb-2018-h1",
    settings: SetOption = None,
    interactions: InteractionsOption = None,
) -> None:
    """Compare what a policy says a signal weighs with what it carries of the score on FEEDS."""
    chosen = load_policy(policy, settings or ())
    rows = effective_weights(read(feeds, interactions), chosen)
    table = Table("signal", "stated", "count", "share", "of the score", title=chosen.name, box=None)
    table.columns[0].no_wrap = True
    for name, stated, count, share in sorted(rows, key=lambda row: -row[3]):
        table.add_row(name, f"{stated:g}", f"{count:,.0f}", f"{100 * share:.1f}%", "█" * round(40 * share))
    console.print(table)

"""The command line: `reranker COMMAND`. Bad input prints one line and exits 2, leaving no output behind.

This is the one module of the package that may reach up to `eval`: it puts the parts together.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from reranker.audit_command import AuditLabelsOption, audit_app
from reranker.columns import FeedError
from reranker.effectiveness import measure_effectiveness, refuse_to_demote_everything
from reranker.explain import explain
from reranker.feed import Feed
from reranker.inputs import (
    DeviceOption,
    DomainsOption,
    FeedsArgument,
    InteractionsOption,
    ModelOption,
    OutputOption,
    PolicyOption,
    PrevalenceOption,
    PrevalenceSampleOption,
    Reading,
    ScoresOption,
    SetOption,
    SpeedOption,
    check_output,
    harms_of,
    ranked,
    read,
    score_feed,
    told,
)
from reranker.model_commands import models_app
from reranker.policy import Policy, PolicyError
from reranker.presets import differences, list_presets, load_policy, numbers_without_source, switch_overlay
from reranker.score_command import score
from reranker.scoring import effective_weights
from reranker.serve_command import serve
from reranker.simulate_command import simulate
from reranker.terminal import (
    console,
    effectiveness_line,
    errors,
    print_explanation,
    print_ranking,
    print_study,
    print_unscored,
)
from reranker.value import Harms

app = typer.Typer(
    help="Rerank feeds so that engagement counts and harm does not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
policies_app = typer.Typer(help="Policies as dated, named data.", no_args_is_help=True)
import_app = typer.Typer(help="Turn exports into feeds.", no_args_is_help=True)
app.add_typer(policies_app, name="policies")
app.add_typer(import_app, name="import")
app.add_typer(models_app, name="models")
app.add_typer(audit_app, name="audit")
app.command()(score)
app.command()(serve)
app.command()(simulate)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the entry point `reranker`. Exits 0, or 2 on bad input."""
    from reranker.load import LoadError

    try:
        app(arguments)
    except (FeedError, PolicyError, LoadError, OSError) as error:
        errors.print(f"reranker: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command()
def rank(
    feeds: FeedsArgument,
    output: OutputOption,
    policy: PolicyOption = "harm-aware",
    settings: SetOption = None,
    interactions: InteractionsOption = None,
    model: ModelOption = "bundled",
    speed: SpeedOption = "default",
    prevalence: PrevalenceOption = None,
    prevalence_sample: PrevalenceSampleOption = None,
    domains: DomainsOption = None,
    scores: ScoresOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Rank every request of FEEDS by a policy and write the positions with what made them."""
    from reranker.results import write_ranking

    check_output(output, ".parquet", ".jsonl")
    reading = Reading(model, domains, speed, prevalence or (), device, prevalence_sample)
    ranking = ranked(feeds, load_policy(policy, settings or ()), interactions, scores, reading)
    refuse_to_demote_everything(ranking)
    write_ranking(ranking, output)
    print_ranking(ranking, output)


@app.command("explain")
def explain_command(
    feeds: FeedsArgument,
    post: Annotated[str, typer.Argument(help="The id of the post.", show_default=False)],
    request: Annotated[str | None, typer.Option("--request", help="If several show it, which.")] = None,
    policy: PolicyOption = "harm-aware",
    settings: SetOption = None,
    interactions: InteractionsOption = None,
    model: ModelOption = "bundled",
    speed: SpeedOption = "default",
    prevalence: PrevalenceOption = None,
    prevalence_sample: PrevalenceSampleOption = None,
    domains: DomainsOption = None,
    scores: ScoresOption = None,
    device: DeviceOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say why a post stands where it stands: terms that add up to its score, and two sentences."""
    reading = Reading(model, domains, speed, prevalence or (), device, prevalence_sample)
    ranking = ranked(feeds, load_policy(policy, settings or ()), interactions, scores, reading)
    explanation = explain(ranking, post, request)
    if as_json:
        console.print_json(json.dumps(explanation.as_dict()))
    else:
        print_explanation(explanation)


@app.command()
def compare(
    feeds: FeedsArgument,
    output: OutputOption,
    original: Annotated[str, typer.Option("--original", help="The policy in force.")] = "fb-2018-h1",
    treatment: Annotated[str, typer.Option("--treatment", help="The policy to try.")] = "fb-2020-10",
    settings: SetOption = None,
    set_treatment: Annotated[
        list[str] | None, typer.Option("--set-treatment", help="For the treatment only; repeatable.")
    ] = None,
    shown: Annotated[
        str, typer.Option("--shown", help='What people see: "10%", "25", "rbp:0.8", "log2".')
    ] = "10%",
    interactions: InteractionsOption = None,
    model: ModelOption = "bundled",
    speed: SpeedOption = "default",
    prevalence: PrevalenceOption = None,
    prevalence_sample: PrevalenceSampleOption = None,
    domains: DomainsOption = None,
    scores: ScoresOption = None,
    lexicon: Annotated[
        Path | None, typer.Option("--lexicon", help="CSV with columns dictionary, term.")
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", help="A dictionary to leave out; repeatable."),
    ] = None,
    truth: Annotated[
        list[str] | None, typer.Option("--truth", help="An attr_ column that holds known harm; repeatable.")
    ] = None,
    margins: Annotated[
        Path | None,
        typer.Option("--margins", help="TOML of how much of each activity may be lost; fix it beforehand."),
    ] = None,
    planned_margins: Annotated[
        str | None,
        typer.Option("--planned-margins", help="Digest of the margins as planned; others are warned of."),
    ] = None,
    audit_labels: AuditLabelsOption = None,
    show_text: Annotated[bool, typer.Option("--show-text", help="Show snippets of texts.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the resampling.")] = 0,
    device: DeviceOption = "auto",
) -> None:
    """Compare what two policies put in front of people, and write a report."""
    from eval.audit_feed import check_labels
    from eval.audit_labels import read_labels
    from eval.exposure import browsing
    from eval.lexicon import read_lexicon
    from eval.margins import SHIPPED, load_margins
    from eval.outcomes import attribute_outcomes, standard_outcomes
    from eval.study import Arm

    check_output(output)
    arms = (Arm(original, tuple(settings or ())), Arm(treatment, (*(settings or ()), *(set_treatment or ()))))
    policies = [load_policy(arm.spec, arm.settings) for arm in arms]
    with told():
        browsing(shown)
        terms = None if lexicon is None else read_lexicon(lexicon, exclude=exclude or ())
        agreed = load_margins(margins or SHIPPED)
        labels = None if audit_labels is None else read_labels(audit_labels)
    feed = read(feeds, interactions)
    with told():
        attribute_outcomes(feed, truth or ())
    harms = harms_of(
        feed, policies, scores, Reading(model, domains, speed, prevalence or (), device, prevalence_sample)
    )
    outcomes = standard_outcomes(feed, harms, attributes=truth or (), divisive=terms)
    if labels is not None:
        with told():
            check_labels(labels, feed, outcomes)
    chosen: dict[str, Any] = {"margins": agreed, "planned_margins": planned_margins, "seed": seed}
    chosen |= {"shown": shown, "data": feeds.name, "show_text": show_text, "labels": labels}
    _study(feed, harms, arms, outcomes, output, **chosen)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the report goes.")] = Path(
        "demo-report"
    ),
    device: DeviceOption = "auto",
) -> None:
    """Run the main job on the bundled model and sample: classify, rerank, compare, write the report."""
    from eval.outcomes import standard_outcomes
    from eval.study import Arm
    from reranker.sample import DOMAIN_RATINGS, make_sample

    feed = make_sample()
    console.print(
        f"sample: {feed.n} candidates in {feed.n_requests} feeds of {len(feed.user.values)} made-up users"
    )
    harms = score_feed(feed, Reading(domains=DOMAIN_RATINGS, device=device))
    arms = (Arm("fb-2018-h1"), Arm("harm-aware"))
    truth = ("is_toxic", "is_misinformation", "is_outrage", "is_graphic", "is_clickbait")
    outcomes = standard_outcomes(feed, harms, attributes=truth)
    _study(feed, harms, arms, outcomes, output, data="synthetic sample, seed 0", show_text=True)


def _study(feed: Feed, harms: Harms | None, arms: Any, outcomes: Any, output: Path, **options: Any) -> None:
    from eval.study import run_study

    with errors.status("ranking, comparing and drawing"):
        study = run_study(feed, harms, arms, outcomes, output, **options)
    print_study(study)


@app.command()
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


@app.command()
def sample(
    output: OutputOption,
    interactions: Annotated[Path, typer.Option("--interactions", help="Where the comments go.")],
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Write the synthetic sample: made-up people and publishers, a few thousand posts in 250 feeds."""
    from reranker.sample import make_sample
    from reranker.writing import write_feed

    feed = make_sample(seed)
    write_feed(feed, output, interactions=interactions)
    console.print(f"{feed.n} candidates in {feed.n_requests} requests: {output}, {interactions}")


@import_app.command("facebook")
def import_facebook_command(
    file: Annotated[Path, typer.Argument(help="An export of page posts.", show_default=False)],
    output: OutputOption,
    pool: Annotated[str, typer.Option("--pool", help="day, week or all.")] = "day",
    min_reactions: Annotated[int, typer.Option("--min-reactions", help="Drop posts with fewer.")] = 0,
    min_pool: Annotated[int, typer.Option("--min-pool", help="Drop pools with fewer posts.")] = 1,
    normalise: Annotated[str | None, typer.Option("--normalise", help="page-median")] = None,
) -> None:
    """Turn page exports into daily or weekly candidate pools."""
    from reranker.facebook import import_facebook
    from reranker.writing import write_feed

    options: dict[str, Any] = {"pool": pool, "normalise": normalise}
    feed, report = import_facebook(file, min_reactions=min_reactions, min_pool=min_pool, **options)
    write_feed(feed, output)
    console.print(f"{feed.n} of {report.n_read} posts in {report.n_pools} pools: {output}")
    console.print(
        f"dropped: {report.n_dropped_reactions} below {min_reactions} reactions, "
        f"{report.n_dropped_pool} in pools below {min_pool} posts"
    )


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
def policies_check(
    policy: Annotated[str, typer.Argument(help="NAME_OR_FILE[+OVERLAY...]", show_default=False)],
    feeds: Annotated[Path | None, typer.Option("--feeds", help="Try its demotions on these feeds.")] = None,
    settings: SetOption = None,
    interactions: InteractionsOption = None,
    model: ModelOption = "bundled",
    speed: SpeedOption = "default",
    prevalence: PrevalenceOption = None,
    prevalence_sample: PrevalenceSampleOption = None,
    domains: DomainsOption = None,
    scores: ScoresOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Check a policy: its keys, its sources and, on feeds, whether its demotions demote."""
    chosen = load_policy(policy, settings or ())
    console.print(f"{chosen.name}: valid, digest {chosen.digest}", highlight=False)
    unsourced = numbers_without_source(policy.split("+", maxsplit=1)[0])
    if unsourced:
        console.print(f"numbers without a source: {', '.join(unsourced)}", style="yellow")
    if feeds is None:
        return
    reading = Reading(model, domains, speed, prevalence or (), device, prevalence_sample)
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


if __name__ == "__main__":
    main()

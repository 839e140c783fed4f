"""The command line: `reranker COMMAND`. Bad input prints one line and exits 2, leaving no output behind.

The commands are modules of their own; they alone reach up to `eval` and `training`, when they run.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from reranker.audit_command import audit_app
from reranker.columns import FeedError
from reranker.compare_command import compare, demo
from reranker.convert_command import convert
from reranker.diagnose_command import diagnose
from reranker.effectiveness import refuse_to_demote_everything
from reranker.engine import Engine, with_engine
from reranker.explain import explain
from reranker.fit_feedback_command import feedback
from reranker.fit_survey_command import survey
from reranker.fit_value_command import fit_value
from reranker.frontier_command import frontier
from reranker.gate_command import gate
from reranker.inputs import (
    FeedsArgument,
    InteractionsOption,
    OutputOption,
    PolicyOption,
    Reading,
    ScoresOption,
    SetOption,
    check_output,
    ranked,
    with_reading,
)
from reranker.model_commands import models_app
from reranker.plan_command import plan
from reranker.policy import PolicyError
from reranker.policy_commands import policies_app, weights
from reranker.presets import load_policy
from reranker.score_command import score
from reranker.serve_command import serve
from reranker.simulate_command import simulate_app
from reranker.terminal import (
    console,
    errors,
    print_explanation,
    print_ranking,
)

app = typer.Typer(
    help="Rerank feeds so that engagement counts and harm does not.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
import_app = typer.Typer(help="Turn exports into feeds.", no_args_is_help=True)
fit_weights_app = typer.Typer(help="Weights of signals from surveys and experiments.", no_args_is_help=True)
fit_weights_app.command()(survey)
fit_weights_app.command()(feedback)
app.add_typer(policies_app, name="policies")
app.add_typer(import_app, name="import")
app.add_typer(models_app, name="models")
app.add_typer(audit_app, name="audit")
app.command()(compare)
app.command()(demo)
app.command()(weights)
app.command()(diagnose)
app.add_typer(fit_weights_app, name="fit-weights")
app.command("fit-value")(fit_value)
app.command()(frontier)
app.command()(gate)
app.command()(score)
app.command()(convert)
app.command()(plan)
app.command()(serve)
app.add_typer(simulate_app, name="simulate")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the entry point `reranker`. Exits 0, or 2 on bad input."""
    from reranker.load import LoadError

    try:
        app(arguments)
    except (FeedError, PolicyError, LoadError, OSError) as error:
        told = (
            f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
        )
        errors.print(f"reranker: {told}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command()
@with_engine
@with_reading
def rank(
    feeds: FeedsArgument,
    output: OutputOption,
    policy: PolicyOption = "harm-aware",
    settings: SetOption = None,
    interactions: InteractionsOption = None,
    scores: ScoresOption = None,
    *,
    reading: Reading,
    engine: Engine,
) -> None:
    """Rank every request of FEEDS by a policy and write the positions with what made them."""
    from reranker.results import write_ranking

    check_output(output, ".parquet", ".jsonl")
    ranking = ranked(feeds, load_policy(policy, settings or ()), interactions, scores, reading, engine)
    refuse_to_demote_everything(ranking)
    write_ranking(ranking, output)
    print_ranking(ranking, output)


@app.command("explain")
@with_reading
def explain_command(
    feeds: FeedsArgument,
    post: Annotated[str, typer.Argument(help="The id of the post.", show_default=False)],
    request: Annotated[str | None, typer.Option("--request", help="If several show it, which.")] = None,
    policy: PolicyOption = "harm-aware",
    settings: SetOption = None,
    interactions: InteractionsOption = None,
    scores: ScoresOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    *,
    reading: Reading,
) -> None:
    """Say why a post stands where it stands: terms that add up to its score, and two sentences."""
    ranking = ranked(feeds, load_policy(policy, settings or ()), interactions, scores, reading)
    explanation = explain(ranking, post, request)
    if as_json:
        console.print_json(json.dumps(explanation.as_dict()))
    else:
        print_explanation(explanation)


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


if __name__ == "__main__":
    main()

"""`reranker frontier`: search policies for less harm at what activity, and recommend one within limits."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from reranker.columns import FeedError
from reranker.engine import Engine, with_engine
from reranker.inputs import (
    FeedsArgument,
    InteractionsOption,
    OutputOption,
    Reading,
    ScoresOption,
    SetOption,
    TruthOption,
    check_output,
    harms_of,
    read,
    told,
    with_reading,
)
from reranker.presets import load_policy
from reranker.terminal import console, progress


@with_engine
@with_reading
def frontier(
    feeds: FeedsArgument,
    *,
    reading: Reading,
    engine: Engine,
    output: OutputOption,
    original: Annotated[str, typer.Option("--original", help="The policy in force.")] = "fb-2018-h1",
    base: Annotated[
        str, typer.Option("--base", help="What every candidate is but for the space.")
    ] = "harm-aware",
    settings: SetOption = None,
    space: Annotated[
        Path | None, typer.Option("--space", help="TOML of what is searched, as eval/frontier_space.toml.")
    ] = None,
    max_loss: Annotated[
        list[str] | None,
        typer.Option(
            "--max-loss",
            help='What may be lost, with 95% confidence: "comments=0.01", "topic:politics=0.10"; repeatable. '
            "Default: activity=0.01.",
        ),
    ] = None,
    harm: Annotated[
        list[str] | None,
        typer.Option(
            "--harm", help="An exposure outcome, or NAME=WEIGHT; repeatable. Default: --truth, or all."
        ),
    ] = None,
    activity: Annotated[str, typer.Option("--activity", help="The activity outcome.")] = "positive_activity",
    trials: Annotated[int, typer.Option("--trials", help="Policies to try.", min=10)] = 200,
    seed: Annotated[
        int, typer.Option("--seed", help="Of the halves, the search and the resamples.", min=0)
    ] = 0,
    shown: Annotated[
        str, typer.Option("--shown", help='What people see: "10%", "25", "rbp:0.8", "log2".')
    ] = "10%",
    interactions: InteractionsOption = None,
    scores: ScoresOption = None,
    lexicon: Annotated[
        Path | None, typer.Option("--lexicon", help="CSV with columns dictionary, term.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", help="A dictionary to leave out; repeatable.")
    ] = None,
    truth: TruthOption = None,
) -> None:
    """Search policies for less harm at what activity, on half the users, and confirm one on the others."""
    from eval.exposure import browsing  # noqa: PLC0415 - the evaluation, as every command does
    from eval.frontier import Plan, find_frontier  # noqa: PLC0415
    from eval.frontier_choice import parse_limit  # noqa: PLC0415
    from eval.frontier_files import write_frontier  # noqa: PLC0415
    from eval.frontier_measures import make_measures  # noqa: PLC0415
    from eval.frontier_space import SHIPPED, read_space  # noqa: PLC0415
    from eval.frontier_words import front_rows, sentences  # noqa: PLC0415
    from eval.lexicon import read_lexicon  # noqa: PLC0415
    from eval.outcomes import attribute_outcomes, standard_outcomes  # noqa: PLC0415

    check_output(output)
    before, start = load_policy(original), load_policy(base, settings or ())
    with told():
        browsing(shown)
        searched = read_space(start, space or SHIPPED)
        limits = [parse_limit(entry) for entry in (max_loss or ["activity=0.01"])]
        terms = None if lexicon is None else read_lexicon(lexicon, exclude=exclude or ())
    feed = read(feeds, interactions)
    if not feed.n:
        raise FeedError(f"{feeds}: expected candidates, got none")
    with told():
        attribute_outcomes(feed, truth or ())
    harms = harms_of(feed, [before, start, searched.widest], scores, reading, engine)
    outcomes = standard_outcomes(feed, harms, attributes=truth or (), divisive=terms)
    with told():
        measures = make_measures(feed, outcomes, harm=harm or truth or (), activity=activity, limits=limits)
    with told(), progress("policies", trials) as advance:
        plan = Plan(n_trials=trials, seed=seed, shown=shown)
        found = find_frontier(
            feed, harms, before, searched, measures, limits=limits, plan=plan, on_done=advance
        )
    files = write_frontier(found, output, data=feeds.name)
    table = Table("policy", "harm, chosen at", "harm, held-out", f"{activity}, held-out", box=None)
    for row in front_rows(found):
        table.add_row(*row)
    console.print(table)
    for sentence in sentences(found):
        console.print(f"- {sentence.text}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"policy: {files[0]}", f"report: {files[-1]}", sep="\n", soft_wrap=True, markup=False)

"""`reranker fit-value`: what viewers endorse on reflection, fitted to their answers."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from reranker.columns import FeedError
from reranker.inputs import OutputOption, PolicyOption, ScoresOption, check_output, told
from reranker.presets import load_policy
from reranker.terminal import console, errors

ItemsArgument = Annotated[
    Path, typer.Argument(help="Engagements with answers: .parquet, .jsonl or .csv.", show_default=False)
]


def fit_value(
    items: ItemsArgument,
    *,
    output: OutputOption,
    scores: ScoresOption = None,
    policy: PolicyOption = "harm-aware",
    harm: Annotated[
        list[str] | None,
        typer.Option("--harm", help="A label to fit; repeatable. Default: those that the policy weighs."),
    ] = None,
    endorsed_from: Annotated[
        int, typer.Option("--endorsed-from", help="The lowest rating that counts as endorsed.", min=2, max=5)
    ] = 4,
    level: Annotated[
        float, typer.Option("--level", help="From which a post has much of a harm.", min=0.01, max=1)
    ] = 0.5,
    reference: Annotated[
        str | None, typer.Option("--reference", help="The signal whose sensitivity is 1. Default: chosen.")
    ] = None,
    folds: Annotated[int, typer.Option("--folds", help="Folds of viewers.", min=2)] = 5,
    seed: Annotated[int, typer.Option("--seed", help="Of the folds.", min=0)] = 0,
    date: Annotated[
        str | None, typer.Option("--date", help="Of the overlay, as 2026-11-22. Default: today.")
    ] = None,
) -> None:
    """Fit what viewers endorse to ITEMS: an overlay that replaces the policy's prior, and its evidence."""
    from training.overlay import fit_date  # noqa: PLC0415 - fitting, as its kind of command does
    from training.value_reading import read_items  # noqa: PLC0415
    from training.value_report import sentences_of, study_value, write_value  # noqa: PLC0415

    check_output(output, ".toml")
    replaced = load_policy(policy)
    with told(), errors.status("fitting"):
        day = fit_date(date)
        try:
            found = study_value(
                read_items(items, scores, endorsed_from=endorsed_from),
                replaced,
                harms=tuple(harm or ()),
                reference=reference,
                level=level,
                n_folds=folds,
                seed=seed,
            )
        except ImportError as error:
            raise FeedError(str(error)) from None
        files = write_value(found, output, date=day)
    table = Table("number", "fitted", "95% interval", "prior", box=None)
    for term in found.fitted.identified:
        interval = "" if term.low is None or term.high is None else f"{term.low:.3f} to {term.high:.3f}"
        table.add_row(term.key, f"{term.value:.3f}", interval, f"{term.prior:g}")
    console.print(table)
    for sentence in sentences_of(found):
        console.print(f"- {sentence}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"policy: {policy}+{files[0]}", soft_wrap=True, markup=False)
    console.print(f"evidence: {files[1]}", soft_wrap=True, markup=False)

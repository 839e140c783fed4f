"""`reranker fit-weights survey`: what interactions are worth, from answers to "how meaningful was this"."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from reranker.inputs import OutputOption, check_output, told
from reranker.terminal import console, errors

if TYPE_CHECKING:
    from training.survey import SurveyFit


def survey(
    responses: Annotated[
        Path,
        typer.Argument(
            help="Answers, .parquet, .jsonl or .csv: respondent, country, kind, relation, answer.",
            show_default=False,
        ),
    ],
    *,
    shares: Annotated[
        Path,
        typer.Option("--shares", help="Shares of the population: country, share.", show_default=False),
    ],
    output: OutputOption,
    levels: Annotated[
        int, typer.Option("--levels", help="Answers run from 1, not meaningful at all, to this.")
    ] = 5,
    reference: Annotated[
        str, typer.Option("--reference", help="The relation whose multiplier is 1.")
    ] = "friend",
    date: Annotated[
        str | None, typer.Option("--date", help="Of the fit; today where not given.", show_default=False)
    ] = None,
) -> None:
    """Fit weights in likes and multipliers of relations to a survey; write an overlay and its evidence."""
    from training.fitted_weights import write_fitted  # noqa: PLC0415 - the fit, as every command does
    from training.overlay import fit_date  # noqa: PLC0415
    from training.survey import fit_survey  # noqa: PLC0415
    from training.survey_responses import read_responses, read_shares  # noqa: PLC0415

    check_output(output, ".toml")
    with told():
        day = fit_date(date)
        population = read_shares(shares)
        with errors.status("reading the answers"):
            answers = read_responses(responses, n_levels=levels)
        with errors.status("fitting"):
            found = fit_survey(answers, population, reference=reference)
        files = write_fitted(found.weights, output, name=output.stem, date=day)
    _print(found, reference)
    for file in files:
        console.print(f"written: {file}", soft_wrap=True, markup=False, highlight=False)


def _print(found: "SurveyFit", reference: str) -> None:
    """The terms, whom against what, and what the numbers rest on."""
    from training.fitted_weights import KEPT  # noqa: PLC0415
    from training.survey import ASSUMPTIONS  # noqa: PLC0415

    table = Table("term", "value", "95% interval", "answers", box=None)
    for kind, title in (("weight", "weights, like = 1"), ("relationship", f"multipliers, {reference} = 1")):
        table.add_section()
        table.add_row(f"[bold]{title}[/bold]")
        for term in found.weights.terms:
            if term.kind != kind:
                continue
            if term.value is None:
                table.add_row(term.name, "-", "not identified", f"{term.n:,}")
            else:
                interval = "the unit" if term.is_unit else f"{term.low:.3g} to {term.high:.3g}"
                table.add_row(term.name, f"{term.value:.3g}", interval, f"{term.n:,}")
    console.print(table, highlight=False)
    for line in (*found.sentences(), f"assumption: {ASSUMPTIONS[0]}"):
        console.print(f"- {line}", markup=False, highlight=False, soft_wrap=True)
    for warning in (*found.warnings, KEPT):
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)

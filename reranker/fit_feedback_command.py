"""`reranker fit-weights feedback`: weights from an experiment that gave some authors extra feedback."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.table import Table

from reranker.columns import FeedError
from reranker.inputs import OutputOption, check_output, told
from reranker.terminal import console, errors

if TYPE_CHECKING:
    from training.feedback import FeedbackFit
    from training.feedback_experiment import Model
    from training.fitted_weights import FittedWeights

ExperimentArgument = Annotated[
    Path,
    typer.Argument(
        help="Rows of authors and periods: .parquet, .jsonl or .csv.",
        show_default=False,
        metavar="EXPERIMENT",
    ),
]


def feedback(
    experiment: ExperimentArgument,
    *,
    output: OutputOption,
    model: Annotated[
        str,
        typer.Option("--model", help='"linear": feedback adds posts; "poisson": it multiplies their rate.'),
    ] = "linear",
    share: Annotated[
        list[str] | None,
        typer.Option(
            "--share", help="Planned share of an arm: control=0.5; repeatable. Default: equal ones."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the overlay. Default: that of the file.")
    ] = None,
    date: Annotated[
        str | None, typer.Option("--date", help="Of the overlay, as 2026-11-22. Default: today.")
    ] = None,
) -> None:
    """Fit what feedback is worth in likes to EXPERIMENT, by the posts it brought: overlay and evidence."""
    from training.feedback import fit_feedback  # noqa: PLC0415 - fitting, as its kind of command does
    from training.feedback_evidence import weights_of  # noqa: PLC0415
    from training.feedback_reading import read_feedback  # noqa: PLC0415
    from training.fitted_weights import write_fitted  # noqa: PLC0415
    from training.overlay import fit_date  # noqa: PLC0415

    check_output(output, ".toml")
    if model not in {"linear", "poisson"}:
        raise FeedError(f"--model: expected linear or poisson, got {model!r}")
    shares = _shares(share) if share else None
    with told():
        day = fit_date(date)
        rows = read_feedback(experiment)
        with errors.status("fitting"), _of(experiment):
            fit = fit_feedback(rows, shares=shares)
            found = weights_of(fit, model=cast("Model", model))
        _print_arms(fit)
        _print_weights(fit, found)
        files = write_fitted(found, output, name=name or output.stem, date=day)
    console.print(f"overlay: {files[0]}", soft_wrap=True, markup=False)
    console.print(f"evidence: {files[1]}", soft_wrap=True, markup=False)


@contextmanager
def _of(experiment: Path) -> Iterator[None]:
    """What the fit says of the rows, with the name of their file."""
    try:
        yield
    except ValueError as error:
        raise FeedError(f"{experiment}: {error}") from None


def _shares(entries: Sequence[str]) -> dict[str, float]:
    """The planned shares by arm; the last "=" parts them, as an arm's name may hold one."""
    found: dict[str, float] = {}
    for entry in entries:
        arm, _, share = entry.rpartition("=")
        if arm in found:
            raise FeedError(f"--share: expected each arm once, got {arm!r} twice")
        try:
            found[arm] = float(share)
        except ValueError:
            raise FeedError(f"--share: expected ARM=SHARE, got {entry!r}") from None
    return found


def _print_arms(fit: "FeedbackFit") -> None:
    """What each arm did to posts by intention to treat."""
    table = Table("arm", "rows", "posts", "additional posts", "95% interval", box=None)
    for one in fit.arms:
        known = one.effect is not None and one.low is not None and one.high is not None
        cells = (f"{one.effect:+.4g}", f"{one.low:+.4g} to {one.high:+.4g}") if known else ("-", "-")
        table.add_row(one.arm, f"{one.n_rows:,}", f"{one.posts:.4g}", *cells)
    console.print(table)


def _print_weights(fit: "FeedbackFit", found: "FittedWeights") -> None:
    """The weights, how strong their instruments are, what a plain regression would say, and warnings."""
    from training.feedback_evidence import warnings_of  # noqa: PLC0415
    from training.fitted_weights import KEPT  # noqa: PLC0415

    plain = {one.signal: one.weight for one in fit.plain}
    strength = {one.signal: one.f for one in fit.first_stage}
    table = Table("signal", "weight (likes)", "95% interval", "F", "plain regression (confounded)", box=None)
    for term in found.terms:
        known = term.value is not None and term.low is not None and term.high is not None
        cells = (
            (f"{term.value:.4g}", f"{term.low:.4g} to {term.high:.4g}") if known else ("-", "not identified")
        )
        table.add_row(
            term.name,
            *cells,
            f"{strength[term.name]:,.0f}" if term.name in strength else "-",
            f"{plain[term.name]:.4g}" if term.name in plain else "-",
        )
    console.print(table)
    notes = [f"{term.name}: {term.warning}" for term in found.terms if term.warning]
    for note in (*notes, *warnings_of(fit), KEPT):
        console.print(f"- {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)

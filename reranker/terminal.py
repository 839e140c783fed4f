"""What the command line prints: progress, tables and sentences."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from reranker.effectiveness import Effectiveness, measure_effectiveness
from reranker.explain import Explanation
from reranker.ranking import Ranking

console = Console()
errors = Console(stderr=True)

_STYLES = {"decreased": "green", "increased": "yellow"}


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; yields a function that takes the number done."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=min(done, total))


def print_study(study: Any) -> None:
    """What a study found: both policies, the change of each outcome, and what got worse or stays open."""
    for ranking in (study.original, study.treatment):
        console.print(
            f"[bold]{ranking.policy.name}[/bold]: {effectiveness_line(measure_effectiveness(ranking))}"
        )
    table = Table("shown to people", "original", "treatment", "change", "95% interval", box=None)
    for row in study.comparison.rows:
        if row.segment_by == "all" and row.browsing == study.comparison.browsing[0] and row.kind != "context":
            table.add_row(*_change_cells(row), style=_STYLES.get(row.claimed))
    console.print(table)
    console.print(study.sentences[0].text, markup=False, highlight=False, soft_wrap=True)
    for sentence in [one for one in study.sentences[1:] if one.tone in ("worse", "open")][:8]:
        console.print(f"- {sentence.text}", markup=False, highlight=False, soft_wrap=True)
    print_unscored(study.treatment)
    console.print(f"report: {study.files[-1]}", soft_wrap=True, markup=False)


def _change_cells(row: Any) -> tuple[str, ...]:
    def show(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    interval = f"{show(row.relative_low, '+.1%')} to {show(row.relative_high, '+.1%')}"
    name = row.metric.replace("_", " ")
    return name, show(row.original, ".4g"), show(row.treatment, ".4g"), show(row.relative, "+.1%"), interval


def print_ranking(ranking: Ranking, output: Path) -> None:
    """What was ranked, whether its demotions work, and what could not be scored."""
    feed, policy = ranking.feed, ranking.policy
    console.print(
        f"{feed.n} candidates in {feed.n_requests} requests ranked by {policy.name} ({policy.digest[:12]})",
        highlight=False,
    )
    console.print(effectiveness_line(measure_effectiveness(ranking)), soft_wrap=True)
    print_unscored(ranking)
    console.print(f"written: {output}", soft_wrap=True)


def effectiveness_line(found: Effectiveness) -> str:
    """The demotions of a ranking in one line."""
    if not found.n_demoted:
        return "no candidate demoted"
    line = f"{found.n_demoted} demoted ({found.n_full} in full, {found.n_unmoved} moved no position); "
    if found.ineffective_per_1000 is not None:
        line += f"ineffective demotions per 1,000: {found.ineffective_per_1000:.0f}"
        if found.n_ineffective and found.most_halvings:
            line += f" (the highest demoted score would need {found.most_halvings} halvings)"
    else:
        line += "no full demotion to judge"
    return line


def print_unscored(ranking: Ranking) -> None:
    """The terms that could not be scored, if any."""
    if ranking.unscored:
        terms = "; ".join(ranking.unscored)
        console.print(f"not scored: {terms}", style="yellow", markup=False, soft_wrap=True)


def print_explanation(explanation: Explanation) -> None:
    """The sentences and the terms of an explanation."""
    console.print(" ".join(explanation.sentences), markup=False, soft_wrap=True)
    table = Table(
        "term", "kind", "units", "endorsed (likes)", "not endorsed", "adds", title=explanation.post_id
    )
    for term in explanation.terms:
        table.add_row(
            term.name.replace("_", " "),
            term.kind,
            "" if term.count is None else f"{term.count:,.4g}",
            "" if term.good is None else f"{term.good:,.4g}",
            "" if term.bad is None else f"{term.bad:,.4g}",
            f"{term.amount:+.6g}",
        )
    table.add_section()
    table.add_row("score", "", "", "", "", f"{explanation.score:+.6g}")
    console.print(table)
    known = {label: value for label, value in explanation.harms.items() if value is not None}
    if known:
        console.print("estimates: " + ", ".join(f"{label} {value:.2f}" for label, value in known.items()))
    model = explanation.model or "none"
    made_by = f"policy {explanation.policy} {explanation.digest[:12]}, model {model}"
    console.print(made_by, markup=False)

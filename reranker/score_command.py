"""`reranker score`: posts to scores, as a stream, or in memory where the tone of comments is asked for."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from models.cache import ScoreCache, cached
from models.scores import Scorer
from reranker.chunks import ScoreChunks, in_chunks, one_by_one
from reranker.engine import Engine, with_engine
from reranker.inputs import (
    InteractionsOption,
    OutputOption,
    Reading,
    check_output,
    posts_at_once,
    read,
    told,
    with_reading,
)
from reranker.location import Location
from reranker.pipeline import score_harms
from reranker.policy import PolicyError
from reranker.terminal import console, errors
from reranker.workers import Workers, check_workers

if TYPE_CHECKING:
    from reranker.stream import ScoreSummary

PostsArgument = Annotated[
    Location,
    typer.Argument(
        parser=Location.of,
        help="Posts or feeds with columns post_id and text: .parquet, .jsonl or .csv, or a directory of "
        ".parquet; a path or a URL such as s3://.",
        show_default=False,
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option("--cache", help="A file that keeps scores: posts read before are not read again."),
]

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        help="Processes that read texts side by side, on the CPU: 1, or with --engine ray one per core.",
        show_default=False,
    ),
]
MaxBadRowsOption = Annotated[
    int,
    typer.Option(
        "--max-bad-rows",
        min=0,
        help="Rows that cannot be read and may be left out; they are listed in OUT.bad-rows.jsonl.",
    ),
]


@with_engine
@with_reading
def score(
    *,
    posts: PostsArgument,
    output: OutputOption,
    interactions: InteractionsOption = None,
    cache: CacheOption = None,
    workers: WorkersOption = None,
    max_bad_rows: MaxBadRowsOption = 0,
    reading: Reading,
    engine: Engine,
) -> None:
    """Estimate the harm of every post once, for `rank`, `compare` and `explain` to read.

    A run that was stopped goes on where it stood when the same command is given again. With --interactions
    the feed and its comments are held in memory and a stopped run starts anew. With --engine ray every worker
    needs POSTS and the folder of the output under the same names.
    """
    from reranker.stream import summarise_scores  # noqa: PLC0415 - pyarrow, as every command does

    check_output(output, ".parquet")
    for name, given in {"--cache": cache, "--interactions": interactions}.items():
        if not engine.is_local and given is not None:
            raise PolicyError(f"{name}: expected --engine local beside it, got --engine {engine.name}")
    if interactions is not None and max_bad_rows:
        raise PolicyError("--max-bad-rows: expected no --interactions beside it, got both")
    if not reading.reads_anything:
        raise PolicyError("score: expected --model or --domains, got neither")
    job = _Job(posts, output, reading, workers, max_bad_rows)
    n_bad = _score_here(job, interactions, cache) if engine.is_local else _score_on(engine, job)
    _print_summary(summarise_scores(output), output, n_bad)


@dataclass(frozen=True)
class _Job:
    """What is scored, and with what."""

    posts: Location
    output: Path
    reading: Reading
    workers: int | None
    max_bad_rows: int


def _score_here(job: _Job, interactions: Path | None, cache: Path | None) -> int:
    """Scores in this process and those that it starts; the number of rows that were left out."""
    from reranker.stream import score_posts  # noqa: PLC0415 - pyarrow

    with told():
        placement = job.reading.placement()
    n_processes = 1 if job.workers is None else job.workers
    check_workers(n_processes, placement)
    with ExitStack() as stack:
        if interactions is None:
            stack.enter_context(_stoppable())
        bar = stack.enter_context(_bar())
        score_chunks = stack.enter_context(_scoring(job.reading, n_processes))
        scorer = in_chunks(score_chunks, posts_at_once(placement), bar.on_texts)
        if cache is not None:
            with told():
                kept = ScoreCache(cache)
            stack.callback(kept.close)
            scorer = cached(scorer, kept, decided_by=json.dumps(job.reading.decided_by(placement)))
        if interactions is not None:
            _score_in_memory(job.posts, interactions, job.output, scorer, bar)
            return 0
        with told():
            return score_posts(
                job.posts,
                job.output,
                scorer,
                decided_by=job.reading.decided_by(placement),
                max_bad_rows=job.max_bad_rows,
                on_rows=bar.on_rows,
            )


def _score_on(engine: Engine, job: _Job) -> int:
    """Scores on the workers of an engine; the number of rows that were left out."""
    from reranker.ray_scoring import Readers, placement_on, score_posts_on  # noqa: PLC0415 - pyarrow

    with _stoppable(), told(), engine.session(job.workers) as session, _bar() as bar:
        assert session is not None  # an engine that is not this process
        placement = placement_on(session, job.reading)
        readers = Readers(session, job.reading, placement, posts_at_once(placement))
        return score_posts_on(
            readers,
            job.posts,
            job.output,
            decided_by=job.reading.decided_by(placement),
            max_bad_rows=job.max_bad_rows,
            on_rows=bar.on_rows,
        )


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C as one line; exits 130, as shells expect it."""
    try:
        yield
    except KeyboardInterrupt:
        errors.print("reranker: stopped; the same command goes on where this run stood", soft_wrap=True)
        raise typer.Exit(130) from None


@contextmanager
def _scoring(reading: Reading, n_processes: int) -> Iterator[ScoreChunks]:
    if n_processes > 1:
        with closing(Workers(reading, n_processes)) as workers:
            yield workers.score_chunks
    else:
        scorer = reading.scorer()
        assert scorer is not None  # a model or ratings are named
        yield one_by_one(scorer)


def _score_in_memory(posts: Location, interactions: Path, output: Path, scorer: Scorer, bar: "_Bar") -> None:
    from reranker.bad_rows import bad_rows_beside  # noqa: PLC0415 - as above
    from reranker.results import write_harms  # noqa: PLC0415 - as above

    feed = read(posts, interactions)
    bar.on_rows(0, len(set(feed.text.values)))
    with told():
        write_harms(feed, score_harms(feed, scorer), output)
    bad_rows_beside(output).unlink(missing_ok=True)  # of an earlier result


@dataclass
class _Bar:
    """The progress of a run: rows of whole parts, and texts of the part that is being scored."""

    progress: Progress
    done: int = 0
    of: int = 0

    def on_rows(self, done: int, of: int) -> None:
        if not self.progress.tasks:
            self.progress.add_task("scoring posts", total=of, completed=done)
        self.done, self.of = done, of
        self.progress.update(self.progress.task_ids[0], completed=done)

    def on_texts(self, n: int) -> None:
        if self.progress.tasks:
            self.progress.update(self.progress.task_ids[0], completed=min(self.done + n, self.of))


@contextmanager
def _bar() -> Iterator[_Bar]:
    """On stderr, with the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, speed_estimate_period=120) as progress:
        yield _Bar(progress)


def _print_summary(found: "ScoreSummary", output: Path, n_bad: int) -> None:
    from reranker.bad_rows import bad_rows_beside  # noqa: PLC0415 - as above

    table = Table("label", "scored", "mean", "above 0.5", title=f"{found.n} posts read by {found.model}")
    for j, label in enumerate(found.labels):
        if found.n_scored[j]:
            table.add_row(label, f"{found.n_scored[j]}", f"{found.mean[j]:.4f}", f"{found.n_above[j]}")
        else:
            table.add_row(label, "0", "-", "-")
    console.print(table, f"written: {output}")
    if n_bad:
        console.print(f"rows left out: {n_bad}, listed in {bad_rows_beside(output)}", soft_wrap=True)

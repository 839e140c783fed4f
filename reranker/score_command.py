"""`reranker score`: posts to scores, as a stream, or in memory where the tone of comments is asked for."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from models.cache import ScoreCache, cached
from models.device import Placement
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
from reranker.pipeline import score_harms
from reranker.policy import PolicyError
from reranker.terminal import console, errors
from reranker.workers import Workers, check_workers

if TYPE_CHECKING:
    from reranker.stream import ScoreSummary

PostsArgument = Annotated[
    Path,
    typer.Argument(
        help="Posts or feeds: .parquet, .jsonl or .csv with columns post_id and text.", show_default=False
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


@with_engine
@with_reading
def score(
    *,
    posts: PostsArgument,
    output: OutputOption,
    interactions: InteractionsOption = None,
    cache: CacheOption = None,
    workers: WorkersOption = None,
    reading: Reading,
    engine: Engine,
) -> None:
    """Estimate the harm of every post once, for `rank`, `compare` and `explain` to read.

    A run that was stopped goes on where it stood when the same command is given again. With --interactions
    the feed and its comments are held in memory and a stopped run starts anew. With --engine ray every worker
    needs POSTS and the folder of the output under the same names.
    """
    from reranker.stream import score_posts, summarise_scores  # noqa: PLC0415 - pyarrow, as every command does

    check_output(output, ".parquet")
    for name, given in {"--cache": cache, "--interactions": interactions}.items():
        if not engine.is_local and given is not None:
            raise PolicyError(f"{name}: expected --engine local beside it, got --engine {engine.name}")
    if not reading.reads_anything:
        raise PolicyError("score: expected --model or --domains, got neither")
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")  # its log lines would stand beside our errors
    domains = reading.domains
    ratings = "none" if domains is None or not domains.is_file() else sha256(domains.read_bytes()).hexdigest()
    if not engine.is_local:
        _score_on(engine, workers, (posts, output), reading, ratings)
        _print_summary(summarise_scores(output), output)
        return
    with told():
        placement = reading.placement()
    n_processes = 1 if workers is None else workers
    check_workers(n_processes, placement)
    decided_by = _decided_by(ratings, placement)
    with ExitStack() as stack:
        if interactions is None:
            stack.enter_context(_stoppable())
        bar = stack.enter_context(_bar())
        score_chunks = stack.enter_context(_scoring(reading, n_processes))
        scorer = in_chunks(score_chunks, posts_at_once(placement), bar.on_texts)
        if cache is not None:
            with told():
                kept = ScoreCache(cache)
            stack.callback(kept.close)
            scorer = cached(scorer, kept, decided_by=ratings)
        if interactions is None:
            with told():
                score_posts(posts, output, scorer, decided_by=decided_by, on_rows=bar.on_rows)
        else:
            _score_in_memory(posts, interactions, output, scorer, bar)
    _print_summary(summarise_scores(output), output)


def _decided_by(ratings: str, placement: Placement) -> dict[str, str]:
    kind = placement.device.split(":")[0]
    return {"domains": ratings, "device": kind, "precision": placement.precision}


def _score_on(
    engine: Engine, workers: int | None, paths: tuple[Path, Path], reading: Reading, ratings: str
) -> None:
    from reranker.ray_scoring import Readers, placement_on, score_posts_on  # noqa: PLC0415 - pyarrow

    with _stoppable(), told(), engine.session(workers) as session, _bar() as bar:
        assert session is not None  # an engine that is not this process
        placement = placement_on(session, reading)
        readers = Readers(session, reading, placement, posts_at_once(placement))
        decided_by = _decided_by(ratings, placement)
        score_posts_on(readers, *paths, decided_by=decided_by, on_rows=bar.on_rows)


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


def _score_in_memory(posts: Path, interactions: Path, output: Path, scorer: Scorer, bar: "_Bar") -> None:
    from reranker.results import write_harms  # noqa: PLC0415 - as above

    feed = read(posts, interactions)
    bar.on_rows(0, len(set(feed.text.values)))
    with told():
        write_harms(feed, score_harms(feed, scorer), output)


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


def _print_summary(found: "ScoreSummary", output: Path) -> None:
    table = Table("label", "scored", "mean", "above 0.5", title=f"{found.n} posts read by {found.model}")
    for j, label in enumerate(found.labels):
        if found.n_scored[j]:
            table.add_row(label, f"{found.n_scored[j]}", f"{found.mean[j]:.4f}", f"{found.n_above[j]}")
        else:
            table.add_row(label, "0", "-", "-")
    console.print(table, f"written: {output}")

"""Scores of posts, file to file, in constant memory; a run that was killed is taken up where it stood.

Scores are written in parts of equal length beside the result, each under its name only when it is whole, with
a state that says what they were made of. The parts become the result when the last one is there. As every
part is scored on its own, a resumed run gives the bytes that an uninterrupted one gives.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.scores import READING_VERSION, Content, HarmScores, Scorer
from reranker.bad_rows import BadRows, bad_rows_beside
from reranker.columns import FeedError, FloatArray, IntArray
from reranker.location import Location, Where
from reranker.post_block import PostBlock
from reranker.posts import digest_of, read_posts
from reranker.results import harms_to_arrow
from reranker.storage import PARTS
from reranker.tables import first_line
from reranker.writing import atomic

ROWS_PER_PART = 8_192
STATE = "state.json"


@dataclass(frozen=True, eq=False)
class ScoreSummary:
    """What a file of scores holds.

    Attributes:
        n: its rows.
        model: what made the scores.
        labels: the L labels.
        n_scored, n_above: (L,) rows that were scored, and those of them above 0.5.
        mean: (L,) of the rows that were scored, NaN where none was.
    """

    n: int
    model: str
    labels: tuple[str, ...]
    n_scored: IntArray
    n_above: IntArray
    mean: FloatArray


def score_posts(
    posts: Where,
    output: str | Path,
    scorer: Scorer,
    *,
    decided_by: Mapping[str, str] | None = None,
    rows_per_part: int = ROWS_PER_PART,
    max_bad_rows: int = 0,
    on_rows: Callable[[int, int], None] = lambda _done, _of: None,
) -> int:
    """Scores every post of a file, in the columns of `results.harms_to_arrow`, one row per post in its order.

    All posts are read once before the first is scored, so that a bad row is told at once and not after
    hours. Parts lie in the folder OUTPUT.parts until the result is there. Bad rows that are left out are
    listed in OUTPUT.bad-rows.jsonl before the first post is scored.

    Args:
        posts: what `read_posts` reads.
        output: a .parquet file.
        scorer: asked once for no post, to learn its name and labels, then for a part at a time.
        decided_by: what decides the scores beside the posts and the model's name, by name.
        rows_per_part: what is scored at once, held in memory, and lost when the process is killed.
        max_bad_rows: how many may be left out; with 0 the first one ends the run.
        on_rows: called with the number of posts done, parts of an earlier run included, and of all posts.

    Returns:
        The number of bad rows that were left out.

    Raises:
        FeedError: the posts cannot be read, or the parts are of a run on other posts, with another model or
            with other options.
    """
    nothing = scorer(Content.of_texts([]))
    run = begin_run(
        posts,
        output,
        nothing,
        decided_by=decided_by,
        rows_per_part=rows_per_part,
        max_bad_rows=max_bad_rows,
    )
    done = 0
    for i, block in enumerate(run.blocks()):
        if not run.part(i).exists():
            on_rows(done, run.n)
            run.write_part(i, block, scorer)
        done += block.content.n
    on_rows(done, run.n)
    if done != run.n:
        raise run.changed(str(done))
    run.assemble()
    return run.n_bad


@dataclass(frozen=True)
class PartedRun:
    """A run that scores posts part by part, in whichever process.

    Attributes:
        posts: what is scored.
        output: the file that the parts become.
        n: the posts there were when the run began, without bad rows.
        rows_per_part: of every part but the last.
        n_bad: the bad rows that are left out and listed beside the output.
        max_bad_rows: how many there may be.
    """

    posts: Location
    output: Path
    n: int
    rows_per_part: int
    n_bad: int = 0
    max_bad_rows: int = 0

    def blocks(self) -> Iterator[PostBlock]:
        """The posts of every part, read anew."""
        bad = BadRows(self.max_bad_rows) if self.max_bad_rows else None
        return read_posts(self.posts, self.rows_per_part, bad=bad)

    def part(self, i: int) -> Path:
        """The file of a part, there once it is whole."""
        return _folder(self.output) / f"part-{i:05d}.parquet"

    def missing(self) -> list[int]:
        """The parts that are not there yet."""
        n_parts = -(-self.n // self.rows_per_part)
        return [i for i in range(n_parts) if not self.part(i).exists()]

    def rows_of(self, i: int) -> int:
        """The posts of a part."""
        return min(self.rows_per_part, self.n - i * self.rows_per_part)

    def write_part(self, i: int, block: PostBlock, scorer: Scorer) -> None:
        """Scores the posts of a part and puts it in its place."""
        with atomic(self.part(i)) as temporary:
            # read once and removed: neither packed nor searched for repeated values
            pq.write_table(_scored(block, scorer), temporary, compression="none", use_dictionary=False)

    def changed(self, found: str) -> FeedError:
        """What to raise where another number of posts is found."""
        return FeedError(
            f"{self.posts}: expected {self.n} posts as at the start, got {found}: the file was changed"
        )

    def assemble(self) -> None:
        """All parts become the result and go, and so does a list of bad rows of an earlier result."""
        _assemble(_folder(self.output), self.output, has_bad=self.n_bad > 0)


def begin_run(
    posts: Where,
    output: str | Path,
    nothing: HarmScores,
    *,
    decided_by: Mapping[str, str] | None = None,
    rows_per_part: int = ROWS_PER_PART,
    max_bad_rows: int = 0,
) -> PartedRun:
    """A run that was begun, or the one on these posts that was stopped, whose parts count.

    `nothing` is what the scorer says of no post; all else is as for `score_posts`.

    Raises:
        FeedError: as `score_posts`.
    """
    posts, output = Location.of(posts), Path(output)
    made_of = _made_of(posts, nothing, rows_per_part) | dict(decided_by or {})
    if max_bad_rows:
        made_of["bad rows at most"] = str(max_bad_rows)
    folder, beside = _folder(output), bad_rows_beside(output)
    counted = _resumed(folder, made_of)
    if counted is None or (counted[1] and not beside.exists()):
        bad = BadRows(max_bad_rows)
        blocks = read_posts(posts, rows_per_part, bad=bad if max_bad_rows else None)
        counted = sum(block.content.n for block in blocks), len(bad.rows)
        if bad.rows:
            bad.write(beside)
        _begin(folder, made_of, *counted)
    n, n_bad = counted
    return PartedRun(posts, output, n, rows_per_part, n_bad, max_bad_rows)


def summarise_scores(path: str | Path) -> ScoreSummary:
    """What a file of scores holds, read part by part."""
    with pq.ParquetFile(path) as file:
        names = [name for name in file.schema_arrow.names if name.startswith("p_")]
        scored, above = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
        total = np.zeros(len(names))
        for batch in file.iter_batches(ROWS_PER_PART, columns=names):
            for j, name in enumerate(names):
                values = batch.column(name).drop_null().to_numpy().astype(np.float64)
                scored[j] += len(values)
                above[j] += int((values > 0.5).sum())
                total[j] += values.sum()
        model = (file.schema_arrow.metadata or {}).get(b"model", b"").decode()
        labels = tuple(name.removeprefix("p_") for name in names)
        mean = np.where(scored > 0, total / np.maximum(scored, 1), np.nan)
        return ScoreSummary(file.metadata.num_rows, model, labels, scored, above, mean)


def _folder(output: Path) -> Path:
    return output.with_name(f"{output.name}{PARTS}")


def _made_of(posts: Location, nothing: HarmScores, rows_per_part: int) -> dict[str, str]:
    """What decides the parts, as text by name."""
    return {
        "posts": digest_of(posts),
        "model": nothing.model,
        "labels": ",".join(nothing.labels),
        "reading": str(READING_VERSION),
        "rows per part": str(rows_per_part),
    }


def _scored(block: PostBlock, scorer: Scorer) -> pa.Table:
    scores = scorer(block.content)
    return harms_to_arrow(block.ids, scores, np.full(scores.n, np.nan))


def _begin(folder: Path, made_of: Mapping[str, str], n: int, n_bad: int) -> None:
    state = {"n": n, "n_bad": n_bad, "made_of": made_of}
    folder.mkdir(exist_ok=True)
    with atomic(folder / STATE) as temporary:
        temporary.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")


def _resumed(folder: Path, made_of: Mapping[str, str]) -> tuple[int, int] | None:
    """The numbers of posts and of bad rows of the run to take up, or None: there is none."""
    if not folder.exists():
        return None
    state = folder / STATE
    if not state.exists():
        # killed before its state was written, a run leaves nothing but a hidden temporary file
        if any(not path.name.startswith(".") for path in folder.iterdir()):
            raise FeedError(
                f"{folder}: expected the parts of an interrupted run, got no {STATE}; move it away"
            )
        return None
    try:
        found: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
        counted, before = (int(found["n"]), int(found.get("n_bad", 0))), dict(found["made_of"])
    except (ValueError, KeyError, TypeError) as error:
        raise FeedError(f"{state}: expected the state of a run, got {first_line(error)}") from None
    differ = [
        f"{name} ({before.get(name, 'none')[:60]} before, {made_of.get(name, 'none')[:60]} now)"
        for name in dict.fromkeys((*made_of, *before))
        if before.get(name) != made_of.get(name)
    ]
    if differ:
        raise FeedError(
            f"{folder}: expected to resume the interrupted run, got another {', another '.join(differ)}; "
            "delete this folder to start over"
        )
    return counted


def _assemble(folder: Path, output: Path, *, has_bad: bool) -> None:
    """The parts as one file, a row group each; then they go, the last first, as a resumed run needs them."""
    parts = sorted(folder.glob("part-*.parquet"), key=lambda path: int(path.stem.removeprefix("part-")))
    schema = _read_part(parts[0]).schema
    # a dictionary for the ids alone: probabilities hardly repeat
    ids: Any = [name for name in ("request_id", "post_id") if name in schema.names]
    with (
        atomic(output) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=ids) as file,
    ):
        for part in parts:
            file.write_table(_read_part(part))
    if not has_bad:
        bad_rows_beside(output).unlink(missing_ok=True)
    for path in (*reversed(parts), folder / STATE, *folder.glob(".*")):
        path.unlink()
    folder.rmdir()


def _read_part(path: Path) -> pa.Table:
    try:
        return pq.ParquetFile(path).read()
    except pa.ArrowException as error:
        raise FeedError(f"{path}: expected a whole part, got {first_line(error)}; delete it") from None

"""Scores of posts by the workers of Ray, in the parts and with the bytes of the run in one process.

A worker is told the number of a part alone: it reads the posts of that part itself, from a URL or a path that
every machine sees, and puts the part in its place, so that a part is there whole or not at all, whoever is
lost.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, repeat
from pathlib import Path

from models.device import Placement
from models.scores import Content, HarmScores, Scorer
from reranker.chunks import ScoreChunks, in_chunks, one_by_one
from reranker.inputs import Reading
from reranker.location import Where
from reranker.policy import PolicyError
from reranker.post_block import PostBlock
from reranker.ray_session import RaySession
from reranker.stream import ROWS_PER_PART, PartedRun, begin_run

_Task = tuple[PartedRun, int]  # a part of a run, by its number


def placement_on(session: RaySession, reading: Reading) -> Placement:
    """Where the workers read: on GPUs where Ray reports any and --device does not say otherwise."""
    if reading.device == "auto" and not session.n_gpus:
        return replace(reading, device="cpu").placement()
    if not session.n_gpus or reading.device == "cpu":
        return reading.placement()
    return next(session.map_with(partial(Reading.placement, reading), _state, [0], n_gpus=1))


def scoring_on(session: RaySession, reading: Reading, placement: Placement) -> ScoreChunks:
    """The chunks scored by the workers, in their order; the texts of a chunk pass through Ray."""
    make = partial(_scorer_at, _absolute(reading), placement)

    def score_chunks(chunks: Sequence[Content]) -> Iterator[tuple[int, HarmScores]]:
        n_gpus = int(placement.device != "cpu")
        with closing(session.map_with(make, _scores, chunks, n_gpus=n_gpus)) as found:
            yield from enumerate(found)

    return score_chunks


@dataclass(frozen=True)
class Readers:
    """Who scores.

    Attributes:
        session: whose workers see the posts and the folder of the result under the names that they have here.
        reading: with what the texts are read.
        placement: where, as of `placement_on`.
        chunk: the posts that a scorer gets at once; it decides the last bits of the scores.
    """

    session: RaySession
    reading: Reading
    placement: Placement
    chunk: int


def score_posts_on(
    readers: Readers,
    posts: Where,
    output: Path,
    *,
    decided_by: Mapping[str, str],
    rows_per_part: int = ROWS_PER_PART,
    max_bad_rows: int = 0,
    on_rows: Callable[[int, int], None] = lambda _done, _of: None,
) -> int:
    """As `stream.score_posts`, which may take up what this was stopped in, and the other way round.

    Raises:
        FeedError: as there.
        PolicyError: a worker has another device or precision than the run.
        ChildProcessError: a part was lost again and again.
    """
    session, reading, placement = readers.session, readers.reading, readers.placement
    make = partial(_PartScorer, _absolute(reading), placement, readers.chunk)
    tasks: list[Iterator[_Task]] = []  # once a worker has said what it makes of no post

    def items() -> Iterator[_Task | None]:
        yield from repeat(None, 2 * session.n_workers)  # as many as are begun before the first result
        yield from tasks[0]

    with closing(
        session.map_with(make, _PartScorer.work, items(), n_gpus=int(placement.device != "cpu"))
    ) as done:
        nothing = next(done)
        assert isinstance(nothing, HarmScores)  # what no post gets
        run = begin_run(
            posts,
            output,
            nothing,
            decided_by=decided_by,
            rows_per_part=rows_per_part,
            max_bad_rows=max_bad_rows,
        )
        missing = run.missing()
        n_done = run.n - sum(map(run.rows_of, missing))
        on_rows(n_done, run.n)
        there = replace(
            run, posts=run.posts.absolute(), output=output.absolute()
        )  # workers run in other folders
        tasks.append((there, i) for i in missing)
        for n in done:
            if isinstance(n, int):
                n_done += n
                on_rows(n_done, run.n)
    run.assemble()
    return run.n_bad


class _PartScorer:
    """A loaded classifier, and where it stands in the posts; lives in a worker."""

    def __init__(self, reading: Reading, placement: Placement, chunk: int) -> None:
        self._scorer = in_chunks(one_by_one(_scorer_at(reading, placement)), chunk, lambda _done: None)
        self._blocks: Iterator[PostBlock] = iter(())
        self._next: int | None = None  # the first part opens the file

    def work(self, task: _Task | None) -> HarmScores | int:
        """What no post gets, for None; else the number of posts of a part, which is there then."""
        if task is None:
            return self._scorer(Content.of_texts([]))
        run, i = task
        block = self._block(run, i)
        run.write_part(i, block, self._scorer)
        return block.content.n

    def _block(self, run: PartedRun, i: int) -> PostBlock:
        if self._next is None or i < self._next:
            self._blocks, self._next = run.blocks(), 0
        block = next(islice(self._blocks, i - self._next, None), None)
        self._next = i + 1
        is_last = (i + 1) * run.rows_per_part >= run.n
        if (
            block is None
            or block.content.n != run.rows_of(i)
            or (is_last and next(self._blocks, None) is not None)
        ):
            raise run.changed("another number")
        return block


def _scorer_at(reading: Reading, placement: Placement) -> Scorer:
    """The scorer of a worker, which must read as the run does."""
    found = reading.placement()
    if found != placement:
        raise PolicyError(
            f"--engine ray: expected workers that read on {placement.device} in {placement.precision}, "
            f"got one with {found.device} in {found.precision}; name one --device"
        )
    scorer = reading.scorer()
    assert scorer is not None  # a model or ratings are named
    return scorer


def _scores(scorer: Scorer, content: Content) -> HarmScores:
    return scorer(content)


def _state(state: Placement, _item: int) -> Placement:
    return state


def _absolute(reading: Reading) -> Reading:
    """With paths that hold in any folder."""
    is_path = reading.model not in {"none", "bundled"} and Path(reading.model).exists()
    return replace(
        reading,
        model=str(Path(reading.model).absolute()) if is_path else reading.model,
        domains=reading.domains and reading.domains.absolute(),
        prevalence_sample=reading.prevalence_sample and reading.prevalence_sample.absolute(),
    )

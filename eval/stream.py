"""Partitions to one result in constant memory; a run that was killed is taken up where it stood.

The statistics of each partition are a file of their own, which is there whole or not at all, beside a state
that says what they were made of. As sums of statistics do not depend on their order, neither the number of
threads nor the point of an interruption changes a byte of the result.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from eval.stored import read_statistics, write_statistics
from eval.sufficient import Plan, SufficientStatistics, merge, merge_all
from reranker.writing import atomic

Batch = TypeVar("Batch")
STATE = "state.json"


@dataclass(frozen=True)
class Partition(Generic[Batch]):
    """Some requests, read when they are needed.

    Attributes:
        name: unique among the partitions.
        load: reads them; may be called from another thread.
        digest: changes when the data change, so that parts of other data are not taken up; may be "".
    """

    name: str
    load: Callable[[], Batch]
    digest: str = ""


def evaluate_stream(
    partitions: Sequence[Partition[Batch]],
    evaluate: Callable[[Batch], SufficientStatistics],
    plan: Plan,
    folder: str | Path,
    *,
    threads: int = 1,
    on_done: Callable[[int, int], None] = lambda _done, _of: None,
) -> SufficientStatistics:
    """The statistics of all partitions, at most `threads` of which are in memory at a time.

    The folder keeps one file per partition; delete it once the result is safe. The evaluation, which runs
    in compiled code for the most part, gains from threads.

    Args:
        partitions: with nothing in common.
        evaluate: one partition to its statistics, such as `slates.evaluate_partition`.
        plan: that of the statistics.
        folder: for the parts; created.
        threads: that work at the same time.
        on_done: called with the partitions done, those of an earlier run included, and of how many.

    Raises:
        ValueError: two partitions have one name, the folder holds the parts of another run, or a part is
            of another plan or cannot be read.
    """
    parts = Parts(folder, partitions, plan)

    def work(i: int) -> int:
        parts.write(i, evaluate(partitions[i].load()))
        return i

    return parts.merged(_in_threads(work, parts.missing, threads), on_done)


class Parts:
    """The folder of a run: a file of statistics per partition, which those of an earlier run are taken from.

    Attributes:
        missing: the partitions that have no file yet, as it was found.

    Raises:
        ValueError: as `evaluate_stream`.
    """

    def __init__(self, folder: str | Path, partitions: Sequence[Partition[Any]], plan: Plan) -> None:
        self._names, self._plan = [partition.name for partition in partitions], plan
        if twice := len(self._names) - len(set(self._names)):
            raise ValueError(f"partitions: expected each name once, got {twice} repeated")
        _begin(Path(folder), _made_of(partitions, plan))
        self._paths = [Path(folder) / f"part-{i:06d}.statistics" for i in range(len(partitions))]
        self.missing = [i for i, path in enumerate(self._paths) if not path.exists()]

    def write(self, i: int, made: SufficientStatistics) -> None:
        """Keep the statistics of one partition."""
        if made.plan != self._plan:
            raise ValueError(f"{self._names[i]}: expected statistics of {self._plan}, got {made.plan}")
        write_statistics(made, self._paths[i])

    def merged(self, written: Iterable[int], on_done: Callable[[int, int], None]) -> SufficientStatistics:
        """The statistics of all partitions; files are added up while others work on the next.

        Args:
            written: the missing ones, each once its file is there.
            on_done: as of `evaluate_stream`.
        """
        missing = set(self.missing)
        found = [path for i, path in enumerate(self._paths) if i not in missing]
        on_done(len(found), len(self._paths))
        merged = merge_all(map(read_statistics, found), self._plan)
        for done, i in enumerate(written, len(found) + 1):
            merged = merge(merged, read_statistics(self._paths[i]))
            on_done(done, len(self._paths))
        return merged


def _in_threads(work: Callable[[int], int], jobs: Sequence[int], threads: int) -> Iterator[int]:
    """The result of each job. One thread is this one; when a job fails, those not begun are dropped."""
    if threads == 1:
        for job in jobs:
            yield work(job)
        return
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work, job) for job in jobs]
        try:
            for job_done in as_completed(running):
                yield job_done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _made_of(partitions: Sequence[Partition[Batch]], plan: Plan) -> dict[str, Any]:
    """What decides the parts, as it is read back from JSON."""
    listed = {
        "plan": asdict(plan),
        "partitions": [[partition.name, partition.digest] for partition in partitions],
    }
    found: dict[str, Any] = json.loads(json.dumps(listed))
    return found


def _begin(folder: Path, made_of: dict[str, Any]) -> None:
    """Creates the folder, or makes sure that its parts are of this run."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / STATE
    if not state.exists():
        if any(folder.glob("part-*")):
            raise ValueError(f"{folder}: expected the parts of an interrupted run, got no {STATE}")
        with atomic(state) as temporary:
            temporary.write_text(json.dumps(made_of, indent=1) + "\n", encoding="utf-8")
        return
    try:
        before = json.loads(state.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{state}: expected the state of a run, got {error}") from None
    differ = [name for name in made_of if before.get(name) != made_of[name]]
    if differ:
        raise ValueError(
            f"{folder}: expected to resume the interrupted run, got another {' and another '.join(differ)}; "
            "delete this folder to start over"
        )

"""Partitions to one result in constant memory; a run that was killed is taken up where it stood.

The statistics of each partition are a file of their own, which is there whole or not at all, beside a state
that says what they were made of. As sums of statistics do not depend on their order, neither the number of
threads nor the point of an interruption changes a byte of the result.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from eval.stored import read_statistics, write_statistics
from eval.sufficient import Plan, SufficientStatistics, merge_all
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
    names = [partition.name for partition in partitions]
    if len(set(names)) < len(names):
        raise ValueError(f"partitions: expected each name once, got {len(names) - len(set(names))} repeated")
    folder = Path(folder)
    _begin(folder, _made_of(partitions, plan))
    paths = [folder / f"part-{i:06d}.statistics" for i in range(len(partitions))]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    done = len(paths) - len(missing)
    on_done(done, len(paths))

    def work(i: int) -> None:
        made = evaluate(partitions[i].load())
        _check_plan(made, plan, partitions[i].name)
        write_statistics(made, paths[i])

    for _ in _in_threads(work, missing, threads):
        done += 1
        on_done(done, len(paths))
    return merge_all(map(read_statistics, paths), plan)


def _in_threads(work: Callable[[int], None], jobs: Sequence[int], threads: int) -> Iterator[None]:
    """After each job. One thread is this one; when a job fails, those not begun are dropped."""
    if threads == 1:
        for job in jobs:
            work(job)
            yield
        return
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(work, job) for job in jobs]
        try:
            for job_done in as_completed(running):
                job_done.result()
                yield
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _check_plan(made: SufficientStatistics, plan: Plan, name: str) -> None:
    if made.plan != plan:
        raise ValueError(f"{name}: expected statistics of {plan}, got {made.plan}")


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

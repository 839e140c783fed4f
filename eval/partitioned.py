"""The evaluation of slates over the partitions of a log, on this machine or on the workers of a cluster.

A worker reads a partition, evaluates it and writes its statistics, some megabytes, to their place; nothing
but a number travels through the driver, which adds the files up. So a run that was begun on one machine may
be finished on a cluster, and the other way round, and whichever way it went the bytes of the result are the
same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.slates import Metrics, PackedRequests, WeightPolicies, evaluate_partition, plan_of
from eval.stream import Partition, Parts, evaluate_stream
from eval.sufficient import SufficientStatistics
from reranker.ray_session import RaySession


def evaluate_on(
    session: RaySession | None,
    partitions: Sequence[Partition[PackedRequests]],
    setting: tuple[WeightPolicies, Metrics],
    folder: str | Path,
    *,
    on_done: Callable[[int, int], None] = lambda _done, _of: None,
) -> SufficientStatistics:
    """The statistics of all partitions, evaluated by a session of workers, or here where it is None.

    The first partition is read here, to know what is measured. Partitions that are done are not done again;
    a worker that dies costs those that it had in hand.

    Args:
        session: of `reranker.ray_session.ray_session`; its workers must see the files and the folder under
            the same paths.
        partitions: such as of `packed_partitions`, with nothing in common.
        setting: the policies, and what is measured of their slates.
        folder: for the parts, as of `evaluate_stream`; delete it once the result is safe.
        on_done: called with the partitions done, those of an earlier run included, and of how many.

    Raises:
        ValueError: no partition, as `evaluate_stream`, or as `evaluate_partition`.
        FeedError: what was logged cannot be, or a file cannot be read; the file is named.
    """
    if not partitions:
        raise ValueError("partitions: expected at least one, got none")
    plan = plan_of(partitions[0].load(), *setting)
    if session is None:
        return evaluate_stream(
            partitions, lambda batch: evaluate_partition(batch, *setting), plan, folder, on_done=on_done
        )
    parts = Parts(Path(folder).absolute(), partitions, plan)
    work = ((i, partitions[i]) for i in parts.missing)
    return parts.merged(session.map(_Evaluation(parts, *setting), work), on_done)


@dataclass(frozen=True)
class _Evaluation:
    """What a worker does with a partition."""

    parts: Parts
    policies: WeightPolicies
    metrics: Metrics

    def __call__(self, numbered: tuple[int, Partition[PackedRequests]]) -> int:
        i, partition = numbered
        self.parts.write(i, evaluate_partition(partition.load(), self.policies, self.metrics))
        return i

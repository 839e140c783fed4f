"""The batches of a log, and what is said of each: worked out here, or by the workers of a cluster.

What is said of a batch is small beside it, and comes in the order of the log, so that whatever is made of it
has the same bytes either way.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from reranker.impression_files import log_files, read_impressions
from reranker.impressions import ImpressionLog
from reranker.ray_session import RaySession

T = TypeVar("T")


class LogFiles:
    """The batches of files, read anew each time they are gone through.

    Args:
        path: a .parquet file of impressions, or a directory of such.
        session: whose workers read and work on the files, which they must see under the same paths, each file
            on one worker; None is this process.
    """

    def __init__(self, path: str | Path, session: RaySession | None = None) -> None:
        self._path, self._session = path, session

    def __iter__(self) -> Iterator[ImpressionLog]:
        return read_impressions(self._path)

    def map(self, function: Callable[[ImpressionLog], T]) -> Iterator[T]:
        """The function of every batch, in the order of the log; of a session, it must be picklable."""
        if self._session is None:
            yield from map(function, self)
            return
        files = (file.absolute() for file in log_files(self._path))  # workers run in other folders
        for found in self._session.map(_OfFile(function), files):
            yield from found


@dataclass(frozen=True)
class _OfFile(Generic[T]):
    """What a worker does with a file; it holds one batch of it at a time."""

    function: Callable[[ImpressionLog], T]

    def __call__(self, file: Path) -> list[T]:
        return [self.function(log) for log in read_impressions(file)]


def of_batches(function: Callable[[ImpressionLog], T], logs: Iterable[ImpressionLog]) -> Iterator[T]:
    """The function of every batch, wherever the batches are worked on."""
    return logs.map(function) if isinstance(logs, LogFiles) else map(function, logs)

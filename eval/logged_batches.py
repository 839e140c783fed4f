"""The batches of a log, and what is said of each: worked out here, or by the workers of a cluster.

What is said of a batch is small beside it, and comes in the order of the log, so that whatever is made of it
has the same bytes either way.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from reranker.impression_files import log_files, read_impressions
from reranker.impression_layout import LogLayout, read_layout
from reranker.impressions import ImpressionLog
from reranker.location import Location, Where
from reranker.ray_session import RaySession

T = TypeVar("T")


class LogFiles:
    """The batches of files, read anew each time they are gone through.

    Args:
        path: a .parquet file of impressions, or a directory of such; or a URL of either.
        session: whose workers read and work on the files, each file on one worker; they must see them under
            the same paths, and open a URL with credentials of their own. None is this process.
    """

    def __init__(self, path: Where, session: RaySession | None = None) -> None:
        self._path, self.session = path, session

    def __iter__(self) -> Iterator[ImpressionLog]:
        return read_impressions(self._path)

    def map(self, function: Callable[[ImpressionLog], T]) -> Iterator[T]:
        """The function of every batch, in the order of the log; of a session, it must be picklable."""
        if self.session is None:
            yield from map(function, self)
            return
        files = [file.absolute() for file in log_files(self._path)]  # workers run in other folders
        for found in self.session.map(_OfFile(function, read_layout(files[0])), files):
            yield from found


@dataclass(frozen=True)
class _OfFile(Generic[T]):
    """What a worker does with a file; it holds one batch of it at a time."""

    function: Callable[[ImpressionLog], T]
    like: LogLayout

    def __call__(self, file: Location) -> list[T]:
        return [self.function(log) for log in read_impressions(file, self.like)]


def of_batches(function: Callable[[ImpressionLog], T], logs: Iterable[ImpressionLog]) -> Iterator[T]:
    """The function of every batch, wherever the batches are worked on."""
    return logs.map(function) if isinstance(logs, LogFiles) else map(function, logs)

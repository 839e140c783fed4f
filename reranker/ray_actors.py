"""`run_on_actors`: items worked off by processes of Ray that keep a state, whatever becomes of the processes.

Items go to processes that are up, and not to given ones, so that a cluster that lost a machine goes on with
those that are left while a replacement waits for room.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from models.device import n_cores, quiet_memory, share_cores
from reranker.tables import first_line

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")


def run_on_actors(
    work: tuple[Callable[[], S], Callable[[S, T], R]],
    items: Iterable[T],
    *,
    n: int,
    retries: int,
    options: Mapping[str, float],
) -> Generator[R]:
    """The results in the order of the items.

    Args:
        work: what makes the state of a process, and what turns that and an item into a result.
        items: drawn as they are needed: at most 2 n are begun and not yet given out.
        n: the number of processes; fewer where there are fewer items.
        retries: how often an item, or the start of a process, may be lost before that is an error.
        options: the resources of each process, as Ray names them.
    """
    pool = _Pool(work, retries, options)
    numbered = enumerate(items)
    done: dict[int, R] = {}
    given = 0
    try:
        while True:
            for place, item in itertools.islice(numbered, given + 2 * n - pool.n_drawn):
                pool.add(place, item)
            pool.employ(n)  # before a result is given out: whoever takes it may take long
            if given in done:
                yield done.pop(given)
                given += 1
                continue
            if not pool.n_open:
                break
            for place, result in pool.results():
                done[place] = result
    finally:
        pool.close()


class _Holder:
    """Runs as a process of Ray."""

    def __init__(self, make: Callable[[], S], function: Callable[[S, T], R], cpus: int) -> None:
        share_cores(max(1, n_cores() // cpus))  # before the first import of torch, as the next
        quiet_memory()
        self._make: Callable[[], Any] = make
        self._function: Callable[[Any, Any], Any] = function
        self._state: Any = None

    def ready(self) -> None:
        """Makes the state: not at birth, where Ray keeps of an exception its words alone."""
        self._state = self._make()

    def call(self, item: Any) -> Any:
        return self._function(self._state, item)


class _Pool:
    """Processes, what each is doing, and the items that wait."""

    def __init__(
        self, work: tuple[Callable[..., Any], Callable[..., Any]], retries: int, options: Mapping[str, float]
    ) -> None:
        import ray  # noqa: PLC0415 - of an extra

        self._ray = ray
        self._start: Any = ray.remote(_Holder).options(**options, max_restarts=0)
        self._arguments = (*(ray.put(part) for part in work), max(1, int(options.get("num_cpus", 1))))
        self._retries = retries
        self._waiting: list[tuple[int, Any]] = []
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, tuple[int, Any] | None]] = {}  # None: it is starting
        self._lost: dict[int | None, int] = {}  # how often, by place; None: in a start
        self.n_drawn = 0

    @property
    def n_open(self) -> int:
        """Items without a result."""
        return len(self._waiting) + sum(doing is not None for _, doing in self._busy.values())

    def add(self, place: int, item: Any) -> None:
        self._waiting.append((place, item))
        self.n_drawn += 1

    def employ(self, n: int) -> None:
        """Gives what waits to the idle, the first first, and starts processes where some are wanting."""
        self._waiting.sort(key=lambda numbered: -numbered[0])
        while self._waiting and self._idle:
            actor, numbered = self._idle.pop(), self._waiting.pop()
            self._busy[actor.call.remote(numbered[1])] = (actor, numbered)
        starting = sum(doing is None for _, doing in self._busy.values())
        for _ in range(min(n - len(self._busy), len(self._waiting) - starting)):
            actor = self._start.remote(*self._arguments)
            self._busy[actor.ready.remote()] = (actor, None)

    def results(self) -> Iterator[tuple[int, Any]]:
        """Waits until some process has answered."""
        references = list(self._busy)
        ready, _ = self._ray.wait(references, num_returns=1)
        for reference in ready:
            actor, doing = self._busy.pop(reference)
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayActorError as error:
                self._ray.kill(actor)  # it may be out of reach and yet alive
                self._take_back(doing, error)
                continue
            except self._ray.exceptions.RayError as error:
                self._idle.append(actor)  # to be ended: nothing else knows of it
                raise told_by_ray(error) from None
            self._idle.append(actor)
            if doing is not None:
                yield doing[0], answer

    def close(self) -> None:
        """Ends the processes, whatever they are doing."""
        for actor in [*self._idle, *(actor for actor, _ in self._busy.values())]:
            self._ray.kill(actor)

    def _take_back(self, doing: tuple[int, Any] | None, error: Exception) -> None:
        place = None if doing is None else doing[0]
        self._lost[place] = self._lost.get(place, 0) + 1
        if self._lost[place] > self._retries:
            raise told_by_ray(error) from None
        if doing is not None:
            self._waiting.append(doing)


def told_by_ray(error: Exception) -> Exception:
    """What a function raised, as it is; or one line on what became of the process that ran it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return cause
    return ChildProcessError(
        f"--engine ray: expected workers that run to the end, got {type(error).__name__} "
        f"({first_line(error)}); the same command goes on where this run stood"
    )

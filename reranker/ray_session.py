"""`ray_session`: the same functions over partitions, run by the workers of Ray, on this machine or on many.

Only what the commands need of Ray: maps whose results come in the order of the items, so that whatever is
merged from them has the bytes of a run in one process. A worker reads its partition and writes what is large
itself; only what is small goes through Ray. Ray is imported when a session is opened.
"""

import logging
import os
import pickle
import socket
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from models.device import n_cores, quiet_memory
from reranker.columns import FeedError
from reranker.ray_actors import run_on_actors, told_by_ray
from reranker.tables import first_line

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")

_PACKAGE = "harm-aware-reranker"
_STORE_BYTES = 1_000_000_000  # partitions do not pass through it; a sample that models are fitted on does
_REACH_S = 10.0
_ASK_S = 120.0  # a worker process starts in seconds; a node that answers no later is not there


@dataclass(frozen=True)
class RaySession:
    """A running Ray and how it is shared out.

    Attributes:
        n_workers: partitions that are worked on at a time.
        cpus: the cores of each, which are its threads.
        n_gpus: those that Ray reports, of all machines together.
    """

    n_workers: int
    cpus: int = 1
    n_gpus: int = 0

    def map(self, function: Callable[[T], R], items: Iterable[T], *, retries: int = 3) -> Generator[R]:
        """The results in the order of the items, at most two per worker begun and not yet given out.

        A task whose process or machine is lost runs again.

        Raises:
            ChildProcessError: an item was lost more than `retries` times.
            Exception: what `function` raises, as it is; it is not tried again.
        """
        import ray  # noqa: PLC0415 - of an extra

        kept = ray.put(function)
        call: Any = ray.remote(_called).options(num_cpus=self.cpus, max_retries=retries)
        begun: deque[Any] = deque()
        try:
            for item in items:
                begun.append(call.remote(kept, item))
                if len(begun) == 2 * self.n_workers:
                    yield _result(begun.popleft())
            while begun:
                yield _result(begun.popleft())
        finally:
            for reference in begun:
                ray.cancel(reference, force=True)

    def map_with(
        self,
        make: Callable[[], S],
        function: Callable[[S, T], R],
        items: Iterable[T],
        *,
        retries: int = 3,
        n_gpus: float = 0,
    ) -> Generator[R]:
        """As `map`, in processes that each hold what `make` returns, such as a loaded classifier.

        Each has its share of the cores before `make` runs. One that is lost is replaced, and its item goes
        to whichever is free first.
        """
        n = min(self.n_workers, max(1, int(self.n_gpus / n_gpus))) if n_gpus else self.n_workers
        options = {"num_cpus": self.cpus, "num_gpus": n_gpus}
        return run_on_actors((make, function), items, n=n, retries=retries, options=options)


@contextmanager
def ray_session(address: str | None = None, *, n_workers: int | None = None) -> Iterator[RaySession]:
    """A session that ends with the block; one that this process has open already is shared and left open.

    Args:
        address: HOST:PORT of a cluster that this machine is part of, or "auto"; None starts Ray here.
        n_workers: partitions worked on at a time; by default as many as cores.

    Raises:
        FeedError: the extra is missing, the cluster is out of reach or of another version of Ray, Python or
            this package, or has fewer cores than workers are asked for.
    """
    _quiet()
    if address is not None:
        _take_token()
    try:
        import ray  # noqa: PLC0415 - of an extra
    except ImportError:
        raise FeedError(
            f"--engine ray: expected Ray, found none; pip install '{_PACKAGE}[cluster]'"
        ) from None
    is_open = ray.is_initialized()
    try:
        if address is not None or not is_open:
            _start(address, n_workers or 1)
        if address is not None:
            _check_versions(address)
        yield _shared_out(n_workers)
    finally:
        if not is_open:  # another's stays, also where this one could not begin
            ray.shutdown()


def _quiet() -> None:
    """Before Ray is imported: nothing sent over the network, no notes beside our own lines, no handicap."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # by default 15: workers of Ray that starts here lost 10%
    for name in ("time", "timeout"):  # a machine that is cut off is noticed
        os.environ.setdefault(f"RAY_grpc_client_keepalive_{name}_ms", "10000")


def _take_token() -> None:
    """As `ray start` does by itself: the token that it left for this user opens the cluster."""
    given = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    if given or (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _start(address: str | None, n_workers: int) -> None:
    import ray  # noqa: PLC0415 - of an extra

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address is None:
        # "local": else Ray joins whatever cluster it finds on this machine
        options |= {"address": "local", "num_cpus": max(n_cores(), n_workers), "include_dashboard": False}
        options |= {"object_store_memory": _STORE_BYTES}
    else:
        _check_reach(address)
        options |= {"address": address}
    try:
        logging.getLogger("ray").setLevel(logging.ERROR)  # importing Ray has set another
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"ray\.")
            warnings.filterwarnings("ignore", category=ResourceWarning)  # processes that Ray ends itself
            ray.init(**options)
    except (RuntimeError, ConnectionError, ValueError) as error:
        where = address or "this machine"
        raise FeedError(f"--engine ray: expected Ray on {where}, got {first_line(error)}") from None


def _check_reach(address: str) -> None:
    """In seconds what Ray itself tells after minutes."""
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal()) or "/" in address:
        raise FeedError(f"--address: expected HOST:PORT or auto, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise FeedError(f"--address: expected a cluster at {address}, got {first_line(error)}") from None


def _check_versions(address: str) -> None:
    """Another version may read a post in another way, and the parts would not be of one run."""
    import ray  # noqa: PLC0415 - of an extra
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415 - of an extra

    def theirs(name: str) -> str:  # not a function of this module: the worker may not have it
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - runs elsewhere

        try:
            return version(name)
        except PackageNotFoundError:
            return "none"

    ask = ray.remote(theirs)
    asked = {}
    for node in _nodes():
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked[node["NodeManagerAddress"]] = ask.options(num_cpus=0, scheduling_strategy=here).remote(_PACKAGE)
    ours = _version()
    for host, reference in asked.items():
        try:
            found = ray.get(reference, timeout=_ASK_S)
        except ray.exceptions.RayError as error:
            raise FeedError(f"{address}: expected an answer of {host}, got {first_line(error)}") from None
        if found != ours:
            raise FeedError(f"{address}: expected {_PACKAGE} {ours} on {host} as here, got {found}")


def _version() -> str:
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return "none"


def _nodes() -> list[Mapping[str, Any]]:
    import ray  # noqa: PLC0415 - of an extra

    nodes: Any = ray.nodes  # it has no types
    return [node for node in nodes() if node["Alive"]]


def _shared_out(n_workers: int | None) -> RaySession:
    """The most cores for each of n workers that leave room for all of them on the machines there are."""
    cores = [int(node["Resources"].get("CPU", 0)) for node in _nodes()]
    n_gpus = sum(int(node["Resources"].get("GPU", 0)) for node in _nodes())
    n = sum(cores) if n_workers is None else n_workers
    if not 1 <= n <= sum(cores):
        raise FeedError(f"--workers: expected 1 to {sum(cores)}, the cores that Ray has, got {n}")
    cpus = max(k for k in range(1, max(cores) + 1) if sum(c // k for c in cores) >= n)
    return RaySession(n, cpus, n_gpus)


def _called(function: Callable[[T], Any], item: T) -> bytes:
    """The result, pickled: arrays that are not stay in the object store for as long as they are used."""
    quiet_memory()  # a worker process of Ray has the defaults, whatever the driver has
    return pickle.dumps(function(item), protocol=pickle.HIGHEST_PROTOCOL)


def _result(reference: Any) -> Any:
    import ray  # noqa: PLC0415 - of an extra

    try:
        return pickle.loads(ray.get(reference))  # noqa: S301 - of our own workers, as Ray reads all that comes
    except ray.exceptions.RayError as error:
        raise told_by_ray(error) from None

"""`--engine`: whether a command works in this process or on the workers of Ray."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from models.device import quiet_memory
from reranker.option_groups import options_as
from reranker.policy import PolicyError

if TYPE_CHECKING:
    from reranker.ray_session import RaySession

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Engine:
    """Where the work is done.

    Attributes:
        name: "local" or "ray".
        address: of a cluster; None starts Ray on this machine.
    """

    name: str = "local"
    address: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is this process."""
        return self.name == "local"

    @contextmanager
    def session(self, n_workers: int | None = None) -> "Iterator[RaySession | None]":
        """The workers that it stands for; None is this process.

        Raises:
            FeedError: as `reranker.ray_session.ray_session`.
        """
        quiet_memory()  # partition after partition needs the same room
        if self.is_local:
            yield None
            return
        from reranker.ray_session import ray_session  # noqa: PLC0415 - Ray is of an extra

        with ray_session(self.address, n_workers=n_workers) as session:
            yield session


def _engine(
    *,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: the workers of a cluster.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option("--address", help="HOST:PORT of a Ray cluster, or auto; without it Ray starts here."),
    ] = None,
) -> Engine:
    if engine not in ENGINES:
        raise PolicyError(f"--engine: expected {' or '.join(ENGINES)}, got {engine!r}")
    if engine == "local" and address is not None:
        raise PolicyError(f"--address: expected --engine ray beside it, got --engine {engine}")
    return Engine(engine, address)


with_engine = options_as("engine", _engine)

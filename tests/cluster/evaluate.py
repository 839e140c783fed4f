"""The evaluation that a test runs on a cluster: python -m tests.cluster.evaluate FOLDER [ADDRESS].

Each partition takes half a second longer, so that a machine can be lost while it runs, and leaves word of
where it ran.
"""

import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from eval.packed import packed_partitions
from eval.partitioned import evaluate_on
from eval.slates import Metrics, PackedRequests, weight_policies
from eval.stored import write_statistics
from reranker.ray_session import ray_session

METRICS = Metrics((1.0, 0.8, 0.5), n_resamples=20)
POLICIES = weight_policies({"old": {"like": 1.0, "angry": 5.0}, "new": {"like": 1.0}}, ("like", "angry"), 1)
SECONDS = 0.5


@dataclass(frozen=True)
class Slow:
    """Reads a partition after a while."""

    load: Callable[[], PackedRequests]
    word: Path

    def __call__(self) -> PackedRequests:
        time.sleep(SECONDS)
        with self.word.open("a") as file:
            file.write(f"{socket.gethostname()}\n")
        return self.load()


def evaluate(folder: Path, address: str | None) -> None:
    """Evaluates folder/logs into folder/all, by a cluster where there is an address; says what is done."""
    found = packed_partitions([folder / "logs"])
    if address is None:
        write_statistics(evaluate_on(None, found, (POLICIES, METRICS), folder / "parts"), folder / "all")
        return
    (folder / "ran").mkdir()
    slow = [replace(one, load=Slow(one.load, folder / "ran" / one.name)) for one in found]

    def say(done: int, _of: int) -> None:
        print(done, flush=True)  # noqa: T201 - the test reads it

    with ray_session(address) as session:
        made = evaluate_on(session, slow, (POLICIES, METRICS), folder / "parts", on_done=say)
    write_statistics(made, folder / "all")


if __name__ == "__main__":
    evaluate(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)

"""`Workers`: processes that score posts side by side on the CPU, each with a model of its own.

Each is joined to this process by a pipe of its own, and not by a pool of the standard library: a worker that
is killed, or whose parent is, shows as the end of the pipe on the other side, so that nobody waits for ever.
"""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from models.device import Placement, n_cores, share_cores
from models.scores import Content, HarmScores
from reranker.inputs import Reading
from reranker.policy import PolicyError


def check_workers(n: int, placement: Placement) -> None:
    """Before the work: as many processes as cores at most, and one on a device that they would share.

    Raises:
        PolicyError: the number is another.
    """
    if not 1 <= n <= n_cores():
        raise PolicyError(f"--workers: expected 1 to {n_cores()}, the cores there are, got {n}")
    if n > 1 and placement.device != "cpu":
        raise PolicyError(f"--workers: expected 1 on {placement.device}, got {n}; several need --device cpu")


class Workers:
    """Running processes, each of which loads the scorer once and scores one chunk at a time."""

    def __init__(self, reading: Reading, n: int) -> None:
        """Starts n processes that share the cores among them."""
        context = multiprocessing.get_context("spawn")
        self._process: dict[Connection, BaseProcess] = {}
        # Ctrl-C is for this process alone, which ends the others: they inherit that it is ignored
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for _ in range(n):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, reading, n), daemon=True)
                self._process[ours] = process
                process.start()
                theirs.close()
        finally:
            signal.signal(signal.SIGINT, handler)

    def score_chunks(self, chunks: Sequence[Content]) -> Iterator[tuple[int, HarmScores]]:
        """The place of each chunk and its scores, in the order in which they are ready.

        Raises:
            ChildProcessError: a process ended.
            ValueError, OSError: what the scorer raises.
        """
        waiting = list(enumerate(chunks))[::-1]
        idle = list(self._process)
        busy: dict[Connection, int] = {}
        while waiting or busy:
            while waiting and idle:
                place, chunk = waiting.pop()
                self._send(idle[-1], chunk)
                busy[idle.pop()] = place
            ready = wait(list(busy))
            for pipe in [pipe for pipe in busy if pipe in ready]:
                idle.append(pipe)
                yield busy.pop(pipe), self._received(pipe)

    def close(self) -> None:
        """Ends the processes, whatever they are doing."""
        for pipe, process in self._process.items():
            pipe.close()
            if process.pid is not None:
                process.terminate()
                process.join()

    def _send(self, pipe: Connection, chunk: Content) -> None:
        try:
            pipe.send(chunk)
        except OSError:
            raise self._ended(pipe) from None

    def _received(self, pipe: Connection) -> HarmScores:
        try:
            answer: HarmScores | Exception = pipe.recv()
        except (EOFError, OSError):
            raise self._ended(pipe) from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ended(self, pipe: Connection) -> ChildProcessError:
        process = self._process[pipe]
        process.join()
        return ChildProcessError(
            f"--workers: expected processes that run to the end, got one that ended with {process.exitcode} "
            "(-9: killed, as for want of memory); the same command goes on where this run stood"
        )


def _work(pipe: Connection, reading: Reading, n: int) -> None:
    """Answers chunks with their scores, or with what is wrong with the input, until the parent is gone."""
    share_cores(n)  # before the first import of torch
    scorer = cache(reading.scorer)
    with suppress(ValueError, OSError):  # told with the first chunk
        scorer()
    with suppress(EOFError, OSError):
        while True:
            chunk = pipe.recv()
            try:
                score = scorer()
                assert score is not None  # the command names a model or ratings
                answer: HarmScores | Exception = score(chunk)
            except (ValueError, OSError) as error:
                answer = error
            pipe.send(answer)

"""How the benchmarks time: one run that does not count, then as many as asked for."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def timed(work: Callable[[], Any], repeats: int) -> tuple[list[float], np.ndarray]:
    """Seconds of each repeat, and the last result."""
    result = work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return seconds, np.asarray(result)

"""The engine against the same work without it: exposure of two policies, by workers of Ray and by threads.

    python benchmarks/cluster.py [--candidates 1e9] [--rounds 1] [--output FILE]

Partitions of 2 * 10^6 candidates (10 predictions and 4 harms of a byte each, 20,000 requests) are made where
they are evaluated, so that no disk is measured. A way to run is a process of its own: threads here, two
workers, one worker that has one core, and one thread on one core. Times include the start of Ray and of the
workers. As machines are shared, the ways take turns, round by round; the table has medians and ranges. The
statistics of all ways must have the same bytes.
"""

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eval.slates import PackedRequests

ACTIONS, HARMS, POOL, SLOTS, REQUESTS = 10, 4, 100, 10, 20_000
WAYS = {"2 threads": (2, False), "2 workers": (2, True), "1 worker": (1, True), "1 thread": (1, False)}


@dataclass(frozen=True)
class Load:
    """Makes the requests of one partition, each of some five of a user."""

    index: int
    n: int

    def __call__(self) -> "PackedRequests":
        """The requests."""
        from eval.hashing import user_keys
        from eval.slates import PackedRequests

        rng, rows = np.random.default_rng([7, self.index]), self.n * POOL
        return PackedRequests(
            user=user_keys(np.arange(self.n) // 5 + self.index * REQUESTS),
            segment=np.zeros(self.n, dtype=np.int32),
            offsets=np.arange(self.n + 1) * POOL,
            actions=tuple(f"a{i}" for i in range(ACTIONS)),
            p_action=np.frombuffer(rng.bytes(ACTIONS * rows), np.uint8).reshape(ACTIONS, -1) // 2 + 1,
            harms=tuple(f"h{i}" for i in range(HARMS)),
            p_harm=np.frombuffer(rng.bytes(HARMS * rows), np.uint8).reshape(HARMS, -1),
            multiplier=np.array([0.3, 0.5, 1.0])[rng.integers(0, 3, rows, dtype=np.uint8)],
        )


def measure(way: str, candidates: int) -> dict[str, float | str]:
    """One run: seconds on the clock, the digest of the statistics, and the largest memory of a process."""
    from eval.partitioned import evaluate_on
    from eval.slates import Metrics, evaluate_partition, plan_of, weight_policies
    from eval.stored import to_bytes
    from eval.stream import Partition, evaluate_stream
    from models.device import quiet_memory
    from reranker.ray_session import ray_session

    quiet_memory()  # as the commands do
    n, on_ray = WAYS[way]
    requests = candidates // POOL
    sizes = [min(REQUESTS, requests - at) for at in range(0, requests, REQUESTS)]
    partitions = [Partition(f"p{i}", Load(i, size)) for i, size in enumerate(sizes)]
    weights = {
        "old": {f"a{i}": 1.0 + i for i in range(ACTIONS)},
        "new": {f"a{i}": 1.0 + i for i in range(ACTIONS - 1)},
    }
    first = partitions[0].load()
    policies = weight_policies(weights, first.actions, HARMS)
    setting = policies, Metrics(tuple(0.8**k for k in range(SLOTS)))
    evaluate_partition(first, *setting)  # compiled before the clock starts
    plan = plan_of(first, *setting)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if on_ray:
            with ray_session(n_workers=n) as session:
                found = evaluate_on(session, partitions, setting, Path(folder) / "parts")
        else:
            found = evaluate_stream(
                partitions, lambda batch: evaluate_partition(batch, *setting), plan, Path(folder) / "parts",
                threads=n,
            )  # fmt: skip
    seconds = time.perf_counter() - began
    who = resource.RUSAGE_CHILDREN if on_ray else resource.RUSAGE_SELF
    digest = hashlib.sha256(to_bytes(found)).hexdigest()
    return {
        "way": way,
        "seconds": seconds,
        "digest": digest,
        "peak_mib": resource.getrusage(who).ru_maxrss / 1024,
    }


def main() -> None:
    """Every way in turn, and the ratios that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=float, default=2e8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--way")
    arguments = parser.parse_args()
    candidates = int(arguments.candidates)
    if arguments.way:
        print(json.dumps(measure(arguments.way, candidates)))
        return
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, {candidates:,} candidates")
    rows = []
    for _ in range(arguments.rounds):
        for way, (n, _on_ray) in WAYS.items():
            command = [sys.executable, __file__, "--way", way, "--candidates", str(candidates)]
            pinned = ["taskset", "--cpu-list", "0"] if n == 1 else []
            done = subprocess.run([*pinned, *command], capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{way:10s} {rows[-1]['seconds']:8.1f} s {rows[-1]['peak_mib']:6.0f} MiB", flush=True)
    assert len({row["digest"] for row in rows}) == 1, "expected the same bytes of all ways"
    took = {way: statistics.median(r["seconds"] for r in rows if r["way"] == way) for way in WAYS}
    print(
        f"same bytes; 1 to 2 workers {took['1 worker'] / took['2 workers']:.2f} times as quick (wanted 1.7),"
    )
    print(f"2 workers take {took['2 workers'] / took['2 threads'] - 1:+.0%} of 2 threads (wanted below +20%)")
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

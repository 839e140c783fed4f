"""Exposure of two policies with intervals over up to 10^9 candidates: time and memory against size.

    python benchmarks/stream.py [--impressions 5000000 20000000] [--threads 1] [--output FILE]

An impression is one slot of ten; a request has 100 candidates with 10 predictions and 4 harms of a byte each.
Partitions of 20,000 requests are made when they are asked for and are never on disk, so that no size needs
room: what is timed is the evaluation, the statistics of every partition on disk, their merge and the
intervals. Each size runs in a process of its own. As machines are shared, the table has seconds on the clock
and seconds of the process, and of the latter what the making of the data took; "evaluation" is without it.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

POOL, ACTIONS, HARMS, SLOTS, REQUESTS = 100, 10, 4, 10, 20_000
SEEN = [0.8**k for k in range(SLOTS)]
POLICIES = {
    "old": {f"a{i}": 1.0 + i for i in range(ACTIONS)},
    "new": {f"a{i}": 1.0 + i for i in range(ACTIONS - 1)},
}


class Made:
    """Makes partitions, and adds up what that took of the processor."""

    def __init__(self) -> None:
        self.seconds, self._lock = 0.0, threading.Lock()

    def partition(self, index: int, n: int):
        """A way to make the requests of one partition, each of some five of a user."""
        from eval.hashing import user_keys
        from eval.slates import PackedRequests

        def load() -> PackedRequests:
            start = time.thread_time()
            rng = np.random.default_rng([7, index])
            p_harm = np.frombuffer(rng.bytes(HARMS * n * POOL), dtype=np.uint8).reshape(HARMS, -1)
            user = np.arange(n) // 5 + index * REQUESTS
            batch = PackedRequests(
                user=user_keys(user),
                segment=np.zeros(n, dtype=np.int32),
                offsets=np.arange(n + 1) * POOL,
                actions=tuple(f"a{i}" for i in range(ACTIONS)),
                p_action=np.frombuffer(rng.bytes(ACTIONS * n * POOL), np.uint8).reshape(ACTIONS, -1) // 2 + 1,
                harms=tuple(f"h{i}" for i in range(HARMS)),
                p_harm=p_harm,
                multiplier=np.array([0.3, 0.5, 1.0])[rng.integers(0, 3, n * POOL, dtype=np.uint8)],
            )
            with self._lock:
                self.seconds += time.thread_time() - start
            return batch

        return load


def measure(n_impressions: int, threads: int) -> dict[str, float]:
    """One size: seconds on the clock, of the process and of making the data, and the largest memory."""
    from eval.bucketed import Rate, rate_change
    from eval.slates import Metrics, evaluate_partition, plan_of, weight_policies
    from eval.stream import Partition, evaluate_stream
    from models.device import quiet_memory

    quiet_memory()  # as the commands do
    made, n = Made(), n_impressions // SLOTS
    sizes = [min(REQUESTS, n - at) for at in range(0, n, REQUESTS)]
    first = made.partition(0, min(REQUESTS, n))()
    policies = weight_policies(POLICIES, first.actions, HARMS)
    metrics = Metrics(tuple(SEEN))
    plan = plan_of(first, policies, metrics)
    evaluate_partition(first, policies, metrics)  # compiled before the clock starts
    del first
    made.seconds, peaks = 0.0, []

    def on_done(done: int, of: int) -> None:
        if done in (of // 4, of):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    wall, cpu = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found = evaluate_stream(
            [Partition(f"p{i}", made.partition(i, size)) for i, size in enumerate(sizes)],
            lambda batch: evaluate_partition(batch, policies, metrics),
            plan,
            Path(folder) / "parts",
            threads=threads,
            on_done=on_done,
        )
        changes = [rate_change(found, Rate(f"h{i}", f"scored_h{i}"), ("old", "new")) for i in range(HARMS)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert all(np.isfinite(one.standard_error) and one.low < one.high for one in changes)
    return {
        "impressions": n_impressions,
        "candidates": n * POOL,
        "policies": len(POLICIES),
        "partitions": len(sizes),
        "threads": threads,
        "wall_s": wall,
        "cpu_s": cpu,
        "making_cpu_s": made.seconds,
        "evaluation_cpu_s": cpu - made.seconds,
        "evaluation_ns_per_candidate": 1e9 * (cpu - made.seconds) / (n * POOL),
        "peak_mib_at_a_quarter": peaks[0],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Every size in its own process, and the line through them."""
    parser = argparse.ArgumentParser(description=__doc__)
    sizes = [5_000_000, 10_000_000, 20_000_000, 40_000_000]
    parser.add_argument("--impressions", type=int, nargs="+", default=sizes)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", type=int)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(args.worker, args.threads)))
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load average {load:.1f} before the start, {args.threads} threads")
    heads = (
        "impressions",
        "candidates",
        "clock s",
        "process s",
        "making s",
        "evaluation s",
        "ns/cand",
        "MiB",
    )
    print("".join(f"{head:>14}" for head in heads))
    rows = []
    for n in args.impressions:
        command = [sys.executable, __file__, "--worker", str(n), "--threads", str(args.threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        counts = f"{row['impressions']:14,}{row['candidates']:14,}"
        seconds = (row[name] for name in ("wall_s", "cpu_s", "making_cpu_s", "evaluation_cpu_s"))
        cost = f"{row['evaluation_ns_per_candidate']:14.1f}{row['peak_mib']:14.0f}"
        print(counts + "".join(f"{one:14.1f}" for one in seconds) + cost, flush=True)
    if len(rows) > 1:
        n, cost = [r["candidates"] for r in rows], [r["evaluation_cpu_s"] for r in rows]
        power = np.polyfit(np.log(n), np.log(cost), 1)[0]
        slope, start = np.polyfit(n, cost, 1)
        print(
            f"evaluation grows as candidates to the power of {power:.3f}; by the line through the sizes 10^9 "
            f"candidates take {(start + 1e9 * slope) / 60:.1f} minutes of one core"
        )
    if args.output:
        machine = {"cores": os.cpu_count(), "load_before": load, "load_after": os.getloadavg()[0]}
        args.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

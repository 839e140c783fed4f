"""The frontier's 200 policies on one million candidates, beside a loop of full reruns.

    python benchmarks/frontier.py [--candidates 1000000] [--policies 200] [--naive 3] [--repeats 3]

"vectorised" is what the search does: the signals are read once, every policy scores, orders and exposes
them in one compiled pass. "naive" is `Reranker(policy).rank` and the harness's exposure, one policy after
another; it is timed on a few policies and scaled, as its time per policy hardly varies. Both measure the same
outcomes and must agree to 1e-9. "frontier" is the whole job, once: search, choice, intervals, both halves of
the users. Wall seconds depend on what else the machine does; CPU seconds are beside them.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np
from ranking import make_data

POOL = 200
PER_USER = 5


def make_feed(n: int):
    """Pools of 200 with 20 signals, estimates of harm for seven labels, authors, relations and users."""
    from models.scores import HarmScores
    from reranker.assembly import feed_from_columns
    from reranker.columns import StringColumn
    from reranker.signals import SIGNAL_NAMES
    from reranker.value import Harms

    data = make_data(n)
    columns = {name: values for name, values in data.items() if name in SIGNAL_NAMES}
    codes = {"request_id": data["request"], "post_id": data["post"], "author": data["author"]}
    codes["user"] = data["request"] // PER_USER
    for name, values in codes.items():
        columns[name] = StringColumn(values.astype(np.int32), tuple(map(str, range(int(values.max()) + 1))))
    labels = tuple(name[2:] for name in data if name.startswith("h_"))
    probability, confidence = (np.column_stack([data[f"{k}_{label}"] for label in labels]) for k in "hc")
    rng = np.random.default_rng(3)
    truth = (rng.random(n) < data["h_toxicity"]).astype(
        np.float64
    )  # labels of people, in line with the estimate
    feed = feed_from_columns(columns | {"relation": data["relation"], "attr_toxic": truth})
    return feed, Harms(HarmScores(labels, probability, confidence, "bench"), np.full(n, np.nan))


def seconds_of(work, repeats: int) -> tuple[float, float, np.ndarray]:
    """Median wall and CPU seconds, and the last result."""
    wall, cpu = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        result = work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return median(wall), median(cpu), result


def run(n: int, n_policies: int, n_naive: int, repeats: int) -> dict[str, object]:
    """All three jobs on the same feed."""
    from eval.exposure import browsing
    from eval.frontier import Plan, exposures, find_frontier
    from eval.frontier_choice import parse_limit
    from eval.frontier_measures import make_measures
    from eval.frontier_policies import replay_of
    from eval.frontier_space import felt_by, read_space
    from eval.outcomes import standard_outcomes
    from reranker.anger import AngerBaseline
    from reranker.pipeline import Reranker
    from reranker.presets import load_policy

    feed, harms = make_feed(n)
    base, baseline = load_policy("harm-aware"), AngerBaseline.fit(feed)
    limits = [parse_limit("activity=0.5"), parse_limit("comments=0.5")]
    measures = make_measures(
        feed, standard_outcomes(feed, harms, attributes=("toxic",)), harm=("toxic", "toxicity"), limits=limits
    )
    ranking = Reranker(base, baseline=baseline).rank(feed, harms)
    replay = replay_of(ranking, measures.outcomes, browsing("10%"))
    space = felt_by(read_space(base), feed, harms, replay.signals)
    draws = np.random.default_rng(5).random((n_policies, len(space.dimensions)))
    policies = [
        space.policy(
            {d.key: d.low + x * (d.high - d.low) for d, x in zip(space.dimensions, row, strict=True)}
        )
        for row in draws
    ]
    requests = np.arange(feed.n_requests)
    replay.measure(policies[:1], requests[:1])  # compiled here

    def naive() -> np.ndarray:
        return np.stack(
            [
                exposures(Reranker(policy, baseline=baseline).rank(feed, harms), measures, "10%")
                for policy in policies[:n_naive]
            ]
        )

    wall, cpu, fast = seconds_of(lambda: replay.measure(policies, requests), repeats)
    slow_wall, slow_cpu, slow = seconds_of(naive, repeats)
    gap = float(np.nanmax(np.abs(fast[:n_naive] - slow)))
    assert gap <= 1e-9, gap
    assert (np.isnan(fast[:n_naive]) == np.isnan(slow)).all()
    scale = n_policies / n_naive
    whole_wall, whole_cpu, found = seconds_of(
        lambda: find_frontier(
            feed,
            harms,
            load_policy("fb-2018-h1"),
            read_space(base),
            measures,
            limits=limits,
            plan=Plan(n_trials=n_policies),
        ),
        1,
    )
    return {
        "candidates": n,
        "policies": n_policies,
        "repeats": repeats,
        "vectorised": {"wall_s": wall, "cpu_s": cpu},
        "naive": {"wall_s": slow_wall * scale, "cpu_s": slow_cpu * scale, "timed_policies": n_naive},
        "ratio": {"wall": slow_wall * scale / wall, "cpu": slow_cpu * scale / cpu},
        "largest_difference": gap,
        "frontier": {"wall_s": whole_wall, "cpu_s": whole_cpu, "policies_measured": len(found.points)},
    }


def main() -> None:
    """Run, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--policies", type=int, default=200)
    parser.add_argument("--naive", type=int, default=3, help="policies that the naive loop is timed on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path)
    chosen = parser.parse_args()
    found = run(chosen.candidates, chosen.policies, chosen.naive, chosen.repeats)
    for name in ("vectorised", "naive", "frontier"):
        row = found[name]
        note = f"  (timed on {row['timed_policies']}, scaled)" if name == "naive" else ""
        print(f"{name:<11} {row['wall_s']:8.1f} s wall  {row['cpu_s']:8.1f} s CPU{note}")
    print(f"ratio       {found['ratio']['wall']:8.1f} wall    {found['ratio']['cpu']:8.1f} CPU")
    print(f"largest difference of an exposure: {found['largest_difference']:.1e}")
    if chosen.output is not None:
        chosen.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

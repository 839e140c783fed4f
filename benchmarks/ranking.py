"""Ranking speed beside the same policy in polars and in DuckDB SQL.

    python benchmarks/ranking.py [--candidates 1000000] [--repeats 5] [--output FILE]

Two jobs on the same data. "full" is the harm-aware policy: the sum of 20 signals times closeness, the
guard on one signal's share, good and bad engagement, the bound by the request's median, seven demotion
curves, author diversity, and the full order of every pool of 200 with the columns that explain it. Only
the anger test is left out, on all sides: a data frame has no beta distribution. "bare" is a weighted sum
and the top 10 of every pool; ours still ranks the whole pool and keeps every column. Each engine runs in a
process of its own with its data in memory, and must give the same scores to 1e-9. Memory is the growth of
the peak after the data are made: it includes each engine's own copy of them.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
from timing import timed

from reranker.scoring import LEAST_KEPT

POOL = 200
ENGINES = ("reranker", "polars", "duckdb")
WITHOUT = ("anger", "repeat_offender", "fatigue")  # a beta tail, and two columns the data do not have


def make_data(n: int) -> dict[str, np.ndarray]:
    """Heavy-tailed counts of 20 signals, harms and confidences, authors and relations."""
    policy = bench_policy()
    rng = np.random.default_rng(7)
    gains = [name for name, weight in policy.weights.items() if weight > 0][:14]
    losses = [name for name, weight in policy.weights.items() if weight < 0][:6]
    scale = dict.fromkeys(gains, 1.0) | dict.fromkeys(losses, -3.0)
    data: dict[str, np.ndarray] = {
        name: np.floor(rng.lognormal(mean, 2.0, n)) for name, mean in scale.items()
    }
    labels = sorted({*policy.demotion, *policy.value.harms})
    for label in labels:
        data[f"h_{label}"] = rng.beta(0.3, 3.0, n).astype(np.float32).astype(np.float64)
        data[f"c_{label}"] = rng.uniform(0.8, 1.0, n).astype(np.float32).astype(np.float64)
    data["request"] = np.repeat(np.arange(n // POOL), POOL)
    data["post"] = np.arange(n)
    data["author"] = rng.integers(0, 40, n) + 40 * data["request"]
    data["relation"] = rng.integers(0, 6, n)
    return data


def bench_policy():
    """harm-aware less the rules named above."""
    from reranker.presets import load_policy

    policy = load_policy("harm-aware")
    return policy.model_copy(update=dict.fromkeys(WITHOUT))


def run_reranker(data: dict[str, np.ndarray], job: str, repeats: int) -> tuple[list[float], np.ndarray]:
    """Ours; "bare" is the policy fb-2018-h1 with the same weights and no closeness."""
    from models.scores import HarmScores
    from reranker.assembly import feed_from_columns
    from reranker.columns import StringColumn
    from reranker.pipeline import Reranker
    from reranker.policy import Policy
    from reranker.signals import SIGNAL_NAMES
    from reranker.value import Harms

    policy = bench_policy()
    if job == "bare":
        policy = Policy(schema=1, name="bare", weights=policy.weights)
    columns = {name: values for name, values in data.items() if name in SIGNAL_NAMES}
    for name in ("request", "post", "author"):
        codes = data[name].astype(np.int32)
        values = tuple(map(str, range(int(codes.max()) + 1)))
        columns[{"author": name}.get(name, f"{name}_id")] = StringColumn(codes, values)
    feed = feed_from_columns(columns | {"relation": data["relation"]})
    labels = tuple(name[2:] for name in data if name.startswith("h_"))
    probability = np.column_stack([data[f"h_{label}"] for label in labels])
    confidence = np.column_stack([data[f"c_{label}"] for label in labels])
    harms = Harms(HarmScores(labels, probability, confidence, "bench"), np.full(feed.n, np.nan))
    feed.original_order, feed.missing  # noqa: B018 - computed once per feed, not per ranking
    reranker = Reranker(policy)
    return timed(lambda: reranker.rank(feed, harms).score, repeats)


def run_polars(data: dict[str, np.ndarray], job: str, repeats: int) -> tuple[list[float], np.ndarray]:
    """The same policy as lazy polars expressions."""
    import polars as pl

    frame = pl.DataFrame(data)
    policy = bench_policy()
    weighted = [(name, w) for name, w in policy.weights.items() if name in data]
    if job == "bare":
        total = pl.sum_horizontal([pl.col(name) * w for name, w in weighted])
        rank = pl.col("score").rank("ordinal", descending=True).over("request")
        query = frame.lazy().with_columns(score=total).filter(rank <= 10).select("post", "score")
        return timed(lambda: query.collect()["score"].to_numpy(), repeats)
    closeness = [policy.relationship[name] for name in RELATIONS]
    close = pl.col("relation").replace_strict(list(range(6)), closeness, return_dtype=pl.Float64)
    gain = [(name, w, *endorsed(policy, name)) for name, w in weighted if w > 0]
    most = policy.guard.max_signal_share
    own = [pl.col(f"own_{n}") for n, _, _, _ in gain]
    factors = []
    for one, (name, _, _, _) in zip(own, gain, strict=True):
        others = pl.col("own_all") - one
        over = (one * (1 - most) > most * others) & (others > 1e-9 * one)
        ratio = pl.max_horizontal(most / (1 - most) * others / one, pl.lit(LEAST_KEPT))
        kept = pl.when(over & pl.lit(name != "like")).then(ratio).otherwise(1.0)
        factors.append(kept.alias(f"factor_{name}"))
    positive = pl.sum_horizontal([pl.col(n) * w * pl.col(f"factor_{n}") for n, w, _, _ in gain]) * close
    fixed = pl.sum_horizontal([pl.col(n) * (w * a) * pl.col(f"factor_{n}") for n, w, a, _ in gain]) * close
    scaled = pl.sum_horizontal([pl.col(n) * (w * b) * pl.col(f"factor_{n}") for n, w, _, b in gain]) * close
    negative = pl.sum_horizontal([pl.col(n) * w for n, w in weighted if w < 0])
    quality, multiplier = pl.lit(1.0), pl.lit(1.0)
    for label, weight in policy.value.harms.items():
        quality = quality * (1 - weight * pl.col(f"h_{label}"))
    for label, c in policy.demotion.items():
        depth = ((pl.col(f"h_{label}") - c.start) / (c.line - c.start)).clip(0, 1)
        multiplier = multiplier * (1 - pl.col(f"c_{label}") * (1 - c.floor) * depth)
    slate = policy.slate
    nth = pl.col("undecayed").rank("ordinal", descending=True).over("request", "author") - 1
    away = (pl.col("total") - pl.col("centre")).abs()
    half = 0.5 * pl.col("scale") / (pl.col("scale") + (pl.col("base") - pl.col("centre")).abs())
    query = (
        frame.lazy()
        .with_columns(
            (pl.col(n) * close).sum().over("request").mul(w).alias(f"own_{n}") for n, w, _, _ in gain
        )
        .with_columns(own_all=pl.sum_horizontal(own))
        .with_columns(factors)
        .with_columns(positive=positive, good=fixed + scaled * quality, negative=negative, m=multiplier)
        .with_columns(total=pl.col("positive") + pl.col("negative"), base=pl.col("good") + pl.col("negative"))
        .with_columns(centre=pl.col("total").median().over("request"))
        .with_columns(
            scale=pl.max_horizontal(
                pl.col("centre").abs(),
                pl.when((pl.col("total") < 0).any().over("request"))
                .then(away.median().over("request"))
                .otherwise(0.0),
            )
        )
        .with_columns(
            undecayed=pl.when(pl.col("base") >= pl.col("centre")).then(1 - half).otherwise(half) * pl.col("m")
        )
        .with_columns(diversity=(slate.author_decay**nth).clip(slate.author_floor))
        .with_columns(score=pl.col("undecayed") * pl.col("diversity"))
        .with_columns(rank=pl.col("score").rank("ordinal", descending=True).over("request"))
        .select("post", "request", "rank", *COLUMNS)
        .sort("request", "rank")
    )
    return timed(lambda: query.collect()["score"].to_numpy(), repeats)


def run_duckdb(data: dict[str, np.ndarray], job: str, repeats: int) -> tuple[list[float], np.ndarray]:
    """The same policy as one SQL query over an in-memory table."""
    import duckdb
    import pyarrow as pa

    policy = bench_policy()
    link = duckdb.connect()
    weighted = [(name, w) for name, w in policy.weights.items() if name in data]
    source = pa.table(data).rename_columns({name: f"s_{name}" for name, _ in weighted})  # noqa: F841
    link.execute("create table feed as select * from source")

    def plus(terms: list[str]) -> str:
        return "(" + " + ".join(terms) + ")"

    if job == "bare":
        total = plus([f"s_{n} * {w!r}" for n, w in weighted])
        query = f"""select post, score from (select post, {total} as score, row_number() over
            (partition by request order by {total} desc, post) as rank from feed) where rank <= 10"""
        return timed(lambda: link.execute(query).fetchnumpy()["score"], repeats)
    gain = [(n, w, *endorsed(policy, n)) for n, w in weighted if w > 0]
    cases = " ".join(f"when {i} then {policy.relationship[name]!r}" for i, name in enumerate(RELATIONS))
    quality = " * ".join(f"(1 - {w!r} * h_{label})" for label, w in policy.value.harms.items())
    curves = " * ".join(
        f"(1 - c_{k} * {1 - c.floor!r} * least(greatest((h_{k} - {c.start!r}) / {c.line - c.start!r}, 0), 1))"
        for k, c in policy.demotion.items()
    )
    most = policy.guard.max_signal_share
    own = ", ".join(f"{w!r} * sum(s_{n} * close) over pool as own_{n}" for n, w, _, _ in gain)
    every = plus([f"own_{n}" for n, _, _, _ in gain])
    factor = ", ".join(
        f"case when own_{n} * {1 - most!r} > {most!r} * (own_all - own_{n})"
        f" and own_all - own_{n} > 1e-9 * own_{n} and '{n}' <> 'like'"
        f" then greatest({most / (1 - most)!r} * (own_all - own_{n}) / own_{n}, {LEAST_KEPT}) else 1 end"
        f" as factor_{n}"
        for n, _, _, _ in gain
    )
    query = f"""
        with close as (select *, case relation {cases} end as close from feed),
        owns as (select *, {own} from close window pool as (partition by request)),
        totals as (select *, {every} as own_all from owns),
        factors as (select *, {factor} from totals),
        sums as (select post, request, author,
                {plus([f"s_{n} * {w!r} * factor_{n}" for n, w, _, _ in gain])} * close as positive,
                {plus([f"s_{n} * {w * a!r} * factor_{n}" for n, w, a, _ in gain])} * close as fixed,
                {plus([f"s_{n} * {w * b!r} * factor_{n}" for n, w, _, b in gain])} * close as scaled,
                {plus([f"s_{n} * {w!r}" for n, w in weighted if w < 0])} as negative,
                {quality} as quality, {curves} as m from factors),
        bases as (select *, positive + negative as total, fixed + scaled * quality as good,
                fixed + scaled * quality + negative as base from sums),
        centres as (select *, median(total) over (partition by request) as centre,
                min(total) over (partition by request) as least_total from bases),
        scales as (select *, greatest(abs(centre), case when least_total < 0 then
                median(abs(total - centre)) over (partition by request) else 0 end) as scale from centres),
        bounded as (select *, m * case when base >= centre
                then 1 - 0.5 * scale / (scale + abs(base - centre))
                else 0.5 * scale / (scale + abs(base - centre)) end as undecayed from scales),
        decayed as (select *, greatest({policy.slate.author_floor!r}, {policy.slate.author_decay!r} **
                (row_number() over (partition by request, author order by undecayed desc, post) - 1))
                as diversity from bounded),
        scored as (select *, undecayed * diversity as score from decayed)
        select post, request, {", ".join(COLUMNS)},
            row_number() over (partition by request order by score desc, post) as rank
        from scored order by request, rank"""
    return timed(lambda: link.execute(query).fetchnumpy()["score"], repeats)


COLUMNS = ("score", "positive", "good", "negative", "base", "m", "diversity")
RELATIONS = ("close_friend", "friend", "group_member", "follower", "page", "stranger")


def endorsed(policy, name: str) -> tuple[float, float]:
    """Parts of a signal that are endorsed whatever the post, and with its quality."""
    from reranker.value import endorsement

    always, scaled = endorsement(policy, (name,))
    return float(always[0]), float(scaled[0])


def worker(engine: str, job: str, n: int, repeats: int) -> None:
    """One engine in its own process; prints one JSON line."""
    data = make_data(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    runners = {"reranker": run_reranker, "polars": run_polars, "duckdb": run_duckdb}
    seconds, result = runners[engine](data, job, repeats)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    checksum = [float(np.sort(result).sum()), float(np.abs(result).max())] if job == "full" else []
    print(
        json.dumps({"engine": engine, "job": job, "seconds": seconds, "grown_mib": grown, "check": checksum})
    )


def main() -> None:
    """Run every engine and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", nargs=2)
    args = parser.parse_args()
    if args.worker:
        worker(*args.worker, args.candidates, args.repeats)
        return
    rows = []
    for job in ("full", "bare"):
        for engine in ENGINES:
            command = [sys.executable, __file__, "--worker", engine, job]
            command += ["--candidates", str(args.candidates), "--repeats", str(args.repeats)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    ours = {row["job"]: median(row["seconds"]) for row in rows if row["engine"] == "reranker"}
    print(f"{args.candidates:,} candidates in pools of {POOL}, 20 signals, {args.repeats} repeats")
    print(f"{'job':6}{'engine':10}{'M cand/s':>9}{'median s':>10}{'min-max s':>16}{'/ ours':>9}{'+MiB':>8}")
    for row in rows:
        middle, low, high = median(row["seconds"]), min(row["seconds"]), max(row["seconds"])
        row["times_ours"] = middle / ours[row["job"]]
        rate = args.candidates / middle / 1e6
        spread = f"{low:.3f}-{high:.3f}"
        print(
            f"{row['job']:6}{row['engine']:10}{rate:9.2f}{middle:10.3f}{spread:>16}"
            f"{row['times_ours']:8.1f}x{row['grown_mib']:8.0f}"
        )
    full = [row["check"] for row in rows if row["job"] == "full"]
    agree = np.allclose(full, full[0], rtol=1e-9)
    print("scores agree to 1e-9" if agree else f"SCORES DIFFER: {full}")
    if args.output:
        args.output.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(0 if agree else 1)


if __name__ == "__main__":
    main()

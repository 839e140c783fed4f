"""Evaluation speed: clustered resamples, many policies in one pass, exposure with intervals, slate intervals.

    python benchmarks/evaluation.py [--scale 1.0] [--repeats 5] [--output FILE]

Four jobs. "resamples": 1 million rows of 100,000 users, 2,000 Poisson resamples of the users, 3 metrics, from
the rows on; "interval" is the analytic one of the same. "policies": the score, top 10 of 200, and exposure to
4 harms and 10 actions under several policies. "exposure": the same from a log of impressions, 8 policies,
with totals per bucket of users, in a fresh folder; at three sizes, for the line through them. "slates": the
interval of an off-policy estimate against the number of slates. Polars and DuckDB do "resamples" (fewer of
them; the table says seconds for 2,000, in proportion) and "policies" on the same data in processes of their
own, and must agree: exposures to 1e-9, standard errors to 20% (four of
their own errors). A resample of theirs is keyed by user as well.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from timing import timed

POOL, ACTIONS, HARMS, SLOTS = 200, 10, 4, 10
FACTORS = (0.3, 0.5, 1.0)
RESAMPLES, PEER_RESAMPLES = 2_000, 200
SEEN = [0.8**k for k in range(SLOTS)]
SIZES = (2_500_000, 5_000_000, 10_000_000)


def make_rows(n_rows: int) -> dict[str, np.ndarray]:
    """Rows of users, ten each on average, with three metrics that are alike within a user."""
    rng = np.random.default_rng(1)
    n_users = n_rows // 10
    user = rng.integers(0, n_users, n_rows)
    level = rng.normal(0, 0.5, n_users)[user]
    return {
        "user": user,
        "views": rng.integers(1, 20, n_rows).astype(np.float64),
        "harm": rng.gamma(0.3, 0.1, n_rows) * np.exp(level),
        "likes": rng.poisson(np.exp(level)).astype(np.float64),
    }


def make_requests(n_candidates: int, n_policies: int, seed: int = 0):
    """Packed requests and policies; one candidate in fifty has no score of a harm."""
    from eval.hashing import user_keys
    from eval.slates import PackedRequests, weight_policies

    rng = np.random.default_rng(seed)
    n = n_candidates // POOL
    names = tuple(f"a{i}" for i in range(ACTIONS))
    p_harm = rng.integers(0, 200, (HARMS, n * POOL), dtype=np.uint8)
    p_harm[rng.random(p_harm.shape) < 0.02] = 255
    user = np.sort(rng.integers(0, max(2, n // 5), n)) + seed * n
    batch = PackedRequests(
        user=user_keys(user),
        segment=np.zeros(n, dtype=np.int32),
        offsets=np.arange(n + 1) * POOL,
        actions=names,
        p_action=rng.integers(1, 200, (ACTIONS, n * POOL), dtype=np.uint8),
        harms=tuple(f"h{i}" for i in range(HARMS)),
        p_harm=p_harm,
        multiplier=rng.choice(FACTORS, n * POOL),
    )
    draws = np.random.default_rng(5).uniform(0, 5, (n_policies, ACTIONS))
    weights = {f"p{i}": dict(zip(names, row.tolist(), strict=True)) for i, row in enumerate(draws)}
    return batch, weight_policies(weights, names, HARMS)


def ours_resamples(n: int, repeats: int) -> dict[str, object]:
    """From the rows to the intervals."""
    from eval.bucketed import Rate, rate, resampled_rate_change
    from eval.hashing import user_keys
    from eval.sufficient import Plan, accumulate

    data = make_rows(n)
    values = np.stack([data[name] for name in ("views", "harm", "likes")], axis=1)[:, None]
    keys, segment = user_keys(data["user"]), np.zeros(n, dtype=np.int64)
    made = {}

    def work(n_resamples: int):
        plan = Plan(("old",), ("views", "harm", "likes"), by="user", n_resamples=n_resamples)
        statistics = accumulate(values, keys, segment, plan)
        made[n_resamples] = rate(statistics, Rate("harm", "views"), "old").standard_error
        if n_resamples:
            drawn = statistics.replicates.to_float()[:, 0, 0]
            made["drawn"] = float((drawn[:, 1] / drawn[:, 0]).std(ddof=1))
        return made[n_resamples]

    assert resampled_rate_change
    interval, _ = timed(lambda: work(0), repeats)
    resamples, _ = timed(lambda: work(RESAMPLES), repeats)
    return {"seconds": resamples, "interval_s": interval, "check": [made["drawn"], made[0]]}


def polars_resamples(n: int, repeats: int) -> dict[str, object]:
    """Users are summed once; each resample hashes the users with its own seed."""
    import polars as pl

    frame = pl.DataFrame(make_rows(n))
    cdf = poisson_cdf()

    def work() -> float:
        users = frame.group_by("user").agg(pl.col("views", "harm", "likes").sum())
        drawn = []
        for b in range(PEER_RESAMPLES):
            word = pl.col("user").hash(seed=b).cast(pl.Float64) / 2.0**64
            weight = pl.sum_horizontal([(word >= edge).cast(pl.Float64) for edge in cdf])
            sums = users.lazy().select((pl.col("views", "harm", "likes") * weight).sum())
            row = sums.collect().row(0)
            drawn.append(row[1] / row[0])
        return float(np.std(drawn, ddof=1))

    return peer_resamples(work, repeats)


def duckdb_resamples(n: int, repeats: int) -> dict[str, object]:
    """One query: users by resamples, a weight from a hash of both."""
    import duckdb
    import pyarrow as pa

    link = duckdb.connect()
    source = pa.table(make_rows(n))  # noqa: F841
    link.execute("create table rows as select * from source")
    weight = " + ".join(f"(word >= {edge!r})::int" for edge in poisson_cdf())
    query = f"""
        with users as (select "user", sum(views) as views, sum(harm) as harm, sum(likes) as likes
                from rows group by 1),
        hashed as (select b, views, harm, likes, hash(xor(hash("user"), hash(b))) as word
                from users, range({PEER_RESAMPLES}) as t(b)),
        drawn as (select * replace (word::double / 18446744073709551616.0 as word) from hashed),
        weighted as (select b, {weight} as w, views, harm, likes from drawn)
        select sum(w * views) as views, sum(w * harm) as harm, sum(w * likes) as likes
        from weighted group by b"""

    def work() -> float:
        found = link.execute(query).fetchnumpy()
        return float((found["harm"] / found["views"]).std(ddof=1))

    return peer_resamples(work, repeats)


def peer_resamples(work, repeats: int) -> dict[str, object]:
    """Seconds for as many resamples as ours."""
    seconds, found = timed(work, repeats)
    times = RESAMPLES / PEER_RESAMPLES
    return {"seconds": [one * times for one in seconds], "check": [float(found)], "measured": seconds}


def poisson_cdf() -> list[float]:
    """P(Poisson(1) <= k) for k from 0."""
    from scipy.stats import poisson

    return poisson.cdf(np.arange(12), 1.0).tolist()


def ours_policies(n: int, repeats: int, n_policies: int, threads: int) -> dict[str, object]:
    """All policies in one pass."""
    from eval.slates import measure_slates

    batch, policies = make_requests(n, n_policies)
    seconds, values = timed(lambda: measure_slates(batch, policies, SEEN, threads=threads), repeats)
    return {"seconds": seconds, "check": values.sum(axis=0)[:, : 1 + 2 * HARMS + ACTIONS].tolist()}


def exploded(n: int, n_policies: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The same data with a row per candidate, and the weights."""
    from reranker.impression_codes import code_table

    batch, policies = make_requests(n, n_policies)
    table = code_table()
    data = {"request": np.repeat(np.arange(batch.n), POOL), "multiplier": np.array(batch.multiplier)}
    data |= {f"a{i}": table[row] for i, row in enumerate(batch.p_action)}
    data |= {f"h{i}": table[row] for i, row in enumerate(batch.p_harm)}
    return data, policies.weights


def polars_policies(n: int, repeats: int, n_policies: int) -> dict[str, object]:
    """One window and one sum per policy."""
    import polars as pl

    data, weights = exploded(n, n_policies)
    frame = pl.DataFrame(data).with_columns(pl.col(f"h{i}").fill_nan(None) for i in range(HARMS))
    seen = pl.DataFrame({"rank": np.arange(1, SLOTS + 1).astype(np.uint32), "e": SEEN})

    def work() -> list[list[float]]:
        made = []
        for row in weights:
            score = pl.sum_horizontal([pl.col(f"a{i}") * w for i, w in enumerate(row)]) * pl.col("multiplier")
            place = pl.col("score").rank("ordinal", descending=True).over("request")
            e = pl.col("e")
            query = (
                frame.lazy()
                .with_columns(score=score)
                .with_columns(rank=place.cast(pl.UInt32))
                .filter(pl.col("rank") <= SLOTS)
                .join(seen.lazy(), on="rank")
                .select(
                    e.sum().alias("views"),
                    *(e.filter(pl.col(f"h{i}").is_not_null()).sum().alias(f"s{i}") for i in range(HARMS)),
                    *((e * pl.col(f"h{i}")).sum().alias(f"y{i}") for i in range(HARMS)),
                    *((e * pl.col(f"a{i}")).sum().alias(f"x{i}") for i in range(ACTIONS)),
                )
            )
            made.append(list(query.collect().row(0)))
        return made

    seconds, found = timed(work, repeats)
    return {"seconds": seconds, "check": found.tolist()}


def duckdb_policies(n: int, repeats: int, n_policies: int) -> dict[str, object]:
    """One window and one sum per policy."""
    import duckdb
    import pyarrow as pa

    data, weights = exploded(n, n_policies)
    link = duckdb.connect()
    source = pa.table(data | {"row": np.arange(n)})  # noqa: F841
    link.execute("create table candidates as select * from source")
    scored = ", ".join(f"sum(e) filter (not isnan(h{i}))" for i in range(HARMS))
    harm = ", ".join(f"sum(e * h{i}) filter (not isnan(h{i}))" for i in range(HARMS))
    acts = ", ".join(f"sum(e * a{i})" for i in range(ACTIONS))

    def work() -> list[list[float]]:
        made = []
        for row in weights:
            score = "(" + " + ".join(f"a{i} * {float(w)!r}" for i, w in enumerate(row)) + ") * multiplier"
            query = f"""select sum(e), {scored}, {harm}, {acts} from (
                select *, power(0.8, rank - 1) as e from (
                select *, row_number() over (partition by request order by {score} desc, row) as rank
                from candidates) where rank <= {SLOTS})"""
            made.append(list(link.execute(query).fetchone()))
        return made

    seconds, found = timed(work, repeats)
    return {"seconds": seconds, "check": found.tolist()}


def as_log(batch, first: int):
    """The same requests as a log of a ranker that drew nothing; the factors are codes of a relation."""
    from reranker.columns import StringColumn
    from reranker.impression_codes import code_table
    from reranker.impressions import ImpressionLog

    values, start = code_table().astype(np.float32), first // POOL
    slots = np.arange(batch.n + 1) * SLOTS
    return ImpressionLog(
        request_id=StringColumn.from_values(f"r{start + r}" for r in range(batch.n)),
        user=StringColumn.from_values(f"u{u}" for u in batch.user.tolist()),
        offsets=batch.offsets,
        item_id=np.arange(batch.n * POOL) + first,
        score=np.zeros(batch.n * POOL),
        slot_offsets=slots,
        slate=(batch.offsets[:-1, None] + np.arange(SLOTS)).ravel(),
        log_prefix_propensity=np.zeros(batch.n * SLOTS),
        p_action={name: values[row] for name, row in zip(batch.actions, batch.p_action, strict=True)},
        harm={name: values[row] for name, row in zip(batch.harms, batch.p_harm, strict=True)},
        groups={"relation": np.searchsorted(FACTORS, batch.multiplier)},
    )


def exposure(n: int, repeats: int, threads: int) -> dict[str, object]:
    """From a log in codes of a byte to intervals of 8 policies."""
    from eval.bucketed import Rate, rate_change
    from eval.packed import Taken, packed_partitions
    from eval.slates import Metrics, evaluate_partition, plan_of
    from eval.stream import evaluate_stream
    from reranker.impression_files import write_impressions

    size = 20_000 * POOL  # requests per partition
    metrics = Metrics(tuple(SEEN))
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.parquet"
        first, policies = make_requests(min(n, size), 8)
        logs = (as_log(make_requests(min(size, n - at), 8, at // size)[0], at) for at in range(0, n, size))
        write_impressions(logs, path, values="uint8", n_candidates=POOL)
        plan = plan_of(first, policies, metrics)
        del first
        partitions = packed_partitions([path], Taken(None, {"relation": dict(enumerate(FACTORS))}))
        for repeat in range(repeats + 1):
            start = time.perf_counter()
            statistics = evaluate_stream(
                partitions,
                lambda batch: evaluate_partition(batch, policies, metrics),
                plan,
                Path(folder) / f"parts{repeat}",
                threads=threads,
            )
            for policy in policies.names[1:]:
                for i in range(HARMS):
                    rate_change(statistics, Rate(f"h{i}", f"scored_h{i}"), ("p0", policy))
            seconds.append(time.perf_counter() - start)
        size_mib = path.stat().st_size / 2**20
    return {"seconds": seconds[1:], "file_mib": size_mib, "partitions": len(partitions)}


def slates(n: int, repeats: int) -> dict[str, object]:
    """The interval of RIPS by user, from weights and rewards of n slates of 3 slots."""
    from eval.clustered import clustered_mean
    from eval.ope import rips

    rng = np.random.default_rng(2)
    weight = np.exp(rng.normal(0, 0.3, (n, 3)).cumsum(axis=1)).ravel()
    reward = (rng.random(3 * n) < 0.3).astype(np.float64)
    offsets, user = np.arange(n + 1) * 3, rng.integers(0, max(2, n // 10), n)

    def work() -> float:
        return clustered_mean(rips(weight, reward, offsets), user).standard_error

    return {"seconds": timed(work, repeats)[0]}


def worker(job: list[str], scale: float, repeats: int) -> None:
    """One measurement in its own process; prints one JSON line."""
    kind, engine, *rest = job
    numbers = [int(one) for one in rest]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows, candidates = int(1_000_000 * scale), max(POOL, int(2_000_000 * scale) // POOL * POOL)
    if kind == "resamples":
        named = {"reranker": ours_resamples, "polars": polars_resamples, "duckdb": duckdb_resamples}
        made = named[engine](rows, repeats) | {"n": rows}
    elif kind == "policies":
        named = {"polars": polars_policies, "duckdb": duckdb_policies}
        if engine == "reranker":
            made = ours_policies(candidates, repeats, *numbers)
        else:
            made = named[engine](candidates, repeats, numbers[0])
        made |= {"n": candidates, "policies": numbers[0]}
    elif kind == "exposure":
        n = max(POOL, int(numbers[0] * scale) // POOL * POOL)
        made = exposure(n, repeats, numbers[1]) | {"n": n, "policies": 8}
    else:
        n = max(10, int(numbers[0] * scale))
        made = slates(n, repeats) | {"n": n}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made |= {"job": kind, "engine": engine, "peak_mib": peak / 1024, "grown_mib": (peak - before) / 1024}
    print(json.dumps(made))


JOBS = (
    "resamples reranker",
    "resamples polars",
    "resamples duckdb",
    "policies reranker 2 1",
    "policies reranker 2 2",
    "policies reranker 16 2",
    "policies polars 2",
    "policies duckdb 2",
    *(f"exposure reranker {n} 2" for n in SIZES),
    *(f"slates reranker {n}" for n in (16_000, 32_000, 128_000, 1_024_000)),
)


def main() -> None:
    """Run every measurement and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--worker", nargs="+")
    args = parser.parse_args()
    if args.worker:
        worker(args.worker, args.scale, args.repeats)
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load average {load:.1f} before the start, {args.repeats} repeats")
    print(f"{'job':26}{'n':>12}{'median s':>10}{'min-max s':>16}{'M cand.policies/s':>19}{'peak MiB':>10}")
    rows = []
    for job in JOBS:
        command = [sys.executable, __file__, "--worker", *job.split()]
        command += ["--scale", str(args.scale), "--repeats", str(args.repeats)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1]) | {"name": job}
        rows.append(row)
        middle, spread = median(row["seconds"]), f"{min(row['seconds']):.3f}-{max(row['seconds']):.3f}"
        rate = f"{row['n'] * row['policies'] / middle / 1e6:.1f}" if "policies" in row else ""
        print(
            f"{job:26}{row['n']:12,}{middle:10.3f}{spread:>16}{rate:>19}{row['peak_mib']:10.0f}", flush=True
        )
    agree = summary(rows)
    if args.output:
        machine = {"cores": os.cpu_count(), "load_before": load, "load_after": os.getloadavg()[0]}
        args.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    sys.exit(0 if agree else 1)


def summary(rows: list[dict]) -> bool:
    """What the table means, and whether the engines agree."""
    own = next(row for row in rows if row["name"] == "resamples reranker")
    print(f"analytic interval from the rows: {median(own['interval_s']):.3f} s")
    exposures = [row for row in rows if row["job"] == "exposure"]
    n, seconds = ([row["n"] for row in exposures], [median(row["seconds"]) for row in exposures])
    slope, start = np.polyfit(n, seconds, 1)
    print(
        f"exposure, 8 policies, line through {len(n)} sizes: {start:.2f} s + {slope * 1e6:.3f} s a million; "
        f"1e9 candidates in {(start + slope * 1e9) / 60:.1f} min"
    )
    slate = [row for row in rows if row["job"] == "slates"]
    exponent = np.polyfit(np.log([r["n"] for r in slate]), np.log([median(r["seconds"]) for r in slate]), 1)[
        0
    ]
    print(f"slate intervals: seconds grow as n to the power of {exponent:.2f}")
    errors = [row["check"][0] for row in rows if row["job"] == "resamples"]
    sums = [row["check"] for row in rows if row["job"] == "policies" and row["policies"] == 2]
    same = all(np.allclose(one, sums[0], rtol=1e-9) for one in sums)
    near = np.allclose(errors, own["check"][1], rtol=0.2)
    print("exposures agree to 1e-9" if same else "EXPOSURES DIFFER")
    print("standard errors agree" if near else f"STANDARD ERRORS DIFFER: {errors}, {own['check'][1]}")
    return bool(same and near)


if __name__ == "__main__":
    main()

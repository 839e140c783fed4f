import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from eval.bucketed import Rate, rate, rate_change
from eval.exposure import browsing
from eval.hashing import user_keys
from eval.packed import Taken, packed_partitions
from eval.slates import (
    Metrics,
    PackedRequests,
    WeightPolicies,
    evaluate_partition,
    examination,
    measure_slates,
    plan_of,
    score_mass,
    weight_policies,
)
from eval.stored import read_statistics, to_bytes, write_statistics
from eval.stream import Partition, evaluate_stream
from eval.sufficient import Plan, accumulate, merge_all
from reranker.columns import FeedError
from reranker.impression_codes import code_table, encode
from reranker.impression_files import write_impressions
from tests.logs import log_columns, log_of

ACTIONS = ("like", "love", "angry", "comment", "share")


def batch_of(p_action, p_harm, offsets, **more):
    n = len(offsets) - 1
    given = {
        "user": user_keys(np.arange(n)),
        "segment": np.zeros(n, dtype=np.int64),
        "offsets": np.asarray(offsets),
        "actions": tuple(f"a{i}" for i in range(len(p_action))),
        "p_action": np.asarray(p_action),
        "harms": tuple(f"h{i}" for i in range(len(p_harm))),
        "p_harm": np.asarray(p_harm),
    }
    return PackedRequests(**(given | more))


def column(batch, values, name):
    return values[:, :, Metrics((1.0,)).names(batch).index(name)]


def sweep():
    """The five posts of check D2."""
    p = [
        [0.060, 0.020, 0.010, 0.008, 0.030],
        [0.020, 0.002, 0.001, 0.0, 0.004],
        [0.0, 0.004, 0.030, 0.050, 0.001],
        [0.004, 0.003, 0.004, 0.003, 0.002],
        [0.001, 0.004, 0.008, 0.010, 0.001],
    ]
    batch = batch_of(
        p,
        [[0, 0.05, 0.6, 0.9, 0.02]],
        [0, 5],
        actions=ACTIONS,
        harms=("harm",),
        multiplier=np.array([1, 0.5, 1, 0.5, 0.5]),
    )
    fixed = {"like": 1.0, "love": 5.0, "share": 5.0, "comment": 30.0}
    return batch, weight_policies({str(w): fixed | {"angry": w} for w in (5.0, 4.0, 1.5, 0.0)}, ACTIONS, 1)


def test_the_angry_sweep_gives_the_digits_of_the_known_answer():
    batch, policies = sweep()
    values = measure_slates(batch, policies, examination(browsing("rbp:0.7"), 5))
    prevalence = 1000 * column(batch, values, "harm") / column(batch, values, "scored_harm")
    np.testing.assert_allclose(prevalence[0], [383.3082110, 383.3082110, 318.3989038, 318.3989038], atol=5e-8)
    np.testing.assert_allclose(
        column(batch, values, "like")[0], [0.069983, 0.069983, 0.084983, 0.084983], atol=1e-12
    )
    np.testing.assert_allclose(column(batch, values, "comment")[0], 0.0097792, atol=1e-12)
    assert column(batch, values, "changed")[0].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_the_angry_sweep_orders_the_posts_as_worked_out_by_hand():
    batch, policies = sweep()
    # What slot k shows is the difference of k + 1 slots and k; likes tell the posts apart.
    likes = batch.p_action[0].tolist()
    shown = [np.zeros(4)]
    for k in range(1, 6):
        shown.append(column(batch, measure_slates(batch, policies, [1.0] * k), "like")[0])
    orders = ["", "", "", ""]
    for k in range(1, 6):
        for policy, value in enumerate(shown[k] - shown[k - 1]):
            orders[policy] += "ABCDE"[int(np.argmin(np.abs(np.array(likes) - value)))]
    assert orders == ["CADBE", "CADBE", "ACDBE", "ACDBE"]


@pytest.mark.parametrize(
    ("seen", "stop", "expected"),
    [
        (examination(browsing("rbp:0.8"), 5), None, (1.3224, 3.3616, 393.3841028)),
        ((1.0,) * 5, np.array([0.5, 0.1, 0.3, 0.1, 0.1]), (1.188, 2.5485, 466.1565627)),
        (examination(browsing("log2"), 5), None, (1.2361353117, 2.9484591189, 419.2479060)),
        (examination(browsing("3"), 5), None, (1.4, 3.0, 466.6666667)),  # (.9 + 0 + .5) / 3
    ],
)
def test_browsing_models_give_the_digits_of_the_known_answer(seen, stop, expected):
    batch = batch_of([[0.9, 0.8, 0.7, 0.6, 0.5]], [[0.9, 0, 0.5, 0.2, 0]], [0, 5], stop=stop)
    values = measure_slates(batch, weight_policies({"one": {"a0": 1.0}}, ["a0"], 1), seen)
    harm, views = (float(column(batch, values, name)[0, 0]) for name in ("h0", "views"))
    assert (harm, views, 1000 * harm / views) == pytest.approx(expected, rel=1e-9)


def test_score_mass_of_angry_is_that_of_the_documents():
    counts = np.array([63e9, 11e9, 429e6])  # D18: love weighs as much as angry
    shares = [100 * score_mass(np.array([[1.0, weight, weight]]), counts)[0, 2] for weight in (5.0, 4.0, 1.5)]
    np.testing.assert_allclose(shares, [1.785342711, 1.578424519, 0.802934736], atol=5e-10)


def random_batch(n=60, seed=0, most=30):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, most, n))])
    c = offsets[-1]
    p_harm = np.where(rng.random((2, c)) < 0.1, np.nan, rng.beta(0.3, 3, (2, c)))
    user = rng.integers(0, 20, n)
    return batch_of(
        rng.beta(1, 9, (4, c)).round(1),  # rounded: many ties
        p_harm,
        offsets,
        user=user_keys(user),
        segment=user % 2,
        multiplier=rng.choice([0.3, 0.5, 1.0], c),
        stop=rng.uniform(0, 0.4, c),
    )


def random_policies(seed=0):
    rng = np.random.default_rng(seed)
    curves = np.array([[[0, 1, 1], [0, 1, 1]], [[0.1, 0.5, 0.2], [0, 1, 1]], [[0, 0.3, 0], [0.2, 0.9, 0.5]]])
    return WeightPolicies(
        ("old", "new", "strict"),
        rng.normal(1, 2, (3, 4)),
        np.array([np.inf, 2.0, np.inf]),
        curves.astype(float),
    )


def plainly(batch, policies, seen):
    """The same, one candidate at a time in plain Python."""
    made = []
    for first, last in zip(batch.offsets[:-1], batch.offsets[1:], strict=True):
        slates = []
        for p in range(len(policies.names)):
            score = []
            for i in range(first, last):
                base = 0.0
                for j in range(len(batch.actions)):
                    base += policies.weights[p, j] * batch.p_action[j, i]
                base = min(policies.cap[p], base * batch.multiplier[i])
                for (start, line, floor), harm in zip(policies.curves[p], batch.p_harm[:, i], strict=True):
                    if floor < 1 and harm >= start:
                        kept = 1 - (1 - floor) * min(1.0, (harm - start) / (line - start))
                        base *= kept if base > 0 else 2 - kept
                score.append(base)
            order = sorted(range(len(score)), key=lambda i: -score[i])[: len(seen)]
            slates.append([first + i for i in order])
        rows = []
        for slate in slates:
            reach, views, harm, scored, acts = 1.0, 0.0, [0.0] * 2, [0.0] * 2, [0.0] * 4
            for e, i in zip(seen, slate, strict=False):
                views += e * reach
                for h in range(2):
                    if not np.isnan(batch.p_harm[h, i]):
                        scored[h] += e * reach
                        harm[h] += e * reach * batch.p_harm[h, i]
                acts = [a + e * reach * p for a, p in zip(acts, batch.p_action[:, i], strict=True)]
                reach *= 1 - batch.stop[i]
            rows.append([views, *scored, *harm, *acts, float(slate != slates[0]), 1.0])
        made.append(rows)
    return np.array(made)


def test_the_compiled_pass_is_the_plain_one():
    batch, policies = random_batch(), random_policies()
    seen = (1.0, 0.9, 0.8, 0.5, 0.4, 0.1)
    np.testing.assert_allclose(
        measure_slates(batch, policies, seen), plainly(batch, policies, seen), rtol=1e-12
    )


def test_harm_that_was_not_scored_is_missing_and_not_zero():
    batch = batch_of([[0.9, 0.8]], [[np.nan, 0.4]], [0, 2])
    values = measure_slates(batch, weight_policies({"one": {"a0": 1.0}}, ["a0"], 1), (1.0, 1.0))
    shown = [float(column(batch, values, name)[0, 0]) for name in ("views", "scored_h0", "h0")]
    assert shown == [2.0, 1.0, 0.4]


def test_a_cap_before_a_demotion_is_not_a_demotion_before_a_cap():
    # a score of 1e9 capped at 1000 and then halved stands at 500, above 420; capped at 600 it stands at 300
    batch = batch_of([[1.0, 0.42]], [[1.0, 0.0]], [0, 2], multiplier=np.array([1e6, 1.0]))
    curves = np.array([[[0.0, 1.0, 0.5]]] * 3)
    policies = WeightPolicies(
        ("none", "1000", "600"), np.full((3, 1), 1000.0), np.array([np.inf, 1000.0, 600.0]), curves
    )
    shown = column(batch, measure_slates(batch, policies, (1.0,)), "a0")[0]
    assert shown.tolist() == [1.0, 1.0, 0.42]


def test_codes_are_decoded_in_the_pass_as_beside_it():
    batch, policies = random_batch(seed=2), random_policies()
    p = np.clip(batch.p_action, 1e-6, 1)
    codes = replace(batch, p_action=encode(p), p_harm=encode(batch.p_harm))
    floats = replace(batch, p_action=code_table()[encode(p)], p_harm=code_table()[encode(batch.p_harm)])
    first, second = (measure_slates(one, policies, (1.0, 0.5)) for one in (codes, floats))
    np.testing.assert_array_equal(first, second)
    odds = np.linspace(-9.9, 3.9, 5_000)
    p = 1 / (1 + np.exp(-odds))
    found = code_table()[encode(p)]
    assert np.abs(np.log(found / (1 - found)) - odds).max() < np.log(1.0281)


METRICS = Metrics((1.0, 0.8, 0.6, 0.4), ("zero", "one"), "bucket", n_resamples=30, seed=5)


def pieces(batch, size):
    """Partitions of consecutive requests."""

    def cut(low, high):
        c = slice(batch.offsets[low], batch.offsets[high])
        return replace(
            batch,
            user=batch.user[low:high],
            segment=batch.segment[low:high],
            offsets=batch.offsets[low : high + 1] - batch.offsets[low],
            p_action=batch.p_action[:, c],
            p_harm=batch.p_harm[:, c],
            multiplier=batch.multiplier[c],
            stop=batch.stop[c],
        )

    return [cut(low, min(low + size, batch.n)) for low in range(0, batch.n, size)]


@pytest.mark.parametrize("by", ["bucket", "user"])
def test_rows_partitions_and_threads_in_any_order_give_the_same_bytes(tmp_path, by):
    batch, policies, metrics = random_batch(), random_policies(), replace(METRICS, by=by)
    whole = to_bytes(evaluate_partition(batch, policies, metrics))
    values = [measure_slates(batch, policies, metrics.examination, threads=n).tobytes() for n in (1, 2, 5)]
    assert len(set(values)) == 1
    single = pieces(batch, 1)
    shuffled = [single[i] for i in np.random.default_rng(1).permutation(len(single))]
    plan = plan_of(batch, policies, metrics)
    parts = (evaluate_partition(one, policies, metrics) for one in shuffled)
    assert to_bytes(merge_all(parts, plan)) == whole
    for threads, size in ((1, 7), (3, 11)):
        partitions = [Partition(str(i), lambda one=one: one) for i, one in enumerate(pieces(batch, size))]
        found = evaluate_stream(
            partitions,
            lambda one: evaluate_partition(one, policies, metrics),
            plan,
            tmp_path / f"{threads}",
            threads=threads,
        )
        assert to_bytes(found) == whole


def test_a_policy_against_itself_differs_by_exactly_nothing():
    batch, policies = random_batch(), random_policies()
    twice = WeightPolicies(
        ("old", "again"), policies.weights[[1, 1]], policies.cap[[1, 1]], policies.curves[[1, 1]]
    )
    statistics = evaluate_partition(batch, twice, METRICS)
    found = rate_change(statistics, Rate("h0", "scored_h0"), ("old", "again"))
    assert (found.value, found.standard_error, found.low, found.high) == (0.0, 0.0, 0.0, 0.0)
    assert rate(statistics, Rate("changed", "requests"), "again").value == 0.0


def as_packed(log, segment=None, multiplier=None):
    """What a log holds for the fast path."""
    return PackedRequests(
        user=user_keys(log.user.to_list()),
        segment=np.zeros(log.n, dtype=int) if segment is None else segment,
        offsets=log.offsets,
        actions=tuple(log.p_action),
        p_action=np.stack(list(log.p_action.values())),
        harms=tuple(log.harm),
        p_harm=np.stack(list(log.harm.values())),
        multiplier=multiplier,
    )


@pytest.mark.parametrize("values", ["float32", "float16", "uint8"])
def test_logs_give_the_requests_that_the_fast_path_needs(tmp_path, values):
    logs = [log_of(30), log_of(20, first=30)]
    write_impressions(logs[:1], tmp_path / "a.parquet", values=values)
    write_impressions(logs[1:], tmp_path / "b.parquet", values=values)
    partitions = packed_partitions([tmp_path])
    assert [partition.name for partition in partitions] == ["a.parquet:0", "b.parquet:0"]
    for partition, log in zip(partitions, logs, strict=True):
        after, before = partition.load(), as_packed(log)
        assert (after.actions, after.harms) == (before.actions, before.harms)
        for name in ("user", "segment", "offsets"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        for name in ("p_action", "p_harm"):
            numbers = getattr(before, name)
            if values == "uint8":
                numbers = encode(numbers.astype(np.float64))
            np.testing.assert_allclose(getattr(after, name), numbers, rtol=1e-3 if values == "float16" else 0)
            assert getattr(after, name).dtype == (np.uint8 if values == "uint8" else np.float32)


def test_segments_and_factors_come_from_the_log(tmp_path):
    log = log_of(40)
    write_impressions([log], tmp_path / "log.parquet")
    taken = Taken(("country", ("MM", "other")), {"publisher": {0: 0.3, 2: 2.0}})
    found = packed_partitions([tmp_path / "log.parquet"], taken)[0].load()
    country = np.array(log.segments["country"].to_list())
    assert found.segment.tolist() == np.where(country == "MM", 0, 1).tolist()
    group = log.groups["publisher"]
    assert found.multiplier.tolist() == np.where(group == 0, 0.3, np.where(group == 2, 2.0, 1.0)).tolist()


def test_logs_are_evaluated_like_arrays_batch_by_batch(tmp_path):
    logs, metrics = [log_of(13, first=13 * k) for k in range(5)], replace(METRICS, segments=("all",))
    for k, log in enumerate(logs):
        (tmp_path / f"day={k}").mkdir()
        write_impressions([log], tmp_path / f"day={k}" / "part-0.parquet")
    weights = {"old": {"like": 1.0, "angry": 5.0}, "new": {"like": 1.0}}
    policies = weight_policies(weights, ("like", "angry"), 1)
    packed = [as_packed(log) for log in logs]
    plan, seen = plan_of(packed[0], policies, metrics), []
    found = evaluate_stream(
        packed_partitions([tmp_path]),
        lambda one: evaluate_partition(one, policies, metrics),
        plan,
        tmp_path / "parts",
        on_done=lambda done, of: seen.append((done, of)),
    )
    expected = merge_all((evaluate_partition(one, policies, metrics) for one in packed), plan)
    assert to_bytes(found) == to_bytes(expected)
    assert seen == [(i, 5) for i in range(6)]


def resumable_run(folder, slow, on_done):
    """Six partitions; `slow` seconds for each from the fourth on."""
    plan = Plan(("old",), ("views",), n_resamples=5)

    def evaluate(i):
        if slow and i >= 3:
            time.sleep(slow)
        rng = np.random.default_rng(i)
        return accumulate(rng.random((50, 1, 1)), user_keys(rng.integers(0, 9, 50)), np.zeros(50, int), plan)

    partitions = [Partition(str(i), lambda i=i: i) for i in range(6)]
    return evaluate_stream(partitions, evaluate, plan, folder, on_done=on_done)


def test_a_killed_run_goes_on_where_it_stood_and_ends_with_the_same_bytes(tmp_path):
    here = Path(__file__).resolve()
    program = (
        f"import sys; sys.path[:0] = [{str(here.parents[1])!r}, {str(here.parent)!r}]; "
        f"from {here.stem} import resumable_run; "
        f"resumable_run({str(tmp_path / 'killed')!r}, 600, lambda done, of: print(done, flush=True))"
    )
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    for line in running.stdout:
        if line.strip() == "3":
            break
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stdout.close()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("part-*")}
    assert len(kept) == 3
    said = []
    again = resumable_run(tmp_path / "killed", 0, lambda done, _: said.append(done))
    assert said == [3, 4, 5, 6]
    assert all((tmp_path / "killed" / name).stat().st_mtime_ns == when for name, when in kept.items())
    assert to_bytes(again) == to_bytes(resumable_run(tmp_path / "whole", 0, lambda *_: None))


def test_parts_of_another_run_are_not_taken_up(tmp_path):
    batch, policies = random_batch(), random_policies()

    def run(metrics, digest="", plan=None):
        partitions = [Partition("one", lambda: batch, digest)]
        chosen = plan_of(batch, policies, metrics) if plan is None else plan
        return evaluate_stream(
            partitions, lambda one: evaluate_partition(one, policies, metrics), chosen, tmp_path / "parts"
        )

    run(METRICS)
    with pytest.raises(ValueError, match="got another plan; delete this folder to start over"):
        run(replace(METRICS, seed=6))
    with pytest.raises(ValueError, match="got another partitions; delete"):
        run(METRICS, digest="new data")
    (tmp_path / "parts" / "part-000000.statistics").write_bytes(b"broken")
    with pytest.raises(ValueError, match="expected sufficient statistics"):
        run(METRICS)
    (tmp_path / "parts" / "state.json").unlink()
    with pytest.raises(ValueError, match="expected the parts of an interrupted run, got no state"):
        run(METRICS)
    (tmp_path / "parts" / "state.json").write_text("{")
    with pytest.raises(ValueError, match="expected the state of a run"):
        run(METRICS)


def test_a_partition_that_fails_leaves_the_finished_parts(tmp_path):
    batch, policies = random_batch(), random_policies()

    def broken():
        raise OSError("disk gone")

    for threads in (1, 2):
        folder = tmp_path / str(threads)
        partitions = [Partition("good", lambda: batch), Partition("bad", broken)]
        with pytest.raises(OSError, match="disk gone"):
            evaluate_stream(
                partitions,
                lambda one: evaluate_partition(one, policies, METRICS),
                plan_of(batch, policies, METRICS),
                folder,
                threads=threads,
            )
        assert [path.name for path in sorted(folder.glob("part-*"))] == ["part-000000.statistics"]
        state = json.loads((folder / "state.json").read_text())
        assert state["partitions"] == [["good", ""], ["bad", ""]]


def test_statistics_survive_a_file(tmp_path):
    statistics = evaluate_partition(random_batch(), random_policies(), METRICS)
    write_statistics(statistics, tmp_path / "one")
    assert to_bytes(read_statistics(tmp_path / "one")) == to_bytes(statistics)
    assert read_statistics(tmp_path / "one").plan == statistics.plan


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"offsets": np.array([0, 3])}, "p_action: expected shape"),
        ({"offsets": np.array([1, 2])}, "offsets: expected numbers from 0 that do not fall"),
        ({"p_action": np.array([[np.nan, 0.5]])}, "p_action: expected numbers in .0, 1., got nan"),
        ({"p_action": np.array([[255, 5]], np.uint8)}, "p_action: expected a probability of every action"),
        ({"p_harm": np.array([[1.5, np.nan]])}, "p_harm: expected numbers in"),
        ({"multiplier": np.array([np.inf, 1.0])}, "multiplier: expected finite numbers"),
        ({"user": user_keys(np.arange(2))}, "segment: expected shape"),
    ],
)
def test_requests_that_make_no_sense_are_refused(more, message):
    with pytest.raises(ValueError, match=message):
        replace(batch_of([[0.1, 0.2]], [[0.0, np.nan]], [0, 2]), **more)


def test_policies_and_partitions_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(ValueError, match="old: expected weights of a, b, got 'c'"):
        weight_policies({"old": {"c": 1.0}}, ["a", "b"])
    good = random_policies()
    with pytest.raises(ValueError, match="curves: expected start below line"):
        replace(good, curves=np.ones((3, 2, 3)))
    with pytest.raises(ValueError, match="weights: expected finite numbers"):
        replace(good, weights=np.full((3, 4), np.nan))
    with pytest.raises(ValueError, match="weights: expected 3 rows"):
        replace(good, weights=np.ones((2, 4)))
    with pytest.raises(ValueError, match="curves: expected shape"):
        replace(good, curves=np.ones((2, 2, 3)))
    with pytest.raises(ValueError, match="policies: expected 4 actions and 2 harms, got 2 and 2"):
        measure_slates(random_batch(), weight_policies({"one": {"a": 1.0}}, ["a", "b"], 2), (1.0,))
    with pytest.raises(ValueError, match="examination: expected numbers"):
        Metrics((2.0,))
    with pytest.raises(ValueError, match="browsing: expected a model by position"):
        examination(browsing("10%"), 5)
    with pytest.raises(ValueError, match="partitions: expected each name once, got 1 repeated"):
        evaluate_stream([Partition("a", int), Partition("a", int)], None, None, tmp_path)
    with pytest.raises(ValueError, match="expected probabilities, got"):
        encode(np.array([1.5]))
    pq.write_table(pa.table({"user": [1]}), tmp_path / "other.parquet")
    with pytest.raises(FeedError, match="expected an impression log of schema 1, got none"):
        packed_partitions([tmp_path / "other.parquet"])
    write_impressions([log_of()], tmp_path / "log.parquet")
    with pytest.raises(FeedError, match="segments: expected continent, got country"):
        packed_partitions([tmp_path / "log.parquet"], Taken(("continent", ("EU",))))
    with pytest.raises(FeedError, match="groups: expected relation, got publisher"):
        packed_partitions([tmp_path / "log.parquet"], Taken(None, {"relation": {0: 0.5}}))
    write_impressions([log_of(p_action={})], tmp_path / "mute.parquet")
    with pytest.raises(FeedError, match="expected predictions of actions, got none"):
        packed_partitions([tmp_path / "mute.parquet"])
    unscored = log_columns()["p_action"]["like"] * np.nan
    write_impressions([log_of(p_action={"like": unscored})], tmp_path / "nan.parquet", values="uint8")
    with pytest.raises(ValueError, match="expected a probability of every action, got a null code"):
        packed_partitions([tmp_path / "nan.parquet"])[0].load()
    save_file({"x": np.zeros(1)}, tmp_path / "other")
    with pytest.raises(ValueError, match="expected statistics of version 1, got None"):
        read_statistics(tmp_path / "other")


def test_an_evaluation_of_another_plan_is_refused(tmp_path):
    batch, policies = random_batch(), random_policies()
    other = replace(METRICS, seed=6)
    with pytest.raises(ValueError, match="one: expected statistics of Plan"):
        evaluate_stream(
            [Partition("one", lambda: batch)],
            lambda given: evaluate_partition(given, policies, other),
            plan_of(batch, policies, METRICS),
            tmp_path,
        )

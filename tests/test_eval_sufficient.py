import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.bucketed import (
    Rate,
    design_effect,
    paired_correlation,
    rate,
    rate_change,
    relative_rate_change,
    resampled_rate_change,
)
from eval.clustered import clustered_ratio, clustered_ratio_change
from eval.counter_random import poisson_weights
from eval.exact import ExactSums, group_sums
from eval.hashing import user_keys
from eval.stored import to_bytes
from eval.sufficient import MOMENTS, Plan, accumulate, empty, in_buckets, merge, merge_all, n_users

PLAN = Plan(("old", "new"), ("views", "harm"), ("DE", "IN", "US"), n_resamples=20, seed=9, by="user")


def requests(n, n_users=40, seed=0):
    rng = np.random.default_rng(seed)
    user = rng.integers(0, n_users, n)
    views = rng.uniform(1, 5, (n, 2))
    level = np.exp(rng.normal(0, 0.5, n_users))[user]
    harm = views * np.clip(rng.beta(1, 40, (n, 2)) * level[:, None], 0, 1)
    return np.stack([views, harm], axis=2), user_keys(user), user % 3, user


def taken(data, rows, plan):
    values, key, segment, _ = data
    return accumulate(values[rows], key[rows], segment[rows], plan)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_partition_in_any_order_of_merging_gives_the_same_bytes(data):
    n = data.draw(st.integers(1, 60))
    plan = replace(PLAN, by=data.draw(st.sampled_from(["user", "bucket"])))
    rows = requests(n, n_users=8, seed=data.draw(st.integers(0, 99)))
    rows[0][...] *= 10.0 ** data.draw(st.integers(-9, 6))
    whole = to_bytes(taken(rows, np.arange(n), plan))
    order = data.draw(st.permutations(range(n)))
    part_of = np.array(data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n)))
    parts = [taken(rows, np.array(order)[part_of == p], plan) for p in range(5)]
    while len(parts) > 1:  # a random tree: neither order nor brackets may matter
        first = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        second = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts.append(merge(first, second))
    assert to_bytes(parts[0]) == whole


def test_merging_is_commutative_and_associative_with_a_neutral_element():
    data = requests(300)
    for plan in (PLAN, replace(PLAN, by="bucket")):
        a, b, c = (taken(data, np.arange(start, start + 100), plan) for start in (0, 100, 200))
        assert to_bytes(merge(a, b)) == to_bytes(merge(b, a))
        assert to_bytes(merge(merge(a, b), c)) == to_bytes(merge(a, merge(b, c)))
        assert to_bytes(merge(a, empty(plan))) == to_bytes(merge(empty(plan), a)) == to_bytes(a)
        assert to_bytes(merge_all([c, a, b], plan)) == to_bytes(taken(data, np.arange(300), plan))


def test_floating_point_sums_would_not_pass_the_same_test():
    # the reason for whole numbers: the same rows in two orders differ in the last bit
    values = requests(3_000)[0][:, 0, 1]
    assert float(np.cumsum(values)[-1]) != float(np.cumsum(values[::-1])[-1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-(2.0**40), 2.0**40), min_size=1, max_size=30))
def test_sums_are_those_of_rational_arithmetic_to_the_resolution(values):
    sums = group_sums(np.array(values)[:, None], np.zeros(len(values), dtype=np.int64), 1)
    exact = Fraction(int(sums.high[0, 0]), 2**8) + Fraction(int(sums.low[0, 0]), 2**40)
    error = abs(exact - sum(map(Fraction, values)))
    assert error <= Fraction(len(values), 2**41)
    assert sums.to_float()[0, 0] == float(exact)


def test_equal_sums_are_equal_arrays_with_negative_terms_too():
    there = group_sums(np.array([[0.5], [-2.25], [1e9]]), np.zeros(3, dtype=np.int64), 1)
    back = group_sums(np.array([[-1e9], [0.25]]), np.zeros(2, dtype=np.int64), 1)
    both = there + back  # -1.5 = -384 / 256 and nothing, not -385 / 256 and 2**32
    assert (both.high.tolist(), both.low.tolist()) == ([[-384]], [[0]])
    again = ExactSums(np.array([0]), np.array([-(2**32)]))
    assert (again.high.tolist(), again.low.tolist()) == ([-1], [0])


def test_estimates_by_user_are_those_of_the_rows_clustered_by_user():
    data = requests(2_000, n_users=150)
    values, _, segment, user = data
    statistics = merge(taken(data, np.arange(700), PLAN), taken(data, np.arange(700, 2_000), PLAN))
    of = Rate("harm", "views")
    expected = clustered_ratio_change(
        (values[:, 0, 1], values[:, 0, 0]), (values[:, 1, 1], values[:, 1, 0]), user
    )
    found = rate_change(statistics, of, ("old", "new"))
    for name in ("value", "standard_error", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9)
    assert (found.n, found.n_clusters) == (2_000, expected.n_clusters)
    rows = segment == 1
    one = clustered_ratio(values[rows, 1, 1], values[rows, 1, 0], user[rows])
    india = rate(statistics, Rate("harm", "views", "IN"), "new")
    assert india.value == pytest.approx(one.value, rel=1e-9)
    assert india.standard_error == pytest.approx(one.standard_error, rel=1e-9)
    assert (india.n, india.n_clusters) == (int(rows.sum()), one.n_clusters)


def test_buckets_of_users_give_the_same_value_and_nearly_the_same_error():
    # 4,096 buckets of about 5 users: the error of a standard error from G clusters is about 1 / sqrt(2 G),
    # 1.1% here (heavy tails: allow 6%).
    data = requests(60_000, n_users=20_000, seed=3)
    plan = replace(PLAN, n_resamples=0)
    by_user = taken(data, np.arange(60_000), plan)
    by_bucket = in_buckets(by_user)
    assert to_bytes(by_bucket) == to_bytes(taken(data, np.arange(60_000), replace(plan, by="bucket")))
    exact, coarse = (rate_change(s, Rate("harm", "views"), ("old", "new")) for s in (by_user, by_bucket))
    assert coarse.value == pytest.approx(exact.value, rel=1e-9)
    assert coarse.n_clusters < 4_097 < exact.n_clusters
    assert coarse.standard_error == pytest.approx(exact.standard_error, rel=0.06)


def test_resampled_sums_are_the_rows_under_the_weights_of_their_users():
    data = requests(500, n_users=60)
    values, key, segment, _ = data
    parts = np.random.default_rng(4).integers(0, 3, 500)
    statistics = merge_all((taken(data, np.flatnonzero(parts == p), PLAN) for p in range(3)), PLAN)
    weights = poisson_weights(key, PLAN.n_resamples, seed=PLAN.seed)  # (rows, resamples)
    for s in range(3):
        rows = segment == s
        expected = np.einsum("rb,rpm->bpm", weights[rows], values[rows])
        np.testing.assert_allclose(statistics.replicates.to_float()[:, s], expected, rtol=1e-9)


def test_the_resampled_interval_agrees_with_the_clustered_one():
    data = requests(6_000, n_users=600, seed=5)
    plan = replace(PLAN, n_resamples=2_000)
    statistics = taken(data, np.arange(6_000), plan)
    of = Rate("harm", "views")
    found, expected = (make(statistics, of, ("old", "new")) for make in (resampled_rate_change, rate_change))
    # error of a standard deviation of 2,000 draws: 1.6%
    assert found.standard_error == pytest.approx(expected.standard_error, rel=0.08)
    assert found.low == pytest.approx(expected.low, abs=0.25 * expected.standard_error)
    assert found.high == pytest.approx(expected.high, abs=0.25 * expected.standard_error)


def test_rows_in_place_of_users_as_clusters_would_be_seen():
    # 20 rows per user that are all alike: the clustered error is sqrt(20) times that of independent rows.
    rng = np.random.default_rng(6)
    user = np.repeat(np.arange(400), 20)
    harm = np.repeat(rng.random(400), 20)
    values = np.zeros((8_000, 2, 2))
    values[:, :, 0], values[:, :, 1] = 1.0, harm[:, None]
    statistics = accumulate(values, user_keys(user), np.zeros(8_000, dtype=int), PLAN)
    by_user = rate(statistics, Rate("harm", "views"), "old")
    assert by_user.standard_error == pytest.approx(harm[::20].std(ddof=1) / 20, rel=1e-9)
    # 20 rows as one: 20 times the variance, but for the two factors n / (n - 1)
    effect = design_effect(statistics, Rate("harm", "views"), "old")
    assert effect == pytest.approx(20 * (400 / 399) / (8_000 / 7_999), rel=1e-6)


def test_identical_policies_differ_by_exactly_nothing():
    values, key, segment, _ = requests(300)
    values[:, 1] = values[:, 0]
    statistics = accumulate(values, key, segment, PLAN)
    of = Rate("harm", "views")
    for change in (rate_change, relative_rate_change):
        found = change(statistics, of, ("old", "new"))
        assert (found.value, found.standard_error, found.low, found.high) == (0.0, 0.0, 0.0, 0.0)
    drawn = resampled_rate_change(statistics, of, ("old", "new"))
    assert (drawn.low, drawn.high) == (0.0, 0.0)
    assert paired_correlation(statistics, "harm", "new") == pytest.approx(1.0)


def test_moments_are_sums_squares_and_products():
    data = requests(90)
    values, _, segment, _ = data
    statistics = taken(data, np.arange(90), PLAN)
    found = statistics.moments.sum(axis=1).to_float()  # over users: (4, S, P, M)
    expected = {
        "sum": values,
        "square": values**2,
        "with_baseline": values * values[:, :1],
        "with_first": values * values[:, :, :1],
    }
    for kind, s in itertools.product(MOMENTS, range(3)):
        whole = expected[kind][segment == s].sum(axis=0)
        np.testing.assert_allclose(found[MOMENTS.index(kind), s], whole, rtol=1e-8)
    assert statistics.n_requests.sum() == 90
    x, y = values[:, 0, 1], values[:, 1, 1]
    assert paired_correlation(statistics, "harm", "new") == pytest.approx(np.corrcoef(x, y)[0, 1], rel=1e-6)


def test_the_number_of_users_is_exact_when_small_and_estimated_when_large():
    plan = replace(PLAN, by="bucket", n_resamples=0)
    small = requests(500, n_users=77)
    assert n_users(taken(small, np.arange(500), plan)) == len(np.unique(small[3]))
    large = requests(40_000, n_users=30_000, seed=8)
    halves = [taken(large, np.arange(start, start + 20_000), plan) for start in (0, 20_000)]
    true = len(np.unique(large[3]))
    assert abs(n_users(merge(*halves)) - true) < 4 * true / np.sqrt(4_096)


def test_one_user_has_no_interval():
    values, _, segment, _ = requests(10)
    statistics = accumulate(values, user_keys(["ann"] * 10), segment, PLAN)
    with pytest.raises(ValueError, match="clusters: expected at least 2 users, got 1"):
        rate_change(statistics, Rate("harm", "views"), ("old", "new"))


def test_statistics_of_nothing_and_of_buckets_can_be_put_in_buckets():
    by_bucket = replace(PLAN, by="bucket")
    assert to_bytes(in_buckets(empty(PLAN))) == to_bytes(empty(by_bucket))
    statistics = taken(requests(20), np.arange(20), by_bucket)
    assert in_buckets(statistics) is statistics
    assert n_users(taken(requests(20), np.arange(20), PLAN)) == len(np.unique(requests(20)[3]))


def test_what_does_not_add_up_is_refused():
    data = requests(10)
    statistics = taken(data, np.arange(10), PLAN)
    with pytest.raises(ValueError, match="merge: expected statistics of one plan"):
        merge(statistics, taken(data, np.arange(10), replace(PLAN, seed=1)))
    values, key, segment, _ = data
    broken = values.copy()
    broken[3, 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"values: expected finite numbers, got .* at row 3"):
        accumulate(broken, key, segment, PLAN)
    with pytest.raises(ValueError, match="segment: expected 0 to 2, got 0 to 7"):
        accumulate(values, key, np.where(segment == 0, 0, 7), PLAN)
    with pytest.raises(ValueError, match="values: expected shape"):
        accumulate(values[:, :1], key, segment, PLAN)
    with pytest.raises(ValueError, match="values: expected sums below"):
        accumulate(values * 1e18, key, segment, PLAN)
    with pytest.raises(ValueError, match="policy: expected one of old, new, got 'newer'"):
        rate(statistics, Rate("harm", "views"), "newer")
    none = taken(data, np.arange(10), replace(PLAN, n_resamples=0))
    with pytest.raises(ValueError, match="n_resamples: expected statistics with resamples, got 0"):
        resampled_rate_change(none, Rate("harm", "views"), ("old", "new"))
    with pytest.raises(ValueError, match="n_resamples: expected 0 or more, got -1"):
        replace(PLAN, n_resamples=-1)
    with pytest.raises(ValueError, match="denominator: expected 'views', the plan's first, got 'harm'"):
        design_effect(statistics, Rate("harm", "harm"), "old")
    with pytest.raises(ValueError, match=r"n_requests: expected shape \(.*, 3\), got \(1, 1\)"):
        replace(statistics, n_requests=np.zeros((1, 1), dtype=np.int64))
    with pytest.raises(ValueError, match="key: expected increasing keys"):
        replace(statistics, key=statistics.key[::-1])
    with pytest.raises(ValueError, match=r"low: expected shape \(2,\), got \(3,\)"):
        ExactSums(np.zeros(2), np.zeros(3))
    heavy = np.full((100, 2, 2), 1e7)
    with pytest.raises(ValueError, match=r"totals: expected below 5.36871e\+08 per user, got 1e\+09"):
        accumulate(heavy, user_keys(["ann"] * 100), np.zeros(100, dtype=int), PLAN)
    with pytest.raises(ValueError, match="views: expected more than 0 in every resample, got 0 in some"):
        resampled_rate_change(taken(data, np.arange(1), PLAN), Rate("harm", "views"), ("old", "new"))
    with pytest.raises(ValueError, match="metrics: expected at least one name and each once"):
        Plan(("a",), ("views", "views"))

import numpy as np
import pytest

from eval.interval import paired_changes, resample_sums


def one(original, treatment, cluster, **options):
    settings = {"seed": 0, "n_resamples": 300} | options
    before, after = np.asarray(original, float)[:, None], np.asarray(treatment, float)[:, None]
    return paired_changes(before, after, np.asarray(cluster), **settings)[0]


def test_the_change_is_that_of_the_mean_over_requests():
    change = one([0.2, 0.4, 0.6], [0.1, 0.4, 0.4], [0, 0, 1])
    assert change.original == pytest.approx(0.4)
    assert change.treatment == pytest.approx(0.3)
    assert change.absolute == pytest.approx(-0.1)
    assert change.relative == pytest.approx(-0.25)
    assert (change.n_requests, change.n_clusters, change.refused) == (3, 2, "")


def test_rankings_that_agree_contribute_exactly_nothing():
    rng = np.random.default_rng(1)
    values = rng.random(50)
    change = one(values, values, np.arange(50))
    assert change.absolute == change.relative == 0.0
    for interval in (change.absolute_interval, change.relative_interval):
        assert (interval.low, interval.high, interval.standard_error) == (0.0, 0.0, 0.0)


def test_one_cluster_is_refused_with_a_reason_and_not_given_an_interval():
    change = one([0.2, 0.4], [0.1, 0.2], [0, 0])
    assert change.absolute_interval is None
    assert change.relative_interval is None
    assert change.refused == "an interval needs at least 2 independent clusters, got 1"
    assert change.relative == pytest.approx(-0.5)


def test_a_baseline_of_zero_has_no_relative_change():
    change = one([0.0, 0.0, 0.0], [0.1, 0.2, 0.0], [0, 1, 2])
    assert change.relative is None
    assert change.relative_interval is None
    assert change.absolute_interval is not None


def test_a_baseline_that_resamples_to_zero_has_no_relative_interval():
    change = one([1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0, 1, 2])
    assert change.relative == pytest.approx(0.1)
    assert change.relative_interval is None


def test_requests_that_one_policy_cannot_be_measured_on_are_left_out_of_both_means():
    change = one([0.5, np.nan, 0.1, 0.3], [0.5, 0.2, np.nan, 0.1], [0, 1, 2, 3])
    assert change.original == pytest.approx(0.4)
    assert (change.n_requests, change.n_clusters) == (2, 2)
    nothing = one([np.nan], [0.2], [0])
    assert nothing.original is None
    assert nothing.refused == "nothing was measured"


def test_no_requests_at_all_give_no_number():
    change = one([], [], np.zeros(0, dtype=np.int64))
    assert (change.n_requests, change.refused) == (0, "nothing was measured")


def test_the_same_seed_gives_the_same_interval_and_the_chunks_do_not_show(monkeypatch):
    rng = np.random.default_rng(2)
    sums = rng.random((3, 40, 2))
    whole = resample_sums(sums, seed=5, n_resamples=100)
    monkeypatch.setattr("eval.interval.CHUNK", 400)
    np.testing.assert_allclose(resample_sums(sums, seed=5, n_resamples=100), whole)
    assert not np.allclose(resample_sums(sums, seed=6, n_resamples=100), whole)


def test_the_standard_error_is_that_of_the_delta_method():
    rng = np.random.default_rng(3)
    before = rng.gamma(2.0, 1.0, 400)
    after = before * rng.normal(0.9, 0.1, 400)
    change = one(before, after, np.arange(400), n_resamples=4_000)
    ratio = after.mean() / before.mean()
    expected = np.std(after - ratio * before, ddof=1) / before.mean() / np.sqrt(400)
    assert change.relative_interval.standard_error == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("by_user", [True, False])
def test_95_percent_intervals_over_users_cover_the_truth_and_those_over_requests_do_not(by_user):
    # users differ in size and in effect; the truth is the ratio of expectations, -10% by construction
    rng = np.random.default_rng(4)
    n_users, n_worlds, covered = 80, 400, 0
    for world in range(n_worlds):
        size = rng.integers(2, 9, n_users)
        user = np.repeat(np.arange(n_users), size)
        level, effect = rng.gamma(4.0, 0.1, n_users), rng.normal(0.9, 0.3, n_users)
        before = level[user] * rng.uniform(0.9, 1.1, len(user))
        after = before * effect[user]
        cluster = user if by_user else np.arange(len(user))
        interval = one(before, after, cluster, seed=world, n_resamples=400).relative_interval
        covered += interval.low <= -0.1 <= interval.high
    coverage = covered / n_worlds
    if by_user:
        assert 0.92 <= coverage <= 0.98
    else:
        assert coverage < 0.85

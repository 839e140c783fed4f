"""eval.clustered: closed forms, statsmodels, numerical derivatives, and coverage against a known truth."""

import math

import numpy as np
import pytest

from eval.clustered import (
    clustered_mean,
    clustered_ratio,
    clustered_ratio_change,
    from_influence,
    relative_change,
    relative_of,
    t_quantile,
)
from eval.two_way import two_way_standard_error

NUM = np.array([1.0, 0, 2, 1, 0, 3, 0, 1])
DEN = np.array([10.0, 5, 10, 10, 5, 20, 10, 10])
CLUSTER = np.array([0, 0, 1, 1, 2, 2, 3, 3])


def users(rng, n_users, *, rows=8, icc=0.5):
    """Rows of users who differ: numerators, denominators and codes."""
    cluster = np.repeat(np.arange(n_users), rows)
    level = np.exp(math.sqrt(icc) * rng.standard_normal(n_users))[cluster]
    views = rng.poisson(3 + 4 * (cluster % 3)).astype(float)
    return rng.poisson(0.3 * level * views).astype(float), views, cluster


def test_a_ratio_by_cluster_has_the_digits_worked_out_by_hand():
    # R = 8 / 80. Residuals by cluster -.5, 1, .5, -1; sum of squares 2.5; se = sqrt(4/3 * 2.5) / 80.
    estimate = clustered_ratio(NUM, DEN, CLUSTER, reduce_below=0)
    assert estimate.value == pytest.approx(0.1, abs=1e-15)
    assert estimate.standard_error == pytest.approx(0.0228217732, abs=1e-10)
    assert (estimate.n, estimate.n_clusters) == (8, 4)
    half = 3.182446305284263 * estimate.standard_error  # t(3), two-sided 95 %
    assert (estimate.low, estimate.high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-12)


def test_a_mean_and_a_ratio_agree_with_the_cluster_sandwich_of_statsmodels():
    from statsmodels.regression.linear_model import WLS

    num, den, cluster = users(np.random.default_rng(1), 30)
    den += 1
    for weight, value, ours in (
        (np.ones(len(num)), num, clustered_mean(num, cluster, reduce_below=0)),
        (den, num / den, clustered_ratio(num, den, cluster, reduce_below=0)),
    ):
        fit = WLS(value, np.ones((len(value), 1)), weights=weight).fit(
            cov_type="cluster", cov_kwds={"groups": cluster, "df_correction": True}
        )
        assert ours.value == pytest.approx(fit.params[0], abs=1e-12)
        assert ours.standard_error == pytest.approx(fit.bse[0], abs=1e-12)


def test_the_influence_of_a_relative_change_is_its_derivative_by_the_weight_of_each_user():
    rng = np.random.default_rng(2)
    num, den, cluster = users(rng, 25)
    num1, den1 = rng.binomial(num.astype(int), 0.8).astype(float), den + 1
    estimate = relative_change((num, den), (num1, den1), cluster, reduce_below=0)

    def statistic(weight):
        w = weight[cluster]
        return (w @ num1 / (w @ den1)) / (w @ num / (w @ den)) - 1

    step, one = 1e-6, np.ones(25)
    slope = np.array(
        [(statistic(one + step * e) - statistic(one - step * e)) / (2 * step) for e in np.eye(25)]
    )
    assert estimate.value == pytest.approx(statistic(one), abs=1e-12)
    assert estimate.standard_error == pytest.approx(math.sqrt(25 / 24 * slope @ slope), rel=1e-6)


def test_the_paired_error_of_a_change_is_that_of_the_difference_of_the_influence():
    rng = np.random.default_rng(3)
    num, den, cluster = users(rng, 40)
    less = num - (rng.random(len(num)) < 0.05) * num
    change = clustered_ratio_change((num, den), (less, den), cluster)
    alone = clustered_ratio(num, den, cluster), clustered_ratio(less, den, cluster)
    assert change.value == pytest.approx(alone[1].value - alone[0].value, abs=1e-14)
    # the same denominators: R1 - R0 is itself a ratio, of the differences
    assert change.standard_error == pytest.approx(
        clustered_ratio(less - num, den, cluster).standard_error, rel=1e-12
    )
    assert change.standard_error < 0.5 * math.hypot(*(a.standard_error for a in alone))


def test_identical_policies_change_by_exactly_zero_whatever_the_baseline():
    num, den, cluster = users(np.random.default_rng(4), 12)
    for estimate in (
        clustered_ratio_change((num, den), (num.copy(), den.copy()), cluster),
        relative_change((num, den), (num.copy(), den.copy()), cluster),
        relative_change((NUM, DEN), (NUM, DEN), CLUSTER),  # a noisy baseline
    ):
        assert (estimate.value, estimate.standard_error, estimate.low, estimate.high) == (0.0, 0.0, 0.0, 0.0)


def test_a_segment_is_the_ratio_of_sums_and_not_the_mean_of_ratios():
    # 1 of 100 and 9 of 10: 10 / 110, not (.01 + .9) / 2
    estimate = clustered_ratio(np.array([1.0, 9.0]), np.array([100.0, 10.0]), np.array([0, 1]))
    assert estimate.value == pytest.approx(10 / 110)


def test_one_user_has_no_interval():
    for call in (
        lambda: clustered_mean(np.ones(5), np.zeros(5, int)),
        lambda: clustered_ratio(np.array([1.0, 0.0]), np.array([10.0, 0.0]), np.array([0, 1])),
        lambda: from_influence(1.0, np.array([0.5, -0.5]), np.array([3, 3])),
        lambda: relative_change((NUM, DEN), (NUM, np.where(CLUSTER == 0, DEN, 0)), np.zeros(8, int)),
    ):
        with pytest.raises(ValueError, match="clusters: expected at least 2 users, got 1"):
            call()


def test_users_without_views_do_not_count_as_clusters_of_a_rate():
    num, den = np.append(NUM, [0.0, 0.0]), np.append(DEN, [0.0, 0.0])
    cluster = np.append(CLUSTER, [4, 5])
    assert clustered_ratio(num, den, cluster).n_clusters == 4
    assert (
        clustered_ratio(num, den, cluster).standard_error == clustered_ratio(NUM, DEN, CLUSTER).standard_error
    )


def test_a_zero_baseline_is_refused_and_not_reported_as_no_change():
    with pytest.raises(ValueError, match="baseline: expected a value other than 0"):
        relative_change((np.zeros(8), DEN), (NUM, DEN), CLUSTER)
    with pytest.raises(ValueError, match="baseline: expected a value other than 0"):
        relative_change((np.zeros(8), DEN), (np.zeros(8), DEN), CLUSTER)


def test_missing_values_are_refused():
    with pytest.raises(ValueError, match="values: expected finite numbers, got nan at row 2"):
        clustered_mean(np.array([1.0, 2.0, np.nan]), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="cluster: expected shape"):
        clustered_mean(np.ones(3), np.array([0, 1]))
    with pytest.raises(ValueError, match="denominator: expected at least 0"):
        clustered_ratio(np.ones(2), np.array([2.0, -1.0]), np.array([0, 1]))


def test_codes_may_be_any_integers():
    far = np.array([-7, 10**12, 5, -(10**9)])[CLUSTER]
    found = clustered_ratio(NUM, DEN, far, reduce_below=0)
    assert found.standard_error == pytest.approx(0.0228217732, abs=1e-10)


def test_a_ratio_with_a_sure_baseline_gets_the_delta_method():
    # D5: means 10.00 and 9.98, sd 6, 200 000 each
    covariance = (36 / 200_000, 0.0, 36 / 200_000)
    delta = relative_of((10.0, 9.98), covariance, n=400_000, n_clusters=400_000)
    assert delta.standard_error == pytest.approx(0.00189547018, abs=1e-11)
    assert (delta.low, delta.high) == pytest.approx((-0.0057150645, 0.0017150645), abs=1e-9)
    assert not delta.is_fieller


def test_a_noisy_baseline_gets_fieller_and_a_hopeless_one_no_end():
    noisy = relative_of((1.0, 1.1), (0.03, 0.01, 0.05), n=100, n_clusters=100)
    assert noisy.is_fieller
    assert noisy.high - noisy.value > noisy.value - noisy.low
    hopeless = relative_of((1.0, 1.1), (0.4, 0.0, 0.4), n=100, n_clusters=100)
    assert (hopeless.low, hopeless.high) == (-math.inf, math.inf)
    assert not hopeless.bounded


def test_a_viral_post_widens_the_two_way_error():
    from statsmodels.regression.linear_model import OLS
    from statsmodels.stats.sandwich_covariance import cov_cluster_2groups

    rng = np.random.default_rng(5)
    user, post = np.repeat(np.arange(200), 10), rng.integers(0, 40, 2000)
    values = 0.2 * rng.standard_normal(2000) + rng.standard_normal(40)[post]
    values += 0.3 * rng.standard_normal(200)[user]
    influence = values - values.mean()
    error = two_way_standard_error(influence, user, post)
    fit = OLS(values, np.ones((2000, 1))).fit()
    theirs = cov_cluster_2groups(fit, user, post, use_correction=False)
    by_hand = []
    for code in (user, post, user * 40 + post):  # V = sum of squared totals * G / (G - 1) / n^2
        totals = np.array([influence[code == c].sum() for c in np.unique(code)])
        by_hand.append(len(totals) / (len(totals) - 1) * (totals @ totals) / 2000**2)
    assert error == pytest.approx(math.sqrt(by_hand[0] + by_hand[1] - by_hand[2]), rel=1e-9)
    assert error == pytest.approx(math.sqrt(theirs[0][0, 0]), rel=0.02)  # differs by G / (G - 1)
    assert error > 3 * from_influence(0.0, influence, user).standard_error


@pytest.mark.parametrize(("n_users", "rows", "icc"), [(40, 12, 0.1), (250, 5, 0.5)])
def test_intervals_by_user_cover_and_those_by_row_do_not(n_users, rows, icc):
    # 600 logs; the truth is E exp(sqrt(icc) Z) * .3 = .3 exp(icc / 2). 2 binomial standard errors are .018.
    rng = np.random.default_rng(6)
    covered = {"user": 0, "row": 0}
    truth = 0.3 * math.exp(icc / 2)
    for _ in range(600):
        num, den, cluster = users(rng, n_users, rows=rows, icc=icc)
        for name, codes in (("user", cluster), ("row", np.arange(len(num)))):
            estimate = clustered_ratio(num, den, codes)
            covered[name] += estimate.low <= truth <= estimate.high
    assert 0.93 - 0.018 <= covered["user"] / 600 <= 0.97 + 0.014
    assert covered["row"] / 600 < 0.85


def test_intervals_of_a_paired_relative_change_cover():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(600):
        num, den, cluster = users(rng, 60)
        kept = rng.binomial(num.astype(int), 0.9).astype(float)  # the truth is -10 %
        estimate = relative_change((num, den), (kept, den), cluster)
        covered += estimate.low <= -0.1 <= estimate.high
    assert 0.93 - 0.018 <= covered / 600 <= 0.97 + 0.014  # .93 to .97 and 2 Monte Carlo standard errors


def test_a_level_and_degrees_of_freedom_are_checked():
    with pytest.raises(ValueError, match="level: expected"):
        t_quantile(1.0, 5)
    with pytest.raises(ValueError, match="degrees of freedom"):
        t_quantile(0.9, 0)

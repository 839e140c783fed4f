import numpy as np
import pytest
from scipy import stats

from eval.hashing import user_keys
from eval.user_distribution import (
    RateDistribution,
    UserTotals,
    effective_totals,
    fit_rates,
    raw_rates,
    top_user_share,
    user_bootstrap,
    user_totals,
    weighted_quantile,
)


def counts(rates: np.ndarray, views: int, rng: np.random.Generator) -> UserTotals:
    n = len(rates)
    return UserTotals(
        rng.binomial(views, rates).astype(float), np.full(n, float(views)), np.arange(n, dtype=np.int64)
    )


def test_equal_users_look_unequal_until_the_noise_is_taken_out():
    # D13: a rate of 5 % for everyone, 20 views: naive share above 10 % is P(Bin(20, .05) > 2)
    assert stats.binom.sf(2, 20, 0.05) == pytest.approx(0.0754836738)
    totals = counts(np.full(20_000, 0.05), 20, np.random.default_rng(1))
    naive = raw_rates(totals, fewest=20)
    assert (naive > 0.1).mean() == pytest.approx(0.0755, abs=0.008)
    found = fit_rates(totals)
    assert found.mean == pytest.approx(0.05, abs=0.002)
    assert found.share_above(0.1) < 0.005
    assert found.quantile(0.99) < 0.08


def test_users_that_do_differ_are_found_to_differ():
    rng = np.random.default_rng(2)
    rates = rng.beta(0.8, 15, 20_000)
    found = fit_rates(counts(rates, 30, rng))
    alpha, beta = found.shape
    assert alpha == pytest.approx(0.8, rel=0.1)
    assert beta == pytest.approx(15, rel=0.1)
    for line in (0.01, 0.05, 0.1):
        assert found.share_above(line) == pytest.approx((rates > line).mean(), abs=0.015)
    assert found.quantile(0.9) == pytest.approx(np.quantile(rates, 0.9), rel=0.06)
    top = np.sort(rates)[-200:].sum() / rates.sum()
    assert found.top_share(0.01) == pytest.approx(top, rel=0.06)


def test_the_fit_is_a_maximum_of_scipys_beta_binomial_likelihood():
    rng = np.random.default_rng(3)
    views = rng.integers(1, 40, 300)
    harm = rng.binomial(views, rng.beta(2, 20, 300))
    found = fit_rates(UserTotals(harm.astype(float), views.astype(float), np.arange(300)))
    alpha, beta = found.shape

    def likelihood(a: float, b: float) -> float:
        return float(stats.betabinom.logpmf(harm, views, a, b).sum())

    best = likelihood(alpha, beta)
    for a, b in ((1.02, 1.0), (0.98, 1.0), (1.0, 1.02), (1.0, 0.98), (1.02, 1.02), (0.98, 0.98)):
        assert likelihood(alpha * a, beta * b) < best
    # the binomial coefficients are left out of the likelihood that is told
    from scipy.special import gammaln

    coefficients = (gammaln(views + 1) - gammaln(harm + 1) - gammaln(views - harm + 1)).sum()
    assert found.log_likelihood == pytest.approx(best - coefficients)


def test_sums_of_probabilities_are_no_counts_and_are_made_comparable():
    # everyone alike; each of 20 views has a probability from Beta(1, 19), mean 5 %
    rng = np.random.default_rng(4)
    n = 4000
    p = rng.beta(1, 19, 20 * n)
    user = np.repeat(np.arange(n), 20)
    found = fit_rates(effective_totals(np.ones(20 * n), p, user))
    assert found.mean == pytest.approx(0.05, abs=0.002)
    assert found.share_above(0.1) < 0.005
    # and users that differ keep their spread: rates 2 % and 12 %, half each
    rate = np.where(np.arange(n) % 2 == 0, 0.02, 0.12)
    p = rng.beta(10 * np.repeat(rate, 20), 10 * (1 - np.repeat(rate, 20)))
    differ = fit_rates(effective_totals(np.ones(20 * n), p, user))
    alpha, beta = differ.shape
    spread = np.sqrt(alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1)))
    assert spread == pytest.approx(0.05, rel=0.15)


def test_labels_are_worth_as_many_views_as_there_are():
    rng = np.random.default_rng(5)
    label = (rng.random(60_000) < 0.1).astype(float)
    found = effective_totals(np.ones(60_000), label, np.repeat(np.arange(300), 200))
    np.testing.assert_allclose(found.views, 200, rtol=0.02)
    np.testing.assert_allclose(found.harm / found.views, label.reshape(300, 200).mean(axis=1))


def test_users_without_a_view_are_kept_in_totals_and_left_out_of_rates():
    totals = user_totals(np.array([1.0, 0, 2]), np.array([5.0, 0, 5]), np.array([7, 3, 7]))
    assert totals.user.tolist() == [3, 7]
    assert totals.harm.tolist() == [0, 3]
    assert totals.views.tolist() == [0, 10]
    assert raw_rates(totals, fewest=1).tolist() == [0.3]
    assert raw_rates(totals).tolist() == []
    with pytest.raises(ValueError, match="at least 2 with a view, got 1"):
        fit_rates(totals)


def test_no_harm_at_all_is_a_rate_of_0_for_all():
    found = fit_rates(UserTotals(np.zeros(5), np.full(5, 9.0), np.arange(5)))
    assert found.mean == 0.0
    with pytest.raises(ValueError, match="0 to the number of views"):
        fit_rates(UserTotals(np.full(5, 10.0), np.full(5, 9.0), np.arange(5)))


def test_the_share_of_the_top_is_the_lorenz_curve_read_from_above():
    harm = np.array([0.0, 4.0, 1.0, 5.0])
    assert top_user_share(harm, 0.25) == 0.5
    assert top_user_share(harm, 0.5) == 0.9
    assert top_user_share(harm, 0.125) == 0.25  # half of the top user
    assert top_user_share(harm, 1.0) == 1.0
    assert np.isnan(top_user_share(np.zeros(3), 0.1))
    twice = top_user_share(np.repeat(harm, 2), 0.25)
    assert top_user_share(harm, 0.25, weight=np.full(4, 2.0)) == twice


def test_a_weighted_quantile_is_that_of_repeated_values():
    rng = np.random.default_rng(6)
    values, weight = np.sort(rng.random(50)), rng.integers(0, 4, 50)
    for share in (0.1, 0.5, 0.9, 1.0):
        expected = np.quantile(np.repeat(values, weight), share, method="inverted_cdf")
        assert weighted_quantile(values, weight.astype(float), share) == expected
    assert np.isnan(weighted_quantile(values, np.zeros(50), 0.5))


def test_the_bootstrap_over_users_has_the_error_of_a_mean():
    values = np.random.default_rng(7).exponential(size=2000)
    keys = user_keys(np.arange(2000))
    (found,) = user_bootstrap(lambda w: np.array([(w @ values) / w.sum()]), keys, seed=1, n_resamples=800)
    assert found.standard_error == pytest.approx(values.std() / np.sqrt(2000), rel=0.1)
    assert found.contains(values.mean())


def test_the_bootstrap_depends_on_users_and_not_on_their_order():
    values = np.random.default_rng(8).random(300)
    keys, order = user_keys(np.arange(300)), np.random.default_rng(9).permutation(300)

    def run(chosen: np.ndarray) -> tuple[float, float]:
        def statistic(weight: np.ndarray) -> np.ndarray:
            sorted_rows = np.argsort(values[chosen])
            return np.array([weighted_quantile(values[chosen][sorted_rows], weight[sorted_rows], 0.9)])

        (made,) = user_bootstrap(statistic, keys[chosen], seed=3, n_resamples=50)
        return made.low, made.high

    assert run(np.arange(300)) == run(order)


def test_the_same_users_make_the_difference_of_two_policies_sharper_than_either():
    rng = np.random.default_rng(10)
    before = rng.gamma(0.5, 2.0, 1000)
    after = before * 0.9

    def statistic(weight: np.ndarray) -> np.ndarray:
        shares = [float(weight @ harm / weight.sum()) for harm in (before, after)]
        return np.array([*shares, shares[1] - shares[0]])

    first, _, difference = user_bootstrap(statistic, user_keys(np.arange(1000)), seed=4, n_resamples=300)
    assert difference.standard_error < 0.2 * first.standard_error
    assert difference.high < 0


def test_a_bootstrap_of_one_user_is_refused():
    with pytest.raises(ValueError, match="users: expected at least 2, got 1"):
        user_bootstrap(lambda w: w, user_keys(np.arange(1)), seed=1)
    with pytest.raises(ValueError, match="expected a value in at least 2 resamples"):
        user_bootstrap(lambda _: np.array([np.nan]), user_keys(np.arange(3)), seed=1, n_resamples=5)


def test_the_share_of_the_top_of_a_beta_distribution_is_that_of_its_draws():
    draws = np.sort(np.random.default_rng(11).beta(2, 8, 1_000_000))
    found = RateDistribution(0.2, 10.0, 0.0, 2)
    assert found.top_share(0.1) == pytest.approx(draws[-100_000:].sum() / draws.sum(), rel=0.005)

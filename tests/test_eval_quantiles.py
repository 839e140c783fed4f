"""Quantiles by cluster: ranks worked out by hand, the binomial interval of scipy, coverage by simulation."""

import math

import numpy as np
import pytest

from eval.quantiles import clustered_quantile, quantile_difference, quantile_ratio

INF = math.inf


def of_users(rng, n_users, scale=1.0):
    """Rows of users who differ: log-normal, variance .49 between and .49 within."""
    rows = rng.integers(1, 30, n_users)
    user = np.repeat(np.arange(n_users), rows)
    level = 0.7 * rng.standard_normal(n_users)[user]
    return scale * np.exp(level + 0.7 * rng.standard_normal(len(user))), user


def test_a_quantile_is_the_smallest_value_with_that_share_at_or_below_it():
    values = np.arange(1.0, 101.0)
    for at, expected in ((0.5, 50), (0.505, 51), (0.9, 90), (0.07, 7)):
        assert clustered_quantile(values, np.arange(100), at).value == expected


def test_independent_rows_have_about_the_binomial_interval():
    from scipy.stats import binom

    n, at = 2_000, 0.9
    found = clustered_quantile(np.arange(float(n)), np.arange(n), at)
    exact = binom.ppf([0.025, 0.975], n, at)
    assert found.low + 1 == pytest.approx(exact[0], abs=2)  # value k has rank k + 1
    assert found.high == pytest.approx(exact[1], abs=2)


def test_beyond_the_data_an_interval_has_no_end():
    found = clustered_quantile(np.arange(50.0), np.arange(50), 0.99)
    assert (found.value, found.high) == (49.0, INF)
    assert math.isfinite(found.low)
    other = clustered_quantile(np.arange(2_000.0), np.arange(2_000), 0.99)
    difference = quantile_difference(found, other)
    assert difference.low == -INF
    assert math.isfinite(difference.high)
    assert math.isfinite(difference.standard_error)
    assert not difference.bounded


@pytest.mark.parametrize(("n_users", "at"), [(300, 0.5), (300, 0.9), (800, 0.99)])
def test_intervals_by_user_cover_and_those_by_row_do_not(n_users, at):
    # 300 experiments, treatment multiplies by 1.1; the truth is the log-normal quantile. 2 MC errors: .025.
    from scipy.stats import norm

    rng = np.random.default_rng(int(1000 * at))
    truth = math.exp(math.sqrt(0.98) * norm.ppf(at))
    covered = {"difference": 0, "ratio": 0, "row": 0}
    for _ in range(300):
        arms = of_users(rng, n_users), of_users(rng, n_users, 1.1)
        by_user = [clustered_quantile(values, user, at) for values, user in arms]
        by_row = [clustered_quantile(values, np.arange(len(values)), at) for values, _ in arms]
        found = quantile_difference(*by_user)
        covered["difference"] += found.low <= 0.1 * truth <= found.high
        found = quantile_ratio(*by_user)
        covered["ratio"] += found.low <= 0.1 <= found.high
        found = quantile_difference(*by_row)
        covered["row"] += found.low <= 0.1 * truth <= found.high
    assert 0.93 - 0.025 <= covered["difference"] / 300 <= 0.97 + 0.025
    assert 0.93 - 0.025 <= covered["ratio"] / 300 <= 0.97 + 0.025
    assert covered["row"] / 300 < 0.85


def test_counts_are_covered_too_though_their_quantiles_jump():
    # negative binomial: the 90 % quantiles are 13 and 10; intervals are long rather than short
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(300):
        arms = (rng.negative_binomial(0.5, p, 2_000).astype(float) for p in (0.1, 0.12))
        found = quantile_difference(*(clustered_quantile(x, np.arange(2_000), 0.9) for x in arms))
        covered += found.low <= -3 <= found.high
    assert covered / 300 >= 0.93


def test_a_quantile_on_a_tie_says_so_and_has_no_interval_of_length_zero():
    mostly = np.append(np.zeros(800), np.arange(1.0, 201.0))
    found = clustered_quantile(mostly, np.arange(1_000), 0.5)
    assert (found.value, found.low, found.high, found.tied, found.gap) == (0.0, 0.0, 0.0, 0.8, 1.0)
    difference = quantile_difference(found, found)
    assert difference.value == 0.0
    assert difference.low < 0 < difference.high
    assert quantile_ratio(found, found) is None  # nothing is relative to 0


def test_a_ratio_does_not_depend_on_the_unit():
    rng = np.random.default_rng(5)
    (a, u), (b, v) = of_users(rng, 300), of_users(rng, 300, 1.1)
    found = [
        quantile_ratio(clustered_quantile(k * a, u, 0.9), clustered_quantile(k * b, v, 0.9))
        for k in (1.0, 7.0)
    ]
    assert (found[0].low, found[0].value, found[0].high) == pytest.approx(
        (found[1].low, found[1].value, found[1].high), rel=1e-9
    )
    assert found[0].is_fieller


def test_wrong_input_is_refused():
    for values, at, message in (
        (np.ones(3), 1.0, r"at: expected a quantile in \(0, 1\), got 1.0"),
        (np.ones(0), 0.5, "values: expected at least 1 row, got 0"),
        (np.array([1.0, np.nan, 2.0]), 0.5, "expected finite numbers, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            clustered_quantile(values, np.arange(len(values)), at)
    with pytest.raises(ValueError, match="clusters: expected at least 2 users, got 1"):
        clustered_quantile(np.arange(9.0), np.zeros(9, int), 0.5)

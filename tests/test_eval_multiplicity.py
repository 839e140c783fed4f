"""eval.multiplicity: published digits, statsmodels, brute force, and joint coverage by simulation."""

import math

import numpy as np
import pytest

from eval.clustered import clustered_mean, t_quantile
from eval.multiplicity import (
    benjamini_hochberg,
    finding,
    holm,
    p_above,
    p_below,
    p_of,
    simultaneous_bands,
    split_users,
)

P = np.array([0.01, 0.04, 0.03, 0.005])


def test_the_published_digits_are_found():
    # D7
    assert holm(P) == pytest.approx([0.03, 0.06, 0.06, 0.02], abs=1e-15)
    assert benjamini_hochberg(P) == pytest.approx([0.02, 0.04, 0.04, 0.02], abs=1e-15)


def test_both_agree_with_statsmodels():
    from statsmodels.stats.multitest import multipletests

    rng = np.random.default_rng(0)
    for m in range(1, 25):
        p = rng.choice([rng.random(m), np.full(m, 0.02), rng.random(m) ** 4])  # also ties and small ones
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)
        assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1], abs=1e-12)


def test_a_missing_p_value_is_refused():
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match=r"p: expected p-values in \[0, 1\], got \[nan\]"):
            adjust(np.array([0.1, np.nan]))


def test_one_statistic_has_its_ordinary_interval():
    rng = np.random.default_rng(1)
    values, cluster = rng.standard_normal(60), np.repeat(np.arange(20), 3)
    alone = clustered_mean(values, cluster)
    bands = simultaneous_bands(np.array([values.mean()]), (values - values.mean())[:, None], cluster, seed=0)
    assert (bands.low[0], bands.high[0]) == pytest.approx((alone.low, alone.high), abs=1e-12)


def test_equal_statistics_cost_nothing_and_independent_ones_cost_what_sidak_says():
    rng = np.random.default_rng(2)
    one = rng.standard_normal(4_000)
    same = np.repeat((one - one.mean())[:, None], 5, axis=1)
    cluster = np.arange(4_000)
    assert simultaneous_bands(np.zeros(5), same, cluster, seed=0).critical == pytest.approx(1.96, abs=0.03)
    apart = rng.standard_normal((4_000, 5))
    apart -= apart.mean(axis=0)
    sidak = t_quantile(0.95 ** (1 / 5), 3_999)
    assert simultaneous_bands(np.zeros(5), apart, cluster, seed=0).critical == pytest.approx(sidak, abs=0.04)


def test_two_correlated_statistics_have_the_quantile_found_by_integration():
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(3)
    z = rng.standard_normal((50_000, 2)) @ np.linalg.cholesky(np.array([[1, 0.8], [0.8, 1]])).T
    z -= z.mean(axis=0)
    critical = simultaneous_bands(np.zeros(2), z, np.arange(50_000), seed=0).critical
    correlation = np.corrcoef(z.T)
    box = multivariate_normal(np.zeros(2), correlation).cdf
    inside = float(box([critical] * 2, lower_limit=[-critical] * 2))
    assert inside == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 20_000))


def test_bands_cover_all_policies_at_once_and_single_intervals_do_not():
    # 400 logs of 50 users, 12 policies that change nothing, correlated by user
    rng = np.random.default_rng(4)
    together = alone = 0
    cluster = np.repeat(np.arange(50), 3)
    for seed in range(400):
        values = rng.standard_normal((50, 12))[cluster] + rng.standard_normal((150, 1))
        bands = simultaneous_bands(
            values.mean(axis=0), values - values.mean(axis=0), cluster, seed=seed, n_draws=2_000
        )
        together += bool(((bands.low <= 0) & (bands.high >= 0)).all())
        half = t_quantile(0.95, 49) * bands.standard_error
        alone += bool((np.abs(bands.value) <= half).all())
    assert together / 400 >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / 400)
    assert alone / 400 < 0.75


def test_a_policy_that_changes_nothing_has_a_band_of_exactly_zero():
    rng = np.random.default_rng(5)
    values = np.column_stack([np.zeros(30), rng.standard_normal((30, 2))])
    bands = simultaneous_bands(values.mean(axis=0), values - values.mean(axis=0), np.arange(30), seed=0)
    assert (bands.low[0], bands.high[0]) == (0.0, 0.0)
    assert bands.low[1] < bands.high[1]


def test_the_seed_decides_the_bands():
    z = np.random.default_rng(6).standard_normal((40, 3))
    z -= z.mean(axis=0)
    first, again = (simultaneous_bands(np.zeros(3), z, np.arange(40), seed=7) for _ in range(2))
    assert first.critical == again.critical
    assert first.critical != simultaneous_bands(np.zeros(3), z, np.arange(40), seed=8).critical


def test_one_user_has_no_bands():
    with pytest.raises(ValueError, match="at least 2 users, got 1"):
        simultaneous_bands(np.zeros(2), np.zeros((3, 2)), np.zeros(3, int), seed=0)
    with pytest.raises(ValueError, match="influence: expected shape"):
        simultaneous_bands(np.zeros(2), np.zeros((3, 4)), np.zeros(3, int), seed=0)


def test_the_best_of_many_null_policies_looks_good_to_the_half_that_chose_it_only():
    # 300 logs, 200 policies without effect: the chosen half rejects far too often, the other at 2.5 %
    rng = np.random.default_rng(7)
    users = np.arange(200)
    chosen_rejects = other_rejects = 0
    for seed in range(300):
        values = rng.standard_normal((200, 200))
        half = split_users(users, seed=seed)
        score = [
            values[part].mean(axis=0) / (values[part].std(axis=0, ddof=1) / 10) for part in (half, ~half)
        ]
        best = score[0].argmax()
        chosen_rejects += score[0][best] > t_quantile(0.95, 99)
        other_rejects += score[1][best] > t_quantile(0.95, 99)
    assert chosen_rejects / 300 > 0.9
    assert other_rejects / 300 <= 0.025 + 4 * math.sqrt(0.025 * 0.975 / 300)


def test_a_split_keeps_users_whole():
    cluster = np.random.default_rng(8).integers(0, 51, 500)
    half = split_users(cluster, seed=1)
    assert all(len(set(half[cluster == user])) == 1 for user in range(51))
    assert len(np.unique(cluster[half])) == 25


def estimate(values: np.ndarray, level: float = 0.95):
    return clustered_mean(values, np.arange(len(values)), level=level)


def test_p_values_are_those_of_the_t_test_and_agree_with_the_interval():
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(9)
    for _ in range(60):
        values = rng.normal(rng.choice([-0.5, 0.0, 0.4]), 1.0, 25)
        found = estimate(values)
        assert p_of([found]) == pytest.approx(ttest_1samp(values, 0).pvalue, rel=1e-9)
        assert p_below(found) == pytest.approx(ttest_1samp(values, 0, alternative="less").pvalue, rel=1e-9)
        assert p_above(found) == pytest.approx(ttest_1samp(values, 0, alternative="greater").pvalue, rel=1e-9)
        assert (p_of([found]) < 0.05) == (not found.low <= 0 <= found.high)


def test_no_change_at_all_has_no_evidence_of_one():
    none = estimate(np.zeros(5))
    assert p_of([none]) == p_below(none) == p_above(none) == 1.0
    assert finding([none], 1.0) == "identical"
    sure = estimate(np.full(5, -2.0))
    assert (p_of([sure]), p_below(sure), p_above(sure)) == (0.0, 0.0, 1.0)


def test_a_bounded_change_has_the_p_value_of_its_nearer_end_and_none_where_0_lies_between():
    rng = np.random.default_rng(10)
    near, far = estimate(rng.normal(-0.5, 1, 40)), estimate(rng.normal(-2, 1, 40))
    assert p_of([near, far]) == p_of([far, near]) == p_of([near]) > p_of([far])
    other = estimate(rng.normal(2, 1, 40))
    assert p_of([near, other]) == 1.0
    assert finding([near, far], 0.04) == "decreased"
    assert finding([other], 0.04) == "increased"
    assert finding([other], 0.051) == "not shown"
    assert finding([other], 0.09, level=0.9) == "increased"

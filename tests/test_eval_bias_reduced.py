"""Errors of few clusters: digits of R's clubSandwich, HC2 of statsmodels, dense matrices, and coverage."""

import math
import tracemalloc

import numpy as np
import pytest

from eval.bias_reduced import RatioPart, satterthwaite
from eval.cluster_regression import cluster_regression
from eval.clustered import clustered_mean, clustered_ratio, clustered_ratio_change, relative_change
from eval.effects import cluster_effect
from tests.test_eval_clustered import CLUSTER, DEN, NUM

CODES = np.repeat([1, 2, 3, 4, 5, 6, 7], [9, 6, 5, 4, 3, 2, 1])


def designed():
    """30 rows in 7 unequal clusters, 3 of them treated, as the R script of the digits below made them."""
    i = np.arange(1, 31)
    treated = np.isin(CODES, (2, 4, 5)).astype(float)
    y = np.round(np.cos(i * 1.7) + 0.4 * treated + 0.3 * np.sin(CODES * 2.0) * 1.5, 6)
    return np.column_stack((np.ones(30), treated, np.sin(i))), y, 1.0 + i % 4


def dense(design, y, cluster, contrast):
    """Variance and degrees of freedom from (n, n) matrices, straight from the definition."""
    n = len(y)
    bread = np.linalg.inv(design.T @ design)
    hat = design @ bread @ design.T
    left = (np.eye(n) - hat) @ y
    rows, variance = [], 0.0
    for code in np.unique(cluster):
        members = np.flatnonzero(cluster == code)
        own = np.eye(len(members)) - hat[np.ix_(members, members)]
        value, vector = np.linalg.eigh(own)
        root = vector @ np.diag(value**-0.5) @ vector.T
        g = contrast @ bread @ design[members].T @ root
        variance += (g @ left[members]) ** 2
        rows.append(g @ (np.eye(n) - hat)[members])
    spread = np.array(rows) @ np.array(rows).T
    return variance, np.trace(spread) ** 2 / (spread**2).sum()


@pytest.mark.parametrize(
    ("columns", "weighted", "digits"),
    [
        # clubSandwich 0.5.8: coef_test(fit, vcovCR(fit, cluster, "CR2"), "Satterthwaite"), beta, SE and df;
        # weighted rows as lm(s * y ~ 0 + s + s:x) with s the root of the weight
        (
            (0, 1, 2),
            False,
            [
                (0.105910299321, 0.262714165280, 1.783828137729),
                (0.325937116893, 0.321667189357, 3.492468842463),
                (-0.104072352005, 0.121670181353, 4.115870440156),
            ],
        ),
        (
            (0, 1, 2),
            True,
            [
                (0.254053724237, 0.148571578705, 1.678364445209),
                (0.312025306726, 0.239314334603, 3.347534999894),
                (-0.132629169918, 0.125102427609, 4.079099458481),
            ],
        ),
        ((0,), False, [(0.246178200000, 0.138938146106, 4.298829087045)]),
        (
            (0, 1),
            False,
            [
                (0.108132647059, 0.234361449721, 1.792159303049),
                (0.318566660633, 0.299630436736, 3.583011265829),
            ],
        ),
    ],
)
def test_a_regression_has_the_digits_of_clubsandwich(columns, weighted, digits):
    design, y, weight = designed()
    fit = cluster_regression(design[:, columns], y, CODES, weight=weight if weighted else None)
    for k, expected in enumerate(digits):
        found = fit.estimate(np.eye(len(columns))[k])
        assert (found.value, found.standard_error, found.df) == pytest.approx(expected, abs=5e-12)


def test_a_ratio_of_few_clusters_has_the_digits_of_clubsandwich():
    # lm(root(den) * num / den ~ 0 + root(den))
    found = clustered_ratio(NUM, DEN, CLUSTER)
    assert (found.standard_error, found.df) == pytest.approx((0.022837726935, 2.892134831461), abs=5e-12)
    # the same with a column for clusters 2 and 3: beta, SE and df of that column
    effect = cluster_effect(CLUSTER >= 2, NUM, DEN, CLUSTER).difference
    assert (effect.value, effect.standard_error, effect.df) == pytest.approx(
        (-0.025396825397, 0.053949576600, 1.969230769231), abs=5e-12
    )


def test_any_contrast_has_the_error_of_the_dense_definition():
    rng = np.random.default_rng(1)
    cluster = rng.permutation(CODES)
    design = np.column_stack((np.ones(30), rng.standard_normal((30, 3)), np.sin(cluster)))
    y, contrast = rng.standard_normal(30), rng.standard_normal(5)
    fit = cluster_regression(design, y, cluster)
    variance, df = dense(design, y, cluster, contrast)
    found = fit.estimate(contrast)
    assert fit.coefficients == pytest.approx(np.linalg.lstsq(design, y)[0], abs=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert found.df == pytest.approx(df, rel=1e-9)


def test_rows_that_are_clusters_of_their_own_have_hc2():
    from statsmodels.regression.linear_model import WLS

    design, y, weight = designed()
    ours = cluster_regression(design, y, np.arange(30), weight=weight)
    theirs = WLS(y, design, weights=weight).fit(cov_type="HC2")
    assert ours.covariance == pytest.approx(theirs.cov_params(), abs=1e-12)


def test_two_groups_of_single_rows_have_the_error_of_welch_and_published_degrees_of_freedom():
    # Imbens and Kolesar, Robust standard errors in small samples, 2016, section II.C, n0 = 27 and n1 = 3
    rng = np.random.default_rng(2)
    treated, y = np.arange(30) < 3, rng.standard_normal(30)
    found = cluster_regression(np.column_stack((np.ones(30), treated)), y, np.arange(30)).estimate(
        np.array([0.0, 1.0])
    )
    welch = y[treated].var(ddof=1) / 3 + y[~treated].var(ddof=1) / 27
    assert found.standard_error == pytest.approx(math.sqrt(welch), rel=1e-12)
    n0, n1 = 27, 3
    published = (n0 + n1) ** 2 * (n0 - 1) * (n1 - 1) / (n1**2 * (n1 - 1) + n0**2 * (n0 - 1))
    assert found.df == pytest.approx(published, rel=1e-9)
    assert found.df < 2.5


def test_clusters_of_one_size_have_the_plain_error():
    values = np.random.default_rng(3).standard_normal(60)
    cluster = np.repeat(np.arange(12), 5)
    few, plain = (clustered_mean(values, cluster, reduce_below=k) for k in (50, 0))
    assert few.standard_error == pytest.approx(plain.standard_error, rel=1e-12)
    assert few.degrees_of_freedom == pytest.approx(11, rel=1e-12)


def test_a_paired_change_of_ratios_is_a_regression_of_both_at_once():
    rng = np.random.default_rng(4)
    den0, den1 = rng.gamma(1, 50, 14) + 1, rng.gamma(1, 50, 14) + 1
    num0, num1 = 0.1 * den0 + rng.standard_normal(14), 0.1 * den1 + rng.standard_normal(14)
    cluster = np.arange(14)
    design = np.kron(np.eye(2), np.ones((14, 1)))
    fit = cluster_regression(
        design,
        np.concatenate((num0 / den0, num1 / den1)),
        np.tile(cluster, 2),
        weight=np.concatenate((den0, den1)),
    )
    for ours, contrast in (
        (clustered_ratio_change((num0, den0), (num1, den1), cluster), np.array([-1.0, 1.0])),
        (
            relative_change((num0, den0), (num1, den1), cluster),
            np.array([-fit.coefficients[1] / fit.coefficients[0] ** 2, 1 / fit.coefficients[0]]),
        ),
    ):
        theirs = fit.estimate(contrast)
        assert ours.standard_error == pytest.approx(theirs.standard_error, rel=1e-9)
        assert ours.df == pytest.approx(theirs.df, rel=1e-9)


def test_from_50_clusters_on_the_plain_error_is_kept():
    rng = np.random.default_rng(5)
    for n, reduced in ((49, True), (50, False)):
        num, den = rng.random(n), 1.0 + rng.random(n)
        found = clustered_ratio(num, den, np.arange(n))
        plain = clustered_ratio(num, den, np.arange(n), reduce_below=0)
        assert (found.df is not None) == reduced
        assert (found == plain) == (not reduced)


@pytest.mark.parametrize("n_clusters", [8, 12, 20])
def test_intervals_of_few_unequal_clusters_cover_and_plain_ones_do_not(n_clusters):
    # 900 logs; sizes log-normal with sd 1.2. Two Monte Carlo standard errors are .015.
    rng = np.random.default_rng(6)
    cluster, covered = np.arange(n_clusters), {"ratio": 0, "change": 0, "plain": 0}
    for _ in range(900):
        views = np.maximum(1.0, np.round(200 * np.exp(1.2 * rng.standard_normal(n_clusters))))
        harm = views * (0.1 + 0.03 * rng.standard_normal(n_clusters))
        harm += 0.3 * np.sqrt(views) * rng.standard_normal(n_clusters)
        less = harm - views * (0.02 + 0.01 * rng.standard_normal(n_clusters))
        found = clustered_ratio(harm, views, cluster)
        covered["ratio"] += found.low <= 0.1 <= found.high
        plain = clustered_ratio(harm, views, cluster, reduce_below=0)
        covered["plain"] += plain.low <= 0.1 <= plain.high
        change = clustered_ratio_change((harm, views), (less, views), cluster)
        covered["change"] += change.low <= -0.02 <= change.high
    assert 0.93 - 0.015 <= covered["ratio"] / 900 <= 0.97 + 0.015
    assert 0.93 - 0.015 <= covered["change"] / 900 <= 0.97 + 0.015
    assert covered["plain"] / 900 < 0.91


def test_one_cluster_that_alone_decides_has_no_error():
    design, y, _ = designed()
    only = (CODES == 2).astype(float)
    fit = cluster_regression(np.column_stack((np.ones(30), only)), y, CODES)
    with pytest.raises(ValueError, match="expected at least 2 behind the contrast, got one alone"):
        fit.estimate(np.array([0.0, 1.0]))
    # but a column of its own for each cluster does not decide what is compared within clusters
    within = np.column_stack((design[:, 2], *(code == CODES for code in np.unique(CODES)))).astype(float)
    assert cluster_regression(within, y, CODES).estimate(np.eye(8)[0]).df > 2


def test_wrong_input_is_refused():
    design, y, _ = designed()
    for call, message in (
        (lambda: cluster_regression(design, y, np.zeros(30, int)), "clusters: expected at least 2, got 1"),
        (lambda: cluster_regression(design[:5], y, CODES), "design: expected"),
        (lambda: cluster_regression(design, y, CODES, weight=np.zeros(30)), "weight: expected numbers above"),
        (lambda: cluster_regression(design[:, [0, 0]], y, CODES), "design: expected 2 columns of which none"),
        (
            lambda: cluster_regression(design, np.where(CODES == 3, np.nan, y), CODES),
            "outcome: expected finite numbers, got nan",
        ),
        (
            lambda: clustered_ratio(np.array([1.0, 1.0]), np.array([5.0, 0.0]), np.arange(2)),
            "clusters: expected at least 2 with a part of the denominator, got 1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_cluster_that_holds_most_of_a_ratio_leaves_few_degrees_of_freedom():
    sizes = np.append(np.ones(19), 200.0)
    assert satterthwaite([RatioPart(1.0, np.zeros(20), sizes)]) < 1.2


def test_a_regression_of_many_rows_makes_no_matrix_of_a_clusters_rows():
    rng = np.random.default_rng(7)
    n = 300_000
    cluster = rng.integers(0, 12, n)
    design = np.column_stack((np.ones(n), cluster % 2, rng.standard_normal(n)))
    y = rng.standard_normal(n)
    tracemalloc.start()
    cluster_regression(design, y, cluster).estimate(np.array([0.0, 1.0, 0.0]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * design.nbytes  # such a matrix has 25,000 columns

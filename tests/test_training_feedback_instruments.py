"""training.feedback_*: regressions, sets and the count model against statsmodels, scipy and closed forms."""

import math

import numpy as np
import pytest
from scipy import optimize

from reranker.fieller import fieller
from training.feedback_counts import count_model
from training.feedback_instruments import conditional_f, effect_set, effects, least_wald, ratio_set
from training.feedback_reduced_form import ReducedForm, independent, orthonormal, reduced_form


def clustered_rows(rng, n_clusters=150):
    """Doses (n, 2), outcomes (n, 3): posts, likes, comments; controls (n, 3) and clusters of 1 to 4 rows."""
    cluster = np.repeat(np.arange(n_clusters), rng.integers(1, 5, n_clusters))
    n = len(cluster)
    level = rng.standard_normal(n_clusters)[cluster]
    doses = np.eye(3)[rng.integers(0, 3, n)][:, 1:] * (8.0, 3.0)
    controls = np.column_stack([np.ones(n), rng.random(n), level + rng.standard_normal(n)])
    received = doses * (0.9, 0.7) + np.exp(0.5 * level)[:, None] + rng.standard_normal((n, 2))
    posts = received @ (0.3, 1.2) + 2 * level + controls @ (1.0, 0.5, 0.2) + rng.standard_normal(n)
    return doses, np.column_stack([posts, received]), controls, cluster


def drawn_form(rng, first, effect, noise):
    """The reduced form of a very large experiment whose errors are normal with a known covariance."""
    truth = np.column_stack([first @ effect, first])
    draw = rng.multivariate_normal(np.zeros(len(noise)), noise, size=2)  # one row per dose
    covariance = np.einsum("ab,ij->aibj", noise, np.eye(2))
    return ReducedForm(truth + draw, covariance, np.eye(2), noise, 10**6, 10**6)


STRONG = np.diag([40.0, 30.0])
NOISE = np.array([[1.0, 0.7, 0.5], [0.7, 1.0, 0.2], [0.5, 0.2, 1.0]])


def test_the_regression_and_its_error_are_those_of_statsmodels():
    from statsmodels.regression.linear_model import OLS

    doses, outcomes, controls, cluster = clustered_rows(np.random.default_rng(1))
    form = reduced_form(doses, outcomes, controls, cluster)
    for a in range(3):
        found = OLS(outcomes[:, a], np.column_stack([doses, controls])).fit(
            cov_type="cluster", cov_kwds={"groups": cluster}
        )
        assert form.coefficients[:, a] == pytest.approx(found.params[:2], rel=1e-9)
        assert form.covariance[a, :, a, :] == pytest.approx(found.cov_params()[:2, :2], rel=1e-8)


def test_effects_are_two_stage_least_squares_with_the_clustered_sandwich():
    from statsmodels.sandbox.regression.gmm import IV2SLS

    doses, outcomes, controls, cluster = clustered_rows(np.random.default_rng(2))
    design, instruments = (np.column_stack([part, controls]) for part in (outcomes[:, 1:], doses))
    oracle = IV2SLS(outcomes[:, 0], design, instruments).fit()
    found, covariance = effects(reduced_form(doses, outcomes, controls, cluster))
    assert found == pytest.approx(oracle.params[:2], rel=1e-8)
    predicted = instruments @ np.linalg.lstsq(instruments, design, rcond=None)[0]
    scores = predicted * (outcomes[:, 0] - design @ oracle.params)[:, None]
    totals = np.stack([np.bincount(cluster, column) for column in scores.T])
    bread = np.linalg.inv(predicted.T @ predicted)
    n, g = len(cluster), cluster.max() + 1
    factor = g / (g - 1) * (n - 1) / (n - design.shape[1])
    expected = factor * bread @ totals @ totals.T @ bread
    assert covariance == pytest.approx(expected[:2, :2], rel=1e-8)


def test_one_dose_gives_the_wald_ratio_and_fieller():
    # likes 0 1 0 1 | 4 5 4 5 and posts 1 1 2 2 | 3 3 4 4: 4 likes more brought 2 posts more, half a post each
    dose = np.repeat([0.0, 1.0], 4)[:, None]
    outcomes = np.column_stack([[1.0, 1, 2, 2, 3, 3, 4, 4], [0.0, 1, 0, 1, 4, 5, 4, 5]])
    form = reduced_form(dose, outcomes, np.ones((8, 1)), np.arange(8))
    found, _ = effects(form)
    assert found[0] == pytest.approx(0.5)
    entries = form.covariance[1, 0, 1, 0], form.covariance[0, 0, 1, 0], form.covariance[0, 0, 0, 0]
    low, high = fieller((form.coefficients[0, 1], form.coefficients[0, 0]), entries, math.sqrt(form.critical))
    assert effect_set(form, 0) == pytest.approx((low + 1, high + 1), rel=1e-5)
    assert conditional_f(form, 0) == pytest.approx(form.coefficients[0, 1] ** 2 / entries[0])


def test_a_dose_that_brings_likes_too_is_not_credited_with_them():
    # the like arm: 10 likes, 1 post more. The comment arm: 5 likes, 2 comments, 2 posts more.
    # A like is 0.1 posts, so a comment is (2 - 0.5) / 2 = 0.75 posts or 7.5 likes
    arm = np.repeat([0, 1, 2], 20)
    doses = np.stack([arm == 1, arm == 2], axis=1).astype(float)
    spread = np.tile([-1.0, 1.0], 30)
    posts = np.array([3.0, 4.0, 5.0])[arm] + spread
    received = (
        np.array([[4.0, 2.0], [14.0, 2.0], [9.0, 4.0]])[arm] + np.tile([1.0, -1.0, -1.0, 1.0], 15)[:, None]
    )
    form = reduced_form(doses, np.column_stack([posts, received]), np.ones((60, 1)), np.arange(60))
    found, _ = effects(form)
    assert found == pytest.approx([0.1, 0.75])


def test_the_set_of_a_ratio_is_what_a_search_over_all_effects_leaves():
    form = drawn_form(np.random.default_rng(3), STRONG / 2, np.array([0.5, 2.0]), NOISE)
    low, high = ratio_set(form, 1, 0)

    def least(ratio):
        likes = np.linspace(0.2, 1.0, 2_001)
        return min(form.wald(np.array([1.0, -like, -ratio * like])) for like in likes)

    for end, inside in ((low, low + 0.1), (high, high - 0.1)):
        assert least(end) == pytest.approx(form.critical, rel=1e-3)
        assert least(inside) < form.critical < least(2 * end - inside)


def test_with_strong_instruments_the_set_is_fiellers():
    form = drawn_form(np.random.default_rng(4), 20 * STRONG, np.array([0.5, 2.0]), NOISE)
    found, covariance = effects(form)
    entries = (covariance[0, 0], covariance[0, 1], covariance[1, 1])
    low, high = fieller((found[0], found[1]), entries, math.sqrt(form.critical))
    assert ratio_set(form, 1, 0) == pytest.approx((low + 1, high + 1), rel=1e-3)


def test_a_like_that_may_do_nothing_leaves_the_ratio_without_an_end():
    form = drawn_form(np.random.default_rng(5), STRONG, np.array([0.01, 2.0]), NOISE)
    assert ratio_set(form, 1, 0) == (-math.inf, math.inf)


def test_weak_instruments_do_not_make_the_set_lose_the_truth_and_fiellers_does():
    effect, weak = np.array([1.0, 3.0]), np.diag([20.0, 1.0])
    to_noise = np.array(
        [[1.0, 1.0, 3.0], [0.0, 1, 0], [0.0, 0, 1]]
    )  # of what is unexplained, likes, comments
    noise = to_noise @ np.array([[1.0, 0.3, 0.95], [0.3, 1, 0], [0.95, 0, 1]]) @ to_noise.T
    at_truth = np.array([[1.0, 0, 0], [0.0, 1, 3]]).T
    rng, runs = np.random.default_rng(6), 500
    robust = plain = 0
    for _ in range(runs):
        form = drawn_form(rng, weak, effect, noise)
        robust += least_wald(form, at_truth) > form.critical
        found, covariance = effects(form)
        contrast = np.array([-3.0, 1.0])
        plain += (contrast @ found) ** 2 > form.critical * contrast @ covariance @ contrast
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert robust / runs < limit
    assert plain / runs > 2 * limit


def test_the_gradient_of_the_statistic_is_its_slope():
    form = drawn_form(np.random.default_rng(7), STRONG, np.array([0.5, 2.0]), NOISE)
    at = np.array([1.0, -0.4, -2.5])
    assert optimize.check_grad(form.wald, lambda c: form.wald_gradient(c)[1], at) < 1e-3 * form.wald(at)


def test_doses_that_move_one_thing_each_have_the_strength_of_their_own():
    form = drawn_form(np.random.default_rng(8), STRONG, np.array([0.5, 2.0]), np.eye(3))
    exact = ReducedForm(np.column_stack([[1.0, 1], STRONG]), form.covariance, form.gram, form.noise, 100, 100)
    assert [conditional_f(exact, i) for i in (0, 1)] == pytest.approx([1600, 900])


def test_doses_that_move_one_mixture_alone_have_no_strength():
    form = drawn_form(np.random.default_rng(9), STRONG, np.array([0.5, 2.0]), np.eye(3))
    mixed = np.column_stack([[1.0, 1], [10.0, 20], [5.0, 10]])
    same = ReducedForm(mixed, form.covariance, form.gram, form.noise, 100, 100)
    assert conditional_f(same, 0) < 1e-9


def test_controls_that_others_make_up_change_nothing():
    doses, outcomes, controls, cluster = clustered_rows(np.random.default_rng(10))
    twice = np.column_stack([controls, controls[:, 1] + controls[:, 2], np.zeros(len(controls))])
    assert orthonormal(twice).shape[1] == independent(twice).shape[1] == 3
    first, second = (reduced_form(doses, outcomes, part, cluster) for part in (controls, twice))
    assert second.coefficients == pytest.approx(first.coefficients, rel=1e-9)
    with pytest.raises(ValueError, match="regressors: expected none"):
        reduced_form(np.column_stack([doses, doses[:, 0]]), outcomes, controls, cluster)


def test_counts_with_a_dose_that_is_what_is_received_give_the_log_of_the_ratio_of_means():
    rng = np.random.default_rng(11)
    dose = np.repeat([0.0, 1.0], 500)
    posts = rng.poisson(np.where(dose == 1, 3.0, 2.0)).astype(float)
    found = count_model(
        posts, dose[:, None], dose[:, None], controls=np.ones((1000, 1)), cluster=np.arange(1000)
    )
    control, treated = posts[:500], posts[500:]
    assert found.effects[0] == pytest.approx(math.log(treated.mean() / control.mean()), abs=1e-8)
    variance = sum(side.var() / 500 / side.mean() ** 2 for side in (control, treated))
    assert found.covariance[0, 0] == pytest.approx(1000 / 999 * variance, rel=1e-6)


def test_counts_without_confounding_agree_with_a_poisson_regression_and_with_it_only_they_are_right():
    from statsmodels.discrete.discrete_model import Poisson

    rng, n = np.random.default_rng(12), 20_000
    dose = rng.integers(0, 3, n).astype(float)
    hidden = 0.6 * rng.standard_normal(n)
    for confounding, agrees in ((0.0, True), (1.0, False)):
        received = rng.poisson(4 * dose + 3 * np.exp(confounding * hidden)).astype(float)
        posts = rng.poisson(np.exp(0.2 + 0.05 * received + hidden)).astype(float)
        found = count_model(
            posts, received[:, None], dose[:, None], controls=np.ones((n, 1)), cluster=np.arange(n)
        )
        error = math.sqrt(found.covariance[0, 0])
        plain = Poisson(posts, np.column_stack([received, np.ones(n)])).fit(disp=0).params[0]
        assert abs(found.effects[0] - 0.05) < 4 * error
        assert (abs(plain - 0.05) < 4 * error) == agrees


def test_counts_of_no_posts_at_all_have_no_solution():
    with pytest.raises(ValueError, match="posts: expected counts that the Poisson model can be fitted to"):
        count_model(
            np.zeros(50),
            np.arange(50.0)[:, None],
            (np.arange(50.0) % 2)[:, None],
            controls=np.ones((50, 1)),
            cluster=np.arange(50),
        )

"""Past predictions against findings: the published line of Pearson and York, brute force, known truth."""

import math

import numpy as np
import pytest

from eval.offline_online import Past, best_line, calibrate

# Pearson's points with York's weights, as in York and others, 2004, table I
X = np.array([0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4])
Y = np.array([5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5])
X_ERROR = np.array([1000, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1.0]) ** -0.5
Y_ERROR = np.array([1, 1.8, 4, 8, 20, 20, 70, 70, 100, 500]) ** -0.5


def experiments(rng, m, *, slope=0.8, intercept=0.001, scatter=0.0, spread=0.02):
    """Predicted and found effects of m experiments, with their errors."""
    true = spread * rng.standard_normal(m)
    errors = rng.uniform(0.003, 0.008, (2, m))
    online = intercept + slope * true + scatter * rng.standard_normal(m)
    return Past(
        true + errors[0] * rng.standard_normal(m),
        errors[0],
        online + errors[1] * rng.standard_normal(m),
        errors[1],
    )


def test_the_line_has_the_published_digits():
    found = best_line(X, X_ERROR, Y, Y_ERROR)
    assert found.slope == pytest.approx(-0.480533407, abs=5e-10)
    assert found.intercept == pytest.approx(5.47991022, abs=5e-9)
    assert found.slope_error == pytest.approx(0.0580, abs=5e-5)
    assert found.intercept_error == pytest.approx(0.2950, abs=5e-5)
    assert found.misfit == pytest.approx(11.8663531941, abs=5e-10)


def test_the_line_is_the_smallest_misfit_over_lines_and_true_points():
    from scipy.optimize import minimize

    rng = np.random.default_rng(1)
    past = experiments(rng, 9)

    def misfit(v):  # slope, intercept, and where each point truly is, in units of .01
        true = v[2:]
        left = (100 * past.offline - true) / (100 * past.offline_error)
        right = (100 * past.online - v[1] - v[0] * true) / (100 * past.online_error)
        return left @ left + right @ right

    start = np.concatenate(([1.0, 0.0], 100 * past.offline))
    theirs = minimize(misfit, start, method="BFGS", options={"gtol": 1e-8})
    ours = best_line(past.offline, past.offline_error, past.online, past.online_error)
    assert ours.misfit == pytest.approx(theirs.fun, rel=1e-8)
    assert (ours.slope, 100 * ours.intercept) == pytest.approx(tuple(theirs.x[:2]), abs=1e-4)


def test_without_errors_of_the_prediction_it_is_weighted_least_squares():
    from statsmodels.regression.linear_model import WLS

    past = experiments(np.random.default_rng(2), 12)
    tiny = np.full(12, 1e-9)
    ours = best_line(past.offline, tiny, past.online, past.online_error)
    design = np.column_stack((np.ones(12), past.offline))
    theirs = WLS(past.online, design, weights=past.online_error**-2.0).fit(cov_type="fixed scale")
    assert (ours.intercept, ours.slope) == pytest.approx(tuple(theirs.params), rel=1e-6)
    assert (ours.intercept_error, ours.slope_error) == pytest.approx(tuple(theirs.bse), rel=1e-6)
    assert ours.covariance == pytest.approx(theirs.cov_params()[0, 1], rel=1e-6)


def test_the_scatter_explains_what_errors_do_not_and_is_0_where_they_do():
    wide = calibrate(Past(X, X_ERROR, Y, Y_ERROR))
    assert wide.scatter > 0
    noise = np.hypot(Y_ERROR, wide.scatter)
    assert best_line(X, X_ERROR, Y, noise).misfit == pytest.approx(8.0, abs=1e-4)
    exact = calibrate(Past(X, X_ERROR, 1 + 2 * X, Y_ERROR))
    assert (exact.scatter, exact.slope.value, exact.intercept.value) == pytest.approx(
        (0.0, 2.0, 1.0), abs=1e-6
    )


@pytest.mark.parametrize(("m", "scatter"), [(8, 0.0), (20, 0.005)])
def test_slope_intercept_and_the_next_experiment_are_covered(m, scatter):
    # 300 records; 2 Monte Carlo standard errors are .025. Few experiments give intervals that are too long.
    rng, covered = np.random.default_rng(m), np.zeros(3)
    attenuated = []
    for _ in range(300):
        record = experiments(rng, m + 1, scatter=scatter)
        past = Past(
            *(
                column[:m]
                for column in (record.offline, record.offline_error, record.online, record.online_error)
            )
        )
        found = calibrate(past)
        following = found.predict(
            record.offline[m], record.offline_error[m], online_error=record.online_error[m]
        )
        for i, (estimate, truth) in enumerate(
            ((found.slope, 0.8), (found.intercept, 0.001), (following, record.online[m]))
        ):
            covered[i] += estimate.low <= truth <= estimate.high
        attenuated.append(np.polyfit(past.offline, past.online, 1)[0] - found.slope.value)
    assert (covered / 300 >= 0.93 - 0.025).all()
    assert np.mean(attenuated) < -0.02  # least squares blames the prediction for its noise


def test_effects_as_small_as_their_errors_leave_the_slope_without_end():
    rng = np.random.default_rng(4)
    found = [calibrate(experiments(rng, 8, spread=0.0005)) for _ in range(20)]
    assert sum(one.slope_is_known for one in found) <= 3
    assert sum((one.slope.low, one.slope.high) == (-math.inf, math.inf) for one in found) >= 10


def test_signs_and_coverage_are_shares_with_wilsons_interval():
    from statsmodels.stats.proportion import proportion_confint

    offline = np.array([0.05, -0.04, 0.06, 0.03, -0.05, 0.04, 0.0001, 0.05, -0.06, 0.04])
    online = np.array([0.04, -0.05, 0.05, -0.03, -0.04, 0.05, 0.0002, 0.04, -0.01, 0.04])
    found = calibrate(Past(offline, np.full(10, 0.01), online, np.full(10, 0.01)))
    # the seventh can be told from 0 by neither side; of the other nine one has the other sign
    assert (found.sign_agreement.value, found.sign_agreement.n) == (8 / 9, 9)
    theirs = proportion_confint(8, 9, method="wilson")
    assert (found.sign_agreement.low, found.sign_agreement.high) == pytest.approx(theirs, abs=1e-12)
    # both errors together .0141, times 1.96 .0277: .06 and .05 apart are outside
    assert (found.coverage.value, found.coverage.n) == (0.8, 10)
    assert calibrate(Past(offline / 1e4, np.ones(10), online / 1e4, np.ones(10))).sign_agreement is None


def test_a_prediction_is_less_sure_far_from_what_was_seen_and_with_a_noisy_prediction():
    found = calibrate(experiments(np.random.default_rng(5), 15))
    near, far, noisy = found.predict(0.0, 0.003), found.predict(0.2, 0.003), found.predict(0.0, 0.03)
    assert near.standard_error < far.standard_error
    assert near.standard_error < noisy.standard_error
    assert near.value == found.intercept.value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: Past(*(c[:7] for c in p)), "experiments: expected at least 8 in the past, got 7"),
        (lambda p: Past(p[0], p[1], p[2][:5], p[3]), "online: expected 10 finite numbers"),
        (lambda p: Past(p[0] * np.nan, *p[1:]), "offline: expected 10 finite numbers"),
        (lambda p: Past(*p[:3], 0 * p[3]), "online_error: expected numbers above 0, got 0"),
    ],
)
def test_wrong_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change((X, X_ERROR, Y, Y_ERROR))

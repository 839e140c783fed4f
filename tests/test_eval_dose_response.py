"""eval.dose_response: brute force, scipy, closed forms, and error rates by simulation."""

import math

import numpy as np
import pytest

from eval.dose_response import (
    Doses,
    against_control,
    largest_safe_dose,
    line,
    monotone,
    saturation,
)

DOSE = np.array([1.0, 3.5, 4.5, 5.0])  # angry from 5 to 4, 1.5, .5 and 0


def exact(effect, error=0.01, dose=DOSE):
    """Independent effects."""
    return Doses(dose, np.asarray(effect, float), np.diag(np.full(len(dose), error**2)))


def test_effects_against_a_shared_control_are_correlated_by_its_variance():
    doses = against_control(np.array([0.0, 1, 2]), np.array([1.0, 0.9, 0.7]), np.array([0.1, 0.2, 0.3]))
    assert doses.effect == pytest.approx([-0.1, -0.3])
    assert doses.covariance == pytest.approx(np.array([[0.05, 0.01], [0.01, 0.10]]))


def test_the_line_is_that_of_weighted_least_squares_with_a_free_control():
    from statsmodels.regression.linear_model import WLS

    # effects against a shared control, through 0 = the arms' values with a free intercept
    rng = np.random.default_rng(1)
    dose, error = np.append(0.0, DOSE), rng.uniform(0.01, 0.03, 5)
    value = 1 - 0.02 * dose + rng.normal(0, error)
    fit = WLS(value, np.column_stack([np.ones(5), dose]), weights=error**-2).fit()
    found = line(against_control(dose, value, error))
    assert found.slope == pytest.approx(fit.params[1], abs=1e-12)
    assert found.standard_error == pytest.approx(math.sqrt(fit.normalized_cov_params[1, 1]), abs=1e-12)
    assert found.misfit == pytest.approx((fit.wresid**2).sum(), abs=1e-9)


def test_lack_of_fit_is_found_at_the_stated_rate_under_a_line_and_nearly_always_under_a_plateau():
    rng = np.random.default_rng(2)
    dose, error = np.append(0.0, DOSE), np.full(5, 0.01)
    false_alarms = found = 0
    for _ in range(1_000):
        noise = rng.normal(0, error)
        false_alarms += not line(against_control(dose, -0.02 * dose + noise, error)).fits
        found += not line(against_control(dose, -0.1 * dose / (0.5 + dose) + noise, error)).fits
    assert false_alarms / 1_000 == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 1_000))
    assert found / 1_000 > 0.9


def test_the_predicted_effect_at_a_dose_has_an_interval():
    found = line(exact(-0.02 * DOSE))
    low, high = found.interval(5.0)
    assert (low + high) / 2 == pytest.approx(-0.1)
    # se of the slope = .01 / sqrt(sum dose^2) = .01 / sqrt(58.5)
    assert high - low == pytest.approx(2 * 1.959964 * 5 * 0.01 / math.sqrt(58.5), rel=1e-6)


def test_one_dose_makes_a_line_that_nothing_contradicts():
    found = line(exact([-0.1], dose=np.array([5.0])))
    assert (found.slope, found.misfit_p, found.fits) == (pytest.approx(-0.02), None, True)


def test_the_isotonic_fit_pools_neighbours_by_weight_and_starts_at_0():
    # falling: -1, -3, -2 pool to the weighted mean of -3 and -2 (weights 1 and 4): -2.2
    doses = Doses(np.array([1.0, 2, 3]), np.array([-1.0, -3, -2]), np.diag([1.0, 1.0, 0.25]))
    assert monotone(doses, rising=False).fitted == pytest.approx([-1, -2.2, -2.2])
    assert monotone(doses, rising=True).fitted == pytest.approx([0, 0, 0])


def test_a_reversal_is_reported_with_its_doses_and_noise_is_not():
    assert monotone(exact([-0.02, -0.08, -0.081, -0.02]), rising=False).reversals == ((3.5, 5.0), (4.5, 5.0))
    assert monotone(exact([-0.02, -0.08, -0.081, -0.075]), rising=False).is_monotone
    assert monotone(exact([0.05, -0.08, -0.081, -0.09]), rising=False).reversals == ((0.0, 1.0),)


def test_without_an_effect_a_reversal_is_reported_in_at_most_five_percent():
    rng = np.random.default_rng(3)
    dose, error = np.append(0.0, DOSE), np.full(5, 0.01)
    wrong = sum(
        not monotone(against_control(dose, rng.normal(0, error), error), rising=False).is_monotone
        for _ in range(800)
    )
    assert wrong / 800 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 800)


def test_a_plateau_is_recovered_exactly_without_noise():
    found = saturation(exact(-0.12 * DOSE / (0.8 + DOSE), error=0.001))
    assert found.plateau == pytest.approx(-0.12, rel=1e-5)
    assert found.half_dose == pytest.approx(0.8, rel=1e-4)
    assert found.effect(5.0) == pytest.approx(-0.12 * 5 / 5.8, rel=1e-6)
    assert found.identified
    assert found.low < 0.8 < found.high


def test_the_curve_agrees_with_scipy():
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(4)
    dose, error = np.append(0.0, DOSE), np.full(5, 0.003)
    doses = against_control(dose, -0.12 * dose / (0.8 + dose) + rng.normal(0, error), error)
    theirs, _ = curve_fit(
        lambda x, top, half: top * x / (half + x),
        doses.dose,
        doses.effect,
        (-0.1, 1.0),
        sigma=doses.covariance,
    )
    found = saturation(doses)
    assert (found.plateau, found.half_dose) == pytest.approx(tuple(theirs), rel=1e-4)


def test_a_line_has_no_half_dose():
    found = saturation(exact(-0.02 * DOSE))
    assert not found.identified
    assert found.high == math.inf


def test_the_interval_of_the_half_dose_covers():
    rng = np.random.default_rng(5)
    dose, error = np.append(0.0, DOSE), np.full(5, 0.004)
    covered = 0
    for _ in range(200):
        found = saturation(against_control(dose, -0.12 * dose / (0.8 + dose) + rng.normal(0, error), error))
        covered += found.low <= 0.8 <= found.high
    assert covered / 200 == pytest.approx(0.95, abs=4 * math.sqrt(0.05 * 0.95 / 200))


def test_the_largest_safe_dose_stops_at_the_first_failure():
    # lower bounds: -.5 - .39 = -.89, -2.39 fails, -.59 would pass again
    doses = exact([-0.005, -0.02, -0.002, -0.002], error=0.002)
    assert largest_safe_dose(doses, 0.01).tested == 1.0
    assert largest_safe_dose(exact([-0.02, 0, 0, 0], error=0.002), 0.01).tested is None
    assert largest_safe_dose(exact([0.0, 0, 0, 0], error=0.002), 0.01).tested == 5.0


def test_the_line_reaches_the_margin_where_its_lower_bound_does():
    doses = exact(-0.002 * DOSE, error=0.001)
    fitted = line(doses)
    safe = largest_safe_dose(doses, 0.01).by_line
    assert safe is not None
    assert 4 < safe < 5
    assert fitted.interval(safe)[0] == pytest.approx(-0.01, abs=1e-12)


def test_a_line_that_does_not_fit_allows_no_dose_and_none_goes_beyond_what_was_tested():
    assert largest_safe_dose(exact([-0.05, 0.05, -0.05, 0.05]), 0.01).by_line is None
    assert largest_safe_dose(exact(0.01 * DOSE, error=0.001), 0.01).by_line == 5.0


def test_an_unsafe_dose_is_called_safe_in_at_most_two_and_a_half_percent():
    # the truth crosses the margin between 3.5 and 4.5
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(1_000):
        found = largest_safe_dose(exact(-0.0025 * DOSE + rng.normal(0, 0.002, 4), error=0.002), 0.01)
        wrong += found.tested is not None and found.tested >= 4.5
    assert wrong / 1_000 <= 0.025


@pytest.mark.parametrize(
    ("dose", "effect", "variance", "message"),
    [
        ([1.0, 1.0], [0.0, 0.0], 1.0, "dose: expected numbers above 0 in rising order"),
        ([0.0, 1.0], [0.0, 0.0], 1.0, "dose: expected numbers above 0 in rising order"),
        ([1.0, 2.0], [0.0, math.nan], 1.0, "expected finite effects"),
        ([1.0, 2.0], [0.0], 1.0, "expected 2 effects"),
        ([1.0, 2.0], [0.0, 0.0], 0.0, "positive definite"),
    ],
)
def test_what_has_no_meaning_is_refused(dose, effect, variance, message):
    with pytest.raises(ValueError, match=message):
        Doses(np.array(dose), np.array(effect), np.eye(2) * variance)

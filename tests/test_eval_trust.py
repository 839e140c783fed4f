import numpy as np
import pytest

from eval.trust import calibration, sensitivity


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(1)
    chance = rng.beta(1, 4, 8000)
    return chance, (rng.random(8000) < chance).astype(float), np.repeat(np.arange(800), 10)


def test_true_chances_are_calibrated(rows):
    chance, outcome, user = rows
    report = calibration(chance, outcome, user)
    assert abs(report.ratio.value - 1) < 4 * report.ratio.standard_error
    assert abs(report.squared_error) < 3e-4
    inside = (report.low <= report.predicted) & (report.predicted <= report.high)
    assert inside.sum() >= 12
    assert report.count.sum() == 8000
    assert report.count.max() - report.count.min() <= 1


def test_the_debiased_error_finds_the_error_that_was_put_in(rows):
    # predictions 0.1 too high everywhere: a squared error of 0.01
    chance, outcome, user = rows
    off = calibration(np.minimum(chance + 0.1, 1.0), outcome, user)
    assert off.squared_error == pytest.approx(0.01, abs=0.002)
    assert off.ratio.high < 1


def test_calibration_may_be_asked_of_the_changed_slots_alone(rows):
    chance, outcome, user = rows
    changed = user < 200
    wrong = np.where(changed, chance * 0.5, chance)
    assert calibration(wrong, outcome, user, rows=~changed).ratio.value == pytest.approx(1, abs=0.06)
    assert calibration(wrong, outcome, user, rows=changed).ratio.value == pytest.approx(2, abs=0.2)


def test_a_bin_of_one_user_has_no_interval():
    report = calibration(
        np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.0, 0, 1, 1]), np.array([0, 0, 1, 2]), n_bins=2
    )
    assert np.isnan(report.low[0])
    assert not np.isnan(report.low[1])


def test_the_error_that_flips_the_sign_in_closed_form():
    # two requests of two slots; slot 2 of each is the same under both policies
    target, logging = np.array([0.5, 0.1, 0.3, 0.2]), np.array([0.3, 0.1, 0.2, 0.2])
    changed = np.array([True, False, True, False])
    found = sensitivity(target, logging, changed, np.array([0, 2, 4]), margin=0.05)
    # difference (0.2 + 0.1) / 2 = 0.15; at stake (0.5 + 0.3 + 0.3 + 0.2) / 2 = 0.65
    assert found.difference == pytest.approx(0.15)
    assert found.sign == pytest.approx(0.15 / 0.65)
    assert found.margin == pytest.approx(0.10 / 0.65)
    assert found.smallest == found.margin
    # at that error, in the direction that hurts, nothing is left
    gamma = found.sign
    worst = (target * np.where(changed, 1 - gamma, 1) - logging * np.where(changed, 1 + gamma, 1)).sum() / 2
    assert worst == pytest.approx(0.0, abs=1e-12)


def test_policies_that_do_not_differ_have_no_sensitivity():
    same = np.array([0.5, 0.1])
    found = sensitivity(same, same, np.zeros(2, bool), np.array([0, 2]), margin=0.01)
    assert (found.difference, found.sign, found.margin, found.smallest) == (0.0, None, None, None)


def test_bad_input_is_refused_with_what_was_expected(rows):
    chance, outcome, user = rows
    with pytest.raises(ValueError, match=r"predicted: expected probabilities in \[0, 1\]"):
        calibration(chance + 1, outcome, user)
    with pytest.raises(ValueError, match="outcome: expected 8000 rows, got 3"):
        calibration(chance, outcome[:3], user)
    with pytest.raises(ValueError, match="margin: expected a number above 0, got 0"):
        sensitivity(np.ones(1), np.ones(1), np.ones(1, bool), np.array([0, 1]), margin=0)
    with pytest.raises(ValueError, match="expected at least 1 request, got 0"):
        sensitivity(np.ones(0), np.ones(0), np.ones(0, bool), np.array([0]))

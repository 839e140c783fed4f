"""eval.shrinkage: published digits, statsmodels, coverage by simulation, and alarms that stay on."""

import math

import numpy as np
import pytest

from eval.shrinkage import guard, random_effects

EFFECT = np.array([-0.05, -0.01, 0.02, -0.03, 0.08])
ERROR = np.array([0.01, 0.02, 0.015, 0.03, 0.05])


def test_the_published_digits_are_found():
    # D8
    found = random_effects(EFFECT, ERROR)
    assert found.q == pytest.approx(20.21921199, abs=1e-8)
    assert found.variance == pytest.approx(0.00140394325, abs=1e-11)
    assert found.mean == pytest.approx(-0.00754573979, abs=1e-11)
    assert found.shrunk == pytest.approx(
        [-0.04717714, -0.00945580, 0.01619521, -0.02122859, 0.02393762], abs=1e-8
    )
    assert found.i2 == pytest.approx(0.80217, abs=1e-5)


def test_the_mean_and_the_variance_agree_with_statsmodels():
    from statsmodels.stats.meta_analysis import combine_effects

    rng = np.random.default_rng(1)
    for _ in range(5):
        error = rng.uniform(0.01, 0.03, 12)
        effect = rng.normal(0, 0.06, 12) + rng.normal(0, error)
        theirs, ours = combine_effects(effect, error**2, method_re="chi2"), random_effects(effect, error)
        assert ours.variance == pytest.approx(theirs.tau2, abs=1e-12)
        assert ours.mean == pytest.approx(theirs.mean_effect_re, abs=1e-12)
        assert ours.mean_standard_error == pytest.approx(theirs.sd_eff_w_re, abs=1e-12)
        assert ours.q == pytest.approx(theirs.q, abs=1e-9)


def test_segments_that_agree_are_drawn_all_the_way_to_their_mean():
    found = random_effects(np.array([0.010, 0.011, 0.009]), np.full(3, 0.01))
    assert found.variance == 0.0
    assert found.i2 == 0.0
    assert found.shrunk == pytest.approx([0.01, 0.01, 0.01], abs=1e-15)
    assert (found.shrunk_error > 0).all()  # the mean is uncertain still


@pytest.mark.parametrize(("g", "spread"), [(5, 0.02), (12, 0.02), (12, 0.06), (30, 0.02)])
def test_shrunk_intervals_cover_on_average_and_are_closer_to_the_truth_than_raw_effects(g, spread):
    # 400 times g segments with true effects N(-.01, spread)
    rng = np.random.default_rng(2)
    covered, shrunk_loss, raw_loss = [], 0.0, 0.0
    for _ in range(400):
        error = rng.uniform(0.01, 0.04, g)
        truth = rng.normal(-0.01, spread, g)
        effect = rng.normal(truth, error)
        found = random_effects(effect, error)
        covered.append(((found.low <= truth) & (truth <= found.high)).mean())
        shrunk_loss += ((found.shrunk - truth) ** 2).sum()
        raw_loss += ((effect - truth) ** 2).sum()
    assert 0.93 <= np.mean(covered) <= 0.985
    assert shrunk_loss < raw_loss


def test_a_true_fall_in_one_small_country_is_shrunk_away_and_stays_red():
    # 30 countries near 0 and a small one that falls by 4 % (z = -4); margin 1 %
    rng = np.random.default_rng(3)
    error = np.append(np.full(30, 0.002), 0.01)
    effect = np.append(rng.normal(0, 0.002, 30), -0.04)
    found = random_effects(effect, error)
    colours = guard(found, 0.01)
    assert found.shrunk[-1] > -0.01  # shrinkage alone would have said: fine
    assert colours.p_beyond[-1] < 0.5
    assert colours.screened[-1]
    assert colours.colour[-1] == "red"
    assert set(colours.colour[:30]) == {"green"}


def test_too_little_data_is_grey_and_never_green():
    # 1 % margin, se .8 %: power is 24 %; even an effect of +3 %, non-inferior, is not green
    found = random_effects(np.array([0.0, 0.03, 0.001]), np.array([0.008, 0.008, 0.001]))
    colours = guard(found, 0.01)
    assert colours.non_inferior.tolist() == [False, True, True]
    assert colours.colour == ("grey", "grey", "green")


def test_enough_data_without_non_inferiority_is_red():
    # se .3 %, effect -.6 %: the lower bound is below -1 %
    found = random_effects(np.array([-0.006, 0.0, 0.0]), np.full(3, 0.003))
    colours = guard(found, 0.01)
    assert colours.powered.all()
    assert colours.colour[0] == "red"


def test_a_fall_that_is_shown_to_be_within_the_margin_is_screened_and_green():
    found = random_effects(np.array([-0.003, 0.0, 0.0]), np.full(3, 0.0005))
    colours = guard(found, 0.01)
    assert colours.screened[0]
    assert colours.colour[0] == "green"


def test_power_is_that_of_non_inferiority_at_no_change():
    # P(estimate - 1.96 se > -margin) = Phi(margin / se - 1.96); 80 % at margin / se = 2.8016
    found = random_effects(np.zeros(2), np.array([0.01 / 2.79, 0.01 / 2.81]))
    assert guard(found, 0.01).powered.tolist() == [False, True]


def test_margins_may_differ_by_segment():
    found = random_effects(np.zeros(2), np.full(2, 0.003))
    assert guard(found, np.array([0.005, 0.02])).colour == ("grey", "green")


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        random_effects(np.zeros(1), np.ones(1))
    with pytest.raises(ValueError, match="effect: expected finite"):
        random_effects(np.array([0.0, math.nan]), np.ones(2))
    with pytest.raises(ValueError, match="standard_error: expected finite numbers above 0, got 0"):
        random_effects(np.zeros(2), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="margin: expected numbers above 0"):
        guard(random_effects(np.zeros(2), np.ones(2)), 0.0)

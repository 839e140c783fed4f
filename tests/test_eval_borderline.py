"""The borderline curve: bands that cover a known curve, shapes that are told apart, and refusals."""

import numpy as np
import pytest
from scipy.optimize import isotonic_regression

from eval.borderline import borderline_curve, relative_to_habit


def flat(x):
    return np.ones_like(x)


def rising(x):
    return 1 + x**2


def sample(curve, *, n=3_000, n_units=80, seed=0):
    """Posts with engagement of mean curve(x), publishers and posts differing beyond it."""
    rng = np.random.default_rng(seed)
    unit = rng.integers(0, n_units, n)
    x = rng.beta(1.2, 2, n)
    y = curve(x) * rng.gamma(2, 0.5, n) * rng.lognormal(-0.02, 0.2, n_units)[unit]
    return x, y, unit


def shapes(curve, repeats):
    return [borderline_curve(*sample(curve, seed=seed), seed=seed).shape for seed in range(repeats)]


def test_engagement_that_rises_is_told_and_one_that_falls_too():
    assert shapes(rising, 10).count("rises") >= 9
    assert shapes(lambda x: 2 - x, 10).count("falls") >= 9
    assert "falls" not in shapes(rising, 10)


def test_a_flat_curve_is_rarely_called_anything():
    # each shape is refuted wrongly in at most 5% of samples: 10% in all; 80 repeats
    found = shapes(flat, 80)
    assert found.count("cannot be told") / 80 > 0.9 - 4 * np.sqrt(0.9 * 0.1 / 80)


def test_a_hump_is_neither():
    curve = borderline_curve(*sample(lambda x: 1 + 2 * np.exp(-(((x - 0.4) / 0.15) ** 2)), n=6_000))
    assert curve.shape == "rises and falls"
    assert curve.rising_band is None
    assert curve.falling_band is None


def test_the_band_of_a_rising_curve_covers_all_of_it_at_the_stated_rate():
    # the truth of a step is the mean of the curve over its posts; 100 repeats, standard error 0.022
    covered = []
    for seed in range(100):
        x, y, unit = sample(rising, seed=seed)
        found = borderline_curve(x, y, unit, seed=seed)
        edges = np.concatenate([[-1], (found.closeness[1:] + found.closeness[:-1]) / 2, [2]])
        step = np.minimum((x * 10).astype(int), len(found.n) - 1)
        truth = np.bincount(step, rising(x)) / np.bincount(step)
        assert (np.bincount(step) == found.n).all()
        assert (np.diff(edges) > 0).all()
        band = found.rising_band
        covered.append(band is not None and ((band[0] <= truth) & (truth <= band[1])).all())
    assert np.mean(covered) > 0.95 - 4 * 0.022


def test_the_curves_are_isotonic_regressions_and_the_bands_are_narrower_than_those_of_the_steps():
    found = borderline_curve(*sample(rising))
    assert found.rising == pytest.approx(isotonic_regression(found.mean, weights=found.n).x)
    assert (np.diff(found.rising) >= 0).all()
    assert (np.diff(found.falling) <= 0).all()
    assert (found.rising_band[0] >= found.low).all()
    assert (found.rising_band[1] <= found.high).all()
    assert found.at_the_line.low > 0


def test_before_and_after_a_demotion_against_one_habit():
    x, y, unit = sample(rising, n=6_000)
    after = y * (1 - 0.9 * x)
    before = relative_to_habit(y, unit)
    assert np.bincount(unit, before) == pytest.approx(np.bincount(unit).astype(float))  # means of 1
    demoted = relative_to_habit(after, unit, habit_of=y)
    assert demoted == pytest.approx(before * (1 - 0.9 * x))
    assert borderline_curve(x, before, unit).shape == "rises"
    assert borderline_curve(x, demoted, unit).shape == "falls"


def test_what_is_not_scored_is_left_out():
    x, y, unit = sample(rising)
    holes = np.where(np.arange(len(x)) % 7 == 0, np.nan, x)
    kept = ~np.isnan(holes)
    found, expected = borderline_curve(holes, y, unit), borderline_curve(x[kept], y[kept], unit[kept])
    assert found.mean.tolist() == expected.mean.tolist()


def test_small_steps_are_joined_and_what_is_beyond_the_line_is_a_step_of_its_own():
    x, y, unit = sample(rising)
    near = np.concatenate([x[x < 0.55], np.full(200, 1.7)])
    values = np.concatenate([y[x < 0.55], np.full(200, 3.0)])
    units = np.concatenate([unit[x < 0.55], np.arange(200) % 40])
    found = borderline_curve(near, values, units)
    assert found.n[-1] == 200 + ((near >= 0.6) & (near < 1)).sum()
    assert found.n.sum() == len(near)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (1.0, 0.0, "engagement: expected some above 0, got none"),
        (1.0, -1.0, "engagement: expected numbers of at least 0, got -1"),
        (0.01, 1.0, "at least 3 steps of the way to the line with 30 posts of 10 publishers each, got 1"),
    ],
)
def test_data_that_cannot_say_are_refused(x, y, message):
    closeness, engagement, unit = sample(rising)
    with pytest.raises(ValueError, match=message):
        borderline_curve(closeness * x, engagement * y, unit)

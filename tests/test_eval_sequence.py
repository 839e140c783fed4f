"""eval.sequence: published digits, and a simulation in which somebody looks after every user."""

import numpy as np
import pytest

from eval.sequence import sequence_half_width


def test_the_half_width_has_the_published_digits():
    # D14; the first digit string differs from the formula by 5e-10
    half = sequence_half_width(np.array([1_000.0, 10_000.0]), 1.0, planned_n=5_000)
    assert half == pytest.approx([0.1063754706, 0.0306147722], abs=1e-9)


def test_it_is_narrowest_against_a_fixed_interval_near_the_planned_n_and_never_narrower():
    n = np.geomspace(50, 500_000, 2_001)
    ratio = sequence_half_width(n, 1.0, planned_n=5_000) / (1.959964 / np.sqrt(n))
    assert ratio.min() > 1
    assert 4_000 < n[ratio.argmin()] < 6_250


def test_looking_after_every_user_rarely_excludes_the_truth_while_a_fixed_interval_often_does():
    rng = np.random.default_rng(1)
    n = np.arange(1, 3_001, dtype=float)
    means = rng.standard_normal((400, 3_000)).cumsum(axis=1) / n
    late = n >= 100  # asymptotic: the first looks are at 100 users
    always = (np.abs(means) <= sequence_half_width(n, 1.0, planned_n=1_500))[:, late].all(axis=1).mean()
    fixed = (np.abs(means) <= 1.96 / np.sqrt(n))[:, late].all(axis=1).mean()
    assert always >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / 400)
    assert fixed < 0.8


def test_sigma_may_be_estimated_at_each_n_and_scales_the_width():
    n = np.array([100.0, 400.0])
    one = sequence_half_width(n, 1.0, planned_n=200)
    assert sequence_half_width(n, np.array([2.0, 3.0]), planned_n=200) == pytest.approx(one * [2.0, 3.0])


@pytest.mark.parametrize(
    ("n", "sigma", "alpha", "message"),
    [
        (0.0, 1.0, 0.05, "n: expected"),
        (5.0, np.nan, 0.05, "sigma: expected"),
        (5.0, 1.0, 1.0, "alpha: expected"),
    ],
)
def test_what_has_no_meaning_is_refused(n, sigma, alpha, message):
    with pytest.raises(ValueError, match=message):
        sequence_half_width(np.array([n]), sigma, planned_n=10, alpha=alpha)

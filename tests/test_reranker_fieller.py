"""reranker.fieller: the test it inverts, and published digits."""

import math

import numpy as np
import pytest

from reranker.fieller import fieller


def test_fieller_is_the_set_that_the_test_does_not_reject():
    values, covariance, t = (1.0, 1.1), (0.03, 0.01, 0.05), 1.96
    low, high = fieller(values, covariance, t)
    rho = np.linspace(-3, 9, 2_000_001)
    v00, v01, v11 = covariance
    kept = rho[(values[1] - rho * values[0]) ** 2 <= t**2 * (v11 - 2 * rho * v01 + rho**2 * v00)]
    assert (low, high) == pytest.approx((kept[0] - 1, kept[-1] - 1), abs=1e-5)


def test_the_published_fieller_digits_are_found():
    # D5: means 10.00 and 9.98, sd 6, 200 000 each
    covariance = (36 / 200_000, 0.0, 36 / 200_000)
    assert fieller((10.0, 9.98), covariance, 1.959963985) == pytest.approx(
        (-0.00570817, 0.00172197), abs=1e-8
    )


def test_a_baseline_that_may_be_0_leaves_no_end():
    assert fieller((1.0, 1.1), (0.4, 0.0, 0.4), 1.96) == (-math.inf, math.inf)

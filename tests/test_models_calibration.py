import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from models.calibration import (
    Platt,
    brier_score,
    calibrated,
    expected_calibration_error,
    fit_platt,
    prevalence_weights,
    reliability,
)


def drawn(n: int, slope: float, intercept: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 2, n)
    return logit, rng.random(n) < 1 / (1 + np.exp(-(slope * logit + intercept)))


def test_the_fit_equals_unpenalised_logistic_regression() -> None:
    logit, present = drawn(3000, 0.7, -1.5)
    ours = fit_platt(logit, present, ridge=0.0)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], present)
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-5)


def test_the_reweighted_fit_equals_weighted_logistic_regression() -> None:
    logit, present = drawn(3000, 1.2, 0.3)
    ours = fit_platt(logit, present, prevalence=0.02, ridge=0.0)
    weight = prevalence_weights(present, 0.02)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=5000).fit(logit[:, None], present, weight)
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-4)
    assert ours.intercept == pytest.approx(theirs.intercept_[0], abs=1e-4)
    assert ours.is_stated
    p = calibrated(logit[:, None], [ours])[0][:, 0]
    assert np.average(p, weights=weight) == pytest.approx(0.02, rel=1e-3)


def test_the_covariance_matches_the_spread_of_repeated_fits() -> None:
    fits = [fit_platt(*drawn(800, 1.0, -1.0, seed), ridge=0.0) for seed in range(200)]
    spread = np.cov([[f.slope, f.intercept] for f in fits], rowvar=False)
    stated = np.mean([f.covariance for f in fits], axis=0).reshape(2, 2)
    np.testing.assert_allclose(
        np.diag(stated), np.diag(spread), rtol=0.35
    )  # 200 draws: s.e. of a variance 10%


def collections(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, truths and sources of three collections of one slope, .5, and a fourth of negatives alone."""
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 4, n)
    logit = rng.normal(0, 1.5, n) + np.array([-2.0, 0.0, 2.0, -4.0])[source]
    log_odds = 0.5 * logit + np.array([-2.0, 0.0, 2.0, -99.0])[source]
    return logit, rng.random(n) < 1 / (1 + np.exp(-log_odds)), np.array(["a", "b", "c", "d"])[source]


def test_the_slope_is_that_within_sources_and_the_intercept_that_of_all_rows() -> None:
    logit, present, source = collections(4000)
    ours = fit_platt(logit, present, prevalence=0.05, source=source, ridge=0.0)
    weight, told = prevalence_weights(present, 0.05), source != "d"
    design = np.column_stack([logit, *(source == name for name in "abc")])[told]
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, max_iter=5000)
    theirs.fit(design, present[told], weight[told])
    assert ours.slope == pytest.approx(theirs.coef_[0, 0], abs=1e-3)
    assert ours.slope == pytest.approx(0.5, abs=0.1)
    assert fit_platt(logit, present, prevalence=0.05).slope > 1.0  # what tells the collections apart
    p = 1 / (1 + np.exp(-(ours.slope * logit + ours.intercept)))
    assert np.average(p, weights=weight) == pytest.approx(0.05, rel=1e-6)
    assert (ours.n_rows, ours.n_positive) == (4000, present.sum())


def test_the_covariance_within_sources_matches_the_spread_of_repeated_fits() -> None:
    fits = []
    for seed in range(200):
        logit, present, source = collections(800, seed)
        fits.append(fit_platt(logit, present, source=source, ridge=0.0))
    spread = np.cov([[f.slope, f.intercept] for f in fits], rowvar=False)
    stated = np.mean([f.covariance for f in fits], axis=0).reshape(2, 2)
    np.testing.assert_allclose(np.diag(stated), np.diag(spread), rtol=0.35)


def test_sources_that_say_nothing_of_the_slope_count_as_one() -> None:
    logit, present = drawn(500, 0.7, -1.0)
    assert fit_platt(logit, present, source=present.astype(str)) == fit_platt(logit, present)
    one = fit_platt(logit, present, source=np.full(500, "a"))
    assert one == fit_platt(logit, present)


def test_separable_rows_give_a_finite_fit() -> None:
    logit = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
    found = fit_platt(logit, logit > 0, ridge=1.0)
    assert 0 < found.slope < 20
    assert np.isfinite(found.covariance).all()


def test_a_prevalence_shift_equals_a_fit_to_that_prevalence() -> None:
    """Under label shift the two routes agree: re-weight and fit, or fit and move the log-odds."""
    logit, present = drawn(200_000, 1.0, -1.0)
    moved = fit_platt(logit, present, prevalence=0.3).at_prevalence(0.02)
    fitted = fit_platt(logit, present, prevalence=0.02)
    assert (moved.prevalence, moved.is_stated) == (0.02, True)
    grid = np.linspace(-4, 4, 9)[:, None]
    np.testing.assert_allclose(calibrated(grid, [moved])[0], calibrated(grid, [fitted])[0], atol=0.01)
    same = moved.at_prevalence(0.3).at_prevalence(0.02)
    assert same.intercept == pytest.approx(moved.intercept, abs=1e-12)
    with pytest.raises(ValueError, match=r"prevalence: expected a number in \(0, 1\), got 1"):
        moved.at_prevalence(1)


def test_the_reliability_curve_sums_to_the_calibration_error() -> None:
    logit, present = drawn(5000, 0.5, -1.0)
    p = 1 / (1 + np.exp(-logit))
    weight = prevalence_weights(present, 0.1)
    curve = np.array(reliability(p, present, weight=weight, bins=10))
    assert len(curve) == 10
    assert curve[:, 2].sum() == pytest.approx(1)
    error = (np.abs(curve[:, 0] - curve[:, 1]) * curve[:, 2]).sum()
    assert error == pytest.approx(expected_calibration_error(p, present, weight=weight, bins=10))
    assert len(reliability(np.full(9, 0.5), np.arange(9) < 3, bins=3)) == 3


def test_of_an_unfamiliar_text_the_model_says_the_base_rate_and_that_it_is_unsure() -> None:
    fit = fit_platt(*drawn(5000, 1.0, -1.0), prevalence=0.02)
    logits = np.array([[3.0], [3.0], [3.0], [-5.0]])
    probability, confidence = calibrated(logits, [fit], np.array([1.0, 0.5, 0.0, 0.0]))
    assert probability[0] > probability[1] > probability[2]
    np.testing.assert_allclose(probability[2:, 0], 0.02, rtol=1e-5)
    assert confidence[0] > confidence[1] > confidence[2] == 0
    np.testing.assert_array_equal(probability[:1], calibrated(logits[:1], [fit])[0])


def test_few_rows_give_less_confidence_than_many() -> None:
    few, many = (fit_platt(*drawn(n, 1.0, -1.0)) for n in (60, 20_000))
    grid = np.linspace(-3, 3, 13)[:, None]
    few_confidence, many_confidence = (calibrated(grid, [fit])[1] for fit in (few, many))
    assert (few_confidence <= many_confidence + 1e-6).all()
    assert many_confidence.min() > 0.95


@pytest.mark.parametrize(
    ("logit", "present", "prevalence", "message"),
    [
        ([0.0, 1.0], [True, True], None, "expected positives and negatives, got 2 of 2"),
        ([0.0, np.nan], [True, False], None, "finite numbers, got nan"),
        ([0.0, 1.0], [True, False], 1.0, r"in \(0, 1\), got 1.0"),
    ],
)
def test_bad_rows_are_refused(logit: list, present: list, prevalence: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_platt(np.array(logit), np.array(present), prevalence=prevalence)


def test_calibrated_data_have_a_small_error_and_shifted_data_a_large_one() -> None:
    rng = np.random.default_rng(1)
    p = rng.beta(0.5, 3, 40_000)
    present = rng.random(len(p)) < p
    assert expected_calibration_error(p, present) < 0.01
    assert expected_calibration_error(np.minimum(p + 0.2, 1), present) == pytest.approx(0.2, abs=0.02)


def test_weights_count_as_repetition() -> None:
    rng = np.random.default_rng(2)
    p = rng.random(400).round(3)
    present = rng.random(400) < p
    weight = rng.integers(1, 4, 400).astype(float)
    repeat = np.repeat(np.arange(400), weight.astype(int))
    assert brier_score(p, present, weight=weight) == pytest.approx(brier_score(p[repeat], present[repeat]))
    assert expected_calibration_error(p, present, weight=weight) == pytest.approx(
        expected_calibration_error(p[repeat], present[repeat]), abs=0.01
    )


def test_the_brier_score_equals_that_of_scikit_learn() -> None:
    logit, present = drawn(500, 1.0, 0.0)
    p = 1 / (1 + np.exp(-logit))
    assert brier_score(p, present) == pytest.approx(brier_score_loss(present, p))


def test_json_keeps_a_calibration() -> None:
    fit = fit_platt(*drawn(300, 1.0, 0.0), prevalence=0.1)
    assert Platt.from_json(json.loads(json.dumps(fit.to_json()))) == fit
    with pytest.raises(TypeError):
        Platt.from_json(fit.to_json() | {"unknown": 1})


def test_a_sample_of_the_feed_gives_the_intercept_where_harmless_posts_look_worse() -> None:
    rng = np.random.default_rng(3)
    present = rng.random(40_000) < 0.2
    log_odds = np.log(0.2 / 0.8) + np.where(present, 1.0, -1.0) + rng.normal(size=40_000) * np.sqrt(2.0)
    platt = fit_platt(log_odds, present)
    rougher = log_odds + 2.0  # the same posts on a platform where everything reads worse
    shifted = calibrated(rougher[:, None], [platt.at_prevalence(0.2)])[0][:, 0]
    sampled = platt.at_prevalence_of(0.2, rougher)
    found = calibrated(rougher[:, None], [sampled])[0][:, 0]
    assert sampled.slope == platt.slope
    assert (sampled.prevalence, sampled.is_stated) == (0.2, True)
    assert found.mean() == pytest.approx(0.2, abs=1e-6)
    assert expected_calibration_error(shifted, present) > 0.2
    assert expected_calibration_error(found, present) < 0.02


@pytest.mark.parametrize("share", [1e-4, 0.03, 0.97])
def test_a_sample_of_unfamiliar_texts_has_the_stated_mean_too(share: float) -> None:
    rng = np.random.default_rng(4)
    logit, familiarity = rng.normal(size=500) * 4, rng.random(500) * (rng.random(500) < 0.7)
    platt = fit_platt(*drawn(500, 1.0, -1.0)).at_prevalence_of(share, logit, familiarity)
    assert calibrated(logit[:, None], [platt], familiarity)[0].mean() == pytest.approx(share, rel=1e-4)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="sample: expected at least one text that can be judged, got none"):
        fit_platt(*drawn(300, 1.0, 0.0)).at_prevalence_of(0.1, np.array([]))

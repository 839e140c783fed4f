import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from models.familiarity import familiarity, fit_distance


def distances(features: np.ndarray, map_: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return np.square(features @ map_.T + offset).sum(axis=1)


def test_the_distance_is_that_of_mahalanobis_over_its_mean() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 3).astype(np.float32)
    found = distances(features, *fit_distance(features, shrinkage=0))
    inverse = np.linalg.inv(np.cov(features.astype(np.float64), rowvar=False))
    mean = features.astype(np.float64).mean(axis=0)
    expected = np.array([mahalanobis(row, mean, inverse) ** 2 for row in features])
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-6)


def test_texts_off_the_training_data_are_far_in_directions_it_never_took() -> None:
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(2000, 8)) * np.array([3, 3, 3, 3, 0.1, 0.1, 0.1, 0.1])
    fitted = fit_distance(flat.astype(np.float32))
    alike, unlike = np.zeros((1, 8)), np.zeros((1, 8))
    alike[0, 0] = unlike[0, 7] = 3.0
    assert distances(alike, *fitted) < 1 < distances(unlike, *fitted)


def test_familiarity_is_whole_up_to_its_limit_and_falls_beyond() -> None:
    np.testing.assert_allclose(familiarity(np.array([0.0, 2.0, 4.0, 8.0]), 2.0), [1, 1, 0.5, 0.25])
    assert familiarity(np.array([1e9]), 2.0)[0] == pytest.approx(0, abs=1e-8)

"""How much a text is like those that a classifier was trained on (numpy only)."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def familiarity(distance: Floats, familiar_up_to: float) -> Floats:
    """In (0, 1], (n,): 1 up to the distance that nearly all familiar texts keep, beyond it their ratio.

    `distance` is what `fit_distance` measures: about 1 for a text of the training.
    """
    return np.asarray(familiar_up_to / np.maximum(distance, familiar_up_to))


def fit_distance(features: NDArray[np.float32], *, shrinkage: float = 0.05) -> tuple[Floats, Floats]:
    """A map (d, d) and its offset (d,): the squares of map @ feature + offset sum to a distance.

    It is the squared Mahalanobis distance of the feature (n, d) from the mean of all, divided by its mean,
    with the covariance drawn towards a sphere of the same trace by the share `shrinkage`.

    Source: K. Lee et al., "A simple unified framework for detecting out-of-distribution samples and
    adversarial attacks", 2018, with one class.
    """
    values = features.astype(np.float64)
    mean = values.mean(axis=0)
    covariance = np.cov(values - mean, rowvar=False)
    n_dimensions = covariance.shape[0]
    sphere = np.trace(covariance) / n_dimensions
    shrunk = (1 - shrinkage) * covariance + shrinkage * sphere * np.eye(n_dimensions)
    whitening = np.linalg.inv(np.linalg.cholesky(shrunk))  # (d, d): its square is the inverse of `shrunk`
    average = np.square((values - mean) @ whitening.T).sum(axis=1).mean()
    whitening /= np.sqrt(average)
    return whitening, -whitening @ mean

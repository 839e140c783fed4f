"""Which items to have labelled: chances by how much an item matters, or numbers by score bucket."""

import numpy as np
from scipy import optimize

from reranker.columns import BoolArray, FloatArray, IntArray

FLOOR = 0.01  # added to the variance of a score, so that items it is sure of can be drawn


def audit_sizes(weight: FloatArray, score: FloatArray | None = None, *, floor: float = FLOOR) -> FloatArray:
    """(m,) how much each item matters to an estimate, for `inclusion_probabilities`.

    Args:
        weight: (m,) views of each item for a level; the difference of its views between two policies, of
            either sign, for a change, which needs some ten times fewer labels.
        score: (m,) probability of harm, to draw more where it is unsure; None draws by weight alone.
        floor: added to score * (1 - score).

    Source: Liu, Estimating the prevalence of rare events: theory and practice, 2019.
    """
    if score is None:
        return np.abs(weight)
    return np.asarray(np.abs(weight) * np.sqrt(score * (1.0 - score) + floor), dtype=np.float64)


def inclusion_probabilities(size: FloatArray, n_labels: float) -> FloatArray:
    """(m,) chances to be drawn in proportion to size, at most 1, that add up to n_labels.

    An item of size 0 is never drawn: right for a change where it weighs nothing, and for nothing else.

    Args:
        size: (m,) at least 0.
        n_labels: labels to be made, on average.

    Raises:
        ValueError: a negative or missing size, or more labels than items with a size.

    Source: Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, chapter 3.
    """
    if not (np.isfinite(size) & (size >= 0)).all():
        raise ValueError("size: expected finite numbers of at least 0")
    n_sized = int((size > 0).sum())
    if not 0 < n_labels <= n_sized:
        raise ValueError(f"n_labels: expected more than 0 and at most {n_sized} items, got {n_labels}")
    sure = np.zeros(len(size), dtype=bool)
    while True:
        free = size[~sure].sum()
        chance = np.where(sure, 1.0, size * ((n_labels - sure.sum()) / free if free > 0 else 0.0))
        over = (chance > 1.0) & ~sure
        if not over.any():
            return np.minimum(chance, 1.0)
        sure |= over


def draw_audit(inclusion: FloatArray, *, seed: int) -> BoolArray:
    """(m,) which items to label: each by its own chance, apart from the others (Poisson sampling)."""
    return np.asarray(np.random.default_rng(seed).random(len(inclusion)) < inclusion, dtype=np.bool_)


def neyman_allocation(weight: FloatArray, deviation: FloatArray, size: IntArray, n_labels: int) -> IntArray:
    """(h,) how many items of each score bucket to label: by its share of views times its deviation.

    At least 2 from each bucket that has them, for a variance, and never more than it has.

    Args:
        weight: (h,) share of the views in each bucket.
        deviation: (h,) standard deviation of the label in it, such as the root of the mean of s (1 - s).
        size: (h,) items in it.
        n_labels: labels in all.

    Raises:
        ValueError: fewer labels than 2 per bucket, or more than items.

    Source: Neyman, On the two different aspects of the representative method, 1934.

    Example:
        >>> share, deviation = np.array([0.7, 0.3]), np.array([0.1, 0.5])
        >>> neyman_allocation(share, deviation, np.array([900, 100]), 110).tolist()
        [35, 75]
    """
    least = np.minimum(size, 2).astype(np.float64)
    if not least.sum() <= n_labels <= size.sum():
        raise ValueError(f"n_labels: expected {least.sum():g} to {size.sum()}, got {n_labels}")
    wanted = weight * deviation
    wanted = np.maximum(wanted, 1e-9 * wanted.max()) if wanted.max() > 0 else np.ones(len(size))

    def labels(scale: float) -> FloatArray:
        return np.clip(scale * wanted, least, size)

    highest = float((size / wanted).max())
    scale = optimize.brentq(lambda at: float(labels(at).sum()) - n_labels, 0.0, highest, xtol=1e-12)
    return _whole(labels(float(scale)), size, n_labels)


def labels_needed(prevalence: float, *, relative_error: float = 0.2, design_effect: float = 1.0) -> int:
    """Labels for a relative standard error of a prevalence, drawn by views alone.

    Raises:
        ValueError: a prevalence outside (0, 1), or an error that is not above 0.
    """
    if not 0 < prevalence < 1 or relative_error <= 0:
        raise ValueError(
            f"prevalence: expected a number in (0, 1), got {prevalence} (error {relative_error})"
        )
    return int(np.ceil(design_effect * (1.0 - prevalence) / (prevalence * relative_error**2)))


def _whole(made: FloatArray, size: IntArray, n_labels: int) -> IntArray:
    """Whole numbers with the same sum, by largest remainder."""
    whole = np.floor(made + 1e-9).astype(np.int64)
    room = np.where(whole < size, made - whole, -np.inf)
    whole[np.argsort(-room, kind="stable")[: n_labels - int(whole.sum())]] += 1
    return whole

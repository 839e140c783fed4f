"""`RecentMedians`: what a typical post scores here, for posts that a failing scorer cannot read."""

import numpy as np
from numpy.typing import NDArray

from models.scores import HarmScores

N_POSTS = 4_096


class RecentMedians:
    """Scores of the last few thousand posts that were scored."""

    def __init__(self) -> None:
        self._rows: NDArray[np.float32] | None = None  # (N_POSTS, 2 L): probability, then confidence
        self._n = 0

    def add(self, scores: HarmScores) -> None:
        """Takes scores of the one scorer whose medians these are."""
        new = np.hstack([scores.probability, scores.confidence])[scores.scored][-N_POSTS:]
        if self._rows is None:
            self._rows = np.full((N_POSTS, 2 * len(scores.labels)), np.nan, dtype=np.float32)
        self._rows[(self._n + np.arange(len(new))) % N_POSTS] = new
        self._n += len(new)

    def fill(self, scores: HarmScores, rows: NDArray[np.bool_]) -> HarmScores | None:
        """The scores with those rows (n,) at the median of each label; None where nothing was scored yet.

        A label that was never scored stays so.
        """
        if self._rows is None or not self._n:
            return None
        seen = self._rows[: self._n]
        known = ~np.isnan(seen).all(axis=0)
        median = np.full(seen.shape[1], np.nan, dtype=np.float32)
        median[known] = np.nanmedian(seen[:, known], axis=0)
        width = len(scores.labels)
        probability, confidence = scores.probability.copy(), scores.confidence.copy()
        probability[rows], confidence[rows] = median[:width], median[width:]
        return HarmScores(scores.labels, probability, confidence, f"{scores.model}, or its median")

"""Calibration where the model was not trained: on unseen sources, after a correction of prevalence alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import expected_calibration_error, reliability
from models.examples import LabelledTexts

Floats = NDArray[np.float64]

MIN_OF_EACH = 20


def evaluate_shift(log_odds: Floats, texts: LabelledTexts, prevalence: dict[str, float]) -> dict[str, Any]:
    """Per label and unseen source: the calibration error once the user has stated the source's prevalence.

    `log_odds` (n, L) are calibrated, each label to its `prevalence`. Sources with under 20 texts of a class
    are left out. The prevalence to move to is that of the same rows; a user knows it from a sample.
    """
    labels = {}
    for label, base in prevalence.items():
        j = texts.labels.index(label)
        rows = np.flatnonzero((texts.split == "unseen") & ~np.isnan(texts.target[:, j]))
        sources = {}
        for source in np.unique(texts.source[rows]):
            own = rows[texts.source[rows] == source]
            present = texts.target[own, j] >= 0.5
            if min(present.sum(), (~present).sum()) >= MIN_OF_EACH:
                sources[str(source)] = _shifted(log_odds[own, j], present, base)
        if sources:
            labels[label] = {
                "mean_ece": round(float(np.mean([entry["ece"] for entry in sources.values()])), 4),
                "sources": sources,
            }
    mean = float(np.mean([entry["mean_ece"] for entry in labels.values()])) if labels else None
    return {"labels": labels, "mean_ece": mean if mean is None else round(mean, 4)}


def _shifted(log_odds: Floats, present: NDArray[np.bool_], base: float) -> dict[str, Any]:
    share = float(present.mean())
    moved = _sigmoid(log_odds + np.log(share / (1 - share)) - np.log(base / (1 - base)))
    return {
        "ece": round(expected_calibration_error(moved, present), 4),
        "ece_uncorrected": round(expected_calibration_error(_sigmoid(log_odds), present), 4),
        "prevalence": round(share, 4),
        "reliability": [
            [round(value, 4) for value in point] for point in reliability(moved, present, bins=10)
        ],
        "n": len(present),
    }


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))

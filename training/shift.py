"""Calibration where the model was not trained: on unseen sources, after a correction of prevalence alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import Platt, calibrated, expected_calibration_error, reliability
from models.examples import LabelledTexts

Floats = NDArray[np.float64]

MIN_OF_EACH = 20


def evaluate_shift(logits: Floats, texts: LabelledTexts, fitted: dict[str, Platt]) -> dict[str, Any]:
    """Per label and unseen source: the calibration error once the user has stated the source's prevalence.

    `logits` is (n, L), row by row those of `texts`. Sources with under 20 texts of a class are left out.
    The prevalence is that of the same rows; a user knows it from a sample.
    """
    labels = {}
    for label, platt in fitted.items():
        j = texts.labels.index(label)
        rows = np.flatnonzero((texts.split == "unseen") & ~np.isnan(texts.target[:, j]))
        sources = {}
        for source in np.unique(texts.source[rows]):
            own = rows[texts.source[rows] == source]
            present = texts.target[own, j] >= 0.5
            if min(present.sum(), (~present).sum()) >= MIN_OF_EACH:
                sources[str(source)] = _shifted(logits[own, j], present, platt)
        if sources:
            labels[label] = {
                "mean_ece": round(float(np.mean([entry["ece"] for entry in sources.values()])), 4),
                "sources": sources,
            }
    mean = float(np.mean([entry["mean_ece"] for entry in labels.values()])) if labels else float("nan")
    return {"labels": labels, "mean_ece": round(mean, 4)}


def _shifted(logit: Floats, present: NDArray[np.bool_], platt: Platt) -> dict[str, Any]:
    prevalence = float(present.mean())
    raw, moved = (
        calibrated(logit[:, None], [one])[0][:, 0].astype(np.float64)
        for one in (platt, platt.at_prevalence(prevalence))
    )
    return {
        "ece": round(expected_calibration_error(moved, present), 4),
        "ece_uncorrected": round(expected_calibration_error(raw, present), 4),
        "prevalence": round(prevalence, 4),
        "reliability": [
            [round(value, 4) for value in point] for point in reliability(moved, present, bins=10)
        ],
        "n": len(present),
    }

"""Calibration where the model was not trained: on unseen sources, with their prevalence stated or not."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import Platt, calibrated_log_odds, expected_calibration_error, reliability
from models.classifier import familiarity_of
from training.calibrate import Held

Floats = NDArray[np.float64]

MIN_OF_EACH = 20


def evaluate_shift(held: Held, *, seed: int = 0) -> dict[str, Any]:
    """Per label and unseen source: the calibration error, as it is and after each of two corrections.

    Both take the share of texts with the label, which a user knows from a sample. `ece` moves each half of
    the source by its share and the *texts* of the other half (`Platt.at_prevalence_of`; no label is used),
    `ece_by_factor` by the share alone (`Platt.at_prevalence`). Sources with under 20 texts of a class are
    left out.
    """
    texts, rng = held.texts, np.random.default_rng(seed)
    known = familiarity_of(held.artifact, held.distance)
    labels = {}
    for j, (label, platt) in enumerate(zip(texts.labels, held.artifact.calibration, strict=True)):
        rows = np.flatnonzero((texts.split == "unseen") & ~np.isnan(texts.target[:, j]))
        sources = {}
        for source in np.unique(texts.source[rows]):
            own = rng.permutation(rows[texts.source[rows] == source])
            present = texts.target[own, j] >= 0.5
            if min(present.sum(), (~present).sum()) >= MIN_OF_EACH:
                familiar = np.ones(len(own)) if known is None else known[own]
                sources[str(source)] = _shifted(platt, held.logits[own, j], familiar, present)
        if sources:
            labels[label] = {f"mean_{key}": _mean(sources, key) for key in _ERRORS} | {"sources": sources}
    return {"labels": labels} | {f"mean_{key}": _mean(labels, f"mean_{key}") for key in _ERRORS}


_ERRORS = ("ece", "ece_by_factor", "ece_uncorrected")


def _shifted(platt: Platt, logit: Floats, familiar: Floats, present: NDArray[np.bool_]) -> dict[str, Any]:
    """Figures of one source, its rows in random order."""
    share = float(present.mean())
    by_sample = np.empty(len(logit))
    halves = np.arange(len(logit)) % 2 == 0
    for half in (halves, ~halves):
        moved = platt.at_prevalence_of(share, logit[half], familiar[half])
        by_sample[~half] = _probability(moved, logit[~half], familiar[~half])
    by_factor = _probability(platt.at_prevalence(share), logit, familiar)
    uncorrected = _probability(platt, logit, familiar)
    found = {"ece": by_sample, "ece_by_factor": by_factor, "ece_uncorrected": uncorrected}
    return {
        **{name: round(expected_calibration_error(p, present), 4) for name, p in found.items()},
        "prevalence": round(share, 4),
        "reliability": [
            [round(value, 4) for value in point] for point in reliability(by_sample, present, bins=10)
        ],
        "n": len(present),
    }


def _probability(platt: Platt, logit: Floats, familiar: Floats) -> Floats:
    log_odds = calibrated_log_odds(logit[:, None], [platt], familiar)[:, 0]
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def _mean(entries: dict[str, dict[str, Any]], key: str) -> float | None:
    values = [entry[key] for entry in entries.values()]
    return round(float(np.mean(values)), 4) if values else None

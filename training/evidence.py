"""What the held-out texts say of each label, and whether that is enough to serve it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import brier_score, expected_calibration_error, prevalence_weights, reliability
from models.examples import LabelledTexts
from training.calibrate import LabelPlan
from training.metrics import within_source

Floats = NDArray[np.float64]

MIN_AUROC = 0.65
MIN_POSITIVE = 20


def evaluate_label(score: Floats, texts: LabelledTexts, label: str) -> dict[str, Any]:
    """Figures of one label on "in_domain" (test) and "unseen" rows; any increasing score will do."""
    target = texts.target[:, texts.labels.index(label)]
    figures = {}
    for part, split in (("in_domain", "test"), ("unseen", "unseen")):
        rows = np.flatnonzero(~np.isnan(target) & (texts.split == split))
        figures[part] = within_source(score[rows], target[rows] >= 0.5, texts.source[rows])
    return figures


def evaluate_calibration(
    probability: Floats, texts: LabelledTexts, label: str, plan: LabelPlan
) -> dict[str, Any]:
    """ECE, Brier score and reliability on the held-out rows of a label's plan, at the plan's prevalence."""
    rows = plan.rows(texts, label, plan.test_split)
    present = texts.target[rows, texts.labels.index(label)] >= 0.5
    if not 0 < present.sum() < len(rows):
        return {"ece": None, "n": len(rows), "n_positive": int(present.sum())}
    prevalence = float(present.mean()) if plan.prevalence is None else plan.prevalence
    weight = prevalence_weights(present, prevalence)
    p = probability[rows]
    return {
        "ece": round(expected_calibration_error(p, present, weight=weight), 5),
        "brier": round(brier_score(p, present, weight=weight), 5),
        "brier_of_prevalence": round(prevalence * (1 - prevalence), 5),
        "prevalence": round(prevalence, 5),
        "prevalence_is_stated": plan.prevalence is not None,
        "reliability": [
            [round(value, 5) for value in point] for point in reliability(p, present, weight=weight, bins=10)
        ],
        "n": len(rows),
        "n_positive": int(present.sum()),
    }


def refusal(figures: dict[str, Any]) -> str | None:
    """Why a label may not be served, or None: it may.

    It needs 20 positives among held-out texts, those of unseen sources included, and an AUROC within
    sources of at least 0.65: in each of the two parts that holds 20 positives, or else in both together.
    """
    parts = {
        "held-out texts of the training sources": figures["in_domain"],
        "unseen sources": figures["unseen"],
    }
    counts = {name: part["n_positive_compared"] for name, part in parts.items()}
    total = sum(counts.values())
    if total < MIN_POSITIVE:
        return f"{total} positives on held-out texts, fewer than {MIN_POSITIVE}"
    judged = {name: part["auroc"] for name, part in parts.items() if counts[name] >= MIN_POSITIVE}
    if not judged:
        sums = sum(part["auroc"] * counts[name] for name, part in parts.items() if counts[name])
        judged = {"all held-out texts": sums / total}
    for name, value in judged.items():
        if value < MIN_AUROC:
            return f"AUROC {value:.3f} on {name}, below {MIN_AUROC}"
    return None

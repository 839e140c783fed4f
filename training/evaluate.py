"""What a packaged classifier scores on texts it was not trained on, and which labels that lets it serve."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.stats import spearmanr

from models.calibration import Platt, brier_score, calibrated, expected_calibration_error, prevalence_weights
from models.examples import LabelledTexts
from models.normalise import normalised
from training.calibrate import LabelPlan
from training.metrics import auroc, auroc_error, average_precision, within_source

Floats = NDArray[np.float64]

MIN_AUROC = 0.65
MIN_POSITIVE = 20
NATURAL_FALSE_POSITIVE_RATE = 0.01


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
) -> dict[str, float | int | bool]:
    """ECE and Brier score on the held-out rows of a label's plan, at the plan's prevalence."""
    rows = plan.rows(texts, label, plan.test_split)
    present = texts.target[rows, texts.labels.index(label)] >= 0.5
    prevalence = float(present.mean()) if plan.prevalence is None else plan.prevalence
    weight = prevalence_weights(present, prevalence)
    p = probability[rows]
    return {
        "ece": round(expected_calibration_error(p, present, weight=weight), 5),
        "brier": round(brier_score(p, present, weight=weight), 5),
        "brier_of_prevalence": round(prevalence * (1 - prevalence), 5),
        "prevalence": round(prevalence, 5),
        "prevalence_is_stated": plan.prevalence is not None,
        "n": len(rows),
        "n_positive": int(present.sum()),
    }


def refusal(figures: dict[str, Any]) -> str | None:
    """Why a label may not be served, or None: it may.

    It needs a test AUROC within sources of at least 0.65 over at least 20 positives, and the same on unseen
    sources where these hold 20 positives.
    """
    for part, name in (("in_domain", "held-out texts of the training sources"), ("unseen", "unseen sources")):
        found = figures[part]
        enough = found["n_positive_compared"] >= MIN_POSITIVE
        if part == "in_domain" and not enough:
            return f"{found['n_positive_compared']} positives on {name}, fewer than {MIN_POSITIVE}"
        if enough and found["auroc"] < MIN_AUROC:
            return f"AUROC {found['auroc']:.3f} on {name}, below {MIN_AUROC}"
    return None


def evaluate_natural(probability: Floats, texts: LabelledTexts, data: Path) -> dict[str, Any]:
    """Toxicity at natural prevalence, beside the Perspective score that the data set carries."""
    rows = np.flatnonzero(texts.split == "natural_test")
    present = texts.target[rows, texts.labels.index("toxicity")] >= 0.5
    table = pq.read_table(data / "toxicity/wiki_context_cat_large.parquet")
    clean = [normalised(str(text or "")) for text in table["text"].to_pylist()]
    score_of = dict(zip(clean, table["perspective_toxicity"].to_pylist(), strict=True))
    split_of = dict(zip(clean, table["split"].to_pylist(), strict=True))
    theirs = np.array([score_of[texts.text[int(i)]] for i in rows], dtype=np.float64)
    alone = np.array([split_of[texts.text[int(i)]] == "gn" for i in rows])  # labelled without context
    ours = probability[rows]
    threshold = float(np.quantile(ours[~present], 1 - NATURAL_FALSE_POSITIVE_RATE))
    return {
        "n": len(rows),
        "n_positive": int(present.sum()),
        "auroc": round(auroc(ours, present), 4),
        "auroc_standard_error": round(auroc_error(ours, present), 4),
        "average_precision": round(average_precision(ours, present), 4),
        "perspective_auroc": round(auroc(theirs, present), 4),
        "perspective_average_precision": round(average_precision(theirs, present), 4),
        "without_context": {
            "auroc": round(auroc(ours[alone], present[alone]), 4),
            "perspective_auroc": round(auroc(theirs[alone], present[alone]), 4),
            "n_positive": int(present[alone].sum()),
        },
        "spearman_with_perspective": round(float(spearmanr(ours, theirs).statistic), 4),
        "threshold_at_1_percent_false_positives": round(threshold, 5),
        "recall_at_1_percent_false_positives": round(float((ours[present] > threshold).mean()), 4),
    }


def evaluate_groups(
    probability: Floats, texts: LabelledTexts, threshold: float
) -> dict[str, dict[str, float]]:
    """Toxicity by the identity group a test text mentions: AUROC, and false positives at the threshold.

    Benign sentences that mention a group should be flagged no more often for one group than for another.
    """
    target = texts.target[:, texts.labels.index("toxicity")]
    chosen = (texts.split == "test") & (texts.aspect != "") & ~np.isnan(target)
    groups = {}
    for name in np.unique(texts.aspect[chosen]):
        rows = np.flatnonzero(chosen & (texts.aspect == name))
        present = target[rows] >= 0.5
        if min(present.sum(), (~present).sum()) < 10:
            continue
        groups[str(name)] = {
            "auroc": round(auroc(probability[rows], present), 3),
            "false_positive_rate": round(float((probability[rows][~present] > threshold).mean()), 3),
            "true_positive_rate": round(float((probability[rows][present] > threshold).mean()), 3),
            "n_benign": int((~present).sum()),
            "n_toxic": int(present.sum()),
        }
    return groups


def probabilities(logits: Floats, labels: tuple[str, ...], fitted: dict[str, Platt]) -> dict[str, Floats]:
    """Calibrated probability (n,) of each fitted label, from logits (n, L)."""
    return {
        label: calibrated(logits[:, [labels.index(label)]], [platt])[0][:, 0].astype(np.float64)
        for label, platt in fitted.items()
    }

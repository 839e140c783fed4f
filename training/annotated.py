"""Agreement with graded annotations (0 absent to 3 strong) on sources that training never saw."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from models.examples import LabelledTexts
from training.corpora import ANNOTATED_AS, CLEAR, TOPICS
from training.metrics import auroc, auroc_error

Floats = NDArray[np.float64]

ANNOTATIONS = "annotations/"
WEAKLY_TESTED_BELOW = 20


def evaluate_annotated(logits: Floats, texts: LabelledTexts, agreement: Path | None = None) -> dict[str, Any]:
    """Per annotated label: AUROC of clear or strong against absent, and Spearman correlation with the degree.

    `logits` is (n, L), row by row those of `texts`; only annotated texts of split "unseen" count. The
    AUROC leaves out slight degrees, which neither class owns; the correlation keeps them. `agreement` is
    the file with the agreement of two annotation passes, quoted beside each label. A label with fewer than
    20 clear texts is marked as weakly tested.
    """
    passes = json.loads(agreement.read_text()) if agreement else {}
    chosen = (texts.split == "unseen") & np.char.startswith(texts.source, ANNOTATIONS)
    labels = {}
    for name, label in ANNOTATED_AS.items():
        if label not in texts.labels:
            continue
        j = texts.labels.index(label)
        rows = np.flatnonzero(chosen & ~np.isnan(texts.target[:, j]))
        degree, score = texts.target[rows, j], logits[rows, j]
        clear = degree >= (1.0 if name in TOPICS else CLEAR)
        kept = clear | (degree == 0)
        if not clear.any() or clear.all():
            continue
        labels[label] = {
            "auroc": round(auroc(score[kept], clear[kept]), 4),
            "standard_error": round(auroc_error(score[kept], clear[kept]), 4),
            "spearman": round(float(spearmanr(score, degree).statistic), 4),
            "n": len(rows),
            "n_clear": int(clear.sum()),
            "weakly_tested": bool(clear.sum() < WEAKLY_TESTED_BELOW),
            "agreement_spearman": {
                key: entry[name]["spearman"] for key, entry in passes.items() if name in entry
            },
        }
    return {"labels": labels, "mean": _means(labels)}


def _means(labels: dict[str, dict[str, Any]]) -> dict[str, float | int]:
    if not labels:
        return {"n_labels": 0}
    means = {
        key: round(float(np.mean([entry[key] for entry in labels.values()])), 4)
        for key in ("auroc", "spearman")
    }
    return means | {"n_labels": len(labels)}

"""Agreement with graded annotations (0 absent to 3 strong) on sources that training never saw."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from models.examples import LabelledTexts
from training.corpora import ANNOTATED_AS, CLEAR, TOPICS
from training.metrics import auroc, auroc_error, rounded, spearman

Floats = NDArray[np.float64]

ANNOTATIONS = "annotations/"
WEAKLY_TESTED_BELOW = 20
_MEANS = ("auroc", "spearman", "spearman_ceiling", "spearman_absent_tied")


def evaluate_annotated(logits: Floats, texts: LabelledTexts, agreement: Path | None = None) -> dict[str, Any]:
    """Per annotated label: AUROC of clear or strong against absent, and Spearman correlation with the degree.

    `logits` is (n, L), row by row those of `texts`; only annotated texts of split "unseen" count. The
    AUROC leaves out slight degrees, which neither class owns; the correlation keeps them. `agreement` is
    the file with the agreement of two annotation passes, quoted beside each label. A label with fewer than
    20 clear texts is marked as weakly tested; one without both classes is left out.

    Most texts lie in one class, "absent", and a score without ties must order them by chance: beside the
    correlation stand `spearman_ceiling`, that of the best such score, and `spearman_absent_tied`, in which
    scores below a cut count as absent alike. The cut leaves as large a share of the annotated texts of
    split "test" below it as is absent among them.
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
        if not clear.any() or not (degree == 0).any():
            continue
        cut = _absent_below(logits[:, j], texts, texts.target[:, j])
        labels[label] = {
            "auroc": round(auroc(score[kept], clear[kept]), 4),
            "standard_error": rounded(auroc_error(score[kept], clear[kept])),
            "spearman": rounded(spearman(score, degree)),
            "spearman_ceiling": rounded(spearman(rankdata(degree, method="ordinal"), degree)),
            "spearman_absent_tied": rounded(spearman(np.maximum(score, cut), degree)),
            "n": len(rows),
            "n_clear": int(clear.sum()),
            "weakly_tested": bool(clear.sum() < WEAKLY_TESTED_BELOW),
            "agreement_spearman": {
                key: entry[name]["spearman"] for key, entry in passes.items() if name in entry
            },
        }
    return {"labels": labels, "mean": _means(labels)}


def _absent_below(score: Floats, texts: LabelledTexts, target: NDArray[np.float32]) -> float:
    annotated = np.char.startswith(texts.source, ANNOTATIONS) & (texts.split == "test") & ~np.isnan(target)
    if not annotated.any():
        return -np.inf
    return float(np.quantile(score[annotated], (target[annotated] == 0).mean()))


def _means(labels: dict[str, dict[str, Any]]) -> dict[str, float | int | None]:
    if not labels:
        return {"n_labels": 0}
    known = {key: [entry[key] for entry in labels.values() if entry[key] is not None] for key in _MEANS}
    means = {key: round(float(np.mean(values)), 4) if values else None for key, values in known.items()}
    return means | {"n_labels": len(labels)}

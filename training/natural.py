"""Toxicity at natural prevalence, beside an established service; and by the identity that a text mentions."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.examples import LabelledTexts
from models.normalise import normalised
from training.metrics import auroc, auroc_error, average_precision, rounded, spearman

Floats = NDArray[np.float64]

FALSE_POSITIVE_RATE = 0.01
_FILE = "toxicity/wiki_context_cat_large.parquet"


def evaluate_natural(score: Floats, texts: LabelledTexts, data: Path) -> dict[str, Any] | None:
    """Toxicity on the rows of split "natural_test", beside the Perspective score of each.

    `score` (n,) is any increasing score, row by row those of `texts`. Half of the comments were labelled
    by people who saw no context ("without_context"), as no text classifier does. None, for all or for
    that half, without both classes.
    """
    rows = np.flatnonzero(texts.split == "natural_test")
    present = texts.target[rows, texts.labels.index("toxicity")] >= 0.5
    if not 0 < present.sum() < len(rows):
        return None
    table = pq.read_table(data / _FILE)
    clean = [normalised(str(text or "")) for text in table["text"].to_pylist()]
    score_of = dict(zip(clean, table["perspective_toxicity"].to_pylist(), strict=True))
    split_of = dict(zip(clean, table["split"].to_pylist(), strict=True))
    theirs = np.array([score_of[texts.text[int(i)]] for i in rows], dtype=np.float64)
    alone = np.array([split_of[texts.text[int(i)]] == "gn" for i in rows])
    ours = score[rows]
    threshold = float(np.quantile(ours[~present], 1 - FALSE_POSITIVE_RATE))
    return {
        **_beside(ours, theirs, present),
        "without_context": _beside(ours[alone], theirs[alone], present[alone])
        if 0 < present[alone].sum() < alone.sum()
        else None,
        "spearman_with_perspective": rounded(spearman(ours, theirs)),
        "recall_at_1_percent_false_positives": round(float((ours[present] > threshold).mean()), 4),
    }


def _beside(ours: Floats, theirs: Floats, present: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "n": len(present),
        "n_positive": int(present.sum()),
        "auroc": round(auroc(ours, present), 4),
        "auroc_standard_error": rounded(auroc_error(ours, present)),
        "average_precision": round(average_precision(ours, present), 4),
        "perspective_auroc": round(auroc(theirs, present), 4),
        "perspective_average_precision": round(average_precision(theirs, present), 4),
    }


def evaluate_groups(score: Floats, texts: LabelledTexts, threshold: float) -> dict[str, dict[str, float]]:
    """Toxicity by the identity group that a test text mentions: AUROC, and rates above the threshold.

    Benign sentences that mention a group should be flagged no more often for one group than for another.
    """
    target = texts.target[:, texts.labels.index("toxicity")]
    chosen = (texts.split == "test") & (texts.aspect != "") & ~np.isnan(target)
    chosen &= texts.source != "contrast"  # few templates, and written to be told apart
    groups = {}
    for name in np.unique(texts.aspect[chosen]):
        rows = np.flatnonzero(chosen & (texts.aspect == name))
        present = target[rows] >= 0.5
        if min(present.sum(), (~present).sum()) < 10:
            continue
        groups[str(name)] = {
            "auroc": round(auroc(score[rows], present), 3),
            "false_positive_rate": round(float((score[rows][~present] > threshold).mean()), 3),
            "true_positive_rate": round(float((score[rows][present] > threshold).mean()), 3),
            "n_benign": int((~present).sum()),
            "n_toxic": int(present.sum()),
        }
    return groups

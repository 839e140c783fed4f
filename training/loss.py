"""The masked multi-task loss: what is not annotated does not count, and no data set dominates."""

import numpy as np
import torch
from numpy.typing import NDArray

from models.examples import LabelledTexts


def balanced_weights(
    texts: LabelledTexts, *, source_tempering: float, label_tempering: float, class_tempering: float = 0.0
) -> NDArray[np.float32]:
    """float32 (n, L): how much each annotation counts; 0 where there is none.

    Within a label, a data set with total weight w counts as w^(1 - source_tempering). Then the rows with
    the label and those without, of totals p and q, count as p^(1 - class_tempering) and q^(1 -
    class_tempering). Then a label with total W counts as W^(1 - label_tempering). Ratios inside one data
    set, label and class stay as they are. The sum is the number of texts with an annotation.
    """
    weight = np.where(np.isnan(texts.target), 0.0, texts.weight.astype(np.float64))
    for source in np.unique(texts.source):
        rows = texts.source == source
        weight[rows] *= _tempered(weight[rows].sum(axis=0), source_tempering)
    present = texts.target >= 0.5
    for rows in (present, ~present):
        weight *= np.where(rows, _tempered((weight * rows).sum(axis=0), class_tempering), 1.0)
    weight *= _tempered(weight.sum(axis=0), label_tempering)
    n_annotated = int((~np.isnan(texts.target)).any(axis=1).sum())
    return np.asarray(weight * (n_annotated / weight.sum()), dtype=np.float32)


def _tempered(total: NDArray[np.float64], tempering: float) -> NDArray[np.float64]:
    return np.where(total > 0, np.maximum(total, 1e-12) ** -tempering, 0.0)


def masked_loss(
    logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, *, n_texts: int | None = None
) -> torch.Tensor:
    """Weighted binary cross-entropy (natural log) per text; targets are shares in [0, 1].

    All arguments are (n, L); where the weight is 0 the target may be NaN. The sum is divided by
    `n_texts` where these rows are a part of a larger batch.
    """
    known = torch.where(weight > 0, target, 0.0)
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, known, reduction="none")
    return (each * weight).sum() / (n_texts or len(logits))

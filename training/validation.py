"""How well a model in training orders the texts of the "dev" split: what early stopping looks at."""

import numpy as np
import torch
from numpy.typing import NDArray

from models.examples import LabelledTexts
from training.batches import Tokens
from training.metrics import within_source

_MIN_POSITIVE = 5
_BATCH = 64


def sampled_dev(texts: LabelledTexts, at_most: int, rng: np.random.Generator) -> LabelledTexts:
    """At most so many texts of the split "dev", from every source alike."""
    rows = np.flatnonzero(texts.split == "dev")
    shuffled = rng.permutation(rows)
    source = texts.source[shuffled]
    turn = np.zeros(len(rows), dtype=np.int64)  # the first text of each source has turn 0, the next 1 ...
    for name in np.unique(source):
        own = source == name
        turn[own] = np.arange(own.sum())
    return texts.take(np.sort(shuffled[np.argsort(turn, kind="stable")[:at_most]]))


def mean_auroc(logits: NDArray[np.float64], texts: LabelledTexts) -> float:
    """Mean over labels of the AUROC within sources; labels with under 5 positives are left out.

    NaN where no label has enough.
    """
    values = []
    for j in range(len(texts.labels)):
        rows = np.flatnonzero(~np.isnan(texts.target[:, j]))
        found = within_source(logits[rows, j], texts.target[rows, j] >= 0.5, texts.source[rows])
        if found["n_positive_compared"] >= _MIN_POSITIVE:
            values.append(found["auroc"])
    return float(np.mean(values)) if values else float("nan")


def dev_logits(model: torch.nn.Module, tokens: Tokens, device: str) -> NDArray[np.float64]:
    """float64 (n, L) of all texts in `tokens`; leaves the model in training mode."""
    order = np.argsort(tokens.length, kind="stable")
    parts = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            ids, mask = (part.to(device) for part in tokens.padded(order[start : start + _BATCH]))
            parts.append(model(ids, mask).double().cpu().numpy())
    model.train()
    found = np.empty_like(np.vstack(parts))
    found[order] = np.vstack(parts)
    return found

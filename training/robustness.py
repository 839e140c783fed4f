"""What a score loses when its texts are perturbed."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.metrics import auroc
from training.perturb import PERTURBATIONS, perturbed

Floats = NDArray[np.float64]

FALSE_POSITIVE_RATE = 0.05


def robustness_table(
    score: Callable[[list[str]], Floats],
    texts: list[str],
    present: NDArray[np.bool_],
    rng: np.random.Generator,
) -> dict[str, dict[str, float]]:
    """Figures of one label for the clean texts ("clean") and for each perturbation.

    `score` maps n texts to n numbers, higher for more harm. `auroc`; `mean_abs_change` from the clean score,
    in the score's own unit; `recall` and `false_positive_rate` at one threshold for all rows, which 5 %
    of the clean negatives exceed.

    Raises:
        ValueError: texts and `present` differ in length, or there are no positives or no negatives.
    """
    if len(texts) != len(present):
        raise ValueError(f"present: expected {len(texts)} values, got {len(present)}")
    if not present.any() or present.all():
        raise ValueError(f"present: expected both classes, got {int(present.sum())} of {len(present)}")
    clean = np.asarray(score(texts), dtype=np.float64)
    threshold = float(np.quantile(clean[~present], 1 - FALSE_POSITIVE_RATE))

    def row(found: Floats) -> dict[str, float]:
        return {
            "auroc": auroc(found, present),
            "mean_abs_change": float(np.abs(found - clean).mean()),
            "recall": float((found[present] > threshold).mean()),
            "false_positive_rate": float((found[~present] > threshold).mean()),
        }

    table = {"clean": row(clean)}
    for name in PERTURBATIONS:
        changed = [perturbed(text, name, rng) for text in texts]
        table[name] = row(np.asarray(score(changed), dtype=np.float64))
    return table

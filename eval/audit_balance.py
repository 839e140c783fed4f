"""Whether labelled posts stand for what they are to stand for, asked before any figure is made from them."""

from dataclasses import dataclass

import numpy as np

from eval.audit_sample import Audit
from reranker.columns import FloatArray, IntArray


@dataclass(frozen=True)
class Balance:
    """Whether the labelled items stand for what they are to stand for.

    Attributes:
        share: what they stand for, over what there is: 1 on average if the chances are right.
        z: how far from 1, in standard errors of the drawing.
    """

    share: float
    z: float


def balance(weight: FloatArray, item: IntArray, audit: Audit) -> Balance:
    """The total size of the items, as the labelled ones and their chances say it, against the true one.

    What weights of 1 on average are to an off-policy estimate: wrong chances, items left out of the drawing
    and labels that were lost all show here, whatever the labels say.

    Args:
        weight: (c,) what each row counts for, such as its views or the difference of them.
        item: (c,) index of its item in the audit.
        audit: scores and labels.

    Source: Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, section 2.8 (the estimator
    of Horvitz and Thompson of a known total).
    """
    size = np.abs(np.bincount(item, weights=weight, minlength=len(audit.score)))
    total = float(size.sum())
    if total == 0:
        return Balance(1.0, 0.0)
    kept = audit.drawn & (size > 0)
    part = size[kept] / audit.inclusion[kept]
    error = float(np.sqrt(((1.0 - audit.inclusion[kept]) * part * part).sum()))
    apart = float(part.sum()) - total
    if abs(apart) <= 1e-9 * total:
        return Balance(1.0, 0.0)
    return Balance(
        float(part.sum()) / total, apart / error if error > 0 else float(np.copysign(np.inf, apart))
    )

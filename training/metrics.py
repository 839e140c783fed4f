"""How well a score orders texts: area under the ROC curve and average precision, per source."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def auroc(score: Floats, present: Bools) -> float:
    """Probability that a positive outranks a negative, ties counting half; NaN without both.

    Source: J. Hanley and B. McNeil, "The meaning and use of the area under a ROC curve", 1982.
    """
    n_positive = int(present.sum())
    n_negative = len(present) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    rank = rankdata(score)
    return float((rank[present].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def average_precision(score: Floats, present: Bools) -> float:
    """Mean precision at each positive, scores that tie counted together; NaN without positives."""
    if not present.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(present[order])
    last = np.flatnonzero(np.diff(score[order], append=np.nan) != 0)  # the last row of each tie
    gained = np.diff(hits[last], prepend=0)
    return float((gained * hits[last] / (last + 1)).sum() / hits[-1])


def within_source(score: Floats, present: Bools, source: NDArray[np.str_]) -> dict[str, Any]:
    """Figures of one label over several sources.

    `auroc` is the probability that a positive outranks a negative of the same source (the mean of the
    sources' AUROC, weighted by their positives): telling sources apart earns nothing, as it does in
    `auroc_pooled`. `sources` lists those with at least 20 positives and 20 negatives.
    """
    total, counted, listed = 0.0, 0, {}
    for name in np.unique(source):
        rows = source == name
        n_positive, n = int(present[rows].sum()), int(rows.sum())
        if not 0 < n_positive < n:
            continue
        value = auroc(score[rows], present[rows])
        total, counted = total + n_positive * value, counted + n_positive
        if min(n_positive, n - n_positive) >= 20:
            precision = average_precision(score[rows], present[rows])
            listed[str(name)] = {
                "auroc": round(value, 4),
                "average_precision": round(precision, 4),
                "n": n,
                "n_positive": n_positive,
            }
    return {
        "auroc": round(total / counted, 4) if counted else None,
        "auroc_pooled": _rounded(auroc(score, present)),
        "average_precision": _rounded(average_precision(score, present)),
        "n": len(present),
        "n_positive": int(present.sum()),
        "n_positive_compared": counted,
        "sources": listed,
    }


def bootstrap_error(score: Floats, present: Bools, rng: np.random.Generator, *, draws: int = 200) -> float:
    """Standard error of the AUROC over resampled texts."""
    n = len(score)
    values = [auroc(score[rows], present[rows]) for rows in (rng.integers(0, n, n) for _ in range(draws))]
    return float(np.nanstd(values, ddof=1))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)

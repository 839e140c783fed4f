"""How well a score orders texts: area under the ROC curve, average precision and rank correlation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

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


def auroc_error(score: Floats, present: Bools) -> float:
    """Standard error of the AUROC over samples of texts; NaN with under two of a class.

    Source: E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the areas under two or more correlated
    receiver operating characteristic curves", 1988; by ranks as in X. Sun and W. Xu, 2014.
    """
    m = int(present.sum())
    n = len(present) - m
    if min(m, n) < 2:
        return float("nan")
    rank = rankdata(score)
    above = (rank[present] - rankdata(score[present])) / n  # (m,): share of negatives below each positive
    below = (
        1 - (rank[~present] - rankdata(score[~present])) / m
    )  # (n,): share of positives above each negative
    return float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))


def spearman(first: Floats, second: Floats) -> float:
    """Spearman's rank correlation; NaN where one of both is constant."""
    if not np.ptp(first) or not np.ptp(second):
        return float("nan")
    return float(spearmanr(first, second).statistic)


def within_source(score: Floats, present: Bools, source: NDArray[np.str_]) -> dict[str, Any]:
    """Figures of one label over several sources.

    `auroc` is the probability that a positive outranks a negative of the same source (the mean of the
    sources' AUROC, weighted by their positives): telling sources apart earns nothing, as it does in
    `auroc_pooled`. `sources` lists those with at least 20 positives and 20 negatives; `mean_of_sources`
    is their plain mean, with the standard error that comes from the sampling of texts.
    """
    total, counted = 0.0, 0
    listed: dict[str, dict[str, float]] = {}
    for name in np.unique(source):
        rows = source == name
        n_positive, n = int(present[rows].sum()), int(rows.sum())
        if not 0 < n_positive < n:
            continue
        value = auroc(score[rows], present[rows])
        total, counted = total + n_positive * value, counted + n_positive
        if min(n_positive, n - n_positive) >= 20:
            listed[str(name)] = {
                "auroc": round(value, 4),
                "standard_error": round(auroc_error(score[rows], present[rows]), 4),
                "average_precision": round(average_precision(score[rows], present[rows]), 4),
                "n": n,
                "n_positive": n_positive,
            }
    return {
        "auroc": round(total / counted, 4) if counted else None,
        "auroc_pooled": rounded(auroc(score, present)),
        "average_precision": rounded(average_precision(score, present)),
        "mean_of_sources": mean_of_sources(listed),
        "n": len(present),
        "n_positive": int(present.sum()),
        "n_positive_compared": counted,
        "sources": listed,
    }


def mean_of_sources(sources: dict[str, dict[str, float]]) -> dict[str, float] | None:
    """Plain mean of the sources' AUROC with its standard error, or None where there is no source.

    The error is that of other texts from the same sources; another platform may differ by more.
    """
    if not sources:
        return None
    found = np.array([[entry["auroc"], entry["standard_error"]] for entry in sources.values()])
    error = np.sqrt((found[:, 1] ** 2).sum()) / len(found)
    mean = found[:, 0].mean()
    return {"auroc": round(float(mean), 4), "standard_error": round(float(error), 4), "n": len(found)}


def rounded(value: float, digits: int = 4) -> float | None:
    """The value with so many decimals; None, which JSON can hold, for NaN."""
    return None if np.isnan(value) else round(value, digits)

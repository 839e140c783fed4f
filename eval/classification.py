"""How well a classifier tells harm from the rest, by posts or by views; calibration is `eval.reliability`.

Weights are views where that is asked for: an error on a post that everybody sees counts as often as it is
seen. Intervals are by cluster; where a figure has no simple influence they are Poisson resamples.
"""

from dataclasses import dataclass

import numpy as np

from eval.clustered import LEVEL, Estimate, from_influence
from eval.interval import Interval
from eval.judged import Judged, percentile_interval, resampled_weights
from reranker.columns import FloatArray, IntArray

N_RESAMPLES = 500


@dataclass(frozen=True)
class Figure:
    """A figure and its interval from resamples of the clusters."""

    value: float
    interval: Interval


def auroc(table: Judged, *, level: float = LEVEL) -> Estimate:
    """Probability that a harmful post is scored above a harmless one, ties half, both drawn by weight.

    With weight 1 and no clusters the standard error is DeLong's, but for n - 1 in place of each class's.

    Raises:
        ValueError: no weight on one of the classes, or fewer than 2 clusters.

    Source: DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated receiver
    operating characteristic curves, 1988; Obuchowski, Nonparametric analysis of clustered ROC curve data,
    1997 (clusters).
    """
    value, influence = _auroc(table)
    return from_influence(value, influence, table.cluster, level=level)


def auroc_change(first: Judged, second: Judged, *, level: float = LEVEL) -> Estimate:
    """The second AUROC minus the first, of two scores of the same posts: paired.

    With the second a classifier that does not see reactions, this is the test of leakage.

    Raises:
        ValueError: other posts, or as `auroc`.
    """
    for name in ("present", "weight", "cluster"):
        if not np.array_equal(getattr(first, name), getattr(second, name)):
            raise ValueError(f"{name}: expected two scores of the same posts, got another {name}")
    (a, before), (b, after) = _auroc(first), _auroc(second)
    return from_influence(b - a, after - before, first.cluster, level=level)


def average_precision(
    table: Judged, *, n_resamples: int = N_RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Figure:
    """Precision averaged over the weight of the harmful posts, best first, ties together.

    Raises:
        ValueError: no weight on harmful posts.

    Source: Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, section 8.4.
    """
    order, last, present = _ranked(table)

    def measure(weight: FloatArray) -> float:
        hits, flagged = _flagged(weight[order], present, last)
        if hits[-1] <= 0:
            return float("nan")
        kept = flagged > 0
        gained = np.diff(hits, prepend=0.0)
        return float((gained[kept] * hits[kept] / flagged[kept]).sum() / hits[-1])

    if not table.weight[table.present].sum() > 0:
        raise ValueError("present: expected some weight on harmful posts, got none")
    drawn = np.array([measure(weight) for weight in resampled_weights(table, n_resamples, seed=seed)])
    return Figure(measure(table.weight), percentile_interval(drawn, level))


def recall_at_fpr(
    table: Judged, fpr: float, *, n_resamples: int = N_RESAMPLES, seed: int = 0, level: float = LEVEL
) -> Figure:
    """The largest share of harm found by a threshold that flags at most `fpr` of the harmless.

    Resamples choose their threshold anew. At a rate of 0.1% there must be thousands of harmless posts for
    this to mean anything.

    Raises:
        ValueError: a rate outside [0, 1], or no weight on one of the classes.
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr: expected a share in [0, 1], got {fpr}")
    _check_both(table)
    order, last, present = _ranked(table)

    def measure(weight: FloatArray) -> float:
        hits, flagged = _flagged(weight[order], present, last)
        alarms = flagged - hits
        if hits[-1] <= 0 or alarms[-1] <= 0:
            return float("nan")
        allowed = alarms <= fpr * alarms[-1] * (1 + 1e-12)
        return float(hits[allowed].max(initial=0.0) / hits[-1])

    drawn = np.array([measure(weight) for weight in resampled_weights(table, n_resamples, seed=seed)])
    return Figure(measure(table.weight), percentile_interval(drawn, level))


def _auroc(table: Judged) -> tuple[float, FloatArray]:
    """The value, and per post n times what it adds to the error."""
    harmful, harmless = _check_both(table)
    values, at = np.unique(table.p, return_inverse=True)
    positive = np.bincount(at, np.where(table.present, table.weight, 0.0), len(values))
    negative = np.bincount(at, np.where(table.present, 0.0, table.weight), len(values))
    below = (np.cumsum(negative) - negative / 2) / harmless  # harmless posts under each score, ties half
    above = 1 - (np.cumsum(positive) - positive / 2) / harmful  # harmful posts over each score
    value = float((positive * below).sum() / harmful)
    own = np.where(table.present, (below[at] - value) / harmful, (above[at] - value) / harmless)
    return value, table.n * table.weight * own


def _check_both(table: Judged) -> tuple[float, float]:
    """Weight of the harmful and of the harmless posts."""
    harmful = float(table.weight[table.present].sum())
    harmless = float(table.weight[~table.present].sum())
    if not (harmful > 0 and harmless > 0):
        raise ValueError(
            f"present: expected weight on harmful and harmless posts, got {harmful} and {harmless}"
        )
    return harmful, harmless


def _ranked(table: Judged) -> tuple[IntArray, IntArray, FloatArray]:
    """Rows by falling score, the last of each tie, and which of the ranked rows are harmful."""
    order = np.argsort(-table.p, kind="stable")
    last = np.flatnonzero(np.diff(table.p[order], append=np.nan) != 0)
    return order, last, table.present[order].astype(np.float64)


def _flagged(weight: FloatArray, present: FloatArray, last: IntArray) -> tuple[FloatArray, FloatArray]:
    """Weight of harmful posts, and of all, at or above each distinct score, best first."""
    return np.cumsum(weight * present)[last], np.cumsum(weight)[last]

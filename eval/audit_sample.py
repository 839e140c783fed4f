"""Prevalence from a sample that people labelled, drawn by the chances of `eval.audit_design`.

The classifier that demotes must not be the one that measures: it calls its own misses harmless. Here its
score only lowers the variance; the labels correct it, and the estimate is right however wrong the score is.
Items (m,) are labelled once and may be shown many times; rows (c,) are the views of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.clustered import LEVEL, Estimate, cluster_totals, t_quantile
from reranker.columns import BoolArray, FloatArray, IntArray

FEWEST_POSITIVES = 100  # labelled harmful: a relative standard error of some 10 %


def hajek(label: FloatArray, inclusion: FloatArray, views: FloatArray, *, level: float = LEVEL) -> Estimate:
    """The prevalence among all views from labels alone: the ratio of two weighted sums.

    Design-based, for Poisson sampling: these views are the population, only who was drawn is random.

    Args:
        label: (n,) of the drawn items: 1 harmful, 0 not.
        inclusion: (n,) chance that each was drawn.
        views: (n,) of each.
        level: of the interval.

    Raises:
        ValueError: fewer than 2 labels, one outside [0, 1], or a chance outside (0, 1].

    Source: Hájek, Comment on Basu, 1971; Särndal, Swensson and Wretman, Model Assisted Survey
    Sampling, 1992, chapter 5.
    """
    _check_chance(inclusion)
    _check_label(label)
    if len(label) < 2 or not views.sum() > 0:
        raise ValueError(f"labels: expected at least 2 on items with views, got {len(label)}")
    weight = views / inclusion
    value = _total(weight, label) / float(weight.sum())
    residual = weight * (label - value) / weight.sum()
    error = float(np.sqrt(_total(1.0 - inclusion, residual**2)))
    return _estimate(value, error**2, level, (len(label), len(label)), len(label) - 1.0)


@dataclass(frozen=True, eq=False)
class Audit:
    """Items with the score of a classifier, and the labels of those that were drawn; all (m,).

    Attributes:
        score: probability of harm by the classifier; any number in [0, 1] will do.
        label: 1 harmful, 0 not, NaN where not labelled.
        inclusion: chance to be drawn, 0 where it could not be.

    Raises:
        ValueError: lengths that differ, a missing score, or a label without a chance to be drawn.
    """

    score: FloatArray
    label: FloatArray
    inclusion: FloatArray

    def __post_init__(self) -> None:
        if not len(self.score) == len(self.label) == len(self.inclusion):
            raise ValueError(
                f"audit: expected equal lengths, got {len(self.score)}, {len(self.label)} and "
                f"{len(self.inclusion)}"
            )
        _check_label(self.score)
        _check_label(self.label[self.drawn])
        _check_chance(self.inclusion[self.drawn])

    @property
    def drawn(self) -> BoolArray:
        """(m,) which items have a label."""
        return ~np.isnan(self.label)

    @property
    def error(self) -> FloatArray:
        """(m,) label - score, 0 where there is no label."""
        return np.where(self.drawn, np.where(self.drawn, self.label, 0.0) - self.score, 0.0)

    @property
    def corrected(self) -> FloatArray:
        """(m,) score plus the weighted error: right on average, far outside [0, 1] for single items."""
        return self.score + self.error / np.where(self.drawn, self.inclusion, 1.0)


@dataclass(frozen=True)
class Audited:
    """A figure from scores corrected by labels, beside what the scores alone would say.

    Attributes:
        estimate: the audited figure; n counts labels.
        model: the same figure from the scores alone.
        n_positive: labels that say harmful.
        enough: whether those are at least 100.
    """

    estimate: Estimate
    model: float
    n_positive: int
    enough: bool


def audited_prevalence(
    examination: FloatArray, item: IntArray, audit: Audit, cluster: IntArray, *, level: float = LEVEL
) -> Audited:
    """The prevalence among views: the mean score of all views plus the weighted mean error of the labelled.

    Unbiased whatever the score, given true inclusion chances above 0 for every item with views. Its variance
    is that of users and that of the drawing.

    Args:
        examination: (c,) views of each row.
        item: (c,) index of its item in the audit.
        audit: scores and labels.
        cluster: (c,) codes of the users.
        level: of the interval.

    Raises:
        ValueError: a viewed item that could not be drawn, fewer than 2 users or labels, or no view.

    Source: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference, 2023;
    Särndal, Swensson and Wretman, Model Assisted Survey Sampling, 1992, chapter 6 (difference estimator).
    """
    share = _shares(examination)
    value, model = _total(share, audit.corrected[item]), _total(share, audit.score[item])
    return _corrected(value, model, (share, share * value), (item, audit, cluster, level))


def audited_change(
    first: FloatArray,
    second: FloatArray,
    item: IntArray,
    audit: Audit,
    *,
    cluster: IntArray,
    level: float = LEVEL,
) -> Audited:
    """The difference of the prevalence among views under two policies, on the same rows.

    Rows that both policies show alike cancel, so labels count where the policies differ. Sample by
    `audit_sizes(difference of views)`.

    Args:
        first: (c,) views of each row under the baseline; single rows may be below 0 where views are
            themselves an estimate.
        second: (c,) under the other policy.
        item: (c,) index of its item in the audit.
        audit: scores and labels.
        cluster: (c,) codes of the users.
        level: of the interval.

    Raises:
        ValueError: an item shown differently that could not be drawn, or as `audited_prevalence`.
    """
    before, after = _shares(first), _shares(second)
    truth, score = audit.corrected[item], audit.score[item]
    p0, p1 = _total(before, truth), _total(after, truth)
    centre = after * p1 - before * p0
    model = _total(after - before, score)
    return _corrected(p1 - p0, model, (after - before, centre), (item, audit, cluster, level))


def audited_relative_change(
    first: FloatArray,
    second: FloatArray,
    item: IntArray,
    audit: Audit,
    *,
    cluster: IntArray,
    level: float = LEVEL,
) -> Audited:
    """The prevalence under the second policy over that under the first, minus 1: `audited_change`, relative.

    By the delta method: needs a baseline many standard errors above 0, and labels on the baseline's views.

    Raises:
        ValueError: a baseline that is not above 0, or as `audited_change`.
    """
    before, after = _shares(first), _shares(second)
    truth, score = audit.corrected[item], audit.score[item]
    p0, p1 = _total(before, truth), _total(after, truth)
    if p0 <= 0:
        raise ValueError(f"baseline: expected a prevalence above 0, got {p0}")
    ratio = p1 / p0
    weight = (after - ratio * before) / p0
    centre = (after * p1 - ratio * before * p0) / p0
    at_first = _total(before, score)
    model = _total(after, score) / at_first - 1.0 if at_first > 0 else float("nan")
    return _corrected(ratio - 1.0, model, (weight, centre), (item, audit, cluster, level))


def hajek_change(
    first: FloatArray,
    second: FloatArray,
    item: IntArray,
    audit: Audit,
    *,
    cluster: IntArray,
    level: float = LEVEL,
) -> Audited:
    """The difference of the prevalence among views under two policies, from labels alone.

    Each prevalence is a ratio of weighted sums over the labelled items, so the drawing must have reached all
    views, not only those that differ. `audited_change` is more exact wherever the score knows anything.

    The arguments are those of `audited_change`.

    Raises:
        ValueError: no labelled item with views under one of the policies, or as `audited_change`.

    Source: Hájek, Comment on Basu, 1971; Särndal, Swensson and Wretman, Model Assisted Survey
    Sampling, 1992, section 5.7 (the variance of a ratio).
    """
    drawn, chance = audit.drawn[item], audit.inclusion[item]
    weight = np.where(drawn, 1.0 / np.where(drawn, chance, 1.0), 0.0)
    label = np.where(drawn, audit.label[item], 0.0)
    missed, figures = np.zeros(len(item)), []
    for sign, views in ((-1.0, _shares(first)), (1.0, _shares(second))):
        total = _total(views, weight)
        if not total > 0:
            raise ValueError("labels: expected some on items that are viewed under each policy, got none")
        figures.append(_total(views * weight, label) / total)
        missed += sign * np.where(drawn, views / total * (label - figures[-1]), 0.0)
    model = _total(_shares(second) - _shares(first), audit.score[item])
    return _audited(figures[1] - figures[0], model, (missed, missed * weight), (item, audit, cluster, level))


def _corrected(
    value: float,
    model: float,
    rows: tuple[FloatArray, FloatArray],
    rest: tuple[IntArray, Audit, IntArray, float],
) -> Audited:
    """A figure that is linear in the truth of the rows.

    Args:
        value: the figure.
        model: the figure from scores alone.
        rows: (c,) what each row's truth counts for, and what is subtracted, so that the influence adds up
            to 0.
        rest: item, audit, cluster and level.
    """
    (weight, centre), (item, audit, *_) = rows, rest
    per_item = np.bincount(item, weights=weight, minlength=len(audit.score))
    lost = (per_item != 0) & (audit.inclusion <= 0)
    if lost.any():
        raise ValueError(
            f"inclusion: expected chances above 0 for items that count, got 0 for {int(lost.sum())} of them"
        )
    missed = weight * audit.error[item]
    return _audited(value, model, (missed, weight * audit.corrected[item] - centre), rest)


def _audited(
    value: float,
    model: float,
    rows: tuple[FloatArray, FloatArray],
    rest: tuple[IntArray, Audit, IntArray, float],
) -> Audited:
    """With the variance of users plus that of the drawing, and degrees of freedom as few labels as decide it.

    Args:
        value: the figure.
        model: the figure from scores alone.
        rows: (c,) what the label of each row's item adds, before it is divided by its chance, and the
            influence of each row, which adds up to 0.
        rest: item, audit, cluster and level.
    """
    (missed, influence), (item, audit, cluster, level) = rows, rest
    m, n_labels = len(audit.score), int(audit.drawn.sum())
    inverse = np.where(audit.drawn, 1.0 / np.where(audit.drawn, audit.inclusion, 1.0), 0.0)
    noise = (1.0 - audit.inclusion) * inverse**2
    drawing = _total(np.bincount(item, weights=missed, minlength=m) ** 2, noise)
    totals = cluster_totals((influence,), cluster)[0]
    groups = len(totals)
    if min(groups, n_labels) < 2:
        raise ValueError(f"clusters: expected at least 2 users and 2 labels, got {groups} and {n_labels}")
    # within users the drawing is in the spread already: taken out, so that it counts once
    user = np.unique(cluster, return_inverse=True)[1]
    pair, of_pair = np.unique(user * m + item, return_inverse=True)
    counted = _total(np.bincount(of_pair, weights=missed) ** 2, noise[pair % m])
    users = max(groups / (groups - 1) * float((totals * totals).sum()) - counted, 0.0)
    n_positive = int((audit.label[audit.drawn] > 0.5).sum())
    each = np.bincount(item, weights=missed, minlength=m)[audit.drawn] * np.sqrt(noise[audit.drawn])
    parts = (users, _effective_df(totals, groups)), (drawing, _effective_df(each, n_labels))
    spread = sum(part * part / df for part, df in parts if part > 0)
    df = (users + drawing) ** 2 / spread if spread > 0 else float(min(n_labels, groups) - 1)
    estimate = _estimate(value, users + drawing, level, (n_labels, groups), df)
    return Audited(estimate, model, n_positive, n_positive >= FEWEST_POSITIVES)


def _effective_df(parts: FloatArray, n: int) -> float:
    """The degrees of freedom of a sum of n squares, few of which may be most of it: n - 1 for normal parts.

    Source: Satterthwaite, An approximate distribution of estimates of variance components, 1946.
    """
    square = parts * parts
    total, fourth = float(square.sum()), float((square * square).sum())
    noise = fourth - total * total / n
    return n - 1.0 if noise <= 0 else min(n - 1.0, max(1.0, 2.0 * total * total / noise))


def _estimate(value: float, variance: float, level: float, counts: tuple[int, int], df: float) -> Estimate:
    error, (n_labels, groups) = float(np.sqrt(variance)), counts
    half = t_quantile(level, df) * error
    return Estimate(value, error, value - half, value + half, level, n_labels, groups, df)


def _shares(examination: FloatArray) -> FloatArray:
    """(c,) of all views."""
    if not np.isfinite(examination).all() or not examination.sum() > 0:
        raise ValueError("examination: expected finite numbers with a sum above 0")
    return np.asarray(examination / examination.sum(), dtype=np.float64)


def _total(first: NDArray[np.number], second: FloatArray) -> float:
    """Of the products. Not first @ second: BLAS splits long ones by thread, and the last digits with them."""
    return float((first * second).sum())


def _check_chance(inclusion: FloatArray) -> None:
    if not ((inclusion > 0) & (inclusion <= 1)).all():
        raise ValueError("inclusion: expected chances in (0, 1] for what was drawn")


def _check_label(label: FloatArray) -> None:
    if not ((label >= 0) & (label <= 1)).all():
        raise ValueError("label, score: expected numbers in [0, 1], none missing")

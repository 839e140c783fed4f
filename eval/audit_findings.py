"""Exposure to harm corrected by what people said of a sample, beside what the classifier says alone.

Two rows per harm. The prediction-powered one is the finding: scores of everything shown, corrected by the
labels, right however wrong the scores are. Hájek's, from labels alone, is its check. Neither is given where
the labels do not stand for what is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eval.audit_balance import Balance, balance
from eval.audit_labels import HumanLabels, LabelSample
from eval.audit_sample import (
    FEWEST_POSITIVES,
    Audit,
    audited_change,
    audited_prevalence,
    audited_relative_change,
    hajek,
    hajek_change,
)
from eval.browsing import Status
from eval.clustered import FIELLER_FROM, LEVEL, Estimate
from eval.harm_views import PER
from eval.multiplicity import Finding, finding, holm, p_of
from eval.weights import effective_sample_size
from reranker.columns import BoolArray, FloatArray, IntArray, closest

Method = Literal["prediction-powered", "Hájek"]
FARTHEST = 3.0  # standard errors by which the labels may miss what they are to stand for
FEW_POSITIVES = "FEW_POSITIVES"
MISSED = "LABELS_UNREPRESENTATIVE"


@dataclass(frozen=True)
class AuditRow:
    """One harm, audited one way: treatment minus original, per 1,000 views.

    Attributes:
        metric: the harm.
        level, browsing: where and how views are reckoned; "" at L1.
        method: how the labels are used.
        status: what the change may be called; REFUSED has no number.
        reasons: why it is not IDENTIFIED.
        cautions: codes; FEW_POSITIVES where the change rests on fewer than 100 harmful labels.
        original, treatment: harm per 1,000 views under each.
        change: the difference, by user and by drawing.
        relative: over the original, where that is well above 0; None for Hájek.
        classifier: the difference that the scores alone say.
        p, p_adjusted, finding: of the prediction-powered change, by Holm over the harms; else None.
        represented: what the labels stand for over what there is, which should be 1, and its z-score.
        n_labels, n_positive: labelled posts that are shown, and those of them that are harmful.
        n_effective: harmful labels that the change rests on: as many as would weigh the same if all of them
            weighed alike in it.
        n_requests, n_users: behind the views.
    """

    metric: str
    level: Literal["L0", "L1"]
    browsing: str
    method: Method
    status: Status
    reasons: tuple[str, ...]
    cautions: tuple[str, ...]
    original: float | None
    treatment: float | None
    change: Estimate | None
    relative: Estimate | None
    classifier: float | None
    p: float | None
    p_adjusted: float | None
    finding: Finding | None
    represented: Balance | None
    n_labels: int
    n_positive: int
    n_effective: float
    n_requests: int
    n_users: int


@dataclass(frozen=True, eq=False)
class Views:
    """What two policies show, row by row.

    Attributes:
        first, second: (c,) views of each row under the baseline and under the other policy.
        item: (c,) codes of the posts, 0 to m - 1.
        cluster: (c,) codes of the users.
        n_requests: behind them.
    """

    first: FloatArray
    second: FloatArray
    item: IntArray
    cluster: IntArray
    n_requests: int


def audit_of(sample: LabelSample, place: IntArray, score: FloatArray) -> Audit:
    """The labels of a sample on the posts shown.

    Args:
        sample: of one harm.
        place: (m,) where each post stands in the sample; -1 for none.
        score: (m,) by the classifier, NaN where it has none: any number will do there.
    """
    listed = place >= 0
    at = np.where(listed, place, 0)
    label = np.where(listed, sample.label[at], np.nan)
    unlisted = 0.0 if sample.is_frame else 1.0  # of a file without a frame, each post is taken to have one
    return Audit(np.nan_to_num(score), label, np.where(listed, sample.inclusion[at], unlisted))


def audit_rows(
    metric: str, audit: Audit, views: Views, *, level: Literal["L0", "L1"], confidence: float = LEVEL
) -> tuple[AuditRow, AuditRow]:
    """The prediction-powered row of a harm and Hájek's.

    Args:
        metric: the harm.
        audit: its labels and scores.
        views: what is shown.
        level: of the views.
        confidence: level of the intervals.
    """
    shown = np.bincount(views.item, minlength=len(audit.score)) > 0
    seen = Audit(audit.score, np.where(shown, audit.label, np.nan), audit.inclusion)
    harmful = seen.drawn & (np.nan_to_num(seen.label) > 0.5)
    n_effective = _worth(views, seen, harmful)
    empty = AuditRow(
        metric=metric,
        level=level,
        browsing="",
        method="prediction-powered",
        status="REFUSED",
        reasons=(),
        cautions=(FEW_POSITIVES,) if n_effective < FEWEST_POSITIVES else (),
        original=None,
        treatment=None,
        change=None,
        relative=None,
        classifier=None,
        p=None,
        p_adjusted=None,
        finding=None,
        represented=None,
        n_labels=int(seen.drawn.sum()),
        n_positive=int(harmful.sum()),
        n_effective=n_effective,
        n_requests=views.n_requests,
        n_users=len(np.unique(views.cluster)),
    )
    alone = replace(empty, method="Hájek")
    if empty.n_labels < 2 or empty.n_users < 2:
        reason = (
            f"labels: expected at least 2 on posts that are shown, got {empty.n_labels}"
            if empty.n_users >= 2
            else f"users: expected at least 2, got {empty.n_users}"
        )
        return replace(empty, reasons=(reason,)), replace(alone, reasons=(reason,))
    return (
        _corrected(empty, seen, views, confidence),
        _from_labels(alone, seen, views, confidence),
    )


def _worth(views: Views, audit: Audit, harmful: BoolArray) -> float:
    """How many harmful labels the change rests on, by what each weighs in it; all of no change at all."""
    shift = views.second / views.second.sum() - views.first / views.first.sum()
    size = np.abs(np.bincount(views.item, weights=shift, minlength=len(audit.score)))[harmful]
    weight = (size / audit.inclusion[harmful]).astype(np.float64)
    return effective_sample_size(weight) if shift.any() else float(harmful.sum())


def _corrected(row: AuditRow, audit: Audit, views: Views, level: float) -> AuditRow:
    first, second, item, user = views.first, views.second, views.item, views.cluster
    found = balance(second / second.sum() - first / first.sum(), item, audit)
    row = replace(row, represented=found)
    if abs(found.z) > FARTHEST:
        return replace(row, reasons=(_missed(found, "what the policies show differently"),))
    try:
        change = audited_change(first, second, item, audit, cluster=user, level=level)
    except ValueError as error:
        return replace(row, reasons=(str(error),))
    row = replace(row, status="IDENTIFIED", change=_per_1000(change.estimate), classifier=PER * change.model)
    both = [balance(seen, item, audit) for seen in (first, second)]
    if any(abs(one.z) > FARTHEST for one in both):
        return row  # the levels are of all views, which the labels need not stand for
    try:
        levels = [audited_prevalence(seen, item, audit, user, level=level) for seen in (first, second)]
    except ValueError:
        return row
    row = replace(row, original=PER * levels[0].estimate.value, treatment=PER * levels[1].estimate.value)
    noise = levels[0].estimate
    if noise.value <= 0 or (noise.high - noise.value) ** 2 > FIELLER_FROM * noise.value**2:
        return row  # nothing is said relative to a baseline that is hardly above 0
    relative = audited_relative_change(first, second, item, audit, cluster=user, level=level)
    return replace(row, relative=relative.estimate)


def _from_labels(row: AuditRow, audit: Audit, views: Views, level: float) -> AuditRow:
    found = [balance(seen, views.item, audit) for seen in (views.first, views.second)]
    worst = max(found, key=lambda one: abs(one.z))
    row = replace(row, represented=worst)
    if abs(worst.z) > FARTHEST:
        return replace(row, reasons=(_missed(worst, "all that is viewed"),))
    drawn, m = audit.drawn, len(audit.score)
    try:
        change = hajek_change(
            views.first, views.second, views.item, audit, cluster=views.cluster, level=level
        )
        levels = [
            hajek(
                audit.label[drawn],
                audit.inclusion[drawn],
                np.bincount(views.item, weights=seen, minlength=m)[drawn].astype(np.float64),
            )
            for seen in (views.first, views.second)
        ]
    except ValueError as error:
        return replace(row, reasons=(str(error),))
    return replace(
        row,
        status="IDENTIFIED",
        change=_per_1000(change.estimate),
        classifier=PER * change.model,
        original=PER * levels[0].value,
        treatment=PER * levels[1].value,
    )


def _missed(found: Balance, what: str) -> str:
    return (
        f"{MISSED}: by their chances the labelled posts stand for {found.share:.0%} of {what} "
        f"(z = {found.z:.1f}): chances are wrong, labels were lost, or posts could not be drawn"
    )


def _per_1000(found: Estimate) -> Estimate:
    return replace(
        found,
        value=PER * found.value,
        standard_error=PER * found.standard_error,
        low=PER * found.low,
        high=PER * found.high,
    )


def adjusted(rows: Sequence[AuditRow], *, level: float = LEVEL) -> tuple[AuditRow, ...]:
    """The rows with p-values adjusted by Holm over the harms, per browsing model; of the corrected ones."""
    made = list(rows)
    for browsing in dict.fromkeys(row.browsing for row in rows):
        family = [
            i
            for i, row in enumerate(rows)
            if row.browsing == browsing and row.method == "prediction-powered" and row.change is not None
        ]
        changes = [change for i in family if (change := rows[i].change) is not None]
        p = np.array([p_of([change]) for change in changes])
        for i, change, raw, held in zip(family, changes, p.tolist(), holm(p).tolist(), strict=True):
            made[i] = replace(rows[i], p=raw, p_adjusted=held, finding=finding([change], held, level=level))
    return tuple(made)


def mean_score(item: IntArray, score: FloatArray, m: int) -> FloatArray:
    """(m,) the mean score of the rows (c,) of each post, NaN where none is scored."""
    known = ~np.isnan(score)
    count = np.bincount(item[known], minlength=m)
    total = np.bincount(item[known], weights=score[known], minlength=m)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def check_harms(labels: HumanLabels, measured: Sequence[str]) -> None:
    """Refuse labels of which no harm is measured.

    Raises:
        ValueError: saying which harms are.
    """
    if not set(labels.samples) & set(measured):
        first = next(iter(labels.samples), "none")
        held = ", ".join(measured) or "none"
        raise ValueError(
            f"{labels.name}: harm: expected one that is measured ({held}), got {first}"
            f"{closest(first, tuple(measured))}"
        )


def check_items(labels: HumanLabels, known: set[str]) -> None:
    """Refuse labels of which no post is among those compared.

    Raises:
        ValueError: with the first post of the labels.
    """
    every = [item for sample in labels.samples.values() for item in sample.item]
    if known.isdisjoint(every):
        raise ValueError(
            f"{labels.name}: item: expected posts that are compared, got none of {len(every)} "
            f"(the first is {every[0] if every else 'none'})"
        )

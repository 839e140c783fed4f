"""Labels of people on the posts of a feed: each labelled exposure of a comparison, corrected, at level L0."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from eval.audit_findings import (
    AuditRow,
    Method,
    Views,
    adjusted,
    audit_of,
    audit_rows,
    check_harms,
    check_items,
    mean_score,
)
from eval.audit_labels import HumanLabels
from eval.browsing import status_over_models
from eval.outcomes import Outcome
from eval.rows import Seen
from eval.view_rows import is_harm
from reranker.columns import IntArray
from reranker.feed import Feed


def feed_audit(
    feed: Feed,
    seen: Seen,
    outcomes: Sequence[Outcome],
    labels: HumanLabels,
    *,
    cluster: IntArray,
    same_order: bool,
) -> tuple[AuditRow, ...]:
    """The rows of every labelled exposure under each browsing model, at level L0.

    Args:
        feed: the candidates; its post ids are the items of the labels.
        seen: how likely each candidate is seen under each policy, by browsing model.
        outcomes: what is measured; a harm of the labels is matched by name.
        labels: see `read_labels`.
        cluster: (r,) codes of the users.
        same_order: whether both policies rank every request alike.

    Raises:
        ValueError: no harm of the labels is measured, or no labelled post is in the feed.
    """
    check_labels(labels, feed, outcomes)
    harms = {outcome.name: outcome for outcome in outcomes if is_harm(outcome)}
    item = feed.post_id.codes.astype(np.int64)
    made: list[AuditRow] = []
    for name, sample in labels.samples.items():
        if name not in harms:
            continue
        place = {one: i for i, one in enumerate(sample.item)}
        at = np.array([place.get(one, -1) for one in feed.post_id.values], dtype=np.int64)
        audit = audit_of(sample, at, mean_score(item, harms[name].values, len(at)))
        rows = []
        for model, (first, second) in seen.items():
            views = Views(first, second, item, cluster[feed.request_of_row], feed.n_requests)
            rows += [replace(row, browsing=model.name) for row in audit_rows(name, audit, views, level="L0")]
        made += rows if same_order else _over_models(rows)
    return adjusted(made)


def check_labels(labels: HumanLabels, feed: Feed, outcomes: Sequence[Outcome]) -> None:
    """Refuse labels that say nothing of a feed.

    Raises:
        ValueError: no harm of the labels is measured, or no labelled post is in the feed.
    """
    check_harms(labels, tuple(outcome.name for outcome in outcomes if is_harm(outcome)))
    check_items(labels, set(feed.post_id.present()))


def _over_models(rows: Sequence[AuditRow]) -> list[AuditRow]:
    """MODEL_ONLY where the sign depends on how far people read, or only one browsing model was asked."""
    reasons: Mapping[Method, str] = {
        method: _agreement([row for row in rows if row.method == method])
        for method in ("prediction-powered", "Hájek")
    }
    return [
        replace(row, status="MODEL_ONLY", reasons=(*row.reasons, reasons[row.method]))
        if reasons[row.method] and row.status != "REFUSED"
        else row
        for row in rows
    ]


def _agreement(rows: Sequence[AuditRow]) -> str:
    changes = [row.change for row in rows if row.change is not None]
    if len(changes) < 2:
        return "browsing models: expected at least 2, got 1"
    if status_over_models(changes) == "MODEL_ONLY":
        return "browsing models: expected one sign under all of them, got several"
    return ""

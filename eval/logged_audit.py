"""Labels of people on the posts of a log: harm among views under two policies, corrected, at level L1."""

from dataclasses import replace

import numpy as np

from eval.audit_findings import (
    AuditRow,
    Views,
    adjusted,
    audit_of,
    audit_rows,
    mean_score,
)
from eval.audit_labels import HumanLabels
from eval.clustered import LEVEL
from eval.logged_plan import Plan
from eval.logged_request import RequestValues
from eval.logged_rows import SMALL_DEFICIT, LogVerdict
from reranker.columns import IntArray
from reranker.exploration import request_keys

WHOLE = range(-(2**63), 2**63)


def item_ids(names: tuple[str, ...]) -> IntArray:
    """(m,) the ids of posts as logs have them: whole numbers as they are, other texts by their hash.

    Example:
        >>> item_ids(("17", "-4")).tolist()
        [17, -4]
    """
    hashes = request_keys(names).view(np.int64)
    made = [int(name) if _is_whole(name) else key for name, key in zip(names, hashes.tolist(), strict=True)]
    return np.array(made, dtype=np.int64)


def _is_whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal() and name.isascii() and int(name) in WHOLE


def logged_audit(
    values: RequestValues, plan: Plan, log: LogVerdict, labels: HumanLabels, *, level: float = LEVEL
) -> tuple[AuditRow, ...]:
    """The rows of every labelled harm; refused as a whole where the log has no weights to estimate views by.

    Views of single posts are those of the estimator of `main`, so that labels correct the harm among them
    and not how they are reckoned.

    Args:
        values: of all requests, with their posts.
        plan: what was measured.
        log: what the gates said of the log.
        labels: see `eval.audit_labels.read_labels`; an item is a post's id, or the text it is the hash of.
        level: of the intervals.

    Raises:
        ValueError: no labelled post is in the log.
    """
    ids, item = np.unique(values.item, return_inverse=True)
    user = np.repeat(values.user, values.n_shown)
    views = Views(values.exposure[0], values.exposure[1], item.astype(np.int64), user, len(values.user))
    refused = _refusal(values, log)
    made: list[AuditRow] = []
    n_matched = 0
    for label, sample in labels.samples.items():
        if label not in plan.harms:
            continue
        keys = item_ids(sample.item)
        order = np.argsort(keys, kind="stable")
        at = np.searchsorted(keys[order], ids).clip(max=len(keys) - 1)
        found = keys[order][at] == ids
        n_matched += int(found.sum())
        score = values.harm[plan.harms.index(label)]
        audit = audit_of(sample, np.where(found, order[at], -1), mean_score(item, score, len(ids)))
        rows = audit_rows(label, audit, views, level="L1", confidence=level) if not refused else None
        made += rows or _refused_rows(label, values, refused)
    if not n_matched:
        raise ValueError(f"{labels.name}: item: expected posts of the log, got none")
    return adjusted(made, level=level)


def _refusal(values: RequestValues, log: LogVerdict) -> tuple[str, ...]:
    """Why no views of single posts can be estimated, or ()."""
    if log.status == "IDENTIFIED":
        limited = not log.same and bool((values.unsupported > 0).any())
        return (SMALL_DEFICIT,) if limited else ()
    return log.reasons or (f"the log is {log.status}",)


def _refused_rows(label: str, values: RequestValues, reasons: tuple[str, ...]) -> tuple[AuditRow, AuditRow]:
    row = AuditRow(
        metric=label, level="L1", browsing="", method="prediction-powered", status="REFUSED", reasons=reasons,
        cautions=(), original=None, treatment=None, change=None, relative=None, classifier=None, p=None,
        p_adjusted=None, finding=None, represented=None, n_labels=0, n_positive=0, n_effective=0.0,
        n_requests=len(values.user), n_users=len(np.unique(values.user)),
    )  # fmt: skip
    return row, replace(row, method="Hájek")

"""How much a policy amplifies harm: its prevalence against other orders of the same candidates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eval.browsing import Status, status_over_models
from eval.clustered import Estimate
from eval.exposure import Browsing, position_weights
from eval.harm_views import HarmViews, harm_views
from eval.outcomes import Outcome
from eval.producers import amplification, newest_first
from eval.provenance import clusters_of
from eval.rows import Seen, claim
from eval.view_rows import is_harm
from reranker.columns import FloatArray, IntArray
from reranker.engagement import request_sums
from reranker.feed import Feed

Order = Literal["newest first", "random order"]


@dataclass(frozen=True)
class Amplification:
    """One exposure under one browsing model, against one other order of the same candidates.

    Attributes:
        metric, browsing, against: what, seen how, against what.
        original, treatment: prevalence under each policy over that of the other order, minus 1; None where
            refused.
        status: REFUSED, or MODEL_ONLY where the sign of either depends on the browsing model, or IDENTIFIED.
        reasons: why it is refused.
        level: L0 throughout.
    """

    metric: str
    browsing: str
    against: Order
    original: Estimate | None
    treatment: Estimate | None
    status: Status
    reasons: tuple[str, ...]
    level: str = "L0"


def amplifications(feed: Feed, seen: Seen, outcomes: Sequence[Outcome]) -> tuple[Amplification, ...]:
    """Every exposure that is a chance of harm, against random order and, with dates, newest first.

    Random order is the mean over all orders, exactly. Candidates that a policy removed are in both.
    """
    cluster = clusters_of(feed)[0]
    made = []
    for outcome in outcomes:
        if is_harm(outcome):
            found = list(_of_outcome(feed, seen, outcome, cluster))
            for against in dict.fromkeys(one.against for one in found):
                made += _over_models([one for one in found if one.against == against])
    return tuple(made)


def _of_outcome(feed: Feed, seen: Seen, outcome: Outcome, cluster: IntArray) -> Iterator[Amplification]:
    n_clusters = len(np.unique(cluster))
    for model, pair in seen.items():
        policies = [harm_views(one, outcome.values, feed.offsets) for one in pair]
        for against, examined in other_orders(feed, model):
            base = harm_views(examined, outcome.values, feed.offsets)
            status, reasons = _claim((*policies, base), n_clusters)
            first, second = (
                None if status == "REFUSED" else amplification(policy, base, cluster) for policy in policies
            )
            yield Amplification(outcome.name, model.name, against, first, second, status, reasons)


def other_orders(feed: Feed, model: Browsing) -> Iterator[tuple[Order, FloatArray]]:
    """(n,) how likely each candidate is seen in each order that the feed allows."""
    place = np.arange(feed.n, dtype=np.int64) - feed.offsets[feed.request_of_row]
    by_place = position_weights(model, place, feed.request_of_row, feed.offsets)
    if feed.n and not np.isnat(feed.created_at).all():
        newest = np.empty(feed.n)
        newest[newest_first(feed.created_at, feed.offsets)] = by_place
        yield "newest first", newest
    n = np.maximum(np.diff(feed.offsets), 1)
    yield "random order", (request_sums(by_place, feed.offsets) / n)[feed.request_of_row]


def _claim(views: tuple[HarmViews, ...], n_clusters: int) -> tuple[Status, tuple[str, ...]]:
    shares = [one.share_unscored for one in views]
    known = None if np.isnan(shares).any() or max(shares) >= 1 else (min(shares), max(shares))
    status, reasons = claim(known, n_clusters, bounded=True)
    if status != "REFUSED" and not views[-1].harm.sum() > 0:
        return "REFUSED", ("baseline: expected some harm in the other order, got none",)
    return status, reasons


def _over_models(found: Sequence[Amplification]) -> list[Amplification]:
    pairs = [(one.original, one.treatment) for one in found]
    known = [(first, second) for first, second in pairs if first is not None and second is not None]
    if len(known) < len(found):
        return list(found)
    reason = ""
    if len(known) < 2:
        reason = "browsing models: expected at least 2, got 1"
    elif "MODEL_ONLY" in [status_over_models(one) for one in zip(*known, strict=True)]:
        reason = "browsing models: expected one sign under all of them, got several"
    if not reason:
        return list(found)
    return [replace(one, status="MODEL_ONLY", reasons=(*one.reasons, reason)) for one in found]

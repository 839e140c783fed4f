"""Harm among views, per 1,000 views and per user-day, for every exposure outcome under every browsing model.

A share can fall while the number of harmful views does not; so both stand beside each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.clustered import Estimate
from eval.exposure import Browsing
from eval.harm_views import HarmChange, harm_change
from eval.multiplicity import p_of
from eval.outcomes import Outcome
from eval.provenance import clusters_of
from eval.rows import ALL, Direction, Measure, Row, Seen
from reranker.columns import FloatArray, IntArray
from reranker.feed import Feed

VIEWS: Measure = "per 1,000 views"
PER_DAY: Measure = "per user-day"
METHOD = "ratio of sums, delta method by cluster, t interval"
OF_REACTIONS = ("angry_share",)  # a share of a post's reactions, not a chance that the post is harmful


@dataclass(frozen=True)
class _Figures:
    """One measure of a change; `pair` and the rest None where refused, `change` where nothing is seen."""

    measure: Measure
    pair: tuple[Estimate, Estimate] | None
    difference: Estimate | None
    relative: Estimate | None
    bounds: tuple[tuple[float, float], tuple[float, float]] | None
    refused: str
    change: HarmChange | None = None


def view_rows(feed: Feed, seen: Seen, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
    """Two rows per exposure that is a chance of harm and per browsing model, over all candidates."""
    cluster, kind = clusters_of(feed)
    day, no_day = _days(feed, kind)
    rows = []
    for model, pair in seen.items():
        for outcome in outcomes:
            if is_harm(outcome):
                rows += _rows(outcome, model, pair, (feed.offsets, cluster, day), no_day)
    return tuple(rows)


def is_harm(outcome: Outcome) -> bool:
    """Whether an outcome is the chance that a post is harmful, so that views of harm can be counted."""
    return outcome.kind == "exposure" and outcome.bounded and outcome.name not in OF_REACTIONS


def _days(feed: Feed, kind: Literal["users", "requests"]) -> tuple[IntArray, str]:
    """(r,) the day of each request, and why there are no user-days, or ""."""
    undated = int(np.isnat(feed.time).sum())
    day = np.where(np.isnat(feed.time), 0, feed.time.astype("datetime64[D]").astype(np.int64))
    n_unknown = int(feed.user.is_null.sum())
    if kind == "requests" or n_unknown:
        return day, f"user: expected one for every request, got none for {n_unknown:,}"
    return day, f"time: expected one for every request, got none for {undated:,}" if undated else ""


def _rows(
    outcome: Outcome,
    model: Browsing,
    pair: tuple[FloatArray, FloatArray],
    codes: tuple[IntArray, IntArray, IntArray],
    no_day: str,
) -> list[Row]:
    offsets, cluster, day = codes
    n_clusters = len(np.unique(cluster))
    if any(not seen.sum() > 0 for seen in pair):
        none = _Figures(VIEWS, None, None, None, None, "views: expected some under each policy, got none")
        return [_row(outcome, model, pair, none, (len(cluster), n_clusters))]
    change = harm_change(*pair, outcome.values, offsets=offsets, cluster=cluster, day=day)
    refused = "; ".join(change.reasons) if change.status == "REFUSED" else ""
    bounds = change.first_bounds, change.second_bounds
    figures = [
        _Figures(VIEWS, _both(change), change.difference, change.relative, bounds, refused, change),
        _Figures(PER_DAY, change.per_day, change.per_day_difference, None, None, refused or no_day, change),
    ]
    return [_row(outcome, model, pair, one, (len(cluster), n_clusters)) for one in figures]


def _both(change: HarmChange) -> tuple[Estimate, Estimate] | None:
    return None if change.first is None or change.second is None else (change.first, change.second)


def _row(
    outcome: Outcome,
    model: Browsing,
    seen: tuple[FloatArray, FloatArray],
    figures: _Figures,
    counts: tuple[int, int],
) -> Row:
    change = figures.change
    pair, difference = (None, None) if figures.refused else (figures.pair, figures.difference)
    relative = None if figures.refused else figures.relative
    reasons = (figures.refused,) if figures.refused else change.reasons if change else ()
    unknown = np.isnan(outcome.values)
    bounds = figures.bounds or ((None, None), (None, None))
    shares = (None, None) if change is None else change.share_unscored
    return Row(
        metric=outcome.name,
        kind=outcome.kind,
        unit=outcome.unit,
        measure=figures.measure,
        browsing=model.name,
        segment_by=ALL,
        segment="",
        original=None if pair is None else pair[0].value,
        treatment=None if pair is None else pair[1].value,
        absolute=None if difference is None else difference.value,
        absolute_low=_finite(difference, "low"),
        absolute_high=_finite(difference, "high"),
        absolute_se=None if difference is None else difference.standard_error,
        relative=None if relative is None else relative.value,
        relative_low=_finite(relative, "low"),
        relative_high=_finite(relative, "high"),
        relative_se=None if relative is None else relative.standard_error,
        original_low=bounds[0][0],
        original_high=bounds[0][1],
        treatment_low=bounds[1][0],
        treatment_high=bounds[1][1],
        n_requests=counts[0],
        n_clusters=counts[1],
        n_left_out=0,
        n_shown_original=int((seen[0] > 0).sum()),
        n_shown_treatment=int((seen[1] > 0).sum()),
        n_unscored_original=int(((seen[0] > 0) & unknown).sum()),
        n_unscored_treatment=int(((seen[1] > 0) & unknown).sum()),
        share_unscored_original=shares[0],
        share_unscored_treatment=shares[1],
        direction=_direction(difference),
        status="REFUSED" if figures.refused or change is None else change.status,
        reasons=reasons,
        refused=figures.refused,
        method=METHOD,
        p=None if difference is None else p_of([difference]),
    )


def _finite(estimate: Estimate | None, end: Literal["low", "high"]) -> float | None:
    """An end of an interval; None where it has none."""
    value = None if estimate is None else estimate.low if end == "low" else estimate.high
    return value if value is not None and np.isfinite(value) else None


def _direction(difference: Estimate | None) -> Direction:
    if difference is None:
        return "refused"
    if difference.value == 0 and difference.standard_error == 0:
        return "identical"
    if difference.low <= 0 <= difference.high:
        return "not measurable"
    return "decreased" if difference.high < 0 else "increased"

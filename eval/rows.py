"""The rows of a comparison: one outcome, one browsing model, one segment, under both policies."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eval.browsing import Status, status_over_models
from eval.clustered import Estimate
from eval.exposure import Browsing, Exposure, browsing, measure_exposure, position_weights
from eval.harm_views import MOST_UNSCORED, MOST_UNSCORED_GAP
from eval.interval import Change, paired_changes
from eval.multiplicity import Finding
from eval.outcomes import Outcome, OutcomeKind, Unit
from eval.provenance import clusters_of, same_feed
from eval.segments import Segment
from reranker.columns import FloatArray
from reranker.ranking import Ranking

Direction = Literal["decreased", "increased", "not measurable", "identical", "refused", "not measured"]
Claim = Literal[Direction, "not shown"]
Measure = Literal["mean over requests", "per 1,000 views", "per user-day"]
CHANGED = ("decreased", "increased")
ALL = "all"
MEAN: Measure = "mean over requests"
Pair = tuple[Exposure, Exposure]
Seen = Mapping[Browsing, tuple[FloatArray, FloatArray]]  # (c,) examination under each policy


@dataclass(frozen=True)
class Row:
    """One outcome, one browsing model, one segment; None where there is no figure.

    Attributes:
        metric, kind, unit: the outcome.
        measure: a mean over requests, each counting once, or a rate among views.
        browsing: name of the browsing model.
        segment_by, segment: "all" and "", or a dimension and its value.
        original, treatment: the figure under each policy.
        absolute, relative: treatment - original, and that over the original; each with its 95% interval and
            standard error.
        original_low, original_high, treatment_low, treatment_high: the figure if every shown post without a
            value had 0, or 1; None for counts.
        n_requests, n_clusters, n_left_out: requests measured, their clusters, and requests not measured.
        n_shown_*, n_unscored_*: posts shown with a weight above 0, and those of them without a value.
        share_unscored_*: share of the views that are of posts without a value; None where there is no view.
        direction: what the interval says.
        status: what may be claimed: IDENTIFIED, BOUNDED where some views have no value, MODEL_ONLY where the
            sign depends on how far people read or was looked at under one model, REFUSED.
        reasons: why it is not IDENTIFIED.
        refused, method: why there is no interval, or ""; how it was made.
        level: L0 throughout.
        p: two-sided, of no change, by itself; None where it is in no family (`eval.exposure_family`).
        p_adjusted, family, finding: by Holm, over what, and what that lets one say; no interval is adjusted.
    """

    metric: str
    kind: OutcomeKind
    unit: Unit
    measure: Measure
    browsing: str
    segment_by: str
    segment: str
    original: float | None
    treatment: float | None
    absolute: float | None
    absolute_low: float | None
    absolute_high: float | None
    absolute_se: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    relative_se: float | None
    original_low: float | None
    original_high: float | None
    treatment_low: float | None
    treatment_high: float | None
    n_requests: int
    n_clusters: int
    n_left_out: int
    n_shown_original: int
    n_shown_treatment: int
    n_unscored_original: int
    n_unscored_treatment: int
    share_unscored_original: float | None
    share_unscored_treatment: float | None
    direction: Direction
    status: Status
    reasons: tuple[str, ...]
    refused: str
    method: str
    level: str = "L0"
    p: float | None = None
    p_adjusted: float | None = None
    family: str = ""
    finding: Finding | None = None

    @property
    def claimed(self) -> Claim:
        """What may be said of the change: what its interval says, unless its family takes that back."""
        return "not shown" if self.direction in CHANGED and self.finding == "not shown" else self.direction

    @property
    def scale(self) -> Literal["relative", "absolute"]:
        """Of the estimate: the relative change where there is one."""
        return "absolute" if self.relative is None else "relative"

    @property
    def estimate(self) -> float | None:
        """The change; None where refused without a figure."""
        return self.absolute if self.relative is None else self.relative

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The 95% interval of the estimate."""
        if self.relative is None:
            return self.absolute_low, self.absolute_high
        return self.relative_low, self.relative_high


@dataclass(frozen=True, eq=False)
class Cell:
    """What one row measures."""

    outcome: Outcome
    model: Browsing
    segment: Segment | None


def change_rows(
    original: Ranking,
    treatment: Ranking,
    outcomes: Sequence[Outcome],
    shown: str,
    *,
    seed: int,
    n_resamples: int,
) -> tuple[Row, ...]:
    """The rows of all candidates under one browsing model, without the rest of a comparison.

    Raises:
        ValueError: as `compare`.
    """
    same_feed(original, treatment)
    check_outcomes(outcomes, original.feed.n)
    cells = [Cell(outcome, browsing(shown), None) for outcome in outcomes]
    seen = examinations((original, treatment), [cells[0].model])
    rows = measure_rows((original, treatment), seen, cells, seed=seed, n_resamples=n_resamples)[0]
    return over_models(rows, same_order=np.array_equal(original.position, treatment.position))


def check_outcomes(outcomes: Sequence[Outcome], n: int) -> None:
    """Refuse outcomes that cannot be compared.

    Raises:
        ValueError: there is none, one comes twice, or one has another length.
    """
    names = [outcome.name for outcome in outcomes]
    if not names:
        raise ValueError("outcomes: expected at least one, got none")
    for outcome in outcomes:
        if names.count(outcome.name) > 1:
            raise ValueError(
                f"outcomes: expected each once, got {outcome.name!r} {names.count(outcome.name)} times"
            )
        if len(outcome.values) != n:
            raise ValueError(f"{outcome.name}: expected {n} values, got {len(outcome.values)}")


def examinations(rankings: tuple[Ranking, Ranking], models: Iterable[Browsing]) -> Seen:
    """How likely each candidate is seen under each policy, by browsing model."""
    feed = rankings[0].feed
    first, second = (ranking.position for ranking in rankings)
    return {
        model: (
            position_weights(model, first, feed.request_of_row, feed.offsets),
            position_weights(model, second, feed.request_of_row, feed.offsets),
        )
        for model in models
    }


def measure_rows(
    rankings: tuple[Ranking, Ranking], weights: Seen, cells: Sequence[Cell], *, seed: int, n_resamples: int
) -> tuple[tuple[Row, ...], tuple[Pair, ...]]:
    """One row per cell, and the exposure under each policy that it comes from."""
    feed = rankings[0].feed
    pairs: list[Pair] = []
    for cell in cells:
        among = None if cell.segment is None else cell.segment.rows
        first, second = (
            measure_exposure(ranking, weight, cell.outcome.values, among)
            for ranking, weight in zip(rankings, weights[cell.model], strict=True)
        )
        pairs.append((first, second))
    changes = paired_changes(
        np.stack([first.mean for first, _ in pairs], axis=1),
        np.stack([second.mean for _, second in pairs], axis=1),
        clusters_of(feed)[0],
        seed=seed,
        n_resamples=n_resamples,
    )
    made = zip(cells, pairs, changes, strict=True)
    method = f"percentile bootstrap by cluster, {n_resamples} resamples"
    return tuple(_row(cell, pair, change, method) for cell, pair, change in made), tuple(pairs)


def over_models(rows: Sequence[Row], *, same_order: bool) -> tuple[Row, ...]:
    """The rows, MODEL_ONLY where the sign of a change differs between browsing models or only one was asked.

    Args:
        rows: of several models.
        same_order: whether both policies rank every request alike, so that no model can tell them apart.
    """
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.metric, row.measure, row.segment_by, row.segment), []).append(row)
    found = {key: _agreement(group) for key, group in groups.items()}
    made = []
    for row in rows:
        reason = found[row.metric, row.measure, row.segment_by, row.segment]
        if reason and not same_order and row.status != "REFUSED":
            row = replace(row, status="MODEL_ONLY", reasons=(*row.reasons, reason))  # noqa: PLW2901
        made.append(row)
    return tuple(made)


def _agreement(rows: Sequence[Row]) -> str:
    """Why these models do not make one finding, or ""."""
    changes = [
        Estimate(row.absolute, 0.0, row.absolute, row.absolute, 0.95, row.n_requests, row.n_clusters)
        for row in rows
        if row.absolute is not None
    ]
    if len(changes) < 2:
        return "browsing models: expected at least 2, got 1"
    if status_over_models(changes) == "MODEL_ONLY":
        return "browsing models: expected one sign under all of them, got several"
    return ""


def unscored_reasons(shares: tuple[float, float]) -> tuple[str, ...]:
    """Why a figure is refused for want of values; () where at most 2% of the views have none."""
    if max(shares) > MOST_UNSCORED:
        return (f"views without a value: expected at most {MOST_UNSCORED:.0%}, got {max(shares):.1%}",)
    if abs(shares[1] - shares[0]) > MOST_UNSCORED_GAP:
        return (
            f"views without a value: expected shares that differ by at most {100 * MOST_UNSCORED_GAP:.1f} "
            f"points, got {shares[0]:.2%} and {shares[1]:.2%}",
        )
    return ()


def claim(
    shares: tuple[float, float] | None, n_clusters: int, *, bounded: bool
) -> tuple[Status, tuple[str, ...]]:
    """What may be claimed of a figure under one browsing model, and why not more.

    Args:
        shares: of the views without a value, under each policy; None where there is no view with a value.
        n_clusters: independent users.
        bounded: whether what has no value can be bounded.
    """
    if shares is None:
        return "REFUSED", ("values: expected a shown post to have one, got none",)
    reasons = unscored_reasons(shares)
    if n_clusters < 2:
        reasons += (f"users: expected at least 2, got {n_clusters}",)
    if reasons:
        return "REFUSED", reasons
    if max(shares) > 0:
        told = f"views without a value: {max(shares):.2%}"
        return (
            ("BOUNDED", (f"{told}, see the bounds",)) if bounded else ("IDENTIFIED", (f"{told}, left out",))
        )
    return "IDENTIFIED", ()


def _row(cell: Cell, pair: Pair, change: Change, method: str) -> Row:
    first, second = pair
    used = ~(np.isnan(first.mean) | np.isnan(second.mean))
    absolute, relative = change.absolute_interval, change.relative_interval
    bounds = [
        float(values[used].mean()) if cell.outcome.bounded and used.any() else None
        for exposure in pair
        for values in (exposure.low, exposure.high)
    ]
    segment = cell.segment
    shares = tuple(exposure.share_unscored for exposure in pair)
    known = None if change.n_requests == 0 else (shares[0] or 0.0, shares[1] or 0.0)
    status, reasons = claim(known, change.n_clusters, bounded=cell.outcome.bounded)
    return Row(
        metric=cell.outcome.name,
        kind=cell.outcome.kind,
        unit=cell.outcome.unit,
        measure=MEAN,
        browsing=cell.model.name,
        segment_by=ALL if segment is None else segment.dimension,
        segment="" if segment is None else segment.name,
        original=change.original,
        treatment=change.treatment,
        absolute=change.absolute,
        absolute_low=None if absolute is None else absolute.low,
        absolute_high=None if absolute is None else absolute.high,
        absolute_se=None if absolute is None else absolute.standard_error,
        relative=change.relative,
        relative_low=None if relative is None else relative.low,
        relative_high=None if relative is None else relative.high,
        relative_se=None if relative is None else relative.standard_error,
        original_low=bounds[0],
        original_high=bounds[1],
        treatment_low=bounds[2],
        treatment_high=bounds[3],
        n_requests=change.n_requests,
        n_clusters=change.n_clusters,
        n_left_out=int(((first.n_shown + second.n_shown > 0) & ~used).sum()),
        n_shown_original=int(first.n_shown.sum()),
        n_shown_treatment=int(second.n_shown.sum()),
        n_unscored_original=int(first.n_unscored.sum()),
        n_unscored_treatment=int(second.n_unscored.sum()),
        share_unscored_original=shares[0],
        share_unscored_treatment=shares[1],
        direction=_direction(change, bool((first.mean[used] == second.mean[used]).all())),
        status=status,
        reasons=reasons,
        refused=change.refused,
        method=method,
    )


def _direction(change: Change, same: bool) -> Direction:
    if change.n_requests == 0:
        return "not measured"
    if same:
        return "identical"
    if change.absolute_interval is None:
        return "refused"
    if change.absolute_interval.contains(0.0):
        return "not measurable"
    return "decreased" if change.absolute_interval.high < 0 else "increased"

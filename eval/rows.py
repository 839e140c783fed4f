"""The rows of a comparison: one outcome, one browsing model, one segment, under both policies."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.exposure import Browsing, Exposure, browsing, measure_exposure, position_weights
from eval.interval import Change, paired_changes
from eval.outcomes import Outcome, OutcomeKind, Unit
from eval.provenance import clusters_of, same_feed
from eval.segments import Segment
from reranker.ranking import Ranking

Status = Literal["decreased", "increased", "not measurable", "identical", "refused", "not measured"]
ALL = "all"
Pair = tuple[Exposure, Exposure]


@dataclass(frozen=True)
class Row:
    """One outcome, one browsing model, one segment. Means are over requests; None where there is none.

    Attributes:
        metric, kind, unit: the outcome.
        browsing: name of the browsing model.
        segment_by, segment: "all" and "", or a dimension and its value.
        original, treatment: the mean under each policy.
        absolute, relative: treatment - original, and that over the original; each with its 95% interval and
            standard error.
        original_low, original_high, treatment_low, treatment_high: the mean if every shown post without a
            value had 0, or 1; None for counts.
        n_requests, n_clusters, n_left_out: requests measured, their clusters, and requests not measured.
        n_shown_*, n_unscored_*: posts shown with a weight above 0, and those of them without a value.
        status: what may be said of it.
        refused: why there is no interval, or "".
        level: L0 throughout.
    """

    metric: str
    kind: OutcomeKind
    unit: Unit
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
    status: Status
    refused: str
    level: str = "L0"


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
    return measure_rows((original, treatment), cells, seed, n_resamples)[0]


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


def measure_rows(
    rankings: tuple[Ranking, Ranking], cells: Sequence[Cell], seed: int, n_resamples: int
) -> tuple[tuple[Row, ...], tuple[Pair, ...]]:
    """One row per cell, and the exposure under each policy that it comes from."""
    feed = rankings[0].feed
    weights = {
        model: tuple(
            position_weights(model, ranking.position, feed.request_of_row, feed.offsets)
            for ranking in rankings
        )
        for model in {cell.model for cell in cells}
    }
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
    return tuple(_row(cell, pair, change) for cell, pair, change in made), tuple(pairs)


def _row(cell: Cell, pair: Pair, change: Change) -> Row:
    first, second = pair
    used = ~(np.isnan(first.mean) | np.isnan(second.mean))
    absolute, relative = change.absolute_interval, change.relative_interval
    bounds = [
        float(values[used].mean()) if cell.outcome.bounded and used.any() else None
        for exposure in pair
        for values in (exposure.low, exposure.high)
    ]
    segment = cell.segment
    return Row(
        metric=cell.outcome.name,
        kind=cell.outcome.kind,
        unit=cell.outcome.unit,
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
        status=_status(change, bool((first.mean[used] == second.mean[used]).all())),
        refused=change.refused,
    )


def _status(change: Change, same: bool) -> Status:
    if change.n_requests == 0:
        return "not measured"
    if same:
        return "identical"
    if change.absolute_interval is None:
        return "refused"
    if change.absolute_interval.contains(0.0):
        return "not measurable"
    return "decreased" if change.absolute_interval.high < 0 else "increased"

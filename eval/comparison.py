"""`compare(original, treatment, outcomes)`: two rankings of the same requests, side by side.

This is level L0: what would sit where on the logged candidates, seen through a model of how far people
read. What people would then do is not in the data and is not claimed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from eval.diagnostics import Diagnostics, diagnose
from eval.exposure import Browsing, Exposure, browsing, measure_exposure, position_weights
from eval.interval import LEVEL, N_RESAMPLES, Change, paired_changes
from eval.outcomes import Outcome, OutcomeKind, Unit
from eval.provenance import PolicyFacts, clusters_of, feed_digest, policy_facts, reading_model, same_feed
from eval.segments import Dimension, Mix, Segment, mixes_of, segments_of
from reranker.feed import REQUEST_FIELDS
from reranker.presets import differences
from reranker.ranking import Ranking

Status = Literal["decreased", "increased", "not measurable", "identical", "refused", "not measured"]
ALL = "all"
SEGMENTS: tuple[Dimension, ...] = ("country", "language", "device", "relation", "media")


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


@dataclass(frozen=True)
class Context:
    """What the rankings do not know of themselves.

    Attributes:
        data: a name for the data.
        ineffective: per policy ("original", "treatment") its ineffective demotions per 1,000.
        demoted_with: the classifier that demoted; None takes it from the rankings.
        measured_with: the classifier that measured; None takes it from the outcomes.
    """

    data: str = ""
    ineffective: Mapping[str, float | None] = field(default_factory=dict)
    demoted_with: str | None = None
    measured_with: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Two policies on the same requests.

    Attributes:
        original, treatment: the policies.
        differences: the settings that differ, as (key, original, treatment).
        outcomes: what was measured.
        rows: see `Row`; those of all candidates first, the main browsing model first.
        mixes: each exposure split by segment.
        diagnostics: how far the rankings differ.
        browsing: names of the browsing models, the main one first.
        cluster: what was resampled, "users" or "requests".
        segments_left_out: per dimension, how many small segments have no row.
        data_digest: sha256 of what was ranked, whatever the order of its rows.
    """

    original: PolicyFacts
    treatment: PolicyFacts
    differences: tuple[tuple[str, Any, Any], ...]
    outcomes: tuple[Outcome, ...]
    rows: tuple[Row, ...]
    mixes: tuple[Mix, ...]
    diagnostics: Diagnostics
    browsing: tuple[str, ...]
    context: Context
    cluster: Literal["users", "requests"]
    n_requests: int
    n_clusters: int
    n_candidates: int
    segments_left_out: dict[str, int]
    data_digest: str
    seed: int
    n_resamples: int
    interval_level: float = LEVEL

    def row(self, metric: str, model: str | None = None) -> Row:
        """The row of a metric over all candidates; the main browsing model where none is named."""
        model = model or self.browsing[0]
        return next(r for r in self.rows if (r.metric, r.browsing, r.segment_by) == (metric, model, ALL))

    @property
    def own_ruler(self) -> tuple[str, ...]:
        """Metrics that were measured by the very classifier that demoted."""
        demoted = set((self.context.demoted_with or "").split("+")) - {""}
        measured = set((self.context.measured_with or "").split("+")) - {""}
        return tuple(
            outcome.name
            for outcome in self.outcomes
            if outcome.model is not None and demoted & (measured or set(outcome.model.split("+")))
        )


def compare(
    original: Ranking,
    treatment: Ranking,
    outcomes: Sequence[Outcome],
    *,
    shown: str = "10%",
    also: Sequence[str] = ("rbp:0.8", "log2"),
    segments: Sequence[Dimension] = SEGMENTS,
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
    context: Context | None = None,
) -> Comparison:
    """What changes when the same requests are ranked by another policy.

    Args:
        original: the ranking by the policy in force.
        treatment: the ranking of the same feed by the other.
        outcomes: what to measure.
        shown: the main browsing model; a share covers at least 5 posts.
        also: further browsing models; a finding should not depend on one.
        segments: dimensions to compare by, under the main browsing model.
        seed: of the resampling.
        n_resamples: resamples of the intervals.
        context: see `Context`.

    Raises:
        ValueError: the rankings are not of the same feed, an outcome comes twice or has another length, or a
            browsing model is unknown.
    """
    feed = same_feed(original, treatment)
    _check_outcomes(outcomes, feed.n)
    models = tuple(dict.fromkeys(browsing(spec) for spec in (shown, *also)))
    parts: list[Segment] = []
    left_out: dict[str, int] = {}
    for dimension in segments:
        found, n_more = segments_of(feed, dimension)
        parts += found if len(found) > 1 else ()
        left_out |= {dimension: n_more} if n_more else {}
    complete = [name for name in segments if name not in left_out and name not in REQUEST_FIELDS]
    cells = [Cell(outcome, model, None) for model in models for outcome in outcomes]
    cells += [Cell(outcome, models[0], part) for part in parts for outcome in outcomes]
    rows, exposures = _rows((original, treatment), cells, seed, n_resamples)
    context = context or Context()
    codes, kind = clusters_of(feed)
    return Comparison(
        original=policy_facts(original),
        treatment=policy_facts(treatment),
        differences=tuple(differences(original.policy, treatment.policy)),
        outcomes=tuple(outcomes),
        rows=rows,
        mixes=_mixes(cells, exposures, complete),
        diagnostics=diagnose(original, treatment, models[0]),
        browsing=tuple(model.name for model in models),
        context=Context(
            context.data,
            context.ineffective,
            context.demoted_with or reading_model(original, treatment),
            context.measured_with,
        ),
        cluster=kind,
        n_requests=feed.n_requests,
        n_clusters=len(np.unique(codes)),
        n_candidates=feed.n,
        segments_left_out=left_out,
        data_digest=feed_digest(feed),
        seed=seed,
        n_resamples=n_resamples,
    )


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
    _check_outcomes(outcomes, original.feed.n)
    cells = [Cell(outcome, browsing(shown), None) for outcome in outcomes]
    return _rows((original, treatment), cells, seed, n_resamples)[0]


def _check_outcomes(outcomes: Sequence[Outcome], n: int) -> None:
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


Pair = tuple[Exposure, Exposure]


def _rows(
    rankings: tuple[Ranking, Ranking], cells: Sequence[Cell], seed: int, n_resamples: int
) -> tuple[tuple[Row, ...], tuple[Pair, ...]]:
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


def _mixes(cells: Sequence[Cell], pairs: Sequence[Pair], complete: Sequence[Dimension]) -> tuple[Mix, ...]:
    """Each exposure by each dimension of candidates whose segments are complete."""
    whole: dict[str, Pair] = {}
    parts: dict[tuple[str, Dimension], list[Pair]] = {}
    for cell, pair in zip(cells, pairs, strict=True):
        if cell.outcome.kind != "exposure":
            continue
        if cell.segment is None:
            whole.setdefault(cell.outcome.name, pair)  # the main browsing model comes first
        elif cell.segment.dimension in complete:
            parts.setdefault((cell.outcome.name, cell.segment.dimension), []).append(pair)
    made = (mixes_of(metric, dimension, whole[metric], found) for (metric, dimension), found in parts.items())
    return tuple(mix for mix in made if mix is not None)


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
    if change.absolute_interval is None:
        return "refused"
    if same:
        return "identical"
    if change.absolute_interval.contains(0.0):
        return "not measurable"
    return "decreased" if change.absolute_interval.high < 0 else "increased"

"""`compare(original, treatment, outcomes)`: two rankings of the same requests, side by side.

This is level L0: what would sit where on the logged candidates, seen through a model of how far people
read. What people would then do is not in the data and is not claimed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from eval.audit_feed import feed_audit
from eval.audit_findings import AuditRow
from eval.audit_labels import HumanLabels
from eval.concentration import Concentration, Publishers, concentrations, publishers
from eval.decision import Gate
from eval.diagnostics import Diagnostics, diagnose
from eval.exposure import Browsing, browsing
from eval.exposure_family import in_families, with_p
from eval.guardrails import Guardrail, gate_of, guardrails
from eval.interval import LEVEL, N_RESAMPLES
from eval.margins import Margins, load_margins
from eval.other_orders import Amplification, amplifications
from eval.outcomes import Outcome
from eval.provenance import PolicyFacts, clusters_of, feed_digest, policy_facts, reading_model, same_feed
from eval.rows import (
    ALL,
    Cell,
    Measure,
    Pair,
    Row,
    check_outcomes,
    examinations,
    measure_rows,
    over_models,
)
from eval.segments import Dimension, Mix, mixes_of, segments_of
from eval.topics import TopicFinding, topic_findings
from eval.view_rows import VIEWS, view_rows
from reranker.feed import REQUEST_FIELDS, Feed
from reranker.presets import differences
from reranker.ranking import Ranking

SEGMENTS: tuple[Dimension, ...] = ("country", "language", "device", "relation", "media")


@dataclass(frozen=True)
class Context:
    """What the rankings do not know of themselves.

    Attributes:
        data: a name for the data.
        ineffective: per policy ("original", "treatment") its ineffective demotions per 1,000.
        demoted_with: the classifier that demoted; None takes it from the rankings.
        measured_with: the classifier that measured; None takes it from the outcomes.
        margins: how much of the activity may be lost; None takes those that are shipped.
        planned_margins: the digest of the margins as planned before the result was read.
        labels: what people said of a sample of the posts.
    """

    data: str = ""
    ineffective: Mapping[str, float | None] = field(default_factory=dict)
    demoted_with: str | None = None
    measured_with: str | None = None
    margins: Margins | None = None
    planned_margins: str | None = None
    labels: HumanLabels | None = None


@dataclass(frozen=True)
class Comparison:
    """Two policies on the same requests.

    Attributes:
        original, treatment: the policies.
        differences: the settings that differ, as (key, original, treatment).
        outcomes: what was measured.
        rows: see `Row`; those of all candidates first, the main browsing model first.
        view_rows: harm per 1,000 views and per user-day, under every browsing model.
        guardrails: a verdict on each activity outcome that has a margin.
        amplifications: harm against other orders of the same candidates.
        topics: whether harm about a topic went, or the topic.
        audits: exposures corrected by what people said of a sample; () without labels.
        concentrations, publishers: on whom harm and views fall; None where the feed has no publishers.
        margins: what the guardrails were held to.
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
    view_rows: tuple[Row, ...]
    guardrails: tuple[Guardrail, ...]
    amplifications: tuple[Amplification, ...]
    topics: tuple[TopicFinding, ...]
    audits: tuple[AuditRow, ...]
    concentrations: tuple[Concentration, ...]
    publishers: Publishers | None
    margins: Margins
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

    def views_row(self, metric: str, model: str | None = None, measure: Measure = VIEWS) -> Row | None:
        """Harm per 1,000 views, or per user-day; None where the metric is not a chance of harm."""
        key = (metric, model or self.browsing[0], measure)
        return next((r for r in self.view_rows if (r.metric, r.browsing, r.measure) == key), None)

    def guardrail(self, metric: str, model: str | None = None) -> Guardrail | None:
        """The verdict on an activity outcome; None where it has no margin."""
        key = (metric, model or self.browsing[0])
        return next((g for g in self.guardrails if (g.metric, g.browsing) == key), None)

    def audit(self, metric: str, model: str | None = None) -> AuditRow | None:
        """The exposure corrected by labels of people; None where it has none."""
        key = (metric, model or self.browsing[0], "prediction-powered")
        return next((a for a in self.audits if (a.metric, a.browsing, a.method) == key), None)

    @property
    def gate(self) -> Gate:
        """All guardrails of the margins together; a replay measures but some."""
        return gate_of(self.guardrails, self.browsing[0], self.margins, self.context.planned_margins)

    @property
    def own_ruler(self) -> tuple[str, ...]:
        """Exposures that were measured by the very classifier or domain ratings that demoted."""
        demoted = set((self.context.demoted_with or "").split("+")) - {""}
        measured = set((self.context.measured_with or "").split("+")) - {""}
        rated = any("low_quality_news" in key and after is not None for key, _, after in self.differences)
        return tuple(
            outcome.name
            for outcome in self.outcomes
            if outcome.kind == "exposure"
            and (
                (outcome.name == "low_quality" and rated)
                or (outcome.model is not None and demoted & (measured or set(outcome.model.split("+"))))
            )
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
        ValueError: the rankings are not of the same feed, an outcome comes twice or has another length, a
            browsing model is unknown, or labels are of no post or of no harm that is compared.
    """
    feed = same_feed(original, treatment)
    check_outcomes(outcomes, feed.n)
    context = context or Context()
    agreed = context.margins or load_margins()
    models = tuple(dict.fromkeys(browsing(spec) for spec in (shown, *also)))
    cells, complete, left_out = _cells(feed, models, outcomes, segments)
    seen = examinations((original, treatment), models)
    rows, pairs = measure_rows((original, treatment), seen, cells, seed=seed, n_resamples=n_resamples)
    same = np.array_equal(original.position, treatment.position)
    codes, kind = clusters_of(feed)
    return Comparison(
        original=policy_facts(original),
        treatment=policy_facts(treatment),
        differences=tuple(differences(original.policy, treatment.policy)),
        outcomes=tuple(outcomes),
        rows=in_families(with_p(over_models(rows, same_order=same), pairs, codes)),
        view_rows=in_families(over_models(view_rows(feed, seen, outcomes), same_order=same)),
        guardrails=guardrails(cells, pairs, codes, agreed, same_order=same),
        amplifications=amplifications(feed, seen, outcomes),
        topics=topic_findings(
            seen, outcomes, offsets=feed.offsets, cluster=codes, agreed=agreed, same_order=same
        ),
        audits=feed_audit(feed, seen, outcomes, context.labels, cluster=codes, same_order=same)
        if context.labels is not None
        else (),
        concentrations=concentrations(feed, seen[models[0]], outcomes),
        publishers=publishers(feed, seen[models[0]]),
        margins=agreed,
        mixes=_mixes(cells, pairs, complete),
        diagnostics=diagnose(original, treatment, models[0]),
        browsing=tuple(model.name for model in models),
        context=replace(context, demoted_with=context.demoted_with or reading_model(original, treatment)),
        cluster=kind,
        n_requests=feed.n_requests,
        n_clusters=len(np.unique(codes)),
        n_candidates=feed.n,
        segments_left_out=left_out,
        data_digest=feed_digest(feed),
        seed=seed,
        n_resamples=n_resamples,
    )


def _cells(
    feed: Feed, models: Sequence[Browsing], outcomes: Sequence[Outcome], segments: Sequence[Dimension]
) -> tuple[list[Cell], list[Dimension], dict[str, int]]:
    """What to measure, the dimensions of candidates whose segments are all in it, and how many are not."""
    cells = [Cell(outcome, model, None) for model in models for outcome in outcomes]
    left_out: dict[str, int] = {}
    for dimension in segments:
        found, n_more = segments_of(feed, dimension)
        if len(found) > 1:
            cells += [Cell(outcome, models[0], part) for part in found for outcome in outcomes]
        left_out |= {dimension: n_more} if n_more else {}
    complete = [name for name in segments if name not in left_out and name not in REQUEST_FIELDS]
    return cells, complete, left_out


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

"""The figures of the playground: exposure and activity under both policies, with intervals by user.

This is the one module of the services that reaches up to `eval`: it computes nothing itself, so that the page
and `reranker eval` cannot disagree.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.exposure import browsing
from eval.guardrails import Guardrail, guardrails
from eval.margins import load_margins
from eval.outcomes import Outcome, standard_outcomes
from eval.provenance import clusters_of, reading_model
from eval.rows import Cell, Row, change_rows, examinations, measure_rows, over_models
from eval.words import title
from models.taxonomy import DERIVED_PARTS
from reranker.feed import Feed
from reranker.ranking import Ranking
from reranker.value import Harms

__all__ = ["Change", "Outcome", "changes", "compare_figures", "measured_outcomes"]
SHOWN = "10%"  # the main browsing model: of each request's candidates, at least 5
ALSO = ("rbp:0.8", "log2")
N_RESAMPLES = 1_000
N_FEW = 50  # under further browsing models, of which only the sign is read
SEED = 0

Change = tuple[float | None, float | None, float | None]


def measured_outcomes(feed: Feed, harms: Harms | None, known: Sequence[str]) -> tuple[Outcome, ...]:
    """What the page measures on a feed: harms by known truth, by estimate and by reaction, then activity."""
    found = standard_outcomes(feed, harms, attributes=known)
    return tuple(one for one in found if one.kind != "context" and one.name not in DERIVED_PARTS)


def compare_figures(original: Ranking, treatment: Ranking, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The change of each outcome from the original to the treatment, over all requests.

    Intervals are of the main browsing model; what may be claimed rests on all of them.
    """
    feed, rankings = original.feed, (original, treatment)
    main, *others = (browsing(spec) for spec in (SHOWN, *ALSO))
    seen = examinations(rankings, (main, *others))
    cells = [Cell(outcome, main, None) for outcome in outcomes]
    also = [Cell(outcome, model, None) for model in others for outcome in outcomes]
    rows, pairs = measure_rows(rankings, seen, cells, seed=SEED, n_resamples=N_RESAMPLES)
    more = measure_rows(rankings, seen, also, seed=SEED, n_resamples=N_FEW)
    same = np.array_equal(original.position, treatment.position)
    codes, cluster = clusters_of(feed)
    judged = guardrails([*cells, *also], [*pairs, *more[1]], codes, load_margins(), same_order=same)
    verdicts = {one.metric: one for one in judged if one.browsing == main.name}
    found = over_models([*rows, *more[0]], same_order=same)[: len(outcomes)]
    own = reading_model(original, treatment)
    return {
        "shown": main.name,
        "n_requests": feed.n_requests,
        "n_clusters": len(np.unique(codes)),
        "cluster": cluster,
        "rows": [
            _figure(row, outcome, verdicts.get(row.metric))
            | {"own_ruler": outcome.model is not None and outcome.model == own}
            for row, outcome in zip(found, outcomes, strict=True)
        ],
    }


def changes(original: Ranking, treatment: Ranking, outcomes: Sequence[Outcome]) -> dict[str, Change]:
    """By metric the relative change from the original and its interval, None where there is none."""
    rows = change_rows(original, treatment, outcomes, SHOWN, seed=SEED, n_resamples=N_RESAMPLES)
    return {row.metric: (row.relative, row.relative_low, row.relative_high) for row in rows}


def _figure(row: Row, outcome: Outcome, judged: Guardrail | None) -> dict[str, Any]:
    """One line of the page; None where there is no figure."""
    source = "observed" if outcome.unit != "probability" else "estimated"
    return {
        "metric": row.metric,
        "title": title(row.metric),
        "meaning": outcome.meaning,
        "kind": row.kind,
        "unit": row.unit,
        "source": "known" if row.metric.startswith("is_") else source,
        "original": row.original,
        "treatment": row.treatment,
        "relative": row.relative,
        "low": row.relative_low,
        "high": row.relative_high,
        "direction": row.direction,
        "status": row.status,
        "reasons": list(row.reasons),
        "share_unscored": max(row.share_unscored_original or 0.0, row.share_unscored_treatment or 0.0),
        "refused": row.refused,
        "decision": None if judged is None else judged.decision,
        "margin": None if judged is None else judged.margin,
    }

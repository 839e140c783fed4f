"""What may be said of the activity on what is shown: one of five verdicts against a margin fixed beforehand.

At level L0: the activity that the shown posts had gathered, not what people would do. The change is that of
the row of the same name; its interval is analytic, by user, because two one-sided tests need one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.browsing import Status
from eval.clustered import relative_change
from eval.decision import Decision, Gate, Verdict, decide, gate
from eval.margins import Margins
from eval.rows import Cell, Pair, claim
from reranker.columns import IntArray

METHOD = "delta method by cluster, t interval; Fieller where the baseline is noisy"
MARGIN_OF = {
    "positive_activity": "positive_interactions",
    "all_activity": "positive_interactions",
    "reactions": "positive_interactions",
    "clicks": "positive_interactions",
    "comments": "comments",
    "reshares": "shares",
}
GATES = {"positive_activity": "positive_interactions", "comments": "comments", "reshares": "shares"}


@dataclass(frozen=True)
class Guardrail:
    """One activity outcome under one browsing model, judged.

    Attributes:
        metric, browsing: what was judged.
        margin_of: whose margin it is held to.
        margin: the largest relative loss that does not count.
        verdict: None where refused.
        status: REFUSED, or MODEL_ONLY where browsing models lead to other verdicts, else IDENTIFIED.
        reasons: why it is not IDENTIFIED.
        n_requests, n_clusters: what it rests on.
        level: L0 throughout.
    """

    metric: str
    browsing: str
    margin_of: str
    margin: float
    verdict: Verdict | None
    status: Status
    reasons: tuple[str, ...]
    n_requests: int
    n_clusters: int
    level: str = "L0"

    @property
    def decision(self) -> Decision | None:
        """The verdict in one word; None where refused."""
        return None if self.verdict is None else self.verdict.decision


def guardrails(
    cells: Sequence[Cell], pairs: Sequence[Pair], cluster: IntArray, agreed: Margins, *, same_order: bool
) -> tuple[Guardrail, ...]:
    """A verdict on each activity outcome that has a margin, over all candidates, under each browsing model.

    An outcome is held to the margin of its own name where the margins have one.

    Args:
        cells: what was measured.
        pairs: the exposure of each cell under both policies.
        cluster: (r,) codes of the users.
        agreed: the margins.
        same_order: whether both policies rank every request alike.
    """
    made = [
        _guardrail(cell, pair, cluster, agreed)
        for cell, pair in zip(cells, pairs, strict=True)
        if cell.outcome.kind == "activity"
        and cell.segment is None
        and margin_name(cell.outcome.name, agreed) is not None
    ]
    decisions: dict[str, list[Decision | None]] = {}
    for found in made:
        decisions.setdefault(found.metric, []).append(found.decision)
    return tuple(found if same_order else _over_models(found, decisions[found.metric]) for found in made)


def margin_name(metric: str, agreed: Margins) -> str | None:
    """Whose margin an outcome is held to; None where there is none for it."""
    names = (metric, MARGIN_OF.get(metric, metric))
    return next((name for name in names if name in agreed.overall), None)


def gate_of(
    found: Sequence[Guardrail], browsing: str, agreed: Margins, planned_digest: str | None = None
) -> Gate:
    """All guardrails of the margins together, of which a replay can measure but some.

    Args:
        found: the verdicts.
        browsing: the main browsing model.
        agreed: the margins.
        planned_digest: the digest of the margins as planned.
    """
    estimates = {
        GATES[one.metric]: one.verdict.estimate
        for one in found
        if one.browsing == browsing and one.metric in GATES and one.verdict is not None
    }
    known: Mapping[str, float] = agreed.overall
    estimates = {name: estimate for name, estimate in estimates.items() if name in known}
    return gate(estimates, agreed, planned_digest=planned_digest)


def _guardrail(cell: Cell, pair: Pair, cluster: IntArray, agreed: Margins) -> Guardrail:
    name = margin_name(cell.outcome.name, agreed)
    assert name is not None
    first, second = (exposure.mean for exposure in pair)
    used = ~(np.isnan(first) | np.isnan(second))
    n_clusters = len(np.unique(cluster[used]))
    shares = (pair[0].share_unscored or 0.0, pair[1].share_unscored or 0.0) if used.any() else None
    status, reasons = claim(shares, n_clusters, bounded=False)
    found = Guardrail(
        metric=cell.outcome.name,
        browsing=cell.model.name,
        margin_of=name,
        margin=agreed.of(name),
        verdict=None,
        status=status,
        reasons=reasons,
        n_requests=int(used.sum()),
        n_clusters=n_clusters,
    )
    if status == "REFUSED":
        return found
    if not first[used].sum() > 0:
        return replace(found, status="REFUSED", reasons=("baseline: expected some activity, got none",))
    once = np.ones(int(used.sum()))
    change = relative_change((first[used], once), (second[used], once), cluster[used])
    return replace(found, verdict=decide(change, found.margin))


def _over_models(found: Guardrail, decisions: Sequence[Decision | None]) -> Guardrail:
    if found.status == "REFUSED":
        return found
    if len(decisions) < 2:
        reason = "browsing models: expected at least 2, got 1"
    elif len(set(decisions)) > 1:
        reason = "browsing models: expected one verdict under all of them, got several"
    else:
        return found
    return replace(found, status="MODEL_ONLY", reasons=(*found.reasons, reason))

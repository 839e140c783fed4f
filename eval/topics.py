"""The topic guard of a comparison: do people see less harm about a topic, or less of the topic?

The labels give the chance of the topic and of the harm, not of both at once. Their product would claim that
they are independent; so each guard is read twice, at the least and the most that both can coincide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.browsing import Status
from eval.clustered import Estimate
from eval.decision import Decision, Verdict
from eval.exposure import Browsing
from eval.margins import Margins
from eval.outcomes import Outcome
from eval.rows import Seen
from eval.topic_guard import TopicGuard, joint_bounds, topic_guard
from models.taxonomy import DERIVED_PARTS
from reranker.columns import FloatArray, IntArray

TOPIC_MARGIN = 0.05  # where the margins name none for the topic
NO_USERS = "users: expected at least 2, got 1"


@dataclass(frozen=True)
class TopicFinding:
    """One topic and one harmful treatment of it, under one browsing model.

    Attributes:
        topic, harm: the labels.
        browsing: the browsing model.
        margin: the largest relative loss of views of the topic without the harm.
        harmless, harmful: change of the share of views that are about the topic and without the harm, or
            with it; at the least and at the most that the two can coincide; None where refused.
        verdicts: on `harmless`, in that order; () where refused.
        passes: whether both are non-inferior.
        status: REFUSED, MODEL_ONLY where browsing models disagree, BOUNDED where the two readings do, or
            IDENTIFIED.
        reasons: why it is not IDENTIFIED.
        level: L0 throughout.
    """

    topic: str
    harm: str
    browsing: str
    margin: float
    harmless: tuple[Estimate | None, Estimate | None]
    harmful: tuple[Estimate | None, Estimate | None]
    verdicts: tuple[Verdict, ...]
    passes: bool
    status: Status
    reasons: tuple[str, ...]
    level: str = "L0"

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The verdicts in one word each; () where refused."""
        return tuple(verdict.decision for verdict in self.verdicts)


def topic_findings(
    seen: Seen,
    outcomes: Sequence[Outcome],
    *,
    offsets: IntArray,
    cluster: IntArray,
    agreed: Margins,
    same_order: bool,
) -> tuple[TopicFinding, ...]:
    """Civic and health posts beside the harmful treatment of them, where the outcomes hold both labels.

    Args:
        seen: how likely each candidate is seen under each policy, by browsing model.
        outcomes: what is measured.
        offsets: (r + 1,) candidates of each request.
        cluster: (r,) codes of the users.
        agreed: the margins; one of the topic's name is used where there is one.
        same_order: whether both policies rank every request alike.
    """
    values = {outcome.name: outcome.values for outcome in outcomes}
    made: list[TopicFinding] = []
    for topic, harm in DERIVED_PARTS.values():
        if topic in values and harm in values:
            margin = agreed.overall.get(topic, TOPIC_MARGIN)
            parts = (values[topic], values[harm])
            found = [
                _finding((topic, harm), model, margin, _guards(pair, parts, (offsets, cluster), margin))
                for model, pair in seen.items()
            ]
            made += found if same_order else _over_models(found)
    return tuple(made)


def _guards(
    pair: tuple[FloatArray, FloatArray],
    parts: tuple[FloatArray, FloatArray],
    codes: tuple[IntArray, IntArray],
    margin: float,
) -> tuple[TopicGuard, ...]:
    """The guard at the least and the most that topic and harm can coincide; () for want of users."""
    offsets, cluster = codes
    if len(np.unique(cluster)) < 2 or any(not seen.sum() > 0 for seen in pair):
        return ()
    return tuple(
        topic_guard(pair, parts[0], joint, offsets=offsets, cluster=cluster, margin=margin)
        for joint in joint_bounds(*parts)
    )


def _finding(
    labels: tuple[str, str], model: Browsing, margin: float, guards: tuple[TopicGuard, ...]
) -> TopicFinding:
    reasons = tuple(dict.fromkeys(reason for guard in guards for reason in guard.reasons))
    if not guards:
        reasons = (NO_USERS,)
    verdicts = tuple(guard.verdict for guard in guards if guard.verdict is not None)
    status: Status = "IDENTIFIED"
    if reasons:
        status, verdicts = "REFUSED", ()
    elif len({verdict.decision for verdict in verdicts}) > 1:
        status = "BOUNDED"
        reasons = ("topic and harm: expected one verdict however they coincide, got two",)
    none: tuple[None, None] = (None, None)
    return TopicFinding(
        topic=labels[0],
        harm=labels[1],
        browsing=model.name,
        margin=margin,
        harmless=none if status == "REFUSED" else (guards[0].harmless, guards[1].harmless),
        harmful=none if status == "REFUSED" else (guards[0].harmful, guards[1].harmful),
        verdicts=verdicts,
        passes=bool(verdicts) and all(verdict.non_inferior for verdict in verdicts),
        status=status,
        reasons=reasons,
    )


def _over_models(found: Sequence[TopicFinding]) -> list[TopicFinding]:
    told = {one.decisions for one in found if one.status != "REFUSED"}
    reason = ""
    if len(found) < 2:
        reason = "browsing models: expected at least 2, got 1"
    elif len(told) > 1:
        reason = "browsing models: expected one verdict under all of them, got several"
    return [
        replace(one, status="MODEL_ONLY", reasons=(*one.reasons, reason))
        if reason and one.status != "REFUSED"
        else one
        for one in found
    ]

"""Whether a demotion of harm silences its topic: exposure to the topic beside exposure to harm about it.

A policy against vaccine misinformation should show less of it and not less about vaccines. So the exposure
to the rest of the topic must be non-inferior within a margin that was fixed beforehand.
"""

from dataclasses import dataclass

import numpy as np

from eval.browsing import Status
from eval.clustered import Estimate, relative_change
from eval.decision import Verdict, decide
from eval.harm_views import MOST_UNSCORED, MOST_UNSCORED_GAP
from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.engagement import request_sums


@dataclass(frozen=True)
class TopicGuard:
    """What a policy does to a topic and to its harmful treatment; changes are shares, per view.

    Attributes:
        status: IDENTIFIED, or REFUSED with reasons.
        reasons: why it is refused.
        topic: change of the share of views that are about the topic; None where refused.
        harmful: change of the share that are harmful treatments of it; None where there were none.
        harmless: change of the share that are about it and harmless.
        verdict: of `harmless` against the margin, more being better; None where refused.
        passes: whether `harmless` is non-inferior.
    """

    status: Status
    reasons: tuple[str, ...]
    topic: Estimate | None
    harmful: Estimate | None
    harmless: Estimate | None
    verdict: Verdict | None
    passes: bool


def topic_guard(
    examinations: tuple[FloatArray, FloatArray],
    topic: FloatArray,
    harmful: FloatArray,
    *,
    offsets: IntArray,
    cluster: IntArray,
    margin: float,
) -> TopicGuard:
    """Exposure to a topic and to its harmful treatment, from one policy to another.

    Args:
        examinations: (c,) examination of each candidate under the baseline, and under the other policy.
        topic: (c,) probability that it is about the topic, NaN where not scored.
        harmful: (c,) probability that it is about the topic and harmful, at most `topic`; see `joint_bounds`
            where only the two are known. NaN where not scored.
        offsets: (n + 1,) candidates of each request.
        cluster: (n,) codes of the users.
        margin: largest relative loss of harmless exposure to the topic.

    Raises:
        ValueError: harm beyond the topic, probabilities outside [0, 1], or fewer than 2 users.
    """
    known = ~(np.isnan(topic) | np.isnan(harmful))
    _check(topic[known], harmful[known])
    lost = [float(seen[~known].sum() / seen.sum()) for seen in examinations]
    reasons = []
    if max(lost) > MOST_UNSCORED or abs(lost[1] - lost[0]) > MOST_UNSCORED_GAP:
        reasons.append(f"unscored views: expected at most 2% and alike, got {lost[0]:.2%} and {lost[1]:.2%}")
    parts = (topic, harmful, topic - harmful)
    both = [_columns(seen, parts, known, offsets) for seen in examinations]  # (4, n): three parts, views
    sums = both[0].sum(axis=1)
    if sums[2] <= 0:
        reasons.append("topic: expected harmless views of it under the baseline, got none")
    if reasons:
        return TopicGuard("REFUSED", tuple(reasons), None, None, None, None, False)
    whole, harm, rest = (
        relative_change((both[0][i], both[0][3]), (both[1][i], both[1][3]), cluster) if sums[i] > 0 else None
        for i in range(3)
    )
    assert rest is not None
    verdict = decide(rest, margin)
    return TopicGuard("IDENTIFIED", (), whole, harm, rest, verdict, verdict.non_inferior)


def joint_bounds(topic: FloatArray, harm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(c,) least and most probable "about the topic and harmful" from the two probabilities alone.

    They meet where either is sure; else guard with both, for a product would claim independence.

    Source: Fréchet, Généralisation du théorème des probabilités totales, 1935.
    """
    return np.maximum(topic + harm - 1.0, 0.0), np.minimum(topic, harm)


def _columns(
    seen: FloatArray, parts: tuple[FloatArray, ...], known: BoolArray, offsets: IntArray
) -> FloatArray:
    """(parts + 1, n) expected views per request of each part, and of all that is scored."""
    scored = np.where(known, seen, 0.0)
    rows = [request_sums(scored * np.where(known, part, 0.0), offsets) for part in parts]
    return np.array([*rows, request_sums(scored, offsets)])


def _check(topic: FloatArray, harmful: FloatArray) -> None:
    if not ((harmful >= 0) & (topic <= 1)).all():
        raise ValueError("topic, harmful: expected probabilities in [0, 1] or NaN")
    if not (harmful <= topic + 1e-12).all():
        raise ValueError("harmful: expected at most the probability of the topic, got more")

"""From engagement and harm to the final score of each candidate, a run of requests at a time.

Order of operations: sum, split into good and bad, bound, demote. Boosts are part of the sum, so that none
can lift a post above the ceiling that its demotion sets (C11).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reranker.anger import AngerTest
from reranker.columns import FeedError, FloatArray, IntArray
from reranker.demotion import borderline, fit_bound, lowered, repeated
from reranker.engagement import Engagement, Group, request_sums
from reranker.feed import Feed
from reranker.policy import Policy
from reranker.value import Harms, endorsement, harm_columns, post_quality


@dataclass(frozen=True, eq=False)
class Job:
    """What the scoring of a feed reads. `labels` is (n,) the weighted label score, or None."""

    feed: Feed
    policy: Policy
    harms: Harms | None
    engagement: Engagement
    anger: AngerTest | None
    labels: FloatArray | None


@dataclass(eq=False)
class Columns:
    """What the scoring of a feed writes, each (n,); see `Ranking` for their meaning."""

    positive: FloatArray
    good: FloatArray
    negative: FloatArray
    base_score: FloatArray
    bounded: FloatArray
    multiplier: FloatArray
    score: FloatArray

    @classmethod
    def empty(cls, n: int) -> "Columns":
        """Columns of n rows, to be written."""
        return cls(*(np.empty(n) for _ in range(7)))


def score_block(columns: Columns, job: Job, start: int, stop: int) -> None:
    """Write the columns of requests start to stop; no other request is read."""
    policy = job.policy
    offsets = job.feed.offsets[start : stop + 1]
    rows = np.s_[int(offsets[0]) : int(offsets[-1])]
    offsets = offsets - offsets[0]
    harm = harm_columns(job.harms, rows)
    quality = quality_of(job, rows, harm)
    positive, good, negative = _sum_engagement(job, rows, offsets, quality)
    total = positive + negative
    base = total
    if policy.value.bad_weight != 1.0:
        base = good + policy.value.bad_weight * (positive - good) + negative
    if job.labels is not None:
        base = base + job.labels[rows]
    if policy.score.negative_squash:
        base = _squash(base, policy)
    if policy.score.order_by != "engagement":
        base = _order_without_engagement(job.feed, policy, rows)
    multiplier = np.ones(len(base))
    for _, one in demotions(job, rows, harm):
        multiplier *= one
    bounded = base
    if policy.score.bounded:
        request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        bounded = fit_bound(total, offsets).apply(base, request)
    columns.positive[rows] = positive
    columns.good[rows] = good
    columns.negative[rows] = negative
    columns.base_score[rows] = base
    columns.bounded[rows] = bounded
    columns.multiplier[rows] = multiplier
    columns.score[rows] = lowered(bounded, multiplier)


def quality_of(job: Job, rows: slice, harm: dict[str, tuple[FloatArray, FloatArray]]) -> FloatArray | None:
    """The quality of some posts, see `post_quality`."""
    value = job.policy.value
    tone = job.harms.comment_toxicity[rows] if job.harms is not None and value.comment_toxicity else None
    angry = job.engagement.angry_share[rows] if value.angry_share else None
    return post_quality(job.policy, harm, tone, angry)


def demotions(
    job: Job, rows: slice, harm: dict[str, tuple[FloatArray, FloatArray]]
) -> Iterator[tuple[str, FloatArray]]:
    """Name and multiplier of each demotion that this policy and feed have, for some rows."""
    policy, feed = job.policy, job.feed
    for label, curve in policy.demotion.items():
        if label in harm:
            probability, confidence = harm[label]
            multiplier = borderline(probability, confidence, curve)
            yield label, np.where(np.isnan(multiplier), policy.unscored.multiplier, multiplier)
    if job.anger is not None:
        yield "anger", job.anger.multiplier[rows]
    if policy.repeat_offender is not None and "author_violations" not in feed.missing:
        yield "repeat_offender", repeated(feed.author_violations[rows], policy.repeat_offender)
    if policy.fatigue is not None and "see_less_requests" not in feed.missing:
        yield "fatigue", repeated(feed.see_less_requests[rows], policy.fatigue)


def signal_parts(job: Job, rows: slice, offsets: IntArray) -> dict[str, FloatArray]:
    """Each signal's part of the engagement of some whole requests, after the guard; they sum to the total."""
    parts: dict[str, FloatArray] = {}
    classes = None if job.engagement.weight_class is None else job.engagement.weight_class[rows]
    for group in job.engagement.groups:
        for j, name in enumerate(group.names):
            if not group.weights[:, j].any():
                continue
            part = _part(group, j, rows, classes)
            part = part if group.multiplier is None else part * group.multiplier[rows]
            parts[name] = parts[name] + part if name in parts else part
    gains = {name: np.maximum(part, 0.0) for name, part in parts.items()}
    for name, taken in _over_guard(job.policy, gains, offsets):
        parts[name] = parts[name] - taken
    return parts


def _part(group: Group, j: int, rows: slice, classes: NDArray[np.int32] | None) -> FloatArray:
    column = group.weights[:, j]
    part: FloatArray = group.values[j, rows] * (column[0] if classes is None else column[classes])
    return part


def _sum_engagement(
    job: Job, rows: slice, offsets: IntArray, quality: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positive, good and negative engagement of some rows, summed signal by signal in a fixed order."""
    engagement, policy, size = job.engagement, job.policy, int(offsets[-1])
    positive, fixed, scaled, negative = (np.zeros(size) for _ in range(4))
    split = bool(policy.value.endorsed or policy.value.sensitivity)
    guarded = policy.guard.max_signal_share < 1.0
    gains: dict[str, FloatArray] = {}
    classes = None if engagement.weight_class is None else engagement.weight_class[rows]
    for group in engagement.groups:
        always, with_quality = endorsement(policy, group.names)
        closeness = None if group.multiplier is None else group.multiplier[rows]
        for j, name in enumerate(group.names):
            column = group.weights[:, j]
            low, high = column.min(), column.max()
            if low == 0.0 == high:
                continue
            part = _part(group, j, rows, classes)
            if closeness is not None:
                part *= closeness
            if low < 0:
                negative += part if high <= 0 else np.minimum(part, 0.0)
            if high > 0:
                gain = part if low >= 0 else np.maximum(part, 0.0)
                positive += gain
                if split:
                    fixed += always[j] * gain
                    scaled += with_quality[j] * gain
                if guarded:
                    gains[name] = gains[name] + gain if name in gains else gain
    for name, taken in _over_guard(policy, gains, offsets) if guarded else ():
        positive -= taken
        if split:
            always, with_quality = endorsement(policy, (name,))
            fixed -= always[0] * taken
            scaled -= with_quality[0] * taken
    if engagement.cost is not None:
        negative -= engagement.cost[rows]
    if not split:
        return positive, positive, negative
    return positive, fixed + (scaled if quality is None else scaled * quality), negative


def _over_guard(
    policy: Policy, gains: dict[str, FloatArray], offsets: IntArray
) -> Iterator[tuple[str, FloatArray]]:
    """What the guard takes from a signal that carries more than its share of a request (W32).

    The share is at least a half, so at most one signal of a request is over it. A request with one signal
    only is left alone.
    """
    most = policy.guard.max_signal_share
    if most == 1.0 or not gains:
        return
    own = np.array([request_sums(part, offsets) for part in gains.values()])  # (signals, requests)
    others = own.sum(axis=0) - own
    over = (own * (1.0 - most) > most * others) & (others > 1e-9 * own)
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    for i, (name, part) in enumerate(gains.items()):
        if over[i].any():
            with np.errstate(divide="ignore", invalid="ignore"):
                factor = np.where(over[i], most / (1.0 - most) * others[i] / own[i], 1.0)
            yield name, part * (1.0 - factor[request])


def _squash(base: FloatArray, policy: Policy) -> FloatArray:
    """Negative sums below every positive one. Source: published heavy-ranker code, 2023."""
    weights = np.array(list(policy.weights.values()))
    negative, every = -weights[weights < 0].sum(), np.abs(weights).sum()
    return np.where(base < 0, (base + negative) / every * 0.001, base + 0.001)


def _order_without_engagement(feed: Feed, policy: Policy, rows: slice) -> FloatArray:
    """Seconds since 1970, or a number in [0, 1) that is a hash of seed, request and post."""
    if policy.score.order_by == "chronological":
        created = feed.created_at[rows]
        if np.isnat(created).any():
            at = int(np.flatnonzero(np.isnat(created))[0]) + (rows.start or 0)
            raise FeedError(
                f"created_at: expected a time (policy {policy.name} needs it), got null at row {at}"
            )
        return created.astype("datetime64[us]").astype(np.int64) / 1e6
    requests = feed.request_id.codes[feed.request_of_row[rows]].tolist()
    posts = feed.post_id.codes[rows].tolist()
    names = zip(requests, posts, strict=True)
    seed, request_id, post_id = policy.score.seed, feed.request_id.values, feed.post_id.values
    return np.array([unit_hash(f"{seed}\x1f{request_id[r]}\x1f{post_id[p]}") for r, p in names])


def unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text only."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2.0**48

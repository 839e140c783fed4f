"""From engagement and harm to the final score of each candidate, a run of requests at a time.

Order of operations: sum, split into good and bad, bound, demote. Boosts are part of the sum, so that none
can lift a post above the ceiling that its demotion sets (C11).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reranker.anger import AngerTest
from reranker.columns import FeedError, FloatArray, IntArray
from reranker.demotion import borderline, fit_bound, lowered, repeated
from reranker.engagement import Engagement, Group, request_sums
from reranker.feed import Feed
from reranker.policy import Curve, Policy
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
            yield label, _curve_multiplier(*harm[label], curve, policy.unscored.multiplier)
    if job.anger is not None:
        yield "anger", job.anger.multiplier[rows]
    if policy.repeat_offender is not None and "author_violations" not in feed.missing:
        yield "repeat_offender", repeated(feed.author_violations[rows], policy.repeat_offender)
    if policy.fatigue is not None and "see_less_requests" not in feed.missing:
        yield "fatigue", repeated(feed.see_less_requests[rows], policy.fatigue)


def _curve_multiplier(
    probability: FloatArray, confidence: FloatArray, curve: Curve, unscored: float
) -> FloatArray:
    """The borderline curve, worked out only where it has an effect: few posts are near a line."""
    multiplier = np.ones(len(probability))
    near = np.flatnonzero(probability >= curve.start)  # NaN is not
    multiplier[near] = borderline(probability[near], confidence[near], curve)
    if unscored != 1.0:
        multiplier[np.isnan(probability)] = unscored
    return multiplier


def signal_parts(job: Job, rows: slice, offsets: IntArray) -> dict[str, FloatArray]:
    """Each signal's part of the engagement of some whole requests, after the guard; they sum to the total."""
    parts: dict[str, FloatArray] = {}
    factors = _guard_factors(job, rows, offsets)
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    for group in job.engagement.groups:
        for j, name in enumerate(group.names):
            if not group.weights[:, j].any():
                continue
            weight = _weight(job, group, j, rows)
            part = group.values[j, rows] * weight
            if name in factors:
                part = np.where(part > 0, part * factors[name][request], part)
            if group.multiplier is not None:
                part = part * group.multiplier[rows]
            parts[name] = parts[name] + part if name in parts else part
    return parts


def _weight(job: Job, group: Group, j: int, rows: slice) -> float | FloatArray:
    """The weight of a signal: one number where it is the same for all rows."""
    column = group.weights[:, j]
    classes = job.engagement.weight_class
    if classes is None or (column == column[0]).all():
        return float(column[0])
    here = classes[rows]
    if here.size and (here == here[0]).all():
        return float(column[here[0]])
    return column[here]


def _sum_engagement(
    job: Job, rows: slice, offsets: IntArray, quality: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positive, good and negative engagement of some rows, summed signal by signal in a fixed order."""
    size, value = int(offsets[-1]), job.policy.value
    split = bool(value.endorsed or value.sensitivity)
    total = np.zeros((4, size))  # positive, endorsed anyway, endorsed with quality, negative
    factors = _guard_factors(job, rows, offsets)
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    work = np.empty((3, size))
    for group in job.engagement.groups:
        always, with_quality = endorsement(job.policy, group.names)
        sums = np.zeros((4, size)) if group.multiplier is not None else total
        for j, name in enumerate(group.names):
            weight, x = _weight(job, group, j, rows), group.values[j, rows]
            if isinstance(weight, float):
                if weight == 0.0:
                    continue
                gain, loss = (x * factors[name][request] if name in factors else x), None
                if weight < 0:
                    np.multiply(x, weight, out=work[0])
                    sums[3] += work[0]
                    continue
                shares = np.array([[weight], [weight * always[j]], [weight * with_quality[j]]])
            else:
                part = x * weight
                gain, loss = np.maximum(part, 0.0), np.minimum(part, 0.0)
                gain = gain * factors[name][request] if name in factors else gain
                shares = np.array([[1.0], [always[j]], [with_quality[j]]])
                sums[3] += loss
            used = 3 if split else 1
            np.multiply(shares[:used], gain, out=work[:used])
            sums[:used] += work[:used]
        if group.multiplier is not None:
            sums *= group.multiplier[rows]
            total += sums
    positive, fixed, scaled, negative = total
    if job.engagement.cost is not None:
        negative = negative - job.engagement.cost[rows]
    if not split:
        return positive, positive, negative
    return positive, fixed + (scaled if quality is None else scaled * quality), negative


def _guard_factors(job: Job, rows: slice, offsets: IntArray) -> dict[str, FloatArray]:
    """(r,) what scales down a signal that carries more than its share of a request (W32), by signal.

    The share is at least a half, so at most one signal of a request is over it. A request with one signal
    only is left alone.
    """
    most = job.policy.guard.max_signal_share
    if most == 1.0:
        return {}
    sums: dict[str, FloatArray] = {}
    for group in job.engagement.groups:
        closeness = None if group.multiplier is None else group.multiplier[rows]
        for j, name in enumerate(group.names):
            weight = _weight(job, group, j, rows)
            if isinstance(weight, float) and weight <= 0:
                continue
            gain = group.values[j, rows]
            if closeness is not None:
                gain = gain * closeness
            if isinstance(weight, float):
                own = weight * request_sums(gain, offsets)
            else:
                own = request_sums(np.maximum(gain * weight, 0.0), offsets)
            sums[name] = sums[name] + own if name in sums else own
    if not sums:
        return {}
    own = np.array(list(sums.values()))  # (signals, requests)
    others = own.sum(axis=0) - own
    over = (own * (1.0 - most) > most * others) & (others > 1e-9 * own)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(over, most / (1.0 - most) * others / own, 1.0)
    return {name: factor[i] for i, name in enumerate(sums) if over[i].any()}


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

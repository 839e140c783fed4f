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
from reranker.counting import count_interactions
from reranker.demotion import borderline, fit_bound, lowered, repeated
from reranker.engagement import Engagement, measure_engagement
from reranker.feed import Feed
from reranker.kernel import add_engagement, add_signal_sums, read_harms
from reranker.policy import Policy
from reranker.value import Harms, endorsement

LEAST_KEPT = 0.1  # of a signal by the guard


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
    quality, multiplier = read(job, rows)
    positive, good, negative = _sum_engagement(job, rows, offsets, quality)
    total = positive + negative
    base = total
    if policy.value.bad_weight == 0.0:
        base = good + negative
    elif policy.value.bad_weight != 1.0:
        base = good + policy.value.bad_weight * (positive - good) + negative
    if job.labels is not None:
        base = base + job.labels[rows]
    if policy.score.negative_squash:
        base = _squash(base, policy)
        if job.engagement.after_squash is not None:
            base = base * job.engagement.after_squash[rows]
    if policy.score.order_by != "engagement":
        base = _order_without_engagement(job.feed, policy, rows)
    for _, one in _other_demotions(job, rows):
        multiplier *= one
    bounded = base
    if policy.score.bounded:
        request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        bounded = fit_bound(bound_reference(policy, total, base), offsets).apply(base, request)
    columns.positive[rows] = positive
    columns.good[rows] = good
    columns.negative[rows] = negative
    columns.base_score[rows] = base
    columns.bounded[rows] = bounded
    columns.multiplier[rows] = multiplier
    columns.score[rows] = lowered(bounded, multiplier)


def bound_reference(policy: Policy, engagement: FloatArray, base: FloatArray) -> FloatArray:
    """(n,) what the bound is fitted to: the engagement, or the base score where engagement does not order."""
    return engagement if policy.score.order_by == "engagement" else base


def read(job: Job, rows: slice) -> tuple[FloatArray, FloatArray]:
    """Quality of some posts, 1 where nothing speaks against one, and their demotion by estimates of harm.

    What was not measured takes nothing off: the result's `unscored` names it.
    """
    policy, value = job.policy, job.policy.value
    quality, multiplier = np.ones(rows.stop - rows.start), np.ones(rows.stop - rows.start)
    if job.harms is not None:
        posts, at = job.harms.posts, {label: i for i, label in enumerate(job.harms.posts.labels)}
        harms = [(at[label], weight) for label, weight in value.harms.items() if label in at]
        curves = [(at[k], (c.start, c.line, c.floor)) for k, c in policy.demotion.items() if k in at]
        read_harms(
            posts.probability,
            posts.confidence,
            rows.start,
            np.array([column for column, _ in harms], dtype=np.int64),
            np.array([weight for _, weight in harms], dtype=np.float64),
            np.array([column for column, _ in curves], dtype=np.int64),
            np.array([curve for _, curve in curves], dtype=np.float64).reshape(-1, 3),
            policy.unscored.multiplier,
            quality,
            multiplier,
        )
        if value.comment_toxicity:
            quality *= 1.0 - value.comment_toxicity * np.fmax(job.harms.comment_toxicity[rows], 0.0)
    if value.angry_share:
        quality *= 1.0 - value.angry_share * np.fmax(job.engagement.angry_share[rows], 0.0)  # fmax: NaN is 0
    return quality, multiplier


def demotions(job: Job, rows: slice) -> Iterator[tuple[str, FloatArray]]:
    """Name and multiplier of each demotion that this policy and feed have, for some rows."""
    counted = np.zeros(rows.stop - rows.start, dtype=bool)
    for label, curve in job.policy.demotion.items():
        if job.harms is not None and label in job.harms.posts.labels:
            probability, confidence = (one[rows].astype(np.float64) for one in job.harms.posts.column(label))
            multiplier = borderline(probability, confidence, curve)
            unknown = np.isnan(multiplier)
            multiplier[unknown] = np.where(counted[unknown], 1.0, job.policy.unscored.multiplier)
            counted |= unknown  # once per post, however many of its labels are unknown
            yield label, multiplier
    yield from _other_demotions(job, rows)


def _other_demotions(job: Job, rows: slice) -> Iterator[tuple[str, FloatArray]]:
    """Those that no estimate of harm decides."""
    policy, feed = job.policy, job.feed
    if job.anger is not None:
        yield "anger", job.anger.multiplier[rows]
    if policy.repeat_offender is not None and "author_violations" not in feed.missing:
        yield "repeat_offender", repeated(feed.author_violations[rows], policy.repeat_offender)
    if policy.fatigue is not None and "see_less_requests" not in feed.missing:
        yield "fatigue", repeated(feed.see_less_requests[rows], policy.fatigue)


def signal_parts(job: Job, rows: slice, offsets: IntArray) -> dict[str, FloatArray]:
    """Each signal's part of the engagement of some whole requests, after the guard; they sum to the total."""
    parts: dict[str, FloatArray] = {}
    factors = _guard_factors(job, rows, offsets)
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    for group in job.engagement.groups:
        for j, name in enumerate(group.names):
            if not group.weights[:, j].any():
                continue
            classes = job.engagement.weight_class
            column = group.weights[:, j]
            part = group.values[j, rows] * (column[0] if classes is None else column[classes[rows]])
            if name in factors:
                part = np.where(part > 0, part * factors[name][request], part)
            if group.multiplier is not None:
                part = part * group.multiplier[rows]
            parts[name] = parts[name] + part if name in parts else part
    return parts


def effective_weights(feed: Feed, policy: Policy) -> list[tuple[str, float, float, float]]:
    """What each signal really carries on a feed: (signal, stated weight, total count, share of the score).

    The share is of the sum of absolute contributions, after the guard; it is what W2's "a little more than a
    like" hides.
    """
    job = Job(feed, policy, None, measure_engagement(feed, policy), None, None)
    parts = signal_parts(job, np.s_[0 : feed.n], feed.offsets)
    carried = {name: float(np.abs(part).sum()) for name, part in parts.items()}
    total = sum(carried.values())
    acts = count_interactions(feed, policy)
    counts: dict[str, float] = {}
    for signals in [feed.signals] if acts is None else [feed.signals, acts.totals()]:
        counts |= {name: float(signals.counted(name).sum()) for name in signals.names}
    names = [name for name in counts if name in policy.weights or name in carried]
    return [
        (name, policy.weights.get(name, 0.0), counts[name], carried.get(name, 0.0) / total if total else 0.0)
        for name in names
    ]


def _sum_engagement(
    job: Job, rows: slice, offsets: IntArray, quality: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positive, good and negative engagement of some rows, summed signal by signal in a fixed order."""
    value = job.policy.value
    total = np.zeros((4, int(offsets[-1])))  # positive, endorsed anyway, endorsed with quality, negative
    factors = _guard_factors(job, rows, offsets)
    classes = _classes(job, rows)
    for group in job.engagement.groups:
        shares = np.array(endorsement(job.policy, group.names))
        factor = _NOTHING
        if factors:
            one = np.ones(len(offsets) - 1)
            factor = np.array([factors.get(name, one) for name in group.names])
        multiplier = _NONE if group.multiplier is None else group.multiplier
        weights = group.weights if classes.size else group.weights[_class(job, rows)]
        add_engagement(
            group.values, weights, classes, multiplier, offsets + rows.start, shares, factor, total
        )
    positive, fixed, scaled, negative = total
    if job.engagement.cost is not None:
        negative = negative - job.engagement.cost[rows]
    if not (value.endorsed or value.sensitivity):
        return positive, positive, negative
    return positive, fixed + scaled * quality, negative


_NONE = np.zeros(0)
_NOTHING = np.zeros((0, 0))
_NO_CLASSES = np.zeros(0, dtype=np.int32)


def _classes(job: Job, rows: slice) -> NDArray[np.int32]:
    """Weight class of every row of the feed, or nothing where the rows here are of one class."""
    classes = job.engagement.weight_class
    if classes is None or (classes[rows] == classes[rows.start : rows.start + 1]).all():
        return _NO_CLASSES
    return classes


def _class(job: Job, rows: slice) -> slice:
    """The one weight class of these rows, as a slice of the classes."""
    classes = job.engagement.weight_class
    at = 0 if classes is None or rows.start == rows.stop else int(classes[rows.start])
    return np.s_[at : at + 1]


def _guard_factors(job: Job, rows: slice, offsets: IntArray) -> dict[str, FloatArray]:
    """(r,) what scales down a signal that carries more than its share of a request (W32), by signal.

    The share is at least a half, so at most one signal of a request is over it. A request with one signal
    only is left alone.
    """
    most = job.policy.guard.max_signal_share
    if most == 1.0:
        return {}
    names = tuple(dict.fromkeys(name for group in job.engagement.groups for name in group.names))
    own = np.zeros((len(names), len(offsets) - 1))
    classes = _classes(job, rows)
    for group in job.engagement.groups:
        signal = np.array([names.index(name) for name in group.names], dtype=np.int64)
        multiplier = _NONE if group.multiplier is None else group.multiplier
        weights = group.weights if classes.size else group.weights[_class(job, rows)]
        add_signal_sums(group.values, weights, classes, multiplier, offsets + rows.start, signal, own)
    others = sum(own, np.zeros(own.shape[1])) - own  # in a fixed order: axis sums depend on the shape
    over = (own * (1.0 - most) > most * others) & (others > 1e-9 * own)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(over, np.maximum(most / (1.0 - most) * others / own, LEAST_KEPT), 1.0)
    return {name: factor[i] for i, name in enumerate(names) if over[i].any() and name != "like"}


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

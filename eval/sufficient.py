"""Statistics of a partition of requests that add up: any split, any order, any machine, the same bytes.

Rows are clustered by user, so what is kept per cluster is its totals: either per user (exact, up to some
20 million users) or per one of 4,096 buckets that users are hashed into, which bounds the memory and costs
almost no precision, as 4,096 random groups of users are independent clusters themselves. Squares and
products are of requests; beside the clustered error they give the design effect and the gain from pairing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.exact import ExactSums, group_moments, group_sums, resampled_sums
from eval.hashing import bucket_of, distinct_keys
from reranker.columns import FloatArray, IntArray, frozen

MOMENTS = ("sum", "square", "with_baseline", "with_first")
SKETCH = 4_096


@dataclass(frozen=True)
class Plan:
    """What decides the statistics; only those of one plan add up.

    Attributes:
        policies: P names, the baseline first.
        metrics: M names; the first, such as views, is what rates are per.
        segments: S names, each request in one.
        by: clusters are users, or buckets of users.
        n_resamples: of the bootstrap over users; 0 for none.
        seed: of the bootstrap.
        setting: whatever else decided the values, such as a digest of the policies.
    """

    policies: tuple[str, ...]
    metrics: tuple[str, ...]
    segments: tuple[str, ...] = ("all",)
    by: Literal["bucket", "user"] = "bucket"
    n_resamples: int = 0
    seed: int = 0
    setting: str = ""

    def __post_init__(self) -> None:
        for name in ("policies", "metrics", "segments"):
            names: tuple[str, ...] = getattr(self, name)
            if not names or len(set(names)) != len(names):
                raise ValueError(f"{name}: expected at least one name and each once, got {names}")
        if self.n_resamples < 0:
            raise ValueError(f"n_resamples: expected 0 or more, got {self.n_resamples}")


@dataclass(frozen=True, eq=False)
class SufficientStatistics:
    """What a set of requests adds to every estimate; build with `accumulate`, add with `merge`.

    Attributes:
        plan: what decides them.
        key: (k,) sorted: user keys, or buckets.
        n_requests: (k, S) int64.
        moments: (4, k, S, P, M) sums of the value x, of its square, of its product with x under the first
            policy, and with the first metric under its own policy.
        replicates: (n_resamples, S, P, M) sums of x under Poisson(1) weights of the users.
        sketch: (at most 4096,) the smallest user keys, which tell how many users there are.
    """

    plan: Plan
    key: NDArray[np.uint64]
    n_requests: IntArray
    moments: ExactSums
    replicates: ExactSums
    sketch: NDArray[np.uint64]

    def __post_init__(self) -> None:
        plan, k = self.plan, len(self.key)
        cell = (len(plan.segments), len(plan.policies), len(plan.metrics))
        for name, found, expected in (
            ("n_requests", self.n_requests.shape, (k, cell[0])),
            ("moments", self.moments.high.shape, (len(MOMENTS), k, *cell)),
            ("replicates", self.replicates.high.shape, (plan.n_resamples, *cell)),
        ):
            if found != expected:
                raise ValueError(f"{name}: expected shape {expected}, got {found}")
        if (self.key[1:] <= self.key[:-1]).any():
            raise ValueError("key: expected increasing keys")
        for array in (self.key, self.n_requests, self.sketch):
            frozen(array)


def empty(plan: Plan) -> SufficientStatistics:
    """The statistics of no request: adding them changes nothing."""
    cell = (len(plan.segments), len(plan.policies), len(plan.metrics))
    none = np.zeros(0, dtype=np.uint64)
    return SufficientStatistics(
        plan,
        none,
        np.zeros((0, cell[0]), dtype=np.int64),
        ExactSums.zeros(len(MOMENTS), 0, *cell),
        ExactSums.zeros(plan.n_resamples, *cell),
        none.copy(),
    )


def accumulate(
    values: FloatArray, user: NDArray[np.uint64], segment: NDArray[np.integer], plan: Plan
) -> SufficientStatistics:
    """The statistics of n requests.

    Args:
        values: (n, P, M) of each request under each policy, finite: a value that is missing has no place in
            a sum; count the posts without it as a metric of its own.
        user: (n,) keys of `hashing.user_keys`.
        segment: (n,) index into `plan.segments`.
        plan: what the values are.

    Raises:
        ValueError: shapes that do not fit the plan, an unknown segment, or values that are not finite.
    """
    n, n_segments = len(user), len(plan.segments)
    shape = (n, len(plan.policies), len(plan.metrics))
    if values.shape != shape or segment.shape != (n,):
        raise ValueError(
            f"values: expected shape {shape} with a segment each, got {values.shape}, {segment.shape}"
        )
    if n and not (int(segment.min()) >= 0 and int(segment.max()) < n_segments):
        raise ValueError(f"segment: expected 0 to {n_segments - 1}, got {segment.min()} to {segment.max()}")
    if not n:
        return empty(plan)
    users, code = distinct_keys(user)
    key = users
    if plan.by == "bucket":
        key, bucket = np.unique(bucket_of(users), return_inverse=True)
        code = bucket[code]
    cell = code * n_segments + segment
    n_cells = len(key) * n_segments
    moments = group_moments(values, cell, n_cells)
    return SufficientStatistics(
        plan,
        key,
        np.bincount(cell, minlength=n_cells).reshape(len(key), n_segments),
        _shaped(moments, len(MOMENTS), len(key), n_segments, *shape[1:]),
        _replicates(values.reshape(n, -1), user, segment, plan),
        users[:SKETCH].copy(),
    )


def merge(first: SufficientStatistics, second: SufficientStatistics) -> SufficientStatistics:
    """The statistics of both sets of requests, which must have none in common.

    Associative and commutative to the byte; `empty` is neutral.

    Raises:
        ValueError: they are of different plans.
    """
    if first.plan != second.plan:
        raise ValueError(f"merge: expected statistics of one plan, got {first.plan} and {second.plan}")
    key = np.union1d(first.key, second.key)
    n_requests = np.zeros((len(key), *first.n_requests.shape[1:]), dtype=np.int64)
    shape = (len(MOMENTS), len(key), *first.moments.high.shape[2:])
    high, low = np.zeros((2, *shape), dtype=np.int64)
    for part in (first, second):
        # all keys, mostly, where they are buckets: whole arrays are added several times as fast
        at = np.s_[:] if len(part.key) == len(key) else np.searchsorted(key, part.key)
        n_requests[at] += part.n_requests
        high[:, at] += part.moments.high
        low[:, at] += part.moments.low
    return SufficientStatistics(
        first.plan,
        key,
        n_requests,
        ExactSums(high, low),
        first.replicates + second.replicates,
        np.union1d(first.sketch, second.sketch)[:SKETCH],
    )


def merge_all(parts: Iterable[SufficientStatistics], plan: Plan) -> SufficientStatistics:
    """The statistics of all parts, in whatever order they come; `empty(plan)` of none."""
    return reduce(merge, parts, empty(plan))


def in_buckets(statistics: SufficientStatistics) -> SufficientStatistics:
    """The statistics by user as those by bucket, which are smaller."""
    if statistics.plan.by == "bucket":
        return statistics
    bucket, first = np.unique(bucket_of(statistics.key), return_index=True)
    if not len(bucket):
        return empty(replace(statistics.plan, by="bucket"))
    moments = statistics.moments
    return replace(
        statistics,
        plan=replace(statistics.plan, by="bucket"),
        key=bucket,
        n_requests=np.add.reduceat(statistics.n_requests, first, axis=0),  # keys go by bucket: both by size
        moments=ExactSums(
            np.add.reduceat(moments.high, first, axis=1), np.add.reduceat(moments.low, first, axis=1)
        ),
    )


def n_users(statistics: SufficientStatistics) -> int:
    """How many users there are: exact below 4,096 or by user, else estimated within 1.6% (one error).

    Source: Bar-Yossef, Jayram, Kumar, Sivakumar and Trevisan, Counting distinct elements in a data stream,
    2002, algorithm 2 (unbiased form of Giroire, 2009).
    """
    if statistics.plan.by == "user":
        return len(statistics.key)
    if len(statistics.sketch) < SKETCH:
        return len(statistics.sketch)
    return round((SKETCH - 1) * 2.0**64 / (float(statistics.sketch[-1]) + 1))


def _replicates(
    values: FloatArray, user: NDArray[np.uint64], segment: NDArray[np.integer], plan: Plan
) -> ExactSums:
    """(n_resamples, S, P, M): each segment's users are summed first, as all rows of a user weigh the same."""
    shape = (plan.n_resamples, len(plan.segments), len(plan.policies), len(plan.metrics))
    if not plan.n_resamples:
        return ExactSums.zeros(*shape)
    high, low = np.zeros((2, *shape[:2], values.shape[1]), dtype=np.int64)
    for s in range(len(plan.segments)):
        rows = np.flatnonzero(segment == s)
        users, code = distinct_keys(user[rows])
        totals = group_sums(values[rows], code, len(users))
        made = resampled_sums(totals, users, plan.n_resamples, seed=plan.seed)
        high[:, s], low[:, s] = made.high, made.low
    return _shaped(ExactSums(high, low), *shape)


def _shaped(sums: ExactSums, *shape: int) -> ExactSums:
    return ExactSums(sums.high.reshape(shape), sums.low.reshape(shape))

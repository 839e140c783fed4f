"""Users in two halves, one to choose a policy on and one to confirm it, and the changes seen in each.

The best of many policies looks better than it is on the users that chose it (the winner's curse); on the
others it does not. Which half a user is in is a hash of the user and the seed, whatever else is in the feed.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from eval.counter_random import poisson_weights, random_words
from eval.hashing import N_BUCKETS, bucket_of, user_keys
from reranker.columns import FloatArray, IntArray
from reranker.feed import Feed

LEAST_USERS = 30  # in each half: a bootstrap over fewer is too narrow
LEVEL = 0.95
LEAST_SPREAD = 1e-12  # standard errors below it are rounding


@dataclass(frozen=True, eq=False)
class Half:
    """The requests of half the users.

    Attributes:
        requests: (q,) those of a cluster side by side.
        starts: (G,) where each cluster starts in `requests`.
        weights: (b, G) Poisson(1) weights of the clusters in each resample.
        n_users: users, or requests without one; where there are more than 4,096, G is of buckets of them.
    """

    requests: IntArray
    starts: IntArray
    weights: FloatArray
    n_users: int


@dataclass(frozen=True, eq=False)
class Changes:
    """What P policies change of S statistics, relative to the original.

    Attributes:
        value: (P, S)
        draws: (b, P, S) the same in each resample of the users.
        n_changed: (P,) clusters to which the policy shows something else than the original.
    """

    value: FloatArray
    draws: FloatArray
    n_changed: IntArray

    def interval(self, level: float = LEVEL) -> tuple[FloatArray, FloatArray]:
        """(P, S) ends of the expanded percentile intervals; without end where a resample was not measurable.

        Only clusters that see a change tell how large it is: the percentiles are further out, as a t quantile
        of their number is beyond the normal one.

        Source: Hesterberg, What teachers should know about the bootstrap, 2015.
        """
        known = ~np.isnan(self.draws).any(axis=0)
        k = np.maximum(self.n_changed, 2)
        tail = special.ndtr(-np.sqrt(k / (k - 1)) * special.stdtrit(k - 1, (1 + level) / 2))
        low, high = np.empty(self.value.shape), np.empty(self.value.shape)
        for p, share in enumerate(tail.tolist()):
            low[p], high[p] = np.quantile(self.draws[:, p], (share, 1 - share), axis=0)
        return np.where(known, low, -np.inf), np.where(known, high, np.inf)

    @property
    def standard_error(self) -> FloatArray:
        """(P, S) of the resamples."""
        return np.asarray(self.draws.std(axis=0, ddof=1))

    def weighted(self, mixes: FloatArray) -> "Changes":
        """Sums of the statistics with weights (S, T), in the estimates and in every resample."""
        return Changes(self.value @ mixes, self.draws @ mixes, self.n_changed)


def split_users(feed: Feed, *, seed: int, n_resamples: int) -> tuple[Half, Half]:
    """The half to choose on and the half to confirm on.

    Raises:
        ValueError: a half has fewer than 30 users (or requests, where the feed names no user).
    """
    users, requests = feed.user.to_list(), feed.request_id.to_list()
    names = [f"u{u}" if u is not None else f"r{r}" for u, r in zip(users, requests, strict=True)]
    keys = user_keys(names)
    confirms = (random_words(keys, 1, seed=seed)[:, 0] >> np.uint32(31)).astype(bool)
    halves = []
    for name, inside in (("train", ~confirms), ("held-out", confirms)):
        chosen = np.flatnonzero(inside)
        n_users = len(np.unique(keys[chosen]))
        if n_users < LEAST_USERS:
            what = "requests" if feed.user.is_null.all() else "users"
            raise ValueError(
                f"{what}: expected at least {LEAST_USERS} in the {name} half, got {n_users} of "
                f"{len(np.unique(keys))} in all; a frontier needs more"
            )
        cluster = keys[chosen] if n_users <= N_BUCKETS else bucket_of(keys[chosen])
        order = np.argsort(cluster, kind="stable")
        present, starts = np.unique(cluster[order], return_index=True)
        weights = np.ascontiguousarray(poisson_weights(present, n_resamples, seed=seed).T)
        halves.append(Half(chosen[order], starts.astype(np.int64), weights, n_users))
    return halves[0], halves[1]


def changes_of(half: Half, original: FloatArray, treated: FloatArray) -> Changes:
    """The change of each mean over requests, relative to the original's, by policy.

    Requests on which a policy or the original shows nothing with a value are left out of both, as
    `eval.interval.paired_changes` does.

    Args:
        half: whose requests.
        original: (q, M) exposure in the half's requests under the original, NaN where not measured.
        treated: (P, q, M) under each policy.
    """
    used = ~(np.isnan(original) | np.isnan(treated))
    before = _by_cluster(half, np.where(used, original, 0.0))
    difference = _by_cluster(half, np.where(used, treated - original, 0.0))
    p, g, m = difference.shape
    with np.errstate(invalid="ignore", divide="ignore"):
        value = difference.sum(axis=1) / before.sum(axis=1)
        drawn = [half.weights @ x.transpose(1, 0, 2).reshape(g, p * m) for x in (difference, before)]
        draws = (drawn[0] / drawn[1]).reshape(-1, p, m)
    return Changes(_finite(value), _finite(draws), np.count_nonzero(difference.any(axis=2), axis=1))


def simultaneous(
    value: FloatArray, draws: FloatArray, *, level: float = LEVEL
) -> tuple[FloatArray, FloatArray]:
    """(S,) ends of a band that holds all S statistics at once, from the largest of their t in each resample.

    Args:
        value: (S,) the estimates.
        draws: (b, S) the same in each resample of the users.
        level: of all together.

    Source: Romano and Wolf, Stepwise multiple testing as formalized data snooping, 2005, section 4.
    """
    error = draws.std(axis=0, ddof=1)
    moving = error > LEAST_SPREAD
    if not moving.any():
        return value, value
    largest = np.abs((draws[:, moving] - value[moving]) / error[moving]).max(axis=1)
    half = float(np.quantile(largest, level)) * np.where(moving, error, 0.0)
    return value - half, value + half


def _by_cluster(half: Half, values: FloatArray) -> FloatArray:
    """(P, G, M) sums of (P, q, M)."""
    return np.asarray(np.add.reduceat(values, half.starts, axis=1))


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)

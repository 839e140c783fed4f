"""How treated the surroundings of each user are, and clusters of users that keep treatments apart.

Users who read the same authors touch each other: what the treated no longer reward is shown less to the
others too, and authors write for all of them at once. The mapping says for each user which part of the feed
comes from authors whose other readers are treated. It needs a log of who reads whom, from before.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from reranker.columns import BoolArray, FloatArray, IntArray

_ROUNDS = 30  # of moving users between clusters


@dataclass(frozen=True, eq=False)
class FeedShares:
    """Whose posts stand in whose feed.

    Attributes:
        counts: (n, authors) impressions or candidates.
        kernel: (n, authors) part of the user's feed that is the author's, divided by the author's impressions
            with other users; authors without other readers are left out.
        has_feed: (n,) users with an author that others read; the rest have no surroundings.
    """

    counts: sparse.csr_array
    kernel: sparse.csr_array
    has_feed: BoolArray

    @classmethod
    def of(
        cls, viewer: IntArray, author: IntArray, *, n_users: int, weight: FloatArray | None = None
    ) -> "FeedShares":
        """From rows of impressions or candidates.

        Args:
            viewer: (rows,) the user, from 0 to n_users - 1.
            author: (rows,) codes from 0.
            n_users: all that are randomised.
            weight: (rows,) above 0, such as the chance of a view; None is 1.

        Raises:
            ValueError: lengths that differ, codes out of range, or a weight that is not above 0.
        """
        once = np.ones(len(viewer)) if weight is None else weight
        if not len(viewer) == len(author) == len(once) or len(viewer) == 0:
            got = len(viewer), len(author), len(once)
            raise ValueError(f"viewer: expected as many as authors and weights and at least one, got {got}")
        if viewer.min() < 0 or viewer.max() >= n_users or author.min() < 0:
            raise ValueError(
                f"viewer: expected 0 to {n_users - 1} and authors from 0, "
                f"got {viewer.min()} to {viewer.max()} and from {author.min()}"
            )
        if not (once > 0).all():
            raise ValueError(f"weight: expected numbers above 0, got {once.min()}")
        shape = (n_users, int(author.max()) + 1)
        counts = sparse.coo_array((once, (viewer, author)), shape=shape).tocsr()
        rows = np.repeat(np.arange(n_users), np.diff(counts.indptr))
        readers = np.bincount(counts.indices, minlength=shape[1])[counts.indices]
        others = np.bincount(counts.indices, weights=counts.data, minlength=shape[1])[counts.indices]
        read = np.where(readers > 1, counts.data, 0.0)
        feed = np.bincount(rows, weights=read, minlength=n_users)
        part = np.divide(read, feed[rows], out=np.zeros_like(read), where=read > 0)
        part = np.divide(part, others - counts.data, out=part, where=read > 0)
        kernel = sparse.csr_array((part, counts.indices, counts.indptr), shape=shape)
        return cls(counts, kernel, feed > 0)

    def exposure(self, treated: BoolArray) -> FloatArray:
        """(n,) or (n, draws) part of each feed by authors weighted by how treated their other readers are.

        0 where no other reader is treated, 1 where all are; the user's own treatment is not in it. 0 also
        without a feed.

        Args:
            treated: (n,), or (n, draws) for many assignments at once.
        """
        own = np.asarray(self.kernel.multiply(self.counts).sum(axis=1)).ravel()  # (n,)
        mine = own if treated.ndim == 1 else own[:, None]
        side = treated.astype(np.float64)
        reached: FloatArray = self.kernel @ (self.counts.T @ side) - mine * side
        return reached


def containment(feeds: FeedShares, cluster: IntArray) -> float:
    """How much more treated the surroundings of the treated are than those of the control.

    The part of the surroundings that is in the user's own cluster: 1 where clusters share no author, as
    markets do, 0 where users are randomised one by one, and about the share of users in a cluster where
    clusters have nothing in common. With half of C clusters of one size treated, the plain difference of the
    arms holds (C containment - 1) / (C - 1) of the spillover.

    Args:
        feeds: who reads whom.
        cluster: (n,) codes of what is randomised.
    """
    codes = np.unique(cluster, return_inverse=True)[1]
    n_groups = int(codes.max()) + 1
    counts = feeds.counts
    rows = np.repeat(np.arange(len(codes)), np.diff(counts.indptr))
    key = counts.indices.astype(np.int64) * n_groups + codes[rows]
    unique, place = np.unique(key, return_inverse=True)
    same = np.bincount(place, weights=counts.data, minlength=len(unique))[place] - counts.data
    shares = np.bincount(rows, weights=feeds.kernel.data * same, minlength=len(codes))
    return float(shares[feeds.has_feed].mean())


def communities(feeds: FeedShares, n_clusters: int, *, seed: int) -> IntArray:
    """(n,) clusters of nearly equal size whose users read the same authors, to be randomised as a whole.

    Users move to the cluster that most of their surroundings are in, as long as there is room. More clusters
    give smaller errors and less containment; see `compare_designs`.

    Args:
        feeds: who reads whom, from before the experiment.
        n_clusters: at least 2.
        seed: of the start.

    Raises:
        ValueError: fewer than 2 clusters, or fewer than 2 users for each.

    Source: Ugander and Backstrom, Balanced label propagation for partitioning massive graphs, 2013, for the
    idea; moves here are greedy and not by linear program.
    """
    n = len(feeds.has_feed)
    if not 2 <= n_clusters <= n // 2:
        raise ValueError(f"n_clusters: expected 2 to {n // 2}, got {n_clusters}")
    rng = np.random.default_rng(seed)
    cluster = _start(feeds, n_clusters, rng)
    room = -(-n // n_clusters)
    best, found = -1.0, cluster
    for _ in range(_ROUNDS):
        member = np.zeros((n, n_clusters))
        member[np.arange(n), cluster] = 1.0
        pull = feeds.kernel @ (feeds.counts.T @ member)  # (n, C)
        cluster = _assigned(pull, room)
        held = containment(feeds, cluster)
        if held <= best + 1e-6:
            break
        best, found = held, cluster
    return found


def _start(feeds: FeedShares, n_clusters: int, rng: np.random.Generator) -> IntArray:
    """Clusters from the leading directions of who reads whom, cut along a walk through them."""
    n, n_authors = feeds.counts.shape
    audience = np.maximum(np.asarray(feeds.counts.sum(axis=0)).ravel(), 1e-300)
    feed = np.maximum(np.asarray(feeds.counts.sum(axis=1)).ravel(), 1e-300)
    scaled = sparse.diags_array(feed**-0.5) @ feeds.counts @ sparse.diags_array(audience**-0.5)
    k = min(16, n_clusters, n - 1, n_authors - 1)
    basis = rng.standard_normal((n_authors, k + 4))
    for _ in range(10):  # power steps; exactness does not matter for a start
        basis = np.linalg.qr(scaled.T @ (scaled @ basis))[0]
    place = scaled @ basis * feed[:, None] ** -0.5
    place = (place - place.mean(axis=0)) / np.maximum(place.std(axis=0), 1e-300)
    centre = place[rng.choice(n, size=n_clusters, replace=False)]
    cluster = np.zeros(n, dtype=np.int64)
    for _ in range(10):
        near = place @ centre.T - 0.5 * (centre**2).sum(axis=1)
        cluster = _assigned(near, -(-n // n_clusters))
        sizes = np.maximum(np.bincount(cluster, minlength=n_clusters), 1)
        centre = np.stack([np.bincount(cluster, weights=x, minlength=n_clusters) for x in place.T], 1)
        centre /= sizes[:, None]
    return cluster


def _assigned(pull: FloatArray, room: int) -> IntArray:
    """(n,) for each row of pull (n, C) its best column with room, those who would lose most first."""
    n, n_clusters = pull.shape
    cluster, left = np.full(n, -1, dtype=np.int64), np.full(n_clusters, room)
    open_ = np.arange(n)
    pull = pull.copy()
    while len(open_):
        wish = pull[open_].argmax(axis=1)
        two = np.partition(pull[open_], -2, axis=1)[:, -2:]
        with np.errstate(invalid="ignore"):
            loss = np.nan_to_num(two[:, 1] - two[:, 0], nan=0.0, posinf=np.inf)
        order = np.lexsort((open_, -loss, wish))
        first = np.searchsorted(wish[order], np.arange(n_clusters))
        rank = np.arange(len(order)) - first[wish[order]]
        taken = order[rank < left[wish[order]]]
        cluster[open_[taken]] = wish[taken]
        left -= np.bincount(wish[taken], minlength=n_clusters)
        open_ = np.setdiff1d(open_, open_[taken], assume_unique=True)
        pull[:, left <= 0] = -np.inf
    return cluster

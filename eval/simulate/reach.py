"""What a policy's ranking gives negative and other posts: views per post, by the share of negative posts.

The ranking is the product's own (`Reranker.rank`) on simulated pools, so that presets differ for a reason:
their weights, closeness, boosts, demotions and decays, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import PchipInterpolator

from eval.simulate.pools import TURNS, Pools, baseline_of, feed_of, harms_of
from reranker.columns import FloatArray
from reranker.pipeline import Reranker
from reranker.policy import Policy

SHARES = (0.02, 0.125, 0.25, 0.5, 0.75, 0.875, 0.98)
N_BATCHES = 10
PARTY, RIVAL, PEOPLE = 0, 1, 2


def tally(pools: Pools, policy: Policy, shares: tuple[float, float], provocation: float = 0.0) -> FloatArray:
    """(B, 3, 2, 2) views and posts by batch of requests, whose post it is, and whether it is negative.

    Whose: the pages of either party, then people. Each request counts once for every turn of the tones.

    Args:
        pools: the candidates.
        policy: ranks them.
        shares: of negative posts, of either party.
        provocation: log of what a negative post draws more of outrage as the rival goes from 0 to 1; nothing
            at the share before, where the mix was read.
    """
    whose = np.where(pools.page, pools.party, PEOPLE)
    request = pools.feed.request_of_row
    batch = request * N_BATCHES // pools.n_requests
    rival = np.array([shares[1], shares[0], pools.market.share_before])[whose]
    provoked = provocation * (rival - pools.market.share_before)
    found = np.zeros((2, N_BATCHES * 6))
    for turn in range(TURNS):
        negative = pools.tones(shares, turn)
        feed = feed_of(pools, policy, negative, provoked)
        harms = harms_of(pools, negative) if policy.used_labels() else None
        baseline = baseline_of(pools, feed) if policy.anger is not None else None
        position = Reranker(policy, baseline=baseline).rank(feed, harms).position
        views = np.where(position < 0, 0.0, pools.market.reading_on ** np.maximum(position, 0))
        cell = (batch * 3 + whose) * 2 + negative
        found[0] += np.bincount(cell, weights=views, minlength=N_BATCHES * 6)
        found[1] += np.bincount(cell, minlength=N_BATCHES * 6)
    return np.moveaxis(found.reshape(2, N_BATCHES, 3, 2), 0, -1)


@dataclass(frozen=True, eq=False)
class Reach:
    """What one policy gives by the share of negative posts among all pages.

    Attributes:
        policy: its name and settings, as it was asked for; digest: of it.
        shares: (G,) rising.
        negative, other: (G,) views per negative post, and per other one, of pages.
        people: (G, 2) views per post of people, by tone.
        mean: (G,) views per post of pages.
        batches: (B, G) the gap from each batch of requests left out.
    """

    policy: str
    digest: str
    shares: FloatArray
    negative: FloatArray
    other: FloatArray
    people: FloatArray
    mean: FloatArray
    batches: FloatArray

    @property
    def gap(self) -> FloatArray:
        """(G,) the reward gap: what a negative post gets more, over what a post gets."""
        return (self.negative - self.other) / self.mean

    def gap_at(self, share: FloatArray | float) -> FloatArray:
        """The gap at any share, by a monotone cubic between the measured ones; beyond them the last."""
        return interpolated(self.shares, self.gap, share)

    def negative_views_at(self, share: float) -> float:
        """Share of the views of pages that are of negative posts."""
        negative, other = (
            float(interpolated(self.shares, one, share)) for one in (self.negative, self.other)
        )
        return share * negative / (share * negative + (1.0 - share) * other)


def interpolated(at: FloatArray, values: FloatArray, wanted: FloatArray | float) -> FloatArray:
    """A monotone cubic through the values, constant beyond the ends."""
    inside = np.clip(wanted, at[0], at[-1])
    return np.asarray(PchipInterpolator(at, values)(inside), dtype=np.float64)


def measure_reach(pools: Pools, policy: Policy, spec: str, shares: Sequence[float] = SHARES) -> Reach:
    """What a policy gives at each share, all pages alike."""
    tallies = np.stack([tally(pools, policy, (share, share)) for share in shares])  # (G, B, 3, 2, 2)
    whole = tallies.sum(axis=1)
    pages = whole[:, :PEOPLE].sum(axis=1)  # (G, tone, views and posts)
    left_out = whole[:, None] - tallies
    gaps = gap_of(left_out[:, :, :PEOPLE].sum(axis=2))
    per_post = pages[..., 0] / pages[..., 1]
    return Reach(
        policy=spec,
        digest=policy.digest,
        shares=np.array(shares),
        negative=per_post[:, 1],
        other=per_post[:, 0],
        people=_per_post(whole[:, PEOPLE]),
        mean=pages[..., 0].sum(axis=1) / pages[..., 1].sum(axis=1),
        batches=gaps.T,
    )


def _per_post(sums: FloatArray) -> FloatArray:
    """(..., tone) views per post; 0 where there is no post."""
    return np.divide(sums[..., 0], sums[..., 1], out=np.zeros(sums.shape[:-1]), where=sums[..., 1] > 0)


def gap_of(sums: FloatArray) -> FloatArray:
    """(...,) the reward gap from (..., tone, views and posts)."""
    per_post = sums[..., 0] / sums[..., 1]
    gap: FloatArray = (per_post[..., 1] - per_post[..., 0]) / (
        sums[..., 0].sum(axis=-1) / sums[..., 1].sum(axis=-1)
    )
    return gap


def people_views(reach: Reach, share: float) -> FloatArray:
    """(2,) views per post of people, other and negative, where pages have this share of negative posts."""
    return np.array([float(interpolated(reach.shares, reach.people[:, tone], share)) for tone in (0, 1)])


def left_out(reach: Reach, batch: int) -> Reach:
    """The same as if one batch of requests had not been drawn: negative = mean * (1 + (1 - share) * gap)."""
    gap = reach.batches[batch]
    return replace(
        reach,
        other=reach.mean * (1.0 - reach.shares * gap),
        negative=reach.mean * (1.0 + (1.0 - reach.shares) * gap),
    )

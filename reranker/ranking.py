"""`Ranking`: the order of every request and the columns that add up to it."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from reranker.columns import BoolArray, FloatArray, IntArray, frozen
from reranker.feed import Feed
from reranker.policy import Policy
from reranker.scoring import Job, demotions
from reranker.value import Harms

if TYPE_CHECKING:
    from reranker.explain import Explanation


@dataclass(frozen=True, eq=False)
class Ranking:
    """The result of one policy on one feed. All (n,) columns are aligned with the feed's rows.

    Attributes:
        job: what was ranked, and by what.
        order: (kept,) rows request by request, best first; removed posts are not in it.
        offsets: (r + 1,) request i holds order[offsets[i]:offsets[i + 1]].
        score: (n,) the final score.
        engagement: (n,) positive engagement, in likes; good + bad.
        good: (n,) its part that a viewer would endorse.
        negative: (n,) what negative weights and costs take off (at most 0).
        base_score: (n,) good + bad_weight * bad + negative (+ label weights): the score before the bound.
        bounded: (n,) the base score after the bound; the base score itself in unbounded policies.
        multiplier: (n,) product of all demotions, 1 where there is none.
        diversity: (n,) multiplier for the author's further posts.
        removed: (n,) True for posts beyond a removal line.
        held_out: (r,) True for requests that keep the original order.
        log_prefix_propensity: (n,) log of the probability of the request's order down to each post, 0 where
            it had to be so, NaN where removed; None where the policy explores nothing.
        unscored: terms that could not be scored, in words.
    """

    job: Job
    order: IntArray
    offsets: IntArray
    score: FloatArray
    engagement: FloatArray
    good: FloatArray
    negative: FloatArray
    base_score: FloatArray
    bounded: FloatArray
    multiplier: FloatArray
    diversity: FloatArray
    removed: BoolArray
    held_out: BoolArray
    log_prefix_propensity: FloatArray | None
    unscored: tuple[str, ...]

    @property
    def feed(self) -> Feed:
        """What was ranked."""
        return self.job.feed

    @property
    def policy(self) -> Policy:
        """What decided."""
        return self.job.policy

    @property
    def harms(self) -> Harms | None:
        """The estimates of harm that it used."""
        return self.job.harms

    def demotions(self) -> dict[str, FloatArray]:
        """(n,) multiplier of each demotion by name; their product is `multiplier`."""
        whole = np.s_[0 : self.feed.n]
        held_out = self.held_out[self.feed.request_of_row]
        found = demotions(self.job, whole)
        return {name: np.where(held_out, 1.0, multiplier) for name, multiplier in found}

    def explain(self, post_id: str, request_id: str | None = None) -> "Explanation":
        """Why a post stands where it stands, see `reranker.explain.explain`."""
        from reranker.explain import explain  # noqa: PLC0415 - it reads rankings itself

        return explain(self, post_id, request_id)

    @cached_property
    def bad(self) -> FloatArray:
        """(n,) the part of the engagement that a viewer would not endorse."""
        return frozen(self.engagement - self.good)

    @cached_property
    def position(self) -> IntArray:
        """(n,) position of each candidate from 0, -1 where removed."""
        position = np.full(self.feed.n, -1, dtype=np.int64)
        request = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        position[self.order] = np.arange(len(self.order)) - self.offsets[request]
        return frozen(position)

    def ids(self, request: int = 0) -> list[str]:
        """The post ids of one request, best first."""
        rows = self.order[self.offsets[request] : self.offsets[request + 1]]
        return [self.feed.post_id.values[code] for code in self.feed.post_id.codes[rows].tolist()]

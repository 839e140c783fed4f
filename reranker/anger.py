"""Disproportionate anger (W13): is a post angrier than its publisher and topic usually are?

The base rate of a publisher is shrunk towards a prior, the post's own rate towards its base rate, and the
demotion follows the posterior probability that the post exceeds a multiple of it. A brigade of few
accounts, or a burst, does not count.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincc

from reranker.columns import BoolArray, FloatArray, StringColumn
from reranker.demotion import borderline
from reranker.engagement import Engagement, sum_of_reactions
from reranker.feed import Feed
from reranker.policy import Anger

MOST_PER_POST = 100.0  # reactions: one viral post is not a publisher's habit


@dataclass(frozen=True, eq=False)
class AngerBaseline:
    """Angry and all reactions of publishers and topics, each post counted at most as 100 reactions.

    Attributes:
        publisher, topic: (angry, reactions) by name.
    """

    publisher: dict[str, tuple[float, float]]
    topic: dict[str, tuple[float, float]]

    @classmethod
    def fit(cls, feed: Feed) -> "AngerBaseline":
        """The habits seen in a feed or log, each post once however many requests show it.

        A post then helps to set the rate that it is tested against; with many posts a publisher that is
        little, with one the prior decides.
        """
        angry, reactions = feed.signals.get("angry"), sum_of_reactions(feed.signals)
        first = np.zeros(feed.n, dtype=bool)
        first[np.unique(feed.post_id.codes, return_index=True)[1]] = True
        usable = first & ~np.isnan(angry) & (reactions > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = np.minimum(reactions, MOST_PER_POST) / reactions
        angry, reactions = np.where(usable, angry * weight, 0.0), np.where(usable, reactions * weight, 0.0)
        return cls(_sums(feed.publisher, angry, reactions), _sums(feed.topic, angry, reactions))

    def rates(self, feed: Feed, rule: Anger) -> FloatArray:
        """(n,) the rate each post is tested against: the higher of its publisher's and its topic's."""
        by_publisher = _rates(feed.publisher, self.publisher, rule)
        return np.maximum(by_publisher, _rates(feed.topic, self.topic, rule))


def _sums(column: StringColumn, angry: FloatArray, reactions: FloatArray) -> dict[str, tuple[float, float]]:
    known = ~column.is_null
    size = len(column.values)
    angry_sum = np.bincount(column.codes[known], weights=angry[known], minlength=size)
    all_sum = np.bincount(column.codes[known], weights=reactions[known], minlength=size)
    return {
        name: (float(angry_sum[i]), float(all_sum[i])) for i, name in enumerate(column.values) if all_sum[i]
    }


def _rates(column: StringColumn, habits: dict[str, tuple[float, float]], rule: Anger) -> FloatArray:
    lookup = np.full(len(column.values) + 1, rule.prior_rate)
    for code, name in enumerate(column.values):
        angry, reactions = habits.get(name, (0.0, 0.0))
        lookup[code] = (rule.prior_rate * rule.prior_reactions + angry) / (rule.prior_reactions + reactions)
    return lookup[column.codes]


@dataclass(frozen=True, eq=False)
class AngerTest:
    """The test of each candidate.

    Attributes:
        p_exceeds: (n,) posterior probability that the post's angry share exceeds `ratio` times its base
            rate, 0 where not even the posterior mean does; NaN where the reactions were not measured.
        multiplier: (n,) the demotion; 1 where guarded or not measured.
        guarded: (n,) the test would demote, but few accounts or one burst are behind the anger.
    """

    p_exceeds: FloatArray
    multiplier: FloatArray
    guarded: BoolArray


def measure_anger(feed: Feed, engagement: Engagement, baseline: AngerBaseline, rule: Anger) -> AngerTest:
    """Beta-binomial: a post's rate has the prior Beta(base * k, (1 - base) * k) with k = prior_reactions."""
    angry, reactions = engagement.angry, engagement.reactions
    base = baseline.rates(feed, rule)
    measured = ~np.isnan(angry) & ~np.isnan(reactions)
    angry, others = np.where(measured, angry, 0.0), np.where(measured, reactions - angry, 0.0)
    a = base * rule.prior_reactions + angry
    b = (1.0 - base) * rule.prior_reactions + others
    limit = np.minimum(rule.ratio * base, 0.95)
    p_exceeds = np.where(measured, 0.0, np.nan)
    above = np.flatnonzero(measured & (a > limit * (a + b)))
    p_exceeds[above] = betaincc(a[above], b[above], limit[above])
    multiplier = borderline(np.nan_to_num(p_exceeds), np.ones(len(base)), rule.curve)
    accounts = np.where(np.isnan(feed.angry_accounts), angry, feed.angry_accounts)
    brigade = (accounts < rule.min_accounts) | (feed.angry_peak_share > rule.max_peak_share)
    guarded = brigade & (multiplier < 1.0)
    return AngerTest(p_exceeds, np.where(guarded, 1.0, multiplier), guarded)

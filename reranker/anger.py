"""Disproportionate anger (W13): is a post angrier than its publisher and topic usually are?

The base rate of a publisher is shrunk towards a prior, the post's own rate towards its base rate, and the
demotion follows the posterior probability that the post exceeds a multiple of it. A brigade of few
accounts, or a burst, does not count.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.special import betaincc

from reranker.columns import BoolArray, FloatArray, StringColumn
from reranker.demotion import borderline
from reranker.engagement import Engagement, sum_of_reactions
from reranker.feed import Feed
from reranker.policy import Anger
from reranker.signals import REACTIONS

MOST_PER_POST = 100.0  # reactions: one viral post is not a publisher's habit


@dataclass(frozen=True, eq=False)
class AngerBaseline:
    """Angry and all reactions of publishers and topics, each post counted at most as 100 reactions.

    Attributes:
        publisher, topic: (angry, reactions) by name.
        post: what each post added to those of its publisher and topic, by post id.
    """

    publisher: dict[str, tuple[float, float]]
    topic: dict[str, tuple[float, float]]
    post: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def fit(cls, feed: Feed) -> "AngerBaseline":
        """The habits seen in a feed or log, each post once however many requests show it.

        A post that is in the baseline is left out of the rate that it is tested against; for the only post of
        a publisher the prior decides.
        """
        angry, reactions = _reactions(feed)
        first = np.zeros(feed.n, dtype=bool)
        first[np.unique(feed.post_id.codes, return_index=True)[1]] = True
        usable = first & ~np.isnan(angry) & (reactions > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            weight = np.minimum(reactions, MOST_PER_POST) / reactions
        angry, reactions = np.where(usable, angry * weight, 0.0), np.where(usable, reactions * weight, 0.0)
        rows = np.flatnonzero(usable).tolist()
        post = {str(feed.post_id[row]): (float(angry[row]), float(reactions[row])) for row in rows}
        return cls(_sums(feed.publisher, angry, reactions), _sums(feed.topic, angry, reactions), post)

    def rates(self, feed: Feed, rule: Anger) -> FloatArray:
        """(n,) the rate each post is tested against: the higher of its publisher's and its topic's."""
        posts = [self.post.get(name, (0.0, 0.0)) for name in feed.post_id.values]
        own = np.array(posts).reshape(-1, 2)[feed.post_id.codes]
        by_publisher = _rates(feed.publisher, self.publisher, own, rule)
        highest = np.fmax(by_publisher, _rates(feed.topic, self.topic, own, rule))
        return np.where(np.isnan(highest), rule.prior_rate, highest)  # NaN: neither is known


def _reactions(feed: Feed) -> tuple[FloatArray, FloatArray]:
    """(n,) angry and all reactions of each post, from totals and single acts; NaN where not measured."""
    angry, reactions = feed.signals.get("angry"), sum_of_reactions(feed.signals)
    acts = feed.interactions
    if acts is None:
        return angry, reactions
    for name in sorted(set(acts.kind.present()) & set(REACTIONS)):
        codes = acts.post_id.codes[acts.kind.codes == acts.kind.code_of(name)]
        counts = np.bincount(codes, minlength=len(acts.post_id.values)).astype(np.float64)
        index = dict(zip(acts.post_id.values, counts.tolist(), strict=True))
        own = np.array([index.get(value, 0.0) for value in feed.post_id.values])[feed.post_id.codes]
        angry = own if name == "angry" else angry
        reactions = np.nan_to_num(reactions) + own
    return angry, reactions


def _sums(column: StringColumn, angry: FloatArray, reactions: FloatArray) -> dict[str, tuple[float, float]]:
    known = ~column.is_null
    size = len(column.values)
    angry_sum = np.bincount(column.codes[known], weights=angry[known], minlength=size)
    all_sum = np.bincount(column.codes[known], weights=reactions[known], minlength=size)
    return {
        name: (float(angry_sum[i]), float(all_sum[i])) for i, name in enumerate(column.values) if all_sum[i]
    }


def _rates(
    column: StringColumn, habits: dict[str, tuple[float, float]], own: FloatArray, rule: Anger
) -> FloatArray:
    """(n,) shrunk rates of the others: habits less what each post added itself; NaN for a null name."""
    known = [habits.get(name, (0.0, 0.0)) for name in column.values]
    others = np.maximum(np.array([*known, (0.0, 0.0)])[column.codes] - own, 0.0)
    prior = rule.prior_reactions
    rates = (rule.prior_rate * prior + others[:, 0]) / (prior + others[:, 1])
    return np.where(column.is_null, np.nan, rates)


@dataclass(frozen=True, eq=False)
class AngerTest:
    """The test of each candidate.

    Attributes:
        p_exceeds: (n,) posterior probability that the post's angry share exceeds the limit of the rule, 0
            where not even the posterior mean does; NaN where the reactions were not measured.
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
    limit = np.clip(rule.ratio * base, rule.min_share, 0.95)
    p_exceeds = np.where(measured, 0.0, np.nan)
    above = np.flatnonzero(measured & (a > limit * (a + b)))
    p_exceeds[above] = betaincc(a[above], b[above], limit[above])
    multiplier = borderline(np.nan_to_num(p_exceeds), np.ones(len(base)), rule.curve)
    accounts = np.where(np.isnan(feed.angry_accounts), angry, feed.angry_accounts)
    brigade = (accounts < rule.min_accounts) | (feed.angry_peak_share > rule.max_peak_share)
    guarded = brigade & (multiplier < 1.0)
    return AngerTest(p_exceeds, np.where(guarded, 1.0, multiplier), guarded)

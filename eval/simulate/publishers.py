"""What publishers learn from a feed: more of the tone that is rewarded, a part of the way each week."""

import numpy as np

from eval.simulate.parameters import Parameters
from eval.simulate.world import Posts, Publishers
from reranker.columns import FloatArray, IntArray


def best_share(gap: FloatArray, gain: float, leaning: FloatArray | float) -> FloatArray:
    """The negative share that publishers would settle at, given the reward gap (negative - other) / mean.

    share = 1 / (1 + exp(-(gain * gap + leaning))): a logit best response.

    Source: McFadden, Conditional logit analysis of qualitative choice behavior, 1974, for the form.

    Example:
        >>> gap = np.log(4.0) * np.array([0.0, 0.25, 0.5, 1.0])
        >>> best_share(gap, 1.0, 0.0).round(3).tolist()
        [0.5, 0.586, 0.667, 0.8]
    """
    share: FloatArray = 1.0 / (1.0 + np.exp(-(gain * gap + leaning)))
    return share


def adapt(share: FloatArray, best: FloatArray, rate: float) -> FloatArray:
    """The share of next week: the given part of the way from this one to the best one.

    Raises:
        ValueError: the rate is outside [0, 1].

    Example:
        >>> adapt(np.array([0.5]), np.array([0.8]), 0.15).round(3).tolist()
        [0.545]
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate: expected a number in [0, 1], got {rate}")
    return share + rate * (best - share)


def fit_response(gaps: tuple[float, float], shares: tuple[float, float]) -> tuple[float, float]:
    """(gain, leaning) under which the two reward gaps have the two shares as their fixed points.

    Raises:
        ValueError: the gaps are equal, or a share is 0 or 1.

    Example:
        >>> gain, leaning = fit_response((0.1, 0.4), (0.5, 0.8))
        >>> round(gain * 0.4 + leaning, 6) == round(float(np.log(4.0)), 6)
        True
    """
    if gaps[0] == gaps[1]:
        raise ValueError(f"gaps: expected two different reward gaps, got {gaps[0]} twice")
    if not all(0 < share < 1 for share in shares):
        raise ValueError(f"shares: expected numbers between 0 and 1, got {shares}")
    first, second = (float(np.log(share / (1 - share))) for share in shares)
    gain = (second - first) / (gaps[1] - gaps[0])
    return gain, first - gain * gaps[0]


def reward_gaps(posts: Posts, views: FloatArray, main_topic: IntArray) -> FloatArray:
    """(topics,) by main topic: views per negative post less views per other post, over the mean.

    Only publishers' posts that were there count. 0 where a topic had posts of one tone only, or no views:
    nothing could be learnt.

    Args:
        posts: of the week.
        views: (n,) of each post.
        main_topic: (P,) code of each publisher.
    """
    n, n_topics = posts.first_of_users, int(main_topic.max()) + 1
    topic = np.repeat(main_topic, n // len(main_topic))
    there = posts.there[:n]
    group = 2 * topic[there] + posts.negative[:n][there]
    count = np.bincount(group, minlength=2 * n_topics).reshape(n_topics, 2)
    total = np.bincount(group, weights=views[:n][there], minlength=2 * n_topics).reshape(n_topics, 2)
    known = (count > 0).all(axis=1) & (total.sum(axis=1) > 0)
    gap = np.zeros(n_topics)
    per_post = total[known] / count[known]
    gap[known] = (per_post[:, 1] - per_post[:, 0]) / (total[known].sum(axis=1) / count[known].sum(axis=1))
    return gap


def next_shares(
    p: Parameters, publishers: Publishers, share: FloatArray, posts: Posts, views: FloatArray
) -> FloatArray:
    """(P,) the negative share of each publisher in the next week, from what its topic's posts were shown."""
    gap = reward_gaps(posts, views, publishers.main_topic)
    best = best_share(gap[publishers.main_topic], p.gain, p.leaning + publishers.leaning)
    return adapt(share, best, p.adaptation_rate)

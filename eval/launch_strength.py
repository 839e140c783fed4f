"""A treatment at part of its strength: score = alpha x new + (1 - alpha) x old, in each request (E14).

The scores are blended as they are where both policies count in one unit: then weights are interpolated, and a
demotion to `floor` becomes one to 1 - alpha (1 - floor), exactly. Policies of unlike units, such as one that
bounds its scores and one that does not, are first bounded against their own request's median.
"""

from dataclasses import replace

import numpy as np

from reranker.columns import FloatArray, IntArray
from reranker.demotion import fit_bound
from reranker.feed import Feed
from reranker.policy import Policy
from reranker.presets import differences
from reranker.ranking import Ranking
from reranker.slate import author_counts, limit_moves, order_threads, sort_requests


def same_unit(first: Policy, second: Policy) -> bool:
    """Whether the scores of two policies can be added as they are: one kind of score, one worth of a like."""
    return (
        first.score == second.score
        and first.labels == second.labels
        and first.weights.get("like") == second.weights.get("like")
    )


def at_strength(original: Ranking, treatment: Ranking, alpha: float) -> Ranking:
    """The ranking between two rankings of one feed; the treatment itself at 1.

    Rules on the finished order (cap, threads, bounded moves), removals and held-out users are those of the
    treatment at every strength: none of them has a half. Its `score` is the blend; its other columns stay the
    treatment's and do not add up to it.

    Args:
        original: the ranking by the policy in force.
        treatment: of the same feed.
        alpha: in (0, 1].

    Raises:
        ValueError: a strength outside (0, 1], or a policy that draws its order.
    """
    if not 0 < alpha <= 1:
        raise ValueError(f"strength: expected a number in (0, 1], got {alpha}")
    if alpha == 1:
        return treatment
    for ranking in (original, treatment):
        if ranking.log_prefix_propensity is not None:
            raise ValueError(f"{ranking.policy.name}: expected a policy without exploration, got one")
    old, new = original.score, treatment.score
    if not same_unit(original.policy, treatment.policy):
        old, new = (_bounded(ranking) for ranking in (original, treatment))
    score = old + alpha * (new - old)  # equal scores stay what they are, to the last bit
    order = _ordered(treatment, score)
    request = np.repeat(np.arange(treatment.feed.n_requests), np.diff(treatment.offsets))
    order = np.where(treatment.held_out[request], treatment.order, order)
    return replace(treatment, order=order, score=score)


def settings_at(original: Policy, treatment: Policy, alpha: float) -> tuple[str, ...]:
    """Settings over the original that rank as the treatment does at part of its strength; () for none.

    There are some where the policies differ in weights alone, none changes its sign and the score is a plain
    sum of them: not bounded, squashed, guarded or decayed by author.

    Example:
        >>> from reranker.presets import load_policy
        >>> settings_at(load_policy("fb-2018-h1"), load_policy("fb-2018-h1", ["weights.angry=0"]), 0.5)
        ('weights.angry=2.5',)
    """
    changed = differences(original, treatment)
    plain = not (original.score.bounded or original.score.negative_squash)
    plain &= original.guard.max_signal_share == 1 and original.slate.author_decay == 1
    if not plain or not same_unit(original, treatment):
        return ()
    made = []
    for key, old, new in changed:
        first, second = old or 0.0, new or 0.0
        if not key.startswith("weights.") or first * second < 0:
            return ()
        made.append(f"{key}={first + alpha * (second - first):.12g}")
    return tuple(made)


def _bounded(ranking: Ranking) -> FloatArray:
    """(n,) scores in (0, 1), in the same order."""
    if ranking.policy.score.bounded:
        return ranking.score
    feed = ranking.feed
    return fit_bound(ranking.score, feed.offsets).apply(ranking.score, feed.request_of_row)


def _ordered(treatment: Ranking, score: FloatArray) -> IntArray:
    """(kept,) rows by the score, under the treatment's rules of the slate."""
    feed, rule = treatment.feed, treatment.policy.slate
    order = sort_requests(score, feed.original_order, feed.offsets)
    if rule.author_cap is not None and "author" not in feed.missing:
        over = author_counts(order, feed.author, treatment.removed, feed.offsets) >= rule.author_cap
        order = order[np.lexsort((over[order], feed.request_of_row[order]))]  # stable: those over go last
    order = order[~treatment.removed[order]]
    if rule.max_demotion_positions is not None:
        order = limit_moves(order, feed.original_order, treatment.offsets, rule.max_demotion_positions)
    if rule.thread_order and "parent_id" not in feed.missing:
        order = order_threads(order, _parents(feed), treatment.offsets)
    return order


def _parents(feed: Feed) -> IntArray:
    """(n,) the row of each candidate's parent in its request, -1 where it has none or it is not there."""
    request = feed.request_of_row.tolist()
    row_of = {key: row for row, key in enumerate(zip(request, feed.post_id.to_list(), strict=True))}
    wanted = zip(request, feed.parent_id.to_list(), strict=True)
    return np.array([row_of.get(key, -1) for key in wanted], dtype=np.int64)

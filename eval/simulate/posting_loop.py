"""The loop of C8: comments received call forth posts, which draw comments, under each policy.

Posts of a week, by tone, are x; those of the next are x' = base + K x, where K holds what a post draws of
comments under the policy, what posts a comment calls forth, and in which tone. The largest eigenvalue of K is
the gain of the loop: below 1 it comes to rest at (1 - K)^-1 base, from 1 on it runs away, until attention is
short. What a post draws falls with the number of posts by an elasticity.
"""

from dataclasses import dataclass

import numpy as np

from eval.simulate.market import Market
from eval.simulate.pools import tone_effect
from reranker.columns import FloatArray

MOST = 1e6  # posts of a person in a week, beyond which nothing is at rest
WEEKS = 5_000


@dataclass(frozen=True)
class Loop:
    """What becomes of people's posts under a policy.

    Attributes:
        policy: as it was asked for.
        comments: received by a person's post, other and negative, where posts are as many as before.
        gain: the largest eigenvalue of the loop there; of the loop without any limit of attention.
        runaway_at: posts per comment from which the gain would be 1.
        posts: of a person in a week, at rest, with the limit of attention; None where there is no rest.
        unlimited: the same without it; None where the gain is 1 or more.
        negative: share of negative ones among `posts`; None with it.
        gain_at_rest: the largest eigenvalue of the weekly map there: 1 less the part by which a
            disturbance shrinks each week.
    """

    policy: str
    comments: tuple[float, float]
    gain: float
    runaway_at: float
    posts: float | None
    unlimited: float | None
    negative: float | None
    gain_at_rest: float | None


def kernel(market: Market, comments: FloatArray) -> FloatArray:
    """(2, 2) posts of next week, other and negative, per post of this week, other and negative.

    Args:
        market: the numbers.
        comments: (2,) received by a post, other and negative.
    """
    habit = np.array([1.0 - market.user_negative, market.user_negative])
    called = market.like_for_like * np.eye(2) + (1.0 - market.like_for_like) * habit[:, None]
    return np.asarray(market.posts_per_comment * called * comments, dtype=np.float64)


def spectral_radius(matrix: FloatArray) -> float:
    """The largest modulus of the eigenvalues.

    Example:
        >>> round(spectral_radius(np.array([[0.0, 1.0], [0.25, 0.0]])), 9)
        0.5
    """
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def rest_of(matrix: FloatArray, base: FloatArray) -> FloatArray | None:
    """(2,) posts at which a loop without limits rests: (1 - K)^-1 base; None where the gain is 1 or more."""
    if spectral_radius(matrix) >= 1.0:
        return None
    return np.asarray(np.linalg.solve(np.eye(2) - matrix, base), dtype=np.float64)


def comments_of(market: Market, views: FloatArray, views_before: FloatArray) -> FloatArray:
    """(2,) comments that a person's post receives, other and negative.

    Args:
        market: the numbers; `comments_per_post` holds for the mean post under the policy before.
        views: (2,) per post under the policy, other and negative.
        views_before: (2,) under the one before.
    """
    effect = np.array([tone_effect(market, "comment", negative=tone) for tone in (False, True)])
    habit = np.array([1.0 - market.user_negative, market.user_negative])
    mean = float((habit * effect * views_before).sum())
    return np.asarray(market.comments_per_post * effect * views / mean, dtype=np.float64)


def run_loop(market: Market, policy: str, views: FloatArray, views_before: FloatArray) -> Loop:
    """The gain of the loop under a policy, and where it comes to rest.

    Raises:
        ValueError: under the policy before, the loop has no rest from which to start.
    """
    base = market.posts_base * np.array([1.0 - market.user_negative, market.user_negative])
    start = rest_of(kernel(market, comments_of(market, views_before, views_before)), base)
    if start is None:
        gain = spectral_radius(kernel(market, comments_of(market, views_before, views_before)))
        raise ValueError(
            "loop: expected posts to come to rest under the policy before, got a gain of "
            f"{gain:.3g} (posts_per_comment {market.posts_per_comment:g}, comments_per_post "
            f"{market.comments_per_post:g})"
        )
    comments = comments_of(market, views, views_before)
    matrix = kernel(market, comments)
    gain = spectral_radius(matrix)
    unlimited = rest_of(matrix, base)
    rest = _limited_rest(market, matrix, base, start)
    return Loop(
        policy=policy,
        comments=(float(comments[0]), float(comments[1])),
        gain=gain,
        runaway_at=market.posts_per_comment / gain if gain > 0 else float("inf"),
        posts=None if rest is None else float(rest.sum()),
        unlimited=None if unlimited is None else float(unlimited.sum()),
        negative=None if rest is None else float(rest[1] / rest.sum()),
        gain_at_rest=None if rest is None else _gain_at(market, matrix, rest, start),
    )


def _limited_rest(
    market: Market, matrix: FloatArray, base: FloatArray, before: FloatArray
) -> FloatArray | None:
    """(2,) where weeks come to rest from the posts of before; None where they run away."""
    posts = before
    for _ in range(WEEKS):
        after = base + matrix @ posts * (posts.sum() / before.sum()) ** -market.attention
        if after.sum() > MOST:
            return None
        if np.abs(after - posts).max() < 1e-12:
            return np.asarray(after, dtype=np.float64)
        posts = after
    return None


def _gain_at(market: Market, matrix: FloatArray, rest: FloatArray, before: FloatArray) -> float:
    """Of the weekly map's derivative: K scaled by attention, less what each post takes from all."""
    scale = (rest.sum() / before.sum()) ** -market.attention
    crowding = market.attention * np.outer(matrix @ rest, np.ones(2)) / rest.sum()
    return spectral_radius(scale * (matrix - crowding))

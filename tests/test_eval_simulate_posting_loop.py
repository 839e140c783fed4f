"""The loop of comments and posts: its linear closed form, where it runs away, and what attention does."""

from dataclasses import replace

import numpy as np
import pytest

from eval.simulate.market import load_market
from eval.simulate.pools import tone_effect
from eval.simulate.posting_loop import comments_of, kernel, rest_of, run_loop, spectral_radius

M = load_market()
EVEN = np.array([1.0, 1.0])


def test_without_a_limit_posts_rest_where_the_linear_closed_form_says() -> None:
    market = replace(M, attention=0.0)
    views = np.array([1.2, 1.7])
    loop = run_loop(market, "policy", views, EVEN)
    matrix = kernel(market, comments_of(market, views, EVEN))
    base = M.posts_base * np.array([1 - M.user_negative, M.user_negative])
    posts = base  # the sum over generations of comments: base + K base + K^2 base + ...
    for _ in range(200):
        posts = base + matrix @ posts
    assert loop.posts == pytest.approx(posts.sum())
    assert loop.unlimited == pytest.approx(posts.sum())
    assert loop.negative == pytest.approx(posts[1] / posts.sum())
    assert loop.gain_at_rest == pytest.approx(loop.gain)


def test_the_gain_of_posts_that_breed_their_own_kind_is_that_of_the_tone_with_most_comments() -> None:
    market = replace(M, like_for_like=1.0)
    loop = run_loop(market, "policy", EVEN, EVEN)
    assert loop.comments[1] > loop.comments[0]
    assert loop.gain == pytest.approx(M.posts_per_comment * loop.comments[1])
    assert loop.runaway_at == pytest.approx(1 / loop.comments[1])


def test_comments_are_scaled_to_the_mean_post_before() -> None:
    comments = comments_of(M, np.array([0.7, 0.7]), np.array([0.7, 0.7]))
    assert comments @ [1 - M.user_negative, M.user_negative] == pytest.approx(M.comments_per_post)
    ratio = tone_effect(M, "comment", negative=True) / tone_effect(M, "comment", negative=False)
    assert comments[1] / comments[0] == pytest.approx(ratio)


def test_a_policy_that_shows_people_more_makes_them_post_more_but_attention_holds_it_back() -> None:
    before = run_loop(M, "before", EVEN, EVEN)
    more = run_loop(M, "more", 2 * EVEN, EVEN)
    assert more.gain == pytest.approx(2 * before.gain)
    assert before.posts is not None
    assert more.posts is not None
    assert more.unlimited is not None
    assert before.posts < more.posts < more.unlimited
    assert before.posts == pytest.approx(before.unlimited)  # attention is measured from there


def test_from_a_gain_of_one_the_loop_runs_away_until_attention_is_short() -> None:
    wild = 6 * EVEN
    limited = run_loop(M, "wild", wild, EVEN)
    assert limited.gain > 1
    assert limited.unlimited is None
    assert limited.posts is not None
    assert limited.gain_at_rest is not None
    assert limited.gain_at_rest < 1
    free = run_loop(replace(M, attention=0.0), "wild", wild, EVEN)
    assert free.posts is None
    assert free.negative is None
    edge = limited.runaway_at / M.posts_per_comment
    assert run_loop(M, "edge", 6 * 0.999 * edge * EVEN, EVEN).unlimited is not None
    assert run_loop(M, "edge", 6 * 1.001 * edge * EVEN, EVEN).unlimited is None


def test_the_gain_at_rest_is_the_rate_at_which_a_disturbance_fades() -> None:
    loop = run_loop(M, "policy", 2 * EVEN, EVEN)
    base = M.posts_base * np.array([1 - M.user_negative, M.user_negative])
    start = rest_of(kernel(M, comments_of(M, EVEN, EVEN)), base)
    matrix = kernel(M, comments_of(M, 2 * EVEN, EVEN))
    assert start is not None
    assert loop.posts is not None

    def step(posts):
        return base + matrix @ posts * (posts.sum() / start.sum()) ** -M.attention

    posts, distances = start, []
    rest = loop.posts * np.array([1 - loop.negative, loop.negative])
    for _ in range(12):
        posts = step(posts)
        distances.append(np.abs(posts - rest).max())
    assert distances[-1] / distances[-2] == pytest.approx(loop.gain_at_rest, rel=0.02)


def test_a_loop_that_ran_away_before_the_change_is_refused() -> None:
    with pytest.raises(ValueError, match="loop: expected posts to come to rest under the policy before"):
        run_loop(replace(M, posts_per_comment=0.9), "policy", EVEN, EVEN)
    assert spectral_radius(kernel(replace(M, posts_per_comment=0.0), EVEN)) == 0.0
    assert run_loop(replace(M, posts_per_comment=0.0), "none", EVEN, EVEN).posts == pytest.approx(
        M.posts_base
    )

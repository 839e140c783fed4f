"""What publishers learn: closed forms of the best share and of the way to it."""

import numpy as np
import pytest
from scipy.special import expit

from eval.simulate.parameters import load_parameters
from eval.simulate.publishers import adapt, best_share, fit_response, next_shares, reward_gaps
from eval.simulate.world import Posts, make_publishers

P = load_parameters()


def posts_of(negative: list[bool], there: list[bool] | None = None) -> Posts:
    """Posts of publishers only; nothing but their tone matters here."""
    n = len(negative)
    zero = np.zeros(n)
    return Posts(
        topic=np.zeros((n, 1)),
        line=zero,
        words=zero,
        harm=np.zeros((n, 4)),
        estimate=np.zeros((n, 4)),
        negative=np.array(negative),
        live=np.zeros(n, dtype=bool),
        there=np.array([True] * n if there is None else there),
        first_of_users=n,
    )


def test_half_and_a_quarter_of_the_reward_gap_give_their_closed_forms() -> None:
    # gain * gap = ln 4 is a share of 4 / 5; half of it 2 / (1 + 2); a quarter 4**.25 / (1 + 4**.25)
    shares = best_share(np.log(4.0) * np.array([0.0, 0.25, 0.5, 1.0]), 1.0, 0.0)
    np.testing.assert_allclose(shares, [0.5, 4**0.25 / (1 + 4**0.25), 2 / 3, 0.8], atol=1e-12)
    np.testing.assert_allclose(shares[1:3].round(3), [0.586, 0.667])


def test_partial_adjustment_follows_its_closed_form() -> None:
    share, path = np.array([0.5]), []
    for _ in range(26):
        share = adapt(share, np.array([0.8]), 0.15)
        path.append(float(share[0]))
    np.testing.assert_allclose(path, 0.8 - 0.3 * 0.85 ** np.arange(1, 27), atol=1e-12)
    # The documents' figures after 4, 13 and 26 weeks; the last is .7956, which they round to .796.
    assert [path[week - 1] for week in (4, 13, 26)] == pytest.approx([0.643, 0.764, 0.796], abs=6e-4)


def test_the_fitted_response_has_both_shares_as_its_fixed_points() -> None:
    gain, leaning = fit_response((-0.01, 0.16), (0.5, 0.8))
    assert expit(gain * -0.01 + leaning) == pytest.approx(0.5)
    assert expit(gain * 0.16 + leaning) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="two different reward gaps"):
        fit_response((0.1, 0.1), (0.5, 0.8))
    with pytest.raises(ValueError, match="between 0 and 1"):
        fit_response((0.1, 0.2), (0.5, 1.0))


def test_the_reward_gap_is_per_post_that_was_there_and_by_topic() -> None:
    # Two publishers of two posts, topics 0 and 1. Topic 0: a negative post seen 30 times, another 10 times:
    # gap (30 - 10) / 20 = 1. Topic 1: the negative post was removed, so that nothing can be learnt.
    posts = posts_of([True, False, True, False], [True, True, False, True])
    gaps = reward_gaps(posts, np.array([30.0, 10.0, 99.0, 5.0]), np.array([0, 1]))
    np.testing.assert_allclose(gaps, [1.0, 0.0])


def test_more_posts_of_a_tone_are_not_taken_for_more_reward() -> None:
    posts = posts_of([True, True, True, False])
    gap = reward_gaps(posts, np.array([10.0, 10.0, 10.0, 10.0]), np.array([0]))
    assert gap[0] == pytest.approx(0.0)


def test_shares_rise_where_negativity_pays_and_stay_where_nobody_adapts() -> None:
    publishers = make_publishers(P, 1)
    n = P.n_publishers * P.posts_per_publisher
    posts = posts_of([bool(i % 2) for i in range(n)])
    share = np.full(P.n_publishers, 0.5)
    paid = next_shares(P, publishers, share, posts, 1.0 + 0.5 * posts.negative)
    even = next_shares(P, publishers, share, posts, np.ones(n))
    assert (paid > even).all()
    with pytest.raises(ValueError, match="rate"):
        adapt(share, share, 1.5)

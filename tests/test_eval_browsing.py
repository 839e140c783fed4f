import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.browsing import (
    candidate_examination,
    cascade_examination,
    expected_examination,
    logged_examination,
    position_examination,
    rbp_examination,
    satisfied_stop,
    slot_positions,
    status_over_models,
    tied_examination,
    top_examination,
    view_depth,
)
from eval.clustered import Estimate
from eval.exposure import browsing, position_weights
from eval.harm_views import harm_views
from reranker.assembly import feed_from_columns
from reranker.pipeline import Reranker
from reranker.presets import load_policy

HARM = np.array([0.9, 0.0, 0.5, 0.2, 0.0])
ONE = np.array([0, 5])
STOP = np.array([0.5, 0.1, 0.3, 0.1, 0.1])


@pytest.mark.parametrize(
    ("examination", "total", "views", "per_1000"),
    [
        (rbp_examination(ONE, 0.8), 1.3224, 3.3616, 393.3841028),
        (cascade_examination(STOP, ONE), 1.188, 2.5485, 466.1565627),
        (position_examination(ONE, 1 / np.log2(np.arange(5) + 2)), 1.2361353117, 2.9484591189, 419.2479060),
    ],
)
def test_the_published_numbers_of_three_browsing_models_are_met(examination, total, views, per_1000):
    found = harm_views(examination, HARM, ONE)  # D1
    assert found.harm[0] == pytest.approx(total, abs=1e-9)
    assert found.views[0] == pytest.approx(views, abs=1e-9)
    assert found.bounds == pytest.approx((per_1000, per_1000), abs=1e-6)


def test_the_cascade_of_the_published_example_is_examined_as_worked_out():
    assert cascade_examination(STOP, ONE).tolist() == pytest.approx([1, 0.5, 0.45, 0.315, 0.2835])


def test_tied_posts_share_the_mean_of_their_slots():
    score = np.array([5.0, 3, 3, 3, 1])
    shown = rbp_examination(ONE, 0.5) * top_examination(ONE, 3)
    assert tied_examination(shown, score, ONE).tolist() == [1, 0.25, 0.25, 0.25, 0]  # D1
    # brute force: the mean over every order of the tied three
    orders = [np.array([0, *middle, 4]) for middle in itertools.permutations([1, 2, 3])]
    mean = np.mean([candidate_examination(shown, order, 5) for order in orders], axis=0)
    np.testing.assert_allclose(tied_examination(shown, score, ONE), mean)


def test_ties_do_not_cross_requests():
    offsets = np.array([0, 2, 2, 4])
    found = tied_examination(np.array([1.0, 0.5, 1.0, 0.5]), np.array([2.0, 1.0, 1.0, 0.0]), offsets)
    assert found.tolist() == [1, 0.5, 1, 0.5]
    assert tied_examination(np.zeros(0), np.zeros(0), np.array([0, 0])).tolist() == []


def test_a_cascade_equals_the_enumeration_of_where_one_stops():
    # P(the last slot viewed is m) = stop_m * prod(1 - stop above); the last slot takes what is left
    stop = np.array([0.2, 1.0, 0.4, 0.7])
    for length in range(1, 5):
        part, seen, left = stop[:length], np.zeros(length), 1.0
        for last in range(length):
            ends = left if last == length - 1 else left * part[last]
            seen[: last + 1] += ends
            left -= ends
        np.testing.assert_allclose(cascade_examination(part, np.array([0, length])), seen, atol=1e-12)


@given(st.lists(st.lists(st.floats(0, 1), max_size=6), min_size=1, max_size=5))
def test_a_batch_of_cascades_equals_its_parts_and_never_rises(slates):
    offsets = np.cumsum([0, *map(len, slates)])
    whole = cascade_examination(np.array([x for slate in slates for x in slate], dtype=float), offsets)
    for i, slate in enumerate(slates):
        part = whole[offsets[i] : offsets[i + 1]]
        alone = cascade_examination(np.array(slate, dtype=float), np.array([0, len(slate)]))
        assert part.tolist() == alone.tolist()
        assert (np.diff(part) <= 0).all()


def test_slots_of_a_ranking_agree_with_the_weights_that_compare_uses():
    likes = [5, 4, 9, 2, 1, 7, 7, 3]
    feed = feed_from_columns(
        {"request_id": list("aaaabbbb"), "post_id": [f"p{i}" for i in range(8)], "like": likes}
    )
    ranking = Reranker(load_policy("fb-2018-h1")).rank(feed)
    for spec, slots in (
        ("rbp:0.7", rbp_examination(ranking.offsets, 0.7)),
        ("3", top_examination(ranking.offsets, 3)),
    ):
        weights = position_weights(browsing(spec), ranking.position, feed.request_of_row, feed.offsets)
        np.testing.assert_allclose(candidate_examination(slots, ranking.order, feed.n), weights)


def test_a_dynamic_bayesian_network_stops_when_satisfied_or_tired():
    # click 0.4, satisfied 0.5: goes on with (1 - 0.2) * 0.9
    assert satisfied_stop(np.array([0.4]), 0.5, 0.9)[0] == pytest.approx(1 - 0.8 * 0.9)


def test_the_view_depth_is_the_last_viewed_slot_and_requests_without_views_have_none():
    offsets = np.array([0, 3, 3, 5, 6])
    viewed = np.array([True, False, True, False, False, True])
    assert view_depth(viewed, offsets).tolist() == [3, 0, 0, 1]
    assert logged_examination(viewed, offsets).tolist() == [1, 0, 1, 0, 0, 1]
    assert slot_positions(offsets).tolist() == [0, 1, 2, 0, 1, 0]


def test_the_expected_examination_of_a_plackett_luce_policy_meets_the_exact_marginals():
    # logits [2, 1, 0], two slots, theta [1, 0.6]; slot marginals of D3
    marginals = np.array(
        [[0.665240955775, 0.244728471055, 0.090030573170], [0.281373745058, 0.510543057890, 0.208083197051]]
    )
    rng, offsets = np.random.default_rng(3), np.array([0, 2])
    draws = [(np.argsort(-(np.array([2, 1, 0]) + rng.gumbel(size=3)))[:2], offsets) for _ in range(4000)]
    theta = np.array([1.0, 0.6])
    mean, error = expected_examination(draws, lambda draw: position_examination(draw[1], theta), 3)
    assert (np.abs(mean - theta @ marginals) < 4 * error).all()
    # the squares: E[e^2] = theta^2 @ marginals
    exact = np.sqrt((theta**2 @ marginals - (theta @ marginals) ** 2) / 4000)
    np.testing.assert_allclose(error, exact, rtol=0.1)


def test_a_sign_that_depends_on_the_model_is_a_statement_about_the_model():
    up, down, none = (Estimate(v, 1.0, v - 2, v + 2, 0.95, 9, 9) for v in (0.1, -0.1, 0.0))
    assert status_over_models([down, down]) == "IDENTIFIED"
    assert status_over_models([none, none]) == "IDENTIFIED"
    assert status_over_models([down, up]) == "MODEL_ONLY"
    assert status_over_models([down, none]) == "MODEL_ONLY"
    with pytest.raises(ValueError, match="expected at least 2, got 1"):
        status_over_models([down])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rbp_examination(ONE, 1.2), "gamma: expected a number in"),
        (lambda: top_examination(ONE, 0), "k: expected at least 1"),
        (lambda: position_examination(ONE, np.ones(4)), "each of 5 positions, got 4"),
        (lambda: position_examination(ONE, np.array([1, 0.5, np.nan, 0.2, 0.1])), "got nan at position 2"),
        (lambda: cascade_examination(np.array([0.1, -0.1]), np.array([0, 2])), "got -0.1 at slot 1"),
        (lambda: cascade_examination(STOP, np.array([0, 4])), "expected 4 values, got 5"),
        (lambda: logged_examination(np.ones(3, dtype=bool), ONE), "expected 5 slots, got 3"),
        (lambda: expected_examination([], lambda _: STOP, 5), "draws: expected at least 2, got 0"),
    ],
)
def test_what_cannot_be_examined_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

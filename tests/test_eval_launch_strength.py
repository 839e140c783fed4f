"""eval.launch_strength: the blend is what a policy of the same numbers ranks, if there is one."""

from functools import cache

import numpy as np
import pytest

from eval.launch_strength import at_strength, same_unit, settings_at
from models.scores import HarmScores
from reranker.anger import AngerBaseline
from reranker.assembly import feed_from_columns
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.sample import make_sample
from reranker.value import Harms


@cache
def world():
    feed = make_sample(1, n_users=15, n_posts=250, n_requests=20)
    toxic = feed.attributes["is_toxic"].astype(np.float32)
    probability = (0.02 + 0.9 * toxic)[:, None]
    scores = HarmScores(("toxicity",), probability, np.ones_like(probability), "truth")
    return feed, Harms(scores, np.full(feed.n, np.nan)), AngerBaseline.fit(feed)


def ranked(spec, *settings):
    feed, harms, baseline = world()
    return Reranker(load_policy(spec, settings), baseline=baseline).rank(feed, harms)


@pytest.mark.parametrize("alpha", [0.25, 0.5, 0.75])
def test_a_scale_at_part_of_its_strength_is_what_a_blended_policy_ranks(alpha):
    blended = at_strength(ranked("fb-2017"), ranked("fb-2018-h1"), alpha)
    policy = ranked("strength-scaled", f"blend.alpha={alpha}")
    assert np.array_equal(blended.position, policy.position)
    assert np.allclose(blended.score, policy.score, rtol=1e-12)


def test_half_of_a_weight_is_the_policy_with_the_weight_between():
    blended = at_strength(ranked("fb-2018-h1"), ranked("fb-2018-h1", "weights.angry=0"), 0.5)
    assert np.array_equal(blended.position, ranked("fb-2018-h1", "weights.angry=2.5").position)


def test_half_of_a_demotion_is_the_policy_with_the_floor_between():
    blended = at_strength(ranked("fb-2018-h1"), ranked("fb-2018-h1+halving"), 0.5)
    between = ranked("fb-2018-h1+halving", "demotion.toxicity.floor=0.75")
    assert np.array_equal(blended.position, between.position)
    assert not np.array_equal(blended.position, ranked("fb-2018-h1").position)


def test_between_unlike_units_the_ends_are_the_two_policies():
    original, treatment = ranked("fb-2018-h1"), ranked("harm-aware", "slate.thread_order=false")
    assert not same_unit(original.policy, treatment.policy)
    assert at_strength(original, treatment, 1.0) is treatment
    nearly = at_strength(original, treatment, 1e-9)
    falls = np.diff(original.score[nearly.order]) <= 1e-9  # the new scores order equal ones
    assert np.delete(falls, treatment.offsets[1:-1] - 1).all()
    moved = [
        float(np.abs(at_strength(original, treatment, alpha).position - original.position).mean())
        for alpha in (0.25, 0.5, 0.75, 1.0)
    ]
    assert moved == sorted(moved)


def test_a_policy_against_itself_is_itself_at_every_strength():
    original = ranked("harm-aware")
    for alpha in (0.1, 0.3, 0.7):
        found = at_strength(original, ranked("harm-aware"), alpha)
        assert np.array_equal(found.position, original.position)


def test_removed_posts_stay_away_and_held_out_users_keep_the_original_order():
    settings = ("demotion.toxicity.removal=0.9", "holdout.share=0.5")
    treatment = ranked("harm-aware", *settings)
    found = at_strength(ranked("fb-2018-h1"), treatment, 0.5)
    assert treatment.removed.any()
    assert (found.position[treatment.removed] == -1).all()
    held = treatment.held_out[treatment.feed.request_of_row]
    assert 0 < held.sum() < len(held)
    assert np.array_equal(found.position[held], treatment.position[held])
    assert not np.array_equal(found.position[~held], treatment.position[~held])


def test_replies_stay_under_what_they_reply_to_and_an_author_under_its_cap():
    feed = feed_from_columns(
        {
            "request_id": ["r"] * 5,
            "post_id": ["a", "b", "c", "d", "e"],
            "parent_id": [None, None, "b", None, None],
            "author": ["x", "y", "z", "x", "w"],
            "like": [9, 1, 8, 7, 2],
            "angry": [0, 9, 0, 0, 0],
        }
    )
    baseline = AngerBaseline.fit(feed)
    original, treatment = (
        Reranker(load_policy("fb-2018-h1", ["slate.author_cap=1", setting]), baseline=baseline).rank(feed)
        for setting in ("weights.angry=5", "weights.angry=0")
    )
    # the scores at half: a 9, b 23.5, c 8, d 7, e 2
    assert at_strength(original, treatment, 0.5).ids() == ["b", "c", "a", "e", "d"]


def test_strengths_outside_their_range_and_policies_that_draw_are_refused():
    original = ranked("fb-2018-h1")
    for alpha in (0.0, 1.1, -0.5):
        with pytest.raises(ValueError, match=r"strength: expected a number in \(0, 1\], got"):
            at_strength(original, original, alpha)
    drawing = ranked("fb-2018-h1", "exploration.temperature=1", "slate.thread_order=false")
    with pytest.raises(ValueError, match="expected a policy without exploration, got one"):
        at_strength(original, drawing, 0.5)


def test_settings_rank_as_the_strength_does_or_there_are_none():
    original, treatment = ranked("fb-2018-h1"), ranked("fb-2018-h1", "weights.angry=0", "weights.love=2")
    settings = settings_at(original.policy, treatment.policy, 0.25)
    assert settings == ("weights.angry=3.75", "weights.love=4.25")
    blended = at_strength(original, treatment, 0.25)
    assert np.allclose(blended.score, ranked("fb-2018-h1", *settings).score, rtol=1e-12)
    for other in ("harm-aware", "fb-2018-h1+halving", "angry-negative"):
        assert settings_at(original.policy, ranked(other).policy, 0.5) == ()

"""Counting single acts: significance, deletion, filters and the closeness of each pair."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.counting import count_interactions
from reranker.engagement import measure_engagement
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import Policy
from reranker.presets import load_policy
from reranker.signals import RELATIONS

NOON = datetime(2020, 10, 5, 12)
FIVE = "one two three four five"


def feed_of(acts: dict[str, Any], **columns: Any) -> Feed:
    base = {"request_id": ["r"], "post_id": ["a"], "time": [NOON]}
    return feed_from_columns(base | columns, interactions=interactions_from_columns(acts))


def counted(feed: Feed, policy: Policy) -> dict[str, list[float]]:
    """The counts of each kind that has any, per candidate."""
    found = count_interactions(feed, policy)
    assert found is not None
    totals = found.totals()
    return {name: totals.get(name).tolist() for name in totals.names if totals.get(name).any()}


def one(kind: str, text: str | None = None, policy: str = "fb-2018-h1", **more: Any) -> list[str]:
    """The kinds that a single act is counted as."""
    settings_of = more.pop("settings", ())
    acts = {"post_id": ["a"], "kind": [kind], "text": [text]} | {key: [value] for key, value in more.items()}
    return sorted(counted(feed_of(acts), load_policy(policy, settings_of)))


def test_a_feed_without_interactions_has_no_counts() -> None:
    feed = feed_from_columns({"request_id": ["r"], "post_id": ["a"]})
    assert count_interactions(feed, load_policy("fb-2018-h1")) is None


@pytest.mark.parametrize("kind", ["comment", "reply", "reshare", "message"])
def test_five_unique_tokens_make_an_act_significant_and_four_do_not(kind: str) -> None:
    """W6, W7."""
    assert one(kind, FIVE) == [f"significant_{kind}"]
    plain = "reshare_with_text" if kind == "reshare" else kind
    assert one(kind, "one two three four") == [plain]
    assert one(kind, "yes " * 20) == [plain]
    assert one(kind, None) == [kind]


def test_a_reshare_with_blank_text_has_no_added_text() -> None:
    """W4."""
    assert one("reshare", "  ") == ["reshare"]


@pytest.mark.parametrize("picture", ["has_photo", "has_video"])
def test_a_picture_makes_a_reshare_or_message_significant_but_not_a_comment(picture: str) -> None:
    """W7: in case of shares and messages."""
    assert one("reshare", **{picture: True}) == ["significant_reshare"]
    assert one("message", "hi", **{picture: True}) == ["significant_message"]
    assert one("comment", "hi", **{picture: True}) == ["comment"]
    assert one("reply", "hi", **{picture: True}) == ["reply"]
    allowed = ["significance.media_counts_for_comments=true"]
    assert one("comment", "hi", settings=allowed, **{picture: True}) == ["significant_comment"]


def test_the_number_of_tokens_is_the_policys() -> None:
    """W7."""
    assert one("comment", "one two", settings=["significance.min_unique_tokens=2"]) == ["significant_comment"]


def deletion(deleted_at: datetime | None, policy: str, time: datetime | None = NOON) -> float:
    acts = {"post_id": ["a"], "kind": ["comment"], "text": ["so true"], "deleted_at": [deleted_at]}
    return float(sum(v[0] for v in counted(feed_of(acts, time=[time]), load_policy(policy)).values()))


def test_a_comment_deleted_after_it_was_counted_is_removed_retroactively() -> None:
    """W22: counted in the request at noon, gone from the one at two, under the policy that filters."""
    acts = interactions_from_columns(
        {"post_id": ["a"], "kind": ["comment"], "text": [FIVE], "deleted_at": [NOON + timedelta(hours=1)]}
    )
    feed = feed_from_columns(
        {"request_id": ["r", "s"], "post_id": ["a", "a"], "time": [NOON, NOON + timedelta(hours=2)]},
        interactions=acts,
    )
    assert counted(feed, load_policy("fb-2020-10")) == {"significant_comment": [1.0, 0.0]}
    assert counted(feed, load_policy("fb-2018-h1")) == {"significant_comment": [1.0, 1.0]}
    before, after = Reranker(load_policy("fb-2020-10")).rank(feed).engagement
    assert (before, after) == (30.0, 0.0)


def test_a_deletion_after_the_request_is_unknown_to_it() -> None:
    """W22."""
    assert deletion(NOON + timedelta(seconds=1), "fb-2020-10") == 1
    assert deletion(NOON, "fb-2020-10") == 0
    assert deletion(None, "fb-2020-10") == 1
    assert deletion(NOON + timedelta(days=9), "fb-2020-10", time=None) == 0  # no request time: all is known


def test_an_act_after_the_request_is_not_known_to_it() -> None:
    acts = {"post_id": ["a"] * 3, "kind": ["like"] * 3, "time": [NOON - timedelta(hours=1), None, NOON]}
    later = {"post_id": ["a"], "kind": ["like"], "time": [NOON + timedelta(seconds=1)]}
    assert counted(feed_of(acts), load_policy("fb-2018-h1")) == {"like": [3.0]}
    assert counted(feed_of(later), load_policy("fb-2018-h1")) == {}


@pytest.mark.parametrize("text", [".", "👍🏽", "我", ""])
def test_single_character_comments_stop_counting_in_autumn_2020(text: str) -> None:
    """W21."""
    for kind in ("comment", "reply"):
        assert one(kind, text, policy="fb-2020-10") == []
        assert one(kind, text, policy="fb-2020-early") == [kind]
        assert one(kind, text, policy="fb-2020-10", has_photo=True) == [kind]  # the photo is the comment
    assert one("comment", "ok", policy="fb-2020-10") == ["comment"]
    assert one("comment", None, policy="fb-2020-10") == ["comment"]  # a text that is not known
    assert one("reshare", ".", policy="fb-2020-10") == ["reshare_with_text"]


def test_long_and_avatar_comments_are_counted_on_top_of_their_kind() -> None:
    """W27, W29."""
    long = ["levers.long_comment_tokens=6"]
    assert one("comment", FIVE + " six", settings=long) == ["long_comment", "significant_comment"]
    assert one("comment", FIVE, settings=long) == ["significant_comment"]
    assert one("reply", "no " * 6, settings=long) == ["long_comment", "reply"]
    assert one("comment", "nice", is_avatar=True) == ["avatar_comment", "comment"]
    assert one("reshare", FIVE + " six", settings=long, is_avatar=True) == ["significant_reshare"]


def test_a_dropped_signal_is_as_if_it_had_never_been_measured() -> None:
    """W16: remove_angry is not weight 0."""
    acts = {
        "post_id": ["a"] * 4,
        "kind": ["angry", "like", "comment", "comment"],
        "text": [None, None, "b", "c d"],
    }
    feed = feed_of(acts | {"is_avatar": [False, False, True, False]})
    drop = ['drop=["angry", "avatar_comment", "long_comment"]', "levers.long_comment_tokens=2"]
    policy = load_policy("fb-2018-h1", drop)
    assert counted(feed, policy) == {"like": [1.0], "comment": [2.0]}
    engagement = measure_engagement(feed, policy)
    assert np.isnan(engagement.angry).all()
    assert engagement.reactions.tolist() == [1.0]
    kept = measure_engagement(feed, load_policy("fb-2018-h1", ["weights.angry=0"]))
    assert (kept.angry.tolist(), kept.reactions.tolist()) == ([1.0], [2.0])


def test_acts_on_posts_that_no_request_shows_are_ignored() -> None:
    acts = {"post_id": ["a", "gone", "a"], "kind": ["like", "like", "love"]}
    assert counted(feed_of(acts), load_policy("fb-2018-h1")) == {"like": [1.0], "love": [1.0]}
    assert counted(feed_of({"post_id": ["gone"], "kind": ["like"]}), load_policy("fb-2018-h1")) == {}
    assert counted(feed_of({"post_id": [], "kind": []}), load_policy("fb-2018-h1")) == {}


def test_a_post_shown_in_several_requests_has_its_acts_in_each() -> None:
    acts = interactions_from_columns({"post_id": ["b", "a", "b"], "kind": ["like", "like", "love"]})
    feed = feed_from_columns(
        {"request_id": ["r", "r", "s", "t"], "post_id": ["a", "b", "b", "c"]}, interactions=acts
    )
    assert counted(feed, load_policy("fb-2018-h1")) == {
        "like": [1.0, 1.0, 1.0, 0.0],
        "love": [0.0, 1.0, 1.0, 0.0],
    }


WORTH = {"like": 1, "love": 5, "angry": 5, "comment": 15, "rsvp": 15, "reshare": 5}
CLOSE = {
    "close_friend": 1.0,
    "friend": 1.0,
    "group_member": 0.5,
    "follower": 1.0,
    "page": 1.0,
    "stranger": 0.3,
}

act_rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "elsewhere"]),
        st.sampled_from(sorted(WORTH)),
        st.none() | st.sampled_from(RELATIONS),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(act_rows)
def test_the_score_is_the_sum_over_acts_of_weight_times_closeness_of_the_pair(rows: list[Any]) -> None:
    """W33, W10, W11: against a loop over the acts in plain Python."""
    post, kind, relation = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    acts = interactions_from_columns({"post_id": post, "kind": kind, "relation": relation})
    feed = feed_from_columns(
        {"request_id": ["r", "r", "s"], "post_id": ["a", "b", "a"], "relation": ["stranger", None, "page"]},
        interactions=acts,
    )
    expected = dict.fromkeys("ab", 0.0)
    for where, what, who in rows:
        if where in expected:
            expected[where] += WORTH[what] * (1.0 if who is None else CLOSE[who])
    got = Reranker(load_policy("fb-2018-h1")).rank(feed).engagement
    assert got == pytest.approx([expected["a"], expected["b"], expected["a"]], rel=1e-12)


def test_the_multiplier_of_an_unknown_pair_is_the_policys() -> None:
    """W33."""
    feed = feed_of({"post_id": ["a"] * 2, "kind": ["like"] * 2, "relation": [None, "group_member"]})
    policy = load_policy("fb-2018-h1", ["relationship.unknown=0.25"])
    assert Reranker(policy).rank(feed).engagement.tolist() == [0.75]


def test_a_long_comment_can_weigh_more() -> None:
    """W27: 30 for the significant comment and 7 on top for its length, halved in a group (W10)."""
    text = "a b c d e f g h"
    feed = feed_of({"post_id": ["a"], "kind": ["comment"], "text": [text], "relation": ["group_member"]})
    policy = load_policy("fb-2018-h1", ["weights.long_comment=7", "levers.long_comment_tokens=8"])
    assert Reranker(policy).rank(feed).engagement.tolist() == [18.5]


def test_a_total_of_long_comments_may_stand_beside_acts_that_are_no_comments() -> None:
    """W27."""
    feed = feed_of({"post_id": ["a"], "kind": ["rsvp"]}, long_comment=[2])
    policy = load_policy("fb-2018-h1", ["weights.long_comment=7"])
    assert Reranker(policy).rank(feed).engagement.tolist() == [29.0]

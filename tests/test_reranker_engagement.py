"""The base score: exact like-equivalents, closeness, boosts, mixes, blends and the guard."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.columns import FeedError, FloatArray
from reranker.engagement import measure_engagement, request_sums, sum_of_reactions
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.scoring import effective_weights
from reranker.signals import MEDIA_TYPES, RELATIONS


def one_request(n: int, **columns: Any) -> dict[str, Any]:
    return {"request_id": ["r"] * n, "post_id": [f"p{i}" for i in range(n)], **columns}


policy_of = cache(lambda name, *settings_of: load_policy(name, settings_of))  # read once, not per example


def ranked(policy: str, *settings_of: str, kind: Any = "counts", **columns: Any) -> Ranking:
    n = len(next(iter(columns.values())))
    feed = feed_from_columns(one_request(n) | columns, kind=kind)
    return Reranker(policy_of(policy, *settings_of)).rank(feed)


def likes(policy: str, *settings_of: str, **columns: Any) -> float:
    """What a single post is worth, in likes."""
    found = ranked(policy, *settings_of, **columns)
    return float(found.engagement[0] + found.negative[0])


@pytest.mark.parametrize(
    ("policy", "signal", "worth"),
    [
        pytest.param("fb-2017", "love", 5, id="W1"),
        pytest.param("fb-2017", "angry", 5, id="W1 angry"),
        pytest.param("fb-2018-h1", "like", 1, id="W3"),
        pytest.param("fb-2018-h1", "haha", 5, id="W4"),
        pytest.param("fb-2018-h1", "reshare", 5, id="W4 reshare"),
        pytest.param("fb-2018-h1", "rsvp", 15, id="W5"),
        pytest.param("fb-2018-h1", "significant_comment", 30, id="W6, W8"),
        pytest.param("fb-2018-h1", "significant_message", 30, id="W6 message"),
        pytest.param("fb-2018-h1", "significant_reshare", 30, id="W6 reshare"),
        pytest.param("fb-2018-h1", "comment", 15, id="W9"),
        pytest.param("fb-2018-late", "sad", 4, id="W12"),
        pytest.param("proposal-2019-07-like", "angry", 1, id="W14"),
        pytest.param("proposal-2019-07-zero", "wow", 0, id="W14 zero"),
        pytest.param("proposal-2019-late", "love", 4, id="W15"),
        pytest.param("fb-2020-early", "angry", 1.5, id="W17"),
        pytest.param("fb-2020-angry-half", "angry", 0.5, id="W19"),
        pytest.param("fb-2020-10", "angry", 0, id="W20"),
        pytest.param("fb-2020-10", "sad", 2, id="W20 sad"),
        pytest.param("angry-negative", "angry", -1, id="W36"),
        pytest.param("remove-angry", "angry", 0, id="W16"),
    ],
)
def test_one_unit_is_worth_its_likes(policy: str, signal: str, worth: float) -> None:
    """W1-W20, W36."""
    assert likes(policy, **{signal: [1]}) == worth
    assert likes(policy, **{signal: [7]}) == 7 * worth


@pytest.mark.parametrize(
    ("relation", "worth"),
    [("group_member", 5.0), ("stranger", 3.0), ("friend", 10.0), ("close_friend", 10.0), (None, 10.0)],
)
def test_totals_are_multiplied_by_the_closeness_of_the_author(relation: str | None, worth: float) -> None:
    """W10, W11."""
    assert likes("fb-2018-h1", like=[10], relation=[relation]) == worth


P = {
    "like": [0.060, 0.020, 0.010, 0.008, 0.030],
    "love": [0.020, 0.002, 0.001, 0.0, 0.004],
    "angry": [0.0, 0.004, 0.030, 0.050, 0.001],
    "significant_comment": [0.004, 0.003, 0.004, 0.003, 0.002],
    "reshare": [0.001, 0.004, 0.008, 0.010, 0.001],
}


@pytest.mark.parametrize(
    ("angry", "scores", "order"),
    [
        (5, [0.285, 0.08, 0.325, 0.199, 0.06], "CADBE"),
        (4, None, "CADBE"),
        (1.5, [0.285, 0.073, 0.22, 0.1115, 0.05825], "ACDBE"),
        (0, [0.285, 0.07, 0.175, 0.074, 0.0575], "ACDBE"),
    ],
)
def test_the_sweep_of_the_angry_weight_gives_the_published_scores_and_orders(
    angry: float, scores: list[float] | None, order: str
) -> None:
    """D2, W19: like 1, love 5, share 5, comment 30; multipliers 1, .5, 1, .5, .5 as group members."""
    relation = ["friend", "group_member", "friend", "group_member", "group_member"]
    found = ranked(
        "fb-2018-h1",
        f"weights.angry={angry}",
        kind="probabilities",
        post_id=list("ABCDE"),
        relation=relation,
        **P,
    )
    if scores is not None:
        assert found.score == pytest.approx(scores, rel=1e-12)
    assert "".join(found.ids()) == order


@pytest.mark.parametrize(
    ("policy", "share"),
    [("fb-2018-h1", 1.785342711), ("fb-2018-late", 1.578424519), ("fb-2020-early", 0.802934736)],
)
def test_the_score_mass_of_angry_at_the_documents_weekly_counts(policy: str, share: float) -> None:
    """D18, W18, W2: 63 billion likes, 11 billion love at five likes, 429 million angry at 5, 4, 1.5.

    5 * .429 / (63 + 5 * 11 + 5 * .429) = 2.145 / 120.145. At 4: 1.716 / 108.716; in D18 love moves too.
    """
    feed = feed_from_columns(one_request(1, like=[63e9], love=[11e9], angry=[429e6]))
    found = {name: carried for name, _, _, carried in effective_weights(feed, load_policy(policy))}
    assert 100 * found["angry"] == pytest.approx(share, abs=5e-10)
    assert sum(found.values()) == pytest.approx(1)


def test_effective_weights_state_the_weight_and_show_what_it_carries() -> None:
    """W2: "a little more than likes" and 5 likes: a tenth of the units is over a third of the score."""
    acts = interactions_from_columns({"post_id": ["p0"] * 2, "kind": ["rsvp", "rsvp"]})
    feed = feed_from_columns(one_request(2, like=[50, 40], love=[4, 6]), interactions=acts)
    rows = {name: rest for name, *rest in effective_weights(feed, load_policy("fb-2018-h1"))}
    # 90 likes + 10 * 5 + 2 * 15 = 170
    assert rows["like"] == [1.0, 90.0, pytest.approx(90 / 170)]
    assert rows["love"] == [5.0, 10.0, pytest.approx(50 / 170)]
    assert rows["rsvp"] == [15.0, 2.0, pytest.approx(30 / 170)]
    empty = feed_from_columns(one_request(1, like=[0]))
    assert effective_weights(empty, load_policy("fb-2018-h1")) == [("like", 1.0, 0.0, 0.0)]


def test_the_weekly_counts_make_angry_the_least_of_the_reactions() -> None:
    """W18 [infer]: .429 / 63 = .68 %, 11 / .429 = 25.6, and .58 % of the three together."""
    feed = feed_from_columns(one_request(1, like=[63e9], love=[11e9], angry=[429e6]))
    found = measure_engagement(feed, load_policy("fb-2020-10"))
    assert found.angry_share[0] == pytest.approx(0.0058, abs=5e-5)


COUNTRIES, LANGUAGES = (None, "MM", "IN", "US"), (None, "my", "en")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(COUNTRIES), st.lists(st.sampled_from(LANGUAGES), min_size=1, max_size=4)),
        min_size=1,
        max_size=5,
    )
)
def test_overrides_by_country_and_language_equal_a_table_lookup(requests: list[Any]) -> None:
    """E17, E24: language stands above country, country above the policy's own weights."""
    rows = [(i, country, lang) for i, (country, langs) in enumerate(requests) for lang in langs]
    feed = feed_from_columns(
        {
            "request_id": [str(i) for i, _, _ in rows],
            "post_id": [str(j) for j in range(len(rows))],
            "country": [c for _, c, _ in rows],
            "language": [lang for _, _, lang in rows],
            "haha": [2] * len(rows),
            "like": [1] * len(rows),
        }
    )
    policy = load_policy(
        "fb-2018-h1",
        ["override.country.MM.haha=0", "override.country.IN.haha=1.5", "override.language.my.haha=3"],
    )
    expected = []
    for _, country, lang in rows:
        haha = {"MM": 0.0, "IN": 1.5}.get(country or "", 5.0)
        expected.append(1 + 2 * (3.0 if lang == "my" else haha))
    assert Reranker(policy).rank(feed).engagement.tolist() == expected


def test_haha_is_worth_nothing_in_myanmar_under_harm_aware() -> None:
    """E24."""
    columns = {"haha": [10], "country": ["MM"]}
    assert likes("harm-aware", **columns) == 0
    assert likes("harm-aware", **columns | {"country": ["US"]}) == 10


feeds_of_counts = st.lists(st.tuples(*[st.integers(0, 50)] * 4), min_size=1, max_size=6)


def columns_of(rows: list[Any]) -> dict[str, Any]:
    names = ("like", "love", "angry", "rsvp")
    return dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True)) | {
        "relation": [RELATIONS[i % len(RELATIONS)] for i in range(len(rows))]
    }


@settings(deadline=None)
@given(feeds_of_counts, st.floats(0, 1))
def test_a_blend_is_the_old_scale_at_zero_the_new_at_one_and_linear_between(
    rows: list[Any], alpha: float
) -> None:
    """E14."""
    columns = columns_of(rows)
    new, old = (ranked(name, **columns).engagement for name in ("fb-2018-h1", "fb-2017"))
    assert ranked("strength-scaled", "blend.alpha=1", **columns).engagement.tolist() == new.tolist()
    assert ranked("strength-scaled", "blend.alpha=0", **columns).engagement.tolist() == old.tolist()
    blended = ranked("strength-scaled", f"blend.alpha={alpha!r}", **columns).engagement
    assert blended == pytest.approx(alpha * new + (1 - alpha) * old, rel=1e-12)


def test_a_blend_weighs_the_acts_by_each_scales_own_closeness() -> None:
    """W33, E14: 10 likes of strangers are 3 under the new scale and 10 under the old one."""
    acts = interactions_from_columns(
        {"post_id": ["p0"] * 10, "kind": ["like"] * 10, "relation": ["stranger"] * 10}
    )
    feed = feed_from_columns(one_request(1), interactions=acts)
    assert Reranker(load_policy("strength-scaled")).rank(feed).engagement.tolist() == [6.5]


def test_a_balanced_policy_mixes_in_video_alone() -> None:
    """E16, E17: .7 * (10 likes) + .3 * (8 views + 10 likes) for a video, .7 * 10 for a photo."""
    columns = {"like": [10, 10], "video_view": [8, 8], "media": ["video", "photo"]}
    assert ranked("balanced-2018", **columns).engagement.tolist() == pytest.approx([12.4, 7.0])


def test_a_mix_can_be_kept_to_a_relation_and_reads_single_acts_too() -> None:
    acts = interactions_from_columns({"post_id": ["p0", "p1"], "kind": ["click", "click"]})
    feed = feed_from_columns(one_request(2, relation=["friend", "page"]), interactions=acts)
    policy = load_policy("fb-2017", ["mix.share=0.5", "mix.weights.click=4", 'mix.relation=["page"]'])
    assert Reranker(policy).rank(feed).engagement.tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    ("overlays", "worth"),
    [("", 3.0), ("+live-boost", 1800.0), ("+live-boost+break-the-glass", 180.0), ("+break-the-glass", 3.0)],
)
def test_live_video_is_boosted_six_hundred_times_and_capped_at_sixty(overlays: str, worth: float) -> None:
    """W23, W24, W28: only the live video is touched."""
    found = ranked(f"fb-2018-h1{overlays}", like=[3, 3, 3], media=["live_video", "video", None])
    assert found.engagement.tolist() == [worth, 3.0, 3.0]


def test_computing_load_takes_its_cost_off() -> None:
    """W30: 10 likes less .5 a unit; an unknown load costs nothing."""
    found = ranked("fb-2018-h1", "levers.computing_load_cost=0.5", like=[10, 10], computing_load=[4.0, None])
    assert found.base_score.tolist() == [8.0, 10.0]
    assert found.negative.tolist() == [-2.0, 0.0]


@pytest.mark.parametrize(("strength", "worth"), [(0.2, 2.5), (0.5, 10.0), (0.9, 10.0), (None, 10.0)])
def test_a_weak_connection_prefers_cheap_media(strength: float | None, worth: float) -> None:
    """W31."""
    lever = ["levers.low_connection_below=0.5", "levers.low_connection_media={video=0.25}"]
    found = ranked(
        "fb-2018-h1", *lever, like=[10, 10], media=["video", "text"], connection_strength=[strength] * 2
    )
    assert found.engagement.tolist() == [worth, 10.0]


def test_a_weak_connection_and_a_boost_multiply() -> None:
    """W23, W31."""
    lever = ["levers.low_connection_below=0.5", "levers.low_connection_media={live_video=0.5}"]
    found = ranked("fb-2018-h1+live-boost", *lever, like=[1], media=["live_video"], connection_strength=[0.1])
    assert found.engagement.tolist() == [300.0]


def guarded_by_hand(parts: FloatArray, most: float) -> FloatArray:
    """Signals (S, n) of one request, likes first: another over its share is scaled down, at most to 1/10."""
    totals = parts.sum(axis=1)
    out = parts.copy()
    for i, total in list(enumerate(totals))[1:]:
        others = totals.sum() - total
        if total > most * totals.sum() and others > 0:
            out[i] *= max(most / (1 - most) * others / total, 0.1)
    return out.sum(axis=0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, 10**6)] * 3), min_size=1, max_size=8),
    st.sampled_from([0.5, 0.6, 0.7, 0.9]),
)
def test_no_signal_carries_more_than_the_guards_share_of_a_request(rows: list[Any], most: float) -> None:
    """W32, against a loop."""
    like, love, angry = (list(column) for column in zip(*rows, strict=True))
    found = ranked("fb-2018-h1", f"guard.max_signal_share={most}", like=like, love=love, angry=angry)
    parts = np.array([like, love, angry], dtype=float) * [[1], [5], [5]]
    assert found.engagement == pytest.approx(guarded_by_hand(parts, most), rel=1e-9, abs=1e-9)


def test_the_guard_leaves_a_request_of_one_signal_alone_and_looks_at_each_request_by_itself() -> None:
    """W32: 100 comments at 15 are cut to .7 / .3 of the 300 likes, so to 700."""
    feed = feed_from_columns(
        {
            "request_id": ["r", "r", "s"],
            "post_id": ["a", "b", "a"],
            "like": [100, 200, 0],
            "comment": [100, 0, 1000],
        }
    )
    found = Reranker(load_policy("fb-2018-h1", ["guard.max_signal_share=0.7"])).rank(feed)
    assert found.engagement.tolist() == pytest.approx([100 + 700, 200, 15000])


def test_one_stray_event_cannot_void_what_a_request_consists_of() -> None:
    """C12: likes are never cut, and another signal to no less than a tenth."""
    likes = ranked("fb-2018-h1", "guard.max_signal_share=0.7", like=[100, 5000, 0], comment=[0, 0, 1])
    assert likes.engagement.tolist() == pytest.approx([100, 5000, 15])
    comments = ranked("fb-2018-h1", "guard.max_signal_share=0.7", like=[0, 0, 1], comment=[10, 500, 0])
    assert comments.engagement.tolist() == pytest.approx([15, 750, 1])


def test_counts_and_probabilities_are_not_taken_for_one_another() -> None:
    with pytest.raises(FeedError, match="x-2026: expected signals as probabilities, got counts"):
        ranked("x-2026", like=[5])
    with pytest.raises(FeedError, match="expected signals as counts, got probabilities"):
        ranked("fb-2018-h1", 'score.expects="counts"', like=[0.5], kind="probabilities")
    assert ranked("x-2026", like=[0.5], report=[0.01], kind="probabilities").score.tolist() == pytest.approx(
        [-2.09]
    )


def unscored(policy: str, *settings_of: str, **columns: Any) -> tuple[str, ...]:
    return ranked(policy, *settings_of, **columns).unscored


def test_signals_that_were_not_measured_are_named() -> None:
    named = unscored("fb-2018-h1", like=[1, None, 3, None], love=[0, 0, 0, 0])
    assert "signal like for 2 of 4 candidates" in named
    assert "signal rsvp" in named
    assert not any("love" in term for term in named)
    assert not any("angry" in term for term in unscored("remove-angry", like=[1]))
    assert "signal angry" in unscored("fb-2018-late", like=[1])
    assert "signal angry" not in unscored("fb-2020-10", like=[1])  # weight 0 needs no measurement


@pytest.mark.parametrize(
    ("policy", "settings_of", "term", "given"),
    [
        ("fb-2018-h1", (), "closeness (relation)", {"relation": ["friend"]}),
        ("fb-2017+live-boost", (), "media boost (media)", {"media": ["text"]}),
        (
            "fb-2017",
            ("levers.computing_load_cost=1",),
            "computing load (computing_load)",
            {"computing_load": [1.0]},
        ),
        (
            "fb-2017",
            ("levers.low_connection_media.video=0.5",),
            "connection strength (connection_strength)",
            {"connection_strength": [0.5]},
        ),
        ("fb-2017", ("override.country.MM.haha=0",), "country override (country)", {"country": ["MM"]}),
        ("fb-2017", ("override.language.my.haha=0",), "language override (language)", {"language": ["my"]}),
    ],
)
def test_levers_without_their_column_are_named(
    policy: str, settings_of: tuple[str, ...], term: str, given: dict[str, Any]
) -> None:
    assert term in unscored(policy, *settings_of, like=[1])
    assert term not in unscored(policy, *settings_of, like=[1], **given)


def test_filters_without_single_acts_are_named() -> None:
    """W21, W22: totals cannot be filtered, and the result says so."""
    named = unscored("fb-2020-10", like=[1])
    assert "filter of deleted comments (interactions)" in named
    assert "filter of single-character comments (interactions)" in named
    acts = interactions_from_columns({"post_id": ["p0"], "kind": ["comment"], "text": ["so true"]})
    feed: Feed = feed_from_columns(one_request(1, like=[1]), interactions=acts)
    assert not any("filter" in term for term in Reranker(load_policy("fb-2020-10")).rank(feed).unscored)


def test_nulls_stay_nulls_when_acts_are_added() -> None:
    acts = interactions_from_columns({"post_id": ["p0"], "kind": ["love"]})
    feed = feed_from_columns(one_request(2, like=[None, 4]), interactions=acts)
    found = measure_engagement(feed, load_policy("fb-2017"))
    assert found.reactions.tolist() == [1.0, 4.0]
    assert np.isnan(found.angry).all()


def test_reactions_are_summed_where_any_was_measured() -> None:
    feed = feed_from_columns(one_request(3, like=[1, None, None], angry=[2, 3, None], comment=[9, 9, 9]))
    assert sum_of_reactions(feed.signals).tolist()[:2] == [3.0, 3.0]
    assert np.isnan(sum_of_reactions(feed.signals)[2])


@given(st.lists(st.lists(st.integers(-5, 5), max_size=4), max_size=6))
def test_sums_per_request_equal_a_loop(requests: list[list[int]]) -> None:
    offsets = np.concatenate(([0], np.cumsum([len(r) for r in requests]))).astype(np.int64)
    values = np.array([v for r in requests for v in r], dtype=float)
    assert request_sums(values, offsets).tolist() == [sum(r) for r in requests]


def test_media_types_cover_live_and_recorded_video() -> None:
    """W28."""
    assert {"video", "live_video"} <= set(MEDIA_TYPES)


def test_closeness_and_boosts_scale_what_speaks_for_a_post_and_not_what_speaks_against_it() -> None:
    """W11, W23: 10 likes and 10 reports are worth 3 - 100 of a stranger and 10 - 100 of a friend."""
    columns = one_request(2, like=[10, 10], report=[10, 10]) | {"relation": ["stranger", "friend"]}
    found = Reranker(load_policy("harm-aware")).rank(feed_from_columns(columns))
    assert found.engagement.tolist() == pytest.approx([3.0, 10.0])
    assert found.negative.tolist() == pytest.approx([-100.0, -100.0])
    live = one_request(1, like=[1], angry=[2]) | {"media": ["live_video"]}
    found = Reranker(load_policy("angry-negative+live-boost")).rank(feed_from_columns(live))
    assert found.base_score.tolist() == [600.0 - 2.0]


def test_the_heavy_ranker_discounts_strangers_after_the_squash() -> None:
    """A negative sum is squashed to a positive one, which the discount then lowers."""
    columns = {"p_like": [0.1, 0.1], "p_report": [0.01, 0.01], "relation": ["stranger", "friend"]}
    feed = feed_from_columns(
        {"request_id": ["r", "r"], "post_id": ["a", "b"], "like": columns["p_like"]}
        | {"report": columns["p_report"], "relation": columns["relation"]},
        kind="probabilities",
    )
    stranger, friend = Reranker(load_policy("twitter-2023")).rank(feed).base_score
    assert stranger == pytest.approx(0.75 * friend)
    assert 0 < stranger < friend


def test_effective_weights_are_those_after_the_guard() -> None:
    """W2, W32: 100 comments at 15 beside 300 likes are cut to 700, so to seven tenths."""
    feed = feed_from_columns(one_request(1, like=[300], comment=[100]))
    policy = load_policy("fb-2018-h1", ["guard.max_signal_share=0.7"])
    found = {name: share for name, _, _, share in effective_weights(feed, policy)}
    assert found == pytest.approx({"like": 0.3, "comment": 0.7})

"""The laws of the one path from a feed to a ranking."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scores import Content, HarmScores
from reranker.anger import AngerBaseline
from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.columns import FeedError
from reranker.feed import Feed
from reranker.load import LoadError, load_scorer
from reranker.pipeline import Reranker, score_harms
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.sample import make_sample
from reranker.value import Harms

AWARE = load_policy("harm-aware")
LABELS = AWARE.used_labels()
ON_COUNTS = ("fb-2017", "fb-2018-h1", "fb-2020-10", "remove-angry", "strength-scaled", "balanced-2018")
LOCAL = ["override.country.MM.like=1.5", "override.language.my.comment=2.7", "guard.max_signal_share=0.6"]
COLUMNS = (
    "score",
    "engagement",
    "good",
    "bad",
    "negative",
    "base_score",
    "bounded",
    "multiplier",
    "diversity",
)


@cache
def sample() -> Feed:
    return make_sample(0, n_users=20, n_posts=300, n_requests=15)


def noise(n: int, seed: int = 0) -> Harms:
    """Harms drawn at random, some unknown."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.3, 1.5, (n, len(LABELS)))
    p[rng.random((n, len(LABELS))) < 0.1] = np.nan
    c = np.where(np.isnan(p), np.nan, rng.random(p.shape))
    return Harms(HarmScores(LABELS, p, c, "noise"), np.where(rng.random(n) < 0.5, rng.random(n), np.nan))


def cut(harms: Harms, rows: Any) -> Harms:
    index = np.arange(harms.posts.n)[rows]
    return Harms(harms.posts.take(index), harms.comment_toxicity[index])


@st.composite
def columns(draw: Any) -> dict[str, Any]:
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    n = sum(sizes)

    def column(of: Any) -> list[Any]:
        return draw(st.lists(of, min_size=n, max_size=n))

    country = [draw(st.sampled_from(["MM", "US", None])) for _ in sizes]
    return {
        "request_id": [f"r{i}" for i, size in enumerate(sizes) for _ in range(size)],
        "user": [f"u{i % 2}" for i, size in enumerate(sizes) for _ in range(size)],
        "country": [country[i] for i, size in enumerate(sizes) for _ in range(size)],
        "post_id": [f"p{j}" for size in sizes for j in range(size)],
        "original_position": [p for size in sizes for p in draw(st.permutations(range(size)))],
        "author": column(st.sampled_from(["x", "y", None])),
        "publisher": column(st.sampled_from(["t", None])),
        "language": column(st.sampled_from(["my", "en", None])),
        "relation": column(st.sampled_from(["friend", "stranger", None])),
        "media": column(st.sampled_from(["video", "text", None])),
        "parent_id": column(st.sampled_from([None, None, "p0", "p1"])),
        "author_violations": column(st.sampled_from([None, 0, 2])),
        "like": column(st.integers(0, 300)),
        "haha": column(st.none() | st.integers(0, 20)),
        "angry": column(st.integers(0, 50)),
        "comment": column(st.integers(0, 20)),
        "report": column(st.sampled_from([0, 0, 1])),
    }


@pytest.mark.parametrize("policy", ["fb-2018-h1", "prosocial-2024", "x-2026"])
@settings(deadline=None, max_examples=25)
@given(columns())
def test_weights_of_zero_give_the_original_order(policy: str, given_columns: dict[str, Any]) -> None:
    del given_columns["parent_id"]
    zero = load_policy(policy)
    zero = zero.model_copy(
        update={
            "weights": dict.fromkeys(zero.weights, 0.0),
            "labels": dict.fromkeys(zero.labels, 0.0),
            "score": zero.score.model_copy(update={"expects": "either"}),
        }
    )
    ranking = Reranker(zero).rank(feed_from_columns(given_columns), noise(len(given_columns["like"])))
    assert ranking.position.tolist() == given_columns["original_position"]
    assert not ranking.score.any()


@pytest.mark.parametrize("changes", [[], LOCAL, ["demotion.threat.removal=0.9", "slate.author_cap=1"]])
@settings(deadline=None, max_examples=25)
@given(columns(), st.randoms(use_true_random=False))
def test_permuting_the_candidates_permutes_the_ranking(
    changes: list[str], given_columns: dict[str, Any], random: Any
) -> None:
    n = len(given_columns["like"])
    shuffled = list(range(n))
    random.shuffle(shuffled)
    feed = feed_from_columns(given_columns)
    other = feed_from_columns({name: [values[i] for i in shuffled] for name, values in given_columns.items()})
    of = {(str(feed.request_id[int(r)]), str(feed.post_id[i])): i for i, r in enumerate(feed.request_of_row)}
    rows = np.array(
        [of[str(other.request_id[int(r)]), str(other.post_id[i])] for i, r in enumerate(other.request_of_row)]
    )
    harms = noise(n)
    reranker = Reranker(load_policy("harm-aware", changes), baseline=AngerBaseline.fit(feed))
    first, second = reranker.rank(feed, harms), reranker.rank(other, cut(harms, rows))
    assert second.score == pytest.approx(first.score[rows], rel=1e-9)
    if len(set(np.round(first.score, 9))) == n:  # scores that all but tie may stand either way
        assert second.position.tolist() == first.position[rows].tolist()
    assert second.removed.tolist() == first.removed[rows].tolist()


def assert_parts_equal_the_whole(make: Callable[[], Reranker], feed: Feed, harms: Harms | None) -> None:
    whole = make().rank(feed, harms)
    middle = feed.n_requests // 2
    cuts = [(i, i + 1) for i in range(feed.n_requests)] + [(0, middle), (middle, feed.n_requests)]
    for start, stop in cuts:
        low, high = int(feed.offsets[start]), int(feed.offsets[stop])
        part_harms = None if harms is None else cut(harms, np.s_[low:high])
        parts = [feed.slice(start, stop), feed.take(np.arange(start, stop))]
        for part in parts:
            got = make().rank(part, part_harms)
            for name in COLUMNS:
                assert getattr(got, name).tobytes() == getattr(whole, name)[low:high].tobytes(), name
            assert got.position.tolist() == whole.position[low:high].tolist()


@pytest.mark.parametrize(
    "changes",
    [[], LOCAL, ["slate.max_demotion_positions=2", "holdout.share=0.5"], ["unscored.multiplier=0.9"]],
)
@settings(deadline=None, max_examples=25)
@given(columns())
def test_a_batch_equals_its_parts_byte_for_byte(changes: list[str], given_columns: dict[str, Any]) -> None:
    feed = feed_from_columns(given_columns)
    policy, baseline = load_policy("harm-aware", changes), AngerBaseline.fit(feed)
    assert_parts_equal_the_whole(lambda: Reranker(policy, baseline=baseline), feed, noise(feed.n))


@pytest.mark.parametrize("name", ["harm-aware", *ON_COUNTS, "chronological", "uniform", "prosocial-2024"])
def test_a_batch_of_the_sample_equals_its_parts_byte_for_byte(name: str) -> None:
    policy, baseline = load_policy(name), AngerBaseline.fit(sample())
    assert_parts_equal_the_whole(lambda: Reranker(policy, baseline=baseline), sample(), noise(sample().n))


def test_a_batch_of_many_blocks_equals_its_parts() -> None:
    """More rows than a block, worked on by several threads; eleven signals, so that sums have many terms."""
    rng, n, size = np.random.default_rng(3), 90_000, 45
    names = ("like", "love", "haha", "wow", "sad", "comment", "reply", "reshare", "message", "click", "rsvp")
    feed = feed_from_columns(
        {
            "request_id": [f"r{i // size}" for i in range(n)],
            "post_id": [f"p{i % size}" for i in range(n)],
            "country": [("MM", "US")[i // size % 2] for i in range(n)],
            **{name: rng.integers(0, 10_000, n) for name in names},
        }
    )
    policy = load_policy("harm-aware", ["override.country.MM.love=1.3", "guard.max_signal_share=0.5"])
    whole = Reranker(policy).rank(feed)
    for request in (0, 1, 777, feed.n_requests - 1):
        low, high = (int(v) for v in feed.offsets[request : request + 2])
        part = Reranker(policy).rank(feed.slice(request, request + 1))
        for name in COLUMNS:
            assert getattr(part, name).tobytes() == getattr(whole, name)[low:high].tobytes(), name


def test_the_same_feed_is_ranked_the_same_again() -> None:
    first, second = (Reranker(AWARE).rank(sample(), noise(sample().n)) for _ in range(2))
    assert first.order.tobytes() == second.order.tobytes()
    assert first.score.tobytes() == second.score.tobytes()


@pytest.mark.parametrize("name", ["harm-aware", "fb-2018-h1", "chronological", "uniform", "prosocial-2024"])
def test_an_empty_feed_gives_an_empty_ranking(name: str) -> None:
    feed = feed_from_columns({"request_id": [], "post_id": []})
    ranking = Reranker(load_policy(name), baseline=AngerBaseline.fit(feed)).rank(feed)
    assert len(ranking.order) == len(ranking.score) == len(ranking.position) == 0
    assert ranking.offsets.tolist() == [0]


@pytest.mark.parametrize("name", ["harm-aware", "fb-2018-h1", "uniform", "prosocial-2024"])
def test_requests_of_one_candidate_are_shown_as_they_are(name: str) -> None:
    feed = feed_from_columns({"request_id": ["r", "s"], "post_id": ["a", "a"], "like": [0, 5]})
    ranking = Reranker(load_policy(name)).rank(feed)
    assert ranking.position.tolist() == [0, 0]
    assert (ranking.ids(0), ranking.ids(1)) == (["a"], ["a"])


def test_ties_keep_the_original_order() -> None:
    feed = feed_from_columns(
        {
            "request_id": ["r"] * 4,
            "post_id": list("abcd"),
            "like": [1, 2, 1, 2],
            "original_position": [3, 2, 1, 0],
        }
    )
    assert Reranker(load_policy("fb-2018-h1")).rank(feed).ids() == ["d", "b", "c", "a"]


def test_the_columns_are_what_their_docstring_says() -> None:
    ranking = Reranker(AWARE, baseline=AngerBaseline.fit(sample())).rank(sample(), noise(sample().n))
    assert ranking.base_score == pytest.approx(ranking.good + ranking.negative)
    product = np.prod(list(ranking.demotions().values()), axis=0)
    assert ranking.multiplier == pytest.approx(product, rel=1e-12)
    assert ranking.score == pytest.approx(ranking.bounded * ranking.multiplier * ranking.diversity)
    assert (ranking.negative <= 0).all()
    for i in range(sample().n_requests):
        shown = ranking.order[ranking.offsets[i] : ranking.offsets[i + 1]]
        assert ranking.position[shown].tolist() == list(range(len(shown)))
        assert (np.diff(ranking.score[shown]) <= 0).all()


def toxic(probability: list[float], label: str = "threat") -> Harms:
    p = np.array(probability)[:, None]
    return Harms(HarmScores((label,), p, np.ones_like(p), "m"), np.full(len(p), np.nan))


REMOVAL = "demotion.threat.removal=0.9"


@settings(deadline=None, max_examples=40)
@given(columns(), st.data())
def test_removal_never_empties_a_request(given_columns: dict[str, Any], data: Any) -> None:
    n = len(given_columns["like"])
    p = data.draw(st.lists(st.sampled_from([0.0, 0.5, 0.95]), min_size=n, max_size=n))
    ranking = Reranker(load_policy("harm-aware", [REMOVAL])).rank(feed_from_columns(given_columns), toxic(p))
    assert (np.diff(ranking.offsets) >= 1).all()
    assert sorted(ranking.order.tolist()) == np.flatnonzero(~ranking.removed).tolist()
    assert ((ranking.position < 0) == ranking.removed).all()
    beyond = np.array(p) >= 0.9
    for i in range(ranking.feed.n_requests):
        here = ranking.feed.request_of_row == i
        if ranking.removed[here].any():
            assert ranking.removed[here & beyond].all()


def test_replies_under_a_removed_post_go_with_it() -> None:
    feed = feed_from_columns(
        {
            "request_id": ["r"] * 5 + ["s"],
            "post_id": ["a", "b", "c", "d", "e", "b"],
            "parent_id": [None, "a", "b", None, "d", "a"],
            "like": [1] * 6,
        }
    )
    ranking = Reranker(load_policy("harm-aware", [REMOVAL])).rank(feed, toxic([1, 0, 0, 0, 0, 0]))
    assert ranking.removed.tolist() == [True, True, True, False, False, False]
    assert ranking.ids() == ["d", "e"]


def test_an_unsure_estimate_removes_nothing() -> None:
    feed = feed_from_columns({"request_id": ["r"] * 2, "post_id": ["a", "b"], "like": [1, 1]})
    unsure = Harms(
        HarmScores(("threat",), np.array([[1.0], [0]]), np.full((2, 1), 0.8), "m"), np.full(2, np.nan)
    )
    assert not Reranker(load_policy("harm-aware", [REMOVAL])).rank(feed, unsure).removed.any()


def test_a_removed_post_takes_no_place_of_its_authors_cap() -> None:
    feed = feed_from_columns(
        {
            "request_id": ["r"] * 3,
            "post_id": ["gone", "kept", "other"],
            "author": ["x", "x", "y"],
            "like": [10**9, 5, 1],
        }
    )
    changes = ["slate.author_cap=1", "demotion.threat={start=0.3, line=0.6, floor=0.5, removal=0.9}"]
    ranking = Reranker(load_policy("fb-2018-h1", changes)).rank(feed, toxic([1, 0, 0]))
    assert ranking.ids() == ["kept", "other"]


def test_posts_beyond_an_authors_cap_come_last_and_none_is_lost() -> None:
    feed = feed_from_columns(
        {
            "request_id": ["r"] * 4,
            "post_id": list("abcd"),
            "author": ["x", "x", "x", "y"],
            "like": [9, 8, 7, 1],
        }
    )
    assert Reranker(load_policy("fb-2018-h1", ["slate.author_cap=1"])).rank(feed).ids() == [
        "a",
        "d",
        "b",
        "c",
    ]


def test_a_demotion_moves_no_further_than_the_policy_allows() -> None:
    n = 12
    feed = feed_from_columns(
        {"request_id": ["r"] * n, "post_id": [f"p{i}" for i in range(n)], "like": list(range(n, 0, -1))}
    )
    limited = load_policy("harm-aware", ["slate.max_demotion_positions=3"])
    assert Reranker(limited).rank(feed, toxic([1.0] + [0.0] * (n - 1))).position[0] == 3
    assert Reranker(AWARE).rank(feed, toxic([1.0] + [0.0] * (n - 1))).position[0] == n - 1


def test_the_holdout_keeps_the_original_order_with_nothing_removed() -> None:
    """E8: even where a reply stood above what it answers."""
    feed = feed_from_columns(
        {
            "request_id": ["r"] * 4,
            "user": ["u"] * 4,
            "post_id": list("abcd"),
            "parent_id": ["c", None, None, None],
            "author": ["x"] * 4,
            "like": [1, 2, 3, 4],
        }
    )
    held = load_policy("harm-aware", ["holdout.share=1.0", REMOVAL, "slate.author_cap=1"])
    ranking = Reranker(held).rank(feed, toxic([1, 0, 0, 1]))
    assert ranking.held_out.tolist() == [True]
    assert ranking.ids() == list("abcd")
    assert not ranking.removed.any()


def test_the_holdout_is_stable_by_user_and_of_about_its_share() -> None:
    """E8: of 10,000 users 10 % within 4 standard errors, sqrt(.1 * .9 / 10000) = .003."""
    users = [f"u{i}" for i in range(10_000)]
    feed = feed_from_columns(
        {
            "request_id": [f"{user}/{k}" for k in (1, 2) for user in users] + ["nobody"],
            "user": users * 2 + [None],
            "post_id": ["a"] * 20_001,
        }
    )
    policy = load_policy("fb-2018-h1", ["holdout.share=0.1", 'holdout.salt="autumn"'])
    held = Reranker(policy).rank(feed).held_out
    assert held[:10_000].tolist() == held[10_000:20_000].tolist()
    assert abs(held[:10_000].mean() - 0.1) < 4 * 0.003
    assert not held[-1]  # a viewer that is not known
    more = (
        Reranker(load_policy("fb-2018-h1", ["holdout.share=0.2", 'holdout.salt="autumn"']))
        .rank(feed)
        .held_out
    )
    assert (held <= more).all()
    salted = Reranker(load_policy("fb-2018-h1", ["holdout.share=0.1", 'holdout.salt="spring"'])).rank(feed)
    assert not (salted.held_out == held).all()


def test_chronological_puts_the_newest_first() -> None:
    """C5."""
    columns_of = {
        "request_id": ["r"] * 3,
        "post_id": list("abc"),
        "like": [9, 5, 1],
        "created_at": ["2026-01-01T00:00:00", "2026-01-01T00:00:02", "2026-01-01T00:00:01"],
    }
    assert Reranker(load_policy("chronological")).rank(feed_from_columns(columns_of)).ids() == list("bca")
    bounded = load_policy("chronological", ["score.bounded=true"])
    assert Reranker(bounded).rank(feed_from_columns(columns_of)).ids() == list("bca")
    demoted = Reranker(load_policy("harm-aware", ['score.order_by="chronological"']))
    assert demoted.rank(feed_from_columns(columns_of), toxic([0, 1, 0])).ids() == list("cab")
    with pytest.raises(FeedError, match=r"created_at: expected a time \(policy chronological .* row 1"):
        Reranker(load_policy("chronological")).rank(
            feed_from_columns(columns_of | {"created_at": ["2026-01-01", None, "2026-01-02"]})
        )


def test_uniform_is_fixed_by_the_seed_and_gives_each_post_each_place() -> None:
    """C5: 3,000 requests of 4; each post is first in a quarter, within 4 standard errors of .0079."""
    n = 3000
    feed = feed_from_columns(
        {"request_id": [f"r{i // 4}" for i in range(4 * n)], "post_id": [f"p{i % 4}" for i in range(4 * n)]}
    )
    first = Reranker(load_policy("uniform")).rank(feed)
    assert first.order.tolist() == Reranker(load_policy("uniform")).rank(feed).order.tolist()
    assert (
        first.order.tolist() != Reranker(load_policy("uniform", ["score.seed=1"])).rank(feed).order.tolist()
    )
    for post in range(4):
        share = (first.position[post::4] == 0).mean()
        assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / n)


def test_a_negative_sum_is_squashed_below_every_positive_one() -> None:
    """The published heavy ranker, 2023: negatives 74 + 369 = 443 of weights that add up to 566.005.

    a: .5 * .2 = .1 -> .101. b: .5 * .2 - 369 * .01 = -3.59 -> (443 - 3.59) / 566.005 * .001.
    """
    feed = feed_from_columns(
        {
            "request_id": ["r"] * 3,
            "post_id": list("abc"),
            "like": [0.2, 0.2, 0.0],
            "report": [0.0, 0.01, 1.0],
        },
        kind="probabilities",
    )
    ranking = Reranker(load_policy("twitter-2023")).rank(feed)
    expected = [0.101, 439.41 / 566.005 * 1e-3, (443 - 369) / 566.005 * 1e-3]
    assert ranking.score == pytest.approx(expected, rel=1e-12)
    assert ranking.ids() == list("abc")


def test_the_weights_of_2026_need_probabilities() -> None:
    feed = feed_from_columns({"request_id": ["r"], "post_id": ["a"], "like": [468], "report": [1]})
    with pytest.raises(FeedError, match="x-2026: expected signals as probabilities, got counts"):
        Reranker(load_policy("x-2026")).rank(feed)


def test_the_prosocial_order_is_that_worked_by_hand_with_an_unscorable_text_by_its_neighbour() -> None:
    """Baseline minus outrage and toxicity, in the order of the feed a b c d e:

    a toxicity .8: -.1; b cannot be scored: it keeps the score of a; c reasoning .9, respect .6: .25;
    d curiosity .6, fearmongering .3: .1 - .05 = .05; e affinity .9, insult .4, threat .4: .15 - .1 = .05.
    """
    labels = tuple(load_policy("prosocial-2024").labels)
    said = [
        {"toxicity": 0.8},
        None,
        {"reasoning": 0.9, "respect": 0.6},
        {"curiosity": 0.6, "fearmongering": 0.3},
        {"affinity": 0.9, "insult": 0.4, "threat": 0.4},
    ]
    p = np.array([[np.nan if one is None else one.get(label, 0.0) for label in labels] for one in said])
    harms = Harms(HarmScores(labels, p, np.where(np.isnan(p), np.nan, 1.0), "m"), np.full(5, np.nan))
    feed = feed_from_columns({"request_id": ["r"] * 5, "post_id": list("abcde"), "like": [0, 0, 0, 0, 10**6]})
    ranking = Reranker(load_policy("prosocial-2024")).rank(feed, harms)
    assert ranking.score == pytest.approx([-0.1, -0.1, 0.25, 0.05, 0.05], abs=1e-7)
    assert "".join(ranking.ids()) in ("cdeab", "cedab")  # d and e tie but for float32
    assert any(t.startswith("labels ") and t.endswith(" for 1 of 5 candidates") for t in ranking.unscored)


def test_an_unscorable_text_at_the_top_has_no_neighbour_above_and_none_in_another_request() -> None:
    p = np.array([[0.9], [np.nan]])
    harms = Harms(HarmScores(("toxicity",), p, p, "m"), np.full(2, np.nan))
    feed = feed_from_columns({"request_id": ["r", "s"], "post_id": ["a", "b"]})
    assert Reranker(load_policy("prosocial-2024")).rank(feed, harms).score[1] == 0


def test_harms_of_another_feed_are_refused() -> None:
    feed = feed_from_columns({"request_id": ["r"], "post_id": ["a"]})
    with pytest.raises(FeedError, match="harms: expected scores of 1 candidates, got 2"):
        Reranker(AWARE).rank(feed, toxic([0, 0]))


def by_length(content: Content) -> HarmScores:
    """A scorer that finds a text as toxic as it is long, in tenths; a text that is not there is unknown."""
    p = np.array([[np.nan if text is None else min(len(text) / 10, 1.0)] for text in content.text])
    return HarmScores(("toxicity",), p, np.where(np.isnan(p), np.nan, 1.0), "by-length")


def test_a_scorer_reads_the_posts_and_the_tone_of_their_comments() -> None:
    """The mean over the comments that could be read: (.2 + .6) / 2; none where there is no text."""
    acts = interactions_from_columns(
        {
            "post_id": ["a", "a", "a", "b", "x"],
            "kind": ["comment"] * 5,
            "text": ["ab", "abcdef", None, None, "abc"],
        }
    )
    feed = feed_from_columns(
        {"request_id": ["r", "r", "s"], "post_id": ["a", "b", "a"], "text": ["abc", None, "abcd"]},
        interactions=acts,
    )
    harms = score_harms(feed, by_length)
    assert harms.comment_toxicity[[0, 2]] == pytest.approx([0.4, 0.4])
    assert np.isnan(harms.comment_toxicity[1])
    ranking = Reranker(AWARE, by_length).rank(feed)
    assert ranking.harms is not None
    assert ranking.harms.posts.column("toxicity")[0][[0, 2]] == pytest.approx([0.3, 0.4])
    assert "tone of comments (interactions)" not in ranking.unscored
    assert "label toxicity for 1 of 3 candidates" in ranking.unscored


def test_terms_without_their_data_are_named() -> None:
    feed = feed_from_columns({"request_id": ["r"], "post_id": ["a"], "like": [1], "angry": [1]})
    named: Ranking = Reranker(AWARE).rank(feed)
    for term in (
        "tone of comments (interactions)",
        "anger (counts of reactions and a baseline)",
        "repeat offenders (author_violations)",
        "fatigue (see_less_requests)",
    ):
        assert term in named.unscored
    assert f"labels {', '.join(LABELS)}" in named.unscored
    with_baseline = Reranker(AWARE, baseline=AngerBaseline.fit(feed)).rank(feed)
    assert "anger guard against bursts (angry_peak_share)" in with_baseline.unscored


def test_scorers_are_loaded_by_name_and_refused_with_a_reason(tmp_path: Path) -> None:
    assert load_scorer(None) is None
    file = tmp_path / "ratings.csv"
    file.write_text("domain,score\nbad.example,0.1\n")
    scorer = load_scorer(None, file)
    assert scorer is not None
    content = Content(text=["x", "y"], language=[None, None], urls=[["https://bad.example/1"], []])
    scores = scorer(content)
    assert scores.column("low_quality_news")[0][0] == pytest.approx(0.9)
    assert np.isnan(scores.column("low_quality_news")[0][1])
    with pytest.raises(LoadError, match=r"missing\.csv"):
        load_scorer(None, tmp_path / "missing.csv")
    file.write_text("domain,score\nbad.example,7\n")
    with pytest.raises(LoadError, match="score in"):
        load_scorer(None, file)
    with pytest.raises(LoadError):
        load_scorer(str(tmp_path / "no-such-model"), None, device="cpu")


def test_a_classifier_and_ratings_are_joined_and_derived_labels_added(tmp_path: Path) -> None:
    """E1: the five categories are products of a topic and a harm, the domain's rating among them."""
    file = tmp_path / "ratings.csv"
    file.write_text("domain,score\nbad.example,0.1\n")
    scorer = load_scorer("bundled", file, device="cpu")
    assert scorer is not None
    scores = scorer(Content(text=["Vote!"], language=["en"], urls=[["https://bad.example/1"]]))
    civic, low = scores.column("civic")[0], scores.column("low_quality_news")[0]
    assert scores.column("civic_low_quality_news")[0] == pytest.approx(civic * low)
    assert low == pytest.approx([0.9])

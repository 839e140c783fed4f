"""Explanations: terms that add up to the score under every preset, and sentences that are true."""

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scores import HarmScores
from reranker.anger import AngerBaseline
from reranker.assembly import feed_from_columns
from reranker.columns import FeedError
from reranker.explain import Explanation, explain, explain_all, signed_sum
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.presets import load_policy, preset_names
from reranker.ranking import Ranking
from reranker.sample import make_sample
from reranker.value import Harms

OVERLAYS = {"break-the-glass", "halving", "live-boost"}
SPECS = [f"fb-2018-h1+{name}" if name in OVERLAYS else name for name in preset_names()]
OF_PROBABILITIES = {"twitter-2023", "x-2026"}
LABELS = tuple(
    dict.fromkeys((*load_policy("harm-aware").used_labels(), *load_policy("prosocial-2024").labels))
)


@cache
def sample() -> Feed:
    return make_sample(0, n_users=20, n_posts=300, n_requests=15)


def noise(n: int) -> Harms:
    rng = np.random.default_rng(1)
    p = rng.beta(0.3, 1.5, (n, len(LABELS)))
    p[rng.random(n) < 0.15] = np.nan
    p[rng.random(p.shape) < 0.05] = np.nan
    return Harms(HarmScores(LABELS, p, np.where(np.isnan(p), np.nan, 0.9), "noise"), rng.random(n))


def assert_adds_up(ranking: Ranking, row: int) -> None:
    feed = ranking.feed
    request = str(feed.request_id[int(feed.request_of_row[row])])
    explanation = explain(ranking, str(feed.post_id[row]), request)
    assert explanation.score == ranking.score[row]
    size = max((abs(term.amount) for term in explanation.terms), default=0.0)
    tolerance = 1e-9 * abs(explanation.score) + 1e-15 * size  # a score of 0 is a difference of equal terms
    assert abs(signed_sum(explanation.terms) - explanation.score) <= tolerance


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec not in OF_PROBABILITIES])
def test_terms_add_up_for_every_post_of_the_sample(spec: str) -> None:
    ranking = Reranker(load_policy(spec), baseline=AngerBaseline.fit(sample())).rank(
        sample(), noise(sample().n)
    )
    for row in range(0, sample().n, 2):
        assert_adds_up(ranking, row)


def test_all_posts_are_explained_as_each_alone_shown_ones_first() -> None:
    feed = sample().slice(0, 4)
    changes = ["demotion.toxicity.removal=0.9", "holdout.share=0.3", 'holdout.salt="s"']
    ranking = Reranker(load_policy("harm-aware", changes), baseline=AngerBaseline.fit(feed)).rank(
        feed, noise(feed.n)
    )
    assert ranking.removed.any()
    assert 0 < ranking.held_out.sum() < feed.n_requests
    found = list(explain_all(ranking))
    assert len(found) == feed.n
    for request in feed.request_id.values:
        ranks = [one.rank for one in found if one.request_id == request]
        n_shown = sum(rank is not None for rank in ranks)
        assert ranks == [*range(1, n_shown + 1), *[None] * (len(ranks) - n_shown)]
    for one in found[::7]:
        assert one == explain(ranking, one.post_id, one.request_id)


counts = st.lists(st.tuples(*[st.integers(0, 10**9)] * 4), min_size=1, max_size=5)
CHANGES: tuple[tuple[str, ...], ...] = (
    (),
    ("levers.computing_load_cost=3.5",),
    ("unscored.multiplier=0.7", "value.bad_weight=-0.5"),
    ("labels.respect=40.0", "slate.author_cap=1"),
    ("guard.max_signal_share=0.5",),
)


@pytest.mark.parametrize("changes", CHANGES)
@settings(deadline=None, max_examples=15)
@given(counts)
def test_terms_add_up_whatever_the_counts_and_rules(changes: tuple[str, ...], drawn: list[Any]) -> None:
    like, comment, angry, report = (list(column) for column in zip(*drawn, strict=True))
    n = len(drawn)
    feed = feed_from_columns(
        {
            "request_id": ["r"] * n,
            "post_id": [f"p{i}" for i in range(n)],
            "author": ["x"] * n,
            "computing_load": [2.0] * n,
            "like": like,
            "comment": comment,
            "angry": angry,
            "report": report,
            "author_violations": [1] * n,
        }
    )
    reranker = Reranker(load_policy("harm-aware", changes), baseline=AngerBaseline({}, {}))
    ranking = reranker.rank(feed, noise(n))
    for row in range(n):
        assert_adds_up(ranking, row)


@pytest.mark.parametrize("spec", sorted(OF_PROBABILITIES))
@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5))
def test_terms_add_up_under_the_scales_of_probabilities(spec: str, drawn: list[Any]) -> None:
    names = ("like", "reply", "reshare", "report")
    columns = dict(zip(names, (list(column) for column in zip(*drawn, strict=True)), strict=True))
    n = len(drawn)
    feed = feed_from_columns(
        {
            "request_id": ["r"] * n,
            "post_id": [f"p{i}" for i in range(n)],
            "relation": ["stranger"] * n,
            **columns,
        },
        kind="probabilities",
    )
    ranking = Reranker(load_policy(spec)).rank(feed)
    for row in range(n):
        assert_adds_up(ranking, row)


def toxic(values: list[float | None], label: str = "threat") -> Harms:
    p = np.array(values, dtype=float)[:, None]
    return Harms(HarmScores((label,), p, np.where(np.isnan(p), np.nan, 1.0), "m@1"), np.full(len(p), np.nan))


def explained(post: str, spec: str, *changes: str, harms: Harms | None = None, **more: Any) -> Explanation:
    columns: dict[str, Any] = {
        "request_id": ["r"] * 3,
        "user": ["u"] * 3,
        "post_id": list("abc"),
        "like": [10, 20, 30],
        "created_at": ["2026-01-01", "2026-01-02", "2026-01-03"],
    }
    feed = feed_from_columns(columns | more)
    return explain(Reranker(load_policy(spec, changes)).rank(feed, harms), post)


def test_an_explanation_by_hand() -> None:
    """E: medians 20: c scores 1 - 20 / (2 * 30) = 2/3; half less 20 slopes, plus 30 slopes of 1 / 60."""
    found = explained("c", "fb-2017", "score.bounded=true")
    assert found.score == pytest.approx(2 / 3)
    assert [(t.name, t.kind) for t in found.terms] == [
        ("half, less the request's median engagement", "reference"),
        ("like", "engagement"),
    ]
    assert [t.amount for t in found.terms] == pytest.approx([0.5 - 20 / 60, 30 / 60])
    assert (found.terms[1].count, found.terms[1].good, found.terms[1].bad) == (30, 30, 0)
    assert (found.rank, found.n_shown, found.post_id, found.request_id) == (1, 3, "c", "r")
    assert found.sentences[0] == "The post is number 1 of 3: its engagement is worth 30 likes, mostly like."
    assert found.as_dict()["terms"][1]["name"] == "like"
    assert (found.policy, found.digest) == (
        "fb-2017",
        load_policy("fb-2017", ["score.bounded=true"]).digest,
    )  # W34
    assert found.model is None


def test_the_sentences_of_a_demoted_post() -> None:
    curve = "demotion.threat={start=0.2, line=0.6}"
    found = explained("c", "harm-aware", curve, harms=toxic([0, 0, 0.4]))
    assert found.sentences[1] == (
        "It was moved down, to 50% of its score: the estimated probability of threat is 0.40 (-50%)."
    )
    assert found.harms == {"threat": pytest.approx(0.4)}
    assert [t.name for t in found.terms if t.kind == "demotion"] == ["threat"]
    assert found.model == "m@1"
    assert "of a kind that people endorse on reflection" in found.sentences[0]


def test_the_sentences_of_other_demotions() -> None:
    more = {"author_violations": [0, 0, 1], "see_less_requests": [0, 0, 1], "angry": [0, 0, 900]}
    columns = {"request_id": ["r"] * 3, "post_id": list("abc"), "like": [100] * 3}
    ranking = Reranker(load_policy("harm-aware"), baseline=AngerBaseline({}, {})).rank(
        feed_from_columns(columns | more)
    )
    sentence = explain(ranking, "c").sentences[1]
    assert "its share of angry reactions is far above what is usual for its publisher (-80%)" in sentence
    assert "its author has broken the rules before (-15%)" in sentence
    assert "this viewer asked for less of its author (-20%)" in sentence
    assert "to 14% of its score" in sentence


def test_the_sentences_of_a_post_that_could_not_be_scored() -> None:
    unknown = toxic([0, 0, None])
    assert explained("c", "harm-aware", harms=unknown).sentences[1] == (
        "It was not demoted; it could not be scored for threat."
    )
    demoted = explained("c", "harm-aware", "unscored.multiplier=0.5", harms=unknown)
    assert (
        demoted.sentences[1] == "It was moved down, to 50% of its score: threat could not be scored (-50%)."
    )
    assert demoted.harms == {"threat": None}


@pytest.mark.parametrize(
    ("spec", "changes", "harms", "sentence"),
    [
        ("fb-2017", (), None, "It was not demoted: this policy demotes nothing."),
        ("harm-aware", (), None, "It was not demoted; no classifier has read it."),
        ("fb-2017", ("fatigue.per_event=0.2",), None, "It was not demoted: no estimate of harm reaches"),
        ("harm-aware", (), toxic([0, 0, 0]), "It was not demoted: no estimate of harm reaches"),
    ],
)
def test_the_sentence_of_an_undemoted_post(
    spec: str, changes: tuple[str, ...], harms: Any, sentence: str
) -> None:
    assert explained("c", spec, *changes, harms=harms).sentences[1].startswith(sentence)


def test_the_sentence_of_a_removed_post() -> None:
    removal = "demotion.threat={start=0.2, line=0.6, removal=0.9}"
    found = explained("c", "harm-aware", removal, harms=toxic([0, 0, 1]))
    assert (found.rank, found.n_shown) == (None, 2)
    assert found.sentences[0].startswith("The post was removed")


def test_the_sentences_of_the_holdout() -> None:
    """E8."""
    found = explained("a", "harm-aware", "holdout.share=1.0", harms=toxic([1, 0, 0]))
    assert found.held_out
    assert found.sentences[0] == (
        "The post is number 1 of 3 because this viewer is in the holdout that keeps the original order."
    )
    assert found.sentences[1] == "No demotion was applied to it."


def test_the_sentences_of_orders_without_engagement() -> None:
    """C5."""
    found = explained("a", "chronological")
    assert (
        found.sentences[0]
        == "The post is number 3 of 3 because newer posts come first; engagement does not count."
    )
    assert [(t.name, t.kind) for t in found.terms] == [("chronological order", "rule")]
    assert "in an order that is random by design" in explained("a", "uniform").sentences[0]


def test_the_sentence_of_a_post_without_engagement() -> None:
    found = explained("a", "fb-2017", like=[0, 1, 2])
    assert found.sentences[0].endswith("what counts for it is nothing, it has no engagement yet.")
    by_label = explained("a", "prosocial-2024", harms=toxic([1, 0, 0], "respect"))
    assert by_label.sentences[0].endswith("what counts for it is respect.")


def test_rules_are_named() -> None:
    neighbour = explained("b", "prosocial-2024", harms=toxic([1, None, 0], "respect"))
    assert [(t.name, t.kind) for t in neighbour.terms] == [("score of the neighbour above", "rule")]
    feed = feed_from_columns({"request_id": ["r"], "post_id": ["a"], "like": [0.5]}, kind="probabilities")
    squashed = explain(Reranker(load_policy("twitter-2023")).rank(feed), "a")
    assert [(t.name, t.kind) for t in squashed.terms] == [
        ("like", "engagement"),
        ("squash of negative sums", "rule"),
    ]
    twice = explained("a", "harm-aware", author=["x", "x", "y"])
    assert twice.terms[-1].kind == "diversity"
    assert twice.terms[-1].amount < 0
    costly = explained("a", "fb-2017", "levers.computing_load_cost=2", computing_load=[3, 0, 0])
    assert [(t.kind, t.amount) for t in costly.terms] == [("engagement", 10), ("cost", -6)]  # W30


def test_a_post_or_request_that_is_not_there_is_refused() -> None:
    feed = feed_from_columns(
        {"request_id": ["r", "s", "t"], "post_id": ["post-a", "post-a", "post-b"], "like": [1, 2, 3]}
    )
    ranking = Reranker(load_policy("fb-2017")).rank(feed)
    with pytest.raises(FeedError, match=r'post "post-x": expected a post of the feed; did you mean "post-'):
        explain(ranking, "post-x")
    with pytest.raises(FeedError, match=r'post "post-b": expected a request that shows it, got "r"'):
        explain(ranking, "post-b", "r")
    with pytest.raises(
        FeedError, match=r"expected a request id, because 2 requests show it \(r, s, \.\.\.\)"
    ):
        explain(ranking, "post-a")
    assert explain(ranking, "post-a", "s").score == 2
    assert explain(ranking, "post-b").request_id == "t"
    assert ranking.explain("post-b") == explain(ranking, "post-b")

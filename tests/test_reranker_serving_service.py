"""Rankings of a service: those of the reranker, and by the failure rule where there are no scores."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.scores import Content, HarmScores, Scorer
from reranker.anger import AngerBaseline
from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import Policy, build_policy
from reranker.presets import load_policy
from reranker.sample import make_sample
from reranker.serving.service import Served, Service
from reranker.serving.settings import ServeSettings
from tests.serving import HashScorer, broken, expected

DEMOTING = {"schema": 1, "name": "p", "weights": {"like": 1}, "score": {"bounded": True}} | {
    "demotion": {"toxicity": {"start": 0.3, "line": 0.6, "floor": 0.0}}
}
ORIGINAL = build_policy(DEMOTING, "test")
MEDIAN = build_policy(DEMOTING | {"failure": {"order": "median"}}, "test")
LONG_S = 600.0  # a wait that no test may come to


def feed_of(texts: list[str | None], likes: list[int]) -> Feed:
    n = len(texts)
    return feed_from_columns(
        {"request_id": ["r"] * n, "post_id": [f"p{i}" for i in range(n)], "text": texts, "like": likes}
    )


def rank(scorer: HashScorer | None, feed: Feed, policy: Policy, **changed: Any) -> Served:
    async def run() -> Served:
        service = Service(ServeSettings(**changed), scorer)
        served = await service.rank(feed, policy)
        await service.close()
        return served

    return asyncio.run(run())


FEED = feed_of([f"post {i}" for i in range(6)], [1, 9, 3, 7, 5, 2])
IDS = [f"p{i}" for i in range(6)]


def test_a_ranking_served_is_that_of_the_reranker() -> None:
    served = rank(HashScorer(), FEED, ORIGINAL)
    alone = Reranker(ORIGINAL, HashScorer()).rank(FEED)
    assert served.degraded is None
    assert served.ranking.ids() == alone.ids() != IDS
    np.testing.assert_array_equal(served.ranking.score, alone.score)


@pytest.fixture(scope="module")
def sample() -> Feed:
    return make_sample(0).slice(0, 3)


@pytest.mark.parametrize("name", ["harm-aware", "fb-2018-h1", "prosocial-2024", "chronological"])
def test_every_kind_of_policy_is_served_as_the_reranker_ranks(name: str, sample: Feed) -> None:
    policy = load_policy(name)
    served = rank(HashScorer(), sample, policy)
    alone = Reranker(policy, HashScorer(), baseline=AngerBaseline.fit(sample)).rank(sample)
    np.testing.assert_array_equal(served.ranking.score, alone.score)
    np.testing.assert_array_equal(served.ranking.order, alone.order)
    assert served.degraded is None


@pytest.mark.parametrize(
    ("make", "wait_s", "reason"),
    [
        (lambda: None, LONG_S, "no model"),
        (lambda: HashScorer(broken), LONG_S, "the scorer failed"),
        (lambda: HashScorer(open_=False), 0.1, "the scorer is too slow"),
    ],
)
@pytest.mark.parametrize("policy", [ORIGINAL, MEDIAN])
def test_without_a_scorer_that_works_a_request_keeps_its_order(
    make: Callable[[], HashScorer | None], wait_s: float, reason: str, policy: Policy
) -> None:
    scorer = make()
    served = rank(scorer, FEED, policy, score_timeout_s=wait_s)
    assert (served.degraded, served.ranking.ids()) == (reason, IDS)
    assert served.ranking.policy.digest != policy.digest
    sentence = served.ranking.explain("p1").sentences[0]
    assert sentence.startswith("The post is number 2 of 6: this policy gives weight to nothing")
    if scorer is not None:
        scorer.gate.set()


def test_replies_and_holdouts_and_draws_keep_their_order_too_when_the_scorer_fails() -> None:
    columns = {"request_id": ["r"] * 3, "post_id": ["reply", "post", "other"], "text": ["a", "b", "c"]}
    feed = feed_from_columns(columns | {"parent_id": ["post", None, None], "original_position": [2, 0, 1]})
    policy = build_policy(DEMOTING | {"holdout": {"share": 0.5, "salt": "s"}}, "test")
    assert rank(None, feed, policy).ranking.ids() == ["post", "other", "reply"]


def test_a_policy_without_labels_needs_no_scorer() -> None:
    policy = load_policy("fb-2018-h1")
    served = rank(HashScorer(broken), FEED, policy)
    assert served.degraded is None
    assert served.ranking.ids() == Reranker(policy).rank(FEED).ids()


def test_posts_without_scores_stand_at_the_median_of_those_scored_before() -> None:
    fails: list[bool] = []

    def before(_texts: list[str | None]) -> None:
        if fails:
            raise RuntimeError

    seen = [f"seen {i}" for i in range(301)]

    async def run() -> Served:
        service = Service(ServeSettings(), HashScorer(before))
        await service.score(Content.of_texts(seen))
        fails.append(True)
        return await service.rank(feed_of([*seen[:3], "new a", "new b", None], [5] * 6), MEDIAN)

    served = asyncio.run(run())
    assert served.degraded == "the scorer failed"
    harms = served.ranking.harms
    assert harms is not None
    median = np.median([expected(text) for text in seen], axis=0).astype(np.float32)
    wanted = [*(expected(text) for text in seen[:3]), median, median, [np.nan, np.nan]]
    np.testing.assert_array_equal(harms.posts.probability, np.array(wanted, dtype=np.float32))
    assert harms.posts.model == "hash@1, or its median"
    assert served.ranking.policy == MEDIAN


def quick(content: Content) -> HarmScores:
    """Serves toxicity alone, .5 for whatever it can read; it cannot read "unreadable"."""
    values = np.array([[np.nan if text == "unreadable" else 0.5] for text in content.text], dtype=np.float32)
    return HarmScores(("toxicity",), values, values, "quick@1")


def stood_in(scorer: HashScorer, stand_in: Scorer, feed: Feed, policy: Policy = ORIGINAL) -> Served:
    async def run() -> Served:
        settings = ServeSettings(score_timeout_s=LONG_S, stand_in_after_s=0.1)
        service = Service(settings, scorer, stand_in=stand_in)
        scorer.gate.set()
        await service.score(Content.of_texts(["seen"]))
        scorer.gate.clear()
        async with asyncio.timeout(LONG_S / 10):
            served = await service.rank(feed, policy)
        scorer.gate.set()
        return served

    return asyncio.run(run())


def test_a_quicker_scorer_stands_in_for_posts_that_are_not_scored_in_time() -> None:
    served = stood_in(HashScorer(), quick, feed_of(["seen", "new", "unreadable", None], [4, 3, 2, 1]))
    assert served.degraded == "the scorer is too slow; a quicker scorer stood in"
    assert served.ranking.policy == ORIGINAL
    harms = served.ranking.harms
    assert harms is not None
    nothing = [np.nan, np.nan]
    wanted = [expected("seen"), [0.5, np.nan], nothing, nothing]
    np.testing.assert_array_equal(harms.posts.probability, np.array(wanted, dtype=np.float32))
    assert harms.posts.model == "hash@1, or quick@1"


def test_what_the_stand_in_does_not_serve_is_at_the_median_where_the_policy_says_so() -> None:
    served = stood_in(HashScorer(), quick, feed_of(["seen", "new", "unreadable"], [4, 3, 2]), MEDIAN)
    harms = served.ranking.harms
    assert harms is not None
    seen = expected("seen")
    wanted = np.array([seen, [0.5, seen[1]], seen], dtype=np.float32)
    np.testing.assert_array_equal(harms.posts.probability, wanted)


def test_a_stand_in_that_fails_leaves_it_to_the_failure_rule() -> None:
    def fails(_: Content) -> HarmScores:
        raise RuntimeError("no")

    served = stood_in(HashScorer(), fails, FEED)
    assert (served.degraded, served.ranking.ids()) == ("the scorer is too slow", IDS)


def test_a_stand_in_is_not_asked_where_the_scorer_is_in_time() -> None:
    def fails(_: Content) -> HarmScores:
        raise AssertionError

    async def run() -> Served:
        settings = ServeSettings(stand_in_after_s=LONG_S)
        return await Service(settings, HashScorer(), stand_in=fails).rank(FEED, ORIGINAL)

    assert asyncio.run(run()).degraded is None


def test_a_scorer_that_hangs_is_waited_for_once() -> None:
    scorer = HashScorer()

    async def run() -> None:
        service = Service(ServeSettings(score_timeout_s=LONG_S), scorer)
        await service.score(Content.of_texts(["seen"]))
        assert service.worker is not None
        scorer.gate.clear()
        service.settings = ServeSettings(score_timeout_s=0.1)
        for i in range(5):
            served = await service.rank(feed_of([f"text {i}"], [1]), ORIGINAL)
            assert served.degraded == "the scorer is too slow"
            while service.worker.running_s <= 0.1:
                await asyncio.sleep(0.01)
            assert service.worker.n_waiting == 0  # only the first was given to the scorer, and waited for
        scorer.gate.set()

    asyncio.run(run())
    assert scorer.calls == [["seen"], ["text 0"]]


def test_a_scorer_that_does_not_say_in_time_who_it_is_is_waited_for_once() -> None:
    gate = threading.Event()

    def score(content: Content) -> HarmScores:
        assert gate.wait(30)
        return HashScorer()(content)

    async def run() -> None:
        service = Service(ServeSettings(score_timeout_s=0.1), score)
        for _ in range(3):
            assert (await service.rank(FEED, MEDIAN)).degraded == "the scorer is too slow"
        assert service.model is None
        service.settings = ServeSettings(score_timeout_s=LONG_S)
        gate.set()
        while service.model is None:
            await asyncio.sleep(0.01)
        assert (await service.rank(FEED, MEDIAN)).degraded is None

    asyncio.run(run())


def test_comments_count_where_the_policy_asks_for_their_tone() -> None:
    content = DEMOTING | {"value": {"bad_weight": 0, "sensitivity": {"like": 1}, "comment_toxicity": 1}}
    policy = build_policy(content, "test")
    interactions = {"post_id": ["p0", "p0", "p2"], "kind": ["comment"] * 3, "text": ["x", "y", "z"]}
    feed = feed_from_columns(
        {"request_id": ["r"] * 3, "post_id": IDS[:3], "text": ["a", "b", "c"], "like": [4, 5, 6]},
        interactions=interactions_from_columns(interactions),
    )
    served = rank(HashScorer(), feed, policy)
    alone = Reranker(policy, HashScorer()).rank(feed)
    np.testing.assert_array_equal(served.ranking.score, alone.score)
    assert served.ranking.harms is not None
    tone = np.mean([expected("x")[0], expected("y")[0]])
    assert served.ranking.harms.comment_toxicity[0] == pytest.approx(tone)


def test_the_failure_rule_is_part_of_the_digest_only_where_it_is_set() -> None:
    assert load_policy("harm-aware").digest == load_policy("harm-aware", ['failure.order="original"']).digest
    assert MEDIAN.digest != ORIGINAL.digest
    assert '"failure":{"order":"median"}' in MEDIAN.canonical()

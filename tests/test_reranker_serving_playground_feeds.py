"""Feeds that the playground keeps: how they are read, found, replaced and forgotten."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from models.scores import Content, HarmScores
from reranker.anger import AngerBaseline
from reranker.pipeline import Reranker, score_harms
from reranker.presets import load_policy
from reranker.sample import make_sample
from reranker.serving import playground_feeds
from tests.playground import BOTH, as_csv, as_parquet, client, feed_lines, lines, ready, score_words, upload


@pytest.fixture(scope="module")
def served() -> Iterator[TestClient]:
    with client() as one:
        yield one


@pytest.fixture(scope="module")
def mine(served: TestClient) -> str:
    feed = upload(served, lines())
    ready(served, feed)
    return feed


def test_a_loaded_file_is_never_written_to_disk(served: TestClient) -> None:
    opened: list[str] = []
    on = True

    def hook(event: str, details: tuple[Any, ...]) -> None:
        if on and event == "open" and isinstance(details[1], str) and set(details[1]) & set("wax+"):
            opened.append(str(details[0]))

    sys.addaudithook(hook)
    try:
        for name, content in {
            "a.jsonl": lines(),
            "a.csv": as_csv(feed_lines()),
            "a.parquet": as_parquet(feed_lines()),
        }.items():
            feed = upload(served, content, name)
            ready(served, feed)
            assert served.post("/playground/compare", json=BOTH | {"feed": feed}).status_code == 200
    finally:
        on = False
    assert opened == []


def test_ids_of_feeds_are_random_and_each_is_found_by_its_own_only(served: TestClient) -> None:
    first, second = (upload(served, lines(feed_lines(n)), f"{n}.jsonl") for n in (1, 2))
    assert first != second
    assert min(len(first), len(second)) >= 24
    assert [ready(served, feed)["name"] for feed in (first, second)] == ["1.jsonl", "2.jsonl"]
    answer = served.get(f"/playground/feeds/{first[:-1]}")
    assert answer.status_code == 404
    assert answer.json()["error"] == "this feed is not here any more; load the file again"


def test_a_senders_new_file_takes_the_place_of_the_one_before(served: TestClient) -> None:
    first = upload(served, lines())
    second = upload(served, lines(), replaces=first)
    assert served.get(f"/playground/feeds/{first}").status_code == 404
    assert served.get(f"/playground/feeds/{second}").status_code == 200


def test_only_so_many_feeds_are_kept_and_the_one_used_longest_ago_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(playground_feeds, "MAX_FEEDS", 2)
    with client() as one:
        first, second = upload(one, lines()), upload(one, lines())
        ready(one, first)
        third = upload(one, lines())
        status = [one.get(f"/playground/feeds/{feed}").status_code for feed in (first, second, third)]
    assert status == [200, 404, 200]


def test_a_feed_that_nobody_uses_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    with client() as one:
        feed = upload(one, lines())
        assert one.get(f"/playground/feeds/{feed}").status_code == 200
        monkeypatch.setattr(playground_feeds, "MAX_IDLE_S", -1.0)
        assert one.get(f"/playground/feeds/{feed}").status_code == 404


def test_a_feed_is_read_once_a_few_texts_at_a_time_and_cannot_be_ranked_before() -> None:
    seen: list[str | None] = []
    sizes: list[int] = []

    def counting(content: Content) -> HarmScores:
        seen.extend(content.text)
        sizes.append(content.n)
        return score_words(content)

    rows = [{"request_id": f"r{i % 3}", "post_id": f"p{i}", "text": f"text {i % 150}"} for i in range(300)]
    with client(counting) as one:
        feed = upload(one, lines(rows))
        assert one.post("/playground/compare", json=BOTH | {"feed": feed}).status_code == 409
        found = ready(one, feed)
        for _ in range(2):
            assert one.post("/playground/compare", json=BOTH | {"feed": feed}).status_code == 200
    texts = [text for text in seen if text is not None]
    assert sorted(texts) == sorted(f"text {i}" for i in range(150))
    assert found["total"] == found["read"] == 150
    assert max(sizes) <= playground_feeds.TEXTS_AT_ONCE


def test_scores_are_those_of_the_pipeline_comments_included() -> None:
    with client() as one:
        ready(one, "sample")
        found = one.post("/playground/compare", json=BOTH).json()
    feed = make_sample(**playground_feeds.SAMPLE_SIZE)
    harms = score_harms(feed, score_words)
    ranking = Reranker(load_policy("harm-aware"), baseline=AngerBaseline.fit(feed)).rank(feed, harms)
    n = int(feed.offsets[1])
    assert found["treatment"]["order"] == ranking.order[:n].tolist()
    assert found["treatment"]["score"] == pytest.approx(ranking.score[:n].tolist())
    assert found["treatment"]["good"] == pytest.approx(ranking.good[:n].tolist())
    assert np.isfinite(harms.comment_toxicity).any()


def test_what_was_not_scored_is_null_and_never_zero(served: TestClient, mine: str) -> None:
    posts = served.get(f"/playground/feeds/{mine}/requests/0").json()["posts"]
    without = next(post for post in posts if post["text"] is None)
    assert set(without["harms"].values()) == {None}
    assert all(value is not None for post in posts if post["text"] for value in post["harms"].values())


def test_without_a_classifier_posts_are_ranked_and_said_to_be_unscored() -> None:
    with client(None) as one:
        feed = upload(one, lines())
        found = ready(one, feed)
        assert (found["problem"], found["labels"], found["model"]) == ("no model", [], None)
        compared = one.post("/playground/compare", json=BOTH | {"feed": feed}).json()
        assert sorted(compared["treatment"]["order"]) == [0, 1, 2, 3, 4]
        assert any("toxicity" in term for term in compared["treatment"]["unscored"])
        assert one.get(f"/playground/feeds/{feed}/requests/0").json()["posts"][0]["harms"] == {}


def test_a_scorer_that_fails_once_is_asked_again() -> None:
    failures = [True, True]

    def flaky(content: Content) -> HarmScores:
        if content.n and failures:
            failures.pop()
            raise RuntimeError("out of memory")
        return score_words(content)

    with client(flaky) as one:
        found = ready(one, upload(one, lines()))
    assert (failures, found["problem"], found["model"]) == ([], None, "words-1")


def test_a_scorer_that_keeps_failing_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = True

    def scorer(content: Content) -> HarmScores:
        if broken and content.n:
            raise RuntimeError("out of memory")
        return score_words(content)

    with client(scorer) as one:
        feed = upload(one, lines())
        assert ready(one, feed)["problem"] is not None
        unscored = one.post("/playground/compare", json=BOTH | {"feed": feed}).json()
        broken = False
        monkeypatch.setattr(playground_feeds, "TRY_AGAIN_S", -1.0)
        assert ready(one, feed)["model"] == "words-1"
        scored = one.post("/playground/compare", json=BOTH | {"feed": feed}).json()
    assert "toxicity" not in {row["metric"] for row in unscored["figures"]["rows"]}
    assert "toxicity" in {row["metric"] for row in scored["figures"]["rows"]}
    assert scored["treatment"]["demotions"][0]["toxicity"] == 0.0

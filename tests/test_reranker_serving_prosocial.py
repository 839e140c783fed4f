"""`POST /rank`: the contract on made-up feeds of all three platforms, arms, failures, explanations."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from models.scores import Content, HarmScores, Scorer
from reranker.anger import AngerBaseline
from reranker.cli import main
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.results import write_harms
from reranker.serving.prosocial_feed import feed_of
from reranker.serving.service import Service
from reranker.writing import write_feed
from tests.rank_requests import (
    KEYS,
    PLATFORMS,
    SENTENCES,
    TOXIC,
    by_words,
    error,
    item,
    liked,
    made_up,
    order,
    ranked,
    read,
    request,
    serving,
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """Of a server without a model, whose policy needs none."""
    with serving() as one:
        yield one


@pytest.mark.parametrize("cohort", [None, "AB", "", "treatment"])
@pytest.mark.parametrize(
    ("platform", "n_posts", "n_comments"),
    [("twitter", 1, 0), ("twitter", 100, 0), ("reddit", 54, 0), ("facebook", 95, 0), ("facebook", 12, 5)],
)
def test_every_feed_comes_back_whole_and_each_id_once(
    client: TestClient, platform: str, n_posts: int, n_comments: int, cohort: str | None
) -> None:
    body = made_up(platform, n_posts, n_comments)
    body["session"] |= {"cohort": cohort, "cohort_index": 7, "prefetch": True}
    response = ranked(client, body)
    assert sorted(response["ranked_ids"]) == sorted(one["id"] for one in body["items"])
    assert response["new_items"] is None
    assert response["metadata"] == {"intervention_on": True}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_more_likes_stand_higher_on_every_platform(client: TestClient, platform: str) -> None:
    counts = dict.fromkeys(KEYS[platform], 0)
    worth = "score" if platform == "reddit" else "like"
    items = [item(f"p{n}", platform, engagements=counts | {worth: n}) for n in (3, 9, 1)]
    assert order(client, request(*items, platform=platform)) == ["p9", "p3", "p1"]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "text/html; charset=x", None])
def test_the_content_type_is_not_looked_at(client: TestClient, content_type: str | None) -> None:
    raw = json.dumps(request(liked("a", 1), liked("b", 2))).encode()
    headers = {} if content_type is None else {"content-type": content_type}
    response = client.post("/rank", content=raw, headers=headers)
    assert response.json()["ranked_ids"] == ["b", "a"]


def test_a_byte_order_mark_is_skipped(client: TestClient) -> None:
    raw = b"\xef\xbb\xbf" + json.dumps(request(item("ü")), ensure_ascii=False).encode()
    assert client.post("/rank", content=raw).json()["ranked_ids"] == ["ü"]


def test_a_feed_without_items_is_answered_by_an_empty_list(client: TestClient) -> None:
    expected = {"ranked_ids": [], "new_items": None, "metadata": {"intervention_on": False}}
    assert ranked(client, request()) == expected
    assert ranked(client, request(), "?explain=true") == expected | {"explanations": []}


def test_the_survey_and_unknown_keys_change_nothing(client: TestClient) -> None:
    body = made_up("facebook", 30)
    more = json.loads(json.dumps(body))
    more |= {"survey": {"party_id": "independent", "age": 3, "ideology": None}, "router": {"x": 1}}
    more["session"]["beta"] = True
    for one in more["items"]:
        one |= {"views": 12}
        one["engagements"]["view"] = "many"
    assert ranked(client, more) == ranked(client, body)


def test_equal_scores_keep_the_original_rank_and_then_the_order_of_the_request(client: TestClient) -> None:
    ranks = {"a": 2, "b": None, "c": 0, "d": 2, "e": None}
    items = [item(name, original_rank=rank) for name, rank in ranks.items()]
    assert order(client, request(*items)) == ["c", "a", "d", "b", "e"]


def test_the_cohort_chooses_the_arm_and_other_cohorts_get_the_default() -> None:
    items = [liked("a", 1, created_at="2024-10-01"), liked("b", 9, created_at="2024-09-01")]
    with serving(arms={"new first": "chronological", "": "chronological"}) as client:
        found = {
            cohort: order(client, request(*items, cohort=cohort)) for cohort in ("new first", "AB", None)
        }
        assert order(client, request(*items, cohort="")) == ["a", "b"]
    assert found == {"new first": ["a", "b"], "AB": ["b", "a"], None: ["b", "a"]}


def test_the_published_arm_gives_the_order_worked_out_by_hand() -> None:
    scorer = by_words(
        {
            "kind": {"reasoning": 0.9},  # 0.9 / 6 = 0.15
            "rude": {"toxicity": 0.8},  # -0.8 / 8 = -0.1
            "afraid": {"fearmongering": 0.3},  # -0.3 / 6 = -0.05
            "calm": {"compassion": 0.6, "respect": 0.6},  # 1.2 / 6 = 0.2
            "outraged": {"moral_outrage": 0.45},  # -0.45 / 18 = -0.025
        }
    )
    texts = ["kind", "rude", "", "afraid", "calm", "unbekannt", "outraged"]
    items = [liked(f"{i} {text}", 9 - i, text=text, original_rank=i) for i, text in enumerate(texts)]
    body = request(*items[3:], *items[:3], cohort="treatment")
    with serving("chronological", scorer, arms={"treatment": "prosocial-2024"}) as client:
        response = ranked(client, body)
    # "" has the score of "rude" above it, "unbekannt" that of "calm"
    expected = ["4 calm", "5 unbekannt", "0 kind", "6 outraged", "3 afraid", "1 rude", "2 "]
    assert response["ranked_ids"] == expected
    assert response["metadata"] == {"intervention_on": True}


def test_comments_are_ordered_within_their_thread_and_do_not_move_their_post(client: TestClient) -> None:
    def reply(name: str, likes: int, post: str, parent: str) -> dict[str, Any]:
        return liked(name, likes, type="comment", post_id=post, parent_id=parent)

    items = [
        liked("p", 1),
        reply("p1", 2, "p", ""),
        reply("p2", 90, "p", ""),
        reply("p1a", 5, "p", "p1"),
        reply("p1b", 6, "p", "p1"),
        liked("q", 3),
        reply("q1", 0, "q", ""),
    ]
    assert order(client, request(*items)) == ["q", "q1", "p", "p2", "p1", "p1b", "p1a"]


@pytest.fixture
def removing(tmp_path: Path) -> str:
    """The file of a policy that removes what is surely toxic."""
    path = tmp_path / "removing.toml"
    curve = "start = 0.3\nline = 0.5\nremoval = 0.8"
    path.write_text(
        f'schema = 1\nname = "removing"\n[weights]\nlike = 1\n[demotion.toxicity]\n{curve}\n', "utf-8"
    )
    return str(path)


def test_only_a_policy_that_removes_drops_posts_and_then_with_their_comments(removing: str) -> None:
    rude, calm = SENTENCES[4], SENTENCES[0]
    items = [
        liked("p", 5, text=calm),
        liked("c", 4, text=rude, type="comment", post_id="p"),
        liked("below c", 3, text=calm, type="comment", post_id="p", parent_id="c"),
        liked("d", 2, text=calm, type="comment", post_id="p"),
    ]
    with serving("harm-aware", TOXIC, arms={"remove": removing}) as client:
        assert len(order(client, request(*items))) == 4
        response = ranked(client, request(*items, cohort="remove"), "?explain=true")
        alone = order(client, request(liked("c", 4, text=rude), cohort="remove"))
    assert response["ranked_ids"] == ["p", "d"]
    told = {one["post_id"]: one["rank"] for one in response["explanations"]}
    assert told == {"p": 1, "d": 2, "c": None, "below c": None}
    assert alone == ["c"]


@pytest.mark.parametrize("rules", ["[holdout]\nshare = 1.0\n[weights]\nlike = 1", "[score]\nbounded = true"])
def test_an_arm_of_control_keeps_the_original_order_and_says_so(rules: str, tmp_path: Path) -> None:
    control = tmp_path / "control.toml"
    control.write_text(f'schema = 1\nname = "control"\n{rules}\n', "utf-8")
    with serving(arms={"control": str(control)}) as client:
        response = ranked(client, request(liked("a", 1), liked("b", 9), cohort="control"))
    assert response["ranked_ids"] == ["a", "b"]
    assert response["metadata"] == {"intervention_on": False}


def broken(content: Content) -> HarmScores:
    """A scorer that knows its labels and cannot read anything."""
    if content.n:
        raise RuntimeError("out of memory")
    return HarmScores.unscored(0, ("toxicity",), "broken@1")


@pytest.mark.parametrize("scorer", [None, broken])
def test_without_scores_the_original_order_is_answered_and_says_so(scorer: Scorer | None) -> None:
    items = [liked("a", 1, original_rank=2), liked("b", 9, original_rank=1), liked("c", 4, original_rank=0)]
    with serving("harm-aware", scorer) as client:
        response = ranked(client, request(*items))
    assert response["ranked_ids"] == ["c", "b", "a"]
    assert response["metadata"]["intervention_on"] is False
    assert response["metadata"]["degraded"]


def test_a_policy_that_cannot_rank_such_a_feed_leaves_it_as_it_came() -> None:
    items = [liked("a", 1, original_rank=1), liked("b", 9, original_rank=0)]
    with serving("twitter-2023") as client:  # its weights are for predicted probabilities
        response = ranked(client, request(*items), "?explain=true")
        counted = client.get("/metrics").text
    assert response["ranked_ids"] == ["b", "a"]
    assert response["metadata"]["intervention_on"] is False
    assert response["metadata"]["degraded"].startswith("policy twitter-2023 cannot rank this feed: ")
    assert "explanations" not in response
    assert 'degraded_total{reason="policy twitter-2023 cannot rank this feed"} 1.0' in counted


def test_a_full_queue_is_answered_503_with_retry_after() -> None:
    began, go_on = threading.Event(), threading.Event()

    def waiting(content: Content) -> HarmScores:
        if "hold" in content.text:
            began.set()
            go_on.wait(30)
        return HarmScores.unscored(content.n, ("toxicity",), "waiting@1")

    with serving("harm-aware", waiting, max_waiting_texts=4) as client:
        service: Service = client.app.state.service
        assert service.worker is not None
        service.worker.submit([b"1"], Content.of_texts(["hold"]))
        began.wait(30)
        service.worker.submit([b"2"], Content.of_texts(["in the queue"]))
        response = client.post("/rank", json=request(*(item(str(i)) for i in range(4))))
        go_on.set()
    assert "queue" in error(response, 503)
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_command_line_and_python_give_the_same_order(platform: str, tmp_path: Path) -> None:
    body = made_up(platform, 25, 2, seed=5)
    for one in body["items"]:
        if platform == "facebook" and "idiot" in one["text"]:
            one["engagements"]["angry"] = 400
    feed = feed_of(read(body))
    harms = Reranker(load_policy("uniform"), TOXIC).score(feed)
    assert harms is not None
    feeds, scores, out = (tmp_path / name for name in ("feed.parquet", "scores.parquet", "out.jsonl"))
    write_feed(feed, feeds)
    write_harms(feed, harms, scores)
    names = ("prosocial-2024", "harm-aware", "fb-2018-h1")
    with serving("uniform", TOXIC, arms={name: name for name in names}) as client:
        served = {
            name: order(client, body | {"session": body["session"] | {"cohort": name}}) for name in names
        }
    assert len({tuple(ids) for ids in served.values()}) == 3
    for name in names:
        with pytest.raises(SystemExit) as stopped:
            main(["rank", str(feeds), "-p", name, "--scores", str(scores), "-o", str(out)])
        assert not stopped.value.code
        assert served[name] == [json.loads(line)["post_id"] for line in out.read_text().splitlines()]
        in_python = Reranker(load_policy(name), TOXIC, baseline=AngerBaseline.fit(feed)).rank(feed)
        assert served[name] == in_python.ids()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_explanations_stand_in_ranked_order_and_repeat_no_text(platform: str) -> None:
    body = made_up(platform, 20, 1)
    with serving("harm-aware", TOXIC) as client:
        response = ranked(client, body, "?explain=true")
        plain = ranked(client, body, "?explain=false")
    told = response.pop("explanations")
    assert response == plain
    assert [one["post_id"] for one in told] == response["ranked_ids"]
    assert [one["rank"] for one in told] == list(range(1, 41))
    policy = load_policy("harm-aware")
    for one in told:
        assert (one["policy"], one["digest"]) == (policy.name, policy.digest)
        assert sum(term["amount"] for term in one["terms"]) == pytest.approx(one["score"], rel=1e-9)
    assert not any(text in json.dumps(told) for text in SENTENCES if text)


def test_explain_that_is_neither_true_nor_false_is_refused(client: TestClient) -> None:
    message = error(client.post("/rank?explain=perhaps", json=request(item("a"))))
    assert message == "explain: expected true or false, got text of length 7"


def test_the_openapi_document_describes_the_body_without_references(client: TestClient) -> None:
    document = client.get("/openapi.json").json()["paths"]["/rank"]["post"]
    schema = document["requestBody"]["content"]["text/plain"]["schema"]
    assert "$ref" not in json.dumps(schema)
    item_schema = schema["properties"]["items"]["items"]
    assert "embedded_urls" in item_schema["required"]
    assert len(item_schema["properties"]["engagements"]["anyOf"]) == 3
    assert [one["name"] for one in document["parameters"]] == ["explain"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_published_package_sends_and_accepts_these_bodies(client: TestClient, platform: str) -> None:
    reason = "the package ranking-challenge is not installed"
    made: Callable[..., Any] = pytest.importorskip("ranking_challenge.fake", reason=reason).fake_request
    response_model = pytest.importorskip("ranking_challenge.response", reason=reason).RankingResponse
    sent = made(n_posts=5, n_comments=3, platform=platform)
    response = client.post("/rank?explain=true", content=sent.model_dump_json())
    assert response.status_code == 200
    answered = response_model.model_validate_json(response.content)
    assert sorted(answered.ranked_ids) == sorted(one.id for one in sent.items)

"""What bad bodies of `/rank` get: one clear error, or a correct ranking, whatever they hold."""

import asyncio
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from models.scores import Content, HarmScores
from reranker.serving.prosocial import answer
from reranker.serving.prosocial_body import RequestError, read_request
from reranker.serving.service import Service
from reranker.serving.settings import ServeSettings
from tests.rank_requests import (
    KEYS,
    PLATFORMS,
    SENTENCES,
    TOXIC,
    error,
    item,
    made_up,
    order,
    request,
    serving,
)


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """Of a server without a model, whose policy needs none."""
    with serving() as one:
        yield one


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "body: expected JSON, got nothing"),
        (b"{", "body: expected JSON, got expecting property name enclosed in double quotes at 1"),
        (b'{"items": [NaN]}', "body: expected JSON, got the number NaN"),
        (b'{"items": ' + b"9" * 5000 + b"}", "body: expected JSON, got a number too long to read"),
        (b'{"text": "\xff"}', "body: expected UTF-8, got another byte at 10"),
        ('{"items": []}'.encode("utf-16"), "body: expected UTF-8, got another byte at 0"),
        (b"[" * 100_000, "body: expected a request, got JSON that is nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "body: expected a request, got JSON that is nested too"),
        (b"[]", "body: expected an object, got a list of 0"),
        (b"null", "body: expected an object, got null"),
        (b'"text"', "body: expected an object, got text of length 4"),
        (b"{}", "session: expected a value, got nothing"),
    ],
)
def test_a_body_that_is_no_request_is_refused(client: TestClient, raw: bytes, message: str) -> None:
    assert error(client.post("/rank", content=raw)).startswith(message)


def put(body: Any, path: str, value: Any) -> None:
    """Replace one value of a request; ... removes it."""
    *above, last = path.split(".")
    for key in above:
        body = body[int(key)] if isinstance(body, list) else body[key]
    key = int(last) if isinstance(body, list) else last
    if value is ...:
        del body[key]
    else:
        body[key] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("items.1.engagements.like", "many words", "expected an integer, got text of length 10"),
        ("items.1.engagements.like", -1, "expected at least 0, got -1"),
        ("items.1.engagements.like", "-1", 'expected at least 0, got "-1"'),
        ("items.1.engagements.like", 1.5, "expected an integer, got 1.5"),
        ("items.1.engagements.like", None, "expected an integer, got null"),
        ("items.1.engagements.like", [1, 2], "expected an integer, got a list of 2"),
        ("items.1.engagements.like", {"a": 1}, "expected an integer, got an object"),
        ("items.1.engagements.like", 2**60, "expected at most 9007199254740992, got 11529"),
        ("items.1.engagements.like", 10**400, "expected at most 9007199254740992, got a num"),
        ("items.1.engagements.angry", ..., "expected a value, got nothing"),
        ("items.1.engagements", None, "expected an object, got null"),
        ("items.1.engagements", ..., "expected a value, got nothing"),
        ("items.1.embedded_urls", ..., "expected a value, got nothing"),
        ("items.1.embedded_urls", "https://example.org", "expected a list, got text of length 19"),
        ("items.1.embedded_urls", [1], "expected text, got 1"),
        ("items.1.text", None, "expected text, got null"),
        ("items.1.text", 5, "expected text, got 5"),
        ("items.1.id", 17, "expected text, got 17"),
        ("items.1.id", "a", "expected each id once, got that of items.0"),
        ("items.1.id", "\ud800", "expected text without lone surrogates, got text of length 1"),
        ("items.1.type", "story", "expected 'post' or 'comment', got text of length 5"),
        ("items.1.original_rank", -3, "expected at least 0, got -3"),
        ("items.1", "x", "expected an object, got text of length 1"),
        ("items", {}, "expected a list, got an object"),
        ("items", ..., "expected a value, got nothing"),
        ("session", [], "expected an object, got a list of 0"),
        (
            "session.platform",
            "myspace",
            "expected 'twitter', 'reddit' or 'facebook', got text of length 7",
        ),
        ("session.platform", [], "expected 'twitter', 'reddit' or 'facebook', got a list of 0"),
        ("session.user_id", ..., "expected a value, got nothing"),
        ("session.user_id", "\udfff", "expected text without lone surrogates, got text of length 1"),
        ("session.cohort", 4, "expected text, got 4"),
        ("session.cohort_index", -4, "expected at least 0, got -4"),
        ("survey", "none", "expected an object, got text of length 4"),
    ],
)
def test_a_bad_value_is_refused_by_its_place_what_was_expected_and_what_was_found(
    client: TestClient, path: str, value: Any, message: str
) -> None:
    body = request(item("a"), item("b"), item("c"))
    put(body, path, value)
    told = error(client.post("/rank", content=json.dumps(body).encode()))
    where = f"{path}.0" if value == [1] else path
    assert told.startswith(f"{where}: {message}")


def test_whole_numbers_as_text_count_as_numbers(client: TestClient) -> None:
    counts = dict.fromkeys(KEYS["facebook"], "0")
    items = [item("a", engagements=counts | {"like": "2"}), item("b", engagements=counts | {"like": "10"})]
    assert order(client, request(*items)) == ["b", "a"]


def test_more_items_than_are_allowed_are_answered_413() -> None:
    with serving(max_items=3) as client:
        assert len(order(client, made_up("reddit", 3))) == 3
        message = error(client.post("/rank", json=made_up("reddit", 4)), 413)
    assert message == "items: expected at most 3, got 4"


def test_ten_thousand_items_are_refused_before_they_are_looked_at(client: TestClient) -> None:
    body = {"session": None, "items": [None] * 10_000}
    assert error(client.post("/rank", json=body), 413) == "items: expected at most 2000, got 10000"


@pytest.mark.parametrize("field", ["text", "title"])
def test_a_text_of_a_megabyte_is_answered_413(client: TestClient, field: str) -> None:
    body = request(item("a"), item("b", **{field: "x" * 2**20}))
    message = error(client.post("/rank", json=body), 413)
    assert message == f"items.1.{field}: expected at most 65536 bytes, got 1048576"


def test_the_limit_of_a_text_counts_bytes_and_not_characters() -> None:
    with serving(max_text_bytes=8) as client:
        assert order(client, request(item("a", text="12345678"), item("b", text="üüüü"))) == ["a", "b"]
        assert error(client.post("/rank", json=request(item("a", text="ünüüü"))), 413)


def test_texts_with_nul_and_cut_characters_are_scored_and_ranked() -> None:
    seen: list[str | None] = []

    def watched(content: Content) -> HarmScores:
        seen.extend(content.text)
        return HarmScores.unscored(content.n, ("toxicity",), "watched@1")

    texts = {"a": "cut \ud83d", "b": "nul \x00", "c": "\udc00\ud800", "d": "whole \U0001f600"}
    items = [item(name, text=text, embedded_urls=["https://x.org/\ud800"]) for name, text in texts.items()]
    raw = json.dumps(request(*items)).encode()
    with serving("harm-aware", watched) as client:
        response = client.post("/rank", content=raw)
    assert response.json()["ranked_ids"] == list("abcd")
    assert {"cut \ufffd", "nul \x00", "\ufffd\ufffd", "whole \U0001f600"} <= set(seen)


def test_ids_may_be_any_text_and_come_back_as_they_were(client: TestClient) -> None:
    names = ["", " ", "\x00", "\U0001f600", '"\\', "a" * 10_000, "__proto__", "<b>"]
    assert order(client, request(*map(item, names))) == names


@pytest.mark.parametrize(
    "written",
    ["", "yesterday", "01/10/2024", "2024-13-01", "2024-10-01T25:00:00Z", 1e300, 10**30, True, None],
)
def test_what_is_no_time_is_refused(client: TestClient, written: Any) -> None:
    message = error(client.post("/rank", json=request(item("a"), item("b", created_at=written))))
    assert message.startswith("items.1.created_at: expected a time such as 2024-10-01T12:30:00Z")


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
PATHS = st.sampled_from(
    ["session", "survey", "items", "items.0", "items.2"]
    + [f"session.{name}" for name in request()["session"]]
    + [f"items.1.{name}" for name in (*item("a"), "title", "post_id", "parent_id", "language")]
    + [f"items.1.engagements.{name}" for name in KEYS["facebook"]]
)
MARK = "zqxj"  # stands in no message of ours


@given(PATHS, Json)
def test_any_value_in_any_place_gives_a_ranking_or_one_error(path: str, value: Any) -> None:
    with_mark = json.dumps(request(item("a", text=MARK), item("b"), item("c", type="comment", post_id="a")))
    body = json.loads(with_mark)
    put(body, path, value)
    status, content = asked(json.dumps(body).encode())
    if status == 200:
        names = [str(one["id"]) for one in body["items"]]
        assert sorted(content["ranked_ids"]) == sorted(names)
    else:
        assert status in {400, 413}
        assert content["error"].count("expected") == 1
        assert MARK not in content["error"]


@given(PATHS)
def test_no_error_repeats_a_text_wherever_it_stands(path: str) -> None:
    body = request(item("a"), item("b"), item("c"))
    put(body, path, MARK)
    assert MARK not in str(asked(json.dumps(body).encode())[1].get("error"))


@given(st.binary(max_size=200) | Json.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_one_error(raw: bytes) -> None:
    status, content = asked(raw)
    assert status == 400
    assert content["error"].count("expected") == 1


@st.composite
def feeds(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid request: counts of any size, comments that answer anything, ranks that repeat."""
    names = draw(st.lists(st.text(max_size=6), min_size=1, max_size=12, unique=True))
    count = st.integers(0, 2**53)
    items = []
    for name in names:
        platform = draw(st.sampled_from(PLATFORMS))
        signed = st.integers(-(2**53), 2**53)
        engagements = {key: draw(signed if key == "score" else count) for key in KEYS[platform]}
        above = st.sampled_from([None, "", "elsewhere", *names])
        items.append(
            item(
                name,
                type=draw(st.sampled_from(["post", "comment"])),
                text=draw(st.text(max_size=20) | st.sampled_from(SENTENCES)),
                engagements=engagements,
                original_rank=draw(st.none() | st.integers(0, 5)),
                post_id=draw(above),
                parent_id=draw(above),
                author_name_hash=draw(st.sampled_from(["", "x", "y"])),
                created_at=draw(st.integers(0, 2**31)),
            )
        )
    return request(*items, platform=draw(st.sampled_from(PLATFORMS)))


@given(feeds(), st.sampled_from(["harm-aware", "prosocial-2024", "fb-2020-10", "chronological", "uniform"]))
def test_what_is_answered_is_a_permutation_of_what_was_asked(body: dict[str, Any], policy: str) -> None:
    status, content = asked(json.dumps(body).encode(), policy)
    assert status == 200, content
    assert sorted(content["ranked_ids"]) == sorted(one["id"] for one in body["items"])


@given(feeds(), st.randoms())
def test_the_order_of_items_does_not_matter_where_ranks_are_stated(
    body: dict[str, Any], shuffled: random.Random
) -> None:
    for rank, one in enumerate(body["items"]):
        one["original_rank"] = rank
    before = asked(json.dumps(body).encode())
    shuffled.shuffle(body["items"])
    assert asked(json.dumps(body).encode()) == before


def asked(raw: bytes, policy: str = "fb-2018-h1") -> tuple[int, dict[str, Any]]:
    """Status and content, without the cost of HTTP."""
    service = SERVICES.setdefault(policy, Service(ServeSettings(policy=policy), TOXIC))
    try:
        checked = read_request(raw, service.settings)
    except RequestError as refused:
        return refused.status, {"error": str(refused)}
    return 200, asyncio.run(answer(service, checked, explained=False))


SERVICES: dict[str, Service] = {}

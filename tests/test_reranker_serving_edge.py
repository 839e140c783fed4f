"""The layers around the routes: errors, logs, keys, origins, and the limits of bodies."""

import asyncio
import json
import logging
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from reranker.columns import FeedError
from reranker.policy import PolicyError
from reranker.serving.app import create_app
from reranker.serving.logs import JsonLines
from reranker.serving.service import BusyError, ScorerError
from reranker.serving.settings import ServeSettings
from tests.serving import SECRET, HashScorer, body, client_of


def boom_app(raised: Exception, **changed: Any) -> FastAPI:
    app = create_app(ServeSettings(**changed), None)

    @app.get("/boom")
    async def boom() -> None:
        raise raised

    return app


def test_an_unexpected_error_shows_an_id_and_is_logged_without_what_it_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with TestClient(boom_app(KeyError(SECRET))) as client, caplog.at_level(logging.INFO):
        answer = client.get("/boom", headers={"X-Request-Id": "mine-1"})
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error; request mine-1"}
    assert answer.headers["x-request-id"] == "mine-1"
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    failed = next(line for line in lines if line["level"] == "error")
    assert failed["exception"] == "KeyError"
    assert any("boom" in place for place in failed["at"])
    assert SECRET not in json.dumps(lines)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/rank", {"error": "busy"}),
        ("/v1alpha1/x", {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}),
        ("/xrpc/x", {"error": "NotEnoughResources", "message": "busy"}),
    ],
)
def test_errors_take_the_form_of_the_contract(path: str, wanted: dict[str, Any]) -> None:
    app = create_app(ServeSettings(), None)

    @app.put(path)
    async def busy() -> None:
        raise BusyError("busy", retry_after_s=7)

    answer = TestClient(app).put(path)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json() == wanted


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (FeedError("like: expected a number"), 400, "like: expected a number"),
        (PolicyError("weights: expected a table"), 400, "weights: expected a table"),
        (ScorerError("no model"), 503, "no scores: no model"),
        (HTTPException(418, "tea"), 418, "tea"),
    ],
)
def test_what_a_route_raises_becomes_an_answer(raised: Exception, status: int, told: str) -> None:
    answer = TestClient(boom_app(raised)).get("/boom")
    assert (answer.status_code, answer.json()) == (status, {"error": told})


def test_a_parameter_that_is_not_as_expected_is_told_without_repeating_it() -> None:
    app = create_app(ServeSettings(), None)

    @app.get("/twice")
    async def twice(n: int) -> int:
        return 2 * n

    answer = TestClient(app).get("/twice", params={"n": SECRET})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("query.n: Input should be a valid integer")
    assert SECRET not in answer.text


def test_a_log_line_has_no_text_no_query_and_no_key(caplog: pytest.LogCaptureFixture) -> None:
    with client_of(HashScorer(), api_keys=("hunter2",)) as client, caplog.at_level(logging.INFO):
        answer = client.post("/rank?key=hunter2&explain=true", json=body([SECRET, "b"]))
        assert client.post("/rank?key=wrong-key", json=body([SECRET])).status_code == 401
    assert answer.status_code == 200
    ours = [record for record in caplog.records if not record.name.startswith("httpx")]  # the client's own
    lines = [json.loads(JsonLines().format(record)) for record in ours]
    request = next(line for line in lines if line["message"] == "request")
    assert {name: request[name] for name in ("method", "route", "status", "items", "degraded")} == {
        "method": "POST",
        "route": "/rank",
        "status": 200,
        "items": 2,
        "degraded": None,
    }
    assert request["ms"] > 0
    assert request["request_id"] == answer.headers["x-request-id"]
    everything = json.dumps(lines)
    assert not any(word in everything for word in (SECRET, "hunter2", "wrong-key", "explain"))


@pytest.mark.parametrize("headers", [{"X-Api-Key": "two"}, {"Authorization": "Bearer two"}, {}])
def test_a_key_may_come_in_each_of_three_places(headers: dict[str, str]) -> None:
    with client_of(None, api_keys=("one", "two")) as client:
        query = "" if headers else "?key=two"
        assert client.post(f"/rank{query}", json=body(["a"]), headers=headers).status_code == 200
        for wrong in ({}, {"X-Api-Key": "tw"}, {"Authorization": "Basic two"}, {"X-Api-Key": "two "[::-1]}):
            refused = client.post("/rank", json=body(["a"]), headers=wrong)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200
        assert client.get("/openapi.json").status_code == 200
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        assert client.options("/rank", headers=asked).status_code == 200


def test_pages_of_the_origins_that_are_named_may_call_and_others_may_not() -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    with client_of(None) as client:
        answer = client.options("/rank", headers=asked)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS, POST"
        refused = client.post("/rank", content=b"{", headers=asked)
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (400, "*")
    with client_of(None, cors_origins=("https://b.example",)) as client:
        assert "access-control-allow-origin" not in client.options("/rank", headers=asked).headers
        answer = client.get("/health", headers={"Origin": "https://b.example"})
        assert answer.headers["access-control-allow-origin"] == "https://b.example"


@pytest.mark.parametrize("n_bytes", [1001, 1999, 2001, 1_000_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_large_body_is_answered_413_with_or_without_its_length(n_bytes: int, chunked: bool) -> None:
    whole = b" " * n_bytes
    with client_of(None, max_body_bytes=1000) as client:
        pieces = (whole[i : i + 100] for i in range(0, n_bytes, 100))
        answer = client.post("/rank", content=pieces if chunked else whole)
        assert answer.status_code == 413
        assert answer.json() == {"error": "body: expected at most 1000 bytes, got more"}
        assert client.post("/rank", content=b" " * 1000).status_code == 400


def test_a_slow_body_is_answered_408_and_a_client_that_left_is_not_answered() -> None:
    app = create_app(ServeSettings(body_timeout_s=0.1), None)
    scope = {"type": "http", "method": "POST", "path": "/rank", "query_string": b"", "headers": []}

    async def run(message: dict[str, Any] | None) -> list[Any]:
        sent: list[Any] = []

        async def receive() -> Any:
            if message is None:
                await asyncio.sleep(30)
            return message

        async def send(part: Any) -> None:
            sent.append(part)

        await app(scope | {"state": {}}, receive, send)
        return sent

    start, told = asyncio.run(run(None))
    assert start["status"] == 408
    assert json.loads(told["body"]) == {"error": "body: expected it within 0.1 s"}
    assert asyncio.run(run({"type": "http.disconnect"})) == []


def test_settings_that_make_no_sense_are_refused() -> None:
    for wrong, told in (
        ({"max_items": 0}, "max_items: expected a number above 0, got 0"),
        ({"score_timeout_s": float("nan")}, "score_timeout_s: expected a number above 0, got nan"),
        ({"cache": "http://:secret@host"}, 'cache: expected "memory" or redis://HOST:PORT/DB'),
    ):
        with pytest.raises(ValueError, match=told) as refused:
            ServeSettings(**wrong)
        assert "secret" not in str(refused.value)
    assert "hunter2" not in repr(ServeSettings(api_keys=("hunter2",)))

"""The application: health, counts, shared passes, real sockets, and an OpenAPI document that holds."""

import asyncio
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis import config
from starlette.testclient import TestClient

from models import taxonomy
from models.scores import Content, HarmScores
from reranker.presets import load_policy
from reranker.serving.app import create_app
from reranker.serving.protocol import TimedHttp
from reranker.serving.settings import ServeSettings
from tests.serving import LABELS, HashScorer, body, broken, client_of, expected


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


def count(client: TestClient, line: str) -> float:
    found = [one for one in client.get("/metrics").text.splitlines() if one.startswith(f"{line} ")]
    return float(found[0].split()[-1]) if found else 0.0


def test_health_says_who_answers_and_metrics_count_what_was_done() -> None:
    with client_of(HashScorer()) as client:
        ready = client.get("/health").json()
        assert (ready["status"], ready["scorer"], ready["model"]) == ("ready", "ready", "hash@1")
        assert ready["digest"] == load_policy("harm-aware").digest
        assert client.get("/health/live").json() == {"status": "live"}
        before = count(client, "reranker_scored_texts_total")
        for _ in range(2):
            assert client.post("/rank", json=body([f"text {i}" for i in range(20)])).status_code == 200
        assert client.post("/rank", content=b"{").status_code == 400
        assert client.get("/nothing/here").status_code == 404
        assert count(client, 'reranker_requests_total{route="/rank",status="200"}') == 2
        assert count(client, 'reranker_requests_total{route="/rank",status="400"}') == 1
        assert count(client, 'reranker_requests_total{route="none",status="404"}') == 1
        assert count(client, "reranker_items_total") == 40
        assert count(client, "reranker_scored_texts_total") - before == 20
        assert count(client, "reranker_cache_hits_total") == 20
        demoted = sum(max(0.0, np.sign(expected(f"text {i}")[0] - 0.999)) for i in range(20))
        assert count(client, 'reranker_demotions_total{reason="toxicity"}') >= demoted
        assert count(client, "reranker_queue_texts") == 0


def test_a_server_is_not_ready_before_it_has_started_and_not_live_while_a_pass_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reranker.serving.health.HANGS_S", 0.1)
    scorer = HashScorer()
    app = create_app(ServeSettings(score_timeout_s=0.05), scorer)
    assert TestClient(app).get("/health/ready").status_code == 503
    with TestClient(app) as client:
        assert client.get("/health/ready").status_code == 200
        scorer.gate.clear()
        assert client.post("/rank", json=body(["new"])).json()["metadata"]["degraded"]
        while client.get("/health/live").status_code == 200:
            pass
        assert client.get("/health/live").json() == {"status": "stuck"}
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["scorer"]) == (200, "slow")
        scorer.gate.set()


def test_health_says_when_the_scorer_fails_and_when_it_works_again() -> None:
    fails: list[bool] = []

    def before(_texts: list[str | None]) -> None:
        if fails:
            raise RuntimeError

    with client_of(HashScorer(before)) as client:
        fails.append(True)
        client.post("/rank", json=body(["a"]))
        assert client.get("/health").json()["scorer"] == "failing"
        fails.clear()
        client.post("/rank", json=body(["a"]))
        assert client.get("/health").json()["scorer"] == "ready"


def test_a_degraded_answer_is_counted_by_its_reason() -> None:
    with client_of(None) as client:
        answer = client.post("/rank", json=body(["a", "b"])).json()
        assert answer["ranked_ids"] == ["p0", "p1"]
        assert answer["metadata"] == {"intervention_on": False, "degraded": "no model"}
        assert count(client, 'reranker_degraded_total{reason="no model"}') == 1


def test_a_full_queue_answers_503_with_the_time_to_come_back() -> None:
    scorer = HashScorer()
    app = create_app(ServeSettings(max_waiting_texts=5), scorer)

    async def run() -> list[httpx.Response]:
        async with served(app) as client:
            scorer.gate.clear()
            requests = [
                asyncio.create_task(client.post("/rank", json=body([f"text {k} {i}" for i in range(4)])))
                for k in range(4)
            ]
            while not any(request.done() for request in requests):
                await asyncio.sleep(0.01)
            scorer.gate.set()
            return list(await asyncio.gather(*requests))

    answers = asyncio.run(run())
    refused = [answer for answer in answers if answer.status_code == 503]
    assert 0 < len(refused) < 4
    assert all(1 <= int(answer.headers["retry-after"]) <= 30 for answer in refused)
    assert {answer.status_code for answer in answers} == {200, 503}


def test_closing_waits_for_no_scorer_and_fails_what_is_left() -> None:
    scorer = HashScorer()
    app = create_app(ServeSettings(), scorer)

    async def run() -> httpx.Response:
        async with served(app) as client:
            scorer.gate.clear()
            waiting = asyncio.create_task(client.post("/rank", json=body(["a text"])))
            while scorer.calls[-1] != ["a text"]:
                await asyncio.sleep(0.01)
        return await waiting

    answer = asyncio.run(run()).json()
    assert answer["metadata"]["degraded"] == "stopping"
    scorer.gate.set()


def test_a_server_starts_with_a_scorer_that_fails_and_a_policy_that_it_cannot_try() -> None:
    arms = {"newest": "chronological"}
    with client_of(HashScorer(broken), policy="harm-aware", arms=arms) as client:
        assert client.get("/health").json()["scorer"] == "unknown"
        answer = client.post("/rank", json=body(["a", "b"])).json()
        assert (answer["ranked_ids"], answer["metadata"]["degraded"]) == (["p0", "p1"], "the scorer failed")


def test_many_requests_at_once_share_passes_and_get_their_own_answers() -> None:
    scorer = HashScorer()
    app = create_app(ServeSettings(policy="prosocial-2024"), scorer)
    feeds = [[f"feed {k} text {i}" for i in range(k % 7 + 2)] for k in range(60)]
    n_calls = 0

    async def run() -> list[httpx.Response]:
        nonlocal n_calls
        async with served(app) as client:
            n_calls = len(scorer.calls)
            scorer.gate.clear()
            requests = [asyncio.create_task(client.post("/rank", json=body(texts))) for texts in feeds]
            n_texts, worker = sum(map(len, feeds)), app.state.service.worker
            while sum(map(len, scorer.calls[n_calls:])) + worker.n_waiting < n_texts:
                await asyncio.sleep(0.01)
            scorer.gate.set()
            return list(await asyncio.gather(*requests))

    weights = load_policy("prosocial-2024").labels
    for texts, answer in zip(feeds, asyncio.run(run()), strict=True):
        score = {
            f"p{i}": sum(weights[label] * p for label, p in zip(LABELS, expected(text), strict=True))
            for i, text in enumerate(texts)
        }
        ranked = [score[one] for one in answer.json()["ranked_ids"]]
        assert ranked == sorted(score.values(), reverse=True)
    assert len(scorer.calls) - n_calls < 10
    assert threading.active_count() < 60


class _Toy:
    """Every label that the contracts serve."""

    def __call__(self, content: Content) -> HarmScores:
        names = tuple(label.name for label in taxonomy.LABELS)
        values = np.array([[expected(text)[0]] * len(names) for text in content.text], dtype=np.float32)
        values = values.reshape(content.n, len(names))
        return HarmScores(names, values, np.where(np.isnan(values), np.nan, 1.0), "toy@1")


def _schema() -> Any:
    """Without the systematic phase of some thousand cases, and without what a document cannot say.

    JSON Schema has no words for ids that differ or a comment that is not blank, so that some requests which
    fit the document are refused with 400; nor OpenAPI for the requests within the parts of a batch.
    """
    phases = config.PhasesConfig(coverage=config.CoveragePhaseConfig(enabled=False))
    checks = config.ChecksConfig(positive_data_acceptance=config.PositiveDataAcceptanceConfig(enabled=False))
    project = config.ProjectConfig(phases=phases, checks=checks)
    chosen = config.SchemathesisConfig(projects=config.ProjectsConfig(default=project))
    document = create_app(ServeSettings(), None).openapi()
    return schemathesis.openapi.from_dict(document, config=chosen).exclude(path="/batch")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Host and port of a server that serves over real sockets."""
    feedback = tmp_path_factory.mktemp("serve") / "feedback.jsonl"
    app = create_app(ServeSettings(feedback=feedback), _Toy())
    options = {"log_config": None, "access_log": False, "ws": "none", "http": TimedHttp}
    server = uvicorn.Server(uvicorn.Config(app, port=0, **options))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[:2]
    server.should_exit = True
    thread.join()


@_schema().parametrize()
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
def test_the_services_do_what_their_openapi_document_says(case: Any, address: tuple[str, int]) -> None:
    case.call_and_validate(base_url=f"http://{address[0]}:{address[1]}")


def said_at_the_end(address: tuple[str, int], first: bytes, again: bytes = b"") -> bytes:
    """What the server says when it closes a connection on which these bytes come, the last repeated."""
    with socket.create_connection(address) as client:
        try:
            client.sendall(first)
            for _ in range(3_000):
                if select.select([client], [], [], 0.02)[0]:
                    return client.recv(65_536)
                client.sendall(again)
        except (BrokenPipeError, ConnectionResetError):
            return b""
    pytest.fail("the server did not close the connection")


def test_a_client_that_does_not_end_its_headers_is_left(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reranker.serving.protocol.HEAD_S", 0.3)
    line = b"GET /health HTTP/1.1\r\n"
    for first, again in ((b"", b""), (line, b""), (line, b"X-A: b\r\n")):
        said = said_at_the_end(address, first, again)
        assert said == b"" or said.startswith(b"HTTP/1.1 400")
    monkeypatch.setattr("reranker.serving.protocol.HEAD_S", 60.0)
    whole = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with socket.create_connection(address, timeout=60) as client:
        for _ in range(2):
            client.sendall(whole)
            said = b""
            while not said.endswith(b"}"):
                said += client.recv(65_536)
            assert said.startswith(b"HTTP/1.1 200")
        monkeypatch.setattr("reranker.serving.protocol.HEAD_S", 0.3)
        client.sendall(whole[:10])
        assert client.recv(65_536) == b""


def test_headers_without_end_are_answered_400(address: tuple[str, int]) -> None:
    said = said_at_the_end(address, b"GET /health HTTP/1.1\r\n", b"X-A: " + b"b" * 8000 + b"\r\n")
    assert said.startswith(b"HTTP/1.1 400") or said == b""


def test_a_large_body_is_refused_over_a_socket_and_its_sender_hears_why(address: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://{address[0]}:{address[1]}", timeout=60) as client:
        answer = client.post("/rank", content=b" " * (17 * 2**20))
        assert answer.status_code == 413
        deep = client.post("/rank", content=b"[" * 1_000_000)
        assert deep.status_code == 400
        assert client.post("/rank", json=body(["still there"])).status_code == 200


def test_answers_that_are_not_json_are_described_as_what_they_are() -> None:
    paths = create_app(ServeSettings(), None).openapi()["paths"]
    found = {
        (path, *answer["responses"]["200"]["content"])
        for path, methods in paths.items()
        for answer in methods.values()
        if path in {"/batch", "/v1alpha1/cards/{name}", "/v1alpha1/attributes"}
    }
    assert found == {
        ("/batch", "multipart/mixed"),
        ("/v1alpha1/cards/{name}", "text/markdown"),
        ("/v1alpha1/attributes", "application/json"),
    }

"""What tests of the Perspective API share: a scorer of words, a server on loopback, and calls."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI

from models.scores import Content, HarmScores, Scorer
from reranker.serving.perspective import router
from reranker.serving.service import Service
from reranker.serving.settings import ServeSettings

MODEL = "words@0123456789ab"
LABELS = ("toxicity", "insult", "profanity", "reasoning", "civic")
RUDE = {"idiot", "pathetic"}

ANALYZE, SUGGEST = "/v1alpha1/comments:analyze", "/v1alpha1/comments:suggestscore"
GERMAN = "Das war sehr hilfreich, danke euch allen."


def word_scorer(content: Content) -> HarmScores:
    """The share of rude words, for English alone, with NaN for the label reasoning of texts of one word."""
    found = np.full((content.n, len(LABELS)), np.nan, dtype=np.float32)
    for row, (text, language) in enumerate(zip(content.text, content.language, strict=True)):
        words = (text or "").lower().strip(".!?").split()
        if language in {None, "en"} and words:
            found[row] = sum(word.strip(".,!?") in RUDE for word in words) / len(words)
            found[row, 3] = np.nan if len(words) == 1 else 0.25
    return HarmScores(LABELS, found, np.where(np.isnan(found), np.nan, np.float32(1)), MODEL)


def application(scorer: Scorer | None = word_scorer, **settings: Any) -> FastAPI:
    app = FastAPI()
    app.include_router(router(Service(ServeSettings(**settings), scorer)))
    return app


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of a real server of the application on loopback."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listening.close()


def asked(text: str = "You idiot.", *names: str, **more: Any) -> dict[str, Any]:
    return {
        "comment": {"text": text},
        "requestedAttributes": {name: {} for name in names or ("TOXICITY",)},
    } | more


def call(app: FastAPI, path: str, body: object, **options: Any) -> httpx.Response:
    """The answer of an application without a server; bytes are sent as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def posted() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, content=content, **options)

    return asyncio.run(posted())


def analyze(server: str, body: object) -> dict[str, Any]:
    answer = httpx.post(server + ANALYZE, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refusal(server: str, body: object, path: str = ANALYZE) -> dict[str, Any]:
    """The error of a request that is refused with 400."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(server + path, content=content)
    error: dict[str, Any] = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["details"][0]["@type"].startswith("type.googleapis.com/google.commentanalyzer.v1alpha1.")
    return error

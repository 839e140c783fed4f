"""What tests of the services are made from: a scorer with a gate, bodies of `/rank`, a client in memory."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from starlette.testclient import TestClient

from models.scores import Content, HarmScores, Scorer
from reranker.serving.app import create_app
from reranker.serving.settings import ServeSettings

LABELS = ("toxicity", "identity_attack")
SECRET = "a text that nobody may log"


def expected(text: str | None) -> list[float]:
    """The probabilities of one text, by its hash; NaN where there is none."""
    if not text:
        return [float("nan")] * len(LABELS)
    digest = hashlib.sha256(text.encode()).digest()
    return [float(np.float32(byte / 255)) for byte in digest[: len(LABELS)]]


class HashScorer:
    """Scores by the hash of a text. Keeps the texts of each call, and waits at the gate before it answers.

    `before` is called with the texts of each call and may raise.
    """

    def __init__(
        self, before: Callable[[list[str | None]], None] | None = None, *, open_: bool = True
    ) -> None:
        self.calls: list[list[str | None]] = []
        self.entered = threading.Semaphore(0)  # released once for each call with texts
        self.gate = threading.Event()
        self._before = before
        if open_:
            self.gate.set()

    def __call__(self, content: Content) -> HarmScores:
        texts = list(content.text)
        if texts:
            self.calls.append(texts)
            self.entered.release()
            assert self.gate.wait(30)
        if self._before is not None:
            self._before(texts)
        probability = np.array([expected(text) for text in texts], dtype=np.float32).reshape(-1, len(LABELS))
        return HarmScores(LABELS, probability, np.where(np.isnan(probability), np.nan, 1.0), "hash@1")


def body(texts: list[str]) -> dict[str, Any]:
    """A request to rank these texts, liked by 0, 1, 2 and so on; their ids are p0, p1, p2 and so on."""
    session = {"session_id": "s", "user_id": "u", "user_name_hash": "h", "platform": "twitter"}
    session |= {"url": "https://example.org/", "current_time": "2026-01-01T00:00:00Z"}
    items = [
        {
            "id": f"p{i}",
            "text": text,
            "author_name_hash": f"a{i}",
            "type": "post",
            "embedded_urls": None,
            "created_at": "2026-01-01T00:00:00Z",
            "engagements": {"retweet": 1, "like": i, "comment": 1, "share": 1},
        }
        for i, text in enumerate(texts)
    ]
    return {"session": session, "items": items}


@contextmanager
def client_of(scorer: Scorer | None, **changed: Any) -> Iterator[TestClient]:
    """A client of a server that has started."""
    with TestClient(create_app(ServeSettings(**changed), scorer), raise_server_exceptions=False) as client:
        yield client


def broken(_texts: list[str | None]) -> None:
    """Fails, with a message that may not be told."""
    raise RuntimeError(SECRET)

"""What the tests of the playground share: a scorer of words, a small feed as a file, and a server."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import FastAPI
from fastapi.testclient import TestClient

from models.scores import Content, HarmScores, Scorer
from reranker.serving import playground
from reranker.serving.service import Service
from reranker.serving.settings import ServeSettings

ORIGINAL, TREATMENT = {"policy": "fb-2018-h1"}, {"policy": "harm-aware"}
BOTH: dict[str, Any] = {"original": ORIGINAL, "treatment": TREATMENT}

LABELS = ("toxicity", "misinformation", "moral_outrage", "graphic_violence")
WORDS = {
    "toxicity": ("pathetic", "loser", "disgusting", "shame", "idiot"),
    "misinformation": ("they", "cure", "hoax", "secret", "fault"),
    "moral_outrage": ("wicked", "punish", "outrage", "disgrace"),
    "graphic_violence": ("blood", "killed", "body", "wound", "bodies"),
}


def score_words(content: Content) -> HarmScores:
    """Each harm's probability: 0.02, with a word of it 0.62, with each further one 0.1 more."""
    rows = []
    for text, language in zip(content.text, content.language, strict=True):
        if not text or language not in (None, "en"):
            rows.append([np.nan] * len(LABELS))
            continue
        found = [sum(word in text.lower() for word in WORDS[label]) for label in LABELS]
        rows.append([min(1.0, 0.02 + (0.5 if n else 0.0) + 0.1 * n) for n in found])
    probability = np.array(rows, dtype=np.float32).reshape(-1, len(LABELS))
    return HarmScores(LABELS, probability, np.where(np.isnan(probability), np.nan, 1.0), "words-1")


def feed_lines(n_requests: int = 3) -> list[dict[str, object]]:
    """Rows of a feed in which a toxic post has the most engagement, one is graphic and one has no text."""
    texts = [
        "You pathetic loser.",
        "Blood on the road.",
        "A lovely walk.",
        None,
        "<img src=x onerror=alert(1)>",
    ]
    return [
        {
            "request_id": f"r{r}",
            "user": f"u{r}",
            "post_id": f"p{i}",
            "author": f"a{i}",
            "text": text,
            "like": 100 - 10 * i + r,
            "angry": 40 - 10 * i if i < 4 else 0,
            "love": 3 * i,
            "comment": 2 * i,
        }
        for r in range(n_requests)
        for i, text in enumerate(texts)
    ]


def write_feed(path: Path, n_requests: int = 3) -> Path:
    """The path, with `feed_lines` as JSON lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in feed_lines(n_requests)), encoding="utf-8")
    return path


def client(scorer: Scorer | None = score_words, **settings: Any) -> TestClient:
    """A client of the playground alone."""
    app = FastAPI()
    app.include_router(playground.router(Service(ServeSettings(**settings), scorer)))
    return TestClient(app)


def ready(served: TestClient, feed: str) -> dict[str, Any]:
    """The feed, once its texts are read."""
    for _ in range(400):
        found: dict[str, Any] = served.get(f"/playground/feeds/{feed}").json()
        if found["ready"]:
            return found
    raise AssertionError(f"{feed} was not read: {found}")


def upload(served: TestClient, content: bytes, name: str = "mine.jsonl", **query: str) -> str:
    """The id of a feed that was sent."""
    answer = served.post("/playground/feeds", params={"name": name} | query, content=content)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def lines(rows: list[dict[str, Any]] | None = None) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows or feed_lines()).encode()


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """Rows as CSV, null as an empty cell."""
    cell = lambda value: "" if value is None else f'"{value}"' if isinstance(value, str) else str(value)  # noqa: E731
    body = [",".join(cell(value) for value in row.values()) for row in rows]
    return "\n".join([",".join(rows[0]), *body]).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    """Rows as parquet."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()

"""Made-up requests to `POST /rank`, scorers by hand, and clients of the whole application."""

import json
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from fastapi.testclient import TestClient
from httpx import Response

from models.scores import Content, HarmScores, Scorer
from reranker.serving.app import create_app
from reranker.serving.prosocial_body import read_request
from reranker.serving.prosocial_schema import Engagements, ErrorResponse, RankRequest, RankResponse
from reranker.serving.settings import ServeSettings

KEYS = {
    "twitter": ("retweet", "like", "comment", "share"),
    "reddit": ("score", "comment", "award"),
    "facebook": ("like", "love", "care", "haha", "wow", "sad", "angry", "comment", "share"),
}
PLATFORMS = tuple(KEYS)
SENTENCES = (
    "The library opens an hour earlier from Monday.",
    "Nobody who votes for them can be trusted.",
    "My grandmother taught me to bake this bread.",
    "What would change your mind about the new bus line?",
    "You are an idiot and so are your friends.",
    "",
    "Ein Satz in einer anderen Sprache.",
)


def item(name: str, platform: str = "facebook", **changed: Any) -> dict[str, Any]:
    """A post with 0 of everything."""
    return {
        "id": name,
        "type": "post",
        "text": f"text of {name}",
        "author_name_hash": f"author of {name}",
        "embedded_urls": None,
        "created_at": "2024-10-01 12:30:00",
        "engagements": dict.fromkeys(KEYS[platform], 0),
    } | changed


def liked(name: str, likes: int, **changed: Any) -> dict[str, Any]:
    """A Facebook post with so many likes."""
    return item(name, engagements=dict.fromkeys(KEYS["facebook"], 0) | {"like": likes}, **changed)


def request(*items: dict[str, Any], platform: str = "facebook", **session: Any) -> dict[str, Any]:
    """A request with these items."""
    page = {
        "session_id": "view-1",
        "user_id": "participant-1",
        "user_name_hash": "0f1e",
        "platform": platform,
        "url": f"https://{platform}.com/",
        "current_time": "2024-10-01T12:31:00Z",
    }
    return {"session": page | session, "items": list(items)}


def made_up(platform: str, n_posts: int, n_comments: int = 0, seed: int = 0) -> dict[str, Any]:
    """A feed of n posts, each with a chain of comments on Facebook's terms."""
    draw = random.Random(seed)
    items = []
    for i in range(n_posts):
        above = None
        for j in range(n_comments + 1):
            one = item(f"{platform}-{i}-{j}", platform, text=draw.choice(SENTENCES))
            one["engagements"] = {key: draw.randrange(50) for key in KEYS[platform]}
            one["author_name_hash"] = f"{draw.randrange(8)}"
            one["original_rank"] = len(items)
            one["embedded_urls"] = ["https://example.org/a b", "not a link"][: draw.randrange(3)]
            if platform == "reddit" and j == 0:
                one["title"] = draw.choice(SENTENCES)
            if j:
                one |= {"type": "comment", "post_id": f"{platform}-{i}-0", "parent_id": above or ""}
                above = one["id"]
            items.append(one)
    draw.shuffle(items)
    return request(*items, platform=platform)


def by_words(estimates: Mapping[str, Mapping[str, float]]) -> Scorer:
    """A scorer that knows some texts: the probabilities of their labels, 0 for others of these labels."""
    labels = tuple(sorted({label for row in estimates.values() for label in row}))

    def score(content: Content) -> HarmScores:
        nan = dict.fromkeys(labels, math.nan)
        rows = [estimates.get(text, nan) if text else nan for text in content.text]
        values = np.array([[row.get(label, 0.0) for label in labels] for row in rows], dtype=np.float32)
        values = values.reshape(content.n, len(labels))
        return HarmScores(labels, values, np.where(np.isnan(values), values, 1), "by-words@1")

    return score


TOXIC = by_words({text: {"toxicity": 0.9 if "idiot" in text else 0.01} for text in SENTENCES if text})


@contextmanager
def serving(policy: str = "fb-2018-h1", scorer: Scorer | None = None, **chosen: Any) -> Iterator[TestClient]:
    """A client of the whole application."""
    with TestClient(create_app(ServeSettings(policy=policy, **chosen), scorer)) as client:
        yield client


def ranked(client: TestClient, body: dict[str, Any], query: str = "") -> dict[str, Any]:
    """The checked response."""
    response = client.post(f"/rank{query}", json=body)
    assert response.status_code == 200, response.text
    RankResponse.model_validate_json(response.content)
    return dict(response.json())


def order(client: TestClient, body: dict[str, Any]) -> list[str]:
    """The ids in the order to be shown."""
    return list(ranked(client, body)["ranked_ids"])


def error(response: Response, status: int = 400) -> str:
    """The one message of a refused request."""
    assert response.status_code == status, response.text
    return ErrorResponse.model_validate_json(response.content, strict=True).error


def read(body: dict[str, Any]) -> RankRequest[Engagements]:
    """The request as the route reads it."""
    return read_request(json.dumps(body).encode(), ServeSettings())

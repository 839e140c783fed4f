"""What the page is told of a feed and of its rankings, as JSON-ready values; missing is null, never zero."""

from typing import Any
from urllib.parse import urlsplit

import numpy as np

from models.taxonomy import LABELS
from reranker.columns import FloatArray
from reranker.explain import explain
from reranker.feed import Feed
from reranker.ranking import Ranking
from reranker.scoring import demotions
from reranker.serving.playground_feeds import HeldFeed
from reranker.serving.playground_policies import controls
from reranker.signals import MEDIA_TYPES, RELATIONS

GRAPHIC_FROM = 0.3  # probability of graphic_violence from which a text is shown on demand only
TELLING = ("toxicity", "misinformation", "moral_outrage", "graphic_violence")
FIRST_POSTS = 10


def labels_view() -> list[dict[str, str]]:
    """Every label that a classifier may serve, with what it means."""
    return [{"name": one.name, "family": one.family, "definition": one.definition} for one in LABELS]


def feed_view(held: HeldFeed) -> dict[str, Any]:
    """A feed as a whole, how far it is read, and its requests."""
    feed, scores = held.feed, None if held.harms is None else held.harms.posts
    progress = {"name": held.name, "ready": held.ready, "read": held.read, "total": held.total}
    if not held.ready:
        return progress
    return progress | {
        "problem": held.problem,
        "model": None if scores is None else scores.model,
        "labels": [] if scores is None else list(scores.labels),
        "kind": feed.signals.kind,
        "signals": list(held.counts),
        "graphic_from": GRAPHIC_FROM,
        "n_candidates": feed.n,
        "n_users": len(feed.user.present()),
        "known": list(held.known),
        "start": _telling_request(held),
        "requests": [
            {"id": request, "user": user, "country": country, "n": n}
            for request, user, country, n in zip(
                feed.request_id, feed.user, feed.country, np.diff(feed.offsets).tolist(), strict=True
            )
        ],
    }


def _telling_request(held: HeldFeed) -> int:
    """The request to begin with: the one whose first posts, as they came, are estimated the most harmful."""
    if held.harms is None:
        return 0
    feed, posts = held.feed, held.harms.posts
    labels = [label for label in TELLING if label in posts.labels]
    harm = sum((np.nan_to_num(posts.column(label)[0]) for label in labels), np.zeros(feed.n))
    first = np.where(feed.original_order < FIRST_POSTS, harm, 0.0)
    return int(np.bincount(feed.request_of_row, weights=first, minlength=feed.n_requests).argmax())


def posts_view(held: HeldFeed, request: int) -> list[dict[str, Any]]:
    """The posts of one request, whatever ranks them."""
    feed = held.feed
    low, high = feed.offsets[request : request + 2].tolist()
    counts = held.counts
    created = np.datetime_as_string(feed.created_at[low:high], unit="s").tolist()
    return [
        {
            "id": feed.post_id[row],
            "author": feed.author[row],
            "publisher": feed.publisher[row],
            "topic": feed.topic[row],
            "text": feed.text[row],
            "language": feed.language[row],
            "hosts": _hosts(feed, row),
            "media": _named(MEDIA_TYPES, int(feed.media[row])),
            "relation": _named(RELATIONS, int(feed.relation[row])),
            "created_at": None if np.isnat(feed.created_at[row]) else created[row - low],
            "counts": {name: _number(values, row) for name, values in counts.items()},
            "harms": _harms(held, row),
            "known": [name for name in held.known if feed.attributes[name][row] == 1.0],
        }
        for row in range(low, high)
    ]


def _hosts(feed: Feed, row: int) -> list[str]:
    links = feed.urls.take(np.s_[int(feed.url_offsets[row]) : int(feed.url_offsets[row + 1])])
    hosts = []
    for link in links:
        try:
            hosts.append(urlsplit(link or "").hostname or "")
        except ValueError:
            continue
    return [host for host in dict.fromkeys(hosts) if host]


def _harms(held: HeldFeed, row: int) -> dict[str, float | None]:
    if held.harms is None:
        return {}
    posts = held.harms.posts
    values = posts.probability[row].astype(np.float64)
    return {label: _number(values, i) for i, label in enumerate(posts.labels)}


def _named(names: tuple[str, ...], code: int) -> str | None:
    return None if code < 0 else names[code]


def _number(values: FloatArray, row: int) -> float | None:
    value = float(values[row])
    return None if np.isnan(value) else value


def side_view(ranking: Ranking, request: int) -> dict[str, Any]:
    """One request under one policy: the order of its posts, and what decided it.

    `order` holds positions in `posts_view`, best first; the other lists are aligned with `posts_view`.
    """
    low, high = ranking.feed.offsets[request : request + 2].tolist()
    rows = np.s_[low:high]
    kept = ranking.order[ranking.offsets[request] : ranking.offsets[request + 1]]
    held_out = bool(ranking.held_out[request])
    lowered = {} if held_out else dict(demotions(ranking.job, rows))
    position = ranking.position[rows].tolist()
    return {
        "policy": controls(ranking.policy),
        "order": (kept - low).tolist(),
        "rank": [None if at < 0 else at + 1 for at in position],
        "score": ranking.score[rows].tolist(),
        "multiplier": ranking.multiplier[rows].tolist(),
        "demotions": [
            {name: float(values[i]) for name, values in lowered.items() if values[i] < 1.0}
            for i in range(high - low)
        ],
        "good": ranking.good[rows].tolist(),
        "bad": ranking.bad[rows].tolist(),
        "held_out": held_out,
        "unscored": list(ranking.unscored),
    }


def explanation_view(ranking: Ranking, request: int, post: str) -> dict[str, Any]:
    """Why a post stands where it stands.

    Raises:
        FeedError: the request does not show the post.
    """
    found = explain(ranking, post, ranking.feed.request_id[request])
    return found.as_dict()

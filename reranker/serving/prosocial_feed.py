"""From a checked `/rank` request to a feed: one transposition into columns.

What a platform does not report is null, never 0: a feed of Reddit has no reactions, one of X no awards.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reranker.assembly import feed_from_columns
from reranker.columns import StringColumn
from reranker.feed import Feed
from reranker.serving.prosocial_schema import (
    Engagements,
    FacebookEngagements,
    Item,
    RankRequest,
    RedditEngagements,
    TwitterEngagements,
)
from reranker.signals import REACTIONS


def feed_of(request: RankRequest[Engagements]) -> Feed:
    """The request as a feed of one request, its rows in the order of the items."""
    session, items = request.session, request.items
    n = len(items)
    columns: dict[str, Any] = {
        "request_id": _repeated(session.session_id, n),
        "user": _repeated(session.user_id, n),
        "time": np.full(n, session.current_time, dtype="datetime64[us]"),
        "post_id": [item.id for item in items],
        "parent_id": _parents(items),
        "author": [item.author_name_hash or None for item in items],
        "text": [_text(item) for item in items],
        "language": [_language(item.language) for item in items],
        "urls": [item.embedded_urls for item in items],
        "created_at": np.array([item.created_at for item in items], dtype="datetime64[us]"),
        "original_position": [item.original_rank for item in items],
    }
    return feed_from_columns(columns | _signals([_counts(item.engagements) for item in items]))


def _repeated(value: str, n: int) -> StringColumn:
    return StringColumn(np.zeros(n, dtype=np.int32), (value,))


def _counts(engagements: Engagements) -> Mapping[str, int | None]:
    """The counts of one item by the names of our signals."""
    match engagements:
        case TwitterEngagements():
            return {
                "like": engagements.like,
                "comment": engagements.comment,
                "reshare": engagements.retweet,
                "share": engagements.share,
            }
        case RedditEngagements():
            return {
                "like": _upvotes(engagements),
                "comment": engagements.comment,
                "award": engagements.award,
                "downvote": _downvotes(engagements),
            }
        case FacebookEngagements():
            reactions = {name: getattr(engagements, name) for name in REACTIONS}
            return reactions | {"comment": engagements.comment, "reshare": engagements.share}


def _upvotes(engagements: RedditEngagements) -> int | None:
    """The upvotes, or the least that there must be for the score; null where it says nothing of them."""
    if engagements.upvote is not None or engagements.score is None:
        return engagements.upvote
    return engagements.score if engagements.score >= 0 else None


def _downvotes(engagements: RedditEngagements) -> int | None:
    if engagements.downvote is not None or engagements.upvote is not None or engagements.score is None:
        return engagements.downvote
    return -engagements.score if engagements.score < 0 else None


def _signals(counts: Sequence[Mapping[str, int | None]]) -> dict[str, list[int | None]]:
    names = dict.fromkeys(name for row in counts for name in row)
    return {name: [row.get(name) for row in counts] for name in names}


def _parents(items: Sequence[Item[Engagements]]) -> list[str | None]:
    """What each comment answers: the comment it names, else its post, where the request holds that."""
    known = {item.id for item in items}
    return [
        next((name for name in (item.parent_id, item.post_id) if name in known and name != item.id), None)
        if item.type == "comment"
        else None
        for item in items
    ]


def _text(item: Item[Engagements]) -> str | None:
    """Title and text; null where there is nothing to read."""
    text = f"{item.title}\n{item.text}" if item.title else item.text
    return text if text.strip() else None


def _language(tag: str | None) -> str | None:
    """The primary subtag, "en" of "en-GB"; null for X's own codes, qaa to qtz, which name no language."""
    code = (tag or "").strip().lower().replace("_", "-").split("-")[0]
    return None if not code or (len(code) == 3 and "qaa" <= code <= "qtz") else code

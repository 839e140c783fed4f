"""What a result rests on: the policies, the data, the classifier, and which requests belong together."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reranker.columns import IntArray
from reranker.feed import Feed
from reranker.ranking import Ranking


@dataclass(frozen=True)
class PolicyFacts:
    """A policy as reports name it; `unscored` are the terms that it could not score on this feed."""

    name: str
    title: str
    date: str
    digest: str
    overlays: tuple[str, ...]
    model: str | None
    unscored: tuple[str, ...]


def policy_facts(ranking: Ranking) -> PolicyFacts:
    """What to say of the policy of a ranking."""
    policy = ranking.policy
    return PolicyFacts(
        name=policy.name,
        title=policy.title,
        date=policy.date,
        digest=policy.digest,
        overlays=policy.overlays,
        model=None if ranking.harms is None else ranking.harms.posts.model,
        unscored=ranking.unscored,
    )


def reading_model(*rankings: Ranking) -> str | None:
    """The classifiers whose estimates decided any of the rankings, joined by +; None where none did."""
    models = {
        ranking.harms.posts.model
        for ranking in rankings
        if ranking.harms is not None and ranking.policy.used_labels()
    }
    return "+".join(sorted(models)) or None


def same_feed(original: Ranking, treatment: Ranking) -> Feed:
    """The feed that both rankings are of.

    Raises:
        ValueError: they are of different feeds.
    """
    first, second = original.feed, treatment.feed
    if first is not second:
        for name in ("request_id", "post_id"):
            here, there = getattr(first, name), getattr(second, name)
            if not np.array_equal(first.offsets, second.offsets) or here.to_list() != there.to_list():
                raise ValueError(f"compare: expected two rankings of one feed, got another {name}")
    return first


def clusters_of(feed: Feed) -> tuple[IntArray, Literal["users", "requests"]]:
    """(r,) the cluster of each request: its user, or the request itself where it has none.

    Codes go by the sorted names, so that the same requests in another order give the same intervals.
    """
    user, request = feed.user.to_list(), feed.request_id.to_list()
    names = [
        ("user", who) if who is not None else ("request", own) for who, own in zip(user, request, strict=True)
    ]
    code = {name: i for i, name in enumerate(sorted(set(names), key=str))}
    codes = np.array([code[name] for name in names], dtype=np.int64)
    return codes, "requests" if bool(feed.user.is_null.all()) else "users"


def feed_digest(feed: Feed) -> str:
    """sha256 over the candidates and their signals, whatever the order of the rows."""
    request, post, text = (
        column.to_list() for column in (feed.request_id.take(feed.request_of_row), feed.post_id, feed.text)
    )
    values = np.ascontiguousarray(feed.signals.values.T)
    null = None if feed.signals.null is None else np.ascontiguousarray(feed.signals.null.T)
    rows = []
    for i in range(feed.n):
        row = hashlib.blake2b(
            repr((request[i], post[i], text[i])).encode("utf-8", "surrogatepass"), digest_size=16
        )
        row.update(values[i].tobytes())
        if null is not None:
            row.update(null[i].tobytes())
        rows.append(row.digest())
    whole = hashlib.sha256(repr((feed.signals.names, feed.signals.kind, feed.n)).encode())
    for digest in sorted(rows):
        whole.update(digest)
    return whole.hexdigest()

"""`FeedGenerator`: candidates ranked by a policy per feed, served in pages, refreshed while readers read."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from reranker.columns import FeedError
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import Policy, PolicyError
from reranker.serving.bluesky_records import post_uri
from reranker.serving.bluesky_snapshots import CursorError, Page, Snapshot, Snapshots, cut_page, read_cursor
from reranker.serving.candidates import CandidateFiles, Row, candidate_feed, stored_row
from reranker.serving.jetstream import StreamLease, StreamReader, read_stream
from reranker.serving.post_store import PostStore, StoredPost
from reranker.serving.post_tables import SIGNALS
from reranker.serving.service import BusyError, ScorerError, Service

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeedOptions:
    """How feeds are made.

    Attributes:
        max_candidates: ranked per feed, and so the length of a feed.
        refresh_s: an order younger than this is served as it is.
        stale_s: an order younger than this is served once more, while a new one is made.
        patience_s: how long a reader waits for a new one before the old one or, where there is none, one
            without scores is served.
        texts_at_once: asked of the scorer, so that a long feed holds up no request and is never too much.
    """

    max_candidates: int = 500
    refresh_s: float = 30.0
    stale_s: float = 300.0
    patience_s: float = 3.0
    texts_at_once: int = 64


class FeedGenerator:
    """The Bluesky feeds of a running server: one for the default policy, one for each arm.

    Raises:
        FeedError: the candidates cannot be read, or a policy cannot rank them.
        PolicyError: there is no such policy, or two feeds would have one record key.
        StoreError: the store cannot be used.
        StreamError: the stream's address cannot be used.
    """

    def __init__(
        self,
        service: Service,
        options: FeedOptions | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        settings = service.settings
        self.options = FeedOptions() if options is None else options
        self.policies = feed_policies(service)
        self._service = service
        self._clock = clock
        self._files = None if settings.candidates is None else CandidateFiles(settings.candidates)
        self._check_policies()
        kept = settings.jetstream is not None or settings.store is not None
        self.store = PostStore(settings.store) if kept else None
        self.stream: StreamReader | None = None
        if settings.jetstream is not None and self.store is not None:
            self.stream = StreamReader(settings.jetstream, self.store, rng=np.random.default_rng())
        self._snapshots = Snapshots(self.store, clock)
        self._building: dict[str, asyncio.Task[Snapshot]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While entered, the stream is read and a first order of every feed is made."""
        tasks: list[asyncio.Task[None]] = [asyncio.create_task(self._prepare())]
        if self.stream is not None:
            lease = StreamLease(self._service.settings.store)
            tasks.append(asyncio.create_task(read_stream(self.stream, lease)))
        for task in tasks:
            task.add_done_callback(_log_failure)
        try:
            yield
        finally:
            ending = [*tasks, *self._building.values()]
            for each in ending:
                each.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            if self.store is not None:
                self.store.close()

    async def page(self, feed: str, limit: int, cursor: str | None) -> Page:
        """Up to `limit` posts of a feed: the first ones, or those behind a cursor.

        Where the cursor's order is no longer kept, the page is cut at the same place from the order that the
        feed has now; posts may then come again.

        Raises:
            CursorError: the cursor was not handed out.
        """
        if cursor is None:
            return cut_page(await self._current(feed), 0, limit)
        snapshot_id, start = read_cursor(cursor)
        snapshot = await asyncio.to_thread(self._snapshots.find, feed, snapshot_id)
        if snapshot is None:
            return cut_page(await self._current(feed), start, limit)
        if start >= len(snapshot.posts):
            raise CursorError(f"cursor: expected a place before {len(snapshot.posts)}, got {start}")
        return cut_page(snapshot, start, limit)

    async def _current(self, feed: str) -> Snapshot:
        latest = self._snapshots.latest(feed)
        age = self._clock() - latest.made_s if latest is not None and latest.posts else np.inf
        if latest is not None and age < self.options.refresh_s:
            return latest
        if feed not in self._building:
            task = asyncio.create_task(self._build(feed))
            self._building[feed] = task
            task.add_done_callback(lambda _: self._building.pop(feed, None))
            task.add_done_callback(_log_failure)
        if latest is not None and age < self.options.stale_s:
            return latest
        building = self._building[feed]
        await asyncio.wait({building}, timeout=self.options.patience_s)
        if building.done() and building.exception() is None:
            return building.result()
        if latest is not None and latest.posts:
            return latest
        return await self._unscored(feed)

    async def _unscored(self, feed: str) -> Snapshot:
        """The order without scores, while those are not there yet."""
        candidates = await asyncio.to_thread(self._candidates, feed)
        posts: list[str] = []
        if candidates.n:
            posts = (await asyncio.to_thread(Reranker(self.policies[feed]).rank, candidates)).ids()
        latest = self._snapshots.latest(feed)
        if latest is not None and latest.posts:
            return latest
        return await asyncio.to_thread(self._snapshots.keep, feed, posts, "the scores are not there yet")

    async def _build(self, feed: str) -> Snapshot:
        began = time.perf_counter()
        candidates = await asyncio.to_thread(self._candidates, feed)
        posts, degraded = await self._ranked(candidates, self.policies[feed])
        snapshot = await asyncio.to_thread(self._snapshots.keep, feed, posts, degraded)
        log.info("feed %s: %d posts in %.2f s", feed, len(posts), time.perf_counter() - began)
        return snapshot

    async def _ranked(self, candidates: Feed, policy: Policy) -> tuple[list[str], str | None]:
        """Posts, best first, and why they were ranked without scores, None if they had them."""
        if candidates.n == 0:
            return [], None
        try:
            if policy.used_labels():
                await self._read_ahead(candidates)
            served = await self._service.rank(candidates, policy)
            return served.ranking.ids(), served.degraded
        except (BusyError, ScorerError) as error:
            reason = str(error) or type(error).__name__
        ranking = await asyncio.to_thread(Reranker(policy).rank, candidates)
        return ranking.ids(), reason

    async def _read_ahead(self, candidates: Feed) -> None:
        """Has the texts scored a few at a time; the ranking finds the scores in the cache."""
        content = candidates.content()
        step = self.options.texts_at_once
        with suppress(ScorerError):  # the ranking finds that too, and knows what follows
            for start in range(0, content.n, step):
                await self._service.score(content.take(range(start, min(start + step, content.n))))

    def _candidates(self, feed: str) -> Feed:
        """At most `max_candidates`; from the files at most half of them where there is a stream too."""
        most = min(self.options.max_candidates, self._service.settings.max_items)
        both = self._files is not None and self.stream is not None
        share = most // 2 if both else most
        rows: list[Row] = [] if self._files is None else self._files.rows(share)
        if self.stream is not None and self.store is not None:
            known = {row["post_id"] for row in rows}
            stored = self.store.candidates(most - len(rows))
            rows = [*rows, *(stored_row(post) for post in stored if post.uri not in known)]
        return candidate_feed(rows, feed, datetime.fromtimestamp(self._clock(), UTC))

    def _check_policies(self) -> None:
        """Tries every policy on the files' posts and on a thread as the stream has it."""
        rows = [] if self._files is None else self._files.rows(self.options.max_candidates)
        if self._service.settings.jetstream is not None:
            rows = [*rows, *_example_thread()]
        if not rows:
            return
        try:
            feed = candidate_feed(rows, "check", datetime.now(UTC))
        except FeedError as error:
            raise FeedError(f"{self._service.settings.candidates}, with the stream: {error}") from None
        for policy in self.policies.values():
            try:
                Reranker(policy).rank(feed)
            except FeedError as error:
                raise FeedError(f"the Bluesky feed of policy {policy.name}: {error}") from None

    async def _prepare(self) -> None:
        for feed in self.policies:
            await asyncio.to_thread(self._snapshots.recall, feed)
        for feed in self.policies:
            await self._current(feed)


def feed_policies(service: Service) -> dict[str, Policy]:
    """Policies by record key: the default one under its own name, each arm under the cohort's.

    Characters that a record key may not have become "-".

    Raises:
        PolicyError: there is no such policy, or two feeds would have one record key.
    """
    settings = service.settings
    default = service.policy(settings.policy)
    found: dict[str, Policy] = {}
    for name, policy in (
        (default.name, default),
        *((cohort, service.policy(spec)) for cohort, spec in settings.arms.items()),
    ):
        key = re.sub(r"[^A-Za-z0-9._~-]", "-", name)[:512]
        if key in found or not key.strip("."):
            raise PolicyError(f'arms: expected a name of its own for each Bluesky feed, got "{key}" again')
        found[key] = policy
    return found


def _example_thread() -> list[Row]:
    post, reply = post_uri("did:plc:example", "a"), post_uri("did:plc:example", "b")
    none = (0,) * len(SIGNALS)
    return [
        stored_row(StoredPost(uri, "did:plc:example", parent, None, None, (), "text", 0, none))
        for uri, parent in ((post, None), (reply, post))
    ]


def _log_failure(task: "asyncio.Task[object]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a task of the Bluesky feeds failed", exc_info=task.exception())

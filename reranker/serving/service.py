"""`Service`: what every contract needs of a running server: policies, scores, rankings."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.cache import head_of, keys_of, unpacked
from models.scores import Content, HarmScores, Scorer
from reranker.anger import AngerBaseline
from reranker.feed import Feed
from reranker.pipeline import Reranker, harms_of_scores
from reranker.policy import Policy, build_policy
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.serving.errors import BusyError, ScorerError
from reranker.serving.logs import current_note
from reranker.serving.medians import RecentMedians
from reranker.serving.metrics import Metrics
from reranker.serving.score_caches import open_cache
from reranker.serving.settings import ServeSettings
from reranker.serving.stand_in import StandIn
from reranker.serving.text_queue import Ticket
from reranker.serving.worker import ScoringWorker
from reranker.value import Harms

__all__ = ["BusyError", "ScorerError", "Served", "Service"]

logger = logging.getLogger(__name__)

POLICIES_KEPT = 256
STOOD_IN = "a quicker scorer stood in"


@dataclass(frozen=True)
class Served:
    """A ranking, and why it had to do without scores that its policy asks for (None: it had them).

    Where a quicker scorer stood in, the reason says so. Where the original order was kept, `ranking.policy`
    is one without any weight.
    """

    ranking: Ranking
    degraded: str | None


@dataclass(eq=False)
class _Reading:
    """Scores of some posts as far as they are there: rows by key, and the key of each post.

    A post without text and links has no key: there is nothing to read.
    """

    content: Content
    nothing: HarmScores
    keys: list[bytes | None]
    rows: dict[bytes, bytes]

    def missing(self) -> dict[bytes, int]:
        """The first post of each key that has no row."""
        first: dict[bytes, int] = {}
        for at, key in enumerate(self.keys):
            if key is not None and key not in self.rows:
                first.setdefault(key, at)
        return first

    def unread(self) -> NDArray[np.bool_]:
        """(n,): the posts whose key has no row."""
        return np.array([key is not None and key not in self.rows for key in self.keys], dtype=np.bool_)

    def scores(self) -> HarmScores:
        """What is there, and NaN for the rest."""
        labels, model = self.nothing.labels, self.nothing.model
        blank = np.full(2 * len(labels), np.nan, dtype="<f4").tobytes()
        found = [blank if key is None else self.rows.get(key, blank) for key in self.keys]
        return unpacked(found, labels, model, "scores")


class Service:
    """State of one running server. Contracts reach the scorer through this alone."""

    def __init__(
        self,
        settings: ServeSettings,
        scorer: Scorer | None,
        *,
        decided_by: str = "",
        stand_in: Scorer | None = None,
    ) -> None:
        """A service that is ready; its thread and connections start with the first text.

        Args:
            settings: limits, files and names.
            scorer: estimates harm from text and links; None serves every ranking without.
            stand_in: a quicker one, for the posts of a ranking that the scorer does not score in time.
            decided_by: what decides the scores beside the model's name, such as the digest of a ratings file;
                servers that share a Redis share the scores for which it is equal.
        """
        self.settings = settings
        self.ready = False
        self.metrics = Metrics()
        self.cache = open_cache(settings, self.metrics.cache_failures.inc)
        self.worker: ScoringWorker | None = None
        if scorer is not None:
            self.worker = ScoringWorker(
                scorer, max_waiting=settings.max_waiting_texts, on_pass=self.metrics.on_pass
            )
        self._decided_by = decided_by
        self.stand_in = None if stand_in is None else StandIn(stand_in)
        self._medians = RecentMedians()
        self._tasks: set[asyncio.Task[dict[bytes, bytes]]] = set()
        self._policy = lru_cache(POLICIES_KEPT)(load_policy)

    @property
    def model(self) -> str | None:
        """The name of the scorer, once it has told it."""
        asked = None if self.worker is None else self.worker.described
        return None if asked is None else asked.model

    def policy(self, spec: str, settings: Sequence[str] = ()) -> Policy:
        """The policy, read once.

        Raises:
            PolicyError: there is none, or a setting is refused.
        """
        return self._policy(spec, tuple(settings))

    async def score(self, content: Content) -> HarmScores:
        """Scores of these posts; texts of concurrent calls share forward passes.

        Raises:
            BusyError: the queue is full.
            ScorerError: there are no scores.
        """
        current_note().items += content.n
        wait_s = self.settings.score_timeout_s
        reading = await self._reading(content, wait_s)
        await self._complete(reading, wait_s)
        return reading.scores()

    async def rank(self, feed: Feed, policy: Policy) -> Served:
        """The feed ranked by the policy; without scores, as the policy's failure rule says.

        Raises:
            BusyError: the queue is full.
            FeedError: the feed lacks what the policy needs.
        """
        note = current_note()
        note.items += feed.n
        self.metrics.items.inc(feed.n)
        if not policy.used_labels() or not feed.n:
            return Served(await asyncio.to_thread(self._ranked, feed, policy, None), None)
        content, n_comments = _read_by(feed, policy)
        scores, reason = await self._in_time(content, policy)
        if reason is not None:
            note.degraded = reason
            self.metrics.degraded.labels(reason).inc()
        if scores is None:
            return Served(await asyncio.to_thread(_kept_order, feed, policy), reason)
        harms = _harms(feed, scores, n_comments)
        return Served(await asyncio.to_thread(self._ranked, feed, policy, harms), reason)

    def open(self) -> None:
        """Takes requests again after `close`; a new service is open."""
        if self.worker is not None:
            self.worker.open()

    async def close(self) -> None:
        """Fails what still waits for scores, and lets go of thread and connections."""
        if self.worker is not None:
            self.worker.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        await self.cache.close()

    async def _in_time(self, content: Content, policy: Policy) -> tuple[HarmScores | None, str | None]:
        """Scores for a ranking (None: it keeps its order), and why they are not the scorer's, if so.

        Raises:
            BusyError: the queue is full.
        """
        reading: _Reading | None = None
        wait_s = self.settings.score_timeout_s
        if self.stand_in is not None:
            wait_s = min(wait_s, self.settings.stand_in_after_s)
        try:
            reading = await self._reading(content, wait_s)
            await self._complete(reading, wait_s)
        except ScorerError as error:
            return await self._without(reading, policy, str(error))
        return reading.scores(), None

    async def _without(
        self, reading: _Reading | None, policy: Policy, reason: str
    ) -> tuple[HarmScores | None, str]:
        """Scores where the scorer failed or was too slow: the stand-in's, or what the policy's rule says."""
        if reading is None:
            return None, reason
        unread = reading.unread()
        scores = self._medians.fill(reading.scores(), unread) if policy.failure.order == "median" else None
        if self.stand_in is None:
            return scores, reason
        try:
            known = reading.scores() if scores is None else scores
            return await self.stand_in.fill(known, reading.content, unread), f"{reason}; {STOOD_IN}"
        except Exception as error:  # whatever a model raises, the policy's failure rule decides
            logger.error("the stand-in failed", exc_info=error)
            return scores, reason

    async def _reading(self, content: Content, wait_s: float) -> _Reading:
        """What the cache has of these posts; the scorer has `wait_s` seconds to say who it is.

        Raises:
            ScorerError: the scorer does not say who it is, and by that what it has scored.
        """
        if self.worker is None:
            raise ScorerError("no model")
        nothing = await self._described(self.worker, wait_s)
        content = _readable(content)
        every = keys_of(head_of(nothing, self._decided_by), content)
        readable = [bool(text) or bool(urls) for text, urls in zip(content.text, content.urls, strict=True)]
        keys = [key if some else None for key, some in zip(every, readable, strict=True)]
        wanted = list({key: None for key in keys if key is not None})
        found = await self.cache.get(wanted)
        reading = _Reading(content, nothing, keys, found)
        try:
            reading.scores()
        except ValueError:  # a row that is not one of ours: all are made anew
            logger.warning("the cache holds rows that are no scores of %s", nothing.model)
            reading.rows = {}
        self.metrics.cache_hits.inc(len(reading.rows))
        self.metrics.cache_misses.inc(len(wanted) - len(reading.rows))
        return reading

    async def _described(self, worker: ScoringWorker, wait_s: float) -> HarmScores:
        asked = worker.describe()
        if not asked.done():
            self._check_stuck(worker)
            task = asyncio.ensure_future(asyncio.wrap_future(asked))
            await asyncio.wait({task}, timeout=wait_s)
            if not task.done():
                task.cancel()
                raise ScorerError("the scorer is too slow")
            return task.result()
        return asked.result()

    def _check_stuck(self, worker: ScoringWorker) -> None:
        """Where a scorer hangs, one request after another would wait for it in vain."""
        if worker.running_s > self.settings.score_timeout_s:
            raise ScorerError("the scorer is too slow")

    async def _complete(self, reading: _Reading, wait_s: float) -> None:
        """Adds the rows that the reading lacks, as far as they come within `wait_s` seconds.

        Raises:
            BusyError: the queue is full.
            ScorerError: some did not come.
        """
        missing = reading.missing()
        if not missing or self.worker is None:
            return
        self._check_stuck(self.worker)
        try:
            ticket = self.worker.submit(list(missing), reading.content.take(list(missing.values())))
        except BusyError:
            self.metrics.refused.inc()
            raise
        task = asyncio.create_task(self._fresh(ticket, reading.nothing))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=wait_s)
        reading.rows |= ticket.rows.copy()
        if not task.done():
            ticket.late = True
            raise ScorerError("the scorer is too slow")
        task.result()

    async def _fresh(self, ticket: Ticket, nothing: HarmScores) -> dict[bytes, bytes]:
        """The rows of a ticket, kept for the next request; goes on when its own request has given up."""
        rows = await asyncio.wrap_future(ticket.done)
        await self.cache.put(rows)
        self._medians.add(unpacked(list(rows.values()), nothing.labels, nothing.model, "scores"))
        return rows

    def _ended(self, task: "asyncio.Task[dict[bytes, bytes]]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # its request has it, if that still waits

    def _ranked(self, feed: Feed, policy: Policy, harms: Harms | None) -> Ranking:
        """As the command line ranks: the feed's own posts say what anger is usual."""
        baseline = None if policy.anger is None else AngerBaseline.fit(feed)
        ranking = Reranker(policy, baseline=baseline).rank(feed, harms)
        for reason, multiplier in ranking.demotions().items():
            self.metrics.demotions.labels(reason).inc(int((multiplier < 1.0).sum()))
        return ranking


def _read_by(feed: Feed, policy: Policy) -> tuple[Content, int]:
    """The posts of a feed and, where the policy asks for their tone, the comments after them."""
    posts, acts = feed.content(), feed.interactions
    if acts is None or not policy.value.comment_toxicity:
        return posts, 0
    comments = acts.content()
    both = Content(
        text=[*posts.text, *comments.text],
        language=[*posts.language, *comments.language],
        urls=[*posts.urls, *comments.urls],
    )
    return both, comments.n


def _harms(feed: Feed, scores: HarmScores, n_comments: int) -> Harms:
    rows = np.arange(scores.n)
    comments = scores.take(rows[feed.n :]) if n_comments else None
    return harms_of_scores(feed, scores.take(rows[: feed.n]), comments)


def _kept_order(feed: Feed, policy: Policy) -> Ranking:
    """Every request as it came, by a policy that says so: its digest is not that of the one that failed."""
    kept = {"schema": 1, "name": f"{policy.name}, failed", "slate": {"thread_order": False}}
    return Reranker(build_policy(kept, "failure")).rank(feed)


def _readable(content: Content) -> Content:
    """The posts with lone surrogates, which no model can read, replaced as decoders do it."""
    if all(text is None or text.isascii() for text in content.text):
        return content
    return Content([text and _whole(text) for text in content.text], content.language, content.urls)


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text

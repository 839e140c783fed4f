"""The feeds of the playground: the synthetic sample and files that people load, with their scores.

They live in memory only, found by a random id that nobody but their sender knows; the oldest goes when there
are too many, and each after an hour without use. Texts are read while somebody waits for them, a few at a
time, so that a page that was closed costs nothing more and other requests are not kept waiting.
"""

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from models.scores import Content, HarmScores
from reranker.anger import AngerBaseline
from reranker.columns import FloatArray
from reranker.counting import count_interactions
from reranker.feed import Feed
from reranker.pipeline import Reranker, harms_of_scores
from reranker.policy import Policy, build_policy
from reranker.ranking import Ranking
from reranker.sample import make_sample
from reranker.serving.playground_figures import Outcome, measured_outcomes
from reranker.serving.service import BusyError, ScorerError, Service
from reranker.value import Harms

SAMPLE = "sample"
SAMPLE_SIZE = {"n_users": 80, "n_posts": 1_000, "n_requests": 120}
KNOWN = ("is_toxic", "is_misinformation", "is_outrage", "is_graphic", "is_clickbait")
MAX_FEEDS = 8
MAX_IDLE_S = 3_600.0
TEXTS_AT_ONCE = 64
RANKINGS_KEPT = 4
MAX_FAILURES = 3  # in a row, before a feed is shown without scores
TRY_AGAIN_S = 30.0  # after which a page that is opened tries again

_Post = tuple[str | None, str | None, tuple[str, ...]]


class UnknownFeedError(Exception):
    """There is no such feed, or not any more."""


class HeldFeed:
    """A feed, its scores so far, and its latest rankings.

    Attributes:
        name: for people.
        feed: the candidates.
        known: attributes of the feed that state its true harm.
        total: distinct texts to read.
        read: those read so far.
        harms: None until all are read, and where there is no scorer.
        problem: why there are no scores, or None.
        used: when it was last asked for, in seconds of the monotonic clock.
    """

    def __init__(self, name: str, feed: Feed, known: tuple[str, ...] = ()) -> None:
        self.name, self.feed, self.known = name, feed, known
        self.baseline = AngerBaseline.fit(feed)
        self.harms: Harms | None = None
        self.problem: str | None = None
        self.used = time.monotonic()
        self._posts = list(dict.fromkeys(_posts_of(feed)))
        self._parts: list[HarmScores] = []
        self.total, self.read = len(self._posts), 0
        self._failures, self._failed_at = 0, 0.0
        self._reading = asyncio.Lock()
        self._ranking = threading.Lock()
        self._rankings: OrderedDict[tuple[str, str], Ranking] = OrderedDict()

    @property
    def ready(self) -> bool:
        """Whether it can be ranked with all the scores that it will get."""
        return self.harms is not None or self.problem is not None

    async def read_on(self, service: Service, budget_s: float) -> None:
        """Read further texts for about so long."""
        until = time.monotonic() + budget_s
        async with self._reading:
            if self.problem is not None and time.monotonic() - self._failed_at > TRY_AGAIN_S:
                self.problem, self._failures = None, 0
                self._rankings.clear()
                self.__dict__.pop("outcomes", None)
            while not self.ready and time.monotonic() < until:
                chunk = self._posts[self.read : self.read + TEXTS_AT_ONCE]
                try:
                    self._parts.append(await service.score(_content(chunk)))
                except BusyError:
                    await asyncio.sleep(0.2)
                    continue
                except ScorerError as error:
                    self._failures += 1
                    if self._failures >= MAX_FAILURES:
                        self.problem, self._failed_at = str(error), time.monotonic()
                    return
                self._failures = 0
                self.read += len(chunk)
                if self.read == self.total:
                    self.harms = await asyncio.to_thread(self._joined)
                    self._parts, self._posts = [], []

    def _joined(self) -> Harms:
        row = {post: i for i, post in enumerate(self._posts)}
        first, acts = self._parts[0], self.feed.interactions
        scores = HarmScores(
            first.labels,
            np.concatenate([part.probability for part in self._parts]),
            np.concatenate([part.confidence for part in self._parts]),
            first.model,
        )

        def rows_of(content: Content) -> HarmScores:
            return scores.take([row[post] for post in _rows(content)])

        comments = None if acts is None else rows_of(acts.content())
        return harms_of_scores(self.feed, rows_of(self.feed.content()), comments)

    def rank(self, policy: Policy) -> Ranking:
        """All requests by a policy; the last few rankings are kept.

        Raises:
            FeedError: the feed lacks what the policy needs.
        """
        key = (policy.name, policy.digest)
        with self._ranking:
            if key not in self._rankings:
                self._rankings[key] = Reranker(policy, baseline=self.baseline).rank(self.feed, self.harms)
                while len(self._rankings) > RANKINGS_KEPT:
                    self._rankings.popitem(last=False)
            self._rankings.move_to_end(key)
            return self._rankings[key]

    @cached_property
    def counts(self) -> dict[str, FloatArray]:
        """(n,) how often each signal came, totals and single acts together, NaN where null."""
        signals = self.feed.signals
        found = {name: signals.get(name) for name in signals.names}
        acts = count_interactions(self.feed, build_policy({"schema": 1, "name": "every act"}, "playground"))
        if acts is not None:
            totals = acts.totals()
            found |= {name: totals.get(name) for name in totals.names}
        return found

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What the figures measure; for when it is ready."""
        return measured_outcomes(self.feed, self.harms, self.known)


class FeedStore:
    """The sample, and what people loaded."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, HeldFeed] = OrderedDict()
        self._sample: HeldFeed | None = None
        self._making = asyncio.Lock()

    async def get(self, feed_id: str) -> HeldFeed:
        """The feed of an id; the sample is made when it is first asked for.

        Raises:
            UnknownFeedError: there is none.
        """
        if feed_id == SAMPLE:
            async with self._making:
                if self._sample is None:
                    self._sample = await asyncio.to_thread(_make_sample)
            return self._sample
        self._forget_idle()
        if feed_id not in self._held:
            raise UnknownFeedError("this feed is not here any more; load the file again")
        held = self._held[feed_id]
        held.used = time.monotonic()
        self._held.move_to_end(feed_id)
        return held

    def add(self, held: HeldFeed, replaces: str = "") -> str:
        """Keep a feed; its id.

        Args:
            held: the feed.
            replaces: the id of an earlier one of the same sender, which goes.
        """
        self._held.pop(replaces, None)
        self._forget_idle()
        while len(self._held) >= MAX_FEEDS:
            self._held.popitem(last=False)
        feed_id = secrets.token_urlsafe(18)
        self._held[feed_id] = held
        return feed_id

    def _forget_idle(self) -> None:
        old = [name for name, held in self._held.items() if time.monotonic() - held.used > MAX_IDLE_S]
        for name in old:
            del self._held[name]


def _make_sample() -> HeldFeed:
    return HeldFeed("Synthetic sample", make_sample(**SAMPLE_SIZE), KNOWN)


def _posts_of(feed: Feed) -> Iterator[_Post]:
    """What is read of each candidate, then of each act on them."""
    yield from _rows(feed.content())
    if feed.interactions is not None:
        yield from _rows(feed.interactions.content())


def _rows(content: Content) -> Iterator[_Post]:
    for text, language, urls in zip(content.text, content.language, content.urls, strict=True):
        yield text, language, tuple(urls or ())


def _content(posts: Sequence[_Post]) -> Content:
    return Content(
        text=[text for text, _, _ in posts],
        language=[language for _, language, _ in posts],
        urls=[list(urls) or None for _, _, urls in posts],
    )

"""Kept scores: in memory, and in a real Redis that may be slow, wrong, or gone."""

import asyncio
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from models.scores import Content
from reranker.serving.errors import ScorerError
from reranker.serving.score_caches import PREFIX, MemoryCache, RedisCache
from reranker.serving.service import Service
from reranker.serving.settings import ServeSettings
from tests.serving import HashScorer, expected

SERVER = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(SERVER is None, reason="redis-server is not installed")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealRedis:
    """A redis-server of its own, that can be stopped and frozen."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        self.url = f"redis://:hunter2@127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        assert SERVER is not None
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "hunter2")
        self.process = subprocess.Popen(
            [SERVER, *options, "--dir", str(self._folder)], stdout=subprocess.DEVNULL
        )
        self.client = Redis.from_url(self.url)
        ends = time.monotonic() + 30
        while True:
            try:
                self.client.ping()
                return
            except RedisConnectionError:
                assert time.monotonic() < ends
                time.sleep(0.02)

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RealRedis]:
    server = RealRedis(tmp_path)
    yield server
    server.stop()


def with_service(
    settings: ServeSettings,
    scorer: HashScorer,
    work: Callable[[Service], Awaitable[None]],
    decided_by: str = "",
) -> Service:
    async def run() -> Service:
        service = Service(settings, scorer, decided_by=decided_by)
        await work(service)
        await service.close()
        return service

    return asyncio.run(run())


async def score(service: Service, *texts: str | None) -> None:
    found = await service.score(Content.of_texts(texts))
    wanted = np.array([expected(text) for text in texts], dtype=np.float32)
    np.testing.assert_array_equal(found.probability, wanted)


def test_the_rows_used_last_stay_in_memory() -> None:
    async def run() -> None:
        cache = MemoryCache(3)
        await cache.put({b"a": b"1", b"b": b"2", b"c": b"3"})
        await cache.get([b"a"])
        await cache.put({b"d": b"4"})
        assert await cache.get([b"a", b"b", b"c", b"d"]) == {b"a": b"1", b"c": b"3", b"d": b"4"}
        assert len(cache) == 3

    asyncio.run(run())


def test_texts_scored_before_are_not_scored_again_whoever_asks_and_empty_ones_never() -> None:
    scorer = HashScorer()

    async def work(service: Service) -> None:
        await score(service, "a", "b", None, "")
        await score(service, "b", "c", "a", "b", None)

    service = with_service(ServeSettings(), scorer, work)
    assert scorer.calls == [["a", "b"], ["c"]]
    counts = service.metrics.registry.get_sample_value
    assert (counts("reranker_cache_hits_total"), counts("reranker_cache_misses_total")) == (2, 3)


def test_a_broken_scorer_is_not_noticed_while_every_text_is_known() -> None:
    broken: list[bool] = []

    def before(_texts: list[str | None]) -> None:
        if broken:
            raise RuntimeError

    async def work(service: Service) -> None:
        await score(service, "a", "b")
        broken.append(True)
        await score(service, "b", "a", None)
        with pytest.raises(ScorerError):
            await score(service, "a", "new")

    with_service(ServeSettings(), HashScorer(before), work)


def test_scores_that_come_too_late_for_their_request_are_kept_for_the_next() -> None:
    scorer = HashScorer()

    async def work(service: Service) -> None:
        await score(service, "seen")
        scorer.gate.clear()
        service.settings = ServeSettings(score_timeout_s=0.1)
        with pytest.raises(ScorerError, match="too slow"):
            await service.score(Content.of_texts(["a", "b"]))
        service.settings = ServeSettings()
        scorer.gate.set()
        while service._tasks:
            await asyncio.sleep(0.01)
        await score(service, "a", "b")

    with_service(ServeSettings(), scorer, work)
    assert scorer.calls == [["seen"], ["a", "b"]]


@needs_redis
def test_servers_share_a_redis_and_their_scores_end_with_their_time(
    redis: RealRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reranker.serving.score_caches.TIMEOUT_S", 60.0)
    settings = ServeSettings(cache=redis.url, cache_ttl_s=1000)
    texts = [f"text {i}" for i in range(2500)]
    first, second, other = HashScorer(), HashScorer(), HashScorer()

    async def work(service: Service) -> None:
        await score(service, *texts)

    with_service(settings, first, work)
    with_service(settings, second, work)
    with_service(settings, other, work, decided_by="other ratings")
    assert [sum(map(len, scorer.calls)) for scorer in (first, second, other)] == [2500, 0, 2500]
    key = next(iter(redis.client.scan_iter(PREFIX + b"*")))
    assert 900 < redis.client.ttl(key) <= 1000


@needs_redis
def test_a_redis_that_stops_or_freezes_or_lies_costs_computing_and_no_request(
    redis: RealRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reranker.serving.score_caches.PAUSE_S", 600.0)
    scorer = HashScorer()
    failures = []

    def asked_again(service: Service) -> None:
        """As after the pause."""
        cache = service.cache
        assert isinstance(cache, RedisCache)
        cache._left_alone_until = 0.0
        failures.append(service.metrics.registry.get_sample_value("reranker_cache_failures_total"))

    async def work(service: Service) -> None:
        await score(service, "a", "b")
        for key in redis.client.scan_iter():
            redis.client.set(key, b"nonsense")
        await score(service, "a", "b")
        redis.client.execute_command("CLIENT", "PAUSE", "600000", "ALL")
        asked_again(service)
        for i in range(3):
            await score(service, f"while it hangs {i}")
        redis.stop()
        asked_again(service)
        for i in range(20):
            await score(service, f"while it is gone {i}")
        redis.start()
        asked_again(service)
        for i in range(100):
            n_calls = len(scorer.calls)
            await score(service, f"after {i}")
            await score(service, f"after {i}")
            if len(scorer.calls) == n_calls + 1:
                break
            asked_again(service)  # on a busy machine an answer may come too late
        else:
            pytest.fail("it was not asked again")

    with caplog.at_level(logging.INFO):
        with_service(ServeSettings(cache=redis.url), scorer, work)
    before, hung, gone, *_ = failures
    assert (hung, gone) == (before + 1, before + 2)  # then it is left alone
    warnings = [record for record in caplog.records if "redis" in record.getMessage()]
    assert len(warnings) >= 2
    assert "hunter2" not in caplog.text
    assert str(redis.port) not in caplog.text


@needs_redis
def test_a_refused_password_costs_no_request(redis: RealRedis) -> None:
    failures: list[bool] = []

    async def run() -> None:
        cache = RedisCache(
            redis.url.replace("hunter2", "wrong"), ttl_s=10, on_failure=lambda: failures.append(True)
        )
        assert await cache.get([b"key"]) == {}
        await cache.put({b"key": b"row"})
        await cache.close()

    asyncio.run(run())
    assert failures == [True]  # then it is left alone for a while

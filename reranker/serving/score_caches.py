"""Where scores are kept by content: in memory, or in a Redis that several servers share.

Both take the keys and rows of `models.cache`. A Redis that fails costs computing, never a request.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from reranker.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

PREFIX = b"harm-scores:"
KEYS_AT_ONCE = 1_000
TIMEOUT_S = 0.25
PAUSE_S = 5.0  # for which a Redis that failed is not asked again, nor its failures logged


class RowCache(Protocol):
    """Rows of scores by key."""

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The rows of those keys that are there."""

    async def put(self, rows: Mapping[bytes, bytes]) -> None:
        """Keeps rows."""

    async def close(self) -> None:
        """Lets go of connections."""


def open_cache(settings: ServeSettings, on_failure: Callable[[], None]) -> RowCache:
    """The cache that the settings name; a Redis is not asked yet, and each of its failures is told."""
    if settings.cache == "memory":
        return MemoryCache(settings.cache_rows)
    return RedisCache(settings.cache, ttl_s=settings.cache_ttl_s, on_failure=on_failure)


class MemoryCache:
    """The rows that were used last, up to a number of them. A row of 29 labels takes about 400 bytes."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._rows: OrderedDict[bytes, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The rows of those keys that are there; they count as used."""
        found = {}
        for key in keys:
            row = self._rows.get(key)
            if row is not None:
                self._rows.move_to_end(key)
                found[key] = row
        return found

    async def put(self, rows: Mapping[bytes, bytes]) -> None:
        """Keeps rows; the least recently used go beyond the limit."""
        for key, row in rows.items():
            self._rows[key] = row
            self._rows.move_to_end(key)
        while len(self._rows) > self._max_rows:
            self._rows.popitem(last=False)

    async def close(self) -> None:
        """Nothing to let go."""


class RedisCache:
    """Rows in a Redis. After a failure it is left alone for a while, as if it held nothing."""

    def __init__(self, url: str, *, ttl_s: int, on_failure: Callable[[], None]) -> None:
        """Connects with the first question.

        Raises:
            ValueError: that is no URL of a Redis.
        """
        self._ttl_s = ttl_s
        self._on_failure = on_failure
        self._left_alone_until = 0.0
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # once: a connection may have been closed while idle
        )

    async def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The rows of those keys that are there; none where the Redis fails."""
        found: dict[bytes, bytes] = {}
        if not keys or self._is_left_alone():
            return found
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for start in range(0, len(keys), KEYS_AT_ONCE):
                    pipe.mget([PREFIX + key for key in keys[start : start + KEYS_AT_ONCE]])
                answers = await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return found
        rows = [row for answer in answers for row in answer]
        return {key: row for key, row in zip(keys, rows, strict=True) if row is not None}

    async def put(self, rows: Mapping[bytes, bytes]) -> None:
        """Keeps rows for as long as the settings say, unless the Redis fails."""
        if not rows or self._is_left_alone():
            return
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for key, row in rows.items():
                    pipe.set(PREFIX + key, row, ex=self._ttl_s)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    def _is_left_alone(self) -> bool:
        return time.monotonic() < self._left_alone_until

    def _failed(self, error: Exception) -> None:
        self._on_failure()
        if not self._is_left_alone():  # of requests that failed at once, one says so
            self._left_alone_until = time.monotonic() + PAUSE_S
            logger.warning("redis: expected an answer, got %s; going without", type(error).__name__)

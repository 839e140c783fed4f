"""`StreamReader`: reads a Jetstream into a post store for as long as the server runs.

The stream is at-least-once: after a break it is taken up a few seconds before the last event that was
written, and copies of events that came already are dropped. Nothing that the other side sends ends the
reader; what it cannot read is counted and skipped.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from reranker.serving.bluesky_events import COLLECTIONS, Event, Frame, read_frame
from reranker.serving.post_store import PostStore

TOO_BIG = 1009  # WebSocket close code
OURS = frozenset({"cursor", "wantedCollections", "compress", "requireHello", "maxMessageSizeBytes"})
KEYS_REMEMBERED = 50_000  # of events, to tell copies; a replay of the overlap is a fifth of it at most

log = logging.getLogger(__name__)


class StreamError(ValueError):
    """A stream's address that cannot be used."""


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is read.

    Attributes:
        max_frame_bytes: asked of the server; a larger frame that comes all the same ends the connection, and
            the stream is taken up behind it.
        batch: events written in one transaction.
        flush_s: the longest that an event waits for its batch.
        overlap_s: read again after a break.
        first_delay_s, max_delay_s: before the first new try and before a late one; each is doubled from the
            one before and shortened by chance by up to a half.
        idle_s: a connection on which nothing came for so long is given up.
        prune_s: between two cuts of the store to its window.
    """

    max_frame_bytes: int = 4 * 2**20
    batch: int = 500
    flush_s: float = 0.5
    overlap_s: float = 5.0
    first_delay_s: float = 1.0
    max_delay_s: float = 60.0
    idle_s: float = 120.0
    prune_s: float = 5.0


@dataclass
class StreamCounts:
    """What came by the stream since the start.

    Attributes:
        frames: of any kind.
        events: new ones, written or of no use to the store.
        copies: events that had come before.
        garbage: frames that could not be read.
        connections: opened.
    """

    frames: int = 0
    events: int = 0
    copies: int = 0
    garbage: int = 0
    connections: int = 0


@dataclass
class _Batch:
    """Events not yet written, the place behind them, and when they must be written (of the loop's clock)."""

    events: list[Event] = field(default_factory=list)
    cursor_us: int | None = None
    due: float = 0.0


class StreamReader:
    """Reads one stream into one store.

    Args:
        url: WebSocket address of the stream, with `wantedDids` where only some accounts are wanted.
        store: where posts and engagement go.
        rng: chance in the delays between tries.
        options: sizes and times.
        now_us: the time in microseconds since 1970.

    Raises:
        StreamError: the address is no WebSocket address.
    """

    def __init__(
        self,
        url: str,
        store: PostStore,
        *,
        rng: np.random.Generator,
        options: StreamOptions | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        check_stream_url(url)
        self.url = url
        self.counts = StreamCounts()
        self._store = store
        self._rng = rng
        self._options = StreamOptions() if options is None else options
        self._now_us = now_us
        self._keys: dict[str, None] = {}
        self._skip_us = 0
        self._pruned_us = 0

    async def run(self) -> None:
        """Reads until it is cancelled; what was read by then is written."""
        failures = 0
        while True:
            before = self.counts.events
            try:
                reason = await self._connection()
            except (OSError, WebSocketException, sqlite3.Error) as error:
                self._skip_ahead(error)
                reason = f"{type(error).__name__}: {error}"[:200]
            failures = 0 if self.counts.events > before else failures + 1
            delay = self.delay_s(failures)
            log.warning("jetstream: %s; %s; next try in %.1f s", reason, self.counts, delay)
            await asyncio.sleep(delay)

    def delay_s(self, failures: int) -> float:
        """Seconds to wait after so many tries in a row that brought nothing new."""
        options = self._options
        longest = min(options.max_delay_s, options.first_delay_s * 2.0 ** min(failures, 32))
        return float(self._rng.uniform(0.5, 1.0)) * longest

    def address(self) -> str:
        """Where to connect: the stream's address, what is wanted of it, and from where on."""
        parts = urlsplit(self.url)
        query = [(name, value) for name, value in parse_qsl(parts.query) if name not in OURS]
        query += [("wantedCollections", collection) for collection in COLLECTIONS]
        query.append(("maxMessageSizeBytes", str(self._options.max_frame_bytes)))
        cursor = self._store.cursor_us()
        if cursor is not None:
            start = cursor + self._skip_us if self._skip_us else cursor - int(self._options.overlap_s * 1e6)
            oldest = self._now_us() - int(self._store.window.max_age_s * 1e6)
            query.append(("cursor", str(max(start, oldest))))
        return urlunsplit(parts._replace(query=urlencode(query)))

    async def _connection(self) -> str:
        """One connection until its end; why it ended."""
        address = await asyncio.to_thread(self.address)
        batch = _Batch()
        async with connect(
            address, max_size=self._options.max_frame_bytes, compression=None, close_timeout=2
        ) as connection:
            self.counts.connections += 1
            log.info("jetstream: connected to %s", urlsplit(self.url).hostname)
            try:
                return await self._read(connection, batch)
            finally:
                await self._write(batch)

    async def _read(self, connection: ClientConnection, batch: _Batch) -> str:
        clock = asyncio.get_running_loop().time
        while True:
            waiting = batch.cursor_us is not None
            wait = max(batch.due - clock(), 0.0) if waiting else self._options.idle_s
            try:
                async with asyncio.timeout(wait):
                    text = await connection.recv()
            except TimeoutError:
                if not waiting:
                    return f"nothing came for {wait:g} s"
                await self._write(batch)
                continue
            frame = self._new(text)
            if frame is not None:
                if not waiting:
                    batch.due = clock() + self._options.flush_s
                batch.cursor_us = frame.time_us
                if frame.event is not None:
                    batch.events.append(frame.event)
                if len(batch.events) >= self._options.batch:
                    await self._write(batch)

    def _new(self, text: str | bytes) -> Frame | None:
        """The message in a frame, None where it is garbage or a copy."""
        self.counts.frames += 1
        frame = read_frame(text)
        if frame is None:
            self.counts.garbage += 1
            return None
        if frame.key in self._keys:
            self.counts.copies += 1
            return None
        self._keys[frame.key] = None
        if len(self._keys) > KEYS_REMEMBERED:
            del self._keys[next(iter(self._keys))]
        self.counts.events += 1
        self._skip_us = 0
        return frame

    async def _write(self, batch: _Batch) -> None:
        if batch.cursor_us is None:
            return
        events, cursor_us = batch.events, batch.cursor_us
        batch.events, batch.cursor_us = [], None
        try:
            await asyncio.to_thread(self._store.apply, events, cursor_us)
        except sqlite3.Error:
            self._keys.clear()  # they come again, and are no copies then
            raise
        now_us = self._now_us()
        if now_us - self._pruned_us >= self._options.prune_s * 1e6:
            self._pruned_us = now_us
            await asyncio.to_thread(self._store.prune, now_us)

    def _skip_ahead(self, error: Exception) -> None:
        """Behind a frame that is too large to be read: by a second, then by two, four, ..."""
        sent = error.sent if isinstance(error, ConnectionClosed) else None
        if sent is not None and sent.code == TOO_BIG:
            self.counts.garbage += 1
            self._skip_us = max(2 * self._skip_us, 1_000_000)


def check_stream_url(url: str) -> None:
    """Refuses what is no WebSocket address.

    Raises:
        StreamError: names the address.
    """
    with suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in {"ws", "wss"} and parts.hostname and parts.port != 0:
            return
    shown = url.rpartition("@")[2]  # without a password
    raise StreamError(f'jetstream: expected an address such as wss://host/subscribe, got "{shown}"')


class StreamLease:
    """The right to read a stream into a store, which one process of several has.

    It is a lock on a file beside the store, which ends with the process however that ends. A store in memory
    has one reader anyway.
    """

    def __init__(self, store: Path | None) -> None:
        self._path = None if store is None else store.with_name(f"{store.name}.reader")
        self._held: sqlite3.Connection | None = None

    def take(self) -> bool:
        """Whether this process has the right, now or since before."""
        if self._path is None or self._held is not None:
            return True
        database = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            database.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            database.close()
            return False
        self._held = database
        return True

    def give_back(self) -> None:
        """Lets another process have it."""
        if self._held is not None:
            self._held.close()
            self._held = None


async def read_stream(reader: StreamReader, lease: StreamLease, *, retry_s: float = 5.0) -> None:
    """Reads as soon as this process has the right to, until it is cancelled."""
    try:
        while not lease.take():
            await asyncio.sleep(retry_s)
        await reader.run()
    finally:
        lease.give_back()

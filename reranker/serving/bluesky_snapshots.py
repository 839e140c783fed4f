"""Pages of a feed that stay what they were: a page is cut from the order in which the feed began.

A reader's first page fixes an order, its *snapshot*; the cursor names the snapshot and a place in it, so that
further pages neither repeat nor lose a post while new posts arrive. The snapshot's id is a digest of its
order, so an unchanged order keeps its id, and every process of a server gives it the same one.
"""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from reranker.serving.post_store import PostStore, StoredSnapshot

CURSOR_PATTERN = re.compile(r"([0-9a-f]{16})-([0-9]{1,6})")
MAX_IN_MEMORY = 128
MAX_AGE_S = 2 * 3_600.0


class CursorError(ValueError):
    """A cursor that was not handed out."""


@dataclass(frozen=True)
class Snapshot:
    """An order of posts that a feed served.

    Attributes:
        id: of the feed and this order.
        posts: AT-URIs, best first.
        made_s: when it was last found to be the feed's order, in seconds since 1970.
        degraded: why the ranking had to do without scores, None where it had them.
    """

    id: str
    posts: tuple[str, ...]
    made_s: float
    degraded: str | None


@dataclass(frozen=True)
class Page:
    """Posts to show next, and the cursor of the page behind them, None at the end."""

    posts: tuple[str, ...]
    cursor: str | None
    degraded: str | None


class Snapshots:
    """What the feeds served lately, bounded in number and age; kept in the store too where there is one."""

    def __init__(self, store: PostStore | None, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._lock = Lock()
        self._kept: OrderedDict[tuple[str, str], Snapshot] = OrderedDict()
        self._latest: dict[str, Snapshot] = {}

    def keep(self, feed: str, posts: Sequence[str], degraded: str | None) -> Snapshot:
        """The snapshot of the order that the feed has now."""
        digest = hashlib.sha256("\n".join([feed, *posts]).encode()).hexdigest()[:16]
        snapshot = Snapshot(digest, tuple(posts), self._clock(), degraded)
        with self._lock:
            self._latest[feed] = snapshot
            self._kept[feed, digest] = snapshot
            self._kept.move_to_end((feed, digest))
            if len(self._kept) > MAX_IN_MEMORY:
                self._kept.popitem(last=False)
        if self._store is not None:
            made_us = int(snapshot.made_s * 1e6)
            self._store.keep_snapshot(StoredSnapshot(digest, feed, made_us, snapshot.posts, degraded))
        return snapshot

    def latest(self, feed: str) -> Snapshot | None:
        """The newest of a feed."""
        return self._latest.get(feed)

    def recall(self, feed: str) -> None:
        """Makes what another process, or one before this, served last the newest of a feed without any."""
        found = self._stored(feed, None)
        with self._lock:
            if found is not None and found.posts:
                self._latest.setdefault(feed, found)

    def find(self, feed: str, snapshot_id: str) -> Snapshot | None:
        """One that was served under this id and is not too old."""
        with self._lock:
            found = self._kept.get((feed, snapshot_id))
        if found is not None and self._clock() - found.made_s <= MAX_AGE_S:
            return found
        return self._stored(feed, snapshot_id)

    def _stored(self, feed: str, snapshot_id: str | None) -> Snapshot | None:
        if self._store is None:
            return None
        found = self._store.snapshot(feed, snapshot_id, int(self._clock() * 1e6))
        if found is None:
            return None
        return Snapshot(found.id, found.posts, found.made_us / 1e6, found.degraded)


def read_cursor(text: str) -> tuple[str, int]:
    """The snapshot's id and the place in it.

    Raises:
        CursorError: the text has another form.

    Example:
        >>> read_cursor("00112233445566aa-50")
        ('00112233445566aa', 50)
    """
    found = CURSOR_PATTERN.fullmatch(text)
    if found is None:
        raise CursorError("cursor: expected one from an earlier answer")
    return found[1], int(found[2])


def cut_page(snapshot: Snapshot, start: int, limit: int) -> Page:
    """Posts start to start + limit of a snapshot.

    Example:
        >>> cut_page(Snapshot("00112233445566aa", ("a", "b", "c"), 0.0, None), 1, 1)
        Page(posts=('b',), cursor='00112233445566aa-2', degraded=None)
    """
    stop = start + limit
    cursor = f"{snapshot.id}-{stop}" if stop < len(snapshot.posts) else None
    return Page(snapshot.posts[start:stop], cursor, snapshot.degraded)

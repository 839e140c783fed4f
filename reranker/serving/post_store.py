"""`PostStore`: a window of posts with their engagement, and what was served of them, in one SQLite file.

Events of a stream and the cursor behind them are written in one transaction, so that a killed process finds
both or neither. Acts (likes, reposts, replies, quotes) are kept as long as the window allows, because taking
one back names only the act and not the post. An account's acts on its own posts do not count, nor does a
second like or repost of a post by the same account.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from reranker.serving.bluesky_events import (
    AccountChanged,
    ActWritten,
    Event,
    PostWritten,
    RecordDeleted,
    acts_of,
)
from reranker.serving.bluesky_records import POST, post_uri
from reranker.serving.post_tables import APPLICATION_ID, COUNTS, SCHEMA_VERSION, TABLES

PATIENCE_S = 30.0  # while another process writes
MOST_DROPPED = 5_000  # posts with their acts, in about half a second
_FOREVER = 2**62


class StoreError(ValueError):
    """A file that is no store of ours: where, what was expected, what was found."""


@dataclass(frozen=True)
class Window:
    """What the store keeps.

    Attributes:
        max_age_s: of a post.
        max_posts: the newest are kept.
        max_acts: the newest are kept; an older one stays counted, but taking it back goes unnoticed.
        max_snapshots, max_snapshot_age_s: of what was served.
    """

    max_age_s: float = 24 * 3_600.0
    max_posts: int = 100_000
    max_acts: int = 1_000_000
    max_snapshots: int = 512
    max_snapshot_age_s: float = 2 * 3_600.0


@dataclass(frozen=True, slots=True)
class StoredPost:
    """A post of the window; `counts` are in the order of `SIGNALS`, `sort_us` in microseconds since 1970."""

    uri: str
    author: str
    parent: str | None
    text: str | None
    language: str | None
    urls: tuple[str, ...]
    media: str
    sort_us: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """An order that a feed served, best first; `degraded` says why it was made without scores."""

    id: str
    feed: str
    made_us: int
    posts: tuple[str, ...]
    degraded: str | None


class PostStore:
    """The store in a file, or in memory where there is none. Calls may come from any thread.

    Raises:
        StoreError: the file cannot be opened, or holds something else.
    """

    def __init__(self, path: Path | None, window: Window | None = None) -> None:
        self.path = path
        self.window = Window() if window is None else window
        self._lock = Lock()
        where = ":memory:" if path is None else str(path)
        try:
            self._database = sqlite3.connect(
                where, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise StoreError(f"{where}: expected an SQLite store of posts, got {error}") from None
        try:
            self._prepare(where)
        except sqlite3.Error as error:
            self._database.close()
            raise StoreError(f"{where}: expected an SQLite store of posts, got {error}") from None
        except StoreError:
            self._database.close()
            raise

    def close(self) -> None:
        """Ends the use of the file, after the transaction that another thread may be in."""
        with self._lock:
            self._database.close()

    def apply(self, events: Sequence[Event], cursor_us: int) -> None:
        """The events, in their order, and the place in the stream behind them: all of it or nothing."""
        with self._transaction():
            for event in events:
                if isinstance(event, PostWritten):
                    self._write_post(event)
                elif isinstance(event, ActWritten):
                    self._add_act(event)
                elif isinstance(event, RecordDeleted):
                    self._delete_record(event)
                else:
                    self._change_account(event)
            self._database.execute("UPDATE stream SET cursor_us = ?", (cursor_us,))

    def cursor_us(self) -> int | None:
        """The place in the stream behind the last event, None before the first."""
        with self._lock:
            (cursor,) = self._database.execute("SELECT cursor_us FROM stream").fetchone()
        return None if cursor is None else int(cursor)

    def prune(self, now_us: int) -> None:
        """Drops what is beyond the window, the oldest first, up to `MOST_DROPPED` posts in a call."""
        window = self.window
        oldest = now_us - int(window.max_age_s * 1e6)
        stale = now_us - int(window.max_snapshot_age_s * 1e6)
        with self._transaction():
            run = self._database.execute
            first = "SELECT id FROM posts WHERE sort_us < ? ORDER BY sort_us, id LIMIT ?"
            run(f"DELETE FROM posts WHERE id IN ({first})", (oldest, MOST_DROPPED))
            (n,) = run("SELECT count(*) FROM posts").fetchone()
            surplus = min(max(n - window.max_posts, 0), MOST_DROPPED)
            run(f"DELETE FROM posts WHERE id IN ({first})", (_FOREVER, surplus))
            run("DELETE FROM acts WHERE id <= (SELECT max(id) FROM acts) - ?", (window.max_acts,))
            run("DELETE FROM hidden WHERE did NOT IN (SELECT author FROM posts)")
            run("DELETE FROM snapshots WHERE made_us < ?", (stale,))

    def n_posts(self) -> int:
        """How many posts the store holds."""
        with self._lock:
            (n,) = self._database.execute("SELECT count(*) FROM posts").fetchone()
        return int(n)

    def candidates(self, limit: int) -> list[StoredPost]:
        """At most `limit` posts of visible accounts, newest first.

        Half of them are the posts with the most acts in the window; the others are the newest with any act,
        and, while these do not fill the limit, the newest without.
        """
        columns = f"id, uri, author, parent, text, language, urls, media, sort_us, {COUNTS}"
        visible = f"SELECT {columns} FROM posts WHERE author NOT IN (SELECT did FROM hidden)"
        found: dict[int, tuple[Any, ...]] = {}
        with self._transaction("BEGIN"):  # all three see one state
            for chosen, most in (
                ("AND n_acts > 0 ORDER BY n_acts DESC, sort_us DESC, id DESC", limit // 2),
                ("AND n_acts > 0 ORDER BY sort_us DESC, id DESC", limit),
                ("ORDER BY sort_us DESC, id DESC", limit),
            ):
                for row in self._database.execute(f"{visible} {chosen} LIMIT {most}"):
                    if len(found) < limit:
                        found.setdefault(row[0], row)
        posts = [_stored(row) for row in found.values()]
        return sorted(posts, key=lambda post: (-post.sort_us, post.uri))

    def keep_snapshot(self, kept: StoredSnapshot) -> None:
        """What a feed served; the same id again makes it as new as `made_us`."""
        with self._transaction():
            self._database.execute(
                "INSERT INTO snapshots VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE"
                " SET made_us = max(made_us, excluded.made_us), degraded = excluded.degraded",
                (kept.id, kept.feed, kept.made_us, json.dumps(kept.posts), kept.degraded),
            )
            self._database.execute(
                "DELETE FROM snapshots WHERE id IN"
                " (SELECT id FROM snapshots ORDER BY made_us DESC, id LIMIT -1 OFFSET ?)",
                (self.window.max_snapshots,),
            )

    def snapshot(self, feed: str, snapshot_id: str | None, now_us: int) -> StoredSnapshot | None:
        """What the feed served under this id, or last; None where that is not kept, or was too long ago."""
        oldest = now_us - int(self.window.max_snapshot_age_s * 1e6)
        with self._lock:
            row = self._database.execute(
                "SELECT id, feed, made_us, posts, degraded FROM snapshots"
                " WHERE feed = ? AND (? IS NULL OR id = ?) AND made_us >= ? ORDER BY made_us DESC LIMIT 1",
                (feed, snapshot_id, snapshot_id, oldest),
            ).fetchone()
        if row is None:
            return None
        return StoredSnapshot(row[0], row[1], row[2], tuple(json.loads(row[3])), row[4])

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        with self._lock:
            self._database.execute(begin)
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _prepare(self, where: str) -> None:
        with self._transaction():  # one of several that open a new file at once makes the tables
            if not self._is_ours(where):
                for statement in TABLES:
                    self._database.execute(statement)
        self._write_ahead()
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.execute("PRAGMA synchronous = NORMAL")  # only a power cut can lose anything: seconds

    def _write_ahead(self) -> None:
        """Sets the journal's mode, for which SQLite does not wait by itself while another opens the file."""
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._database.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def _is_ours(self, where: str) -> bool:
        """Whether the file is a store, and not empty.

        Raises:
            StoreError: it is neither.
        """
        queries = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        owner, version, n_tables = (self._database.execute(query).fetchone()[0] for query in queries)
        if owner == APPLICATION_ID and version != SCHEMA_VERSION:
            raise StoreError(
                f"{where}: expected a store of schema {SCHEMA_VERSION}, got {version}; "
                "delete the file to begin again, or use the version that made it"
            )
        if owner != APPLICATION_ID and n_tables:
            raise StoreError(f"{where}: expected a store of posts, got another program's SQLite database")
        return bool(owner == APPLICATION_ID)

    def _write_post(self, event: PostWritten) -> None:
        post = event.post
        created = event.time_us if post.created_us is None else post.created_us
        sort_us = max(min(created, event.time_us), 0)  # nobody's clock makes a post newer than it is
        columns = (post_uri(event.did, event.rkey), event.did, event.rev, post.parent)
        written = self._database.execute(
            "INSERT INTO posts (uri, author, rev, parent, text, language, urls, media, sort_us)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (uri) DO UPDATE SET rev = excluded.rev,"
            " parent = excluded.parent, text = excluded.text, language = excluded.language,"
            " urls = excluded.urls, media = excluded.media WHERE excluded.rev > posts.rev",
            (*columns, post.text, post.language, json.dumps(post.urls), post.media, sort_us),
        )
        if written.rowcount:
            self._take_back("actor = ? AND rkey = ? AND collection = ?", (event.did, event.rkey, POST))
            for act in acts_of(event):
                self._add_act(act)

    def _add_act(self, act: ActWritten) -> None:
        found = self._database.execute(
            "SELECT id, author FROM posts WHERE uri = ?", (act.subject,)
        ).fetchone()
        if found is None or found[1] == act.did:
            return
        added = self._database.execute(
            "INSERT OR IGNORE INTO acts (actor, collection, rkey, signal, post) VALUES (?, ?, ?, ?, ?)",
            (act.did, act.collection, act.rkey, act.signal, found[0]),
        )
        if added.rowcount:
            self._count(act.signal, found[0], 1)

    def _delete_record(self, event: RecordDeleted) -> None:
        if event.collection == POST:
            self._database.execute("DELETE FROM posts WHERE uri = ?", (post_uri(event.did, event.rkey),))
        which = (event.did, event.rkey, event.collection)
        self._take_back("actor = ? AND rkey = ? AND collection = ?", which)

    def _change_account(self, event: AccountChanged) -> None:
        account = (event.did,)
        if event.state == "gone":
            self._database.execute("DELETE FROM posts WHERE author = ?", account)
            self._take_back("actor = ?", account)
        if event.state == "hidden":
            self._database.execute(
                "INSERT OR IGNORE INTO hidden SELECT ?1 WHERE EXISTS (SELECT 1 FROM posts WHERE author = ?1)",
                account,
            )
        else:
            self._database.execute("DELETE FROM hidden WHERE did = ?", account)

    def _take_back(self, which: str, parameters: tuple[str, ...]) -> None:
        acts = self._database.execute(f"DELETE FROM acts WHERE {which} RETURNING signal, post", parameters)
        for signal, post in acts.fetchall():
            self._count(signal, post, -1)

    def _count(self, signal: str, post: int, change: int) -> None:
        self._database.execute(
            f'UPDATE posts SET "{signal}" = "{signal}" + {change}, n_acts = n_acts + {change} WHERE id = ?',
            (post,),
        )


def _stored(row: tuple[Any, ...]) -> StoredPost:
    _, uri, author, parent, text, language, urls, media, sort_us, *counts = row
    links = tuple(json.loads(urls))
    return StoredPost(uri, author, parent, text, language, links, media, sort_us, tuple(counts))

"""`ScoreCache`: scores by the content that they were made of, kept in one SQLite file.

A key is the sha256 of everything that decides a row of scores: the version of the code that reads, the
model's name (it carries the digest of the weights), its labels, what else the caller says decides them, and
the post's text, language and links as they came. Not the normalised text: a scorer may read more than that,
and normalising costs more than a lookup.
"""

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.scores import READING_VERSION, Content, HarmScores, Scorer

MAX_ROWS = 2_000_000
SCHEMA = 1
APPLICATION_ID = 0x48415243  # "HARC": tells a cache from any other SQLite file
_KEYS_PER_QUERY = 500
_WAIT_S = 60.0
_CREATE = """
CREATE TABLE IF NOT EXISTS scores (place INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL);
"""


class ScoreCache:
    """Byte strings by key in a file that several processes and threads may read and write at once.

    A process that is killed leaves a whole file (SQLite's write-ahead log); a power cut may lose the last
    writes, not what was there before.
    """

    def __init__(self, path: str | Path, *, max_rows: int = MAX_ROWS) -> None:
        """Opens or makes the file.

        Args:
            path: the file; its folder must exist.
            max_rows: rows kept, the oldest go first. A row of 25 labels takes about 320 bytes.

        Raises:
            ValueError: the file is not such a cache or is damaged, or `max_rows` is below 1.
            OSError: the file cannot be opened or written.
        """
        if max_rows < 1:
            raise ValueError(f"max_rows: expected at least 1, got {max_rows}")
        self.path = Path(path)
        self.max_rows = max_rows
        self._lock = threading.Lock()
        with self._told():
            self._file = sqlite3.connect(
                self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self._file.close()
            raise

    def _prepare(self) -> None:
        tables = self._number("SELECT count(*) FROM sqlite_master")
        found = (self._number("PRAGMA application_id"), self._number("PRAGMA user_version"))
        if tables and found != (APPLICATION_ID, SCHEMA):
            raise ValueError(f"{self.path}: expected a score cache, got another SQLite file")
        self._write_ahead()
        self._file.execute("PRAGMA synchronous = NORMAL")
        self._file.execute("BEGIN IMMEDIATE")
        self._file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._file.execute(f"PRAGMA user_version = {SCHEMA}")
        self._file.execute(_CREATE)
        self._file.execute("COMMIT")

    def _write_ahead(self) -> None:
        """Waits for others that open the file: SQLite itself waits in reads and writes, and not here."""
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                self._file.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(0.01)

    def _number(self, query: str) -> int:
        return int(self._file.execute(query).fetchone()[0] or 0)

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that the cache holds.

        Raises:
            ValueError: the file is damaged.
            OSError: it cannot be read.
        """
        found: dict[bytes, bytes] = {}
        with self._lock, self._told():
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                part = keys[start : start + _KEYS_PER_QUERY]
                marks = ",".join("?" * len(part))
                found.update(
                    self._file.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", part)
                )
        return found

    def put(self, values: dict[bytes, bytes]) -> None:
        """Keeps values for keys that are new, all or none of them, and drops the oldest beyond `max_rows`.

        Raises:
            ValueError: the file is damaged.
            OSError: it cannot be written.
        """
        with self._lock, self._told():
            self._file.execute("BEGIN IMMEDIATE")
            try:
                self._file.executemany(
                    "INSERT INTO scores (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING",
                    values.items(),
                )
                # places rise by one and rows go only from the low end, so this needs no count
                last = self._number("SELECT max(place) FROM scores")
                self._file.execute("DELETE FROM scores WHERE place <= ?", (last - self.max_rows,))
                self._file.execute("COMMIT")
            except BaseException:
                if self._file.in_transaction:
                    self._file.execute("ROLLBACK")
                raise

    def __len__(self) -> int:
        with self._lock, self._told():
            return self._number("SELECT count(*) FROM scores")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OSError(f"{self.path}: expected a cache to read and write, got: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{self.path}: expected a score cache, got: {error}; delete it to start a new one"
            ) from error


def cached(scorer: Scorer, cache: ScoreCache, *, decided_by: str = "") -> Scorer:
    """A scorer that asks another only for what the cache lacks; equal posts of one call are asked for once.

    The other is asked at once for no post at all, to learn its name and labels. Posts for which it scores
    nothing are not kept.

    Args:
        scorer: a row of its scores may depend on that post only, as with every scorer.
        cache: where scores are kept.
        decided_by: what decides the scores beside the model's name, such as the digest of a ratings file.
    """
    nothing = scorer(Content.of_texts([]))
    labels, model = nothing.labels, nothing.model
    head = head_of(nothing, decided_by)

    def score(content: Content) -> HarmScores:
        keys = keys_of(head, content)
        found = cache.get(list(dict.fromkeys(keys)))
        row_of: dict[bytes, int] = {}
        for row, key in enumerate(keys):
            if key not in found:
                row_of.setdefault(key, row)
        if row_of:
            fresh = scorer(content.take(list(row_of.values())))
            values = packed(fresh)
            found.update(zip(row_of, values, strict=True))
            kept = fresh.scored.tolist()
            cache.put({key: found[key] for key, keep in zip(row_of, kept, strict=True) if keep})
        return unpacked([found[key] for key in keys], labels, model, cache.path)

    return score


def head_of(nothing: HarmScores, decided_by: str = "") -> "hashlib._Hash":
    """What all keys of a scorer begin with; `nothing` is what it scores for no post."""
    return hashlib.sha256(json.dumps([READING_VERSION, nothing.model, nothing.labels, decided_by]).encode())


def keys_of(head: "hashlib._Hash", content: Content) -> list[bytes]:
    """(n,) digests; each part is written with its length, so that no two posts read the same."""
    keys = []
    for text, language, urls in zip(content.text, content.language, content.urls, strict=True):
        digest = head.copy()
        for part in (text, language, *(urls or ())):
            encoded = b"" if part is None else part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % (-1 if part is None else len(encoded)))
            digest.update(encoded)
        keys.append(digest.digest())
    return keys


def packed(scores: HarmScores) -> list[bytes]:
    """Probability, then confidence of each row, as little-endian float32."""
    both: NDArray[np.float32] = np.hstack([scores.probability, scores.confidence]).astype("<f4")
    width = both.shape[1] * both.itemsize
    raw = both.tobytes()
    return [raw[start : start + width] for start in range(0, len(raw), width)] if width else [b""] * scores.n


def unpacked(values: Sequence[bytes], labels: tuple[str, ...], model: str, path: str | Path) -> HarmScores:
    """The scores that `packed` made, kept at the path.

    Raises:
        ValueError: they are not those of so many labels.
    """
    width = 2 * len(labels)
    if any(len(value) != 4 * width for value in values):
        raise ValueError(f"{path}: expected {4 * width} bytes per post, got others; delete it to start anew")
    both = np.frombuffer(b"".join(values), dtype="<f4").reshape(len(values), width)
    try:
        return HarmScores(labels, both[:, : len(labels)], both[:, len(labels) :], model)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete it to start a new cache") from None

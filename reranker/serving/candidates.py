"""Posts for the Bluesky feed to rank: from files of JSON lines, from the post store, or from both."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reranker.assembly import feed_from_columns
from reranker.columns import FeedError
from reranker.feed import REQUEST_FIELDS, Feed
from reranker.serving.bluesky_records import is_post_uri
from reranker.serving.post_store import StoredPost
from reranker.serving.post_tables import SIGNALS
from reranker.signals import SIGNAL_NAMES, SignalKind

SUFFIXES = (".jsonl", ".ndjson")
MAX_LINES = 100_000
_PROBABILITIES = frozenset(f"p_{name}" for name in SIGNAL_NAMES)

Row = dict[str, Any]  # one candidate, in the columns of docs/feed-schema.md
log = logging.getLogger(__name__)


class CandidateFiles:
    """The posts of a file or of a directory's files, read again after they changed.

    Raises:
        FeedError: nothing is there, or a line is bad: names file and line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _stamps(path)
        self._rows = read_candidates(path)

    def rows(self, limit: int) -> list[Row]:
        """The newest `limit` posts; those of the last good state while the files are bad."""
        try:
            stamps = _stamps(self._path)
            if stamps != self._seen:
                self._seen = stamps
                self._rows = read_candidates(self._path)
                log.info("%s: read again, %d candidates", self._path, len(self._rows))
        except FeedError as error:
            log.warning("%s; the candidates read before stay", error)
        return self._rows[:limit]


def read_candidates(path: Path) -> list[Row]:
    """The candidates of a file, or of a directory's .jsonl and .ndjson files, newest first.

    Posts without `created_at` come last, in the order of the files. Columns of the request are dropped, as
    the request is the reader's.

    Raises:
        FeedError: nothing is there, or a line is bad: names file and line.
    """
    rows: list[Row] = []
    places: list[str] = []
    first_of: dict[str, str] = {}
    kind_of: dict[SignalKind, str] = {}
    for file in _files(path):
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            place = f"{file}: line {number}"
            row = _row(line, place)
            _check_once(row["post_id"], place, first_of)
            _check_kind(row, place, kind_of)
            if len(rows) >= MAX_LINES:
                raise FeedError(f"{place}: expected at most {MAX_LINES} candidates, got more")
            rows.append(row)
            places.append(place)
    try:
        feed = candidate_feed(rows, "candidates", datetime.now(UTC))
    except FeedError:
        _refuse_first_bad(rows, places)
        raise
    written = feed.created_at.astype("int64").tolist()  # NaT is the least of all
    order = sorted(range(len(rows)), key=lambda i: -written[i])
    return [rows[i] for i in order]


def candidate_feed(rows: Sequence[Row], request_id: str, time: datetime) -> Feed:
    """The candidates as a feed of one request, in the order of the rows.

    Raises:
        FeedError: a value is bad; the message counts rows from 0.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    kind: SignalKind = "probabilities" if names.keys() & _PROBABILITIES else "counts"
    if kind == "probabilities" and names.keys() & set(SIGNAL_NAMES):
        raise FeedError("signals: expected counts or probabilities, got both among the candidates")
    columns: dict[str, Any] = {
        name.removeprefix("p_") if name in _PROBABILITIES else name: [row.get(name) for row in rows]
        for name in ("post_id", *names)
    }
    columns |= {"request_id": [request_id] * len(rows), "time": [time] * len(rows)}
    return feed_from_columns(columns, kind=kind)


def stored_row(post: StoredPost) -> Row:
    """A post of the store as a candidate."""
    return {
        "post_id": post.uri,
        "author": post.author,
        "parent_id": post.parent,
        "text": post.text,
        "language": post.language,
        "urls": post.urls,
        "media": post.media,
        "created_at": datetime.fromtimestamp(post.sort_us / 1e6, UTC),
        **dict(zip(SIGNALS, post.counts, strict=True)),
    }


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.is_file():
            raise FeedError(f"{path}: expected a file or directory of JSON lines, found none")
        return [path]
    files = sorted(file for file in path.iterdir() if _is_candidate_file(file))
    if not files:
        raise FeedError(f"{path}: expected {' or '.join(SUFFIXES)} files in the directory, found none")
    return files


def _is_candidate_file(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith((".", "_")) and file.is_file()


def _stamps(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes when a file does: names, times and sizes."""
    try:
        states = [(str(file), file.stat()) for file in _files(path)]
    except OSError as error:
        raise FeedError(f"{path}: expected readable files, got {error.strerror}") from None
    return tuple((name, state.st_mtime_ns, state.st_size) for name, state in states)


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise FeedError(f"{file}: expected a readable file, got {error.strerror}") from None


def _row(line: bytes, place: str) -> Row:
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise FeedError(f"{place}: expected text in UTF-8, got {error.reason}") from None
    except (ValueError, RecursionError) as error:
        raise FeedError(f"{place}: expected JSON, got {str(error)[:100]}") from None
    if not isinstance(row, dict):
        raise FeedError(f"{place}: expected one JSON object per line, got {str(row)[:40]}")
    if not is_post_uri(row.get("post_id")):
        got = str(row.get("post_id"))[:80]
        raise FeedError(f"{place}: post_id: expected at://DID/app.bsky.feed.post/KEY, got {got!r}")
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        raise FeedError(f"{place}: expected text in UTF-8, got {str(error)[:100]}") from None
    return {name: value for name, value in row.items() if name not in REQUEST_FIELDS}


def _check_once(post_id: str, place: str, first_of: dict[str, str]) -> None:
    first = first_of.setdefault(post_id, place)
    if first != place:
        raise FeedError(f"{place}: post_id: expected each post once, got {post_id!r} again, first at {first}")


def _check_kind(row: Row, place: str, kind_of: dict[SignalKind, str]) -> None:
    """Refuses predicted probabilities beside counts, in this line or in two."""
    if row.keys() & _PROBABILITIES:
        kind_of.setdefault("probabilities", place)
    if row.keys() & set(SIGNAL_NAMES):
        kind_of.setdefault("counts", place)
    if len(kind_of) == 2:
        where = " and ".join(f"{kind} at {first}" for kind, first in kind_of.items())
        raise FeedError(f"{place}: expected signals as counts or probabilities in all lines, got {where}")


def _refuse_first_bad(rows: Sequence[Row], places: Sequence[str]) -> None:
    """Tells the line of the first row that makes no feed on its own."""
    for row, place in zip(rows, places, strict=True):
        try:
            candidate_feed([row], "candidates", datetime.now(UTC))
        except FeedError as error:
            raise FeedError(f"{place}: {str(error).removesuffix(' at row 0')}") from None

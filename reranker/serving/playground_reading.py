"""A feed from a file that somebody sends: in memory, within limits, told in one message what is wrong."""

import csv
import io
from collections.abc import Collection
from pathlib import PurePath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reranker.columns import FeedError
from reranker.feed import Feed
from reranker.reading import FEED_LAYOUT, feed_from_arrow
from reranker.tables import first_line, json_object, read_text

MAX_FILE_BYTES = 8 * 2**20
MAX_CANDIDATES = 5_000
MAX_PER_REQUEST = 300  # what a page shows twice and moves
MAX_COLUMNS = 500
MAX_DECODED_BYTES = 64 * 2**20
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv")
_MAX_NAME = 100
_HEAD_BYTES = 2**20
_ROWS_AT_ONCE = 8  # a row of a packed file can be as large as the file's limit on what it unpacks to


def file_name(name: str) -> str:
    """The last part of a file's name, fit for messages."""
    return "".join(c if c.isprintable() else " " for c in PurePath(name).name)[-80:].strip() or "the file"


def feed_from_file(name: str, content: bytes, *, max_text_bytes: int) -> Feed:
    """The feed in a file of `docs/feed-schema.md`.

    Args:
        name: of the file, as `file_name` gives it; for its suffix and for messages.
        content: its bytes.
        max_text_bytes: UTF-8 bytes that a text may have.

    Raises:
        FeedError: the file is not a feed, or is beyond a limit; the message begins with the file's name.
    """
    try:
        return _feed(PurePath(name).suffix.lower(), content, max_text_bytes)
    except FeedError as error:
        raise FeedError(f"{name}: {error}") from None


def _feed(suffix: str, content: bytes, max_text_bytes: int) -> Feed:
    if suffix not in SUFFIXES:
        raise FeedError(f'expected one of {", ".join(SUFFIXES)}, got "{suffix}"')
    if not content.strip():
        raise FeedError("expected rows, got an empty file")
    if suffix == ".parquet":
        table = _parquet(content)
    else:
        _check_layout(suffix, content)
        table = read_text(content, suffix, FEED_LAYOUT)
    _check_size(table.num_rows, table.num_columns)
    feed = feed_from_arrow(table)
    if feed.n == 0:
        raise FeedError("expected at least one candidate, got none")
    longest = int(np.diff(feed.offsets).argmax())
    if feed.offsets[longest + 1] - feed.offsets[longest] > MAX_PER_REQUEST:
        where, n = feed.request_id[longest], feed.offsets[longest + 1] - feed.offsets[longest]
        raise FeedError(f'request "{where}": expected at most {MAX_PER_REQUEST} candidates here, got {n:,}')
    for row, text in enumerate(feed.text):
        if text is not None and len(text.encode("utf-8", "surrogatepass")) > max_text_bytes:
            raise FeedError(f"text: expected at most {max_text_bytes:,} bytes, got more at row {row}")
    return feed


def _check_layout(suffix: str, content: bytes) -> None:
    """Before a text is read as columns, which takes very long for many names or for objects in objects."""
    if suffix == ".csv":
        head = io.StringIO(content[:_HEAD_BYTES].decode("utf-8", "replace"), newline="")
        try:
            _check_names(next(csv.reader(head), []))
        except csv.Error as error:
            raise FeedError(f"expected CSV, got {error}") from None
        return
    names: set[str] = set()
    n_rows = 0
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        n_rows += 1
        _check_size(n_rows, len(names))
        names |= set(_flat_row(line, number))
    _check_names(names)


def _flat_row(line: bytes, number: int) -> dict[str, object]:
    """A line's values by name, none of them an object or a list of other than texts."""
    row = json_object(line, number)
    for name, value in row.items():
        inner = value if isinstance(value, list) else ()
        if isinstance(value, dict) or not all(isinstance(link, str) for link in inner):
            shown, got = name[:_MAX_NAME], "an object" if isinstance(value, dict) else "another list"
            raise FeedError(f"{shown}: expected a text, number or list of links, got {got} at line {number}")
    return row


def _check_names(names: Collection[str]) -> None:
    _check_size(0, len(names))
    for name in names:
        if len(name) > _MAX_NAME or not name.isprintable():
            raise FeedError(
                f"expected names of columns of at most {_MAX_NAME} characters, got {name[:40]!r}..."
            )


def _check_size(n_rows: int, n_columns: int) -> None:
    if n_rows > MAX_CANDIDATES:
        raise FeedError(f"expected at most {MAX_CANDIDATES:,} candidates here, got {n_rows:,}")
    if n_columns > MAX_COLUMNS:
        raise FeedError(f"expected at most {MAX_COLUMNS} columns, got {n_columns:,}")


def _parquet(content: bytes) -> pa.Table:
    """The rows, unpacked a few at a time so that a small file cannot fill the memory."""
    limit = f"{MAX_DECODED_BYTES // 2**20} MiB of columns"
    try:
        with pq.ParquetFile(io.BytesIO(content)) as file:
            about = file.metadata
            _check_size(about.num_rows, about.num_columns)
            _check_names(file.schema_arrow.names)
            packed = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
            if packed > MAX_DECODED_BYTES:
                raise FeedError(f"expected at most {limit}, got {packed // 2**20} MiB")
            batches, size = [], 0
            for batch in file.iter_batches(_ROWS_AT_ONCE, use_threads=False):
                size += batch.nbytes
                if size > MAX_DECODED_BYTES:
                    raise FeedError(f"expected at most {limit}, got more")
                batches.append(batch)
            return pa.Table.from_batches(batches, file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, FeedError):
            raise
        raise FeedError(f"expected a whole parquet file, got {first_line(error)}") from None

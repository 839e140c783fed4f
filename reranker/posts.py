"""Posts to score, read as a stream: parquet, a folder of it, JSON lines or CSV, of any size, anywhere."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from reranker.bad_rows import BadRows, RowError
from reranker.columns import FeedError
from reranker.location import Location, Where
from reranker.post_block import PostBlock, block_of, regrouped
from reranker.post_rows import READERS, RawRows
from reranker.storage import is_folder, parquet_files, stat, stream, unreadable
from reranker.tables import SUFFIXES


def read_posts(path: Where, rows: int, *, bad: BadRows | None = None) -> Iterator[PostBlock]:
    """The posts of a file in blocks of `rows` (the last may be shorter), in the order of the file.

    It needs a column post_id (or id), and text or urls; request_id and language are read where they are
    there, all others are ignored. Memory does not grow with the file.

    Args:
        path: a .parquet, .jsonl, .ndjson or .csv file, or a folder with .parquet files in it or below; or a
            URL of either.
        rows: of a block; rows that are left out do not count.
        bad: where rows that cannot be read are noted while the others are read; without it the first of them
            ends the reading.

    Raises:
        FeedError: a file is missing, empty, malformed or lacks a column, the storage does not tell, or a
            value is bad; the message has the file, the column, and the row of the file (from 0) or its line
            (from 1). With `bad`, only more bad rows than its limit, and what is wrong with the whole.
    """
    where = Location.of(path)
    n = 0
    for block in regrouped(_blocks(where, rows, bad), rows):
        yield block
        n += block.content.n
    if n == 0:
        all_bad = f" that can be read; {bad.first()}" if bad and bad.rows else ""
        raise FeedError(f"{where}: expected posts, got no row{all_bad}")


def post_files(path: Location) -> list[Location]:
    """The file, or the .parquet files of a folder and below it in the order of their paths.

    Raises:
        FeedError: nothing is there, the storage does not tell, the suffix is unknown, or the file is empty.
    """
    found = stat(path)
    if is_folder(found):
        return parquet_files(path)
    if path.suffix.lower() not in SUFFIXES:
        raise FeedError(f'{path}: expected one of {", ".join(SUFFIXES)}, got "{path.suffix}"')
    if not found.size:
        raise FeedError(f"{path}: expected posts, got an empty file")
    return [path]


def digest_of(path: Location) -> str:
    """sha256 of a file's bytes, or of those of a folder's parquet files, read as a stream.

    The whole content and not size and time: a copy has another time, an edit may keep both, and hashing
    takes about a second per gigabyte, which is little beside scoring one.

    Raises:
        FeedError: as `post_files`, or a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in post_files(path):
        with _named(file), stream(file) as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _blocks(where: Location, rows: int, bad: BadRows | None) -> Iterator[PostBlock]:
    """The posts of all files, in blocks of any size."""
    like: tuple[Location, list[str]] | None = None
    for file in post_files(where):
        with _named(file):
            for raw in READERS[file.suffix.lower()](file, rows, bad is not None):
                like = like or (file, list(raw.columns))
                if file != like[0] and list(raw.columns) != like[1]:
                    expected, got = (", ".join(names) for names in (like[1], raw.columns))
                    raise FeedError(f"expected {expected} as in {like[0]}, got {got}")
                if bad is None:
                    yield block_of(raw.columns, raw.start)
                else:
                    yield from _readable(raw, (0, raw.n), bad)


@contextmanager
def _named(file: Location) -> Iterator[None]:
    """Errors with the name of the file that they are of."""
    try:
        yield
    except FeedError as error:
        raise FeedError(f"{file}: {error}") from None
    except pa.ArrowException as error:
        broken = "one that ends or breaks early"
        raise unreadable(file, error, "a whole parquet file", broken) from None
    except OSError as error:
        raise unreadable(file, error, "a readable file") from error


def _readable(raw: RawRows, rows: tuple[int, int], bad: BadRows) -> Iterator[PostBlock]:
    """The rows that can be read; those that cannot are found by halving and noted in their order."""
    low, high = rows
    try:
        for i in range(low, high) if raw.broken else ():
            if i in raw.broken:
                raise raw.broken[i]
        block = block_of({name: values[low:high] for name, values in raw.columns.items()}, low)
    except RowError as error:
        if high - low == 1:
            bad.leave_out(error, raw.place(low))
            return
    else:
        yield block
        return
    middle = (low + high) // 2
    yield from _readable(raw, (low, middle), bad)
    yield from _readable(raw, (middle, high), bad)

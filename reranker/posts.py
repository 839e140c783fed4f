"""Posts to score, read as a stream: parquet, a directory of parquet, JSON lines or CSV of any size."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from reranker.bad_rows import BadRows, RowError
from reranker.columns import FeedError
from reranker.post_block import PostBlock, block_of, regrouped
from reranker.post_rows import READERS, RawRows
from reranker.tables import SUFFIXES, first_line


def read_posts(path: str | Path, rows: int, *, bad: BadRows | None = None) -> Iterator[PostBlock]:
    """The posts of a file in blocks of `rows` (the last may be shorter), in the order of the file.

    It needs a column post_id (or id), and text or urls; request_id and language are read where they are
    there, all others are ignored. Memory does not grow with the file.

    Args:
        path: a .parquet, .jsonl, .ndjson or .csv file, or a directory of .parquet files.
        rows: of a block; rows that are left out do not count.
        bad: where rows that cannot be read are noted while the others are read; without it the first of them
            ends the reading.

    Raises:
        FeedError: the file is missing, empty, malformed or lacks a column, or a value is bad; the message has
            the file, the column, and the row (from 0) or the line (from 1). With `bad`, only more bad rows
            than its limit, and what is wrong with the whole.
    """
    path = Path(path)
    try:
        files = post_files(path)
        read = READERS[files[0].suffix.lower()](files, rows, bad is not None)
        blocks = _blocks(read) if bad is None else regrouped(_readable_blocks(read, bad), rows)
        n = 0
        for block in blocks:
            yield block
            n += block.content.n
        if n == 0:
            all_bad = f" that can be read; {bad.first()}" if bad and bad.rows else ""
            raise FeedError(f"expected posts, got no row{all_bad}")
    except FeedError as error:
        raise FeedError(f"{path}: {error}") from None
    except OSError as error:
        raise FeedError(f"{path}: expected a readable file, got {first_line(error)}") from error


def post_files(path: Path) -> list[Path]:
    """The file, or the .parquet files of a directory in the order of their names.

    Raises:
        FeedError: nothing is there, the suffix is unknown, or a file is empty.
    """
    if path.is_dir():
        files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith((".", "_")))
        if not files:
            raise FeedError("expected .parquet files in the directory, found none")
    elif not path.exists():
        raise FeedError("expected a file, found none")
    else:
        files = [path]
    for file in files:
        if file.suffix.lower() not in SUFFIXES:
            raise FeedError(f'expected one of {", ".join(SUFFIXES)}, got "{file.suffix}"')
        if file.stat().st_size == 0:
            raise FeedError("expected posts, got an empty file")
    return files


def digest_of(path: Path) -> str:
    """sha256 of a file's bytes, or of those of a directory's parquet files, read as a stream.

    The whole content and not size and time: a copy has another time, an edit may keep both, and hashing
    takes about a second per gigabyte, which is little beside scoring one.
    """
    digest = hashlib.sha256()
    for file in post_files(path):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _blocks(read: Iterable[RawRows]) -> Iterator[PostBlock]:
    start = 0
    for raw in read:
        yield block_of(raw.columns, start)
        start += raw.n


def _readable_blocks(read: Iterable[RawRows], bad: BadRows) -> Iterator[PostBlock]:
    for raw in read:
        yield from _readable(raw, (0, raw.n), bad)


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

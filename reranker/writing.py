"""Feeds as parquet, and files that appear whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reranker.assembly import CODE_FIELDS
from reranker.columns import FeedError, StringColumn, first_row
from reranker.feed import CANDIDATE_FIELDS, REQUEST_FIELDS, Feed
from reranker.interactions import Interactions
from reranker.signals import column_name
from reranker.tables import Array


@contextmanager
def atomic(path: str | Path, *, replace_directory: bool = False) -> Iterator[Path]:
    """A name beside `path` to write a file or a directory at; it takes the name `path` once the block ends.

    When the block raises, what it wrote is removed and whatever stood at `path` stays. The name keeps the
    suffix, for writers that choose the format by it. A link is followed.

    Args:
        path: where the result goes; its folder must exist.
        replace_directory: let a directory at `path` that is not empty go. Never True for a path that a
            user could mistype.

    Raises:
        FileNotFoundError: the folder does not exist, or the block wrote nothing.
        FileExistsError: a directory that is not empty, a device or a pipe stands at `path`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic(Path(folder) / "report.txt") as temporary:
        ...         _ = temporary.write_text("whole")
        ...     (Path(folder) / "report.txt").read_text()
        'whole'
    """
    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: expected the folder {target.parent} to exist")
    _refuse_to_replace(path, target, replace_directory)
    temporary = target.with_name(f".{target.stem}-{secrets.token_hex(4)}{target.suffix}")
    try:
        yield temporary
        if temporary.is_dir():
            _refuse_to_replace(path, target, replace_directory)
            _move_directory(temporary, target)
        else:
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(target)
    finally:
        _remove(temporary)


def _refuse_to_replace(path: str | Path, target: Path, replace_directory: bool) -> None:
    if target.is_dir():
        if not replace_directory and any(target.iterdir()):
            raise FileExistsError(f"{path}: expected no directory or an empty one, got one with files in it")
    elif target.exists() and not target.is_file():
        raise FileExistsError(f"{path}: expected a file or a directory, got a device or a pipe")


def _move_directory(temporary: Path, target: Path) -> None:
    """Give a directory the target's name; what stood there goes only after that."""
    if not target.exists():
        temporary.rename(target)
        return
    aside = target.with_name(f".{target.name}-{secrets.token_hex(4)}-old")
    target.rename(aside)
    try:
        temporary.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_feed(feed: Feed, path: str | Path, *, interactions: str | Path | None = None) -> None:
    """Write a feed as parquet in the flat layout of docs/feed-schema.md, which `read_feed` reads back.

    Args:
        feed: what to write.
        path: a name that ends in .parquet.
        interactions: where single acts go; needed when the feed has any.

    Raises:
        FeedError: the suffix is another, the feed has interactions and no place for them, or it has a
            request without candidates, which rows of candidates cannot hold.
    """
    if feed.interactions is not None and interactions is None:
        raise FeedError(f"{path}: expected a path for the feed's interactions, got none")
    _write(feed_to_arrow(feed), path)
    if feed.interactions is not None and interactions is not None:
        write_interactions(feed.interactions, interactions)


def write_interactions(interactions: Interactions, path: str | Path) -> None:
    """Write single acts as parquet, one row each, which `read_interactions` reads back.

    Raises:
        FeedError: the name does not end in .parquet.
    """
    columns = {
        item.name: _column(item.name, getattr(interactions, item.name)) for item in fields(interactions)
    }
    _write(pa.table(columns), path)


def feed_to_arrow(feed: Feed) -> pa.Table:
    """The feed as a flat table: one row per candidate, signals and `attr_` columns last.

    Raises:
        FeedError: a request has no candidates.
    """
    empty = np.diff(feed.offsets) == 0
    if empty.any():
        name = feed.request_id[first_row(empty)]
        raise FeedError(f"request_id: expected candidates in every request, got none in {name!r}")
    columns: dict[str, Array] = {}
    for name in REQUEST_FIELDS:
        values = getattr(feed, name)
        rows = feed.request_of_row
        columns[name] = _column(name, values.take(rows) if isinstance(values, StringColumn) else values[rows])
    for name in CANDIDATE_FIELDS:
        columns[name] = _column(name, getattr(feed, name))
    offsets: Any = pa.array(feed.url_offsets)
    columns["urls"] = pa.LargeListArray.from_arrays(offsets, _column("urls", feed.urls))
    signals = feed.signals
    for i, name in enumerate(signals.names):
        mask = np.zeros(feed.n, dtype=bool) if signals.null is None else signals.null[i]
        columns[column_name(name, signals.kind)] = pa.array(signals.values[i], mask=mask)
    for name, numbers in feed.attributes.items():
        columns[f"attr_{name}"] = pa.array(numbers, mask=np.isnan(numbers))
    return pa.table(columns)


def _column(name: str, values: Any) -> Array:
    if name in CODE_FIELDS:
        values = StringColumn(values.astype(np.int32), CODE_FIELDS[name])
    if isinstance(values, StringColumn):
        try:
            distinct = pa.array(values.values, pa.large_string())
        except UnicodeEncodeError as error:
            raise FeedError(f"{name}: expected text that UTF-8 can hold, got {error.reason}") from None
        codes: Any = pa.array(values.codes, mask=values.is_null)
        coded: Array = pa.DictionaryArray.from_arrays(codes, distinct)
        return coded.cast(pa.large_string())
    if values.dtype.kind == "M":
        return pa.array(values, pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    null = np.isnan(values) if values.dtype.kind == "f" else values < 0 if values.dtype.kind == "i" else None
    made: Array = pa.array(values, mask=null)
    return made


def _write(table: pa.Table, path: str | Path) -> None:
    if Path(path).suffix.lower() != ".parquet":
        raise FeedError(f'{path}: expected a name that ends in .parquet, got "{Path(path).suffix}"')
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")

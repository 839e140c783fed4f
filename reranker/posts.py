"""Posts to score, read as a stream: parquet, a directory of parquet, JSON lines or CSV of any size.

The library `datasets` does the streaming (it is imported by the first read). It gives JSON lines and CSV as
lines of text and not as parsed rows, because its own parsers guess types, so that a text such as
"2020-01-01" would come back as a time, and name no row when one is bad.
"""

import csv
import glob
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.scores import Content
from reranker.columns import FeedError
from reranker.tables import SUFFIXES, first_failing, first_line

ID_COLUMNS = ("request_id", "post_id", "id")
COLUMNS = (*ID_COLUMNS, "text", "language", "urls")
LONGEST_FIELD = 2**31 - 1


@dataclass(frozen=True)
class PostBlock:
    """Posts that follow each other in a file.

    Attributes:
        ids: post_id, and request_id before it where the file has that column; strings, never null.
        content: what a scorer reads of them.
    """

    ids: dict[str, list[str]]
    content: Content


def read_posts(path: str | Path, rows: int) -> Iterator[PostBlock]:
    """The posts of a file in blocks of `rows` (the last may be shorter), in the order of the file.

    It needs a column post_id (or id), and text or urls; request_id and language are read where they are
    there, all others are ignored. Memory does not grow with the file.

    Raises:
        FeedError: the file is missing, empty, malformed or lacks a column, or a value is bad; the message has
            the file, the column, and the row (from 0) or the line (from 1).
    """
    path = Path(path)
    try:
        files = post_files(path)
        start = 0
        for columns in _READERS[files[0].suffix.lower()](files, rows):
            block = _block(columns, start)
            yield block
            start += block.content.n
        if start == 0:
            raise FeedError("expected posts, got no row")
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


def _lines(file: Path, rows: int) -> Iterator[str]:
    """The lines of a text file with their ends; a byte order mark is dropped."""
    try:
        for table in _stream("text", [file], rows, encoding="utf-8-sig", keep_linebreaks=True):
            lines: list[Any] = table.column(0).to_pylist()
            yield from lines
    except UnicodeDecodeError:
        with file.open("rb") as opened:
            for number, line in enumerate(opened, start=1):
                _decoded(line, f"at line {number}")
        raise  # pragma: no cover - the file changed in between


def _stream(builder: str, files: Sequence[Path], rows: int, **options: Any) -> Iterator[pa.Table]:
    import datasets  # noqa: PLC0415 - seconds to import, and only this needs it

    names = [glob.escape(str(file.resolve())) for file in files]
    stream = datasets.load_dataset(builder, data_files=names, split="train", streaming=True, **options)
    yield from stream.with_format("arrow").iter(batch_size=rows)


def _parquet_blocks(files: Sequence[Path], rows: int) -> Iterator[dict[str, list[Any]]]:
    try:
        schema = pq.read_schema(files[0])
        for file in files:
            pq.read_metadata(file)  # a file that was cut off has no footer
    except pa.ArrowException:
        raise FeedError("expected a whole parquet file, got one that ends or breaks early") from None
    names = _wanted(schema.names)
    start = 0
    try:
        from datasets import Features  # noqa: PLC0415 - see `_stream`

        # not of all columns: those that are not read may have types that the library does not know
        features = Features.from_arrow_schema(pa.schema([schema.field(name) for name in names]))
        for table in _stream("parquet", files, rows, columns=names, features=features, batch_size=rows):
            yield {name: _values(name, table.column(name), start) for name in names}
            start += len(table)
    except FeedError:
        raise
    except (pa.ArrowException, ValueError, TypeError) as error:  # TypeError: of the library's casts
        raise FeedError(f"expected whole parquet files of one layout, got {first_line(error)}") from None


def _values(name: str, column: Any, start: int) -> list[Any]:
    try:
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            return _tuples(pc.list_flatten(column).to_pylist(), pc.list_value_length(column).to_pylist())
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        row = start + first_failing(column.combine_chunks(), lambda part: part.to_pylist())
        raise FeedError(f"{name}: expected text in UTF-8, got other bytes at row {row}") from None
    return values


def _tuples(items: list[Any], lengths: list[Any]) -> list[Any]:
    """Lists as tuples: many lists keep the garbage collector busy for longer than all the rest takes."""
    every = tuple(items)
    ends = itertools.accumulate(length or 0 for length in lengths)
    return [None if k is None else every[end - k : end] for k, end in zip(lengths, ends, strict=True)]


def _json_blocks(files: Sequence[Path], rows: int) -> Iterator[dict[str, list[Any]]]:
    """Ids are those of the first block; other columns may come and go, as a missing key is null."""
    numbered = ((i, line) for i, line in enumerate(_lines(files[0], rows), start=1) if line.strip())
    names: list[str] = []
    start = 0
    while part := [_json_row(line, number) for number, line in itertools.islice(numbered, rows)]:
        present = {name for row in part for name in row}
        names = names or _wanted(present)
        if "request_id" in present and "request_id" not in names:
            row = start + next(i for i, row in enumerate(part) if "request_id" in row)
            raise FeedError(f"request_id: expected in every row or in none, got the first at row {row}")
        optional = present - set(ID_COLUMNS)
        yield {name: [row.get(name) for row in part] for name in COLUMNS if name in optional | set(names)}
        start += len(part)


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FeedError(f"expected JSON, got {first_line(error)} at line {number}") from None
    if not isinstance(row, dict):
        raise FeedError(f"expected one JSON object per line, got {str(row)[:40]} at line {number}")
    return row


def _csv_blocks(files: Sequence[Path], rows: int) -> Iterator[dict[str, list[Any]]]:
    with _long_fields():
        reader = csv.reader(_lines(files[0], rows), strict=True)
        records = _records(reader)
        header = next(records, [])
        names = _wanted(header)
        while part := list(itertools.islice(records, rows)):
            columns = dict(zip(header, zip(*part, strict=True), strict=True))
            yield {name: [value or None for value in columns[name]] for name in names}


def _records(reader: Any) -> Iterator[list[str]]:
    width = 0
    try:
        for record in reader:
            width = width or len(record)
            if record and len(record) != width:
                raise FeedError(f"expected {width} fields, got {len(record)} at line {reader.line_num}")
            if record:
                yield record
    except csv.Error as error:
        raise FeedError(f"expected CSV, got {error} at line {reader.line_num}") from None


@contextmanager
def _long_fields() -> Iterator[None]:
    """Fields of any length; the limit of the csv module is the process's, so it is put back."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


_READERS: dict[str, Callable[[Sequence[Path], int], Iterator[dict[str, list[Any]]]]] = {
    ".parquet": _parquet_blocks,
    ".jsonl": _json_blocks,
    ".ndjson": _json_blocks,
    ".csv": _csv_blocks,
}


def _wanted(present: Iterable[str]) -> list[str]:
    """The columns to read, in one order whatever that of the file is."""
    listed = list(present)
    for name in COLUMNS:
        if listed.count(name) > 1:
            raise FeedError(f"{name}: expected one column of that name, got {listed.count(name)}")
    if not {"post_id", "id"} & set(listed):
        raise FeedError(f"expected a column post_id (or id), got {', '.join(sorted(listed))[:200]}")
    if not {"text", "urls"} & set(listed):
        raise FeedError(f"expected a column text or urls, got {', '.join(sorted(listed))[:200]}")
    return [name for name in COLUMNS if name in listed and not (name == "id" and "post_id" in listed)]


def _block(columns: dict[str, list[Any]], start: int) -> PostBlock:
    n = len(next(iter(columns.values())))
    ids = {
        "post_id" if name == "id" else name: _strings(name, columns[name], start)
        for name in ID_COLUMNS
        if name in columns
    }
    none: list[Any] = [None] * n
    text, language = (
        _strings(name, columns[name], start) if name in columns else none for name in ("text", "language")
    )
    urls = _links(columns["urls"], start) if "urls" in columns else none
    return PostBlock(ids, Content(text=text, language=language, urls=urls))


def _strings(name: str, values: list[Any], start: int) -> list[Any]:
    """Text as it is, integers and bytes as text; only ids may be integers and may not be null."""
    is_id = name in ID_COLUMNS
    if set(map(type, values)) - ({str} if is_id else {str, type(None)}):
        values = [_string(name, value, start + i) for i, value in enumerate(values)]
    for i, value in enumerate(() if _is_utf8(values) else values):
        _encodable(name, value, start + i)
    return values


def _string(name: str, value: Any, row: int) -> str | None:
    is_id = name in ID_COLUMNS
    if isinstance(value, bytes):
        return _decoded(value, f"at row {row}", f"{name}: ")
    if is_id and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if is_id and value is None:
        raise FeedError(f"{name}: expected a value, got null at row {row}")
    if value is not None and not isinstance(value, str):
        expected = "text or an integer" if is_id else "text"
        raise FeedError(f"{name}: expected {expected}, got {str(value)[:40]} at row {row}")
    return value


def _encodable(name: str, value: str | None, row: int) -> None:
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise FeedError(f"{name}: expected text in UTF-8, got {error.reason} at row {row}") from None


def _decoded(value: bytes, where: str, name: str = "") -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise FeedError(f"{name}expected text in UTF-8, got {error.reason} {where}") from None


def _links(values: list[Any], start: int) -> list[tuple[str, ...] | None]:
    found: list[Any] = [(value,) if isinstance(value, str | bytes) else value for value in values]
    for i, links in enumerate(found):
        if not isinstance(links, list | tuple | None):
            raise FeedError(f"urls: expected a list of links, got {str(links)[:40]} at row {start + i}")
    items = list(itertools.chain.from_iterable(filter(None, found)))
    if not (set(map(type, items)) <= {str} and _is_utf8(items)):
        found = [links and _checked_links(links, start + i) for i, links in enumerate(found)]
    return [tuple(links) if links else None for links in found]


def _checked_links(links: Iterable[Any], row: int) -> tuple[str, ...]:
    checked = []
    for link in links:
        if link is None:
            raise FeedError(f"urls: expected links, got null in the list at row {row}")
        checked.append(_string("urls", link, row) or "")
        _encodable("urls", checked[-1], row)
    return tuple(checked)


def _is_utf8(values: Iterable[str | None]) -> bool:
    try:
        "".join(filter(None, values)).encode()
    except UnicodeEncodeError:
        return False
    return True

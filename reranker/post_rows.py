"""Rows of files of posts as they came: parquet, JSON lines and CSV, in blocks.

The library `datasets` does the streaming (it is imported by the first read). It gives JSON lines and CSV as
lines of text and not as parsed rows, because its own parsers guess types, so that a text such as
"2020-01-01" would come back as a time, and name no row when one is bad.
"""

import bisect
import csv
import glob
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from reranker.bad_rows import Place, RowError
from reranker.columns import FeedError
from reranker.post_block import COLUMNS, ID_COLUMNS, Values, bad_value, decoded
from reranker.tables import first_line

LONGEST_FIELD = 2**31 - 1
_Note: TypeAlias = tuple[int, int, RowError | None]  # the first and the last line of a record of CSV


@dataclass(frozen=True)
class RawRows:
    """Rows as they came.

    Attributes:
        n: their number.
        columns: those that are there.
        place: of the row of an index.
        broken: by index, rows that are no rows; they hold a place in the columns, or there is no column.
    """

    n: int
    columns: Mapping[str, Values]
    place: Callable[[int], Place]
    broken: Mapping[int, RowError] = field(default_factory=dict)


def _lines(file: Path, rows: int, tolerant: bool) -> Iterator[str]:
    """The lines of a text file with their ends; a byte order mark is dropped.

    Where bad rows are tolerated, bytes that are not UTF-8 come as half characters, for `_check_bytes`.
    """
    if tolerant:
        with file.open(encoding="utf-8-sig", errors="surrogateescape") as opened:
            yield from opened
        return
    try:
        for table in _stream("text", [file], rows, encoding="utf-8-sig", keep_linebreaks=True):
            lines: list[Any] = table.column(0).to_pylist()
            yield from lines
    except UnicodeDecodeError:
        with file.open("rb") as read:
            for number, line in enumerate(read, start=1):
                decoded(line, f"at line {number}")
        raise  # pragma: no cover - the file changed in between


def _check_bytes(text: str, where: str) -> None:
    if not text.isascii():
        decoded(text.encode(errors="surrogateescape"), where)


def _stream(builder: str, files: Sequence[Path], rows: int, **options: Any) -> Iterator[pa.Table]:
    import datasets  # noqa: PLC0415 - seconds to import, and only this needs it

    names = [glob.escape(str(file.resolve())) for file in files]
    stream = datasets.load_dataset(builder, data_files=names, split="train", streaming=True, **options)
    yield from stream.with_format("arrow").iter(batch_size=rows)


def _parquet_rows(files: Sequence[Path], rows: int, _tolerant: bool) -> Iterator[RawRows]:
    try:
        schema = pq.read_schema(files[0])
        # a file that was cut off has no footer
        ends = list(itertools.accumulate(pq.read_metadata(file).num_rows for file in files))
    except pa.ArrowException:
        raise FeedError("expected a whole parquet file, got one that ends or breaks early") from None
    names = _wanted(schema.names)
    start = 0

    def place(i: int, *, of: int) -> Place:
        file = bisect.bisect_right(ends, of + i)
        return Place(files[file], "row", of + i - (ends[file - 1] if file else 0))

    try:
        from datasets import Features  # noqa: PLC0415 - see `_stream`

        # not of all columns: those that are not read may have types that the library does not know
        features = Features.from_arrow_schema(pa.schema([schema.field(name) for name in names]))
        for table in _stream("parquet", files, rows, columns=names, features=features, batch_size=rows):
            columns = {name: table.column(name) for name in names}
            yield RawRows(len(table), columns, partial(place, of=start))
            start += len(table)
    except (pa.ArrowException, ValueError, TypeError) as error:  # TypeError: of the library's casts
        raise FeedError(f"expected whole parquet files of one layout, got {first_line(error)}") from None


def _json_rows(files: Sequence[Path], rows: int, tolerant: bool) -> Iterator[RawRows]:
    """Ids are those of the first block; other columns may come and go, as a missing key is null."""
    file = files[0]
    lines = enumerate(_lines(file, rows, tolerant), start=1)
    numbered = ((number, line) for number, line in lines if line.strip())
    names: list[str] = []
    start = 0
    while part := list(itertools.islice(numbered, rows)):
        at = [(number, number) for number, _line in part]
        found, broken = _json_objects(part, tolerant)
        present = {name for row in found for name in row}
        if present or not broken:
            names = names or _wanted(present)
        if "request_id" in present and "request_id" not in names:
            for i, row in enumerate(found):
                if "request_id" in row:
                    broken[i] = RowError(
                        "request_id: expected in every row or in none",
                        "the first",
                        f"at row {start + i}",
                        "one after rows without it",
                    )
                    if not tolerant:
                        raise broken[i]
        optional = present - set(ID_COLUMNS)
        wanted = [name for name in COLUMNS if name in optional | set(names)]
        columns: dict[str, Values] = {name: [row.get(name) for row in found] for name in wanted}
        yield RawRows(len(part), columns, partial(_at_lines, file, at), broken)
        start += len(part)


def _json_objects(
    part: Iterable[tuple[int, str]], tolerant: bool
) -> tuple[list[dict[str, Any]], dict[int, RowError]]:
    """The objects, empty where the line holds none, and what is wrong with those lines by index."""
    found: list[dict[str, Any]] = []
    broken: dict[int, RowError] = {}
    for i, (number, line) in enumerate(part):
        try:
            if tolerant:
                _check_bytes(line, f"at line {number}")
            found.append(_json_row(line, number))
        except RowError as error:
            if not tolerant:
                raise
            broken[i] = error
            found.append({})
    return found, broken


def _json_row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RowError("expected JSON", first_line(error), f"at line {number}") from None
    if not isinstance(row, dict):
        raise bad_value("expected one JSON object per line", row, f"at line {number}")
    return row


def _at_lines(file: Path, lines: Sequence[tuple[int, int]], i: int) -> Place:
    first, last = lines[i]
    return Place(file, "line", first, last if last > first else None)


def _csv_rows(files: Sequence[Path], rows: int, tolerant: bool) -> Iterator[RawRows]:
    notes: list[_Note] = []
    with _long_fields():
        lines = _lines(files[0], rows, tolerant)
        records = _noted_records(lines, notes) if tolerant else _records(csv.reader(lines, strict=True))
        header = next(records, [])
        names = _wanted(header)
        while part := list(itertools.islice(records, rows)):
            columns = dict(zip(header, zip(*part, strict=True), strict=True))
            wanted: dict[str, Values] = {name: [value or None for value in columns[name]] for name in names}
            broken = {i: error for i, (*_, error) in enumerate(notes) if error is not None}
            spans = [(first, last) for first, last, _ in notes]
            notes.clear()
            yield RawRows(len(part), wanted, partial(_at_lines, files[0], spans), broken)


def _records(reader: Any) -> Iterator[list[str]]:
    width = 0
    try:
        for record in reader:
            width = width or len(record)
            if record and len(record) != width:
                raise RowError(f"expected {width} fields", str(len(record)), f"at line {reader.line_num}")
            if record:
                yield record
    except csv.Error as error:
        raise RowError("expected CSV", str(error), f"at line {reader.line_num}") from None


def _noted_records(lines: Iterable[str], notes: list[_Note]) -> Iterator[list[str]]:
    """The same records and empty ones in place of bad ones, each noted but for the header.

    Raises:
        RowError: the header is bad.
        FeedError: a quote is open where a bad row breaks off, so that nobody can tell where the next begins.
    """
    quotes = 0

    def counted() -> Iterator[str]:
        nonlocal quotes
        for line in lines:
            quotes += line.count('"')
            yield line

    reader = csv.reader(counted(), strict=True)
    records = _records(reader)
    header = next(records, [])
    _check_bytes(",".join(header), f"at line {reader.line_num}")
    yield header
    while True:
        before, quotes = reader.line_num, 0
        try:
            record = next(reader)
            if not record:
                continue
            where = f"at line {reader.line_num}"
            if len(record) != len(header):
                raise RowError(f"expected {len(header)} fields", str(len(record)), where)
            _check_bytes(",".join(record), where)
            notes.append((before + 1, reader.line_num, None))
            yield record
        except StopIteration:
            return
        except csv.Error as error:
            broken = RowError("expected CSV", str(error), f"at line {reader.line_num}")
            if quotes % 2:
                raise FeedError(f"{broken}, in a row whose end cannot be told, as a quote is open") from None
            notes.append((before + 1, reader.line_num, broken))
            yield [""] * len(header)
        except RowError as error:
            notes.append((before + 1, reader.line_num, error))
            yield [""] * len(header)


@contextmanager
def _long_fields() -> Iterator[None]:
    """Fields of any length; the limit of the csv module is the process's, so it is put back."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


READERS: dict[str, Callable[[Sequence[Path], int, bool], Iterator[RawRows]]] = {
    ".parquet": _parquet_rows,
    ".jsonl": _json_rows,
    ".ndjson": _json_rows,
    ".csv": _csv_rows,
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

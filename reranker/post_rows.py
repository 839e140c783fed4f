"""Rows of a file of posts as they came: parquet, JSON lines and CSV, in blocks, from a disk or a storage.

JSON lines and CSV are parsed by the standard library: other parsers guess types, so that a text such as
"2020-01-01" would come back as a time, and name no row when one is bad.
"""

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import pyarrow as pa

from reranker.bad_rows import Place, RowError
from reranker.columns import FeedError
from reranker.location import Location
from reranker.post_block import COLUMNS, ID_COLUMNS, Values, bad_value, decoded
from reranker.storage import parquet, stream
from reranker.tables import first_line

LONGEST_FIELD = 2**31 - 1
_Note: TypeAlias = tuple[int, int, RowError | None]  # the first and the last line of a record of CSV


@dataclass(frozen=True)
class RawRows:
    """Rows as they came.

    Attributes:
        n: their number.
        start: that of the first among the rows of the file.
        columns: those that are there.
        place: of the row of an index.
        broken: by index, rows that are no rows; they hold a place in the columns, or there is no column.
    """

    n: int
    start: int
    columns: Mapping[str, Values]
    place: Callable[[int], Place]
    broken: Mapping[int, RowError] = field(default_factory=dict)


def _lines(file: Location, tolerant: bool) -> Iterator[str]:
    """The lines of a text file with their ends; a byte order mark is dropped.

    Where bad rows are tolerated, bytes that are not UTF-8 come as half characters, for `_check_bytes`.
    """
    with io.TextIOWrapper(stream(file), encoding="utf-8-sig", errors="surrogateescape") as opened:
        for number, line in enumerate(opened, start=1):
            if not tolerant:
                _check_bytes(line, f"at line {number}")
            yield line


def _check_bytes(text: str, where: str) -> None:
    if not text.isascii():
        decoded(text.encode(errors="surrogateescape"), where)


def _parquet_rows(file: Location, rows: int, _tolerant: bool) -> Iterator[RawRows]:
    start = 0
    with parquet(file) as opened:
        names = _wanted(opened.schema_arrow.names)
        for group in range(opened.num_row_groups):  # one by one: a reader keeps what it has read
            for batch in opened.iter_batches(rows, row_groups=[group], columns=names):
                table = pa.Table.from_batches([batch])
                columns = {name: table.column(name) for name in names}
                yield RawRows(len(table), start, columns, partial(_at_row, file, start))
                start += len(table)


def _at_row(file: Location, start: int, i: int) -> Place:
    return Place(file, "row", start + i)


def _json_rows(file: Location, rows: int, tolerant: bool) -> Iterator[RawRows]:
    """Ids are those of the first block; other columns may come and go, as a missing key is null."""
    lines = enumerate(_lines(file, tolerant), start=1)
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
        yield RawRows(len(part), start, columns, partial(_at_lines, file, at), broken)
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


def _at_lines(file: Location, lines: Sequence[tuple[int, int]], i: int) -> Place:
    first, last = lines[i]
    return Place(file, "line", first, last if last > first else None)


def _csv_rows(file: Location, rows: int, tolerant: bool) -> Iterator[RawRows]:
    notes: list[_Note] = []
    start = 0
    with _long_fields():
        lines = _lines(file, tolerant)
        records = _noted_records(lines, notes) if tolerant else _records(csv.reader(lines, strict=True))
        header = next(records, [])
        names = _wanted(header)
        while part := list(itertools.islice(records, rows)):
            columns = dict(zip(header, zip(*part, strict=True), strict=True))
            wanted: dict[str, Values] = {name: [value or None for value in columns[name]] for name in names}
            broken = {i: error for i, (*_, error) in enumerate(notes) if error is not None}
            spans = [(first, last) for first, last, _ in notes]
            notes.clear()
            yield RawRows(len(part), start, wanted, partial(_at_lines, file, spans), broken)
            start += len(part)


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


READERS: dict[str, Callable[[Location, int, bool], Iterator[RawRows]]] = {
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

"""Files of rows as arrow tables: parquet, a directory of parquet, JSON lines and CSV.

A `Layout` says what the columns hold, because CSV has no types and JSON lines would take any text that
looks like a date for one. JSON lines are read by pyarrow; where that fails a slower pass finds the row.
"""

import io
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json

from reranker.columns import FeedError
from reranker.location import Location, Where
from reranker.storage import is_folder, parquet, parquet_files, read_bytes, stat, stream, unreadable

Array: TypeAlias = "pa.Array[Any]"
ChunkedArray: TypeAlias = "pa.ChunkedArray[Any]"
ColumnKind = Literal["id", "text", "number", "time", "flag", "links"]
Layout = Mapping[str, ColumnKind]

BLOCK_BYTES = 1 << 26
SUFFIXES = (".parquet", ".jsonl", ".ndjson", ".csv")
JSON_TYPES: dict[str, pa.DataType] = {
    "id": pa.string(),
    "text": pa.string(),
    "number": pa.float64(),
    "time": pa.string(),
}
EXPECTED = {
    "id": "text or an integer",
    "text": "text",
    "number": "a number",
    "time": "an ISO 8601 time as text",
    "flag": "true or false",
    "links": "a list of links as text",
}


def read_table(path: Where, layout: Layout) -> pa.Table:
    """The rows of a file, or of all .parquet files of a folder and below it in the order of their paths.

    Either may be a URL of an object store.

    Columns that the layout does not name are read too, with whatever type they have.

    Raises:
        FeedError: the file is missing, empty, cut off, of an unknown suffix or not in its format.
    """
    path = Location.of(path)
    try:
        found = stat(path)
        if is_folder(found):
            return _read_directory(path)
        if path.suffix.lower() not in SUFFIXES:
            raise FeedError(f'{path}: expected one of {", ".join(SUFFIXES)}, got "{path.suffix}"')
        if not found.size:
            if path.suffix.lower() in (".jsonl", ".ndjson"):  # no line is no row
                required = [name for name in ("request_id", "post_id", "kind") if name in layout]
                return pa.table({name: pa.array([], pa.string()) for name in required})
            raise FeedError(f"{path}: expected rows, got an empty file")
        if path.suffix.lower() == ".parquet":
            return _read_parquet(path)
        try:
            csv = path.suffix.lower() == ".csv"
            return _read_csv(read_bytes(path), layout) if csv else _read_jsonl(path, layout)
        except FeedError as error:
            raise FeedError(f"{path}: {error}") from None
    except OSError as error:
        raise unreadable(path, error, "a readable file") from error


def read_text(content: bytes, suffix: str, layout: Layout) -> pa.Table:
    """The rows of a .csv, .jsonl or .ndjson file whose content is in memory; nothing is written anywhere.

    Raises:
        FeedError: the content is not in its format.
    """
    return _read_csv(content, layout) if suffix == ".csv" else _read_jsonl(io.BytesIO(content), layout)


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, cut at 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def whole(column: ChunkedArray, kind: pa.DataType, *, safe: bool = True) -> Array:
    """The column in one piece and one type; text and bytes need a large type, which has no 2 GB limit."""
    chunks = column.cast(kind, safe=safe).chunks
    return pa.concat_arrays(chunks) if chunks else pa.array([], kind)


def first_failing(values: Array, convert: Callable[[Array], object]) -> int:
    """The first row that `convert` refuses, found by halving; there must be one."""
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(values.slice(low, middle - low))
        except (pa.ArrowException, UnicodeDecodeError):
            high = middle
        else:
            low = middle
    return low


def _read_parquet(path: Location) -> pa.Table:
    try:
        with parquet(path) as file:
            return file.read()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error, "a whole parquet file", "one that ends or breaks early") from error


def _read_directory(path: Location) -> pa.Table:
    files, tables, schema = parquet_files(path), list[pa.Table](), pa.schema([])
    for file in files:
        tables.append(_read_parquet(file))
        try:
            schema = pa.unify_schemas([schema, tables[-1].schema], promote_options="permissive")
        except pa.ArrowException as error:
            raise FeedError(f"{file}: expected files of one layout, got {first_line(error)}") from None
    return pa.concat_tables(tables, promote_options="permissive")


def _read_csv(content: bytes, layout: Layout) -> pa.Table:
    if np.count_nonzero(np.frombuffer(content, np.uint8) == ord('"')) % 2:
        raise FeedError("expected every quote to be closed, got an odd number of quotes")
    read = pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    try:
        # two steps, as types can be asked for only by name: all columns are then read as bytes
        names = pa.csv.open_csv(io.BytesIO(content), read, parse).schema.names
        convert = pa.csv.ConvertOptions(
            column_types={name: pa.binary() for name in names},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        table = pa.csv.read_csv(io.BytesIO(content), read, parse, convert)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise FeedError(f"expected CSV in UTF-8, got {first_line(error)}") from None
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FeedError(f"{twice[0]}: expected one column of that name, got {names.count(twice[0])}")
    return pa.table({name: _csv_column(name, table.column(name), layout) for name in names})


def _csv_column(name: str, column: ChunkedArray, layout: Layout) -> Array:
    text = whole(column, pa.large_binary())
    steps: list[tuple[str, Callable[[Array], Array]]] = [
        ("text in UTF-8", lambda values: values.cast(pa.large_string()))
    ]
    kind = layout.get(name, "number" if name.startswith("attr_") else None)
    if kind == "number":
        steps.append(("a number", lambda values: pc.utf8_trim_whitespace(values).cast(pa.float64())))
    elif kind == "flag":
        steps.append(("true or false", lambda values: values.cast(pa.bool_())))
    for expected, convert in steps:
        try:
            text = convert(text)
        except pa.ArrowException:
            row = first_failing(text, convert)
            got = text[row].as_py()[:40]
            raise FeedError(f"{name}: expected {expected}, got {got!r} at row {row}") from None
    return text


def _read_jsonl(source: Location | io.BytesIO, layout: Layout) -> pa.Table:
    schema = pa.schema([(name, JSON_TYPES[kind]) for name, kind in layout.items() if kind in JSON_TYPES])
    try:
        with nullcontext(source) if isinstance(source, io.BytesIO) else stream(source) as opened:
            table = pa.json.read_json(
                opened,
                read_options=pa.json.ReadOptions(block_size=BLOCK_BYTES),
                parse_options=pa.json.ParseOptions(explicit_schema=schema),
            )
        names = list(table.column_names)
    except (pa.ArrowException, UnicodeDecodeError):
        content = read_bytes(source) if isinstance(source, Location) else source.getvalue()
        return _read_jsonl_slowly(content, layout)
    # a column of the schema that no row has comes back as nulls
    return table.select([name for name in names if table.column(name).null_count < len(table)])


def json_object(line: bytes, number: int) -> dict[str, Any]:
    """The object on a line of JSON lines.

    Raises:
        FeedError: the line, whose number the message tells, holds none.
    """
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise FeedError(f"expected text in UTF-8, got {error.reason} at line {number}") from None
    except (ValueError, RecursionError) as error:
        raise FeedError(f"expected JSON, got {first_line(error)} at line {number}") from None
    if not isinstance(row, dict):
        raise FeedError(f"expected one JSON object per line, got {str(row)[:40]} at line {number}")
    return row


def _read_jsonl_slowly(content: bytes, layout: Layout) -> pa.Table:
    """JSON lines row by row: for integer ids and true / false as numbers, or to find the row at fault."""
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        row = json_object(line, number)
        rows.append({name: _json_value(name, value, layout, len(rows)) for name, value in row.items()})
    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            raise FeedError(f"{name}: expected values of one type, got {first_line(error)}") from None
    return pa.table(columns)


def _is_links(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(link, str) for link in value)
    )


FITS: dict[str, Callable[[Any], bool]] = {
    "id": lambda value: isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)),
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float),
    "time": lambda value: isinstance(value, str),
    "flag": lambda value: isinstance(value, bool),
    "links": _is_links,
}


def _json_value(name: str, value: Any, layout: Layout, row: int) -> Any:
    kind = layout.get(name, "number" if name.startswith("attr_") else None)
    if value is None or kind is None:
        return value
    if not FITS[kind](value):
        raise FeedError(f"{name}: expected {EXPECTED[kind]}, got {json.dumps(value)[:40]} at row {row}")
    if kind == "number":
        try:
            return float(value)
        except OverflowError:
            raise FeedError(f"{name}: expected a finite number, got {str(value)[:40]} at row {row}") from None
    if kind == "links":
        return [value] if isinstance(value, str) else value
    return str(value) if kind == "id" else value

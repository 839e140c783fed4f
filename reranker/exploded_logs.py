"""Logs with a row per candidate, the form that warehouses keep, as impression logs.

Columns have the names of the packed log (docs/evaluation.md). `position` is the slot, from 0, in which the
candidate was shown, null where it was not. A table is read in pieces, so its size does not matter; the rows
of a request must stand together, which is checked, as a request that is cut in two would be two requests.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from reranker.columns import BoolArray, FeedError, IntArray, StringColumn
from reranker.exploration import request_keys
from reranker.impression_files import log_files
from reranker.impression_layout import KEY as PACKED
from reranker.impression_layout import OPTIONAL, PREFIX
from reranker.impressions import FAMILIES, PER, ImpressionLog
from reranker.location import Location, Where
from reranker.storage import parquet, unreadable
from reranker.tables import Array, first_line

EXPLODED_SCHEMA = 1
KEY = b"reranker.exploded"
ROWS_AT_ONCE = 1 << 20

_NEEDED = ("request_id", "user", "item_id", "score", "position", "log_prefix_propensity")
_KIND: dict[str, tuple[str, pa.DataType]] = {
    "text": ("text", pa.string()),
    "integer": ("integers", pa.int64()),
    "number": ("numbers", pa.float64()),
    "single": ("numbers", pa.float32()),
    "flag": ("true or false", pa.bool_()),
    "time": ("times", pa.timestamp("us")),
}
_KIND_OF = {
    **dict.fromkeys(("request_id", "user", "segments"), "text"),
    **dict.fromkeys(("item_id", "position", "from_rank", "n_total", "groups"), "integer"),
    **dict.fromkeys(("score", "log_prefix_propensity", "temperature"), "number"),
    **dict.fromkeys(("p_action", "harm", "action", "dwell_ms"), "single"),
    "viewed": "flag",
    "time": "time",
}


def read_exploded(path: Where, *, rows_at_once: int = ROWS_AT_ONCE) -> Iterator[ImpressionLog]:
    """The log that a table of candidates holds, about `rows_at_once` rows at a time.

    Args:
        path: a .parquet file, or a directory of such, read as one table in the order of their paths; or a URL
            of either.
        rows_at_once: how many rows are held, beside a request that is longer.

    Raises:
        FeedError: a file is missing, cut off, of another schema or already packed; a column is missing,
            unknown or of another type; the rows of a request stand apart or disagree; positions have gaps.
    """
    path = Location.of(path)
    keys: list[Any] = []
    waiting: pa.Table | None = None
    first = 0  # number of the first row that waits, over all files
    for batch in _batches(log_files(path), rows_at_once):
        waiting = batch if waiting is None else pa.concat_tables([waiting, batch])
        if len(waiting) < rows_at_once:
            continue
        ids = waiting.column("request_id").combine_chunks()
        other = np.flatnonzero(pc.not_equal(ids, ids[-1]).fill_null(True).to_numpy(zero_copy_only=False))
        cut = int(other[-1]) + 1 if other.size else 0  # the last request may go on in the next batch
        if cut:
            yield _log_of(waiting.slice(0, cut), first, path, keys)
            waiting, first = waiting.slice(cut), first + cut
    if waiting is None or not len(waiting):
        raise FeedError(f"{path}: expected rows of candidates, got none")
    yield _log_of(waiting, first, path, keys)
    every = np.sort(np.concatenate(keys))
    if (every[1:] == every[:-1]).any():
        raise FeedError(f"{path}: expected the rows of a request together, got a request in several places")


def _batches(files: list[Location], rows_at_once: int) -> Iterator[pa.Table]:
    names: list[str] | None = None
    for file in files:
        try:
            with parquet(file) as opened:
                schema = opened.schema_arrow
                _check_schema(schema, file)
                if names is not None and set(schema.names) != set(names):
                    differ = sorted(set(schema.names) ^ set(names))[0]
                    raise FeedError(f"{file}: expected the columns of {files[0]}, got another: {differ}")
                names = names or list(schema.names)
                for group in range(opened.num_row_groups):  # one by one: a reader keeps what it has read
                    for batch in opened.iter_batches(min(rows_at_once, 1 << 17), row_groups=[group]):
                        yield _typed(pa.Table.from_batches([batch]).select(names), file)
        except FeedError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise unreadable(file, error, "a whole parquet file") from None


def _check_schema(schema: pa.Schema, file: Location) -> None:
    metadata = schema.metadata or {}
    if PACKED in metadata:
        raise FeedError(
            f"{file}: expected a row per candidate, got an impression log, which is packed already"
        )
    if KEY in metadata:  # tables of others have no such key: their columns say what they are
        try:
            version = json.loads(metadata[KEY]).get("schema")
        except (ValueError, AttributeError):
            version = None
        if version != EXPLODED_SCHEMA:
            raise FeedError(f"{file}: expected exploded schema {EXPLODED_SCHEMA}, got {version!r}")
    for name in _NEEDED:
        if name not in schema.names:
            raise FeedError(f"{file}: expected a column {name}, got {', '.join(schema.names)}")
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise FeedError(f"{file}: {name}: expected one such column, got {schema.names.count(name)}")
        _field_of(name, file)


def _field_of(name: str, where: object) -> tuple[str, str]:
    """The field of `ImpressionLog` that a column is for, and its key in a family."""
    if name in _NEEDED or name in OPTIONAL:
        return name, ""
    for family, prefix in PREFIX.items():
        if name.startswith(prefix) and name != prefix:
            return family, name.removeprefix(prefix)
    known = ", ".join((*_NEEDED, *OPTIONAL, *(f"{prefix}*" for prefix in PREFIX.values())))
    raise FeedError(f"{where}: expected columns of {known}, got {name}")


def _typed(table: pa.Table, file: Location) -> pa.Table:
    columns: dict[str, Any] = {}
    for name in table.column_names:
        said, kind = _KIND[_KIND_OF[_field_of(name, file)[0]]]
        column = table.column(name)
        try:
            columns[name] = column.cast(kind) if _is_alike(column.type, kind) else None
        except pa.ArrowException as error:
            raise FeedError(f"{file}: {name}: expected {said}, got {first_line(error)}") from None
        if columns[name] is None:
            raise FeedError(f"{file}: {name}: expected {said}, got {column.type}")
    return pa.table(columns)


def _is_alike(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast is a matter of width; text is not taken for numbers, nor the other way round."""
    if pa.types.is_dictionary(found):
        found = found.value_type
    if pa.types.is_null(found):
        return True
    numbers: Callable[[pa.DataType], bool] = pa.types.is_integer
    if pa.types.is_string(wanted):
        return pa.types.is_string(found) or pa.types.is_large_string(found)
    if pa.types.is_floating(wanted):
        return pa.types.is_floating(found) or numbers(found)
    if pa.types.is_integer(wanted):
        return numbers(found)
    return pa.types.is_boolean(found) if pa.types.is_boolean(wanted) else pa.types.is_timestamp(found)


def _log_of(table: pa.Table, first: int, path: Location, keys: list[Any]) -> ImpressionLog:
    """The requests of whole rows; `first` is the number of the first row, for errors."""
    column = {name: table.column(name).combine_chunks() for name in table.column_names}
    try:
        offsets = _offsets(column["request_id"], first)
        slate, slots = _slate(column["position"], offsets, first)
        found: dict[str, Any] = {family: {} for family in FAMILIES}
        for name, values in column.items():
            field, key = _field_of(name, path)
            if field == "position":
                continue
            per = PER.get(field) or FAMILIES[field]
            if per == "n":
                taken = _of_requests(name, values, offsets, first)
            elif per == "s":
                taken = _of_slots(name, values, slate, first)
            else:
                taken = _numbers(name, values, field, first)
            if key:
                found[field][key] = taken
            else:
                found[field] = taken
        log = ImpressionLog(offsets=offsets, slot_offsets=slots, slate=slate, **found)
    except FeedError as error:
        raise FeedError(f"{path}: {error}") from None
    keys.append(request_keys(log.request_id.values)[log.request_id.codes])
    return log


def _offsets(ids: Array, first: int) -> IntArray:
    _refuse("request_id", ids.is_null().to_numpy(zero_copy_only=False), "a value, got null", first)
    codes = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    starts = np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
    again = np.ones(len(starts), dtype=np.bool_)
    again[np.unique(codes[starts], return_index=True)[1]] = False
    if again.any():
        row = int(starts[np.flatnonzero(again)[0]])
        got = f"{ids[row].as_py()!r} again at row {first + row}"
        raise FeedError(f"request_id: expected the rows of a request together, got {got}")
    return np.concatenate((starts, [len(codes)])).astype(np.int64)


def _slate(position: Array, offsets: IntArray, first: int) -> tuple[IntArray, IntArray]:
    """(s,) the rows that were shown, from the top, request by request, and (n + 1,) the slots of each."""
    shown = position.is_valid().to_numpy(zero_copy_only=False)
    place = position.fill_null(-1).to_numpy(zero_copy_only=False)
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    rows = np.flatnonzero(shown)
    slate = rows[np.lexsort((place[rows], request[rows]))].astype(np.int64)
    counts = np.bincount(request[rows], minlength=len(offsets) - 1)
    slots = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    expected = np.arange(len(slate)) - np.repeat(slots[:-1], counts)
    wrong = place[slate] != expected
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise FeedError(
            f"position: expected each of 0, 1, 2, ... once in a request, got {place[slate[at]]} "
            f"where {expected[at]} is missing at row {first + int(slate[at])}"
        )
    return slate, slots


def _of_requests(name: str, values: Array, offsets: IntArray, first: int) -> Any:
    codes: Any = values.dictionary_encode()
    code = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
    own = code[offsets[:-1]]
    _refuse(name, code != np.repeat(own, np.diff(offsets)), "one value in a request, got another", first)
    if pa.types.is_string(values.type):
        return StringColumn(own, tuple(codes.dictionary.to_pylist()))
    taken = values.take(offsets[:-1])
    if pa.types.is_integer(values.type):
        _refuse(name, (code == -1), "an integer, got null", first)
    numbers = taken.to_numpy(zero_copy_only=False)
    return numbers.astype("datetime64[us]") if pa.types.is_timestamp(values.type) else np.array(numbers)


def _of_slots(name: str, values: Array, slate: IntArray, first: int) -> Any:
    """(s,) values of the rows that were shown; what is said of other rows would be lost and is refused."""
    hidden = np.ones(len(values), dtype=np.bool_)
    hidden[slate] = False
    is_flag = pa.types.is_boolean(values.type)
    said = values.fill_null(False if is_flag else 0).to_numpy(zero_copy_only=False) != 0
    _refuse(name, hidden & said, "nothing where position is null, got a value", first)
    if is_flag or name.startswith(PREFIX["action"]):
        unknown = values.is_null().to_numpy(zero_copy_only=False)
        _refuse(name, unknown & ~hidden, "a value where position is given, got null", first)
    return values.take(slate).to_numpy(zero_copy_only=False).copy()


def _numbers(name: str, values: Array, field: str, first: int) -> Any:
    if field == "groups":
        return values.fill_null(-1).to_numpy(zero_copy_only=False).copy()
    if field == "item_id":
        unknown = values.is_null().to_numpy(zero_copy_only=False)
        _refuse(name, unknown, "an integer, got null", first)
    return values.to_numpy(zero_copy_only=False).copy()


def _refuse(name: str, wrong: BoolArray, expected: str, first: int) -> None:
    if wrong.any():
        raise FeedError(f"{name}: expected {expected} at row {first + int(np.flatnonzero(wrong)[0])}")

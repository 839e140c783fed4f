"""Feeds and interactions from files, arrow tables, pandas data frames and datasets.

One row per candidate, in any order of requests: docs/feed-schema.md has the columns. Text becomes codes by
arrow's dictionary encoding, so no Python loop runs over rows, only over distinct strings. Messages
count rows from 0, without a CSV's header.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reranker.assembly import (
    CODE_FIELDS,
    INTERACTION_FIELDS,
    INTERACTION_FLAGS,
    INTERACTION_TIMES,
    NUMBER_FIELDS,
    STRING_FIELDS,
    TIME_FIELDS,
    feed_from_columns,
    interactions_from_columns,
)
from reranker.columns import BoolArray, FeedError, FloatArray, StringColumn, StringLists, closest
from reranker.feed import Feed
from reranker.interactions import Interactions
from reranker.location import Location, Where
from reranker.signals import SIGNAL_NAMES, SignalKind
from reranker.tables import (
    Array,
    ChunkedArray,
    ColumnKind,
    Layout,
    first_failing,
    first_line,
    read_table,
    whole,
)

ID_FIELDS = frozenset(("request_id", "user", "post_id", "parent_id", "author", "publisher", "actor"))
PROBABILITY_NAMES = tuple(f"p_{name}" for name in SIGNAL_NAMES)
ZONED = r"\d{2}:\d{2}.*(Z|[+-]\d{2}(:?\d{2})?)$"


def _text_kind(name: str) -> ColumnKind:
    return "id" if name in ID_FIELDS else "text"


FEED_LAYOUT: Layout = {
    **{name: _text_kind(name) for name in (*sorted(STRING_FIELDS), *CODE_FIELDS)},
    **dict.fromkeys((*sorted(NUMBER_FIELDS), *SIGNAL_NAMES, *PROBABILITY_NAMES), "number"),
    **dict.fromkeys(sorted(TIME_FIELDS), "time"),
    "urls": "links",
}
INTERACTION_LAYOUT: Layout = {
    **{name: _text_kind(name) for name in INTERACTION_FIELDS},
    **dict.fromkeys(INTERACTION_FLAGS, "flag"),
    **dict.fromkeys(INTERACTION_TIMES, "time"),
}


@dataclass(frozen=True, eq=False)
class Numbers:
    """(n,) numbers of a column, 0 where null, and where that is."""

    values: FloatArray
    null: BoolArray


def read_feed(path: Where, *, interactions: Interactions | Where | None = None) -> Feed:
    """The feed in a .parquet, .jsonl, .ndjson or .csv file, or in a directory of .parquet files.

    Args:
        path: the file, or its URL in an object store; a directory's files are joined in the order of their
            names.
        interactions: single acts on the posts, or the file that holds them.

    Raises:
        FeedError: the file cannot be read, or a column or value in it is bad; the message has the file, the
            column, the row from 0, what was expected and what was found.
    """
    acts = read_interactions(interactions) if isinstance(interactions, Where) else interactions
    path = Location.of(path)
    table = read_table(path, FEED_LAYOUT)
    try:
        return feed_from_arrow(table, acts)
    except FeedError as error:
        raise FeedError(f"{path}: {error}") from None


def read_interactions(path: Where) -> Interactions:
    """The single acts in a file, one row each, in the formats of `read_feed`.

    Raises:
        FeedError: as `read_feed`.
    """
    path = Location.of(path)
    table = read_table(path, INTERACTION_LAYOUT)
    try:
        return interactions_from_arrow(table)
    except FeedError as error:
        raise FeedError(f"{path}: {error}") from None


def feed_from(source: Any, interactions: Any = None) -> Feed:
    """A feed from a path or URL, an arrow table, a pandas or polars data frame, or a `datasets.Dataset`.

    Interactions come in any of these forms too.

    NaN in a pandas column is a null, as pandas has no other; everywhere else NaN is bad input.

    Raises:
        FeedError: a column or value is bad.
        TypeError: the source is of another kind.
    """
    if isinstance(source, Feed):
        return source
    if isinstance(interactions, Where):
        interactions = read_interactions(interactions)
    elif interactions is not None and not isinstance(interactions, Interactions):
        interactions = interactions_from_arrow(_arrow_table(interactions))
    if isinstance(source, Where):
        return read_feed(source, interactions=interactions)
    return feed_from_arrow(_arrow_table(source), interactions)


def _arrow_table(source: Any) -> pa.Table:
    """A table from what has one inside, told by what it can do and not by importing its library."""
    if isinstance(source, pa.Table):
        return source
    if hasattr(source, "iloc") and hasattr(source, "columns"):  # pandas
        try:
            return pa.Table.from_pandas(source, preserve_index=False)
        except (pa.ArrowException, TypeError) as error:
            raise FeedError(f"expected columns of one type each, got {first_line(error)}") from None
    if hasattr(source, "with_format") and isinstance(getattr(source, "num_rows", None), int):  # datasets
        table: pa.Table = source.with_format("arrow")[:]
        return table
    if hasattr(source, "__arrow_c_stream__"):
        return pa.table(source)
    raise TypeError(
        f"feed: expected a path, an arrow table, a data frame or one split of a dataset, got {type(source)}"
    )


def feed_from_arrow(table: pa.Table, interactions: Interactions | None = None) -> Feed:
    """A feed from a flat table, one row per candidate.

    Signals are counts under their own names or predicted probabilities as `p_like`, never both.

    Raises:
        FeedError: an unknown column, a bad value, or counts beside probabilities.
    """
    names = table.column_names
    _check_columns(names)
    counts = [name for name in names if name in SIGNAL_NAMES]
    probabilities = [name for name in names if name in PROBABILITY_NAMES]
    if counts and probabilities:
        raise FeedError(
            f"{probabilities[0]}: expected counts or probabilities, got it beside the count {counts[0]}; "
            "a feed holds one kind"
        )
    kind: SignalKind = "probabilities" if probabilities else "counts"
    columns: dict[str, Any] = {}
    null: dict[str, BoolArray] = {}
    for name in names:
        values = column_from_arrow(name, table.column(name), FEED_LAYOUT.get(name, "number"))
        key = name.removeprefix("p_") if name in probabilities else name
        if isinstance(values, Numbers):
            columns[key], null[key] = values.values, values.null
        else:
            columns[key] = values
    return feed_from_columns(columns, kind=kind, null=null, interactions=interactions)


def interactions_from_arrow(table: pa.Table) -> Interactions:
    """Single acts from a flat table, one row each.

    Raises:
        FeedError: an unknown column or a bad value.
    """
    columns: dict[str, Any] = {}
    for name in table.column_names:
        if name not in INTERACTION_LAYOUT:
            raise FeedError(f'interactions: unknown column "{name}"{closest(name, INTERACTION_FIELDS)}')
        columns[name] = column_from_arrow(name, table.column(name), INTERACTION_LAYOUT[name])
    return interactions_from_columns(columns)


def _check_columns(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise FeedError(f"{name}: expected one column of that name, got {names.count(name)}")
        if name not in FEED_LAYOUT and not (name.startswith("attr_") and name != "attr_"):
            hint = closest(name, tuple(FEED_LAYOUT))
            raise FeedError(f'unknown column "{name}"{hint}; a number of your own is named "attr_{name}"')


def column_from_arrow(name: str, column: ChunkedArray, kind: ColumnKind) -> Any:
    """A column of a table as numpy: `StringColumn`, `Numbers`, times, flags or `StringLists` by its kind.

    Raises:
        FeedError: the column's type is another, or a value in it is bad.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    convert = {"number": _numbers, "time": _times, "flag": _flags, "links": _links}.get(kind)
    return convert(name, column) if convert else _strings(name, column, integers=kind == "id")


def _is_text(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(test(kind) for test in tests)


def _is_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _to_utf8(values: Array) -> Array:
    return values.cast(pa.large_binary()).cast(pa.large_string())


def _strings(name: str, column: ChunkedArray, *, integers: bool) -> StringColumn:
    if len(column) == 0:  # an empty column of any type, as an empty data frame has
        return StringColumn.null(0)
    readable = _is_text(column.type) or _is_bytes(column.type)
    if not readable and not (integers and pa.types.is_integer(column.type)):
        raise FeedError(f"{name}: expected text{' or integers' * integers}, got a column of {column.type}")
    values = whole(column, pa.large_binary() if _is_bytes(column.type) else pa.large_string())
    try:
        encoded = (_to_utf8(values) if _is_bytes(column.type) else values).dictionary_encode()
        distinct: tuple[Any, ...] = tuple(encoded.dictionary.to_pylist())
    except (pa.ArrowException, UnicodeDecodeError):
        row = first_failing(values, _to_utf8)
        got = values.slice(row, 1).cast(pa.large_binary())[0].as_py()[:40]
        raise FeedError(f"{name}: expected text in UTF-8, got {got!r} at row {row}") from None
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return StringColumn(codes.astype(np.int32), distinct)


def _numbers(name: str, column: ChunkedArray) -> Numbers:
    kind = column.type
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    if not pa.types.is_null(kind) and not any(test(kind) for test in tests):
        raise FeedError(f"{name}: expected numbers, got a column of {kind}{_example(column)}")
    values = whole(column, pa.float64(), safe=False)
    null = values.is_null().to_numpy(zero_copy_only=False)
    return Numbers(values.fill_null(0.0).to_numpy(zero_copy_only=False), null)


def _example(column: ChunkedArray) -> str:
    """The first value, for a message about the wrong type."""
    for row, value in enumerate(column):
        if value.is_valid:
            return f", {str(value)[:40]!r} at row {row}"
    return ""


def _times(name: str, column: ChunkedArray) -> NDArray[np.datetime64]:
    kind, micros = column.type, pa.timestamp("us")
    if _is_text(kind):
        values = whole(column, pa.large_string())
        try:
            return _to_numpy_times(_parse_times(values))
        except pa.ArrowException:
            row = first_failing(values, _parse_times)
            got = str(values[row].as_py())[:40]
            raise FeedError(f"{name}: expected an ISO 8601 time, got {got!r} at row {row}") from None
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise FeedError(f"{name}: expected times or ISO 8601 text, got a column of {kind}{_example(column)}")
    finer = pa.types.is_timestamp(kind) and kind.unit == "ns"
    try:
        return _to_numpy_times(whole(column, micros, safe=not finer))
    except pa.ArrowException:
        row = first_failing(whole(column, kind), lambda values: values.cast(micros))
        raise FeedError(f"{name}: expected a time that fits in microseconds, got none at row {row}") from None


def _parse_times(values: Array) -> Array:
    """Times in UTC; those without a zone are taken as UTC already."""
    zoned = pc.match_substring_regex(values, ZONED)
    none = pa.scalar(None, values.type)
    with_zone = pc.if_else(zoned, values, none).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    return pc.coalesce(with_zone, pc.if_else(zoned, none, values).cast(pa.timestamp("us")))


def _to_numpy_times(values: Array) -> NDArray[np.datetime64]:
    return values.to_numpy(zero_copy_only=False).astype("datetime64[us]")


def _flags(name: str, column: ChunkedArray) -> BoolArray:
    """True where the flag is set; null is False."""
    if not (pa.types.is_boolean(column.type) or pa.types.is_null(column.type)):
        raise FeedError(f"{name}: expected true or false, got a column of {column.type}{_example(column)}")
    return whole(column, pa.bool_()).fill_null(False).to_numpy(zero_copy_only=False)


def _links(name: str, column: ChunkedArray) -> StringLists:
    """The links of each row: from lists, or from text that is one link."""
    kind = column.type
    if _is_text(kind):
        links = _strings(name, column, integers=False)
        present = ~links.is_null
        return StringLists(_offsets(present), links.take(np.flatnonzero(present)))
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not nested or not _is_text(kind.value_type):
        raise FeedError(f"{name}: expected lists of text or text, got a column of {kind}{_example(column)}")
    lists: Any = whole(column, pa.large_list(pa.large_string()))
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False)
    items = _strings(name, pa.chunked_array([lists.flatten()]), integers=False)
    if items.is_null.any():
        item = int(np.flatnonzero(items.is_null)[0])
        row = int(np.searchsorted(_offsets(lengths), item, side="right")) - 1
        raise FeedError(f"{name}: expected links, got null in the list at row {row}")
    return StringLists(_offsets(lengths), items)


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)

"""Impression logs as parquet: one request per row, its candidates packed into one value per column.

A column of candidates holds a binary value per request, little-endian numbers one after another, so that
reading a row group costs one `frombuffer` per column and copies nothing; a table with one row per candidate
reads many times slower. The numbers of a request may be few or many: nothing is padded. docs/evaluation.md
has the columns. Packed columns are not compressed: probabilities hardly shrink, and it would cost the speed.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from reranker.columns import FeedError, IntArray, StringColumn
from reranker.impression_codes import code_table, encode
from reranker.impression_layout import LogColumn, LogLayout, ValueType, read_layout
from reranker.impressions import FAMILIES, ImpressionLog, Values
from reranker.location import Location, Where
from reranker.storage import is_folder, parquet, parquet_files, stat, unreadable
from reranker.tables import Array
from reranker.writing import atomic

ROWS_PER_GROUP = 65_536
CANDIDATES_PER_GROUP = 1 << 22  # about 300 MB with 14 columns of float32


def write_impressions(
    logs: Iterable[ImpressionLog],
    path: str | Path,
    *,
    values: ValueType = "float32",
    n_candidates: int | None = None,
) -> None:
    """Write logs, one after another, as one .parquet file; they may come from an iterator, and hold little.

    The file appears whole or not at all. At most some 8 million candidates are held at a time. A short last
    row group joins the one before it, so that no batch of the reader is too small to judge.

    Args:
        logs: all with the same columns.
        path: ends in .parquet.
        values: how p_action and harm are stored, see `LogLayout`; of the floats float32 is the faster one to
            read, and uint8 a quarter of it in size, which `eval.packed` evaluates as it is.
        n_candidates: where every request has as many: such columns are read faster.

    Raises:
        FeedError: the name ends otherwise, there is no log, a log has other columns than the first, or a
            request another number of candidates.
    """
    if Path(path).suffix.lower() != ".parquet":
        raise FeedError(f'{path}: expected a name that ends in .parquet, got "{Path(path).suffix}"')
    if values not in get_args(ValueType):
        raise FeedError(f"values: expected one of {get_args(ValueType)}, got {values!r}")
    waiting = iter(logs)
    first = next(waiting, None)
    if first is None:
        raise FeedError(f"{path}: expected at least one log, got none")
    if n_candidates is not None and not 1 <= n_candidates < 2**24:
        raise FeedError(f"n_candidates: expected a number from 1, got {n_candidates}")
    layout = LogLayout.of(first, values, n_candidates)
    columns = list(layout.columns())
    options: dict[str, Any] = {
        "compression": {column.name: "zstd" if column.per == "n" else "none" for column in columns},
        "use_dictionary": [one.name for one in columns if one.kind == "text" and one.field != "request_id"],
        "write_statistics": False,
    }
    with atomic(path) as temporary, pq.ParquetWriter(temporary, layout.schema(), **options) as file:
        for group in _groups(_pieces(first, waiting, layout)):
            file.write_table(pa.concat_tables(group), row_group_size=1 << 30)


def read_impressions(path: Where, like: LogLayout | None = None) -> Iterator[ImpressionLog]:
    """The log, a row group at a time (about 64 thousand requests), each checked by its constructor.

    Only one group is held. float16 comes back as float32. A request that is in two groups is not seen here;
    `reranker audit validate` looks for it.

    Args:
        path: a .parquet file, or a folder with such in it or below, in the order of their paths; or a URL of
            either.
        like: the layout whose columns every file must have; None stands for that of the first.

    Raises:
        FeedError: a file is missing, cut off, of another schema, or what is logged cannot be.
    """
    for file in log_files(path):
        layout = read_layout(file)
        like = like or layout
        check_alike(file, layout, like)
        with parquet(file) as opened:
            for group in range(opened.num_row_groups):
                try:
                    log = _log_of(opened.read_row_group(group, use_threads=False), layout)
                except (pa.ArrowException, OSError) as error:
                    raise unreadable(file, error, "a whole parquet file") from None
                except FeedError as error:
                    raise FeedError(f"{file}: {error}") from None
                yield log


def log_files(path: Where) -> list[Location]:
    """The files of a log.

    Raises:
        FeedError: there is none, or the storage does not tell.
    """
    where = Location.of(path)
    return parquet_files(where) if is_folder(stat(where)) else [where]


def check_alike(file: Location, layout: LogLayout, like: LogLayout) -> None:
    """That a file of a log has the columns of the first; how it stores the numbers is its own matter.

    Raises:
        FeedError: it has others.
    """
    for family in ("optional", *FAMILIES):
        expected, got = (sorted(getattr(one, family)) for one in (like, layout))
        if got != expected:
            names = [", ".join(names) or "none" for names in (expected, got)]
            raise FeedError(f"{file}: {family}: expected {names[0]} as in the first file, got {names[1]}")


def _pieces(
    first: ImpressionLog, others: Iterator[ImpressionLog], layout: LogLayout
) -> Iterator[tuple[pa.Table, int]]:
    """Tables of at most a row group, and how many candidates each has."""
    log: ImpressionLog | None = first
    schema, number = layout.schema(), 0
    while log is not None:
        found = LogLayout.of(log, layout.values)
        for name in ("optional", *FAMILIES):
            expected, got = getattr(layout, name), getattr(found, name)
            if got != expected:
                raise FeedError(f"log {number}: {name}: expected {expected} as in the first log, got {got}")
        other = np.flatnonzero(np.diff(log.offsets) != (layout.n_candidates or np.diff(log.offsets)))
        if other.size:
            row, got = int(other[0]), int(np.diff(log.offsets)[other[0]])
            at = f'{got} at request "{log.request_id[row]}"'
            raise FeedError(f"log {number}: expected {layout.n_candidates} candidates, got {at}")
        table, start = _table_of(log, layout), 0
        while start < log.n:
            most = int(np.searchsorted(log.offsets, log.offsets[start] + CANDIDATES_PER_GROUP, side="right"))
            stop = min(max(most - 1, start + 1), start + ROWS_PER_GROUP, log.n)
            piece = table.slice(start, stop - start).cast(schema)
            yield piece, int(log.offsets[stop] - log.offsets[start])
            start = stop
        log, number = next(others, None), number + 1


def _groups(pieces: Iterator[tuple[pa.Table, int]]) -> Iterator[list[pa.Table]]:
    """Pieces put together to row groups; one is held back, for a short last one to join."""
    held: list[pa.Table] = []
    pending: list[pa.Table] = []
    n_rows = n_candidates = 0
    for table, size in pieces:
        full = n_rows + len(table) > ROWS_PER_GROUP or n_candidates + size > CANDIDATES_PER_GROUP
        if pending and full:
            if held:
                yield held
            held, pending, n_rows, n_candidates = pending, [], 0, 0
        pending.append(table)
        n_rows, n_candidates = n_rows + len(table), n_candidates + size
    if held and 2 * n_rows < ROWS_PER_GROUP and 2 * n_candidates < CANDIDATES_PER_GROUP:
        yield held + pending
    else:
        yield from (group for group in (held, pending) if group)


def _table_of(log: ImpressionLog, layout: LogLayout) -> pa.Table:
    made: dict[str, Any] = {}
    for column in layout.columns():
        values = column.of(log)
        if column.field == "slate":
            values = log.slate - log.offsets[:-1][log.request_of_slot]
        if column.per != "n":
            if column.kind == "float16":
                numbers: Any = to_half(values)
            elif column.of_codes:
                numbers = encode(np.asarray(values, dtype=np.float64))
            else:
                numbers = np.ascontiguousarray(values, dtype=column.stored)
            made[column.name] = _packed(
                column, numbers, log.offsets if column.per == "c" else log.slot_offsets
            )
        elif isinstance(values, StringColumn):
            codes: Any = pa.array(values.codes, mask=values.is_null)
            distinct = pa.array(values.values, pa.string())
            made[column.name] = pa.DictionaryArray.from_arrays(codes, distinct).cast(pa.string())
        else:
            made[column.name] = pa.array(values, column.arrow, from_pandas=True)
    return pa.table(made)


def _packed(column: LogColumn, numbers: Any, cut: IntArray) -> Any:
    """One binary value per request, over the numbers themselves."""
    if column.width is not None:
        return pa.Array.from_buffers(column.arrow, len(cut) - 1, [None, pa.py_buffer(numbers)])
    bounds = cut * numbers.itemsize
    wide = int(bounds[-1]) >= 2**31
    kind: Any = pa.large_binary() if wide else pa.binary()
    offsets = pa.py_buffer(bounds if wide else bounds.astype(np.int32))
    return pa.Array.from_buffers(kind, len(cut) - 1, [None, offsets, pa.py_buffer(numbers)])


def _log_of(table: pa.Table, layout: LogLayout) -> ImpressionLog:
    cuts: dict[str, tuple[str, IntArray]] = {}
    found: dict[str, Any] = {family: {} for family in FAMILIES}
    for column in layout.columns():
        chunks = table.column(column.name).chunks
        values = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)
        if column.per == "n":
            numbers: Any = _plain(column, values)
        else:
            numbers, cut = packed_numbers(column, values)
            numbers = _decoded(column, numbers)
            first, expected = cuts.setdefault(column.per, (column.name, cut))
            if not np.array_equal(cut, expected):
                row = int(np.flatnonzero(np.diff(cut) != np.diff(expected))[0])
                want, got = np.diff(expected)[row], np.diff(cut)[row]
                raise FeedError(
                    f"{column.name}: expected {want} numbers as in {first}, got {got} at row {row}"
                )
        if column.key:
            found[column.field][column.key] = numbers
        else:
            found[column.field] = numbers
    offsets, slots = cuts["c"][1], cuts["s"][1]
    place, low = found["slate"].astype(np.int64), np.repeat(offsets[:-1], np.diff(slots))
    found["slate"] = np.where(place < 0, -1, place + low)
    return ImpressionLog(offsets=offsets, slot_offsets=slots, **found)


def packed_numbers(column: LogColumn, values: Array) -> tuple[Any, IntArray]:
    """The numbers of all requests as they are stored, read where they lie, and their offsets (n + 1,).

    Raises:
        FeedError: a null, or bytes that are no such numbers.
    """
    _refuse_null(column, values)
    stored, width = column.stored, column.width
    buffers: list[Any] = values.buffers()
    if width is None:
        bounds = np.frombuffer(buffers[1], np.int32)[values.offset :][: len(values) + 1].astype(np.int64)
    else:
        bounds = (np.arange(len(values) + 1) + values.offset) * width * stored.itemsize
    broken = bounds % stored.itemsize != 0
    if broken.any():
        row = max(int(np.flatnonzero(broken)[0]) - 1, 0)
        raise FeedError(
            f"{column.name}: expected numbers of {stored.itemsize} bytes, got others at row {row}"
        )
    bounds //= stored.itemsize
    n, start = int(bounds[-1] - bounds[0]), int(bounds[0]) * stored.itemsize
    numbers: Any = np.frombuffer(buffers[-1], stored, n, start) if n else np.zeros(0, stored)
    return numbers, bounds - bounds[0]


def _decoded(column: LogColumn, numbers: Any) -> Any:
    """What the stored numbers stand for."""
    if column.field == "viewed":
        if numbers.max(initial=0) > 1:
            raise FeedError(f"viewed: expected 0 or 1, got {numbers.max()}")
        return numbers.view(np.bool_)
    if column.kind == "float16":
        return _single_of_half()[numbers.view("<u2")]
    if column.of_codes:
        return code_table().astype(np.float32)[numbers]
    return numbers.astype(column.kind, copy=False)


def to_half(probability: Values) -> NDArray[np.float16]:
    """Numbers in [0, 1] or NaN in half precision, as astype rounds them; it is slow below 6e-5, this is not.

    Below 2**-14 the bits of a half are a multiple of 2**-24, above they are those of the single, rebased.
    """
    single = np.ascontiguousarray(probability, dtype=np.float32)
    bits = single.view(np.uint32)
    normal = (bits - np.uint32(112 << 23) + np.uint32(0xFFF) + ((bits >> 13) & 1)) >> 13
    tiny = np.rint(np.where(single < 2.0**-14, single, 0.0) * np.float32(2.0**24))
    half = np.where(single < 2.0**-14, tiny.astype(np.uint32), normal).astype("<u2")
    half[np.isnan(single)] = 0x7E00
    return half.view("<f2")


@cache
def _single_of_half() -> NDArray[np.float32]:
    """(65536,) the single of each half, by its bits: a look-up is faster than astype, and never slow."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


def _plain(column: LogColumn, values: Array) -> Any:
    if column.kind == "text":
        coded: Any = values.dictionary_encode()
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return StringColumn(codes.astype(np.int32), tuple(coded.dictionary.to_pylist()))
    if column.kind == "int64":
        _refuse_null(column, values)
    numbers = values.to_numpy(zero_copy_only=False)
    return numbers.astype("datetime64[us]") if column.kind == "time" else np.array(numbers, column.kind)


def _refuse_null(column: LogColumn, values: Array) -> None:
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise FeedError(f"{column.name}: expected a value in every row, got null at row {row}")

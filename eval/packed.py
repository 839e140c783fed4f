"""Impression logs as partitions for the fast path: of each request its user, predictions and harms alone.

A row group of a log is a partition: it is read, evaluated and resampled on its own, so sort a log by user if
there is to be a bootstrap, or each partition draws the weights of all users again (the result is the same).
A log written with `values="uint8"` is evaluated by its codes, without being unpacked.
"""

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from eval.hashing import user_keys
from eval.slates import PackedRequests
from eval.stream import Partition
from reranker.columns import FeedError, FloatArray, IntArray
from reranker.impression_files import log_files, packed_numbers
from reranker.impression_layout import LogColumn, LogLayout, read_layout
from reranker.location import Location, Where
from reranker.storage import parquet, stat, unreadable

Segment = tuple[str, tuple[str, ...]]


@dataclass(frozen=True)
class Taken:
    """What a partition takes of a log, beside users, predictions and harms.

    Attributes:
        segment: a segment of the log and its values in the order of `Metrics.segments`, of which the last
            stands for all others; None for one segment.
        multiplier: by group of the log, the factor of each code, as of a relation; of other codes it is 1.
    """

    segment: Segment | None = None
    multiplier: Mapping[str, Mapping[int, float]] = field(default_factory=dict)


def packed_partitions(paths: Iterable[Where], taken: Taken | None = None) -> list[Partition[PackedRequests]]:
    """The row groups of logs of `reranker.impression_files`, each read when it is asked for.

    Only the columns that are needed are read, and slates and propensities are not checked; `reranker audit
    validate` does that.

    Args:
        paths: .parquet files, or directories of such; or URLs of either, which whoever loads opens itself.
        taken: see `Taken`.

    Raises:
        FeedError: a file of another kind, one that lacks what is to be taken, or one with other predictions
            or harms than the first, or in another order.
    """
    taken, made = taken or Taken(), list[Partition[PackedRequests]]()
    first: tuple[Location, tuple[str, ...]] | None = None
    for path, name in (
        (file, _named(file, one)) for one in map(Location.of, paths) for file in log_files(one)
    ):
        layout = read_layout(path)
        columns = {column.name: column for column in _columns(layout, taken, path)}
        first = first or (path, tuple(columns))
        if tuple(columns) != first[1]:
            expected, got = (", ".join(names) for names in (first[1], columns))
            raise FeedError(f"{path}: expected {expected} as in {first[0]}, got {got}")
        found = stat(path)
        stamp = f"{found.size}-{found.mtime_ns}"
        with closing(parquet(path)) as file:
            made += [
                Partition(f"{name}:{i}", _Load(path.absolute(), i, columns, taken), stamp)
                for i in range(file.num_row_groups)
            ]
    return made


def _named(file: Location, below: Location) -> str:
    """The path of a file from the folder that it was found in, or its name."""
    return str(file).removeprefix(str(below)).lstrip("/") or file.name


def _columns(layout: LogLayout, taken: Taken, path: Location) -> list[LogColumn]:
    wanted = {("segments", taken.segment[0])} if taken.segment else set()
    wanted |= {("groups", name) for name in taken.multiplier}
    kept = [
        column
        for column in layout.columns()
        if column.field in ("user", "p_action", "harm") or (column.field, column.key) in wanted
    ]
    for kind, name in sorted(wanted - {(column.field, column.key) for column in kept}):
        raise FeedError(f"{path}: {kind}: expected {name}, got {', '.join(getattr(layout, kind)) or 'none'}")
    if not any(column.field == "p_action" for column in kept):
        raise FeedError(f"{path}: expected predictions of actions, got none")
    return kept


class _Load:
    """Reads one row group."""

    def __init__(self, path: Location, group: int, columns: Mapping[str, LogColumn], taken: Taken) -> None:
        self._path, self._group, self._columns, self._taken = path, group, columns, taken

    def __call__(self) -> PackedRequests:
        try:
            with closing(parquet(self._path)) as file:
                table = file.read_row_group(self._group, columns=list(self._columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self._path, error, "a whole parquet file") from None
        try:
            return self._requests(table.combine_chunks())
        except ValueError as error:
            raise FeedError(f"{self._path}: {error}") from None

    def _requests(self, table: pa.Table) -> PackedRequests:
        offsets: IntArray | None = None
        numbers: dict[str, dict[str, Any]] = {"p_action": {}, "harm": {}, "groups": {}}
        for name, column in self._columns.items():
            if column.per != "c":
                continue
            values = table.column(name).combine_chunks()
            found, cut = packed_numbers(column, values)
            if offsets is not None and not np.array_equal(cut, offsets):
                raise FeedError(f"{name}: expected as many numbers as other columns have, got others")
            offsets, numbers[column.field][column.key] = cut, found
        assert offsets is not None
        texts = table.column("user").combine_chunks().dictionary_encode()
        if texts.null_count:
            raise FeedError("user: expected a value in every row, got a null")
        keys = user_keys([str(name) for name in texts.dictionary.to_pylist()])
        return PackedRequests(
            user=keys[texts.indices.to_numpy()] if len(keys) else np.zeros(0, dtype=np.uint64),
            segment=self._segment(table, len(offsets) - 1),
            offsets=offsets,
            actions=tuple(numbers["p_action"]),
            p_action=_stacked(numbers["p_action"], int(offsets[-1])),
            harms=tuple(numbers["harm"]),
            p_harm=_stacked(numbers["harm"], int(offsets[-1])),
            multiplier=self._multiplier(numbers["groups"], int(offsets[-1])),
        )

    def _segment(self, table: pa.Table, n: int) -> IntArray:
        if self._taken.segment is None:
            return np.zeros(n, dtype=np.int64)
        name, values = self._taken.segment
        place = {value: i for i, value in enumerate(values)}
        held = [value or "" for value in table.column(f"segment_{name}").to_pylist()]
        return np.array([place.get(value, len(values) - 1) for value in held], dtype=np.int64)

    def _multiplier(self, groups: Mapping[str, IntArray], c: int) -> FloatArray | None:
        if not self._taken.multiplier:
            return None
        made = np.ones(c)
        for name, factors in self._taken.multiplier.items():
            size = max(factors, default=-1) + 1
            table = np.ones(size + 1)  # the last is of codes that are not named, and of unknown ones, -1
            table[list(factors)] = list(factors.values())
            made *= table[np.minimum(groups[name], size)]
        return made


def _stacked(columns: Mapping[str, Any], c: int) -> Any:
    """(columns, c) codes as they are, floats as single precision."""
    kinds = {values.dtype for values in columns.values()}
    kind = np.dtype(np.uint8) if kinds == {np.dtype(np.uint8)} else np.dtype(np.float32)
    made = np.empty((len(columns), c), dtype=kind)
    for row, values in zip(made, columns.values(), strict=True):
        row[:] = values
    return made

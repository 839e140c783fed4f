"""String columns as codes: how text-valued columns are held.

A column of strings is an int32 code per row into a tuple of distinct values; -1 is null. Grouping,
joining and per-country overrides are then integer operations, not comparisons of objects.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


AnyArray = TypeVar("AnyArray", bound="NDArray[np.generic]")
Record = TypeVar("Record", bound="DataclassInstance")


def frozen(array: AnyArray) -> AnyArray:
    """The same array, read-only."""
    array.flags.writeable = False
    return array


class FeedError(ValueError):
    """Bad input to a feed: where, what was expected, what was found."""


@dataclass(frozen=True, eq=False)
class StringColumn:
    """A nullable column of strings.

    Attributes:
        codes: (n,) index into `values`, -1 where null.
        values: the distinct strings, in order of first appearance.
    """

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        codes = np.ascontiguousarray(self.codes, dtype=np.int32)
        if codes.size and (codes.min() < -1 or codes.max() >= len(self.values)):
            raise ValueError(
                f"codes: expected -1 to {len(self.values) - 1}, got {codes.min()} to {codes.max()}"
            )
        if len(set(self.values)) != len(self.values):
            raise ValueError("values: expected each string once")
        object.__setattr__(self, "codes", frozen(codes))

    @classmethod
    def from_values(cls, values: Iterable[str | None]) -> "StringColumn":
        """Encode strings; None becomes null.

        Example:
            >>> StringColumn.from_values(["b", None, "b"]).codes.tolist()
            [0, -1, 0]
        """
        listed = list(values)
        distinct = tuple(value for value in dict.fromkeys(listed) if value is not None)
        index: dict[str | None, int] = {None: -1, **dict(zip(distinct, range(len(distinct)), strict=True))}
        return cls(np.array([index[value] for value in listed], dtype=np.int32), distinct)

    @classmethod
    def null(cls, n: int) -> "StringColumn":
        """A column of n nulls."""
        return cls(np.full(n, -1, dtype=np.int32), ())

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str | None:
        code = int(self.codes[row])
        return None if code < 0 else self.values[code]

    def __iter__(self) -> Iterator[str | None]:
        return iter(self.to_list())

    def to_list(self) -> list[str | None]:
        """The strings, None where null."""
        lookup = (*self.values, None)
        return [lookup[code] for code in self.codes.tolist()]

    def take(self, rows: IntArray | slice) -> "StringColumn":
        """The chosen rows; `values` is shared, not rebuilt, so it may hold strings of no row."""
        return with_changes(StringColumn, self, codes=frozen(self.codes[rows]))

    def present(self) -> tuple[str, ...]:
        """The values that at least one row holds."""
        held = np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))
        return tuple(self.values[code] for code in np.flatnonzero(held).tolist())

    @property
    def is_null(self) -> BoolArray:
        """(n,) True where the value is missing."""
        return self.codes < 0

    def code_of(self, value: str) -> int:
        """The code of a value, or -2 (matches no row) where the column does not hold it."""
        return self.values.index(value) if value in self.values else -2


@dataclass(frozen=True, eq=False)
class StringLists:
    """A list of strings per row.

    Attributes:
        offsets: (n + 1,) row i holds items offsets[i] to offsets[i + 1].
        items: the strings of all rows, one after another.
    """

    offsets: IntArray
    items: StringColumn

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: IntArray | slice) -> "StringLists":
        """The chosen rows."""
        lengths = np.diff(self.offsets)[rows]
        chosen = ragged_rows(self.offsets[:-1][rows], lengths)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        return StringLists(frozen(offsets), self.items.take(chosen))


def ragged_offsets(group: NDArray[np.int32]) -> IntArray:
    """Offsets (groups + 1,) of runs of equal codes; rows must be grouped already."""
    starts = np.flatnonzero(np.diff(group, prepend=group[:1] - 1)) if group.size else np.zeros(0, np.int64)
    return np.append(starts, len(group)).astype(np.int64)


def ragged_rows(starts: IntArray, lengths: IntArray) -> IntArray:
    """The concatenation of ranges start..start+length, vectorised.

    Example:
        >>> ragged_rows(np.array([5, 0]), np.array([2, 3])).tolist()
        [5, 6, 0, 1, 2]
    """
    total = int(lengths.sum())
    before = np.concatenate(([0], np.cumsum(lengths)[:-1])) if len(lengths) else np.zeros(0, np.int64)
    return np.arange(total, dtype=np.int64) + np.repeat(starts - before, lengths)


def closest(name: str, known: Sequence[str]) -> str:
    """'; did you mean "x"?' for the known name nearest to a mistyped one, or nothing."""
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def with_changes(kind: type[Record], base: Record, **changes: Any) -> Record:
    """A copy of a frozen dataclass with fields changed, its constructor's checks not run again."""
    made = object.__new__(kind)
    for item in fields(kind):
        object.__setattr__(made, item.name, changes.get(item.name, getattr(base, item.name)))
    return made


def freeze_arrays(record: "DataclassInstance") -> None:
    """Make every array of a record read-only."""
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, np.ndarray):
            frozen(value)


def first_row(mask: BoolArray) -> int:
    """The first row where the mask is True; there must be one."""
    return int(np.flatnonzero(mask)[0])

"""The columns of a file of impressions, as its metadata say them: a closed, numbered schema."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa

from reranker.columns import FeedError
from reranker.impressions import FAMILIES, PER, ImpressionLog
from reranker.location import Location, Where
from reranker.storage import parquet_schema, unreadable

IMPRESSION_SCHEMA = 1
KEY = b"reranker.impressions"

ValueType = Literal["uint8", "float16", "float32"]
OPTIONAL = ("viewed", "dwell_ms", "time", "temperature", "from_rank", "n_total")
PREFIX = {"p_action": "p_", "harm": "harm_", "groups": "group_", "action": "action_", "segments": "segment_"}
_KIND = {
    "request_id": "text",
    "user": "text",
    "segments": "text",
    "time": "time",
    "temperature": "float64",
    "from_rank": "int64",
    "n_total": "int64",
    "item_id": "int64",
    "score": "float64",
    "groups": "int64",
    "slate": "int32",
    "log_prefix_propensity": "float64",
    "viewed": "uint8",
    "dwell_ms": "float32",
    "action": "float32",
}
_ARROW: dict[str, pa.DataType] = {
    "text": pa.string(),
    "time": pa.timestamp("us"),
    "float64": pa.float64(),
    "int64": pa.int64(),
}


@dataclass(frozen=True)
class LogColumn:
    """One column of a file.

    Attributes:
        name: in the file.
        field: of `ImpressionLog`.
        key: in that field, where it is a family of columns; else "".
        per: "n" for a plain value per request, "c" and "s" for the packed numbers of candidates and slots.
        kind: "text", "time" or a type of numbers.
        width: how many numbers each request has, None where that differs.
    """

    name: str
    field: str
    key: str
    per: str
    kind: str
    width: int | None = None

    @property
    def stored(self) -> np.dtype[Any]:
        """The type of the packed numbers."""
        return np.dtype(self.kind).newbyteorder("<")

    @property
    def arrow(self) -> pa.DataType:
        """The type in the file."""
        if self.per == "n":
            return _ARROW[self.kind]
        return pa.binary() if self.width is None else pa.binary(self.width * self.stored.itemsize)

    @property
    def of_codes(self) -> bool:
        """Whether the numbers are codes of probabilities."""
        return self.kind == "uint8" and self.field in ("p_action", "harm")

    def of(self, log: ImpressionLog) -> Any:
        """The values of a log."""
        return getattr(log, self.field)[self.key] if self.key else getattr(log, self.field)


@dataclass(frozen=True)
class LogLayout:
    """Which columns a file has.

    Attributes:
        values: how p_action and harm are stored; float16 is exact to 0.05 %, and to 3e-8 near 0; uint8 is
            a code each, see `impression_codes.encode`.
        n_candidates: of every request, None where requests differ.
        optional: those of viewed, dwell_ms, time, temperature, from_rank and n_total that were logged.
        p_action, harm, groups, action, segments: the names in each family.
    """

    values: ValueType
    n_candidates: int | None = None
    optional: tuple[str, ...] = ()
    p_action: tuple[str, ...] = ()
    harm: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    action: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()

    @classmethod
    def of(cls, log: ImpressionLog, values: ValueType, n_candidates: int | None = None) -> "LogLayout":
        """The layout that a log needs."""
        names = {family: tuple(getattr(log, family)) for family in FAMILIES}
        optional = tuple(name for name in OPTIONAL if getattr(log, name) is not None)
        return cls(values, n_candidates, optional, **names)

    def columns(self) -> Iterator[LogColumn]:
        """All columns; the slate is called "position", as it holds places in the request, from 0."""
        width = {"n": None, "c": self.n_candidates, "s": None}
        for name, per in PER.items():
            if name in self.optional or name not in OPTIONAL:
                called = "position" if name == "slate" else name
                yield LogColumn(called, name, "", per, _KIND[name], width[per])
        for family, per in FAMILIES.items():
            for key in getattr(self, family):
                kind = _KIND.get(family, self.values)
                yield LogColumn(PREFIX[family] + key, family, key, per, kind, width[per])

    def schema(self) -> pa.Schema:
        """The schema of a file, the layout in its metadata."""
        names = {name: list(getattr(self, name)) for name in ("optional", *FAMILIES)}
        said: dict[str, Any] = {"schema": IMPRESSION_SCHEMA, "values": self.values, "byte_order": "little"}
        said |= names | {"n_candidates": self.n_candidates}
        found = [(column.name, column.arrow) for column in self.columns()]
        return pa.schema(found, metadata={KEY: json.dumps(said, sort_keys=True).encode()})


def read_layout(file: Where) -> LogLayout:
    """The columns that a file says it has; it may be a URL of an object store.

    Raises:
        FeedError: it is no parquet, or no impression log of this schema, or lacks a column.
    """
    file = Location.of(file)
    try:
        schema = parquet_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, error, "parquet") from None
    try:
        said = json.loads((schema.metadata or {}).get(KEY, b"null"))
    except ValueError:
        said = None
    version = said.get("schema") if isinstance(said, dict) else None
    if version != IMPRESSION_SCHEMA:
        got = "none" if version is None else f"schema {version}"
        raise FeedError(f"{file}: expected an impression log of schema {IMPRESSION_SCHEMA}, got {got}")
    if said.get("values") not in get_args(ValueType):
        raise FeedError(f"{file}: values: expected one of {get_args(ValueType)}, got {said.get('values')!r}")
    if said.get("byte_order") != "little":
        raise FeedError(f"{file}: byte_order: expected little, got {said.get('byte_order')!r}")
    width = said.get("n_candidates")
    if width is not None and not (isinstance(width, int) and 1 <= width < 2**24):
        raise FeedError(f"{file}: n_candidates: expected a number from 1, or null, got {width!r}")
    for name in ("optional", *FAMILIES):
        if not isinstance(said.get(name), list):
            raise FeedError(f"{file}: {name}: expected a list of names, got {said.get(name)!r}")
    names = {name: tuple(map(str, said[name])) for name in ("optional", *FAMILIES)}
    layout = LogLayout(said["values"], width, **names)
    for column in layout.columns():
        at = schema.get_field_index(column.name)
        found = "no such column" if at < 0 else str(schema.field(at).type)
        if found != str(column.arrow):
            raise FeedError(f"{file}: {column.name}: expected {column.arrow}, got {found}")
    return layout

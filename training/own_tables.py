"""Tables that users bring: parquet, CSV and JSONL files, and data sets on the hub, read alike.

A CSV holds text alone, so what a value means is decided by who reads the table.
"""

import csv
import hashlib
import io
import json
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.provenance import sha256_of

HUB = "hub:"

_HUB_SPLITS = {"train": "train", "validation": "dev", "dev": "dev", "test": "test", "unseen": "unseen"}
_SHOWN = 40

Columns = dict[str, list[Any]]


@dataclass(frozen=True)
class Table:
    """The columns that are read, of all those found; `source` and `split` are for rows that state none."""

    name: str
    found: list[str]
    columns: Columns
    source: str
    split: str
    sha256: str

    @property
    def n(self) -> int:
        """The number of rows."""
        return len(self.columns["text"])

    def bad(self, row: int, column: str, expected: str) -> ValueError:
        """The error for a value; `row` counts from 0."""
        got = repr(self.columns[column][row])[:_SHOWN]
        return ValueError(f"{self.name}: row {row + 1}, {column}: expected {expected}, got {got}")


def read_tables(origin: str, wanted: AbstractSet[str]) -> list[Table]:
    """The wanted columns of a file, or of each split of `hub:owner/name[:config]`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file or data set cannot be read, or has no column "text".
    """
    if origin.startswith(HUB):
        return _hub(origin[len(HUB) :], wanted)
    return [_file(Path(origin), wanted)]


def _file(path: Path, wanted: AbstractSet[str]) -> Table:
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl}
    if path.suffix not in readers:
        raise ValueError(
            f"{path}: expected a name ending in one of {list(readers)}, or {HUB}owner/name for the hub"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of labelled texts, got none")
    try:
        found, columns = readers[path.suffix](path, wanted)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        where = f"{path}, line {line}" if path.suffix != ".parquet" else str(path)
        raise ValueError(f"{where}: expected UTF-8, got the byte {error.object[error.start]:#04x}") from None
    _check_names(str(path), found)
    return Table(str(path), found, columns, path.stem, "", sha256_of(path))


def _check_names(name: str, found: list[str]) -> None:
    if len(set(found)) < len(found):
        raise ValueError(f"{name}: expected distinct column names, got {found}")
    if "text" not in found:
        raise ValueError(f"{name}: expected a column 'text', got the columns {found}")


def _parquet(path: Path, wanted: AbstractSet[str]) -> tuple[list[str], Columns]:
    try:
        found = pq.read_schema(path).names
        table = pq.read_table(path, columns=sorted(wanted & set(found)))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: expected a parquet file: {error}") from None
    return found, dict(zip(table.column_names, (column.to_pylist() for column in table.columns), strict=True))


def _csv(path: Path, wanted: AbstractSet[str]) -> tuple[list[str], Columns]:
    lines = csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline=""), strict=True)
    try:
        header, *rows = [line for line in lines if line] or [[]]
    except csv.Error as error:
        raise ValueError(f"{path}, line {lines.line_num}: expected CSV: {error}") from None
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise ValueError(f"{path}: row {number}: expected {len(header)} values, got {len(row)}")
    columns = {name: [row[j] for row in rows] for j, name in enumerate(header) if name in wanted}
    return header, columns


def _jsonl(path: Path, wanted: AbstractSet[str]) -> tuple[list[str], Columns]:
    lines = [line for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}: row {number}: expected a JSON object: {error}") from None
        if not isinstance(rows[-1], dict):
            raise ValueError(f"{path}: row {number}: expected a JSON object, got {line[:_SHOWN]}")
    found = list(dict.fromkeys(name for row in rows for name in row))
    return found, {name: [row.get(name) for row in rows] for name in found if name in wanted}


def _hub(name: str, wanted: AbstractSet[str]) -> list[Table]:
    """One table per split of `owner/name[:config]`."""
    from datasets import load_dataset  # noqa: PLC0415 - takes seconds to import, and only the hub needs it

    identifier, _, config = name.partition(":")
    try:
        splits = load_dataset(identifier, config or None)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{HUB}{name}: expected a data set that can be read from the hub: {error}"
            " (without a network, name a local file)"
        ) from error
    tables = []
    for split, rows in splits.items():
        shown = f"{HUB}{name} ({split})"
        _check_names(shown, rows.column_names)
        columns = rows.select_columns(sorted(wanted & set(rows.column_names))).to_dict()
        digest = hashlib.sha256(json.dumps(columns, default=str).encode()).hexdigest()
        split_name = _HUB_SPLITS.get(split, "")
        tables.append(Table(shown, rows.column_names, columns, identifier, split_name, digest))
    return tables

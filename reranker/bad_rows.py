"""Rows that cannot be read: they end a run, or are left out up to a limit and listed beside the result.

The list never holds what the row holds, only where it is and what is wrong with it, as posts are not logged.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reranker.columns import FeedError
from reranker.location import Location
from reranker.writing import atomic


@dataclass(frozen=True)
class Place:
    """Where a row is.

    Attributes:
        file: what holds it.
        unit: what is counted: rows from 0, or lines from 1.
        number: of the row, or of its first line.
        last_line: of a row of several lines.
    """

    file: Location
    unit: Literal["row", "line"]
    number: int
    last_line: int | None = None


class RowError(FeedError):
    """One row that cannot be read, whatever the others are.

    Attributes:
        reason: what was expected and what was found, without the place and without a value of the row.
    """

    def __init__(self, expected: str, got: str, where: str, kind: str | None = None) -> None:
        """`kind` stands for `got` where that shows a value of the row."""
        super().__init__(f"{expected}, got {got} {where}")
        self.reason = f"{expected}, got {kind or got}"


@dataclass
class BadRows:
    """The rows that were left out so far, in the order of the file, at most `limit` of them."""

    limit: int
    rows: list[tuple[Place, str]] = field(default_factory=list)

    def leave_out(self, error: RowError, place: Place) -> None:
        """Notes a row.

        Raises:
            FeedError: it is one too many; the message has the first of them.
        """
        self.rows.append((place, error.reason))
        if len(self.rows) > self.limit:
            raise FeedError(f"expected at most {self.limit} bad rows, got more; {self.first()}")

    def first(self) -> str:
        """Where the first row is and what is wrong with it."""
        place, reason = self.rows[0]
        return f"the first is {place.unit} {place.number} of {place.file.name}: {reason}"

    def write(self, path: Path) -> None:
        """The list as JSON lines; the file is there whole or not at all."""
        with atomic(path) as temporary:
            temporary.write_text("".join(f"{_as_json(*row)}\n" for row in self.rows), encoding="utf-8")


def bad_rows_beside(output: Path) -> Path:
    """The name of the list beside a result."""
    return output.with_name(f"{output.name}.bad-rows.jsonl")


def _as_json(place: Place, reason: str) -> str:
    row: dict[str, str | int] = {"file": str(place.file), place.unit: place.number}
    if place.last_line is not None:
        row["last_line"] = place.last_line
    return json.dumps(row | {"message": reason})

"""Files that are there whole or not at all: each is written beside its place and renamed into it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what takes the place `path` when the block ends; until then the old file stays."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    yield unfinished
    with unfinished.open("r+b") as written:
        os.fsync(written.fileno())
    unfinished.replace(path)


def write_json(path: Path, value: object) -> None:
    """Writes a value as JSON, one level per indent.

    Raises:
        ValueError: a number is NaN or infinite; JSON has neither.
    """
    with replacing(path) as unfinished:
        unfinished.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")

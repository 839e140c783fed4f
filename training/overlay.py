"""Policy overlays with fitted numbers: their text, their date, and the evidence beside them."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

from reranker.writing import atomic


def toml_text(text: str) -> str:
    """A TOML string; what JSON escapes, TOML reads the same way."""
    return json.dumps(text, ensure_ascii=False)


def fit_date(given: str | None) -> str:
    """The day of a fit as 2026-11-22: the one given, or today.

    Raises:
        ValueError: what was given is no such day.
    """
    if given is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return date.fromisoformat(given).isoformat()
    except ValueError:
        raise ValueError(f"--date: expected a day as 2026-11-22, got {given!r}") from None


def write_overlay(output: Path, overlay: str, evidence: str) -> tuple[Path, Path]:
    """Write the overlay and, under the same name with .json, the evidence; both or neither.

    Returns:
        The paths of the overlay and of the evidence.

    Raises:
        ValueError: the name does not end in .toml, or a directory has one of the names; nothing is written.
    """
    if output.suffix != ".toml":
        raise ValueError(f"{output}: expected a name that ends in .toml, got another")
    beside = output.with_suffix(".json")
    for path in (output, beside):
        if path.is_dir():
            raise ValueError(f"{path}: expected a file or nothing of that name, got a directory")
    with atomic(output) as first, atomic(beside) as second:
        first.write_text(overlay, encoding="utf-8")
        second.write_text(evidence, encoding="utf-8")
    return output, beside

"""Sections and tables of a card in Markdown."""

import math
from collections.abc import Iterable
from typing import Any

ABSENT = "-"


def section(title: str, how_to_read: str, *parts: str) -> str:
    """A heading, how to read what follows, and the parts; empty where every part is."""
    kept = [part for part in parts if part]
    return "\n\n".join((f"## {title}", how_to_read, *kept)) + "\n" if kept else ""


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A table; empty where there is no row, and without the columns in which no row has anything."""
    found = list(rows)
    filled = [k for k in range(len(head)) if any(row[k] not in {"", ABSENT} for row in found)]
    lines = [[line[k] for k in filled] for line in (head, ["---"] * len(head), *found)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) if found else ""


def number(value: float | None, digits: int = 3) -> str:
    """The value with so many decimals; "-" where it is None or NaN."""
    return ABSENT if value is None or math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """Like `number`, with a sign."""
    return ABSENT if value is None or math.isnan(value) else f"{value:+.{digits}f}"


def percent(value: float) -> str:
    """A share in whole per cent, or tenths of one below a tenth."""
    return f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def with_error(found: dict[str, Any] | None) -> str:
    """AUROC and its standard error, from an entry that has both; "-" without it."""
    if not found:
        return ABSENT
    error = number(found["standard_error"])
    return number(found["auroc"]) if error == ABSENT else f"{number(found['auroc'])} ± {error}"


def at(found: Any, *keys: str) -> Any:
    """What lies under these keys of nested mappings; None where one is missing."""
    for key in keys:
        if not isinstance(found, dict) or found.get(key) is None:
            return None
        found = found[key]
    return found

"""Settings of a training: a frozen dataclass of numbers, read from a TOML file with a closed set of keys.

A dataclass of settings has a field `schema` and calls `check_settings` when it is made, so that what was not
read from a file is checked as well.
"""

import dataclasses
import hashlib
import json
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

S = TypeVar("S", bound="DataclassInstance")


def read_settings(path: Path, kind: type[S]) -> S:
    """The settings in a TOML file.

    Raises:
        ValueError: it is not TOML, a key is unknown or missing, or a value is not one that `kind` takes.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        names = {field.name for field in dataclasses.fields(kind)}
        if set(found) != names:
            unknown, missing = sorted(set(found) - names), sorted(names - set(found))
            raise ValueError(f"expected the keys {sorted(names)}; unknown: {unknown}, missing: {missing}")
        return kind(**found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def check_settings(
    settings: "DataclassInstance",
    *,
    schema: int,
    above_zero: tuple[str, ...],
    shares: tuple[str, ...],
    at_least_zero: tuple[str, ...] = (),
) -> None:
    """Refuses values of another type or out of range; `above_zero`, `shares` (in [0, 1]) ... name fields.

    Raises:
        ValueError: with the name of the setting, what was expected and what was found.
    """
    found = vars(settings)
    for field in dataclasses.fields(settings):
        value = found[field.name]
        if field.type == tuple[int, ...]:
            if not isinstance(value, (list, tuple)) or any(type(one) is not int for one in value):
                raise ValueError(f"{field.name}: expected a list of whole numbers, got {value!r}")
            continue
        whole = field.type is int
        kinds = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):
            expected = "a whole number" if whole else "a finite number"
            raise ValueError(f"{field.name}: expected {expected}, got {value!r}")
    if found["schema"] != schema:
        raise ValueError(f"schema: expected {schema}, got {found['schema']}")
    for name in above_zero:
        if found[name] <= 0:
            raise ValueError(f"{name}: expected a number above 0, got {found[name]}")
    for name in at_least_zero:
        if found[name] < 0:
            raise ValueError(f"{name}: expected a number of at least 0, got {found[name]}")
    for name in shares:
        if not 0 <= found[name] <= 1:
            raise ValueError(f"{name}: expected a number in [0, 1], got {found[name]}")


def settings_digest(settings: "DataclassInstance") -> str:
    """sha256 of the settings in canonical JSON."""
    text = json.dumps(dataclasses.asdict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

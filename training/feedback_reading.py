"""Extra-feedback experiments from files: parquet, JSON lines or CSV, one row per author and period or post.

Columns: author, posts, received_SIGNAL, and arm or assigned_SIGNAL or both; before_NAME, country and period
may be there too. Any other column is refused, because a misspelt covariate would be left out unseen.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from reranker.columns import FeedError, FloatArray, IntArray, StringColumn, closest, first_row
from reranker.reading import Numbers, column_from_arrow
from reranker.signals import SIGNAL_NAMES
from reranker.tables import ColumnKind, Layout, read_table
from training.feedback_experiment import FeedbackExperiment, arms_of, doses_of

PLACES = ("country", "period")
_IDS = ("author", "arm", *PLACES)
_PREFIXES = ("assigned_", "received_", "before_")


def read_feedback(path: str | Path) -> FeedbackExperiment:
    """The experiment in a .parquet, .jsonl, .ndjson or .csv file, or in a directory of .parquet files.

    Raises:
        FeedError: the file cannot be read, or a column or value in it is bad; rows count from 0.
    """
    table = read_table(path, _layout())
    try:
        return feedback_from_arrow(table)
    except ValueError as error:
        raise FeedError(f"{path}: {error}") from None


def feedback_from_arrow(table: pa.Table) -> FeedbackExperiment:
    """The experiment in a flat table.

    Raises:
        ValueError: a column is missing or unknown, or a value in it is bad.
    """
    if not table.num_rows:
        raise ValueError("expected rows, got none")
    names = table.column_names
    _check_names(names)
    author = _text(table, "author")
    _refuse_null("author", author.is_null)
    signals, received = _counts(table, "received_")
    if "arm" in names:
        column = _text(table, "arm")
        _refuse_null("arm", column.is_null)
        arm, arm_names = column.codes.astype(np.int64), column.values
        boosted, assigned = _assigned(table, arm, arm_names)
    else:
        boosted, assigned = _assigned(table, np.zeros(0, dtype=np.int64), ())
        arm, arm_names = arms_of(boosted, assigned)
    return FeedbackExperiment(
        author=author.codes.astype(np.int64),
        arm=arm,
        arm_names=arm_names,
        boosted=boosted,
        assigned=assigned,
        signals=signals,
        received=received,
        posts=_numbers(table, "posts"),
        before={
            name.removeprefix("before_"): _numbers(table, name, missing=True)
            for name in names
            if name.startswith("before_")
        },
        places={name: _text(table, name) for name in PLACES if name in names},
    )


def _layout() -> Layout:
    """What the columns hold; a column before_NAME of text is found when it is read."""
    kinds: dict[str, ColumnKind] = dict.fromkeys(_IDS, "id")
    kinds["posts"] = "number"
    for signal in SIGNAL_NAMES:
        kinds |= dict.fromkeys((f"assigned_{signal}", f"received_{signal}", f"before_{signal}"), "number")
    kinds["before_posts"] = "number"
    return kinds


def _check_names(names: list[str]) -> None:
    for name in ("author", "posts"):
        if name not in names:
            raise ValueError(f"{name}: expected a column of that name, got {', '.join(names)}")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name}: expected one column of that name, got {names.count(name)}")
        if name not in (*_IDS, "posts") and not name.startswith(_PREFIXES):
            hint = closest(name, tuple(_layout()))
            raise ValueError(f'unknown column "{name}"{hint}; a count from before is named "before_{name}"')
        signal = name.removeprefix("assigned_").removeprefix("received_")
        if name.startswith(_PREFIXES[:2]) and signal not in SIGNAL_NAMES:
            raise ValueError(f'{name}: unknown signal "{signal}"{closest(signal, SIGNAL_NAMES)}')
        known = (*SIGNAL_NAMES, "posts")
        counted = name.removeprefix("before_")
        if name.startswith("before_") and counted not in known:
            raise ValueError(
                f'{name}: expected before_posts or a signal, got "{counted}"{closest(counted, known)}'
            )
    if not any(name.startswith("received_") for name in names):
        raise ValueError("received_SIGNAL: expected at least one column, got none")
    if "arm" not in names and not any(name.startswith("assigned_") for name in names):
        raise ValueError(
            "arm: expected that column or columns assigned_SIGNAL, got neither: nothing was randomised"
        )


def _assigned(
    table: pa.Table, arm: IntArray, arm_names: tuple[str, ...]
) -> tuple[tuple[str, ...], FloatArray]:
    """The doses from their columns or, where there are none, from the names of the arms."""
    names, assigned = _counts(table, "assigned_")
    if not names:
        doses = [doses_of(name) for name in arm_names]
        names = tuple(signal for signal in SIGNAL_NAMES if any(signal in dose for dose in doses))
        by_arm = np.array([[dose.get(name, 0.0) for dose in doses] for name in names])
        assigned = by_arm.reshape(len(names), len(arm_names))[:, arm]
    kept = [i for i in range(len(names)) if assigned[i].any()]
    return tuple(names[i] for i in kept), np.ascontiguousarray(assigned[kept])


def _counts(table: pa.Table, prefix: str) -> tuple[tuple[str, ...], FloatArray]:
    """The signals with a column of that prefix, in the order of `SIGNALS`, and their values (S, n)."""
    names = tuple(name for name in SIGNAL_NAMES if f"{prefix}{name}" in table.column_names)
    values = np.zeros((len(names), table.num_rows))
    for i, name in enumerate(names):
        values[i] = _numbers(table, f"{prefix}{name}")
    return names, values


def _numbers(table: pa.Table, name: str, *, missing: bool = False) -> FloatArray:
    found = column_from_arrow(name, table.column(name), "number")
    assert isinstance(found, Numbers)
    if missing:
        return np.where(found.null, np.nan, found.values)
    _refuse_null(name, found.null)
    return np.array(found.values)


def _text(table: pa.Table, name: str) -> StringColumn:
    found = column_from_arrow(name, table.column(name), "id")
    assert isinstance(found, StringColumn)
    return found


def _refuse_null(name: str, null: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> None:
    if null.any():
        raise ValueError(f"{name}: expected a value in every row, got null at row {first_row(null)}")

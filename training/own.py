"""A user's own labelled texts: a parquet, CSV or JSONL file, or a data set on the hub (`hub:owner/name`).

The column `text` and at least one column named after a label of the taxonomy are required; `split`,
`weight`, `source`, `aspect` and `language` are optional. A value that cannot be used is refused with its
file, row (the first row of data is row 1) and column; rows that say nothing are left out and counted.
"""

import difflib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.examples import LabelledTexts
from models.normalise import normalised
from models.taxonomy import LABELS
from training.corpora import CORPORA, Rows
from training.own_tables import Table, read_tables

_log = logging.getLogger(__name__)

NOT_STATED = "not stated (the user's own data)"
SPLITS = ("train", "dev", "test", "unseen")
OPTIONAL = ("split", "weight", "source", "aspect", "language")
TRAINABLE = tuple(entry.name for entry in LABELS if entry.family != "derived")

_READ = frozenset(("text", *OPTIONAL, *TRAINABLE))
_BUILT_IN = frozenset(corpus.name for corpus in CORPORA) | {"contrast"}
_WORDS = {"": math.nan, "true": 1.0, "false": 0.0}


@dataclass(frozen=True)
class Own:
    """n texts of one file, or of one split of a data set on the hub.

    `source` and `split` hold one name per text; the split "" is drawn by near-duplicate group, as for the
    built-in data sets. `sha256` is of the file, or of the columns read from the hub.
    """

    name: str
    rows: Rows
    source: list[str]
    split: list[str]
    licence: str
    sha256: str

    @property
    def role(self) -> list[str]:
        """The role of each text, as `training.splits.assign_splits` takes it."""
        return ["unseen" if split == "unseen" else "train" for split in self.split]


def read_own(origin: str, *, licence: str = NOT_STATED) -> list[Own]:
    """The English texts of a file, or of each split of `hub:owner/name[:config]`, normalised.

    Only an origin that starts with "hub:" uses the network. Columns that are not read are logged.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, lacks a column, holds a bad value or no usable row.
    """
    return [_own(table, licence) for table in read_tables(origin, _READ)]


def stated_splits(
    split: NDArray[np.str_], stated: NDArray[np.str_], group: NDArray[np.int64]
) -> NDArray[np.str_]:
    """The drawn splits, overruled by those that the user stated ("" = none) for whole groups.

    Near-duplicates of a text follow its stated split; of several stated in one group the latest in the
    order train, dev, test, unseen counts, and texts stated otherwise are "dropped", as are drawn texts
    in a group stated "unseen".
    """
    order = np.array(["", *SPLITS])
    rank = np.array([order.tolist().index(name) for name in stated], dtype=np.int64)
    number = np.unique(group, return_inverse=True)[1]
    highest = np.zeros(len(group), dtype=np.int64)
    np.maximum.at(highest, number, rank)
    chosen = order[highest[number]]
    follows = np.isin(split, SPLITS[:-1]) & (stated == "")
    found = np.where(follows & (chosen != ""), np.where(chosen == "unseen", "dropped", chosen), split)
    return np.where(stated == "", found, np.where(stated == chosen, stated, "dropped")).astype(np.str_)


def describe_own(texts: LabelledTexts, own: Sequence[Own]) -> dict[str, Any]:
    """Per source of the user: rows of each split, licence, files and their sha256."""
    about: dict[str, Any] = {}
    for source in sorted({name for part in own for name in part.source}):
        parts = [part for part in own if source in part.source]
        split, count = np.unique(texts.split[texts.source == source], return_counts=True)
        about[source] = {
            "rows": dict(zip(split.tolist(), count.tolist(), strict=True)),
            "licence": parts[0].licence,
            "role": "own",
            "labelled_by": "not stated",
            "file": ", ".join(part.name for part in parts),
            "sha256": ", ".join(part.sha256 for part in parts),
        }
    return about


def _own(table: Table, licence: str) -> Own:
    labels = _label_columns(table)
    target = {name: _numbers(table, name, "a number in [0, 1] or nothing", _is_share) for name in labels}
    weight = _numbers(table, "weight", "a finite number >= 0 or nothing", _is_weight)
    text = [normalised(entry) for entry in _texts(table)]
    rows = _usable(table, text, target)
    source = [entry or table.source for entry in _names(table, "source")]
    if taken := _BUILT_IN & set(source):
        raise ValueError(f"{table.name}: source: expected no name of a built-in data set, got {min(taken)!r}")
    split, aspect = _splits(table), _names(table, "aspect")
    kept_weight = np.where(np.isnan(weight), 1.0, weight)[rows]
    return Own(
        name=table.name,
        rows=Rows(
            text=[text[i] for i in rows],
            target={name: values[rows] for name, values in target.items()},
            weight={name: kept_weight.copy() for name in labels},
            aspect=[aspect[i] for i in rows],
            link=[""] * len(rows),
        ),
        source=[source[i] for i in rows],
        split=[split[i] for i in rows],
        licence=licence,
        sha256=table.sha256,
    )


def _label_columns(table: Table) -> list[str]:
    """The labels among the columns; says which other columns are of no use."""
    labels = [name for name in TRAINABLE if name in table.columns]
    others = [name for name in table.found if name not in _READ]
    near = {name: difflib.get_close_matches(name.lower(), TRAINABLE, n=2) for name in others}
    hints = "; ".join(
        f"{name!r}: nearest label {' or '.join(found)}" for name, found in near.items() if found
    )
    if not labels:
        raise ValueError(
            f"{table.name}: expected a column named after a label of the taxonomy, got {table.found}"
            f" ({hints or 'labels: ' + ', '.join(TRAINABLE)})"
        )
    if others:
        _log.warning(
            "%s: columns %s are not read: only labels of the taxonomy that are not derived from others "
            "can be trained%s",
            table.name,
            others,
            f" ({hints})" if hints else "",
        )
    return labels


def _usable(table: Table, text: list[str], target: dict[str, NDArray[np.float64]]) -> list[int]:
    """Rows that are English or state no language, with a text and at least one annotation."""
    spoken = np.array([name.lower()[:2] in {"", "en"} for name in _names(table, "language")], dtype=bool)
    filled = np.array([bool(entry) for entry in text], dtype=bool)
    annotated = ~np.isnan(np.column_stack(list(target.values()))).all(axis=1)
    rows: list[int] = np.flatnonzero(spoken & filled & annotated).tolist()
    counts = (
        f"{(~spoken).sum()} in other languages than English, {(spoken & ~filled).sum()} without text, "
        f"{(spoken & filled & ~annotated).sum()} without an annotation"
    )
    if not rows:
        raise ValueError(f"{table.name}: expected a usable row, got none of {table.n}: {counts}")
    _log.info("%s: %d of %d rows are used; left out: %s", table.name, len(rows), table.n, counts)
    return rows


def _texts(table: Table) -> list[str]:
    for row, value in enumerate(table.columns["text"]):
        if not (value is None or isinstance(value, str)):
            raise table.bad(row, "text", "text")
    return [value or "" for value in table.columns["text"]]


def _names(table: Table, column: str) -> list[str]:
    """Values as text; "" where there is none."""
    values = table.columns.get(column, [None] * table.n)
    return ["" if value is None else str(value).strip() for value in values]


def _splits(table: Table) -> list[str]:
    found = _names(table, "split")
    for row, name in enumerate(found):
        if name and name not in SPLITS:
            raise table.bad(row, "split", f"one of {SPLITS} or nothing")
    return [name or table.split for name in found]


def _numbers(
    table: Table, column: str, expected: str, is_valid: Callable[[float], bool]
) -> NDArray[np.float64]:
    """float64 (n,); NaN where nothing is given."""
    found = np.full(table.n, np.nan)
    for row, value in enumerate(table.columns.get(column, [])):
        number = _number(value)
        if number is None or not (math.isnan(number) or is_valid(number)):
            raise table.bad(row, column, expected)
        found[row] = number
    return found


def _number(value: Any) -> float | None:
    """The number that a value stands for, NaN for nothing, None where it is no number."""
    plain = "" if value is None else value.strip().lower() if isinstance(value, str) else value
    if isinstance(plain, str) and plain in _WORDS:
        return _WORDS[plain]
    try:
        return float(plain)
    except (TypeError, ValueError, OverflowError):
        return None


def _is_share(number: float) -> bool:
    return 0 <= number <= 1


def _is_weight(number: float) -> bool:
    return 0 <= number < math.inf

"""Files of engagements with answers, as `ValueItems`; what `reranker score` wrote is joined by post."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reranker.columns import FeedError, FloatArray, first_row
from reranker.tables import ChunkedArray, first_failing, first_line, read_table, whole
from training.value_items import ENDORSED_FROM, LABEL_NAMES, LAYOUT, ValueItems, items_from_columns


def read_items(
    path: str | Path, scores: str | Path | None = None, *, endorsed_from: int = ENDORSED_FROM
) -> ValueItems:
    """The engagements of a .parquet, .jsonl or .csv file.

    Args:
        path: columns viewer, post_id, signal, sampling_probability, one of endorsed, rating and explicit;
            and where known angry_share, comment_toxicity, labels of the taxonomy, count, reversed, country.
        scores: what `reranker score` wrote; its probabilities and comment tone are joined by post_id.
        endorsed_from: the lowest rating, of 1 to 5, that counts as endorsed.

    Raises:
        FeedError: a column is missing or unknown, a value is none that it can hold, an answer has no
            sampling probability, a row is there twice, or the scores lack a post or repeat a column.
    """
    table = read_table(path, LAYOUT)
    try:
        columns = _columns(table)
        if scores is not None:
            columns |= joined_scores(columns["post_id"], scores, given=tuple(columns))
        return items_from_columns(columns, endorsed_from=endorsed_from)
    except FeedError as error:
        raise FeedError(f"{path}: {error}") from None


def _columns(table: pa.Table) -> dict[str, Sequence[object] | FloatArray]:
    """The table as lists of text and arrays of numbers, NaN for null.

    Raises:
        FeedError: text where a number is expected, or a number that is not finite.
    """
    if not table.num_rows:
        raise FeedError("expected rows, got none")
    columns: dict[str, Sequence[object] | FloatArray] = {}
    for name in table.column_names:
        kind = LAYOUT.get(name)
        if kind == "number":
            columns[name] = numbers(name, table.column(name))
        elif kind in ("id", "text"):
            columns[name] = whole(table.column(name), pa.large_string()).to_pylist()
        else:
            columns[name] = ()  # refused by name, or of the caller's own
    return columns


def numbers(name: str, column: ChunkedArray) -> FloatArray:
    """(n,) a column as numbers, NaN for null.

    Raises:
        FeedError: text where a number is expected, or a number that is not finite.
    """
    try:
        values = whole(column, pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        combined = column.combine_chunks()
        row = first_failing(combined, lambda part: part.cast(pa.float64())) if len(combined) else 0
        raise FeedError(f"{name}: expected a number, got {first_line(error)} at row {row}") from None
    number: FloatArray = values.to_numpy(zero_copy_only=False).astype(np.float64)
    present = ~values.is_null().to_numpy(zero_copy_only=False).astype(bool)
    bad = present & ~np.isfinite(number)
    if bad.any():
        row = first_row(bad)
        raise FeedError(f"{name}: expected a finite number, got {number[row]} at row {row}")
    return number


def read_scores(path: str | Path) -> pa.Table:
    """What `reranker score` wrote, as a table.

    Raises:
        FeedError: there is no such file, or it is not parquet.
    """
    if not Path(path).is_file():
        raise FeedError(f"{path}: expected a file of scores, found none")
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise FeedError(f"{path}: expected scores in parquet, got {first_line(error)}") from None


def joined_scores(
    posts: Sequence[object] | FloatArray, path: str | Path, *, given: Sequence[str]
) -> dict[str, FloatArray]:
    """Columns of a scores file for these posts, by label, NaN where not scored.

    Args:
        posts: their ids.
        path: what `reranker score` wrote.
        given: columns that are there already, and so must not be in the scores too.

    Raises:
        FeedError: the file is no such file, lacks a post, or repeats a column.
    """
    table = read_scores(path)
    if "post_id" not in table.column_names:
        raise FeedError(f"{path}: expected a column post_id, got {', '.join(table.column_names)}")
    row_of: dict[object, int] = {}
    ids = table["post_id"].cast(pa.large_string()).to_pylist()
    for row, post in enumerate(ids):
        row_of.setdefault(post, row)  # the same post in several requests has the same scores
    missing = next((post for post in posts if post not in row_of), None)
    if missing is not None:
        raise FeedError(f"{path}: expected scores of every post, got none of {missing!r}")
    rows = np.array([row_of[post] for post in posts], dtype=np.int64)
    names = {f"p_{label}": label for label in LABEL_NAMES} | {"comment_toxicity": "comment_toxicity"}
    found = {}
    for column, name in names.items():
        if column in table.column_names:
            values = numbers(column, table[column])
            if name in given and not np.isnan(values).all():
                raise FeedError(f"{name}: expected it in the items or in {path}, got it in both")
            if name not in given:
                found[name] = values[rows]
    return found

"""From flat columns, one row per candidate or act, to a `Feed` or `Interactions`.

Here bad input is told apart from missing. Rows are checked in the order in which they came, so that an
error names the caller's row and not the row after grouping by request.
"""

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reranker.columns import (
    BoolArray,
    FeedError,
    FloatArray,
    IntArray,
    StringColumn,
    StringLists,
    closest,
    first_row,
    ragged_offsets,
)
from reranker.feed import (
    CANDIDATE_FIELDS,
    RANGES,
    REQUEST_FIELDS,
    Feed,
    check_range,
    check_unique_posts,
)
from reranker.interactions import Interactions
from reranker.signals import (
    MAX_COUNT,
    MEDIA_TYPES,
    RELATIONS,
    SIGNAL_NAMES,
    SignalKind,
    Signals,
    check_signal,
    column_name,
)

CODE_FIELDS = {"media": MEDIA_TYPES, "relation": RELATIONS}
TIME_FIELDS = frozenset(("time", "created_at"))
NUMBER_FIELDS = frozenset((*RANGES, "original_position"))
STRING_FIELDS = (
    frozenset((*REQUEST_FIELDS, *CANDIDATE_FIELDS)) - TIME_FIELDS - NUMBER_FIELDS - set(CODE_FIELDS)
)
INTERACTION_TIMES = ("time", "deleted_at", "edited_at")
INTERACTION_FLAGS = ("has_photo", "has_video", "is_avatar")
INTERACTION_FIELDS = ("post_id", "kind", "actor", "relation", "text", *INTERACTION_FLAGS, *INTERACTION_TIMES)


def feed_from_columns(
    columns: dict[str, Any],
    *,
    kind: SignalKind = "counts",
    null: dict[str, BoolArray] | None = None,
    interactions: Interactions | None = None,
) -> Feed:
    """A feed from flat columns, one entry per candidate, in any order of requests.

    Args:
        columns: `request_id` and `post_id`, any other field of `Feed` by name, `urls` as one list per
            candidate, signals by name, and the caller's own numbers as `attr_...`. Values are sequences of
            str, number or None, `StringColumn`s, `StringLists` for the urls, or arrays.
        kind: what the signals are.
        null: per numeric column, (n,) True where the value is missing.
        interactions: single acts on the posts.

    Raises:
        FeedError: on an unknown or missing column, a bad value, unequal lengths, a request whose rows
            disagree about the request, or a post that is twice in a request.

    Example:
        >>> feed = feed_from_columns({"request_id": ["r", "r"], "post_id": ["a", "b"], "like": [3, None]})
        >>> feed.n, feed.signals.get("like").tolist()
        (2, [3.0, nan])
    """
    n = _check_names(columns)
    request = _strings("request_id", columns["request_id"])
    if request.is_null.any():
        raise FeedError(f"request_id: expected a value, got null at row {first_row(request.is_null)}")
    appearance, order = _grouping(request)
    rows: IntArray | slice = np.s_[:] if (order[1:] > order[:-1]).all() else order
    offsets = ragged_offsets(appearance[order].astype(np.int32))
    masks = null or {}

    parts: dict[str, Any] = {}
    for name in (*REQUEST_FIELDS, *CANDIDATE_FIELDS):
        column = _column(name, columns.get(name), n, masks.get(name))
        if name == "post_id":
            if column.is_null.any():
                raise FeedError(f"post_id: expected a value, got null at row {first_row(column.is_null)}")
            if not isinstance(rows, slice):
                check_unique_posts(appearance, column)
        column = column.take(rows) if isinstance(column, StringColumn) else column[rows]
        parts[name] = _of_request(name, column, offsets, order) if name in REQUEST_FIELDS else column
    links = _links(columns.get("urls"), n).take(rows)
    parts |= {"url_offsets": links.offsets, "urls": links.items}

    signals: dict[str, FloatArray] = {}
    signal_null: dict[str, BoolArray] = {}
    attributes: dict[str, FloatArray] = {}
    for name, values in columns.items():
        if name in SIGNAL_NAMES:
            number, missing = _numbers(column_name(name, kind), values, masks.get(name))
            if missing.all() and n:
                continue  # a signal that was never measured is absent
            if not isinstance(rows, slice):
                check_signal(name, number, kind)
            signals[name], signal_null[name] = number[rows], missing[rows]
        elif name.startswith("attr_"):
            number, missing = _numbers(name, values, masks.get(name))
            attributes[name.removeprefix("attr_")] = np.where(missing, np.nan, number)[rows]
    parts["signals"] = Signals.from_columns(signals, signal_null, n, kind)
    return Feed(offsets=offsets, attributes=attributes, interactions=interactions, **parts)


def interactions_from_columns(columns: dict[str, Any]) -> Interactions:
    """Single acts from flat columns, one entry per act.

    Args:
        columns: `post_id`, `kind`, and any other field of `Interactions` by name. A flag that is null is
            taken as False.

    Raises:
        FeedError: on an unknown or missing column, a bad value, or unequal lengths.

    Example:
        >>> acts = interactions_from_columns({"post_id": ["a", "a"], "kind": ["like", "comment"]})
        >>> len(acts), acts.has_photo.tolist()
        (2, [False, False])
    """
    for name in columns:
        if name not in INTERACTION_FIELDS:
            raise FeedError(f'interactions: unknown column "{name}"{closest(name, INTERACTION_FIELDS)}')
    n = _common_length(columns, ("post_id", "kind"), "interactions.")
    parts: dict[str, Any] = {}
    for name in INTERACTION_FIELDS:
        values, label = columns.get(name), f"interactions.{name}"
        if name in INTERACTION_FLAGS:
            parts[name] = _flags(label, values, n)
        elif name in INTERACTION_TIMES:
            parts[name] = _times(label, values, n)
        elif name == "relation":
            parts[name] = _codes(label, values, n, RELATIONS)
        else:
            parts[name] = StringColumn.null(n) if values is None else _strings(label, values)
    return Interactions(**parts)


def _grouping(request: StringColumn) -> tuple[IntArray, IntArray]:
    """Per row, its request's rank by first appearance; and the order that brings requests together."""
    _, first, group = np.unique(request.codes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    appearance = rank[group] if len(group) else np.zeros(0, dtype=np.int64)
    return appearance, np.argsort(appearance, kind="stable").astype(np.int64)


def _check_names(columns: dict[str, Any]) -> int:
    """The number of rows, once names and lengths are right."""
    known = (*REQUEST_FIELDS, *CANDIDATE_FIELDS, "urls", *SIGNAL_NAMES)
    for name in columns:
        if name not in known and not (name.startswith("attr_") and len(name) > len("attr_")):
            hint = closest(name, known)
            raise FeedError(f'unknown column "{name}"{hint}; a number of your own is named "attr_{name}"')
    return _common_length(columns, ("request_id", "post_id"), "")


def _common_length(columns: dict[str, Any], required: tuple[str, ...], prefix: str) -> int:
    for name in required:
        if name not in columns:
            raise FeedError(f"{prefix}{name}: expected a column, got {', '.join(columns) or 'none'}")
    n = len(columns["post_id"])
    for name, values in columns.items():
        if len(values) != n:
            raise FeedError(f"{prefix}{name}: expected {n} rows, got {len(values)}")
    return n


def _strings(name: str, values: Any) -> StringColumn:
    if isinstance(values, StringColumn):
        return values
    plain = set(map(type, values)) <= {str, type(None)}
    for row, value in enumerate(() if plain else values):
        if value is not None and not isinstance(value, str):
            raise FeedError(f"{name}: expected text, got {str(value)[:40]!r} at row {row}")
    return StringColumn.from_values(values)


def _column(name: str, values: Any, n: int, missing: BoolArray | None) -> Any:
    if name in STRING_FIELDS:
        return StringColumn.null(n) if values is None else _strings(name, values)
    if name in TIME_FIELDS:
        return _times(name, values, n)
    if name in CODE_FIELDS:
        return _codes(name, values, n, CODE_FIELDS[name])
    if values is None:
        return np.full(n, -1, dtype=np.int64) if name == "original_position" else np.full(n, np.nan)
    number, missing = _numbers(name, values, missing)
    if name != "original_position":
        number = np.where(missing, np.nan, number)
        check_range(name, number)
        return number
    wrong = ~missing & ((number < 0) | (number > MAX_COUNT) | (number != np.floor(number)))
    if wrong.any():
        at = first_row(wrong)
        raise FeedError(f"{name}: expected a position from 0, got {number[at]} at row {at}")
    return np.where(missing, -1, number).astype(np.int64)


def _numbers(name: str, values: Any, missing: BoolArray | None) -> tuple[FloatArray, BoolArray]:
    """Numbers and their null mask. NaN is bad input, not a null: only None and the mask are null."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "O":
        values = values.tolist()
    if not isinstance(values, np.ndarray) and type(None) in set(map(type, values)):
        none = np.array([value is None for value in values], dtype=bool)
        missing = none if missing is None else missing | none
        values = [0.0 if value is None else value for value in values]
    try:
        raw = np.asarray(values)
        if raw.dtype.kind not in "biufO" or raw.ndim != 1:
            raise TypeError
        number = raw.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        raise FeedError(f"{name}: expected numbers, got {_not_a_number(values)}") from None
    if missing is None:
        missing = np.zeros(len(number), dtype=bool)
    wrong = ~np.isfinite(number) & ~missing
    if wrong.any():
        at = first_row(wrong)
        raise FeedError(f"{name}: expected a finite number or null, got {number[at]} at row {at}")
    return np.where(missing, 0.0, number), missing


def _not_a_number(values: Any) -> str:
    for row, value in enumerate(values):
        try:
            if isinstance(value, str | bytes) or np.ndim(value):
                raise TypeError
            float(value)
        except (TypeError, ValueError, OverflowError):
            return f"{str(value)[:40]!r} at row {row}"
    return f"{np.asarray(values).dtype} values"


def _times(name: str, values: Any, n: int) -> NDArray[np.datetime64]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        return values.astype("datetime64[us]")
    times = np.full(n, np.datetime64("NaT"), dtype="datetime64[us]")
    for row, value in enumerate(() if values is None else values):
        if value is not None:
            times[row] = _time(name, value, row)
    return times


def _time(name: str, value: Any, row: int) -> np.datetime64:
    """One time in UTC; without a time zone it is taken as UTC already."""
    moment: Any = value
    with suppress(ValueError):
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(moment, date | np.datetime64):
        raise FeedError(f"{name}: expected an ISO 8601 time, got {str(value)[:40]!r} at row {row}")
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(moment, "us")


def _flags(name: str, values: Any, n: int) -> BoolArray:
    if values is None:
        return np.zeros(n, dtype=bool)
    if isinstance(values, np.ndarray) and values.dtype == bool:
        return values
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, bool | np.bool_):
            raise FeedError(f"{name}: expected true or false, got {str(value)[:40]!r} at row {row}")
    return np.array([bool(value) for value in values], dtype=bool)


def _codes(name: str, values: Any, n: int, known: tuple[str, ...]) -> NDArray[np.int8]:
    if values is None:
        return np.full(n, -1, dtype=np.int8)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        wrong = (values < -1) | (values >= len(known))
        if wrong.any():
            at = first_row(wrong)
            raise FeedError(f"{name}: expected codes -1 to {len(known) - 1}, got {values[at]} at row {at}")
        return values.astype(np.int8)
    column = _strings(name, values)
    lookup = np.full(len(column.values) + 1, -1, dtype=np.int8)
    for value in column.present():
        code = column.code_of(value)
        if value not in known:
            row = first_row(column.codes == code)
            raise FeedError(f'{name}: expected one of {", ".join(known)}, got "{value}" at row {row}')
        lookup[code] = known.index(value)
    return lookup[column.codes]


def _of_request(name: str, column: Any, offsets: IntArray, order: IntArray) -> Any:
    """One value per request; its rows must agree."""
    first = offsets[:-1]
    codes = column.codes if isinstance(column, StringColumn) else column
    spread = np.repeat(codes[first], np.diff(offsets))
    differ = codes != spread
    if codes.dtype.kind in "fM":
        differ &= ~(_is_null(codes) & _is_null(spread))
    if differ.any():
        row = int(order[differ].min())
        raise FeedError(f"{name}: expected one value in a request, got another at row {row}")
    return column.take(first) if isinstance(column, StringColumn) else column[first]


def _is_null(values: Any) -> Any:
    return np.isnat(values) if values.dtype.kind == "M" else np.isnan(values)


def _links(values: Any, n: int) -> StringLists:
    if isinstance(values, StringLists):
        return values
    listed: list[Any] = []
    for row, links in enumerate(() if values is None else values):
        if links is not None and not isinstance(links, str | list | tuple):
            raise FeedError(f"urls: expected a list of links, got {str(links)[:40]!r} at row {row}")
        listed.append(() if links is None else (links,) if isinstance(links, str) else links)
        for link in listed[-1]:
            if not isinstance(link, str):
                raise FeedError(f"urls: expected links as text, got {str(link)[:40]!r} at row {row}")
    lengths = np.array([len(links) for links in listed] or [0] * n, dtype=np.int64)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return StringLists(offsets, StringColumn.from_values(link for links in listed for link in links))

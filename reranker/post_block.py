"""Posts that follow each other in a file, and the checks of the values that they are made of."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from models.scores import Content
from reranker.bad_rows import RowError
from reranker.columns import FeedError
from reranker.tables import ChunkedArray, first_failing, first_line

ID_COLUMNS = ("request_id", "post_id", "id")
COLUMNS = (*ID_COLUMNS, "text", "language", "urls")
Values: TypeAlias = "list[Any] | ChunkedArray"


@dataclass(frozen=True)
class PostBlock:
    """Posts that follow each other in a file.

    Attributes:
        ids: post_id, and request_id before it where the file has that column; strings, never null.
        content: what a scorer reads of them.
    """

    ids: dict[str, list[str]]
    content: Content

    def between(self, low: int, high: int) -> "PostBlock":
        """The posts from `low` to before `high`."""
        rows = slice(low, high)
        content = Content(self.content.text[rows], self.content.language[rows], self.content.urls[rows])
        return PostBlock({name: ids[rows] for name, ids in self.ids.items()}, content)


def regrouped(blocks: Iterable[PostBlock], rows: int) -> Iterator[PostBlock]:
    """The same posts in blocks of `rows`; the last may be shorter, none is empty."""
    waiting: list[PostBlock] = []
    n = 0
    for block in blocks:
        waiting.append(block)
        n += block.content.n
        if n < rows:
            continue
        joined = _joined(waiting)
        whole = n - n % rows
        for low in range(0, whole, rows):
            yield joined.between(low, low + rows)
        waiting, n = [joined.between(whole, n)], n - whole
    if n:
        yield _joined(waiting)


def _joined(blocks: Sequence[PostBlock]) -> PostBlock:
    if len(blocks) == 1:
        return blocks[0]
    ids = {name: list(itertools.chain(*(block.ids[name] for block in blocks))) for name in blocks[0].ids}
    text, language, urls = (
        list(itertools.chain(*(getattr(block.content, name) for block in blocks)))
        for name in ("text", "language", "urls")
    )
    return PostBlock(ids, Content(text, language, urls))


def block_of(given: Mapping[str, Values], start: int) -> PostBlock:
    """Columns of equal length, checked; the first is row `start` of the file.

    Raises:
        RowError: a value is bad.
        FeedError: a column cannot be read whatever its rows hold.
    """
    columns = {
        name: values if isinstance(values, list) else _listed(name, values, start)
        for name, values in given.items()
    }
    n = len(next(iter(columns.values())))
    ids = {
        "post_id" if name == "id" else name: _strings(name, columns[name], start)
        for name in ID_COLUMNS
        if name in columns
    }
    none: list[Any] = [None] * n
    text, language = (
        _strings(name, columns[name], start) if name in columns else none for name in ("text", "language")
    )
    urls = _links(columns["urls"], start) if "urls" in columns else none
    return PostBlock(ids, Content(text=text, language=language, urls=urls))


def _listed(name: str, column: ChunkedArray, start: int) -> list[Any]:
    try:
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            return _tuples(pc.list_flatten(column).to_pylist(), pc.list_value_length(column).to_pylist())
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        row = start + first_failing(column.combine_chunks(), lambda part: part.to_pylist())
        raise RowError(f"{name}: expected text in UTF-8", "other bytes", f"at row {row}") from None
    except (pa.ArrowException, ValueError) as error:
        raise FeedError(f"expected whole parquet files of one layout, got {first_line(error)}") from None
    return values


def _tuples(items: list[Any], lengths: list[Any]) -> list[Any]:
    """Lists as tuples: many lists keep the garbage collector busy for longer than all the rest takes."""
    every = tuple(items)
    ends = itertools.accumulate(length or 0 for length in lengths)
    return [None if k is None else every[end - k : end] for k, end in zip(lengths, ends, strict=True)]


def _strings(name: str, values: list[Any], start: int) -> list[Any]:
    """Text as it is, integers and bytes as text; only ids may be integers and may not be null."""
    is_id = name in ID_COLUMNS
    if set(map(type, values)) - ({str} if is_id else {str, type(None)}):
        values = [_string(name, value, start + i) for i, value in enumerate(values)]
    for i, value in enumerate(() if _is_utf8(values) else values):
        _encodable(name, value, start + i)
    return values


def _string(name: str, value: Any, row: int) -> str | None:
    is_id = name in ID_COLUMNS
    if isinstance(value, bytes):
        return decoded(value, f"at row {row}", f"{name}: ")
    if is_id and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if is_id and value is None:
        raise RowError(f"{name}: expected a value", "null", f"at row {row}")
    if value is not None and not isinstance(value, str):
        expected = "text or an integer" if is_id else "text"
        raise bad_value(f"{name}: expected {expected}", value, f"at row {row}")
    return value


def _encodable(name: str, value: str | None, row: int) -> None:
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise RowError(f"{name}: expected text in UTF-8", error.reason, f"at row {row}") from None


def decoded(value: bytes, where: str, name: str = "") -> str:
    """Bytes as text.

    Raises:
        RowError: they are not UTF-8.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RowError(f"{name}expected text in UTF-8", error.reason, where) from None


def bad_value(expected: str, value: Any, where: str) -> RowError:
    """What to raise for a value of the wrong type."""
    return RowError(expected, str(value)[:40], where, f"a value of type {type(value).__name__}")


def _links(values: list[Any], start: int) -> list[tuple[str, ...] | None]:
    found: list[Any] = [(value,) if isinstance(value, str | bytes) else value for value in values]
    for i, links in enumerate(found):
        if not isinstance(links, list | tuple | None):
            raise bad_value("urls: expected a list of links", links, f"at row {start + i}")
    items = list(itertools.chain.from_iterable(filter(None, found)))
    if not (set(map(type, items)) <= {str} and _is_utf8(items)):
        found = [links and _checked_links(links, start + i) for i, links in enumerate(found)]
    return [tuple(links) if links else None for links in found]


def _checked_links(links: Iterable[Any], row: int) -> tuple[str, ...]:
    checked = []
    for link in links:
        if link is None:
            raise RowError("urls: expected links", "null in the list", f"at row {row}")
        checked.append(_string("urls", link, row) or "")
        _encodable("urls", checked[-1], row)
    return tuple(checked)


def _is_utf8(values: Iterable[str | None]) -> bool:
    try:
        "".join(filter(None, values)).encode()
    except UnicodeEncodeError:
        return False
    return True

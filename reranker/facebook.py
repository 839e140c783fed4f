"""Exports of Facebook pages as candidate pools.

An export has one row per post and no viewer, so a day's or a week's posts stand in for what a feed could
have shown. Counts divided by the page's median make pages of unlike size comparable.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from reranker.assembly import feed_from_columns
from reranker.columns import BoolArray, FeedError, FloatArray, IntArray, StringColumn, first_row
from reranker.feed import Feed, check_unique_posts
from reranker.reading import Numbers, column_from_arrow
from reranker.signals import REACTIONS, check_signal
from reranker.tables import ColumnKind, Layout, read_table

Pool = Literal["day", "week", "all"]
Normalise = Literal["page-median"]

SIGNAL_COLUMNS = {
    "likes": "like",
    **{name: name for name in REACTIONS if name != "like"},
    "comments": "comment",
    "shares": "reshare",
}
MEDIA_OF_TYPE = {
    **dict.fromkeys(("status", "text", "note", "music", "event"), "text"),
    "link": "link",
    **dict.fromkeys(("photo", "album"), "photo"),
    **dict.fromkeys(("video", "native_video", "youtube"), "video"),
    **dict.fromkeys(("live", "live_video", "live_video_complete", "live_video_scheduled"), "live_video"),
}
TEXTS: dict[str, ColumnKind] = {
    "post_id": "id",
    "page": "id",
    "text": "text",
    "title": "text",
    "type": "text",
}
LAYOUT: Layout = {
    **TEXTS,
    "url": "text",
    "created_at": "time",
    **dict.fromkeys((*SIGNAL_COLUMNS, "domain_quality"), "number"),
}


@dataclass(frozen=True)
class ImportReport:
    """What an import read, dropped and made; `n_unknown_type` posts were kept with their media null."""

    n_read: int
    n_dropped_reactions: int
    n_dropped_pool: int
    n_pools: int
    n_unknown_type: int


def import_facebook(
    path: str | Path,
    *,
    pool: Pool = "day",
    min_reactions: int = 0,
    min_pool: int = 1,
    normalise: Normalise | None = None,
) -> tuple[Feed, ImportReport]:
    """One request per pool of posts, oldest first, and what was kept.

    Columns read, each null where the file has none: post_id, text, title, page, created_at, type, url,
    likes, love, care, haha, wow, sad, angry, comments, shares, domain_quality. Reactions are the sum of
    likes and the six others, over those that were measured; the sum is kept as `attr_reactions`.

    Args:
        path: a .parquet, .jsonl, .ndjson or .csv file, or a directory of .parquet files.
        pool: posts of one UTC day ("2016-05-01"), of one ISO week ("2016-W17"), or all in one pool ("all"),
            which needs no created_at.
        min_reactions: drop posts with fewer, and above 0 those whose reactions were not measured.
        min_pool: drop pools with fewer posts than this, counted after `min_reactions`.
        normalise: "page-median" divides every signal by the median reactions of the page's posts, over
            posts kept by `min_reactions` and before `min_pool`; without a page, by the file's median.

    Raises:
        FeedError: the file is bad, a post has no time, a post is twice in a pool, or a page to divide by has
            a median of 0.
    """
    for name, value, known in (("pool", pool, Pool), ("normalise", normalise, Normalise)):
        if value is not None and value not in get_args(known):
            raise FeedError(f"{name}: expected one of {', '.join(get_args(known))}, got {value!r}")
    table = read_table(path, LAYOUT)
    try:
        return _import(table, pool, min_reactions, min_pool, normalise)
    except FeedError as error:
        raise FeedError(f"{path}: {error}") from None


def _import(
    table: pa.Table, pool: Pool, min_reactions: int, min_pool: int, normalise: Normalise | None
) -> tuple[Feed, ImportReport]:
    n = table.num_rows
    post, numbers = _read(table, "post_id"), _signals(table)
    if post.is_null.any():
        raise FeedError(f"post_id: expected a value, got null at row {first_row(post.is_null)}")
    pools, names, created_at = _pools(table, pool)
    reactions = _reactions(numbers, n)
    kept = reactions >= min_reactions if min_reactions > 0 else np.ones(n, dtype=bool)
    # a row that is dropped stands alone in a pool of its own
    check_unique_posts(np.where(kept, pools, -1 - np.arange(n)), post)
    page = _read(table, "page")
    if normalise == "page-median":
        scale = _page_median(page, reactions, kept)
        numbers = {name: Numbers(item.values / scale, item.null) for name, item in numbers.items()}
    large = kept & (np.bincount(pools[kept], minlength=len(names)) >= min_pool)[pools]
    rows = np.flatnonzero(large)
    rows = rows[np.argsort(pools[rows], kind="stable")]
    columns = {
        "request_id": StringColumn(pools.astype(np.int32), names),
        "post_id": post,
        "publisher": page,
        "author": page,
        "text": column_from_arrow("text", _text(table), "text"),
        "media": _media(_read(table, "type")),
        "relation": StringColumn(np.zeros(n, dtype=np.int32), ("page",)),
        "created_at": created_at,
    }
    columns = {
        name: values.take(rows) if name != "created_at" else values[rows] for name, values in columns.items()
    }
    null = {}
    numbers |= {"attr_reactions": Numbers(np.nan_to_num(reactions), np.isnan(reactions))}
    numbers |= {"attr_domain_quality": _quality(table)} if "domain_quality" in table.column_names else {}
    for name, item in numbers.items():
        columns[name], null[name] = item.values[rows], item.null[rows]
    if "url" in table.column_names:
        columns["urls"] = column_from_arrow("urls", _arrow(table, "url"), "links").take(rows)
    feed = feed_from_columns(columns, null=null)
    unknown = int((columns["media"].is_null & ~_read(table, "type").take(rows).is_null).sum())
    n_kept = int(kept.sum())
    return feed, ImportReport(n, n - n_kept, n_kept - len(rows), feed.n_requests, unknown)


def _arrow(table: pa.Table, name: str) -> Any:
    if name in table.column_names:
        return table.column(name)
    return pa.chunked_array([pa.nulls(table.num_rows, pa.large_string())])


def _read(table: pa.Table, name: str) -> StringColumn:
    column: StringColumn = column_from_arrow(name, _arrow(table, name), LAYOUT[name])
    return column


def _text(table: pa.Table) -> Any:
    """What a reader of the post sees: its text and, under it, the title of what it links to."""
    text, title = (_arrow(table, name).cast(pa.large_string()) for name in ("text", "title"))
    empty = pa.scalar(None, pa.large_string())
    text, title = (
        pc.if_else(pc.equal(pc.utf8_length(one), pa.scalar(0)), empty, one) for one in (text, title)
    )
    both = pc.binary_join_element_wise(text, title, pa.scalar("\n", pa.large_string()))  # null if one is
    return pc.coalesce(both, text, title)


def _signals(table: pa.Table) -> dict[str, Numbers]:
    """Counts by the signal's name, checked in the order of the file."""
    signals = {}
    for column, name in SIGNAL_COLUMNS.items():
        if column in table.column_names:
            signals[name] = column_from_arrow(column, table.column(column), "number")
            check_signal(column, signals[name].values, "counts")
    if not signals:
        raise FeedError(
            f"expected a column of {', '.join(SIGNAL_COLUMNS)}, got {', '.join(table.column_names)}"
        )
    return signals


def _reactions(signals: dict[str, Numbers], n: int) -> FloatArray:
    """(n,) the sum of the reactions that were measured, NaN where none was."""
    measured = [signals[name] for name in REACTIONS if name in signals]
    total = sum((item.values for item in measured), np.zeros(n))
    unknown = np.logical_and.reduce([item.null for item in measured]) if measured else np.ones(n, dtype=bool)
    return np.where(unknown, np.nan, total)


def _quality(table: pa.Table) -> Numbers:
    quality: Numbers = column_from_arrow("domain_quality", table.column("domain_quality"), "number")
    check_signal("domain_quality", quality.values, "counts")
    return quality


def _pools(table: pa.Table, pool: Pool) -> tuple[IntArray, tuple[str, ...], NDArray[np.datetime64]]:
    """Per row its pool, in order of time; the pools' names; and when each post was made."""
    n = table.num_rows
    times = column_from_arrow("created_at", _arrow(table, "created_at"), "time")
    if pool == "all":
        return np.zeros(n, dtype=np.int64), ("all",), times
    if "created_at" not in table.column_names:
        raise FeedError('created_at: expected a column, got none; pool="all" needs no time')
    if np.isnat(times).any():
        raise FeedError(f"created_at: expected a time, got null at row {first_row(np.isnat(times))}")
    days = times.astype("datetime64[D]")
    if pool == "week":
        days = days - (days.astype(np.int64) + 3) % 7  # back to Monday; day 0 was a Thursday
    distinct, codes = np.unique(days, return_inverse=True)
    label = "%Y-%m-%d" if pool == "day" else "%G-W%V"
    starts: list[date] = distinct.tolist()
    return codes.astype(np.int64), tuple(day.strftime(label) for day in starts), times


def _media(kinds: StringColumn) -> StringColumn:
    """The media of each post; null for a type that is not known."""
    lookup = [MEDIA_OF_TYPE.get(value.strip().lower().replace(" ", "_")) for value in kinds.values]
    distinct = tuple(dict.fromkeys(media for media in lookup if media is not None))
    codes = [-1 if media is None else distinct.index(media) for media in lookup]
    return StringColumn(np.array([*codes, -1], dtype=np.int32)[kinds.codes], distinct)


def _page_median(page: StringColumn, reactions: FloatArray, kept: BoolArray) -> FloatArray:
    """(n,) the median reactions of each row's page over the kept posts; the file's where it has no page."""
    measured = kept & ~np.isnan(reactions)
    median = np.full(len(page.values) + 1, np.nan)  # the last is for posts without a page
    order = np.lexsort((reactions[measured], page.codes[measured]))
    values, codes = reactions[measured][order], page.codes[measured][order]
    start = np.searchsorted(codes, np.arange(len(page.values)))
    stop = np.searchsorted(codes, np.arange(len(page.values)), side="right")
    some = stop > start
    middle = start + stop
    median[:-1][some] = (values[(middle[some] - 1) // 2] + values[middle[some] // 2]) / 2
    if len(values):
        median[-1] = np.median(values)
    scale = median[page.codes]
    wrong = kept & ~(scale > 0)
    if wrong.any():
        row = first_row(wrong)
        got = "none that was measured" if np.isnan(scale[row]) else "0"
        where = f'page "{page[row]}"' if page[row] is not None else "the posts without a page"
        raise FeedError(
            f"page: expected a median above 0 reactions, got {got} for {where} at row {row}; "
            "min_reactions=1 drops posts without reactions"
        )
    return np.where(scale > 0, scale, 1.0)  # rows that are dropped

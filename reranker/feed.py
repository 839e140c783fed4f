"""`Feed`: the candidates of one or many requests, columnar, validated once.

Rows are candidates; `offsets` cuts them into requests (ragged, never padded). Everything downstream
trusts the type. Null is null: a missing string has code -1, a missing number is NaN, a missing time is
NaT, and a signal that was not measured has its bit set in `Signals.null`, never a zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.scores import Content
from reranker.columns import (
    FeedError,
    FloatArray,
    IntArray,
    StringColumn,
    StringLists,
    first_row,
    freeze_arrays,
    frozen,
    ragged_rows,
    with_changes,
)
from reranker.interactions import MADE_FROM, Interactions
from reranker.signals import MEDIA_TYPES, RELATIONS, Signals


@dataclass(frozen=True, eq=False)
class Feed:
    """Candidates of r requests, n rows in all. Build one with `feed_from_columns` or a reader.

    Attributes:
        offsets: (r + 1,) request i holds rows offsets[i] to offsets[i + 1].
        request_id, user, country, device, connection_strength (in [0, 1]), time: (r,) the request.
        post_id, parent_id, author, publisher, topic, text, language: (n,) the candidate.
        url_offsets, urls: (n + 1,) and the links of all candidates, one after another.
        media, relation: (n,) index into MEDIA_TYPES and RELATIONS (author to viewer), -1 where unknown.
        created_at: (n,) datetime64[us].
        original_position: (n,) from 0, the feed's own order; -1 where it was not logged.
        computing_load: (n,) cost of showing the post, in the caller's unit.
        author_violations: (n,) policy violations of the author in the caller's look-back window.
        see_less_requests: (n,) times this viewer asked for less of this author.
        angry_accounts: (n,) distinct accounts behind the angry reactions.
        angry_peak_share: (n,) share of the angry reactions that came within one hour.
        signals: engagement.
        attributes: numeric columns of the caller's own, for evaluation only, NaN where null.
        interactions: single acts, or None.
    """

    offsets: IntArray
    request_id: StringColumn
    user: StringColumn
    country: StringColumn
    device: StringColumn
    connection_strength: FloatArray
    time: NDArray[np.datetime64]
    post_id: StringColumn
    parent_id: StringColumn
    author: StringColumn
    publisher: StringColumn
    topic: StringColumn
    text: StringColumn
    language: StringColumn
    url_offsets: IntArray
    urls: StringColumn
    media: NDArray[np.int8]
    relation: NDArray[np.int8]
    created_at: NDArray[np.datetime64]
    original_position: IntArray
    computing_load: FloatArray
    author_violations: FloatArray
    see_less_requests: FloatArray
    angry_accounts: FloatArray
    angry_peak_share: FloatArray
    signals: Signals
    attributes: dict[str, FloatArray] = field(default_factory=dict)
    interactions: Interactions | None = None

    def __post_init__(self) -> None:
        self._check_lengths()
        for name in ("request_id", "post_id"):
            column: StringColumn = getattr(self, name)
            if column.is_null.any():
                raise FeedError(f"{name}: expected a value, got null at row {first_row(column.is_null)}")
        if len(set(self.request_id.codes.tolist())) != self.n_requests:
            raise FeedError("request_id: expected the rows of a request together; use feed_from_columns")
        self._check_numbers()
        self._check_unique_posts()
        if self.interactions is not None:
            kinds = self.interactions.kind.present()
            made = {name for kind in kinds for name in (kind, *MADE_FROM.get(kind, ()))}
            if made & {"comment", "reply"}:
                made |= {"long_comment", "avatar_comment"}
            both = sorted(made & set(self.signals.names))
            if both:
                raise FeedError(
                    f"{both[0]}: expected either a total per post or single interactions, got both; drop one"
                )
        freeze_arrays(self)
        for values in self.attributes.values():
            frozen(values)

    def _check_lengths(self) -> None:
        offsets = self.offsets
        if len(offsets) == 0 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
            raise FeedError("offsets: expected 0 first and never falling")
        n, r = int(offsets[-1]), len(offsets) - 1
        lengths = {"signals": self.signals.values.shape[1], "url_offsets": len(self.url_offsets) - 1}
        lengths |= {name: len(values) for name, values in self.attributes.items()}
        lengths |= {name: len(getattr(self, name)) for name in (*CANDIDATE_FIELDS, *REQUEST_FIELDS)}
        for name, got in lengths.items():
            expected = r if name in REQUEST_FIELDS else n
            if got != expected:
                raise FeedError(f"{name}: expected {expected} rows, got {got}")
        links = self.url_offsets
        if links[0] != 0 or (np.diff(links) < 0).any() or links[-1] != len(self.urls):
            raise FeedError(f"url_offsets: expected 0 first, never falling, {len(self.urls)} last")

    def _check_numbers(self) -> None:
        for name in RANGES:
            check_range(name, getattr(self, name))
        for name, values in self.attributes.items():
            if np.isinf(values).any():
                raise FeedError(
                    f"{name}: expected finite numbers, got inf at row {first_row(np.isinf(values))}"
                )
        for name, known in (("media", MEDIA_TYPES), ("relation", RELATIONS)):
            codes = getattr(self, name)
            if codes.size and (codes.min() < -1 or codes.max() >= len(known)):
                raise FeedError(f"{name}: expected codes from -1 to {len(known) - 1}")

    def _check_unique_posts(self) -> None:
        check_unique_posts(self.request_of_row, self.post_id)

    @property
    def n(self) -> int:
        """Number of candidates."""
        return int(self.offsets[-1])

    @property
    def n_requests(self) -> int:
        """Number of requests."""
        return len(self.offsets) - 1

    @cached_property
    def request_of_row(self) -> IntArray:
        """(n,) the request of each candidate."""
        return np.repeat(np.arange(self.n_requests, dtype=np.int64), np.diff(self.offsets))

    @cached_property
    def original_order(self) -> IntArray:
        """(n,) each candidate's position in the order in which the feed came, from 0.

        The logged position decides; where it is missing the order of the rows does.
        """
        row = np.arange(self.n, dtype=np.int64)
        logged = np.where(self.original_position >= 0, self.original_position, np.iinfo(np.int64).max)
        order = np.lexsort((row, logged, self.request_of_row))
        position = np.empty(self.n, dtype=np.int64)
        position[order] = row - self.offsets[self.request_of_row]
        return frozen(position)

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Optional columns that hold no value at all."""
        empty = []
        for name in (*REQUEST_FIELDS, *CANDIDATE_FIELDS):
            values = getattr(self, name)
            if isinstance(values, StringColumn):
                null = bool(values.is_null.all())
            elif values.dtype.kind == "f":
                null = bool(np.isnan(values).all())
            elif values.dtype.kind == "M":
                null = bool(np.isnat(values).all())
            else:
                null = bool((values < 0).all())
            if null and self.n:
                empty.append(name)
        return (*empty, "urls") if self.n and not len(self.urls) else tuple(empty)

    def content(self) -> Content:
        """What a scorer reads: text, language and links of each candidate."""
        links: list[Sequence[str] | None] = [None] * self.n
        every = self.urls.to_list()
        bounds = self.url_offsets.tolist()
        for row in np.flatnonzero(np.diff(self.url_offsets)).tolist():
            links[row] = [url for url in every[bounds[row] : bounds[row + 1]] if url is not None]
        return Content(text=self.text.to_list(), language=self.language.to_list(), urls=links)

    def slice(self, start: int, stop: int) -> "Feed":
        """Requests start to stop, as views; interactions stay whole."""
        low, high = int(self.offsets[start]), int(self.offsets[stop])
        return self._cut(np.s_[low:high], np.s_[start:stop], self.offsets[start : stop + 1] - low)

    def take(self, requests: IntArray) -> "Feed":
        """The chosen requests, in the order given."""
        lengths = np.diff(self.offsets)[requests]
        rows = ragged_rows(self.offsets[:-1][requests], lengths)
        return self._cut(rows, requests, np.concatenate(([0], np.cumsum(lengths))))

    def _cut(self, rows: Any, requests: Any, offsets: IntArray) -> "Feed":
        changes: dict[str, Any] = {"offsets": frozen(offsets), "signals": self.signals.take(rows)}
        for name in (*CANDIDATE_FIELDS, *REQUEST_FIELDS):
            values = getattr(self, name)
            chosen = requests if name in REQUEST_FIELDS else rows
            changes[name] = (
                values.take(chosen) if isinstance(values, StringColumn) else frozen(values[chosen])
            )
        links = StringLists(self.url_offsets, self.urls).take(rows)
        changes |= {"url_offsets": links.offsets, "urls": links.items}
        changes["attributes"] = {name: frozen(values[rows]) for name, values in self.attributes.items()}
        return with_changes(Feed, self, **changes)

    def with_attributes(self, attributes: dict[str, FloatArray]) -> "Feed":
        """The feed with further numeric columns for evaluation."""
        return replace(self, attributes=self.attributes | attributes)


REQUEST_FIELDS = ("request_id", "user", "country", "device", "connection_strength", "time")
CANDIDATE_FIELDS = (
    "post_id",
    "parent_id",
    "author",
    "publisher",
    "topic",
    "text",
    "language",
    "media",
    "relation",
    "created_at",
    "original_position",
    "computing_load",
    "author_violations",
    "see_less_requests",
    "angry_accounts",
    "angry_peak_share",
)
RANGES = {
    "connection_strength": 1.0,
    "computing_load": np.inf,
    "author_violations": np.inf,
    "see_less_requests": np.inf,
    "angry_accounts": np.inf,
    "angry_peak_share": 1.0,
}


def check_range(name: str, values: FloatArray) -> None:
    """Refuse the first number outside the column's range in `RANGES`; NaN is null and passes.

    Raises:
        FeedError: names the column, the value and its row.
    """
    top = RANGES[name]
    wrong = ~np.isnan(values) & ~((values >= 0) & (values <= top) & np.isfinite(values))
    if wrong.any():
        at = first_row(wrong)
        expected = "a finite number >= 0" if top == np.inf else f"a number in [0, {top:g}]"
        raise FeedError(f"{name}: expected {expected}, got {values[at]} at row {at}")


def check_unique_posts(request: IntArray, post: StringColumn) -> None:
    """Refuse a post that is twice in a request.

    Raises:
        FeedError: names the post and its first two rows.
    """
    key = request * np.int64(len(post.values) + 1) + post.codes
    ordered = np.sort(key)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    if twice.size:
        first, second = np.flatnonzero(key == ordered[twice[0]])[:2].tolist()
        raise FeedError(
            f"post_id: expected each post once in a request, got {post[first]!r} at rows {first} and {second}"
        )

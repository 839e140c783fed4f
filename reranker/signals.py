"""The signals of engagement, each named once.

Kinds of comment, reply, reshare and message are disjoint: `comment` counts those that are not known to
be significant, so a feed that has only totals holds all of them there. `long_comment` and
`avatar_comment` are the exception: they mark some of the comments again, for a weight on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

from reranker.columns import (
    AnyArray,
    BoolArray,
    FeedError,
    FloatArray,
    IntArray,
    closest,
    first_row,
    frozen,
    with_changes,
)


@dataclass(frozen=True)
class Signal:
    """One kind of engagement: its name and what one unit of it is."""

    name: str
    meaning: str


SIGNALS = (
    Signal("like", "a plain like, favourite or upvote"),
    Signal("love", "a love reaction"),
    Signal("care", "a care reaction"),
    Signal("haha", "a haha reaction"),
    Signal("wow", "a wow reaction"),
    Signal("sad", "a sad reaction"),
    Signal("angry", "an angry reaction"),
    Signal("comment", "a comment that is not known to be significant"),
    Signal("significant_comment", "a comment of at least five unique tokens"),
    Signal("long_comment", "a long comment, counted on top of its own kind"),
    Signal("avatar_comment", "a comment with a cartoon avatar, counted on top of its own kind"),
    Signal("reply", "a reply to a comment that is not known to be significant"),
    Signal("significant_reply", "a reply of at least five unique tokens"),
    Signal("reply_by_author", "a reply that the post's author then answers or likes"),
    Signal("reshare", "a reshare without added text"),
    Signal("reshare_with_text", "a reshare or quote with added text that is not known to be significant"),
    Signal("significant_reshare", "a reshare with at least five unique tokens, a photo or a video"),
    Signal("message", "the post sent in a private message"),
    Signal("significant_message", "such a message with at least five unique tokens, a photo or a video"),
    Signal("copy_link", "the post's link copied"),
    Signal("share", "the share menu used, target unknown"),
    Signal("rsvp", "an answer to an event's invitation"),
    Signal("click", "a click into the post"),
    Signal("link_open", "the post's link opened"),
    Signal("photo_open", "a photo enlarged"),
    Signal("video_open", "a video opened"),
    Signal("video_view", "a video watched for the platform's minimum time or half its length"),
    Signal("quoted_click", "a click into a quoted post"),
    Signal("conversation_click", "a click into the conversation, followed by a like or a reply"),
    Signal("conversation_stay", "a click into the conversation and a stay of two minutes or more"),
    Signal("profile_click", "a click to the author's profile"),
    Signal("profile_engagement", "a click to the author's profile, followed by a like or a reply there"),
    Signal("dwell_s", "seconds spent on the post"),
    Signal("not_dwelled", "the post scrolled past at once"),
    Signal("follow", "the author followed from the post"),
    Signal("bookmark", "the post saved"),
    Signal("award", "an award given"),
    Signal("downvote", "a vote against"),
    Signal("worth_your_time", "the viewer said that the post was worth the time"),
    Signal("request_more", "the viewer asked for more like it"),
    Signal("request_less", "the viewer asked for less like it"),
    Signal("hide", "the post hidden"),
    Signal("not_interested", "the viewer is not interested"),
    Signal("negative_feedback", "any of the platform's negative feedback, not told apart"),
    Signal("report", "the post reported"),
    Signal("mute", "the author muted"),
    Signal("block", "the author blocked"),
)

SIGNAL_NAMES = tuple(signal.name for signal in SIGNALS)
MAX_COUNT = 2.0**53
SignalKind = Literal["counts", "probabilities"]

REACTIONS = ("like", "love", "care", "haha", "wow", "sad", "angry")

RELATIONS = ("close_friend", "friend", "group_member", "follower", "page", "stranger")
MEDIA_TYPES = ("text", "link", "photo", "video", "live_video")


@dataclass(frozen=True, eq=False)
class Signals:
    """Engagement, one row per signal so that a weighted sum reads memory in order.

    Attributes:
        names: the signals that the feed has, in the order of `SIGNALS`.
        values: (S, n) counts or probabilities; 0 where null.
        null: (S, n) True where a value was not measured, or None when every value was.
        kind: observed counts, or predicted probabilities.
    """

    names: tuple[str, ...]
    values: FloatArray
    null: BoolArray | None
    kind: SignalKind

    def __post_init__(self) -> None:
        for name in self.names:
            if name not in SIGNAL_NAMES:
                raise FeedError(f'signals: unknown signal "{name}"{closest(name, SIGNAL_NAMES)}')
        if len(set(self.names)) != len(self.names):
            raise FeedError(f"signals: expected each signal once, got {', '.join(self.names)}")
        if self.kind not in ("counts", "probabilities"):
            raise FeedError(f'signals: expected the kind "counts" or "probabilities", got {self.kind!r}')
        if self.values.ndim != 2 or len(self.values) != len(self.names):
            raise FeedError(f"signals: expected shape ({len(self.names)}, n), got {self.values.shape}")
        for name, row in zip(self.names, self.values, strict=True):
            check_signal(name, row, self.kind)
        frozen(self.values)
        if self.null is not None:
            if self.null.shape != self.values.shape or self.null.dtype != bool:
                raise FeedError(f"signals.null: expected bool {self.values.shape}, got {self.null.shape}")
            if self.values[self.null].any():
                raise FeedError("signals: expected 0 where a value is null")
            frozen(self.null)

    @classmethod
    def from_columns(
        cls, columns: dict[str, FloatArray], null: dict[str, BoolArray], n: int, kind: SignalKind
    ) -> "Signals":
        """Stack named columns; `null` holds a mask for those that have missing values."""
        names = tuple(name for name in SIGNAL_NAMES if name in columns)
        values = np.zeros((len(names), n))
        mask = np.zeros((len(names), n), dtype=bool) if any(null[k].any() for k in null) else None
        for i, name in enumerate(names):
            values[i] = columns[name]
            if name in null and mask is not None:
                mask[i] = null[name]
                values[i, null[name]] = 0.0
        return cls(names, values, mask, kind)

    def get(self, name: str) -> FloatArray:
        """(n,) the signal's values, NaN where it was not measured."""
        if name not in self.names:
            return np.full(self.values.shape[1], np.nan)
        i = self.names.index(name)
        return self.values[i] if self.null is None else np.where(self.null[i], np.nan, self.values[i])

    def counted(self, name: str) -> FloatArray:
        """(n,) the signal's values for a sum: 0 where it was not measured."""
        return self.values[self.names.index(name)] if name in self.names else np.zeros(self.values.shape[1])

    def take(self, rows: IntArray | slice) -> "Signals":
        """The chosen candidates; not validated again."""
        mask = None if self.null is None else frozen(_candidates(self.null, rows))
        return with_changes(Signals, self, values=frozen(_candidates(self.values, rows)), null=mask)

    def without(self, drop: Sequence[str]) -> "Signals":
        """The signals less those named, as if they had never been measured."""
        keep = [i for i, name in enumerate(self.names) if name not in drop]
        if len(keep) == len(self.names):
            return self
        names = tuple(self.names[i] for i in keep)
        mask = None if self.null is None else frozen(self.null[keep])
        return with_changes(Signals, self, names=names, values=frozen(self.values[keep]), null=mask)


def column_name(name: str, kind: SignalKind) -> str:
    """What a signal's column is called in a file: "like" for counts, "p_like" for probabilities."""
    return name if kind == "counts" else f"p_{name}"


def check_signal(name: str, values: FloatArray, kind: SignalKind) -> None:
    """Refuse the first value (n,) that no count or probability can be; NaN is one such.

    Raises:
        FeedError: names the column, the value and its row.
    """
    top = 1.0 if kind == "probabilities" and name != "dwell_s" else MAX_COUNT
    if values.size and not (values.min() >= 0 and values.max() <= top):  # NaN fails both
        at = first_row(~((values >= 0) & (values <= top)))
        expected = "a finite number from 0 to 2**53" if top > 1 else "a probability in [0, 1]"
        raise FeedError(f"{column_name(name, kind)}: expected {expected}, got {values[at]} at row {at}")


def _candidates(table: AnyArray, rows: IntArray | slice) -> AnyArray:
    """(S, m) the chosen columns, still row by row in memory: table[:, rows] would turn it round."""
    return cast(AnyArray, table[:, rows] if isinstance(rows, slice) else table.take(rows, axis=1))

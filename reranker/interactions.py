"""Single acts on posts: from these a policy makes counts per kind and relation."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.scores import Content
from reranker.columns import BoolArray, FeedError, IntArray, StringColumn, closest, first_row, freeze_arrays
from reranker.signals import RELATIONS, SIGNAL_NAMES
from reranker.significance import is_single_character, n_tokens, n_unique_tokens

# The kinds that a policy makes of one whose text is known.
MADE_FROM = {
    "comment": ("significant_comment",),
    "reply": ("significant_reply",),
    "reshare": ("reshare_with_text", "significant_reshare"),
    "message": ("significant_message",),
}


@dataclass(frozen=True, eq=False)
class Interactions:
    """Single acts on posts: from these, counts per kind and relation are made.

    All columns have length m. `kind` is a signal's name before the significant-comment rule is applied
    (comment, reply, reshare, message, or any signal that needs no text).

    Attributes:
        post_id: the post acted on.
        kind: what was done.
        actor: who did it.
        relation: index into RELATIONS of the actor to the post's author, -1 where unknown.
        text: what was written.
        has_photo, has_video, is_avatar: attachments of a comment, share or message.
        time, deleted_at, edited_at: datetime64[us], NaT where it did not happen or is not known.
    """

    post_id: StringColumn
    kind: StringColumn
    actor: StringColumn
    relation: NDArray[np.int8]
    text: StringColumn
    has_photo: BoolArray
    has_video: BoolArray
    is_avatar: BoolArray
    time: NDArray[np.datetime64]
    deleted_at: NDArray[np.datetime64]
    edited_at: NDArray[np.datetime64]

    def __post_init__(self) -> None:
        m = len(self.post_id)
        for item in fields(self):
            if len(getattr(self, item.name)) != m:
                raise FeedError(
                    f"interactions.{item.name}: expected {m} rows, got {len(getattr(self, item.name))}"
                )
        for name in ("post_id", "kind"):
            null = getattr(self, name).is_null
            if null.any():
                raise FeedError(f"interactions.{name}: expected a value, got null at row {first_row(null)}")
        for name in self.kind.present():
            at = first_row(self.kind.codes == self.kind.code_of(name))
            if name not in SIGNAL_NAMES:
                hint = closest(name, SIGNAL_NAMES)
                raise FeedError(f'interactions.kind: unknown signal "{name}" at row {at}{hint}')
            if name.startswith(("significant_", "long_", "avatar_")) or name == "reshare_with_text":
                raise FeedError(
                    f'interactions.kind: "{name}" is made from the text; give the plain kind at row {at}'
                )
        outside = (self.relation < -1) | (self.relation >= len(RELATIONS))
        if outside.any():
            at = first_row(outside)
            raise FeedError(
                f"interactions.relation: expected codes from -1 to {len(RELATIONS) - 1}, "
                f"got {self.relation[at]} at row {at}"
            )
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.post_id)

    @cached_property
    def n_unique_tokens(self) -> IntArray:
        """(m,) different tokens of each text; 0 where null. Read once, whatever policies ask."""
        return _per_text(self.text, n_unique_tokens)

    @cached_property
    def n_tokens(self) -> IntArray:
        """(m,) tokens of each text, repeats included; 0 where null."""
        return _per_text(self.text, n_tokens)

    @cached_property
    def is_written(self) -> BoolArray:
        """(m,) whether there is more than white space."""
        return _per_text(self.text, lambda text: len(text.strip())) > 0

    @cached_property
    def is_single_character(self) -> BoolArray:
        """(m,) whether a text is at most one character as a reader sees it; False where null."""
        return (_per_text(self.text, is_single_character) > 0) & ~self.text.is_null

    def content(self) -> Content:
        """What a scorer reads to judge the tone of the comments."""
        texts = self.text.to_list()
        return Content(text=texts, language=[None] * len(texts), urls=[None] * len(texts))


def _per_text(column: StringColumn, measure: Callable[[str], int]) -> IntArray:
    """(m,) a measure of each text, computed once per distinct text; 0 where null."""
    used = np.unique(column.codes[column.codes >= 0])
    lookup = np.zeros(len(column.values) + 1, dtype=np.int64)
    for code in used.tolist():
        lookup[code] = measure(column.values[code])
    found: IntArray = lookup[column.codes]
    found.flags.writeable = False
    return found

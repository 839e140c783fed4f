"""Long texts as overlapping windows of tokens, none of them cut.

A classifier reads at most `max_tokens` tokens at once. A longer text becomes several windows, each with the
special tokens, so that every word is read. Memory stays bounded whatever the length of a text: it is
tokenised in pieces, and windows are handed out in groups.
"""

from collections.abc import Iterator, Sequence

from tokenizers import Tokenizer

_OVERLAP = 8  # a window repeats one eighth of the one before, so that no phrase is torn apart
_PIECE_CHARS, _SHARED_CHARS = 65_536, 256  # pieces of a text overlap too
_GROUP_CHARS = 1 << 20

Group = tuple[list[int], list[list[int]]]


def windowed(tokenizer: Tokenizer, max_tokens: int) -> Tokenizer:
    """The tokenizer, set to return what exceeds `max_tokens` tokens as further windows."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, stride=max_tokens // _OVERLAP)
    return tokenizer


def windows(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[Group]:
    """Groups of windows in the order of the texts: the row of the text of each, and its token ids.

    `tokenizer` comes from `windowed`. A text of one window has one; none has no window.
    """
    rows: list[int] = []
    parts: list[str] = []
    held = 0
    for row, text in enumerate(texts):
        for piece in pieces(text):
            rows.append(row)
            parts.append(piece)
            held += len(piece)
            if held >= _GROUP_CHARS:
                yield _tokenised(tokenizer, rows, parts)
                rows, parts, held = [], [], 0
    if rows:
        yield _tokenised(tokenizer, rows, parts)


def pieces(text: str, size: int = _PIECE_CHARS, shared: int = _SHARED_CHARS) -> Iterator[str]:
    """The text in overlapping pieces of at most `size` characters, parted at spaces where there are any."""
    start = 0
    while len(text) - start > size:
        end = text.rfind(" ", start + size // 2, start + size)
        end = start + size if end < 0 else end
        yield text[start:end]
        start = text.find(" ", end - shared, end) + 1 or end - shared
    yield text[start:] if start else text


def _tokenised(tokenizer: Tokenizer, rows: list[int], parts: list[str]) -> Group:
    of: list[int] = []
    ids: list[list[int]] = []
    for row, encoding in zip(rows, tokenizer.encode_batch_fast(parts), strict=True):
        for window in (encoding, *encoding.overflowing):
            of.append(row)
            ids.append(window.ids)
    return of, ids

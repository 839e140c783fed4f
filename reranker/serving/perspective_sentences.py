"""Sentences as spans of a text, and their offsets as clients count.

Spans lie end to end: each begins where the one before ended and takes the white space after it along, as
in Perspective's answers. Offsets are UTF-16 code units, as its interface says: what JavaScript, Java and C#
count. Python counts code points, which differ from the first emoji on.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

MOST = 100

Span = tuple[int, int]

_CLOSING = "\"'\u201d\u2019\u00bb)\\]*_"
_WIDE = "\u3002\uff01\uff1f"  # the full stop, exclamation and question mark of Chinese and Japanese
# Each alternative can begin only where a run begins, so a text of many marks is read once.
_END = re.compile(
    rf"(?<![.!?\u2026])(?P<mark>[.!?\u2026]+)(?P<closing>[{_CLOSING}]*)(?:\s+|$)"
    rf"|(?<![{_WIDE}])[{_WIDE}]+[\u300d\u300f\u201d\u2019)]*\s*"
    r"|[\n\r\u2028\u2029]\s*"
)
_BEFORE = re.compile(r"[^\s\"'\u201c\u2018\u00ab(\[*_]*$")
_LONGEST_ABBREVIATION = 12
# No sentence ends after these, or only where a capital follows.
_TITLES = re.compile(
    "m(r|rs|s|x)|dr|prof|rev|hon|gen|col|sgt|capt|lt|cmdr|sen|rep|gov|vs|cf|figs?|approx|dept|eg|ie|viz|al"
)
_OTHERS = re.compile(
    "etc|inc|ltd|co|corp|jr|sr|st|ave|est|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|.*[.].*"
)


def sentences(text: str, most: int = MOST) -> list[Span]:
    """Spans of the sentences of a text, in code points, end to end from 0 to its length.

    A sentence ends at a mark before white space, or at a line break. More than `most` are joined, each
    span then holding as many sentences. A text without characters has no span.
    """
    if not text:
        return []
    ends = [0]
    for found in _END.finditer(text):
        blank = not text[ends[-1] : found.end()].strip()
        if not blank and (found["mark"] is None or _is_end(text, ends[-1], found)):
            ends.append(found.end())
    if text[ends[-1] :].strip() or len(ends) == 1:
        ends.append(len(text))
    else:
        ends[-1] = len(text)
    stride = -(-(len(ends) - 1) // most)
    return list(pairwise([*ends[:-1:stride], len(text)]))


def in_utf16(text: str, spans: Sequence[Span]) -> list[Span]:
    """The spans, which lie in order, in UTF-16 code units."""
    if not text or max(text) <= "\uffff":
        return list(spans)
    found = []
    done = units = 0
    for begin, end in spans:
        start = units + utf16_length(text[done:begin])
        units = start + utf16_length(text[begin:end])
        found.append((start, units))
        done = end
    return found


def utf16_length(text: str) -> int:
    """The number of UTF-16 code units of a text without lone surrogates."""
    return len(text) + sum(char > "\uffff" for char in text)


def slice_utf16(text: str, begin: int, end: int) -> str | None:
    """The part [begin, end) of a text in UTF-16 code units; None outside it or within a character."""
    units = text.encode("utf-16-le")
    if not 0 <= begin < end <= len(units) // 2:
        return None
    try:
        return units[2 * begin : 2 * end].decode("utf-16-le")
    except UnicodeDecodeError:
        return None


def _is_end(text: str, start: int, found: re.Match[str]) -> bool:
    """Whether a mark ends the sentence from `start`: not after "Dr", nor "..." before a small letter."""
    mark, following = found["mark"], text[found.end() : found.end() + 1]
    if not following:
        return True
    if found["closing"] or mark in {"…", "..."} or len(mark) > 3:
        return not following.islower()
    if mark != ".":
        return True
    near = text[max(start, found.start() - _LONGEST_ABBREVIATION) : found.start()]
    before = _BEFORE.search(near)
    word = before.group().lower() if before else ""
    if _TITLES.fullmatch(word) or (word.isdigit() and text[start : found.start()].strip() == word):
        return False
    if len(word) == 1 and word.isalpha() and word != "i":
        return False
    return not (following.islower() and _OTHERS.fullmatch(word))

"""Suggested scores as lines of a JSONL file that `training.prepare --own` takes.

A line is a row of labelled text: `text`, one column per label, `source`, and `language` where it is known.
Who suggested it is not written; the community is, in `source`.
"""

import json
import os
from pathlib import Path

from models.language import languages_of
from reranker.serving.perspective_attributes import public_names
from reranker.serving.perspective_errors import (
    invalid_request,
    invalid_value,
    no_requested_attributes,
    unknown_attribute,
    unsupported_score_type,
)
from reranker.serving.perspective_schema import (
    PROBABILITY,
    AttributeScores,
    Score,
    SpanScore,
    SuggestCommentScoreRequest,
)
from reranker.serving.perspective_sentences import slice_utf16

SOURCE = "suggested"
LONGEST_COMMUNITY = 200

Row = dict[str, str | float]


def rows(request: SuggestCommentScoreRequest, text: str) -> list[Row]:
    """The text with its suggested scores, then every part of it that has scores of its own.

    Raises:
        ApiError: an attribute that the taxonomy does not know, no score, a score that is no probability,
            spans outside the text, out of order or within a character, or a community of a long name.
    """
    labels = public_names()
    found: dict[str, Row] = {text: {}}
    for requested, given in (request.attribute_scores or {}).items():
        name = requested.partition("@")[0]
        if name not in labels:
            raise unknown_attribute(requested)
        for part, value in _scored(requested, given or AttributeScores(), text):
            row = found.setdefault(part, {})
            if row.setdefault(labels[name], value) != value:
                raise invalid_request(f"Attribute {requested} has two scores for the same text")
    filled = {part: row for part, row in found.items() if row}
    if not filled:
        raise no_requested_attributes()
    common = _common(request, text)
    return [{"text": part, **row, **common} for part, row in filled.items()]


def append(path: Path, given: list[Row]) -> None:
    """Adds one line per row, all or none, also beside other processes that do.

    Raises:
        OSError: the file cannot be written; it then holds what it held before.
    """
    import fcntl  # noqa: PLC0415 - where there is none, the rest of the services runs

    data = "".join(json.dumps(row) + "\n" for row in given).encode("ascii")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        try:
            written = os.write(descriptor, data)
            if written < len(data):
                raise OSError(f"{path}: wrote {written} of {len(data)} bytes")
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def _common(request: SuggestCommentScoreRequest, text: str) -> Row:
    """The columns that all rows of a suggestion share."""
    community = (request.community_id or "").strip().lstrip("/")
    if len(community) > LONGEST_COMMUNITY:
        raise invalid_value("communityId", f"at most {LONGEST_COMMUNITY} characters", f"{len(community)}")
    language = languages_of([text], [next(iter(request.languages or ()), None)], ("en",))[0]
    common: Row = {"source": f"{SOURCE}/{community}" if community else SOURCE}
    return common | {"language": language} if language else common


def _scored(name: str, given: AttributeScores, text: str) -> list[tuple[str, float]]:
    """The texts that an attribute has suggested scores for."""
    found = []
    if given.summary_score is not None:
        found.append((text, _value(name, given.summary_score)))
    done = 0
    for span in given.span_scores or ():
        part, done = _part(name, span, text, done)
        if span.score is not None and part.strip():
            found.append((part, _value(name, span.score)))
    return found


def _part(name: str, span: SpanScore, text: str, done: int) -> tuple[str, int]:
    """The part of a text that a span is of, and its end; the spans before it end at `done`."""
    if span.begin is None and span.end is None:
        return text, done
    begin, end = span.begin or 0, span.end or 0
    part = slice_utf16(text, begin, end) if begin >= done else None
    if part is None:
        path = f"attributeScores.{name}.spanScores"
        raise invalid_value(path, "spans of the text, in UTF-16 units and in order", f"[{begin}, {end})")
    return part, end


def _value(name: str, score: Score) -> float:
    if score.type not in {None, "", PROBABILITY, "SCORE_TYPE_UNSPECIFIED"}:
        raise unsupported_score_type(str(score.type), name)
    if score.value is None:
        raise invalid_value(f"attributeScores.{name}", "a value in [0, 1]", "none")
    return score.value

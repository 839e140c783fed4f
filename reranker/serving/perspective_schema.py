"""Requests and answers of the Perspective API as types; the discovery document is made from them.

As in Google's JSON, a field may be null or absent alike, fields have a second name in snake_case, and
fields that are not known are ignored.
"""

import json
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from reranker.serving.perspective_errors import ApiError, body_too_large, invalid_json, invalid_value

PROBABILITY = "PROBABILITY"

MAX_BODY_BYTES = 2 * 2**20
"""A comment is small; a context entry, which is not read, may have 1 MB."""

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Languages = Annotated[list[str], Field(max_length=100)]


class Message(BaseModel):
    """What all requests and answers have in common."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class TextEntry(Message):
    """A text and its type."""

    text: str | None = Field(None, description="The text, in UTF-8.")
    type: str | None = Field(None, description="PLAIN_TEXT, which is the default.")


class ArticleAndParentComment(Message):
    """What a comment stands under."""

    article: TextEntry | None = None
    parent_comment: TextEntry | None = None


class Context(Message):
    """What surrounds a comment; accepted, and not read."""

    entries: list[TextEntry] | None = None
    article_and_parent_comment: ArticleAndParentComment | None = None


class AttributeParameters(Message):
    """How an attribute is to be scored."""

    score_type: str | None = Field(None, description="PROBABILITY, which is the default.")
    score_threshold: float | None = Field(
        None, allow_inf_nan=False, description="The attribute is left out of the answer below it."
    )


class AnalyzeCommentRequest(Message):
    """A comment and the attributes to score it for."""

    model_config = ConfigDict(json_schema_extra={"required": ["comment", "requestedAttributes"]})

    comment: TextEntry | None = None
    requested_attributes: dict[str, AttributeParameters | None] | None = Field(
        None, description="By name, or NAME@VERSION."
    )
    span_annotations: bool | None = Field(None, description="Score every sentence as well.")
    languages: Languages | None = Field(None, description="BCP 47; detected where absent.")
    context: Context | None = None
    do_not_store: bool | None = Field(None, description="Accepted; comments to analyze are never stored.")
    client_token: str | None = Field(None, description="Echoed.")
    session_id: str | None = None
    community_id: str | None = None


class Score(Message):
    """A probability in [0, 1]."""

    value: Probability | None = None
    type: str | None = Field(None, description="PROBABILITY")


class SpanScore(Message):
    """The score of the part [begin, end) of a text, in UTF-16 code units; without both, of all of it."""

    begin: Annotated[int, Field(ge=0)] | None = None
    end: Annotated[int, Field(ge=0)] | None = None
    score: Score | None = None


class AttributeScores(Message):
    """The score of a whole text, and those of its parts."""

    summary_score: Score | None = None
    span_scores: Annotated[list[SpanScore], Field(max_length=1_000)] | None = None


class AnalyzeCommentResponse(Message):
    """Scores by the names of the request."""

    attribute_scores: dict[str, AttributeScores] | None = None
    languages: list[str] | None = Field(None, description="Those of the request, or the one read.")
    detected_languages: list[str] | None = None
    client_token: str | None = None


class SuggestCommentScoreRequest(Message):
    """A comment and the scores that it should have."""

    model_config = ConfigDict(json_schema_extra={"required": ["comment", "attributeScores"]})

    comment: TextEntry | None = None
    attribute_scores: dict[str, AttributeScores | None] | None = None
    languages: Languages | None = Field(None, description="BCP 47; detected where absent.")
    context: Context | None = None
    community_id: str | None = Field(None, description="Whose norms the suggestion follows.")
    do_not_store: bool | None = Field(None, description="Nothing is written if true.")
    client_token: str | None = Field(None, description="Echoed.")
    session_id: str | None = None


class SuggestCommentScoreResponse(Message):
    """That the suggestion was taken."""

    client_token: str | None = None


class ErrorStatus(Message):
    """What went wrong."""

    code: int
    message: str
    status: str
    details: list[dict[str, Any]] | None = None


class ErrorResponse(Message):
    """Every answer other than 200."""

    error: ErrorStatus


Request = TypeVar("Request", AnalyzeCommentRequest, SuggestCommentScoreRequest)


def parsed(body: bytes, kind: type[Request]) -> Request:
    """The request in a body, whatever its content type; an empty body is the empty request.

    Half of a surrogate pair, which is no character, becomes U+FFFD. Offsets in UTF-16 stay the same.

    Raises:
        ApiError: the body is too large, not UTF-8, not JSON or not an object, or a field has another type.
    """
    if len(body) > MAX_BODY_BYTES:
        raise body_too_large(MAX_BODY_BYTES)
    found = _loaded(body)
    if not isinstance(found, dict):
        raise invalid_json(f"Expected an object, got {_kind(found)}.")
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise _told(error) from None


def _loaded(body: bytes) -> object:
    try:
        text = body.decode("utf-8-sig")
        found = json.loads(text.strip() or "{}", parse_constant=_refused)
        if "\\ud" in text.lower():
            plain = json.dumps(found, ensure_ascii=False)
            found = json.loads(plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))
    except UnicodeDecodeError as error:
        raise invalid_json(f"Expected UTF-8, got another byte at position {error.start}.") from None
    except json.JSONDecodeError as error:
        raise invalid_json(f"{error.msg} at line {error.lineno}, column {error.colno}.") from None
    except RecursionError:
        raise invalid_json("It is nested too deeply.") from None
    except ValueError:  # an integer of thousands of digits, NaN or infinity
        raise invalid_json("Expected numbers that JSON allows.") from None
    return found


def _refused(constant: str) -> float:
    raise ValueError(constant)


def _told(error: ValidationError) -> ApiError:
    """The first error, with the path of the field in the client's spelling; never the value."""
    first = error.errors(include_url=False, include_context=False)[0]
    path = ".".join(str(part) for part in first["loc"])
    expected = first["msg"].removeprefix("Input should be ")
    return invalid_value(path, expected, _kind(first["input"]))


def _kind(value: object) -> str:
    """The JSON type of a value."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "another")

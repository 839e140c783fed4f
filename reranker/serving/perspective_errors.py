"""Errors in the shape that Google's APIs give them, with the messages that Perspective's clients match on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response

_TYPE = "type.googleapis.com/google.commentanalyzer.v1alpha1.AnalyzeCommentError"
_RETRY = "type.googleapis.com/google.rpc.RetryInfo"


@dataclass(eq=False)
class ApiError(Exception):
    """An answer other than 200; `status` is the name of Google's canonical error code.

    `retry_after_s` says when another attempt is worth its while; None for never.
    """

    code: int
    status: str
    message: str
    details: Sequence[Mapping[str, Any]] = ()
    retry_after_s: int | None = None

    def response(self) -> Response:
        """The answer."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = list(self.details)
        headers = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return answer({"error": error}, self.code, headers)


def answer(content: object, code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON in ASCII, so that a character that is no text (half of an emoji) can be echoed."""
    body = json.dumps(content, allow_nan=False).encode("ascii")
    return Response(body, code, dict(headers or {}), "application/json; charset=utf-8")


def invalid_request(message: str) -> ApiError:
    """A request that cannot be read or asks for what is not there."""
    return _invalid(message, "INVALID_REQUEST")


def invalid_json(reason: str) -> ApiError:
    """A body that is not the JSON of a request."""
    return invalid_request(f"Invalid JSON payload received. {reason}")


def invalid_value(path: str, expected: str, got: str) -> ApiError:
    """A field of another type or range."""
    return invalid_request(f"Invalid value at '{path}': expected {expected}, got {got}")


def unknown_attribute(name: str) -> ApiError:
    """An attribute, or a version of one, that is not served."""
    return invalid_request(f"Unknown requested attribute: {name}")


def unsupported_score_type(kind: str, name: str) -> ApiError:
    """Another kind of score than a probability."""
    return invalid_request(f"Requested score type {kind} is not supported by attribute {name}")


def unsupported_text_type() -> ApiError:
    """HTML, for example."""
    return invalid_request("Currently, only 'PLAIN_TEXT' comments are supported")


def comment_empty() -> ApiError:
    """There is nothing to read."""
    return _invalid("Comment must be non-empty.", "COMMENT_EMPTY")


def comment_too_long() -> ApiError:
    """More bytes than are read."""
    return _invalid("Comment text too long.", "COMMENT_TOO_LONG")


def no_requested_attributes() -> ApiError:
    """Nothing was asked."""
    return _invalid("Missing requested_attributes", "NO_REQUESTED_ATTRIBUTES")


def language_detection_failed() -> ApiError:
    """A script of no language that is known."""
    return _invalid("Unable to detect language", "LANGUAGE_DETECTION_FAILED")


def language_not_supported(name: str, stated: Sequence[str], detected: Sequence[str]) -> ApiError:
    """A text in another language than is served: `stated` by the client, or else `detected`."""
    about: dict[str, Any] = {"detectedLanguages": list(detected), "attribute": name}
    if stated:
        about["requestedLanguages"] = list(stated)
    return _invalid(
        f"Attribute {name} does not support request languages: {', '.join(stated or detected)}",
        "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE",
        {"languageNotSupportedByAttributeError": about},
    )


def busy(retry_after_s: int) -> ApiError:
    """Too many texts are waiting; 429 is what Google's clients repeat, as after a quota."""
    return _retry(429, "RESOURCE_EXHAUSTED", "Too many comments are waiting; try again.", retry_after_s)


def unavailable(message: str) -> ApiError:
    """What the answer needs is not there."""
    return _retry(503, "UNAVAILABLE", message, 1)


def unimplemented(message: str) -> ApiError:
    """The operator has not switched it on."""
    return ApiError(501, "UNIMPLEMENTED", message)


def body_too_large(most: int) -> ApiError:
    """More than a request of this API can need."""
    return ApiError(413, "INVALID_ARGUMENT", f"Request payload size exceeds the limit: {most} bytes.")


def not_found(message: str) -> ApiError:
    """There is no such thing."""
    return ApiError(404, "NOT_FOUND", message)


def _invalid(message: str, kind: str, more: Mapping[str, Any] | None = None) -> ApiError:
    detail = {"@type": _TYPE, "errorType": kind, **(more or {})}
    return ApiError(400, "INVALID_ARGUMENT", message, (detail,))


def _retry(code: int, status: str, message: str, after_s: int) -> ApiError:
    return ApiError(code, status, message, ({"@type": _RETRY, "retryDelay": f"{after_s}s"},), after_s)

"""What goes wrong while serving, and how each contract says it.

Bodies that the routes do not make themselves, such as a refusal before a route was found, take the form of
the contract that the path belongs to.
"""

from collections.abc import Mapping

from starlette.responses import JSONResponse

_GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    503: "UNAVAILABLE",
}
_XRPC = {
    400: "InvalidRequest",
    401: "AuthMissing",
    404: "NotFound",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    413: "PayloadTooLarge",
    422: "InvalidRequest",
    503: "NotEnoughResources",
}


class BusyError(Exception):
    """The queue of texts is full: answer 503 with Retry-After, in seconds `retry_after_s`."""

    def __init__(self, message: str = "the queue of texts is full", retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ScorerError(Exception):
    """No scores: the scorer is missing, too slow or broken."""


def error_answer(
    path: str, status: int, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error in the form of the contract whose path this is; elsewhere `{"error": message}`."""
    content: dict[str, object] = {"error": message}
    if path.startswith("/v1alpha1/"):
        content = {"error": {"code": status, "message": message, "status": _GOOGLE.get(status, "INTERNAL")}}
    elif path.startswith("/xrpc/"):
        content = {"error": _XRPC.get(status, "InternalServerError"), "message": message}
    return JSONResponse(content, status, headers)

"""Several calls in one body of type multipart/mixed, as Google's client libraries send a batch.

Each part is a whole HTTP request as text; each part of the answer, in the same order, a whole HTTP response.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser

from fastapi import Response

from reranker.serving.perspective_errors import invalid_request

MOST_CALLS = 1_000

_BOUNDARY = "batch_answer"
_REQUEST_LINE = re.compile(rb"\s*POST (?:https?://[^/\s]*)?/?([^\s?]*)(?:\?\S*)? HTTP/1\.[01][ \t]*")


@dataclass(frozen=True)
class Call:
    """One call of a batch; `path` is None where it is none that can be called."""

    content_id: str
    path: str | None
    body: bytes


def calls(content_type: str, body: bytes) -> list[Call]:
    """The calls in the body of a batch.

    Raises:
        ApiError: it is not multipart/mixed, holds nothing, or more than 1,000 calls.
    """
    head = b"Content-Type: " + " ".join(content_type.split()).encode("utf-8", "replace") + b"\r\n\r\n"
    whole = BytesParser().parsebytes(head + body)
    parts = whole.get_payload()
    if whole.get_content_type() != "multipart/mixed" or not isinstance(parts, list) or not parts:
        raise invalid_request("Expected a batch of type multipart/mixed with at least one part")
    if len(parts) > MOST_CALLS:
        raise invalid_request(f"Expected a batch of at most {MOST_CALLS:,} calls, got {len(parts):,}")
    return [_call(part) for part in parts if isinstance(part, Message)]


def batch_answer(given: Sequence[Call], answers: Sequence[Response]) -> Response:
    """The answers to the calls of a batch, in their order."""
    parts = [_part(call, response) for call, response in zip(given, answers, strict=True)]
    body = b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()
    return Response(body, headers={"content-type": f'multipart/mixed; boundary="{_BOUNDARY}"'})


def _call(part: Message) -> Call:
    payload = part.get_payload(decode=True)
    text = payload if isinstance(payload, bytes) else b""
    head, _, body = text.replace(b"\r\n", b"\n").lstrip(b"\n").partition(b"\n\n")
    line = _REQUEST_LINE.fullmatch(head.partition(b"\n")[0])
    path = line[1].decode("ascii", "replace") if line else None
    return Call(" ".join(str(part.get("Content-ID", "")).split()), path, body)


def _part(call: Call, response: Response) -> bytes:
    given = call.content_id
    name = f"<response-{given[1:]}" if given.startswith("<") else f"response-{given}"
    head = (
        f"--{_BOUNDARY}\r\nContent-Type: application/http\r\nContent-ID: {name}\r\n\r\n"
        f"HTTP/1.1 {response.status_code} {'OK' if response.status_code == 200 else 'Error'}\r\n"
        f"Content-Type: {response.headers['content-type']}\r\nContent-Length: {len(response.body)}\r\n\r\n"
    )
    return head.encode("ascii", "replace") + bytes(response.body) + b"\r\n"

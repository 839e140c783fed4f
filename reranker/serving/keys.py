"""`Keys`: lets in who sends one of the operator's API keys.

A key comes in the header `X-Api-Key`, as `Authorization: Bearer`, or as the query parameter `key`, as clients
of the Perspective API send it. What must be open to anybody by its contract stays open: health, the documents
that describe the services, the Bluesky feed, and the page of the playground (its data is not).
"""

import hashlib
import hmac
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from reranker.serving.errors import error_answer

OPEN = frozenset(
    {
        "/",
        "/health",
        "/health/live",
        "/health/ready",
        "/openapi.json",
        "/$discovery/rest",
        "/.well-known/did.json",
        "/xrpc/app.bsky.feed.getFeedSkeleton",
        "/xrpc/app.bsky.feed.describeFeedGenerator",
    }
)


MOST_SENT = 8  # keys of one request that are compared
PAGE_FILES = "/playground/files/"


class Keys:
    """ASGI middleware; without keys it is not put in."""

    def __init__(self, app: ASGIApp, keys: tuple[str, ...]) -> None:
        self.app = app
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers 401."""
        if scope["type"] != "http" or _is_open(scope["path"]) or self._is_known(_sent(scope)):
            await self.app(scope, receive, send)
            return
        headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}  # its body is not read
        message = "key: expected a valid API key in X-Api-Key, Authorization: Bearer or ?key="
        await error_answer(scope["path"], 401, message, headers)(scope, receive, send)

    def _is_known(self, sent: list[str]) -> bool:
        """Compares with every key, whether one fits or not: the time tells nothing."""
        found = False
        for key in sent:
            digest = _digest(key)
            for known in self._digests:
                found |= hmac.compare_digest(digest, known)
        return found


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(PAGE_FILES)


def _sent(scope: Scope) -> list[str]:
    headers = Headers(scope=scope)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = [token.strip()] if scheme.lower() == "bearer" else []
    query = parse_qs(scope["query_string"].decode("latin-1")).get("key", [])
    return [*headers.getlist("x-api-key"), *bearer, *query][:MOST_SENT]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()

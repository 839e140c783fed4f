"""`Bodies`: the whole body of a request, within limits of size and time, before anything else sees it."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker.serving.errors import error_answer

_CLOSE = {"Connection": "close"}


class _GoneError(Exception):
    """The client left."""


class _TooLargeError(Exception):
    """The body is over the limit."""


class Bodies:
    """ASGI middleware: answers 413 to large bodies, whatever their headers say, and 408 to slow ones."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, timeout_s: float) -> None:
        self.app = app
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on with its body read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._read(_stated(scope), receive)
        except _GoneError:
            return
        except TimeoutError:
            message = f"body: expected it within {self._timeout_s:g} s"
            await error_answer(path, 408, message, _CLOSE)(scope, receive, send)
            return
        except _TooLargeError:
            message = f"body: expected at most {self._max_bytes} bytes, got more"
            await error_answer(path, 413, message, _CLOSE)(scope, receive, send)
            return
        first = True

        async def replay() -> Message:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        await self.app(scope, replay, send)

    async def _read(self, stated: int | None, receive: Receive) -> bytes:
        """The body. One that is not much too large is read to its end, so that its sender hears why."""
        most = 2 * self._max_bytes
        if stated is not None and stated > most:
            raise _TooLargeError
        parts: list[bytes] = []
        n_bytes, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            part = message.get("body", b"")
            n_bytes += len(part)
            more = message.get("more_body", False)
            if n_bytes <= self._max_bytes:
                parts.append(part)
            elif n_bytes > most:
                raise _TooLargeError
            else:
                parts.clear()
        if n_bytes > self._max_bytes:
            raise _TooLargeError
        return b"".join(parts)


def _stated(scope: Scope) -> int | None:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else None

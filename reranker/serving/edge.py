"""`Edge`: the outermost layer: one log line and one count for each request, its id, no traceback outside."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reranker.serving.errors import error_answer
from reranker.serving.logs import begin_note, log_fields
from reranker.serving.metrics import Metrics

logger = logging.getLogger(__name__)

REQUEST_ID = "X-Request-Id"
CLIENT_LEFT = 499
_CALLERS_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Edge:
    """ASGI middleware; see above."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and says how it went."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, note = time.perf_counter(), begin_note()
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _CALLERS_ID.fullmatch(given) else uuid.uuid4().hex
        status = 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self.app(scope, receive, told)
        except Exception as error:
            logger.error("request %s failed", request_id, exc_info=error)
            if not status:
                message = f"internal error; request {request_id}"
                await error_answer(scope["path"], 500, message)(scope, receive, told)
        finally:
            seconds = time.perf_counter() - began
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.requests.labels(route, str(status or CLIENT_LEFT)).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            fields: dict[str, object] = {
                "request_id": request_id,
                "method": scope["method"],
                "route": route,
                "status": status or CLIENT_LEFT,
                "ms": round(1000 * seconds, 1),
                "items": note.items,
                "degraded": note.degraded,
            }
            log_fields(logger, "request", fields)

"""The playground at `/`: one page, its files, and the JSON that it asks for.

The page holds all state but the feeds; requests name a feed, a request in it and two policies. Nothing here
is in the OpenAPI document: it serves this page only and changes with it.
"""

import asyncio
import hashlib
import mimetypes
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from reranker.columns import FeedError
from reranker.pipeline import Reranker
from reranker.policy import Policy, PolicyError
from reranker.ranking import Ranking
from reranker.serving.playground_feeds import SAMPLE, FeedStore, HeldFeed, UnknownFeedError
from reranker.serving.playground_figures import Change, changes, compare_figures
from reranker.serving.playground_policies import Arm, arm_policy, controls, list_policies, policy_toml
from reranker.serving.playground_reading import MAX_FILE_BYTES, feed_from_file, file_name
from reranker.serving.playground_views import explanation_view, feed_view, labels_view, posts_view, side_view
from reranker.serving.service import BusyError, Service

FILES = Path(__file__).parent / "playground"
ANGRY_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0)
AT_ONCE = 2
MAX_WAITING = 16
READ_S = 0.8  # of texts, per request that waits for them
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
Found = TypeVar("Found")


class Compared(BaseModel):
    """Two policies on one feed; `request` is the place of the request to show, from 0."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feed: str = SAMPLE
    request: Annotated[int, Field(ge=0)] = 0
    original: Arm
    treatment: Arm


class Explained(Compared):
    """A post of the request, to be explained under both policies."""

    post: str


class Swept(BaseModel):
    """An original, and a policy whose weight of angry is swept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feed: str = SAMPLE
    original: Arm
    swept: Arm


class _Told(APIRoute):
    """Answers bad input with one message, as the command line does."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handle(request)
            except (FeedError, PolicyError) as error:
                return _error(422, str(error))
            except UnknownFeedError as error:
                return _error(404, str(error))
            except BusyError as error:
                return _error(503, str(error), {"Retry-After": "1"})
            except HTTPException as error:
                return _error(error.status_code, str(error.detail))
            except RequestValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"] if part != "body")
                return _error(422, f"{where or 'body'}: {first['msg']}")

        return told


class Desk:
    """Work off the event loop, a little at once: sliders of many people must not starve other requests."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    async def do(self, work: Callable[[], Found]) -> Found:
        """What the work returns.

        Raises:
            BusyError: too many are waiting.
        """
        if self._waiting >= MAX_WAITING:
            raise BusyError("the playground is busy")
        self._waiting += 1
        try:
            async with self._free:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def router(service: Service) -> APIRouter:
    """The page at `/` and everything that it asks for, under `/playground`."""
    routes = APIRouter(route_class=_Told, include_in_schema=False)
    store, desk, own = FeedStore(), Desk(), service.settings.policy

    @routes.get("/")
    async def page(request: Request) -> Response:
        return _file(request, "index.html")

    @routes.get("/playground/files/{name}")
    async def file(request: Request, name: str) -> Response:
        return _file(request, name)

    @routes.get("/playground/policies")
    async def policies() -> dict[str, Any]:
        found = await desk.do(lambda: list_policies(own))
        return {"policies": found, "labels": labels_view(), "own": own}

    @routes.post("/playground/policy")
    async def policy(arm: Arm) -> dict[str, Any]:
        return controls(arm_policy(arm, own))

    @routes.post("/playground/policy.toml")
    async def export(arm: Arm) -> Response:
        start = arm_policy(Arm(policy=arm.policy), own)
        return Response(policy_toml(arm_policy(arm, own), start), media_type="application/toml")

    @routes.get("/playground/feeds/{feed}")
    async def describe(feed: str) -> dict[str, Any]:
        held = await store.get(feed)
        await held.read_on(service, READ_S)
        return await desk.do(lambda: feed_view(held))

    @routes.post("/playground/feeds")
    async def load(
        request: Request,
        name: Annotated[str, Query(max_length=200)],
        replaces: Annotated[str, Query(max_length=100)] = "",
    ) -> dict[str, str]:
        content = await _body(request, min(MAX_FILE_BYTES, service.settings.max_body_bytes))
        longest = service.settings.max_text_bytes
        shown = file_name(name)
        feed = await desk.do(lambda: feed_from_file(shown, content, max_text_bytes=longest))
        held = await desk.do(lambda: HeldFeed(shown, feed))
        return {"id": store.add(held, replaces)}

    @routes.get("/playground/feeds/{feed}/requests/{request}")
    async def posts(feed: str, request: int) -> dict[str, Any]:
        held = await _ready(store, feed, request)
        return {"posts": await desk.do(lambda: posts_view(held, request))}

    @routes.post("/playground/compare")
    async def compare(asked: Compared) -> dict[str, Any]:
        held = await _ready(store, asked.feed, asked.request)
        return await desk.do(lambda: _compared(held, asked, own))

    @routes.post("/playground/explain")
    async def explain(asked: Explained) -> dict[str, Any]:
        held = await _ready(store, asked.feed, asked.request)

        def both() -> dict[str, Any]:
            sides = {"original": asked.original, "treatment": asked.treatment}
            return {
                side: explanation_view(held.rank(arm_policy(arm, own)), asked.request, asked.post)
                for side, arm in sides.items()
            }

        return await desk.do(both)

    @routes.post("/playground/sweep")
    async def sweep(asked: Swept) -> dict[str, Any]:
        held = await _ready(store, asked.feed, 0)
        original = await desk.do(lambda: held.rank(arm_policy(asked.original, own)))
        found: dict[str, list[Change]] = {}
        for weight in ANGRY_WEIGHTS:  # one at a time, so that a slider that moves meanwhile is answered
            changed = {**asked.swept.settings, "weights.angry": weight}
            policy = arm_policy(asked.swept.model_copy(update={"settings": changed}), own)
            points = await desk.do(partial(_sweep_point, held, original, policy))
            for metric, point in points.items():
                found.setdefault(metric, []).append(point)
        return {"weights": ANGRY_WEIGHTS, "rows": found}

    return routes


def _compared(held: HeldFeed, asked: Compared, own: str) -> dict[str, Any]:
    original, treatment = (held.rank(arm_policy(arm, own)) for arm in (asked.original, asked.treatment))
    return {
        "original": side_view(original, asked.request),
        "treatment": side_view(treatment, asked.request),
        "figures": compare_figures(original, treatment, held.outcomes),
    }


def _sweep_point(held: HeldFeed, original: Ranking, policy: Policy) -> dict[str, Change]:
    ranking = Reranker(policy, baseline=held.baseline).rank(held.feed, held.harms)
    return changes(original, ranking, held.outcomes)


async def _ready(store: FeedStore, feed: str, request: int) -> HeldFeed:
    held = await store.get(feed)
    if not held.ready:
        raise HTTPException(409, "the texts of this feed are still being read")
    if not 0 <= request < held.feed.n_requests:
        raise FeedError(f"request: expected 0 to {held.feed.n_requests - 1}, got {request}")
    return held


async def _body(request: Request, limit: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit:
            raise HTTPException(413, f"expected a file of at most {limit / 2**20:g} MiB, got a larger one")
    return bytes(content)


def _error(status: int, message: str, headers: Mapping[str, str] = MappingProxyType({})) -> JSONResponse:
    message = " ".join(message.split())[:500]  # it may hold what was sent
    return JSONResponse({"error": message}, status, headers={**HEADERS, **headers})


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Content, media type and digest of each file of the page, by name."""
    found = {}
    for path in sorted(FILES.iterdir()):
        if path.is_file():
            content = path.read_bytes()
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            kind = "text/javascript" if path.suffix == ".js" else kind
            found[path.name] = content, kind, f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    return found


def _file(request: Request, name: str) -> Response:
    if name not in _files():
        return _error(404, "no such file")
    content, kind, tag = _files()[name]
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=HEADERS | {"ETag": tag})
    return Response(content, media_type=kind, headers=HEADERS | {"ETag": tag})

"""`create_app`: the contracts put together into one ASGI application.

From the outside in: request ids, logs and counts; CORS; API keys; the limits of bodies; the routes. What a
route raises becomes an answer here.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from models.scores import Content, HarmScores, Scorer
from reranker.assembly import feed_from_columns
from reranker.columns import FeedError
from reranker.pipeline import Reranker
from reranker.policy import PolicyError
from reranker.serving import bluesky, health, perspective, playground, prosocial
from reranker.serving.bodies import Bodies
from reranker.serving.edge import REQUEST_ID, Edge
from reranker.serving.errors import BusyError, ScorerError, error_answer
from reranker.serving.keys import Keys
from reranker.serving.service import Service
from reranker.serving.settings import ServeSettings
from reranker.value import Harms

logger = logging.getLogger(__name__)


WARM_UP_S = 60.0


class ErrorBody(BaseModel):
    """What went wrong: a sentence, or an object where the contract of the path has one."""

    error: str | dict[str, object]


_ERRORS = {
    401: "No valid API key.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    422: "A parameter is not as expected.",
    500: "An error of the server; the answer has the request's id.",
    503: "Too much to do, or no scores; Retry-After says when to try again.",
}


def create_app(
    settings: ServeSettings,
    scorer: Scorer | None,
    *,
    decided_by: str = "",
    stand_in: Scorer | None = None,
) -> FastAPI:
    """The application; its `state.service` is what the routers use.

    Args:
        settings: limits, files and names.
        scorer: estimates harm from text and links; None serves every ranking without.
        decided_by: what decides the scores beside the model's name, see `Service`.
        stand_in: a quicker scorer, see `Service`.

    Raises:
        PolicyError: the default policy or that of an arm cannot be read.
    """
    service = Service(settings, scorer, decided_by=decided_by, stand_in=stand_in)
    for spec in (settings.policy, *settings.arms.values()):
        service.policy(spec)
    app = FastAPI(
        title="harm-aware reranker",
        docs_url=None,  # its page asks other servers for scripts
        redoc_url=None,
        lifespan=_lifespan,
        middleware=_middleware(service),
        responses={status: {"model": ErrorBody, "description": text} for status, text in _ERRORS.items()},
    )
    app.state.service = service
    for part in (health, prosocial, perspective, bluesky, playground):
        app.include_router(part.router(service))
    _answer_errors(app)
    return app


def _middleware(service: Service) -> list[Middleware]:
    settings = service.settings
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "HEAD", "OPTIONS", "POST"],
        allow_headers=["*"],
        expose_headers=[REQUEST_ID, "Retry-After"],
    )
    keys = [Middleware(Keys, keys=settings.api_keys)] if settings.api_keys else []
    bodies = Middleware(Bodies, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
    return [Middleware(Edge, metrics=service.metrics), cors, *keys, bodies]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    service.open()
    await warm_up(service)
    service.ready = True
    yield
    service.ready = False
    await service.close()


async def warm_up(service: Service) -> None:
    """Some texts and one small ranking, so that the first request does not wait for what is made once.

    The texts are not kept: they say nothing of the posts here.
    """
    harms: Harms | None = None
    feed = feed_from_columns({"request_id": ["r"] * 4, "post_id": list("abcd"), "like": [1, 2, 3, 4]})
    if service.worker is not None:
        try:
            async with asyncio.timeout(WARM_UP_S):
                nothing = await asyncio.wrap_future(service.worker.describe())
                for n in (1, 4, 32):
                    content = Content.of_texts([f"post {i} of {n}, to warm up" for i in range(n)])
                    ticket = service.worker.submit([b"%d of %d" % (i, n) for i in range(n)], content)
                    await asyncio.wrap_future(ticket.done)
                if service.stand_in is not None:
                    content = Content.of_texts(["a post to warm up"])
                    await service.stand_in.fill(
                        HarmScores.unscored(1, nothing.labels, nothing.model), content, np.ones(1, dtype=bool)
                    )
            harms = Harms(HarmScores.unscored(feed.n, nothing.labels, nothing.model), np.full(feed.n, np.nan))
        except (ScorerError, TimeoutError) as error:
            logger.warning("no scores: %s; rankings follow the failure rule of their policy", error)
    for spec in (service.settings.policy, *service.settings.arms.values()):
        try:
            await asyncio.to_thread(Reranker(service.policy(spec)).rank, feed, harms)
        except FeedError as error:
            logger.info("policy %s was not tried: %s", spec, error)


def _answer_errors(app: FastAPI) -> None:
    """Turns what routes raise into answers; anything else is for the edge."""

    async def busy(request: Request, error: Exception) -> Response:
        after = error.retry_after_s if isinstance(error, BusyError) else 1
        return error_answer(request.url.path, 503, str(error), {"Retry-After": str(after)})

    async def no_scores(request: Request, error: Exception) -> Response:
        return error_answer(request.url.path, 503, f"no scores: {error}", {"Retry-After": "5"})

    async def refused(request: Request, error: Exception) -> Response:
        return error_answer(request.url.path, 400, str(error))

    async def invalid(request: Request, error: Exception) -> Response:
        return error_answer(request.url.path, 422, _first_problem(error))

    async def plain(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return error_answer(request.url.path, error.status_code, str(error.detail), error.headers)

    app.add_exception_handler(BusyError, busy)
    app.add_exception_handler(ScorerError, no_scores)
    app.add_exception_handler(FeedError, refused)
    app.add_exception_handler(PolicyError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)


def _first_problem(error: Exception) -> str:
    """Where and what was expected; not what was found, which may be anything."""
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    return f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"

"""`/health`, `/health/live`, `/health/ready` and `/metrics`.

A server whose scorer fails stays ready, since it answers by the policies' failure rules; what it says of its
scorer tells. It is not live when a pass of the scorer hangs, because only a restart ends that.
"""

from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from reranker.serving.service import Service

HANGS_S = 60.0


ScorerState = Literal["ready", "none", "unknown", "failing", "slow"]


class Live(BaseModel):
    """Whether a restart is needed."""

    status: Literal["live", "stuck"]


class Ready(BaseModel):
    """Whether requests should come here, and what would answer them."""

    status: Literal["ready", "starting"]
    scorer: ScorerState
    model: str | None
    policy: str
    digest: str
    queue_texts: int


def router(service: Service) -> APIRouter:
    """The routes that operators and their tools ask."""
    routes = APIRouter(tags=["Operation"])

    @routes.get("/health/live", summary="Is the process of use", responses={503: {"model": Live}})
    async def live(response: Response) -> Live:
        hangs = max(HANGS_S, 2 * service.settings.score_timeout_s)
        if service.worker is None or service.worker.running_s <= hangs:
            return Live(status="live")
        response.status_code = 503
        return Live(status="stuck")

    @routes.get("/health", summary="As /health/ready", responses={503: {"model": Ready}})
    @routes.get("/health/ready", summary="Can requests come", responses={503: {"model": Ready}})
    async def ready(response: Response) -> Ready:
        policy = service.policy(service.settings.policy)
        if not service.ready:
            response.status_code = 503
        return Ready(
            status="ready" if service.ready else "starting",
            scorer=_scorer(service),
            model=service.model,
            policy=policy.name,
            digest=policy.digest,
            queue_texts=0 if service.worker is None else service.worker.n_waiting,
        )

    @routes.get(
        "/metrics",
        summary="Counts for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        service.metrics.queue.set(0 if service.worker is None else service.worker.n_waiting)
        return Response(service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    return routes


def _scorer(service: Service) -> ScorerState:
    """How the scorer did last; unknown where it never said who it is."""
    worker = service.worker
    if worker is None:
        return "none"
    if worker.running_s > service.settings.score_timeout_s:
        return "slow"
    if worker.described is None:
        return "unknown"
    return "failing" if worker.failing else "ready"

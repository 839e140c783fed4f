"""`POST /rank`: the contract of the Prosocial Ranking Challenge.

The cohort chooses the arm, that is, the policy. Nothing is dropped unless the policy removes it, nothing is
inserted, and where the policy cannot rank the answer is the original order and says so.
"""

import asyncio
import logging
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from reranker.columns import FeedError
from reranker.explain import explain_all
from reranker.policy import Policy
from reranker.ranking import Ranking
from reranker.serving.logs import current_note
from reranker.serving.prosocial_body import RequestError, read_request
from reranker.serving.prosocial_feed import feed_of
from reranker.serving.prosocial_schema import (
    Engagements,
    ErrorResponse,
    RankRequest,
    RankResponse,
    request_schema,
)
from reranker.serving.service import Served, Service

logger = logging.getLogger(__name__)

_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def router(service: Service) -> APIRouter:
    """The route of the contract."""
    routes = APIRouter(tags=["Prosocial Ranking Challenge"])

    @routes.post(
        "/rank",
        summary="Rank a feed",
        response_model=RankResponse,
        responses={status: {"model": ErrorResponse} for status in (400, 413, 503)},
        openapi_extra=_request_document(),
    )
    async def rank(request: Request) -> JSONResponse:
        try:
            explained = _flag("explain", request.query_params.get("explain", "false"))
            body = read_request(await request.body(), service.settings)
        except RequestError as error:
            return JSONResponse({"error": str(error)}, error.status)
        return JSONResponse(await answer(service, body, explained=explained))

    return routes


async def answer(service: Service, request: RankRequest[Engagements], *, explained: bool) -> dict[str, Any]:
    """The response to a checked request.

    Raises:
        BusyError: the queue of texts is full.
    """
    if not request.items:
        return _response([], intervened=False, explanations=[] if explained else None)
    policy, feed = arm_of(service, request.session.cohort), feed_of(request)
    try:
        served = await service.rank(feed, policy)
    except FeedError as error:
        reason = current_note().degraded = f"policy {policy.name} cannot rank this feed"
        service.metrics.degraded.labels(reason).inc()
        logger.warning("%s: %s", reason, error)
        ids = [str(feed.post_id[row]) for row in np.argsort(feed.original_order).tolist()]
        return _response(ids, intervened=False, degraded=f"{reason}: {error}")
    explanations = await asyncio.to_thread(_explanations, served.ranking) if explained else None
    ids = served.ranking.ids()
    intervened = intervention_on(served)
    return _response(ids, intervened=intervened, degraded=served.degraded, explanations=explanations)


def arm_of(service: Service, cohort: str | None) -> Policy:
    """The policy of the cohort's arm; that of the default where the cohort is null or has none."""
    settings = service.settings
    return service.policy(settings.policy if cohort is None else settings.arms.get(cohort, settings.policy))


def intervention_on(served: Served) -> bool:
    """Whether a policy ranked: not for a viewer held out, nor by a policy that keeps the original order.

    Such a policy is what a failed ranking holds, and may be what an arm of control is given.
    """
    return not served.ranking.held_out.any() and _has_rules(served.ranking.policy)


def _explanations(ranking: Ranking) -> list[dict[str, Any]]:
    return [found.as_dict() for found in explain_all(ranking)]


def _has_rules(policy: Policy) -> bool:
    """Whether the policy can tell two posts apart at all; an arm of control may be one that cannot."""
    slate = policy.slate
    return bool(
        policy.score.order_by != "engagement"
        or any(policy.every_weight())
        or any(policy.labels.values())
        or policy.demotion
        or policy.anger
        or policy.repeat_offender
        or policy.fatigue
        or policy.exploration
        or slate.author_decay < 1.0
        or slate.author_cap is not None
    )


def _response(
    ids: list[str],
    *,
    intervened: bool,
    degraded: str | None = None,
    explanations: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"intervention_on": intervened}
    if degraded is not None:
        metadata["degraded"] = degraded
    response: dict[str, Any] = {"ranked_ids": ids, "new_items": None, "metadata": metadata}
    return response if explanations is None else response | {"explanations": explanations}


def _flag(name: str, value: str) -> bool:
    if value.lower() not in _FLAGS:
        raise RequestError(f"{name}: expected true or false, got text of length {len(value)}")
    return _FLAGS[value.lower()]


def _request_document() -> dict[str, Any]:
    """What the OpenAPI document says of the query and the body, which are read by hand."""
    schema = {"schema": request_schema()}
    explain_flag = {
        "name": "explain",
        "in": "query",
        "required": False,
        "description": "Add an explanation of each item, in the order of `ranked_ids`.",
        "schema": {"type": "boolean", "default": False},
    }
    body = {"required": True, "content": {"application/json": schema, "text/plain": schema}}
    return {"parameters": [explain_flag], "requestBody": body}

"""The Perspective API on the scorer of this server: analyze, suggestscore and the discovery document.

Bodies are read raw whatever their content type. A client gets every score in answer to its own spelling of
an attribute, and always `spanScores`: one for the whole text unless it asks for sentences, since programs
exist that read the first span alone.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from models.bundled import BUNDLED, artifact_directory
from models.scores import Content, HarmScores
from reranker.serving.errors import BusyError, ScorerError
from reranker.serving.perspective_attributes import Learner
from reranker.serving.perspective_batch import batch_answer, calls
from reranker.serving.perspective_discovery import VERSION, discovery_document, json_schema, root_url
from reranker.serving.perspective_errors import (
    ApiError,
    answer,
    busy,
    comment_empty,
    comment_too_long,
    no_requested_attributes,
    not_found,
    unavailable,
    unimplemented,
    unsupported_score_type,
    unsupported_text_type,
)
from reranker.serving.perspective_feedback import append, rows
from reranker.serving.perspective_schema import (
    PROBABILITY,
    AnalyzeCommentRequest,
    AnalyzeCommentResponse,
    AttributeParameters,
    ErrorResponse,
    Message,
    SuggestCommentScoreRequest,
    SuggestCommentScoreResponse,
    TextEntry,
    parsed,
)
from reranker.serving.perspective_sentences import Span, in_utf16, sentences
from reranker.serving.service import Service

MAX_TEXT_BYTES = 20_480

_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]
Method = Callable[[bytes], Awaitable[Response]]

MESSAGES: Mapping[str, tuple[type[Message], type[Message]]] = {
    "analyze": (AnalyzeCommentRequest, AnalyzeCommentResponse),
    "suggestscore": (SuggestCommentScoreRequest, SuggestCommentScoreResponse),
}
_MIXED = {"multipart/mixed": {"schema": {"type": "string"}}}
BATCH = {
    "requestBody": {"required": True, "content": _MIXED},
    "responses": {"200": {"content": _MIXED, "description": "The answers, in the order of the calls"}},
}
CARD = {
    "parameters": [
        {
            "name": "name",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "enum": sorted(BUNDLED.values())},
        }
    ],
    "responses": {
        "200": {"content": {"text/markdown": {"schema": {"type": "string"}}}, "description": "Markdown"}
    },
}


def router(service: Service) -> APIRouter:
    """The paths of the Perspective API, and two of our own: the attributes served, and their card."""
    learner = Learner(service)
    methods: Mapping[str, Method] = {
        f"{VERSION}/comments:analyze": partial(_analyze, service, learner),
        f"{VERSION}/comments:suggestscore": partial(_suggest, service),
    }

    async def batch(request: Request) -> Response:
        given = calls(request.headers.get("content-type", ""), await request.body())
        one = [_told(methods.get(call.path or "", _no_method)(call.body)) for call in given]
        return batch_answer(given, await asyncio.gather(*one))

    async def attributes(_: Request) -> Response:
        return answer((await learner.catalogue()).to_json())

    async def discovery(request: Request) -> Response:
        if request.query_params.get("version", VERSION) != VERSION:
            raise not_found(f"Discovery document not found; there is one of {VERSION}.")
        return answer(discovery_document(root_url(request), request.query_params.get("key")))

    @asynccontextmanager
    async def learned(_: object) -> AsyncIterator[None]:
        try:
            await learner.catalogue()
        except (ApiError, BusyError, ScorerError) as error:
            _log.warning("perspective: what is served is asked again at the first request: %s", error)
        yield

    routes = APIRouter(tags=["perspective"], lifespan=learned)
    for path, method in methods.items():
        _post(routes, path, method)
    _add(routes, "POST /batch", batch, "Several calls in one body.", (400, 413), described=BATCH)
    _add(routes, f"GET /{VERSION}/attributes", attributes, "The attributes that are served.", (429, 503))
    _add(
        routes,
        f"GET /{VERSION}/cards/{{name}}",
        _card,
        "The card of a bundled model.",
        (404,),
        described=CARD,
    )
    _add(routes, "GET /$discovery/rest", discovery, "The discovery document.", (400, 404))
    return routes


async def _analyze(service: Service, learner: Learner, body: bytes) -> Response:
    return answer(await _analyzed(parsed(body, AnalyzeCommentRequest), service, learner))


async def _suggest(service: Service, body: bytes) -> Response:
    asked = parsed(body, SuggestCommentScoreRequest)
    await _suggested(asked, service)
    return answer(_echo(asked.client_token))


async def _no_method(_: bytes) -> Response:
    raise not_found("There is no such method.")


async def _card(request: Request) -> Response:
    name = request.path_params["name"]
    found = [key for key, value in BUNDLED.items() if value == name]
    if not found:
        raise not_found("There is no such card.")
    text = (artifact_directory(found[0]) / "README.md").read_bytes()
    return Response(text, media_type="text/markdown; charset=utf-8")


async def _analyzed(asked: AnalyzeCommentRequest, service: Service, learner: Learner) -> Mapping[str, Any]:
    text = _text(asked.comment)
    wanted = asked.requested_attributes or {}
    if not wanted:
        raise no_requested_attributes()
    catalogue = await learner.catalogue()
    labels = {requested: catalogue.label(requested) for requested in wanted}
    _check_score_types(wanted)
    stated = asked.languages or []
    read_as, found = catalogue.language(text, stated, next(iter(wanted)))
    spans = sentences(text) if asked.span_annotations else [(0, len(text))]
    parts = [text] if len(spans) == 1 else [text, *(text[begin:end].strip() for begin, end in spans)]
    scores = await service.score(Content(parts, [read_as] * len(parts), [None] * len(parts)))
    if not scores.scored[0]:
        raise comment_empty()
    units = in_utf16(text, spans)
    scored = {
        requested: entry
        for requested, found_label in labels.items()
        if (entry := _attribute(scores, found_label, units, wanted[requested])) is not None
    }
    return {
        **({"attributeScores": scored} if scored else {}),
        "languages": stated or [read_as],
        "detectedLanguages": [found],
        **_echo(asked.client_token),
    }


def _attribute(
    scores: HarmScores, label: str, spans: Sequence[Span], parameters: AttributeParameters | None
) -> Mapping[str, Any] | None:
    """Summary and spans of an attribute; None below the threshold, or where the text has no score.

    Row 0 of the scores is the whole text, the others are its spans if it has several.
    """
    values = scores.column(label)[0]
    rows = values if len(spans) == 1 else values[1:]
    threshold = parameters.score_threshold if parameters else None
    summary = _score(values[0])
    if summary is None or (threshold is not None and summary["value"] < threshold):
        return None
    parts = [
        {"begin": begin, "end": end, "score": part}
        for (begin, end), row in zip(spans, rows, strict=True)
        if (part := _score(row)) is not None
    ]
    return {"summaryScore": summary, "spanScores": parts}


def _score(value: Any) -> dict[str, Any] | None:
    """A float32 in its shortest decimal form; None for NaN."""
    return None if value != value else {"value": float(str(value)), "type": PROBABILITY}  # noqa: PLR0124


async def _suggested(asked: SuggestCommentScoreRequest, service: Service) -> None:
    path = service.settings.feedback
    if path is None:
        raise unimplemented("This server takes no suggestions: it was started without a file for feedback.")
    given = rows(asked, _text(asked.comment))
    if asked.do_not_store:
        return
    try:
        await asyncio.to_thread(append, path, given)
    except OSError as error:
        _log.error("feedback: %s", error)
        raise unavailable("The suggestion could not be stored.") from None


def _text(comment: TextEntry | None) -> str:
    """The text of a comment that is neither empty, nor too long, nor HTML."""
    text = (comment and comment.text) or ""
    if comment and comment.type not in {None, "", "PLAIN_TEXT", "TEXT_TYPE_UNSPECIFIED"}:
        raise unsupported_text_type()
    if not text.strip():
        raise comment_empty()
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise comment_too_long()
    return text


def _check_score_types(wanted: Mapping[str, AttributeParameters | None]) -> None:
    for name, parameters in wanted.items():
        kind = parameters.score_type if parameters else None
        if kind not in {None, "", PROBABILITY, "SCORE_TYPE_UNSPECIFIED"}:
            raise unsupported_score_type(str(kind), name)


def _echo(token: str | None) -> dict[str, str]:
    return {} if token is None else {"clientToken": token}


async def _told(made: Awaitable[Response]) -> Response:
    """The answer, with errors, and those of the scorer, as answers."""
    try:
        return await made
    except ApiError as error:
        return error.response()
    except BusyError as error:
        return busy(error.retry_after_s).response()
    except ScorerError as error:
        return unavailable(f"There are no scores: {error}").response()


def _post(routes: APIRouter, path: str, method: Method) -> None:
    """A method of the API, described by its messages."""
    asked, answered = MESSAGES[path.rpartition(":")[2]]
    body = {"required": True, "content": {"application/json": {"schema": json_schema(asked)}}}

    async def endpoint(request: Request) -> Response:
        return await _told(method(await request.body()))

    routes.add_api_route(
        f"/{path}",
        endpoint,
        methods=["POST"],
        response_model=None,
        responses=_errors((400, 413, 429, 501, 503)) | {200: {"model": answered}},
        openapi_extra={"requestBody": body},
        name=path.rpartition(":")[2],
    )


def _add(
    routes: APIRouter,
    where: str,
    handler: Handler,
    about: str,
    codes: Sequence[int],
    *,
    described: Mapping[str, Any] | None = None,
) -> None:
    method, path = where.split()

    async def endpoint(request: Request) -> Response:
        return await _told(handler(request))

    routes.add_api_route(
        path,
        endpoint,
        methods=[method],
        response_model=None,
        response_class=Response if described else JSONResponse,  # the described ones are not JSON
        responses=_errors(codes),
        summary=about,
        openapi_extra=dict(described or {}),
        name=handler.__name__,
    )


def _errors(codes: Sequence[int]) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorResponse} for code in codes}

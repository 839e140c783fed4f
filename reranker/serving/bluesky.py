"""Bluesky custom feeds: `did.json`, `describeFeedGenerator` and `getFeedSkeleton` of the AT Protocol.

Feeds are public and the same for every reader: nothing in an answer depends on who asks, so the Authorization
header, a token that would say who does, is not read. A feed is told by its record key alone, whichever
account published the record.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from reranker.serving.bluesky_generator import FeedGenerator
from reranker.serving.bluesky_records import AT_URI_PATTERN, GENERATOR
from reranker.serving.bluesky_snapshots import CURSOR_PATTERN, CursorError
from reranker.serving.service import Service

MAX_PAGE, DEFAULT_PAGE = 100, 50
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DID = r"did:[a-z]{1,20}:[A-Za-z0-9._:%-]{0,250}[A-Za-z0-9._-]"
_HOST = re.compile(rf"(?=[^:]{{1,253}}(:|$)){_LABEL}(\.{_LABEL})*(:[0-9]{{1,5}})?")


class XrpcError(BaseModel):
    """An error as every method of the protocol tells it."""

    error: str
    message: str


class SkeletonPost(BaseModel):
    """A post of a feed, by its AT-URI."""

    post: str


class Skeleton(BaseModel):
    """A page of a feed; without a cursor it is the last."""

    feed: list[SkeletonPost]
    cursor: str | None = None


class DescribedFeed(BaseModel):
    """A feed that this server generates."""

    uri: str


class Description(BaseModel):
    """Who generates which feeds."""

    did: str
    feeds: list[DescribedFeed]


class BadRequestError(ValueError):
    """A request that the method refuses; `name` is one of the errors that its lexicon lists."""

    def __init__(self, message: str, name: str = "InvalidRequest") -> None:
        super().__init__(message)
        self.name = name


def router(service: Service) -> APIRouter:
    """The routes, whose lifespan reads the stream; none where the settings name no candidates.

    Raises:
        ValueError: candidates, store, stream, host name or a policy cannot be used (see `FeedGenerator`).
    """
    settings = service.settings
    if settings.candidates is None and settings.jetstream is None:
        return APIRouter()
    generator = FeedGenerator(service)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with generator.running():
            yield

    routes = APIRouter(tags=["bluesky"], lifespan=lifespan)
    _add_skeleton(routes, generator)
    if settings.hostname is not None:
        did = service_did(settings.hostname)
        publisher = did if settings.publisher is None else publisher_did(settings.publisher)
        feeds = [f"at://{publisher}/{GENERATOR}/{feed}" for feed in generator.policies]
        _add_identity(routes, did, settings.hostname, feeds)
    return routes


def service_did(hostname: str) -> str:
    """The did:web of a host.

    Raises:
        ValueError: it is no host name.

    Example:
        >>> service_did("feeds.example.org"), service_did("localhost:8000")
        ('did:web:feeds.example.org', 'did:web:localhost%3A8000')
    """
    if _HOST.fullmatch(hostname) is None:
        raise ValueError(f'hostname: expected a host name such as feeds.example.org, got "{hostname}"')
    return f"did:web:{hostname.lower().replace(':', '%3A')}"


def publisher_did(did: str) -> str:
    """The DID of the account whose records name the feeds.

    Raises:
        ValueError: it is no DID.
    """
    if re.fullmatch(_DID, did) is None:
        raise ValueError(f'publisher: expected a DID such as did:plc:abc, got "{did}"')
    return did


def read_limit(text: str | None) -> int:
    """How many posts a page may have.

    Raises:
        BadRequestError: the text is no integer from 1 to 100.
    """
    if text is None:
        return DEFAULT_PAGE
    limit = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= limit <= MAX_PAGE:
        raise BadRequestError(f"limit: expected an integer from 1 to {MAX_PAGE}, got {text[:40]!r}")
    return limit


def read_feed_key(text: str | None) -> str:
    """The record key in a feed's AT-URI.

    Raises:
        BadRequestError: there is no URI, or it is not that of a feed generator.
    """
    if text is None:
        raise BadRequestError("feed: expected an AT-URI, got none")
    found = AT_URI_PATTERN.fullmatch(text)
    if found is None:
        raise BadRequestError(f"feed: expected at://DID/{GENERATOR}/KEY, got {text[:200]!r}")
    if found[2] != GENERATOR:
        raise BadRequestError(f"expected a feed of {GENERATOR}, got one of {found[2]}", "UnknownFeed")
    return found[3]


def _add_skeleton(routes: APIRouter, generator: FeedGenerator) -> None:
    parameters = _parameters(list(generator.policies))

    @routes.get(
        "/xrpc/app.bsky.feed.getFeedSkeleton",
        response_model=Skeleton,
        response_model_exclude_none=True,
        responses={400: {"model": XrpcError, "description": "InvalidRequest or UnknownFeed"}},
        openapi_extra={"parameters": parameters},
    )
    async def get_feed_skeleton(request: Request) -> JSONResponse:
        """A page of a feed: posts by AT-URI, best first, and the cursor of the next page."""
        try:
            given = {
                str(parameter["name"]): _only(request, str(parameter["name"])) for parameter in parameters
            }
            feed, limit = read_feed_key(given["feed"]), read_limit(given["limit"])
            if feed not in generator.policies:
                raise BadRequestError(f"expected a feed of this server, got {feed!r}", "UnknownFeed")
            page = await generator.page(feed, limit, given["cursor"] or None)
        except CursorError as error:
            return _refusal(BadRequestError(str(error)))
        except BadRequestError as error:
            return _refusal(error)
        answer = Skeleton(feed=[SkeletonPost(post=post) for post in page.posts], cursor=page.cursor)
        headers = None if page.degraded is None else {"X-Degraded": "true"}
        return JSONResponse(answer.model_dump(exclude_none=True), headers=headers)


def _add_identity(routes: APIRouter, did: str, hostname: str, feeds: list[str]) -> None:
    description = Description(did=did, feeds=[DescribedFeed(uri=feed) for feed in feeds])
    document = {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "service": [
            {
                "id": "#bsky_fg",
                "type": "BskyFeedGenerator",
                "serviceEndpoint": f"https://{hostname.lower()}",
            }
        ],
    }

    @routes.get("/xrpc/app.bsky.feed.describeFeedGenerator")
    async def describe_feed_generator() -> Description:
        """The feeds of this server."""
        return description

    @routes.get("/.well-known/did.json")
    async def did_document() -> dict[str, Any]:
        """Where the feeds of this did:web are generated."""
        return document


def _parameters(feeds: list[str]) -> list[dict[str, Any]]:
    """The query of getFeedSkeleton, as OpenAPI has it; refusals have the protocol's form, not FastAPI's."""
    keys = "|".join(re.escape(feed) for feed in feeds)
    shapes: list[tuple[str, bool, dict[str, object]]] = [
        ("feed", True, {"type": "string", "pattern": f"^at://{_DID}/{re.escape(GENERATOR)}/({keys})$"}),
        ("limit", False, {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE}),
        ("cursor", False, {"type": "string", "pattern": f"^({CURSOR_PATTERN.pattern})?$"}),
    ]
    return [
        {"name": name, "in": "query", "required": required, "schema": schema}
        for name, required, schema in shapes
    ]


def _only(request: Request, name: str) -> str | None:
    """The value of a parameter, None where it is not there.

    Raises:
        BadRequestError: it is there more than once.
    """
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise BadRequestError(f"{name}: expected one value, got {len(values)}")
    return values[0] if values else None


def _refusal(error: BadRequestError) -> JSONResponse:
    return JSONResponse(XrpcError(error=error.name, message=str(error)).model_dump(), status_code=400)

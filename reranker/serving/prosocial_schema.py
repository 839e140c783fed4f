"""The bodies of the Prosocial Ranking Challenge's `POST /rank` (its version 3.4.0), in our own models.

Read as leniently as clients of the contract rely on: a count may come as "5", a time as ISO 8601, as
"YYYY-MM-DD hh:mm:ss" or as seconds since 1970, and keys that are not listed are ignored. Links are kept as
they are written, because one odd link is no reason to refuse a feed.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    StrictBool,
    TypeAdapter,
    WithJsonSchema,
)

from reranker.signals import MAX_COUNT

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")


def _encodable(value: str) -> str:
    """The name, which has to come back as it was sent; UnicodeEncodeError is a ValueError."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("text without lone surrogates") from None
    return value


def _legible(value: str) -> str:
    """The text, with U+FFFD where a character was cut in two, as browsers do at a fixed length."""
    return value if value.isascii() else _LONE_SURROGATES.sub("\ufffd", value)


def _in_utc(moment: datetime) -> datetime:
    """The time in UTC, which is what a time without a zone is in already; at most one that can be held."""
    if moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone(UTC).replace(tzinfo=None)
    except OverflowError:  # a zone moves it out of the years 1 to 9999
        return datetime.min if moment.year == 1 else datetime.max


def _number_schema(least: int) -> dict[str, Any]:
    """An integer, and what else is read as one."""
    whole = {"type": "integer", "minimum": least, "maximum": int(MAX_COUNT)}
    digits = {"type": "string", "pattern": "^[0-9]{1,15}$" if least >= 0 else "^-?[0-9]{1,15}$"}
    return {"anyOf": [whole, digits, {"type": "boolean"}]}


_TIME_SCHEMA: dict[str, Any] = {
    "description": "ISO 8601, with a space or a T, UTC where no zone is given; or seconds since 1970, beyond "
    "2e10 milliseconds.",
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "date"},
        {"type": "string", "pattern": "^-?[0-9]{1,10}([.][0-9]{1,6})?$"},
        {"type": "number", "minimum": -62_135_596_800_000, "maximum": 253_402_300_799_999},
    ],
}

Platform = Literal["twitter", "reddit", "facebook"]
Name = Annotated[str, AfterValidator(_encodable)]
Text = Annotated[str, AfterValidator(_legible)]
Time = Annotated[datetime, AfterValidator(_in_utc), WithJsonSchema(_TIME_SCHEMA)]
Count = Annotated[int, Field(ge=0, le=int(MAX_COUNT)), WithJsonSchema(_number_schema(0))]
Net = Annotated[
    int, Field(ge=-int(MAX_COUNT), le=int(MAX_COUNT)), WithJsonSchema(_number_schema(-int(MAX_COUNT)))
]


class Part(BaseModel):
    """An open object of the contract: keys that are not listed are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class TwitterEngagements(Part):
    """Counts of a post on X."""

    retweet: Count
    like: Count
    comment: Count
    share: Count


class RedditEngagements(Part):
    """Counts of a post on Reddit; `score` is upvotes less downvotes."""

    upvote: Count | None = None
    downvote: Count | None = None
    score: Net | None = None
    comment: Count
    award: Count


class FacebookEngagements(Part):
    """Counts of a post on Facebook."""

    like: Count
    love: Count
    care: Count
    haha: Count
    wow: Count
    sad: Count
    angry: Count
    comment: Count
    share: Count


Engagements = TwitterEngagements | RedditEngagements | FacebookEngagements
Counts = TypeVar("Counts")


class Item(Part, Generic[Counts]):
    """A post or comment to be ranked."""

    model_config = ConfigDict(title="Item")

    id: Name
    type: Literal["post", "comment"]
    text: Text
    title: Text | None = None
    author_name_hash: Name
    embedded_urls: list[Text] | None
    created_at: Time
    engagements: Counts
    original_rank: Count | None = None
    post_id: Name | None = None
    parent_id: Name | None = None
    language: Name | None = None


class Session(Part):
    """One page view of one participant."""

    session_id: Name
    user_id: Name
    user_name_hash: Name
    platform: Platform
    url: Text
    current_time: Time
    cohort: Name | None = None
    cohort_index: Count | None = None
    prefetch: StrictBool | None = False


class RankRequest(Part, Generic[Counts]):
    """A feed to be ranked. `survey` is accepted and not used."""

    model_config = ConfigDict(title="RankRequest")

    session: Session
    survey: dict[str, Any] | None = None
    items: Annotated[list[Item[Counts]], FailFast()]


class NewItem(BaseModel):
    """An item to be inserted into the feed; none is."""

    id: str
    url: str


class Metadata(BaseModel):
    """`intervention_on`: the arm's policy ranked; `degraded`: what it had to do without."""

    intervention_on: bool
    degraded: str | None = None


class RankResponse(BaseModel):
    """The ids in the order to be shown; `explanations`, in that order, where they were asked for."""

    ranked_ids: list[str]
    new_items: list[NewItem] | None = None
    metadata: Metadata
    explanations: list[dict[str, Any]] | None = None


class ErrorResponse(BaseModel):
    """What is wrong with the request: where, what was expected, what was found."""

    error: str


_Others = Field(union_mode="smart")
_OwnFirst = Field(union_mode="left_to_right")
_ForTwitter = Annotated[
    TwitterEngagements | Annotated[RedditEngagements | FacebookEngagements, _Others], _OwnFirst
]
_ForReddit = Annotated[
    RedditEngagements | Annotated[TwitterEngagements | FacebookEngagements, _Others], _OwnFirst
]
_ForFacebook = Annotated[
    FacebookEngagements | Annotated[TwitterEngagements | RedditEngagements, _Others], _OwnFirst
]
READERS: dict[Platform, TypeAdapter[RankRequest[Engagements]]] = {
    "twitter": TypeAdapter(RankRequest[_ForTwitter]),
    "reddit": TypeAdapter(RankRequest[_ForReddit]),
    "facebook": TypeAdapter(RankRequest[_ForFacebook]),
}


def request_schema() -> dict[str, Any]:
    """The JSON schema of a request, without references, as an OpenAPI document embeds it."""
    schema = RankRequest[Engagements].model_json_schema()
    definitions = schema.pop("$defs")
    return dict(_resolved(schema, definitions))


def _resolved(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_resolved(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolved(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    return {key: _resolved(part, definitions) for key, part in schema.items()}

"""What a record of the Bluesky network says, as the columns of a feed; nothing here does I/O.

A record is written by its author and checked by nobody before it comes here: each part is taken only where it
has the documented form, and a record without a usable text field is no post.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

POST, LIKE, REPOST = "app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.feed.repost"
GENERATOR = "app.bsky.feed.generator"
MAX_TEXT_BYTES = 10_000  # the network allows 3,000 today
MAX_URLS, MAX_URL_BYTES = 20, 2_000

_DID = r"did:[a-z]{1,20}:[A-Za-z0-9._:%-]{0,250}[A-Za-z0-9._-]"
_RKEY = r"[A-Za-z0-9._:~-]{1,512}"
DID_PATTERN, RKEY_PATTERN = re.compile(_DID), re.compile(_RKEY)
AT_URI_PATTERN = re.compile(rf"at://({_DID})/([A-Za-z0-9.-]{{1,317}})/({_RKEY})")
_POST_URI = re.compile(rf"at://{_DID}/{re.escape(POST)}/{_RKEY}")


@dataclass(frozen=True, slots=True)
class PostRecord:
    """A post as its author wrote it.

    Attributes:
        text: None where it is empty.
        language: the stated language's BCP 47 tag; None unless exactly one is stated.
        urls: links of the text and of the card below it, each once.
        media: one of `reranker.signals.MEDIA_TYPES`.
        parent: AT-URI of the post that it answers.
        quoted: AT-URI of the post that it quotes.
        created_us: when its author says it was written, in microseconds since 1970; None where that cannot
            be read.
    """

    text: str | None
    language: str | None
    urls: tuple[str, ...]
    media: str
    parent: str | None
    quoted: str | None
    created_us: int | None


def post_uri(did: str, rkey: str) -> str:
    """The AT-URI of an account's post."""
    return f"at://{did}/{POST}/{rkey}"


def is_post_uri(value: object) -> bool:
    """Whether a value is the AT-URI of a post, with a DID and not a handle."""
    return isinstance(value, str) and _POST_URI.fullmatch(value) is not None


def read_post(record: dict[str, object]) -> PostRecord | None:
    """The post that a record of `app.bsky.feed.post` holds, None where it holds none."""
    text = record.get("text")
    if record.get("$type") != POST or not isinstance(text, str):
        return None
    text = _clean(text)
    if len(text.encode()) > MAX_TEXT_BYTES:
        return None
    embed = record.get("embed")
    quoted, inner = _quoted(embed)
    media, card = _media(inner)
    links = [*_facet_links(record.get("facets")), *([card] if card else [])]
    return PostRecord(
        text=text or None,
        language=_language(record.get("langs")),
        urls=tuple(dict.fromkeys(links))[:MAX_URLS],
        media=media,
        parent=_parent(record.get("reply")),
        quoted=quoted,
        created_us=_microseconds(record.get("createdAt")),
    )


def subject_of(record: dict[str, object]) -> str | None:
    """The AT-URI of the post that a like or repost is of, None where it is of something else."""
    match record:
        case {"subject": {"uri": str(uri)}} if is_post_uri(uri):
            return uri
    return None


def _clean(text: str) -> str:
    """The text with lone surrogates, which no encoding can write, replaced."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _language(langs: object) -> str | None:
    match langs:
        case [str(tag)] if tag.isascii() and 0 < len(tag) <= 35:
            return tag
    return None


def _parent(reply: object) -> str | None:
    match reply:
        case {"parent": {"uri": str(uri)}} if is_post_uri(uri):
            return uri
    return None


def _quoted(embed: object) -> tuple[str | None, object]:
    """The post that an embed quotes, and the embed that is left beside it."""
    match embed:
        case {"$type": "app.bsky.embed.record", "record": {"uri": str(uri)}}:
            return (uri if is_post_uri(uri) else None), None
        case {
            "$type": "app.bsky.embed.recordWithMedia",
            "record": {"record": {"uri": str(uri)}},
            "media": media,
        }:
            return (uri if is_post_uri(uri) else None), media
    return None, embed


def _media(embed: object) -> tuple[str, str | None]:
    """The media type of an embed, and the link of its card."""
    match embed:
        case {"$type": "app.bsky.embed.images", "images": [_, *_]}:
            return "photo", None
        case {"$type": "app.bsky.embed.video"}:
            return "video", None
        case {"$type": "app.bsky.embed.external", "external": {"uri": str(uri)}} if _is_link(uri):
            return "link", uri
    return "text", None


def _facet_links(facets: object) -> Iterator[str]:
    for facet in facets if isinstance(facets, list) else []:
        match facet:
            case {"features": list(features)}:
                for feature in features:
                    match feature:
                        case {"$type": "app.bsky.richtext.facet#link", "uri": str(uri)} if _is_link(uri):
                            yield uri


def _is_link(uri: str) -> bool:
    return uri.startswith(("http://", "https://")) and uri.isprintable() and len(uri) <= MAX_URL_BYTES


def _microseconds(value: object) -> int | None:
    """A time in ISO 8601 as microseconds since 1970; without a zone it is taken as UTC."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except ValueError:
        return None
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds

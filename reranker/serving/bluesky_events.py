"""Frames of a Jetstream as events of the post store; what has another form is garbage, never an error."""

import json
from dataclasses import dataclass, replace

from reranker.serving.bluesky_records import (
    DID_PATTERN,
    LIKE,
    POST,
    REPOST,
    RKEY_PATTERN,
    PostRecord,
    read_post,
    subject_of,
)
from reranker.significance import n_unique_tokens

COLLECTIONS = (POST, LIKE, REPOST)
SIGNAL_OF = {LIKE: "like", REPOST: "reshare"}
MIN_UNIQUE_TOKENS = 5  # of a significant comment or reshare, as the signals are defined
MAX_TIME_US = 2**53  # about the year 2255


@dataclass(frozen=True, slots=True)
class PostWritten:
    """A post was created or replaced; a later `rev` of the account is the newer state."""

    did: str
    rkey: str
    rev: str
    time_us: int
    post: PostRecord


@dataclass(frozen=True, slots=True)
class ActWritten:
    """An account liked or reposted the post `subject`; the record of it is found by collection and rkey."""

    did: str
    collection: str
    rkey: str
    signal: str
    subject: str


@dataclass(frozen=True, slots=True)
class RecordDeleted:
    """An account took back a post, like or repost."""

    did: str
    collection: str
    rkey: str


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """What became of an account: "active", "gone" (deleted or taken down) or "hidden" (any other)."""

    did: str
    state: str


Event = PostWritten | ActWritten | RecordDeleted | AccountChanged


@dataclass(frozen=True, slots=True)
class Frame:
    """A message of the stream.

    Attributes:
        time_us: its place in the stream, what a cursor is made of.
        key: the same for two copies of one message.
        event: what it means for the store, None where that is nothing.
    """

    time_us: int
    key: str
    event: Event | None


def read_frame(text: str | bytes) -> Frame | None:
    """The message in a frame, None where it is garbage.

    Example:
        >>> read_frame('{"did": "did:plc:a", "time_us": 5, "kind": "identity"}')
        Frame(time_us=5, key='did:plc:a 5', event=None)
        >>> read_frame("not JSON") is None
        True
    """
    try:
        message = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    match message:
        case {"did": str(did), "time_us": int(time_us), "kind": str(kind), **rest} if (
            DID_PATTERN.fullmatch(did) and 0 < time_us < MAX_TIME_US
        ):
            if kind == "commit":
                return _commit(did, time_us, rest.get("commit"))
            if kind == "account":
                return _account(did, time_us, rest.get("account"))
            return Frame(time_us, f"{did} {time_us}", None)
    return None


def acts_of(event: PostWritten) -> list[ActWritten]:
    """What a post does to the posts that it answers and quotes."""
    post, acts = event.post, []
    significant = n_unique_tokens(post.text or "") >= MIN_UNIQUE_TOKENS
    if post.parent is not None:
        acts.append(("significant_comment" if significant else "comment", post.parent))
    if post.quoted is not None:
        visual = post.media in {"photo", "video"}
        acts.append(("significant_reshare" if significant or visual else "reshare_with_text", post.quoted))
    return [ActWritten(event.did, POST, event.rkey, signal, subject) for signal, subject in acts]


def _account(did: str, time_us: int, account: object) -> Frame | None:
    match account:
        case {"active": True}:
            state = "active"
        case {"active": False, "status": "deleted" | "takendown"}:
            state = "gone"
        case {"active": False}:
            state = "hidden"
        case _:
            return None
    return Frame(time_us, f"{did} {time_us}", AccountChanged(did, state))


def _commit(did: str, time_us: int, commit: object) -> Frame | None:
    match commit:
        case {"collection": str(collection), "rkey": str(rkey), "rev": str(rev), "operation": str(operation)}:
            named = RKEY_PATTERN.fullmatch(rkey) is not None and RKEY_PATTERN.fullmatch(rev) is not None
        case _:
            named = False
    if not named:
        return None
    frame = Frame(time_us, f"{did} {collection} {rkey} {rev}", None)
    if collection not in COLLECTIONS:
        return frame
    if operation == "delete":
        return replace(frame, event=RecordDeleted(did, collection, rkey))
    match commit:
        case {"operation": "create" | "update", "record": dict(record)} if collection == POST:
            post = read_post(record)
            return replace(frame, event=PostWritten(did, rkey, rev, time_us, post)) if post else None
        case {"operation": "create" | "update", "record": dict(record)}:
            subject = subject_of(record) if operation == "create" else None
            act = ActWritten(did, collection, rkey, SIGNAL_OF[collection], subject) if subject else None
            return replace(frame, event=act)
        case _:
            return None

"""A Jetstream on this machine, and messages of the shapes that such a stream has."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

POST, LIKE, REPOST = "app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.feed.repost"
START_US = 1_790_000_000_000_000
Message = dict[str, Any]


def did(i: int) -> str:
    return f"did:plc:person{i:04d}"


def uri(author: int, rkey: str) -> str:
    return f"at://{did(author)}/{POST}/{rkey}"


def commit(t: int, who: int, collection: str, rkey: str, record: Message | None, **changes: Any) -> Message:
    """A change of a record, t microseconds after the start; without a record it is a deletion."""
    change: Message = {"rev": f"rev{t:012d}", "collection": collection, "rkey": rkey}
    change |= (
        {"operation": "delete"}
        if record is None
        else {"operation": "create", "record": record, "cid": "bafy"}
    )
    return {"did": did(who), "time_us": START_US + t, "kind": "commit", "commit": change | changes}


def post(t: int, who: int, rkey: str, text: str = "a post", **record: Any) -> Message:
    written = {"$type": POST, "text": text, "createdAt": "2026-09-21T15:00:00Z", "langs": ["en"]}
    return commit(t, who, POST, rkey, written | record)


def reply(t: int, who: int, rkey: str, parent: str, text: str = "ok", **record: Any) -> Message:
    where = {"uri": parent, "cid": "bafy"}
    return post(t, who, rkey, text, reply={"root": where, "parent": where}, **record)


def act(t: int, who: int, collection: str, rkey: str, subject: str) -> Message:
    record = {"$type": collection, "subject": {"uri": subject, "cid": "bafy"}, "createdAt": "2026-09-21"}
    return commit(t, who, collection, rkey, record)


def account(t: int, who: int, status: str | None) -> Message:
    state: Message = {"active": status is None, "did": did(who), "seq": t, "time": "2026-09-21T14:13:20Z"}
    state |= {} if status is None else {"status": status}
    return {"did": did(who), "time_us": START_US + t, "kind": "account", "account": state}


def identity(t: int, who: int) -> Message:
    inner = {"did": did(who), "handle": "a.example", "seq": t, "time": "2026-09-21T14:13:20Z"}
    return {"did": did(who), "time_us": START_US + t, "kind": "identity", "identity": inner}


def random_messages(n: int, *, seed: int = 0, step_us: int = 1_000) -> list[Message]:
    """n messages: posts, replies, quotes, edits, likes, reposts, what is taken back, and accounts that go."""
    rng = np.random.default_rng(seed)
    posts: list[tuple[int, str]] = []
    acts: list[tuple[int, str, str]] = []
    messages = []
    for i in range(n):
        t, who, kind = (i + 1) * step_us, int(rng.integers(40)), rng.random()
        some = posts[int(rng.integers(max(len(posts) - 60, 0), len(posts)))] if posts else (0, "none")
        text = " ".join(rng.choice(["we", "all", "like", "this", "new", "park"], int(rng.integers(1, 9))))
        if kind < 0.25:
            messages.append(post(t, who, f"p{i}", text))
        elif kind < 0.35:
            messages.append(reply(t, who, f"p{i}", uri(*some), text))
        elif kind < 0.4:
            quoted = {"$type": "app.bsky.embed.record", "record": {"uri": uri(*some), "cid": "bafy"}}
            messages.append(post(t, who, f"p{i}", text, embed=quoted))
        elif kind < 0.8:
            collection = LIKE if rng.random() < 0.8 else REPOST
            messages.append(act(t, who, collection, f"a{i}", uri(*some)))
            acts.append((who, collection, f"a{i}"))
        elif kind < 0.88 and acts:
            messages.append(commit(t, *acts.pop(int(rng.integers(len(acts)))), None))
        elif kind < 0.92 and posts:
            messages.append(commit(t, some[0], POST, some[1], None))
        elif kind < 0.95 and posts:
            edited = {"$type": POST, "text": f"edited {text}", "createdAt": "2026-09-21T15:00:00Z"}
            messages.append(commit(t, *(some[0], POST, some[1]), edited, operation="update"))
        elif kind < 0.96:
            messages.append(account(t, who, str(rng.choice(["deleted", "takendown", "deactivated"]))))
        elif kind < 0.97:
            messages.append(account(t, who, None))
        else:
            messages.append(identity(t, who))
        if messages[-1]["kind"] == "commit" and messages[-1]["commit"]["rkey"] == f"p{i}":
            posts.append((who, f"p{i}"))
    return messages


class FakeJetstream:
    """Serves messages from a cursor on, as `/subscribe` does.

    Attributes:
        frames: (time or None, what is sent); those without a time are sent to every reader that gets there.
        ends_after: for each connection in turn, how many frames it gets before it is cut; None for all.
        pause_s: after each frame.
        queries: what each connection asked for.
    """

    def __init__(
        self, messages: Sequence[Message], ends_after: Sequence[int | None] = (), pause_s: float = 0.0
    ) -> None:
        self.frames: list[tuple[int | None, str | bytes]] = [(m["time_us"], json.dumps(m)) for m in messages]
        self.ends_after = list(ends_after)
        self.pause_s = pause_s
        self.queries: list[dict[str, list[str]]] = []
        self._more = asyncio.Event()

    def add(self, *messages: Message) -> None:
        self.frames += [(m["time_us"], json.dumps(m)) for m in messages]
        self._more.set()

    async def serve_one(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        cursor = int(query.get("cursor", ["0"])[0])
        end = self.ends_after[len(self.queries)] if len(self.queries) < len(self.ends_after) else None
        self.queries.append(query)
        at = sent = 0
        while True:
            while at < len(self.frames):
                time_us, frame = self.frames[at]
                at += 1
                if time_us is not None and time_us < cursor:
                    continue
                if sent == end:
                    connection.transport.abort()
                    return
                await connection.send(frame)
                await asyncio.sleep(self.pause_s)
                sent += 1
            self._more.clear()
            await self._more.wait()

    async def handle(self, connection: ServerConnection) -> None:
        """Ends with the connection, as the server waits for it."""
        serving = asyncio.create_task(self.serve_one(connection))
        await connection.wait_closed()
        serving.cancel()
        with suppress(asyncio.CancelledError, ConnectionClosed):
            await serving


@asynccontextmanager
async def served(stream: FakeJetstream) -> AsyncIterator[str]:
    """The address of the stream while it is served."""
    server: Server
    async with serve(stream.handle, "127.0.0.1", 0, compression=None, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/subscribe"


async def until(done: Any, timeout_s: float = 60.0) -> None:
    """Waits until done() is true."""
    async with asyncio.timeout(timeout_s):
        while not done():
            await asyncio.sleep(0.01)

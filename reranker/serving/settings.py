"""`ServeSettings`: what an operator chooses when starting the services, checked once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

CACHE_SCHEMES = ("redis", "rediss", "unix")


@dataclass(frozen=True)
class ServeSettings:
    """Limits, files and names of one running server.

    Attributes:
        policy: NAME_OR_FILE[+OVERLAY...] of the default arm.
        arms: policies by name of the cohort that gets them; other cohorts get the default.
        cache: "memory", or the URL of a Redis ("redis://host:port/db").
        cache_rows: posts whose scores the memory keeps; the least recently used go first.
        cache_ttl_s: how long a Redis keeps scores.
        api_keys: keys that clients must send; empty lets everyone in.
        cors_origins: origins whose pages may call.
        max_body_bytes: larger bodies are answered 413.
        max_items: candidates per request; more are answered 413.
        max_text_bytes: UTF-8 bytes of a text that are read; texts longer than that are answered 413.
        max_waiting_texts: texts in the queue of the scorer; beyond, requests are answered 503.
        score_timeout_s: how long a request waits for its scores before it is answered without them.
        stand_in_after_s: how long a ranking waits for its scores where a quicker scorer can stand in.
        body_timeout_s: how long a client may take to send its body.
        feedback: file that suggested scores are appended to; None refuses them.
        candidates: file or directory of JSON lines that the Bluesky feed ranks; None serves no such feed.
        jetstream: WebSocket URL of the stream that adds candidates; None listens to none.
        store: SQLite file of the posts that came by the stream.
        hostname: public host name of the feed generator, for its did:web.
        publisher: DID of the account that published the feeds' records; None says that of the did:web.

    Raises:
        ValueError: a limit is not positive, or the cache is neither "memory" nor the URL of a Redis.
    """

    policy: str = "harm-aware"
    arms: Mapping[str, str] = field(default_factory=dict)
    cache: str = "memory"
    cache_rows: int = 50_000
    cache_ttl_s: int = 7 * 86_400
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    cors_origins: tuple[str, ...] = ("*",)
    max_body_bytes: int = 16 * 2**20
    max_items: int = 2_000
    max_text_bytes: int = 65_536
    max_waiting_texts: int = 5_000
    score_timeout_s: float = 10.0
    stand_in_after_s: float = 1.0
    body_timeout_s: float = 20.0
    feedback: Path | None = None
    candidates: Path | None = None
    jetstream: str | None = None
    store: Path | None = None
    hostname: str | None = None
    publisher: str | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int | float) and not 0 < value < float("inf"):
                raise ValueError(f"{one.name}: expected a number above 0, got {value}")
        if self.cache != "memory" and urlsplit(self.cache).scheme not in CACHE_SCHEMES:
            raise ValueError('cache: expected "memory" or redis://HOST:PORT/DB, got something else')

"""The reader of a Jetstream, against a server of our own that breaks, repeats itself and sends garbage."""

import asyncio
import json
import logging
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reranker.serving.bluesky_events import Event, PostWritten, read_frame
from reranker.serving.jetstream import (
    StreamError,
    StreamLease,
    StreamOptions,
    StreamReader,
    check_stream_url,
    read_stream,
)
from reranker.serving.post_store import PostStore, StoredPost
from tests.jetstreams import (
    LIKE,
    POST,
    REPOST,
    START_US,
    FakeJetstream,
    Message,
    account,
    act,
    commit,
    did,
    identity,
    post,
    random_messages,
    served,
    until,
    uri,
)

FAST = StreamOptions(batch=7, flush_s=0.02, first_delay_s=0.01, max_delay_s=0.05, overlap_s=0.02)
ROOT = Path(__file__).parent.parent


def content(store: PostStore) -> list[StoredPost]:
    return store.candidates(100_000)


def expected(messages: Sequence[Message]) -> list[StoredPost]:
    """What a store holds that was given every event once, in one piece."""
    frames = [read_frame(json.dumps(message)) for message in messages]
    events: list[Event] = [frame.event for frame in frames if frame is not None and frame.event is not None]
    with closing(PostStore(None)) as store:
        store.apply(events, 1)
        return content(store)


def reader_of(url: str, store: PostStore, options: StreamOptions = FAST, seed: int = 0) -> StreamReader:
    rng = np.random.default_rng(seed)
    return StreamReader(url, store, rng=rng, options=options, now_us=lambda: START_US + 10_000_000)


async def read_all(stream: FakeJetstream, store: PostStore, last: int, **options: Any) -> StreamReader:
    """The reader, once the message of that time (in microseconds after the start) is written."""
    async with served(stream) as url:
        reader = reader_of(url, store, **options)
        task = asyncio.create_task(reader.run())
        try:
            await until(lambda: store.cursor_us() == START_US + last)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    return reader


def test_posts_and_engagement_come_out_of_the_stream_as_it_tells_them() -> None:
    messages = [
        post(1, 1, "a", "first"),
        act(2, 2, LIKE, "l", uri(1, "a")),
        act(3, 3, REPOST, "r", uri(1, "a")),
        identity(4, 3),
        commit(5, 3, "app.bsky.graph.follow", "f", {"subject": did(1)}),
        act(6, 4, LIKE, "l", "at://did:plc:x/app.bsky.feed.generator/some-feed"),
        post(7, 2, "b", "second"),
        commit(8, 2, POST, "b", None),
    ]
    with closing(PostStore(None)) as store:
        reader = asyncio.run(read_all(FakeJetstream(messages), store, 8))
        (found,) = content(store)
    assert (found.uri, found.text, found.counts) == (uri(1, "a"), "first", (1, 1, 0, 0, 0, 0))
    assert (reader.counts.events, reader.counts.garbage, reader.counts.copies) == (8, 0, 0)


@settings(max_examples=12)
@given(cuts=st.lists(st.integers(0, 90), max_size=5), seed=st.integers(0, 1_000))
def test_a_stream_that_breaks_anywhere_leaves_the_store_of_an_unbroken_one(
    cuts: list[int], seed: int
) -> None:
    messages = random_messages(150, seed=seed)
    with closing(PostStore(None)) as store:
        stream = FakeJetstream(messages, ends_after=cuts)
        asyncio.run(read_all(stream, store, 150_000))
        assert content(store) == expected(messages)


def test_a_broken_stream_is_taken_up_a_little_before_the_break_and_copies_are_dropped() -> None:
    messages = random_messages(100, seed=3)
    with closing(PostStore(None)) as store:
        stream = FakeJetstream(messages, ends_after=[60])
        reader = asyncio.run(read_all(stream, store, 100_000))
        assert content(store) == expected(messages)
    first, second = stream.queries
    assert "cursor" not in first
    assert int(second["cursor"][0]) == START_US + 60_000 - 20_000
    assert reader.counts.copies == 21
    assert reader.counts.events == 100
    assert first["wantedCollections"] == [POST, LIKE, REPOST]


def test_a_message_sent_twice_counts_once_though_only_its_rev_tells_it_from_another() -> None:
    like, again = act(2, 2, LIKE, "l", uri(1, "a")), act(4, 2, LIKE, "l", uri(1, "a"))
    messages = [post(1, 1, "a"), like, like, commit(3, 2, LIKE, "l", None), again, identity(5, 1)]
    with closing(PostStore(None)) as store:
        reader = asyncio.run(read_all(FakeJetstream(messages), store, 5))
        assert content(store)[0].counts[0] == 1
    assert reader.counts.copies == 1


GARBAGE = [
    "",
    "not JSON",
    b"\x28\xb5\x2f\xfd binary",
    "[" * 200_000,
    "null",
    "[]",
    "{}",
    '{"did": 1, "time_us": 2, "kind": "commit"}',
    '{"did": "did:plc:a", "time_us": "2", "kind": "commit"}',
    '{"did": "did:plc:a", "time_us": -2, "kind": "commit", "commit": {}}',
    '{"did": "did:plc:a", "time_us": 1e999, "kind": "identity"}',
    '{"did": "did:plc:a", "time_us": ' + "9" * 5_000 + ', "kind": "identity"}',
    '{"did": "not a did", "time_us": 2, "kind": "identity"}',
    '{"did": "did:plc:a", "time_us": 2, "kind": "commit", "commit": null}',
    json.dumps(commit(2, 1, POST, "../x", {"$type": POST, "text": "a"})),
    json.dumps(commit(2, 1, POST, "a", {"$type": POST, "text": 5})),
    json.dumps(commit(2, 1, POST, "a", {"$type": POST, "text": "a" * 10_001})),
    json.dumps(commit(2, 1, POST, "a", None, operation="create")),
    json.dumps({**account(2, 1, None), "account": {"active": "yes"}}),
]


def test_garbage_is_counted_and_skipped() -> None:
    messages = random_messages(40, seed=5)
    stream = FakeJetstream(messages)
    for i, frame in enumerate(GARBAGE):
        stream.frames.insert(2 * i, (None, frame))
    with closing(PostStore(None)) as store:
        reader = asyncio.run(read_all(stream, store, 40_000))
        assert content(store) == expected(messages)
    assert reader.counts.garbage == len(GARBAGE)
    assert reader.counts.connections == 1


@pytest.mark.parametrize("frame", GARBAGE)
def test_a_frame_of_garbage_is_no_message(frame: str | bytes) -> None:
    assert read_frame(frame) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just("did:plc:a")
    | st.just(POST),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
TEMPLATES = [
    post(
        1,
        1,
        "a",
        facets=[{"features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://a.example"}]}],
        embed={"$type": "app.bsky.embed.external", "external": {"uri": "https://b.example"}},
        reply={"parent": {"uri": uri(2, "b")}},
    ),
    post(1, 1, "a", embed={"$type": "app.bsky.embed.recordWithMedia", "record": {"record": {"uri": "x"}}}),
    act(1, 1, LIKE, "l", uri(2, "b")),
    commit(1, 1, POST, "a", None),
    account(1, 1, "deleted"),
]


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in places(part, (*path, key)))]


def replaced(value: Any, path: Sequence[str | int], new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, dict):
        return {key: replaced(part, path[1:], new) if key == path[0] else part for key, part in value.items()}
    return [replaced(part, path[1:], new) if i == path[0] else part for i, part in enumerate(value)]


@settings(max_examples=400)
@given(data=st.data(), template=st.sampled_from(TEMPLATES), new=JSON)
def test_a_message_with_anything_anywhere_is_read_and_written_or_refused(
    data: st.DataObject, template: Message, new: Any
) -> None:
    path = data.draw(st.sampled_from(places(template)))
    frame = read_frame(json.dumps(replaced(template, path, new)))
    with closing(PostStore(None)) as store:
        if frame is not None and frame.event is not None:
            store.apply([frame.event], frame.time_us)
            content(store)


def test_a_frame_too_large_to_read_is_passed_by() -> None:
    options = StreamOptions(max_frame_bytes=2_000, batch=7, flush_s=0.02, first_delay_s=0.01, overlap_s=0.5)
    messages = [post(t * 1_000_000, 1, f"p{t}") for t in range(1, 6)]
    stream = FakeJetstream(messages)
    time_us = START_US + 3_500_000
    stream.frames.insert(3, (time_us, json.dumps({**post(3_500_000, 1, "huge", "a" * 3_000)})))
    with closing(PostStore(None)) as store:
        reader = asyncio.run(read_all(stream, store, 5_000_000, options=options))
        assert content(store) == expected(messages)
    assert reader.counts.garbage == 1
    assert stream.queries[0]["maxMessageSizeBytes"] == ["2000"]
    assert int(stream.queries[-1]["cursor"][0]) == START_US + 4_000_000


def test_a_silent_connection_is_given_up() -> None:
    options = StreamOptions(flush_s=0.01, first_delay_s=0.01, max_delay_s=0.01, idle_s=0.05)

    async def silence() -> int:
        stream = FakeJetstream([])
        async with served(stream) as url:
            with closing(PostStore(None)) as store:
                task = asyncio.create_task(reader_of(url, store, options).run())
                await until(lambda: len(stream.queries) >= 3)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return len(stream.queries)

    assert asyncio.run(silence()) >= 3


def test_a_server_that_is_not_there_yet_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def late() -> None:
        stream = FakeJetstream([post(1, 1, "a", "secret text")])
        async with served(stream) as url:
            pass  # gives a free port, and closes it
        with closing(PostStore(None)) as store:
            reader = reader_of(url, store)
            task = asyncio.create_task(reader.run())
            await asyncio.sleep(0.1)
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert reader.counts.connections == 0

    with caplog.at_level(logging.INFO):
        asyncio.run(late())
    assert "next try in" in caplog.text


def test_delays_grow_to_a_limit_and_are_drawn_from_the_seed() -> None:
    options = StreamOptions(first_delay_s=1.0, max_delay_s=60.0)
    with closing(PostStore(None)) as store:
        first, second = (reader_of("ws://h/", store, options, seed=4) for _ in range(2))
        other = reader_of("ws://h/", store, options, seed=5)
        delays = [first.delay_s(failures) for failures in range(12)]
        assert delays == [second.delay_s(failures) for failures in range(12)]
        assert delays != [other.delay_s(failures) for failures in range(12)]
        assert first.delay_s(10**6) <= 60
    for failures, delay in enumerate(delays):
        longest = min(60.0, 2.0**failures)
        assert longest / 2 <= delay <= longest


def test_a_cursor_older_than_the_window_asks_for_the_window_only() -> None:
    with closing(PostStore(None)) as store:
        day_us = int(store.window.max_age_s * 1e6)
        store.apply([], START_US - 3 * day_us)
        reader = reader_of("wss://host/subscribe?wantedDids=did:plc:a&cursor=7&compress=true", store)
        address = reader.address()
    assert address.startswith("wss://host/subscribe?wantedDids=did%3Aplc%3Aa&wantedCollections=")
    assert address.endswith(f"&cursor={START_US + 10_000_000 - day_us}")
    assert "compress" not in address


def test_events_that_could_not_be_written_come_again(tmp_path: Path) -> None:
    messages = random_messages(30, seed=8)

    async def broken_then_mended(store: PostStore) -> StreamReader:
        stream = FakeJetstream(messages[:15])
        with closing(sqlite3.connect(tmp_path / "s", isolation_level=None)) as other:
            other.execute(
                "CREATE TRIGGER full BEFORE UPDATE ON stream BEGIN SELECT RAISE (ABORT, 'disk full'); END"
            )
            async with served(stream) as url:
                reader = reader_of(url, store)
                task = asyncio.create_task(reader.run())
                await until(lambda: reader.counts.connections >= 3)
                assert store.cursor_us() is None
                other.execute("DROP TRIGGER full")
                stream.add(*messages[15:])
                await until(lambda: store.cursor_us() == START_US + 30_000)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        return reader

    with closing(PostStore(tmp_path / "s")) as store:
        reader = asyncio.run(broken_then_mended(store))
        assert content(store) == expected(messages)
    assert reader.counts.events > 30


def test_what_was_read_is_written_when_the_server_stops(tmp_path: Path) -> None:
    options = StreamOptions(batch=1_000, flush_s=60.0)

    async def stopped(store: PostStore) -> None:
        stream = FakeJetstream(random_messages(50, seed=1))
        async with served(stream) as url:
            reader = reader_of(url, store, options)
            task = asyncio.create_task(reader.run())
            await until(lambda: reader.counts.frames == 50)
            assert store.cursor_us() is None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with closing(PostStore(tmp_path / "s")) as store:
        asyncio.run(stopped(store))
        assert store.cursor_us() == START_US + 50_000
        assert content(store) == expected(random_messages(50, seed=1))


READ_AND_HANG = """
import asyncio, sys
from pathlib import Path
import numpy as np
from reranker.serving.jetstream import StreamLease, StreamOptions, StreamReader, read_stream
from reranker.serving.post_store import PostStore
url, path, now = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
options = StreamOptions(batch=5, flush_s=0.01, overlap_s=0.0)  # nothing twice, so the state is exact
store = PostStore(path)
reader = StreamReader(url, store, rng=np.random.default_rng(), options=options, now_us=lambda: now)
asyncio.run(read_stream(reader, StreamLease(path)))
"""


def cursor_in(path: Path) -> int:
    """The cursor that another process has written, 0 before the first."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        try:
            (cursor,) = database.execute("SELECT cursor_us FROM stream").fetchone()
        except sqlite3.OperationalError:
            return 0  # no tables yet
    return cursor or 0


async def read_in_process(messages: Sequence[Message], path: Path, stop_us: int) -> None:
    """Lets another process read until its cursor is there or behind, and kills it at once."""
    async with served(FakeJetstream(messages, pause_s=0.001)) as url:
        command = [sys.executable, "-c", READ_AND_HANG, url, str(path), str(START_US + 10_000_000)]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            await until(lambda: cursor_in(path) >= stop_us)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_a_killed_reader_leaves_a_whole_store_and_the_next_one_goes_on_without_loss(tmp_path: Path) -> None:
    messages = random_messages(3_000, seed=11)
    path = tmp_path / "posts.sqlite"
    cursor = 0
    for _ in range(2):
        asyncio.run(read_in_process(messages, path, max(cursor, START_US) + 100_000))
        with closing(PostStore(path)) as store:
            assert (store.cursor_us() or 0) > cursor
            cursor = store.cursor_us() or 0
            written = [message for message in messages if message["time_us"] <= cursor]
            assert len(written) < 3_000
            assert content(store) == expected(written)  # all before the cursor, nothing behind it
    with closing(PostStore(path)) as store:
        asyncio.run(read_all(FakeJetstream(messages), store, 3_000_000))
        assert content(store) == expected(messages)


def test_one_process_of_several_reads_and_another_takes_over(tmp_path: Path) -> None:
    first, second = (StreamLease(tmp_path / "posts.sqlite") for _ in range(2))
    assert first.take()
    assert first.take()
    assert not second.take()

    async def waiting() -> None:
        with closing(PostStore(None)) as store:
            stream = FakeJetstream([post(1, 1, "a")])
            async with served(stream) as url:
                task = asyncio.create_task(read_stream(reader_of(url, store), second, retry_s=0.01))
                await asyncio.sleep(0.05)
                assert stream.queries == []
                first.give_back()
                await until(lambda: store.n_posts() == 1)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(waiting())
    assert first.take()  # given back when the task ended
    first.give_back()


def test_a_store_in_memory_needs_no_lease() -> None:
    assert all(StreamLease(None).take() for _ in range(2))


@pytest.mark.parametrize(
    "url", ["", "https://host/subscribe", "ws://", "wss://host:0/", "wss://[::1/", "host"]
)
def test_what_is_no_websocket_address_is_refused(url: str) -> None:
    with pytest.raises(StreamError, match="jetstream: expected an address such as wss://host/subscribe, got"):
        check_stream_url(url)


def test_a_refused_address_is_told_without_its_password() -> None:
    with pytest.raises(StreamError) as refused:
        check_stream_url("https://me:secret@host/subscribe")
    assert "secret" not in str(refused.value)
    assert "host/subscribe" in str(refused.value)


def test_keys_of_events_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker.serving.jetstream.KEYS_REMEMBERED", 10)
    messages = random_messages(50, seed=2)
    with closing(PostStore(None)) as store:
        reader = asyncio.run(read_all(FakeJetstream([*messages, messages[0]]), store, 1_000))
    assert reader.counts.copies == 0
    assert reader.counts.events == 51


def test_an_event_keeps_what_its_record_says() -> None:
    frame = read_frame(json.dumps(post(9, 3, "k", "hello")))
    assert frame is not None
    assert isinstance(frame.event, PostWritten)
    assert (frame.event.did, frame.event.rkey, frame.event.time_us) == (did(3), "k", START_US + 9)

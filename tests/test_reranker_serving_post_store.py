"""The window of posts: what counts, what is taken back, what is dropped, and what survives."""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from reranker.serving.bluesky_events import Event, read_frame
from reranker.serving.post_store import (
    PostStore,
    StoredPost,
    StoredSnapshot,
    StoreError,
    Window,
)
from reranker.serving.post_tables import SCHEMA_VERSION, SIGNALS
from tests.jetstreams import (
    LIKE,
    POST,
    REPOST,
    START_US,
    Message,
    account,
    act,
    commit,
    post,
    random_messages,
    reply,
    uri,
)


def store_of(*messages: Message, window: Window | None = None) -> PostStore:
    store = PostStore(None, window)
    apply(store, *messages)
    return store


def apply(store: PostStore, *messages: Message) -> None:
    events: list[Event] = []
    for message in messages:
        frame = read_frame(json.dumps(message))
        assert frame is not None
        if frame.event is not None:
            events.append(frame.event)
    store.apply(events, START_US)


def counts_of(store: PostStore, who: int = 1, rkey: str = "a") -> dict[str, int]:
    """Signals of a post that are not 0."""
    (found,) = [stored for stored in store.candidates(1_000) if stored.uri == uri(who, rkey)]
    return {name: count for name, count in zip(SIGNALS, found.counts, strict=True) if count}


def uris(store: PostStore, limit: int = 1_000) -> list[str]:
    return [stored.uri for stored in store.candidates(limit)]


LONG, SHORT = "one two three four five", "one one one one one"
QUOTE = {"$type": "app.bsky.embed.record", "record": {"uri": uri(1, "a"), "cid": "bafy"}}
QUOTE_WITH_PHOTO = {
    "$type": "app.bsky.embed.recordWithMedia",
    "record": {"$type": "app.bsky.embed.record", "record": {"uri": uri(1, "a"), "cid": "bafy"}},
    "media": {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": {}}]},
}


@pytest.mark.parametrize(
    ("message", "signal"),
    [
        (act(2, 2, LIKE, "l", uri(1, "a")), "like"),
        (act(2, 2, REPOST, "r", uri(1, "a")), "reshare"),
        (reply(2, 2, "b", uri(1, "a"), SHORT), "comment"),
        (reply(2, 2, "b", uri(1, "a"), LONG), "significant_comment"),
        (post(2, 2, "b", SHORT, embed=QUOTE), "reshare_with_text"),
        (post(2, 2, "b", LONG, embed=QUOTE), "significant_reshare"),
        (post(2, 2, "b", "", embed=QUOTE_WITH_PHOTO), "significant_reshare"),
    ],
)
def test_an_act_counts_as_its_signal_until_it_is_taken_back(message: Message, signal: str) -> None:
    with closing(store_of(post(1, 1, "a"), message)) as store:
        assert counts_of(store) == {signal: 1}
        change = message["commit"]
        apply(store, commit(3, 2, change["collection"], change["rkey"], None))
        assert counts_of(store) == {}
        assert uris(store) == [uri(1, "a")]


def test_a_reply_that_quotes_what_it_answers_counts_as_both() -> None:
    with closing(store_of(post(1, 1, "a"), reply(2, 2, "b", uri(1, "a"), LONG, embed=QUOTE))) as store:
        assert counts_of(store) == {"significant_comment": 1, "significant_reshare": 1}


def test_an_account_likes_a_post_once_but_may_answer_it_often() -> None:
    likes = [act(t, 2, LIKE, f"l{t}", uri(1, "a")) for t in (2, 3, 4)]
    replies = [reply(t, 2, f"r{t}", uri(1, "a"), "ok") for t in (5, 6)]
    with closing(store_of(post(1, 1, "a"), *likes, *replies)) as store:
        assert counts_of(store) == {"like": 1, "comment": 2}


def test_acts_on_ones_own_post_and_on_posts_outside_the_window_do_not_count() -> None:
    own = [act(2, 1, LIKE, "l", uri(1, "a")), reply(3, 1, "b", uri(1, "a"), LONG)]
    elsewhere = act(4, 2, LIKE, "m", uri(9, "unknown"))
    with closing(store_of(post(1, 1, "a"), *own, elsewhere)) as store:
        assert counts_of(store) == {}
        apply(store, post(5, 9, "unknown"))
        assert counts_of(store, 9, "unknown") == {}


def test_a_deletion_meets_only_the_record_of_its_collection() -> None:
    messages = [
        post(1, 1, "a"),
        act(2, 2, LIKE, "same", uri(1, "a")),
        act(3, 2, REPOST, "same", uri(1, "a")),
        reply(4, 2, "same", uri(1, "a")),
    ]
    with closing(store_of(*messages)) as store:
        apply(store, commit(5, 2, REPOST, "same", None))
        assert counts_of(store) == {"like": 1, "comment": 1}
        apply(store, commit(6, 2, POST, "same", None))
        assert counts_of(store) == {"like": 1}


def test_an_edit_changes_the_text_and_what_it_answers_but_not_its_own_engagement() -> None:
    first = [post(1, 1, "a"), post(2, 3, "c"), reply(3, 2, "b", uri(1, "a"), SHORT)]
    like = act(4, 9, LIKE, "l", uri(2, "b"))
    with closing(store_of(*first, like)) as store:
        edited = {"$type": POST, "text": LONG, "reply": {"parent": {"uri": uri(3, "c")}}}
        apply(store, commit(5, 2, POST, "b", edited, operation="update"))
        assert counts_of(store, 1, "a") == {}
        assert counts_of(store, 3, "c") == {"significant_comment": 1}
        assert counts_of(store, 2, "b") == {"like": 1}
        apply(store, first[2])  # an older state that comes late
        (found,) = [stored for stored in store.candidates(10) if stored.uri == uri(2, "b")]
        assert (found.text, found.parent) == (LONG, uri(3, "c"))


@pytest.mark.parametrize("status", ["deleted", "takendown"])
def test_posts_and_acts_of_an_account_that_is_gone_are_gone(status: str) -> None:
    with closing(
        store_of(post(1, 1, "a"), post(2, 2, "b"), act(3, 2, LIKE, "l", uri(1, "a")), account(4, 2, status))
    ) as store:
        assert uris(store) == [uri(1, "a")]
        assert counts_of(store) == {}


@pytest.mark.parametrize("status", ["suspended", "deactivated", "desynchronized"])
def test_posts_of_an_account_that_may_come_back_are_hidden_until_it_does(status: str) -> None:
    with closing(store_of(post(1, 1, "a"), post(2, 2, "b"), account(3, 2, status))) as store:
        assert uris(store) == [uri(1, "a")]
        store.prune(START_US)
        apply(store, act(4, 3, LIKE, "l", uri(2, "b")))
        assert uris(store) == [uri(1, "a")]
        apply(store, account(5, 2, None))
        assert uris(store) == [uri(2, "b"), uri(1, "a")]
        assert counts_of(store, 2, "b") == {"like": 1}


def test_the_window_drops_old_posts_and_surplus_ones_with_their_acts() -> None:
    window = Window(max_age_s=10.0, max_posts=3)
    old = [post(t * 1_000_000, 1, f"p{t}") for t in range(8)]
    likes = [act(8_000_000 + t, 2, LIKE, f"l{t}", uri(1, f"p{t}")) for t in range(8)]
    with closing(store_of(*old, *likes, window=window)) as store:
        store.prune(START_US + 16_500_000)
        assert uris(store) == [uri(1, "p7")]
        apply(store, *[post(20_000_000 + t, 3, f"n{t}") for t in range(5)])
        store.prune(START_US + 16_500_000)
        assert uris(store) == [uri(3, f"n{t}") for t in (4, 3, 2)]
        apply(store, commit(30_000_000, 2, LIKE, "l7", None))  # of a post that is not there any more


def test_a_long_absence_is_pruned_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker.serving.post_store.MOST_DROPPED", 4)
    window = Window(max_age_s=1.0, max_posts=6)
    with closing(store_of(*[post(t, 1, f"p{t}") for t in range(20)], window=window)) as store:
        left = []
        for now_us in (START_US, START_US, START_US, START_US, START_US + 10_000_000, START_US + 10_000_000):
            store.prune(now_us)
            left.append(store.n_posts())
    assert left == [16, 12, 8, 6, 2, 0]


def test_an_act_that_was_forgotten_stays_counted() -> None:
    likes = [act(t, t, LIKE, "l", uri(1, "a")) for t in range(2, 8)]
    with closing(store_of(post(1, 1, "a"), *likes, window=Window(max_acts=3, max_age_s=1e9))) as store:
        store.prune(START_US)
        assert counts_of(store) == {"like": 6}
        apply(store, commit(9, 2, LIKE, "l", None), commit(10, 7, LIKE, "l", None))
        assert counts_of(store) == {"like": 5}


def test_a_post_is_as_old_as_the_older_of_what_its_author_and_the_stream_say() -> None:
    messages = [
        post(5, 1, "future", createdAt="2199-01-01T00:00:00Z"),
        post(6, 1, "import", createdAt="2019-05-01T02:00:00+02:00"),
        post(7, 1, "broken", createdAt="yesterday"),
        post(8, 1, "ancient", createdAt="0001-01-01T00:00:00+14:00"),
    ]
    with closing(store_of(*messages)) as store:
        found = {stored.uri.rpartition("/")[2]: stored.sort_us for stored in store.candidates(10)}
    assert found == {
        "future": START_US + 5,
        "import": 1_556_668_800_000_000,
        "broken": START_US + 7,
        "ancient": 0,
    }


def test_half_of_the_candidates_have_the_most_acts_and_the_rest_are_the_newest_with_any() -> None:
    posts = [post(t, 1, f"p{t}") for t in range(20)]
    likes = [
        act(100 + t * 10 + i, 10 + i, LIKE, f"l{t}", uri(1, f"p{t}"))
        for t, n in {0: 5, 1: 4, 2: 1, 9: 1, 12: 2, 15: 1}.items()
        for i in range(n)
    ]
    with closing(store_of(*posts, *likes)) as store:

        def chosen(limit: int) -> list[int]:
            return [int(found.rpartition("/p")[2]) for found in uris(store, limit)]

        assert chosen(4) == [15, 12, 1, 0]
        assert chosen(6) == [15, 12, 9, 2, 1, 0]
        assert chosen(8) == [19, 18, 15, 12, 9, 2, 1, 0]
        assert chosen(100) == [*range(19, -1, -1)]


def test_a_store_opened_again_holds_what_it_held(tmp_path: Path) -> None:
    path = tmp_path / "posts.sqlite"
    with closing(PostStore(path)) as store:
        apply(store, *random_messages(300, seed=1))
        store.keep_snapshot(kept := StoredSnapshot("0" * 16, "feed", 5, ("a", "b"), "no model"))
        before = store.candidates(1_000)
    assert before
    with closing(PostStore(path)) as store:
        assert store.candidates(1_000) == before
        assert store.cursor_us() == START_US
        assert store.snapshot("feed", "0" * 16, 5) == kept


def test_a_batch_that_fails_changes_nothing() -> None:
    with closing(store_of(post(1, 1, "a"))) as store:
        frame = read_frame(json.dumps(post(2, 2, "b")))
        assert frame is not None
        assert frame.event is not None
        with pytest.raises(OverflowError):
            store.apply([frame.event], 2**70)
        assert uris(store) == [uri(1, "a")]
        assert store.cursor_us() == START_US


def test_readers_see_whole_batches_while_another_thread_writes(tmp_path: Path) -> None:
    """Each batch adds a post and takes the one before it away, so a reader always finds exactly one."""
    with closing(PostStore(tmp_path / "s")) as store, closing(PostStore(tmp_path / "s")) as other:
        apply(store, post(1, 1, "p0"))

        def write() -> None:
            for i in range(1, 100):
                apply(store, post(2 * i, 1, f"p{i}"), commit(2 * i + 1, 1, POST, f"p{i - 1}", None))

        writer = threading.Thread(target=write)
        writer.start()
        seen: set[str] = set()
        while writer.is_alive():
            for reader in (store, other):
                (found,) = uris(reader)
                seen.add(found)
        writer.join()
        assert uris(other) == [uri(1, "p99")]
    assert len(seen) > 1


def test_several_may_make_the_store_at_the_same_moment(tmp_path: Path) -> None:
    for i in range(10):
        path = tmp_path / f"{i}.sqlite"
        with ThreadPoolExecutor(4) as pool:
            stores = list(pool.map(lambda _, path=path: PostStore(path), range(4)))
        apply(stores[0], post(1, 1, "a"))
        assert all(uris(store) == [uri(1, "a")] for store in stores)
        for store in stores:
            store.close()


def test_a_store_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "posts.sqlite"
    PostStore(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StoreError, match=r"posts\.sqlite: expected a store of schema 1, got 2; delete"):
        PostStore(path)


def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    text, foreign, folder = tmp_path / "a.txt", tmp_path / "b.sqlite", tmp_path
    text.write_text("not a database, but long enough to be one " * 100)
    with closing(sqlite3.connect(foreign)) as database:
        database.execute("CREATE TABLE theirs (a)")
    before = foreign.read_bytes()
    for path in (text, folder, tmp_path / "none" / "c.sqlite"):
        with pytest.raises(StoreError, match="expected an SQLite store of posts, got"):
            PostStore(path)
    with pytest.raises(StoreError, match="got another program's SQLite database"):
        PostStore(foreign)
    assert foreign.read_bytes() == before


def snapshot(i: int, seconds: int) -> StoredSnapshot:
    return StoredSnapshot(f"{i:016d}", "feed", seconds * 1_000_000, (str(i),), None)


def test_snapshots_are_bounded_in_number_and_age() -> None:
    window = Window(max_snapshots=3, max_snapshot_age_s=10.0)
    with closing(PostStore(None, window)) as store:
        for i in range(5):
            store.keep_snapshot(snapshot(i, i))
        store.keep_snapshot(snapshot(2, 6))  # served once more
        store.keep_snapshot(snapshot(6, 7))
        kept = [i for i in range(7) if store.snapshot("feed", f"{i:016d}", 7_000_000) is not None]
        assert kept == [2, 4, 6]
        assert store.snapshot("feed", f"{4:016d}", 14_000_001) is None
        assert store.snapshot("other feed", f"{6:016d}", 7_000_000) is None
        assert store.snapshot("feed", None, 7_000_000) == snapshot(6, 7)
        assert store.snapshot("other feed", None, 7_000_000) is None
        store.prune(17_000_001)
        assert store.snapshot("feed", None, 7_000_000) is None


def test_a_stored_post_is_what_the_record_said() -> None:
    embed = {"$type": "app.bsky.embed.external", "external": {"uri": "https://b.example/x", "title": "t"}}
    facets = [{"features": [{"$type": "app.bsky.richtext.facet#link", "uri": "https://a.example"}]}]
    message = reply(3, 1, "a", uri(2, "z"), "hello \ud83d there\x00", embed=embed, facets=facets)
    with closing(store_of(message)) as store:
        (found,) = store.candidates(1)
    assert found == StoredPost(
        uri=uri(1, "a"),
        author="did:plc:person0001",
        parent=uri(2, "z"),
        text="hello ? there\x00",
        language="en",
        urls=("https://a.example", "https://b.example/x"),
        media="link",
        sort_us=START_US + 3,
        counts=(0,) * len(SIGNALS),
    )

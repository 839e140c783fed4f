"""The feed generator over HTTP: its documents, pages that stay, bad parameters, feeds that never run dry."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scores import Content, HarmScores
from models.taxonomy import LABELS
from reranker.columns import FeedError
from reranker.policy import PolicyError
from reranker.serving.app import create_app
from reranker.serving.bluesky import read_limit, router, service_did
from reranker.serving.bluesky_events import read_frame
from reranker.serving.bluesky_generator import FeedGenerator, FeedOptions, feed_policies
from reranker.serving.bluesky_snapshots import CursorError, Page, Snapshots, cut_page, read_cursor
from reranker.serving.jetstream import StreamError
from reranker.serving.post_store import PostStore, StoreError, Window
from reranker.serving.service import BusyError, Service
from reranker.serving.settings import ServeSettings
from tests.jetstreams import LIKE, START_US, FakeJetstream, Message, act, post, served, until, uri

NAMES = tuple(label.name for label in LABELS)
HOST = "feeds.example.org"
FEED = f"at://did:web:{HOST}/app.bsky.feed.generator/harm-aware"
SKELETON = "/xrpc/app.bsky.feed.getFeedSkeleton"


def toxic_words(content: Content) -> HarmScores:
    """A scorer: every label is 0.9 where the text says "vile", else 0.01."""
    probability = np.array([[0.9 if text and "vile" in text else 0.01] for text in content.text])
    table = np.repeat(probability.reshape(-1, 1), len(NAMES), axis=1).astype(np.float32)
    return HarmScores(labels=NAMES, probability=table, confidence=np.ones_like(table), model="words")


def row(i: int, **columns: Any) -> dict[str, Any]:
    times = {"created_at": f"2026-09-21T00:00:{i % 60:02d}Z"}
    return {"post_id": uri(1, f"p{i}"), "author": f"did:plc:a{i}", "text": f"post {i}", **times, **columns}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in rows), "utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> ServeSettings:
    rows = [row(i, like=i, text="vile" if i == 59 else f"post {i}") for i in range(60)]
    return ServeSettings(candidates=write_rows(tmp_path / "posts.jsonl", rows), hostname=HOST)


@asynccontextmanager
async def client_of(config: ServeSettings, scorer: Any = toxic_words) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that has only these routes, its lifespan running."""
    service = Service(config, scorer)
    app = FastAPI()
    app.include_router(router(service))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client
    await service.close()


def get(config: ServeSettings, path: str, **params: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        async with client_of(config) as client:
            return await client.get(path, params=params)

    return asyncio.run(once())


def posts_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["post"].rpartition("/")[2] for item in answer.json()["feed"]]


def joined(pages: list[list[str]]) -> list[str]:
    return [found for page in pages for found in page]


async def read_to_the_end(client: httpx.AsyncClient, limit: int, **params: Any) -> list[list[str]]:
    pages, cursor = [], {}
    while True:
        answer = await client.get(SKELETON, params={"feed": FEED, "limit": limit} | cursor | params)
        pages.append(posts_of(answer))
        if "cursor" not in answer.json():
            return pages
        cursor = {"cursor": answer.json()["cursor"]}


def test_the_documents_say_who_generates_which_feeds(config: ServeSettings) -> None:
    config = replace(config, arms={"control": "chronological", "mild arm": "fb-2020-10"})
    document = get(config, "/.well-known/did.json").json()
    assert document["id"] == f"did:web:{HOST}"
    (service,) = document["service"]
    assert service == {
        "id": "#bsky_fg",
        "type": "BskyFeedGenerator",
        "serviceEndpoint": f"https://{HOST}",
    }
    description = get(config, "/xrpc/app.bsky.feed.describeFeedGenerator").json()
    assert description["did"] == document["id"]
    keys = ["harm-aware", "control", "mild-arm"]
    assert [feed["uri"] for feed in description["feeds"]] == [FEED.replace("harm-aware", key) for key in keys]
    for feed in description["feeds"]:
        assert len(posts_of(get(config, SKELETON, feed=feed["uri"]))) == 50


def test_feeds_are_described_as_those_of_the_account_that_published_them(config: ServeSettings) -> None:
    config = replace(config, publisher="did:plc:abc234")
    description = get(config, "/xrpc/app.bsky.feed.describeFeedGenerator").json()
    assert description["did"] == f"did:web:{HOST}"
    assert description["feeds"][0]["uri"] == "at://did:plc:abc234/app.bsky.feed.generator/harm-aware"
    assert len(posts_of(get(config, SKELETON, feed=description["feeds"][0]["uri"]))) == 50
    with pytest.raises(ValueError, match='publisher: expected a DID such as did:plc:abc, got "me"'):
        router(Service(replace(config, publisher="me"), None))


def test_without_a_host_name_there_is_a_feed_but_nobody_who_generates_it(config: ServeSettings) -> None:
    config = replace(config, hostname=None)
    assert get(config, "/.well-known/did.json").status_code == 404
    assert get(config, "/xrpc/app.bsky.feed.describeFeedGenerator").status_code == 404
    assert len(posts_of(get(config, SKELETON, feed=FEED))) == 50


def test_without_candidates_there_are_no_routes() -> None:
    assert router(Service(ServeSettings(hostname=HOST), None)).routes == []


def test_a_page_is_the_ranking_of_the_policy(config: ServeSettings) -> None:
    """By likes alone p59 is first; under harm-aware it is behind, because every harm of it is likely."""
    arms = replace(config, arms={"likes": "fb-2017", "newest": "chronological"})

    async def first_pages() -> dict[str, list[str]]:
        async with client_of(arms) as client:
            return {
                key: joined(await read_to_the_end(client, 100, feed=FEED.replace("harm-aware", key)))
                for key in ("harm-aware", "likes", "newest")
            }

    pages = asyncio.run(first_pages())
    falling = [f"p{i}" for i in range(59, -1, -1)]
    assert pages["likes"] == pages["newest"] == falling
    assert pages["harm-aware"][0] == "p58"
    assert pages["harm-aware"].index("p59") > 25
    assert sorted(pages["harm-aware"]) == sorted(falling)


@pytest.mark.parametrize("limit", [1, 7, 20, 59, 60, 100])
def test_pages_of_any_size_join_to_the_whole_feed(config: ServeSettings, limit: int) -> None:
    async def pages() -> tuple[list[list[str]], list[list[str]]]:
        async with client_of(config) as client:
            return await read_to_the_end(client, limit), await read_to_the_end(client, 100)

    parts, (whole,) = asyncio.run(pages())
    assert joined(parts) == whole
    assert len(set(whole)) == 60
    assert [len(part) for part in parts[:-1]] == [limit] * (len(parts) - 1)
    assert parts[-1]


BAD = [
    ({}, "InvalidRequest"),
    ({"feed": ""}, "InvalidRequest"),
    ({"feed": "harm-aware"}, "InvalidRequest"),
    ({"feed": "https://a.example/feed"}, "InvalidRequest"),
    ({"feed": FEED + "/"}, "InvalidRequest"),
    ({"feed": FEED + "\x00"}, "InvalidRequest"),
    ({"feed": "at://did:plc:a/app.bsky.feed.generator/" + "a" * 10_000}, "InvalidRequest"),
    ({"feed": ["at://did:plc:a/app.bsky.feed.generator/a", FEED]}, "InvalidRequest"),
    ({"feed": "at://did:plc:a/app.bsky.feed.post/harm-aware"}, "UnknownFeed"),
    ({"feed": FEED.replace("harm-aware", "Harm-aware")}, "UnknownFeed"),
    *(
        ({"feed": FEED, "limit": limit}, "InvalidRequest")
        for limit in ("", "0", "-1", "101", "1.5", "ten", "1e1", "\u0665", " 5", "9" * 5_000)
    ),
    *(
        ({"feed": FEED, "cursor": cursor}, "InvalidRequest")
        for cursor in (
            "x",
            "0",
            "0" * 16,
            f"{'0' * 16}-",
            f"{'0' * 16}--1",
            f"{'0' * 16}-\u0665",
            "0" * 5_000,
        )
    ),
    ({"feed": FEED, "cursor": ["", ""]}, "InvalidRequest"),
]


@pytest.mark.parametrize(("params", "error"), BAD, ids=range(len(BAD)))
def test_a_bad_request_is_refused_in_the_form_of_the_protocol(
    config: ServeSettings, params: dict[str, Any], error: str
) -> None:
    answer = get(config, SKELETON, **params)
    assert answer.status_code == 400
    assert answer.json().keys() == {"error", "message"}
    assert answer.json()["error"] == error
    assert len(answer.json()["message"]) < 400


def test_a_feed_is_known_by_its_key_whoever_published_its_record(config: ServeSettings) -> None:
    published = "at://did:plc:z72i7hdynmk6r22z27h6tvur/app.bsky.feed.generator/harm-aware"
    answers = [get(config, SKELETON, feed=feed, limit=100) for feed in (published, FEED)]
    assert posts_of(answers[0]) == posts_of(answers[1])


def test_parameters_that_mean_nothing_here_change_nothing(config: ServeSettings) -> None:
    plain = get(config, SKELETON, feed=FEED)
    for more in ({"cursor": ""}, {"viewer": "did:plc:a"}, {"limit": "050"}):
        assert get(config, SKELETON, feed=FEED, **more).json() == plain.json()
    assert read_limit(None) == 50


def test_an_answer_does_not_depend_on_who_asks(config: ServeSettings) -> None:
    async def both() -> list[bytes]:
        async with client_of(config) as client:
            headers: list[dict[str, str]] = [{}, {"Authorization": "Bearer not.a.token"}]
            return [(await client.get(SKELETON, params={"feed": FEED}, headers=h)).content for h in headers]

    first, second = asyncio.run(both())
    assert first == second


def test_a_cursor_ends_where_its_feed_ends(config: ServeSettings) -> None:
    async def beyond() -> httpx.Response:
        async with client_of(config) as client:
            first = (await client.get(SKELETON, params={"feed": FEED, "limit": 1})).json()["cursor"]
            moved = first.replace("-1", "-60")
            return await client.get(SKELETON, params={"feed": FEED, "cursor": moved})

    answer = asyncio.run(beyond())
    assert (answer.status_code, answer.json()["error"]) == (400, "InvalidRequest")
    assert "expected a place before 60, got 60" in answer.json()["message"]


def test_a_cursor_of_another_feed_or_time_goes_on_at_its_place(config: ServeSettings) -> None:
    config = replace(config, arms={"newest": "chronological"})

    async def elsewhere() -> tuple[list[str], list[str], list[str]]:
        async with client_of(config) as client:
            (whole,) = await read_to_the_end(client, 100)
            answer = await client.get(
                SKELETON, params={"feed": FEED.replace("harm-aware", "newest"), "limit": 5}
            )
            other = answer.json()["cursor"]
            found = [
                await client.get(SKELETON, params={"feed": FEED, "limit": 3, "cursor": cursor})
                for cursor in (other, f"{'a' * 16}-5", f"{'a' * 16}-999999")
            ]
            assert posts_of(found[2]) == []
            assert "cursor" not in found[2].json()
            return whole[5:8], posts_of(found[0]), posts_of(found[1])

    expected, other_feed, expired = asyncio.run(elsewhere())
    assert other_feed == expired == expected


def test_a_changed_file_is_served_and_readers_keep_their_pages(config: ServeSettings) -> None:
    now = [1_000.0]

    async def changed() -> None:
        service = Service(config, toxic_words)
        generator = FeedGenerator(service, FeedOptions(refresh_s=30, stale_s=300), clock=lambda: now[0])
        first = await generator.page("harm-aware", 10, None)
        assert config.candidates is not None
        write_rows(config.candidates, [row(i, like=i) for i in range(100, 140)])
        assert await generator.page("harm-aware", 10, None) == first
        now[0] += 31  # stale: once more the old order, while the new one is made
        assert await generator.page("harm-aware", 10, None) == first
        await until(lambda: not generator._building)
        new = await generator.page("harm-aware", 10, None)
        assert new.posts[0] == uri(1, "p139")
        second = await generator.page("harm-aware", 100, first.cursor)
        assert len({*first.posts, *second.posts}) == 60
        write_rows(config.candidates, [row(200)])
        now[0] += 301  # too old to be served again
        assert (await generator.page("harm-aware", 10, None)).posts == (uri(1, "p200"),)
        now[0] += 2 * 3_600.0  # the first order is not kept any more
        assert await generator.page("harm-aware", 10, first.cursor) == Page((), None, None)
        await service.close()

    asyncio.run(changed())


def apply(store: PostStore, *messages: Message) -> None:
    frames = [read_frame(json.dumps(message)) for message in messages]
    store.apply([frame.event for frame in frames if frame and frame.event], messages[-1]["time_us"])


@settings(max_examples=25)
@given(data=st.data())
def test_readers_see_every_post_once_while_posts_and_likes_arrive(data: st.DataObject) -> None:
    """Readers begin and go on in any order between arrivals; each sees the order in which it began."""

    async def interleaved() -> None:
        service = Service(ServeSettings(jetstream="ws://unused.example/"), toxic_words)
        generator = FeedGenerator(service, FeedOptions(refresh_s=0.0, stale_s=0.0))
        assert generator.store is not None
        t = 0
        seen: list[list[str]] = []
        whole: list[list[str]] = []
        cursors: dict[int, str] = {}
        for step in data.draw(
            st.lists(st.sampled_from(("arrive", "begin", "go", "go", "go")), min_size=5, max_size=30)
        ):
            if step == "arrive" or t == 0:
                n = data.draw(st.integers(1, 15))
                apply(generator.store, *[post(t + i, i % 7, f"p{t + i}") for i in range(n)])
                likes = data.draw(st.lists(st.integers(0, t + n - 1), max_size=6))
                for i, liked in enumerate(likes):
                    apply(generator.store, act(t + n, 50 + i, LIKE, f"l{t}-{i}", uri(liked % 7, f"p{liked}")))
                t += n
            elif step == "begin":
                page = await generator.page("harm-aware", data.draw(st.integers(1, 20)), None)
                latest = generator._snapshots.latest("harm-aware")
                assert latest is not None
                assert len(set(latest.posts)) == len(latest.posts) == t
                whole.append(list(latest.posts))
                seen.append(list(page.posts))
                if page.cursor:
                    cursors[len(seen) - 1] = page.cursor
            elif cursors:
                reader = data.draw(st.sampled_from(sorted(cursors)))
                page = await generator.page("harm-aware", data.draw(st.integers(1, 20)), cursors.pop(reader))
                assert page.posts
                seen[reader] += page.posts
                if page.cursor:
                    cursors[reader] = page.cursor
        for reader, order in enumerate(whole):
            assert seen[reader] == order[: len(seen[reader])]
            assert reader in cursors or seen[reader] == order
        await service.close()
        generator.store.close()

    asyncio.run(interleaved())


def test_a_cursor_survives_the_server_and_is_known_to_its_other_processes(
    config: ServeSettings, tmp_path: Path
) -> None:
    config = replace(config, store=tmp_path / "store.sqlite")

    async def page(cursor: str | None) -> dict[str, Any]:
        async with client_of(config) as client:
            params = {"feed": FEED, "limit": 30} | ({"cursor": cursor} if cursor else {})
            answer: dict[str, Any] = (await client.get(SKELETON, params=params)).json()
            return answer

    first = asyncio.run(page(None))
    assert config.candidates is not None
    write_rows(config.candidates, [row(i) for i in range(500, 600)])
    second = asyncio.run(page(first["cursor"]))
    assert len({item["post"] for item in [*first["feed"], *second["feed"]]}) == 60
    assert "cursor" not in second


def test_a_server_begins_with_the_order_that_the_last_one_served(
    config: ServeSettings, tmp_path: Path
) -> None:
    config = replace(config, store=tmp_path / "store.sqlite")
    before = get(config, SKELETON, feed=FEED)
    free = threading.Event()

    def slow(content: Content) -> HarmScores:
        if content.n:
            free.wait(20)
        return toxic_words(content)

    async def begun() -> httpx.Response:
        async with client_of(config, slow) as client:
            await asyncio.sleep(0.1)
            answer = await client.get(SKELETON, params={"feed": FEED})
            free.set()
            return answer

    after = asyncio.run(begun())
    assert after.json() == before.json()
    assert "X-Degraded" not in after.headers


def test_a_feed_of_the_stream_fills_as_posts_arrive(tmp_path: Path) -> None:
    messages = [post(t, t, f"p{t}", "vile" if t == 1 else "fine words") for t in range(1, 6)]
    likes = [act(10 + i, 20 + i, LIKE, "l", uri(1, "p1")) for i in range(9)]
    now_us = time.time_ns() // 1_000
    live = [message | {"time_us": message["time_us"] - START_US + now_us} for message in (*messages, *likes)]
    for message in live[:5]:
        del message["commit"]["record"]["createdAt"]

    async def filled(url: str) -> tuple[Page, Page]:
        settings = ServeSettings(jetstream=url, store=tmp_path / "s", arms={"likes": "fb-2017"})
        service = Service(settings, toxic_words)
        generator = FeedGenerator(service, FeedOptions(refresh_s=0.0, stale_s=0.0))
        async with generator.running():
            store = generator.store
            assert store is not None
            await until(lambda: sum(sum(stored.counts) for stored in store.candidates(9)) == 9)
            pages = await generator.page("likes", 50, None), await generator.page("harm-aware", 50, None)
        await service.close()
        return pages

    async def from_stream() -> tuple[Page, Page]:
        async with served(FakeJetstream(live)) as url:
            return await filled(url)

    by_likes, harm_aware = asyncio.run(from_stream())
    assert by_likes.posts[0] == harm_aware.posts[-1] == uri(1, "p1")
    assert set(by_likes.posts) == set(harm_aware.posts) == {uri(t, f"p{t}") for t in range(1, 6)}


def test_files_and_stream_share_the_places(config: ServeSettings) -> None:
    async def mixed() -> None:
        service = Service(replace(config, jetstream="ws://unused.example/"), toxic_words)
        generator = FeedGenerator(service, FeedOptions(max_candidates=40))
        assert generator.store is not None
        apply(
            generator.store, *[post(t, t, f"s{t}") for t in range(30)], post(99, 1, "p50", "not the file's")
        )
        page = await generator.page("harm-aware", 100, None)
        keys = [found.rpartition("/")[2] for found in page.posts]
        assert sum(key.startswith("p") for key in keys) == 20
        assert sum(key.startswith("s") for key in keys) == 19  # the newest is p50 once more
        generator.store.close()
        await service.close()

    asyncio.run(mixed())


def broken(_content: Content) -> HarmScores:
    raise RuntimeError("no memory left")


@pytest.mark.parametrize("scorer", [None, broken])
def test_a_feed_without_scores_is_degraded_and_never_empty(config: ServeSettings, scorer: Any) -> None:
    async def degraded() -> httpx.Response:
        async with client_of(config, scorer) as client:
            return await client.get(SKELETON, params={"feed": FEED, "limit": 100})

    answer = asyncio.run(degraded())
    assert len(posts_of(answer)) == 60
    assert answer.headers["X-Degraded"] == "true"
    assert "X-Degraded" not in get(config, SKELETON, feed=FEED).headers


def test_a_feed_is_ranked_without_scores_while_the_scorer_has_too_much_to_do(config: ServeSettings) -> None:
    begun, free = threading.Event(), threading.Event()

    def slow(content: Content) -> HarmScores:
        if content.n:
            begun.set()
            free.wait(20)
        return toxic_words(content)

    async def busy() -> Page:
        service = Service(replace(config, max_waiting_texts=1), slow)
        generator = FeedGenerator(service)
        read = asyncio.create_task(service.score(Content.of_texts(["being read"])))
        await until(begun.is_set)
        waiting = asyncio.create_task(service.score(Content.of_texts(["waiting"])))
        await until(lambda: service.worker is not None and service.worker.n_waiting == 1)
        page = await generator.page("harm-aware", 100, None)
        free.set()
        await asyncio.gather(read, waiting)
        await service.close()
        return page

    page = asyncio.run(busy())
    assert len(page.posts) == 60
    assert page.degraded == str(BusyError())


def test_a_reader_does_not_wait_long_for_scores(config: ServeSettings) -> None:
    """The first page comes without scores, the next with them; a newer feed is not waited for either."""
    free = threading.Event()
    now = [0.0]

    def slow(content: Content) -> HarmScores:
        if content.n:
            free.wait(20)
        return toxic_words(content)

    async def waited() -> list[Page]:
        service = Service(config, slow)
        options = FeedOptions(patience_s=0.05, texts_at_once=7)
        generator = FeedGenerator(service, options, clock=lambda: now[0])
        pages = [await generator.page("harm-aware", 100, None) for _ in range(2)]
        free.set()
        await until(lambda: not generator._building)
        pages.append(await generator.page("harm-aware", 100, None))
        free.clear()
        assert config.candidates is not None
        write_rows(config.candidates, [row(i) for i in range(100, 120)])
        now[0] = 400.0
        pages.append(await generator.page("harm-aware", 100, None))
        free.set()
        await until(lambda: not generator._building)
        pages.append(await generator.page("harm-aware", 100, None))
        await service.close()
        return pages

    first, second, scored, old, new = asyncio.run(waited())
    assert first == second
    assert first.degraded == "the scores are not there yet"
    assert first.posts[0] == uri(1, "p59")
    assert scored.degraded is None
    assert scored.posts[0] == uri(1, "p58")
    assert old == scored
    assert len(new.posts) == 20


def test_the_application_serves_the_feeds_to_everybody(config: ServeSettings) -> None:
    """API keys are for the other services: nobody who asks for a feed has one."""
    app = create_app(replace(config, api_keys=("secret",)), toxic_words)

    async def asked() -> list[httpx.Response]:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            paths = (SKELETON, "/xrpc/app.bsky.feed.describeFeedGenerator", "/.well-known/did.json")
            return [await client.get(path, params={"feed": FEED}) for path in paths]

    assert [answer.status_code for answer in asyncio.run(asked())] == [200, 200, 200]


def test_many_readers_at_once_make_one_ranking(config: ServeSettings) -> None:
    calls: list[int] = []

    def counted(content: Content) -> HarmScores:
        calls.append(len(content.text))
        return toxic_words(content)

    async def many() -> list[httpx.Response]:
        async with client_of(config, counted) as client:
            return await asyncio.gather(*(client.get(SKELETON, params={"feed": FEED}) for _ in range(40)))

    answers = asyncio.run(many())
    assert len({answer.content for answer in answers}) == 1
    assert sum(calls) == 60


def test_an_empty_store_gives_an_empty_feed_without_a_cursor(tmp_path: Path) -> None:
    config = ServeSettings(candidates=write_rows(tmp_path / "a.jsonl", []))
    assert get(config, SKELETON, feed=FEED).json() == {"feed": []}


def test_what_cannot_be_served_is_told_at_the_start(config: ServeSettings, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("words " * 500)
    holdout = tmp_path / "holdout.toml"
    holdout.write_text(
        'schema = 1\nname = "h"\nbase = "harm-aware"\ndate = "2026-01-01"\ntitle = "h"\nholdout.share = 0.1\n'
    )
    write_rows(tmp_path / "p.jsonl", [row(1, p_like=0.5)])
    for changes, kind, message in (
        ({"candidates": tmp_path / "none"}, FeedError, "expected a file or directory of JSON lines"),
        ({"jetstream": "https://a.example"}, StreamError, "expected an address such as wss"),
        ({"store": text}, StoreError, "expected an SQLite store of posts"),
        ({"hostname": "https://a.example"}, ValueError, "hostname: expected a host name such as"),
        ({"policy": "none"}, PolicyError, "expected a preset"),
        ({"arms": {"harm-aware": "fb-2017"}}, PolicyError, 'got "harm-aware" again'),
        ({"arms": {"a b": "fb-2017", "a/b": "fb-2017"}}, PolicyError, 'got "a-b" again'),
        (
            {"arms": {"held": str(holdout)}},
            FeedError,
            "the Bluesky feed of policy h: user: expected a column",
        ),
        (
            {"candidates": tmp_path / "p.jsonl", "jetstream": "ws://a.example"},
            FeedError,
            r"p\.jsonl, with the stream: signals: expected counts or probabilities, got both",
        ),
    ):
        with pytest.raises(kind, match=message):
            router(Service(replace(config, **changes), None))


@pytest.mark.parametrize(
    "host", ["", "a b", "a.example/path", "-a.example", "a..b", "a.example:port", "a.example.", "é.example"]
)
def test_what_is_no_host_name_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="hostname: expected a host name such as"):
        service_did(host)


def test_keys_of_feeds_are_record_keys() -> None:
    service = Service(ServeSettings(policy="fb-2018-h1+halving", arms={"a:b c": "fb-2017"}), None)
    assert list(feed_policies(service)) == ["fb-2018-h1", "a-b-c"]


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_snapshots_in_memory_are_bounded_in_number_and_age() -> None:
    clock = Clock()
    snapshots = Snapshots(None, clock)
    made = [snapshots.keep("feed", [str(i)], None) for i in range(200)]
    assert sum(snapshots.find("feed", one.id) is not None for one in made) == 128
    assert snapshots.latest("feed") == made[-1]
    clock.now = 7_201.0
    assert snapshots.find("feed", made[-1].id) is None
    again = snapshots.keep("feed", ["199"], None)
    assert again.id == made[-1].id
    assert snapshots.find("feed", again.id) == again


def test_a_snapshot_has_the_id_of_its_feed_and_order() -> None:
    ids = {
        Snapshots(None).keep(feed, posts, None).id
        for feed, posts in (("f", ["a", "b"]), ("f", ["b", "a"]), ("g", ["a", "b"]), ("f", ["a", "b"]))
    }
    assert len(ids) == 3


def test_a_cursor_is_read_as_it_was_written() -> None:
    snapshot = Snapshots(None).keep("feed", ["a", "b", "c"], None)
    page = cut_page(snapshot, 0, 2)
    assert page.cursor is not None
    assert read_cursor(page.cursor) == (snapshot.id, 2)
    assert cut_page(snapshot, 2, 2) == Page(("c",), None, None)
    assert cut_page(snapshot, 0, 3).cursor is None
    with pytest.raises(CursorError, match="cursor: expected one from an earlier answer"):
        read_cursor(page.cursor.upper() + "\n")


def test_the_window_is_kept_while_the_stream_is_down() -> None:
    """Old posts are better than none: only what arrives drops what is old."""

    async def down() -> int:
        service = Service(ServeSettings(jetstream="ws://unused.example/"), toxic_words)
        generator = FeedGenerator(service)
        assert generator.store is not None
        apply(generator.store, *[post(t, 1, f"p{t}") for t in range(5)])
        page = await generator.page("harm-aware", 50, None)
        generator.store.close()
        await service.close()
        return len(page.posts)

    assert START_US / 1e6 + Window().max_age_s < 1e10
    assert asyncio.run(down()) == 5

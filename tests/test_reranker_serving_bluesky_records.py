"""What a record says, in the columns of a feed, and what is left out because it says it wrongly."""

from typing import Any

import pytest

from reranker.serving.bluesky_records import PostRecord, is_post_uri, read_post, subject_of
from tests.jetstreams import LIKE, POST, Message, uri


def read(**record: Any) -> PostRecord:
    found = read_post({"$type": POST, "text": "a", "createdAt": "2026-09-21T15:00:00.5Z"} | record)
    assert found is not None
    return found


def link(address: object) -> Message:
    return {
        "index": {"byteStart": 0, "byteEnd": 1},
        "features": [{"$type": "app.bsky.richtext.facet#link", "uri": address}],
    }


def quote(address: object) -> Message:
    return {"$type": "app.bsky.embed.record", "record": {"uri": address, "cid": "bafy"}}


IMAGES = {"$type": "app.bsky.embed.images", "images": [{"alt": "a", "image": {}}]}
CARD = {"$type": "app.bsky.embed.external", "external": {"uri": "https://b.example", "title": "b"}}
VIDEO = {"$type": "app.bsky.embed.video", "video": {}}


def beside(quoted: object, media: Message) -> Message:
    return {
        "$type": "app.bsky.embed.recordWithMedia",
        "record": {"$type": "app.bsky.embed.record", "record": {"uri": quoted, "cid": "bafy"}},
        "media": media,
    }


@pytest.mark.parametrize(
    ("embed", "media", "quoted", "urls"),
    [
        (None, "text", None, ()),
        (IMAGES, "photo", None, ()),
        (VIDEO, "video", None, ()),
        (CARD, "link", None, ("https://b.example",)),
        (quote(uri(1, "a")), "text", uri(1, "a"), ()),
        (beside(uri(1, "a"), IMAGES), "photo", uri(1, "a"), ()),
        (beside(uri(1, "a"), CARD), "link", uri(1, "a"), ("https://b.example",)),
        (quote("at://did:plc:a/app.bsky.graph.list/x"), "text", None, ()),
        (quote("at://handle.example/app.bsky.feed.post/x"), "text", None, ()),
        (quote(5), "text", None, ()),
        ({"$type": "app.bsky.embed.images", "images": []}, "text", None, ()),
        ({"$type": "app.bsky.embed.external", "external": {"uri": "javascript:alert(1)"}}, "text", None, ()),
        ({"$type": "app.bsky.embed.external", "external": {"uri": "https://a\nb"}}, "text", None, ()),
        ({"$type": "of.another.kind"}, "text", None, ()),
        ("not an embed", "text", None, ()),
    ],
)
def test_an_embed_gives_media_quote_and_link(
    embed: object, media: str, quoted: str | None, urls: tuple[str, ...]
) -> None:
    found = read(embed=embed)
    assert (found.media, found.quoted, found.urls) == (media, quoted, urls)


def test_links_of_text_and_card_come_once_each_in_order() -> None:
    facets = [link("https://c.example"), link("https://b.example"), link("ftp://d"), link(None), "no facet"]
    assert read(facets=facets, embed=CARD).urls == ("https://c.example", "https://b.example")
    assert len(read(facets=[link(f"https://{i}.example") for i in range(50)]).urls) == 20
    mention = {"features": [{"$type": "app.bsky.richtext.facet#mention", "did": "did:plc:a"}]}
    assert read(facets=[mention]).urls == ()


@pytest.mark.parametrize(
    ("langs", "language"),
    [
        (["en"], "en"),
        (["pt-BR"], "pt-BR"),
        (["en", "ja"], None),
        ([], None),
        (None, None),
        ("en", None),
        ([5], None),
        ([""], None),
        (["é"], None),
        (["e" * 36], None),
    ],
)
def test_a_language_is_taken_where_exactly_one_is_stated(langs: object, language: str | None) -> None:
    assert read(langs=langs).language == language


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01T00:00:01.25+00:00", 1_250_000),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:00:01", 1_000_000),
        ("1969-12-31T23:59:59Z", -1_000_000),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000_000),
        ("soon", None),
        (5, None),
        (None, None),
    ],
)
def test_a_time_is_read_or_not_known(created: object, expected: int | None) -> None:
    assert read(createdAt=created).created_us == expected


def test_an_empty_text_is_nothing_to_score() -> None:
    assert read(text="").text is None
    assert read(text=" ").text == " "


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"$type": POST},
        {"$type": POST, "text": None},
        {"$type": LIKE, "text": "a"},
        {"text": "a"},
        {"$type": POST, "text": "é" * 5_001},
    ],
)
def test_what_is_no_post_is_not_read_as_one(record: Message) -> None:
    assert read_post(record) is None


@pytest.mark.parametrize(
    "reply", [None, {}, {"parent": None}, {"parent": {"uri": "at://x"}}, {"root": {"uri": uri(1, "a")}}]
)
def test_a_reply_to_nothing_that_can_be_named_is_no_reply(reply: object) -> None:
    assert read(reply=reply).parent is None
    assert read(reply={"parent": {"uri": uri(1, "a")}}).parent == uri(1, "a")


def test_a_like_is_of_a_post_or_of_something_else() -> None:
    assert subject_of({"subject": {"uri": uri(1, "a"), "cid": "bafy"}}) == uri(1, "a")
    for subject in (None, "x", {}, {"uri": "at://did:plc:a/app.bsky.labeler.service/self"}, {"uri": 3}):
        assert subject_of({"subject": subject}) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("at://did:plc:abc/app.bsky.feed.post/3k", True),
        ("at://did:web:a.example/app.bsky.feed.post/3k", True),
        ("at://did:web:localhost%3A8000/app.bsky.feed.post/a:b~c_d.e-f", True),
        ("at://a.example/app.bsky.feed.post/3k", False),
        ("at://did:plc:abc/app.bsky.feed.like/3k", False),
        ("at://did:plc:abc/app.bsky.feed.post/3k/", False),
        ("at://did:plc:abc/app.bsky.feed.post/3k\n", False),
        ("at://did:plc:abc/app.bsky.feed.post/", False),
        ("https://bsky.app/profile/a/post/b", False),
        (None, False),
    ],
)
def test_the_address_of_a_post_is_told_from_others(value: object, expected: bool) -> None:
    assert is_post_uri(value) is expected

"""What of a `/rank` request becomes which column of the feed, and what is null."""

import math
from typing import Any

import numpy as np
import pytest

from reranker.serving.prosocial_feed import feed_of
from tests.rank_requests import KEYS, item, read, request


def signals(platform: str, **engagements: Any) -> dict[str, float | None]:
    """What the feed of one post holds, null as None."""
    feed = feed_of(read(request(item("a", engagements=engagements), platform=platform)))
    values = {name: feed.signals.get(name).tolist()[0] for name in feed.signals.names}
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def test_facebook_reports_reactions_comments_and_shares() -> None:
    counts = dict(zip(KEYS["facebook"], range(1, 10), strict=True))
    reactions = {name: counts[name] for name in ("like", "love", "care", "haha", "wow", "sad", "angry")}
    assert signals("facebook", **counts) == reactions | {"comment": 8, "reshare": 9}


def test_x_reports_no_reactions() -> None:
    counts = signals("twitter", retweet=1, like=2, comment=3, share=4)
    assert counts == {"reshare": 1, "like": 2, "comment": 3, "share": 4}


@pytest.mark.parametrize(
    ("votes", "like", "downvote"),
    [
        ({}, None, None),
        ({"score": None, "upvote": None}, None, None),
        ({"score": 7}, 7, None),
        ({"score": 0}, 0, None),
        ({"score": -4}, None, 4),
        ({"upvote": 9, "downvote": 2, "score": 7}, 9, 2),
        ({"upvote": 9, "score": 7}, 9, None),
        ({"downvote": 2}, None, 2),
    ],
)
def test_votes_that_reddit_does_not_report_are_null(
    votes: dict[str, int | None], like: int | None, downvote: int | None
) -> None:
    known = {name: value for name, value in (("like", like), ("downvote", downvote)) if value is not None}
    assert signals("reddit", comment=1, award=0, **votes) == known | {"comment": 1, "award": 0}


def test_what_one_row_lacks_is_null_in_a_column_that_another_has() -> None:
    rows = [item(str(score), engagements={"comment": 0, "award": 0, "score": score}) for score in (5, -5)]
    feed = feed_of(read(request(*rows, platform="reddit")))
    np.testing.assert_array_equal(feed.signals.get("like"), [5, np.nan])
    np.testing.assert_array_equal(feed.signals.get("downvote"), [np.nan, 5])


def test_the_platform_decides_how_ambiguous_counts_are_read() -> None:
    every = dict.fromkeys(("retweet", *KEYS["facebook"]), 1) | {"award": 1, "score": 1}
    assert set(signals("twitter", **every)) == {"reshare", "like", "comment", "share"}
    assert set(signals("reddit", **every)) == {"like", "comment", "award"}
    assert "angry" in signals("facebook", **every)


def test_counts_of_another_platform_are_read_by_their_keys() -> None:
    assert set(signals("facebook", comment=1, award=2, score=3)) == {"like", "comment", "award"}
    assert set(signals("reddit", **dict.fromkeys(("retweet", *KEYS["facebook"]), 1))) > {"angry", "care"}


def test_a_comment_hangs_below_its_comment_or_its_post_where_the_request_holds_them() -> None:
    wanted: list[tuple[dict[str, Any], str | None]] = [
        ({"post_id": "p", "parent_id": ""}, "p"),
        ({"post_id": "p", "parent_id": None}, "p"),
        ({"post_id": "p", "parent_id": "c0"}, "c0"),
        ({"post_id": "p", "parent_id": "not here"}, "p"),
        ({"post_id": "not here", "parent_id": "not here"}, None),
        ({"post_id": "p", "parent_id": "c5"}, "p"),
        ({"post_id": "c6", "parent_id": "c6"}, None),
        ({}, None),
        ({"type": "post", "post_id": "p"}, None),
    ]
    comments = [item(f"c{i}", **{"type": "comment"} | given) for i, (given, _) in enumerate(wanted)]
    feed = feed_of(read(request(item("p"), *comments)))
    assert feed.parent_id.to_list() == [None, *(parent for _, parent in wanted)]


def test_title_and_text_are_read_and_nothing_to_read_is_null() -> None:
    given = [{"title": "T", "text": "x"}, {"title": "T", "text": ""}, {"text": "x"}, {"text": " "}]
    feed = feed_of(read(request(*(item(str(i), **one) for i, one in enumerate(given)))))
    assert feed.text.to_list() == ["T\nx", "T\n", "x", None]


def test_half_characters_in_title_text_and_links_become_replacement_characters() -> None:
    one = item(
        "a", title="cut \ud83d", text="whole \U0001f600, \udc00", embedded_urls=["https://x.org/\ud800"]
    )
    feed = feed_of(read(request(one)))
    assert feed.text.to_list() == ["cut \ufffd\nwhole \U0001f600, \ufffd"]
    assert feed.urls.to_list() == ["https://x.org/\ufffd"]


def test_languages_become_their_primary_subtag_and_codes_of_no_language_null() -> None:
    given = ["en", "en-GB", "EN_us", "", "qme", "qaa", None, "pt "]
    feed = feed_of(read(request(*(item(str(i), language=tag) for i, tag in enumerate(given)))))
    assert feed.language.to_list() == ["en", "en", "en", None, None, None, None, "pt"]


def test_session_author_links_and_rank_come_along() -> None:
    links = ["https://example.org/a", "https://example.org/b"]
    one = item("a", author_name_hash="", embedded_urls=links, original_rank=4)
    feed = feed_of(read(request(one, user_id="me", session_id="now")))
    assert (feed.user[0], feed.request_id[0], feed.author[0]) == ("me", "now", None)
    assert feed.urls.to_list() == links
    assert feed.original_position.tolist() == [4]
    assert feed.time[0] == np.datetime64("2024-10-01T12:31:00")


@pytest.mark.parametrize(
    "written",
    [
        "2024-10-01T12:30:00Z",
        "2024-10-01T12:30:00",
        "2024-10-01 12:30:00",
        "2024-10-01 12:30",
        "2024-10-01T14:30:00+02:00",
        "2024-10-01T12:30:00.000000Z",
        1727785800,
        1727785800.0,
        1727785800000,
        "1727785800",
    ],
)
def test_a_time_may_be_written_in_every_way_of_the_contract(written: str | float) -> None:
    feed = feed_of(read(request(item("a", created_at=written), current_time=written)))
    assert feed.created_at.tolist() == feed.time.tolist()
    assert feed.created_at[0] == np.datetime64("2024-10-01T12:30:00")


def test_a_time_may_be_a_date_alone_or_before_1970() -> None:
    feed = feed_of(read(request(item("a", created_at="2024-10-01"), item("b", created_at=-1))))
    assert feed.created_at.astype(str).tolist() == [
        "2024-10-01T00:00:00.000000",
        "1969-12-31T23:59:59.000000",
    ]


def test_a_time_that_its_zone_moves_out_of_the_calendar_becomes_the_nearest_that_is_in_it() -> None:
    written = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    feed = feed_of(read(request(*(item(time, created_at=time) for time in written))))
    years = feed.created_at.astype("datetime64[Y]").astype(str).tolist()
    assert years == ["0001", "9999"]

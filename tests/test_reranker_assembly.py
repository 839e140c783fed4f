from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.assembly import NUMBER_FIELDS, STRING_FIELDS, feed_from_columns
from reranker.columns import FeedError, StringColumn, StringLists
from reranker.feed import CANDIDATE_FIELDS, REQUEST_FIELDS


def build(**changes):
    return feed_from_columns({"request_id": ["r", "r"], "post_id": ["a", "b"]} | changes)


@given(st.lists(st.sampled_from("rst"), max_size=20))
def test_rows_in_any_order_are_grouped_as_pandas_groups_them(requests):
    frame = pd.DataFrame({"request": pd.Series(requests, dtype=object), "like": range(len(requests))})
    feed = feed_from_columns(
        {
            "request_id": requests,
            "post_id": [f"p{i}" for i in range(len(requests))],
            "like": frame["like"].to_list(),
            "user": [f"u{name}" for name in requests],
        }
    )
    groups = {name: group["like"].to_list() for name, group in frame.groupby("request", sort=False)}
    assert feed.request_id.to_list() == list(groups)
    assert feed.user.to_list() == [f"u{name}" for name in groups]
    for i, rows in enumerate(groups.values()):
        low, high = feed.offsets[i], feed.offsets[i + 1]
        assert feed.post_id.to_list()[low:high] == [f"p{row}" for row in rows]
        if rows:
            assert feed.signals.get("like")[low:high].tolist() == rows


def test_every_field_is_of_one_kind():
    kinds = [STRING_FIELDS, NUMBER_FIELDS, {"time", "created_at"}, {"media", "relation"}]
    assert sum(len(kind) for kind in kinds) == len(REQUEST_FIELDS) + len(CANDIDATE_FIELDS)
    assert set().union(*kinds) == {*REQUEST_FIELDS, *CANDIDATE_FIELDS}


def test_no_rows_make_an_empty_feed_that_keeps_its_signals():
    feed = feed_from_columns({"request_id": [], "post_id": [], "like": [], "urls": [], "attr_x": []})
    assert (feed.n, feed.n_requests, feed.signals.names) == (0, 0, ("like",))
    assert feed.original_order.tolist() == []
    assert feed.take(np.zeros(0, dtype=np.int64)).n == 0


def test_a_signal_that_was_never_measured_is_absent_but_a_number_of_your_own_stays():
    feed = build(like=[None, None], love=[1, None], attr_x=[None, None])
    assert feed.signals.names == ("love",)
    assert np.isnan(feed.attributes["x"]).all()


def test_columns_may_be_arrays_with_a_mask():
    feed = feed_from_columns(
        {
            "request_id": StringColumn.from_values(["r", "r"]),
            "post_id": np.array(["a", "b"]),
            "like": np.array([np.nan, 2.0]),
            "computing_load": np.array([1, 2], dtype=np.int32),
            "care": np.array([None, 3], dtype=object),
            "media": np.array([4, -1]),
            "urls": StringLists(np.array([0, 0, 1]), StringColumn.from_values(["u"])),
            "created_at": np.array(["2024-01-01", "NaT"], dtype="datetime64[D]"),
        },
        null={"like": np.array([True, False]), "computing_load": np.array([False, True])},
    )
    assert feed.signals.null.tolist() == [[True, False], [True, False]]
    assert feed.computing_load[0] == 1
    assert np.isnan(feed.computing_load[1])
    assert feed.media.tolist() == [4, -1]
    assert feed.url_offsets.tolist() == [0, 0, 1]
    assert feed.created_at.dtype == "datetime64[us]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-02", "2024-01-02T00:00:00"),
        ("2024-01-02T03:00:00Z", "2024-01-02T03:00:00"),
        ("2024-01-02T03:00:00.000001+02:00", "2024-01-02T01:00:00.000001"),
        (datetime(2024, 1, 2, 3, tzinfo=timezone(timedelta(hours=-1))), "2024-01-02T04:00:00"),
        (datetime(2024, 1, 2, 3, tzinfo=UTC), "2024-01-02T03:00:00"),
        (datetime(2024, 1, 2, 3), "2024-01-02T03:00:00"),
        (date(2024, 1, 2), "2024-01-02T00:00:00"),
        (np.datetime64("2024-01-02T03"), "2024-01-02T03:00:00"),
        (pd.Timestamp("2024-01-02", tz="UTC"), "2024-01-02T00:00:00"),
    ],
)
def test_times_of_any_kind_become_utc(value, expected):
    feed = build(created_at=[value, None])
    assert feed.created_at.tolist()[0].isoformat() == expected
    assert np.isnat(feed.created_at[1])


BAD = [
    (
        {"liek": [1, 2]},
        'unknown column "liek"; did you mean "like"?; a number of your own is named "attr_liek"',
    ),
    ({"attr_": [1, 2]}, 'unknown column "attr_"'),
    ({"like": [1]}, "like: expected 2 rows, got 1"),
    ({"request_id": ["r", None]}, "request_id: expected a value, got null at row 1"),
    ({"post_id": ["a", None]}, "post_id: expected a value, got null at row 1"),
    ({"post_id": ["a", 7]}, "post_id: expected text, got '7' at row 1"),
    ({"post_id": ["a", "a"]}, "post_id: expected each post once in a request, got 'a' at rows 0 and 1"),
    ({"text": ["x", np.nan]}, "text: expected text, got 'nan' at row 1"),
    ({"user": ["u", "v"]}, "user: expected one value in a request, got another at row 1"),
    ({"user": ["u", None]}, "user: expected one value in a request, got another at row 1"),
    ({"connection_strength": [0.5, None]}, "connection_strength: expected one value in a request"),
    ({"connection_strength": [2, 2]}, "connection_strength: expected a number in [0, 1], got 2.0 at row 0"),
    ({"computing_load": [1, -1]}, "computing_load: expected a finite number >= 0, got -1.0 at row 1"),
    ({"like": [1, -1]}, "like: expected a finite number from 0 to 2**53, got -1.0 at row 1"),
    ({"like": [1, float("nan")]}, "like: expected a finite number or null, got nan at row 1"),
    ({"like": np.array([1, np.nan])}, "like: expected a finite number or null, got nan at row 1"),
    ({"like": [1, float("inf")]}, "like: expected a finite number or null, got inf at row 1"),
    ({"like": [1, 10**30]}, "like: expected a finite number from 0 to 2**53, got 1e+30 at row 1"),
    (
        {"like": [1, 10**400]},
        "like: expected numbers, got '1000000000000000000000000000000000000000' at row 1",
    ),
    ({"like": [1, "many"]}, "like: expected numbers, got 'many' at row 1"),
    ({"like": [1, "2"]}, "like: expected numbers, got '2' at row 1"),
    ({"like": [1, [2]]}, "like: expected numbers, got '[2]' at row 1"),
    ({"like": [date(2024, 1, 1), 1]}, "like: expected numbers, got '2024-01-01' at row 0"),
    ({"like": np.array(["2024", "2025"], dtype="M8[Y]")}, "like: expected numbers, got '2024' at row 0"),
    ({"like": np.ones((2, 1))}, "like: expected numbers, got '[1.]' at row 0"),
    ({"like": np.array([1, 2], dtype="m8[s]")}, "like: expected numbers, got '1 seconds' at row 0"),
    ({"attr_x": [1, float("inf")]}, "attr_x: expected a finite number or null, got inf at row 1"),
    ({"original_position": [0, 1.5]}, "original_position: expected a position from 0, got 1.5 at row 1"),
    ({"original_position": [0, -1]}, "original_position: expected a position from 0, got -1.0 at row 1"),
    ({"original_position": [0, 1e300]}, "original_position: expected a position from 0, got 1e+300 at row 1"),
    (
        {"media": ["photo", "gif"]},
        'media: expected one of text, link, photo, video, live_video, got "gif" at row 1',
    ),
    ({"media": np.array([0, 300])}, "media: expected codes -1 to 4, got 300 at row 1"),
    ({"created_at": ["2024-01-01", "today"]}, "created_at: expected an ISO 8601 time, got 'today' at row 1"),
    ({"created_at": ["2024-01-01", 5]}, "created_at: expected an ISO 8601 time, got '5' at row 1"),
    ({"urls": ["a", 5]}, "urls: expected a list of links, got '5' at row 1"),
    ({"urls": ["a", [5]]}, "urls: expected links as text, got '5' at row 1"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message[:60] for _, message in BAD])
def test_bad_input_is_refused_with_its_column_and_row(changes, message):
    with pytest.raises(FeedError) as caught:
        build(**changes)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"post_id": ["a", "b", None]}, "post_id: expected a value, got null at row 2"),
        (
            {"post_id": ["a", "b", "a"]},
            "post_id: expected each post once in a request, got 'a' at rows 0 and 2",
        ),
        ({"user": ["u", "v", "w"]}, "user: expected one value in a request, got another at row 2"),
        ({"like": [1, 2, -1]}, "like: expected a finite number from 0 to 2**53, got -1.0 at row 2"),
        ({"angry_accounts": [1, 2, -1]}, "angry_accounts: expected a finite number >= 0, got -1.0 at row 2"),
    ],
)
def test_the_row_in_a_message_is_the_callers_row_and_not_the_grouped_one(changes, message):
    with pytest.raises(FeedError) as caught:
        feed_from_columns({"request_id": ["r", "s", "r"], "post_id": ["a", "b", "c"]} | changes)
    assert str(caught.value).startswith(message)


def test_a_feed_needs_requests_and_posts():
    with pytest.raises(FeedError, match=r"^request_id: expected a column, got post_id$"):
        feed_from_columns({"post_id": ["a"]})
    with pytest.raises(FeedError, match=r"^request_id: expected a column, got none$"):
        feed_from_columns({})

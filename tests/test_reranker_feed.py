from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.columns import FeedError, StringColumn
from reranker.feed import CANDIDATE_FIELDS, REQUEST_FIELDS


def rows_of(feed, request):
    """One request as plain Python, read cell by cell."""
    low, high = feed.offsets[request], feed.offsets[request + 1]
    cells = {"user": feed.user[request], "time": str(feed.time[request]), "id": feed.request_id[request]}
    for row in range(low, high):
        links = feed.urls.to_list()[feed.url_offsets[row] : feed.url_offsets[row + 1]]
        likes = None if np.isnan(feed.signals.get("like")[row]) else float(feed.signals.get("like")[row])
        cells[feed.post_id[row]] = (feed.text[row], links, likes, str(feed.attributes["size"][row]))
    return cells


@st.composite
def feeds(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    request = [f"r{i}" for i, size in enumerate(sizes) for _ in range(size)]
    n = len(request)

    def column(values):
        return draw(st.lists(st.none() | values, min_size=n, max_size=n))

    return feed_from_columns(
        {
            "request_id": request,
            "post_id": [f"p{j}" for size in sizes for j in range(size)],
            "user": [f"u{name}" for name in request],
            "text": column(st.text(max_size=3)),
            "urls": column(st.lists(st.sampled_from(["a.com", "b.org"]), max_size=2)),
            "like": column(st.integers(0, 9)),
            "original_position": column(st.integers(0, 5)),
            "attr_size": column(st.floats(-10, 10)),
        }
    )


@given(feeds(), st.data())
def test_taking_requests_equals_reading_them_one_by_one(feed, data):
    chosen = data.draw(st.lists(st.integers(0, feed.n_requests - 1)))
    taken = feed.take(np.array(chosen, dtype=np.int64))
    assert taken.n_requests == len(chosen)
    assert [rows_of(taken, i) for i in range(len(chosen))] == [rows_of(feed, i) for i in chosen]


@given(feeds(), st.data())
def test_a_slice_equals_taking_its_requests(feed, data):
    stop = data.draw(st.integers(0, feed.n_requests))
    start = data.draw(st.integers(0, stop))
    cut = feed.slice(start, stop)
    assert [rows_of(cut, i) for i in range(stop - start)] == [rows_of(feed, i) for i in range(start, stop)]
    assert cut.offsets.tolist() == feed.take(np.arange(start, stop)).offsets.tolist()


@given(feeds())
def test_the_original_order_is_the_logged_position_then_the_order_of_rows(feed):
    for request in range(feed.n_requests):
        rows = range(feed.offsets[request], feed.offsets[request + 1])
        logged = feed.original_position
        expected = sorted(rows, key=lambda row: (logged[row] if logged[row] >= 0 else 10**9, row))
        assert [feed.original_order[row] for row in expected] == list(range(len(rows)))


def small(**changes):
    columns = {"request_id": ["r", "r", "s"], "post_id": ["a", "b", "a"], "like": [1, 2, 3]}
    return feed_from_columns(columns | changes)


def test_a_slice_looks_at_the_same_memory():
    feed = small(attr_size=[1.0, 2.0, 3.0])
    cut = feed.slice(1, 2)
    assert np.shares_memory(cut.signals.values, feed.signals.values)
    assert np.shares_memory(cut.attributes["size"], feed.attributes["size"])


def test_no_array_of_a_feed_can_be_written_to():
    feed = small(attr_size=[1.0, 2.0, 3.0])
    for made in (feed, feed.slice(0, 1), feed.take(np.array([1]))):
        assert not made.attributes["size"].flags.writeable
        for name in (*REQUEST_FIELDS, *CANDIDATE_FIELDS, "offsets", "url_offsets"):
            values = getattr(made, name)
            values = values.codes if isinstance(values, StringColumn) else values
            assert not values.flags.writeable, name


def test_missing_names_the_columns_that_hold_nothing():
    feed = small(media=["photo", None, None], urls=["u", None, None], time=["2024-01-01"] * 3)
    held = {"request_id", "post_id", "media", "time"}
    assert set(feed.missing) == {*REQUEST_FIELDS, *CANDIDATE_FIELDS} - held
    assert "urls" in small().missing
    assert feed_from_columns({"request_id": [], "post_id": []}).missing == ()


def test_content_is_what_a_scorer_reads():
    content = small(text=["x", None, "z"], language=["en", None, None], urls=[["u", "v"], None, []]).content()
    assert content.text == ["x", None, "z"]
    assert content.language == ["en", None, None]
    assert content.urls == [["u", "v"], None, None]


def test_attributes_are_added_and_checked():
    assert small().with_attributes({"size": np.ones(3)}).attributes["size"].tolist() == [1, 1, 1]
    with pytest.raises(FeedError, match=r"^size: expected finite numbers, got inf at row 1$"):
        small().with_attributes({"size": np.array([0, np.inf, 0])})
    with pytest.raises(FeedError, match=r"^size: expected 3 rows, got 2$"):
        small().with_attributes({"size": np.ones(2)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": np.array([1, 3])}, "offsets: expected 0 first and never falling"),
        ({"offsets": np.array([0, 3, 2, 3])}, "offsets: expected 0 first and never falling"),
        ({"offsets": np.array([0, 2, 4])}, "signals: expected 4 rows, got 3"),
        ({"text": StringColumn.null(2)}, "text: expected 3 rows, got 2"),
        ({"user": StringColumn.null(3)}, "user: expected 2 rows, got 3"),
        ({"url_offsets": np.array([0, 1, 1, 2])}, "url_offsets: expected 0 first, never falling, 1 last"),
        ({"url_offsets": np.array([0, 1, 0, 1])}, "url_offsets: expected 0 first, never falling, 1 last"),
        (
            {"post_id": StringColumn.from_values(["a", None, "a"])},
            "post_id: expected a value, got null at row 1",
        ),
        ({"request_id": StringColumn.null(2)}, "request_id: expected a value, got null at row 0"),
        ({"request_id": StringColumn.from_values(["r", "r"])}, "request_id: expected the rows of a request"),
        (
            {"angry_peak_share": np.array([0, 2.0, 0])},
            "angry_peak_share: expected a number in [0, 1], got 2.0 at",
        ),
        ({"media": np.array([0, 1, 5], dtype=np.int8)}, "media: expected codes from -1 to 4"),
        (
            {"post_id": StringColumn.from_values(["b", "b", "a"])},
            "post_id: expected each post once in a request, got 'b' at rows 0 and 1",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    feed = small(urls=["u", None, None])
    with pytest.raises(FeedError) as caught:
        replace(feed, **changes)
    assert str(caught.value).startswith(message)


def test_a_signal_comes_as_totals_or_as_single_acts_but_not_both():
    acts = interactions_from_columns({"post_id": ["a", "b"], "kind": ["like", "comment"]})
    with pytest.raises(
        FeedError, match=r"^like: expected either a total per post or single interactions, got both"
    ):
        replace(small(), interactions=acts)
    comments = interactions_from_columns({"post_id": ["b"], "kind": ["comment"]})
    assert replace(small(), interactions=comments).interactions is comments


def test_the_same_post_may_stand_in_two_requests():
    assert small().n_requests == 2
    assert small().request_of_row.tolist() == [0, 0, 1]

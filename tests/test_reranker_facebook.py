from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reranker.columns import FeedError
from reranker.facebook import MEDIA_OF_TYPE, SIGNAL_COLUMNS, ImportReport, import_facebook
from reranker.signals import MEDIA_TYPES

DATA = Path(__file__).parents[2] / "shared" / "data" / "engagement"
NEWS = DATA / "fb_news_2016_17_rleun.parquet"
needs_data = pytest.mark.skipif(not NEWS.exists(), reason=f"the shared data set is not at {DATA}")

POSTS = {
    "post_id": ["a", "b", "c", "d"],
    "text": ["hello", None, "", None],
    "title": ["t", "title", "title", None],
    "page": ["one", "one", "two", None],
    "created_at": [
        datetime(2016, 5, 2),
        datetime(2016, 5, 1, 23, 59),
        datetime(2016, 5, 1),
        datetime(2017, 1, 1),
    ],
    "type": ["status", "Live Video", "offer", None],
    "url": [None, "http://a.com", None, None],
    "likes": [10, 4, None, 1],
    "angry": [2, None, None, 1],
    "care": pa.nulls(4, pa.int32()),
    "comments": [1, 2, 3, 4],
    "domain_quality": pa.array([0.5, None, None, 1], pa.float32()),
    "rating": ["x", None, None, None],
}


@pytest.fixture
def posts(tmp_path):
    def write(**changes):
        path = tmp_path / "posts.parquet"
        pq.write_table(pa.table({k: v for k, v in (POSTS | changes).items() if v is not None}), path)
        return path

    return write


def test_days_become_requests_in_order_of_time(posts):
    feed, report = import_facebook(posts())
    assert report == ImportReport(
        n_read=4, n_dropped_reactions=0, n_dropped_pool=0, n_pools=3, n_unknown_type=1
    )
    assert feed.request_id.to_list() == ["2016-05-01", "2016-05-02", "2017-01-01"]
    assert feed.post_id.to_list() == ["b", "c", "a", "d"]
    assert feed.text.to_list() == ["title", "title", "hello\nt", None]
    assert feed.author.to_list() == feed.publisher.to_list() == ["one", "two", "one", None]
    assert feed.media.tolist() == [MEDIA_TYPES.index("live_video"), -1, MEDIA_TYPES.index("text"), -1]
    assert feed.urls.to_list() == ["http://a.com"]
    assert feed.url_offsets.tolist() == [0, 1, 1, 1, 1]
    assert feed.signals.names == ("like", "angry", "comment")
    np.testing.assert_array_equal(feed.signals.get("angry"), [np.nan, np.nan, 2, 1])
    np.testing.assert_array_equal(feed.attributes["reactions"], [4, np.nan, 12, 2])
    np.testing.assert_array_equal(feed.attributes["domain_quality"], [np.nan, np.nan, 0.5, 1])
    assert feed.created_at[0] == np.datetime64("2016-05-01T23:59")
    assert (feed.original_position == -1).all()
    assert {"user", "original_position", "time"} <= set(feed.missing)


def test_weeks_are_iso_weeks(posts):
    feed, _ = import_facebook(posts(), pool="week")
    assert feed.request_id.to_list() == ["2016-W17", "2016-W18", "2016-W52"]


@given(st.dates(pd.Timestamp("1960-01-01").date(), pd.Timestamp("2100-01-01").date()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_week_and_day_names_are_those_of_the_calendar(posts, day):
    path = posts(created_at=[datetime(day.year, day.month, day.day, 23)] * 4)
    year, week, _ = day.isocalendar()
    assert import_facebook(path, pool="week")[0].request_id.to_list() == [f"{year}-W{week:02}"]
    assert import_facebook(path)[0].request_id.to_list() == [day.isoformat()]


def test_small_posts_and_then_small_pools_are_dropped(posts):
    feed, report = import_facebook(posts(), min_reactions=2)
    assert feed.post_id.to_list() == ["b", "a", "d"]
    assert (report.n_dropped_reactions, report.n_dropped_pool, report.n_pools) == (1, 0, 3)
    feed, report = import_facebook(posts(), min_pool=2)
    assert feed.post_id.to_list() == ["b", "c"]
    assert (report.n_dropped_reactions, report.n_dropped_pool, report.n_pools) == (0, 2, 1)
    feed, report = import_facebook(posts(), min_reactions=5, min_pool=2)
    assert (feed.n, report.n_dropped_reactions, report.n_dropped_pool) == (0, 3, 1)


def test_signals_are_divided_by_the_median_of_the_page_and_reactions_are_not(posts):
    feed, _ = import_facebook(posts(), min_reactions=1, normalise="page-median")
    # page one: posts of 12 and 4 reactions, median 8; no page: 12, 4 and 2 of the whole file, median 4
    np.testing.assert_array_equal(feed.signals.get("like"), [4 / 8, 10 / 8, 1 / 4])
    np.testing.assert_array_equal(feed.signals.get("comment"), [2 / 8, 1 / 8, 4 / 4])
    np.testing.assert_array_equal(feed.attributes["reactions"], [4, 12, 2])


def test_the_median_is_taken_before_small_pools_are_dropped(posts):
    path = posts(likes=[10, 4, 2, 1], created_at=[datetime(2016, 5, day) for day in (1, 2, 1, 3)])
    feed, _ = import_facebook(path, min_reactions=1, min_pool=2, normalise="page-median")
    assert feed.post_id.to_list() == ["a", "c"]
    np.testing.assert_array_equal(feed.signals.get("like"), [10 / 8, 2 / 2])


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.integers(1, 50)), min_size=1, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_page_medians_are_those_of_pandas(tmp_path, rows):
    frame = pd.DataFrame(rows, columns=["page", "likes"]).assign(post_id=[f"p{i}" for i in range(len(rows))])
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "posts.parquet")
    feed, _ = import_facebook(tmp_path / "posts.parquet", pool="all", normalise="page-median")
    expected = frame["likes"] / frame.groupby("page")["likes"].transform("median")
    np.testing.assert_allclose(feed.signals.get("like"), expected)


def test_an_export_without_pages_or_times_is_one_pool(tmp_path):
    path = tmp_path / "posts.csv"
    path.write_text("post_id,type,likes,love\n1,photo,3,1\n2,video,5,\n")
    feed, report = import_facebook(path, pool="all", normalise="page-median")
    assert feed.request_id.to_list() == ["all"]
    assert feed.publisher.to_list() == [None, None]
    np.testing.assert_allclose(feed.signals.get("love"), [1 / 4.5, np.nan])
    assert report.n_pools == 1


BAD = [
    ({"created_at": [*POSTS["created_at"][:3], None]}, {}, "created_at: expected a time, got null at row 3"),
    ({"created_at": None}, {}, 'created_at: expected a column, got none; pool="all" needs no time'),
    ({"post_id": ["a", None, "c", "d"]}, {}, "post_id: expected a value, got null at row 1"),
    (
        {"post_id": ["a", "x", "x", "d"]},
        {},
        "post_id: expected each post once in a request, got 'x' at rows 1 and 2",
    ),
    ({"likes": [1, 2, -3, 4]}, {}, "likes: expected a finite number from 0 to 2**53, got -3.0 at row 2"),
    (
        {"likes": [1, float("nan"), 3, 4]},
        {},
        "likes: expected a finite number from 0 to 2**53, got nan at row 1",
    ),
    ({"likes": ["x"] * 4}, {}, "likes: expected numbers, got a column of string, 'x' at row 0"),
    ({"domain_quality": [1, 2, 3, float("inf")]}, {}, "domain_quality: expected a finite number"),
    ({"page": [1.5] * 4}, {}, "page: expected text or integers, got a column of double"),
    (dict.fromkeys(("likes", "angry", "care", "comments")), {}, "expected a column of likes, love"),
    (
        {},
        {"normalise": "page-median"},
        'page: expected a median above 0 reactions, got none that was measured for page "two"',
    ),
    (
        {"likes": [0, 0, 1, 1], "angry": None},
        {"normalise": "page-median"},
        'page: expected a median above 0 reactions, got 0 for page "one" at row 0; min_reactions=1 drops',
    ),
    (
        {"likes": [0, 0, 0, 0], "angry": None, "page": None},
        {"normalise": "page-median"},
        "page: expected a median above 0 reactions, got 0 for the posts without a page at row 0",
    ),
]


@pytest.mark.parametrize(("changes", "options", "message"), BAD, ids=[message[:50] for _, _, message in BAD])
def test_a_bad_export_is_refused_with_its_file_and_row(posts, changes, options, message):
    path = posts(**changes)
    with pytest.raises(FeedError) as caught:
        import_facebook(path, **options)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_options_that_are_not_known_are_refused(posts):
    with pytest.raises(FeedError, match=r"^pool: expected one of day, week, all, got 'month'$"):
        import_facebook(posts(), pool="month")
    with pytest.raises(FeedError, match=r"^normalise: expected one of page-median, got 'mean'$"):
        import_facebook(posts(), normalise="mean")


def test_a_post_that_is_dropped_may_stand_twice(posts):
    feed, _ = import_facebook(posts(post_id=["a", "x", "x", "d"]), min_reactions=1)
    assert feed.post_id.to_list() == ["x", "a", "d"]


def test_every_type_is_a_known_media():
    assert set(MEDIA_OF_TYPE.values()) == set(MEDIA_TYPES)
    assert SIGNAL_COLUMNS["shares"] == "reshare"


@needs_data
def test_the_news_pages_of_2016_and_2017_make_290_days():
    feed, report = import_facebook(NEWS, min_reactions=10, min_pool=100, normalise="page-median")
    assert (report.n_read, report.n_pools, feed.n) == (186_757, 290, 161_620)
    frame = pd.read_parquet(NEWS).assign(
        r=lambda f: f[["likes", "love", "haha", "wow", "sad", "angry"]].sum(axis=1)
    )
    frame = frame[frame["r"] >= 10]
    frame = frame.assign(scaled=frame["angry"] / frame.groupby("page")["r"].transform("median"))
    frame = frame.set_index("post_id").loc[feed.post_id.to_list()]
    np.testing.assert_allclose(feed.signals.get("angry"), frame["scaled"], rtol=1e-12)
    np.testing.assert_array_equal(feed.attributes["reactions"], frame["r"])


@needs_data
def test_every_export_of_posts_is_read():
    for name in (
        "fb_pages_2016_minimaxir",
        "fb_partisan_top_posts_2015_17_buzzfeed",
        "fb_factcheck_2016_buzzfeed",
    ):
        feed, report = import_facebook(DATA / f"{name}.parquet", pool="week")
        assert feed.n == report.n_read
    feed, _ = import_facebook(DATA / "fb_live_sellers_uci.parquet", pool="all")
    assert feed.n_requests == 1
    assert "publisher" in feed.missing

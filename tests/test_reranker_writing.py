import os
import stat
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.columns import FeedError, StringColumn
from reranker.feed import CANDIDATE_FIELDS, REQUEST_FIELDS
from reranker.reading import feed_from_arrow, read_feed, read_interactions
from reranker.signals import MEDIA_TYPES, RELATIONS
from reranker.writing import atomic, feed_to_arrow, write_feed, write_interactions

TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
TIMES = st.datetimes(pd.Timestamp("1900-01-01").to_pydatetime(), pd.Timestamp("2100-01-01").to_pydatetime())
AMOUNT = st.floats(0, 1e12)
SHARE = st.floats(0, 1)


def plain(values):
    """A column as a list that compares equal when it holds the same: null is None."""
    if isinstance(values, StringColumn):
        return values.to_list()
    return pd.Series(values).astype(object).where(~pd.isna(values), None).to_list()


def same(one, other):
    assert one.signals.kind == other.signals.kind or not one.signals.names
    assert one.signals.names == other.signals.names
    assert one.attributes.keys() == other.attributes.keys()
    assert one.offsets.tolist() == other.offsets.tolist()
    assert one.url_offsets.tolist() == other.url_offsets.tolist()
    for name in (*REQUEST_FIELDS, *CANDIDATE_FIELDS, "urls"):
        assert plain(getattr(one, name)) == plain(getattr(other, name)), name
    for name in one.signals.names:
        assert plain(one.signals.get(name)) == plain(other.signals.get(name)), name
    for name, values in one.attributes.items():
        assert plain(values) == plain(other.attributes[name]), name


@st.composite
def feeds(draw):
    sizes = draw(st.lists(st.integers(1, 3), max_size=3))
    n, r = sum(sizes), len(sizes)
    of_request = [i for i, size in enumerate(sizes) for _ in range(size)]

    def request(values):
        one = draw(st.lists(values, min_size=r, max_size=r))
        return [one[i] for i in of_request]

    def column(values):
        return draw(st.lists(st.none() | values, min_size=n, max_size=n))

    kind = draw(st.sampled_from(["counts", "probabilities"]))
    names = draw(st.lists(TEXT, min_size=r, max_size=r, unique=True))
    texts = ("parent_id", "author", "publisher", "topic", "text", "language")
    amounts = ("computing_load", "author_violations", "see_less_requests", "angry_accounts")
    columns = {
        "request_id": [names[i] for i in of_request],
        "post_id": draw(st.lists(TEXT, min_size=n, max_size=n, unique=True)),
        "time": request(st.none() | TIMES),
        "connection_strength": request(st.none() | SHARE),
        "media": column(st.sampled_from(MEDIA_TYPES)),
        "relation": column(st.sampled_from(RELATIONS)),
        "created_at": column(TIMES),
        "original_position": column(st.integers(0, 2**53)),
        "angry_peak_share": column(SHARE),
        "urls": column(st.lists(TEXT, max_size=2)),
        "like": column(SHARE),
        "dwell_s": column(AMOUNT),
        "attr_x": column(st.floats(allow_nan=False, allow_infinity=False)),
    }
    columns |= {name: request(st.none() | TEXT) for name in ("user", "country", "device")}
    columns |= {name: column(TEXT) for name in texts} | {name: column(AMOUNT) for name in amounts}
    return feed_from_columns(columns, kind=kind)


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=50,
)
@given(feeds())
def test_a_feed_that_is_written_reads_back_the_same(tmp_path, feed):
    same(feed, feed_from_arrow(feed_to_arrow(feed)))
    write_feed(feed, tmp_path / "feed.parquet")
    same(feed, read_feed(tmp_path / "feed.parquet"))


def test_interactions_that_are_written_read_back_the_same(tmp_path):
    acts = interactions_from_columns(
        {
            "post_id": ["a", "b"],
            "kind": ["comment", "reply"],
            "relation": [None, "stranger"],
            "text": ["hi", None],
            "has_photo": [True, False],
            "time": ["2024-01-01T00:00:00", None],
        }
    )
    feed = feed_from_columns({"request_id": ["r", "r"], "post_id": ["a", "b"]}, interactions=acts)
    write_feed(feed, tmp_path / "feed.parquet", interactions=tmp_path / "acts.parquet")
    back = read_feed(tmp_path / "feed.parquet", interactions=tmp_path / "acts.parquet").interactions
    for item in fields(acts):
        assert plain(getattr(back, item.name)) == plain(getattr(acts, item.name)), item.name
    write_interactions(back, tmp_path / "again.parquet")
    assert read_interactions(tmp_path / "again.parquet").kind.to_list() == ["comment", "reply"]
    with pytest.raises(FeedError, match=r"expected a path for the feed's interactions, got none$"):
        write_feed(feed, tmp_path / "feed.parquet")


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    feed = feed_from_columns({"request_id": ["r"], "post_id": ["a"]})
    with pytest.raises(FeedError, match=r'expected a name that ends in .parquet, got ".csv"$'):
        write_feed(feed, tmp_path / "feed.csv")
    empty = replace(
        feed,
        offsets=np.array([0, 1, 1]),
        connection_strength=np.full(2, np.nan),
        time=np.full(2, np.datetime64("NaT"), dtype="M8[us]"),
        request_id=StringColumn.from_values(["r", "s"]),
        **{name: StringColumn.null(2) for name in ("user", "country", "device")},
    )
    with pytest.raises(
        FeedError, match=r"^request_id: expected candidates in every request, got none in 's'$"
    ):
        write_feed(empty, tmp_path / "feed.parquet")
    lone = feed_from_columns({"request_id": ["r"], "post_id": ["a"], "text": ["\ud800"]})
    with pytest.raises(
        FeedError, match=r"^text: expected text that UTF-8 can hold, got surrogates not allowed$"
    ):
        write_feed(lone, tmp_path / "feed.parquet")
    assert list(tmp_path.iterdir()) == []


def test_times_in_the_file_say_that_they_are_utc(tmp_path):
    feed = feed_from_columns({"request_id": ["r"], "post_id": ["a"], "created_at": ["2024-01-01"]})
    write_feed(feed, tmp_path / "feed.parquet")
    assert str(pq.read_schema(tmp_path / "feed.parquet").field("created_at").type) == "timestamp[us, tz=UTC]"


def test_a_file_appears_whole_with_the_usual_rights(tmp_path):
    path = tmp_path / "report.txt"
    with atomic(path) as temporary:
        assert temporary.suffix == ".txt"
        assert temporary.parent == tmp_path
        temporary.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    assert list(tmp_path.iterdir()) == [path]


def interrupted(path, write):
    with atomic(path) as temporary:
        write(temporary)
        raise KeyboardInterrupt


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    path = tmp_path / "report.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        interrupted(path, lambda temporary: temporary.write_text("half"))
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "folder", lambda temporary: (temporary / "inner").mkdir(parents=True))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_appears_whole(tmp_path):
    path = tmp_path / "report"
    for text in ("one", "two"):
        with atomic(path, replace_directory=True) as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
        assert [file.name for file in path.iterdir()] == [text]
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_directory_may_be_filled_but_a_full_one_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "home"
    path.mkdir()
    with atomic(path) as temporary:
        temporary.mkdir()
        (temporary / "kept").write_text("kept")
    with pytest.raises(FileExistsError, match="got one with files in it"), atomic(path):
        pass
    assert [file.name for file in path.iterdir()] == ["kept"]


def test_a_directory_that_cannot_take_the_name_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report"
    path.mkdir()
    (path / "old").write_text("old")
    rename = type(path).rename

    def failing(self, target):
        if self.suffix == "" and self.name.startswith(".report-") and not self.name.endswith("-old"):
            raise OSError("disk")
        return rename(self, target)

    monkeypatch.setattr(type(path), "rename", failing)
    with pytest.raises(OSError, match="disk"), atomic(path, replace_directory=True) as temporary:
        temporary.mkdir()
    assert [file.name for file in path.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_and_a_device_is_not_replaced(tmp_path):
    real = tmp_path / "real.txt"
    real.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(real)
    with atomic(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    with pytest.raises(FileExistsError, match="got a device or a pipe"), atomic("/dev/null"):
        pass
    with pytest.raises(FileNotFoundError, match="expected the folder"), atomic(tmp_path / "no" / "x"):
        pass
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "unwritten"):
        pass

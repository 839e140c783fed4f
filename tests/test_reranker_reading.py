import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reranker.columns import FeedError
from reranker.reading import (
    feed_from,
    feed_from_arrow,
    interactions_from_arrow,
    read_feed,
    read_interactions,
)
from reranker.tables import first_failing, first_line, read_table

ROWS = [
    {"request_id": "r", "post_id": "a", "like": 3, "text": 'x, "y"\nz', "created_at": "2024-01-01T00:00:00Z"},
    {"request_id": "s", "post_id": "a", "like": None, "text": None, "created_at": None},
    {"request_id": "r", "post_id": "b", "like": 1, "text": "2024-05-01", "created_at": "2024-01-01 01:00:00"},
]
CSV = """request_id,post_id,like,text,created_at
r,a,3,"x, ""y""\nz",2024-01-01T00:00:00Z
s,a,,,
r,b,1,2024-05-01,2024-01-01 01:00:00
"""


def table(**columns):
    base = {"request_id": ["r", "r"], "post_id": ["a", "b"]}
    return pa.table(base | columns)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def jsonl(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(params=["parquet", "jsonl", "ndjson", "csv", "directory"])
def path(request, tmp_path):
    """The same three rows in every format."""
    file = tmp_path / f"feed.{request.param}"
    if request.param == "csv":
        return write(file, CSV)
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), file)
    elif request.param == "directory":
        file.mkdir()
        pq.write_table(pa.Table.from_pylist(ROWS[:1]), file / "part-1.parquet")
        pq.write_table(pa.Table.from_pylist(ROWS[1:]), file / "part-2.parquet")
        write(file / "._part.parquet", "not for us")
    else:
        write(file, jsonl(ROWS))
    return file


def test_every_format_gives_the_same_feed(path):
    feed = read_feed(path)
    assert feed.request_id.to_list() == ["r", "s"]
    assert feed.offsets.tolist() == [0, 2, 3]
    assert feed.post_id.to_list() == ["a", "b", "a"]
    assert feed.text.to_list() == ['x, "y"\nz', "2024-05-01", None]
    np.testing.assert_array_equal(feed.signals.get("like"), [3, 1, np.nan])
    assert feed.created_at.tolist() == [datetime(2024, 1, 1), datetime(2024, 1, 1, 1), None]


def test_text_of_any_arrow_type_is_read():
    kinds = [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.binary(),
    ]
    for kind in kinds:
        feed = feed_from_arrow(table(text=pa.array(["é", None]).cast(kind)))
        assert feed.text.to_list() == ["é", None], kind
    assert feed_from_arrow(table(text=pa.nulls(2))).text.to_list() == [None, None]
    pieces = pa.chunked_array([["x"], ["y"]])
    assert feed_from_arrow(table(text=pieces)).text.to_list() == ["x", "y"]


def test_integer_ids_become_text():
    feed = feed_from_arrow(table(author=pa.array([2**62, None]), request_id=pa.array([7, 7], pa.uint8())))
    assert feed.author.to_list() == [str(2**62), None]
    assert feed.request_id.to_list() == ["7"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, None], pa.int8()),
        pa.array([1, None], pa.uint64()),
        pa.array([1, None], pa.float32()),
        pa.array([1, None], pa.decimal128(5, 2)),
        pa.array([True, None]),
    ],
)
def test_numbers_of_any_arrow_type_are_read(column):
    np.testing.assert_array_equal(feed_from_arrow(table(like=column)).signals.get("like"), [1, np.nan])


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([datetime(2024, 1, 1)], pa.timestamp("ns")), "2024-01-01T00:00:00"),
        (pa.array([1704067200], pa.timestamp("s", "Europe/Paris")), "2024-01-01T00:00:00"),
        (pa.array([19723], pa.date32()), "2024-01-01T00:00:00"),
        (pa.array(["2024-01-01"]), "2024-01-01T00:00:00"),
        (pa.array(["2024-01-01T02:00+02:00"]), "2024-01-01T00:00:00"),
        (pa.array(["2024-01-01T00:00:00.5"]), "2024-01-01T00:00:00.500000"),
    ],
)
def test_times_of_any_arrow_type_become_utc(column, expected):
    made = feed_from_arrow(pa.table({"request_id": ["r"], "post_id": ["a"], "created_at": column}))
    assert made.created_at.tolist()[0].isoformat() == expected


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        (pa.array([["u", "v"], None]), ["u", "v"]),
        (pa.array([[], ["u"]], pa.large_list(pa.large_string())), ["u"]),
        (pa.array(["u", None]), ["u"]),
        (pa.array([["u"], ["v"]], pa.list_(pa.string(), 1)), ["u", "v"]),
        (pa.array([[], None], pa.list_(pa.null())), []),
    ],
)
def test_links_are_lists_or_one_text(links, expected):
    feed = feed_from_arrow(table(urls=links))
    assert feed.urls.to_list() == expected
    assert feed.url_offsets[-1] == len(expected)


def test_probabilities_lose_their_prefix():
    feed = feed_from_arrow(table(p_like=[0.5, None], p_dwell_s=[30.0, 2.0]))
    assert feed.signals.kind == "probabilities"
    assert feed.signals.names == ("like", "dwell_s")


def test_a_table_without_rows_is_an_empty_feed(tmp_path):
    empty = table(like=[1, 2], urls=["u", "v"], created_at=["2024-01-01"] * 2).slice(0, 0)
    assert feed_from_arrow(empty).n == 0
    pq.write_table(empty, tmp_path / "feed.parquet")
    assert read_feed(tmp_path / "feed.parquet").n_requests == 0
    assert read_feed(write(tmp_path / "feed.csv", "request_id,post_id,like\n")).n == 0


class TestSources:
    def test_a_pandas_frame_has_nan_for_null(self):
        frame = table(like=[1.5, None], text=["x", None]).to_pandas()
        feed = feed_from(frame.set_index(pd.Index([5, 9])))
        np.testing.assert_array_equal(feed.signals.get("like"), [1.5, np.nan])
        assert feed.text.to_list() == ["x", None]
        with pytest.raises(FeedError, match=r"^expected columns of one type each"):
            feed_from(frame.assign(text=["x", 5]))

    def test_a_dataset_is_read_with_its_selection(self):
        import datasets

        source = datasets.Dataset.from_dict(table(like=[1, 2]).to_pydict()).select([1])
        feed = feed_from(source)
        assert feed.post_id.to_list() == ["b"]
        with pytest.raises(TypeError, match="one split of a dataset"):
            feed_from(datasets.DatasetDict({"train": source}))

    def test_anything_that_exports_arrow_is_read(self):
        import polars

        assert feed_from(polars.from_arrow(table(like=[1, 2]))).signals.counted("like").tolist() == [1, 2]

    def test_tables_paths_and_feeds_are_read(self, path):
        feed = feed_from(path)
        assert feed.n == 3
        assert feed_from(feed) is feed
        assert feed_from(str(path)).n == 3
        assert feed_from(table()).n == 2
        with pytest.raises(TypeError, match=r"got <class 'int'>$"):
            feed_from(5)

    def test_reading_imports_neither_pandas_nor_datasets(self):
        code = "import sys, reranker.reading; sys.exit(len({'pandas', 'datasets', 'torch'} & {*sys.modules}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False)
        assert done.returncode == 0


BAD_COLUMNS = [
    ({"like": ["x", "y"]}, "like: expected numbers, got a column of string, 'x' at row 0"),
    ({"like": [float("nan"), 1]}, "like: expected a finite number or null, got nan at row 0"),
    ({"like": [1, float("inf")]}, "like: expected a finite number or null, got inf at row 1"),
    ({"like": [1, -1]}, "like: expected a finite number from 0 to 2**53, got -1.0 at row 1"),
    (
        {"like": [1, 2**60]},
        "like: expected a finite number from 0 to 2**53, got 1.152921504606847e+18 at row 1",
    ),
    ({"p_like": [0.1, 1.5]}, "p_like: expected a probability in [0, 1], got 1.5 at row 1"),
    ({"p_like": [0.1, float("nan")]}, "p_like: expected a finite number or null, got nan at row 1"),
    (
        {"p_like": [0.1, 0.2], "love": [1, 2]},
        "p_like: expected counts or probabilities, got it beside the count love",
    ),
    (
        {"liek": [1, 2]},
        'unknown column "liek"; did you mean "like"?; a number of your own is named "attr_liek"',
    ),
    ({"p_liek": [1, 2]}, 'unknown column "p_liek"; did you mean "p_like"?'),
    ({"like": pa.nulls(2, pa.date32())}, "like: expected numbers, got a column of date32[day]"),
    ({"attr_x": ["x", "y"]}, "attr_x: expected numbers, got a column of string"),
    ({"text": [1, 2]}, "text: expected text, got a column of int64"),
    ({"author": [1.0, 2.0]}, "author: expected text or integers, got a column of double"),
    ({"author": pa.array([b"x", b"\xff"])}, r"author: expected text in UTF-8, got b'\xff' at row 1"),
    (
        {"author": pa.array([b"x", b"\xff"]).view(pa.string())},
        r"author: expected text in UTF-8, got b'\xff' at row 1",
    ),
    (
        {"created_at": [1, 2]},
        "created_at: expected times or ISO 8601 text, got a column of int64, '1' at row 0",
    ),
    (
        {"created_at": pa.array([None, True])},
        "created_at: expected times or ISO 8601 text, got a column of bool, 'True'",
    ),
    ({"created_at": ["2024-01-01", "soon"]}, "created_at: expected an ISO 8601 time, got 'soon' at row 1"),
    ({"urls": [["u"], [None]]}, "urls: expected links, got null in the list at row 1"),
    ({"urls": [[1], [2]]}, "urls: expected lists of text or text, got a column of list"),
    ({"urls": [1, 2]}, "urls: expected lists of text or text, got a column of int64"),
    ({"post_id": ["a", "a"]}, "post_id: expected each post once in a request, got 'a' at rows 0 and 1"),
    ({"media": ["photo", "gif"]}, "media: expected one of text, link, photo, video, live_video, got"),
]


@pytest.mark.parametrize(
    ("columns", "message"), BAD_COLUMNS, ids=[message[:50] for _, message in BAD_COLUMNS]
)
def test_a_bad_column_is_refused_with_its_file_and_row(tmp_path, columns, message):
    path = tmp_path / "feed.parquet"
    pq.write_table(table(**columns), path)
    with pytest.raises(FeedError) as caught:
        read_feed(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_time_too_far_away_is_refused():
    with pytest.raises(
        FeedError, match=r"^time: expected a time that fits in microseconds, got none at row 1$"
    ):
        feed_from_arrow(table(time=pa.array([0, 2**60], pa.timestamp("s"))))


def test_a_column_may_stand_once():
    twice = pa.table([["r"], ["a"], [1], [2]], names=["request_id", "post_id", "like", "like"])
    with pytest.raises(FeedError, match=r"^like: expected one column of that name, got 2$"):
        feed_from_arrow(twice)


HEAD = "request_id,post_id,like,text\n"
ONE = '{"request_id": "r", "post_id": "a", "like": 1}\n'
BAD_FILES = [
    ("feed.csv", "", "expected rows, got an empty file"),
    ("feed.txt", "x", 'expected one of .parquet, .jsonl, .ndjson, .csv, got ".txt"'),
    ("feed.parquet", "x", "expected a whole parquet file, got one that ends or breaks early"),
    ("feed.csv", HEAD + "r,a,1,x\nr,b,many,y\n", "like: expected a number, got 'many' at row 1"),
    ("feed.csv", HEAD + "r,a,nan,x\n", "like: expected a finite number or null, got nan at row 0"),
    ("feed.csv", HEAD + "r,a,-1,x\n", "like: expected a finite number from 0 to 2**53, got -1.0 at row 0"),
    ("feed.csv", HEAD + "r,a,1e999,x\n", "like: expected a finite number or null, got inf at row 0"),
    (
        "feed.csv",
        HEAD + "r,a,1\n",
        "expected CSV in UTF-8, got CSV parse error: Row #2: Expected 4 columns, got 3",
    ),
    ("feed.csv", HEAD + 'r,a,1,"x\n', "expected every quote to be closed, got an odd number of quotes"),
    (
        "feed.csv",
        HEAD.encode() + b"r,a,1,x\nr,b,1,\xff\n",
        r"text: expected text in UTF-8, got b'\xff' at row 1",
    ),
    ("feed.csv", (HEAD + "r,a,1,x\n").encode("utf-16"), "expected CSV in UTF-8, got"),
    ("feed.csv", "request_id,post_id,like,like\nr,a,1,1\n", "like: expected one column of that name, got 2"),
    ("feed.csv", "request_id,post_id,liek\nr,a,1\n", 'unknown column "liek"; did you mean "like"?'),
    ("feed.csv", "request_id,post_id,attr_x\nr,a,big\n", "attr_x: expected a number, got 'big' at row 0"),
    ("feed.csv", "post_id\na\n", "request_id: expected a column, got post_id"),
    ("feed.jsonl", "\n\n", "request_id: expected a column, got none"),
    ("feed.jsonl", ONE + "{\n", "expected JSON, got Expecting property name"),
    ("feed.jsonl", ONE + "[1]\n", "expected one JSON object per line, got [1] at line 2"),
    (
        "feed.jsonl",
        ONE.encode() + b'{"request_id": 1, "text": "\xff"}\n',
        "expected text in UTF-8, got invalid start",
    ),
    (
        "feed.jsonl",
        b'{"request_id": "r", "post_id": "\xff"}\n',
        r"post_id: expected text in UTF-8, got b'\xff' at row 0",
    ),
    ("feed.jsonl", ONE.replace("1", '"1"'), 'like: expected a number, got "1" at row 0'),
    ("feed.jsonl", ONE.replace("1", "NaN"), "like: expected a finite number or null, got nan at row 0"),
    ("feed.jsonl", ONE.replace("1", "1e999"), "like: expected a finite number or null, got inf at row 0"),
    (
        "feed.jsonl",
        ONE.replace("1", '1, "user": true'),
        "user: expected text or an integer, got true at row 0",
    ),
    ("feed.jsonl", ONE.replace("1", '1, "text": 5'), "text: expected text, got 5 at row 0"),
    (
        "feed.jsonl",
        ONE.replace("1", '1, "time": 5'),
        "time: expected an ISO 8601 time as text, got 5 at row 0",
    ),
    (
        "feed.jsonl",
        ONE + ONE.replace("1", '1, "urls": [5]'),
        "urls: expected lists of text or text, got a column of",
    ),
    (
        "feed.jsonl",
        ONE.replace("1", '1, "urls": [5], "user": 2'),
        "urls: expected a list of links as text, got [5] at row 0",
    ),
    (
        "feed.jsonl",
        ONE.replace("1", '1, "x": 1') + ONE.replace("1", '1, "x": "y"'),
        "x: expected values of one type",
    ),
    (
        "feed.jsonl",
        ONE.replace("1", "1" * 400 + ', "user": 5'),
        "like: expected a finite number, got 1111111111111111111111111111111111111111 at row 0",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_a_bad_file_is_refused_with_one_clear_message(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(FeedError) as caught:
        read_feed(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_cut_off_is_refused(tmp_path):
    with pytest.raises(FeedError, match=r"none.parquet: expected a file, found none$"):
        read_feed(tmp_path / "none.parquet")
    whole = tmp_path / "whole.parquet"
    pq.write_table(table(like=[1, 2]), whole)
    content = whole.read_bytes()
    for size in (len(content) // 2, len(content) - 1):
        cut = write(tmp_path / "cut.parquet", content[:size])
        with pytest.raises(FeedError, match=r"cut.parquet: expected a whole parquet file"):
            read_feed(cut)
    damaged = write(tmp_path / "damaged.parquet", content[:4] + b"\xff" * 60 + content[64:])
    with pytest.raises(FeedError, match=r"damaged.parquet: expected"):
        read_feed(damaged)


def test_a_directory_needs_parquet_files_of_one_layout(tmp_path):
    with pytest.raises(FeedError, match=r"expected .parquet files in the directory, found none$"):
        read_feed(tmp_path)
    pq.write_table(table(like=[1, 2]), tmp_path / "a.parquet")
    pq.write_table(table(like=["x", "y"]), tmp_path / "b.parquet")
    with pytest.raises(FeedError, match=r"expected files of one layout, got"):
        read_feed(tmp_path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "feed.csv", CSV)
    monkeypatch.setattr(type(path), "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError("denied")))
    with pytest.raises(FeedError, match=r"feed.csv: expected a readable file, got denied$"):
        read_feed(path)


def test_json_lines_with_integer_ids_and_truth_values_are_read(tmp_path):
    rows = [
        {"request_id": 1, "post_id": 2**60, "like": True, "urls": "u", "attr_x": 1},
        {"request_id": 1, "post_id": "b", "urls": ["v", "w"]},
    ]
    feed = read_feed(write(tmp_path / "feed.jsonl", b"\xef\xbb\xbf" + jsonl(rows).encode() + b"\n"))
    assert feed.post_id.to_list() == [str(2**60), "b"]
    assert feed.urls.to_list() == ["u", "v", "w"]
    np.testing.assert_array_equal(feed.signals.get("like"), [1, np.nan])


def test_quoted_nothing_is_empty_text_and_a_bare_nothing_is_null(tmp_path):
    path = write(tmp_path / "feed.csv", '\ufeffrequest_id,post_id,text,like\nr,a,"", 5\nr,b,,\n')
    feed = read_feed(path)
    assert feed.text.to_list() == ["", None]
    np.testing.assert_array_equal(feed.signals.get("like"), [5, np.nan])


class TestInteractions:
    @pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
    def test_acts_are_read_from_every_format(self, tmp_path, suffix):
        rows = [
            {
                "post_id": "a",
                "kind": "comment",
                "has_photo": True,
                "time": "2024-01-01T00:00:00",
                "actor": "7",
            },
            {"post_id": "b", "kind": "reply", "has_photo": None, "time": None, "actor": None},
        ]
        path = tmp_path / f"acts.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif suffix == "csv":
            write(
                path, "post_id,kind,has_photo,time,actor\na,comment,true,2024-01-01T00:00:00,7\nb,reply,,,\n"
            )
        else:
            write(path, jsonl(rows))
        acts = read_interactions(path)
        assert acts.kind.to_list() == ["comment", "reply"]
        assert acts.has_photo.tolist() == [True, False]
        assert acts.actor.to_list() == ["7", None]
        assert np.isnat(acts.time).tolist() == [False, True]

    def test_a_bad_act_is_refused_with_its_file(self, tmp_path):
        path = write(tmp_path / "acts.csv", "post_id,kind,has_photo\na,like,yes\n")
        with pytest.raises(
            FeedError, match=r"acts.csv: has_photo: expected true or false, got 'yes' at row 0$"
        ):
            read_interactions(path)
        path = write(tmp_path / "acts.jsonl", '{"post_id": "a", "kind": "lik"}\n')
        with pytest.raises(FeedError, match=r'acts.jsonl: interactions.kind: unknown signal "lik" at row 0'):
            read_interactions(path)
        with pytest.raises(FeedError, match=r'^interactions: unknown column "knd"; did you mean "kind"\?$'):
            interactions_from_arrow(pa.table({"knd": ["like"]}))
        with pytest.raises(
            FeedError, match=r"^has_photo: expected true or false, got a column of int64, '1' at row 0$"
        ):
            interactions_from_arrow(pa.table({"post_id": ["a"], "kind": ["like"], "has_photo": [1]}))

    def test_a_feed_takes_acts_as_a_path_or_as_they_are(self, tmp_path):
        feed_path = write(tmp_path / "feed.csv", "request_id,post_id\nr,a\n")
        acts = write(tmp_path / "acts.csv", "post_id,kind\na,comment\n")
        feed = read_feed(feed_path, interactions=acts)
        assert len(feed.interactions) == 1
        assert read_feed(feed_path, interactions=feed.interactions).interactions is feed.interactions


def test_the_first_failing_row_is_found_by_halving():
    values = pa.array(["1", "2", "x", "4", "y"])
    assert first_failing(values, lambda part: part.cast(pa.int64())) == 2
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"


def test_columns_outside_the_layout_are_left_as_they_are(tmp_path):
    path = write(tmp_path / "feed.csv", "a,b\n1,x\n")
    assert read_table(path, {"a": "number"}).to_pydict() == {"a": [1.0], "b": ["x"]}

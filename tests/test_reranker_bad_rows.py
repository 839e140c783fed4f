"""Bad rows that are tolerated: left out, listed with their place and never with their text, up to a limit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reranker.bad_rows import BadRows, bad_rows_beside
from reranker.cli import main
from reranker.columns import FeedError
from reranker.posts import read_posts
from reranker.stream import score_posts
from tests.test_reranker_stream import PART, StopError, rows_of, toy, write

SECRET = "a secret"
GOOD = b'{"post_id": "%d", "text": "fine"}\n'
BAD_LINES = {
    b'{"post_id": "x", "text": "a secret \xff"}': "expected text in UTF-8, got invalid start byte",
    b'{"post_id": "x", "other": "\xe9"}': "expected text in UTF-8, got invalid continuation byte",
    b'{"post_id": "x", "text": "a secret': "expected JSON, got Invalid control character at: line 1",
    b'["a secret"]': "expected one JSON object per line, got a value of type list",
    b'"a secret"': "expected one JSON object per line, got a value of type str",
    b'{"text": "a secret"}': "post_id: expected a value, got null",
    b'{"post_id": null, "text": "a secret"}': "post_id: expected a value, got null",
    b'{"post_id": true, "text": "a secret"}': "post_id: expected text or an integer, got a value of type",
    b'{"post_id": "x", "text": ["a secret"]}': "text: expected text, got a value of type list",
    b'{"post_id": "x", "text": "\\ud800"}': "text: expected text in UTF-8, got surrogates not allowed",
    b'{"post_id": "x", "language": 7}': "language: expected text, got a value of type int",
    b'{"post_id": "x", "urls": {"a secret": 1}}': "urls: expected a list of links, got a value of type dict",
    b'{"post_id": "x", "urls": [null]}': "urls: expected links, got null in the list",
    b'{"post_id": "x", "urls": [["a secret"]]}': "urls: expected text, got a value of type list",
    b'{"post_id": "x", "request_id": "a secret"}': "request_id: expected in every row or in none, got one",
}
BAD_RECORDS = {
    b'x,"a secret \xff",': "expected text in UTF-8, got invalid start byte",
    b"x,fine,\xc3": "expected text in UTF-8, got unexpected end of data",
    b"x": "expected 3 fields, got 1",
    b"x,a secret,,more": "expected 3 fields, got 4",
    b'x,"a "secret" b",': "expected CSV, got ',' expected after '\"'",
    b",a secret,": "post_id: expected a value, got null",
}


def read(path: Path, *, rows: int = 4, limit: int = 100) -> tuple[list[str], list[dict[str, Any]]]:
    """The ids that were read, and the list of those that were not."""
    bad = BadRows(limit)
    blocks = list(read_posts(path, rows, bad=bad))
    sizes = [block.content.n for block in blocks]
    assert sizes[:-1] == [rows] * (len(sizes) - 1)
    assert 0 < sizes[-1] <= rows
    listed = path.with_name("listed.jsonl")
    bad.write(listed)
    assert SECRET not in listed.read_text()
    found = [json.loads(line) for line in listed.read_text().splitlines()]
    return [name for block in blocks for name in block.ids["post_id"]], found


@pytest.mark.parametrize("line", BAD_LINES, ids=BAD_LINES.values())
@pytest.mark.parametrize("at", [4, 5, 8])
def test_a_bad_line_of_json_is_left_out_and_listed_with_its_number(
    tmp_path: Path, line: bytes, at: int
) -> None:
    lines = [GOOD % i for i in range(10)]
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"".join([*lines[:at], b"\n", line, b"\n", *lines[at:]]))
    ids, found = read(path)
    assert ids == [str(i) for i in range(10)]
    (row,) = found
    assert (row["file"], row["line"]) == (str(path), at + 2)
    assert row["message"].startswith(BAD_LINES[line])
    assert set(row) == {"file", "line", "message"}


@pytest.mark.parametrize("record", BAD_RECORDS, ids=BAD_RECORDS.values())
def test_a_bad_row_of_csv_is_left_out_and_listed_with_its_line(tmp_path: Path, record: bytes) -> None:
    good = [b'%d,"two\nlines",\n' % i for i in range(6)]
    path = tmp_path / "posts.csv"
    path.write_bytes(b"".join([b"post_id,text,other\n", *good[:3], record, b"\n", *good[3:]]))
    ids, found = read(path)
    assert ids == [str(i) for i in range(6)]
    (row,) = found
    assert (row["file"], row["line"]) == (str(path), 8)
    assert row["message"].startswith(BAD_RECORDS[record])


def test_a_bad_row_of_csv_that_spans_lines_is_listed_with_the_last_of_them(tmp_path: Path) -> None:
    path = tmp_path / "posts.csv"
    path.write_bytes(b'post_id,text\na,b\nx,"a secret\n\nmore",c\nd,e\n')
    ids, (row,) = read(path)
    assert ids == ["a", "d"]
    assert (row["line"], row["last_line"], row["message"]) == (3, 5, "expected 2 fields, got 3")


@pytest.mark.parametrize("tail", [b"", b'f,"g"\n', b'f,"g ""h"" "\ni,j\n'])
def test_an_open_quote_ends_the_run_as_nobody_knows_what_it_swallows(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "posts.csv"
    path.write_bytes(b'post_id,text\na,b\nc,"d\ne,e\n' + tail)
    with pytest.raises(
        FeedError, match=r"posts\.csv: expected CSV, got .* in a row whose end cannot be told"
    ):
        read(path)


def strings(*values: bytes) -> Any:
    """An arrow column of text that holds these bytes unchecked."""
    ends = np.cumsum([0, *map(len, values)]).astype(np.int32)
    return pa.StringArray.from_buffers(
        len(values), pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(values))
    )


def parquet_columns() -> dict[str, tuple[dict[str, Any], str]]:
    """A bad row, the third of five, in columns of several types; and what is wrong with it."""
    ids, fine = [f"p{i}" for i in range(5)], ["fine"] * 5
    links = pa.ListArray.from_arrays(pa.array([0, 1, 1, 2, 2, 2], pa.int32()), strings(b"x", b"\xff"))
    byte_values = pa.array([b"a", b"b", b"a secret \xff", b"d", None], pa.binary())
    return {
        "text": (
            {"post_id": ids, "text": strings(b"a", b"b", b"a secret \xff", b"d", b"e")},
            "text: expected text in UTF-8, got other bytes",
        ),
        "bytes": (
            {"post_id": ids, "text": byte_values},
            "text: expected text in UTF-8, got invalid start byte",
        ),
        "links": ({"post_id": ids, "urls": links}, "urls: expected text in UTF-8, got other bytes"),
        "null link": (
            {"post_id": ids, "urls": [["x"], None, ["x", None], [], ["y"]]},
            "urls: expected links, got null in the list",
        ),
        "null": (
            {"post_id": ["p0", "p1", None, "p3", "p4"], "text": fine},
            "post_id: expected a value, got null",
        ),
    }


@pytest.mark.parametrize("name", parquet_columns())
@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_a_bad_row_of_parquet_is_left_out_and_listed_with_its_row(
    tmp_path: Path, name: str, rows: int
) -> None:
    columns, told = parquet_columns()[name]
    path = tmp_path / "posts.parquet"
    pq.write_table(pa.table(columns), path)
    ids, found = read(path, rows=rows)
    assert ids == ["p0", "p1", "p3", "p4"]
    assert found == [{"file": str(path), "row": 2, "message": told}]


def test_a_row_of_a_directory_is_that_of_the_file_that_holds_it(tmp_path: Path) -> None:
    folder = tmp_path / "posts"
    folder.mkdir()
    held: dict[str, list[str | None]] = {"1": ["a", "b"], "2": ["c"], "3": [None, "d", None]}
    for name, ids in held.items():
        pq.write_table(pa.table({"post_id": ids, "text": ["x"] * len(ids)}), folder / f"{name}.parquet")
    kept, found = read(folder)
    assert kept == ["a", "b", "c", "d"]
    assert [(row["file"], row["row"]) for row in found] == [(str(folder / "3.parquet"), i) for i in (0, 2)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(st.sampled_from([None, None, *BAD_LINES]), min_size=1, max_size=30),
    rows=st.integers(1, 12),
)
def test_whatever_is_bad_the_others_are_read_in_their_order_and_nothing_is_lost(
    tmp_path: Path, kinds: list[bytes | None], rows: int
) -> None:
    """A good row comes first, as it says which ids there are."""
    lines = [GOOD % i if kind is None else kind + b"\n" for i, kind in enumerate([None, *kinds])]
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"".join(lines))
    ids, found = read(path, rows=rows)
    late = [i for i, kind in enumerate([None, *kinds]) if kind is not None and b"request_id" in kind]
    if any(i < rows for i in late):  # then the first block has that column, and all without it are bad
        assert len(ids) + len(found) == len(lines)
        return
    assert ids == [str(i) for i, kind in enumerate([None, *kinds]) if kind is None]
    assert [row["line"] for row in found] == [i for i, kind in enumerate(kinds, start=2) if kind is not None]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"text": "x"}\n', r"expected a column post_id \(or id\), got text"),
        ("a.jsonl", b'{"post_id": "x"}\n', "expected a column text or urls, got post_id"),
        ("a.jsonl", b"", "expected posts, got an empty file"),
        ("a.jsonl", b"{\n7\n", "expected posts, got no row that can be read; the first is line 1 of a.jsonl"),
        ("a.csv", b"post_id,te\xffxt\na,b\n", "expected text in UTF-8, got invalid start byte at line 1"),
        ("a.csv", b"post_id,text,text\na,b,c\n", "text: expected one column of that name, got 2"),
        ("a.parquet", b"PAR1", "expected a whole parquet file"),
    ],
)
def test_what_is_wrong_with_a_whole_file_ends_the_run_all_the_same(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FeedError, match=f"{name}: {told}"):
        read(tmp_path / name)


def poisoned(path: Path, n_bad: int = 3) -> Path:
    """The posts of `rows_of` with bad lines among them, the first in front."""
    lines = [json.dumps(row).encode() + b"\n" for row in rows_of()]
    for i in range(n_bad):
        lines.insert(i * 40, b'{"post_id": "bad", "text": "a secret \xff"}\n')
    path.write_bytes(b"".join(lines))
    return path


def scored(posts: Path, output: Path, **options: Any) -> int:
    return score_posts(posts, output, toy, rows_per_part=PART, **options)


def test_the_result_is_that_of_a_file_without_the_bad_rows_and_the_list_lies_beside_it(
    tmp_path: Path,
) -> None:
    clean, output = tmp_path / "clean.parquet", tmp_path / "scores.parquet"
    scored(write(tmp_path / "clean.jsonl", rows_of()), clean)
    posts = poisoned(tmp_path / "posts.jsonl")
    with pytest.raises(FeedError, match=r"posts\.jsonl: expected text in UTF-8, got .* at line 1"):
        scored(posts, output)
    assert not list(tmp_path.glob("scores*"))
    assert scored(posts, output, max_bad_rows=3) == 3
    assert output.read_bytes() == clean.read_bytes()
    found = [json.loads(line) for line in bad_rows_beside(output).read_text().splitlines()]
    assert [row["line"] for row in found] == [1, 41, 81]
    assert sorted(path.name for path in tmp_path.glob("scores*")) == [
        "scores.parquet",
        "scores.parquet.bad-rows.jsonl",
    ]


def test_more_bad_rows_than_the_limit_leave_everything_as_it_was(tmp_path: Path) -> None:
    posts, output = poisoned(tmp_path / "posts.jsonl"), tmp_path / "scores.parquet"
    output.write_bytes(b"earlier")
    bad_rows_beside(output).write_bytes(b"earlier list")
    told = (
        r"posts\.jsonl: expected at most 2 bad rows, got more; the first is line 1 of posts\.jsonl: "
        r"expected text in UTF-8, got invalid start byte$"
    )
    with pytest.raises(FeedError, match=told):
        scored(posts, output, max_bad_rows=2)
    assert output.read_bytes() == b"earlier"
    assert bad_rows_beside(output).read_bytes() == b"earlier list"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("max_bad_rows", [0, 5])
def test_the_list_of_an_earlier_result_goes_when_a_result_without_bad_rows_takes_its_place(
    tmp_path: Path, max_bad_rows: int
) -> None:
    posts, output = poisoned(tmp_path / "posts.jsonl"), tmp_path / "scores.parquet"
    scored(posts, output, max_bad_rows=3)

    def still_there(done: int, of: int) -> None:
        assert done == of or bad_rows_beside(output).exists()

    posts = write(posts, rows_of())
    assert scored(posts, output, max_bad_rows=max_bad_rows, on_rows=still_there) == 0
    assert not bad_rows_beside(output).exists()


def stop(done: int, _of: int) -> None:
    if done >= 2 * PART:
        raise StopError


def test_a_stopped_run_goes_on_with_the_limit_it_had_and_no_other(tmp_path: Path) -> None:
    posts, output = poisoned(tmp_path / "posts.jsonl"), tmp_path / "scores.parquet"
    scored(posts, tmp_path / "whole.parquet", max_bad_rows=4)
    with pytest.raises(StopError):
        scored(posts, output, max_bad_rows=4, on_rows=stop)
    listed = bad_rows_beside(output).read_bytes()
    assert listed.count(b"\n") == 3  # before anything is the result
    assert len(list(tmp_path.glob("scores.parquet.parts/part-*"))) == 2
    for other, said in ((5, "4 before, 5 now"), (0, "4 before, none now")):
        with pytest.raises(FeedError, match=rf"got another bad rows at most \({said}\)"):
            scored(posts, output, max_bad_rows=other)
    bad_rows_beside(output).unlink()
    asked: list[int] = []

    def noting(done: int, _of: int) -> None:
        asked.append(done)

    assert scored(posts, output, max_bad_rows=4, on_rows=noting) == 3
    assert asked == [60, 90, 100]
    assert bad_rows_beside(output).read_bytes() == listed
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_a_list_that_cannot_be_written_ends_the_run_before_it_begins(tmp_path: Path) -> None:
    posts, output = poisoned(tmp_path / "posts.jsonl"), tmp_path / "scores.parquet"
    (bad_rows_beside(output) / "something").mkdir(parents=True)
    with pytest.raises(FileExistsError, match="expected no directory"):
        scored(posts, output, max_bad_rows=3)
    assert not (tmp_path / "scores.parquet.parts").exists()


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["score", *map(str, arguments)])
    return int(stopped.value.code or 0)


def test_the_command_says_how_many_rows_were_left_out_and_where_they_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    posts, output, ratings = tmp_path / "p.jsonl", tmp_path / "s.parquet", tmp_path / "ratings.csv"
    posts.write_bytes(b'{"post_id": 1, "urls": "https://bad.example"}\n{"post_id": null}\n{"post_id": 3')
    ratings.write_text("domain,score\nbad.example,0.25\n")
    arguments = (posts, "--model", "none", "--domains", ratings, "-o", output, "--max-bad-rows")
    assert command(*arguments, 1) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(
        f"reranker: {posts}: expected at most 1 bad rows, got more; the first is line 2 of"
    )
    assert len(said.splitlines()) == 1
    assert not output.exists()
    assert command(*arguments, 2) == 0
    said = capsys.readouterr().out
    assert f"rows left out: 2, listed in {output}.bad-rows.jsonl" in said
    assert pq.read_table(output).column("post_id").to_pylist() == ["1"]
    assert command(*arguments, 2, "--interactions", posts) == 2
    assert "--max-bad-rows: expected no --interactions beside it, got both" in capsys.readouterr().err

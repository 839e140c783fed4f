"""Scores as a stream: one result whatever the format and however often the run was killed."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import reranker.stream
from models.scores import Content, HarmScores
from reranker.assembly import feed_from_columns
from reranker.columns import FeedError
from reranker.pipeline import score_harms
from reranker.posts import read_posts
from reranker.reading import read_feed
from reranker.results import read_harms, write_harms
from reranker.stream import score_posts, summarise_scores

N, PART = 100, 30
SLOW = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_reranker_stream import PART, toy
from reranker.stream import score_posts

def slow(content):
    time.sleep(0.3 * (content.n > 0))
    return toy(content)

score_posts(sys.argv[1], sys.argv[2], slow, rows_per_part=PART)
"""


def toy(content: Content) -> HarmScores:
    """Two labels, of the text and of the links; no score without text."""
    p = np.array(
        [
            [np.nan if text is None else len(text) % 7 / 7, len(str((language, tuple(urls or ())))) % 5 / 5]
            for text, language, urls in zip(content.text, content.language, content.urls, strict=True)
        ],
        dtype=np.float32,
    ).reshape(content.n, 2)
    return HarmScores(("toxicity", "threat"), p, 1 - p / 2, "toy@1")


def rows_of(n: int = N) -> list[dict[str, Any]]:
    return [
        {
            "request_id": f"r{i // 10}",
            "post_id": f"p{i}",
            "text": None if i % 9 == 0 else f'2020-01-{i:02d}, "{"é" * i}"\n',
            "language": "en" if i % 2 else None,
            "urls": f"https://a.example/{i}" if i % 3 else None,
        }
        for i in range(n)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=17)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    return path


def scored(posts: Path, **options: Any) -> Path:
    output = posts.with_name(f"{posts.name}-scores.parquet")
    score_posts(posts, output, options.pop("scorer", toy), rows_per_part=PART, **options)
    return output


def test_every_format_gives_the_same_bytes_and_leaves_no_parts(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    first = scored(write(tmp_path / "a.parquet", rows_of()), on_rows=lambda *rows: seen.append(rows))
    assert seen == [(0, N), (30, N), (60, N), (90, N), (N, N)]
    for name in ("b.jsonl", "c.ndjson", "d.csv"):
        assert scored(write(tmp_path / name, rows_of())).read_bytes() == first.read_bytes()
    folder = tmp_path / "[e] *"
    folder.mkdir()
    write(folder / "1.parquet", rows_of()[:45])
    write(folder / "2.parquet", rows_of()[45:])
    assert scored(folder).read_bytes() == first.read_bytes()
    assert not list(tmp_path.glob("*.parts"))
    assert pq.ParquetFile(first).metadata.num_row_groups == 4


def test_a_stream_gives_what_a_feed_in_memory_gives(tmp_path: Path) -> None:
    path = write(tmp_path / "feed.parquet", rows_of())
    feed = read_feed(path)
    write_harms(feed, score_harms(feed, toy), tmp_path / "memory.parquet")
    output = scored(path)
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "memory.parquet"), check_metadata=True)
    found = summarise_scores(output)
    assert (found.n, found.model, found.labels) == (N, "toy@1", ("toxicity", "threat"))
    values = toy(feed.content()).column("toxicity")[0]
    known = values[~np.isnan(values)].astype(float)
    assert found.n_scored.tolist() == [len(known), N]
    assert found.n_above[0] == (known > 0.5).sum()
    assert found.mean[0] == pytest.approx(known.mean())


def test_scores_find_their_candidates_when_the_rows_of_requests_are_mixed(tmp_path: Path) -> None:
    rows = rows_of()
    path = write(tmp_path / "mixed.jsonl", rows[::2] + rows[1::2])
    feed = read_feed(path)
    assert (
        read_harms(feed, scored(path)).posts.probability.tobytes()
        == toy(feed.content()).probability.tobytes()
    )


def test_a_plain_table_of_posts_scores_every_candidate_that_shows_one(tmp_path: Path) -> None:
    posts = [{"id": i, "text": "x" * i, "likes": "many"} for i in range(70)]
    output = scored(write(tmp_path / "posts.jsonl", posts))
    assert pq.read_schema(output).names[:2] == ["post_id", "p_toxicity"]
    feed = feed_from_columns({"request_id": ["r", "s", "s"], "post_id": ["5", "5", "3"]})
    assert read_harms(feed, output).posts.column("toxicity")[0] == pytest.approx([5 / 7, 5 / 7, 3 / 7])
    with pytest.raises(FeedError, match=r"got others .no row for 'new'"):
        read_harms(feed_from_columns({"request_id": ["r"], "post_id": ["new"]}), output)
    twice = scored(write(tmp_path / "twice.jsonl", posts[:2] + posts[:1]))
    with pytest.raises(FeedError, match="expected each post once, got '0' twice"):
        read_harms(feed, twice)


def test_a_run_that_was_killed_goes_on_and_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.jsonl", rows_of())
    whole = scored(path).read_bytes()
    output = tmp_path / "killed.parquet"
    parts = tmp_path / "killed.parquet.parts"
    command = [sys.executable, "-c", SLOW, str(path), str(output), str(Path(__file__).parent)]
    with subprocess.Popen(command, cwd=Path.cwd()) as process:
        deadline = time.monotonic() + 300
        while not (parts / "part-00001.parquet").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not output.exists()
    n_parts = len(list(parts.glob("part-*.parquet")))
    assert 2 <= n_parts < 4
    asked: list[int] = []

    def counting(content: Content) -> HarmScores:
        asked.append(content.n)
        return toy(content)

    score_posts(path, output, counting, rows_per_part=PART)
    assert asked == [0, *[30, 30, 30, 10][n_parts:]]
    assert output.read_bytes() == whole
    assert not parts.exists()


class StopError(Exception):
    """Ends a run in the middle."""


def interrupted(posts: Path, after: int = 2, **options: Any) -> Path:
    """A run that stops after some parts; its folder of parts."""

    def stop(done: int, _of: int) -> None:
        if done >= after * PART:
            raise StopError

    with pytest.raises(StopError):
        scored(posts, on_rows=stop, **options)
    return posts.with_name(f"{posts.name}-scores.parquet.parts")


def test_a_run_with_other_posts_model_or_options_is_not_mixed_with_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "posts.jsonl", rows_of())
    parts = interrupted(path, decided_by={"domains": "abc"})
    before = path.read_bytes()
    path.write_bytes(before.replace(b"2020-01-98", b"2020-01-97"))
    with pytest.raises(FeedError, match=r"got another posts .* delete this folder to start over"):
        scored(path, decided_by={"domains": "abc"})
    path.write_bytes(before)

    def other(content: Content) -> HarmScores:
        scores = toy(content)
        return HarmScores(scores.labels, scores.probability, scores.confidence, "toy@2")

    with pytest.raises(
        FeedError, match=r"another model .toy@1 before, toy@2 now.*another domains .abc before, none"
    ):
        scored(path, scorer=other)
    with monkeypatch.context() as newer:
        newer.setattr(reranker.stream, "READING_VERSION", 999)
        with pytest.raises(FeedError, match=r"got another reading .\d+ before, 999 now.; delete this folder"):
            scored(path, decided_by={"domains": "abc"})
    assert len(list(parts.glob("part-*"))) == 2
    scored(path, decided_by={"domains": "abc"})
    assert not parts.exists()


def test_a_folder_that_no_run_left_is_not_touched(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.jsonl", rows_of())
    parts = path.with_name(f"{path.name}-scores.parquet.parts")
    parts.mkdir()
    (parts / "letter.txt").write_text("mine")
    with pytest.raises(FeedError, match=r"got no state\.json; move it away"):
        scored(path)
    (parts / "letter.txt").rename(parts / "state.json")
    with pytest.raises(FeedError, match=r"state\.json: expected the state of a run"):
        scored(path)
    (parts / "state.json").rename(parts / ".state-1234.json")
    scored(path)
    assert not parts.exists()


def test_a_damaged_part_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.jsonl", rows_of())
    parts = interrupted(path)
    (parts / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(FeedError, match=r"part-00001\.parquet: expected a whole part"):
        scored(path)


def test_posts_that_are_fewer_or_more_than_at_the_start_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.jsonl", rows_of())
    state = interrupted(path) / "state.json"
    state.write_text(state.read_text().replace('"n": 100', '"n": 80'))
    with pytest.raises(FeedError, match="expected 80 posts as at the start, got 100"):
        scored(path)


LINE = b'{"post_id": "a", "text": "x"}\n'
MALFORMED = {
    "cut.jsonl": (LINE + b'{"post_id": "b"', "expected JSON, got .* at line 2"),
    "list.jsonl": (LINE + b"[1]\n", "expected one JSON object per line, got .1. at line 2"),
    "bytes.jsonl": (LINE * 2 + b'{"post_id": "\xff"}\n', "expected text in UTF-8, got .* at line 3"),
    "null.jsonl": (LINE * 40 + b'{"text": "x"}', "post_id: expected a value, got null at row 40"),
    "flag.jsonl": (LINE + b'{"post_id": true}', "post_id: expected text or an integer, got True at row 1"),
    "number.jsonl": (LINE + b'{"post_id": 7, "text": 7}', "text: expected text, got 7 at row 1"),
    "half.jsonl": (
        LINE + b'{"post_id": "b", "text": "\\ud800"}',
        "text: expected text in UTF-8, got .* at row 1",
    ),
    "links.jsonl": (LINE + b'{"post_id": "b", "urls": 7}', "urls: expected a list of links, got 7 at row 1"),
    "nolink.jsonl": (
        LINE + b'{"post_id": "b", "urls": [null]}',
        "urls: expected links, got null .* at row 1",
    ),
    "odd.jsonl": (LINE + b'{"post_id": "b", "urls": [7]}', "urls: expected text, got 7 at row 1"),
    "late.jsonl": (LINE * 31 + b'{"post_id": "b", "request_id": "r"}', "request_id: .* first at row 31"),
    "noid.jsonl": (b'{"text": "x"}', r"expected a column post_id \(or id\), got text"),
    "notext.jsonl": (b'{"post_id": "x"}', "expected a column text or urls, got post_id"),
    "empty.jsonl": (b"", "expected posts, got an empty file"),
    "blank.jsonl": (b"\n\n", "expected posts, got no row"),
    "short.csv": (b"post_id,text\na,b\nc\n", "expected 2 fields, got 1 at line 3"),
    "open.csv": (b'post_id,text\na,b\nc,"d\n', "expected CSV, got unexpected end of data at line 3"),
    "null.csv": (b"post_id,text\na,b\n,x\n", "post_id: expected a value, got null at row 1"),
    "twice.csv": (b"post_id,text,text\na,b,c\n", "text: expected one column of that name, got 2"),
    "header.csv": (b"post_id,text\n", "expected posts, got no row"),
    "cut.parquet": (b"PAR1", "expected a whole parquet file"),
    "posts.txt": (b"post", 'expected one of .parquet, .jsonl, .ndjson, .csv, got ".txt"'),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_bad_input_is_told_with_its_place_before_anything_is_scored(tmp_path: Path, name: str) -> None:
    content, told = MALFORMED[name]
    path = tmp_path / name
    path.write_bytes(content)
    asked: list[int] = []

    def counting(posts: Content) -> HarmScores:
        asked.append(posts.n)
        return toy(posts)

    with pytest.raises(FeedError, match=f"{name}: {told}"):
        scored(path, scorer=counting)
    assert sum(asked) == 0
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="expected a file, found none"):
        scored(tmp_path / "none.jsonl")
    with pytest.raises(FeedError, match=r"expected \.parquet files in the directory"):
        scored(tmp_path)
    with pytest.raises(FeedError, match="expected a file, found none"):
        next(read_posts(tmp_path / "none.jsonl", 10))


def test_parquet_columns_of_many_types_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "post_id": pa.array([1, 2, 3], pa.int32()),
            "text": pa.array([b"a", None, "é".encode()], pa.binary()),
            "language": pa.array(["en", "en", None]).dictionary_encode(),
            "urls": pa.array([["x", "y"], None, []], pa.list_(pa.string())),
            "not_read": pa.array(["q", "q", "q"], pa.string_view()),
        }
    )
    path = tmp_path / "types.parquet"
    pq.write_table(table, path)
    (block,) = read_posts(path, 10)
    assert block.ids == {"post_id": ["1", "2", "3"]}
    expected = Content(["a", None, "é"], ["en", "en", None], [("x", "y"), None, None])
    assert block.content == expected
    bad = pa.StringArray.from_buffers(
        2, pa.py_buffer(np.array([0, 1, 2], np.int32).tobytes()), pa.py_buffer(b"a\xff")
    )
    pq.write_table(pa.table({"post_id": ["a", "b"], "text": bad}), path)
    with pytest.raises(
        FeedError, match=r"types\.parquet: text: expected text in UTF-8, got other bytes at row 1"
    ):
        list(read_posts(path, 10))
    pq.write_table(pa.table({"post_id": ["a"], "text": pa.array([b"\xff"], pa.binary())}), path)
    with pytest.raises(FeedError, match="text: expected text in UTF-8, got invalid start byte at row 0"):
        list(read_posts(path, 10))
    pq.write_table(pa.table({"post_id": [1.5], "text": ["a"]}), path)
    with pytest.raises(FeedError, match=r"post_id: expected text or an integer, got 1\.5 at row 0"):
        list(read_posts(path, 10))


def test_a_file_of_another_layout_in_a_folder_below_is_named(tmp_path: Path) -> None:
    day = tmp_path / "day=2"
    day.mkdir()
    pq.write_table(pa.table({"post_id": ["a", "b"], "text": ["x", "y"]}), tmp_path / "1.parquet")
    for table, message in (
        ({"post_id": ["a"], "urls": ["x"]}, r"expected post_id, text as in .*/1\.parquet, got post_id, urls"),
        ({"id": ["a"], "text": ["x"]}, r"expected post_id, text as in .*/1\.parquet, got id, text"),
        ({"text": ["x"]}, r"expected a column post_id \(or id\), got text"),
        ({"post_id": ["a"], "text": [[1]]}, r"text: expected text, got \(1,\) at row 0"),
    ):
        pq.write_table(pa.table(table), day / "2.parquet")
        with pytest.raises(FeedError, match=f"^{day}/2.parquet: {message}"):
            list(read_posts(tmp_path, 2))
    pq.write_table(pa.table({"post_id": [3, 4], "text": ["x", None]}), day / "2.parquet")
    assert [block.ids["post_id"] for block in read_posts(tmp_path, 3)] == [["a", "b", "3"], ["4"]]
    (day / "2.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        FeedError, match=f"^{day}/2.parquet: expected a whole parquet file, got one that ends"
    ):
        list(read_posts(tmp_path, 2))


def test_a_run_goes_on_where_its_parts_lie_in_the_folder_of_its_posts(tmp_path: Path) -> None:
    whole = scored(write(tmp_path / "whole.parquet", rows_of())).read_bytes()
    folder = tmp_path / "posts"
    folder.mkdir()
    write(folder / "posts.parquet", rows_of())
    output = folder / "scores.parquet"

    def stop(done: int, _of: int) -> None:
        if done >= 2 * PART:
            raise StopError

    with pytest.raises(StopError):
        score_posts(folder, output, toy, rows_per_part=PART, on_rows=stop)
    assert len(list((folder / "scores.parquet.parts").glob("part-*.parquet"))) == 2
    score_posts(folder, output, toy, rows_per_part=PART)
    assert output.read_bytes() == whole


def test_posts_in_folders_of_days_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    whole = scored(write(tmp_path / "whole.parquet", rows_of())).read_bytes()
    folder = tmp_path / "posts"
    for name, rows in {
        "day=1/hour=0/b.parquet": rows_of()[:20],
        "day=1/hour=1/a.parquet": rows_of()[20:70],
        "day=2/a.parquet": rows_of()[70:],
        "_temporary/0/a.parquet": rows_of(),
        "day=1/.old/a.parquet": rows_of(),
    }.items():
        (folder / name).parent.mkdir(parents=True)
        write(folder / name, rows)
    (folder / "latest").symlink_to(folder / "day=2")
    (folder / "day=2" / "up").symlink_to(folder)
    assert scored(folder).read_bytes() == whole
    (folder / "day=2" / "a.parquet").unlink()
    write(folder / "day=2" / "a.parquet", [{**row, "text": 7} for row in rows_of()[70:]])
    with pytest.raises(FeedError, match=r"^\S*/day=2/a.parquet: text: expected text, got 7 at row 0"):
        scored(folder)


def test_a_csv_field_may_be_long_and_the_limit_of_the_process_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    path = write(tmp_path / "long.csv", [{"post_id": "a", "text": "x" * 300_000}])
    (block,) = read_posts(path, 10)
    assert len(block.content.text[0] or "") == 300_000
    assert csv.field_size_limit() == before


def test_links_as_bytes_are_text_and_half_characters_in_links_are_told(tmp_path: Path) -> None:
    path = tmp_path / "links.parquet"
    pq.write_table(pa.table({"post_id": ["a"], "urls": pa.array([[b"x"]], pa.list_(pa.binary()))}), path)
    (block,) = read_posts(path, 10)
    assert block.content.urls == [("x",)]
    half = tmp_path / "half.jsonl"
    half.write_bytes(b'{"post_id": "b", "urls": ["\\ud800"]}')
    with pytest.raises(FeedError, match="urls: expected text in UTF-8, got surrogates not allowed at row 0"):
        list(read_posts(half, 10))

"""Files that people send to the playground: the same feed from each format, and one message for the rest."""

import numpy as np
import pytest

from reranker.columns import FeedError
from reranker.serving.playground_reading import MAX_CANDIDATES, feed_from_file, file_name
from tests.playground import as_csv, as_parquet, feed_lines, lines


def test_the_same_feed_comes_from_each_format() -> None:
    rows = feed_lines()
    made = {
        "a.jsonl": lines(rows),
        "a.ndjson": lines(rows),
        "a.csv": as_csv(rows),
        "a.PARQUET": as_parquet(rows),
    }
    feeds = [feed_from_file(name, content, max_text_bytes=100) for name, content in made.items()]
    for feed in feeds:
        assert feed.post_id.to_list() == feeds[0].post_id.to_list()
        assert feed.text.to_list() == feeds[0].text.to_list()
        assert np.array_equal(feed.signals.values, feeds[0].signals.values)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"x", r'a.txt: expected one of .parquet, .jsonl, .ndjson, .csv, got ".txt"'),
        ("a.jsonl", b" \n", "a.jsonl: expected rows, got an empty file"),
        ("a.jsonl", b'{"request_id": "r"}', "a.jsonl: post_id"),
        ("a.jsonl", b"{", "a.jsonl: expected JSON"),
        ("a.csv", b'request_id,post_id,like\nr,"p', "a.csv: expected every quote to be closed"),
        ("a.csv", b"request_id,post_id,like\nr,p,-4", "a.csv: like: expected"),
        ("a.csv", b"request_id,post_id,likes\nr,p,4", 'a.csv: unknown column "likes"; did you mean'),
        ("a.csv", b"request_id,post_id\n", "a.csv: expected at least one candidate"),
        ("a.parquet", b"PAR1 no", "a.parquet: expected a whole parquet file"),
        ("a.parquet", as_parquet(feed_lines())[:-9], "a.parquet: expected a whole parquet file"),
        ("../../b/a.csv", b"x" * 3, "a.csv: "),
        ("a.csv", b"request_id,post_id,text\nr,p," + b"x" * 101, "a.csv: text: expected at most 100 bytes"),
        (
            "a.csv",
            b"request_id,post_id\n" + b"r,p\n" * (MAX_CANDIDATES + 1),
            "expected at most 5,000 candidates",
        ),
        (
            "a.csv",
            b"request_id,post_id\n" + b"".join(b"r,p%d\n" % i for i in range(301)),
            'request "r": expected at most 300 candidates',
        ),
        ("a.csv", b",".join(b"c%d" % i for i in range(600)) + b"\n", "expected at most 500 columns"),
        ("a.csv", b'"' + b"\nx" * 500 + b'",b\n1,2', "expected names of columns of at most 100 characters"),
        (
            "a.jsonl",
            b'{"post_id": "p", "x": {"y": 1}}',
            "x: expected a text, number or list of links, got an",
        ),
        ("a.jsonl", b'{"x":' * 100_000, "a.jsonl: expected JSON"),
        ("a.jsonl", b'{"p": 1}\n' * (MAX_CANDIDATES + 1), "expected at most 5,000 candidates"),
        ("a.jsonl", b"".join(b'{"k%d": 1}\n' % i for i in range(600)), "expected at most 500 columns"),
    ],
)
def test_a_file_that_is_no_feed_is_refused_in_one_message(name: str, content: bytes, message: str) -> None:
    with pytest.raises(FeedError, match=message.replace("+", r"\+")) as raised:
        feed_from_file(file_name(name), content, max_text_bytes=100)
    assert "\n" not in str(raised.value)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused() -> None:
    text = "x" * 200_000
    content = as_parquet([{"request_id": "r", "post_id": f"p{i}", "text": text} for i in range(400)])
    assert len(content) < 500_000
    with pytest.raises(FeedError, match="expected at most 64 MiB of columns"):
        feed_from_file("a.parquet", content, max_text_bytes=10**6)

"""Files of candidates: read in the feed's columns, read again when they change, refused by file and line."""

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reranker.columns import FeedError
from reranker.serving.candidates import CandidateFiles, candidate_feed, read_candidates, stored_row
from reranker.serving.post_store import StoredPost
from tests.jetstreams import uri

NOW = datetime(2026, 9, 21, tzinfo=UTC)


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), "utf-8")
    return path


def row(i: int, **columns: Any) -> dict[str, Any]:
    return {"post_id": uri(1, f"p{i}"), "text": f"post {i}", **columns}


def keys(rows: list[dict[str, Any]]) -> list[str]:
    return [found["post_id"].rpartition("/")[2] for found in rows]


def test_candidates_come_newest_first_and_those_without_a_time_last(tmp_path: Path) -> None:
    rows = [
        row(1, created_at="2026-01-01T00:00:00Z", like=3),
        row(2),
        row(3, created_at="2026-01-02T00:00:00+01:00", reshare=None),
        row(4),
    ]
    found = read_candidates(write(tmp_path / "a.jsonl", *rows))
    assert keys(found) == ["p3", "p1", "p2", "p4"]
    feed = candidate_feed(found, "feed", NOW)
    assert feed.signals.names == ("like",)
    assert feed.signals.get("like").tolist()[1] == 3
    assert np.isnan(feed.signals.get("like")[[0, 2, 3]]).all()
    assert feed.time[0] == np.datetime64("2026-09-21")


def test_a_directory_gives_the_lines_of_its_files(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", row(1), "", row(2))
    write(tmp_path / "a.ndjson", row(3))
    write(tmp_path / ".hidden.jsonl", "garbage")
    write(tmp_path / "readme.md", "garbage")
    assert keys(read_candidates(tmp_path)) == ["p3", "p1", "p2"]


def test_columns_of_the_request_are_dropped(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", row(1, request_id="r1", user="u"), row(2, request_id="r2", country="US")
    )
    feed = candidate_feed(read_candidates(path), "feed", NOW)
    assert feed.n_requests == 1
    assert feed.user.to_list() == [None]


def test_probabilities_are_read_as_such(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(1, p_like=0.5), row(2, p_like=0.25))
    feed = candidate_feed(read_candidates(path), "feed", NOW)
    assert feed.signals.kind == "probabilities"
    assert feed.signals.get("like").tolist() == [0.5, 0.25]


def test_every_column_of_a_candidate_may_be_given(tmp_path: Path) -> None:
    full = row(
        1,
        parent_id=uri(1, "p0"),
        author="did:plc:a",
        publisher="outlet",
        topic="sports",
        language="en",
        urls=["https://a.example"],
        media="photo",
        relation="stranger",
        created_at="2026-01-01",
        original_position=4,
        computing_load=1.5,
        author_violations=2,
        see_less_requests=0,
        angry_accounts=7,
        angry_peak_share=0.5,
        attr_mine=3,
    )
    feed = candidate_feed(read_candidates(write(tmp_path / "a.jsonl", full)), "feed", NOW)
    assert set(feed.missing) == {"user", "country", "device", "connection_strength"}


BAD = [
    ("garbage", "expected JSON, got Expecting value"),
    ("[" * 100_000, "expected JSON, got"),
    ("[1]", r"expected one JSON object per line, got \[1\]"),
    ("{}", "post_id: expected at://DID/app.bsky.feed.post/KEY, got 'None'"),
    ({"post_id": "p1"}, "post_id: expected at://DID/app.bsky.feed.post/KEY, got 'p1'"),
    (row(0), "post_id: expected each post once, got .* again, first at .*line 1"),
    (row(9, like="3"), "like: expected numbers, got '3'$"),
    (row(9, like=-1), "like: expected a finite number from 0"),
    (row(9, like=10**400), "like: expected numbers"),
    (row(9, text=5), "text: expected text, got '5'$"),
    (row(9, urls=[5]), "urls: expected links as text"),
    (row(9, media="hologram"), "media: expected one of text"),
    (row(9, created_at="soon"), "created_at: expected an ISO 8601 time, got 'soon'$"),
    (row(9, likes=3), 'unknown column "likes"; did you mean "like"'),
    (row(9, text="\ud800"), "expected text in UTF-8"),
    (json.dumps(row(9, like=float("nan"))), "like: expected a finite number or null, got nan$"),
]


@pytest.mark.parametrize(("bad", "message"), BAD, ids=range(len(BAD)))
def test_a_bad_line_is_told_by_file_and_line(tmp_path: Path, bad: Any, message: str) -> None:
    write(tmp_path / "a.jsonl", row(0), "", bad, row(1), row(2, likes=4))
    write(tmp_path / "b.jsonl", row(3, like=2))
    with pytest.raises(FeedError, match=rf"a\.jsonl: line 3: {message}"):
        read_candidates(tmp_path)


def test_counts_in_one_line_and_probabilities_in_another_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(0, like=1), row(1), row(2, p_like=0.5))
    with pytest.raises(FeedError, match=r"line 3: expected signals as counts or probabilities in all lines"):
        read_candidates(path)


def test_bytes_that_are_no_text_are_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(row(1)).encode() + b"\n\xff\xfe\n")
    with pytest.raises(FeedError, match=r"a\.jsonl: line 2: expected text in UTF-8, got invalid start byte"):
        read_candidates(path)


def test_a_source_that_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FeedError, match=r"none\.jsonl: expected a file or directory of JSON lines, found none"
    ):
        CandidateFiles(tmp_path / "none.jsonl")
    with pytest.raises(FeedError, match=r"expected \.jsonl or \.ndjson files in the directory, found none"):
        CandidateFiles(tmp_path)


def test_a_file_without_lines_has_no_candidates(tmp_path: Path) -> None:
    assert read_candidates(write(tmp_path / "a.jsonl")) == []


def test_too_many_lines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reranker.serving.candidates.MAX_LINES", 3)
    path = write(tmp_path / "a.jsonl", *(row(i) for i in range(4)))
    with pytest.raises(FeedError, match="line 4: expected at most 3 candidates, got more"):
        read_candidates(path)


def test_files_are_read_again_when_they_change_and_kept_while_they_are_bad(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.jsonl", row(1))
    files = CandidateFiles(tmp_path)
    assert keys(files.rows(10)) == ["p1"]
    write(path, row(1), row(2))
    assert keys(files.rows(10)) == ["p1", "p2"]
    assert keys(files.rows(1)) == ["p1"]
    write(tmp_path / "b.jsonl", row(3))
    assert keys(files.rows(10)) == ["p1", "p2", "p3"]
    caplog.set_level(logging.WARNING)
    write(path, row(1), '{"post_id": "at://')
    assert keys(files.rows(10)) == keys(files.rows(10)) == ["p1", "p2", "p3"]
    assert [record.getMessage().count("line 2") for record in caplog.records] == [1]
    write(path, row(4))
    assert keys(files.rows(10)) == ["p4", "p3"]
    for file in tmp_path.iterdir():
        file.unlink()
    assert keys(files.rows(10)) == ["p4", "p3"]


def test_a_change_that_keeps_the_size_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(1))
    files = CandidateFiles(path)
    write(path, row(2))
    os.utime(path, ns=(1, 1))
    assert keys(files.rows(10)) == ["p2"]


def test_a_stored_post_is_a_candidate_whose_counts_are_measured() -> None:
    post = StoredPost(uri(1, "a"), "did:plc:a", None, None, None, (), "photo", 1_500_000, (3, 0, 0, 0, 1, 0))
    feed = candidate_feed([stored_row(post)], "feed", NOW)
    assert feed.signals.get("like").tolist() == [3]
    assert feed.signals.get("reshare").tolist() == [0]
    assert np.isnan(feed.signals.get("angry")).all()
    assert feed.created_at[0] == np.datetime64("1970-01-01T00:00:01.5")
    assert feed.text.to_list() == [None]

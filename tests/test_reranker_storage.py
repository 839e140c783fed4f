"""Data under a URL: read by arrow's own S3 client from a store on this machine, or refused in one line."""

import pickle
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.logged_batches import LogFiles
from eval.packed import packed_partitions
from reranker.cli import main
from reranker.columns import FeedError
from reranker.impression_files import log_files, read_impressions, write_impressions
from reranker.location import Location
from reranker.reading import read_feed, read_interactions
from tests.logs import log_of, values_of
from tests.object_store import Bucket, ObjectStore, object_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in two files, with what other tools leave beside them."""
    made = tmp_path_factory.mktemp("logs")
    write_impressions([log_of(20)], made / "b.parquet")
    write_impressions([log_of(5, first=20)], made / "a.parquet")
    for name in ("_SUCCESS", "_old.parquet", ".hidden.parquet", "notes.txt"):
        (made / name).write_bytes(b"x")
    return made


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[ObjectStore]:
    logs = {f"day 1/logs/{file.name}": file.read_bytes() for file in folder.iterdir()}
    sheets = {
        "feed.csv": b"request_id,post_id,like\na,p1,2\na,p2,3\n",
        "feed.jsonl": b'{"request_id": "a", "post_id": "p1", "like": 2}\n',
        "slow.jsonl": b'{"request_id": 1, "post_id": "p1", "like": 2}\n',
    }
    buckets = {
        "data": Bucket(logs | sheets | {"empty/": b"", "empty/_SUCCESS": b""}),
        "closed": Bucket(is_closed=True),
    }
    with object_store(buckets) as opened:
        yield opened


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that bad input ended."""
    with pytest.raises(SystemExit) as found:
        main(list(arguments))
    captured = capsys.readouterr()
    assert (found.value.code, captured.out, captured.err.count("\n")) == (2, "", 1)
    assert "S3cret" not in captured.err
    return captured.err


def test_a_log_in_a_bucket_is_the_log_on_the_disk(folder: Path, store: ObjectStore) -> None:
    url = store.url("data/day%201/logs/")
    assert [file.name for file in log_files(url)] == ["a.parquet", "b.parquet"]
    for where in (url, f"file://{folder}", f"file://localhost{folder}/"):
        found = [values_of(log) for log in read_impressions(where)]
        assert found == [values_of(log) for log in read_impressions(folder)]
    assert len(list(read_impressions(store.url("data/day%201/logs/a.parquet")))) == 1


def test_the_partitions_of_a_bucket_can_be_sent_to_another_process(folder: Path, store: ObjectStore) -> None:
    there = packed_partitions([store.url("data/day%201/logs")])
    here = packed_partitions([folder])
    assert [one.name for one in there] == [one.name for one in here] == ["a.parquet:0", "b.parquet:0"]
    assert there[0].digest == f"{(folder / 'a.parquet').stat().st_size}-1767225600000000000"
    assert (
        here[0].digest
        == f"{(folder / 'a.parquet').stat().st_size}-{(folder / 'a.parquet').stat().st_mtime_ns}"
    )
    for near, far in zip(here, there, strict=True):
        moved = pickle.loads(pickle.dumps(far.load))()  # noqa: S301 - our own bytes
        assert moved.p_action.tobytes() == near.load().p_action.tobytes()
        assert moved.user.tolist() == near.load().user.tolist()


def test_feeds_and_acts_of_every_format_are_read_from_a_bucket(store: ObjectStore) -> None:
    assert read_feed(store.url("data/feed.csv")).post_id.to_list() == ["p1", "p2"]
    assert read_feed(store.url("data/feed.jsonl")).post_id.to_list() == ["p1"]
    assert read_feed(store.url("data/slow.jsonl")).request_id.to_list() == ["1"]
    with pytest.raises(FeedError, match=r"^s3://data/feed.csv: interactions: unknown column"):
        read_interactions(store.url("data/feed.csv"))


def test_a_command_on_a_bucket_writes_what_it_writes_on_the_disk(
    folder: Path, store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed, (sheet, made) = [], (tmp_path / "feed.csv", tmp_path / "made.parquet")
    sheet.write_bytes(store.buckets["data"].objects["feed.csv"])
    for logs, feed in ((str(folder), str(sheet)), (store.url("data/day 1/logs"), store.url("data/feed.csv"))):
        for arguments in (["audit", "validate", logs], ["rank", feed, "--model", "none", "-o", str(made)]):
            with pytest.raises(SystemExit) as found:
                main(arguments)
            assert not found.value.code
        printed.append((capsys.readouterr().out, made.read_bytes()))
    assert printed[0] == printed[1]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("closed/logs", "s3://closed/logs: expected permission to read, got "),
        ("nowhere/logs", "s3://nowhere/logs: expected a bucket nowhere, found none"),
        ("data/none", "s3://data/none: expected a file, found none"),
        ("data/empty", "s3://data/empty: expected .parquet files in the directory, found none"),
    ],
)
def test_what_a_bucket_refuses_or_lacks_is_one_line_and_nothing_is_written(
    path: str, message: str, store: ObjectStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, url = str(tmp_path / "made.parquet"), store.url(path)
    policies = ["--original", "like=1", "--treatment", "like=2"]
    for arguments in (
        ["audit", "validate", url],
        ["audit", "compare", url, *policies, "-o", str(tmp_path / "out")],
        ["convert", url, "-o", made],
        ["rank", url, "-o", made],
    ):
        assert refused(capsys, *arguments).startswith(f"reranker: {message}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://user:S3cret@host/logs", "ftp://host/logs: expected a path or a URL of file, s3, gs, "),
        ("file://elsewhere/logs", "file://elsewhere/logs: expected file:///PATH, a file of this machine"),
        ("s3://user:S3cret@b/logs?color=red", "s3://b/logs: expected a URL that leads to files, got ?color"),
        ("s3://user:S3cret/x@b/logs?x=1", "s3://b/logs: expected a URL that leads to files, got ?x"),
        ("s3://", "s3://: expected a URL that leads to files, got no bucket"),
        ("gs://user:S3cret@b/lo gs", "gs://b/lo gs: expected a URL that leads to files, got one that cannot"),
        ("gs://b/logs?color=red", "gs://b/logs: expected a URL that leads to files, got Unexpected query"),
    ],
)
def test_a_url_that_says_no_place_is_refused_without_its_secret(
    url: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, "audit", "validate", url).startswith(f"reranker: {message}")


def test_a_storage_that_is_not_there_or_says_nothing_is_given_up_in_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("reranker.storage.ANSWER_S", 1)
    monkeypatch.setattr("reranker.storage.ATTEMPTS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for query in (f"endpoint_override=127.0.0.1:{port}", "endpoint_override=127.0.0.1:1"):
            began = time.monotonic()
            with pytest.raises(
                FeedError, match=r"^s3://b/logs: expected an answer from the storage, got .*curl"
            ):
                log_files(f"s3://user:S3cret@b/logs?scheme=http&{query}")
            assert time.monotonic() - began < 30  # arrow alone has not given up after 90


def test_a_file_that_changes_its_mind_midway_is_refused_by_name(store: ObjectStore) -> None:
    partitions = packed_partitions([store.url("data/day%201/logs")])
    store.buckets["data"].is_closed = True
    try:
        with pytest.raises(
            FeedError, match=r"^s3://data/day%201/logs/a.parquet: expected permission to read, got"
        ):
            partitions[0].load()
    finally:
        store.buckets["data"].is_closed = False


def test_a_partition_with_another_schema_is_named(tmp_path: Path) -> None:
    write_impressions([log_of(5)], tmp_path / "a.parquet")
    other = log_of(5, first=5, viewed=None)
    write_impressions([other], tmp_path / "b.parquet")
    message = r"b.parquet: optional: expected .*viewed as in the first file, got dwell_ms"
    with pytest.raises(FeedError, match=message):
        list(LogFiles(tmp_path))
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    for name, like in (("a", [1, 2]), ("b", [3, 4]), ("c", ["x", "y"])):
        table = pa.table({"request_id": ["r", "r"], "post_id": ["p", "q"], "like": like})
        pq.write_table(table, feeds / f"{name}.parquet")
    with pytest.raises(FeedError, match=r"c.parquet: expected files of one layout, got"):
        read_feed(feeds)


def test_a_location_is_what_was_typed_and_shows_no_secret() -> None:
    typed = "s3://user:S3/cret@bucket/logs/?region=eu-west-1"
    found = Location.of(typed).child("a.parquet")
    assert (str(found), found.name, found.suffix) == (
        "s3://bucket/logs/a.parquet",
        "a.parquet",
        ".parquet",
    )
    assert "S3" not in repr(found)
    assert found.absolute() == found
    assert str(Location.of("abfs://logs@account/day")) == "abfs://logs@account/day"
    assert str(Location.of("abfs://account:S3cret@logs/day")) == "abfs://logs/day"
    assert str(Location.of("hdfs://name:9000/user@day")) == "hdfs://name:9000/user@day"
    assert str(Location.of("./logs//day/")) == str(Location.of(Path("logs/day"))) == "logs/day"
    assert Location.of("file:///a%20b/c") == Location.of("/a b/c")
    assert Location.of("logs").absolute().typed == str(Path("logs").absolute())

"""Data under a URL: read by arrow's own S3 client from a store on this machine, or refused in one line."""

import json
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
from reranker.bad_rows import bad_rows_beside
from reranker.cli import main
from reranker.columns import FeedError
from reranker.impression_files import log_files, read_impressions, write_impressions
from reranker.location import Location
from reranker.posts import digest_of, read_posts
from reranker.reading import read_feed, read_interactions
from reranker.stream import score_posts
from tests.logs import log_of, values_of
from tests.object_store import Bucket, ObjectStore, object_store
from tests.test_reranker_stream import PART, StopError, rows_of, toy, write

DAYS = ("day=1/hour=0/part-0.parquet", "day=1/hour=1/part-0.parquet", "day=2/part-0.parquet")


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
def posts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same posts in every format, and in folders of days and hours."""
    made = tmp_path_factory.mktemp("posts")
    for name in ("posts.parquet", "posts.jsonl", "posts.csv"):
        write(made / name, rows_of())
    (made / "bad.jsonl").write_bytes((made / "posts.jsonl").read_bytes() + b'{"text": "x"}\n\xff\n')
    parts = (rows_of()[:40], rows_of()[40:45], rows_of()[45:])
    for name, rows in zip((*DAYS, "day=1/_old/part-0.parquet"), (*parts, rows_of()), strict=True):
        (made / "days" / name).parent.mkdir(parents=True)
        write(made / "days" / name, rows)
    return made


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in folders of days and hours, and the parts of a result that is not whole."""
    made = tmp_path_factory.mktemp("days")
    for i, name in enumerate((*DAYS, "scores.parquet.parts/part-00000.parquet")):
        (made / name).parent.mkdir(parents=True)
        write_impressions([log_of(4, first=4 * i)], made / name)
    return made


def objects_below(folder: Path) -> dict[str, bytes]:
    """What an object store has of a folder."""
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


@pytest.fixture(scope="module")
def store(folder: Path, posts_folder: Path, days: Path) -> Iterator[ObjectStore]:
    logs = {f"day 1/logs/{file.name}": file.read_bytes() for file in folder.iterdir()}
    sheets = {
        "feed.csv": b"request_id,post_id,like\na,p1,2\na,p2,3\n",
        "feed.jsonl": b'{"request_id": "a", "post_id": "p1", "like": 2}\n',
        "slow.jsonl": b'{"request_id": 1, "post_id": "p1", "like": 2}\n',
    }
    buckets = {
        "data": Bucket(logs | sheets | {"empty/": b"", "empty/_SUCCESS": b""}),
        "closed": Bucket(is_closed=True),
        "posts": Bucket(objects_below(posts_folder)),
        "days": Bucket(objects_below(days) | {"day=3/": b""}),
    }
    with object_store(buckets) as opened:
        yield opened


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that bad input ended."""
    with pytest.raises(SystemExit) as found:
        main(list(arguments))
    captured = capsys.readouterr()
    assert (found.value.code, captured.out, captured.err.strip().count("\n")) == (2, "", 0)
    assert "S3cret" not in captured.err
    return captured.err.strip()


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


def test_folders_of_days_are_read_in_the_order_of_their_paths(store: ObjectStore, days: Path) -> None:
    here, there = log_files(days), log_files(store.url("days"))
    assert [str(file) for file in here] == [str(days / name) for name in DAYS]
    assert [str(file) for file in there] == [f"s3://days/{name}" for name in DAYS]
    assert {file.name for file in (*here, *there)} == {"part-0.parquet"}
    found = [values_of(log) for log in read_impressions(store.url("days"))]
    assert found == [values_of(log) for log in read_impressions(days)]
    assert found == [values_of(log_of(4, first=first)) for first in (0, 4, 8)]
    assert len(log_files(store.url("days/day=1/"))) == 2
    assert read_feed(store.url("posts/days")).post_id.to_list() == [f"p{i}" for i in range(len(rows_of()))]


@pytest.mark.parametrize("name", ["posts.parquet", "posts.jsonl", "posts.csv", "days"])
def test_posts_in_a_bucket_get_the_scores_of_those_on_the_disk(
    name: str, store: ObjectStore, posts_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, ratings = (tmp_path / "here.parquet", tmp_path / "there.parquet"), tmp_path / "ratings.csv"
    ratings.write_text("domain,score\na.example,0.2\n")
    options = ["--model", "none", "--domains", str(ratings), "-o"]
    for posts, output in zip((str(posts_folder / name), store.url(f"posts/{name}")), made, strict=True):
        with pytest.raises(SystemExit) as found:
            main(["score", posts, *options, str(output)])
        assert not found.value.code
        assert "S3cret" not in "".join(capsys.readouterr())
    assert made[0].read_bytes() == made[1].read_bytes()
    assert digest_of(Location.of(store.url(f"posts/{name}"))) == digest_of(Location.of(posts_folder / name))


def test_bad_rows_of_a_bucket_are_listed_without_its_secret(store: ObjectStore, tmp_path: Path) -> None:
    output = tmp_path / "scores.parquet"
    url = store.url("posts/bad.jsonl")
    assert score_posts(url, output, toy, rows_per_part=PART, max_bad_rows=2) == 2
    listed = [json.loads(line) for line in bad_rows_beside(output).read_text().splitlines()]
    n = 2 * len(rows_of())
    assert [(row["file"], row["line"]) for row in listed] == [
        ("s3://posts/bad.jsonl", n + 1),
        ("s3://posts/bad.jsonl", n + 2),
    ]
    with pytest.raises(FeedError, match=r"^s3://posts/bad.jsonl: expected at most 1 bad rows, got more; the"):
        score_posts(url, tmp_path / "other.parquet", toy, rows_per_part=PART, max_bad_rows=1)
    with pytest.raises(FeedError, match=r"^s3://posts/bad.jsonl: expected text in UTF-8, got .* at line 202"):
        list(read_posts(url, PART))


def test_a_run_on_a_bucket_goes_on_where_it_stood_and_not_on_other_posts(
    store: ObjectStore, posts_folder: Path, tmp_path: Path
) -> None:
    url, output = store.url("posts/days"), tmp_path / "scores.parquet"

    def stop(done: int, _of: int) -> None:
        if done >= 2 * PART:
            raise StopError

    with pytest.raises(StopError):
        score_posts(url, output, toy, rows_per_part=PART, on_rows=stop)
    assert "S3cret" not in (tmp_path / "scores.parquet.parts" / "state.json").read_text()
    objects = store.buckets["posts"].objects
    kept = objects[f"days/{DAYS[2]}"]
    objects[f"days/{DAYS[2]}"] = objects[f"days/{DAYS[1]}"]
    try:
        with pytest.raises(FeedError, match="got another posts"):
            score_posts(url, output, toy, rows_per_part=PART)
    finally:
        objects[f"days/{DAYS[2]}"] = kept
    score_posts(url, output, toy, rows_per_part=PART)
    score_posts(posts_folder / "posts.csv", tmp_path / "here.parquet", toy, rows_per_part=PART)
    assert output.read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_a_text_is_fetched_in_few_large_pieces(store: ObjectStore) -> None:
    data = store.buckets["data"]
    data.objects["long.jsonl"] = b'{"post_id": "p", "text": "%s"}\n' % (b"x" * 1000) * 6000  # 6 MB
    before = data.n_fetched
    assert sum(block.content.n for block in read_posts(store.url("data/long.jsonl"), 1000)) == 6000
    assert data.n_fetched - before <= 3  # of 4 MB each; the last may be empty


def test_a_file_of_another_schema_below_a_folder_is_named(store: ObjectStore) -> None:
    objects = store.buckets["posts"].objects
    other = f"days/{DAYS[1]}"
    kept = objects[other]
    objects[other] = objects["posts.jsonl"]
    try:
        broken = f"^s3://posts/{other}: expected a whole parquet file, got one that ends or breaks early"
        with pytest.raises(FeedError, match=broken):
            list(read_posts(store.url("posts/days"), PART))
        with pytest.raises(FeedError, match=broken):
            read_feed(store.url("posts/days"))
        objects[other] = store.buckets["days"].objects[DAYS[0]]
        with pytest.raises(FeedError, match=rf"^s3://posts/{other}: expected a column post_id .or id., got"):
            list(read_posts(store.url("posts/days"), PART))
    finally:
        objects[other] = kept
    logs = store.buckets["days"].objects
    kept, logs[DAYS[1]] = logs[DAYS[1]], objects[other]
    try:
        with pytest.raises(FeedError, match=rf"^s3://days/{DAYS[1]}: expected an impression log of schema 1"):
            list(read_impressions(store.url("days")))
    finally:
        logs[DAYS[1]] = kept


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("closed/logs", "s3://closed/logs: expected permission to read, got "),
        ("nowhere/logs", "s3://nowhere/logs: expected a bucket nowhere, found none"),
        ("data/none", "s3://data/none: expected a file, found none"),
        ("data/empty", "s3://data/empty: expected .parquet files in the directory, found none"),
        ("days/day=3", "s3://days/day=3: expected .parquet files in the directory, found none"),
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
        ["score", url, "--speed", "fast", "-o", made],
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
    for child in ("a.parquet", "day=1/a.parquet"):
        found = Location.of(typed).child(child)
        assert (str(found), found.name) == (f"s3://bucket/logs/{child}", "a.parquet")
        assert found.suffix == ".parquet"
    assert "S3" not in repr(found)
    assert found.absolute() == found
    assert str(Location.of("abfs://logs@account/day")) == "abfs://logs@account/day"
    assert str(Location.of("abfs://account:S3cret@logs/day")) == "abfs://logs/day"
    assert str(Location.of("hdfs://name:9000/user@day")) == "hdfs://name:9000/user@day"
    assert str(Location.of("./logs//day/")) == str(Location.of(Path("logs/day"))) == "logs/day"
    assert Location.of("file:///a%20b/c") == Location.of("/a b/c")
    assert Location.of("logs").absolute().typed == str(Path("logs").absolute())

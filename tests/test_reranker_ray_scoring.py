"""Scores by the workers of Ray: the bytes of one process, whatever is killed and whoever goes on."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.device import Placement, n_cores
from reranker.bad_rows import bad_rows_beside
from reranker.chunks import in_chunks, one_by_one
from reranker.cli import main
from reranker.columns import FeedError
from reranker.inputs import Reading
from reranker.location import Where
from reranker.policy import PolicyError
from reranker.ray_scoring import Readers, placement_on, score_posts_on
from reranker.ray_session import RaySession, ray_session
from reranker.stream import score_posts
from tests.object_store import Bucket, object_store
from tests.test_reranker_workers import WORDS, write_posts
from tests.tiny import save_classifier

pytest.importorskip("ray", reason="needs the extra cluster")

N, PART, CHUNK = 110, 20, 7
LOCAL = {"device": "cpu"}
FAST = Reading(speed="fast")  # a worker loads it in a moment, as it needs no torch


@pytest.fixture(scope="module")
def session() -> Iterator[RaySession]:
    with ray_session(n_workers=2) as opened:
        yield opened


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    return write_posts(tmp_path / "posts.jsonl", N)


@pytest.fixture
def readers(session: RaySession) -> Readers:
    return Readers(session, FAST, placement_on(session, FAST), CHUNK)


def score_here(posts: Path, output: Path, on_rows: Callable[[int, int], None] | None = None) -> Path:
    scorer = FAST.scorer()
    assert scorer is not None
    chunked = in_chunks(one_by_one(scorer), CHUNK, lambda _done: None)
    told = on_rows or (lambda _done, _of: None)
    score_posts(posts, output, chunked, decided_by=LOCAL, rows_per_part=PART, on_rows=told)
    return output


def score_there(
    readers: Readers,
    posts: Where,
    output: Path,
    on_rows: Callable[[int, int], None] = lambda _done, _of: None,
) -> Path:
    score_posts_on(readers, posts, output, decided_by=LOCAL, rows_per_part=PART, on_rows=on_rows)
    return output


def children(pid: int) -> list[int]:
    """The processes below another, by their ids."""
    of: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                of.setdefault(int(parent), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = of.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def actors(of: int) -> list[int]:
    """The processes below another that hold a classifier."""
    held = []
    for pid in children(of):
        with suppress(OSError):
            if b"ray::_Holder" in Path(f"/proc/{pid}/cmdline").read_bytes():
                held.append(pid)
    return held


def test_workers_write_the_bytes_of_one_process_and_leave_no_parts(
    readers: Readers, posts: Path, tmp_path: Path
) -> None:
    said: list[tuple[int, int]] = []
    found = score_there(readers, posts, tmp_path / "there.parquet", lambda *rows: said.append(rows))
    assert found.read_bytes() == score_here(posts, tmp_path / "here.parquet").read_bytes()
    assert said == [(done, N) for done in (0, 20, 40, 60, 80, 100, 110)]
    assert not list(tmp_path.glob("*.parts"))


def test_workers_read_a_url_themselves(readers: Readers, posts: Path, tmp_path: Path) -> None:
    with object_store({"data": Bucket({"posts.jsonl": posts.read_bytes()})}) as store:
        found = score_there(readers, store.url("data/posts.jsonl"), tmp_path / "there.parquet")
    assert found.read_bytes() == score_here(posts, tmp_path / "here.parquet").read_bytes()


def test_the_command_writes_the_bytes_of_the_local_one_from_relative_names(
    session: RaySession, posts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_classifier(tmp_path / "model", WORDS, ("toxicity", "humor"))
    for engine in ("local", "ray"):
        with pytest.raises(SystemExit) as stopped:
            main(["score", posts.name, "--model", "model", "-o", f"{engine}.parquet", "--engine", engine])
        assert not stopped.value.code
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
    assert session.n_workers == 2


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs the process list of Linux")
def test_a_killed_worker_costs_its_part_and_no_byte(readers: Readers, posts: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(done: int, _of: int) -> None:
        if done and not killed:
            killed.extend(actors(os.getpid()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    found = score_there(readers, posts, tmp_path / "there.parquet", kill)
    assert killed
    assert found.read_bytes() == score_here(posts, tmp_path / "here.parquet").read_bytes()


class StopError(Exception):
    """Ends a run in the middle."""


def stop(done: int, _of: int) -> None:
    if done >= 2 * PART:
        raise StopError


def test_either_engine_takes_up_what_the_other_was_stopped_in(
    readers: Readers, posts: Path, tmp_path: Path
) -> None:
    whole = score_here(posts, tmp_path / "whole.parquet").read_bytes()
    output = tmp_path / "out.parquet"
    said: list[int] = []
    with pytest.raises(StopError):
        score_here(posts, output, stop)
    assert len(list((tmp_path / "out.parquet.parts").glob("part-*"))) == 2
    assert score_there(readers, posts, output, lambda done, _of: said.append(done)).read_bytes() == whole
    assert said == [40, 60, 80, 100, 110]
    with pytest.raises(StopError):
        score_there(readers, posts, output, stop)
    assert len(list((tmp_path / "out.parquet.parts").glob("part-*"))) >= 2
    assert score_here(posts, output).read_bytes() == whole


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (
            b'{"post_id": "bad", "text": "\xff"}\n',
            "expected text in UTF-8, got invalid start byte at line 111",
        ),
        (b'{"post_id": "bad", "text": 7}\n', "text: expected text, got 7 at row 110"),
        (b'{"post_id": "bad", "te\n', "expected JSON, got .* at line 111"),
    ],
)
def test_a_bad_row_is_told_with_file_and_place_as_in_one_process(
    readers: Readers, posts: Path, tmp_path: Path, row: bytes, told: str
) -> None:
    with posts.open("ab") as file:
        file.write(row)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FeedError, match=f"posts.jsonl: {told}") as there:
        score_there(readers, posts, tmp_path / "out.parquet")
    with pytest.raises(FeedError) as here:
        score_here(posts, tmp_path / "out.parquet")
    assert str(there.value) == str(here.value)
    assert sorted(tmp_path.iterdir()) == before


def test_bad_rows_up_to_a_limit_are_left_out_and_listed_as_in_one_process(
    readers: Readers, tmp_path: Path
) -> None:
    posts = write_posts(tmp_path / "posts.jsonl", N)
    lines = posts.read_bytes().splitlines(keepends=True)
    lines[::30] = [b'{"post_id": "bad", "text": "\xff"}\n' for _ in lines[::30]]
    posts.write_bytes(b"".join(lines))
    scorer = FAST.scorer()
    assert scorer is not None
    chunked = in_chunks(one_by_one(scorer), CHUNK, lambda _done: None)
    options: dict[str, Any] = {"decided_by": LOCAL, "rows_per_part": PART, "max_bad_rows": 4}
    here, there = tmp_path / "here.parquet", tmp_path / "there.parquet"
    assert score_posts(posts, here, chunked, **options) == 4
    assert score_posts_on(readers, posts, there, **options) == 4
    assert there.read_bytes() == here.read_bytes()
    assert bad_rows_beside(there).read_bytes() == bad_rows_beside(here).read_bytes()
    kept = tmp_path / "kept.parquet"
    with pytest.raises(FeedError, match=r"expected at most 3 bad rows, got more; the first is line 1 of"):
        score_posts_on(readers, posts, kept, **(options | {"max_bad_rows": 3}))
    assert not list(tmp_path.glob("kept*"))


@pytest.mark.parametrize("n_kept", [50, 100])
def test_a_file_that_changes_while_it_is_read_is_told(readers: Readers, tmp_path: Path, n_kept: int) -> None:
    posts = write_posts(tmp_path / "posts.jsonl", 100)  # whole parts alone: one row more is a part more
    lines = posts.read_text().splitlines(keepends=True)

    def change(done: int, _of: int) -> None:
        if not done:
            posts.write_text("".join([*lines[:n_kept], lines[0]]))

    told = "posts.jsonl: expected 100 posts as at the start, got another number: the file was changed"
    with pytest.raises(FeedError, match=told):
        score_there(readers, posts, tmp_path / "out.parquet", change)
    assert not (tmp_path / "out.parquet").exists()


def test_workers_that_read_in_another_precision_are_refused(
    readers: Readers, posts: Path, tmp_path: Path
) -> None:
    other = "float32" if readers.placement.precision == "bfloat16" else "bfloat16"
    with pytest.raises(
        PolicyError, match=f"expected workers that read on cpu in {other}, got one with cpu in"
    ):
        score_there(replace(readers, placement=Placement("cpu", other)), posts, tmp_path / "out.parquet")


def test_threads_are_shared_among_the_workers(session: RaySession) -> None:
    assert session.cpus == max(1, n_cores() // 2)

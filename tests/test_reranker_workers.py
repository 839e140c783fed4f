"""Several processes: the bytes of one, and one clear line when one of them or the whole run is stopped."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from models.device import Placement, n_cores, share_cores
from models.scores import Content
from reranker.chunks import in_chunks, one_by_one
from reranker.cli import main
from reranker.inputs import Reading
from reranker.load import LoadError
from reranker.policy import PolicyError
from reranker.stream import score_posts
from reranker.workers import Workers, check_workers
from tests.tiny import save_classifier

WORDS = ["the", "a", "you", "are", "this", "that", "good", "bad", "day", "kind", "rude", "thanks", "post"]
N, PART, CHUNK = 60, 20, 7
CPU = Placement("cpu", "float32")
FAST = ("--speed", "fast")  # where what is read matters little: its processes start without torch
COMMAND = """
import signal
from reranker.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
main()
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("tiny"), WORDS, ("toxicity", "humor"))


def write_posts(path: Path, n: int) -> Path:
    """n posts of up to 40 words, some without text, some equal to others."""
    rng = np.random.default_rng(0)
    texts = [None if i % 11 == 0 else " ".join(rng.choice(WORDS, rng.integers(1, 40))) for i in range(n)]
    rows = [{"post_id": f"p{i}", "text": texts[i // 2 if i % 5 == 0 else i]} for i in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def workers(tiny: Path) -> Iterator[Workers]:
    with closing(Workers(Reading(str(tiny), device="cpu"), 2)) as running:
        yield running


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.mark.skipif(n_cores() < 2, reason="needs two cores")
def test_two_processes_write_the_bytes_of_one(tiny: Path, tmp_path: Path) -> None:
    posts = write_posts(tmp_path / "posts.jsonl", 1800)  # four chunks of a part
    outputs = [tmp_path / "one.parquet", tmp_path / "two.parquet"]
    for n, output in enumerate(outputs, start=1):
        assert exit_code("score", posts, "--model", tiny, "--workers", n, "-o", output) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_a_run_with_a_killed_worker_is_taken_up_and_gives_the_same_bytes(
    tiny: Path, tmp_path: Path, workers: Workers
) -> None:
    posts = write_posts(tmp_path / "posts.jsonl", N)
    scorer = Reading(str(tiny), device="cpu").scorer()
    assert scorer is not None
    alone = in_chunks(one_by_one(scorer), CHUNK, lambda _done: None)
    score_posts(posts, tmp_path / "whole.parquet", alone, rows_per_part=PART)

    def kill_one(done: int, _of: int) -> None:
        if done == 2 * PART:
            multiprocessing.active_children()[0].kill()

    output = tmp_path / "killed.parquet"
    together = in_chunks(workers.score_chunks, CHUNK, lambda _done: None)
    with pytest.raises(ChildProcessError, match=r"got one that ended with -9 .* the same command goes on"):
        score_posts(posts, output, together, rows_per_part=PART, on_rows=kill_one)
    assert len(list((tmp_path / "killed.parquet.parts").glob("part-*.parquet"))) == 2
    score_posts(posts, output, alone, rows_per_part=PART)
    assert output.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


@pytest.mark.skipif(n_cores() < 2, reason="needs two cores")
def test_a_killed_worker_is_one_line_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill_both() -> None:
        while len(running := multiprocessing.active_children()) < 2:
            time.sleep(0.01)
        for process in running:
            process.kill()

    killer = threading.Thread(target=kill_both)
    killer.start()
    posts = write_posts(tmp_path / "posts.jsonl", N)
    arguments = ("score", posts, *FAST, "-o", tmp_path / "out.parquet")
    assert exit_code(*arguments, "--workers", 2) == 2
    killer.join()
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("reranker: --workers: expected processes that run to the end")
    assert not multiprocessing.active_children()
    assert exit_code(*arguments) == 0


@pytest.mark.skipif(n_cores() < 2, reason="needs two cores")
@pytest.mark.parametrize(
    ("sent", "to_all", "code"), [(signal.SIGINT, True, 130), (signal.SIGKILL, False, -9)]
)
def test_a_stopped_run_leaves_no_process_and_does_not_go_on_elsewhere(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sent: signal.Signals,
    to_all: bool,
    code: int,
) -> None:
    posts, output = write_posts(tmp_path / "posts.jsonl", 20_000), tmp_path / "out.parquet"
    arguments = ["score", str(posts), *FAST, "-o", str(output)]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--workers", "2"],
        cwd=Path.cwd(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 300
        while not (tmp_path / "out.parquet.parts" / "state.json").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        (os.killpg if to_all else os.kill)(process.pid, sent)
        _, said = process.communicate(timeout=300)  # ends when no process holds the pipe any more
    assert process.returncode == code
    stopped = "reranker: stopped; the same command goes on where this run stood"
    assert said.strip().splitlines() == ([stopped] if sent == signal.SIGINT else [])
    state = tmp_path / "out.parquet.parts" / "state.json"
    state.write_text(state.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    assert exit_code(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "got another device (cuda before, cpu now)" in line


def test_what_is_wrong_with_a_model_is_told_as_in_one_process(tmp_path: Path) -> None:
    with (
        closing(Workers(Reading(str(tmp_path / "none"), device="cpu"), 1)) as running,
        pytest.raises(LoadError, match="none: expected a classifier"),
    ):
        next(running.score_chunks([Content.of_texts([])]))


def test_only_as_many_processes_as_cores_and_one_on_another_device() -> None:
    check_workers(1, Placement("cuda:1", "bfloat16"))
    check_workers(n_cores(), CPU)
    for n in (0, -1, n_cores() + 1):
        with pytest.raises(PolicyError, match=rf"--workers: expected 1 to {n_cores()}, .* got {n}"):
            check_workers(n, CPU)
    if n_cores() > 1:
        with pytest.raises(PolicyError, match="--workers: expected 1 on cuda, got 2"):
            check_workers(2, Placement("cuda", "bfloat16"))


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    for name in names:
        monkeypatch.setenv(name, "99")
    share_cores(2 * n_cores())
    assert {os.environ[name] for name in names} == {"1"}
    share_cores(1)
    assert {os.environ[name] for name in names} == {str(n_cores())}

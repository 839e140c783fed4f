"""Ray on one machine: a command that is killed, and a cluster that is joined by its address.

    make test-cluster

Not part of the normal suite, as each takes half a minute.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.test_reranker_ray_scoring import (
    CHUNK,
    LOCAL,
    PART,
    N,
    StopError,
    actors,
    score_here,
    stop,
)
from tests.test_reranker_workers import write_posts

pytest.importorskip("ray", reason="needs the extra cluster")

DRIVER = """
import sys, time
from pathlib import Path
from reranker.inputs import Reading
from reranker.ray_scoring import Readers, score_posts_on
from reranker.ray_session import ray_session

def slowly(done, of):
    time.sleep(0.5)

with ray_session(n_workers=1) as session:
    reading = Reading(speed="fast")
    readers = Readers(session, reading, reading.placement(), {chunk})
    paths = map(Path, sys.argv[1:])
    score_posts_on(readers, *paths, decided_by={decided}, rows_per_part={part}, on_rows=slowly)
"""


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    return write_posts(tmp_path / "posts.jsonl", N)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs the process list of Linux")
def test_a_killed_driver_leaves_no_worker_and_whole_parts_that_count(posts: Path, tmp_path: Path) -> None:
    output, parts = tmp_path / "out.parquet", tmp_path / "out.parquet.parts"
    script = DRIVER.format(chunk=CHUNK, part=PART, decided=LOCAL)
    with subprocess.Popen(
        [sys.executable, "-c", script, posts, output], cwd=Path.cwd(), stdout=subprocess.DEVNULL
    ) as driver:
        deadline = time.monotonic() + 300
        while not (parts / "part-00001.parquet").exists():
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        below = actors(driver.pid)
        driver.send_signal(signal.SIGKILL)
    assert below
    while any(Path(f"/proc/{pid}").exists() for pid in below):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not output.exists()
    kept = {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}
    assert len(kept) >= 2
    with pytest.raises(StopError):  # before anything is scored: the parts are those of the killed run
        score_here(posts, output, stop)
    assert {path.name: path.stat().st_mtime_ns for path in parts.glob("part-*")}.items() >= kept.items()
    whole = score_here(posts, tmp_path / "whole.parquet").read_bytes()
    assert score_here(posts, output).read_bytes() == whole


def run_command(*arguments: object) -> tuple[int, str]:
    """In a process of its own, which may join another Ray than this one's."""
    command = [sys.executable, "-c", "from reranker.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, cwd=Path.cwd(), capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stderr.strip()


def test_a_cluster_is_joined_by_its_address_unless_its_workers_have_another_version(
    posts: Path, tmp_path: Path
) -> None:
    shadow = tmp_path / "shadow"
    about = shadow / "harm_aware_reranker-9.9.9.dist-info" / "METADATA"
    about.parent.mkdir(parents=True)
    about.write_text("Metadata-Version: 2.1\nName: harm-aware-reranker\nVersion: 9.9.9\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = Path(sys.executable).with_name("ray")
    options = [f"--port={port}", "--num-cpus=2", "--include-dashboard=false", "--node-ip-address=127.0.0.1"]
    environment = os.environ | {
        "PYTHONPATH": str(shadow),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    ours = re.escape(version("harm-aware-reranker"))
    arguments = ("score", posts, "--speed", "fast", "-o", tmp_path / "there.parquet")
    cluster = ("--engine", "ray", "--address", f"127.0.0.1:{port}", "--workers", 1)
    with subprocess.Popen(
        [ray, "start", "--head", "--block", "--object-store-memory=100000000", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as head:
        try:
            assert head.stdout is not None
            assert any("Ray runtime started" in line for line in head.stdout)
            code, said = run_command(*arguments, *cluster)
            expected = rf"expected harm-aware-reranker {ours} on [\d.]+ as here, got 9.9.9"
            assert code == 2
            assert re.fullmatch(rf"reranker: 127.0.0.1:{port}: {expected}", said)
            assert not (tmp_path / "there.parquet.parts").exists()
            about.unlink()
            about.parent.rmdir()
            assert run_command(*arguments, *cluster) == (0, "")
        finally:
            head.terminate()
    assert run_command(*arguments[:-1], tmp_path / "here.parquet")[0] == 0
    assert (tmp_path / "there.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()

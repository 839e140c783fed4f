"""A cluster of two machines, one of which is lost in mid-run: the bytes of a run on one machine.

    make test-cluster

Not part of the normal suite: it needs root on Linux, and a minute or two.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reranker.impression_files import write_impressions
from tests.cluster.evaluate import evaluate
from tests.cluster.hosts import PORT, environment, two_hosts, why_not
from tests.logs import log_of

ROOT = Path(__file__).resolve().parents[2]
N_FILES, LOST_AFTER, WITHIN_S = 24, 6, 240.0
N_POSTS = 5 * 8_192  # as many parts


@pytest.fixture(scope="module", autouse=True)
def permitted() -> None:
    """Skips with a reason where there can be no such machines."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    if reason := why_not():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with logs, and what an evaluation on this machine alone makes of them."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "logs").mkdir()
    for k in range(N_FILES):
        write_impressions([log_of(40, first=40 * k)], folder / "logs" / f"{k:02d}.parquet")
    evaluate(folder, None)
    return folder


@pytest.mark.parametrize("loss", ["the power is cut", "the cable is pulled", "nothing is lost"])
def test_two_machines_of_which_one_is_lost_give_the_bytes_of_one(
    loss: str, local: Path, tmp_path: Path
) -> None:
    shutil.copytree(local / "logs", tmp_path / "logs", copy_function=shutil.copy2)
    env = environment(tmp_path)
    with two_hosts(tmp_path, env) as (head, worker):
        command = [sys.executable, "-m", "tests.cluster.evaluate", str(tmp_path), f"{head.address}:{PORT}"]
        with (tmp_path / "driver.log").open("wb") as log:
            driver = subprocess.Popen(head.command(*command), cwd=ROOT, env=env, stdout=log, stderr=log)
        try:
            wait_for(tmp_path, driver, LOST_AFTER)
            before = ran(tmp_path)
            if loss == "the power is cut":
                worker.end()
            elif loss == "the cable is pulled":
                worker.unplug()
            said = finished(tmp_path, driver)
        finally:
            driver.kill()
            driver.wait()
        assert {head.name, worker.name} == set(before), f"expected both to work, got {before}"
        assert (tmp_path / "all").read_bytes() == (local / "all").read_bytes(), said
        again = sum(len(one.read_text().split()) for one in (tmp_path / "ran").iterdir()) - N_FILES
        # the first is read by the driver as well; what was in hand, one a core, is done again
        assert again <= (1 if loss == "nothing is lost" else 3), f"expected little done twice, got {again}"


def test_scoring_by_two_machines_of_which_one_is_lost_gives_the_bytes_of_one(tmp_path: Path) -> None:
    posts = tmp_path / "posts.parquet"
    texts = [f"you are all {'idiots' if i % 7 else 'kind'} number {i}" for i in range(N_POSTS)]
    pq.write_table(pa.table({"post_id": [f"p{i}" for i in range(N_POSTS)], "text": texts}), posts)
    env = environment(tmp_path)
    score = [sys.executable, "-m", "reranker.cli", "score", str(posts), "--speed", "fast", "--device", "cpu"]
    subprocess.run([*score, "-o", str(tmp_path / "local.parquet")], cwd=ROOT, check=True, capture_output=True)
    with two_hosts(tmp_path, env) as (head, worker):
        command = [*score, "-o", str(tmp_path / "ray.parquet"), "--engine", "ray"]
        with (tmp_path / "driver.log").open("wb") as log:
            driver = subprocess.Popen(
                head.command(*command, "--address", f"{head.address}:{PORT}"),
                cwd=ROOT,
                env=env,
                stdout=log,
                stderr=log,
            )
        try:
            until = time.monotonic() + WITHIN_S
            while not list((tmp_path / "ray.parquet.parts").glob("part-*")):
                assert driver.poll() is None, (tmp_path / "driver.log").read_text(errors="replace")
                assert time.monotonic() < until, (tmp_path / "driver.log").read_text(errors="replace")
                time.sleep(0.05)
            worker.end()
            finished(tmp_path, driver)
        finally:
            driver.kill()
            driver.wait()
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


def ran(folder: Path) -> list[str]:
    """The machines that partitions were read on."""
    return [host for one in (folder / "ran").iterdir() for host in one.read_text().split()]


def wait_for(folder: Path, driver: "subprocess.Popen[bytes]", n: int) -> None:
    """Until so many partitions are done."""
    until = time.monotonic() + WITHIN_S
    while str(n) not in (folder / "driver.log").read_text(errors="replace").split():
        assert driver.poll() is None, (folder / "driver.log").read_text(errors="replace")
        assert time.monotonic() < until, (folder / "driver.log").read_text(errors="replace")
        time.sleep(0.05)


def finished(folder: Path, driver: "subprocess.Popen[bytes]") -> str:
    """What the driver said, once it ended well."""
    code = driver.wait(WITHIN_S)
    said = (folder / "driver.log").read_text(errors="replace")
    assert code == 0, said
    return said

"""Evaluations run by the workers of Ray: the bytes of a run in one process, whatever becomes of a worker."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from eval.packed import Taken, packed_partitions
from eval.partitioned import evaluate_on
from eval.simulate.impressions import impression_log
from eval.simulate.testbed import angry_zero, logged
from eval.slates import Metrics, PackedRequests, weight_policies
from eval.stored import to_bytes
from reranker.cli import main
from reranker.columns import FeedError
from reranker.impression_files import write_impressions
from reranker.ray_session import RaySession, ray_session
from tests.logs import log_of

pytest.importorskip("ray", reason="needs the extra cluster")

N_FILES = 6
TAKEN = Taken(("country", ("MM", "other")), {"publisher": {0: 0.3, 2: 2.0}})
METRICS = Metrics((1.0, 0.8, 0.5), segments=("MM", "other"), n_resamples=20)
POLICIES = weight_policies({"old": {"like": 1.0, "angry": 5.0}, "new": {"like": 1.0}}, ("like", "angry"), 1)
SETTING = (POLICIES, METRICS)


@pytest.fixture(scope="module")
def session() -> Iterator[RaySession]:
    with ray_session(n_workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    for k in range(N_FILES):
        write_impressions([log_of(40, first=40 * k)], folder / f"{k}.parquet")
    return folder


@pytest.fixture(scope="module")
def local(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    parts = tmp_path_factory.mktemp("local") / "parts"
    return to_bytes(evaluate_on(None, packed_partitions([logs], TAKEN), SETTING, parts))


def test_workers_give_the_bytes_of_one_process(
    session: RaySession, logs: Path, local: bytes, tmp_path: Path
) -> None:
    said: list[tuple[int, int]] = []
    partitions = packed_partitions([logs], TAKEN)
    found = evaluate_on(
        session, partitions, SETTING, tmp_path / "parts", on_done=lambda *counts: said.append(counts)
    )
    assert to_bytes(found) == local
    assert said == [(done, N_FILES) for done in range(N_FILES + 1)]


def test_a_run_begun_here_is_finished_by_workers(
    session: RaySession, logs: Path, local: bytes, tmp_path: Path
) -> None:
    partitions, said = packed_partitions([logs], TAKEN), list[int]()
    evaluate_on(None, partitions, SETTING, tmp_path / "parts")
    kept = tmp_path / "parts" / "part-000000.statistics"
    before = kept.stat().st_mtime_ns
    for lost in (1, 4):
        (tmp_path / "parts" / f"part-{lost:06d}.statistics").unlink()
    found = evaluate_on(
        session, partitions, SETTING, tmp_path / "parts", on_done=lambda done, _of: said.append(done)
    )
    assert to_bytes(found) == local
    assert said == [N_FILES - 2, N_FILES - 1, N_FILES]
    assert kept.stat().st_mtime_ns == before


@dataclass(frozen=True)
class DeadlyOnce:
    """Kills the process that reads the partition, the first time."""

    load: Callable[[], PackedRequests]
    mark: Path

    def __call__(self) -> PackedRequests:
        try:
            self.mark.touch(exist_ok=False)
        except FileExistsError:
            return self.load()
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


def test_killed_workers_cost_their_partition_and_change_no_byte(
    session: RaySession, logs: Path, local: bytes, tmp_path: Path
) -> None:
    partitions = packed_partitions([logs], TAKEN)
    for k in (2, 5):
        partitions[k] = replace(partitions[k], load=DeadlyOnce(partitions[k].load, tmp_path / f"died{k}"))
    found = evaluate_on(session, partitions, SETTING, tmp_path / "parts")
    assert (tmp_path / "died2").exists()
    assert (tmp_path / "died5").exists()
    assert to_bytes(found) == local


def damaged(parquet: bytes) -> bytes:
    """A file whose footer is whole and whose data are not."""
    footer = int.from_bytes(parquet[-8:-4], "little") + 8
    return b"\xff" * (len(parquet) - footer) + parquet[-footer:]


@pytest.mark.parametrize("engine", ["here", "ray"])
def test_a_broken_file_is_one_error_that_names_it(
    engine: str, session: RaySession, logs: Path, tmp_path: Path
) -> None:
    for file in logs.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    partitions = packed_partitions([tmp_path], TAKEN)
    broken = tmp_path / "3.parquet"
    content = broken.read_bytes()
    broken.write_bytes(damaged(content))
    with pytest.raises(FeedError, match=r"3\.parquet: expected a whole parquet file, got "):
        evaluate_on(session if engine == "ray" else None, partitions, SETTING, tmp_path / "parts")
    assert (tmp_path / "parts" / "part-000002.statistics").exists()
    broken.write_bytes(content[:-100])
    with pytest.raises(FeedError, match=r"3\.parquet: "):
        packed_partitions([tmp_path], TAKEN)


def test_a_file_with_other_predictions_is_refused_by_name(tmp_path: Path) -> None:
    write_impressions([log_of()], tmp_path / "a.parquet")
    log = log_of(first=100)
    write_impressions([replace(log, p_action={"like": log.p_action["like"]})], tmp_path / "b.parquet")
    with pytest.raises(
        FeedError, match=r"b\.parquet: expected .*p_angry.* as in .*a\.parquet, got user, p_like"
    ):
        packed_partitions([tmp_path])


def test_no_partition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="partitions: expected at least one, got none"):
        evaluate_on(None, [], SETTING, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of a logger that draws, as `reranker audit compare` reads them."""
    folder = tmp_path_factory.mktemp("served")
    log = impression_log(logged(300, 2, 0.8, 4))
    log = replace(log, action={"like": log.action["like"]})
    for k, rows in enumerate(np.array_split(np.arange(log.n), 3)):
        write_impressions([log.take(rows)], folder / f"{k}.parquet")
    return folder


def compare(logs: Path, output: Path, *options: str) -> int:
    weights = ",".join(f"{name}={weight:g}" for name, weight in angry_zero().items())
    policies = ["--original", "logger", "--treatment", weights, "--scale", "log"]
    with pytest.raises(SystemExit) as found:
        main(["audit", "compare", str(logs), *policies, "-o", str(output), *options])
    return int(found.value.code or 0)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_comparison_of_logs_by_workers_writes_the_bytes_of_one_process(
    session: RaySession, served: Path, tmp_path: Path
) -> None:
    assert session.n_workers == 2
    assert compare(served, tmp_path / "here") == 0
    assert compare(served, tmp_path / "workers", "--engine", "ray") == 0
    assert "logged.json" in contents(tmp_path / "here")
    assert contents(tmp_path / "workers") == contents(tmp_path / "here")


def test_a_comparison_that_meets_a_broken_file_names_it_and_leaves_what_stood(
    session: RaySession, served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert session.n_workers == 2
    (tmp_path / "logs").mkdir()
    for file in served.iterdir():
        (tmp_path / "logs" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "logged.json").write_text("earlier")
    broken = tmp_path / "logs" / "1.parquet"
    broken.write_bytes(damaged(broken.read_bytes()))
    assert compare(tmp_path / "logs", tmp_path / "out", "--engine", "ray") == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert "1.parquet: expected a whole parquet file, got " in told[-1]
    assert contents(tmp_path / "out") == {"logged.json": b"earlier"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--engine", "spark"), "--engine: expected local or ray, got 'spark'"),
        (("--address", "10.0.0.1:6379"), "--address: expected --engine ray beside it, got --engine local"),
        (
            ("--engine", "ray", "--address", "127.0.0.1:1"),
            "--address: expected a cluster at 127.0.0.1:1, got ",
        ),
    ],
)
def test_an_engine_that_is_not_there_is_one_line(
    options: tuple[str, ...], message: str, served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(served, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()

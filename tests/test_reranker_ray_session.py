"""Maps over the workers of Ray: results in order, whoever is killed, and one line where no cluster is."""

import itertools
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.device import n_cores
from reranker.cli import main
from reranker.columns import FeedError
from reranker.ray_session import RaySession, ray_session

ray = pytest.importorskip("ray", reason="needs the extra cluster")


@pytest.fixture(scope="module")
def session() -> Iterator[RaySession]:
    with ray_session(n_workers=2) as opened:
        yield opened


def dies_once(marker: Path, item: int) -> int:
    """The item; whoever computes 3 for the first time is killed."""
    if item == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_results_come_in_the_order_of_the_items(session: RaySession) -> None:
    def late(item: int) -> int:
        time.sleep(0.1 * (item % 3 == 0))
        return item

    assert list(session.map(late, range(9))) == list(range(9))
    assert list(session.map_with(int, lambda state, item: state + late(item), range(9))) == list(range(9))
    assert list(session.map(late, [])) == list(session.map_with(int, lambda _state, item: item, [])) == []


def test_no_more_than_two_items_per_worker_are_begun_and_not_given_out(session: RaySession) -> None:
    for call in (
        lambda items: session.map(abs, items),
        lambda items: session.map_with(int, lambda _state, item: abs(item), items),
    ):
        drawn = itertools.count()
        for given, _ in enumerate(call(next(drawn) for _ in range(20))):
            assert int(repr(drawn)[6:-1]) - given <= 2 * session.n_workers


def test_an_item_whose_process_was_killed_runs_again(session: RaySession, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert list(session.map(lambda item: dies_once(first, item), range(6))) == list(range(6))
    found = session.map_with(int, lambda state, item: state + dies_once(second, item), range(6))
    assert list(found) == list(range(6))
    assert first.exists()
    assert second.exists()


def test_a_process_that_dies_at_its_start_is_replaced(session: RaySession, tmp_path: Path) -> None:
    made = session.map_with(
        lambda: dies_once(tmp_path / "marker", 3), lambda state, item: state + item, [1, 2]
    )
    assert list(made) == [4, 5]
    assert (tmp_path / "marker").exists()


def test_what_is_lost_again_and_again_is_one_error(session: RaySession) -> None:
    def die(_item: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    expected = "--engine ray: expected workers that run to the end, got .*the same command goes on"
    with pytest.raises(ChildProcessError, match=expected):
        list(session.map(die, [0], retries=0))
    with pytest.raises(ChildProcessError, match=expected):
        list(session.map_with(int, lambda _state, item: die(item), [0], retries=1))
    with pytest.raises(ChildProcessError, match=expected):
        list(session.map_with(lambda: die(0), lambda _state, item: item, [0], retries=0))


def test_an_exception_comes_as_it_is_and_is_not_tried_again(session: RaySession, tmp_path: Path) -> None:
    def bad(item: int) -> int:
        with (tmp_path / "tries").open("a") as file:
            file.write("x")
        raise FeedError(f"posts.jsonl: bad row {item}")

    seen = []
    for call in (
        lambda: session.map(bad, [7]),
        lambda: session.map_with(int, lambda _state, item: bad(item), [7]),
        lambda: session.map_with(lambda: bad(7), lambda _state, item: item, [7]),
    ):
        with pytest.raises(FeedError, match=r"^posts.jsonl: bad row 7$") as raised:
            list(call())
        assert type(raised.value) is FeedError
        seen.append(raised.value)  # it keeps what its frames knew, which must not keep a process
    assert (tmp_path / "tries").read_text() == "xxx"
    until = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < ray.cluster_resources()["CPU"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(seen) == 3


def test_a_process_makes_its_state_once_and_has_its_share_of_the_cores(session: RaySession) -> None:
    def make() -> tuple[int, str]:
        return time.monotonic_ns(), os.environ["OMP_NUM_THREADS"]

    states = list(session.map_with(make, lambda state, _item: state, range(12)))
    assert len(set(states)) <= 2
    assert {threads for _, threads in states} == {str(max(1, n_cores() // 2))}


def test_a_session_of_this_process_is_shared_and_stays_open(session: RaySession) -> None:
    with ray_session(n_workers=1) as inner:
        assert inner.n_workers == 1
        assert inner.cpus >= session.cpus
        assert list(inner.map(abs, [-1])) == [1]
    assert list(session.map(abs, [-2])) == [2]


@pytest.mark.parametrize("n", [0, 10_000])
def test_only_as_many_workers_as_cores(session: RaySession, n: int) -> None:
    with (
        pytest.raises(FeedError, match=rf"--workers: expected 1 to \d+, the cores that Ray has, got {n}"),
        ray_session(n_workers=n),
    ):
        pass
    assert session.n_workers == 2


def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("cluster", "ray://127.0.0.1:10001", ":6379", "127.0.0.1:x"):
        with (
            pytest.raises(FeedError, match="--address: expected HOST:PORT or auto, got"),
            ray_session(address),
        ):
            pass
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(FeedError, match=rf"--address: expected a cluster at 127.0.0.1:{port}, got .*refused"),
        ray_session(f"127.0.0.1:{port}"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(
            FeedError, match=r"expected Ray, found none; pip install 'harm-aware-reranker\[cluster\]'"
        ),
        ray_session(),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--address", "127.0.0.1:6379"], "--address: expected --engine ray beside it, got --engine local"),
        (["--engine", "spark"], "--engine: expected local or ray, got 'spark'"),
        (["--engine", "ray", "--cache", "c"], "--cache: expected --engine local beside it, got --engine ray"),
        (["--engine", "ray", "--address", "x"], "--address: expected HOST:PORT or auto, got 'x'"),
        (["--engine", "ray", "--workers", "0"], "--workers: expected 1 to"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(
    session: RaySession, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    posts = tmp_path / "posts.csv"
    posts.write_text("post_id,text\na,b\n")
    with pytest.raises(SystemExit) as stopped:
        main(["score", str(posts), "-o", str(tmp_path / "out.parquet"), "--speed", "fast", *options])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"reranker: {told}")
    assert list(tmp_path.iterdir()) == [posts]
    assert list(session.map(abs, [-1])) == [1]


def test_what_is_not_needed_any_more_is_stopped(session: RaySession, tmp_path: Path) -> None:
    def beat(path: Path) -> int:
        while True:
            path.touch()
            time.sleep(0.05)

    path = tmp_path / "beat"
    begun = session.map_with(int, lambda _state, item: beat(path) if item else item, [0, 1])
    assert next(begun) == 0
    waited = threading.Event()
    while not path.exists():
        waited.wait(0.05)
    begun.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path.unlink(missing_ok=True)
        waited.wait(0.5)
        if not path.exists():
            return
    pytest.fail("a process went on after its results were no longer wanted")

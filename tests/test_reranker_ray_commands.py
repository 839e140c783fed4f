"""Commands that read texts or run worlds on the workers of Ray: the files of one process."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reranker.cli import main
from reranker.feed import Feed
from reranker.ray_session import RaySession, ray_session
from reranker.sample import make_sample
from reranker.writing import write_feed

pytest.importorskip("ray", reason="needs the extra cluster")

N_REQUESTS = 150


@pytest.fixture(scope="module")
def session() -> Iterator[RaySession]:
    with ray_session(n_workers=2) as opened:
        yield opened


@pytest.fixture(scope="module")
def feeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some requests of the sample, with more distinct texts than a chunk has."""
    sample: Feed = make_sample()
    path = tmp_path_factory.mktemp("feeds") / "feeds.parquet"
    write_feed(replace(sample.take(np.arange(N_REQUESTS)), interactions=None), path)
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def contents(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("rank", ("--speed", "fast")),
        ("compare", ("--treatment", "harm-aware", "--truth", "is_toxic", "--speed", "fast")),
        (
            "frontier",
            ("--trials", 10, "--max-loss", "activity=0.5", "--speed", "fast"),
        ),
    ],
)
def test_a_command_that_reads_texts_writes_the_bytes_of_one_process(
    session: RaySession, feeds: Path, tmp_path: Path, command: str, options: tuple[object, ...]
) -> None:
    assert session.n_workers == 2
    found = {}
    for engine in ("local", "ray"):
        output = tmp_path / f"{engine}{'.parquet' if command == 'rank' else ''}"
        assert run(command, feeds, "-o", output, *options, "--engine", engine) == 0
        found[engine] = contents(output)
    assert found["ray"] == found["local"]
    assert found["local"]


def test_worlds_are_the_same_on_workers(session: RaySession, tmp_path: Path) -> None:
    assert session.n_workers == 2
    small = ("--weeks", 1, "--users", 30, "--seeds", 2)
    for engine in ("local", "ray"):
        assert run("simulate", *small, "-o", tmp_path / engine, "--engine", engine) == 0
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.parametrize("command", ["rank", "compare", "frontier", "simulate"])
def test_an_address_without_its_engine_is_one_line(
    command: str, feeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = () if command == "simulate" else (feeds,)
    assert run(command, *given, "-o", tmp_path / "out", "--address", "10.0.0.1:6379") == 2
    told = "reranker: --address: expected --engine ray beside it, got --engine local"
    assert capsys.readouterr().err.strip() == told
    assert not (tmp_path / "out").exists()

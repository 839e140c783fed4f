import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from reranker.columns import FeedError
from reranker.plan_command import plan, said_bytes
from reranker.policy import PolicyError

ROOT = Path(__file__).parent.parent
app = typer.Typer()
app.command()(plan)


def test_the_table_names_what_dominates_and_what_is_extrapolated() -> None:
    done = CliRunner().invoke(
        app, ["--impressions-per-day", "1e10", "--candidates", "200", "--policies", "8"]
    )
    assert done.exit_code == 0, done.output
    assert "dominates: score texts (default)" in done.output
    assert "extrapolated" in done.output
    assert "GPUs to score texts: not measured: run python benchmarks/gpu.py" in done.output


def test_json_has_the_same_numbers_and_the_gpus_of_a_rate_that_is_given() -> None:
    arguments = ["--impressions-per-day", "1e8", "--posts-per-day", "1e7", "--speed", "fast", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--gpu-posts-per-s", "500"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["traffic"]["speed"] == "fast"
    assert found["core_hours"] == pytest.approx(sum(stage["core_hours"] for stage in found["stages"]))
    assert found["gpus"]["needed"] == 1
    assert {stage["basis"] for stage in found["stages"]} <= {"measured", "extrapolated", "assumed"}


def test_what_cannot_be_is_refused() -> None:
    for arguments, kind, message in (
        (["--impressions-per-day", "-1"], FeedError, "expected a number above 0, got -1"),
        (["--impressions-per-day", "1e6", "--speed", "medium"], PolicyError, "--speed: expected one of"),
        (["--impressions-per-day", "1e6", "--rates", "nowhere.toml"], FileNotFoundError, "nowhere.toml"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert isinstance(done.exception, kind)
        assert message in str(done.exception)


def test_bytes_are_said_by_thousands() -> None:
    assert [said_bytes(n) for n in (0.0, 999.0, 1500.0, 2.5e12, 3e21)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 TB",
        "3e+03 EB",
    ]


def test_the_benchmark_of_a_gpu_runs_on_a_cpu(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--device", "cpu", "--n", "8"]
    command += ["--tokens", "16", "--candidates", "2000", "--gemm", "128", "--repeats", "1"]
    done = subprocess.run(
        [*command, "--output", str(output)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "posts, text to score" in done.stdout
    found = json.loads(output.read_text("utf-8"))
    assert found["classifier"]["tokens"] == pytest.approx(16, abs=1)
    assert found["ranking"]["float64"]["largest_difference"] <= 1e-6

"""`reranker audit compare`: a table and a file for a log that can say, one line for what is no log."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from eval.margins import load_margins
from eval.simulate.impressions import impression_log
from eval.simulate.testbed import WEIGHTS, logged
from reranker.cli import main
from reranker.impression_files import write_impressions
from reranker.impressions import ImpressionLog

NOW = ",".join(f"{name}={weight:g}" for name, weight in WEIGHTS.items())
ZERO = NOW.replace("angry=5", "angry=0")


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as found:
        main(arguments)
    return int(found.value.code or 0)


def small_log() -> ImpressionLog:
    log = impression_log(logged(1_300, 2, 0.8, 4))
    return dataclasses.replace(log, action={"like": log.action["like"]})


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files, as a product writes them: predictions of single precision."""
    folder = tmp_path_factory.mktemp("logs")
    log = small_log()
    write_impressions([log.take(np.arange(1_000))], folder / "a.parquet")
    write_impressions([log.take(np.arange(1_000, log.n))], folder / "b.parquet")
    return folder


def compare(logs: Path, output: Path, *options: str, original: str = NOW, treatment: str = ZERO) -> int:
    policies = ["--original", original, "--treatment", treatment]
    return run(["audit", "compare", str(logs), *policies, "--scale", "log", "-o", str(output), *options])


def test_a_comparison_prints_a_table_and_writes_a_file(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert compare(logs, tmp_path / "out", "--planned-margins", load_margins().digest) == 0
    out = capsys.readouterr().out
    assert "2,600 requests of 1,300 users identify what" in out
    assert "posts viewed per request" in out
    assert "were not fixed in a plan" not in out
    found = json.loads((tmp_path / "out" / "logged.json").read_text())
    assert (found["schema"], found["status"], found["served_by"]) == (1, "IDENTIFIED", "original")
    rows = {(row["metric"], row["level"]): row for row in found["rows"]}
    harm = rows["harm_views.any_harm", "L1"]
    assert harm["interval"][1] < 0
    assert harm["status"] == "IDENTIFIED"
    assert harm["config_digest"] == found["digest"]
    assert rows["harm_prevalence.any_harm", "L0"]["estimate"]["value"] < 0
    needed = {"metric", "level", "policy", "baseline", "method", "status", "n_requests", "n_users"}
    assert all(needed <= set(row) for row in found["rows"])
    decision = rows["positive_activity", "L1"]["decision"]
    assert ("unaffected" in out) == (decision == "EQUIVALENT")


def test_one_policy_twice_is_exactly_nothing(logs: Path, tmp_path: Path) -> None:
    assert compare(logs, tmp_path / "out", original="logger", treatment=NOW) == 0
    found = json.loads((tmp_path / "out" / "logged.json").read_text())
    assert (found["status"], found["served_by"]) == ("IDENTIFIED", "both")
    assert {row["status"] for row in found["rows"]} == {"IDENTIFIED"}
    assert {row["estimate"]["value"] for row in found["rows"]} == {0.0}
    assert {tuple(row["interval"]) for row in found["rows"]} == {(0.0, 0.0)}


def test_a_log_that_cannot_say_is_told_so_with_what_would_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = small_log()
    blind = dataclasses.replace(
        log, log_prefix_propensity=np.full(log.n_slots, np.nan), viewed=None, p_action=dict(log.p_action)
    )
    write_impressions([blind], tmp_path / "log.parquet")
    assert compare(tmp_path / "log.parquet", tmp_path / "out") == 0
    out = capsys.readouterr().out
    assert "cannot say what" in out
    assert "What would mend it: log the propensity of every prefix" in " ".join(out.split())
    found = json.loads((tmp_path / "out" / "logged.json").read_text())
    assert found["reasons"] == ["PROPENSITY_MISSING"]
    assert {row["status"] for row in found["rows"]} == {"REFUSED"}
    assert all(row["estimate"] is row["interval"] is row["original"] is None for row in found["rows"])
    assert "unaffected" not in out


def test_what_cannot_be_compared_is_one_line(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*options: str, original: str = NOW, treatment: str = ZERO) -> str:
        assert compare(logs, tmp_path / "out", *options, original=original, treatment=treatment) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert not (tmp_path / "out").exists()
        return captured.err

    assert "relationship" in refused(treatment="fb-2018-h1")
    assert 'policy "nobody": expected a preset' in refused(treatment="nobody")
    assert "weights.likes: expected a prediction that was logged" in refused(treatment="likes=1")
    assert "--scale: expected linear or log, got 'cubic'" in refused("--scale", "cubic")
    assert "temperature: expected a finite number" in refused("--temperature", "-1")
    (tmp_path / "margins.toml").write_text("schema = 2\n")
    assert "margins.toml: schema: expected 1, got 2" in refused("--margins", str(tmp_path / "margins.toml"))

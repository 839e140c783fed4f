"""`fit-weights feedback`: from a file to an overlay that ranks, or one message and no file."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from reranker.columns import FeedError
from reranker.fit_feedback_command import feedback
from reranker.presets import load_policy
from training.feedback_synthetic import feedback_to_arrow, synthetic_feedback, usual_design

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(feedback)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    path = tmp_path_factory.mktemp("feedback") / "experiment.parquet"
    made = synthetic_feedback(usual_design("linear", 20_000), np.random.default_rng(7))
    pq.write_table(feedback_to_arrow(made), path)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_an_experiment_becomes_an_overlay_its_evidence_and_two_tables(experiment, tmp_path):
    output = tmp_path / "fitted.toml"
    result = run(experiment, "-o", output, "--date", "2026-11-22")
    assert result.exit_code == 0, result.output
    for text in ("additional posts", "comment:4", "plain regression", "not identified", "fitted.json"):
        assert text in result.output
    evidence = json.loads(output.with_suffix(".json").read_text())
    (comment,) = (term for term in evidence["terms"] if term["name"] == "comment")
    assert comment["low"] < 10 < comment["high"]
    assert evidence["not_identified"] == ["love"]
    assert load_policy(f"harm-aware+{output}").weights["comment"] == pytest.approx(comment["value"], rel=1e-3)
    assert 'date = "2026-11-22"' in output.read_text()


def test_the_model_of_counts_can_be_chosen(experiment, tmp_path):
    for model in ("linear", "poisson"):
        assert run(experiment, "-o", tmp_path / f"{model}.toml", "--model", model).exit_code == 0
    linear, poisson = (json.loads((tmp_path / f"{m}.json").read_text()) for m in ("linear", "poisson"))
    assert linear["terms"][1]["value"] != poisson["terms"][1]["value"]
    assert linear["facts"]["poisson"] == poisson["facts"]["poisson"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "probit"], "--model: expected linear or poisson, got 'probit'"),
        (["--share", "control"], "--share: expected ARM=SHARE, got 'control'"),
        (
            ["--share", "control=1", "--share", "control=2"],
            "--share: expected each arm once, got 'control' twice",
        ),
        (["--date", "banana"], "--date: expected a day as 2026-11-22, got 'banana'"),
        (["--share", "control=0.5"], "shares: expected one above 0 for each of "),
        (
            [
                "--share",
                "control=3",
                "--share",
                "like:20=1",
                "--share",
                "comment:4=1",
                "--share",
                "reshare:5=1",
            ],
            "arm: expected arms of the planned sizes",
        ),
    ],
)
def test_bad_options_leave_nothing_behind(experiment, tmp_path, options, message):
    result = run(experiment, "-o", tmp_path / "fitted.toml", *options)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_that_identifies_nothing_leaves_nothing_behind(tmp_path):
    path, folder = tmp_path / "small.parquet", tmp_path / "out"
    folder.mkdir()
    made = synthetic_feedback(usual_design("linear", 200), np.random.default_rng(1))
    pq.write_table(feedback_to_arrow(made), path)
    result = run(path, "-o", folder / "fitted.toml")
    assert "weights: expected at least one that the data identify, got none" in str(result.exception)
    assert list(folder.iterdir()) == []


def test_a_design_that_cannot_tell_any_weight_is_told_with_its_file(tmp_path):
    path = tmp_path / "few.parquet"
    made = synthetic_feedback(usual_design("linear", 20), np.random.default_rng(1))
    pq.write_table(feedback_to_arrow(made), path)
    result = run(path, "-o", tmp_path / "fitted.toml")
    assert isinstance(result.exception, FeedError)
    assert str(result.exception).startswith(f"{path}: author: expected at least 50 authors, got 20")
    assert list(tmp_path.iterdir()) == [path]

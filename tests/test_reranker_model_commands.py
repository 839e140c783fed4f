import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.artifact import read_artifact
from models.bundled import artifact_directory
from reranker.load import LoadError
from reranker.model_commands import models_app

run = CliRunner().invoke


def test_show_says_what_the_bundled_classifier_serves() -> None:
    artifact = read_artifact(artifact_directory("bundled"))
    found = run(models_app, ["show"], env={"COLUMNS": "200"})
    assert found.exit_code == 0
    assert artifact.digest in found.output
    assert "languages en" in found.output
    lines = {line.split()[0]: line.split() for line in found.output.splitlines() if line.split()}
    for label in artifact.labels:
        assert lines[label][0] == label
    auroc = artifact.about["figures"]["labels"]["toxicity"]["in_domain"]["auroc"]
    assert lines["toxicity"][1:3] == ["toxicity", f"{auroc:.3f}"]


def test_figures_that_were_not_measured_are_left_open(tmp_path: Path) -> None:
    source = artifact_directory("bundled")
    for path in source.iterdir():
        if path.name != "artifact.json":
            (tmp_path / path.name).symlink_to(path)
    manifest = json.loads((source / "artifact.json").read_text()) | {"about": {"figures": {"labels": []}}}
    (tmp_path / "artifact.json").write_text(json.dumps(manifest))
    found = run(models_app, ["show", str(tmp_path)])
    assert found.exit_code == 0
    row = next(line for line in found.output.splitlines() if line.split()[:1] == ["toxicity"])
    assert row.split()[2:] == ["-"] * 4


def test_export_writes_a_directory(tmp_path: Path) -> None:
    found = run(models_app, ["export", str(tmp_path / "out")])
    assert found.exit_code == 0
    assert "written" in found.output
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_bad_input_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "artifact.json").write_text("{")
    assert isinstance(run(models_app, ["show", str(tmp_path)]).exception, LoadError)
    assert isinstance(run(models_app, ["export", str(tmp_path)]).exception, LoadError)
    missing = run(models_app, ["export", str(tmp_path / "out"), "--model", str(tmp_path / "no")])
    with pytest.raises(FileNotFoundError, match="expected a classifier"):
        raise missing.exception

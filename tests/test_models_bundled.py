from pathlib import Path

import pytest

from models.artifact import read_artifact
from models.bundled import BUNDLED, artifact_directory
from models.classifier import HarmClassifier


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_every_bundled_name_leads_to_a_classifier(name: str) -> None:
    assert read_artifact(artifact_directory(name)).name == BUNDLED[name]


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    assert artifact_directory(tmp_path) == tmp_path
    assert artifact_directory(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert artifact_directory("not-there") == Path("not-there")


def test_a_hub_id_without_a_network_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="nobody/nothing: expected a path or the hub id"):
        HarmClassifier.load("nobody/nothing")

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.artifact import Artifact, read_artifact, read_weights, write_artifact
from models.calibration import Platt
from models.quantise import dequantised, quantised
from models.taxonomy import TAXONOMY_VERSION

PLATT = Platt(1.0, -1.0, (0.01, 0.0, 0.0, 0.01), 0.1, True, 100, 10)


def written(directory: Path, weights: dict[str, np.ndarray] | None = None) -> Artifact:
    found = {
        "head.weight": np.eye(2, 3, dtype=np.float32),
        "head.bias": np.array([1.5, -2.5], dtype=np.float32),
    }
    return write_artifact(
        directory,
        weights or found,
        "{}",
        name="tiny",
        labels=("toxicity", "humor"),
        calibration=(PLATT, PLATT),
        encoder={"model_type": "bert"},
        about={"note": "made by a test"},
    )


@given(hnp.arrays(np.float32, (4, 7), elements=st.floats(-8, 8, width=32)))
def test_quantisation_errs_by_about_half_a_level(matrix: np.ndarray) -> None:
    levels, scale = quantised(matrix)
    back = dequantised(levels, scale)
    bound = (
        np.abs(matrix).max(axis=1, keepdims=True) / 127 * 0.58 + 1e-5
    )  # a float16 scale is off by 1 in 2048
    assert (np.abs(back - matrix) <= bound).all()
    assert levels.dtype == np.int8
    assert scale.shape == (4, 1)


def test_a_matrix_of_zeros_stays_zero() -> None:
    np.testing.assert_array_equal(dequantised(*quantised(np.zeros((2, 3), dtype=np.float32))), 0)


def test_an_artifact_comes_back_as_it_was_written(tmp_path: Path) -> None:
    artifact = written(tmp_path)
    assert read_artifact(tmp_path) == artifact
    weights = read_weights(tmp_path)
    np.testing.assert_allclose(weights["head.weight"], np.eye(2, 3), atol=1e-3)
    np.testing.assert_array_equal(weights["head.bias"], np.array([1.5, -2.5], dtype=np.float32))


def test_the_digest_covers_scores_and_not_the_story(tmp_path: Path) -> None:
    one, two = written(tmp_path / "a"), written(tmp_path / "b")
    assert one.digest == two.digest
    changed = written(
        tmp_path / "c", {"head.weight": np.ones((2, 3), np.float32), "head.bias": np.zeros(2, np.float32)}
    )
    assert changed.digest != one.digest
    path = tmp_path / "a" / "artifact.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"about": {}}))
    assert read_artifact(tmp_path / "a").digest == one.digest


@pytest.mark.parametrize("file", ["weights.safetensors", "tokenizer.json"])
def test_an_altered_file_is_refused(tmp_path: Path, file: str) -> None:
    written(tmp_path)
    path = tmp_path / file
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ValueError, match=rf"{file}: expected sha256 .* got .* \(altered or incomplete\)"):
        read_artifact(tmp_path)


@pytest.mark.parametrize("file", ["weights.safetensors", "artifact.json"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    written(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(FileNotFoundError, match=file):
        read_artifact(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 99}, "schema: expected 1, got 99"),
        ({"taxonomy": 0}, "taxonomy: expected 1, got 0"),
        ({"labels": ["toxicity", "toxcity"]}, "'toxcity'"),
        ({"labels": ["toxicity"]}, "expected one per label"),
        ({"max_tokens": 4}, r"\(altered\)"),
        ({"calibration": [{"slope": 2.0}] * 2}, "expected a manifest of schema 1"),
    ],
)
def test_an_altered_manifest_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    written(tmp_path)
    path = tmp_path / "artifact.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        read_artifact(tmp_path)


def test_a_manifest_that_is_no_json_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "artifact.json").write_text("{")
    with pytest.raises(ValueError, match="expected JSON"):
        read_artifact(tmp_path)


@pytest.mark.parametrize("kept", [0, 40, -1])
def test_half_written_weights_are_never_loaded(tmp_path: Path, kept: int) -> None:
    written(tmp_path)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match=r"weights.safetensors: expected sha256 .* \(altered or incomplete\)"
    ):
        read_artifact(tmp_path)


def test_a_write_that_was_cut_short_over_an_older_artifact_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    manifest = (tmp_path / "artifact.json").read_text()
    written(tmp_path, {"head.weight": np.ones((2, 3), np.float32), "head.bias": np.zeros(2, np.float32)})
    (tmp_path / "artifact.json").write_text(manifest)  # as before the last of the three files is written
    with pytest.raises(ValueError, match=r"weights\.safetensors: expected sha256"):
        read_artifact(tmp_path)


def test_an_artifact_of_another_taxonomy_is_refused_by_its_version(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "artifact.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"taxonomy": 99}))
    with pytest.raises(ValueError, match=f"artifact.json: taxonomy: expected {TAXONOMY_VERSION}, got 99"):
        read_artifact(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "expected a JSON object, got list"),
        (b"null", "expected a JSON object, got NoneType"),
        (b"\xff\xfe", "expected text in UTF-8"),
    ],
)
def test_a_manifest_that_is_no_object_of_text_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    written(tmp_path)
    (tmp_path / "artifact.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_artifact(tmp_path)


def test_a_manifest_has_to_vouch_for_both_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"files: expected .*, got \[\]"):
        replace(written(tmp_path), files={})


def test_a_calibration_has_to_be_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"calibration: expected finite numbers, .* for 'humor'"):
        replace(written(tmp_path), calibration=(PLATT, replace(PLATT, slope=float("nan"))))


def test_weights_come_back_whatever_the_order_of_their_axes_in_memory(tmp_path: Path) -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2).T  # (2, 3), column by column
    written(tmp_path, {"encoder.weight": matrix, "head.bias": np.zeros(2, np.float32)})
    np.testing.assert_allclose(read_weights(tmp_path)["encoder.weight"], matrix, atol=0.05)
    assert (read_weights(tmp_path)["encoder.weight"] != matrix).any()  # stored as int8


def test_a_head_on_features_of_very_different_scales_loses_nothing(tmp_path: Path) -> None:
    matrix = np.array([[1e-3, 1.0, 300.0], [2e-3, -1.0, -500.0]], dtype=np.float32)
    written(tmp_path, {"head.weight": matrix, "head.bias": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(read_weights(tmp_path)["head.weight"], matrix)

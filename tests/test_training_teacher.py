import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.artifact import read_artifact
from models.examples import LabelledTexts
from tests.tiny import labelled_texts, random_texts, save_encoder
from training.config import TrainConfig
from training.features import pooled_features
from training.run import read_about
from training.settings import read_settings
from training.teacher import SAID, Teaching, as_artifact, teacher_logits
from training.train import train

ROOT = Path(__file__).parents[1]
WORDS = [f"w{i}" for i in range(12)]
LABELS = ("humor", "toxicity")


@pytest.fixture(scope="module")
def config() -> TrainConfig:
    settings = read_settings(ROOT / "training" / "configs" / "minilm-en.toml", TrainConfig)
    return replace(settings, epochs=3, head_learning_rate=0.05, preserve_weight=0.0, perturbed_share=0.0)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"), WORDS, n_layers=2)


def annotated(n: int, label: str) -> LabelledTexts:
    """Random texts, annotated for one label alone: those that hold w0 have it."""
    text = random_texts(WORDS, n)
    held = np.array([float("w0" in entry.split()) for entry in text])
    target = np.column_stack([held if name == label else np.full(n, np.nan) for name in LABELS])
    return labelled_texts(LABELS, text, target)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, config: TrainConfig, encoder: Path) -> Path:
    """A run that was taught toxicity."""
    directory = tmp_path_factory.mktemp("teacher")
    annotated(400, "toxicity").write(directory / "examples.parquet")
    train(config, directory / "examples.parquet", str(encoder), directory / "run", device="cpu")
    return directory / "run"


def logits(run: Path, text: list[str]) -> NDArray[np.float64]:
    weights = load_file(run / "model.safetensors")
    return pooled_features(run, text).astype(np.float64) @ weights["head.weight"].T + weights["head.bias"]


def test_a_training_learns_what_its_teacher_says_beside_the_annotations(
    teacher: Path, config: TrainConfig, encoder: Path, tmp_path: Path
) -> None:
    examples, extra = tmp_path / "examples.parquet", tmp_path / "extra.parquet"
    annotated(300, "humor").write(examples)
    more = random_texts(WORDS, 700)[300:]
    pq.write_table(pa.table({"text": more, "source": ["posts"] * 400, "licence": ["MIT"] * 400}), extra)
    taught, alone = tmp_path / "taught", tmp_path / "alone"
    train(config, examples, str(encoder), alone, device="cpu")
    half = replace(config, teacher_share=0.5)
    train(half, examples, str(encoder), taught, teachers=[teacher], extra=[extra], device="cpu")
    text = random_texts(WORDS, 900)[700:]
    held = [float("w0" in entry.split()) for entry in text]
    wanted = logits(teacher, text)[:, 1]
    found = logits(taught, text)
    assert np.corrcoef(found[:, 1], wanted)[0, 1] > 0.8
    assert np.corrcoef(found[:, 0], held)[0, 1] > 0.6  # the teacher says nothing about humor that it learned
    assert not logits(alone, text)[:, 1].any()  # nobody annotated toxicity
    about = read_about(taught)
    (named,) = about["teachers"]
    assert named["digest"] == read_artifact(as_artifact(teacher, tmp_path / "a")).digest
    assert named["base_encoder_sha256"] == read_about(teacher)["base_encoder_sha256"]
    assert about["extra"][0]["data"] == {"posts": {"licence": "MIT", "rows": 400}}
    assert about["n_texts"] == 700
    assert str(tmp_path) not in json.dumps(about)
    assert (taught / SAID).is_dir()
    before = (taught / "model.safetensors").read_bytes()
    train(half, examples, str(encoder), taught, teachers=[teacher], extra=[extra], device="cpu")
    assert (taught / "model.safetensors").read_bytes() == before  # finished already
    with pytest.raises(ValueError, match="got another run: choose another --out"):
        train(half, examples, str(encoder), taught, teachers=[teacher], device="cpu")


def test_of_several_teachers_the_mean_is_learned(teacher: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "tokenizer.json").write_bytes((teacher / "tokenizer.json").read_bytes())
    (other / "training.json").write_text(json.dumps(read_about(teacher) | {"labels": ["insult", "toxicity"]}))
    weights = load_file(teacher / "model.safetensors")
    save_file(weights | {"head.weight": -weights["head.weight"]}, other / "model.safetensors")
    teaching = Teaching.read([teacher, other], [], tmp_path / "run")
    labels = ("insult", "toxicity", "threat")
    text = random_texts(WORDS, 20)
    one, two = (teacher_logits(path, text, tmp_path)[1] for path in teaching.artifacts)
    found = teaching.logits(labelled_texts(labels, text, np.full((20, 3), np.nan)))
    np.testing.assert_array_equal(found[:, 0], two[:, 0])
    np.testing.assert_allclose(found[:, 1], (one[:, 1] + two[:, 1]) / 2, atol=1e-6)
    assert np.isnan(found[:, 2]).all()
    assert as_artifact(teaching.artifacts[0], tmp_path / "elsewhere") == teaching.artifacts[0]
    assert len(set(teaching.digests)) == 2


def test_texts_without_labels_follow_those_with(tmp_path: Path) -> None:
    texts = annotated(3, "humor")
    pq.write_table(pa.table({"text": ["x", "", "y"], "source": ["a", "a", "b"]}), tmp_path / "e.parquet")
    found = Teaching.read([], [tmp_path / "e.parquet"], tmp_path).added_to(texts)
    assert list(found.text) == [*texts.text, "x", "y"]
    assert found.split.tolist()[3:] == ["train", "train"]
    assert found.source.tolist()[3:] == ["a", "b"]
    assert np.isnan(found.target[3:]).all()
    assert len(set(found.group.tolist()[3:]) - set(texts.group.tolist())) == 2
    assert Teaching.read([], [], tmp_path).added_to(texts) is texts


def test_a_teacher_and_its_share_belong_together(
    teacher: Path, config: TrainConfig, encoder: Path, tmp_path: Path
) -> None:
    annotated(40, "humor").write(tmp_path / "e.parquet")
    half = replace(config, teacher_share=0.5)
    for settings, given in (
        (half, {}),
        (config, {"teachers": [teacher]}),
        (config, {"extra": [tmp_path / "e.parquet"]}),
    ):
        with pytest.raises(ValueError, match="teacher_share: expected above 0 with --teacher and 0 without"):
            train(settings, tmp_path / "e.parquet", str(encoder), tmp_path / "run", device="cpu", **given)
    assert not (tmp_path / "run").exists()
    shipped = read_settings(ROOT / "training" / "configs" / "minilm-taught-en.toml", TrainConfig)
    assert shipped.teacher_share > 0
    with pytest.raises(FileNotFoundError, match=r"training\.json: expected a finished run, got none here"):
        as_artifact(tmp_path / "none", tmp_path)

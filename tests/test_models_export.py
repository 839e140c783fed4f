import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, pipeline

from models.artifact import TOKENIZER, read_artifact
from models.bundled import artifact_directory
from models.classifier import HarmClassifier
from models.device import Placement
from models.encoder import HarmModel, register
from models.export import as_transformers, write_transformers
from models.forward import LogitModel
from models.normalise import normalised
from models.scores import Content
from tests.tiny import PLATT, random_texts, save_classifier

WORDS = ["the", "a", "you", "are", "this", "good", "bad", "day", "kind", "rude", "thanks", "post"]
LABELS = ("toxicity", "humor")
PLATTS = (
    replace(PLATT, slope=1.7),
    replace(PLATT, slope=0.6, intercept=-2.5, prevalence=0.02),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = save_classifier(tmp_path_factory.mktemp("export") / "tiny", WORDS, LABELS, calibration=PLATTS)
    (directory / "README.md").write_text("the card\n")
    return directory


def in_float32(directory: Path) -> HarmClassifier:
    artifact = read_artifact(directory)
    model = LogitModel(directory, artifact, Placement("cpu", "float32"))
    return HarmClassifier(artifact, Tokenizer.from_file(str(directory / TOKENIZER)), model)


def in_english(texts: list[str]) -> Content:
    return Content(texts, ["en"] * len(texts), [None] * len(texts))


def probabilities(found: list[list[dict]], labels: tuple[str, ...]) -> np.ndarray:
    return np.array(
        [[{row["label"]: row["score"] for row in rows}[name] for name in labels] for rows in found]
    )


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_pipeline_gives_the_calibrated_probabilities(tiny: Path, tmp_path: Path, batch_size: int) -> None:
    write_transformers(tiny, tmp_path / "out")
    register()
    classify = pipeline(
        "text-classification",
        model=str(tmp_path / "out"),
        top_k=None,
        function_to_apply="sigmoid",
        device="cpu",
        batch_size=batch_size,
    )
    texts = random_texts(WORDS, 30, 8)
    expected = in_float32(tiny)(in_english(texts)).probability
    np.testing.assert_allclose(
        probabilities(classify([normalised(text) for text in texts]), LABELS), expected, atol=1e-5
    )
    assert expected.std(axis=0).min() > 0.01  # the comparison is not one of constants


def test_model_and_tokenizer_serve_a_pipeline_without_files(tiny: Path) -> None:
    model, tokenizer = as_transformers(tiny)
    assert type(model) is HarmModel
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.artifact.startswith("tiny@")
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, device="cpu")
    long = " ".join(["good"] * 40)
    cut = " ".join(["good"] * 10)
    assert classify(long, truncation=True) == classify(cut)


def test_the_directory_holds_all_that_a_reader_needs(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()  # an empty one is taken
    write_transformers(tiny, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "the card\n"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (tokenizer.pad_token, tokenizer.mask_token, tokenizer.model_max_length) == ("[PAD]", None, 12)
    assert list(tokenizer("you are kind")) == ["input_ids", "attention_mask"]
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "harm-encoder"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_nothing_is_overwritten(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(ValueError, match="expected a new or empty directory"):
        write_transformers(tiny, tmp_path)
    with pytest.raises(ValueError, match="expected a new or empty directory"):
        write_transformers(tiny, tmp_path / "mine.txt")


def test_what_is_no_classifier_leaves_nothing_behind(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a classifier"):
        write_transformers(tmp_path / "nowhere", tmp_path / "out")
    encoder = read_artifact(tiny).encoder
    save_classifier(tmp_path / "odd", WORDS, LABELS, encoder=encoder | {"hidden_size": 32})
    with pytest.raises(ValueError, match="expected weights of the encoder in its manifest"):
        write_transformers(tmp_path / "odd", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_bundled_classifier_is_a_transformers_model() -> None:
    model, tokenizer = as_transformers("bundled")
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None, device="cpu")
    texts = [
        "You are a complete idiot and a pathetic loser.",
        "Thank you so much, that was really helpful!",
        "Vaccines cause autism and the government hides it.",
        "What did you mean by the second edit?",
    ]
    classifier = in_float32(artifact_directory("bundled"))
    expected = classifier(in_english(texts)).probability
    found = classify([normalised(text) for text in texts], truncation=True)
    np.testing.assert_allclose(probabilities(found, classifier.labels), expected, atol=1e-3)

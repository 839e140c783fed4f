import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from models.examples import LabelledTexts
from tests.tiny import labelled_texts, random_texts, save_encoder
from training.calibrate import distance_weights
from training.config import TrainConfig
from training.features import pooled_features
from training.head import HeadConfig, fit_head, main
from training.settings import read_settings
from training.train import train

ROOT = Path(__file__).parents[1]
WORDS = [f"w{i}" for i in range(40)]
CONFIG = "schema = 1\nread_layers = [1, 2]\nsource_tempering = 0.5\nridge = 0.01\nsource_ridge = 1e-6\n"


def drawn(n: int = 600, d: int = 5) -> tuple[np.ndarray, LabelledTexts]:
    """Features, and labels that follow from them and, for the first label, from the data set."""
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(n, d)) * [1, 5, 0.1, 2, 1] + 3).astype(np.float32)
    source = rng.integers(0, 2, n)
    chance = 1 / (1 + np.exp(-(features[:, 0] - 3 + 2 * source)))
    target = np.column_stack([rng.random(n) < chance, np.where(rng.random(n) < 0.5, source, np.nan)])
    texts = labelled_texts(("toxicity", "humor"), ["x"] * n, target, source=np.where(source == 1, "b", "a"))
    return features, texts


def test_the_head_is_the_optimum_of_a_logistic_regression() -> None:
    features, texts = drawn()
    config = HeadConfig(schema=1, read_layers=(1,), source_tempering=0.0, ridge=0.02, source_ridge=1e-9)
    weights, bias = fit_head(config, features, texts)
    x = (features - features.mean(axis=0)) / features.std(axis=0)
    dummy = np.where(texts.source == "b", 1e3, 0.0)  # so large that the ridge does not count
    oracle = LogisticRegression(C=1 / (2 * 0.02 * len(x)), tol=1e-9, max_iter=10_000)
    oracle.fit(np.column_stack([x, dummy]), texts.target[:, 0])
    np.testing.assert_allclose(weights[0] * features.std(axis=0), oracle.coef_[0, :5], atol=2e-3)
    mean = oracle.intercept_[0] + 1e3 * oracle.coef_[0, 5] * (texts.source == "b").mean()
    np.testing.assert_allclose(bias[0] + weights[0] @ features.mean(axis=0), mean, atol=0.02)


def test_what_the_data_set_says_is_not_read_from_the_features() -> None:
    """Humor is all of one data set and none of the other: intercepts say it, no feature does."""
    features, texts = drawn()
    weights, _ = fit_head(HeadConfig(1, (1,), 0.5, 1e-3, 1e-6), features, texts)
    assert np.abs(weights[1] * features.std(axis=0)).max() < 0.2
    assert np.abs(weights[0] * features.std(axis=0)).max() > 0.6


def test_a_label_that_nobody_annotated_stays_at_zero() -> None:
    features, drawn_texts = drawn()
    target = np.where([True, False], drawn_texts.target, np.nan)
    texts = labelled_texts(drawn_texts.labels, drawn_texts.text, target, source=drawn_texts.source)
    weights, bias = fit_head(HeadConfig(1, (1,), 0.5, 0.1, 1e-3), features, texts)
    assert not weights[1].any()
    assert bias[1] == 0


def test_the_command_keeps_the_encoder_and_says_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = random_texts(WORDS, 80)
    target = np.array([[entry.split().count("w0") > 0, np.nan, np.nan] for entry in text], dtype=float)
    labels = ("toxicity", "insult", "humor")
    split = np.where(np.arange(80) < 60, "train", "dev")
    examples, run, out = tmp_path / "examples.parquet", tmp_path / "run", tmp_path / "out"
    labelled_texts(labels, text, target, split=split).write(examples)
    settings = (ROOT / "training" / "configs" / "minilm-en.toml").read_text()
    (tmp_path / "train.toml").write_text(settings.replace("epochs = 2", "epochs = 1"))
    encoder = save_encoder(tmp_path / "encoder", WORDS, n_layers=2)
    train(read_settings(tmp_path / "train.toml", TrainConfig), examples, str(encoder), run, device="cpu")
    (tmp_path / "head.toml").write_text(CONFIG)
    options = ["--config", tmp_path / "head.toml", "--examples", examples, "--device", "cpu", "--out", out]
    monkeypatch.setattr(sys, "argv", ["head", *map(str, options), "--encoder", str(run)])
    main()
    before, after = (load_file(where / "model.safetensors") for where in (run, out))
    assert set(before) == set(after)
    for name in before:
        assert torch.equal(before[name], after[name]) == (not name.startswith("head.")), name
    last, both = (pooled_features(where, text[:5]) for where in (run, out))
    np.testing.assert_array_equal(both[:, last.shape[1] :], last)
    assert both.shape[1] == 2 * last.shape[1]
    width, texts = last.shape[1], LabelledTexts.read(examples)
    by_last, by_both = (distance_weights(where, texts)["familiarity.weight"] for where in (run, out))
    assert not by_both[:, :width].any()  # how unlike a text is, the last layer says
    np.testing.assert_array_equal(by_both[:, width:], by_last)
    about = json.loads((out / "training.json").read_text())
    assert about["started_from"]["config"]["epochs"] == 1
    assert about["n_implied"]["insult"] == int((target[:60, 0] == 0).sum())
    assert about["head_alone"]
    assert about["encoder"]["read_layers"] == [1, 2]
    options[-1] = tmp_path / "again"
    monkeypatch.setattr(sys, "argv", ["head", *map(str, options), "--encoder", str(out)])
    main()
    again = json.loads((tmp_path / "again" / "training.json").read_text())
    assert again["started_from"] == about["started_from"]  # of the head that was replaced nothing is left
    train(
        read_settings(tmp_path / "train.toml", TrainConfig), examples, str(out), tmp_path / "on", device="cpu"
    )
    assert json.loads((tmp_path / "on" / "training.json").read_text())["encoder"] == about["encoder"]
    monkeypatch.setattr(sys, "argv", ["head", *map(str, options), "--encoder", str(tmp_path / "none")])
    with pytest.raises(
        FileNotFoundError, match="none: expected a run, a classifier, an encoder or a hub id, got none"
    ):
        main()
    other = labelled_texts(labels[:2], text, target[:, :2], split="dev")
    other.write(examples)
    monkeypatch.setattr(sys, "argv", ["head", *map(str, options), "--encoder", str(run)])
    with pytest.raises(ValueError, match=r"examples\.parquet: expected texts of split 'train', got none"):
        main()


def test_the_shipped_config_is_valid() -> None:
    for name in ("head-en", "mpnet-head-en"):
        assert read_settings(ROOT / "training" / "configs" / f"{name}.toml", HeadConfig).ridge > 0
    for value, message in (
        (0, "ridge: expected a number above 0, got 0"),
        (2, "schema: expected 1, got 2"),
        (3, "read_layers: expected a list of whole numbers, got 3"),
        ([0.5], r"read_layers: expected a list of whole numbers, got \[0.5\]"),
    ):
        given = {"schema": 1, "read_layers": [1], "source_tempering": 0.5, "ridge": 0.1, "source_ridge": 0.1}
        with pytest.raises(ValueError, match=message):
            HeadConfig(**(given | {message.split(":")[0]: value}))

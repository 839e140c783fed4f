import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from models.examples import LabelledTexts
from training.batches import batch_order, tokenize
from training.checkpoint import load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.loss import balanced_weights, masked_loss
from training.train import train

ROOT = Path(__file__).parents[1]
WORDS = [f"w{i}" for i in range(40)]


def config_text(**changes: object) -> str:
    found: dict = {
        "schema": 1,
        "seed": 3,
        "epochs": 1,
        "batch_size": 4,
        "max_tokens": 16,
        "learning_rate": 1e-3,
        "head_learning_rate": 1e-2,
        "weight_decay": 0.01,
        "warmup_share": 0.1,
        "gradient_clip": 1.0,
        "source_tempering": 0.5,
        "label_tempering": 0.5,
        "freeze_embeddings": False,
        "checkpoint_every": 5,
    } | changes
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in found.items())


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT with a word-level tokenizer, saved as the hub saves one."""
    directory = tmp_path_factory.mktemp("encoder")
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(directory)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    return directory


def labelled(n: int, split: str = "train") -> LabelledTexts:
    """Texts that are toxic when they hold w0 more than once; half of them say nothing about humor."""
    rng = np.random.default_rng(0)
    words = [rng.choice(WORDS[:6], rng.integers(3, 14)) for _ in range(n)]
    toxic = np.array([(entry == "w0").sum() > 1 for entry in words], dtype=np.float32)
    humor = np.where(np.arange(n) % 2 == 0, 1 - toxic, np.nan)
    return LabelledTexts(
        labels=("toxicity", "humor"),
        text=[" ".join(entry) for entry in words],
        target=np.column_stack([toxic, humor]).astype(np.float32),
        weight=np.ones((n, 2), np.float32),
        source=np.where(np.arange(n) % 5 == 0, "small", "large"),
        split=np.full(n, split),
        group=np.arange(n),
        aspect=np.full(n, ""),
    )


def test_a_config_is_closed_and_has_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(config_text())
    config = TrainConfig.read(path)
    assert config.digest == TrainConfig.read(path).digest
    path.write_text(config_text(seed=4))
    assert TrainConfig.read(path).digest != config.digest
    for changes, message in (
        ({"dropout": 0.1}, r"unknown: \['dropout'\]"),
        ({"batch_size": 0}, "batch_size: expected a number above 0, got 0"),
        ({"warmup_share": 2}, r"warmup_share: expected a number in \[0, 1\], got 2"),
        ({"schema": 7}, "schema: expected 1, got 7"),
    ):
        path.write_text(config_text(**changes))
        with pytest.raises(ValueError, match=message):
            TrainConfig.read(path)


def test_the_shipped_config_is_valid() -> None:
    assert TrainConfig.read(ROOT / "training" / "configs" / "minilm-en.toml").max_tokens == 64


def test_tempering_balances_sources_and_labels() -> None:
    texts = labelled(100)  # 20 small, 80 large; humor annotated for half
    plain = balanced_weights(texts, source_tempering=0, label_tempering=0)
    assert plain.sum() == pytest.approx(100, rel=1e-5)
    assert np.unique(plain).size == 2
    assert (plain[np.isnan(texts.target)] == 0).all()
    equal = balanced_weights(texts, source_tempering=1, label_tempering=1)
    small = texts.source == "small"
    np.testing.assert_allclose(equal.sum(axis=0), [50, 50], rtol=1e-5)
    np.testing.assert_allclose(equal[small].sum(axis=0), [25, 25], rtol=1e-5)


def test_the_masked_loss_equals_a_sum_by_hand() -> None:
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
    target = torch.tensor([[1.0, float("nan")], [0.25, 0.0]])
    weight = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    p = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    by_hand = (
        -2 * np.log(p[0, 0]) - 0.25 * np.log(p[1, 0]) - 0.75 * np.log(1 - p[1, 0]) - 0.5 * np.log(1 - p[1, 1])
    ) / 2
    assert float(masked_loss(logits, target, weight)) == pytest.approx(by_hand, rel=1e-5)


def test_what_is_not_annotated_has_no_gradient() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    masked_loss(logits, torch.tensor([[1.0, float("nan")]]), torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 0] < 0


def test_an_epoch_visits_every_row_once_with_little_padding(encoder: Path) -> None:
    texts = labelled(500)
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokens = tokenize(texts.text, tokenizer, max_tokens=10, pad_id=0)
    assert tokens.length.max() == 10
    batches = batch_order(tokens.length, 8, np.random.default_rng(0))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    padded = sum(int(tokens.length[rows].max()) * len(rows) for rows in batches)
    assert padded < 1.1 * tokens.length.sum()
    ids, mask = tokens.padded(np.array([0, 1]))
    assert mask.sum(dim=1).tolist() == tokens.length[:2].tolist()
    assert (ids[mask == 0] == 0).all()


def test_a_checkpoint_restores_weights_and_moments(tmp_path: Path) -> None:
    def fresh() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = fresh()
    step(model, optimizer)
    save_checkpoint(tmp_path / "c", model, optimizer, step=1, run="r", losses=[0.5])
    step(model, optimizer)
    again, other = fresh()
    assert load_checkpoint(tmp_path / "c", again, other, run="r") == (1, [0.5])
    step(again, other)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert load_checkpoint(tmp_path / "none", again, other, run="r") == (0, [])
    with pytest.raises(ValueError, match="expected a checkpoint of run s, got one of r"):
        load_checkpoint(tmp_path / "c", again, other, run="s")


def test_training_learns_and_says_where_it_comes_from(encoder: Path, tmp_path: Path) -> None:
    labelled(800).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text(batch_size=16, epochs=2))
    train(
        TrainConfig.read(tmp_path / "c.toml"),
        tmp_path / "e.parquet",
        str(encoder),
        tmp_path / "run",
        device="cpu",
    )
    about = json.loads((tmp_path / "run" / "training.json").read_text())
    assert np.mean(about["losses"][-20:]) < 0.8 * np.mean(about["losses"][:5])
    assert {"commit", "versions", "examples_sha256", "config_digest", "base_encoder_sha256"} <= set(about)
    assert str(tmp_path) not in json.dumps(about)
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_a_training_killed_at_any_moment_ends_with_the_same_weights(encoder: Path, tmp_path: Path) -> None:
    labelled(600).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text())
    config = TrainConfig.read(tmp_path / "c.toml")
    files = [
        "--config",
        tmp_path / "c.toml",
        "--examples",
        tmp_path / "e.parquet",
        "--out",
        tmp_path / "killed",
    ]
    command = [
        sys.executable,
        "-m",
        "training.train",
        *map(str, files),
        "--encoder",
        str(encoder),
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoint").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    for name in ("killed", "whole"):
        train(config, tmp_path / "e.parquet", str(encoder), tmp_path / name, device="cpu")
    killed, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "whole"))
    torch.testing.assert_close(killed, whole, rtol=0, atol=1e-6)


def test_a_run_directory_of_another_config_is_refused(encoder: Path, tmp_path: Path) -> None:
    labelled(40).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text())
    config = TrainConfig.read(tmp_path / "c.toml")
    model = torch.nn.Linear(1, 1)
    (tmp_path / "run").mkdir()
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(tmp_path / "run" / "checkpoint", model, optimizer, step=1, run="another", losses=[])
    with pytest.raises(ValueError, match="expected a checkpoint of run"):
        train(config, tmp_path / "e.parquet", str(encoder), tmp_path / "run", device="cpu")
    labelled(40, "test").write(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="expected texts of split 'train', got none"):
        train(config, tmp_path / "t.parquet", str(encoder), tmp_path / "other", device="cpu")

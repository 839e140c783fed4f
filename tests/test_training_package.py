import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

from models.artifact import read_artifact
from models.bundled import BUNDLED, artifact_directory
from models.classifier import HarmClassifier
from models.encoder import MultiLabelEncoder, config_of
from models.examples import LabelledTexts
from training.calibrate import LabelPlan, calibrate, held_out
from training.evaluate import EVALUATION, evaluate
from training.package import package

CASES = Path(__file__).parent / "data"
LABELS = ("toxicity", "humor")
PLAN = {"toxicity": LabelPlan(("wiki",), "natural_dev"), "humor": LabelPlan(("web",), prevalence=0.05)}


def toxic_by_word(n_words: int) -> MultiLabelEncoder:
    """An encoder whose first logit grows with the share of the word "rude", and whose second is noise."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=n_words, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16
    )
    model = MultiLabelEncoder(BertModel(config, add_pooling_layer=False), 16, 2)
    direction = torch.zeros(16)
    direction[0], direction[1] = 3.0, -3.0
    with torch.no_grad():
        model.encoder.embeddings.word_embeddings.weight[4] = 20 * direction
        model.head.weight[0] = direction
        model.head.weight[1] = 0
    return model


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("package")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "rude", *(f"w{i}" for i in range(30))]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    run = directory / "run"
    run.mkdir()
    tokenizer.save(str(run / "tokenizer.json"))
    model = toxic_by_word(len(words))
    save_file(model.state_dict(), run / "model.safetensors")
    training = {
        "labels": list(LABELS),
        "encoder": config_of(model),
        "base_encoder_sha256": None,
        "config": {"epochs": 1, "seed": 0},
        "config_digest": "c" * 64,
        "examples_sha256": "e" * 64,
        "commit": "unknown",
        "versions": {"python": "3"},
        "n_texts": 5,
        "losses": [0.1],
    }
    (run / "training.json").write_text(json.dumps(training))
    examples(directory / "examples.parquet")
    about = {
        "licence": "MIT",
        "role": "train",
        "labelled_by": "people",
        "rows": {"train": 5, "test": 2},
        "sha256": "f",
    }
    (directory / "examples.json").write_text(json.dumps({"web": about}))
    with pytest.raises(FileNotFoundError, match="expected a classifier"):
        held_out(run, directory / "examples.parquet")
    calibrate(run, directory / "examples.parquet", PLAN, device="cpu")
    with pytest.raises(FileNotFoundError, match=r"expected what training\.evaluate writes, got none"):
        package(run, directory / "examples.parquet", directory / "tiny-en")
    found = evaluate(run, directory / "examples.parquet", PLAN, data=directory, cases=CASES)
    (run / EVALUATION).write_text(json.dumps(found))
    package(run, directory / "examples.parquet", directory / "tiny-en")
    return directory / "tiny-en"


def examples(path: Path, n: int = 1200) -> None:
    rng = np.random.default_rng(0)
    toxic = rng.random(n) < 0.3
    texts = [
        " ".join(
            ["rude"] * int(rng.integers(1, 4) * t) + [f"w{i}" for i in rng.integers(0, 30, 8)] + [f"id{k}"]
        )
        for k, t in enumerate(toxic)
    ]
    natural = np.arange(n) % 2 == 0
    split = np.select(
        [natural & (rng.random(n) < 0.5), natural],
        ["natural_dev", "natural_test"],
        rng.choice(["train", "dev", "test", "unseen"], n, p=[0.2, 0.3, 0.3, 0.2]),
    )
    target = np.column_stack([toxic, np.where(natural, np.nan, rng.random(n) < 0.3)]).astype(np.float32)
    LabelledTexts(
        labels=LABELS,
        text=texts,
        target=target,
        weight=np.ones((n, 2), np.float32),
        source=np.where(natural, "wiki", np.where(split == "unseen", "forum", "web")),
        split=split,
        group=np.arange(n),
        aspect=np.where(np.arange(n) % 3 == 0, "cats", ""),
    ).write(path)
    for folder in ("toxicity", "annotations"):
        (path.parent / folder).mkdir()
    (path.parent / "annotations" / "agreement.json").write_text("{}")
    table = pa.table(
        {
            "text": texts,
            "split": ["gn", "gn", "gc", "gc"] * (n // 4),
            "perspective_toxicity": toxic * 0.5 + 0.1 * rng.random(n),
        }
    )
    pq.write_table(table, path.parent / "toxicity" / "wiki_context_cat_large.parquet")


def test_only_labels_with_evidence_are_served(artifact: Path) -> None:
    found = read_artifact(artifact)
    assert found.labels == ("toxicity",)
    refusal = found.about["figures"]["labels"]["humor"]["refusal"]
    assert refusal.startswith("AUROC")
    assert "humor: AUROC" in (artifact / "README.md").read_text()


def test_the_figures_are_those_of_the_loaded_artifact(artifact: Path) -> None:
    figures = read_artifact(artifact).about["figures"]
    assert figures["labels"]["toxicity"]["in_domain"]["auroc"] > 0.9
    assert figures["natural"]["auroc"] > 0.9
    assert figures["natural"]["spearman_with_perspective"] > 0.5
    assert figures["largest_change_by_packaging"] < 0.03
    words = "w1 w2 w3 w4 w5 w6 w7 w8"
    p = HarmClassifier.load(artifact).score([f"rude rude {words}", words]).column("toxicity")[0]
    assert p[0] > p[1]


def test_the_card_says_what_it_is_and_names_no_path(artifact: Path) -> None:
    card = (artifact / "README.md").read_text()
    for expected in (
        "# tiny-en",
        "TF-IDF",
        "a large language model, not by people",
        "| cats |",
        "who may be harmed",
        "Perspective",
    ):
        assert expected in card
    for file in ("README.md", "artifact.json"):
        assert str(artifact.parent) not in (artifact / file).read_text()


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_the_bundled_card_and_manifest_belong_together(name: str) -> None:
    directory = artifact_directory(name)
    found, card = read_artifact(directory), (directory / "README.md").read_text()
    assert found.digest[:12] in card
    assert all(f"| {label} |" in card for label in found.labels)
    for label, figures in found.about["figures"]["labels"].items():
        assert (figures["refusal"] is None) == (label in found.labels)
    for entry in found.about["data"].values():
        if entry["role"] != "train":
            assert not entry["rows"].get("train")

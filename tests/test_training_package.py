import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.artifact import read_artifact
from models.bundled import BUNDLED, artifact_directory
from models.classifier import HarmClassifier
from models.encoder import MultiLabelEncoder, config_of
from tests.tiny import SPECIAL, labelled_texts, random_bert, word_tokenizer
from training.atomic import write_json
from training.calibrate import LabelPlan, calibrate, held_out
from training.evaluate import EVALUATION, evaluate
from training.own import describe_own, read_own
from training.package import package
from training.prepare import prepare
from training.run import write_run

CASES = Path(__file__).parent / "data"
LABELS = ("toxicity", "humor")
PLAN = {"toxicity": LabelPlan(("wiki",), "natural_dev"), "humor": LabelPlan(("web",), prevalence=0.05)}


def toxic_by_word(n_words: int, n_labels: int) -> MultiLabelEncoder:
    """An encoder whose first logit grows with the share of the word "rude", and whose others are constant."""
    model = MultiLabelEncoder(random_bert(n_words), 16, n_labels)
    direction = torch.zeros(16)
    direction[0], direction[1] = 3.0, -3.0
    with torch.no_grad():
        model.encoder.embeddings.word_embeddings.weight[len(SPECIAL)] = 20 * direction
        model.head.weight[0] = direction
        model.head.weight[1:] = 0
    return model


def finished_run(directory: Path, labels: tuple[str, ...]) -> Path:
    """The directory, with what a training would have left of `toxic_by_word`."""
    words = ["rude", *(f"w{i}" for i in range(30))]
    model = toxic_by_word(len(SPECIAL) + len(words), len(labels))
    about = {
        "labels": list(labels),
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
    directory.mkdir()
    write_run(directory, model.state_dict(), word_tokenizer(words).to_str(), about)
    return directory


def sentence(is_toxic: bool, number: int, rng: np.random.Generator) -> str:
    rude = ["rude"] * int(rng.integers(1, 4) * is_toxic)
    return " ".join([*rude, *(f"w{i}" for i in rng.integers(0, 30, 8)), f"id{number}"])


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("package")
    run = finished_run(directory / "run", LABELS)
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
    write_json(run / EVALUATION, found)
    package(run, directory / "examples.parquet", directory / "tiny-en")
    return directory / "tiny-en"


def examples(path: Path, n: int = 1200) -> None:
    rng = np.random.default_rng(0)
    toxic = rng.random(n) < 0.3
    texts = [sentence(is_toxic, k, rng) for k, is_toxic in enumerate(toxic)]
    natural = np.arange(n) % 2 == 0
    split = np.select(
        [natural & (rng.random(n) < 0.5), natural],
        ["natural_dev", "natural_test"],
        rng.choice(["train", "dev", "test", "unseen"], n, p=[0.2, 0.3, 0.3, 0.2]),
    )
    target = np.column_stack([toxic, np.where(natural, np.nan, rng.random(n) < 0.3)]).astype(np.float32)
    labelled_texts(
        LABELS,
        texts,
        target,
        source=np.where(natural, "wiki", np.where(split == "unseen", "forum", "web")),
        split=split,
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


def own_run(directory: Path, splits: list[str]) -> tuple[Path, Path]:
    """A run, and examples of a file with the one label toxicity; "test+" is a toxic row of split "test"."""
    rng = np.random.default_rng(1)
    rows = [
        f"{sentence('+' in split, k, rng)},{int('+' in split)},{split.strip('+')}"
        for k, split in enumerate(splits)
    ]
    (directory / "posts.csv").write_text("\n".join(["text,toxicity,split", *rows]) + "\n")
    own = read_own(str(directory / "posts.csv"))
    texts = prepare(None, own=own)
    texts.write(directory / "examples.parquet")
    write_json(directory / "examples.json", describe_own(texts, own))
    (directory / "annotations").mkdir()
    (directory / "annotations" / "agreement.json").write_text("{}")
    return finished_run(directory / "run", ("toxicity",)), directory / "examples.parquet"


OWN_PLAN = {"toxicity": LabelPlan(("posts",))}


def test_own_data_of_one_label_are_measured_and_carded_without_the_public_sets(tmp_path: Path) -> None:
    run, texts = own_run(tmp_path, ["train", "dev", "test", "train+", "dev+", "test+"] * 40)
    calibrate(run, texts, OWN_PLAN, device="cpu")
    found = evaluate(run, texts, OWN_PLAN, data=tmp_path, cases=CASES)
    assert found["natural"] is None
    assert found["annotated"]["labels"] == found["shift"]["labels"] == found["groups"] == {}
    write_json(run / EVALUATION, found)  # refuses NaN
    package(run, texts, tmp_path / "mine")
    card = (tmp_path / "mine" / "README.md").read_text()
    assert "## How well it orders texts" in card
    assert "## Robustness" in card
    for left_out in ("natural prevalence", "Each unseen source", "graded annotations", "By group", "nan "):
        assert left_out not in card
    with pytest.raises(ValueError, match=r"plan: expected the labels .* got none of \['toxicity'\]"):
        evaluate(run, texts, {})


@pytest.mark.parametrize("tested", [[], ["test"]], ids=["no test texts", "harmless test texts alone"])
def test_own_data_without_a_test_of_both_classes_are_measured_and_refused(
    tested: list[str], tmp_path: Path
) -> None:
    run, texts = own_run(tmp_path, ["train", "dev", "train+", "dev+", *tested] * 30)
    calibrate(run, texts, OWN_PLAN, device="cpu")
    found = evaluate(run, texts, OWN_PLAN, data=tmp_path, cases=CASES)
    assert found["robustness"] is None
    assert (found["novelty"] is None) == (not tested)
    assert found["labels"]["toxicity"]["refusal"].startswith("0 positives on held-out texts")
    write_json(run / EVALUATION, found)
    with pytest.raises(ValueError, match="expected a label with enough evidence, got none"):
        package(run, texts, tmp_path / "mine")


def test_own_data_without_a_dev_split_cannot_be_calibrated(tmp_path: Path) -> None:
    run, texts = own_run(tmp_path, ["train", "test", "train+", "test+"] * 10)
    with pytest.raises(ValueError, match="expected a label with rows to calibrate it on, got none"):
        calibrate(run, texts, OWN_PLAN, device="cpu")


def test_json_files_hold_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"auroc": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"auroc": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"auroc": 0.5}

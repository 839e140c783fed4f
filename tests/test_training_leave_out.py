import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.examples import LabelledTexts
from tests.tiny import labelled_texts, save_encoder
from training.leave_out import FIGURES, main, summary, without

WORDS = ("good", "day", "to", "you", "rude", "awful")
CONFIG = """
schema = 3
seed = 1
epochs = 2
batch_size = 16
max_tokens = 16
learning_rate = 1e-2
head_learning_rate = 1e-1
weight_decay = 0.0
warmup_share = 0.1
gradient_clip = 1.0
source_tempering = 0.5
label_tempering = 0.5
class_tempering = 0.0
preserve_weight = 0.0
frozen_layers = 0
dropout = 0.0
perturbed_share = 0.0
checkpoint_every = 50
evaluations = 1
patience = 3
dev_texts = 100
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On models this small, two threads wait for each other."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


def labelled(n: int = 1200) -> LabelledTexts:
    """Rude texts of three data sets; one of them has the labels of a second annotator too."""
    rng = np.random.default_rng(0)
    rude = rng.random(n) < 0.5
    text = [
        " ".join([*rng.choice(WORDS[:4], 3), WORDS[4 + i % 2] if bad else "good", f"w{i}"])
        for i, bad in enumerate(rude)
    ]
    source = np.array(["a", "b", "c", "notes/c"])[np.arange(n) % 4]
    split = np.array(["train", "train", "dev", "test", "unseen"])[np.arange(n) // 4 % 5]
    return labelled_texts(("toxicity",), text, rude[:, None], source=source, split=split)


def test_a_data_set_that_is_left_out_is_unseen_with_all_its_annotators() -> None:
    texts = labelled()
    left = without(texts, ("c",))
    of_c = np.isin(left.source, ["c", "notes/c"])
    assert set(left.split[of_c]) == {"unseen"}
    assert set(left.split[~of_c]) == {"train", "dev"}
    tested = {texts.text[int(i)] for i in np.flatnonzero(texts.split == "test")}
    assert {left.text[int(i)] for i in np.flatnonzero(of_c)} <= tested
    assert of_c.sum() == (np.isin(texts.source, ["c", "notes/c"]) & (texts.split == "test")).sum()


def test_a_data_set_without_held_out_texts_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match=r"--leave: expected data sets of \['a', 'b', 'c'\], got 'd'"):
        without(labelled(), ("a", "d"))


def test_the_mean_is_over_the_data_sets_of_all_trainings() -> None:
    first = {"toxicity": {"a": {"auroc": 0.9, "standard_error": 0.03, "tfidf": 0.7}}, "humor": {}}
    second = {"toxicity": {"b": {"auroc": 0.7, "standard_error": 0.04, "tfidf": None}}, "humor": {}}
    found = summary([first, second])
    assert set(found) == {"toxicity"}
    assert found["toxicity"]["mean"] == {"auroc": 0.8, "standard_error": 0.025, "n": 2}
    assert found["toxicity"]["tfidf_mean"] is None
    assert summary([first])["toxicity"]["tfidf_mean"] == 0.7


def test_with_a_head_of_its_own_each_training_is_measured_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled().write(tmp_path / "examples.parquet")
    hardly = CONFIG.replace("learning_rate = 1e-2", "learning_rate = 1e-9")
    (tmp_path / "config.toml").write_text(hardly.replace("learning_rate = 1e-1", "learning_rate = 1e-9"))
    (tmp_path / "head.toml").write_text(
        "schema = 1\nread_layers = [1, 2]\nsource_tempering = 0.5\nridge = 0.1\nsource_ridge = 0.001\n"
    )
    encoder = save_encoder(tmp_path / "encoder", WORDS, n_layers=2)
    options = ["--config", tmp_path / "config.toml", "--examples", tmp_path / "examples.parquet"]
    options += ["--head", tmp_path / "head.toml", "--encoder", encoder, "--leave", "a"]
    options += ["--out", tmp_path / "out", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["leave_out", *map(str, options)])
    main()
    found = json.loads((tmp_path / "out" / FIGURES).read_text())
    assert found["read_layers"] == [1, 2]
    at = options.index("--head")
    trained = (tmp_path / "out" / "0" / "model.safetensors").stat()
    monkeypatch.setattr(sys, "argv", ["leave_out", *map(str, options[:at] + options[at + 2 :])])
    main()
    own = json.loads((tmp_path / "out" / FIGURES).read_text())
    assert own["read_layers"] is None
    assert (tmp_path / "out" / "0" / "model.safetensors").stat() == trained  # nothing was trained again
    by_layer, by_head = (entry["labels"]["toxicity"]["sources"]["a"]["auroc"] for entry in (own, found))
    assert by_layer < 0.9 < 0.95 < by_head
    labelled(1100).write(tmp_path / "examples.parquet")
    with pytest.raises(ValueError, match="got another run: choose another --out"):
        main()


def test_each_training_is_measured_where_it_never_was_and_a_stopped_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled().write(tmp_path / "examples.parquet")
    (tmp_path / "config.toml").write_text(CONFIG)
    encoder = save_encoder(tmp_path / "encoder", WORDS)
    options = ["--config", tmp_path / "config.toml", "--examples", tmp_path / "examples.parquet"]
    options += ["--encoder", encoder, "--leave", "a", "b,c", "--out", tmp_path / "out", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["leave_out", *map(str, options)])
    main()
    written = (tmp_path / "out" / FIGURES).read_text()
    found = json.loads(written)
    assert (found["leave"], found["epochs"]) == (["a", "b,c"], 2)
    assert (bool(found["commit"]), found["read_layers"]) == (True, None)
    assert set(found["labels"]["toxicity"]["sources"]) == {"a", "b", "c", "notes/c"}
    assert found["labels"]["toxicity"]["mean"]["auroc"] > 0.7
    trained = LabelledTexts.read(tmp_path / "out" / "1" / "examples.parquet")
    assert set(trained.source[trained.split == "train"]) == {"a"}
    (tmp_path / "out" / FIGURES).unlink()
    (tmp_path / "out" / "1" / FIGURES).unlink()  # stopped while the second training was measured
    main()
    assert (tmp_path / "out" / FIGURES).read_text() == written

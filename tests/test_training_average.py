import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.encoder import MultiLabelEncoder, config_of
from models.examples import LabelledTexts
from tests.tiny import labelled_texts, random_bert, word_tokenizer
from training.average import average, without_seen


def labelled(text: list[str], split: list[str]) -> LabelledTexts:
    return labelled_texts(("toxicity", "humor"), text, np.zeros((len(text), 2)), source="s", split=split)


def run(folder: Path, seed: int, labels: tuple[str, ...], hidden: int = 8) -> Path:
    folder.mkdir()
    model = MultiLabelEncoder(random_bert(8, width=hidden, seed=seed), hidden, len(labels))
    torch.nn.init.normal_(model.head.weight)
    save_file(model.state_dict(), folder / "model.safetensors")
    word_tokenizer("abcd").save(str(folder / "tokenizer.json"))
    about = {
        "labels": list(labels),
        "encoder": config_of(model),
        "n_texts": seed,
        "seconds": 10,
        "commit": "x",
        "run": "r",
    }
    (folder / "training.json").write_text(json.dumps(about))
    return folder


def test_the_weights_are_the_mean_and_the_lineage_is_kept(tmp_path: Path) -> None:
    labelled(["a b", "c", "d"], ["train", "test", "dev"]).write(tmp_path / "e.parquet")
    entry = {"licence": "MIT", "role": "unseen", "rows": {"unseen": 1}}
    (tmp_path / "e.json").write_text(json.dumps({"s": entry, "web": entry}))
    (tmp_path / "older.json").write_text(json.dumps({"web": entry | {"role": "train", "rows": {"train": 7}}}))
    labelled(["C!", "other"], ["train", "dev"]).write(tmp_path / "older.parquet")
    runs = [run(tmp_path / "one", 1, ("toxicity", "humor")), run(tmp_path / "two", 2, ("humor",))]
    average(runs, tmp_path / "e.parquet", [tmp_path / "older.parquet"], tmp_path / "mean")
    one, two, mean = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two", "mean"))
    for name in (name for name in mean if name.startswith("encoder.")):
        torch.testing.assert_close(mean[name], (one[name] + two[name]) / 2)
    torch.testing.assert_close(mean["head.weight"][0], one["head.weight"][0] / 2)
    torch.testing.assert_close(mean["head.weight"][1], (one["head.weight"][1] + two["head.weight"][0]) / 2)
    about = json.loads((tmp_path / "mean" / "training.json").read_text())
    assert [part["n_texts"] for part in about["averaged"]] == [1, 2]
    assert about["seconds"] == 20
    assert "run" not in about  # the mean is none of them
    data = json.loads((tmp_path / "mean" / "examples.json").read_text())
    assert data["s"]["rows"] == {"dev": 1, "train": 1}
    assert (data["web"]["role"], data["web"]["rows"]) == ("train", {"train": 7})
    assert LabelledTexts.read(tmp_path / "mean" / "examples.parquet").text == ["a b", "d"]


def test_a_held_out_text_that_was_trained_on_elsewhere_is_dropped() -> None:
    texts = labelled(["Seen, once.", "new", "seen once", "seen once"], ["test", "test", "train", "unseen"])
    left = without_seen(texts, [labelled(["seen once", "new"], ["train", "test"])])
    assert left.text == ["new", "seen once"]
    many = labelled([f"t{i}" for i in range(10)], ["unseen"] * 10)
    assert without_seen(many, [labelled(["t0"], ["train"])]).n == 0
    assert without_seen(many, [labelled(["t0"], ["dev"])]).n == 10


def test_runs_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    labelled(["a"], ["train"]).write(tmp_path / "e.parquet")
    runs = [run(tmp_path / "one", 1, ("humor",)), run(tmp_path / "wide", 2, ("humor",), hidden=16)]
    with pytest.raises(ValueError, match="wide: expected the encoder and vocabulary of"):
        average(runs, tmp_path / "e.parquet", [], tmp_path / "mean")
    with pytest.raises(ValueError, match="runs: expected at least two, got 1"):
        average(runs[:1], tmp_path / "e.parquet", [], tmp_path / "mean")

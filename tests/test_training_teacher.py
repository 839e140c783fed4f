from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.artifact import read_artifact
from tests.tiny import labelled_texts, save_classifier
from training.teacher import Unlabelled, about_teacher


def test_texts_without_labels_follow_those_with(tmp_path: Path) -> None:
    texts = labelled_texts(("humor", "toxicity"), ["a", "b", "c"], np.array([[1.0, 0.0]] * 3))
    pq.write_table(pa.table({"text": ["x", "", "y"], "source": ["a", "a", "b"]}), tmp_path / "e.parquet")
    found = Unlabelled.read([tmp_path / "e.parquet"]).added_to(texts)
    assert list(found.text) == [*texts.text, "x", "y"]
    assert found.split.tolist()[3:] == ["train", "train"]
    assert found.source.tolist()[3:] == ["a", "b"]
    assert np.isnan(found.target[3:]).all()
    assert not found.weight[3:].any()
    assert len(set(found.group.tolist()[3:]) - set(texts.group.tolist())) == 2
    assert Unlabelled.read([]).added_to(texts) is texts


def test_a_teacher_is_named_with_what_its_training_began_with(tmp_path: Path) -> None:
    first = {"base_encoder_sha256": "b" * 64}
    for i, (training, began) in enumerate(
        ((first, "b" * 64), ({"started_from": first}, "b" * 64), ({}, None))
    ):
        artifact = read_artifact(
            save_classifier(tmp_path / str(i), ["w0"], ("toxicity",), about={"training": training})
        )
        assert about_teacher(artifact) == {
            "name": "tiny",
            "digest": artifact.digest,
            "base_encoder_sha256": began,
        }

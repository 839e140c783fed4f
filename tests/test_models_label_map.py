import tomllib
from pathlib import Path

import numpy as np
import pytest

from models.label_map import LabelMap, template

TEXT = """
schema = 1
activation = "sigmoid"
max_tokens = 64
[labels]
toxicity = "toxic"
profanity = ["obscene", "swear"]
"""
THEIRS = ("toxic", "obscene", "swear", "other")


def test_a_file_is_read_as_it_is_documented(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(TEXT)
    found = LabelMap.read(tmp_path / "map.toml")
    assert found == LabelMap({"toxicity": ("toxic",), "profanity": ("obscene", "swear")}, "sigmoid", 64)
    assert found.labels == ("toxicity", "profanity")
    found.check(THEIRS)


def test_a_checkpoint_beside_the_file_is_found_and_a_hub_id_is_kept(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for named, expected in (("model", str(tmp_path / "model")), ("owner/name", "owner/name")):
        (tmp_path / "map.toml").write_text(f'checkpoint = "{named}"\n{TEXT}')
        assert LabelMap.read(tmp_path / "map.toml").checkpoint == expected


@pytest.mark.parametrize(("activation", "expected"), [("sigmoid", [0.5, 0.3]), ("softmax", [0.5, 0.4])])
def test_several_labels_give_their_sum_or_their_largest(activation: str, expected: list[float]) -> None:
    chosen = LabelMap({"toxicity": ("toxic",), "profanity": ("obscene", "swear")}, activation)
    probability = np.array([[0.5, 0.3, 0.1, 0.1]])
    np.testing.assert_allclose(chosen.combined(probability, THEIRS), [expected])


def test_a_sum_of_all_classes_is_no_more_than_one() -> None:
    chosen = LabelMap({"toxicity": THEIRS}, "softmax")
    assert chosen.combined(np.array([[0.1, 0.2, 0.3, 0.4 + 1e-9]]), THEIRS) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("schema = 1", "schema = 2"), "schema: expected 1, got 2"),
        (("schema = 1", ""), "schema: expected 1, got None"),
        (("schema = 1", "schema = 1\nwindow = 3"), r"expected the keys .* got \['window'\]"),
        (('"sigmoid"', '"relu"'), r"activation: expected one of .* got 'relu'"),
        (('activation = "sigmoid"', ""), r"activation: expected one of .* got ''"),
        (("64", "4"), "max_tokens: expected a number from 8, got 4"),
        (("64", "true"), "max_tokens: expected a number from 8, got True"),
        (("[labels]", "[names]"), "expected the keys"),
        (
            ('[labels]\ntoxicity = "toxic"\nprofanity = ["obscene", "swear"]', "labels = 3"),
            "expected a table",
        ),
        (('toxicity = "toxic"\nprofanity = ["obscene", "swear"]', ""), "labels: expected at least one"),
        (("toxicity =", "toxcity ="), "'toxcity'; nearest: .'toxicity'"),
        (('"toxic"', "1"), "labels.toxicity: expected a label of the checkpoint or a list of them, got 1"),
        (('["obscene", "swear"]', "[]"), r"labels.profanity: expected .* got \(\)"),
        (('"swear"', '"obscene"'), "labels.profanity: expected labels of the checkpoint, each once"),
        (("[labels]", "[labels"), "map.toml: "),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in TEXT
    (tmp_path / "map.toml").write_text(TEXT.replace(*change))
    with pytest.raises(ValueError, match=message) as caught:
        LabelMap.read(tmp_path / "map.toml")
    assert str(caught.value).startswith(str(tmp_path / "map.toml"))


def test_a_label_that_the_checkpoint_lacks_is_named_with_the_nearest() -> None:
    chosen = LabelMap({"toxicity": ("toxc",)}, "sigmoid")
    with pytest.raises(
        ValueError, match=r"labels.toxicity: .*'toxc'; nearest: \['toxic'\]; it has: \['toxic'"
    ):
        chosen.check(THEIRS)


def test_a_template_is_filled_in_where_names_look_alike(tmp_path: Path) -> None:
    theirs = ["toxic", "severe-toxic", "Identity Attack", 'say "it"', "NEUTRAL", "not_toxic"]
    text = template(theirs, "sigmoid", "owner/name")
    assert '# ... = "say \\"it\\""' in text
    assert '# ... = "not_toxic"' in text
    assert tomllib.loads(text.replace("# ...", "humor", 1))["labels"]["humor"] == 'say "it"'
    (tmp_path / "map.toml").write_text(text)
    assert LabelMap.read(tmp_path / "map.toml") == LabelMap(
        {
            "toxicity": ("toxic",),
            "severe_toxicity": ("severe-toxic",),
            "identity_attack": ("Identity Attack",),
        },
        "sigmoid",
        checkpoint="owner/name",
    )

from pathlib import Path

import numpy as np
import pytest
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from models.classifier import HarmClassifier
from models.compose import Part, compose, load_parts
from models.scores import Content, HarmScores, Scorer
from tests.tiny import save_classifier, word_tokenizer

CONTENT = Content.of_texts(["one", "two"])


def constant(name: str, **probability: float) -> Scorer:
    def score(content: Content) -> HarmScores:
        values = np.tile(np.array(list(probability.values()), dtype=np.float32), (content.n, 1))
        return HarmScores(tuple(probability), values, values / 2, name)

    return score


A = constant("a@1", toxicity=0.5, humor=0.25, insult=0.125)
B = constant("b@2", toxicity=0.75, misinformation=1.0)


def test_each_part_contributes_its_labels_in_its_order() -> None:
    found = compose([Part(A, ("insult", "humor")), Part(B, ("toxicity", "misinformation"))])(CONTENT)
    assert found.labels == ("insult", "humor", "toxicity", "misinformation")
    np.testing.assert_array_equal(found.probability, [[0.125, 0.25, 0.75, 1.0]] * 2)
    np.testing.assert_array_equal(found.confidence, found.probability / 2)
    assert found.model == "a@1+b@2"


def test_one_part_with_all_its_labels_is_the_scorer_itself() -> None:
    found = compose([Part(B, ("toxicity", "misinformation"))])(CONTENT)
    np.testing.assert_array_equal(found.probability, B(CONTENT).probability)
    assert found.model == "b@2"


def test_no_posts_give_no_scores() -> None:
    found = compose([Part(A, ("humor",)), Part(B, ("toxicity",))])(Content.of_texts([]))
    assert found.probability.shape == (0, 2)


def test_a_label_from_two_models_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected each from one scorer, got \['toxicity'\] from several"):
        compose([Part(A, ("toxicity", "humor")), Part(B, ("toxicity",))])


def test_nothing_to_compose_is_refused() -> None:
    with pytest.raises(ValueError, match="parts: expected at least one"):
        compose([])
    with pytest.raises(ValueError, match="labels: expected at least one"):
        Part(A, ())


def test_a_label_that_a_part_lacks_is_named() -> None:
    with pytest.raises(ValueError, match=r"'humour'; nearest: .*'humor'"):
        compose([Part(A, ("humour",))])(CONTENT)


SIZES = {
    "vocab_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
}
MAP = """
schema = 1
checkpoint = "theirs"
activation = "sigmoid"
max_tokens = 16
[labels]
toxicity = "toxic"
insult = "rude"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier in "ours", a checkpoint in "theirs", and its label map in "map.toml"."""
    folder = tmp_path_factory.mktemp("models")
    words = ("good", "bad", "day")
    save_classifier(folder / "ours", words, ("toxicity", "humor", "civic"), name="ours")
    config = BertConfig(**SIZES, id2label={0: "toxic", 1: "rude"}, problem_type="multi_label_classification")
    BertForSequenceClassification(config).save_pretrained(folder / "theirs")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(words), pad_token="[PAD]")
    tokenizer.save_pretrained(folder / "theirs")
    (folder / "map.toml").write_text(MAP)
    return folder


def test_models_are_named_with_the_labels_to_take(folder: Path) -> None:
    done: list[int] = []
    parts = load_parts(f"{folder}/ours:civic,humor+{folder}/map.toml", "cpu", done.append)
    assert [part.labels for part in parts] == [("civic", "humor"), ("toxicity", "insult")]
    content = Content(["good day", None], ["en", None], [None, None])
    found = compose(parts)(content)
    assert found.scored.tolist() == [True, False]
    assert done == [1, 1]
    ours = HarmClassifier.load(folder / "ours", "cpu")(content)
    np.testing.assert_array_equal(found.column("civic")[0], ours.column("civic")[0])
    assert [name.split("@")[0] for name in found.model.split("+")] == ["ours", "theirs"]


def test_a_path_may_hold_what_joins_models(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a+b").symlink_to(folder / "ours")
    assert load_parts(f"{tmp_path}/a+b", "cpu")[0].labels == ("toxicity", "humor", "civic")


def test_two_models_for_one_label_have_to_be_told_apart(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"got \['toxicity'\] from several"):
        compose(load_parts(f"{folder}/ours+{folder}/map.toml", "cpu"))


@pytest.mark.parametrize(
    ("named", "error", "message"),
    [
        (
            "{}/ours:humour",
            ValueError,
            r"ours: expected a label that it scores, got 'humour'; nearest: \['humor'",
        ),
        ("{}/theirs", ValueError, "expected a label map, got none"),
        ("{}/none", FileNotFoundError, "expected a classifier"),
        ("{}/none.toml", FileNotFoundError, "none.toml"),
        ("{}/ours+", ValueError, r"model: expected SOURCE\[:LABEL"),
    ],
)
def test_a_model_that_cannot_be_used_is_named(
    folder: Path, named: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        load_parts(named.format(folder), "cpu")


def test_a_label_map_has_to_name_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP.replace('checkpoint = "theirs"', ""))
    with pytest.raises(ValueError, match=r"map.toml: checkpoint: expected a path or hub id, got none"):
        load_parts(f"{tmp_path}/map.toml")

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BloomConfig,
    BloomForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)

from models.checkpoint import UNCALIBRATED_CONFIDENCE, CheckpointScorer
from models.device import Placement
from models.label_map import LabelMap
from models.scores import Content
from tests.tiny import random_texts, word_tokenizer

WORDS = ["the", "a", "you", "are", "this", "good", "bad", "day", "kind", "rude", "thanks", "post"]
IN_FLOAT32 = Placement("cpu", "float32")
THEIRS = ("toxic", "obscene", "identity_hate")
MAP = LabelMap({"identity_attack": ("identity_hate",), "toxicity": ("toxic",)}, "sigmoid", 12)
SIZES = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
    "initializer_range": 0.3,
}


def tiny_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=word_tokenizer(WORDS), **special)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint") / "toxic-bert"
    torch.manual_seed(0)
    config = BertConfig(**SIZES, id2label=dict(enumerate(THEIRS)), problem_type="multi_label_classification")
    model = BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.weight, std=0.3)
    model.save_pretrained(directory)
    tiny_tokenizer(pad_token="[PAD]", unk_token="[UNK]").save_pretrained(directory)
    return directory


def in_float32(directory: Path, label_map: LabelMap = MAP) -> CheckpointScorer:
    model = AutoModelForSequenceClassification.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return CheckpointScorer(str(directory), label_map, model, tokenizer, IN_FLOAT32)


def by_pipeline(directory: Path, texts: list[str], activation: str) -> dict[str, np.ndarray]:
    """The oracle: what the library itself says of each text alone."""
    classify = pipeline(
        "text-classification",
        model=str(directory),
        top_k=None,
        function_to_apply=activation,
        device="cpu",
    )
    found = [{row["label"]: row["score"] for row in rows} for rows in classify(texts)]
    return {name: np.array([row[name] for row in found]) for name in THEIRS}


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_scores_are_those_of_the_library(tiny: Path, activation: str) -> None:
    texts = random_texts(WORDS, 40, 10)
    parts = {"profanity": ("obscene",), "toxicity": ("identity_hate", "toxic")}
    found = in_float32(tiny, LabelMap(parts, activation, 12))(Content.of_texts(texts))
    expected = by_pipeline(tiny, texts, activation)
    both = (expected["identity_hate"], expected["toxic"])
    np.testing.assert_allclose(found.column("profanity")[0], expected["obscene"], atol=1e-5)
    wanted = np.maximum(*both) if activation == "sigmoid" else sum(both)
    np.testing.assert_allclose(found.column("toxicity")[0], wanted, atol=1e-5)
    assert found.probability.std(axis=0).min() > 0.01  # the comparison is not one of constants


def test_a_loaded_checkpoint_scores_in_the_precision_of_the_machine(tiny: Path) -> None:
    texts = random_texts(WORDS, 40, 10)
    found = CheckpointScorer.load(tiny, MAP, device="cpu")(Content.of_texts(texts))
    exact = in_float32(tiny)(Content.of_texts(texts))
    assert found.labels == ("identity_attack", "toxicity")
    np.testing.assert_allclose(
        found.probability, exact.probability, atol=0.05
    )  # bfloat16 where the CPU has it
    assert (found.confidence == UNCALIBRATED_CONFIDENCE).all()


def test_long_text_is_read_in_windows_and_keeps_the_largest(tiny: Path) -> None:
    words = random_texts(WORDS, 1, 59)[0].split()
    words += WORDS * 3
    room, step = 10, 9  # 12 tokens with two special ones; an eighth of the 12, rounded down, is shared
    starts = range(0, len(words) - room + step, step)
    windows = [" ".join(words[start : start + room]) for start in starts]
    assert set(words[starts[-1] :]) <= set(windows[-1].split())  # nothing is left over
    found = in_float32(tiny)(Content.of_texts([" ".join(words)])).column("toxicity")[0]
    np.testing.assert_allclose(found, by_pipeline(tiny, windows, "sigmoid")["toxic"].max(), atol=1e-5)


def test_a_text_that_just_fits_is_one_window(tiny: Path) -> None:
    text = " ".join(WORDS[:10])
    found = in_float32(tiny)(Content.of_texts([text])).column("toxicity")[0]
    np.testing.assert_allclose(found, by_pipeline(tiny, [text], "sigmoid")["toxic"], atol=1e-5)


def test_posts_without_text_are_unscored_and_equal_ones_computed_once(tiny: Path) -> None:
    done: list[int] = []
    texts = ["good day", None, "", " \n", "good day", "rude", "bad day you are"]
    scorer = in_float32(tiny)
    found = scorer(Content.of_texts(texts), on_batch=done.append)
    assert found.scored.tolist() == [True, False, False, False, True, True, True]
    assert (found.probability[0] == found.probability[4]).all()
    assert done == [3]
    assert not scorer(Content.of_texts([None])).scored.any()


def test_the_name_carries_a_digest_of_weights_and_map(tiny: Path) -> None:
    name = in_float32(tiny).name
    assert name.startswith("toxic-bert@")
    assert CheckpointScorer.load(tiny, MAP, device="cpu").name == name
    other_map = LabelMap({"toxicity": ("toxic",)}, "sigmoid", 12)
    model = AutoModelForSequenceClassification.from_pretrained(tiny)
    with torch.no_grad():
        model.classifier.bias[0] += 1
    changed = CheckpointScorer(str(tiny), MAP, model, AutoTokenizer.from_pretrained(tiny), IN_FLOAT32)
    assert len({name, in_float32(tiny, other_map).name, changed.name}) == 3


def test_without_a_map_the_error_has_one_to_fill_in(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected a label map, got none; its labels: \['toxic', "
    ) as caught:
        CheckpointScorer.load(tiny, None)
    (tmp_path / "map.toml").write_text(
        str(caught.value).split("\n\n", 1)[1].replace("max_tokens = 512", "max_tokens = 12")
    )
    found = LabelMap.read(tmp_path / "map.toml")
    assert found.activation == "sigmoid"
    assert found.parts["toxicity"] == ("toxic",)
    assert found.checkpoint == str(tiny)
    assert CheckpointScorer.load(found.checkpoint, tmp_path / "map.toml", device="cpu").labels == found.labels


def test_classes_that_exclude_each_other_suggest_a_softmax(tmp_path: Path) -> None:
    BertConfig(**SIZES, id2label={0: "hate", 1: "other"}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match='activation = "softmax"'):
        CheckpointScorer.load(tmp_path, None)


def test_a_map_that_does_not_fit_is_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"toxic-bert: labels.insult: .*'obscen'; nearest: \['obscene'\]"):
        CheckpointScorer.load(tiny, LabelMap({"insult": ("obscen",)}, "sigmoid", 12))
    with pytest.raises(ValueError, match=r"expected at most 24 .its positions., got 25"):
        CheckpointScorer.load(tiny, LabelMap({"toxicity": ("toxic",)}, "sigmoid", 25))


def test_positions_of_roberta_start_after_the_padding(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = RobertaConfig(**SIZES, id2label=dict(enumerate(THEIRS)), pad_token_id=0)
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tiny_tokenizer(pad_token="[PAD]").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="max_tokens: expected at most 23"):
        CheckpointScorer.load(tmp_path, LabelMap({"toxicity": ("toxic",)}, "sigmoid", 24))
    scorer = CheckpointScorer.load(tmp_path, LabelMap({"toxicity": ("toxic",)}, "sigmoid", 23), device="cpu")
    assert scorer(Content.of_texts([" ".join(WORDS * 4)])).scored.all()


def test_a_decoder_without_positions_reads_the_last_token_of_each_text(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = BloomConfig(
        vocab_size=20,
        hidden_size=16,
        n_layer=1,
        n_head=2,
        initializer_range=1.0,
        id2label=dict(enumerate(THEIRS)),
        pad_token_id=None,
    )
    model = BloomForSequenceClassification(config)
    torch.nn.init.normal_(model.score.weight)
    model.save_pretrained(tmp_path)
    tiny_tokenizer(pad_token="[PAD]").save_pretrained(tmp_path)
    texts = random_texts(WORDS, 8, 10)
    found = CheckpointScorer.load(tmp_path, MAP, device="cpu")(Content.of_texts(texts))
    expected = by_pipeline(tmp_path, texts, "sigmoid")
    np.testing.assert_allclose(found.column("toxicity")[0], expected["toxic"], atol=0.03)  # bfloat16
    assert expected["toxic"].std() > 0.05


def test_incomplete_weights_are_never_loaded(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"cut: expected whole safetensors, .*half written"):
        CheckpointScorer.load(tmp_path / "cut", MAP)
    weights.unlink()
    with pytest.raises(OSError, match="cut: expected a checkpoint for sequence classification, got: "):
        CheckpointScorer.load(tmp_path / "cut", MAP)
    torch.nn.Module.eval(BertModel(BertConfig(**SIZES))).save_pretrained(tmp_path / "bare")
    config = json.loads((tiny / "config.json").read_text())
    (tmp_path / "bare" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"bare: expected the weights of BertForSequence.*'classifier.bias'"):
        CheckpointScorer.load(tmp_path / "bare", MAP)
    shutil.copytree(tiny, tmp_path / "wide")
    (tmp_path / "wide" / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(ValueError, match="wide: expected a checkpoint for sequence classification"):
        CheckpointScorer.load(tmp_path / "wide", MAP)


def test_pickled_weights_and_code_of_the_checkpoint_are_not_read(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"never read")
    with pytest.raises(OSError, match="pickled: expected a checkpoint for sequence classification"):
        CheckpointScorer.load(tmp_path / "pickled", MAP)
    shutil.copytree(tiny, tmp_path / "code")
    config = json.loads((tiny / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "evil.Config"}}
    (tmp_path / "code" / "config.json").write_text(json.dumps(config))
    (tmp_path / "code" / "evil.py").write_text("raise SystemExit('was run')")
    with pytest.raises(ValueError, match="code: expected a checkpoint for sequence classification"):
        CheckpointScorer.load(tmp_path / "code", MAP)


def test_a_path_that_is_not_there_is_no_hub_id(tmp_path: Path) -> None:
    for source in (tmp_path / "nowhere", "nowhere", "./no/where"):
        with pytest.raises(FileNotFoundError, match="expected a directory or a hub id"):
            CheckpointScorer.load(source, MAP)


def test_a_tokenizer_has_to_pad(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "odd")
    tiny_tokenizer(unk_token="[UNK]").save_pretrained(tmp_path / "odd")
    with pytest.raises(ValueError, match="odd: expected a fast tokenizer with a padding token"):
        CheckpointScorer.load(tmp_path / "odd", MAP)


def test_cuda_agrees_with_the_cpu(tiny: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    content = Content.of_texts(random_texts(WORDS, 64, 39))
    found = CheckpointScorer.load(tiny, MAP, device="cuda")(content).probability
    np.testing.assert_allclose(found, in_float32(tiny)(content).probability, atol=0.05)

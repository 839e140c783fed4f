"""What several tests are made from: a tokenizer of whole words, random networks, and labelled texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from models.artifact import write_artifact
from models.calibration import Platt
from models.encoder import MultiLabelEncoder, config_of
from models.examples import LabelledTexts

PLATT = Platt(1.0, -1.0, (0.01, 0.0, 0.0, 0.01), 0.1, True, 100, 10)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def word_tokenizer(words: Sequence[str]) -> Tokenizer:
    """One token per word, numbered after the four special ones, between [CLS] and [SEP]."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def random_bert(vocabulary: int, *, width: int = 16, n_layers: int = 1, seed: int = 0) -> BertModel:
    """A BERT of two heads without pooler; the seed decides its weights."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=n_layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
    )
    return BertModel(config, add_pooling_layer=False)


def random_network(n_labels: int, *, vocabulary: int = 32) -> MultiLabelEncoder:
    """Two layers of a random BERT and a head of some strength."""
    model = MultiLabelEncoder(random_bert(vocabulary, n_layers=2), 16, n_labels)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def save_classifier(
    directory: Path, words: Sequence[str], labels: tuple[str, ...], **changed: object
) -> Path:
    """The directory, with a `random_network` as a classifier that reads 12 tokens at a time."""
    model = random_network(len(labels))
    options = {
        "name": "tiny",
        "labels": labels,
        "calibration": (PLATT,) * len(labels),
        "encoder": config_of(model),
        "about": {},
        "max_tokens": 12,
    }
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    write_artifact(directory, weights, word_tokenizer(words).to_str(), **(options | changed))
    return directory


def random_texts(words: Sequence[str], n: int, longest: int = 19, seed: int = 0) -> list[str]:
    """n texts of up to `longest` words."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words, rng.integers(1, longest + 1))) for _ in range(n)]


def save_encoder(directory: Path, words: Sequence[str], *, n_layers: int = 1) -> Path:
    """The directory, with a random encoder of these words as the hub saves one."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(words), pad_token="[PAD]", unk_token="[UNK]"
    )
    tokenizer.save_pretrained(directory)
    random_bert(len(SPECIAL) + len(words), n_layers=n_layers).save_pretrained(directory)
    return directory


def labelled_texts(
    labels: tuple[str, ...],
    text: Sequence[str],
    target: ArrayLike,
    *,
    source: ArrayLike = "web",
    split: ArrayLike = "train",
    aspect: ArrayLike = "",
) -> LabelledTexts:
    """n texts of weight 1, each in a group of its own; one value of a column stands for all texts."""
    n = len(text)
    return LabelledTexts(
        labels=labels,
        text=text,
        target=np.asarray(target, dtype=np.float32),
        weight=np.ones((n, len(labels)), dtype=np.float32),
        source=np.full(n, source),
        split=np.full(n, split),
        group=np.arange(n),
        aspect=np.full(n, aspect),
    )

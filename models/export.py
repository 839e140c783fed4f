"""A classifier as a transformers model, for pipelines and other tools of that library.

The calibration is folded into the head, so that the sigmoid of an exported logit is the calibrated
probability. What `HarmClassifier` does around the model stays behind: normalising texts, leaving those it
cannot judge unscored, and the confidence.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from models.artifact import TOKENIZER, Artifact, Weights, read_artifact, read_weights
from models.bundled import artifact_directory
from models.encoder import HarmConfig, HarmModel, register

_CARD = "README.md"
_SPECIAL = {
    "pad_token": ("[PAD]", "<pad>"),
    "unk_token": ("[UNK]", "<unk>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "mask_token": ("[MASK]", "<mask>"),
}


def as_transformers(source: str | Path = "bundled") -> tuple[HarmModel, PreTrainedTokenizerFast]:
    """The float32 model of a classifier, in evaluation mode, and its tokenizer.

    Longer texts are cut only where the caller asks for it (`truncation=True`), at the artifact's limit.

    Raises:
        FileNotFoundError: there is no classifier at the path.
        ValueError: a file was altered, or the weights do not fit the architecture.
    """
    directory = artifact_directory(source)
    artifact = read_artifact(directory)
    model = HarmModel(_config(artifact))
    if artifact.encoder.get("model_type") == "harm-bag":
        raise ValueError(f"{directory}: expected a transformers encoder, got a fast model, which is none")
    weights = _calibrated_head(_network(read_weights(directory)), artifact)
    try:
        model.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    except RuntimeError as error:
        raise ValueError(
            f"{directory}: expected weights of the encoder in its manifest, got: {error}"
        ) from None
    model.train(False)
    return model, _tokenizer(directory / TOKENIZER, artifact.max_tokens)


def write_transformers(source: str | Path, directory: Path) -> None:
    """Writes model, tokenizer and card of a classifier to a new directory, whole or not at all.

    After `register()`, `pipeline("text-classification", model=directory)` reads it.

    Raises:
        FileNotFoundError: there is no classifier at `source`, or no folder to write into.
        ValueError: the directory is not empty, or the classifier cannot be used.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory}: expected a new or empty directory, got one with files")
    model, tokenizer = as_transformers(source)
    card = artifact_directory(source) / _CARD
    with TemporaryDirectory(dir=directory.resolve().parent) as parent:
        draft = Path(parent) / "model"
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        if card.exists():
            shutil.copyfile(card, draft / _CARD)
        for path in draft.iterdir():
            path.chmod(0o644)  # safetensors gives 0o600
        draft.replace(directory)


def _config(artifact: Artifact) -> HarmConfig:
    register()
    return HarmConfig(
        encoder=artifact.encoder,
        id2label=dict(enumerate(artifact.labels)),
        label2id={label: i for i, label in enumerate(artifact.labels)},
        pad_token_id=artifact.encoder.get("pad_token_id") or 0,
        artifact=f"{artifact.name}@{artifact.digest}",
    )


def _network(weights: Weights) -> Weights:
    """The weights without those that measure familiarity, for which transformers has no place."""
    return {name: values for name, values in weights.items() if not name.startswith("familiarity.")}


def _calibrated_head(weights: Weights, artifact: Artifact) -> Weights:
    slope = np.array([platt.slope for platt in artifact.calibration], dtype=np.float32)
    intercept = np.array([platt.intercept for platt in artifact.calibration], dtype=np.float32)
    return weights | {
        "head.weight": weights["head.weight"] * slope[:, None],
        "head.bias": weights["head.bias"] * slope + intercept,
    }


def _tokenizer(path: Path, max_tokens: int) -> PreTrainedTokenizerFast:
    """The tokenizer with those special tokens, of BERT's or RoBERTa's names, that its vocabulary has."""
    tokenizer = Tokenizer.from_file(str(path))
    vocabulary = tokenizer.get_vocab()
    special = {
        role: next((name for name in names if name in vocabulary), None) for role, names in _SPECIAL.items()
    }
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=max_tokens,
        model_input_names=["input_ids", "attention_mask"],
        **{role: name for role, name in special.items() if name is not None},
    )

"""What the encoder of a run makes of texts, before any head."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from torch import nn

from models.artifact import TOKENIZER, write_artifact
from models.bag import MODEL_TYPE, BagModel
from models.calibration import UNCALIBRATED
from models.device import place
from models.encoder import MultiLabelEncoder
from training.batches import Tokens, tokenize
from training.run import read_about
from training.start import starting_model
from training.validation import dev_logits

_MAX_TOKENS = 128


def pooled_features(run: Path, text: list[str], *, device: str = "auto") -> NDArray[np.float32]:
    """float32 (n, d): what the head reads of each text, cut at 128 tokens."""
    about = read_about(run)
    if about["encoder"].get("model_type") == MODEL_TYPE:
        return _of_student(run, about, text)
    model, tokenizer, _ = starting_model(str(run), tuple(about["labels"]))
    return encoder_features(model, tokenizer, text, device=device)


def encoder_features(
    model: MultiLabelEncoder, tokenizer: Tokenizer, text: list[str], *, device: str = "auto"
) -> NDArray[np.float32]:
    """float32 (n, d): what the head of `model` reads of each text, cut at 128 tokens; the head is lost."""
    width = model.head.in_features
    model.head = nn.Linear(width, width)
    with torch.no_grad():
        model.head.weight.copy_(torch.eye(width))
        model.head.bias.zero_()
    placement = place(device)
    model.encoder.to(placement.dtype)
    model.to(placement.device)
    pad_id = int(getattr(model.encoder.config, "pad_token_id", 0) or 0)
    tokens = tokenize(text, tokenizer, max_tokens=_MAX_TOKENS, pad_id=pad_id)
    return dev_logits(model, tokens, placement.device).astype(np.float32)


def _of_student(run: Path, about: dict[str, Any], text: list[str]) -> NDArray[np.float32]:
    tokens = tokenize(text, Tokenizer.from_file(str(run / TOKENIZER)), max_tokens=_MAX_TOKENS, pad_id=0)
    with TemporaryDirectory() as folder:
        artifact = write_artifact(
            Path(folder),
            load_file(run / "model.safetensors"),
            (run / TOKENIZER).read_text(),
            name=run.name,
            labels=tuple(about["labels"]),
            calibration=(UNCALIBRATED,) * len(about["labels"]),
            encoder=about["encoder"],
            about={},
        )
        return np.asarray(BagModel(Path(folder), artifact).features(_lists(tokens)))


def _lists(tokens: Tokens) -> list[list[int]]:
    parts = np.split(tokens.ids, tokens.offsets[1:-1])
    return [part.tolist() for part in parts]

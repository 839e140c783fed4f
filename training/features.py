"""What the encoder of a run makes of texts, before any head."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.device import place
from training.batches import tokenize
from training.start import starting_model
from training.validation import dev_logits

_MAX_TOKENS = 128


def pooled_features(run: Path, text: list[str], *, device: str = "auto") -> NDArray[np.float32]:
    """float32 (n, d): the mean of the last hidden states of each text, cut at 128 tokens."""
    model, tokenizer, _ = starting_model(str(run), ("toxicity",))
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

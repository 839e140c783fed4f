"""A text encoder with mean pooling and one linear head: a logit per label.

A plain module around any transformers encoder, so that a small model, a large one and a randomly
initialised one for tests differ in their config alone.
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel


class MultiLabelEncoder(nn.Module):
    """Logits (n, n_labels) of token ids (n, length) with their attention mask."""

    def __init__(self, encoder: nn.Module, hidden_size: int, n_labels: int) -> None:
        """Wraps `encoder`; the head starts at zero, so that every probability starts at one half."""
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(hidden_size, n_labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Float32 logits (n, n_labels); padding does not count in the mean."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.float()
        kept = attention_mask.unsqueeze(-1).float()  # (n, length, 1)
        pooled = (hidden * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)  # (n, hidden)
        logits: torch.Tensor = self.head(pooled).float()
        return logits


def from_pretrained(source: str, n_labels: int) -> MultiLabelEncoder:
    """A new head on the encoder at a local path or a hub id (the latter is downloaded).

    Raises:
        OSError: there is no such model.
    """
    encoder = AutoModel.from_pretrained(source, add_pooling_layer=False)
    return MultiLabelEncoder(encoder, int(encoder.config.hidden_size), n_labels)


def from_config(config: dict[str, Any], n_labels: int) -> MultiLabelEncoder:
    """The same architecture with random weights, from the `config` that `config_of` gave."""
    settings = dict(config)
    encoder = AutoModel.from_config(  # type: ignore[no-untyped-call]
        AutoConfig.for_model(settings.pop("model_type"), **settings), add_pooling_layer=False
    )
    return MultiLabelEncoder(encoder, int(encoder.config.hidden_size), n_labels)


def config_of(model: MultiLabelEncoder) -> dict[str, Any]:
    """What `from_config` needs to build the architecture again: JSON-ready, without names or paths."""
    config: Any = model.encoder.config
    found: dict[str, Any] = config.to_diff_dict()
    drop = {"_name_or_path", "transformers_version", "architectures", "gradient_checkpointing", "dtype"}
    kept = {key: value for key, value in found.items() if key not in drop}
    return kept | {"model_type": config.model_type}

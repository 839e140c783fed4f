"""Training that keeps what the encoder knew: its old features must stay linear in the new ones.

A fine-tuned encoder forgets what its task does not ask for, and then transfers worse to other sources than
the features it started from. Here a linear map, dropped after training, leads from the features in training
to those of the unchanged encoder, and its error is added to the loss. Linear, so that the features may turn
and stretch, and of the text as it was before misspelling, so that disguised words are read as what they were.

Sources: A. Kumar et al., "Fine-tuning can distort pretrained features and underperform out-of-distribution",
2022; Z. Li and D. Hoiem, "Learning without forgetting", 2016.
"""

import numpy as np
import torch
from torch import nn

from models.encoder import MultiLabelEncoder
from training.batches import Tokens

_BATCH = 64


class Preserving(nn.Module):
    """A model in training, with the linear map back to the features that it started from."""

    def __init__(self, model: MultiLabelEncoder, *, with_map: bool) -> None:
        """The map starts as the identity; without it the second output of `forward` is empty."""
        super().__init__()
        self.model = model
        self.back = nn.Module()
        if with_map:
            self.back = nn.Linear(model.head.in_features, model.head.in_features)
            nn.init.eye_(self.back.weight)
            nn.init.zeros_(self.back.bias)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 logits (n, L), and the mapped features (n, hidden), or (n, 0) without a map."""
        pooled = self.model.pooled(input_ids, attention_mask)
        mapped = self.back(pooled).float() if isinstance(self.back, nn.Linear) else pooled[:, :0]
        return self.model.logits(pooled), mapped


def distance(mapped: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Float32 (n,): squared distance of the mapped features to those at the start, both (n, hidden).

    In units of the squared length of the features at the start: 0 is all preserved, 1 nothing.
    """
    return (mapped - start).square().sum(dim=1) / start.square().sum(dim=1)


def pooled_features(model: MultiLabelEncoder, tokens: Tokens, device: str) -> torch.Tensor:
    """Float32 (n, hidden), on the CPU, of all texts in `tokens`; leaves the model in training mode."""
    order = np.argsort(tokens.length, kind="stable")
    found = torch.empty(len(order), model.head.in_features)
    model.eval()
    with torch.no_grad():
        for first in range(0, len(order), _BATCH):
            rows = order[first : first + _BATCH]
            ids, mask = (part.to(device) for part in tokens.padded(rows))
            found[rows] = model.pooled(ids, mask).cpu()
    model.train()
    return found

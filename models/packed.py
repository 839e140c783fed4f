"""BERT without padding: the tokens of a batch lie behind one another, in runs of texts of equal length.

Matrix products read all tokens at once and attention one run at a time, so there is neither padding nor a
mask, and the logits of a text do not depend on the lengths beside it. On one 2-core machine it took
three quarters of the time of the transformers module, which every other architecture runs in.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.encoder import MultiLabelEncoder, layers_read

_EXPECTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}

FILLED_TO = 128
"""Tokens are filled up to a multiple of this many. With few distinct sizes the allocator gives out the same
blocks again; without, one process held 1.6 GB after 80,000 posts and was still growing."""

Run = tuple[int, int, int]  # first token, number of texts, their length


def is_packable(config: dict[str, Any]) -> bool:
    """Whether `PackedBert` computes what the transformers module of this config does."""
    found = {"hidden_act": "gelu", "position_embedding_type": "absolute"} | config
    return not config.get("is_decoder") and all(found.get(key) == value for key, value in _EXPECTED.items())


def runs_of(lengths: Sequence[int]) -> list[Run]:
    """The runs of neighbours of equal length; few where the texts are sorted by length."""
    runs: list[Run] = []
    start = 0
    for length, group in groupby(lengths):
        n = len(list(group))
        runs.append((start, n, length))
        start += n * length
    return runs


class Embeddings:
    """What the layers of a BERT begin with: each token's word and place, normalised."""

    def __init__(self, model: MultiLabelEncoder) -> None:
        """Takes the weights of a model of a config that `is_packable`, as they are."""
        own: Any = model.encoder.embeddings
        self._words = own.word_embeddings.weight
        self._positions = own.position_embeddings.weight + own.token_type_embeddings.weight[0]
        self._norm = own.LayerNorm
        self.device: torch.device = self._words.device

    def __call__(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Hidden states (T, hidden) of token ids (T,) at places (T,) of their texts."""
        hidden: Tensor = self._norm(self._words[tokens] + self._positions[places])
        return hidden


class PackedBert:
    """The weights of a BERT and its head, and the forward pass over packed texts."""

    def __init__(self, model: MultiLabelEncoder) -> None:
        """Takes a loaded model of a config that `is_packable`, on its device and in its precision."""
        encoder: Any = model.encoder
        self._embeddings = Embeddings(model)
        self._layers = [_Layer(layer, encoder.config.num_attention_heads) for layer in encoder.encoder.layer]
        self._head, self._read = model.head, layers_read(encoder)

    def __call__(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Float32 logits (n, n_labels) of n texts of token ids, none of them empty."""
        runs = runs_of([len(entry) for entry in ids])
        device = self._embeddings.device
        n_tokens = sum(n * length for _, n, length in runs)
        filled = [0] * (-n_tokens % FILLED_TO)
        tokens = torch.tensor([token for entry in ids for token in entry] + filled).to(device)  # (T,)
        places = [torch.arange(length, device=device).repeat(n) for _, n, length in runs]
        places.append(torch.zeros(len(filled), dtype=torch.long, device=device))
        hidden = self._embeddings(tokens, torch.cat(places))  # (T, hidden)
        means = []
        for number, layer in enumerate(self._layers, 1):
            hidden = layer(hidden, runs)
            if number in self._read:
                means.append(_means(hidden, runs))
        logits: Tensor = self._head(torch.cat(means, dim=1).to(self._head.weight.dtype)).float()
        return logits


def _means(hidden: Tensor, runs: Sequence[Run]) -> Tensor:
    """Float32 (n, hidden): the mean over the tokens of each text."""
    return torch.cat(
        [
            hidden[start : start + n * length].view(n, length, -1).float().mean(dim=1)
            for start, n, length in runs
        ]
    )


class _Layer:
    """One layer: attention, then the feed-forward network, each with its residual and norm."""

    def __init__(self, layer: Any, n_heads: int) -> None:
        own = layer.attention.self
        parts = (own.query, own.key, own.value)
        self._inward = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        self._n_heads = n_heads
        self._mix: nn.Linear = layer.attention.output.dense
        self._mix_norm: nn.LayerNorm = layer.attention.output.LayerNorm
        self._widen: nn.Linear = layer.intermediate.dense
        self._narrow: nn.Linear = layer.output.dense
        self._norm: nn.LayerNorm = layer.output.LayerNorm

    def __call__(self, hidden: Tensor, runs: Sequence[Run]) -> Tensor:
        """The hidden states (T, hidden) of the next layer."""
        attended = self._attention(functional.linear(hidden, *self._inward), runs)
        hidden = self._mix_norm(self._mix(attended).add_(hidden))
        normed: Tensor = self._norm(self._narrow(functional.gelu(self._widen(hidden))).add_(hidden))
        return normed

    def _attention(self, inward: Tensor, runs: Sequence[Run]) -> Tensor:
        """(T, hidden) of queries, keys and values (T, 3 hidden); each text attends to itself alone."""
        attended = inward.new_empty(inward.shape[0], inward.shape[1] // 3)
        start, n, length = runs[-1]
        attended[start + n * length :] = 0.0  # what fills the block, which nothing reads
        for start, n, length in runs:
            tokens = slice(start, start + n * length)
            by_head = inward[tokens].view(n, length, 3, self._n_heads, -1).permute(2, 0, 3, 1, 4)
            found = functional.scaled_dot_product_attention(by_head[0], by_head[1], by_head[2])
            attended[tokens].view(n, length, self._n_heads, -1).copy_(found.transpose(1, 2))
        return attended

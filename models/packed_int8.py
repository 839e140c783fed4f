"""`Int8Bert`: the forward pass of `models.packed` with int8 matrix products.

The weights of an artifact lie on disk as int8 with a scale per row, so nothing of them is lost. What the
tokens are is written with a scale per token and its largest entries as they are (models.int8_kernels).
Attention, norms and sums are float32, and those of one text know nothing of the others: its logits are the
same bits in any batch and with any number of threads, which MKL does not promise of float32 products.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.encoder import MultiLabelEncoder, layers_read
from models.int8_kernels import (
    KEPT,
    WIDEST,
    Floats,
    Head,
    Linear,
    Norm,
    Places,
    Product,
    Rows,
    add_norm,
    attend,
    gelu,
    read_out,
    write_rows,
)
from models.packed import FILLED_TO, Embeddings, is_packable, runs_of

_TOKENS_OF_A_THREAD = 2048  # with 4096 no quicker, in 150 MB more for two threads


def is_packable_int8(config: dict[str, Any]) -> bool:
    """Whether `Int8Bert` computes what the transformers module of this config does, but for rounding."""
    if not is_packable(config):
        return False
    found = {"hidden_size": 768, "intermediate_size": 3072} | config
    return max(int(found["hidden_size"]), int(found["intermediate_size"])) <= WIDEST


class Int8Bert:
    """The weights of a BERT as levels, its head, and the forward pass over packed texts."""

    def __init__(self, model: MultiLabelEncoder) -> None:
        """Takes a loaded float32 model of a config that `is_packable_int8`, on the CPU."""
        encoder: Any = model.encoder
        self._embeddings = Embeddings(model)
        self._layers = [_Layer(layer, encoder.config.num_attention_heads) for layer in encoder.encoder.layer]
        self._heads, self._n_logits = _heads(model), model.head.out_features
        self._logits([[0]])  # compiles the loops here, not while somebody waits for the first text
        self._n_threads = torch.get_num_threads()
        self._threads = _single_threads(self._n_threads)

    @property
    def tokens_at_once(self) -> int:
        """How many tokens to give it in one call."""
        return _TOKENS_OF_A_THREAD * self._n_threads

    def __call__(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Float32 logits (n, n_labels) of n texts of token ids, none of them empty.

        Each thread takes texts of its own through all layers: waiting for one another after every step, two
        threads took 7% longer.
        """
        n_parts = min(self._n_threads, len(ids))
        if n_parts == 1:
            return self._logits(ids)
        parts = [ids[i::n_parts] for i in range(n_parts)]  # alike where the texts are sorted by length
        logits = torch.empty(len(ids), self._n_logits)
        for i, found in enumerate(self._threads.map(self._logits, parts)):
            logits[i::n_parts] = found
        return logits

    @torch.inference_mode()  # which is a setting of the thread
    def _logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        lengths = [len(entry) for entry in ids]
        runs = runs_of(lengths)
        tokens = torch.tensor([token for entry in ids for token in entry])  # (T,)
        places = torch.cat([torch.arange(length).repeat(n) for _, n, length in runs])
        hidden = self._embeddings(tokens, places)  # (T, hidden)
        texts = np.stack([np.cumsum([0, *lengths[:-1]]), lengths], axis=1)
        state = hidden.numpy()
        rows = _empty_rows(*state.shape)
        write_rows(state, rows)
        logits = np.zeros((len(texts), self._n_logits), np.float32)
        for number, layer in enumerate(self._layers, 1):
            layer(state, rows, texts)
            if number in self._heads:
                read_out(state, texts, self._heads[number], logits)
        return torch.from_numpy(logits)


def _heads(model: MultiLabelEncoder) -> dict[int, Head]:
    """By number of the layer, what the head makes of it; the first adds the bias."""
    layers = layers_read(model.encoder)
    weight, bias = (part.detach().numpy() for part in (model.head.weight, model.head.bias))
    blocks = np.split(weight, len(layers), axis=1)
    return {
        layer: Head(np.ascontiguousarray(block), bias * np.float32(layer == layers[0]))
        for layer, block in zip(layers, blocks, strict=True)
    }


def _single_threads(n: int) -> ThreadPoolExecutor:
    """Threads in which torch computes without further ones; elsewhere it computes as before."""
    threads = ThreadPoolExecutor(n, "int8", torch.set_num_threads, (1,))
    started = Barrier(n)
    for one in [threads.submit(started.wait) for _ in range(n)]:
        one.result()
    torch.set_num_threads(n)  # what it was: a thread that sets its own number sets that of later threads too
    return threads


class _Layer:
    """One layer: attention, then the feed-forward network, each with its residual and norm."""

    def __init__(self, layer: Any, n_heads: int) -> None:
        own = layer.attention.self
        parts = (own.query, own.key, own.value)
        self._inward = _linear(torch.cat([part.weight for part in parts]), torch.cat([p.bias for p in parts]))
        size = own.query.out_features
        for per_column in (self._inward.scale, self._inward.bias):
            per_column[:size] *= (size // n_heads) ** -0.5
        self._n_heads = n_heads
        self._mix = _linear(layer.attention.output.dense.weight, layer.attention.output.dense.bias)
        self._mix_norm = _norm(layer.attention.output.LayerNorm)
        self._widen = _linear(layer.intermediate.dense.weight, layer.intermediate.dense.bias)
        self._narrow = _linear(layer.output.dense.weight, layer.output.dense.bias)
        self._norm = _norm(layer.output.LayerNorm)

    def __call__(self, hidden: Floats, rows: Rows, texts: Places) -> None:
        """Changes the hidden states (T, hidden) and their rows into those of the next layer."""
        n, size = hidden.shape
        seen = _empty_rows(n, size)
        attend(_product(rows, self._inward), texts, self._n_heads, seen)
        add_norm(_product(seen, self._mix), self._mix_norm, hidden, rows)
        inner = _empty_rows(n, len(self._widen.bias))
        gelu(n, _product(rows, self._widen), inner)
        add_norm(_product(inner, self._narrow), self._norm, hidden, rows)


def _product(rows: Rows, linear: Linear) -> Product:
    sums = torch._int_mm(torch.from_numpy(rows.levels), torch.from_numpy(linear.levels))
    return Product(sums.numpy(), rows, linear)


def _empty_rows(n: int, width: int) -> Rows:
    """Room for n rows, filled up as in `models.packed`; what fills it is never read."""
    n += -n % FILLED_TO
    return Rows(
        levels=np.empty((n, width), np.int8),
        scales=np.empty(n, np.float32),
        at=np.empty((n, KEPT), np.int32),
        kept=np.empty((n, KEPT), np.float32),
    )


def _linear(weight: Tensor, bias: Tensor) -> Linear:
    scale = weight.abs().amax(dim=1).clamp(min=1e-30) / 127
    levels = (weight / scale[:, None]).round().to(torch.int8).t().contiguous()
    return Linear(levels.numpy(), scale.numpy(), bias.numpy().copy())


def _norm(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight.numpy(), norm.bias.numpy(), np.float32(norm.eps))

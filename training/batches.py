"""Token ids in memory and the order in which batches visit them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.emoji import with_emoji_words
from models.normalise import normalised

_BUCKET_BATCHES = 64


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts, one after the other: text i is `ids[offsets[i] : offsets[i + 1]]`."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    pad_id: int

    @property
    def length(self) -> NDArray[np.int64]:
        """int64 (n,): tokens of each text."""
        return np.diff(self.offsets)

    def padded(self, rows: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and attention mask of these texts, int64 (rows, longest)."""
        longest = int(self.length[rows].max())
        ids = np.full((len(rows), longest), self.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        for i, row in enumerate(rows):
            found = self.ids[self.offsets[row] : self.offsets[row + 1]]
            ids[i, : len(found)] = found
            mask[i, : len(found)] = 1
        return torch.from_numpy(ids), torch.from_numpy(mask)


def tokenize(text: Sequence[str], tokenizer: Tokenizer, *, max_tokens: int, pad_id: int) -> Tokens:
    """The normalised texts as tokens, each cut at `max_tokens` (the special ones count)."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    found = [
        entry.ids
        for entry in tokenizer.encode_batch_fast([with_emoji_words(normalised(entry)) for entry in text])
    ]
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in found])]).astype(np.int64)
    return Tokens(np.concatenate(found).astype(np.int32), offsets, pad_id)


def n_batches(n: int, batch_size: int) -> int:
    """How many batches `batch_order` makes of n texts."""
    whole, rest = divmod(n, batch_size * _BUCKET_BATCHES)
    return whole * _BUCKET_BATCHES + -(-rest // batch_size)


def batch_order(
    length: NDArray[np.int64], batch_size: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Rows of each batch of one epoch: every row once, texts of like length together, batches shuffled."""
    shuffled = rng.permutation(len(length))
    bucket = batch_size * _BUCKET_BATCHES
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(shuffled), bucket):
        part = shuffled[start : start + bucket]
        part = part[np.argsort(length[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]

"""Batches of texts for a forward pass: by number of tokens, and smaller where memory runs out."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

_PADDED_TO = 8

Ids = Sequence[Sequence[int]]
Forward = Callable[[Ids], NDArray[np.float64]]


def token_batches(lengths: Sequence[int], budget: int) -> list[NDArray[np.intp]]:
    """The rows of each batch, longest texts first, so that neighbours are of one length.

    A batch holds at most `budget` tokens, counted as padded to its longest text, or else one text.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.intp), kind="stable")
    batches = []
    start = 0
    while start < len(order):
        n = max(1, budget // max(1, lengths[order[start]]))
        batches.append(order[start : start + n])
        start += n
    return batches


def padded(ids: Ids, pad_id: int, max_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (n, t) and the mask (n, t), int64, of n texts of at most `max_tokens` tokens.

    t is the length of the longest, up to a multiple of 8 where a model of `max_tokens` can read as much.
    """
    longest = -(-max(len(entry) for entry in ids) // _PADDED_TO) * _PADDED_TO
    tokens = np.full((len(ids), min(longest, max_tokens)), pad_id, dtype=np.int64)
    mask = np.zeros_like(tokens)
    for i, entry in enumerate(ids):
        tokens[i, : len(entry)] = entry
        mask[i, : len(entry)] = 1
    return torch.from_numpy(tokens), torch.from_numpy(mask)


def within_memory(forward: Forward, ids: Ids) -> NDArray[np.float64]:
    """What `forward` returns for these texts, in halves where the device has too little memory for all.

    Raises:
        ValueError: there is too little memory for a single text.
    """
    try:
        return forward(ids)
    except torch.OutOfMemoryError as error:
        told = str(error).splitlines()[0]
    if len(ids) == 1:
        raise ValueError(f"device: expected memory for one text of {len(ids[0])} tokens, got: {told}")
    torch.cuda.empty_cache()
    half = len(ids) // 2
    return np.vstack([within_memory(forward, ids[:half]), within_memory(forward, ids[half:])])

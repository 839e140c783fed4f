"""The forward pass of a classifier that is on disk: token ids in, logits out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.artifact import Artifact, read_weights
from models.batches import padded, token_batches, within_memory
from models.device import Placement
from models.encoder import MultiLabelEncoder, from_config
from models.packed import PackedBert, is_packable
from models.packed_int8 import Int8Bert, is_packable_int8

_MEASURE = "familiarity."

Forward = Callable[[Sequence[Sequence[int]]], torch.Tensor]


class LogitModel:
    """An encoder with loaded weights on its device; it runs in the placement's precision where it can.

    In int8 a BERT runs; another architecture then runs in the placement's dtype.
    """

    def __init__(self, directory: Path, artifact: Artifact, placement: Placement) -> None:
        """Builds the architecture and loads the weights, which `read_artifact` has checked.

        Raises:
            ValueError: the weights do not fit the architecture.
        """
        model: MultiLabelEncoder = from_config(artifact.encoder, len(artifact.labels))
        stored = {name: torch.from_numpy(values) for name, values in read_weights(directory).items()}
        measure = {name: stored.pop(name) for name in list(stored) if name.startswith(_MEASURE)}
        try:
            model.load_state_dict(stored, assign=True)  # instead of a copy
        except RuntimeError as error:
            raise ValueError(
                f"{directory}: expected weights of the encoder in its manifest, got: {error}"
            ) from None
        if measure:
            model.head = _stacked(model.head, measure)
        self._n_labels = len(artifact.labels)
        with torch.inference_mode():
            self._forward = _forward(model.eval(), artifact, placement)
        own = self._forward
        self._budget = own.tokens_at_once if isinstance(own, Int8Bert) else placement.tokens_at_once

    def logits(
        self, ids: Sequence[Sequence[int]], on_batch: Callable[[int], None] | None = None
    ) -> NDArray[np.float64]:
        """float64 (n, L + 1) for n texts of token ids: a logit per label, and the distance from the training.

        The distance is 0 where the classifier does not measure it (see models.familiarity). `on_batch`
        gets the number of texts done so far.

        Texts of like length run together, as many as the device takes well; the logits of one do not
        depend on the others by more than 1e-4 in float32.

        Raises:
            ValueError: the device has too little memory for a single text.
        """
        found = np.empty((len(ids), self._n_labels + 1))
        done = 0
        for rows in token_batches([len(entry) for entry in ids], self._budget):
            found[rows] = within_memory(self._run, [ids[i] for i in rows])
            done += len(rows)
            if on_batch is not None:
                on_batch(done)
        return found

    def _run(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        with torch.inference_mode():
            found = self._forward(ids).double()
            distance = found[:, self._n_labels :].square().sum(dim=1, keepdim=True)
            return np.asarray(torch.hstack([found[:, : self._n_labels], distance]).cpu().numpy())


def _forward(model: MultiLabelEncoder, artifact: Artifact, placement: Placement) -> Forward:
    """The quickest way to run this architecture on the device."""
    if placement.precision == "int8" and is_packable_int8(artifact.encoder):
        return Int8Bert(model)
    model.encoder.to(placement.dtype)
    model = model.to(placement.device)
    if is_packable(artifact.encoder):
        return PackedBert(model)
    return Padded(model, int(artifact.encoder.get("pad_token_id") or 0), artifact.max_tokens)


def _stacked(head: nn.Linear, measure: dict[str, torch.Tensor]) -> nn.Linear:
    """One layer with the rows of the head, then those whose squares sum to the distance."""
    weight = torch.cat([head.weight, measure[f"{_MEASURE}weight"]])
    stacked = nn.Linear(weight.shape[1], weight.shape[0])
    stacked.load_state_dict({"weight": weight, "bias": torch.cat([head.bias, measure[f"{_MEASURE}bias"]])})
    return stacked


class Padded:
    """The forward pass of any encoder of transformers: one batch, padded, with a mask."""

    def __init__(self, model: MultiLabelEncoder, pad_id: int, max_tokens: int) -> None:
        """Takes a loaded model that is on its device."""
        self._model, self._pad_id, self._max_tokens = model, pad_id, max_tokens

    def __call__(self, ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Float32 logits (n, n_labels) of n texts of token ids."""
        device = self._model.head.weight.device
        tokens, mask = padded(ids, self._pad_id, self._max_tokens)
        logits: torch.Tensor = self._model(tokens.to(device), mask.to(device))
        return logits

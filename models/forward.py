"""The forward pass of a classifier that is on disk: token ids in, logits out. The one user of torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.artifact import Artifact, read_weights
from models.device import Placement
from models.encoder import MultiLabelEncoder, from_config

_PADDED_TO = 8


class LogitModel:
    """An encoder with loaded weights on its device; the encoder runs in the placement's precision."""

    def __init__(self, directory: Path, artifact: Artifact, placement: Placement) -> None:
        """Builds the architecture and loads the weights, which `read_artifact` has checked.

        Raises:
            ValueError: the weights do not fit the architecture.
        """
        model: MultiLabelEncoder = from_config(artifact.encoder, len(artifact.labels))
        tensors = {name: torch.from_numpy(values) for name, values in read_weights(directory).items()}
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(
                f"{directory}: expected weights of the encoder in its manifest, got: {error}"
            ) from None
        model.encoder.to(placement.dtype)
        self._model = model.to(placement.device).eval()
        self._device = placement.device
        self._pad_id = int(artifact.encoder.get("pad_token_id") or 0)

    def logits(self, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """float64 (n, L) for n texts of token ids, as one batch padded to a multiple of 8."""
        longest = -(-max(len(entry) for entry in ids) // _PADDED_TO) * _PADDED_TO
        padded = np.full((len(ids), longest), self._pad_id, dtype=np.int64)
        mask = np.zeros((len(ids), longest), dtype=np.int64)
        for i, entry in enumerate(ids):
            padded[i, : len(entry)] = entry
            mask[i, : len(entry)] = 1
        with torch.inference_mode():
            found = self._model(
                torch.from_numpy(padded).to(self._device), torch.from_numpy(mask).to(self._device)
            )
        return np.asarray(found.double().cpu().numpy())

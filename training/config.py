"""The settings of one training run, read from a TOML file with a closed set of keys."""

import dataclasses
import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the weights, apart from the encoder and the examples.

    `tempering` t makes a data set of n rows count as n^(1 - t) within a label, and likewise each class
    within a label and a label with n annotations within the loss: 0 leaves sizes as they are, 1 makes all
    equal. `warmup_share` is a share of all steps; `checkpoint_every` counts steps. `perturbed_share` of
    the texts are misspelt or disguised anew in each epoch (see training.perturb). `dropout` is that of
    the encoder. `frozen_layers` k keeps the encoder's embeddings and first k layers as they are (0: the
    embeddings alone, -1: nothing). The model is measured on up to `dev_texts` texts `evaluations` times
    per epoch, and training stops after `patience` measurements without a better one; the best weights
    are kept.

    Raises:
        ValueError: a value out of range, or another schema.
    """

    schema: int
    seed: int
    epochs: int
    batch_size: int
    max_tokens: int
    learning_rate: float
    head_learning_rate: float
    weight_decay: float
    warmup_share: float
    gradient_clip: float
    source_tempering: float
    label_tempering: float
    class_tempering: float
    frozen_layers: int
    dropout: float
    perturbed_share: float
    checkpoint_every: int
    evaluations: int
    patience: int
    dev_texts: int

    def __post_init__(self) -> None:
        if self.schema != SCHEMA_VERSION:
            raise ValueError(f"schema: expected {SCHEMA_VERSION}, got {self.schema}")
        for name in (
            "epochs",
            "batch_size",
            "max_tokens",
            "checkpoint_every",
            "evaluations",
            "patience",
            "dev_texts",
            "learning_rate",
            "gradient_clip",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: expected a number above 0, got {getattr(self, name)}")
        for name in (
            "warmup_share",
            "source_tempering",
            "label_tempering",
            "class_tempering",
            "dropout",
            "perturbed_share",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a number in [0, 1], got {getattr(self, name)}")

    @property
    def digest(self) -> str:
        """sha256 of the settings in canonical JSON."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def read(cls, path: Path) -> "TrainConfig":
        """The settings in a TOML file.

        Raises:
            ValueError: a key is unknown, missing, or has a bad value.
        """
        found = tomllib.loads(path.read_text())
        names = {field.name for field in dataclasses.fields(cls)}
        if set(found) != names:
            unknown, missing = sorted(set(found) - names), sorted(names - set(found))
            raise ValueError(
                f"{path}: expected the keys {sorted(names)}; unknown: {unknown}, missing: {missing}"
            )
        return cls(**found)

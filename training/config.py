"""The settings of one training run."""

from dataclasses import dataclass

from training.settings import check_settings

SCHEMA_VERSION = 3


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the weights, apart from the encoder and the examples.

    `tempering` t makes a data set of n rows count as n^(1 - t) within a label, and likewise each class
    within a label and a label with n annotations within the loss: 0 leaves sizes as they are, 1 makes all
    equal. `warmup_share` is a share of all steps; `checkpoint_every` counts steps. `perturbed_share` of
    the texts are misspelt or disguised anew in each epoch (see training.perturb). `dropout` is that of
    the encoder. `preserve_weight` times the distance to the features of the unchanged encoder is added to
    the loss (see training.preserve; 0 adds nothing). `frozen_layers` k keeps the encoder's embeddings and
    first k layers as they are (0: the embeddings alone, -1: nothing). The model is measured on up to
    `dev_texts` texts `evaluations` times per epoch, and training stops after `patience` measurements
    without a better one; the best weights are kept.

    Raises:
        ValueError: a value of another type or out of range, or another schema.
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
    preserve_weight: float
    frozen_layers: int
    dropout: float
    perturbed_share: float
    checkpoint_every: int
    evaluations: int
    patience: int
    dev_texts: int

    def __post_init__(self) -> None:
        check_settings(
            self,
            schema=SCHEMA_VERSION,
            above_zero=(
                "epochs",
                "batch_size",
                "max_tokens",
                "checkpoint_every",
                "evaluations",
                "patience",
                "dev_texts",
                "learning_rate",
                "gradient_clip",
            ),
            at_least_zero=("preserve_weight",),
            shares=(
                "warmup_share",
                "source_tempering",
                "label_tempering",
                "class_tempering",
                "dropout",
                "perturbed_share",
            ),
        )

"""A text encoder with mean pooling and one linear head: a logit per label.

Built around any transformers encoder, so that a small model, a large one and a randomly initialised one
for tests differ in their config alone. Two classes with the same weights under the same names:
`MultiLabelEncoder` maps tensors to a tensor, for training and scoring; `HarmModel` is what the
transformers library expects of a model, for its pipelines, its Trainer and its files.

The head reads the last layer or, where the encoder's config names `read_layers`, those: what earlier layers
know of a text is less bound to the data that the encoder was trained on.

Source: U. Evci et al., "Head2Toe: utilizing intermediate representations for better transfer learning", 2022.
"""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput


class MultiLabelEncoder(nn.Module):
    """Logits (n, n_labels) of token ids (n, length) with their attention mask."""

    def __init__(self, encoder: nn.Module, hidden_size: int, n_labels: int) -> None:
        """Wraps `encoder`; the head starts at zero, so that every probability starts at one half."""
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(hidden_size * len(layers_read(encoder)), n_labels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Float32 logits (n, n_labels); padding does not count in the mean."""
        return self.logits(self.pooled(input_ids, attention_mask))

    def pooled(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Float32 features (n, d): the mean over the tokens that are not padding, of each layer read."""
        return _pooled(self.encoder, input_ids, attention_mask)

    def logits(self, pooled: torch.Tensor) -> torch.Tensor:
        """Float32 logits (n, n_labels) of such features."""
        return _headed(self.head, pooled)


class HarmConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """The config of a `HarmModel`: that of its encoder (`config_of`), and the labels by number."""

    model_type = "harm-encoder"

    def __init__(self, encoder: dict[str, Any] | None = None, **settings: Any) -> None:
        """The `encoder` is None only where transformers makes a config to compare another with."""
        self.encoder = encoder or {}
        super().__init__(**{"problem_type": "multi_label_classification"} | settings)


class HarmModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A `MultiLabelEncoder` as a transformers model for sequence classification."""

    config_class = HarmConfig
    base_model_prefix = "encoder"

    def __init__(self, config: HarmConfig) -> None:
        """The architecture of the config with random weights; the head starts at zero."""
        super().__init__(config)
        network = from_config(config.encoder, len(config.id2label or ()))
        self.encoder, self.head = network.encoder, network.head
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SequenceClassifierOutput:
        """Logits (n, n_labels) and, where `labels` (n, n_labels) in [0, 1] are given, their loss.

        The loss is the mean binary cross-entropy over the labels that are annotated (not NaN).
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        logits = _headed(self.head, _pooled(self.encoder, input_ids, mask))
        loss = None
        if labels is not None:
            known = ~labels.isnan()
            loss = nn.functional.binary_cross_entropy_with_logits(logits[known], labels[known].float())
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _init_weights(self, module: nn.Module) -> None:
        if module is self.head:
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def layers_read(encoder: nn.Module) -> tuple[int, ...]:
    """The numbers, from 1, of the layers that the head reads, in order; all of them once."""
    config: Any = encoder.config
    return tuple(getattr(config, "read_layers", None) or (int(config.num_hidden_layers),))


def reading(model: MultiLabelEncoder, layers: Sequence[int]) -> MultiLabelEncoder:
    """The same encoder, whose config is changed to say so, with a new head on these layers, by number from 1.

    Raises:
        ValueError: not ascending numbers of its layers.
    """
    config: Any = model.encoder.config
    n_layers, asked = int(config.num_hidden_layers), list(layers)
    if not asked or asked != sorted(set(asked)) or not 1 <= asked[0] <= asked[-1] <= n_layers:
        raise ValueError(f"read_layers: expected ascending numbers from 1 to {n_layers}, got {asked}")
    config.read_layers = None if asked == [n_layers] else asked
    return MultiLabelEncoder(model.encoder, int(config.hidden_size), model.head.out_features)


def register() -> None:
    """Lets transformers' Auto classes and pipelines read the files of a `HarmModel` in this process."""
    AutoConfig.register(HarmConfig.model_type, HarmConfig, exist_ok=True)
    AutoModelForSequenceClassification.register(HarmConfig, HarmModel, exist_ok=True)


def from_pretrained(source: str, n_labels: int) -> MultiLabelEncoder:
    """A new head on the encoder at a local path or a hub id (the latter is downloaded), in float32.

    Raises:
        OSError: there is no such model, or none with safetensors weights.
    """
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    encoder = AutoModel.from_pretrained(
        source, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, **_no_pooler(config)
    )
    return MultiLabelEncoder(encoder, int(encoder.config.hidden_size), n_labels)


def from_config(config: dict[str, Any], n_labels: int) -> MultiLabelEncoder:
    """The same architecture with random weights, from the `config` that `config_of` gave."""
    settings = dict(config)
    found = AutoConfig.for_model(settings.pop("model_type"), **settings)
    encoder = AutoModel.from_config(found, **_no_pooler(found))  # type: ignore[no-untyped-call]
    return MultiLabelEncoder(encoder, int(encoder.config.hidden_size), n_labels)


def _no_pooler(config: PretrainedConfig) -> dict[str, bool]:
    """The argument that leaves out the pooling layer, for architectures that have one."""
    architecture: Any = MODEL_MAPPING[type(config)]
    known = inspect.signature(architecture).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in known else {}


def config_of(model: MultiLabelEncoder) -> dict[str, Any]:
    """What `from_config` needs to build the architecture again: JSON-ready, without names or paths."""
    config: Any = model.encoder.config
    found: dict[str, Any] = config.to_diff_dict()
    drop = {"_name_or_path", "transformers_version", "architectures", "gradient_checkpointing", "dtype"}
    kept = {key: value for key, value in found.items() if key not in drop}
    return kept | {"model_type": config.model_type}


def _pooled(encoder: nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    several = bool(getattr(encoder.config, "read_layers", None))
    found = encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=several)
    states = [found.last_hidden_state]
    if several:
        states = [found.hidden_states[layer] for layer in layers_read(encoder)]  # 0 is what comes before
    kept = attention_mask.unsqueeze(-1).float()  # (n, length, 1)
    sums = [(state.float() * kept).sum(dim=1) for state in states]
    return torch.cat(sums, dim=1) / kept.sum(dim=1).clamp(min=1)


def _headed(head: nn.Linear, pooled: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = head(pooled.to(head.weight.dtype)).float()
    return logits

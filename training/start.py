"""What a training starts from: any encoder with a new head, or a classifier that was trained before."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from models.artifact import MANIFEST, TOKENIZER, read_artifact, read_weights
from models.bundled import is_hub_id
from models.encoder import MultiLabelEncoder, from_config, from_pretrained
from training.provenance import sha256_of
from training.run import ABOUT, WEIGHTS, read_about


def starting_model(source: str, labels: tuple[str, ...]) -> tuple[MultiLabelEncoder, Tokenizer, str | None]:
    """The model, its tokenizer and the sha256 of the weights (None for a hub id) to start from.

    `source` is a directory that `training.train` or `training.package` wrote, or an encoder that
    transformers can load: a local path or a hub id. Of a trained classifier the head is kept for the labels
    that it shares with `labels`; other rows start at zero.

    Raises:
        OSError: there is no such model.
        ValueError: an artifact was altered.
    """
    directory = Path(source)
    if (directory / ABOUT).exists():
        about = read_about(directory)
        weights = load_file(directory / WEIGHTS)
        digest = sha256_of(directory / WEIGHTS)
        return *_trained(directory, about["encoder"], weights, tuple(about["labels"]), labels), digest
    if (directory / MANIFEST).exists():
        artifact = read_artifact(directory)
        weights = {name: torch.from_numpy(values) for name, values in read_weights(directory).items()}
        return *_trained(directory, artifact.encoder, weights, artifact.labels, labels), artifact.digest
    if not directory.is_dir() and not is_hub_id(source):
        raise FileNotFoundError(f"{source}: expected a run, a classifier, an encoder or a hub id, got none")
    stored = directory / "model.safetensors"
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(source).backend_tokenizer
    return from_pretrained(source, len(labels)), tokenizer, sha256_of(stored) if stored.exists() else None


def _trained(
    directory: Path,
    encoder: dict[str, object],
    weights: dict[str, torch.Tensor],
    known: tuple[str, ...],
    labels: tuple[str, ...],
) -> tuple[MultiLabelEncoder, Tokenizer]:
    if encoder.get("model_type") == "harm-bag":
        raise ValueError(f"{directory}: expected an encoder to start from, got a fast model: distil it anew")
    model = from_config(encoder, len(labels))
    found = {name: value for name, value in weights.items() if name.startswith("encoder.")}
    for name, fresh in model.head.state_dict().items():
        head = fresh.clone()
        for row, label in enumerate(labels):
            if label in known:
                head[row] = weights[f"head.{name}"][known.index(label)]
        found[f"head.{name}"] = head
    model.load_state_dict(found)
    return model, Tokenizer.from_file(str(directory / TOKENIZER))

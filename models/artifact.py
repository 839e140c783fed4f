"""A classifier on disk: weights.safetensors, tokenizer.json and artifact.json (numpy only).

artifact.json holds what decides the scores, under a digest that is checked before use, and beside it what a
reader wants to know (training, data, metrics), which is not part of the digest. No pickle, no code.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from models.calibration import Platt
from models.quantise import dequantised, quantised
from models.taxonomy import TAXONOMY_VERSION, label

SCHEMA_VERSION = 1
WEIGHTS, TOKENIZER, MANIFEST = "weights.safetensors", "tokenizer.json", "artifact.json"

_HEAD = "head.weight"

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Artifact:
    """What a classifier needs besides its weights.

    `labels` are those served, in the order of the head's rows, each with its calibration. `encoder` is
    the architecture, `files` the sha256 of each file. `familiar_up_to` is the distance from the training
    texts up to which a text counts as familiar; None for a classifier that does not measure it. `about`
    is for readers: training, data, metrics.

    Raises:
        ValueError: an unknown label, labels and calibrations that differ in number, a calibration that is not
            finite, or other files than an artifact has.
    """

    name: str
    labels: tuple[str, ...]
    calibration: tuple[Platt, ...]
    languages: tuple[str, ...]
    max_tokens: int
    encoder: dict[str, Any]
    files: dict[str, str]
    about: dict[str, Any]
    familiar_up_to: float | None = None

    def __post_init__(self) -> None:
        for name in self.labels:
            label(name)
        if len(self.labels) != len(self.calibration):
            raise ValueError(
                f"calibration: expected one per label ({len(self.labels)}), got {len(self.calibration)}"
            )
        if sorted(self.files) != sorted((WEIGHTS, TOKENIZER)):
            raise ValueError(f"files: expected {[TOKENIZER, WEIGHTS]}, got {sorted(self.files)}")
        for name, platt in zip(self.labels, self.calibration, strict=True):
            if not np.isfinite([platt.slope, platt.intercept, *platt.covariance]).all():
                raise ValueError(f"calibration: expected finite numbers, got {platt} for {name!r}")

    @property
    def digest(self) -> str:
        """sha256 of everything that decides the scores: weights, tokenizer, labels, calibration."""
        return _digest(json.dumps(self._scoring(), sort_keys=True).encode())

    def _scoring(self) -> dict[str, Any]:
        measured = {} if self.familiar_up_to is None else {"familiar_up_to": self.familiar_up_to}
        return measured | {
            "schema": SCHEMA_VERSION,
            "taxonomy": TAXONOMY_VERSION,
            "name": self.name,
            "labels": list(self.labels),
            "calibration": [platt.to_json() for platt in self.calibration],
            "languages": list(self.languages),
            "max_tokens": self.max_tokens,
            "encoder": self.encoder,
            "files": self.files,
        }

    def write_manifest(self, directory: Path) -> None:
        """Writes artifact.json alone, for a new `about` of the same scores."""
        manifest = self._scoring() | {"digest": self.digest, "about": self.about}
        (directory / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def write_artifact(
    directory: Path,
    weights: Weights,
    tokenizer: str,
    *,
    name: str,
    labels: tuple[str, ...],
    calibration: tuple[Platt, ...],
    encoder: Mapping[str, Any],
    about: Mapping[str, Any],
    languages: tuple[str, ...] = ("en",),
    max_tokens: int = 128,
    familiar_up_to: float | None = None,
) -> Artifact:
    """Writes the three files and returns their description; `tokenizer` is the text of tokenizer.json.

    Matrices are stored as int8 with a scale per row, the rest as float32, and so is the head: the features
    that it reads may differ in scale a hundredfold, and its weights with them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stored: dict[str, NDArray[Any]] = {}
    for key, values in weights.items():
        if values.ndim == 2 and key != _HEAD:
            stored[f"{key}.levels"], stored[f"{key}.scale"] = quantised(values)
        else:
            stored[key] = values
    # safetensors writes the buffer as it lies in memory, whatever the order of its axes.
    save_file({key: np.ascontiguousarray(values) for key, values in stored.items()}, directory / WEIGHTS)
    (directory / WEIGHTS).chmod(0o644)  # safetensors gives 0o600
    (directory / TOKENIZER).write_text(tokenizer)
    files = {file: _digest((directory / file).read_bytes()) for file in (WEIGHTS, TOKENIZER)}
    artifact = Artifact(
        name,
        labels,
        calibration,
        languages,
        max_tokens,
        dict(encoder),
        files,
        dict(about),
        familiar_up_to=familiar_up_to,
    )
    artifact.write_manifest(directory)
    return artifact


def read_artifact(directory: Path) -> Artifact:
    """The description of a classifier, after its digest and those of its files were checked.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file was altered, or the schema or the taxonomy is another one.
    """
    path = directory / MANIFEST
    if not path.exists():
        raise FileNotFoundError(f"{directory}: expected a classifier ({MANIFEST} is missing)")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got an error at line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, got {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(found).__name__}")
    for key, expected in (("schema", SCHEMA_VERSION), ("taxonomy", TAXONOMY_VERSION)):
        if found.get(key) != expected:
            raise ValueError(f"{path}: {key}: expected {expected}, got {found.get(key)!r}")
    try:
        artifact = Artifact(
            name=found["name"],
            labels=tuple(found["labels"]),
            calibration=tuple(Platt.from_json(entry) for entry in found["calibration"]),
            languages=tuple(found["languages"]),
            max_tokens=int(found["max_tokens"]),
            encoder=found["encoder"],
            files=found["files"],
            about=found["about"],
            familiar_up_to=found.get("familiar_up_to"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a manifest of schema {SCHEMA_VERSION}, got: {error}") from error
    if found.get("digest") != artifact.digest:
        raise ValueError(f"{path}: expected digest {found.get('digest')!r}, got {artifact.digest} (altered)")
    for file, digest in artifact.files.items():
        _check_file(directory / file, digest)
    return artifact


def read_weights(directory: Path) -> Weights:
    """The float32 weights of an artifact, by parameter name; `read_artifact` has checked them."""
    stored = load_file(directory / WEIGHTS)
    weights: Weights = {}
    for key, values in stored.items():
        if key.endswith(".levels"):
            name = key.removesuffix(".levels")
            weights[name] = dequantised(values, stored[f"{name}.scale"])
        elif not key.endswith(".scale"):
            weights[key] = values
    return weights


def _check_file(path: Path, expected: str) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a file of this classifier, got none")
    got = _digest(path.read_bytes())
    if got != expected:
        raise ValueError(f"{path}: expected sha256 {expected[:12]}…, got {got[:12]}… (altered or incomplete)")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

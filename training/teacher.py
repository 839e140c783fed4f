"""What trained classifiers say of texts, for others to learn from; and texts that nobody annotated."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from safetensors.numpy import load_file, save_file
from torch import Tensor
from torch.nn import functional

from models.artifact import Artifact, read_artifact
from models.classifier import HarmClassifier
from models.examples import LabelledTexts
from training.atomic import replacing
from training.own import NOT_STATED
from training.provenance import sha256_of
from training.run import beginning

SAID = "teacher"
_ORIGIN = ("source", "licence")

_CHUNK = 2048


@dataclass(frozen=True)
class Unlabelled:
    """Texts that nobody annotated: the sha256 of each file, and its table."""

    files: tuple[tuple[str, pa.Table], ...]

    @classmethod
    def read(cls, paths: Sequence[Path]) -> "Unlabelled":
        """The parquet files `paths`.

        Raises:
            ValueError: a file has no column `text`.
        """
        return cls(tuple((sha256_of(path), _unlabelled(path)) for path in paths))

    def added_to(self, texts: LabelledTexts) -> LabelledTexts:
        """The texts and, after them, those of the files, in split "train" without any annotation."""
        more = [str(text) for _, table in self.files for text in table["text"].to_pylist()]
        if not more:
            return texts
        sources = [str(source) for _, table in self.files for source in table["source"].to_pylist()]
        nothing = np.full((len(more), len(texts.labels)), np.nan, dtype=np.float32)
        first = int(texts.group.max(initial=-1)) + 1
        return LabelledTexts(
            labels=texts.labels,
            text=[*texts.text, *more],
            target=np.vstack([texts.target, nothing]),
            weight=np.vstack([texts.weight, np.zeros_like(nothing)]),
            source=np.concatenate([texts.source, sources]),
            split=np.concatenate([texts.split, np.full(len(more), "train")]),
            group=np.concatenate([texts.group, np.arange(first, first + len(more))]),
            aspect=np.concatenate([texts.aspect, np.full(len(more), "")]),
        )

    def about(self) -> list[dict[str, Any]]:
        """For training.json: each file, with the sources and licences of its texts."""
        return [{"sha256": digest, "data": _origin(table)} for digest, table in self.files]


def about_teacher(artifact: Artifact) -> dict[str, Any]:
    """For training.json: the teacher, with the sha256 of what its training began with."""
    return {
        "name": artifact.name,
        "digest": artifact.digest,
        "base_encoder_sha256": beginning(artifact.about.get("training", {})),
    }


def teacher_logits(
    teacher: Path, texts: LabelledTexts, kept: Path, *, device: str = "auto"
) -> NDArray[np.float32]:
    """The logits (n, L) of an artifact for the texts and their labels; NaN for a label that it does not have.

    `kept` is a directory with a file for each 2,048 texts, named after the digest of teacher and texts.
    What is there is not computed again.
    """
    artifact = read_artifact(teacher)
    kept.mkdir(parents=True, exist_ok=True)
    chunks = [texts.text[start : start + _CHUNK] for start in range(0, texts.n, _CHUNK)]
    places = [kept / f"{_key(artifact, chunk)}.safetensors" for chunk in chunks]
    missing = {place: chunk for place, chunk in zip(places, chunks, strict=True) if not place.exists()}
    if missing:
        _ask(HarmClassifier.load(teacher, device), missing)
    said = np.concatenate([load_file(place)["logits"] for place in places])
    return _columns(artifact.labels, said, texts.labels)


def taught_loss(logits: Tensor, said: Tensor) -> Tensor:
    """Mean binary cross-entropy against the teacher's probabilities, from two logits (n, L).

    What is NaN in `said` does not count.
    """
    known = ~said.isnan()
    if not known.any():
        return logits.sum() * 0.0
    return functional.binary_cross_entropy_with_logits(logits[known], torch.sigmoid(said[known]))


def _unlabelled(path: Path) -> pa.Table:
    """The texts of a file that are not empty, with the source and licence of each."""
    names = pq.read_schema(path).names
    if "text" not in names:
        raise ValueError(f"{path}: expected a column 'text', got {names}")
    table = pq.read_table(path, columns=[name for name in ("text", *_ORIGIN) if name in names])
    rows = [row for row in table.to_pylist() if row["text"]]
    columns = {"text": [row["text"] for row in rows]}
    for name, absent in zip(_ORIGIN, (path.stem, NOT_STATED), strict=True):
        columns[name] = [str(row.get(name) or absent) for row in rows]
    return pa.table(columns)


def _origin(table: pa.Table) -> dict[str, dict[str, Any]]:
    counts = Counter(zip(*(table[name].to_pylist() for name in _ORIGIN), strict=True))
    found: dict[str, dict[str, Any]] = {}
    for (source, licence), n in sorted(counts.items()):
        entry = found.setdefault(source, {"licence": licence, "rows": 0})
        entry["rows"] += n
        if licence != entry["licence"]:
            entry["licence"] += f", {licence}"
    return found


def _columns(
    labels: tuple[str, ...], logits: NDArray[np.float32], wanted: tuple[str, ...]
) -> NDArray[np.float32]:
    """Logits (n, L) in the order of the wanted labels; NaN for one that the teacher does not have."""
    found = np.full((len(logits), len(wanted)), np.nan, dtype=np.float32)
    for j, label in enumerate(wanted):
        if label in labels:
            found[:, j] = logits[:, labels.index(label)]
    return found


def _ask(teacher: HarmClassifier, missing: dict[Path, Sequence[str]]) -> None:
    """Writes the teacher's logits of each chunk of texts to its place."""
    with Progress() as progress:
        for place, chunk in progress.track(missing.items(), description="teacher"):
            said = teacher.read(chunk)[0].astype(np.float32)
            with replacing(place) as unfinished:
                save_file({"logits": said}, unfinished)


def _key(teacher: Artifact, texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([teacher.digest, *texts]).encode()).hexdigest()

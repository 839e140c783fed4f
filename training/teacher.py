"""What trained classifiers say of texts, for others to learn from; and texts that nobody annotated."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
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

from models.artifact import MANIFEST, TOKENIZER, Artifact, read_artifact, write_artifact
from models.calibration import UNCALIBRATED
from models.classifier import HarmClassifier
from models.examples import LabelledTexts
from training.atomic import replacing
from training.own import NOT_STATED
from training.provenance import sha256_of
from training.run import WEIGHTS, beginning, read_about

SAID = "teacher"
_ORIGIN = ("source", "licence")

_CHUNK = 2048


def as_artifact(teacher: Path, kept: Path) -> Path:
    """The directory of the artifact that a teacher is, or that its run becomes, uncalibrated, below `kept`.

    Raises:
        FileNotFoundError: it is neither.
    """
    if (teacher / MANIFEST).exists():
        return teacher
    about = read_about(teacher)
    labels, weights = tuple(about["labels"]), load_file(teacher / WEIGHTS)
    directory = kept / sha256_of(teacher / WEIGHTS)[:16]
    write_artifact(
        directory,
        weights,
        (teacher / TOKENIZER).read_text(encoding="utf-8"),
        name=teacher.name,
        labels=labels,
        calibration=(UNCALIBRATED,) * len(labels),
        encoder=about["encoder"],
        about={"training": about},
    )
    return directory


def teacher_logits(
    teacher: Path, texts: Sequence[str], kept: Path, *, device: str = "auto"
) -> tuple[tuple[str, ...], NDArray[np.float32]]:
    """The labels of an artifact and its logits (n, L) of the texts.

    `kept` is a directory with a file for each 2,048 texts, named after the digest of teacher and texts.
    What is there is not computed again.
    """
    artifact = read_artifact(teacher)
    kept.mkdir(parents=True, exist_ok=True)
    chunks = [texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK)]
    places = [kept / f"{_key(artifact, chunk)}.safetensors" for chunk in chunks]
    missing = {place: chunk for place, chunk in zip(places, chunks, strict=True) if not place.exists()}
    if missing:
        _ask(HarmClassifier.load(teacher, device), missing)
    return artifact.labels, np.concatenate([load_file(place)["logits"] for place in places])


def advice(
    teachers: Sequence[Path],
    texts: Sequence[str],
    wanted: tuple[str, ...],
    kept: Path,
    *,
    device: str = "auto",
) -> NDArray[np.float32]:
    """Logits (n, L) of the wanted labels: the mean of the artifacts that have the label, NaN where none has.

    `kept` as in `teacher_logits`.
    """
    said = [_columns(*teacher_logits(path, texts, kept, device=device), wanted) for path in teachers]
    n_known = sum((~np.isnan(found)).astype(np.float32) for found in said)
    total = sum(np.nan_to_num(found) for found in said)
    return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan).astype(np.float32)


def taught_loss(logits: Tensor, said: Tensor) -> Tensor:
    """Mean binary cross-entropy against the teacher's probabilities, from two logits (n, L).

    What is NaN in `said` does not count.
    """
    known = ~said.isnan()
    if not known.any():
        return logits.sum() * 0.0
    return functional.binary_cross_entropy_with_logits(logits[known], torch.sigmoid(said[known]))


def unlabelled(path: Path) -> pa.Table:
    """The texts of a parquet file that are not empty, with the source and licence of each.

    Raises:
        ValueError: it has no column `text`.
    """
    names = pq.read_schema(path).names
    if "text" not in names:
        raise ValueError(f"{path}: expected a column 'text', got {names}")
    table = pq.read_table(path, columns=[name for name in ("text", *_ORIGIN) if name in names])
    rows = [row for row in table.to_pylist() if row["text"]]
    columns = {"text": [row["text"] for row in rows]}
    for name, absent in zip(_ORIGIN, (path.stem, NOT_STATED), strict=True):
        columns[name] = [str(row.get(name) or absent) for row in rows]
    return pa.table(columns)


def teachers_named(artifacts: Sequence[Path]) -> list[dict[str, str | None]]:
    """For training.json: name and digest of each teacher, and the sha256 of what its training began with."""
    return [
        {
            "name": artifact.name,
            "digest": artifact.digest,
            "base_encoder_sha256": beginning(artifact.about.get("training", {})),
        }
        for artifact in map(read_artifact, artifacts)
    ]


def extra_named(path: Path, table: pa.Table) -> dict[str, Any]:
    """For training.json: the digest of a file of texts, and per source its licence and number of texts."""
    return {"sha256": sha256_of(path), "data": _origin(table)}


def _origin(table: pa.Table) -> dict[str, dict[str, Any]]:
    counts = Counter(zip(*(table[name].to_pylist() for name in _ORIGIN), strict=True))
    found: dict[str, dict[str, Any]] = {}
    for (source, licence), n in sorted(counts.items()):
        entry = found.setdefault(source, {"licence": licence, "rows": 0})
        entry["rows"] += n
        if licence != entry["licence"]:
            entry["licence"] += f", {licence}"
    return found


def with_unlabelled(texts: LabelledTexts, tables: Sequence[pa.Table]) -> LabelledTexts:
    """The texts and, after them, those of the tables, in split "train" without any annotation."""
    more = [str(text) for table in tables for text in table["text"].to_pylist()]
    if not more:
        return texts
    sources = [str(source) for table in tables for source in table["source"].to_pylist()]
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

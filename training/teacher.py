"""What trained classifiers say of texts, for others to learn from; and texts that nobody annotated."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
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


@dataclass(frozen=True)
class Teaching:
    """What a training learns from besides annotations: its teachers, and texts that nobody annotated.

    `artifacts` are the teachers; one that is there twice counts twice. `extra` holds the sha256 of each file
    of texts, and its table. What the teachers say is kept in the directory `kept`, see `teacher_logits`.
    """

    artifacts: tuple[Path, ...]
    extra: tuple[tuple[str, pa.Table], ...]
    kept: Path

    @classmethod
    def read(cls, teachers: Sequence[Path], extra: Sequence[Path], out: Path) -> "Teaching":
        """The runs or artifacts `teachers`, and the parquet files `extra`, for a run in the directory `out`.

        Raises:
            FileNotFoundError: a teacher is neither.
            ValueError: a file has no column `text`.
        """
        kept = out / SAID
        found = tuple((sha256_of(path), _unlabelled(path)) for path in extra)
        return cls(tuple(as_artifact(path, kept) for path in teachers), found, kept)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of each teacher, then of each file."""
        return (*(read_artifact(path).digest for path in self.artifacts), *(name for name, _ in self.extra))

    def added_to(self, texts: LabelledTexts) -> LabelledTexts:
        """The texts and, after them, those of the files, in split "train" without any annotation."""
        more = [str(text) for _, table in self.extra for text in table["text"].to_pylist()]
        if not more:
            return texts
        sources = [str(source) for _, table in self.extra for source in table["source"].to_pylist()]
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

    def logits(self, texts: LabelledTexts, *, device: str = "auto") -> NDArray[np.float32]:
        """(n, L) for the texts and their labels: the mean of the teachers that have a label, else NaN."""
        said = [
            _columns(*teacher_logits(path, texts.text, self.kept, device=device), texts.labels)
            for path in self.artifacts
        ]
        n_known = sum((~np.isnan(found)).astype(np.float32) for found in said)
        total = sum(np.nan_to_num(found) for found in said)
        return np.where(n_known > 0, total / np.maximum(n_known, 1), np.nan).astype(np.float32)

    def about(self) -> dict[str, Any]:
        """For training.json: each teacher, with the sha256 of what its training began with, and each file."""
        teachers = [
            {
                "name": artifact.name,
                "digest": artifact.digest,
                "base_encoder_sha256": beginning(artifact.about.get("training", {})),
            }
            for artifact in map(read_artifact, self.artifacts)
        ]
        extra = [{"sha256": digest, "data": _origin(table)} for digest, table in self.extra]
        return {"teachers": teachers, "extra": extra}


def check_share(share: float, teachers: Sequence[Path], extra: Sequence[Path]) -> None:
    """Holds a config's `teacher_share` against what is given to learn from.

    Raises:
        ValueError: there is a share without a teacher, or a teacher without a share, or texts without either.
    """
    if bool(teachers) != (share > 0) or (extra and not teachers):
        raise ValueError(
            "teacher_share: expected above 0 with --teacher and 0 without, and --extra with --teacher alone, "
            f"got {share} with {len(teachers)} teachers and {len(extra)} files"
        )


def as_artifact(teacher: Path, kept: Path) -> Path:
    """The directory of the artifact that a teacher is, or that its run becomes, uncalibrated, below `kept`.

    Raises:
        FileNotFoundError: it is neither.
    """
    if (teacher / MANIFEST).exists():
        return teacher
    about = read_about(teacher)
    labels = tuple(about["labels"])
    directory = kept / sha256_of(teacher / WEIGHTS)[:16]
    if (directory / MANIFEST).exists():
        return directory
    kept.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=kept) as scratch:
        unfinished = Path(scratch) / "artifact"
        write_artifact(
            unfinished,
            load_file(teacher / WEIGHTS),
            (teacher / TOKENIZER).read_text(encoding="utf-8"),
            name=teacher.name,
            labels=labels,
            calibration=(UNCALIBRATED,) * len(labels),
            encoder=about["encoder"],
            about={"training": about},
        )
        try:
            unfinished.replace(directory)
        except OSError:
            if not (directory / MANIFEST).exists():  # else another process was quicker
                raise
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

"""`python -m training.distill --config FILE --examples FILE --teacher DIR --out DIR [--extra FILE ...]`.

Trains a small, fast classifier to say what a large one says of the split "train", beside the annotations.
The teacher is an artifact: the directory `draft` of a calibrated run, or a packaged classifier. Texts
without annotations may be added (a parquet file with a column `text`; what its columns `source` and
`licence` say goes to the card). `out` becomes a run that `training.calibrate` and what follows it read.
What the teacher said is kept there: the same command goes on where it was interrupted.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
import time
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
from tokenizers import Tokenizer

from models.artifact import TOKENIZER, Artifact, read_artifact, read_weights
from models.classifier import HarmClassifier
from models.device import quiet_memory
from models.examples import LabelledTexts
from training.atomic import replacing
from training.batches import tokenize
from training.command import run_command
from training.loss import balanced_weights
from training.metrics import rounded
from training.own import NOT_STATED
from training.provenance import commit, sha256_of, versions
from training.run import write_run
from training.settings import read_settings, settings_digest
from training.student import Student, StudentConfig, fit_student, student_logits
from training.validation import mean_auroc

_log = logging.getLogger(__name__)

SAID = "teacher"
_ORIGIN = ("source", "licence")

_CHUNK = 2048


def distill(
    config: StudentConfig,
    examples: Path,
    teacher: Path,
    out: Path,
    *,
    extra: Sequence[Path] = (),
    device: str = "auto",
) -> None:
    """Leaves model.safetensors, tokenizer.json, training.json and what the teacher said in `out`.

    Raises:
        ValueError: there is no training row, a file of `extra` has no column `text`, or the teacher has no
            word vectors of its tokenizer's size.
    """
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    texts = LabelledTexts.read(examples)
    train, dev = (texts.take(texts.split == part) for part in ("train", "dev"))
    if not train.n:
        raise ValueError(f"{examples}: expected texts of split 'train', got none")
    tables = [_unlabelled(path) for path in extra]
    more = [str(text) for table in tables for text in table["text"].to_pylist()]
    everything = [*train.text, *more]
    taught = _columns(*teacher_logits(teacher, everything, out / SAID, device=device), texts.labels)
    torch.manual_seed(config.seed)
    tokenizer = Tokenizer.from_file(str(teacher / TOKENIZER))
    student = Student(config, word_vectors(teacher, tokenizer.get_vocab_size()), len(texts.labels))
    tokens = tokenize(everything, tokenizer, max_tokens=config.max_tokens, pad_id=0)
    losses = fit_student(config, student, tokens, _annotated(config, train, len(more)), taught)
    measured = float("nan")
    if dev.n:
        dev_tokens = tokenize(dev.text, tokenizer, max_tokens=config.max_tokens, pad_id=0)
        measured = mean_auroc(student_logits(student, dev_tokens), dev)
    about = {
        "labels": list(texts.labels),
        "encoder": config.encoder,
        "teacher": {"name": read_artifact(teacher).name, "digest": read_artifact(teacher).digest},
        "config": dataclasses.asdict(config),
        "config_digest": settings_digest(config),
        "examples_sha256": sha256_of(examples),
        "extra": [
            {"sha256": sha256_of(path), "data": _origin(table)}
            for path, table in zip(extra, tables, strict=True)
        ],
        "commit": commit(),
        "versions": versions(),
        "n_texts": len(everything),
        "seconds": round(time.monotonic() - began),
        "losses": [round(loss, 5) for loss in losses],
        "dev": rounded(measured, 5),
    }
    tokenizer.no_truncation()
    write_run(out, student.state_dict(), tokenizer.to_str(pretty=True), about)


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


def word_vectors(teacher: Path, vocabulary: int) -> NDArray[np.float32]:
    """The teacher's word embeddings (vocabulary, d).

    Raises:
        ValueError: the teacher has no matrix, or several, of as many rows as its tokenizer has tokens.
    """
    weights = read_weights(teacher)
    rows = int(read_artifact(teacher).encoder.get("vocab_size", vocabulary))
    names = [name for name, value in weights.items() if value.ndim == 2 and len(value) == rows >= vocabulary]
    if len(names) != 1:
        raise ValueError(f"{teacher}: expected one matrix of {rows} word vectors, got {names or 'none'}")
    return weights[names[0]]


def _annotated(
    config: StudentConfig, train: LabelledTexts, n_more: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Target and weight (n + n_more, L); nothing is annotated in the last rows."""
    weight = balanced_weights(
        train,
        source_tempering=config.source_tempering,
        label_tempering=config.label_tempering,
        class_tempering=config.class_tempering,
    )
    below = np.zeros((n_more, len(train.labels)), dtype=np.float32)
    return np.vstack([train.target, below]), np.vstack([weight, below])


def _columns(
    labels: tuple[str, ...], logits: NDArray[np.float32], wanted: tuple[str, ...]
) -> NDArray[np.float32]:
    """Logits (n, L) in the order of the wanted labels; NaN for one that the teacher does not have."""
    found = np.full((len(logits), len(wanted)), np.nan, dtype=np.float32)
    for j, label in enumerate(wanted):
        if label in labels:
            found[:, j] = logits[:, labels.index(label)]
    return found


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
    """Per source its licence and how many texts it gave."""
    counts = Counter(zip(*(table[name].to_pylist() for name in _ORIGIN), strict=True))
    found: dict[str, dict[str, Any]] = {}
    for (source, licence), n in sorted(counts.items()):
        entry = found.setdefault(source, {"licence": licence, "rows": 0})
        entry["rows"] += n
        if licence != entry["licence"]:
            entry["licence"] += f", {licence}"
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


def main() -> None:
    """Reads the arguments and distills."""
    parser = argparse.ArgumentParser(prog="training.distill", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, see training/configs")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--teacher", type=Path, required=True, help="artifact, such as RUN/draft")
    parser.add_argument("--extra", type=Path, nargs="*", default=[], help="parquet files with a column text")
    parser.add_argument("--out", type=Path, required=True, help="directory of the run")
    parser.add_argument("--device", default="auto", help="where the teacher runs")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    quiet_memory()
    config = read_settings(given.config, StudentConfig)
    distill(config, given.examples, given.teacher, given.out, extra=given.extra, device=given.device)


if __name__ == "__main__":
    run_command(main)

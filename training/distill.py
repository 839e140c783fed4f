"""`python -m training.distill --config FILE --examples FILE --teacher DIR --out DIR [--extra FILE ...]`.

Trains a small, fast classifier to say what a large one says of the split "train", beside the annotations.
The teacher is an artifact: the directory `draft` of a calibrated run, or a packaged classifier. Texts
without annotations may be added (a parquet file with a column `text`; what its columns `source` and
`licence` say goes to the card). `out` becomes a run that `training.calibrate` and what follows it read.
What the teacher said is kept there: the same command goes on where it was interrupted.
"""

import argparse
import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.artifact import TOKENIZER, read_artifact, read_weights
from models.device import quiet_memory
from models.examples import LabelledTexts
from training.batches import tokenize
from training.command import run_command
from training.loss import balanced_weights
from training.metrics import rounded
from training.provenance import commit, sha256_of, versions
from training.run import write_run
from training.settings import read_settings, settings_digest
from training.student import Student, StudentConfig, fit_student, student_logits
from training.teacher import SAID, Unlabelled, about_teacher, teacher_logits
from training.validation import mean_auroc

_log = logging.getLogger(__name__)


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
        FileNotFoundError: the teacher is not an artifact.
        ValueError: there is no training row, a file of `extra` has no column `text`, or the teacher has no
            word vectors of its tokenizer's size.
    """
    began = time.monotonic()
    taught_by = about_teacher(read_artifact(teacher))
    out.mkdir(parents=True, exist_ok=True)
    texts = LabelledTexts.read(examples)
    train, dev = (texts.take(texts.split == part) for part in ("train", "dev"))
    if not train.n:
        raise ValueError(f"{examples}: expected texts of split 'train', got none")
    unlabelled = Unlabelled.read(extra)
    train = unlabelled.added_to(train)
    taught = teacher_logits(teacher, train, out / SAID, device=device)
    torch.manual_seed(config.seed)
    tokenizer = Tokenizer.from_file(str(teacher / TOKENIZER))
    student = Student(config, word_vectors(teacher, tokenizer.get_vocab_size()), len(texts.labels))
    tokens = tokenize(train.text, tokenizer, max_tokens=config.max_tokens, pad_id=0)
    weight = balanced_weights(
        train,
        source_tempering=config.source_tempering,
        label_tempering=config.label_tempering,
        class_tempering=config.class_tempering,
    )
    losses = fit_student(config, student, tokens, (train.target, weight), taught)
    measured = float("nan")
    if dev.n:
        dev_tokens = tokenize(dev.text, tokenizer, max_tokens=config.max_tokens, pad_id=0)
        measured = mean_auroc(student_logits(student, dev_tokens), dev)
    about = {
        "labels": list(texts.labels),
        "encoder": config.encoder,
        "config": dataclasses.asdict(config),
        "config_digest": settings_digest(config),
        "examples_sha256": sha256_of(examples),
        "teacher": taught_by,
        "extra": unlabelled.about(),
        "commit": commit(),
        "versions": versions(),
        "n_texts": train.n,
        "seconds": round(time.monotonic() - began),
        "losses": [round(loss, 5) for loss in losses],
        "dev": rounded(measured, 5),
    }
    tokenizer.no_truncation()
    write_run(out, student.state_dict(), tokenizer.to_str(pretty=True), about)


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


def main() -> None:
    """Reads the arguments and distills."""
    parser = argparse.ArgumentParser(prog="training.distill", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, see training/configs")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument(
        "--teacher", type=Path, required=True, help="artifact to learn from, such as RUN/draft"
    )
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

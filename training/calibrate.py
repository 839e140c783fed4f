"""`python -m training.calibrate --run DIR --examples FILE --plan FILE`: probabilities out of logits.

Stores the weights of a finished run as a draft artifact, loads it back, and fits the calibration of every
label on development rows, as the plan says. The draft serves all labels; `training.package` decides which
may ship.
"""

import argparse
import json
import logging
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from safetensors.numpy import load_file, save_file

from models.artifact import WEIGHTS, read_artifact, write_artifact
from models.calibration import Platt, fit_platt
from models.classifier import HarmClassifier
from models.examples import LabelledTexts
from training.provenance import sha256_of

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
DRAFT, LOGITS = "draft", "logits.safetensors"

_IDENTITY = Platt(1.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.5, False, 0, 0)
_CHUNK = 4096


@dataclass(frozen=True)
class LabelPlan:
    """On which rows one label is calibrated, and to which prevalence (None: as the rows have it).

    A source that ends in "/" stands for all whose name starts so. Evaluation on the held-out part uses
    the same sources.
    """

    sources: tuple[str, ...]
    split: str = "dev"
    prevalence: float | None = None

    def rows(self, texts: LabelledTexts, label: str, split: str | None = None) -> NDArray[np.int64]:
        """Rows of these sources that are annotated for the label, in this plan's split or another."""
        annotated = ~np.isnan(texts.target[:, texts.labels.index(label)])
        exact = np.isin(texts.source, self.sources)
        for prefix in (name for name in self.sources if name.endswith("/")):
            exact |= np.char.startswith(texts.source, prefix)
        return np.flatnonzero(exact & annotated & (texts.split == (split or self.split)))

    @property
    def test_split(self) -> str:
        """The held-out counterpart of `split`."""
        return self.split.replace("dev", "test")


def read_plan(path: Path) -> dict[str, LabelPlan]:
    """The plan of each label in a TOML file.

    Raises:
        ValueError: another schema, or an unknown or missing key.
    """
    found = tomllib.loads(path.read_text())
    if found.get("schema") != SCHEMA_VERSION:
        raise ValueError(f"{path}: schema: expected {SCHEMA_VERSION}, got {found.get('schema')!r}")
    plan = {}
    for label, entry in found["label"].items():
        if not {"sources"} <= set(entry) <= {"sources", "split", "prevalence"}:
            raise ValueError(
                f"{path}: label.{label}: expected sources[, split, prevalence], got {sorted(entry)}"
            )
        plan[label] = LabelPlan(**(entry | {"sources": tuple(entry["sources"])}))
    return plan


def fit(logits: NDArray[np.float64], texts: LabelledTexts, plan: dict[str, LabelPlan]) -> dict[str, Platt]:
    """The calibration of each planned label from logits (n, L), row by row those of `texts`.

    A label without both positives and negatives in its rows has none.
    """
    fitted = {}
    for label, entry in plan.items():
        if label not in texts.labels:
            continue
        rows, j = entry.rows(texts, label), texts.labels.index(label)
        present = texts.target[rows, j] >= 0.5
        if 0 < present.sum() < len(rows):
            fitted[label] = fit_platt(logits[rows, j], present, prevalence=entry.prevalence)
    return fitted


def calibrate(run: Path, examples: Path, plan: dict[str, LabelPlan]) -> None:
    """Leaves the directory `draft` in the run: an artifact of all labels that the plan could calibrate.

    Raises:
        ValueError: no label could be calibrated.
    """
    training = json.loads((run / "training.json").read_text())
    labels = tuple(training["labels"])
    weights, tokenizer = load_file(run / "model.safetensors"), (run / "tokenizer.json").read_text()

    def write(served: tuple[str, ...], calibration: tuple[Platt, ...]) -> None:
        rows = [labels.index(label) for label in served]
        head = {name: weights[name][rows] for name in ("head.weight", "head.bias")}
        write_artifact(
            run / DRAFT,
            weights | head,
            tokenizer,
            name=run.name,
            labels=served,
            calibration=calibration,
            encoder=training["encoder"],
            about={},
        )

    write(labels, tuple(_IDENTITY for _ in labels))
    texts = held_out(examples)
    logits = _score(run / DRAFT, texts)
    fitted = fit(logits, texts, plan)
    if not fitted:
        raise ValueError(f"{run}: expected a label with rows to calibrate it on, got none")
    write(tuple(fitted), tuple(fitted.values()))
    kept = logits[:, [labels.index(label) for label in fitted]]
    save_file({_key(run / DRAFT, examples): kept}, run / LOGITS)


def held_out(examples: Path) -> LabelledTexts:
    """All texts of a file but those of split "train"."""
    texts = LabelledTexts.read(examples)
    return texts.take(np.flatnonzero(texts.split != "train"))


def draft_logits(run: Path, examples: Path) -> tuple[LabelledTexts, NDArray[np.float64], dict[str, Platt]]:
    """What a draft says of the held-out texts: (texts, logits (n, L), calibration per label).

    The columns of texts and logits are the labels of the draft.

    Raises:
        FileNotFoundError: the run has not been calibrated.
        ValueError: it was calibrated on other examples.
    """
    artifact = read_artifact(run / DRAFT)
    stored = load_file(run / LOGITS)
    key = _key(run / DRAFT, examples)
    if key not in stored:
        raise ValueError(f"{run / LOGITS}: expected logits of {examples}, got those of other examples")
    texts = held_out(examples)
    columns = [texts.labels.index(label) for label in artifact.labels]
    chosen = replace(
        texts, labels=artifact.labels, target=texts.target[:, columns], weight=texts.weight[:, columns]
    )
    return chosen, stored[key], dict(zip(artifact.labels, artifact.calibration, strict=True))


def _key(draft: Path, examples: Path) -> str:
    return f"{sha256_of(draft / WEIGHTS)}-{sha256_of(examples)}"


def _score(draft: Path, texts: LabelledTexts) -> NDArray[np.float64]:
    classifier = HarmClassifier.load(draft)
    parts = []
    with Progress() as progress:
        task = progress.add_task("scoring", total=texts.n)
        for start in range(0, texts.n, _CHUNK):
            parts.append(classifier.logits(list(texts.text[start : start + _CHUNK])))
            progress.advance(task, len(parts[-1]))
    return np.vstack(parts)


def main() -> None:
    """Reads the arguments and calibrates."""
    parser = argparse.ArgumentParser(prog="training.calibrate", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="what training.train wrote")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--plan", type=Path, required=True, help="calibration plan, see training/configs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    calibrate(arguments.run, arguments.examples, read_plan(arguments.plan))


if __name__ == "__main__":
    main()

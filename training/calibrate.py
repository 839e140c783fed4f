"""`python -m training.calibrate --run DIR --examples FILE --plan FILE`: probabilities out of logits.

Stores the weights of a finished run as a draft artifact, loads it back, and fits the calibration of every
label on development rows, as the plan says. The draft serves all labels; `training.package` decides which
may ship.
"""

import argparse
import logging
import sys
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from safetensors.numpy import load_file, save_file

from models.artifact import WEIGHTS, Artifact, read_artifact, write_artifact
from models.calibration import UNCALIBRATED, Platt, calibrated_log_odds, fit_platt
from models.classifier import HarmClassifier, familiarity_of
from models.examples import LabelledTexts
from models.familiarity import fit_distance
from models.taxonomy import label as taxonomy_label
from training.command import run_command
from training.features import pooled_features
from training.provenance import sha256_of
from training.run import read_about

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
CALIBRATED_ON = ("dev", "natural_dev")
DRAFT, LOGITS = "draft", "logits.safetensors"

FAMILIAR_SHARE = 0.95
DISTANCE_TEXTS = 20_000

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
    for label, entry in found.get("label", {}).items():
        if not {"sources"} <= set(entry) <= {"sources", "split", "prevalence"} or isinstance(
            entry["sources"], str
        ):
            raise ValueError(
                f"{path}: label.{label}: expected a list of sources[, split, prevalence], got {sorted(entry)}"
            )
        plan[label] = _checked(LabelPlan(**(entry | {"sources": tuple(entry["sources"])})), path, label)
    return plan


def _checked(entry: LabelPlan, path: Path, name: str) -> LabelPlan:
    taxonomy_label(name)
    if entry.prevalence is not None and not 0 < entry.prevalence < 1:
        raise ValueError(
            f"{path}: label.{name}.prevalence: expected a number in (0, 1), got {entry.prevalence}"
        )
    if entry.split not in CALIBRATED_ON:
        raise ValueError(f"{path}: label.{name}.split: expected one of {CALIBRATED_ON}, got {entry.split!r}")
    return entry


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
            fitted[label] = fit_platt(
                logits[rows, j], present, prevalence=entry.prevalence, source=texts.source[rows]
            )
    return fitted


def calibrate(run: Path, examples: Path, plan: dict[str, LabelPlan], *, device: str = "auto") -> None:
    """Leaves the directory `draft` in the run: an artifact of all labels that the plan could calibrate.

    Raises:
        ValueError: no label could be calibrated.
    """
    training = read_about(run)
    labels = tuple(training["labels"])
    texts = LabelledTexts.read(examples)
    weights = load_file(run / "model.safetensors") | distance_weights(run, texts, device=device)
    tokenizer = (run / "tokenizer.json").read_text()

    def write(served: tuple[str, ...], calibration: tuple[Platt, ...], up_to: float | None) -> None:
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
            familiar_up_to=up_to,
        )

    write(labels, tuple(UNCALIBRATED for _ in labels), None)
    texts = _held_out(texts)
    logits, distance = _read(run / DRAFT, texts, device)
    fitted = fit(logits, texts, plan)
    if not fitted:
        raise ValueError(f"{run}: expected a label with rows to calibrate it on, got none")
    known = distance[texts.split == "dev"]
    write(
        tuple(fitted),
        tuple(fitted.values()),
        float(np.quantile(known, FAMILIAR_SHARE)) if len(known) else None,
    )
    kept = np.column_stack([logits[:, [labels.index(label) for label in fitted]], distance])
    save_file({_key(run / DRAFT, examples): np.ascontiguousarray(kept)}, run / LOGITS)


def distance_weights(
    run: Path, texts: LabelledTexts, *, device: str = "auto"
) -> dict[str, NDArray[np.float32]]:
    """The weights that measure how far a text is from those of split "train" (see models.familiarity).

    By the last layer that the head reads.
    """
    distinct = sorted({texts.text[int(i)] for i in np.flatnonzero(texts.split == "train")})
    chosen = np.random.default_rng(0).permutation(len(distinct))[:DISTANCE_TEXTS]
    features = pooled_features(run, [distinct[int(i)] for i in chosen], device=device)
    n_read = len(read_about(run)["encoder"].get("read_layers") or [None])
    n_before = features.shape[1] // n_read * (n_read - 1)
    whitening, offset = fit_distance(features[:, n_before:])
    return {
        "familiarity.weight": np.pad(whitening, ((0, 0), (n_before, 0))).astype(np.float32),
        "familiarity.bias": offset.astype(np.float32),
    }


@dataclass(frozen=True)
class Held:
    """What a draft says of the n held-out texts, for its L labels.

    `logits` is (n, L), `distance` (n,) and `log_odds` (n, L) calibrated, as a user gets them.
    """

    texts: LabelledTexts
    artifact: Artifact
    logits: NDArray[np.float64]
    distance: NDArray[np.float64]

    @property
    def log_odds(self) -> NDArray[np.float64]:
        """Of the probability that the classifier gives, (n, L)."""
        known = familiarity_of(self.artifact, self.distance)
        return calibrated_log_odds(self.logits, self.artifact.calibration, known)


def held_out(run: Path, examples: Path) -> Held:
    """What the draft of a run says of all texts but those of split "train".

    Raises:
        FileNotFoundError: the run has not been calibrated.
        ValueError: it was calibrated on other examples.
    """
    artifact = read_artifact(run / DRAFT)
    stored = load_file(run / LOGITS)
    key = _key(run / DRAFT, examples)
    if key not in stored:
        raise ValueError(f"{run / LOGITS}: expected logits of {examples}, got those of other examples")
    texts = _held_out(LabelledTexts.read(examples))
    columns = [texts.labels.index(label) for label in artifact.labels]
    chosen = replace(
        texts, labels=artifact.labels, target=texts.target[:, columns], weight=texts.weight[:, columns]
    )
    return Held(chosen, artifact, stored[key][:, :-1], stored[key][:, -1])


def _held_out(texts: LabelledTexts) -> LabelledTexts:
    return texts.take(np.flatnonzero(texts.split != "train"))


def _key(draft: Path, examples: Path) -> str:
    return f"{sha256_of(draft / WEIGHTS)}-{sha256_of(examples)}"


def _read(draft: Path, texts: LabelledTexts, device: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    classifier = HarmClassifier.load(draft, device)
    parts = []
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("scoring", total=texts.n)
        for start in range(0, texts.n, _CHUNK):
            parts.append(classifier.read(texts.text[start : start + _CHUNK]))
            progress.advance(task, len(parts[-1][0]))
    return np.vstack([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def main() -> None:
    """Reads the arguments and calibrates."""
    parser = argparse.ArgumentParser(prog="training.calibrate", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="what training.train wrote")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--plan", type=Path, required=True, help="calibration plan, see training/configs")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    calibrate(arguments.run, arguments.examples, read_plan(arguments.plan), device=arguments.device)


if __name__ == "__main__":
    run_command(main)

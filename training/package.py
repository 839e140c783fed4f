"""`python -m training.package --run RUN --examples FILE --out DIR [--floor FILE] ...`.

Turns a calibrated and evaluated run into an artifact with its card: keeps the labels that have evidence,
loads the result back to check it, and writes the card from the figures.
"""

import argparse
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.artifact import MANIFEST, TOKENIZER, Artifact, read_weights, write_artifact
from models.classifier import HarmClassifier
from training.calibrate import DRAFT, Held, held_out
from training.card import write_card
from training.command import run_command
from training.evaluate import EVALUATION
from training.run import read_about

_log = logging.getLogger(__name__)

BESIDE = ("floor", "speed", "misinformation", "leave_out")

_CHECKED = 500
_NOT_IN_CARD = ("losses", "encoder")


def package(run: Path, examples: Path, out: Path, *, beside: Mapping[str, Path | None] | None = None) -> None:
    """Writes artifact and card to `out`, named after its last part.

    `beside` names files with what else the card shows, by the command that wrote each: `floor`,
    `misinformation` and `leave_out` of this package, `speed` of benchmarks/classifier.py.

    Raises:
        FileNotFoundError: the run has not been calibrated or evaluated.
        ValueError: no label has enough evidence to be served.
    """
    training = read_about(run)
    if not (run / EVALUATION).exists():
        raise FileNotFoundError(f"{run / EVALUATION}: expected what training.evaluate writes, got none")
    figures = json.loads((run / EVALUATION).read_text())
    held = held_out(run, examples)
    if figures["draft"] != held.artifact.digest:
        raise ValueError(f"{run / EVALUATION}: expected figures of the draft, got older ones: evaluate again")
    served = tuple(label for label in held.artifact.labels if figures["labels"][label]["refusal"] is None)
    if not served:
        raise ValueError(f"{run}: expected a label with enough evidence, got none")
    about = {
        "training": {key: value for key, value in training.items() if key not in _NOT_IN_CARD},
        "data": json.loads(examples.with_suffix(".json").read_text()),
        "figures": figures,
        **{name: _read(beside, name) for name in BESIDE},
    }
    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).exists():
        raise ValueError(f"{out}: expected a new directory or a classifier to replace, got other files")
    shutil.rmtree(out, ignore_errors=True)
    artifact = _write_served(run / DRAFT, held.artifact, served, out, about)
    figures["largest_change_by_packaging"] = _largest_change(out, held)
    artifact = replace(artifact, about=about)
    artifact.write_manifest(out)
    write_card(artifact, sum(path.stat().st_size for path in out.iterdir()), out / "README.md")


def _read(beside: Mapping[str, Path | None] | None, name: str) -> Any:
    path = (beside or {}).get(name)
    return None if path is None else json.loads(path.read_text())


def _write_served(
    draft: Path, artifact: Artifact, served: tuple[str, ...], out: Path, about: dict[str, Any]
) -> Artifact:
    rows = [artifact.labels.index(label) for label in served]
    weights = read_weights(draft)
    head = {name: weights[name][rows] for name in ("head.weight", "head.bias")}
    return write_artifact(
        out,
        weights | head,
        (draft / TOKENIZER).read_text(),
        name=out.name,
        labels=served,
        calibration=tuple(artifact.calibration[row] for row in rows),
        encoder=artifact.encoder,
        about=about,
        languages=artifact.languages,
        max_tokens=artifact.max_tokens,
        familiar_up_to=artifact.familiar_up_to,
    )


def _largest_change(out: Path, held: Held) -> float:
    """Largest difference of a probability between the artifact as a user loads it and the figures' own."""
    classifier = HarmClassifier.load(out)
    rows = np.linspace(0, held.texts.n - 1, min(_CHECKED, held.texts.n)).astype(int)
    scores = classifier.score([held.texts.text[int(i)] for i in rows], languages=["en"] * len(rows))
    columns = [held.texts.labels.index(label) for label in scores.labels]
    wanted: NDArray[np.float64] = 1 / (1 + np.exp(-held.log_odds[rows][:, columns]))
    return round(float(np.nanmax(np.abs(scores.probability - wanted))), 4)


def main() -> None:
    """Reads the arguments and packages."""
    parser = argparse.ArgumentParser(prog="training.package", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="what training.evaluate measured")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--floor", type=Path, help="what training.floor wrote")
    parser.add_argument("--speed", type=Path, help="what benchmarks/classifier.py wrote")
    parser.add_argument("--misinformation", type=Path, help="what training.misinformation wrote")
    parser.add_argument("--leave-out", type=Path, help="what training.leave_out wrote")
    parser.add_argument("--out", type=Path, required=True, help=f"directory of the artifact ({MANIFEST})")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    beside = {name: getattr(arguments, name) for name in BESIDE}
    package(arguments.run, arguments.examples, arguments.out, beside=beside)


if __name__ == "__main__":
    run_command(main)

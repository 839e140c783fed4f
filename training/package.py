"""`python -m training.package --run DIR --examples FILE --data DIR --plan FILE --out DIR`.

Turns a finished run into an artifact with its card: stores the weights, loads them back, calibrates and
measures what was loaded, keeps the labels with evidence, and writes the card from the numbers.
"""

import argparse
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from safetensors.numpy import load_file, save_file

from models.artifact import MANIFEST, WEIGHTS, Weights, read_artifact, write_artifact
from models.calibration import Platt
from models.classifier import HarmClassifier
from models.examples import LabelledTexts
from training.calibrate import LabelPlan, fit, read_plan
from training.card import write_card
from training.evaluate import (
    evaluate_calibration,
    evaluate_groups,
    evaluate_label,
    evaluate_natural,
    probabilities,
    refusal,
)
from training.provenance import sha256_of

_log = logging.getLogger(__name__)

_IDENTITY = Platt(1.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.5, False, 0, 0)
_CHUNK = 4096
_CHECKED = 500


def package(
    run: Path, examples: Path, data: Path, plan: dict[str, LabelPlan], out: Path, *, floor: Path | None = None
) -> None:
    """Writes artifact and card to `out`, named after its last part.

    Raises:
        ValueError: no label has enough evidence to be served.
    """
    training = json.loads((run / "training.json").read_text())
    labels = tuple(training["labels"])
    weights = load_file(run / "model.safetensors")
    tokenizer = (run / "tokenizer.json").read_text()
    texts = LabelledTexts.read(examples)
    texts = texts.take(np.flatnonzero(texts.split != "train"))
    draft = run / "draft"
    write_artifact(
        draft,
        weights,
        tokenizer,
        name=out.name,
        labels=labels,
        calibration=tuple(_IDENTITY for _ in labels),
        encoder=training["encoder"],
        about={},
    )
    logits = _logits(draft, examples, texts, run / "logits.safetensors")
    fitted = fit(logits, texts, plan)
    figures = measure(logits, texts, plan, fitted, data)
    served = tuple(label for label in labels if figures["labels"][label]["refusal"] is None)
    if not served:
        raise ValueError(f"{run}: expected a label with enough evidence, got none")
    about = {
        "training": {key: value for key, value in training.items() if key not in {"losses", "encoder"}},
        "data": json.loads(examples.with_suffix(".json").read_text()),
        "figures": figures,
        "floor": json.loads(floor.read_text()) if floor else None,
    }
    shutil.rmtree(out, ignore_errors=True)
    write_artifact(
        out,
        _served_rows(weights, labels, served),
        tokenizer,
        name=out.name,
        labels=served,
        calibration=tuple(fitted[label] for label in served),
        encoder=training["encoder"],
        about=about,
    )
    figures["largest_change_by_packaging"] = _largest_change(
        out, texts, probabilities(logits, labels, fitted)
    )
    artifact = replace(read_artifact(out), about=about)
    artifact.write_manifest(out)
    write_card(artifact, sum(path.stat().st_size for path in out.iterdir()), out / "README.md")


def measure(
    logits: NDArray[np.float64],
    texts: LabelledTexts,
    plan: dict[str, LabelPlan],
    fitted: dict[str, Platt],
    data: Path,
) -> dict[str, Any]:
    """All figures of the card: per label, toxicity at natural prevalence, and by identity group."""
    probability = probabilities(logits, texts.labels, fitted)
    labels = {}
    for j, label in enumerate(texts.labels):
        found = evaluate_label(logits[:, j], texts, label)
        found["refusal"] = refusal(found) if label in fitted else "no rows to calibrate it on"
        if label in fitted:
            found["calibration"] = evaluate_calibration(probability[label], texts, label, plan[label])
        labels[label] = found
    natural = evaluate_natural(probability["toxicity"], texts, data)
    threshold = natural["threshold_at_1_percent_false_positives"]
    return {
        "labels": labels,
        "natural": natural,
        "groups": evaluate_groups(probability["toxicity"], texts, threshold),
    }


def _logits(draft: Path, examples: Path, texts: LabelledTexts, kept: Path) -> NDArray[np.float64]:
    """Logits (n, L) of the stored weights; kept in a file, for a second run on the same inputs."""
    key = f"{sha256_of(draft / WEIGHTS)}-{sha256_of(examples)}"
    if kept.exists() and key in (stored := load_file(kept)):
        return stored[key]
    classifier = HarmClassifier.load(draft)
    parts = []
    with Progress() as progress:
        task = progress.add_task("scoring", total=texts.n)
        for start in range(0, texts.n, _CHUNK):
            parts.append(classifier.logits(list(texts.text[start : start + _CHUNK])))
            progress.advance(task, len(parts[-1]))
    logits = np.vstack(parts)
    save_file({key: logits}, kept)
    return logits


def _served_rows(weights: Weights, labels: tuple[str, ...], served: tuple[str, ...]) -> Weights:
    rows = [labels.index(label) for label in served]
    return weights | {name: weights[name][rows] for name in ("head.weight", "head.bias")}


def _largest_change(out: Path, texts: LabelledTexts, expected: dict[str, NDArray[np.float64]]) -> float:
    """Largest difference of a probability between the artifact as a user loads it and the figures' own."""
    classifier = HarmClassifier.load(out)
    rows = np.linspace(0, texts.n - 1, _CHECKED).astype(int)
    scores = classifier.score([texts.text[int(i)] for i in rows])
    wanted = np.column_stack([expected[label][rows] for label in scores.labels])
    return round(float(np.nanmax(np.abs(scores.probability - wanted))), 4)


def main() -> None:
    """Reads the arguments and packages."""
    parser = argparse.ArgumentParser(prog="training.package", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="what training.train wrote")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--data", type=Path, required=True, help="directory of the corpora")
    parser.add_argument("--plan", type=Path, required=True, help="calibration plan, see training/configs")
    parser.add_argument("--floor", type=Path, help="what training.floor wrote")
    parser.add_argument("--out", type=Path, required=True, help=f"directory of the artifact ({MANIFEST})")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    plan = read_plan(arguments.plan)
    package(arguments.run, arguments.examples, arguments.data, plan, arguments.out, floor=arguments.floor)


if __name__ == "__main__":
    main()

"""`python -m training.leave_out --config FILE --examples FILE --encoder PATH --leave A,B ... --out DIR`.

Trains once for each `--leave`, without the data sets that it names, and measures the classifier on their
held-out texts: how well each training source would do if it were a platform never seen. With `--head` each
gets the last layer that `training.head` fits. DIR/leave_out.json holds the figures for `training.package`.
Run the same command again after an interruption to go on; with another `--head` it trains nothing again.
"""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from models.device import quiet_memory
from models.examples import LabelledTexts
from training.atomic import write_json
from training.command import run_command
from training.config import TrainConfig
from training.evidence import evaluate_label
from training.features import pooled_features
from training.floor import tfidf_floor
from training.head import HeadConfig, refit
from training.metrics import mean_of_sources
from training.provenance import commit
from training.settings import read_settings, settings_digest
from training.train import train

_log = logging.getLogger(__name__)

FIGURES = "leave_out.json"


def data_set_of(source: str) -> str:
    """What follows the last "/": labels of several annotators on the same texts are one data set."""
    return source.rsplit("/", 1)[-1]


def without(texts: LabelledTexts, data_sets: tuple[str, ...]) -> LabelledTexts:
    """The texts for a training that never sees these data sets: their "test" texts become "unseen".

    Texts of no use to the training or its measure go: other unseen sources, and the rest of the data sets.

    Raises:
        ValueError: a data set has no held-out text.
    """
    own = np.array([data_set_of(source) for source in texts.source.tolist()])
    for name in data_sets:
        if not ((own == name) & (texts.split == "test")).any():
            known = sorted({str(entry) for entry in own[texts.split == "test"]})
            raise ValueError(f"--leave: expected data sets of {known}, got {name!r}")
    left = np.isin(own, data_sets)
    kept = ~left & np.isin(texts.split, ("train", "dev"))
    unseen = left & (texts.split == "test")
    split = np.where(unseen, "unseen", texts.split)
    return replace(texts, split=split).take(kept | unseen)


def leave_out(texts: LabelledTexts, run: Path) -> dict[str, Any]:
    """Per label and data set left out: the figures of a run on the split "unseen", and of TF-IDF beside."""
    chosen = np.flatnonzero(texts.split == "unseen")
    unseen = texts.take(chosen)
    logits = _logits(run, list(unseen.text))
    floor = tfidf_floor(texts)
    figures = {}
    for j, label in enumerate(texts.labels):
        sources = evaluate_label(logits[:, j], unseen, label)["unseen"]["sources"]
        for name, entry in sources.items():
            entry["tfidf"] = floor[label]["unseen"]["sources"].get(name, {}).get("auroc")
        figures[label] = sources
    return figures


def summary(folds: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of all trainings together: each label's sources, and their plain mean with its error."""
    labels = {label for fold in folds for label in fold}
    merged = {}
    for label in sorted(labels):
        sources = {name: entry for fold in folds for name, entry in fold.get(label, {}).items()}
        if sources:
            compared = [entry["tfidf"] for entry in sources.values() if entry["tfidf"] is not None]
            floor = round(float(np.mean(compared)), 4) if len(compared) == len(sources) else None
            merged[label] = {"sources": sources, "mean": mean_of_sources(sources), "tfidf_mean": floor}
    return merged


def _logits(run: Path, text: list[str]) -> NDArray[np.float64]:
    weights = load_file(run / "model.safetensors")
    features = pooled_features(run, text).astype(np.float64)
    return np.asarray(features @ weights["head.weight"].T + weights["head.bias"])


def main() -> None:
    """Reads the arguments, trains and measures each fold, writes JSON."""
    parser = argparse.ArgumentParser(prog="training.leave_out", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, see training/configs")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--encoder", required=True, help="encoder to start from")
    parser.add_argument("--head", type=Path, help="TOML file of training.head, for a last layer fitted anew")
    parser.add_argument("--leave", nargs="+", required=True, help="data sets of one training, by commas")
    parser.add_argument("--out", type=Path, required=True, help="directory of the runs and the figures")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    quiet_memory()
    texts = LabelledTexts.read(arguments.examples)
    config = read_settings(arguments.config, TrainConfig)
    head = read_settings(arguments.head, HeadConfig) if arguments.head else None
    parts = [without(texts, tuple(names.split(","))) for names in arguments.leave]
    folds = []
    for number, part in enumerate(parts):
        run = arguments.out / str(number)
        run.mkdir(parents=True, exist_ok=True)
        examples = run / "examples.parquet"
        part.write(examples)
        train(config, examples, arguments.encoder, run, device=arguments.device)
        measured = run / f"head-{settings_digest(head)[:12]}" if head else run
        if not (measured / FIGURES).exists():
            if head:
                refit(head, examples, run, measured, device=arguments.device)
            write_json(measured / FIGURES, leave_out(part, measured))
        folds.append(json.loads((measured / FIGURES).read_text()))
        _log.info("without %s: done", arguments.leave[number])
    about = {
        "leave": arguments.leave,
        "epochs": config.epochs,
        "read_layers": head.read_layers if head else None,
        "commit": commit(),
    }
    write_json(arguments.out / FIGURES, about | {"labels": summary(folds)})


if __name__ == "__main__":
    run_command(main)

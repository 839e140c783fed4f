"""`python -m training.average --runs A B ... --examples FILE --seen FILE ... --out DIR`.

Writes a run whose weights are the mean of several runs' weights, and examples without the held-out texts that
one of them was trained on. Runs that start from one encoder and differ in data or settings often lie in one
valley of the loss; the mean of their weights then transfers better than each of them, at the cost of one.

Source: M. Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time", 2022 (uniform soup).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.artifact import MANIFEST, TOKENIZER, read_artifact
from models.encoder import config_of
from models.examples import LabelledTexts
from training.atomic import write_json
from training.command import run_command
from training.provenance import commit, sha256_of, versions
from training.run import read_about, write_run
from training.start import starting_model

NO_LONGER_UNSEEN = 0.1


def average(runs: list[Path], examples: Path, seen: list[Path], out: Path) -> None:
    """Leaves a run and examples.parquet in `out`, for `training.calibrate` and what follows.

    A run may also be a packaged artifact. `seen` are the examples that the runs were trained on, where
    these are not `examples`. A label that one of the runs lacks counts as a row of zeros there.

    Raises:
        ValueError: fewer than two runs, or encoders or vocabularies that differ.
    """
    if len(runs) < 2:
        raise ValueError(f"runs: expected at least two, got {len(runs)}")
    texts = without_seen(LabelledTexts.read(examples), [LabelledTexts.read(path) for path in seen])
    labels = texts.labels
    started = [starting_model(str(run), labels) for run in runs]
    configs = [config_of(model) for model, _, _ in started]
    vocabularies = [tokenizer.get_vocab() for _, tokenizer, _ in started]
    for run, config, vocabulary in zip(runs, configs, vocabularies, strict=True):
        if config != configs[0] or vocabulary != vocabularies[0]:
            raise ValueError(f"{run}: expected the encoder and vocabulary of {runs[0]}, got others")
    states = [model.state_dict() for model, _, _ in started]
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    out.mkdir(parents=True, exist_ok=True)
    texts.write(out / "examples.parquet")
    write_json(out / "examples.json", _data(texts, examples, seen))
    parts = [_about(run) for run in runs]
    about = parts[-1] | {
        "labels": list(labels),
        "averaged": [
            {"weights_sha256": digest, **_brief(part)}
            for part, (_, _, digest) in zip(parts, started, strict=True)
        ],
        "examples_sha256": sha256_of(out / "examples.parquet"),
        "commit": commit(),
        "versions": versions(),
        "seconds": sum(int(part.get("seconds", 0)) for part in parts),
    }
    about.pop("run", None)  # that of the last part
    write_run(out, mean, (runs[0] / TOKENIZER).read_text(encoding="utf-8"), about)


def without_seen(texts: LabelledTexts, seen: list[LabelledTexts]) -> LabelledTexts:
    """The texts less the held-out ones whose letters equal a text that another run was trained on.

    A source of which a run was trained on a tenth of the held-out texts is no unseen source any more: all
    its texts of split "unseen" go.
    """
    known = {_key(other.text[int(i)]) for other in seen for i in np.flatnonzero(other.split == "train")}
    held = texts.split != "train"
    leaks = np.array([bool(held[i]) and _key(text) in known for i, text in enumerate(texts.text)])
    for source in np.unique(texts.source[texts.split == "unseen"]):
        rows = (texts.source == source) & (texts.split == "unseen")
        if leaks[rows].mean() >= NO_LONGER_UNSEEN:
            leaks |= rows
    return texts.take(~leaks)


def _data(texts: LabelledTexts, examples: Path, seen: list[Path]) -> dict[str, Any]:
    """What the card says of the data: rows that are left, and sources that only an earlier run trained on."""
    about: dict[str, Any] = json.loads(examples.with_suffix(".json").read_text())
    earlier = [json.loads(path.with_suffix(".json").read_text()) for path in seen]
    for name, entry in about.items():
        split, count = np.unique(texts.split[texts.source == name], return_counts=True)
        entry["rows"] = dict(zip(split.tolist(), count.tolist(), strict=True))
        n_earlier = max((other.get(name, {}).get("rows", {}).get("train", 0) for other in earlier), default=0)
        if n_earlier and "train" not in entry["rows"]:
            entry |= {"role": "train", "rows": entry["rows"] | {"train": n_earlier}}
    return about


def _key(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())


def _about(run: Path) -> dict[str, Any]:
    if (run / MANIFEST).exists():
        artifact = read_artifact(run)
        found: dict[str, Any] = artifact.about["training"] | {
            "encoder": artifact.encoder,
            "name": artifact.name,
        }
        return found
    return read_about(run)


def _brief(part: dict[str, Any]) -> dict[str, Any]:
    kept = ("name", "config", "config_digest", "examples_sha256", "commit", "n_texts", "base_encoder_sha256")
    return {key: part[key] for key in kept if key in part}


def main() -> None:
    """Reads the arguments and averages."""
    parser = argparse.ArgumentParser(prog="training.average", description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="runs or artifacts to average")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--seen", type=Path, nargs="*", default=[], help="examples of earlier trainings")
    parser.add_argument("--out", type=Path, required=True, help="directory of the new run")
    arguments = parser.parse_args()
    average(arguments.runs, arguments.examples, arguments.seen, arguments.out)


if __name__ == "__main__":
    run_command(main)

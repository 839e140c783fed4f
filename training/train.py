"""`python -m training.train --config FILE --examples FILE --encoder PATH|HUB_ID --out DIR`.

Trains on the split "train" and keeps the weights that order the split "dev" best. Run the same command again
after an interruption: it resumes at the last checkpoint and ends with the weights that an uninterrupted run
would have. Under `torchrun` or `accelerate launch --multi_gpu` the processes share each batch, on CPUs too
(`--device cpu`). The last file to be written, training.json, marks the run as finished.
"""

import argparse
import dataclasses
import hashlib
import logging
from pathlib import Path

import torch

from models.device import quiet_memory
from models.encoder import config_of
from models.examples import LabelledTexts
from training.checkpoint import RunFiles
from training.command import run_command
from training.config import TrainConfig
from training.curves import write_curves
from training.fit import Fit, fit
from training.metrics import rounded
from training.provenance import commit, sha256_of, versions
from training.run import ABOUT, read_about, write_run
from training.settings import read_settings, settings_digest
from training.start import starting_model

_log = logging.getLogger(__name__)


def train(config: TrainConfig, examples: Path, encoder: str, out: Path, *, device: str = "auto") -> None:
    """Trains; leaves model.safetensors, tokenizer.json, training.json, curves.csv and .png in `out`.

    A run that is finished already stays as it is.

    Raises:
        ValueError: `out` holds another run, finished or not, or there is no training row.
    """
    out.mkdir(parents=True, exist_ok=True)
    texts = LabelledTexts.read(examples)
    if not (texts.split == "train").any():
        raise ValueError(f"{examples}: expected texts of split 'train', got none")
    torch.manual_seed(config.seed)
    model, tokenizer, base = starting_model(encoder, texts.labels)
    files = RunFiles(out, _run_digest(config, sha256_of(examples), base or encoder))
    if not _is_finished(files):
        found = fit(config, model, texts, tokenizer, files=files, device=device)
        if found is None:
            return  # another process than the first writes nothing
        about = {
            "run": files.digest,
            "labels": list(texts.labels),
            "encoder": config_of(model),
            "base_encoder_sha256": base,
            "config": dataclasses.asdict(config),
            "config_digest": settings_digest(config),
            "examples_sha256": sha256_of(examples),
            "commit": commit(),
            "versions": versions(),
            "n_texts": int((texts.split == "train").sum()),
            **_progress(found),
        }
        write_curves(found.losses, found.dev, out)
        tokenizer.no_truncation()
        write_run(out, model.state_dict(), tokenizer.to_str(pretty=True), about)
    files.remove()


def _run_digest(config: TrainConfig, examples: str, start: str) -> str:
    return hashlib.sha256(f"{settings_digest(config)} {examples} {start}".encode()).hexdigest()


def _is_finished(files: RunFiles) -> bool:
    """Whether the directory holds this run with nothing left to do but to remove its checkpoint."""
    path = files.directory / ABOUT
    if not path.exists():
        return False
    if read_about(files.directory).get("run") != files.digest:
        raise ValueError(f"{path}: expected none, or that of this run, got another run: choose another --out")
    _log.info("%s: finished already", files.directory)
    return True


def _progress(found: Fit) -> dict[str, object]:
    return {
        "seconds": round(found.seconds),
        "n_processes": found.n_processes,
        "stopped_early": found.stopped_early,
        "losses": [round(loss, 5) for loss in found.losses],
        "dev": [[step, rounded(score, 5)] for step, score in found.dev],
    }


def main() -> None:
    """Reads the arguments and trains."""
    parser = argparse.ArgumentParser(prog="training.train", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, see training/configs")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--encoder", required=True, help="encoder or classifier to start from")
    parser.add_argument("--out", type=Path, required=True, help="directory of the run")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    quiet_memory()
    train(
        read_settings(arguments.config, TrainConfig),
        arguments.examples,
        arguments.encoder,
        arguments.out,
        device=arguments.device,
    )


if __name__ == "__main__":
    run_command(main)

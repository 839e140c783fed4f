"""`python -m training.train --config FILE --examples FILE --encoder PATH|HUB_ID --out DIR`.

Trains on the split "train" and keeps the weights that order the split "dev" best. Run the same command again
after an interruption: it resumes at the last checkpoint and ends with the weights that an uninterrupted run
would have. Under `torchrun` or `accelerate launch` the processes share each batch.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.device import quiet_memory
from models.encoder import config_of
from models.examples import LabelledTexts
from training.command import run_command
from training.config import TrainConfig
from training.curves import write_curves
from training.fit import Fit, fit
from training.provenance import commit, sha256_of, versions
from training.start import starting_model

_log = logging.getLogger(__name__)


def train(config: TrainConfig, examples: Path, encoder: str, out: Path, *, device: str = "auto") -> None:
    """Trains; leaves model.safetensors, tokenizer.json, training.json, curves.csv and .png in `out`.

    Raises:
        ValueError: `out` holds a checkpoint of another run, or there is no training row.
    """
    out.mkdir(parents=True, exist_ok=True)
    texts = LabelledTexts.read(examples)
    if not (texts.split == "train").any():
        raise ValueError(f"{examples}: expected texts of split 'train', got none")
    torch.manual_seed(config.seed)
    model, tokenizer, base = starting_model(encoder, texts.labels)
    run = hashlib.sha256(f"{config.digest} {sha256_of(examples)} {base or encoder}".encode()).hexdigest()
    found = fit(config, model, texts, tokenizer, out=out, run=run, device=device)
    if found is None:
        return  # another process than the first writes nothing
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, out / "model.safetensors"
    )
    tokenizer.no_truncation()
    tokenizer.save(str(out / "tokenizer.json"))
    about = {
        "labels": list(texts.labels),
        "encoder": config_of(model),
        "base_encoder_sha256": base,
        "config": dataclasses.asdict(config),
        "config_digest": config.digest,
        "examples_sha256": sha256_of(examples),
        "commit": commit(),
        "versions": versions(),
        "n_texts": int((texts.split == "train").sum()),
        **_progress(found),
    }
    (out / "training.json").write_text(json.dumps(about, indent=1) + "\n")
    write_curves(found.losses, found.dev, out)
    for name in ("checkpoint", "best"):
        (out / name).unlink(missing_ok=True)


def _progress(found: Fit) -> dict[str, object]:
    return {
        "seconds": round(found.seconds),
        "n_processes": found.n_processes,
        "stopped_early": found.stopped_early,
        "losses": [round(loss, 5) for loss in found.losses],
        "dev": [[step, round(value, 5)] for step, value in found.dev],
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
        TrainConfig.read(arguments.config),
        arguments.examples,
        arguments.encoder,
        arguments.out,
        device=arguments.device,
    )


if __name__ == "__main__":
    run_command(main)

"""A finished run on disk: weights, tokenizer, and training.json, which comes last and says that it is one."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from models.artifact import TOKENIZER
from training.atomic import replacing, write_json

WEIGHTS, ABOUT = "model.safetensors", "training.json"


def write_run(out: Path, weights: dict[str, torch.Tensor], tokenizer: str, about: dict[str, Any]) -> None:
    """Leaves a finished run in the directory, in place of the one it may hold.

    `tokenizer` is its JSON text. A kill on the way leaves a directory without training.json, which no
    later command takes for a run.

    Raises:
        ValueError: a number in `about` is NaN or infinite.
    """
    (out / ABOUT).unlink(missing_ok=True)
    with replacing(out / WEIGHTS) as unfinished:
        save_file({name: value.contiguous() for name, value in weights.items()}, unfinished)
    with replacing(out / TOKENIZER) as unfinished:
        unfinished.write_text(tokenizer, encoding="utf-8")
    write_json(out / ABOUT, about)


def read_about(run: Path) -> dict[str, Any]:
    """What training.json says of a finished run.

    Raises:
        FileNotFoundError: the directory holds none.
    """
    if not (run / ABOUT).exists():
        raise FileNotFoundError(f"{run / ABOUT}: expected a finished run, got none here")
    found: dict[str, Any] = json.loads((run / ABOUT).read_text(encoding="utf-8"))
    return found


def beginning(training: dict[str, Any]) -> str | None:
    """sha256 of the weights that a training, or the first of those before it, began with; None if unknown."""
    while earlier := training.get("started_from"):
        training = earlier
    found: str | None = training.get("base_encoder_sha256")
    return found

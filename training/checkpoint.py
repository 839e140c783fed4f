"""A training state on disk that survives a kill at any moment.

One safetensors file holds weights and optimiser moments, its metadata the step and the run's digest. It is
written beside its place and renamed, so the place holds the old state or the new one, never half of one.
"""

import json
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

Losses = list[float]


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, step: int, run: str, losses: Losses
) -> None:
    """Writes the state after `step` steps of the run with digest `run`."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.contiguous() for name, value in state.items()}
    unfinished = path.with_suffix(".unfinished")
    save_file(
        tensors, unfinished, metadata={"state": json.dumps({"step": step, "run": run, "losses": losses})}
    )
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.replace(path)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, run: str
) -> tuple[int, Losses]:
    """Restores model and optimiser in place; the number of steps done and their losses.

    Nothing at `path` means a fresh start: (0, []).

    Raises:
        ValueError: the checkpoint belongs to another run (other config, examples or encoder).
    """
    if not path.exists():
        return 0, []
    with safe_open(path, framework="pt") as stored:
        state = json.loads(stored.metadata()["state"])
        if state["run"] != run:
            raise ValueError(
                f"{path}: expected a checkpoint of run {run[:12]}, got one of {state['run'][:12]}"
            )
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - not a mapping
    prefix = "model."
    model.load_state_dict({name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, field = name.split(".")
            moments.setdefault(int(number), {})[field] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(state["step"]), [float(loss) for loss in state["losses"]]

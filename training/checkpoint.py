"""A training state on disk that survives a kill at any moment.

Each file is a safetensors file whose metadata holds the step and the run's digest, and holds the old state or
the new one, never half of one.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from training.atomic import replacing

Losses = list[float]
Dev = list[tuple[int, float]]


@dataclass
class Progressed:
    """How far a run has come: steps done, the loss of each, and (step, dev score) of each measurement."""

    step: int = 0
    losses: Losses = field(default_factory=list)
    dev: Dev = field(default_factory=list)


@dataclass(frozen=True)
class RunFiles:
    """Where the run with this digest keeps its state until it is finished."""

    directory: Path
    digest: str

    @property
    def checkpoint(self) -> Path:
        """The state that a run goes on from."""
        return self.directory / "checkpoint"

    @property
    def best(self) -> Path:
        """The best weights so far."""
        return self.directory / "best"

    def remove(self) -> None:
        """Removes both; the checkpoint first, because without the best weights it cannot be finished."""
        self.checkpoint.unlink(missing_ok=True)
        self.best.unlink(missing_ok=True)


def save_checkpoint(
    files: RunFiles, model: nn.Module, optimizer: torch.optim.Optimizer, progressed: Progressed
) -> None:
    """Writes the state of a run."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.contiguous() for name, value in state.items()}
    _write(files.checkpoint, tensors, {"run": files.digest, **asdict(progressed)})


def load_checkpoint(files: RunFiles, model: nn.Module, optimizer: torch.optim.Optimizer) -> Progressed:
    """Restores model and optimiser in place, and says how far they had come.

    No checkpoint means a fresh start.

    Raises:
        ValueError: the checkpoint is damaged, or of another run (other config, examples or encoder).
    """
    if not files.checkpoint.exists():
        return Progressed()
    tensors, state = _read(files.checkpoint, files.digest)
    prefix = "model."
    model.load_state_dict({name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)})
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, field_name = name.split(".")
            moments.setdefault(int(number), {})[field_name] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    dev = [(int(step), float(score)) for step, score in state["dev"]]
    return Progressed(int(state["step"]), [float(loss) for loss in state["losses"]], dev)


def save_best(files: RunFiles, model: nn.Module) -> None:
    """Writes the best weights so far of a run."""
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    _write(files.best, weights, {"run": files.digest})


def load_best(files: RunFiles, model: nn.Module) -> None:
    """Puts the best weights into the model.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they are damaged, or of another run.
    """
    tensors, _ = _read(files.best, files.digest)
    model.load_state_dict(tensors)


def _write(path: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    with replacing(path) as unfinished:
        save_file(tensors, unfinished, metadata={"state": json.dumps(state)})


def _read(path: Path, run: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as stored:
            state = json.loads(stored.metadata()["state"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a checkpoint, got a damaged file: {error}") from None
    if state["run"] != run:
        raise ValueError(f"{path}: expected a checkpoint of run {run[:12]}, got one of {state['run'][:12]}")
    return tensors, state

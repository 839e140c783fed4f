"""How the labels of somebody else's checkpoint become labels of the taxonomy: a TOML file.

schema = 1
checkpoint = "owner/name"          # or a path relative to this file; may be left out
activation = "sigmoid"             # or "softmax"
max_tokens = 512
[labels]
toxicity = "toxic"
profanity = ["obscene", "swear"]   # softmax: their sum; sigmoid: the largest
"""

import difflib
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.taxonomy import LABELS, label

SCHEMA_VERSION = 1

Activation = Literal["sigmoid", "softmax"]

_KEYS = {"schema", "checkpoint", "activation", "max_tokens", "labels"}
_FEWEST_TOKENS = 8


@dataclass(frozen=True)
class LabelMap:
    """Our labels, each with those of the checkpoint that it is made of.

    `max_tokens` is the length of a window with its special tokens. `checkpoint` is a path or hub id, or
    None where the file names none.

    Raises:
        ValueError: no label, one that the taxonomy lacks, one without parts, or a part named twice.
    """

    parts: dict[str, tuple[str, ...]]
    activation: Activation
    max_tokens: int = 512
    checkpoint: str | None = None

    def __post_init__(self) -> None:
        if self.activation not in get_args(Activation):
            raise ValueError(f"activation: expected one of {get_args(Activation)}, got {self.activation!r}")
        if type(self.max_tokens) is not int or self.max_tokens < _FEWEST_TOKENS:
            raise ValueError(f"max_tokens: expected a number from {_FEWEST_TOKENS}, got {self.max_tokens!r}")
        if not self.parts:
            raise ValueError("labels: expected at least one, got none")
        for name, parts in self.parts.items():
            label(name)
            if not parts or len(set(parts)) != len(parts):
                raise ValueError(f"labels.{name}: expected labels of the checkpoint, each once, got {parts}")

    @classmethod
    def read(cls, path: Path | str) -> "LabelMap":
        """The map in a TOML file; a checkpoint that lies beside the file is named by its full path.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: no TOML, another schema, an unknown or missing key, or a value out of range.
        """
        path = Path(path)
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
            return cls._of(found, path.parent)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    @classmethod
    def _of(cls, found: dict[str, Any], folder: Path) -> "LabelMap":
        if found.get("schema") != SCHEMA_VERSION:
            raise ValueError(f"schema: expected {SCHEMA_VERSION}, got {found.get('schema')!r}")
        unknown = sorted(set(found) - _KEYS)
        if unknown:
            raise ValueError(f"expected the keys {sorted(_KEYS)}, got {unknown}")
        if not isinstance(found.get("labels"), dict):
            raise ValueError(f"labels: expected a table, got {found.get('labels')!r}")
        parts = {name: _names(name, value) for name, value in found["labels"].items()}
        checkpoint = found.get("checkpoint")
        if checkpoint is not None and (folder / str(checkpoint)).is_dir():
            checkpoint = str((folder / str(checkpoint)).resolve())
        return cls(parts, found.get("activation", ""), found.get("max_tokens", 512), checkpoint)

    @property
    def labels(self) -> tuple[str, ...]:
        """Our labels, in the order of the file."""
        return tuple(self.parts)

    def as_dict(self) -> dict[str, Any]:
        """What decides the scores, JSON-ready."""
        return {key: value for key, value in asdict(self).items() if key != "checkpoint"}

    def check(self, theirs: Sequence[str]) -> None:
        """Whether a checkpoint with these labels has every part.

        Raises:
            ValueError: it lacks one; the message names the nearest, and all it has.
        """
        for name, parts in self.parts.items():
            for part in parts:
                if part not in theirs:
                    near = difflib.get_close_matches(part, theirs, n=3)
                    raise ValueError(
                        f"labels.{name}: expected a label of the checkpoint, got {part!r}; "
                        f"nearest: {near}; it has: {list(theirs)}"
                    )

    def combined(self, probability: NDArray[np.float64], theirs: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities (n, L) of our labels from those (n, C) of the checkpoint's.

        Classes of a softmax exclude each other, so their probabilities add up; those of a sigmoid do
        not, so that the largest is a lower bound of their union.
        """
        rows = {name: j for j, name in enumerate(theirs)}
        columns = [probability[:, [rows[part] for part in parts]] for parts in self.parts.values()]
        if self.activation == "softmax":
            return np.column_stack([np.minimum(part.sum(axis=1), 1.0) for part in columns])
        return np.column_stack([part.max(axis=1) for part in columns])


def template(theirs: Sequence[str], activation: Activation, checkpoint: str) -> str:
    """A label map to fill in for a checkpoint with these labels; what looks alike is filled in."""
    ours = [entry.name for entry in LABELS if entry.family != "derived"]
    lines = [
        f"schema = {SCHEMA_VERSION}",
        f"checkpoint = {_quoted(checkpoint)}",
        f'activation = "{activation}"  # "sigmoid": each label on its own; "softmax": one of them',
        "max_tokens = 512",
        "[labels]  # ours = theirs; check each line",
    ]
    for part in theirs:
        near = difflib.get_close_matches(part.lower().replace(" ", "_").replace("-", "_"), ours, 1, 0.7)
        if near:
            ours.remove(near[0])
        lines.append(f"{near[0]} = {_quoted(part)}" if near else f"# ... = {_quoted(part)}")
    return "\n".join(lines) + "\n"


def _names(name: str, value: Any) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(part, str) for part in listed):
        raise ValueError(
            f"labels.{name}: expected a label of the checkpoint or a list of them, got {value!r}"
        )
    return tuple(listed)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

"""Several scorers as one: toxicity from one model, misinformation from another.

Models are named as policies are, joined by "+": `bundled:humor,civic+toxic-bert.toml` takes two labels from
the bundled classifier, and those of a label map from the checkpoint that the map names. torch is imported
by `load_parts`, not by this module.
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.bundled import is_hub_id
from models.classifier import HarmClassifier
from models.device import quiet_memory
from models.label_map import LabelMap
from models.scores import Content, HarmScores, Scorer

if TYPE_CHECKING:
    from models.checkpoint import CheckpointScorer

OnBatch = Callable[[int], None]

_NAMED = re.compile(r"(?P<source>.+?)(?::(?P<labels>[a-z_]+(?:,[a-z_]+)*))?")


@dataclass(frozen=True)
class Part:
    """A scorer and the labels that it contributes; what else it scores is dropped.

    `prevalence` holds the share of posts that each calibrated label stands for.

    Raises:
        ValueError: no label.
    """

    scorer: Scorer
    labels: tuple[str, ...]
    prevalence: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.labels:
            raise ValueError("labels: expected at least one that the model contributes, got none")


def compose(parts: Sequence[Part]) -> Scorer:
    """One scorer with the labels of all parts, in their order.

    Raises:
        ValueError: there is no part, or two claim the same label. The scorer raises it where a part lacks
            a label that it claims.
    """
    if not parts:
        raise ValueError("parts: expected at least one, got none")
    claimed = [label for part in parts for label in part.labels]
    twice = sorted({label for label in claimed if claimed.count(label) > 1})
    if twice:
        raise ValueError(
            f"labels: expected each from one scorer, got {twice} from several; "
            "name those to take, as in bundled:humor,civic"
        )

    def score(content: Content) -> HarmScores:
        scores = _only(parts[0], content)
        for part in parts[1:]:
            scores = scores.join(_only(part, content))
        return scores

    return score


def load_parts(
    models: str,
    device: str = "auto",
    on_batch: OnBatch | None = None,
    *,
    prevalence: Mapping[str, float] | None = None,
    sample: Sequence[str | None] | None = None,
) -> list[Part]:
    """The models named by SOURCE[:LABEL,...][+SOURCE...], each with the labels it contributes.

    A source is "bundled", "bundled-fast", the directory of a classifier, or the TOML file of a label map
    that names its checkpoint. `on_batch` gets the number of distinct texts that a model has read so far.
    `prevalence` moves the calibration of the labels that it names, to a `sample` of the feed's texts where
    one is given (see HarmClassifier.at_prevalence).

    Raises:
        OSError: a file or checkpoint is missing.
        ValueError: one cannot be used, is a checkpoint without a label map (the message has one to fill
            in), or does not score a label that is named; or a prevalence is of no calibrated label.
    """
    names = [models] if Path(models).exists() else models.split("+")
    moved = dict(prevalence or {})
    parts = []
    for name in names:
        loaded, labels = _load_named(name, device)
        if isinstance(loaded, HarmClassifier):
            own = {label: moved.pop(label) for label in list(moved) if label in labels}
            loaded = loaded.at_prevalence(own, sample)
        parts.append(_part(loaded, labels, on_batch))
    if moved:
        raise ValueError(
            f"prevalence: expected labels that a calibrated model here scores, got {sorted(moved)}; "
            f"labels: {[label for part in parts for label in part.labels]}"
        )
    return parts


def _load_named(name: str, device: str) -> "tuple[HarmClassifier | CheckpointScorer, tuple[str, ...]]":
    """The model of SOURCE[:LABEL,...], and the labels to take from it."""
    found = _NAMED.fullmatch(name)
    if found is None:
        raise ValueError(f"model: expected SOURCE[:LABEL,...][+SOURCE...], got {name!r}")
    source = found["source"]
    loaded = _load(source, device)
    labels = tuple(found["labels"].split(",")) if found["labels"] else loaded.labels
    for label in labels:
        if label not in loaded.labels:
            near = difflib.get_close_matches(label, loaded.labels, n=3)
            raise ValueError(
                f"{source}: expected a label that it scores, got {label!r}; nearest: {near}; "
                f"it scores: {list(loaded.labels)}"
            )
    return loaded, labels


def _part(
    loaded: "HarmClassifier | CheckpointScorer", labels: tuple[str, ...], on_batch: OnBatch | None
) -> Part:
    assumed: dict[str, float] = {}
    if isinstance(loaded, HarmClassifier):
        calibration = zip(loaded.labels, loaded.artifact.calibration, strict=True)
        assumed = {label: platt.prevalence for label, platt in calibration}
    return Part(partial(loaded, on_batch=on_batch), labels, assumed)


def _load(source: str, device: str) -> "HarmClassifier | CheckpointScorer":
    path = Path(source)
    label_map = LabelMap.read(path) if path.suffix == ".toml" else None
    if label_map is not None and label_map.checkpoint is None:
        raise ValueError(f"{source}: checkpoint: expected a path or hub id, got none")
    if label_map is None and not is_hub_id(source) and not (path / "config.json").exists():
        return HarmClassifier.load(source, device)
    quiet_memory()  # before the first import of torch
    from models.checkpoint import CheckpointScorer  # noqa: PLC0415 - see above

    checkpoint = source if label_map is None else str(label_map.checkpoint)
    return CheckpointScorer.load(checkpoint, label_map, device)


def _only(part: Part, content: Content) -> HarmScores:
    scores = part.scorer(content)
    if scores.labels == part.labels:
        return scores
    columns = [scores.column(label) for label in part.labels]
    probability = np.column_stack([column[0] for column in columns])
    confidence = np.column_stack([column[1] for column in columns])
    return HarmScores(part.labels, probability, confidence, scores.model)

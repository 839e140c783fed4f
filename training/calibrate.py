"""Fits the calibration of every label on development rows, as a plan file says."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.calibration import Platt, fit_platt
from models.examples import LabelledTexts

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LabelPlan:
    """On which rows one label is calibrated, and to which prevalence (None: as the rows have it).

    A source that ends in "/" stands for all whose name starts so. Evaluation on the held-out part uses
    the same sources.
    """

    sources: tuple[str, ...]
    split: str = "dev"
    prevalence: float | None = None

    def rows(self, texts: LabelledTexts, label: str, split: str | None = None) -> NDArray[np.int64]:
        """Rows of these sources that are annotated for the label, in this plan's split or another."""
        annotated = ~np.isnan(texts.target[:, texts.labels.index(label)])
        exact = np.isin(texts.source, self.sources)
        for prefix in (name for name in self.sources if name.endswith("/")):
            exact |= np.char.startswith(texts.source, prefix)
        return np.flatnonzero(exact & annotated & (texts.split == (split or self.split)))

    @property
    def test_split(self) -> str:
        """The held-out counterpart of `split`."""
        return self.split.replace("dev", "test")


def read_plan(path: Path) -> dict[str, LabelPlan]:
    """The plan of each label in a TOML file.

    Raises:
        ValueError: another schema, or an unknown or missing key.
    """
    found = tomllib.loads(path.read_text())
    if found.get("schema") != SCHEMA_VERSION:
        raise ValueError(f"{path}: schema: expected {SCHEMA_VERSION}, got {found.get('schema')!r}")
    plan = {}
    for label, entry in found["label"].items():
        if not {"sources"} <= set(entry) <= {"sources", "split", "prevalence"}:
            raise ValueError(
                f"{path}: label.{label}: expected sources[, split, prevalence], got {sorted(entry)}"
            )
        plan[label] = LabelPlan(**(entry | {"sources": tuple(entry["sources"])}))
    return plan


def fit(logits: NDArray[np.float64], texts: LabelledTexts, plan: dict[str, LabelPlan]) -> dict[str, Platt]:
    """The calibration of each planned label from logits (n, L), row by row those of `texts`.

    A label without both positives and negatives in its rows has none.
    """
    fitted = {}
    for label, entry in plan.items():
        rows, j = entry.rows(texts, label), texts.labels.index(label)
        present = texts.target[rows, j] >= 0.5
        if 0 < present.sum() < len(rows):
            fitted[label] = fit_platt(logits[rows, j], present, prevalence=entry.prevalence)
    return fitted

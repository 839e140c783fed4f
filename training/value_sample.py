"""Synthetic engagements with a known table: for tests and for planning a survey, never evidence.

`python -m training.value_sample -o items.parquet` writes a file for `reranker fit-value`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import special

from reranker.columns import FloatArray
from reranker.writing import atomic
from training.value_items import ValueItems, items_from_columns
from training.value_table import ValueTable

SIGNALS = ("like", "haha", "angry", "comment", "reshare")
SHARES = (0.45, 0.1, 0.1, 0.2, 0.15)  # of engagements
TERMS = ("toxicity", "misinformation", "angry_share", "comment_toxicity")
TRUTH = ValueTable(
    endorsed=np.array([0.95, 0.8, 0.6, 0.75, 0.85]),
    sensitivity=np.array([0.5, 0.8, 0.7, 1.0, 0.9]),
    harm=np.array([0.9, 0.6, 0.5, 0.0]),
)
MEAN_LEVEL = (0.15, 0.2, 0.15, 0.15)


@dataclass(frozen=True)
class Survey:
    """How the sample is drawn.

    Attributes:
        n_viewers: viewers; each engages `per_viewer` times on average.
        per_viewer: engagements of a viewer.
        asked: mean probability of being asked; it is higher after engagements that are rare.
        yes_saying: share of answers that are yes whatever the question.
        viewer_spread: sd of a viewer's own leaning, in log-odds of endorsing; 0: viewers are alike.
    """

    n_viewers: int = 1_000
    per_viewer: int = 20
    asked: float = 0.25
    yes_saying: float = 0.0
    viewer_spread: float = 0.0


def sample_columns(
    survey: Survey, rng: np.random.Generator, truth: ValueTable = TRUTH
) -> dict[str, list[object] | FloatArray]:
    """The columns of an items file, those of `read_items`, drawn from a true table.

    With `viewer_spread` the answers of a viewer are alike while the share that endorses is still that of the
    table: a viewer's answer is that of a uniform draw that leans towards the viewer's own.
    """
    n = survey.n_viewers * survey.per_viewer
    viewer = rng.integers(0, survey.n_viewers, n)
    signal = rng.choice(len(SIGNALS), n, p=SHARES)
    level = np.array([rng.beta(0.5, 0.5 * (1 - m) / m, n) for m in MEAN_LEVEL])
    p = truth.p(signal, level)
    endorsed = _leaning(viewer, survey, rng) < p
    chance = np.clip(survey.asked * np.where(np.array(SHARES)[signal] < 0.2, 1.4, 0.8), 0, 1)
    reverse = rng.random(n) < 0.5
    answer = np.where(rng.random(n) < survey.yes_saying, ~reverse, endorsed)
    told = np.where(rng.random(n) < chance, answer.astype(np.float64), np.nan)
    columns: dict[str, list[object] | FloatArray] = {
        "viewer": [f"v{i}" for i in viewer],
        "post_id": [f"p{i}" for i in range(n)],
        "signal": [SIGNALS[j] for j in signal],
        "endorsed": told,
        "sampling_probability": chance,
        **dict(zip(TERMS, level, strict=True)),
    }
    if survey.yes_saying:
        columns["reversed"] = reverse.astype(np.float64)
    return columns


def sample_items(survey: Survey, seed: int, truth: ValueTable = TRUTH) -> ValueItems:
    """Engagements drawn from a true table."""
    return items_from_columns(sample_columns(survey, np.random.default_rng(seed), truth))


def _leaning(viewer: np.ndarray, survey: Survey, rng: np.random.Generator) -> FloatArray:
    """(n,) uniform numbers, alike within a viewer: a Gaussian copula."""
    shared = survey.viewer_spread**2 / (survey.viewer_spread**2 + np.pi**2 / 3)
    own, common = rng.standard_normal(len(viewer)), rng.standard_normal(survey.n_viewers)
    found: FloatArray = special.ndtr(np.sqrt(1 - shared) * own + np.sqrt(shared) * common[viewer])
    return found


def true_bad_shares(
    truth: ValueTable = TRUTH, *, level: float = 0.5
) -> dict[tuple[str, str], tuple[float, float]]:
    """By signal and term ("" for all posts): rate and part of `BadShare`, over half a million drawn posts."""
    rng = np.random.default_rng(0)
    n = 500_000
    levels = np.array([rng.beta(0.5, 0.5 * (1 - m) / m, n) for m in MEAN_LEVEL])
    such = {"": np.ones(n, dtype=bool)} | {h: row >= level for h, row in zip(TERMS, levels, strict=True)}
    found = {}
    for j, signal in enumerate(SIGNALS):
        bad = 1.0 - truth.p(np.full(n, j), levels)
        for harm, rows in such.items():
            found[signal, harm] = float(bad[rows].mean()), float((bad * rows).mean())
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the engagements, NaN as null."""
    parser = argparse.ArgumentParser(prog="python -m training.value_sample", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="a name that ends in .parquet")
    parser.add_argument("--viewers", type=int, default=Survey.n_viewers)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.output.suffix != ".parquet" or given.viewers < 1 or given.seed < 0:
        parser.error("expected an output that ends in .parquet, viewers above 0, a seed from 0")
    columns = sample_columns(Survey(n_viewers=given.viewers), np.random.default_rng(given.seed))
    with atomic(given.output) as file:
        pq.write_table(
            pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()}), file
        )
    sys.stdout.write(f"written: {given.output}\n")


if __name__ == "__main__":
    main()

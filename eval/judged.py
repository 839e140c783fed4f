"""Probabilities beside what people found: the table that every figure of a classifier is made from."""

from dataclasses import dataclass, replace

import numpy as np

from eval.counter_random import poisson_weights
from eval.hashing import user_keys
from eval.interval import Interval
from reranker.columns import BoolArray, FloatArray, IntArray, frozen


@dataclass(frozen=True, eq=False)
class Judged:
    """n posts with a probability and a truth. Build one with `judged`.

    Attributes:
        p: (n,) calibrated probability of harm.
        present: (n,) True where people found the harm.
        weight: (n,) at least 0: views, or 1 for posts as such.
        cluster: (n,) code of whose posts or views are alike; the post itself where nothing is known.
    """

    p: FloatArray
    present: BoolArray
    weight: FloatArray
    cluster: IntArray

    def __post_init__(self) -> None:
        n = len(self.p)
        for name in ("p", "present", "weight", "cluster"):
            values = getattr(self, name)
            if values.shape != (n,):
                raise ValueError(f"{name}: expected shape ({n},), got {values.shape}")
            frozen(values)
        for name, high in (("p", 1.0), ("weight", np.inf)):
            values = getattr(self, name)
            bad = ~((values >= 0) & (values <= high) & np.isfinite(values))
            if bad.any():
                row = int(bad.argmax())
                raise ValueError(
                    f"{name}: expected numbers in [0, {high:g}], got {values[row]} at row {row}; "
                    "leave out what was not scored and say how much that is"
                )

    @property
    def n(self) -> int:
        """Posts."""
        return len(self.p)

    def where(self, rows: BoolArray) -> "Judged":
        """Those of some rows."""
        return Judged(self.p[rows], self.present[rows], self.weight[rows], self.cluster[rows])

    def weighted(self, weight: FloatArray) -> "Judged":
        """The same posts counted by other weights, such as their exposure under another policy."""
        return replace(self, weight=np.array(weight, dtype=np.float64))


def judged(
    p: FloatArray,
    present: BoolArray,
    *,
    weight: FloatArray | None = None,
    cluster: IntArray | None = None,
) -> Judged:
    """The table of n posts; each counts once and is independent of the others where nothing is said.

    Raises:
        ValueError: lengths that differ, a probability outside [0, 1] or missing, or a negative weight.
    """
    n = len(p)
    return Judged(
        np.array(p, dtype=np.float64),
        np.array(present, dtype=np.bool_),
        np.ones(n) if weight is None else np.array(weight, dtype=np.float64),
        np.arange(n) if cluster is None else np.array(cluster, dtype=np.int64),
    )


def resampled_weights(table: Judged, n_resamples: int, *, seed: int) -> FloatArray:
    """(n_resamples, n) weights times Poisson(1) draws, one per cluster: the resamples of any figure."""
    codes, of_row = np.unique(table.cluster, return_inverse=True)
    drawn = poisson_weights(user_keys(codes), n_resamples, seed=seed)
    return np.ascontiguousarray(drawn[of_row].T) * table.weight


def percentile_interval(values: FloatArray, level: float) -> Interval:
    """The interval of a figure from its resamples; those in which it does not exist are left out.

    Raises:
        ValueError: it exists in fewer than 9 of 10 resamples.
    """
    found = values[~np.isnan(values)]
    if len(found) < 0.9 * len(values):
        raise ValueError(f"resamples: expected the figure in most of {len(values)}, got it in {len(found)}")
    low, high = np.quantile(found, ((1 - level) / 2, (1 + level) / 2))
    return Interval(float(low), float(high), float(found.std(ddof=1)))

"""A/A: does an analysis find nothing where there is nothing?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reranker.columns import BoolArray, FloatArray, IntArray

UNIFORM_P = 0.01
COVERAGE = (0.935, 0.965)


@dataclass(frozen=True, eq=False)
class Placebo:
    """What an analysis said of random splits.

    Attributes:
        p: (splits,) its p-values.
        uniform_p: of the test that they are uniform (Kolmogorov-Smirnov).
        coverage: share of splits whose 95 % interval holds 0.
        passed: uniform_p above 0.01 and coverage in 0.935 to 0.965.
    """

    p: FloatArray
    uniform_p: float
    coverage: float
    passed: bool


def placebo_check(
    analysis: Callable[[BoolArray], float], cluster: IntArray, *, seed: int, n_splits: int = 1_000
) -> Placebo:
    """The p-values of an analysis over random halves of the users, on data from before any change.

    Args:
        analysis: takes (n,) whether a row is treated and gives a two-sided p-value, as the real one would.
        cluster: (n,) integer codes of what is randomised.
        seed: of the splits.
        n_splits: random halves.

    Raises:
        ValueError: fewer than 4 clusters, or a p-value outside [0, 1] or missing.

    Source: Kohavi, Tang and Xu, Trustworthy Online Controlled Experiments, 2020, chapter 19.
    """
    units, codes = np.unique(cluster, return_inverse=True)
    if len(units) < 4:
        raise ValueError(f"clusters: expected at least 4 to split, got {len(units)}")
    rng = np.random.default_rng(seed)
    p = np.empty(n_splits)
    for split in range(n_splits):
        side = np.zeros(len(units), dtype=bool)
        side[rng.permutation(len(units))[: len(units) // 2]] = True
        p[split] = analysis(side[codes])
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p: expected p-values in [0, 1], got {p[~((p >= 0) & (p <= 1))][0]}")
    uniform_p = float(stats.kstest(p, "uniform").pvalue)
    coverage = float((p > 0.05).mean())
    passed = uniform_p > UNIFORM_P and COVERAGE[0] <= coverage <= COVERAGE[1]
    return Placebo(p, uniform_p, coverage, passed)

"""The search over a space of policies: Optuna asks, a batch is measured at once, Optuna is told."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from eval.frontier_space import Dimension, Space
from reranker.columns import FloatArray

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

BATCH = 20
NOT_MEASURED = 1e9  # what stands for an objective that a policy leaves without a figure
EXCESS = "excess"  # under this name a trial keeps by how much it misses each limit
Measured = tuple[FloatArray, FloatArray, FloatArray]
"""(P,) harm, less is better; (P,) activity, more is better; (P, Q) excess over each limit, held below 0."""


def search(
    space: Space,
    measure: Callable[[Sequence[Mapping[str, float]]], Measured],
    *,
    n_trials: int,
    seed: int,
) -> list[dict[str, float]]:
    """The points of the space that a multi-objective sampler tried, in order; the base first where it is one.

    Args:
        space: what may be tried.
        measure: what a batch of points comes to.
        n_trials: points in all.
        seed: of the sampler; the same seed and measurements give the same points.

    Raises:
        ValueError: Optuna is not installed.

    Source: Ozaki, Tanigaki, Watanabe and Onishi, Multiobjective tree-structured Parzen estimator for
    computationally expensive optimization problems, 2020 (the sampler).
    """
    try:
        import optuna  # noqa: PLC0415 - an extra of the package
    except ModuleNotFoundError:
        raise ValueError(
            "optuna: expected to be installed, got none: pip install 'harm-aware-reranker[fit]'"
        ) from None
    tried: list[dict[str, float]] = []
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the sampler's options are marked experimental
            sampler = optuna.samplers.TPESampler(
                seed=seed,
                multivariate=True,
                n_startup_trials=min(2 * BATCH, max(1, n_trials // 4)),
                constraints_func=_excess_of,
            )
            study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
            start = space.of_base()
            if all(_within(start[d.key], d) for d in space.dimensions):
                study.enqueue_trial(start)
            while len(tried) < n_trials:
                batch = [study.ask() for _ in range(min(BATCH, n_trials - len(tried)))]
                points = [
                    space.point({d.key: trial.suggest_float(d.key, d.low, d.high) for d in space.dimensions})
                    for trial in batch
                ]
                harm, activity, excess = measure(points)
                for trial, *values, over in zip(batch, harm, activity, excess, strict=True):
                    trial.set_user_attr(EXCESS, np.nan_to_num(over, posinf=1e9).tolist())
                    study.tell(
                        trial,
                        [
                            NOT_MEASURED * sign if np.isnan(x) else float(x)
                            for x, sign in zip(values, (1, -1), strict=True)
                        ],
                    )
                tried += points
    finally:
        optuna.logging.set_verbosity(verbosity)
    return tried


def _within(value: float | None, dimension: Dimension) -> bool:
    return value is not None and dimension.low <= value <= dimension.high


def _excess_of(trial: "FrozenTrial") -> list[float]:
    return list(trial.user_attrs[EXCESS])

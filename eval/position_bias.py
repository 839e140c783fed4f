"""Fits of the position-based model from clicks: examined, by position, times attractive, by item.

Position bias shows only where one item stood at several positions. Items in `harvest` are compared with
themselves; `fit_click_model` uses all impressions, with the attraction of rare items drawn to the mean.
An item is whatever is alike apart from its position: a post, or a post for one kind of viewer.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csgraph

from eval.browsing_kernel import compare_positions, expect_examined
from reranker.columns import BoolArray, FloatArray, IntArray

SHRINKAGE = 1.0  # impressions of the mean item added to each item
TOLERANCE = 1e-6  # of theta and of each attraction, between two steps
MAX_STEPS = 2_000


@dataclass(frozen=True, eq=False)
class ClickCells:
    """Impressions by item and position, grouped by item.

    Attributes:
        position: (cells,) from 0.
        counts: (2, cells) impressions with and without a click.
        offsets: (items + 1,) cells of each item.
        item: (items,) the code of each.
        n_positions: K.
    """

    position: IntArray
    counts: FloatArray
    offsets: IntArray
    item: IntArray
    n_positions: int


@dataclass(frozen=True, eq=False)
class PositionBias:
    """How likely each position is examined, against the first.

    Attributes:
        theta: (K,) 1 at the first; a harvested value may exceed 1 by noise.
        n_impressions: (K,) it rests on.
        attraction: (items,) chance that an examined item is clicked; empty where harvested.
        n_steps: steps taken; 0 where harvested.
        converged: whether they came to rest.
    """

    theta: FloatArray
    n_impressions: FloatArray
    attraction: FloatArray
    n_steps: int
    converged: bool


def click_cells(
    item: IntArray, position: IntArray, clicked: BoolArray, *, weight: FloatArray | None = None
) -> ClickCells:
    """Impressions and clicks by item and position.

    Args:
        item: (s,) codes from 0.
        position: (s,) from 0.
        clicked: (s,) whether the impression was clicked.
        weight: (s,) such as a bootstrap weight; None counts each once.

    Raises:
        ValueError: no impression, lengths that differ, or a negative code.
    """
    if not len(item) == len(position) == len(clicked) or len(item) == 0:
        raise ValueError(
            f"item: expected as many as positions and clicks and at least one, got {len(item)}, "
            f"{len(position)} and {len(clicked)}"
        )
    if min(item.min(), position.min()) < 0:
        raise ValueError(f"item, position: expected at least 0, got {min(item.min(), position.min())}")
    k = int(position.max()) + 1
    key = item.astype(np.int64) * k + position
    if int(item.max() + 1) * k <= 4 * len(item) + 1024:
        cells, code = np.arange(int(item.max() + 1) * k), key
    else:
        cells, code = np.unique(key, return_inverse=True)
    once = np.ones(len(item)) if weight is None else weight
    shown = np.bincount(code, weights=once, minlength=len(cells))
    clicks = np.bincount(code, weights=once * clicked, minlength=len(cells))
    held = shown > 0
    cells, shown, clicks = cells[held], shown[held], clicks[held]
    items, starts = np.unique(cells // k, return_index=True)
    return ClickCells(
        position=cells % k,
        counts=np.stack([clicks, shown - clicks]),
        offsets=np.append(starts, len(cells)).astype(np.int64),
        item=items,
        n_positions=k,
    )


def harvest(cells: ClickCells) -> PositionBias:
    """Examination by position from items that stood at more than one, each compared with itself.

    Mantel-Haenszel ratios of click rates for every pair of positions, joined by least squares of their
    logarithms with weights by variance. Valid if, within an item, who sees it at which position is as
    good as random: two policies assigned by chance, or exploration. Consistent however few impressions an
    item has.

    Args:
        cells: impressions by item and position.

    Raises:
        ValueError: a position that no chain of shared, clicked items joins to the first.

    Source: Agarwal, Zaitsev, Wang, Li, Najork and Joachims, Estimating position bias without intrusive
    interventions, 2019; Greenland and Robins, Estimation of a common effect parameter from sparse
    follow-up data, 1985.
    """
    made, spread = compare_positions(cells.position, cells.counts, cells.offsets, cells.n_positions)
    joined = (made > 0) & (made.T > 0)
    _, component = csgraph.connected_components(joined, directed=False)
    if (component != component[0]).any():
        far = np.flatnonzero(component != component[0]).tolist()
        raise ValueError(
            f"positions: expected items shared with the first position, got none for {far}; log swaps"
        )
    both = np.where(joined, made * made.T, 1.0)
    precision = np.where(joined, both / np.maximum(spread, 1e-300), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(joined, np.log(made / made.T), 0.0)  # log theta of the row over that of the column
    system = np.diag(precision.sum(axis=1)) - precision
    log_theta = np.zeros(cells.n_positions)
    log_theta[1:] = np.linalg.solve(system[1:, 1:], (precision * ratio).sum(axis=1)[1:])
    return PositionBias(np.exp(log_theta), _impressions(cells), np.zeros(0), 0, True)


def fit_click_model(
    cells: ClickCells,
    *,
    theta: FloatArray | None = None,
    group: IntArray | None = None,
    shrinkage: float = SHRINKAGE,
    max_steps: int = MAX_STEPS,
    tolerance: float = TOLERANCE,
) -> PositionBias:
    """Examination by position and attraction by item, by expectation-maximisation from all impressions.

    The first position is taken as always examined. Valid if a click needs an examined position and an
    attractive item, apart from each other. With few impressions per item (below about 50), shrinkage passes
    some of the difference between items off as position bias, or hides it: there, give the theta of
    `harvest`, and only the attraction is fitted.

    Args:
        cells: impressions by item and position.
        theta: (K,) examination by position, held fixed; None fits it too.
        group: (items,) codes from 0 in the order of `cells.item`, of items alike before any click, such as
            deciles of the predicted click rate; each is drawn to the mean of its group. None is one group.
        shrinkage: impressions of the mean item of its group that are added to each item.
        max_steps: after which it ends unconverged.
        tolerance: largest change of any parameter at which it ends.

    Raises:
        ValueError: shrinkage below 0, or a theta or group of another length.

    Source: Wang, Golbandi, Bendersky, Metzler and Najork, Position bias estimation for unbiased learning to
    rank in personal search, 2018 (the regression here is one rate per item with a beta prior).
    """
    if shrinkage < 0:
        raise ValueError(f"shrinkage: expected at least 0, got {shrinkage}")
    per_position = _impressions(cells)
    per_item = np.add.reduceat(cells.counts.sum(axis=0), cells.offsets[:-1])
    group = np.zeros(len(per_item), dtype=np.int64) if group is None else group
    if len(group) != len(per_item):
        raise ValueError(f"group: expected one per item, {len(per_item)}, got {len(group)}")
    per_group = np.bincount(group, weights=per_item)
    mean = np.full(len(per_group), cells.counts[0].sum() / cells.counts.sum())
    held = theta
    if held is not None and (len(held) != cells.n_positions or not ((held >= 0) & (held <= 1)).all()):
        raise ValueError(f"theta: expected {cells.n_positions} numbers in [0, 1], got {held.tolist()}")
    theta = np.full(cells.n_positions, 0.5) if held is None else held  # from 1, no step would lead away
    theta, gamma = np.append(1.0, theta[1:]), mean[group]
    n_steps, change = 0, np.inf
    while n_steps < max_steps and change > tolerance:
        examined, attractive = expect_examined(cells.position, cells.counts, cells.offsets, theta, gamma)
        following = (attractive + shrinkage * mean[group]) / (per_item + shrinkage)
        mean = np.bincount(group, weights=attractive) / np.maximum(per_group, 1e-300)
        moved = theta
        if held is None:
            moved = np.append(1.0, examined[1:] / np.maximum(per_position[1:], 1e-300))
        change = float(max(np.abs(following - gamma).max(), np.abs(moved - theta).max()))
        gamma, theta = following, moved
        n_steps += 1
    theta = np.where(per_position > 0, theta, np.nan)
    return PositionBias(theta, per_position, gamma, n_steps, change <= tolerance)


def _impressions(cells: ClickCells) -> FloatArray:
    shown = np.bincount(cells.position, weights=cells.counts.sum(axis=0), minlength=cells.n_positions)
    return np.asarray(shown, dtype=np.float64)

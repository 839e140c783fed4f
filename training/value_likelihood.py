"""The likelihood of the answers under a value table: its maximum within bounds, and clustered errors.

Parameters are the log-odds of `endorsed`, then `sensitivity`, `harm` and `yes_saying`. Rows weigh one over
their probability of being asked, so the fit is of all engagements and not of those asked most.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from reranker.columns import BoolArray, FloatArray
from training.value_items import ValueItems
from training.value_table import ValueTable

EDGE = 8.0  # log-odds of `endorsed` that count as 0 or 1: separated
_LEAST = 1e-9
MOST_YES_SAYING = 0.9
_FLAT = 1e-9  # smallest relative eigenvalue of an information matrix that says anything


@dataclass(frozen=True, eq=False)
class Curvature:
    """What the answers say of the free parameters, at an estimate.

    Attributes:
        unbounded: (d,) where one Newton step off the bounds leads; the estimate where none binds.
        standard_error: (d,) clustered by viewer, infinite where the answers say nothing, 0 where fixed.
        influence: (G, d) of each viewer on each parameter; their sum is 0 where no bound binds.
    """

    unbounded: FloatArray
    standard_error: FloatArray
    influence: FloatArray


def pack(table: ValueTable) -> FloatArray:
    """(2 K + H + 1,) the parameters of a table."""
    odds = np.clip(special.logit(np.clip(table.endorsed, _LEAST, 1 - _LEAST)), -EDGE, EDGE)
    return np.concatenate([odds, table.sensitivity, table.harm, [table.yes_saying]])


def unpack(theta: FloatArray, n_signals: int) -> ValueTable:
    """The table of parameters (2 K + H + 1,)."""
    k = n_signals
    return ValueTable(special.expit(theta[:k]), theta[k : 2 * k].copy(), theta[2 * k : -1].copy(), theta[-1])


def maximise(items: ValueItems, start: ValueTable, free: BoolArray) -> tuple[ValueTable, float]:
    """The most likely table, and its mean loss per unit of weight; parameters not free stay as they start.

    Args:
        items: rows with an answer only.
        start: where to begin.
        free: (2 K + H + 1,) parameters to fit, in the order of `pack`.

    Raises:
        ValueError: the search does not end.
    """
    k = len(items.signals)
    theta = pack(start)
    low, high = np.zeros(len(theta)), np.ones(len(theta))
    low[:k], high[:k], high[-1] = -EDGE, EDGE, MOST_YES_SAYING
    known, total = items.known, items.weight.sum()

    def loss(values: FloatArray) -> tuple[float, FloatArray]:
        theta[free] = values
        found, slopes = _terms(items, unpack(theta, k), known)
        surprise = special.xlogy(items.endorsed, found) + special.xlogy(1 - items.endorsed, 1 - found)
        pull = items.weight * (items.endorsed - found) / (found * (1 - found))
        return -float(items.weight @ surprise) / total, -_gradient(items, slopes, pull)[free] / total

    if not free.any():
        return unpack(theta, k), loss(theta[free])[0]
    result = optimize.minimize(
        loss,
        np.clip(theta[free], low[free], high[free]),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(low[free], high[free], strict=True)),
        options={"maxiter": 2_000, "maxfun": 4_000, "ftol": 1e-12, "gtol": 1e-7},
    )
    if result.status == 1:
        raise ValueError("fit: expected an optimum within 2,000 steps, got none")
    theta[free] = result.x
    return unpack(theta, k), float(result.fun)


def curvature(items: ValueItems, table: ValueTable, free: BoolArray) -> Curvature:
    """Clustered errors of the free parameters (sandwich with the expected information).

    Source: Huber, The behavior of maximum likelihood estimates under nonstandard conditions, 1967; by
    clusters: Liang and Zeger, Longitudinal data analysis using generalized linear models, 1986.
    """
    k, size = len(items.signals), len(free)
    found, slopes = _terms(items, table, items.known)
    information, score = np.zeros((size, size)), np.zeros((items.n_viewers, size))
    for j in range(k):
        rows = items.signal == j
        at = np.concatenate([[j, k + j], np.arange(2 * k, size)])
        slope = slopes[:, rows]  # (H + 3, n_j)
        spread = found[rows] * (1 - found[rows])
        information[np.ix_(at, at)] += (slope * (items.weight[rows] / spread)) @ slope.T
        pull = items.weight[rows] * (items.endorsed[rows] - found[rows]) / spread
        for column, values in zip(at, slope * pull, strict=True):
            score[:, column] += np.bincount(items.viewer[rows], values, items.n_viewers)
    inverse, unknown = _inverse(information, free)
    influence = score @ inverse
    n_viewers = len(np.unique(items.viewer))
    centred = influence - influence.sum(axis=0) / n_viewers
    centred[np.bincount(items.viewer, minlength=items.n_viewers) == 0] = 0.0
    error = np.sqrt((centred**2).sum(axis=0) * n_viewers / max(1, n_viewers - 1))
    error[unknown] = np.inf
    return Curvature(pack(table) + influence.sum(axis=0), error, influence)


def _terms(items: ValueItems, table: ValueTable, known: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) P(yes), and (H + 3, n) its slopes: log-odds endorsed, sensitivity, each harm, yes-saying."""
    quality = table.quality(known)
    endorsed, sensitivity = table.endorsed[items.signal], table.sensitivity[items.signal]
    kept = 1.0 - sensitivity * (1.0 - quality)
    p = endorsed * kept
    slopes = np.empty((len(table.harm) + 3, items.n))
    slopes[0] = p * (1.0 - endorsed)
    slopes[1] = -endorsed * (1.0 - quality)
    for h, level in enumerate(known):
        slopes[h + 2] = -endorsed * sensitivity * level * quality
        slopes[h + 2] /= np.maximum(1.0 - table.harm[h] * level, _LEAST)
    slopes[-1] = 0.0
    if items.reversed is not None:
        plain = 1.0 - items.reversed
        slopes[-1] = plain - p
        slopes[:-1] *= 1.0 - table.yes_saying
        p = (1.0 - table.yes_saying) * p + table.yes_saying * plain
    return np.clip(p, _LEAST, 1 - _LEAST), slopes


def _gradient(items: ValueItems, slopes: FloatArray, pull: FloatArray) -> FloatArray:
    k = len(items.signals)
    own = [np.bincount(items.signal, pull * slope, k) for slope in slopes[:2]]
    return np.concatenate([*own, slopes[2:] @ pull])


def _inverse(information: FloatArray, free: BoolArray) -> tuple[FloatArray, BoolArray]:
    """The inverse on the free parameters, and which of them the information says nothing of."""
    size = len(free)
    unknown = free & ~(np.diag(information) > 0)
    at = np.flatnonzero(free & ~unknown)
    inverse = np.zeros((size, size))
    if not at.size:
        return inverse, unknown
    scale = np.sqrt(np.diag(information)[at])
    values, vectors = np.linalg.eigh(information[np.ix_(at, at)] / np.outer(scale, scale))
    flat = values < _FLAT
    unknown[at[(np.abs(vectors[:, flat]) > 0.05).any(axis=1)]] = True
    solid = vectors[:, ~flat]
    inverse[np.ix_(at, at)] = (solid / values[~flat]) @ solid.T / np.outer(scale, scale)
    return inverse, unknown

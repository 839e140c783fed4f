"""How much of each signal's total is bad engagement, overall and on posts with much of a harm.

Prediction-powered: the table's prediction on every engagement, corrected by how far it is off on those that
were asked about, each weighed by one over its probability. Valid whatever the table is worth; a better table
makes the interval narrower. Predictions are of tables that have not seen the viewer.

Source: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic, Prediction-powered inference, 2023; Särndal,
Swensson and Wretman, Model assisted survey sampling, 1992 (the difference estimator).
"""

from dataclasses import dataclass

import numpy as np

from reranker.columns import BoolArray, FloatArray
from training.value import FittedValue
from training.value_check import Folds
from training.value_interval import Interval, clustered
from training.value_items import ValueItems

FEWEST = 50  # answers that a share rests on


@dataclass(frozen=True)
class BadShare:
    """Of one signal, over all its engagements or those on posts with much of a harm.

    Attributes:
        signal: the kind of engagement.
        harm: the term; "" for all posts.
        rate: share of these engagements that is not endorsed.
        part: not endorsed on such posts, as a share of the signal's whole total; equals `rate` for "".
        n_asked: answers on such posts.
        why: why there is no figure, or "".
    """

    signal: str
    harm: str
    rate: Interval | None
    part: Interval | None
    n_asked: int
    why: str


def bad_shares(
    items: ValueItems, fitted: FittedValue, folds: Folds, *, level: float = 0.5
) -> tuple[BadShare, ...]:
    """The shares of each fitted signal, for all posts and for those from a level of each term on.

    Where every row has an answer the weighted sample stands for all engagements; else the rows do.
    """
    predicted = np.empty(items.n)
    for fold, table in enumerate(folds.table):
        rows = folds.fold[items.viewer] == fold
        part = items.take(rows)
        predicted[rows] = 1.0 - table.p(part.signal, part.known)
    estimate = _Estimate(items, fitted, predicted)
    found = []
    for j in np.flatnonzero(fitted.free[: len(items.signals)]):
        own = items.signal == j
        found.append(estimate.share(items.signals[j], "", own, np.ones(items.n, dtype=bool)))
        for h, term in enumerate(items.terms):
            found.append(estimate.share(items.signals[j], term, own, items.known[h] >= level))
    return tuple(found)


def sampling_ratio(items: ValueItems) -> Interval | None:
    """The rows that the answers stand for, over the rows there are: 1 where the probabilities are right.

    None where every row has an answer, so that there is nothing to hold it against.
    """
    if items.asked.all():
        return None
    ratio = float(items.weight.mean())
    return clustered(ratio, (items.weight - ratio) / items.n, items.viewer)


class _Estimate:
    """Units, weights and residuals of all rows, from which each share is summed."""

    def __init__(self, items: ValueItems, fitted: FittedValue, predicted: FloatArray) -> None:
        self.items, self.predicted = items, predicted
        self.asked_units = items.weight * items.count
        self.units = self.asked_units if items.asked.all() else items.count
        yes, plain = np.nan_to_num(items.endorsed), np.zeros(items.n)
        rate = fitted.table.yes_saying
        if items.reversed is not None:
            plain = 1.0 - items.reversed
        bad = 1.0 - (yes - rate * plain) / (1.0 - rate)  # unbiased for not endorsed, beyond [0, 1] too
        self.residual = np.where(items.asked, bad - predicted, 0.0)
        # what an error in the rate of yes-saying does to the residual, and each viewer's part in that error
        self.slope = np.where(items.asked, (plain - yes) / (1.0 - rate) ** 2, 0.0)
        self.rate_influence = (
            fitted.curvature.influence[:, -1] if fitted.yes_saying is not None else np.zeros(items.n_viewers)
        )

    def share(self, signal: str, harm: str, own: BoolArray, such: BoolArray) -> BadShare:
        """Rate and part of one signal on such posts."""
        n_asked = int((own & such & self.items.asked).sum())
        if n_asked < FEWEST:
            why = f"expected at least {FEWEST} answers on such posts, got {n_asked}"
            return BadShare(signal, harm, None, None, n_asked, why)
        rate = self._mean(own & such, np.ones(self.items.n))
        part = self._mean(own, such.astype(np.float64))
        return BadShare(signal, harm, rate, part, n_asked, "")

    def _mean(self, rows: BoolArray, factor: FloatArray) -> Interval | None:
        """Mean over the units of some rows of factor times not endorsed."""
        viewer, factor = self.items.viewer[rows], factor[rows]
        units, asked_units = self.units[rows], self.asked_units[rows]
        total, asked_total = units.sum(), asked_units.sum()
        guess, residual = factor * self.predicted[rows], factor * self.residual[rows]
        model = float(units @ guess / total)
        correction = float(asked_units @ residual / asked_total)
        influence = units * (guess - model) / total + asked_units * (residual - correction) / asked_total
        slope = float(asked_units @ (factor * self.slope[rows]) / asked_total)
        return clustered(
            model + correction,
            influence,
            viewer,
            extra=slope * self.rate_influence if slope else None,
            n_clusters=len(np.unique(viewer[asked_units > 0])),
            bounds=(0.0, 1.0),
        )

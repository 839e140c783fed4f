"""How well a fitted table predicts viewers whom it has not seen, beside what else could predict them.

Cross-fitted by viewer: the fitted form, the prior table of the policy, the plain rate of each signal, and a
freer model that is monotone in the same terms, which shows how much the form loses.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from reranker.columns import FloatArray, IntArray
from training.value import FittedValue
from training.value_calibration import calibration_error, calibration_line
from training.value_interval import Interval, weighted_mean
from training.value_items import ValueItems
from training.value_likelihood import maximise
from training.value_table import ValueTable

CLIP = 0.001  # no prediction is taken as surer than this
FEWEST_IN_GROUP = 30
CLAIM_LEVEL = 0.5


@dataclass(frozen=True, eq=False)
class Folds:
    """Viewers in folds, each with a table fitted to the answers of the other folds.

    Attributes:
        fold: (G,) of each viewer.
        table: of each fold; what is free and the reference are as in the fit to all.
        asked: rows with an answer, of signals that were fitted.
    """

    fold: IntArray
    table: tuple[ValueTable, ...]
    asked: ValueItems


@dataclass(frozen=True, eq=False)
class HeldOut:
    """P(yes) of each answer by models that have not seen its viewer.

    Attributes:
        items: rows with an answer, of signals that were fitted.
        p: by model, (n,) within [0.001, 0.999].
    """

    items: ValueItems
    p: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Accuracy:
    """Of one model on viewers it has not seen; answers weigh one over the probability of being asked.

    Attributes:
        log_loss, brier: means per answer.
        slope, intercept: of the log-odds of the answer on those predicted; 1 and 0 when calibrated.
        calibration_error: root mean square gap between bins' predictions and answers, less what chance makes.
    """

    log_loss: Interval
    brier: Interval
    slope: Interval | None
    intercept: Interval | None
    calibration_error: float


@dataclass(frozen=True)
class Gap:
    """Answers less predictions in one group of rows: "signal", "harm" (from 0.5 on) or "country"."""

    by: str
    group: str
    answered: float
    predicted: float
    gap: Interval


def cross_fit(items: ValueItems, fitted: FittedValue, *, n_folds: int = 5, seed: int = 0) -> Folds:
    """Tables fitted without the viewers of each fold.

    Raises:
        ValueError: fewer than two folds, or more folds than viewers.
    """
    is_fitted = fitted.free[: len(items.signals)]
    asked = items.take(items.asked & is_fitted[items.signal])
    if not 2 <= n_folds <= len(np.unique(asked.viewer)):
        raise ValueError(f"folds: expected 2 to the number of viewers, got {n_folds}")
    fold = (np.random.default_rng(seed).permutation(items.n_viewers) % n_folds).astype(np.int64)
    tables = []
    for k in range(n_folds):
        others = asked.take(fold[asked.viewer] != k)
        tables.append(maximise(others, fitted.table, fitted.free)[0])
    return Folds(fold, tuple(tables), asked)


def hold_out(folds: Folds, prior: ValueTable, *, seed: int = 0) -> HeldOut:
    """Predictions for the answers of each viewer by models fitted to those of others.

    Raises:
        ImportError: scikit-learn is missing.
    """
    items, of_row = folds.asked, folds.fold[folds.asked.viewer]
    names = ("fitted", "freer", "rates", "prior")
    p = {name: np.empty(items.n) for name in names}
    for k, table in enumerate(folds.table):
        train, test = items.take(of_row != k), items.take(of_row == k)
        old = ValueTable(prior.endorsed, prior.sensitivity, prior.harm, table.yes_saying)
        found = (table.p_yes(test), _freer(train, test, seed), _rates(train, test), old.p_yes(test))
        for name, values in zip(names, found, strict=True):
            p[name][of_row == k] = np.clip(values, CLIP, 1 - CLIP)
    return HeldOut(items, p)


def accuracy(held: HeldOut, model: str) -> Accuracy:
    """Loss and calibration of one model of `hold_out`."""
    items, p = held.items, held.p[model]
    slope, intercept = calibration_line(items.endorsed, p, items.weight, items.viewer)
    loss, brier = (weighted_mean(values, items.weight, items.viewer) for values in _losses(items, p))
    assert loss is not None  # there are many viewers
    assert brier is not None
    return Accuracy(loss, brier, slope, intercept, calibration_error(items.endorsed, p, items.weight))


def difference(held: HeldOut, first: str, second: str, signals: Collection[str]) -> Interval | None:
    """Mean log loss of the first model less that of the second, on the same answers about some signals."""
    items = held.items
    rows = np.isin(items.signal, [j for j, name in enumerate(items.signals) if name in signals])
    if not rows.any():
        return None
    change = (_losses(items, held.p[first])[0] - _losses(items, held.p[second])[0])[rows]
    return weighted_mean(change, items.weight[rows], items.viewer[rows])


def gaps(held: HeldOut, model: str) -> tuple[Gap, ...]:
    """Calibration by signal, by harm and by country, where there are 30 answers."""
    items, p = held.items, held.p[model]
    groups = [("signal", name, items.signal == j) for j, name in enumerate(items.signals)]
    groups += [("harm", name, items.known[h] >= CLAIM_LEVEL) for h, name in enumerate(items.terms)]
    if items.country is not None:
        groups += [("country", name, items.country == c) for c, name in enumerate(items.countries)]
    found = []
    for by, name, rows in groups:
        if rows.sum() < FEWEST_IN_GROUP:
            continue
        weight, viewer = items.weight[rows], items.viewer[rows]
        gap = weighted_mean(items.endorsed[rows] - p[rows], weight, viewer)
        if gap is not None:
            mean = float(weight @ p[rows] / weight.sum())
            found.append(Gap(by, name, mean + gap.value, mean, gap))
    return tuple(found)


def _losses(items: ValueItems, p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) log loss and squared error of each answer."""
    surprise = special.xlogy(items.endorsed, p) + special.xlogy(1 - items.endorsed, 1 - p)
    log_loss = np.negative(surprise, dtype=np.float64)
    return log_loss, (items.endorsed - p) ** 2


def _rates(train: ValueItems, test: ValueItems) -> FloatArray:
    """The share of each signal that was endorsed, whatever the post."""
    k = len(train.signals)
    weight = np.bincount(train.signal, train.weight, k)
    yes = np.bincount(train.signal, train.weight * train.endorsed, k)
    rate: FloatArray = np.divide(yes, weight, out=np.full(k, 0.5), where=weight > 0)
    return rate[test.signal]


def _freer(train: ValueItems, test: ValueItems, seed: int) -> FloatArray:
    """Boosted trees that fall in every term and know the signal."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - an extra
    except ImportError:
        raise ImportError(
            "scikit-learn: expected it to be installed; pip install 'harm-aware-reranker[fit]'"
        ) from None

    def features(items: ValueItems) -> FloatArray:
        columns = [items.signal.astype(np.float64), *items.known]
        return np.column_stack([*columns, *([] if items.reversed is None else [items.reversed])])

    n_falling = len(train.terms) + (train.reversed is not None)
    model = HistGradientBoostingClassifier(
        max_iter=150,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=1.0,
        monotonic_cst=[0] + [-1] * n_falling,
        categorical_features=[0],
        early_stopping=False,
        random_state=seed,
    )
    if len(np.unique(train.endorsed)) < 2:
        return np.full(test.n, float(train.endorsed[0]))
    model.fit(features(train), train.endorsed.astype(np.int64), train.weight / train.weight.mean())
    p: FloatArray = model.predict_proba(features(test))[:, 1]
    return p

"""Calibration of a logit into a probability, with the uncertainty of the fit (numpy and scipy only).

Training sets hold far more harm than a feed does, so a raw probability is far too high. The fit can be
re-weighted to a stated prevalence; what was stated is kept beside the coefficients.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

Floats = NDArray[np.float64]

_FRACTIONS = ("slope", "intercept", "prevalence")
_STEPS = 50
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Platt:
    """probability = sigmoid(slope * logit + intercept), for one label.

    `covariance` is that of (slope, intercept), 2 x 2 row by row. `prevalence` is the share of positives
    that the fit stands for; `is_stated` says that it was assumed, not met in the rows.
    """

    slope: float
    intercept: float
    covariance: tuple[float, float, float, float]
    prevalence: float
    is_stated: bool
    n_rows: int
    n_positive: int

    def at_prevalence(self, prevalence: float) -> "Platt":
        """The calibration for a feed in which this share of posts has the label.

        Valid under label shift: harmful posts look alike in both populations, and so do harmless ones;
        there are only more or fewer of them. Then the odds change by one factor.

        Raises:
            ValueError: the prevalence is not in (0, 1).

        Source: M. Saerens, P. Latinne and C. Decaestecker, "Adjusting the outputs of a classifier to new
        a priori probabilities", 2002, eq. 2.4.
        """
        _check_prevalence(prevalence)
        moved = _log_odds(prevalence) - _log_odds(self.prevalence)
        return replace(self, intercept=self.intercept + moved, prevalence=prevalence, is_stated=True)

    def at_prevalence_of(
        self, prevalence: float, logit: Floats, familiarity: Floats | None = None
    ) -> "Platt":
        """The calibration for a feed of which `logit` (n,) is a random sample, and in which this share is so.

        The intercept under which the mean probability of the sample is the prevalence. Unlike
        `at_prevalence` it holds where harmless posts look more harmful than those of the calibration, as on a
        rougher platform; it keeps the slope, and so the order. `familiarity` (n,) is that of `calibrated`.

        Raises:
            ValueError: the prevalence is not in (0, 1), or the sample is empty.
        """
        if not len(logit):
            raise ValueError("sample: expected at least one text that can be judged, got none")
        _check_prevalence(prevalence)
        moved = replace(self, prevalence=prevalence, is_stated=True)
        base, reach = _log_odds(prevalence), 1.0 + float(np.abs(self.slope * logit).max())

        def excess(intercept: float) -> float:
            column = [replace(moved, intercept=intercept)]
            return (
                float(_sigmoid(calibrated_log_odds(logit[:, None], column, familiarity)).mean()) - prevalence
            )

        # At the ends every log-odds is on one side of the base rate.
        return replace(moved, intercept=float(brentq(excess, base - reach, base + reach)))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict with the fields of this class."""
        numbers = {name: float(value) for name, value in asdict(self).items() if name in _FRACTIONS}
        return asdict(self) | numbers | {"covariance": [float(value) for value in self.covariance]}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Platt":
        """The reverse of `to_json`.

        Raises:
            TypeError: a field is missing or unknown.
        """
        a, b, c, d = (float(value) for value in found["covariance"])
        return cls(**(found | {"covariance": (a, b, c, d)}))


UNCALIBRATED = Platt(1.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.5, False, 0, 0)


def fit_platt(
    logit: Floats,
    present: NDArray[np.bool_],
    *,
    prevalence: float | None = None,
    source: NDArray[Any] | None = None,
    ridge: float = 1.0,
) -> Platt:
    """The calibration of n logits against n truths, by Newton's method.

    `prevalence` re-weights the rows so that positives make up this share; rows still sum to n. `source` (n,)
    names where each row is from: then the slope is that within sources, each of which has an intercept of its
    own, and the intercept is that of all rows. What tells apart collections, one all harmless and one of
    rumours, says nothing of the posts of one feed. Sources of positives or negatives alone say nothing of the
    slope; where all are so, they count as one. `ridge` is the precision of a Gaussian prior on the slope
    around 1, in units of rows; it keeps separable data finite. The covariance is the robust (sandwich) one,
    valid under re-weighting.

    Raises:
        ValueError: no positive or no negative, non-finite logits, or a prevalence outside (0, 1).

    Source: J. Platt, "Probabilistic outputs for support vector machines", 1999; P. Huber, "The behavior
    of maximum likelihood estimates under nonstandard conditions", 1967 (covariance).
    """
    n, n_positive = len(logit), int(present.sum())
    if not 0 < n_positive < n:
        raise ValueError(f"present: expected positives and negatives, got {n_positive} of {n}")
    if not np.isfinite(logit).all():
        raise ValueError(f"logit: expected finite numbers, got {logit[~np.isfinite(logit)][0]}")
    if prevalence is not None:
        _check_prevalence(prevalence)
    share = n_positive / n
    aim = share if prevalence is None else prevalence
    weight = prevalence_weights(present, aim)
    start = _log_odds(aim) - float(np.average(logit, weights=weight))
    own = _own_intercepts(source, present)
    speaks = own.any(axis=1)
    x = np.column_stack([logit * speaks, own])  # (n, 1 + S)
    prior = np.array([ridge] + [0.0] * own.shape[1])
    within = _Regression(x, weight * speaks, present, prior)
    found = within.fit(np.array([1.0] + [start] * own.shape[1]))
    slope = float(found[0])
    rest = _Regression(np.ones((n, 1)), weight, present, np.zeros(1), offset=slope * logit)
    intercept = rest.fit(np.array([start]))
    covariance = _covariance(within, found, rest, intercept, logit)
    return Platt(slope, float(intercept[0]), covariance, aim, prevalence is not None, n, n_positive)


def calibrated(
    logits: Floats, platts: Sequence[Platt], familiarity: Floats | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probability and confidence, float32 (n, L), of logits (n, L) with one calibration per label.

    `familiarity` (n,) in [0, 1] says how much each text is like those of the training (1 where None). It
    multiplies the distance of the log-odds from those of the label's prevalence: of a text unlike any that
    it has seen, the model says little more than the base rate. The confidence is 1 - 2 standard errors of
    the probability, from the covariance of the fit (delta method), times the familiarity.
    """
    covariance = np.array([platt.covariance for platt in platts]).reshape(-1, 4)
    known = np.ones((len(logits), 1)) if familiarity is None else familiarity[:, None]
    probability = _sigmoid(calibrated_log_odds(logits, platts, familiarity))
    variance = (
        covariance[:, 0] * logits**2 + (covariance[:, 1] + covariance[:, 2]) * logits + covariance[:, 3]
    )
    error = probability * (1 - probability) * known * np.sqrt(np.maximum(variance, 0))
    confidence = known * np.clip(1 - 2 * error, 0, 1)
    return probability.astype(np.float32), confidence.astype(np.float32)


def calibrated_log_odds(logits: Floats, platts: Sequence[Platt], familiarity: Floats | None = None) -> Floats:
    """The log-odds (n, L) of the probability that `calibrated` gives."""
    slope = np.array([platt.slope for platt in platts])
    intercept = np.array([platt.intercept for platt in platts])
    base = np.array([_log_odds(platt.prevalence) for platt in platts])
    known = 1.0 if familiarity is None else familiarity[:, None]
    return np.asarray(base + known * (logits * slope + intercept - base))


def expected_calibration_error(
    probability: Floats, present: NDArray[np.bool_], *, weight: Floats | None = None, bins: int = 15
) -> float:
    """Mean gap between probability and frequency over bins of equal mass; 0 is perfect.

    Equal mass because at a natural prevalence almost all posts lie in the lowest equal-width bin.
    `weight` counts each row that often (all once when None).

    Source: M. Pakdaman Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning",
    2015, with quantile bins.
    """
    weight = np.ones(len(probability)) if weight is None else weight
    gaps = weight * (probability - present)
    bin_of = _bin_of(probability, weight, bins)
    return float(np.abs(np.bincount(bin_of, gaps)).sum() / weight.sum())


def brier_score(probability: Floats, present: NDArray[np.bool_], *, weight: Floats | None = None) -> float:
    """Mean squared difference between probability and truth; lower is better, despite the name."""
    return float(np.average((probability - present) ** 2, weights=weight))


def prevalence_weights(present: NDArray[np.bool_], prevalence: float) -> Floats:
    """Weights (n,) under which positives make up the given share and all rows sum to n."""
    share = float(present.mean())
    return np.where(present, prevalence / share, (1 - prevalence) / (1 - share))


def reliability(
    probability: Floats, present: NDArray[np.bool_], *, weight: Floats | None = None, bins: int = 15
) -> list[tuple[float, float, float]]:
    """(mean probability, frequency, share of the weight) of each bin of equal mass, empty ones left out.

    The curve to look at beside `expected_calibration_error`, over the same bins.
    """
    weight = np.ones(len(probability)) if weight is None else weight
    bin_of = _bin_of(probability, weight, bins)
    mass = np.bincount(bin_of, weight, bins)
    filled = mass > 0
    mean = np.bincount(bin_of, weight * probability, bins)[filled] / mass[filled]
    frequency = np.bincount(bin_of, weight * present, bins)[filled] / mass[filled]
    share = mass[filled] / mass.sum()
    return list(zip(mean.tolist(), frequency.tolist(), share.tolist(), strict=True))


def _bin_of(probability: Floats, weight: Floats, bins: int) -> NDArray[np.int64]:
    order = np.argsort(probability, kind="stable")
    reached = np.cumsum(weight[order]) / weight.sum()
    bin_of = np.empty(len(order), dtype=np.int64)
    bin_of[order] = np.minimum((reached * bins - 1e-9).astype(int), bins - 1)
    return bin_of


def _check_prevalence(prevalence: float) -> None:
    if not 0 < prevalence < 1:
        raise ValueError(f"prevalence: expected a number in (0, 1), got {prevalence}")


def _log_odds(p: float) -> float:
    return float(np.log(p / (1 - p)))


def _sigmoid(x: Floats) -> Floats:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


def _own_intercepts(source: NDArray[Any] | None, present: NDArray[np.bool_]) -> Floats:
    """(n, S): 1 in the column of a row's source, for the sources that have positives and negatives."""
    if source is not None:
        own = source[:, None] == np.unique(source)
        positive = (own & present[:, None]).sum(axis=0)
        own = own[:, (positive > 0) & (positive < own.sum(axis=0))]
        if own.shape[1]:
            return np.asarray(own.astype(np.float64))
    return np.ones((len(present), 1))


@dataclass(frozen=True)
class _Regression:
    """A weighted logistic regression of n truths on x (n, k), with a Gaussian prior.

    `prior` is the precision of each coefficient around 1 for the first and 0 for the others; `offset` is
    added to the log-odds of each row.
    """

    x: Floats
    weight: Floats
    present: NDArray[np.bool_]
    prior: Floats
    offset: Floats | float = 0.0

    def fit(self, beta: Floats) -> Floats:
        """The coefficients (k,), from some to start with."""
        for _ in range(_STEPS):
            gradient = self.scores(beta).sum(axis=0) - self.prior * self._off(beta)
            step = np.linalg.solve(self.curvature(beta), gradient)
            shrink = 1.0
            while shrink > 1e-6 and self._objective(beta + shrink * step) < self._objective(beta):
                shrink /= 2
            beta = beta + shrink * step
            if np.abs(step).max() < _TOLERANCE:
                break
        return beta

    def log_odds(self, beta: Floats) -> Floats:
        """(n,)."""
        return np.asarray(self.x @ beta + self.offset)

    def scores(self, beta: Floats) -> Floats:
        """(n, k): what each row adds to the gradient."""
        return np.asarray(self.x * (self.weight * (self.present - _sigmoid(self.log_odds(beta))))[:, None])

    def curvature(self, beta: Floats) -> Floats:
        """(k, k), with that of the prior."""
        return np.asarray((self.x * self.bend(beta)[:, None]).T @ self.x + np.diag(self.prior))

    def bend(self, beta: Floats) -> Floats:
        """(n,): how fast each row's probability changes with its log-odds, times its weight."""
        p = _sigmoid(self.log_odds(beta))
        return np.asarray(self.weight * p * (1 - p))

    def _off(self, beta: Floats) -> Floats:
        return np.asarray(beta - np.eye(len(beta))[0])

    def _objective(self, beta: Floats) -> float:
        eta = self.log_odds(beta)
        likelihood = float(self.weight @ (self.present * eta - np.logaddexp(0, eta)))
        return likelihood - float(self.prior @ self._off(beta) ** 2) / 2


def _covariance(
    within: _Regression, found: Floats, rest: _Regression, intercept: Floats, logit: Floats
) -> tuple[float, float, float, float]:
    """Of (slope, intercept), from the equations of the fit within sources and, behind them, of the last."""
    k = len(found)
    bend = rest.bend(intercept)
    slopes = np.zeros((k + 1, k + 1))
    slopes[:k, :k] = within.curvature(found)
    slopes[k, 0], slopes[k, k] = bend @ logit, bend.sum()
    scores = np.column_stack([within.scores(found), rest.scores(intercept)])
    bread = np.linalg.inv(slopes)
    spread = bread @ (scores.T @ scores + np.diag([*within.prior, 0.0])) @ bread.T
    a, b, c, d = spread[np.ix_([0, k], [0, k])].ravel().tolist()
    return a, b, c, d

"""Effects per unit of feedback with the randomisation as instrument, and which ratios remain possible.

One instrument per kind of feedback: the model is just identified, so two-stage least squares solves the
moments exactly. Its standard errors fail where instruments are weak. What is reported instead is the set of
values that a robust test does not reject; it may have no end, and then the data do not identify the value.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize

from reranker.columns import FloatArray
from training.feedback_reduced_form import ReducedForm

_STEPS = 12  # of the search for an end of a set, on either side
_OUTCOME = 0  # the column of the reduced form that holds the posts; those of the feedback follow

Interval = tuple[float, float]


def effects(form: ReducedForm) -> tuple[FloatArray, FloatArray]:
    """(K,) additional posts per unit of each kind of feedback, and their (K, K) covariance.

    Two-stage least squares with the sandwich clustered by author.

    Args:
        form: of outcomes (posts, K kinds of feedback) on K doses.

    Raises:
        ValueError: the doses moved some combination of the kinds of feedback not at all.
    """
    first = form.coefficients[:, 1:]
    try:
        found = np.linalg.solve(first, form.coefficients[:, _OUTCOME])
        inverse = np.linalg.inv(first)
    except np.linalg.LinAlgError:
        raise ValueError(
            "received: expected the doses to move each kind of feedback, got none moved"
        ) from None
    covariance: FloatArray = inverse @ form.covariance_of(np.append(1.0, -found)) @ inverse.T
    return np.asarray(found, dtype=np.float64), covariance


def effect_set(form: ReducedForm, kind: int) -> Interval:
    """The effects of one kind of feedback that the data do not contradict at 5%.

    -inf, inf where the set has no end.
    """
    found, covariance = effects(form)
    m = form.coefficients.shape[1]
    free = [_unit(m, i + 1) for i in range(m - 1) if i != kind]

    def basis(value: float) -> FloatArray:
        return np.stack([_direction(m, _OUTCOME, kind + 1, -value), *free], axis=1)

    return _accepted(form, basis, float(found[kind]), float(np.sqrt(covariance[kind, kind])))


def ratio_set(form: ReducedForm, kind: int, unit: int) -> Interval:
    """The ratios of two effects, of `kind` over that of `unit`, that the data do not contradict at 5%.

    A ratio is kept where some effects that have it are not rejected by the test of Anderson and Rubin, its
    statistic taken at the least that they allow and held against one degree of freedom. With strong
    instruments this is Fieller's interval; with weak ones it stays valid and grows without end.

    Source: Stock and Wright, GMM with weak identification, 2000, section 3; Anderson and Rubin, Estimation
    of the parameters of a single equation in a complete system of stochastic equations, 1949; Fieller, Some
    problems in interval estimation, 1954.
    """
    found, covariance = effects(form)
    ratio = found[kind] / found[unit]
    slope = np.array([1.0, -ratio]) / found[unit]
    error = float(np.sqrt(slope @ covariance[np.ix_([kind, unit], [kind, unit])] @ slope))
    m = form.coefficients.shape[1]
    free = [_unit(m, i + 1) for i in range(m - 1) if i not in (kind, unit)]

    def basis(value: float) -> FloatArray:
        both = _direction(m, unit + 1, kind + 1, value)
        return np.stack([_unit(m, _OUTCOME), both, *free], axis=1)

    return _accepted(form, basis, float(ratio), error)


def conditional_f(form: ReducedForm, kind: int) -> float:
    """How strongly the doses moved one kind of feedback beyond what they moved the others; robust F.

    With one kind this is the effective F of Montiel Olea and Pflueger. Below about 10, estimates are
    drawn towards those of a plain regression.

    Source: Sanderson and Windmeijer, A weak instrument F-test in linear IV models with multiple endogenous
    variables, 2016, equation 13; Windmeijer, The robust F-statistic as a test for weak instruments, 2025.
    """
    m = form.coefficients.shape[1]
    others = [i + 1 for i in range(m - 1) if i != kind]
    root = np.linalg.cholesky(form.gram).T
    target, rest = root @ form.coefficients[:, kind + 1], root @ form.coefficients[:, others]
    combination = _unit(m, kind + 1)
    combination[others] = -np.linalg.lstsq(rest, target, rcond=None)[0]
    return form.wald(combination)


def least_wald(form: ReducedForm, basis: FloatArray) -> float:
    """The least statistic of any combination of the columns of `basis` (m, r).

    The search starts where limited-information maximum likelihood has its answer, which is the exact one
    where noise is alike for all rows.
    """
    if basis.shape[1] == 1:
        return form.wald(basis[:, 0])
    scaled = basis / np.sqrt(np.diagonal(basis.T @ form.noise @ basis))
    moved = form.coefficients @ scaled
    above, below = moved.T @ form.gram @ moved, scaled.T @ form.noise @ scaled
    values, vectors = np.linalg.eig(np.linalg.solve(below, above))
    start = np.real(vectors[:, np.argmin(np.real(values))])

    lead = int(np.argmax(np.abs(start)))  # the statistic has no scale, so one weight is kept at 1
    rest = [i for i in range(len(start)) if i != lead]

    def statistic(weights: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = form.wald_gradient(scaled[:, lead] + scaled[:, rest] @ weights)
        return value, scaled[:, rest].T @ gradient

    begin = start[rest] / start[lead]
    found = optimize.minimize(statistic, begin, jac=True, method="BFGS", options={"gtol": 1e-4})
    return float(min(found.fun, statistic(begin)[0]))


def _accepted(
    form: ReducedForm, basis: Callable[[float], FloatArray], estimate: float, error: float
) -> Interval:
    """The ends of the set of values whose least statistic is not rejected.

    Values are gone through as estimate + error * tan(angle), which reaches infinity at both ends.
    """
    limit = form.critical
    if least_wald(form, basis(np.inf)) <= limit:
        return -np.inf, np.inf

    def excess(angle: float) -> float:
        return least_wald(form, basis(estimate + error * math.tan(angle))) - limit

    low, high = (estimate + error * math.tan(_end(excess, side)) for side in (-1, 1))
    return low, high


def _end(excess: Callable[[float], float], side: int) -> float:
    """The angle farthest from 0 on one side at which nothing is in excess."""
    outer = side * np.pi / 2
    for angle in outer * (1 - np.arange(1, _STEPS) / _STEPS):
        if excess(angle) <= 0:
            return float(optimize.brentq(excess, outer, angle, xtol=1e-6))
        outer = angle
    return float(optimize.brentq(excess, outer, 0.0, xtol=1e-6))


def _unit(m: int, at: int) -> FloatArray:
    found = np.zeros(m)
    found[at] = 1.0
    return found


def _direction(m: int, base: int, other: int, value: float) -> FloatArray:
    """`base` plus `value` times `other`, of length 1; `other` alone where the value is infinite."""
    if np.isinf(value):
        return _unit(m, other)
    found: FloatArray = (_unit(m, base) + value * _unit(m, other)) / np.hypot(1.0, value)
    return found

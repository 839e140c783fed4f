"""The ordinal model of one country: kinds and relations add up on a latent scale, on a person's own level.

P(answer <= j) = logistic(threshold_j - kind - relation - person), person ~ normal(0, spread). The person is
integrated out on equally spaced nodes, which for smooth densities err less than any rule with as many
nodes; Newton's method then has exact derivatives. An effect is a difference of log-odds, for the same
person, of any answer above a threshold.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import linalg, special

from reranker.columns import FloatArray, IntArray
from training.survey_kernel import Answers, Tables, integrate

REACH = 6.0  # nodes reach this many spreads from 0: 2e-9 of a normal lies beyond
STEP = 1.2  # of the nodes, in narrowest posterior standard deviations: errs by 2 exp(-2 (pi / 1.2)^2) = 2e-6
NARROWEST = 0.05  # a spread below it is taken as none
LARGEST = 12.0  # an effect beyond it has no finite estimate: a separation
MAX_ITERATIONS = 60
CONVERGED = 1e-9  # half the Newton decrement, in units of the log-likelihood


@dataclass(frozen=True, eq=False)
class Design:
    """What is estimated.

    Attributes:
        n_kinds, n_relations, n_levels: of the cells, (kind * relations + relation) * levels + answer.
        kind, relation: the ones whose effect is 0.
        random: whether people differ in their level.
    """

    n_kinds: int
    n_relations: int
    n_levels: int
    kind: int
    relation: int
    random: bool = True

    @property
    def size(self) -> int:
        """Parameters: kinds and relations less one each, thresholds, log spread."""
        return self.n_kinds + self.n_relations + self.n_levels - 3 + self.random

    @cached_property
    def columns(self) -> IntArray:
        """(cells, 4) parameters of the kind, the relation, the threshold above and the one below; or -1."""
        kind, relation, answer = np.indices((self.n_kinds, self.n_relations, self.n_levels)).reshape(3, -1)
        of_kind = np.where(kind == self.kind, -1, kind - (kind > self.kind))
        of_relation = relation - (relation > self.relation) + self.n_kinds - 1
        of_relation = np.where(relation == self.relation, -1, of_relation)
        first = self.n_kinds + self.n_relations - 2
        above = np.where(answer == self.n_levels - 1, -1, first + answer)
        below = np.where(answer == 0, -1, first + answer - 1)
        return np.stack([of_kind, of_relation, above, below], axis=1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class OrdinalFit:
    """Estimates of one country.

    Attributes:
        design: what was estimated.
        theta: (p,) kinds, relations, thresholds, log spread; without those that are 0.
        covariance: (p, p) robust: respondents are independent, the rest of the model may be wrong.
        log_likelihood: at the estimates, without the constant of the counts.
        separated: parameters of kinds and relations whose estimates run off to infinity.
    """

    design: Design
    theta: FloatArray
    covariance: FloatArray
    log_likelihood: float
    separated: tuple[int, ...]

    def kinds(self) -> FloatArray:
        """(kinds,) effects; 0 for the reference."""
        return np.insert(self.theta[: self.design.n_kinds - 1], self.design.kind, 0.0)

    def relations(self) -> FloatArray:
        """(relations,) effects; 0 for the reference."""
        first = self.design.n_kinds - 1
        found = self.theta[first : first + self.design.n_relations - 1]
        return np.insert(found, self.design.relation, 0.0)

    def thresholds(self) -> FloatArray:
        """(levels - 1,) rising."""
        first = self.design.n_kinds + self.design.n_relations - 2
        return self.theta[first : first + self.design.n_levels - 1]

    @property
    def spread(self) -> float:
        """Standard deviation of people's levels; 0 where the model has none."""
        return float(np.exp(self.theta[-1])) if self.design.random else 0.0

    def errors(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(K, K), (R, R) and (K, R) covariances of `kinds`, `relations` and of both; 0 for the references."""
        k, r = self.design.n_kinds, self.design.n_relations
        kinds = np.delete(np.arange(k), self.design.kind)
        relations = np.delete(np.arange(r), self.design.relation) + k
        whole = np.zeros((k + r, k + r))
        at = np.concatenate([kinds, relations])
        whole[np.ix_(at, at)] = self.covariance[: k + r - 2, : k + r - 2]
        return whole[:k, :k], whole[k:, k:], whole[:k, k:]


def fit_ordinal(answers: Answers, design: Design) -> OrdinalFit:
    """The model fitted by maximum likelihood; its errors allow for answers of a person going together.

    A spread that falls below `NARROWEST` is taken as 0. Where an effect has no finite estimate, the fit stops
    and names it in `separated`; its covariance is then of no use.

    Args:
        answers: of the country's respondents; every level must occur, and the design be connected.
        design: what to estimate.

    Raises:
        ValueError: no maximum was found.

    Source: McCullagh, Regression models for ordinal data, 1980; Hedeker and Gibbons, A random-effects
    ordinal regression model, 1994; Louis, Finding the observed information matrix when using the EM
    algorithm, 1982 (the information); White, Maximum likelihood estimation of misspecified models, 1982.
    """
    point = log_likelihood_at(answers, design, _start(answers, design))
    n_effects = design.n_kinds + design.n_relations - 2
    for _ in range(MAX_ITERATIONS):
        score = point.score.sum(axis=0)
        step = _step(point.information, score)
        if score @ step / 2 < CONVERGED:
            return _finished(design, point)
        point = _climb(answers, design, point, step)
        if design.random and point.theta[-1] < np.log(NARROWEST):
            return fit_ordinal(answers, replace(design, random=False))
        far = np.flatnonzero(np.abs(point.theta[:n_effects]) > LARGEST)
        if len(far):
            nothing = np.full((design.size, design.size), np.nan)
            separated = tuple(far.tolist())
            return OrdinalFit(design, point.theta, nothing, point.log_likelihood, separated)
    raise ValueError(f"expected a fit within {MAX_ITERATIONS} steps, got none; the answers hold too little")


def expected_answers(fit: OrdinalFit, share: FloatArray, worth: FloatArray) -> FloatArray:
    """(kinds,) the mean worth of an answer, over people and over relations.

    Args:
        fit: of a country.
        share: (relations,) how common each relation is.
        worth: (levels,) of the answers that occur.
    """
    nodes, width = _nodes(fit.spread, 0.0)
    weight = np.exp(_log_normal(nodes, fit.spread)) * width if fit.spread else np.ones(1)
    lower = fit.thresholds()[:, None, None, None]
    level = fit.kinds()[:, None, None] + fit.relations()[:, None] + nodes  # (K, R, Q)
    beyond = special.expit(level - lower)  # (J - 1, K, R, Q) P(answer above each threshold)
    mean = worth[0] + np.tensordot(np.diff(worth), beyond, axes=1)
    return np.asarray((mean @ weight) @ share, dtype=np.float64)


def _start(answers: Answers, design: Design) -> FloatArray:
    """Effects of 0, a spread of 1, and the thresholds that then fit the answers of all rows."""
    levels = np.bincount(answers.cell % design.n_levels, weights=answers.times, minlength=design.n_levels)
    theta = np.zeros(design.size)
    first = design.n_kinds + design.n_relations - 2
    below = np.cumsum(levels)[:-1] / levels.sum()
    theta[first : first + design.n_levels - 1] = special.logit(below) * (1.2 if design.random else 1.0)
    return theta


def _nodes(spread: float, n_items: float) -> tuple[FloatArray, float]:
    """(q,) values of a person's level, and the distance between them; one at 0 where there is no spread."""
    if not spread:
        return np.zeros(1), 1.0
    narrowest = 1 / np.sqrt(n_items / 2 + 1 / spread**2)  # an answer's curvature is below 1/2
    width = STEP * narrowest
    half = int(np.ceil(REACH * spread / width))
    return width * np.arange(-half, half + 1), float(width)


def _log_normal(values: FloatArray, spread: float) -> FloatArray:
    return np.asarray(-0.5 * (values / spread) ** 2 - np.log(spread * np.sqrt(2 * np.pi)), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Point:
    """The log-likelihood at theta (p,), its slopes by respondent (n, p), and minus its curvature (p, p)."""

    theta: FloatArray
    log_likelihood: float
    score: FloatArray
    information: FloatArray


def log_likelihood_at(answers: Answers, design: Design, theta: FloatArray) -> Point:
    """The observed log-likelihood and its exact derivatives; thresholds in `theta` must rise."""
    per_person = np.add.reduceat(answers.times, answers.starts[:-1])
    spread = float(np.exp(theta[-1])) if design.random else 0.0
    nodes, width = _nodes(spread, float(per_person.max()))
    above, below, gap = _distances(design, theta, nodes)
    upper, lower = special.expit(-above), special.expit(below)  # beyond the threshold above, below the lower
    log_p = special.log_expit(above) + special.log_expit(-below) + np.log(-np.expm1(-gap))[:, None]
    pull = 1 / np.expm1(gap)
    slope = np.stack([lower - upper, lower - upper, upper + pull[:, None], -lower - pull[:, None]], axis=2)
    log_node, log_node_slope = np.zeros(1), np.zeros(0)
    if spread:
        log_node, log_node_slope = _log_normal(nodes, spread) + np.log(width), (nodes / spread) ** 2 - 1
    found = integrate(answers, Tables(log_node, log_node_slope, log_p, slope, design.columns), design.size)
    pairs = (
        ((1, 1, 1, 0), (found.expected * upper * (1 - upper)).sum(axis=1)),
        ((1, 1, 0, 1), (found.expected * lower * (1 - lower)).sum(axis=1)),
        ((0, 0, 1, -1), found.expected.sum(axis=1) * pull * (1 + pull)),
    )
    information = -found.missing
    for (kind, relation, up, down), weight in pairs:
        x = _regressors(design, np.array([-kind, -relation, up, down], dtype=np.float64))
        information += (x * weight[:, None]).T @ x
    if spread:
        information[-1, -1] += 2 * float(found.occupied @ (nodes / spread) ** 2)
    return Point(theta, found.log_likelihood, found.score, information)


def _regressors(design: Design, signs: FloatArray) -> FloatArray:
    """(cells, p) the signs (4,) at the parameters of each cell."""
    columns = design.columns
    found = np.zeros((len(columns), design.size + 1))  # the last takes what has no parameter
    for k in range(4):
        found[np.arange(len(columns)), columns[:, k]] += signs[k]
    return found[:, :-1]


def _distances(
    design: Design, theta: FloatArray, nodes: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(cells, q) from the level up to the threshold above and to the one below, and (cells,) between the two.

    Infinite where an answer has no threshold on that side.
    """
    columns = design.columns
    padded = np.append(theta, 0.0)  # where a parameter is -1
    level = (padded[columns[:, 0]] + padded[columns[:, 1]])[:, None] + nodes
    high = np.where(columns[:, 2] < 0, np.inf, padded[columns[:, 2]])
    low = np.where(columns[:, 3] < 0, -np.inf, padded[columns[:, 3]])
    return high[:, None] - level, low[:, None] - level, high - low


def _step(information: FloatArray, score: FloatArray) -> FloatArray:
    """Newton's step; where the likelihood is not concave, its directions are turned so that it rises."""
    try:
        return np.asarray(linalg.cho_solve(linalg.cho_factor(information), score))
    except linalg.LinAlgError:
        curvature, direction = linalg.eigh(information)
        curvature = np.maximum(np.abs(curvature), 1e-10 * np.abs(curvature).max())
        return np.asarray(direction @ (direction.T @ score / curvature))


def _climb(answers: Answers, design: Design, point: Point, step: FloatArray) -> Point:
    """The next point, no lower than this one but for the error of the nodes, which differ."""
    first = design.n_kinds + design.n_relations - 2
    length = 1.0 / max(1.0, float(np.abs(step).max()) / 2)
    for _ in range(50):
        theta = point.theta + length * step
        if (np.diff(theta[first : first + design.n_levels - 1]) > 0).all():
            found = log_likelihood_at(answers, design, theta)
            if found.log_likelihood > point.log_likelihood - 1e-3:
                return found
        length /= 2
    raise ValueError("expected the likelihood to rise, got none that does; the answers hold too little")


def _finished(design: Design, point: Point) -> OrdinalFit:
    n = len(point.score)
    try:
        factor = linalg.cho_factor(point.information)
    except linalg.LinAlgError:
        raise ValueError("expected effects that differ from each other, got a singular fit") from None
    inverse = linalg.cho_solve(factor, np.eye(design.size))
    squares = point.score.T @ point.score * (n / (n - 1))
    return OrdinalFit(design, point.theta, inverse @ squares @ inverse, point.log_likelihood, ())

"""What a post elicits: P(a reply is toxic | the post), so that bad engagement is foreseen before it accrues.

Ridge regression on the log-odds of the post's labels. The post's own toxicity is not shrunk, so that with a
strong ridge the model is the post's own toxicity, recalibrated: the other labels have to earn their place.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from reranker.columns import FloatArray, IntArray, freeze_arrays
from training.metrics import auroc
from training.value_calibration import calibration_error, calibration_line
from training.value_interval import Interval, clustered, weighted_mean

OWN = "toxicity"
FEWEST_THREADS = 50
FEWEST_TOXIC = 20
TOXIC_FROM = 0.5
RIDGES = (3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 10_000.0)
TOP = 0.1
_EDGE = 1e-4  # probabilities nearer to 0 or 1 are taken as this far from it
_CLIP = 1e-6
_STEPS = 100


@dataclass(frozen=True, eq=False)
class Threads:
    """Replies to posts.

    Attributes:
        labels: of the posts, `OWN` among them.
        log_odds: (n, L) of each reply's post.
        toxic: (n,) 1 where the reply is toxic, else 0.
        thread: (n,) codes from 0; replies of one thread are alike.
        n_unscored: replies left out because their post was not scored.
    """

    labels: tuple[str, ...]
    log_odds: FloatArray
    toxic: FloatArray
    thread: IntArray
    n_unscored: int = 0

    def __post_init__(self) -> None:
        freeze_arrays(self)
        if OWN not in self.labels:
            raise ValueError(f"labels: expected {OWN} among them, got {', '.join(self.labels) or 'none'}")


@dataclass(frozen=True, eq=False)
class Elicited:
    """P(toxic reply) = sigmoid(intercept + coefficients . log-odds of the labels).

    Attributes:
        labels: L of them.
        coefficients: (L,).
        intercept: as named.
        ridge: that the labels but `OWN` were shrunk with.
    """

    labels: tuple[str, ...]
    coefficients: FloatArray
    intercept: float
    ridge: float

    def p(self, log_odds: FloatArray) -> FloatArray:
        """(n,) P(a reply is toxic), from log-odds (n, L)."""
        found: FloatArray = special.expit(self.intercept + log_odds @ self.coefficients)
        return found


@dataclass(frozen=True)
class Foresight:
    """How well replies of unseen threads are foreseen.

    Attributes:
        auroc, auroc_own: of the model, and of the post's own toxicity.
        auroc_gain: the first less the second.
        log_loss_less_own: of the model less that of the post's own toxicity, recalibrated; below 0 is better.
        log_loss_less_rate: of the model less that of one rate for all posts; below 0 is better.
        slope, intercept: of the calibration line; 1 and 0 when calibrated.
        calibration_error: root mean square gap, less what chance makes.
        rate: share of replies that are toxic.
        rate_of_top: the same among the tenth of replies whose posts are predicted to elicit most.
        n, n_threads, n_toxic, n_unscored: replies, threads, toxic replies, replies left out.
    """

    auroc: Interval
    auroc_own: Interval
    auroc_gain: Interval
    log_loss_less_own: Interval
    log_loss_less_rate: Interval
    slope: Interval | None
    intercept: Interval | None
    calibration_error: float
    rate: float
    rate_of_top: Interval
    n: int
    n_threads: int
    n_toxic: int
    n_unscored: int

    @property
    def is_useful(self) -> bool:
        """Whether it clearly predicts better than one rate for all posts."""
        return self.log_loss_less_rate.high < 0

    @property
    def beats_own(self) -> bool:
        """Whether the other labels clearly add to the post's own toxicity."""
        return self.log_loss_less_own.high < 0


def log_odds_of(probability: Mapping[str, FloatArray]) -> FloatArray:
    """(n, L) log-odds of labels' probabilities, in the mapping's order; NaN stays."""
    return np.column_stack([special.logit(np.clip(p, _EDGE, 1 - _EDGE)) for p in probability.values()])


def fit_elicited(threads: Threads, *, n_folds: int = 5, seed: int = 0) -> Elicited:
    """The model, with the ridge that predicts threads it has not seen best.

    Raises:
        ValueError: too few threads, or too few replies of either kind.
    """
    check_threads(threads)
    return _fit(threads, np.ones(len(threads.toxic), dtype=bool), n_folds, seed)


def foresee(threads: Threads, *, n_folds: int = 5, seed: int = 0) -> Foresight:
    """How well the model foresees threads it has not seen; the ridge is chosen without them too.

    Raises:
        ValueError: too few threads, or too few replies of either kind.
    """
    check_threads(threads)
    y, thread, n = threads.toxic, threads.thread, len(threads.toxic)
    own = threads.log_odds[:, threads.labels.index(OWN)]
    model, alone, rate = np.empty(n), np.empty(n), np.empty(n)
    fold = _folds(threads, n_folds, seed)
    for k in range(n_folds):
        test = fold == k
        model[test] = _fit(threads, ~test, n_folds, seed).p(threads.log_odds[test])
        line = _newton(own[~test, None], y[~test], np.zeros(1))
        alone[test] = special.expit(line[0] + own[test] * line[1])
        rate[test] = y[~test].mean()
    one = np.ones(n)
    slope, intercept = calibration_line(y, np.clip(model, _CLIP, 1 - _CLIP), one, thread)
    first, second = _auroc_influence(model, y), _auroc_influence(own, y)
    loss = [_loss(y, p) for p in (model, alone, rate)]
    top = model >= np.quantile(model, 1 - TOP)
    return Foresight(
        auroc=_told(clustered(first[0], first[1], thread, bounds=(0, 1))),
        auroc_own=_told(clustered(second[0], second[1], thread, bounds=(0, 1))),
        auroc_gain=_told(clustered(first[0] - second[0], first[1] - second[1], thread)),
        log_loss_less_own=_told(weighted_mean(loss[0] - loss[1], one, thread)),
        log_loss_less_rate=_told(weighted_mean(loss[0] - loss[2], one, thread)),
        slope=slope,
        intercept=intercept,
        calibration_error=calibration_error(y, model, one),
        rate=float(y.mean()),
        rate_of_top=_told(weighted_mean(y[top], one[top], thread[top], bounds=(0, 1))),
        n=n,
        n_threads=len(np.unique(thread)),
        n_toxic=int(y.sum()),
        n_unscored=threads.n_unscored,
    )


def check_threads(threads: Threads) -> None:
    """Refuse too little to learn from.

    Raises:
        ValueError: too few threads, or too few replies of either kind.
    """
    n_threads, n_toxic = len(np.unique(threads.thread)), int(threads.toxic.sum())
    if n_threads < FEWEST_THREADS:
        raise ValueError(f"thread: expected at least {FEWEST_THREADS} with a scored post, got {n_threads}")
    if min(n_toxic, len(threads.toxic) - n_toxic) < FEWEST_TOXIC:
        raise ValueError(
            f"reply_toxicity: expected at least {FEWEST_TOXIC} replies from {TOXIC_FROM} on, and below, "
            f"got {n_toxic} of {len(threads.toxic)}"
        )


def _fit(threads: Threads, rows: np.ndarray, n_folds: int, seed: int) -> Elicited:
    """The model of some rows; constant labels get a coefficient of 0."""
    x, y = threads.log_odds[rows], threads.toxic[rows]
    mean, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.where(spread > 1e-9, spread, np.inf)
    x = (x - mean) / scale
    free = np.array([name == OWN for name in threads.labels])
    fold = _folds(threads, n_folds, seed + 1)[rows]
    losses = []
    for ridge in RIDGES:
        loss = 0.0
        for k in np.unique(fold):
            test = fold == k
            beta = _newton(x[~test], y[~test], np.where(free, 0.0, ridge))
            loss += float(_loss(y[test], special.expit(beta[0] + x[test] @ beta[1:])).sum())
        losses.append(loss)
    ridge = RIDGES[int(np.argmin(losses))]
    beta = _newton(x, y, np.where(free, 0.0, ridge))
    coefficients = beta[1:] / scale
    return Elicited(threads.labels, coefficients, float(beta[0] - mean @ coefficients), ridge)


def _newton(x: FloatArray, y: FloatArray, ridge: FloatArray) -> FloatArray:
    """(L + 1,) intercept and coefficients of a logistic regression, each coefficient with its ridge."""
    x = np.column_stack([np.ones(len(y)), x])
    penalty = np.diag(np.concatenate([[0.0], np.maximum(ridge, 1e-6)]))
    rate = (y.sum() + 0.5) / (len(y) + 1)
    beta = np.zeros(x.shape[1])
    beta[0] = special.logit(rate)
    for _ in range(_STEPS):
        fit = special.expit(x @ beta)
        information = (x * (fit * (1 - fit))[:, None]).T @ x + penalty
        step = np.linalg.solve(information, x.T @ (y - fit) - penalty @ beta)
        beta = beta + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            return beta
    raise ValueError("elicited: expected an optimum, got none: a label separates toxic replies from others")


def _folds(threads: Threads, n_folds: int, seed: int) -> IntArray:
    """(n,) fold of each reply; threads stay whole.

    Raises:
        ValueError: fewer than 2 folds, more than every study has threads for, or a seed below 0.
    """
    if not 2 <= n_folds <= FEWEST_THREADS:
        raise ValueError(f"folds: expected 2 to {FEWEST_THREADS}, got {n_folds}")
    if seed < 0:
        raise ValueError(f"seed: expected 0 or more, got {seed}")
    n_threads = int(threads.thread.max()) + 1
    fold = np.random.default_rng(seed).permutation(n_threads) % n_folds
    return fold[threads.thread].astype(np.int64)


def _loss(y: FloatArray, p: FloatArray) -> FloatArray:
    sure = np.clip(p, _CLIP, 1 - _CLIP)
    surprise = special.xlogy(y, sure) + special.xlogy(1 - y, 1 - sure)
    return np.asarray(-surprise, dtype=np.float64)


def _auroc_influence(score: FloatArray, y: FloatArray) -> tuple[float, FloatArray]:
    """The area under the ROC curve and each reply's influence on it.

    Source: DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more correlated receiver
    operating characteristic curves, 1988; summed by thread: Obuchowski, 1997.
    """
    present = y > 0
    ordered = [np.sort(score[rows]) for rows in (present, ~present)]

    def below(values: FloatArray, of: FloatArray) -> FloatArray:
        found: FloatArray = (np.searchsorted(of, values) + np.searchsorted(of, values, "right")) / (
            2 * len(of)
        )
        return found

    area = auroc(score, present)
    influence = np.empty(len(y))
    influence[present] = (below(score[present], ordered[1]) - area) / present.sum()
    influence[~present] = (1 - below(score[~present], ordered[0]) - area) / (~present).sum()
    return area, influence


def _told(found: Interval | None) -> Interval:
    assert found is not None  # there are many threads
    return found

"""Logged requests whose truth is known: what every off-policy estimator has to prove itself on.

Users are independent of each other: each request has posts of its own. The logger draws its slates by
Plackett-Luce over the logarithm of the score, and writes down exact propensities. True values come from other
users than the logs, with the inventory and the Gumbel noise in common to both policies.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eval.simulate.behaviour import (
    A,
    Pairs,
    Scene,
    draw_actions,
    draw_views,
    response_of,
    seen_shares,
    true_effect,
    true_rates,
)
from eval.simulate.draws import generator, root_key
from eval.simulate.parameters import ACTIONS, Parameters, load_parameters
from eval.simulate.world import Posts, Users, harm_log_odds, kumaraswamy
from reranker.columns import BoolArray, FloatArray, IntArray, freeze_arrays
from reranker.exploration import log_prefix_propensity, sample_rankings

N_CANDIDATES, N_SLOTS = 12, 4
PREDICTION_ERROR = 0.3  # sd of the log of the ranker's predictions
WEIGHTS = {"like": 1.0, "love": 5.0, "haha": 5.0, "wow": 5.0, "sad": 5.0, "angry": 5.0} | {
    "comment": 15.0,
    "significant_comment": 30.0,
    "reshare": 5.0,
}
METRICS = ("views", "harm_views", "like", "comment", "angry")
_LOGS, _TRUTH, _SLATES, _FEELING = 51, 52, 53, 54  # purposes of draws


@dataclass(frozen=True, eq=False)
class Logged:
    """Requests as a logger writes them down, and with them what only a simulator knows.

    Attributes:
        user: (n,) code of each request's user; requests of a user stand together.
        offsets: (n + 1,) candidates of each request.
        p_action: (c, A) the ranker's predictions, off by `PREDICTION_ERROR`, in the order of `ACTIONS`.
        p_stop: (c,) a prediction of leaving after the candidate at the top, as wrong as that.
        harm: (c,) probability that any harm is in the post.
        score: (c,) logarithm of the logger's weighted sum; divided by the temperature it is the logit.
        temperature: of the logger.
        slot_offsets: (n + 1,) slots of each request.
        slate: (s,) rows of the candidates served.
        log_prefix_propensity: (s,) exact.
        viewed: (s,) whether the place was seen.
        action: (s, A) what was done.
        log_odds_stop, p_true: (c,) and (c, A): the truth, which no estimator may read.
    """

    user: IntArray
    offsets: IntArray
    p_action: FloatArray
    p_stop: FloatArray
    harm: FloatArray
    score: FloatArray
    temperature: float
    slot_offsets: IntArray
    slate: IntArray
    log_prefix_propensity: FloatArray
    viewed: BoolArray
    action: BoolArray
    log_odds_stop: FloatArray
    p_true: FloatArray

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def reward(self, metric: str) -> FloatArray:
        """(s,) what each slot brought: a view, the harm in what was seen, or an action.

        Raises:
            ValueError: there is no such metric.
        """
        if metric == "views":
            return self.viewed.astype(np.float64)
        if metric == "harm_views":
            harm: FloatArray = self.viewed * self.harm[self.slate]
            return harm
        if metric == "comment":
            comments: FloatArray = self.action[:, _COMMENTS].sum(axis=1).astype(np.float64)
            return comments
        if metric not in ACTIONS:
            raise ValueError(f"metric: expected one of {', '.join(METRICS)} or an action, got {metric!r}")
        return self.action[:, ACTIONS.index(metric)].astype(np.float64)


@dataclass(frozen=True, eq=False)
class TrueValues:
    """Values per request of `METRICS` under both policies, and the standard error of their difference.

    Attributes:
        logger, target: (metrics,).
        standard_error: (metrics,) of target - logger, by user.
        changed: share of requests whose slate differs under the common noise.
        changed_items: share of the logger's items that the target does not serve.
    """

    logger: FloatArray
    target: FloatArray
    standard_error: FloatArray
    changed: float
    changed_items: float

    @property
    def difference(self) -> FloatArray:
        """(metrics,) target - logger."""
        return self.target - self.logger


@dataclass(frozen=True, eq=False)
class _Requests:
    """(n,) user, (n, C) log-odds of stopping and harm, (n, C, A) true and predicted probabilities."""

    user: IntArray
    stop: FloatArray
    p_stop: FloatArray
    harm: FloatArray
    p_true: FloatArray
    p_action: FloatArray


_COMMENTS = [ACTIONS.index("comment"), ACTIONS.index("significant_comment")]


def log_score(p_action: FloatArray, weights: dict[str, float] | None = None) -> FloatArray:
    """(c,) logarithm of the weighted sum of predictions (c, A); None is the logger's weights, angry at 5.

    Raises:
        ValueError: an unknown action, or weights under which a score is not above 0.
    """
    own = np.zeros(A)
    for name, weight in (WEIGHTS if weights is None else weights).items():
        if name not in ACTIONS:
            raise ValueError(f"weights: expected actions of {', '.join(ACTIONS)}, got {name!r}")
        own[ACTIONS.index(name)] = weight
    total = p_action @ own
    if not (total > 0).all():
        raise ValueError("weights: expected scores above 0 for a logarithm, got one that is not")
    score: FloatArray = np.log(total)
    return score


def angry_zero() -> dict[str, float]:
    """The logger's weights with angry at 0: the usual target policy."""
    return WEIGHTS | {"angry": 0.0}


def logged(
    n_users: int, n_requests: int, temperature: float, seed: int, p: Parameters | None = None
) -> Logged:
    """Logs of `n_users` users with `n_requests` requests each.

    Args:
        n_users: independent users.
        n_requests: of each.
        temperature: of the logger, above 0.
        seed: of the logs; `true_values` never shares its draws.
        p: the numbers of the world; None is the shipped file.

    Raises:
        ValueError: a size below 1, or a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a number above 0, got {temperature}")
    p = load_parameters() if p is None else p
    rng = generator(seed, _LOGS)
    made = _requests(p, n_users, n_requests, (seed, _LOGS))
    n = len(made.user)
    offsets = np.arange(n + 1, dtype=np.int64) * N_CANDIDATES
    score = log_score(made.p_action.reshape(-1, A))
    keys = np.arange(n, dtype=np.uint64)
    slate, slots = sample_rankings(
        score, offsets, temperature, N_SLOTS, seed=int(root_key(seed, _LOGS, _SLATES)), request_key=keys
    )
    stop, p_true = made.stop.reshape(-1), made.p_true.reshape(-1, A)
    viewed = draw_views(stop[slate].reshape(n, N_SLOTS), p.stop_fatigue, rng)
    action = draw_actions(p_true[slate].reshape(n, N_SLOTS, A), viewed, rng)
    return Logged(
        user=made.user,
        offsets=offsets,
        p_action=made.p_action.reshape(-1, A),
        p_stop=made.p_stop.reshape(-1),
        harm=made.harm.reshape(-1),
        score=score,
        temperature=temperature,
        slot_offsets=slots,
        slate=slate,
        log_prefix_propensity=log_prefix_propensity(score, offsets, slate, slots, temperature),
        viewed=viewed.reshape(-1),
        action=action.reshape(-1, A),
        log_odds_stop=stop,
        p_true=p_true,
    )


def true_values(
    n_users: int,
    temperature: float,
    seed: int,
    *,
    target: dict[str, float] | None = None,
    target_temperature: float | None = None,
    p: Parameters | None = None,
) -> TrueValues:
    """Values of the logger and of a target policy, by paired Monte Carlo over users of their own.

    Given a slate, views and actions are averaged over exactly; only users, posts and slates are drawn, the
    last with one Gumbel per candidate for both policies.

    Args:
        n_users: drawn, one request each.
        temperature: of the logger.
        seed: of the truth; that of the logs still gives other users.
        target: weights; None is angry at 0.
        target_temperature: None is the logger's.
        p: the numbers of the world; None is the shipped file.

    Raises:
        ValueError: fewer than two users.
    """
    if n_users < 2:
        raise ValueError(f"n_users: expected at least 2, got {n_users}")
    p = load_parameters() if p is None else p
    made = _requests(p, n_users, 1, (seed, _TRUTH))
    weights = angry_zero() if target is None else target
    heat = temperature if target_temperature is None else target_temperature
    values, slates = [], []
    for policy, own_heat in ((WEIGHTS, temperature), (weights, heat)):
        slate = _draw_slates(log_score(made.p_action.reshape(-1, A), policy), own_heat, seed)
        values.append(_values(made, slate, p.stop_fatigue))
        slates.append(slate)
    gap = values[1] - values[0]
    same = (slates[0][:, :, None] == slates[1][:, None, :]).any(axis=2)
    return TrueValues(
        logger=values[0].mean(axis=0),
        target=values[1].mean(axis=0),
        standard_error=gap.std(axis=0, ddof=1) / np.sqrt(n_users),
        changed=float((slates[0] != slates[1]).any(axis=1).mean()),
        changed_items=float(1.0 - same.mean()),
    )


def _draw_slates(score: FloatArray, temperature: float, seed: int) -> IntArray:
    """(n, K) candidates of each request, from 0; the same seed gives every policy the same Gumbels."""
    n = len(score) // N_CANDIDATES
    offsets = np.arange(n + 1, dtype=np.int64) * N_CANDIDATES
    keys = np.arange(n, dtype=np.uint64)
    slate, _ = sample_rankings(
        score, offsets, temperature, N_SLOTS, seed=int(root_key(seed, _TRUTH, _SLATES)), request_key=keys
    )
    return slate.reshape(n, N_SLOTS) - offsets[:-1, None]


def _values(made: _Requests, slate: IntArray, fatigue: float) -> FloatArray:
    """(n, metrics) expected outcomes of each request given its slate."""
    seen = seen_shares(np.take_along_axis(made.stop, slate, axis=1), fatigue)
    harm = np.take_along_axis(made.harm, slate, axis=1)
    actions = np.take_along_axis(made.p_true, slate[:, :, None], axis=1) * seen[:, :, None]
    by_action = actions.sum(axis=1)
    columns = {name: by_action[:, i] for i, name in enumerate(ACTIONS)}
    columns |= {
        "views": seen.sum(axis=1),
        "harm_views": (seen * harm).sum(axis=1),
        "comment": by_action[:, _COMMENTS].sum(axis=1),
    }
    return np.stack([columns[name] for name in METRICS], axis=1)


def _requests(p: Parameters, n_users: int, n_requests: int, key: tuple[int, int]) -> _Requests:
    """Requests with users and posts of their own."""
    if n_users < 1 or n_requests < 1:
        raise ValueError(f"n_users, n_requests: expected at least 1, got {n_users} and {n_requests}")
    rng = generator(*key, 1)
    users, posts = _people(p, n_users, rng), _posts(p, n_users * n_requests * N_CANDIDATES, rng)
    n = n_users * n_requests
    of_user = np.repeat(np.arange(n_users, dtype=np.int64), n_requests)
    viewers = _repeat(users, of_user)
    rows = np.arange(n * N_CANDIDATES, dtype=np.int32).reshape(n, N_CANDIDATES)
    relation: NDArray[np.int8] = rng.integers(0, 4, size=rows.shape, dtype=np.int8)
    pairs = Pairs(rows, relation, root_key(*key, _FEELING))
    stop, p_true = true_rates(Scene(viewers, posts, response_of(p, viewers)), pairs, true_effect(p, posts))
    harm = 1.0 - (1.0 - posts.harm).prod(axis=1).reshape(rows.shape)
    wrong = [rng.standard_normal(shape) for shape in (p_true.shape, stop.shape)]
    error = [np.exp(PREDICTION_ERROR * one - PREDICTION_ERROR**2 / 2) for one in wrong]
    p_stop = np.minimum(error[1] / (1.0 + np.exp(-stop)), 1.0 - 1e-9)
    return _Requests(of_user, stop, p_stop, harm, p_true, np.minimum(p_true * error[0], 1.0 - 1e-9))


def _people(p: Parameters, n: int, rng: np.random.Generator) -> Users:
    """Users without ties, which do not matter for one request."""
    topic = rng.standard_normal((n, p.n_topics))
    none, zero = np.zeros((n, 0), dtype=np.int64), np.zeros(n, dtype=np.int64)
    return Users(
        topic=topic / np.linalg.norm(topic, axis=1, keepdims=True),
        log_activity=p.activity_sd * rng.standard_normal(n) - p.activity_sd**2 / 2,
        log_anger=np.log(np.maximum(rng.gamma(p.anger_shape, p.anger_scale, n), 1e-6)),
        reflection=np.ones(n),
        country=zero,
        device=zero,
        followed=none,
        friends=none,
        group=none,
    )


def _repeat(users: Users, of_user: IntArray) -> Users:
    """The user of each request, as if each request had its own."""
    names = ("topic", "log_activity", "log_anger", "reflection")
    return users._replace(**{name: getattr(users, name)[of_user] for name in names})


def _posts(p: Parameters, n: int, rng: np.random.Generator) -> Posts:
    """Posts of nobody in particular."""
    topic = rng.standard_normal((n, p.n_topics))
    topic /= np.linalg.norm(topic, axis=1, keepdims=True)
    negative = rng.random(n) < p.negative_share
    u = rng.random(n)
    line = np.where(negative, kumaraswamy(u, p.line_negative), kumaraswamy(u, p.line_other)) * p.line_top
    harm = 1.0 / (1.0 + np.exp(-harm_log_odds(p, line, topic)))
    words = rng.poisson(p.words_other + p.words_negative * negative).astype(np.float64)
    return Posts(
        topic=topic,
        line=line,
        words=words,
        harm=harm,
        estimate=harm,
        negative=negative,
        live=np.zeros(n, dtype=np.bool_),
        there=np.ones(n, dtype=np.bool_),
        first_of_users=n,
    )


def with_wrong_temperature(log: Logged, factor: float) -> Logged:
    """The same logs with propensities written down for another temperature: a gate must refuse them."""
    heat = log.temperature * factor
    wrong = log_prefix_propensity(log.score, log.offsets, log.slate, log.slot_offsets, heat)
    return replace(log, log_prefix_propensity=wrong)

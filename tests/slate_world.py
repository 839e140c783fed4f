"""A small world of slates whose every probability is listed: 5 candidates, 3 slots, 60 rankings.

The logger draws Plackett-Luce rankings; people read from the top and stop at what they read (a cascade). The
truth is a sum over all rankings, not a simulation.
"""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from eval.off_policy import Responses, SlateLog
from eval.overlap import Served

N_CANDIDATES, N_SLOTS, N_TYPES, N_HOMES = 5, 3, 40, 3
RANKINGS = np.array(list(permutations(range(N_CANDIDATES), N_SLOTS)))  # (60, 3)


def prefix_chances(logits: np.ndarray, rankings: np.ndarray = RANKINGS) -> np.ndarray:
    """(..., M, K) Plackett-Luce chances of each prefix of each ranking, slot by slot over what is left."""
    strength = np.exp(logits - logits.max(axis=-1, keepdims=True))
    step = []
    for k in range(rankings.shape[1]):
        left = np.ones((len(rankings), logits.shape[-1]))
        np.put_along_axis(left, rankings[:, :k], 0.0, axis=1)
        step.append(strength[..., rankings[:, k]] / (strength[..., None, :] * left).sum(axis=-1))
    return np.cumprod(np.stack(step, axis=-1), axis=-1)


def cascade_views(stop: np.ndarray, rankings: np.ndarray = RANKINGS) -> np.ndarray:
    """(..., M, K) chance that each slot is read."""
    go_on = 1.0 - stop[..., rankings[:, :-1]]
    return np.concatenate((np.ones((*go_on.shape[:-1], 1)), np.cumprod(go_on, axis=-1)), axis=-1)


@dataclass(frozen=True)
class Drawn:
    """A log of n requests of N_SLOTS slots each, and what it would take to evaluate the target on it."""

    kind: np.ndarray  # (n,) type of each request
    ranking: np.ndarray  # (n,) index into RANKINGS
    user: np.ndarray
    reward: np.ndarray  # (s,)
    viewed: np.ndarray  # (s,)
    log_logging: np.ndarray  # (s,)
    log_target: np.ndarray  # (s,)
    marginal_weight: np.ndarray  # (s,)
    responses: Responses

    @property
    def offsets(self) -> np.ndarray:
        return np.arange(len(self.kind) + 1) * N_SLOTS

    @property
    def log(self) -> SlateLog:
        weight = np.exp(self.log_target - self.log_logging)
        return SlateLog(weight, self.reward, self.offsets, self.user, self.marginal_weight)

    @property
    def served(self) -> Served:
        return Served(self.log_logging, self.log_target, self.offsets, self.user)

    def log_under(self, world: "World") -> np.ndarray:
        """(s,) the log prefix propensities that another world's logger would have written."""
        return np.log(world.p_logging[self.kind, self.ranking]).ravel()

    def slate(self) -> np.ndarray:
        """(s,) candidate rows, N_CANDIDATES per request."""
        return (RANKINGS[self.ranking] + np.arange(len(self.kind))[:, None] * N_CANDIDATES).ravel()


class World:
    """40 types of request; the target demotes the candidates that people stop at."""

    def __init__(self, *, temperature: float = 1.0, demotion: float = 1.0, seed: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.attraction = rng.uniform(0.05, 0.5, (N_TYPES, N_CANDIDATES))
        repels = (
            rng.random((N_TYPES, N_CANDIDATES)) < 0.4
        )  # people stop at these, and the target demotes them
        self.stop = np.where(repels, 0.8, 0.1)
        self.score = rng.normal(0.0, 0.6, (N_TYPES, N_CANDIDATES)) + 0.5 * repels
        self.target_score = self.score - demotion * repels
        self.temperature = temperature
        self.p_logging = prefix_chances(self.score / temperature)  # (types, 60, 3)
        self.p_target = prefix_chances(self.target_score / temperature)
        views = cascade_views(self.stop)
        self.views = views
        self.expected = views * self.attraction[:, RANKINGS]
        # a model that is wrong: 30 % log-normal error of the response, stops 20 % too low
        wrong = self.attraction * np.exp(rng.normal(0.0, 0.3, self.attraction.shape))
        self.modelled = cascade_views(0.8 * self.stop) * wrong[:, RANKINGS]
        self.marginal = marginal_ratio(self.p_target[..., -1], self.p_logging[..., -1])

    def truth(self) -> tuple[float, float]:
        """Reward per request under the target and under the logger."""
        return tuple(
            float((p[..., -1] * self.expected.sum(axis=-1)).sum(axis=1).mean())
            for p in (self.p_target, self.p_logging)
        )

    def draw(self, n_users: int, n_requests: int, seed: int) -> Drawn:
        """Users with a liking of their own and few types of request each, so that their rows are alike."""
        rng = np.random.default_rng(seed)
        user = np.repeat(np.arange(n_users), n_requests)
        home = rng.integers(0, N_TYPES, (n_users, N_HOMES))
        liking = rng.choice([0.4, 1.6], n_users)
        kind = home[user, rng.integers(0, N_HOMES, len(user))]
        below = rng.random((len(user), 1)) > np.cumsum(self.p_logging[kind, :, -1], axis=1)
        ranking = np.minimum(below.sum(axis=1), len(RANKINGS) - 1)
        go_on = rng.random((len(user), N_SLOTS)) > self.stop[kind[:, None], RANKINGS[ranking]]
        viewed = np.cumprod(np.hstack([np.ones((len(user), 1)), go_on[:, :-1]]), axis=1) > 0
        attraction = self.attraction[kind[:, None], RANKINGS[ranking]] * liking[user, None]
        reward = (viewed & (rng.random(viewed.shape) < attraction)).astype(float)
        direct = [
            (p[..., -1] * self.modelled.sum(axis=-1)).sum(axis=1)[kind]
            for p in (self.p_target, self.p_logging)
        ]
        return Drawn(
            kind=kind,
            ranking=ranking,
            user=user,
            reward=reward.ravel(),
            viewed=viewed.ravel(),
            log_logging=np.log(self.p_logging[kind, ranking]).ravel(),
            log_target=np.log(self.p_target[kind, ranking]).ravel(),
            marginal_weight=self.marginal[kind, ranking].ravel(),
            responses=Responses(self.modelled[kind, ranking].ravel(), *direct),
        )


def marginal_ratio(p_target: np.ndarray, p_logging: np.ndarray, rankings: np.ndarray = RANKINGS):
    """(..., M, K) chance of the item at its slot, target over logger, from the chances of all rankings."""
    parts = []
    for k in range(rankings.shape[1]):
        at = (rankings[:, k][:, None] == rankings[:, k][None, :]).astype(float)
        parts.append((p_target @ at) / (p_logging @ at))
    return np.stack(parts, axis=-1)

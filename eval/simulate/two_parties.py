"""Two parties that write for reach in the same feeds, each rewarded against the other's posts (E23).

What a negative post of one party gets depends on how negative the other is, for two reasons: they compete for
the same places, and an attack draws more of angry, comments and reshares where the rival attacks too
(`provocation`, an assumption). Whether that is an inescapable cycle is computed: what the rival does when one
party returns alone, and what that costs the one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import optimize
from scipy.interpolate import RectBivariateSpline

from eval.simulate.equilibrium import check_shares, fitted_response
from eval.simulate.pools import Pools
from eval.simulate.publishers import adapt, best_share
from eval.simulate.reach import PARTY, RIVAL, Reach, gap_of, tally
from reranker.columns import FloatArray
from reranker.policy import Policy

NODES = (0.03, 0.25, 0.5, 0.75, 0.97)
STARTS = np.linspace(0.05, 0.95, 7)
WEEKS = 1_000
_SAME = 5e-3
_STEP = 1e-4
CURVE = np.linspace(0.02, 0.98, 33)


@dataclass(frozen=True, eq=False)
class Rivalry:
    """What a policy gives a party, by its own share of negative posts and the rival's.

    Attributes:
        policy: as it was asked for.
        gap: (K, K) reward gap of the party at `NODES`, own share down, the rival's across.
        reach: (K, K) views per post of the party over those of the rival.
    """

    policy: str
    gap: FloatArray
    reach: FloatArray

    @cached_property
    def _gap_surface(self) -> RectBivariateSpline:
        return RectBivariateSpline(NODES, NODES, self.gap, kx=2, ky=2)

    def gap_at(self, own: FloatArray, rival: FloatArray) -> FloatArray:
        """(n,) the reward gap at pairs of shares; beyond the nodes that of the nearest."""
        own, rival = (np.clip(one, NODES[0], NODES[-1]) for one in (own, rival))
        return np.asarray(self._gap_surface.ev(own, rival), dtype=np.float64)

    def reach_at(self, own: float, rival: float) -> float:
        """The party's views per post over the rival's."""
        surface = RectBivariateSpline(NODES, NODES, self.reach, kx=2, ky=2)
        return float(surface.ev(np.array([own]), np.array([rival]))[0])


def measure_rivalry(pools: Pools, policy: Policy, spec: str) -> Rivalry:
    """What a policy gives at each pair of shares; the parties are alike, so each pair says both sides."""
    k = len(NODES)
    gap, reach = np.empty((k, k)), np.empty((k, k))
    for i in range(k):
        for j in range(i + 1):
            sums = tally(pools, policy, (NODES[i], NODES[j]), pools.market.provocation).sum(axis=0)
            gap[i, j], gap[j, i] = gap_of(sums[PARTY]), gap_of(sums[RIVAL])
            if i == j:
                gap[i, i] = 0.5 * (gap_of(sums[PARTY]) + gap_of(sums[RIVAL]))
            per_post = sums[:2, :, 0].sum(axis=1) / sums[:2, :, 1].sum(axis=1)
            reach[j, i] = per_post[1] / per_post[0]
            reach[i, j] = per_post[0] / per_post[1]
    luck = np.sqrt(np.diag(reach))  # alike, both reach as much: the rest is whose posts were drawn popular
    lower = np.tril(np.ones((k, k)), 0) > 0
    level = np.outer(luck, luck)
    return Rivalry(spec, gap, np.where(lower, reach / level, reach * level))


@dataclass(frozen=True)
class PairPoint:
    """An equilibrium of the two: shares, the largest modulus of the weekly map's eigenvalues, stability."""

    shares: tuple[float, float]
    modulus: float
    stable: bool


@dataclass(frozen=True, eq=False)
class Game:
    """What becomes of two parties under a policy.

    Attributes:
        policy: as it was asked for.
        points: every equilibrium that was found, from all starts and by search.
        settled: where they come to rest from the calibrated state.
        path: (W + 1,) share of either (they are alike) in the weeks from there.
        curve: (33,) where a party settles while the rival is held at each of `CURVE`.
        answer: change of a party's best share per unit of the rival's, at rest: above 0, attack calls for
            attack.
        rival_alone: where the rival settles while one party is held at the share of before.
        cost_alone: change of that party's reach, relative to a rival at the calibrated state.
    """

    policy: str
    points: tuple[PairPoint, ...]
    settled: float
    path: FloatArray
    curve: FloatArray
    answer: float
    rival_alone: float
    cost_alone: float


def calibrate_pair(
    before: Rivalry, after: Rivalry, shares: tuple[float, float], policies: tuple[Reach, Reach]
) -> tuple[float, float]:
    """(gain, leaning) under which both parties rest at the first share before, and at the second after.

    Raises:
        ValueError: as `calibrate`.
    """
    check_shares(shares)
    both = np.array(shares)
    gaps = float(before.gap_at(both, both)[0]), float(after.gap_at(both, both)[1])
    return fitted_response(gaps, shares, policies)


def play(
    rivalry: Rivalry, response: tuple[float, float], rate: float, shares: tuple[float, float], weeks: int
) -> Game:
    """Equilibria and paths of two parties.

    Args:
        rivalry: what the policy gives.
        response: (gain, leaning).
        rate: part of the way gone each week.
        shares: before, and at the calibrated state from which the policy is switched.
        weeks: of the path.

    Raises:
        ValueError: fewer than 1 week, or shares that never come to rest.
    """
    if weeks < 1:
        raise ValueError(f"weeks: expected at least 1, got {weeks}")
    best = _Best(rivalry, *response)
    grid = np.array([(a, b) for a in STARTS for b in STARTS] + [(shares[1], shares[1])])
    own, rival, path = grid[:, 0], grid[:, 1], [shares[1]]
    for _ in range(WEEKS):
        own, rival = adapt(own, best(own, rival), rate), adapt(rival, best(rival, own), rate)
        path.append(float(own[-1]))
    moved = float(np.abs(best(own, rival) - own).max())
    if moved > 1e-4:
        raise ValueError(
            f"two parties: expected an equilibrium, got shares that still move after {WEEKS} weeks (gain "
            f"{response[0]:.3g}, adaptation rate {rate:.3g}): they cycle"
        )
    resting = np.unique(np.stack((own, rival), axis=1).round(3), axis=0).tolist()
    curve = _curve(best, CURVE, shares[1], rate)
    last = path[-1]
    return Game(
        policy=rivalry.policy,
        points=_points(best, resting, grid, rate),
        settled=last,
        path=np.array(path[: weeks + 1]),
        curve=curve,
        answer=float(-np.diff(best(np.full(2, last), last + np.array([_STEP, -_STEP])))[0] / (2 * _STEP)),
        rival_alone=float(_curve(best, np.array([shares[0]]), shares[1], rate)[0]),
        cost_alone=rivalry.reach_at(shares[0], shares[1]) - 1.0,
    )


@dataclass(frozen=True)
class _Best:
    """The best share of a party by its own and the rival's."""

    rivalry: Rivalry
    gain: float
    leaning: float

    def __call__(self, own: FloatArray, rival: FloatArray) -> FloatArray:
        return best_share(self.rivalry.gap_at(own, rival), self.gain, self.leaning)


def _curve(best: _Best, held: FloatArray, start: float, rate: float) -> FloatArray:
    own = np.full(len(held), start)
    for _ in range(WEEKS // 4):
        own = adapt(own, best(own, held), rate)
    return own


def _points(
    best: _Best, resting: Iterable[list[float]], starts: FloatArray, rate: float
) -> tuple[PairPoint, ...]:
    """The distinct equilibria: where weeks come to rest, and those that only a search finds."""
    found: list[tuple[float, float]] = []

    def surplus(pair: FloatArray) -> FloatArray:
        return best(pair, pair[::-1]) - pair

    for start in [*resting, *starts[:: len(STARTS) // 2].tolist()]:
        solution = optimize.root(surplus, start, method="hybr")
        own, rival = (float(one) for one in solution.x)
        inside = 0 <= own <= 1 and 0 <= rival <= 1 and np.abs(surplus(solution.x)).max() < 1e-8
        if inside and all(max(abs(own - a), abs(rival - b)) > _SAME for a, b in found):
            found.append((own, rival))
    points = []
    for pair in sorted(found):
        steps = [
            surplus(np.array(pair) + step) - surplus(np.array(pair) - step) for step in _STEP * np.eye(2)
        ]
        weekly = np.eye(2) + rate * np.stack(steps, axis=1) / (2 * _STEP)
        modulus = float(np.abs(np.linalg.eigvals(weekly)).max())
        points.append(PairPoint(pair, modulus, modulus < 1.0))
    return tuple(points)

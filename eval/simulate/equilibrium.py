"""Where publishers settle who write what a policy rewards: calibration, fixed points, stability, paths.

Three markets answer the same reward. `alone`: one party among pages that do not adapt. `many`: all pages
adapt, each with a leaning of its own (a mean field). Two parties are in `two_parties.py`. Each is calibrated
to the one documented figure, so that they differ only in what they say of other policies.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special

from eval.simulate.publishers import adapt, best_share, fit_response
from eval.simulate.reach import Reach
from reranker.columns import FloatArray

GRID = np.linspace(0.0, 1.0, 1_001)
LONGEST = 2_000  # weeks after which what still moves is called a cycle
SETTLED = 1e-6
_N_NODES = 41
LEANINGS = np.asarray(special.ndtri((np.arange(_N_NODES) + 0.5) / _N_NODES), dtype=np.float64)
_MIDDLE = _N_NODES // 2  # the party without a leaning of its own

Kind = Literal["alone", "many"]


@dataclass(frozen=True)
class Response:
    """How strongly, how fast and how differently publishers answer a reward.

    Attributes:
        kind: whether the other pages adapt too.
        gain, leaning: log-odds of a negative post = gain * reward gap + leaning.
        rate: part of the way to the best share that is gone each week.
        spread: sd of publishers' own leaning.
        others: share of negative posts of the pages that do not adapt, where the party is alone.
    """

    kind: Kind
    gain: float
    leaning: float
    rate: float
    spread: float
    others: float


@dataclass(frozen=True)
class Point:
    """A fixed point.

    Attributes:
        share: of negative posts of all pages that adapt; party: of the one without a leaning of its own.
        slope: of the mean best share in the share.
        stable: whether weeks of partial adjustment come back to it.
    """

    share: float
    party: float
    slope: float
    stable: bool


@dataclass(frozen=True, eq=False)
class Path:
    """Weeks after a change of policy.

    Attributes:
        party: (W + 1,) share of the party without a leaning of its own, from the week of the change.
        share: (W + 1,) of all pages that adapt.
        settled, settled_share: the last of either, once nothing moves.
    """

    party: FloatArray
    share: FloatArray
    settled: float
    settled_share: float


def state_of(share: float, spread: float) -> FloatArray:
    """(K,) shares of publishers of all leanings, of whom the one without has this share."""
    return np.asarray(special.expit(special.logit(share) + spread * LEANINGS), dtype=np.float64)


def calibrate(
    before: Reach, after: Reach, shares: tuple[float, float], *, kind: Kind, rate: float, spread: float
) -> Response:
    """The response under which a party's share is the first under the one policy, the second under the other.

    Closed form: a share of the party fixes that of all pages, and so the reward gap that it answers.

    Args:
        before: what the policy before gives.
        after: what the policy after gives.
        shares: of the party's negative posts under either.
        kind: see `Response`.
        rate: see `Response`.
        spread: see `Response`; 0 where the party is alone.

    Raises:
        ValueError: shares outside (0, 1), or rewards that no response could tell apart or answer so.
    """
    check_shares(shares)
    spread = spread if kind == "many" else 0.0
    everyone = [float(state_of(share, spread).mean()) for share in shares]
    at = everyone if kind == "many" else [shares[0], shares[0]]
    gaps = float(before.gap_at(at[0])), float(after.gap_at(at[1]))
    gain, leaning = fitted_response(gaps, shares, (before, after))
    return Response(kind, gain, leaning, rate, spread, shares[0])


def check_shares(shares: tuple[float, float]) -> None:
    """Refuse shares of negative posts that nothing can be fitted to."""
    for name, share in zip(("before", "after"), shares, strict=True):
        if not 0 < share < 1:
            raise ValueError(f"share {name}: expected a number between 0 and 1, got {share}")
    if shares[0] == shares[1]:
        raise ValueError(f"shares: expected two different ones, got {shares[0]} twice: nothing to fit to")


def fitted_response(
    gaps: tuple[float, float], shares: tuple[float, float], policies: tuple[Reach, Reach]
) -> tuple[float, float]:
    """(gain, leaning) by `fit_response`, where the rewards differ by more than their error and rightly."""
    names = " and ".join(reach.policy for reach in policies)
    error = _error_of_difference(*policies)
    if policies[0].digest == policies[1].digest or abs(gaps[1] - gaps[0]) <= 2.0 * error + SETTLED:
        raise ValueError(
            f"calibration: expected policies that reward negative posts differently, got {names} with reward "
            f"gaps {gaps[0]:.3f} and {gaps[1]:.3f} (standard error of the difference {error:.3f})"
        )
    gain, leaning = fit_response(gaps, shares)
    if gain < 0:
        raise ValueError(
            f"calibration: expected the policy with more negative posts to reward them more, got {names} "
            f"with reward gaps {gaps[0]:.3f} and {gaps[1]:.3f} for shares {shares[0]:g} and {shares[1]:g}"
        )
    return gain, leaning


def _error_of_difference(first: Reach, second: Reach) -> float:
    """Jackknife error of the difference of two gaps over the same batches, at the middle of the shares."""
    middle = len(first.shares) // 2
    return jackknife(second.batches[:, middle] - first.batches[:, middle])


def mean_best(response: Response, gap: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Best shares at reward gaps (n,): the mean over leanings, and of the party without one."""
    party = best_share(gap, response.gain, response.leaning)
    if response.spread == 0.0:
        return party, party
    own = response.leaning + response.spread * LEANINGS[:, None]
    return best_share(gap, response.gain, own).mean(axis=0), party


def fixed_points(response: Response, gap: FloatArray) -> tuple[Point, ...]:
    """Every share that is its own best answer, rising; at least one, and an odd number unless two touch.

    Args:
        response: of the publishers.
        gap: (1001,) the reward gap at each of `GRID`.
    """
    if response.kind == "alone":
        gap = np.full(len(GRID), np.interp(response.others, GRID, gap))
    best, party = mean_best(response, gap)
    surplus = best - GRID
    slope = np.gradient(best, GRID)
    points = []
    for at in np.flatnonzero((surplus[:-1] > 0) != (surplus[1:] > 0)):
        part = surplus[at] / (surplus[at] - surplus[at + 1])
        share = float(GRID[at] + part * (GRID[at + 1] - GRID[at]))
        own = float(np.interp(share, GRID, slope))
        stable = abs(1.0 + response.rate * (own - 1.0)) < 1.0
        points.append(Point(share, float(np.interp(share, GRID, party)), own, stable))
    return tuple(points)


def settle(response: Response, gap: FloatArray, start: float, weeks: int) -> Path:
    """The weeks after a switch to a policy, from where the party has a share.

    Raises:
        ValueError: fewer than 1 week, or shares that never come to rest.
    """
    if weeks < 1:
        raise ValueError(f"weeks: expected at least 1, got {weeks}")
    leanings = response.spread * LEANINGS
    shares = state_of(start, response.spread)
    own = response.leaning + leanings
    party, share = [float(shares[_MIDDLE])], [float(shares.mean())]
    for week in range(max(weeks, LONGEST)):
        at = response.others if response.kind == "alone" else shares.mean()
        best = best_share(np.full(len(own), np.interp(at, GRID, gap)), response.gain, own)
        moved = float(np.abs(best - shares).max())
        shares = adapt(shares, best, response.rate)
        if week < weeks:
            party.append(float(shares[_MIDDLE]))
            share.append(float(shares.mean()))
        elif moved < SETTLED:
            break
    if moved < SETTLED:
        return Path(np.array(party), np.array(share), float(shares[_MIDDLE]), float(shares.mean()))
    raise ValueError(
        f"response: expected an equilibrium, got shares that still move by {moved:.3g} a week after "
        f"{max(weeks, LONGEST)} weeks (gain {response.gain:.3g}, adaptation rate {response.rate:.3g})"
    )


def with_gain(response: Response, factor: float, share: float) -> Response:
    """A response of another gain, under which the share before stays what it is: the leaning makes up."""
    gap = (float(special.logit(share)) - response.leaning) / response.gain
    gain = factor * response.gain
    return replace(response, gain=gain, leaning=float(special.logit(share)) - gain * gap)


def first_week(path: FloatArray, level: float) -> int | None:
    """The first week in which a falling path is at or below a level; None where it is in none.

    Example:
        >>> first_week(np.array([0.8, 0.7, 0.6]), 0.65)
        2
    """
    below = np.flatnonzero(path <= level + 1e-12)
    return int(below[0]) if len(below) else None


def jackknife(left_out: FloatArray) -> float:
    """Standard error of a statistic from its values with each of B batches left out.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, eq. 11.5.

    Example:
        >>> jackknife(np.array([1.5, 2.0, 2.5]))
        0.577...
    """
    n = len(left_out)
    return float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))

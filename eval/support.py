"""The support gate: whether a log can answer for a policy at all, asked before any estimate is printed.

All checks must pass for IDENTIFIED. Where they do not, the report says which, and what logging would mend it:
an estimate of a log that cannot answer is not made less wrong by its interval. The verdict is that of one
estimator: heavy tails leave no interval to one that uses the weights as they are, and hardly touch one that
leaves the large ones to a response model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log, sqrt
from typing import Literal

import numpy as np

from eval.browsing import Status
from eval.clustered import Estimate, clustered_mean
from eval.mean_weight import mean_weights
from eval.off_policy import Estimator
from eval.ope import SWITCH
from eval.overlap import (
    Check,
    Limits,
    Served,
    clipped,
    enough_users,
    logger_calibrated,
    logger_stochastic,
    model_share,
    propensities_present,
    tail_light,
    target_supported,
    weight_spread,
)
from reranker.columns import BoolArray, FloatArray, IntArray

Method = Estimator | Literal["direct"]
SPREAD = ("ESS_LOW", "ESS_SHARE_LOW", "HEAVY_TAIL", "MODEL_SHARE_HIGH")
WRONG = (
    "the logged propensities are not those that were served with: check temperature, candidates and filters "
    "after the ranking; more traffic does not help"
)
MENDED_BY = {
    "PROPENSITY_MISSING": "log the propensity of every prefix at the moment of serving",
    "PROPENSITY_IMPOSSIBLE": "log the propensity of every prefix as a product of the chances of its slots",
    "ONE_USER": "log more than one user",
    "LOGGER_DETERMINISTIC": "serve at random (Plackett-Luce, temperature above 0) wherever the target "
    "differs; this log leaves only a response model, MODEL_ONLY",
    "PROPENSITY_MISCALIBRATED": WRONG,
    "MEAN_WEIGHT_LOW": WRONG,
    "MEAN_WEIGHT_HIGH": WRONG,
    "HEAVY_TAIL": "estimate with switch_dr and a response model, whose interval such weights do not touch",
    "USER_DOMINATES": "cap the requests taken of one user, or log more users",
    "SUPPORT_DEFICIT": "log all candidates that the target may serve, and serve each at times; until then "
    "bounds",
    "PROPENSITY_CLIPPED": "log propensities as they are, without a floor",
    "PROPENSITY_FLOORED": "log propensities as they are, without a floor",
}


@dataclass(frozen=True)
class SupportReport:
    """The verdict of the gate on one estimator.

    Attributes:
        estimator: whose verdict it is.
        status: what an estimate by it may be called.
        checks: all of them, in the order of the gate.
        cautions: codes that do not refuse.
        needed_users: how many users of the same kind would pass; None where more of them would not help.
        remedy: what logging would mend it, in words; "" where nothing need be.
        n_requests, n_users: what was logged.
    """

    estimator: Method
    status: Status
    checks: tuple[Check, ...]
    cautions: tuple[str, ...]
    needed_users: int | None
    remedy: str
    n_requests: int
    n_users: int

    @property
    def reasons(self) -> tuple[str, ...]:
        """Codes of the checks that failed."""
        return tuple(check.code for check in self.checks if not check.passed)

    def check(self, code: str) -> Check:
        """The check with a code."""
        return next(check for check in self.checks if check.code == code)


@dataclass(frozen=True)
class Bounds:
    """What the value may be, whatever the reward of slates that were never logged.

    Attributes:
        low: the estimate if each earned the smallest reward.
        high: the estimate if each earned the largest.
    """

    low: Estimate
    high: Estimate


def gate(
    served: Served,
    limits: Limits | None = None,
    *,
    estimator: Method = "switch_dr",
    switch: float = SWITCH,
) -> SupportReport:
    """Whether the log identifies what the target policy would have earned, as one estimator sees it.

    Wrong or missing propensities, a logger that does not draw and what it never serves refuse all estimators
    alike. How far weights are spread is asked of those that the estimator uses: `switch_dr` drops the ones
    above its switch, whose place its model takes, so that there is a limit to that place and none to the
    tail; the others use them all, and need a variance.

    Args:
        served: see `Served`.
        limits: see `Limits`; None takes the defaults.
        estimator: of `eval.off_policy.evaluate`, or "direct" for a response model alone, which is at best
            MODEL_ONLY whatever the log.
        switch: of `switch_dr`; with inf it uses all weights too.

    Source: the checks of overlap as in Owen, Monte Carlo theory, methods and examples, 2013, chapter 9.3;
    the tail as in Vehtari and others, 2024.
    """
    limits = limits or Limits()
    n_users = len(np.unique(served.user))
    checks: tuple[Check, ...] = (propensities_present(served), enough_users(n_users))
    spread = 0.0
    if all(check.passed for check in checks):
        apart = served.log_target - served.log_logging
        weight = np.exp(np.minimum(apart, 300.0))  # whose square is finite; beyond it all checks fail alike
        full = np.diff(served.slot_offsets) > 0
        last = served.slot_offsets[1:][full] - 1
        switches = estimator in {"switch_dr", "direct"} and np.isfinite(switch)
        used = np.where(weight[last] <= switch, weight[last], 0.0) if switches else weight[last]
        low, high = mean_weights(served, weight, limits)
        checks += (
            logger_stochastic(served, limits),
            logger_calibrated(served, limits),
            low,
            high,
            *weight_spread(used, served.user[full], limits),
            model_share(served, weight, switch, low, limits) if switches else tail_light(used, limits),
            target_supported(served, last, limits),
            *clipped(served, low, limits),
        )
        spread = float(np.std(apart[last][np.isfinite(apart[last])])) if len(last) else 0.0
    found = {check.code: check for check in checks}
    failed = frozenset(check.code for check in checks if not check.passed)
    return SupportReport(
        estimator=estimator,
        status=_status(failed, estimator),
        checks=checks,
        cautions=_cautions(found, limits),
        needed_users=_needed_users(found, n_users, limits),
        remedy=_remedy(failed, spread, limits),
        n_requests=len(served.user),
        n_users=n_users,
    )


def unsupported_share(drawn: IntArray, slot_offsets: IntArray, logged: BoolArray) -> FloatArray:
    """(s,) 1.0 from the first slot on at which a ranking drawn from the target holds an item not logged.

    Averaged over draws it is what `Served.unsupported` asks for; the slates must be as long as those served.

    Args:
        drawn: (s,) candidate rows that the target placed.
        slot_offsets: (n + 1,).
        logged: (c,) whether the logger could have served each candidate.

    Example:
        >>> logged = np.array([True, True, False])
        >>> unsupported_share(np.array([0, 2, 1, 1, 0]), np.array([0, 3, 5]), logged).tolist()
        [0.0, 1.0, 1.0, 0.0, 0.0]
    """
    missing = np.concatenate(([0], np.cumsum(~logged[drawn])))
    before = np.repeat(missing[slot_offsets[:-1]], np.diff(slot_offsets))
    return (missing[1:] > before).astype(np.float64)


def support_bounds(
    values: FloatArray, unsupported: FloatArray, reward_range: tuple[float, float], user: IntArray
) -> Bounds:
    """The value of the target if what was never logged earned the least, and if it earned the most.

    Args:
        values: (n,) of an estimator without self-normalisation, such as `sips`.
        unsupported: (n,) the target's chance of a slate that the logger never serves.
        reward_range: least and largest reward of one slate.
        user: (n,) integer codes.

    Raises:
        ValueError: a range the wrong way round, or fewer than 2 users.

    Source: Manski, Nonparametric bounds on treatment effects, 1990.
    """
    least, most = reward_range
    if not least <= most:
        raise ValueError(f"reward_range: expected least <= most, got {reward_range}")
    low, high = (clustered_mean(values + unsupported * reward, user) for reward in reward_range)
    return Bounds(low, high)


def _status(failed: frozenset[str], estimator: Method) -> Status:
    if "ONE_USER" in failed:
        return "REFUSED"
    if estimator == "direct":
        return "MODEL_ONLY"
    if failed <= {"SUPPORT_DEFICIT"}:
        return "BOUNDED" if failed else "IDENTIFIED"
    return "REFUSED"


def _cautions(found: Mapping[str, Check], limits: Limits) -> tuple[str, ...]:
    """Codes of what passed, and not by much."""
    worth = {"HEAVY_TAIL": ("TAIL_CAUTION", limits.caution_pareto_k),
             "MODEL_SHARE_HIGH": ("MODEL_SHARE_CAUTION", limits.caution_model_share)}  # fmt: skip
    return tuple(
        caution
        for code, (caution, least) in worth.items()
        if code in found and found[code].passed and (found[code].value or 0.0) > least
    )


def _remedy(failed: frozenset[str], log_spread: float, limits: Limits) -> str:
    """What logging would mend the failures, in the order of the checks."""
    words = list(dict.fromkeys(text for code, text in MENDED_BY.items() if code in failed))
    if failed & set(SPREAD):
        # of log-normal weights the effective share is exp(-variance of the log); the log scales with 1 / T
        factor = log_spread / sqrt(-log(limits.min_effective_share))
        hotter = f", about {factor:.1f} times as high" if factor > 1.05 else ""
        few = failed & set(SPREAD) == {"ESS_LOW"}
        words.append("log more users" if few else f"log with a higher temperature{hotter}")
    return "; ".join(words)


def _needed_users(found: Mapping[str, Check], n_users: int, limits: Limits) -> int | None:
    """Users that would pass, once the remedy holds; None where nothing that is counted in users failed."""
    needed = 0.0
    for code in ("ESS_LOW", "ESS_SHARE_LOW"):
        if code in found and not found[code].passed:
            share = found["ESS_SHARE_LOW"].value or 0.0
            needed = limits.min_effective / max(share, limits.min_effective_share)
    if "USER_DOMINATES" in found and not found["USER_DOMINATES"].passed:
        needed = max(needed, n_users * (found["USER_DOMINATES"].value or 0.0) / limits.max_user_share)
    return ceil(needed) if needed else None

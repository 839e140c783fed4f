"""Broken logs, each made from a good one in one way that was met: a gate has to refuse it and say why."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np

from eval.overlap import Served
from eval.propensity import expected_log_steps
from eval.simulate.testbed import N_CANDIDATES, N_SLOTS, Logged, with_wrong_temperature
from eval.support import SPREAD, unsupported_share
from reranker.columns import FloatArray, IntArray
from reranker.exploration import log_prefix_propensity, sample_rankings

_WRONG = ("PROPENSITY_MISCALIBRATED", "MEAN_WEIGHT_LOW", "MEAN_WEIGHT_HIGH")
# what is broken, and the codes of which at least one has to be among the gate's reasons
REASONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "some propensities missing": ("PROPENSITY_MISSING",),
        "some propensities above 1": ("PROPENSITY_IMPOSSIBLE",),
        "a logger that does not draw": ("LOGGER_DETERMINISTIC",),
        "a temperature logged 20 % too high": _WRONG,
        "a temperature logged 20 % too low": _WRONG,
        "propensities raised to a floor": ("PROPENSITY_FLOORED", "MEAN_WEIGHT_LOW"),
        "a filter after the ranking": _WRONG,
        "candidates never logged, and said so": ("SUPPORT_DEFICIT",),
        "candidates never logged, and not said": ("MEAN_WEIGHT_LOW",),
        "a target far from the logger": SPREAD,
        "one user with a tenth of the requests": ("USER_DOMINATES",),
        "one user": ("ONE_USER",),
    }
)
_NEVER = 1000.0  # temperatures below the others: a score that is never drawn


@dataclass(frozen=True, eq=False)
class Slates:
    """Slates that a logger drew, and how likely it says that they were.

    Attributes:
        slate: (s,) candidate rows.
        score: (c,) that the logger says it drew by.
        temperature: that it says it drew with.
        log_prefix: (s,) as logged.
    """

    slate: IntArray
    score: FloatArray
    temperature: float
    log_prefix: FloatArray


def served(log: Logged, target_score: FloatArray, slates: Slates | None = None) -> Served:
    """What the gate is asked about: a target with scores (c,) at the logger's temperature.

    Args:
        log: the log.
        target_score: (c,) of the target.
        slates: others on the same candidates; None are those of the log.
    """
    if slates is None:
        slates = Slates(log.slate, log.score, log.temperature, log.log_prefix_propensity)
    offsets, slots = log.offsets, log.slot_offsets
    return Served(
        log_logging=slates.log_prefix,
        log_target=log_prefix_propensity(target_score, offsets, slates.slate, slots, log.temperature),
        slot_offsets=slots,
        user=log.user,
        expected_log_step=expected_log_steps(
            slates.score, offsets, slates.slate, slots, slates.temperature
        ),
    )  # fmt: skip


def broken_logs(log: Logged, target_score: FloatArray, seed: int) -> dict[str, Served]:
    """One log per name of `REASONS`, each broken in that way only.

    Args:
        log: a good log.
        target_score: (c,) of the target.
        seed: of slates that are drawn anew.
    """
    good = served(log, target_score)
    missing, above = log.log_prefix_propensity.copy(), log.log_prefix_propensity.copy()
    missing[::100], above[::100] = np.nan, 0.5
    floor = float(np.quantile(log.log_prefix_propensity, 0.05))
    n = len(log.user)
    return {
        "some propensities missing": replace(good, log_logging=missing),
        "some propensities above 1": replace(good, log_logging=above),
        "a logger that does not draw": served(log, target_score, _drawn(log, log.score, 0.0, seed)),
        "a temperature logged 20 % too high": _misjudged(log, target_score, 1.2),
        "a temperature logged 20 % too low": _misjudged(log, target_score, 0.8),
        "propensities raised to a floor": replace(
            good, log_logging=np.maximum(log.log_prefix_propensity, floor)
        ),
        **_with_candidates_left_out(log, target_score, seed),
        "a target far from the logger": served(log, -log.score),
        "one user with a tenth of the requests": replace(
            good, user=np.where(np.arange(n) < n / 10, log.user[0], log.user)
        ),
        "one user": replace(good, user=np.zeros_like(log.user)),
    }


def _drawn(log: Logged, score: FloatArray, temperature: float, seed: int) -> Slates:
    """Slates drawn by other scores, with propensities that are right."""
    keys = np.arange(len(log.user), dtype=np.uint64)
    slate, slots = sample_rankings(score, log.offsets, temperature, N_SLOTS, seed=seed, request_key=keys)
    log_prefix = log_prefix_propensity(score, log.offsets, slate, slots, temperature)
    return Slates(slate, score, temperature, log_prefix)


def _misjudged(log: Logged, target_score: FloatArray, factor: float) -> Served:
    wrong = with_wrong_temperature(log, factor).log_prefix_propensity
    return served(log, target_score, Slates(log.slate, log.score, log.temperature * factor, wrong))


def _with_candidates_left_out(log: Logged, target_score: FloatArray, seed: int) -> dict[str, Served]:
    """The most harmful candidate of each request is never served, and the logger knows it or does not."""
    harm = log.harm.reshape(-1, N_CANDIDATES)
    out = log.offsets[:-1] + harm.argmax(axis=1)
    left = log.score.copy()
    left[out] -= _NEVER * log.temperature
    drawn = _drawn(log, left, log.temperature, seed)
    as_if_all = log_prefix_propensity(
        log.score, log.offsets, drawn.slate, log.slot_offsets, log.temperature
    )  # fmt: skip
    can = np.ones(len(left), dtype=np.bool_)
    can[out] = False
    wanted = _drawn(log, target_score, log.temperature, seed + 1).slate
    honest = served(log, target_score, drawn)
    return {
        "a filter after the ranking": served(
            log, target_score, Slates(drawn.slate, log.score, log.temperature, as_if_all)
        ),
        "candidates never logged, and said so": replace(
            honest, unsupported=unsupported_share(wanted, log.slot_offsets, can)
        ),
        "candidates never logged, and not said": honest,
    }

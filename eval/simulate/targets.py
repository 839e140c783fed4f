"""What a simulated world must look like before its answers are worth reading.

Each target says whether the numbers of the file were fitted to it, were chosen so that it holds (assumed),
make it hold by arithmetic (implied: it checks the code, not the world), or were chosen without it (out of
sample). Only the last kind is evidence for the simulator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from eval.simulate.behaviour import ANGRY, OUTCOMES, SHARE
from eval.simulate.draws import generator
from eval.simulate.formula import formula_of
from eval.simulate.parameters import ACTIONS, HARMS, REACTIONS, Parameters
from eval.simulate.publishers import best_share
from eval.simulate.run import Week, WorldRun, make_world, run_weeks, step, total_actions
from reranker.columns import FloatArray
from reranker.presets import load_policy

Basis = Literal["fitted", "assumed", "implied", "out of sample"]
MSI = ("fb-2018-h1",)
BEFORE = ("fb-2017", "weights.comment=1", "weights.significant_comment=1", "weights.reshare=1")
LOVE_PER_LIKE, ANGRY_PER_LIKE = 11 / 63, 0.429 / 63  # W18
_SHARES = 41  # purpose of draws
_SCALE = 30.0  # people whose shares are counted, per simulated user


@dataclass(frozen=True)
class Target:
    """One target and what was measured.

    Attributes:
        name: short.
        title: in words.
        basis: what it is evidence of.
        source: where the target is from.
        low, high: what counts as met; -inf or inf where there is no bound.
        value: measured.
    """

    name: str
    title: str
    basis: Basis
    source: str
    low: float
    high: float
    value: float

    @property
    def met(self) -> bool:
        """Whether the value lies in the closed interval."""
        return bool(self.low <= self.value <= self.high)


@dataclass(frozen=True, eq=False)
class Observation:
    """What the targets are read from: weeks under the 2018 weights, and the launch of these.

    Attributes:
        weeks: of a settled world, 2018 weights.
        shares: (weeks,) negative share of publishers after the launch, from half.
        before: (weeks,) negative share under the weights before, from half.
        interactions: comments and shares in the first weeks after the launch, over those without it.
    """

    weeks: tuple[Week, ...]
    shares: FloatArray
    before: FloatArray
    interactions: float


def observe(
    p: Parameters, *, n_users: int, seed: int, n_weeks: int = 3, launch_weeks: int = 26
) -> Observation:
    """Worlds to read the targets from.

    `n_weeks` are read after the burn-in; publishers are followed over `launch_weeks`.
    """
    msi, before = (formula_of(load_policy(spec[0], spec[1:])) for spec in (MSI, BEFORE))
    world, state = make_world(p, n_users, seed)
    for _ in range(p.burn_in_weeks):
        state, _ = step(world, state, msi)
    read = []
    for _ in range(n_weeks):
        state, week = step(world, state, msi)
        read.append(week)
    early = replace(p, negative_share=0.5)
    world, state = make_world(early, n_users, seed)
    _, launched = run_weeks(world, state, msi, launch_weeks)
    _, stayed = run_weeks(world, state, before, launch_weeks)
    talk = [ACTIONS.index(name) for name in ("comment", "significant_comment", "reshare")]
    first = [total_actions(replace(run, outcomes=run.outcomes[:2]))[talk].sum() for run in (launched, stayed)]
    return Observation(
        weeks=tuple(read),
        shares=launched.negative_posts,
        before=stayed.negative_posts,
        interactions=float(first[0] / first[1]),
    )


def check_targets(
    p: Parameters, runs: Sequence[WorldRun], seen: Observation, *, seed: int = 0
) -> tuple[Target, ...]:
    """Every target with what was measured.

    Args:
        p: the numbers, for the analytic checks of publishers.
        runs: worlds under the 2018 weights, from which rates of actions and of harm are read.
        seen: see `observe`.
        seed: of the counts that the regression of shares is run on.
    """
    sums = dict(zip(OUTCOMES, sum(run.outcomes.sum(axis=(0, 1)) for run in runs), strict=True))
    return (
        *_reactions({name: float(sums[name] / sums["like"]) for name in REACTIONS}),
        *_near_the_line(seen.weeks, seed),
        *_prevalence({name: float(sums[name] / sums["views"]) for name in HARMS}),
        *_supply(p, seen),
    )


def _reactions(per_like: Mapping[str, float]) -> tuple[Target, ...]:
    score = 5 * per_like["angry"] / (1 + 5 * per_like["love"] + 5 * per_like["angry"])
    others = min(value for name, value in per_like.items() if name != "angry")
    return (
        Target("love", "loves per like", "fitted", "W18", *_within(LOVE_PER_LIKE, 0.03), per_like["love"]),
        Target("angry", "angry per like", "fitted", "W18", *_within(ANGRY_PER_LIKE, 0.05), per_like["angry"]),
        Target(
            "score_mass",
            "angry in the score of like, love and angry",
            "implied",
            "W18: arithmetic",
            *_within(0.01785, 0.05),
            score,
        ),
        Target(
            "angry_least",
            "angry over the rarest other reaction",
            "assumed",
            "W18",
            0.0,
            1.0,
            per_like["angry"] / others,
        ),
    )


def _near_the_line(weeks: Sequence[Week], seed: int) -> tuple[Target, ...]:
    words, words_error = word_rate_ratio(weeks, seed=seed)
    engaged, pleased = line_correlations(weeks)
    return (
        Target(
            "words",
            "1.12 shares per moral-emotional word: distance in standard errors",
            "implied",
            "C1",
            -1.96,
            1.96,
            float((np.log(words) - np.log(1.12)) / words_error),
        ),
        Target(
            "angry_on_harm",
            "angry per view on problematic posts over others",
            "assumed",
            "E1: no figure",
            5.0,
            np.inf,
            angry_rate_ratio(weeks),
        ),
        Target(
            "engagement_rises",
            "correlation of engagement and closeness to the line",
            "assumed",
            "C2",
            0.001,
            1.0,
            engaged,
        ),
        Target(
            "satisfaction_falls",
            "correlation of satisfaction and closeness to the line",
            "assumed",
            "C2",
            -1.0,
            -0.001,
            pleased,
        ),
    )


def _prevalence(harm: Mapping[str, float]) -> tuple[Target, ...]:
    return (
        Target(
            "graphic",
            "graphic violence, share of views",
            "fitted",
            "published prevalence 2020",
            0.0005,
            0.0007,
            harm["graphic_violence"],
        ),
        Target(
            "hate",
            "hate, share of views",
            "fitted",
            "published prevalence 2020",
            0.0008,
            0.0012,
            harm["hate"],
        ),
    )


def _supply(p: Parameters, seen: Observation) -> tuple[Target, ...]:
    last = len(seen.shares) - 1
    return (
        Target(
            "share_before",
            "negative share that publishers stay at before the 2018 weights",
            "fitted",
            "E22",
            0.45,
            0.55,
            float(seen.before[last]),
        ),
        Target(
            "share_after",
            "negative share after half a year of the 2018 weights",
            "fitted",
            "E22",
            0.75,
            0.85,
            float(seen.shares[last]),
        ),
        Target(
            "share_week_4",
            "negative share four weeks after their launch (closed form: .643)",
            "implied",
            "section 8.1",
            0.603,
            0.683,
            float(seen.shares[min(4, last)]),
        ),
        Target(
            "launch",
            "comments and shares after the launch over those without it",
            "out of sample",
            "E15",
            1.0 + 1e-09,
            np.inf,
            seen.interactions,
        ),
        Target(
            "half_gap",
            "negative share at half the reward gap",
            "implied",
            "closed form",
            *_within(2 / 3, 1e-06),
            float(best_share(np.array([np.log(4.0) / p.gain / 2]), p.gain, 0.0)[0]),
        ),
    )


def _within(value: float, share: float) -> tuple[float, float]:
    return value * (1 - share), value * (1 + share)


def angry_rate_ratio(weeks: Sequence[Week]) -> float:
    """Angry reactions per view of problematic posts over those per view of others.

    A post is problematic with the probability that any of its harms is there.
    """
    totals = np.zeros((2, 2))
    for week in weeks:
        harmful = 1.0 - (1.0 - week.posts.harm).prod(axis=1)
        angry = week.tally.actions[:, ANGRY]
        totals += [
            [harmful @ angry, (1 - harmful) @ angry],
            [harmful @ week.tally.views, (1 - harmful) @ week.tally.views],
        ]
    return float((totals[0, 0] / totals[1, 0]) / (totals[0, 1] / totals[1, 1]))


def line_correlations(weeks: Sequence[Week]) -> tuple[float, float]:
    """Correlations, over seen posts below the line, of closeness to it with engagement and satisfaction."""
    line = np.concatenate([week.posts.line for week in weeks])
    views = np.concatenate([week.tally.views for week in weeks])
    engaged = np.concatenate([week.tally.actions[:, :10].sum(axis=1) for week in weeks])
    pleased = np.concatenate([week.tally.satisfaction for week in weeks])
    kept = (views > 0) & (line < 1.0)
    return (
        float(np.corrcoef(line[kept], engaged[kept] / views[kept])[0, 1]),
        float(np.corrcoef(line[kept], pleased[kept] / views[kept])[0, 1]),
    )


def word_rate_ratio(weeks: Sequence[Week], *, seed: int = 0) -> tuple[float, float]:
    """Shares per view for each further moral-emotional word, and the standard error of its log.

    Counts of shares are drawn for `_SCALE` people per simulated user and regressed on words, with the log of
    what was expected of those viewers as the offset and the closeness to the line held fixed.
    """
    words = np.concatenate([week.posts.words for week in weeks])
    line = np.concatenate([week.posts.line for week in weeks])
    expected = np.concatenate([week.tally.expected[:, SHARE] for week in weeks])
    done = np.concatenate([week.tally.actions[:, SHARE] for week in weeks])
    kept = expected > 0
    count = generator(seed, _SHARES).poisson(_SCALE * done[kept]).astype(np.float64)
    design = np.stack((np.ones(int(kept.sum())), words[kept], line[kept]), axis=1)
    slope, error = poisson_regression(design, count, np.log(_SCALE * expected[kept]))
    return float(np.exp(slope[1])), float(error[1])


def poisson_regression(
    design: FloatArray, count: FloatArray, offset: FloatArray, *, n_steps: int = 50
) -> tuple[FloatArray, FloatArray]:
    """(k,) coefficients of log(mean) = offset + design @ coefficients, and robust standard errors.

    Args:
        design: (n, k) of full rank.
        count: (n,).
        offset: (n,).
        n_steps: of Newton's method at most.

    Raises:
        ValueError: no count is above 0, or the steps do not settle.

    Source: White, Maximum likelihood estimation of misspecified models, 1982, for the sandwich.
    """
    if not count.any():
        raise ValueError("count: expected some above 0")
    slope = np.zeros(design.shape[1])
    slope[0] = np.log(count.sum() / np.exp(offset).sum())
    for _ in range(n_steps):
        mean = np.exp(offset + design @ slope)
        information = (design * mean[:, None]).T @ design
        move = np.linalg.solve(information, design.T @ (count - mean))
        slope = slope + move
        if np.abs(move).max() < 1e-10:
            mean = np.exp(offset + design @ slope)
            inverse = np.linalg.inv((design * mean[:, None]).T @ design)
            residual = design * (count - mean)[:, None]
            return slope, np.sqrt(np.diag(inverse @ (residual.T @ residual) @ inverse))
    raise ValueError(f"count: expected a regression that settles, got none in {n_steps} steps")

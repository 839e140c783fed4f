"""Experiments whose users touch each other: the direct effect, the spillover, and what a launch would bring.

An experiment on users compares treated and control in the same surroundings: it reads the direct effect. A
launch treats the surroundings too. The difference, the spillover, shows only if surroundings vary, so an
assignment by communities or markets tells more than one by user, and none tells without a mapping.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.browsing import Status
from eval.clustered import LEVEL, Estimate, cluster_totals, relative_change, t_quantile
from eval.exposure_mapping import FeedShares, containment
from reranker.columns import BoolArray, FloatArray, IntArray

N_DRAWS = 1_000
_AT_ONCE = 2_000_000  # treatments of users held at once
LEAST_REACH = 0.2  # between the 5 % and 95 % quantiles of the surroundings; below, a total is extrapolation
Direction = Literal["understates", "overstates", "unclear"]


@dataclass(frozen=True)
class Interference:
    """What an experiment says if outcomes are linear in one's own treatment and that of one's surroundings.

    Attributes:
        direct: of being treated, in the same surroundings.
        spillover: of surroundings that are all treated against none.
        total: both: what a launch brings.
        naive: the plain difference of the arms, the direct effect and a part of the spillover.
        direction: "understates" where the surroundings add to what the arms show, "overstates" where they
            take from it or turn it round, "unclear" where the spillover's interval holds 0.
        exposure: (5 %, 95 %) quantiles of the surroundings that users had.
        n_units: what was randomised.
        status: MODEL_ONLY, or REFUSED where surroundings hardly differ (by less than 0.2): spillover and
            total are then extrapolated, and only the direct effect stands.
    """

    direct: Estimate
    spillover: Estimate
    total: Estimate
    naive: float
    direction: Direction
    exposure: tuple[float, float]
    n_units: int
    status: Status


def interference(
    outcome: FloatArray,
    treated: BoolArray,
    feeds: FeedShares,
    cluster: IntArray,
    *,
    before: FloatArray | None = None,
    seed: int = 0,
) -> Interference:
    """The direct effect and the spillover, with errors from drawing the assignment again.

    Least squares of the outcome on the own treatment and the exposure of `FeedShares`. The errors hold the
    users and their outcomes fixed and draw other assignments of as many clusters, 1,000 of them, so they are
    right however alike users of the same authors are. Valid if outcomes are linear in both, alike for all
    users, and nobody is touched otherwise: vary the mapping, such as authors or friends, and see
    `status_over_models`.

    Args:
        outcome: (n,) per user; of a ratio, `linearised`.
        treated: (n,) the same within a cluster.
        feeds: who reads whom, from before the experiment; users without a feed are left out.
        cluster: (n,) codes of what was randomised; `np.arange(n)` for users.
        before: (n, p) what is known of each user from before, to make errors smaller; None is nothing.
        seed: of the draws.

    Raises:
        ValueError: lengths that differ, a cluster in both arms, an arm with fewer than 2 clusters, or
            surroundings that do not vary apart from the own treatment.

    Source: Aronow and Samii, Estimating average causal effects under general interference, 2017, section 3
    (exposure mappings); Eckles, Karrer and Ugander, Design and analysis of experiments in networks, 2017;
    Borusyak and Hull, Nonrandom exposure to exogenous shocks, 2023, section 4 (draws of the assignment).
    """
    n_units, n_treated = _units(outcome, treated, cluster, feeds)
    kept = feeds.has_feed
    known = np.ones((len(outcome), 1)) if before is None else np.column_stack((np.ones(len(outcome)), before))
    basis = np.linalg.qr(known[kept])[0]
    exposed = feeds.exposure(treated)[kept]
    columns = np.column_stack((treated[kept].astype(np.float64), exposed))
    rest = columns - basis @ (basis.T @ columns)
    wanted = outcome[kept] - basis @ (basis.T @ outcome[kept])
    gram = rest.T @ rest
    if gram[1, 1] - gram[0, 1] ** 2 / gram[0, 0] <= 1e-12 * len(exposed):
        raise ValueError("exposure: expected surroundings that vary within an arm, got the same for all")
    slope = np.linalg.solve(gram, rest.T @ wanted)
    residual = np.zeros(len(outcome))
    residual[kept] = wanted - rest @ slope
    scores = _scores(residual, feeds, cluster, (n_units, n_treated), seed)
    df = float(max(n_units - 3, 1))
    bread = np.linalg.inv(gram)
    covariance = bread @ np.cov(scores.T) @ bread * n_units / df

    def of(weight: tuple[float, float]) -> Estimate:
        w = np.array(weight)
        value, error = float(w @ slope), float(np.sqrt(w @ covariance @ w))
        half = t_quantile(LEVEL, df) * error
        return Estimate(value, error, value - half, value + half, LEVEL, int(kept.sum()), n_units, df)

    direct, spillover, total = of((1.0, 0.0)), of((0.0, 1.0)), of((1.0, 1.0))
    low, high = (float(x) for x in np.quantile(exposed, (0.05, 0.95)))
    return Interference(
        direct=direct,
        spillover=spillover,
        total=total,
        naive=float(outcome[kept & treated].mean() - outcome[kept & ~treated].mean()),
        direction=_direction(direct, spillover),
        exposure=(low, high),
        n_units=n_units,
        status="MODEL_ONLY" if high - low >= LEAST_REACH else "REFUSED",
    )


def linearised(numerator: FloatArray, denominator: FloatArray, reference: BoolArray) -> FloatArray:
    """(n,) a value per user whose mean moves as the ratio of the sums does, to first order.

    Args:
        numerator: (n,) total of each user, such as views of harm.
        denominator: (n,) total of each user, such as views.
        reference: (n,) the users whose ratio it is taken around, such as the control.

    Raises:
        ValueError: no denominator among the reference.

    Source: Budylin, Drutsa, Katsev and Tsoy, Consistent transformation of ratio metrics for efficient online
    controlled experiments, 2018.
    """
    below = float(denominator[reference].sum())
    if not below > 0:
        raise ValueError("denominator: expected a sum above 0 in the reference, got 0")
    ratio = float(numerator[reference].sum()) / below
    per_user = below / int(reference.sum())
    return np.asarray(ratio + (numerator - ratio * denominator) / per_user, dtype=np.float64)


@dataclass(frozen=True)
class DesignRow:
    """What an assignment by some clusters would be worth.

    Attributes:
        name: of the clusters.
        n_clusters: what would be randomised.
        containment: see `exposure_mapping.containment`.
        by_chance: containment of clusters of these sizes that have nothing in common.
        standard_error: of the difference of two equal arms, from outcomes of before.
        smallest_effect: that is found with a power of 80 % at 5 %.
    """

    name: str
    n_clusters: int
    containment: float
    by_chance: float
    standard_error: float
    smallest_effect: float


def compare_designs(
    feeds: FeedShares, outcome: FloatArray, designs: Mapping[str, IntArray]
) -> tuple[DesignRow, ...]:
    """The trade of each design: what it contains against what it can find.

    Args:
        feeds: who reads whom.
        outcome: (n,) per user, from a quiet period of the same length.
        designs: name to (n,) clusters; `np.arange(n)` for users.

    Raises:
        ValueError: a design with fewer than 4 clusters, or lengths that differ.

    Source: Donner and Klar, Design and Analysis of Cluster Randomization Trials in Health Research, 2000,
    chapter 5.
    """
    rows = []
    for name, cluster in designs.items():
        total, size = cluster_totals((outcome, np.ones(len(outcome))), cluster)
        g = len(size)
        if g < 4:
            raise ValueError(f"design {name}: expected at least 4 clusters, got {g}")
        residual = (total - total.sum() / size.sum() * size) / size.mean()
        error = float(np.sqrt(4.0 * residual @ residual / (g - 2) / g))
        reach = t_quantile(LEVEL, g - 2) + t_quantile(0.6, g - 2)  # 80 % one-sided is 60 % two-sided
        by_chance = float(((size / size.sum()) ** 2).sum())
        held = containment(feeds, cluster)
        rows.append(DesignRow(name, g, held, by_chance if g < len(outcome) else 0.0, error, reach * error))
    return tuple(rows)


def stock_change(stock: FloatArray, after: BoolArray, control: BoolArray, user: IntArray) -> Estimate:
    """The relative change, since launch, of what others left on the posts that the control is shown.

    The treatment does not touch the control's own ranking. If the mean stock of angry reactions on its
    candidates falls at launch, and not in a quiet period before, the treatment has leaked, and the plain
    difference of the arms understates it.

    Args:
        stock: (rows,) such as the angry reactions on a candidate when it was ranked, at least 0.
        after: (rows,) whether that was after the launch.
        control: (rows,) whether the viewer was in the control.
        user: (rows,) codes of the viewers.

    Raises:
        ValueError: no control rows before or after, no stock before, or fewer than 2 users.
    """
    own, late = stock[control], after[control]
    if late.all() or not late.any():
        raise ValueError("after: expected rows of the control before and after the launch")
    old, new = ((own * side, side.astype(np.float64)) for side in (~late, late))
    return relative_change(old, new, user[control])


def _direction(direct: Estimate, spillover: Estimate) -> Direction:
    if spillover.low <= 0 <= spillover.high:
        return "unclear"
    opposed = spillover.value * direct.value < 0 and not direct.low <= 0 <= direct.high
    return "overstates" if opposed else "understates"


def _scores(
    residual: FloatArray, feeds: FeedShares, cluster: IntArray, sizes: tuple[int, int], seed: int
) -> FloatArray:
    """(draws, 2) what other assignments make of the residuals: their sums over treatment and exposure."""
    codes = np.unique(cluster, return_inverse=True)[1]
    n_units, n_treated = sizes
    drawn = np.zeros((N_DRAWS, n_units), dtype=bool)
    drawn[:, :n_treated] = True
    drawn = np.random.default_rng(seed).permuted(drawn, axis=1)
    scores, step = np.empty((N_DRAWS, 2)), max(1, _AT_ONCE // len(residual))
    for start in range(0, N_DRAWS, step):
        other = drawn[start : start + step, codes].T  # (n, draws)
        scores[start : start + step] = np.stack((residual @ other, residual @ feeds.exposure(other)), 1)
    return scores


def _units(outcome: FloatArray, treated: BoolArray, cluster: IntArray, feeds: FeedShares) -> tuple[int, int]:
    """How many clusters there are, and how many were treated."""
    n = len(feeds.has_feed)
    lengths: Sequence[int] = len(outcome), len(treated), len(cluster)
    if any(length != n for length in lengths):
        raise ValueError(f"outcome: expected {n} users as in the feeds, got {lengths}")
    if not np.isfinite(outcome).all():
        raise ValueError(f"outcome: expected finite numbers, got {outcome[~np.isfinite(outcome)][0]}")
    n_treated, size = cluster_totals((treated.astype(np.float64), np.ones(n)), cluster)
    side: BoolArray = n_treated > 0
    if (side & (n_treated < size)).any():
        raise ValueError("treated: expected one arm per cluster, got a cluster in both")
    if min(side.sum(), (~side).sum()) < 2:
        raise ValueError(
            f"clusters: expected at least 2 per arm, got {int((~side).sum())} and {int(side.sum())}"
        )
    return len(side), int(side.sum())

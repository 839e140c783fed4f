"""The side of those who post: who is shown, who makes the harm, and whether groups are treated alike.

`examination` (c,) is the chance that each candidate is seen, 0 where not shown. A demotion that lowers harm
may silence a dialect or small local news; these are the checks that it does not.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.browsing import tied_examination
from eval.clustered import LEVEL, Estimate, cluster_totals, from_cluster_influence, relative_change
from eval.harm_views import HarmViews
from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.engagement import request_sums

Codes = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class ProducerShares:
    """What falls on each producer; all (p,), by code.

    Attributes:
        exposure: share of all views of candidates whose producer is known.
        harm: share of their harmful views; NaN where there are none.
        share_unknown: share of all views of candidates without a producer.
        share_unscored: share of the views of known producers without a score of harm.
    """

    exposure: FloatArray
    harm: FloatArray
    share_unknown: float
    share_unscored: float

    @property
    def concentration(self) -> float:
        """Herfindahl-Hirschman index of the exposure: 1 for one producer, 1 / p for p equal ones."""
        return float((self.exposure**2).sum())

    def top(self, k: int = 10) -> IntArray:
        """Codes of the k producers with the most harmful views, most first, ties by code."""
        harm = np.nan_to_num(self.harm)
        order = np.argsort(-harm, kind="stable")[:k]
        return order[harm[order] > 0].astype(np.int64)


def producer_shares(
    examination: FloatArray, harm: FloatArray, producer: Codes, n_producers: int
) -> ProducerShares:
    """How views and harmful views fall on producers.

    Args:
        examination: (c,) chance that each candidate is seen.
        harm: (c,) probability of harm, NaN where not scored: left out of the harm, and counted.
        producer: (c,) codes below n_producers, -1 where unknown.
        n_producers: p.

    Raises:
        ValueError: no view of a known producer.
    """
    known, scored = producer >= 0, ~np.isnan(harm)
    seen = examination * known
    if seen.sum() <= 0:
        raise ValueError("producer: expected at least one view of a known one, got none")
    columns = (seen, np.where(known & scored, seen * np.where(scored, harm, 0.0), 0.0))
    at = np.maximum(producer, 0)
    exposure, harmful = (np.bincount(at, weights=column, minlength=n_producers) for column in columns)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = harmful / harmful.sum()
    return ProducerShares(
        exposure=exposure / exposure.sum(),
        harm=shares,
        share_unknown=float(1.0 - seen.sum() / examination.sum()),
        share_unscored=float(seen[~scored].sum() / seen.sum()),
    )


@dataclass(frozen=True, eq=False)
class ExposureLoss:
    """Squared distance of the expected from the deserved exposure, per request; all (n,).

    Attributes:
        loss: disparity - 2 * relevance + target.
        disparity: squared length of the expected exposure: how unequal it is, whoever deserves it.
        relevance: its product with the deserved one.
        target: squared length of the deserved exposure.
    """

    loss: FloatArray
    disparity: FloatArray
    relevance: FloatArray
    target: FloatArray


def expected_exposure_loss(expected: FloatArray, target: FloatArray, offsets: IntArray) -> ExposureLoss:
    """How far each request is from giving equal posts equal exposure.

    Args:
        expected: (c,) expected examination under the policy.
        target: (c,) the deserved one, of `deserved_examination`.
        offsets: (n + 1,) candidates of each request.

    Source: Diaz, Mitra, Ekstrand, Biega and Carterette, Evaluating stochastic rankings with expected
    exposure, 2020.
    """
    disparity, relevance, length = (
        request_sums(product, offsets) for product in (expected**2, expected * target, target**2)
    )
    return ExposureLoss(disparity - 2.0 * relevance + length, disparity, relevance, length)


def deserved_examination(merit: FloatArray, by_position: FloatArray, offsets: IntArray) -> FloatArray:
    """(c,) exposure under a policy that ranks by merit and breaks ties at random.

    Args:
        merit: (c,) such as grades of relevance; equal merit deserves equal exposure.
        by_position: (K,) examination of each position; 0 beyond it. Of models of the position alone.
        offsets: (n + 1,) candidates of each request.

    Raises:
        ValueError: a missing merit.
    """
    if np.isnan(merit).any():
        raise ValueError(f"merit: expected a number, got nan at row {int(np.argmax(np.isnan(merit)))}")
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((-merit, request))
    position = np.arange(len(merit)) - np.repeat(offsets[:-1], np.diff(offsets))
    padded = np.append(by_position, 0.0)
    in_order = padded[np.minimum(position, len(by_position))]
    deserved = np.empty(len(merit))
    deserved[order] = tied_examination(in_order, merit[order], offsets)
    return deserved


def random_examination(by_position: FloatArray, offsets: IntArray) -> FloatArray:
    """(c,) expected examination if the candidates stood in random order: the same for all of a request."""
    return deserved_examination(np.zeros(int(offsets[-1])), by_position, offsets)


def newest_first(created_at: NDArray[np.datetime64], offsets: IntArray) -> IntArray:
    """(c,) candidates of each request newest first, undated last, ties as they came."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    undated = np.isnat(created_at)
    age = np.where(undated, 0, -created_at.astype("datetime64[us]").astype(np.int64))
    return np.lexsort((age, undated, request)).astype(np.int64)


def amplification(
    policy: HarmViews, baseline: HarmViews, cluster: IntArray, *, level: float = LEVEL
) -> Estimate:
    """How much larger the prevalence of harm is than in another order of the same candidates, as a share.

    The baseline is `newest_first` under the same browsing model, or `random_examination`.

    Args:
        policy: what each request shows under the policy.
        baseline: what it would show in the other order.
        cluster: (n,) codes of the users.
        level: of the interval.

    Raises:
        ValueError: no harm in the baseline, or fewer than 2 users.
    """
    return relative_change(
        (baseline.harm, baseline.scored), (policy.harm, policy.scored), cluster, level=level
    )


def disparate_treatment(
    examination: FloatArray, merit: FloatArray, group: BoolArray, cluster: IntArray, *, level: float = LEVEL
) -> Estimate:
    """Exposure per merit of a group over that of all others: 1 is alike, below 1 is silenced.

    The interval is made for the logarithm, so it never goes below 0. Merit must not come from the model
    that demotes, or the group is judged by the ruler that may be wrong about it.

    Args:
        examination: (c,) chance that each candidate is seen.
        merit: (c,) what it deserves, such as its use to viewers; candidates without (NaN) are left out.
        group: (c,) True for the group, such as a dialect or small publishers.
        cluster: (c,) codes of the users who were shown it.
        level: of the interval.

    Raises:
        ValueError: a group without merit or without exposure, or fewer than 2 users.

    Source: Singh and Joachims, Fairness of exposure in rankings, 2018.
    """
    used = ~np.isnan(merit)
    sides = [
        np.where(used & side, column, 0.0)
        for side in (group, ~group)
        for column in (examination, np.where(used, merit, 0.0))
    ]
    totals = cluster_totals(tuple(sides), cluster)  # (4, G)
    sums = totals.sum(axis=1)
    if (sums <= 0).any():
        names = ("exposure of the group", "merit of the group", "exposure of others", "merit of others")
        i = int(np.argmax(sums <= 0))
        raise ValueError(f"{names[i]}: expected a sum above 0, got {sums[i]}")
    signs = np.array([1.0, -1.0, -1.0, 1.0])
    log_ratio = float(signs @ np.log(sums))
    made = from_cluster_influence(log_ratio, (signs / sums) @ totals, n=len(merit), level=level)
    ratio = float(np.exp(log_ratio))
    low, high = float(np.exp(made.low)), float(np.exp(made.high))
    return Estimate(ratio, ratio * made.standard_error, low, high, level, made.n, made.n_clusters)

"""How harm is spread over users: quantiles, tails, the share of the most exposed.

Few views per user make a crowd of equal users look unequal: with 20 views and a rate of 5 % for everyone,
7.5 % of the users look as if they saw more than 10 %. So the primary figures are of the rates behind the
counts, a beta distribution fitted by marginal likelihood; raw ones are of users with enough views.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from eval.clustered import cluster_totals
from eval.counter_random import poisson_weights
from eval.interval import N_RESAMPLES, Interval
from reranker.columns import FloatArray, IntArray

LEVEL = 0.95
FEWEST_VIEWS = 100  # of a user, for raw figures
QUANTILES = (0.5, 0.9, 0.95, 0.99)
THRESHOLDS = (0.01, 0.05, 0.1)
WIDEST, NARROWEST = np.log(1e-2), np.log(1e7)  # of alpha + beta
RESAMPLE_STEP = 1_000_003  # between the seeds of two resamples


@dataclass(frozen=True, eq=False)
class UserTotals:
    """What each user saw; all (g,).

    Attributes:
        harm: harmful views.
        views: views.
        user: code of the user, increasing.
    """

    harm: FloatArray
    views: FloatArray
    user: IntArray


def user_totals(harm: FloatArray, views: FloatArray, cluster: IntArray) -> UserTotals:
    """Totals by user from those of requests (n,); users without a view are kept, with 0."""
    harmful, seen = cluster_totals((harm, views), cluster)
    return UserTotals(harmful, seen, np.unique(cluster))


@dataclass(frozen=True)
class RateDistribution:
    """The rates of harm behind the counts of users, as a beta distribution over users.

    Attributes:
        mean: of the rates.
        concentration: alpha + beta; at its upper limit of 1e7, users are as good as equal.
        log_likelihood: of the counts, without the binomial coefficients.
        n_users: users with a view.
    """

    mean: float
    concentration: float
    log_likelihood: float
    n_users: int

    @property
    def shape(self) -> tuple[float, float]:
        """Alpha and beta."""
        return self.mean * self.concentration, (1.0 - self.mean) * self.concentration

    def share_above(self, rate: float) -> float:
        """Share of users whose rate is above a line."""
        return float(stats.beta.sf(rate, *self.shape))

    def quantile(self, share: float) -> float:
        """The rate that a share of users is below."""
        return float(stats.beta.ppf(share, *self.shape))

    def top_share(self, share: float) -> float:
        """Share of all harm that falls on the most exposed share of users, were views equal.

        The rates weighted by themselves are a beta distribution with alpha + 1.
        """
        alpha, beta = self.shape
        return float(stats.beta.sf(self.quantile(1.0 - share), alpha + 1.0, beta))


def fit_rates(totals: UserTotals) -> RateDistribution:
    """The beta distribution of rates under which the users' counts are most likely.

    Valid for counts of harmful views: each view harmful or not, apart from the others given the user's
    rate. For sums of probabilities, which vary less than counts, give `effective_totals`.

    Args:
        totals: harmful views and views of each user; users without a view are left out.

    Raises:
        ValueError: fewer than 2 users with a view, or more harm than views.

    Source: Skellam, A probability distribution derived from the binomial distribution by regarding the
    probability of success as variable between the sets of trials, 1948.
    """
    used = totals.views > 0
    harm, safe = totals.harm[used], (totals.views - totals.harm)[used]
    if len(harm) < 2:
        raise ValueError(f"users: expected at least 2 with a view, got {len(harm)}")
    if (harm < 0).any() or (safe < -1e-9 * totals.views[used]).any():
        raise ValueError("harm: expected 0 to the number of views, got more or less")
    safe = np.maximum(safe, 0.0)
    mean = float(harm.sum() / totals.views.sum())
    if mean in (0.0, 1.0):
        return RateDistribution(mean, float(np.exp(NARROWEST)), 0.0, len(harm))

    def loss(x: FloatArray) -> tuple[float, FloatArray]:
        m, size = float(special.expit(x[0])), float(np.exp(x[1]))
        a, b = m * size, (1.0 - m) * size
        value = (special.betaln(a + harm, b + safe) - special.betaln(a, b)).sum()
        both = special.digamma(a + b + harm + safe) - special.digamma(a + b)
        by_a = (special.digamma(a + harm) - special.digamma(a) - both).sum()
        by_b = (special.digamma(b + safe) - special.digamma(b) - both).sum()
        slope = np.array([(by_a - by_b) * size * m * (1.0 - m), by_a * a + by_b * b])
        return -float(value) / len(harm), -slope / len(harm)

    found = min(
        (
            optimize.minimize(
                loss,
                np.array([special.logit(mean), np.log(start)]),
                jac=True,
                method="L-BFGS-B",
                bounds=[(-20.0, 20.0), (WIDEST, NARROWEST)],
                options={"ftol": 1e-14, "gtol": 1e-10},
            )
            for start in (5.0, 500.0)
        ),
        key=lambda made: float(made.fun),
    )
    return RateDistribution(
        float(special.expit(found.x[0])), float(np.exp(found.x[1])), -float(found.fun) * len(harm), len(harm)
    )


def effective_totals(examination: FloatArray, harm: FloatArray, user: IntArray) -> UserTotals:
    """Totals of probabilities, as counts of as many sure views as would vary like them.

    A calibrated probability is less noisy than a label, so its sum is worth more views: the views are scaled
    by binomial variance over the variance of the probabilities within users, and so is the harm.

    Args:
        examination: (c,) chance that each candidate is viewed, 0 where not shown.
        harm: (c,) probability of harm; candidates without one (NaN) are left out.
        user: (c,) codes.

    Raises:
        ValueError: no scored view.
    """
    used = (examination > 0) & ~np.isnan(harm)
    if not used.any():
        raise ValueError("harm: expected at least one scored view, got none")
    weight, value = examination[used], harm[used]
    views, total, squares, weight2 = cluster_totals(
        (weight, weight * value, weight * value**2, weight**2), user[used]
    )
    free = views - weight2 / views  # what the spread around a user's own mean has lost
    spread = (squares - total**2 / views).sum() / free.sum() if free.sum() > 0 else 0.0
    mean = total.sum() / views.sum()
    factor = min(max(mean * (1.0 - mean) / spread, 1.0), 1e6) if spread > 0 else 1e6
    size = views**2 / weight2 * factor  # unequal weights are worth fewer views
    return UserTotals(total / views * size, size, np.unique(user[used]))


def raw_rates(totals: UserTotals, *, fewest: float = FEWEST_VIEWS) -> FloatArray:
    """(g',) rate of each user with enough views, for raw quantiles and tails."""
    used = totals.views >= fewest
    return np.asarray(totals.harm[used] / totals.views[used], dtype=np.float64)


def weighted_quantile(values: FloatArray, weight: FloatArray, share: float) -> float:
    """The smallest value up to which a share of the weight lies; NaN where there is none.

    Args:
        values: (g,) in rising order.
        weight: (g,) at least 0.
        share: in (0, 1].
    """
    below = np.cumsum(weight)
    if len(below) == 0 or below[-1] <= 0:
        return float("nan")
    return float(values[min(int(np.searchsorted(below, share * below[-1])), len(values) - 1)])


def top_user_share(harm: FloatArray, share: float = 0.01, weight: FloatArray | None = None) -> float:
    """Share of all harmful views that fall on the most exposed share of users; NaN where there is no harm.

    A part of a user counts in part. Noise in few views raises it; compare policies on the same users.

    Args:
        harm: (g,) harmful views of each user, users without any included.
        share: of the users.
        weight: (g,) such as a bootstrap weight; None counts each once.

    Example:
        >>> top_user_share(np.array([0.0, 1.0, 2.0, 7.0]), 0.25)
        0.7
    """
    order = np.argsort(-harm, kind="stable")
    times = np.ones(len(harm)) if weight is None else weight[order]
    reached = np.cumsum(times)
    total = float((times * harm[order]).sum())
    if total <= 0:
        return float("nan")
    line = share * reached[-1]
    inside = np.clip(line - (reached - times), 0.0, times)  # how much of each user is in the top
    return float((inside * harm[order]).sum()) / total


def user_bootstrap(
    statistic: Callable[[FloatArray], FloatArray],
    key: NDArray[np.uint64],
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
) -> tuple[Interval, ...]:
    """Percentile intervals of statistics under Poisson(1) weights of the users.

    Give both policies to one statistic to have the interval of their difference, on the same users. A weight
    depends on the seed, the user and the resample alone. Valid for many users of which none dominates;
    resamples in which a statistic is NaN are left out of its interval.

    Args:
        statistic: from weights (g,) to values (m,).
        key: (g,) of `hashing.user_keys`, one per user.
        seed: of the resampling.
        n_resamples: resamples.
        level: of the intervals.

    Raises:
        ValueError: fewer than 2 users, or a statistic that is NaN in every resample.

    Source: Chamandy, Muralidharan, Najmi and Naidu, Estimating uncertainty for massive data streams, 2012.
    """
    if len(key) < 2:
        raise ValueError(f"users: expected at least 2, got {len(key)}")
    made = []
    for resample in range(n_resamples):  # one at a time: all weights of all users need not be held
        own_seed = (seed + resample * RESAMPLE_STEP) % 2**63
        made.append(statistic(poisson_weights(key, 1, seed=own_seed)[:, 0]))
    values = np.asarray(made, dtype=np.float64)  # (resamples, m)
    return tuple(_percentile(column[~np.isnan(column)], level) for column in values.T)


def _percentile(values: FloatArray, level: float) -> Interval:
    if len(values) < 2:
        raise ValueError("statistic: expected a value in at least 2 resamples, got NaN")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high), float(values.std(ddof=1)))

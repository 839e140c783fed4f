"""Is a part of a post's reactions or comments larger than its publisher's habit, beyond how posts differ?

A count of a part is beta-binomial: posts differ by themselves, and a test that forgets this finds a brigade
in every lively thread. How far they differ is fitted on the posts, those that stand out left aside.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from eval.kernel import compiled
from eval.multiplicity import benjamini_hochberg
from reranker.columns import BoolArray, FloatArray, IntArray

PRIOR = 50.0  # units of all posts' habit that a publisher without history starts from
MOST = 100.0  # units of one post that count towards a habit
FEWEST_POSTS = 20
ASIDE = 0.05  # of the posts, at most, that may be made without hiding each other
MOST_FITTED = 4_000
_STANDS_OUT, _ROUNDS = 0.1, 5
_LEAST, _LARGEST = 1e-6, 0.9


@dataclass(frozen=True, eq=False)
class Excess:
    """Each post's part against the habit of the others.

    Attributes:
        share: (n,) part over whole; NaN where not tested.
        habit: (n,) what share is expected of it.
        p: (n,) chance of at least this part under the habit; NaN where not tested.
        spread: correlation of two units of one post, beyond the habit: 0 where posts do not differ.
        n_tested: posts.
    """

    share: FloatArray
    habit: FloatArray
    p: FloatArray
    spread: float
    n_tested: int


def excess(
    part: FloatArray, whole: FloatArray, *, group: IntArray | None = None, at_least: float = 20.0
) -> Excess:
    """One-sided beta-binomial tests of posts against the others of their group.

    The habit of a group is drawn to that of all posts with the weight of 50 units, each post counting as 100
    at most, less what its units share, and never for itself; that it is estimated is in the p-value. Valid
    where posts without a brigade differ as a beta distribution does; the p-value of a count is that of it or
    more, so it is a little too large for few units. Where posts differ as widely as news does in anger, only
    an extreme share is an excess.

    Args:
        part: (n,) whole numbers from 0 to the whole.
        whole: (n,) whole numbers; NaN in either is not tested.
        group: (n,) integer codes of publishers; None takes all posts for one.
        at_least: units that a post needs to be tested.

    Raises:
        ValueError: numbers that are not whole or out of range, or fewer than 20 posts to test.

    Source: Williams, The analysis of binary responses from toxicological experiments involving reproduction
    and teratogenicity, 1975 (beta-binomial); the habit is that of `reranker.anger`.
    """
    known = ~(np.isnan(part) | np.isnan(whole))
    k, n = np.where(known, part, 0.0), np.where(known, whole, 0.0)
    wrong = (k < 0) | (k > n) | (k != np.floor(k)) | (n != np.floor(n))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(
            f"part: expected a whole number from 0 to the whole, got {k[row]:g} of {n[row]:g} at row {row}"
        )
    tested = known & (n >= max(at_least, 1))
    if tested.sum() < FEWEST_POSTS:
        raise ValueError(
            f"posts: expected at least {FEWEST_POSTS} with {at_least:g} or more to know a habit from, "
            f"got {int(tested.sum())}"
        )
    code = np.zeros(len(k), dtype=np.int64) if group is None else np.unique(group, return_inverse=True)[1]
    p, habit, spread = np.full(len(k), np.nan), np.full(len(k), np.nan), 0.05
    used = tested.copy()
    for _ in range(_ROUNDS):
        expected, units = _habits(k, n, code, used, spread)
        habit[tested] = expected[tested]
        spread = _spread(k[tested], n[tested], habit[tested])
        p[tested] = _tails(k[tested], n[tested], habit[tested], spread + (1 - spread) / (units[tested] + 1))
        standing = np.zeros(len(k), dtype=bool)
        standing[tested] = benjamini_hochberg(p[tested]) > _STANDS_OUT
        if (standing == used).all() or standing.sum() < FEWEST_POSTS:
            break
        used = standing
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(tested, k / n, np.nan)
    return Excess(share, habit, p, spread, int(tested.sum()))


def all_of(*p: FloatArray) -> FloatArray:
    """(n,) p-value of "each of these is an excess": the largest; NaN where one was not tested.

    Source: Berger, Multiparameter hypothesis testing and acceptance sampling, 1982 (intersection-union).
    """
    found: FloatArray = np.max(np.stack(p), axis=0)
    return found


def any_of(*p: FloatArray) -> FloatArray:
    """(n,) p-value of "one of these is an excess": the least tested, times their number; NaN if none was."""
    table = np.stack(p)
    n_tested = (~np.isnan(table)).sum(axis=0)
    least = np.where(np.isnan(table), 1.0, table).min(axis=0)
    found: FloatArray = np.where(n_tested > 0, np.minimum(1.0, least * n_tested), np.nan)
    return found


def _habits(
    k: FloatArray, n: FloatArray, code: IntArray, used: BoolArray, spread: float
) -> tuple[FloatArray, FloatArray]:
    """(n,) share expected of each post, and how many independent units that rests on.

    From the other used posts of its group and of all; units of one post are partly repeats.
    """
    size = np.minimum(n, MOST)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = np.where(used & (n > 0), size / (1 + (size - 1) * spread) / n, 0.0)
    own_k, own_n = k * weight, n * weight
    n_groups = int(code.max()) + 1
    all_n = own_n.sum() + 1.0 - own_n
    of_all = (own_k.sum() + 0.5 - own_k) / all_n
    if n_groups == 1:
        return np.clip(of_all, _LEAST, 1 - _LEAST), all_n
    group_k, group_n = (np.bincount(code, own, n_groups)[code] - own for own in (own_k, own_n))
    habit = (PRIOR * of_all + group_k) / (PRIOR + group_n)
    return np.clip(habit, _LEAST, 1 - _LEAST), PRIOR + group_n


def _spread(k: FloatArray, n: FloatArray, habit: FloatArray) -> float:
    """The most likely intra-post correlation, of the twentieth that exceed most only that they do.

    One brigade among three hundred posts would otherwise make itself look usual. Large posts are thinned to
    100 units and long files to 4,000 posts, neither of which moves what is estimated.
    """
    rng = np.random.default_rng(0)
    if len(k) > MOST_FITTED:
        chosen = np.sort(rng.permutation(len(k))[:MOST_FITTED])
        k, n, habit = k[chosen], n[chosen], habit[chosen]
    size = np.minimum(n, MOST).astype(np.int64)
    few = rng.hypergeometric(k.astype(np.int64), (n - k).astype(np.int64), size).astype(np.float64)
    units, scale = size.astype(np.float64), np.sqrt(habit * (1 - habit))
    reach = float(np.quantile((few / units - habit) / scale, 1 - ASIDE))
    cap = np.maximum(np.ceil(units * (habit + reach * scale)), np.floor(units * habit) + 1)

    def loss(logit: float) -> float:
        spread = 1 / (1 + np.exp(-logit))
        of_all = (1 - spread) / spread
        return -_censored_likelihood(few, units, habit * of_all, (1 - habit) * of_all, cap)

    ends = float(np.log(_LEAST / (1 - _LEAST))), float(np.log(_LARGEST / (1 - _LARGEST)))
    found = optimize.minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-4})
    return float(1 / (1 + np.exp(-found.x)))


def _tails(k: FloatArray, n: FloatArray, habit: FloatArray, spread: FloatArray) -> FloatArray:
    size = (1 - spread) / spread
    found: FloatArray = _beta_binomial_tails(k, n, habit * size, (1 - habit) * size)
    return found


@compiled
def _log_chance(k: float, n: float, a: float, b: float) -> float:
    """Log of the beta-binomial chance of k of n."""
    return (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + math.lgamma(k + a)
        + math.lgamma(n - k + b)
        - math.lgamma(n + a + b)
        + math.lgamma(a + b)
        - math.lgamma(a)
        - math.lgamma(b)
    )


@compiled
def _tail(k: float, n: float, a: float, b: float) -> float:
    """P(K >= k)."""
    term = math.exp(_log_chance(k, n, a, b))
    total = term
    while k < n:
        term *= (n - k) * (k + a) / ((k + 1) * (n - k - 1 + b))
        total += term
        k += 1
        if term < 1e-15 * total:
            break
    return min(total, 1.0)


@compiled
def _censored_likelihood(
    k: FloatArray, n: FloatArray, a: FloatArray, b: FloatArray, cap: FloatArray
) -> float:
    """Log likelihood of counts, of those from a cap on only that they reach it."""
    total = 0.0
    for i in range(len(k)):
        if k[i] < cap[i]:
            total += _log_chance(k[i], n[i], a[i], b[i])
        else:
            total += math.log(max(_tail(cap[i], n[i], a[i], b[i]), 1e-300))
    return total


@compiled
def _beta_binomial_tails(k: FloatArray, n: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """(n,) P(K >= k) of each row; 1 where k is at most its mean, as no excess is there."""
    out = np.ones(len(k))
    for i in range(len(k)):
        if k[i] > n[i] * a[i] / (a[i] + b[i]):
            out[i] = _tail(k[i], n[i], a[i], b[i])
    return out

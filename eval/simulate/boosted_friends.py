"""Boosted friends (E9): some people are put before friends drawn at random; do the pairs keep talking after?

A dyadic encouragement design with a known truth. Each boosted person has friends; a random half of them is
shown more of the person's posts for some weeks. What a pair says to each other after the boost has ended is
counted. Pairs that are close talk more and see more of each other, so that to compare those who saw more with
those who saw less is misleading; to compare those drawn with those not drawn is not. Pairs share persons
and friends: intervals are clustered both ways. The effect is that of one pair's boost while others are
boosted too; what a feed without any boost would be is another question.
"""

from dataclasses import dataclass

import numpy as np

from eval.clustered import LEVEL, Estimate, t_quantile
from eval.simulate.draws import generator
from eval.two_way import two_way_standard_error
from reranker.columns import BoolArray, FloatArray, IntArray

_FRIENDS = 72  # purpose of draws
_HERMITE = 60


@dataclass(frozen=True)
class Boost:
    """The design and, with it, the truth. All assumed.

    Attributes:
        n_people: boosted persons; n_friends: that each has; n_viewers: people these friends are drawn from.
        seen: posts of the person that a friend of middling closeness sees while nothing is boosted.
        lift: how many times that where the person is boosted.
        talk: messages of a pair of middling closeness in the weeks after.
        habit: relative rise of these per post seen; 0 is the null.
        person_sd, viewer_sd, pair_sd: of the log of closeness.
        closeness_seen: log of what is seen, per log of closeness.
    """

    n_people: int = 400
    n_friends: int = 20
    n_viewers: int = 2_000
    seen: float = 3.0
    lift: float = 2.5
    talk: float = 0.8
    habit: float = 0.03
    person_sd: float = 0.4
    viewer_sd: float = 0.4
    pair_sd: float = 0.8
    closeness_seen: float = 0.5

    def __post_init__(self) -> None:
        if self.n_people < 2 or self.n_friends < 2 or self.n_friends > self.n_viewers:
            raise ValueError(
                "boost: expected at least 2 people with at least 2 friends each, drawn from as many viewers, "
                f"got {self.n_people}, {self.n_friends} and {self.n_viewers}"
            )
        if self.lift <= 1:
            raise ValueError(f"lift: expected more than 1, or nobody is encouraged, got {self.lift}")

    @property
    def variance(self) -> float:
        """Of the log of closeness."""
        return self.person_sd**2 + self.viewer_sd**2 + self.pair_sd**2


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of a boosted person and a friend, one row each.

    Attributes:
        person, viewer: (n,) codes.
        boosted: (n,) the friend was drawn.
        seen: (n,) posts of the person that the friend saw during the boost.
        talk: (n,) messages between them in the weeks after it.
    """

    person: IntArray
    viewer: IntArray
    boosted: BoolArray
    seen: FloatArray
    talk: FloatArray


def draw_pairs(boost: Boost, seed: int) -> Pairs:
    """One experiment: half of each person's friends boosted, then the weeks after."""
    rng = generator(seed, _FRIENDS)
    p, f = boost.n_people, boost.n_friends
    person = np.repeat(np.arange(p), f)
    viewer = np.argsort(rng.random((p, boost.n_viewers)), axis=1)[:, :f].ravel()
    boosted = (np.argsort(rng.random((p, f)), axis=1) < f // 2).ravel()
    closeness = (
        boost.person_sd * rng.standard_normal(p)[person]
        + boost.viewer_sd * rng.standard_normal(boost.n_viewers)[viewer]
        + boost.pair_sd * rng.standard_normal(p * f)
    )
    mean = boost.seen * np.exp(boost.closeness_seen * closeness) * np.where(boosted, boost.lift, 1.0)
    seen = rng.poisson(mean).astype(np.float64)
    talk = rng.poisson(boost.talk * np.exp(closeness) * (1.0 + boost.habit * seen)).astype(np.float64)
    return Pairs(person, viewer, boosted, seen, talk)


@dataclass(frozen=True)
class Friendship:
    """What the experiment asks.

    Attributes:
        talking: more pairs that talk at all after it, where boosted; a difference of shares.
        messages: more messages after it, relative.
        per_post: further messages per post that the boost showed (the encouragement as an instrument).
    """

    talking: float
    messages: float
    per_post: float


def truth_of(boost: Boost) -> Friendship:
    """The expected answers over persons, friends and pairs.

    Closeness is log-normal with variance v: E[closeness seen] / E[closeness] = exp(c^2 v / 2 + c v), and per
    post E[closeness seen] / E[seen] = exp(v / 2 + c v). The share that talks is one integral over closeness,
    the posts seen being Poisson: E exp(-t (1 + h S)) = exp(-t + m (exp(-t h) - 1)).
    """
    v, c = boost.variance, boost.closeness_seen
    mean = boost.seen * np.exp(c * c * v / 2 + c * v)
    levels = [1.0 + boost.habit * mean * lift for lift in (1.0, boost.lift)]
    nodes, weights = np.polynomial.hermite_e.hermegauss(_HERMITE)
    close = np.sqrt(v) * nodes
    rate = boost.talk * np.exp(close)
    silent = [
        float(
            (
                weights
                * np.exp(-rate + boost.seen * lift * np.exp(c * close) * np.expm1(-rate * boost.habit))
            ).sum()
            / weights.sum()
        )
        for lift in (1.0, boost.lift)
    ]
    return Friendship(
        talking=silent[0] - silent[1],
        messages=float(levels[1] / levels[0] - 1.0),
        per_post=float(boost.talk * boost.habit * np.exp(v / 2 + c * v)),
    )


@dataclass(frozen=True)
class Answers:
    """Estimates with intervals clustered by person and by friend, and the misleading comparison.

    `naive` is `messages` between pairs that saw more than the median and those that saw less.
    """

    talking: Estimate
    messages: Estimate
    per_post: Estimate
    naive: Estimate


def estimate(pairs: Pairs) -> Answers:
    """What the experiment says.

    The draw is by person, half of the friends of each; intervals are from influence values of ratios of
    means, clustered by person and by friend.

    Raises:
        ValueError: nobody was boosted, or everybody, or those boosted saw no more.
    """
    drawn = pairs.boosted.astype(np.float64)
    if not 0 < drawn.mean() < 1:
        raise ValueError(f"boosted: expected some pairs and not all, got {drawn.mean():.0%}")
    more = _difference(pairs.seen, drawn)
    if more[0] <= 0:
        raise ValueError(f"seen: expected more where boosted, got {more[0]:.3g} fewer: nobody was encouraged")
    later = _difference(pairs.talk, drawn)
    ratio = later[0] / more[0]
    high = (pairs.seen > np.median(pairs.seen)).astype(np.float64)
    return Answers(
        talking=_clustered(*_difference((pairs.talk > 0).astype(np.float64), drawn), pairs),
        messages=_clustered(*_relative(pairs.talk, drawn), pairs),
        per_post=_clustered(ratio, (later[1] - ratio * more[1]) / more[0], pairs),
        naive=_clustered(*_relative(pairs.talk, high), pairs),
    )


def _means(
    values: FloatArray, drawn: FloatArray
) -> tuple[tuple[float, FloatArray], tuple[float, FloatArray]]:
    """Mean and (n,) influence of those not drawn, then of those drawn."""
    found = []
    for chosen in (1.0 - drawn, drawn):
        mean = float((values * chosen).sum() / chosen.sum())
        found.append((mean, chosen * (values - mean) / chosen.mean()))
    return found[0], found[1]


def _difference(values: FloatArray, drawn: FloatArray) -> tuple[float, FloatArray]:
    (low, low_influence), (high, high_influence) = _means(values, drawn)
    return high - low, high_influence - low_influence


def _relative(values: FloatArray, drawn: FloatArray) -> tuple[float, FloatArray]:
    (low, low_influence), (high, high_influence) = _means(values, drawn)
    if low <= 0:
        raise ValueError("talk: expected some messages between pairs that were not boosted, got none")
    return high / low - 1.0, (high_influence - high / low * low_influence) / low


def _clustered(value: float, influence: FloatArray, pairs: Pairs) -> Estimate:
    error = two_way_standard_error(influence, pairs.person, pairs.viewer)
    n_clusters = min(len(np.unique(pairs.person)), len(np.unique(pairs.viewer)))
    half = t_quantile(LEVEL, n_clusters - 1) * error
    return Estimate(value, error, value - half, value + half, LEVEL, len(influence), n_clusters)

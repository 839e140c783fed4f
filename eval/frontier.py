"""The frontier: less harm for how much activity, over a space of policies, and one policy to take.

Policies are searched on half the users and confirmed on the others, against the original policy on the same
requests. This is level L0: what would sit where on the logged candidates, and what those posts had gathered;
what people would then do is not in the data and is not claimed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from eval.exposure import browsing, measure_exposure, position_weights
from eval.frontier_choice import Limit, choose, on_front, shortfall
from eval.frontier_halves import Changes, Half, changes_of, simultaneous, split_users
from eval.frontier_measures import HARM, Measures, check_shown
from eval.frontier_policies import Replay, replay_of
from eval.frontier_search import search
from eval.frontier_simpler import put_back, simplest
from eval.frontier_space import Space, felt_by
from eval.interval import N_RESAMPLES
from eval.provenance import PolicyFacts, clusters_of, feed_digest, policy_facts
from reranker.anger import AngerBaseline
from reranker.columns import FloatArray
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import Policy
from reranker.ranking import Ranking
from reranker.value import Harms

Kind = str
TOLD_DIGITS = 9  # of what the sampler hears, so that the order of a sum cannot turn the search


@dataclass(frozen=True)
class Plan:
    """How a frontier is searched.

    Attributes:
        n_trials: policies that the sampler tries.
        seed: of the split of the users, the resamples and the sampler.
        shown: the browsing model, as `eval.exposure.browsing` reads it.
        n_resamples: of the users, for every interval.
    """

    n_trials: int = 200
    seed: int = 0
    shown: str = "10%"
    n_resamples: int = N_RESAMPLES


@dataclass(frozen=True)
class Figure:
    """A relative change with its 95% interval over users and standard error."""

    value: float
    low: float
    high: float
    standard_error: float


Figures = Mapping[str, Figure]


@dataclass(frozen=True)
class Point:
    """One policy.

    Attributes:
        number: in the order in which they were tried.
        kind: "base", "search", or "simpler" for one with settings put back to the base's.
        values: of the space's settings that are not as in the base.
        digest: of the policy.
        train: changes among the users that policies were chosen on, by statistic.
        held_out: among the others; None where it was not asked.
        holds: whether every limit holds on train.
        on_front: whether no policy tried has less harm and more activity on train.
        band: held-out ends that hold for harm and activity of the whole front at once: harm low and high,
            activity low and high; None off the front.
    """

    number: int
    kind: Kind
    values: Mapping[str, float]
    digest: str
    train: Figures
    held_out: Figures | None = None
    holds: bool = False
    on_front: bool = False
    band: tuple[float, float, float, float] | None = None

    def shrinkage(self, statistic: str) -> float:
        """What of the estimate on train the held-out users do not show: held-out minus train."""
        assert self.held_out is not None
        return self.held_out[statistic].value - self.train[statistic].value


@dataclass(frozen=True)
class Frontier:
    """What a search found.

    Attributes:
        original, base: the policies.
        space: what was searched.
        plan, measures, limits: what was asked.
        points: every policy tried, the base first.
        recommended: the one with the least harm on train within the limits.
        simpler: the one with the fewest settings of its own within one standard error of it.
        policy: the recommended policy.
        confirmed: whether the held-out users show less harm and every limit held.
        failures: why it is not confirmed.
        own_ruler: harms that the classifier measured which demotes.
        n_users: in the train half and in the other.
        cluster: what was resampled, "users" or "requests".
    """

    original: PolicyFacts
    base: PolicyFacts
    space: Space
    plan: Plan
    measures: Measures
    limits: tuple[Limit, ...]
    points: tuple[Point, ...]
    recommended: Point
    simpler: Point
    policy: Policy
    confirmed: bool
    failures: tuple[str, ...]
    own_ruler: tuple[str, ...]
    n_users: tuple[int, int]
    cluster: str
    n_requests: int
    n_candidates: int
    data_digest: str

    @property
    def front(self) -> tuple[Point, ...]:
        """The front, least harm first."""
        return tuple(sorted((p for p in self.points if p.on_front), key=lambda p: p.train[HARM].value))

    @property
    def base_point(self) -> Point:
        """The base of the space, unchanged."""
        return self.points[0]


@dataclass(eq=False)
class _Bench:
    """A feed ready to measure policies on, and what was measured so far."""

    replay: Replay
    space: Space
    measures: Measures
    limits: tuple[Limit, ...]
    original: FloatArray  # (r, M)
    train: Half
    held_out: Half
    kinds: list[Kind] = field(default_factory=list)
    values: list[Mapping[str, float]] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)
    figures: list[dict[str, Figure]] = field(default_factory=list)

    def changes(self, policies: Sequence[Policy], half: Half) -> Changes:
        """(P, S) changes of the statistics among the users of a half."""
        treated = self.replay.measure(policies, half.requests)
        return changes_of(half, self.original[half.requests], treated).weighted(self.measures.mixes)

    def add(self, points: Sequence[Mapping[str, float]], kind: Kind) -> slice:
        """Measure points of the space on train; where they stand in the lists."""
        start = len(self.policies)
        policies = [self.space.policy(values) for values in points]
        self.figures += figures_of(self.changes(policies, self.train), self.measures.statistics)
        self.policies += policies
        self.values += points
        self.kinds += [kind] * len(points)
        return slice(start, len(self.policies))

    def column(self, statistic: str, part: str = "value", at: slice = slice(None)) -> FloatArray:
        """(P,) one part of a figure of every policy measured."""
        return np.array([getattr(figures[statistic], part) for figures in self.figures[at]])

    def lows(self, at: slice = slice(None)) -> FloatArray:
        """(P, Q) lower bounds of what must not be lost."""
        return np.column_stack([self.column(limit.name, "low", at) for limit in self.limits])


def figures_of(changes: Changes, statistics: Sequence[str]) -> list[dict[str, Figure]]:
    """The changes of each policy by the name of the statistic."""
    low, high = changes.interval()
    table = np.stack([changes.value, low, high, changes.standard_error], axis=2)
    return [
        {name: Figure(*row) for name, row in zip(statistics, rows, strict=True)} for rows in table.tolist()
    ]


def find_frontier(
    feed: Feed,
    harms: Harms | None,
    original: Policy,
    space: Space,
    measures: Measures,
    *,
    limits: Sequence[Limit],
    plan: Plan,
    on_done: Callable[[int], None] | None = None,
) -> Frontier:
    """Search a space of policies for the front of harm against activity, and one policy within limits.

    Args:
        feed: the candidates.
        harms: estimates made before, which every policy reads.
        original: what the changes are from.
        space: what is searched, around its base.
        measures: what counts as harm and as activity.
        limits: what may be lost of it; the lower end of each 95% interval must be above minus the margin.
        plan: how it is searched.
        on_done: called with the number of policies measured so far.

    Raises:
        ValueError: too few users, an outcome that is never shown, a space or a base that cannot be searched,
            or limits that no policy holds.
    """
    baseline = AngerBaseline.fit(feed)
    first, base = (Reranker(policy, baseline=baseline).rank(feed, harms) for policy in (original, space.base))
    replay = replay_of(base, measures.outcomes, browsing(plan.shown))
    space = felt_by(space, feed, harms, replay.signals)
    before, of_base = (exposures(ranking, measures, plan.shown) for ranking in (first, base))
    requests = np.arange(feed.n_requests)
    again = replay.measure([space.base], requests)[0]
    assert np.allclose(again, of_base, rtol=0, atol=1e-9, equal_nan=True), (
        "the fast path differs from Reranker"
    )
    train, held_out = split_users(feed, seed=plan.seed, n_resamples=plan.n_resamples)
    for half in (train, held_out):
        check_shown(measures, before[half.requests], original.name)
    bench = _Bench(replay, space, measures, tuple(limits), before, train, held_out)
    bench.add([{}], "base")

    def measure(points: Sequence[Mapping[str, float]]) -> tuple[FloatArray, FloatArray, FloatArray]:
        at = bench.add(points, "search")
        if on_done is not None:
            on_done(len(bench.policies))
        told = bench.column(HARM, at=at), bench.column(measures.activity, at=at)
        excess = shortfall(bench.lows(at), bench.limits)
        harm, activity, over = (np.round(one, TOLD_DIGITS) for one in (*told, excess))
        return harm, activity, over

    search(space, measure, n_trials=plan.n_trials, seed=plan.seed)
    best, simpler = _choose(bench)
    points = _points(bench, best, simpler)
    failures = _failures(points[best], bench)
    return Frontier(
        original=policy_facts(first),
        base=policy_facts(base),
        space=space,
        plan=plan,
        measures=measures,
        limits=bench.limits,
        points=points,
        recommended=points[best],
        simpler=points[simpler],
        policy=bench.policies[best],
        confirmed=not failures,
        failures=failures,
        own_ruler=_own_ruler(measures, base, space),
        n_users=(train.n_users, held_out.n_users),
        cluster=clusters_of(feed)[1],
        n_requests=feed.n_requests,
        n_candidates=feed.n,
        data_digest=feed_digest(feed),
    )


def exposures(ranking: Ranking, measures: Measures, shown: str) -> FloatArray:
    """(r, M) what each request of a ranking shows of each outcome, by the harness."""
    feed, model = ranking.feed, browsing(shown)
    weights = position_weights(model, ranking.position, feed.request_of_row, feed.offsets)
    return np.column_stack([measure_exposure(ranking, weights, o.values).mean for o in measures.outcomes])


def _choose(bench: _Bench) -> tuple[int, int]:
    """Where the best and the simplest policy within its standard error stand in the lists."""

    def measure(points: Sequence[Mapping[str, float]]) -> tuple[FloatArray, FloatArray]:
        at = bench.add(points, "simpler")
        return bench.column(HARM, at=at), shortfall(bench.lows(at), bench.limits).max(axis=1)

    start = bench.space.of_base()
    put_back(bench.values[choose(bench.column(HARM), bench.lows(), bench.limits)], start, measure)
    harm, lows = bench.column(HARM), bench.lows()
    best = choose(harm, lows, bench.limits)  # again: a rule put back may have been one too many
    within = harm <= harm[best] + bench.figures[best][HARM].standard_error
    holds = np.all(shortfall(lows, bench.limits) < 0, axis=1)
    return best, simplest(bench.values, harm, within & holds, start)


def _points(bench: _Bench, best: int, simpler: int) -> tuple[Point, ...]:
    """Every policy measured; those of the front, the base and the two chosen on held-out users too."""
    harm, activity = bench.column(HARM), bench.column(bench.measures.activity)
    front = on_front(harm, activity)
    holds = np.all(shortfall(bench.lows(), bench.limits) < 0, axis=1)
    asked = sorted({*np.flatnonzero(front).tolist(), 0, best, simpler})
    changes = bench.changes([bench.policies[i] for i in asked], bench.held_out)
    held_out = dict(zip(asked, figures_of(changes, bench.measures.statistics), strict=True))
    rows = [asked.index(i) for i in np.flatnonzero(front).tolist()]
    columns = [bench.measures.statistics.index(name) for name in (HARM, bench.measures.activity)]
    cut = np.ix_(rows, columns)
    low, high = simultaneous(
        changes.value[cut].ravel(), changes.draws[:, cut[0], cut[1]].reshape(len(changes.draws), -1)
    )
    ends = np.stack([low, high], axis=1).reshape(len(rows), 4).tolist()
    bands = {asked[row]: (a, b, c, d) for row, (a, b, c, d) in zip(rows, ends, strict=True)}
    return tuple(
        Point(
            number=i,
            kind=bench.kinds[i],
            values=bench.values[i],
            digest=policy.digest,
            train=bench.figures[i],
            held_out=held_out.get(i),
            holds=bool(holds[i]),
            on_front=bool(front[i]),
            band=bands.get(i),
        )
        for i, policy in enumerate(bench.policies)
    )


def _failures(point: Point, bench: _Bench) -> tuple[str, ...]:
    """Why the held-out users do not confirm a policy."""
    assert point.held_out is not None
    found = []
    if not point.held_out[HARM].high < 0:
        found.append("less harm is not shown on the users who did not choose it")
    for limit in bench.limits:
        low = point.held_out[limit.name].low
        if not low > -limit.margin:
            found.append(f"{limit} is not held there: the loss may be {-100 * low:.2f}%")
    return tuple(found)


def _own_ruler(measures: Measures, base: Ranking, space: Space) -> tuple[str, ...]:
    """Harms that are measured by the very estimates, ratings or reactions that demote."""
    widest = space.widest
    reads = set() if base.harms is None else set(widest.used_labels())
    reads |= {"low_quality"} if "low_quality_news" in reads else set()
    reads |= {"angry_share"} if widest.anger is not None or widest.value.angry_share else set()
    return tuple(name for name in measures.harm if name in reads)

"""The long run of every policy: where publishers who adapt settle, how fast, and what that hinges on.

Every figure is MODEL_ONLY at level L3: one figure, the share of 80 % under the 2018 weights, was put in by
calibration; all others follow from it and from assumptions, and are evidence of nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.simulate.alternatives import ALTERNATIVES, Alternative
from eval.simulate.asked_policies import BEFORE, CALIBRATED, Asked, with_needed
from eval.simulate.boosted_friends import Answers, Boost, Friendship, draw_pairs, estimate, truth_of
from eval.simulate.equilibrium import (
    GRID,
    Path,
    Point,
    Response,
    calibrate,
    check_shares,
    first_week,
    fixed_points,
    jackknife,
    settle,
    with_gain,
)
from eval.simulate.market import Market
from eval.simulate.pools import draw_pools
from eval.simulate.posting_loop import Loop, run_loop
from eval.simulate.reach import Reach, left_out, measure_reach, people_views
from eval.simulate.two_parties import Game, Rivalry, calibrate_pair, measure_rivalry, play
from reranker.presets import load_policy

_FRESH = 1_000_003  # from the seed of the pools to that of others
WITHIN = 0.05  # of the share before, to be back
COARSE = (0.05, 0.25, 0.5, 0.75, 0.95)
SMALL, SMALL_PAIRED = 150, 75  # requests of each other assumption
PAIRED = 150  # requests of the games of two parties
FEWEST = 50  # requests, for posts of both tones in each pool


@dataclass(frozen=True, eq=False)
class Row:
    """The answer for one policy.

    Attributes:
        spec, title, digest: of it.
        reach: what it gives negative and other posts.
        share: of negative posts of a party at rest, all pages adapting; error: of it, from the draw of the
            pools alone.
        alone: of a party whose rivals do not adapt; game: of two parties.
        points: every equilibrium of all pages.
        path: from the calibrated state, in the weeks after a switch to this policy.
        half_weeks: until half of the way back to the share before is gone; back_weeks: until within 5 points
            of it; None where that is in none of the weeks.
        negative_views: share of the views of pages that are of negative posts, at rest.
        loop: of people's posts.
        others: share under each alternative, in the order of `LongRun.alternatives`; None where that
            alternative cannot be fitted, or where nothing settles.
        speeds: half_weeks at half, and at twice the adaptation rate.
    """

    spec: str
    title: str
    digest: str
    reach: Reach
    share: float
    error: float
    alone: float
    game: Game
    points: tuple[Point, ...]
    path: Path
    half_weeks: int | None
    back_weeks: int | None
    negative_views: float
    loop: Loop
    others: tuple[float | None, ...]
    speeds: tuple[int | None, int | None]

    def status(self, before: float) -> str:
        """Whether the share before is reached: "back", "beyond", "part of the way" or "stays"."""
        if abs(self.share - before) <= WITHIN:
            return "back"
        if self.share < before:
            return "beyond"
        return "part of the way" if self.half_weeks is not None else "stays"

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and highest share over the assumptions, this one's included."""
        known = [self.share, self.game.settled, *(other for other in self.others if other is not None)]
        return min(known), max(known)


@dataclass(frozen=True, eq=False)
class Fitted:
    """The responses of publishers that the one figure was put into.

    Attributes:
        before: the policy before.
        many, alone: of a party among pages that adapt, and among pages that do not.
        pair: (gain, leaning) of two parties.
    """

    before: str
    many: Response
    alone: Response
    pair: tuple[float, float]


@dataclass(frozen=True, eq=False)
class LongRun:
    """Everything that the page says.

    Attributes:
        market: the numbers.
        fitted: the responses.
        rows: by policy.
        alternatives: other assumptions; unfit: why one cannot be fitted, by name.
        check: share under the 2018 weights in pools of another seed, with the response fitted here.
        boost: the design of boosted friends; truth, answers, null: with and without a lasting effect.
        n_requests, n_weeks, seed: sizes.
    """

    market: Market
    fitted: Fitted
    rows: tuple[Row, ...]
    alternatives: tuple[Alternative, ...]
    unfit: dict[str, str]
    check: float
    boost: Boost
    truth: Friendship
    answers: Answers
    null: Answers
    n_requests: int
    n_weeks: int
    seed: int

    def row(self, spec: str) -> Row:
        """The row of a policy."""
        return next(row for row in self.rows if row.spec == spec)


def run_long(
    market: Market,
    asked: Sequence[Asked],
    *,
    before: str = BEFORE,
    n_requests: int = 500,
    n_weeks: int = 52,
    seed: int = 0,
    on_done: Callable[[str], None] = lambda _: None,
) -> LongRun:
    """The long run of every policy asked for.

    Args:
        market: the numbers.
        asked: the policies; those of the calibration are added where they are not among them.
        before: the policy in force before the 2018 weights, an assumption.
        n_requests: of the pools.
        n_weeks: of the paths.
        seed: of the pools and of the experiment.
        on_done: called with what was done, in words.

    Raises:
        ValueError: the calibration is impossible, nothing settles, or a size is too small.
        PolicyError: the policy before does not exist.
    """
    if n_weeks < 1:
        raise ValueError(f"weeks: expected at least 1, got {n_weeks}")
    if n_requests < FEWEST:
        raise ValueError(f"requests: expected at least {FEWEST}, got {n_requests}")
    asked = with_needed(asked, (CALIBRATED, before))
    check_shares((market.share_before, market.share_after))
    pools = draw_pools(market, n_requests=n_requests, seed=seed)
    ends = {
        one.spec: measure_reach(pools, one.policy, one.spec)
        for one in asked
        if one.spec in (CALIBRATED, before)
    }
    _fit(market, ends[before], ends[CALIBRATED])  # where that is impossible, nothing else need be ranked
    people = people_views(ends[before], market.share_before)
    run_loop(market, before, people, people)
    on_done("ranking")
    reaches = {one.spec: measure_reach(pools, one.policy, one.spec) for one in asked}
    on_done("two parties")
    rivalries = _rivalries(market, asked, min(PAIRED, n_requests), seed)
    fitted = _fitted(market, before, reaches, rivalries)
    study = _Study(market, tuple(asked), fitted, reaches, (n_requests, n_weeks), seed)
    others, unfit = study.other_assumptions(on_done)
    on_done("boosted friends")
    boost = Boost()
    again = measure_reach(
        draw_pools(market, n_requests=n_requests, seed=seed + _FRESH), load_policy(CALIBRATED), CALIBRATED
    )
    return LongRun(
        market=market,
        fitted=fitted,
        rows=tuple(
            study.row(one, rivalries[one.spec], tuple(found.get(one.spec) for found in others))
            for one in study.asked
        ),
        alternatives=ALTERNATIVES,
        unfit=unfit,
        check=settle(fitted.many, again.gap_at(GRID), market.share_after, 1).settled,
        boost=boost,
        truth=truth_of(boost),
        answers=estimate(draw_pairs(boost, seed)),
        null=estimate(draw_pairs(replace(boost, habit=0.0), seed)),
        n_requests=n_requests,
        n_weeks=n_weeks,
        seed=seed,
    )


def _fit(market: Market, before: Reach, after: Reach) -> tuple[Response, Response]:
    """The responses of many and of one alone."""
    shares, rate = (market.share_before, market.share_after), market.adaptation_rate
    many = calibrate(before, after, shares, kind="many", rate=rate, spread=market.spread)
    alone = calibrate(before, after, shares, kind="alone", rate=rate, spread=0.0)
    return many, alone


def _fitted(
    market: Market, before: str, reaches: Mapping[str, Reach], rivalries: Mapping[str, Rivalry]
) -> Fitted:
    many, alone = _fit(market, reaches[before], reaches[CALIBRATED])
    shares = market.share_before, market.share_after
    ends = reaches[before], reaches[CALIBRATED]
    return Fitted(before, many, alone, calibrate_pair(rivalries[before], rivalries[CALIBRATED], shares, ends))


def _rivalries(market: Market, asked: Sequence[Asked], n_requests: int, seed: int) -> dict[str, Rivalry]:
    pools = draw_pools(market, n_requests=n_requests, seed=seed + 1)
    return {one.spec: measure_rivalry(pools, one.policy, one.spec) for one in asked}


@dataclass(frozen=True, eq=False)
class _Study:
    """What every row of the answer is computed from; `sizes` are requests and weeks."""

    market: Market
    asked: tuple[Asked, ...]
    fitted: Fitted
    reaches: Mapping[str, Reach]
    sizes: tuple[int, int]
    seed: int

    @property
    def shares(self) -> tuple[float, float]:
        return self.market.share_before, self.market.share_after

    def row(self, one: Asked, rivalry: Rivalry, others: tuple[float | None, ...]) -> Row:
        many, reach = self.fitted.many, self.reaches[one.spec]
        (first, start), before = self.shares, self.reaches[self.fitted.before]
        gap, weeks, half = reach.gap_at(GRID), self.sizes[1], 0.5 * sum(self.shares)
        path = settle(many, gap, start, weeks)
        slow, fast = (
            settle(replace(many, rate=min(factor * many.rate, 1.0)), gap, start, weeks).party
            for factor in (0.5, 2.0)
        )
        share = path.settled_share
        return Row(
            spec=one.spec,
            title=one.title,
            digest=one.policy.digest,
            reach=reach,
            share=path.settled,
            error=self._error(reach),
            alone=settle(self.fitted.alone, gap, start, weeks).settled,
            game=play(rivalry, self.fitted.pair, many.rate, self.shares, weeks),
            points=fixed_points(many, gap),
            path=path,
            half_weeks=first_week(path.party, half),
            back_weeks=first_week(path.party, first + WITHIN),
            negative_views=reach.negative_views_at(share),
            loop=run_loop(self.market, one.spec, people_views(reach, share), people_views(before, first)),
            others=others,
            speeds=(first_week(slow, half), first_week(fast, half)),
        )

    def _error(self, reach: Reach) -> float:
        """Of the share at rest, from the draw of the pools: each batch left out, and fitted anew."""
        many, found = self.fitted.many, []
        for batch in range(len(reach.batches)):
            ends = (self.reaches[self.fitted.before], self.reaches[CALIBRATED])
            one, first, second = (left_out(each, batch) for each in (reach, *ends))
            response = calibrate(first, second, self.shares, kind="many", rate=many.rate, spread=many.spread)
            found.append(settle(response, one.gap_at(GRID), self.shares[1], 1).settled)
        return jackknife(np.array(found))

    def other_assumptions(
        self, on_done: Callable[[str], None]
    ) -> tuple[list[Mapping[str, float | None]], dict[str, str]]:
        """By alternative, the share under each policy; and why an alternative has none."""
        found: list[Mapping[str, float | None]] = []
        unfit: dict[str, str] = {}
        same = self._coarse(self.market)
        for other in ALTERNATIVES:
            on_done(other.title)
            own = other.market(self.market)
            try:
                found.append(self._pair(own) if other.kind == "pair" else self._settled(other, own, same))
            except ValueError as error:
                unfit[other.name] = str(error)
                found.append({})
        return found, unfit

    def _coarse(self, market: Market) -> dict[str, Reach]:
        pools = draw_pools(market, n_requests=min(SMALL, self.sizes[0]), seed=self.seed + 2)
        return {one.spec: measure_reach(pools, one.policy, one.spec, COARSE) for one in self.asked}

    def _settled(
        self, other: Alternative, market: Market, same: Mapping[str, Reach]
    ) -> Mapping[str, float | None]:
        reaches = self._coarse(market) if other.kind == "pools" else same
        first = reaches[self.fitted.before]
        if other.before is not None:
            pools = draw_pools(market, n_requests=min(SMALL, self.sizes[0]), seed=self.seed + 2)
            spec, settings = other.before
            first = measure_reach(pools, load_policy(spec, settings), other.title, COARSE)
        many, alone = _fit(market, first, reaches[CALIBRATED])
        response = alone if other.alone else with_gain(many, other.gain, market.share_before)
        return {spec: _rest(response, reach, self.shares[1]) for spec, reach in reaches.items()}

    def _pair(self, market: Market) -> Mapping[str, float | None]:
        rivalries = _rivalries(market, self.asked, min(SMALL_PAIRED, self.sizes[0]), self.seed)
        pair = _fitted(market, self.fitted.before, self.reaches, rivalries).pair
        rate = market.adaptation_rate
        return {spec: play(one, pair, rate, self.shares, 1).settled for spec, one in rivalries.items()}


def _rest(response: Response, reach: Reach, start: float) -> float | None:
    try:
        return settle(response, reach.gap_at(GRID), start, 1).settled
    except ValueError:
        return None

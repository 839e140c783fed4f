"""The long run as sentences and as JSON: what was put in, what follows, and what hangs on assumptions."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from eval.clustered import Estimate
from eval.simulate.asked_policies import CALIBRATED
from eval.simulate.equilibrium import LEANINGS
from eval.simulate.long_run import WITHIN, LongRun, Row
from eval.simulate.publishers import adapt, best_share
from eval.simulate.study import LEVEL, STATUS, plain
from eval.simulate.two_parties import CURVE, Game
from reranker.writing import atomic

DOCUMENTED_BEFORE = "fb-2017"
TOLERANCE = 0.02  # of the calibrated share in other pools


@dataclass(frozen=True)
class Check:
    """A figure with what it should be, and how it came to be so.

    `basis` is "fitted" (put in), "implied" (arithmetic on what was put in), or "fresh" (the fitted response
    in pools that it was not fitted on). None is "out of sample": no further figure is published.
    """

    title: str
    basis: str
    value: float
    expected: float
    tolerance: float

    @property
    def met(self) -> bool:
        """Whether it is within its tolerance."""
        return abs(self.value - self.expected) <= self.tolerance


def checks_of(found: LongRun) -> tuple[Check, ...]:
    """The target of the calibration, the closed forms, and the same policy in other pools."""
    first, second = found.market.share_before, found.market.share_after
    before = found.row(found.fitted.before)
    after = found.row(CALIBRATED)
    half, quarter = (float(best_share(np.array([part * np.log(4.0)]), 1.0, 0.0)[0]) for part in (0.5, 0.25))
    share, path = np.array([0.5]), []
    for _ in range(26):
        share = adapt(share, np.array([0.8]), 0.15)
        path.append(float(share[0]))
    weekly = [
        Check(f"week {week} at 15% a week from 50% to 80%", "implied", path[week - 1], expected, 6e-4)
        for week, expected in ((4, 0.643), (13, 0.764), (26, 0.796))
    ]
    return (
        Check(f"share under {CALIBRATED}", "fitted", after.share, second, 1e-3),
        Check(f"share under {found.fitted.before}", "fitted", before.share, first, 1e-3),
        Check(f"two parties under {CALIBRATED}", "fitted", after.game.settled, second, 1e-3),
        Check(f"share under {CALIBRATED} in other pools", "fresh", found.check, second, TOLERANCE),
        Check("half of the reward gap", "implied", half, 2 / 3, 5e-4),
        Check("a quarter of it", "implied", quarter, 0.586, 5e-4),
        *weekly,
    )


def sentences(found: LongRun) -> tuple[tuple[str, str], ...]:
    """(tone, sentence): what brings the share back, what does not, the two parties, the loop, the boost."""
    return tuple(_sentences(found))


def _sentences(found: LongRun) -> Iterator[tuple[str, str]]:
    first = found.market.share_before
    there = [row for row in found.rows if row.spec not in (CALIBRATED, found.fitted.before)]
    by_status: dict[str, list[Row]] = {}
    for row in there:
        by_status.setdefault(row.status(first), []).append(row)
    back = by_status.get("back", [])
    yield (
        "better" if back else "open",
        f"Back to within {100 * WITHIN:.0f} points of {_percent(first)}: {_listed(back, found.n_weeks)}.",
    )
    if by_status.get("beyond"):
        yield "better", f"Below that: {_listed(by_status['beyond'], found.n_weeks)}."
    if by_status.get("part of the way"):
        yield "open", f"Part of the way: {_listed(by_status['part of the way'], found.n_weeks)}."
    stays = by_status.get("stays", [])
    if stays:
        low, high = min(stays, key=lambda row: row.share), max(stays, key=lambda row: row.share)
        yield (
            "worse",
            f"{len(stays)} of {len(found.rows)} policies leave a party less than half of the way back: from "
            f"{_percent(low.share)} ({low.spec}) to {_percent(high.share)} ({high.spec}).",
        )
    yield from _pair_sentences(found.row(CALIBRATED).game, first)
    loops = [row.loop for row in found.rows]
    high_loop = max(loops, key=lambda loop: loop.gain)
    text = f"The loop of comments and posts gains most, {high_loop.gain:.2f}, under {high_loop.policy}; "
    if high_loop.gain < 1:
        yield (
            "open",
            text + f"it would run away from {high_loop.runaway_at:.2f} further posts per comment on.",
        )
    else:
        yield "worse", text + "it runs away until attention is short."
    for row in there:
        if row.spec == DOCUMENTED_BEFORE and row.share >= found.market.share_after:
            yield (
                "warning",
                f"{row.spec}, with its assumed weight of comments, rewards negative posts at least as much "
                f"as {CALIBRATED} here, so that it cannot be the feed before.",
            )
    missed = [check.title for check in checks_of(found) if not check.met]
    if missed:
        yield "warning", f"Checks that are missed: {'; '.join(missed)}."
    if found.unfit:
        yield "warning", f"Assumptions under which nothing can be fitted: {', '.join(sorted(found.unfit))}."


def _pair_sentences(game: Game, first: float) -> Iterator[tuple[str, str]]:
    stable = [point for point in game.points if point.stable]
    places = "; ".join(" and ".join(_percent(share) for share in point.shares) for point in stable)
    number = "one stable equilibrium" if len(stable) == 1 else f"{len(stable)} stable equilibria"
    yield (
        "open",
        f"Two parties under {CALIBRATED} have {number} ({places}). Where one returns to {_percent(first)} "
        f"alone, the other stays at {_percent(game.rival_alone)}.",
    )


def _listed(rows: list[Row], weeks: int) -> str:
    if not rows:
        return "none of the other policies"
    return ", ".join(
        f"{row.spec} ({_percent(row.share)}, {in_weeks(row.half_weeks, weeks)} to half of the way)"
        for row in rows
    )


def in_weeks(week: int | None, horizon: int) -> str:
    """A number of weeks in words.

    Example:
        >>> in_weeks(5, 52), in_weeks(None, 52)
        ('5 weeks', 'not in 52 weeks')
    """
    return f"not in {horizon} weeks" if week is None else f"{week} week{'' if week == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def long_run_json(found: LongRun) -> str:
    """The long run as JSON with sorted keys; the same inputs give the same bytes."""
    content = {
        "schema": 1,
        "status": STATUS,
        "level": LEVEL,
        "market": {"name": found.market.name, "digest": found.market.digest, "marks": found.market.marks},
        "sizes": {"n_requests": found.n_requests, "n_weeks": found.n_weeks, "seed": found.seed},
        "calibration": {
            "before": found.fitted.before,
            "after": CALIBRATED,
            "share_before": found.market.share_before,
            "share_after": found.market.share_after,
            "many": asdict(found.fitted.many),
            "alone": asdict(found.fitted.alone),
            "two_parties": {"gain": found.fitted.pair[0], "leaning": found.fitted.pair[1]},
            "publishers_leanings": LEANINGS.tolist(),
        },
        "checks": [asdict(check) | {"met": check.met} for check in checks_of(found)],
        "policies": [_row(found, row) for row in found.rows],
        "unfit": found.unfit,
        "boosted_friends": {
            "design": asdict(found.boost),
            "truth": asdict(found.truth),
            "estimates": _answers(found.answers.__dict__),
            "without_effect": _answers(found.null.__dict__),
        },
        "findings": [{"tone": tone, "text": text} for tone, text in sentences(found)],
    }
    return json.dumps(plain(content), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _answers(estimates: dict[str, Estimate]) -> dict[str, object]:
    return {name: asdict(one) for name, one in estimates.items()}


def _row(found: LongRun, row: Row) -> dict[str, object]:
    low, high = row.range
    return {
        "policy": row.spec,
        "title": row.title,
        "digest": row.digest,
        "reach": {
            "shares": row.reach.shares.tolist(),
            "views_per_negative_post": row.reach.negative.tolist(),
            "views_per_other_post": row.reach.other.tolist(),
            "reward_gap": row.reach.gap.tolist(),
        },
        "equilibrium_share": row.share,
        "standard_error_of_the_pools": row.error,
        "range_over_assumptions": [low, high],
        "by_assumption": {
            other.name: share for other, share in zip(found.alternatives, row.others, strict=True)
        },
        "share_where_others_do_not_adapt": row.alone,
        "equilibria": [asdict(point) for point in row.points],
        "status": row.status(found.market.share_before),
        "weeks_to_half_of_the_way_back": row.half_weeks,
        "weeks_to_within_5_points": row.back_weeks,
        "weeks_to_half_at_half_and_twice_the_rate": row.speeds,
        "path": row.path.party.tolist(),
        "negative_share_of_views": row.negative_views,
        "two_parties": {
            "share": row.game.settled,
            "equilibria": [asdict(point) for point in row.game.points],
            "path": row.game.path.tolist(),
            "held": CURVE.tolist(),
            "answer_to_a_held_rival": row.game.curve.tolist(),
            "slope_of_the_answer": row.game.answer,
            "rival_of_one_that_returns": row.game.rival_alone,
            "relative_reach_of_one_that_returns": row.game.cost_alone,
        },
        "loop": asdict(row.loop),
    }


def write_long_run(found: LongRun, page: str, directory: str | Path) -> tuple[Path, Path]:
    """Write publishers.json and publishers.html into a directory, which is made where there is none."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / "publishers.json", folder / "publishers.html"
    for path, text in zip(files, (long_run_json(found), page), strict=True):
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return files

"""The gate for each country or device: raw effects call the alarms, shrunk ones tell the sizes.

A true fall in one small country is shrunk away, so the raw effects decide. Too little data is grey, which
does not pass; segments of very few users are named and not judged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.clustered import Estimate, relative_change
from eval.launch_checks import Check, Checked, Family, State, judged
from eval.launch_plan import LaunchPlan
from eval.logged_parts import MIN_USERS
from eval.multiplicity import benjamini_hochberg, p_below
from eval.segments import segments_of
from eval.shrinkage import SCREEN_Q, Colour, guard, random_effects
from reranker.columns import BoolArray, IntArray
from reranker.feed import Feed

COLOURS: dict[State, Colour] = {"pass": "green", "fail": "red", "inconclusive": "grey"}


@dataclass(frozen=True)
class SegmentCheck:
    """One figure of one segment at full strength, under the main browsing model.

    Attributes:
        dimension, segment: whose.
        family, name, margin: what is checked, and against what.
        effect: the relative change.
        shrunk, shrunk_low, shrunk_high: drawn towards the other segments; None where there is but one.
        screened: whether it is for the worse by the screen over all figures and segments (BH, q of 10 %).
        colour: red does not pass, nor does grey, which is too little data.
    """

    dimension: str
    segment: str
    family: Family
    name: str
    margin: float
    effect: Estimate
    shrunk: float | None
    shrunk_low: float | None
    shrunk_high: float | None
    screened: bool
    colour: Colour


@dataclass(frozen=True)
class SegmentChecks:
    """The checks of all segments, and the segments that were not judged.

    Attributes:
        checks: by dimension, figure and segment.
        not_judged: segments with fewer than 100 users, and how many more the largest twelve leave out.
        empty: dimensions of which no segment could be judged.
    """

    checks: tuple[SegmentCheck, ...] = ()
    not_judged: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why a policy does not pass, one line for each dimension and segment."""
        lines = [f"{name}: expected a segment of at least {MIN_USERS} users, got none" for name in self.empty]
        for dimension, segment in dict.fromkeys((one.dimension, one.segment) for one in self.checks):
            own = [one for one in self.checks if (one.dimension, one.segment) == (dimension, segment)]
            for colour, said in (
                ("red", "worse than its margin allows"),
                ("grey", "too little data to tell"),
            ):
                names = [f"{one.family} {one.name}" for one in own if one.colour == colour]
                if names:
                    lines.append(f"{dimension} {segment}: {', '.join(names)}: {said}")
        return tuple(lines)


def segment_checks(feed: Feed, checked: Checked, cluster: IntArray, plan: LaunchPlan) -> SegmentChecks:
    """Harm, activity and topics of each segment that the plan tells apart.

    Args:
        feed: the requests.
        checked: at full strength.
        cluster: (r,) codes of the users.
        plan: the dimensions.

    Raises:
        ValueError: the feed does not hold a dimension.
    """
    made: list[SegmentCheck] = []
    left: list[str] = []
    for dimension in plan.by:
        parts, n_more = segments_of(feed, dimension)
        if not parts:
            raise ValueError(f"by: expected the feed to hold {dimension}, got no value of it")
        some = feed.offsets[:-1][np.diff(feed.offsets) > 0]
        requests: dict[str, BoolArray] = {}
        for part in parts:
            held = np.zeros(feed.n_requests, dtype=bool)
            held[np.diff(feed.offsets) > 0] = part.rows[some]
            if len(np.unique(cluster[held])) < MIN_USERS:
                left.append(f"{dimension} {part.name or 'unknown'}")
            else:
                requests[part.name or "unknown"] = held
        left += [f"{n_more} more of {dimension}"] if n_more else []
        made += _of_dimension(dimension, requests, checked, cluster)
    empty = tuple(name for name in plan.by if not any(one.dimension == name for one in made))
    return SegmentChecks(_screened(made), tuple(left), empty)


def _of_dimension(
    dimension: str, requests: dict[str, BoolArray], checked: Checked, cluster: IntArray
) -> list[SegmentCheck]:
    """Each figure of each segment, not yet coloured."""
    made = []
    for (family, name), (first, second) in checked.columns.items():
        margin = next(c.margin for c in checked.checks if (c.family, c.name) == (family, name))
        for segment, held in requests.items():
            if not first[0][held].sum() > 0:
                continue
            effect = relative_change(
                (first[0][held], first[1][held]), (second[0][held], second[1][held]), cluster[held]
            )
            made.append(
                SegmentCheck(
                    dimension, segment, family, name, margin, effect, None, None, None, False, "grey"
                )
            )
    return made


def _screened(made: Sequence[SegmentCheck]) -> tuple[SegmentCheck, ...]:
    """Coloured: the screen is over all figures and segments, the shrinkage over those of one figure."""
    if not made:
        return ()
    p = np.array([p_below(_good(one)) for one in made])
    screened = benjamini_hochberg(p) <= SCREEN_Q
    found = list(made)
    for key in dict.fromkeys((one.dimension, one.family, one.name) for one in made):
        at = [i for i, one in enumerate(made) if (one.dimension, one.family, one.name) == key]
        moving = [i for i in at if made[i].effect.standard_error > 0]
        for i in set(at) - set(moving):  # alike for all: nothing to shrink
            held = _good(made[i]).value > -made[i].margin
            found[i] = replace(made[i], screened=bool(screened[i]), colour="green" if held else "red")
        _colour(found, moving, screened)
    return tuple(found)


def _colour(found: list[SegmentCheck], at: Sequence[int], screened: BoolArray) -> None:
    """Colour the figures at some places, which are of one kind; a single one is judged as any check is."""
    if len(at) < 2:
        for i in at:
            one = found[i]
            state = judged(Check(one.family, one.name, 1.0, "", one.margin), (one.effect,)).state
            found[i] = replace(one, screened=bool(screened[i]), colour=COLOURS[state])
        return
    effect = np.array([_good(found[i]).value for i in at])
    drawn = random_effects(effect, np.array([found[i].effect.standard_error for i in at]))
    told = guard(drawn, found[at[0]].margin, screened=screened[list(at)])
    for place, i in enumerate(at):
        sign = -1.0 if found[i].family == "harm" else 1.0
        low, high = sorted((sign * float(drawn.low[place]), sign * float(drawn.high[place])))
        found[i] = replace(
            found[i],
            shrunk=sign * float(drawn.shrunk[place]),
            shrunk_low=low,
            shrunk_high=high,
            screened=bool(screened[i]),
            colour=told.colour[place],
        )


def _good(one: SegmentCheck) -> Estimate:
    """The effect in the direction of good."""
    end = one.effect
    if one.family != "harm":
        return end
    return replace(end, value=-end.value, low=-end.high, high=-end.low)

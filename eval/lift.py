"""Which harms come with which reactions: how much likelier a harm is where a reaction has a high share.

A lift says what goes together, not what a reaction says about a post: anger at an injustice is anger too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from eval.clustered import LEVEL, Estimate, relative_change
from eval.multiplicity import benjamini_hochberg
from reranker.columns import BoolArray, FloatArray, IntArray

MIN_REACTIONS = 10.0  # of a post, for its shares to say anything
TOP_SHARE = 0.1  # of the posts: those with the highest share of a reaction
FEWEST_HIGH, FEWEST_UNITS = 30, 10
Q = 0.05  # false discoveries among the lifts that are called real


@dataclass(frozen=True)
class Lift:
    """P(harm | high share of the reaction) over P(harm), among posts with enough reactions.

    Attributes:
        reaction, harm: names.
        n, n_high, n_units: posts, those with a high share, and publishers.
        above: the share from which on it counts as high, exclusive unless it is the largest.
        base, high: mean probability of harm among all, and among those.
        lift: high over base; None where refused.
        p_adjusted: two-sided, by Benjamini and Hochberg over all lifts of the table.
        refused: why there is none, or "".
    """

    reaction: str
    harm: str
    n: int
    n_high: int
    n_units: int
    above: float | None = None
    base: float | None = None
    high: float | None = None
    lift: Estimate | None = None
    p_adjusted: float | None = None
    refused: str = ""

    @property
    def direction(self) -> str:
        """What the table as a whole lets one say of it."""
        if self.lift is None or self.p_adjusted is None:
            return "refused"
        if self.p_adjusted > Q:
            return "not measurable"
        return "over-represented" if self.lift.value > 1 else "under-represented"


def reaction_lifts(
    reactions: Mapping[str, FloatArray],
    harms: Mapping[str, FloatArray],
    unit: IntArray,
    *,
    min_reactions: float = MIN_REACTIONS,
    top_share: float = TOP_SHARE,
    level: float = LEVEL,
) -> tuple[Lift, ...]:
    """The lift of each reaction on each harm.

    A high share is one above the (1 - top_share) quantile of the posts with enough reactions, so a share of 0
    is never high; where the quantile is the largest share, those at it are high. The quantile is
    taken as given: its own error is not in the intervals, which are by unit. For rows of a log, one per view,
    reactions are what the viewer did and `min_reactions` is 1: the lift is then among views with a reaction.

    Args:
        reactions: by name (n,) at least 0, NaN where not measured.
        harms: by name (n,) probabilities or known truth in [0, 1], NaN where not scored.
        unit: (n,) integer codes of publishers, authors or users.
        min_reactions: posts with fewer are left out.
        top_share: in (0, 1).
        level: of the intervals.

    Raises:
        ValueError: lengths that differ, counts below 0, or harms outside [0, 1].
    """
    for name, values in (*reactions.items(), *harms.items()):
        if values.shape != unit.shape:
            raise ValueError(f"{name}: expected shape {unit.shape}, got {values.shape}")
        if (values < 0).any() or (name in harms and (values > 1).any()):
            bounds = "[0, 1]" if name in harms else "at least 0"
            raise ValueError(f"{name}: expected numbers of {bounds}, got others")
    total = np.sum([np.nan_to_num(values) for values in reactions.values()], axis=0)
    enough = total >= max(min_reactions, 1e-300)
    found = []
    for reaction, counts in reactions.items():
        measured = enough & ~np.isnan(counts)
        share = np.where(measured, counts / np.where(enough, total, 1.0), np.nan)
        above = float(np.quantile(share[measured], 1 - top_share)) if measured.any() else None
        high = _high(share, above)
        for harm, p in harms.items():
            among = measured & ~np.isnan(p)
            one = Lift(
                reaction,
                harm,
                int(among.sum()),
                int((high & among).sum()),
                len(np.unique(unit[among])),
                above,
            )
            found.append(_lift(one, p[among], high[among], unit[among], level))
    return _adjusted(found)


def _high(share: FloatArray, above: float | None) -> BoolArray:
    """(n,) shares above the quantile; those at it where it is the largest, as of people who react once."""
    if above is None:
        return np.zeros(len(share), dtype=bool)
    high: BoolArray = share > above
    return high if high.any() or above == 0 else share >= above


def _lift(one: Lift, p: FloatArray, high: BoolArray, unit: IntArray, level: float) -> Lift:
    n_units = len(np.unique(unit[high]))
    if one.n_high < FEWEST_HIGH or n_units < FEWEST_UNITS:
        return replace(
            one,
            refused=f"{one.n_high} posts of {n_units} publishers have a high share; "
            f"{FEWEST_HIGH} of {FEWEST_UNITS} are needed",
        )
    if not p.sum() > 0:
        return replace(one, base=0.0, refused="no post has this harm")
    if not p[high].sum() > 0:  # an interval from no spread at all would be a point
        return replace(one, base=float(p.mean()), high=0.0, refused="no post with a high share has this harm")
    flag = high.astype(np.float64)
    change = relative_change((p, np.ones(len(p))), (p * flag, flag), unit, level=level)
    lift = replace(change, value=1 + change.value, low=max(0.0, 1 + change.low), high=1 + change.high)
    return replace(one, base=float(p.mean()), high=float(p[high].mean()), lift=lift)


def _adjusted(found: list[Lift]) -> tuple[Lift, ...]:
    told = [i for i, one in enumerate(found) if one.lift is not None]
    if not told:
        return tuple(found)
    p = benjamini_hochberg(np.array([_p(found[i].lift) for i in told]))
    made = list(found)
    for i, value in zip(told, p.tolist(), strict=True):
        made[i] = replace(found[i], p_adjusted=value)
    return tuple(made)


def _p(lift: Estimate | None) -> float:
    """Two-sided p of a lift of 1."""
    assert lift is not None
    if lift.standard_error == 0:
        return 1.0 if lift.value == 1 else 0.0
    return float(2 * special.stdtr(lift.degrees_of_freedom, -abs(lift.value - 1) / lift.standard_error))

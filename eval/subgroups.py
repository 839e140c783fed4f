"""Whether a classifier errs more on some people's posts than on others', with intervals or not at all.

A group with few harmful posts gives a figure that means nothing; it is "insufficient", which is neither
good nor bad, and stays out of the means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.classification import auroc
from eval.clustered import LEVEL, Estimate, clustered_ratio, clustered_ratio_change
from eval.judged import Judged
from reranker.columns import BoolArray, FloatArray

MIN_OF_EACH = 100
POWER = -5.0


@dataclass(frozen=True)
class GroupFigures:
    """What a classifier does with one group's posts; None throughout where "insufficient".

    Attributes:
        name: the group.
        status: "insufficient" where the group or the rest has too few harmful or harmless posts.
        n_harmful: posts of the group.
        n_harmless: posts of the group.
        subgroup: AUROC within the group.
        bpsn: AUROC of harmful posts of the others against harmless ones of the group; low where the group's
            harmless posts are taken for harm.
        bnsp: AUROC of harmful posts of the group against harmless ones of the others; low where harm to or
            from the group is missed.
        fpr_gap: share of its harmless posts at or above the threshold, less that of the others.
        fnr_gap: share of its harmful posts below the threshold, less that of the others.
    """

    name: str
    status: Literal["measured", "insufficient"]
    n_harmful: int
    n_harmless: int
    subgroup: Estimate | None = None
    bpsn: Estimate | None = None
    bnsp: Estimate | None = None
    fpr_gap: Estimate | None = None
    fnr_gap: Estimate | None = None


def group_figures(
    table: Judged,
    groups: Mapping[str, BoolArray],
    threshold: float,
    *,
    min_of_each: int = MIN_OF_EACH,
    level: float = LEVEL,
) -> tuple[GroupFigures, ...]:
    """The figures of each group against all posts outside it.

    Args:
        table: the posts.
        groups: (n,) members by name; a post may be in several.
        threshold: posts at or above it are flagged.
        min_of_each: harmful and harmless posts that a group, and the rest, must have.
        level: of the intervals.

    Raises:
        ValueError: a group of another length, or all sufficient posts in one cluster.

    Source: Borkan, Dixon, Sorensen, Thain and Vasserman, Nuanced metrics for measuring unintended bias with
    real data for text classification, 2019, sections 3 and 4.
    """
    made = []
    for name, member in groups.items():
        if member.shape != (table.n,):
            raise ValueError(f"{name}: expected shape ({table.n},), got {member.shape}")
        made.append(_figures(table, (name, member), threshold, (min_of_each, level)))
    return tuple(made)


def _figures(
    table: Judged, group: tuple[str, BoolArray], threshold: float, rule: tuple[int, float]
) -> GroupFigures:
    (name, member), (min_of_each, level) = group, rule
    harmful, harmless = table.present, ~table.present
    counts = [int((kind & side).sum()) for side in (member, ~member) for kind in (harmful, harmless)]
    if min(counts) < min_of_each:
        return GroupFigures(name, "insufficient", counts[0], counts[1])
    flagged = table.p >= threshold
    return GroupFigures(
        name,
        "measured",
        counts[0],
        counts[1],
        auroc(table.where(member), level=level),
        auroc(table.where(harmful != member), level=level),
        auroc(table.where(harmful == member), level=level),
        _rate_gap(table, flagged & harmless, (harmless, member), level),
        _rate_gap(table, ~flagged & harmful, (harmful, member), level),
    )


def _rate_gap(table: Judged, wrong: BoolArray, among: tuple[BoolArray, BoolArray], level: float) -> Estimate:
    """The rate of an error among one class, of the group less that of the rest; clusters may be in both."""
    kind, member = among
    rest, own = (
        (np.where(wrong & side, table.weight, 0.0), np.where(kind & side, table.weight, 0.0))
        for side in (~member, member)
    )
    return clustered_ratio_change(rest, own, table.cluster, level=level)


def generalised_mean(values: FloatArray, power: float = POWER) -> float:
    """((v_1^p + ... + v_k^p) / k)^(1/p) of k values above 0; p = -5 leans to the worst.

    Raises:
        ValueError: no value, or one that is not above 0.

    Source: Jigsaw, Unintended bias in toxicity classification (evaluation), 2019.
    """
    values = np.asarray(values, dtype=np.float64)
    if not values.size or not (values > 0).all():
        raise ValueError(f"values: expected at least one, all above 0, got {values.tolist()}")
    return float(np.mean(values**power) ** (1 / power))


@dataclass(frozen=True)
class Multicalibration:
    """The calibration in each segment that a policy touches.

    Attributes:
        gaps: frequency less probability by segment, at a level such that all intervals hold together.
        insufficient: segments with too few harmful posts for one.
        worst: the segment with the largest gap, either way; "" where all are insufficient.
        low: no segment's gap is known to be larger than this, and one is: a lower bound of the largest.
        high: no segment's gap is larger than this.
    """

    gaps: Mapping[str, Estimate]
    insufficient: tuple[str, ...]
    worst: str
    low: float
    high: float


def multicalibration(
    table: Judged, segments: Mapping[str, BoolArray], *, min_harmful: int = MIN_OF_EACH, level: float = LEVEL
) -> Multicalibration:
    """The largest gap between frequency and probability over segments, with an interval.

    The largest of many noisy gaps is large by chance; the bounds hold for all segments together
    (Bonferroni), so they are bounds of the largest as well. For the error that enters the effect of a
    policy, weigh the posts by their exposure under it: `table.weighted(exposure)`.

    Args:
        table: the posts.
        segments: (n,) members by name; they may overlap.
        min_harmful: harmful posts that a segment must have.
        level: that all intervals hold together.

    Raises:
        ValueError: a segment of another length, or one whose posts are of one cluster.

    Source: Hébert-Johnson, Kim, Reingold and Rothblum, Multicalibration, 2018, definition 2.4.
    """
    enough = {}
    for name, member in segments.items():
        if member.shape != (table.n,):
            raise ValueError(f"{name}: expected shape ({table.n},), got {member.shape}")
        if int((member & table.present & (table.weight > 0)).sum()) >= min_harmful:
            enough[name] = member
    insufficient = tuple(name for name in segments if name not in enough)
    if not enough:
        return Multicalibration({}, insufficient, "", float("nan"), float("nan"))
    joint = 1 - (1 - level) / len(enough)
    gaps = {}
    for name, member in enough.items():
        own = table.where(member)
        gaps[name] = clustered_ratio(own.weight * (own.present - own.p), own.weight, own.cluster, level=joint)
    worst = max(gaps, key=lambda name: abs(gaps[name].value))
    low = max(max(0.0, gap.low, -gap.high) for gap in gaps.values())
    high = max(max(-gap.low, gap.high) for gap in gaps.values())
    return Multicalibration(gaps, insufficient, worst, low, high)

"""Parity of groups of publishers or authors: does the treatment silence one of them?

Exposure under the treatment over that under the original, of a group against all others: 1 is alike. The
merit is the exposure that the original gave, not an estimate of the model that demotes, so that a group is
not judged by the ruler that may be wrong about it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np

from eval.launch_checks import Check, Checked, Scene, judged
from eval.launch_plan import LaunchPlan
from eval.producers import disparate_treatment
from eval.segments import MOST_SEGMENTS, Dimension, segments_of
from reranker.columns import BoolArray, FloatArray, closest
from reranker.feed import REQUEST_FIELDS, Feed

COLUMNS: tuple[Dimension, ...] = tuple(name for name in get_args(Dimension) if name not in REQUEST_FIELDS)
MISSING = "expected a group with enough views to compare with the others, got none"


def check_columns(feed: Feed, plan: LaunchPlan) -> None:
    """Refuse groups that the feed does not tell apart and that the plan does not let go.

    Raises:
        ValueError: a column that the feed lacks, or one of too many values.
    """
    for column in plan.groups.columns:
        if column not in (*COLUMNS, *feed.attributes):
            known = (*COLUMNS, *feed.attributes)
            raise ValueError(
                f"groups.columns: expected one of {', '.join(known)}, got {column!r}{closest(column, known)}"
            )
        if column not in plan.allow_not_measured and not _has(feed, column):
            raise ValueError(f"groups.columns: expected the feed to hold {column}, got no value of it")
        if column in feed.attributes and len(np.unique(_known(feed, column))) > MOST_SEGMENTS:
            raise ValueError(
                f"groups.columns: expected at most {MOST_SEGMENTS} values of {column}, got "
                f"{len(np.unique(_known(feed, column)))}"
            )


def group_checks(scene: Scene, plan: LaunchPlan) -> Checked:
    """Each group of each column, under each browsing model, where it and all others have enough views."""
    feed, made = scene.rankings[0].feed, []
    by_row = scene.cluster[feed.request_of_row]
    for column in plan.groups.columns:
        allowed = column in plan.allow_not_measured
        blank = Check("group", column, scene.strength, "", plan.groups.margin, allowed=allowed)
        judged_any = False
        for name, member in _groups(feed, column):
            for model, (first, second) in scene.seen.items():
                if not _large_enough(first, member, plan):
                    continue
                judged_any = True
                check = replace(blank, name=f"{column} {name}", browsing=model.name)
                try:
                    ratio = disparate_treatment(second, first, member, by_row)
                except ValueError as error:
                    made.append(replace(check, reason=str(error)))
                    continue
                change = replace(
                    ratio, value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1, is_fieller=True
                )
                made.append(judged(check, (change,)))
        if not judged_any:
            made.append(replace(blank, reason=MISSING))
    return Checked(tuple(made))


def small_groups(scene: Scene, plan: LaunchPlan) -> tuple[str, ...]:
    """Groups that no browsing model judges: they, or all others, have too few of the original's views."""
    return tuple(
        f"{column} {name}"
        for column in plan.groups.columns
        for name, member in _groups(scene.rankings[0].feed, column)
        if not any(_large_enough(first, member, plan) for first, _ in scene.seen.values())
    )


def _large_enough(views: FloatArray, member: BoolArray, plan: LaunchPlan) -> bool:
    """Whether a group and all others each have their least share of the original's views."""
    share = float(views[member].sum() / views.sum()) if views.sum() > 0 else 0.0
    return plan.groups.least_share <= share <= 1 - plan.groups.least_share


def _has(feed: Feed, column: str) -> bool:
    if column in feed.attributes:
        return bool(len(_known(feed, column)))
    return len(_segments(feed, column)) > 1


def _known(feed: Feed, column: str) -> Sequence[float]:
    values = feed.attributes[column]
    found: Sequence[float] = values[~np.isnan(values)].tolist()
    return found


def _segments(feed: Feed, column: str) -> Sequence[tuple[str, BoolArray]]:
    dimension = next(name for name in COLUMNS if name == column)
    return [(one.name or "unknown", one.rows) for one in segments_of(feed, dimension)[0]]


def _groups(feed: Feed, column: str) -> Iterator[tuple[str, BoolArray]]:
    """Name and members (n,) of the groups of a column, those without a value apart."""
    if column not in feed.attributes:
        yield from _segments(feed, column)
        return
    values = feed.attributes[column]
    for value in np.unique(_known(feed, column)).tolist():
        yield f"{value:g}", values == value
    if np.isnan(values).any():
        yield "unknown", np.isnan(values)

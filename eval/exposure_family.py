"""The exposures of a comparison as one family: which changes hold once all of them are counted.

A family is every exposure that has an interval over all candidates, in one measure and one browsing model;
it is fixed by what is measured, never by what was found. Segments are looked at, and claimed of nothing.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from eval.clustered import LEVEL, clustered_mean
from eval.multiplicity import Finding, holm, p_of
from eval.rows import ALL, Direction, Pair, Row
from reranker.columns import IntArray

METHOD = "Holm over the exposures of one measure and browsing model, two-sided t by cluster"
SAID: dict[Direction, Finding] = {"decreased": "decreased", "increased": "increased"}


def with_p(rows: Sequence[Row], pairs: Sequence[Pair], cluster: IntArray) -> tuple[Row, ...]:
    """The rows of means with the p-value of each exposure over all candidates that has an interval.

    Of the t of the standard error by cluster, as the tail of some thousand resamples is too coarse to adjust.

    Args:
        rows: means over requests.
        pairs: what each row is the change of.
        cluster: (r,) codes of the users.
    """
    made = []
    for row, (first, second) in zip(rows, pairs, strict=True):
        p = None
        if row.kind == "exposure" and row.segment_by == ALL and row.absolute_low is not None:
            change = second.mean - first.mean
            used = ~np.isnan(change)
            p = p_of([clustered_mean(change[used], cluster[used])])
        made.append(replace(row, p=p))
    return tuple(made)


def in_families(rows: Sequence[Row], *, level: float = LEVEL) -> tuple[Row, ...]:
    """The rows with the p-values of each family adjusted by Holm, and what that lets one say.

    A change is a finding only if its own interval leaves 0 out and its adjusted p-value is at most
    1 - level; the chance of any wrong direction in a family is then at most that. Intervals stay as they are.

    Args:
        rows: of a comparison; those without a p-value are in no family.
        level: of the family.

    Example:
        >>> in_families(())
        ()
    """
    families: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(rows):
        if row.p is not None:
            families.setdefault((row.measure, row.browsing), []).append(i)
    made = list(rows)
    for at in families.values():
        p = np.array([rows[i].p for i in at], dtype=np.float64)
        family = f"{len(at)} exposure{'s' if len(at) > 1 else ''}"
        for i, held in zip(at, holm(p).tolist(), strict=True):
            found = _finding(rows[i], held, level)
            made[i] = replace(rows[i], p_adjusted=held, family=family, finding=found)
    return tuple(made)


def _finding(row: Row, p_adjusted: float, level: float) -> Finding:
    if row.direction == "identical":
        return "identical"
    return SAID.get(row.direction, "not shown") if p_adjusted <= 1.0 - level else "not shown"

"""How many times higher a share is for one group of publishers than for another, in the same months.

Shares of angry reactions rose for everybody over the months in which the button was new: a group that posts
more in late months has a higher share for that alone. Each month is compared with itself.
"""

import numpy as np

from eval.clustered import LEVEL, Estimate, from_cluster_influence
from eval.count_regression import exponentiated
from reranker.columns import BoolArray, FloatArray, IntArray

FEWEST_PUBLISHERS = 5  # of each group


def group_ratio(
    part: FloatArray,
    whole: FloatArray,
    in_group: BoolArray,
    stratum: IntArray,
    publisher: IntArray,
    *,
    level: float = LEVEL,
) -> Estimate:
    """The share of a part in the whole among rows of a group over that among the others, by stratum.

    Mantel and Haenszel's ratio: sum over strata of a1 n0 / (n1 + n0), over the sum of a0 n1 / (n1 + n0).
    Valid for a ratio that is alike in all strata; where it differs, a mean that leans to those with much of
    both. The interval is of the log, by publisher, which may have rows in many strata.

    Args:
        part: (n,) such as angry reactions, at most the whole.
        whole: (n,) such as all reactions.
        in_group: (n,) whether the row is of the group, else of those it is compared with.
        stratum: (n,) integer codes, such as of months; all alike to compare them as a whole.
        publisher: (n,) integer codes; each of one group only.
        level: of the interval.

    Raises:
        ValueError: lengths that differ, a part above the whole, a publisher of both groups, fewer than 5
            publishers of a group in common strata, or a share of 0.

    Source: Rothman, Greenland and Lash, Modern Epidemiology, 3rd edition, 2008, chapter 15.
    """
    _check(part, whole, in_group, stratum, publisher)
    code = np.unique(stratum, return_inverse=True)[1]
    n1, n0 = (np.bincount(code, whole * side, minlength=code.max() + 1) for side in (in_group, ~in_group))
    used = ((n1 > 0) & (n0 > 0))[code] & (whole > 0)
    for side, name in ((in_group, "the group"), (~in_group, "the others")):
        n_publishers = len(np.unique(publisher[used & side]))
        if n_publishers < FEWEST_PUBLISHERS:
            raise ValueError(f"{name}: expected at least {FEWEST_PUBLISHERS} publishers, got {n_publishers}")
    rows = np.flatnonzero(used)
    code, first, n_of = np.unique(code[rows], return_inverse=True)[1], in_group[rows], whole[rows]
    a_of, who = part[rows], np.unique(publisher[rows], return_inverse=True)[1]
    a1, a0, n1, n0 = (np.bincount(code, values * side) for values in (a_of, n_of) for side in (first, ~first))
    n = n1 + n0
    top, bottom = float((a1 * n0 / n).sum()), float((a0 * n1 / n).sum())
    if not (top > 0 and bottom > 0):
        raise ValueError("part: expected some in both groups, got none in one")
    # what each row adds to the top and to the bottom: the derivatives by its own part and whole
    in_top = np.where(
        first, (a_of * n0[code] / n[code]) - n_of * (a1 * n0 / n**2)[code], n_of * (a1 * n1 / n**2)[code]
    )
    in_bottom = np.where(
        first, n_of * (a0 * n0 / n**2)[code], (a_of * n1[code] / n[code]) - n_of * (a0 * n1 / n**2)[code]
    )
    influence = np.bincount(who, in_top / top - in_bottom / bottom).astype(np.float64)
    return exponentiated(
        from_cluster_influence(float(np.log(top / bottom)), influence, n=len(rows), level=level)
    )


def _check(
    part: FloatArray, whole: FloatArray, in_group: BoolArray, stratum: IntArray, publisher: IntArray
) -> None:
    for column in (whole, in_group, stratum, publisher):
        if column.shape != part.shape:
            raise ValueError(f"rows: expected columns of one length, got {part.shape} and {column.shape}")
    wrong = ~((part >= 0) & (part <= whole) & np.isfinite(whole))
    if wrong.any():
        row = int(wrong.argmax())
        raise ValueError(f"part: expected 0 to the whole, got {part[row]:g} of {whole[row]:g} at row {row}")
    both = np.intersect1d(publisher[in_group], publisher[~in_group])
    if both.size:
        raise ValueError(f"publisher: expected each in one group, got code {both[0]} in both")

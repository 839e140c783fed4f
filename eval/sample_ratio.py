"""Whether the arms have the sizes they were meant to have, overall and in every cut.

A loss of users in one arm, of one country and device alone, leaves the whole looking right and makes that
cut worthless. What fails here is blocked: no effect is reported for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from eval.multiplicity import holm
from reranker.columns import BoolArray, IntArray, StringColumn

OVERALL_P = 0.0005
SEGMENT_P = 0.01
SMALLEST_EXPECTED = 5.0
UNKNOWN = "(unknown)"
EVERYONE = "all"


@dataclass(frozen=True)
class RatioTest:
    """One test of the sizes of the arms.

    Attributes:
        cut, segment: "all" and "all" for everyone; "triggered" for those who met the change.
        counts: users per arm.
        statistic, p: chi-square; None where fewer than 5 are expected in an arm.
        adjusted_p: Holm's within the cut; p itself for everyone and for the triggered.
        blocked: whether effects of this segment must not be read.
    """

    cut: str
    segment: str
    counts: tuple[int, ...]
    statistic: float | None
    p: float | None
    adjusted_p: float | None
    blocked: bool


def sample_ratio(counts: Sequence[int], shares: Sequence[float]) -> tuple[float, float]:
    """Chi-square and p-value of the arms' sizes against the planned shares.

    Raises:
        ValueError: lengths that differ, a share that is not above 0, or no user.

    Source: Fabijan and others, Diagnosing sample ratio mismatch in online controlled experiments, 2019.

    Example:
        >>> statistic, p = sample_ratio([50_312, 49_688], [0.5, 0.5])
        >>> round(statistic, 5), round(p, 7)
        (3.89376, 0.0484658)
    """
    if len(counts) != len(shares) or len(counts) < 2 or not all(share > 0 for share in shares):
        raise ValueError(f"shares: expected one above 0 for each of {len(counts)} arms, got {tuple(shares)}")
    if sum(counts) == 0:
        raise ValueError("counts: expected at least 1 user, got 0")
    planned = np.asarray(shares, dtype=np.float64) / sum(shares)
    found = stats.chisquare(np.asarray(counts), planned * sum(counts))
    return float(found.statistic), float(found.pvalue)


def sample_ratios(
    arm: IntArray,
    shares: Sequence[float],
    cuts: Mapping[str, StringColumn] | None = None,
    *,
    triggered: BoolArray | None = None,
) -> tuple[RatioTest, ...]:
    """The tests of everyone, of the triggered and of each segment of each cut.

    Everyone and the triggered are blocked below p = 0.0005, a segment below 0.01 after Holm's adjustment
    within its cut.

    Args:
        arm: (n,) from 0, per user.
        shares: planned, per arm.
        cuts: such as "country", "day" or "country x device"; null is a segment of its own.
        triggered: (n,) users who met the change, or would have in the control.
    """
    if len(arm) and not 0 <= int(arm.min()) <= int(arm.max()) < len(shares):
        raise ValueError(f"arm: expected 0 to {len(shares) - 1}, got {arm.min()} to {arm.max()}")
    tests = _cut(EVERYONE, (EVERYONE,), np.zeros(len(arm), dtype=np.int64), arm, shares)
    if triggered is not None:
        tests += _cut("triggered", ("triggered",), np.where(triggered, 0, -1), arm, shares)
    for name, column in (cuts or {}).items():
        names, codes = segment_codes(column)
        tests += _cut(name, names, codes, arm, shares)
    return tuple(tests)


def segment_codes(column: StringColumn) -> tuple[tuple[str, ...], IntArray]:
    """Names and (n,) codes of the segments of a column; null comes last, as "(unknown)"."""
    codes = column.codes.astype(np.int64)
    if not (codes < 0).any():
        return column.values, codes
    return (*column.values, UNKNOWN), np.where(codes < 0, len(column.values), codes)


def crossed(first: StringColumn, second: StringColumn) -> StringColumn:
    """The segments of two columns together, such as "India x Android".

    Example:
        >>> two = crossed(StringColumn.from_values(["in", "us"]), StringColumn.from_values(["ios", None]))
        >>> two.values
        ('in x ios', 'us x (unknown)')
    """
    (names, codes), (more, inner) = segment_codes(first), segment_codes(second)
    pairs, found = np.unique(codes * len(more) + inner, return_inverse=True)
    values = tuple(f"{names[pair // len(more)]} x {more[pair % len(more)]}" for pair in pairs)
    return StringColumn(found.astype(np.int32), values)


def _cut(
    cut: str, names: tuple[str, ...], codes: IntArray, arm: IntArray, shares: Sequence[float]
) -> list[RatioTest]:
    """The tests of one cut; users with code -1 are in no segment."""
    n_arms = len(shares)
    kept = codes >= 0
    counts = np.bincount(codes[kept] * n_arms + arm[kept], minlength=len(names) * n_arms)
    counts = counts.reshape(len(names), n_arms)
    smallest = min(shares) / sum(shares)
    found = [
        sample_ratio(row.tolist(), shares) if row.sum() * smallest >= SMALLEST_EXPECTED else None
        for row in counts
    ]
    p = np.array([test[1] for test in found if test is not None])
    adjusted = iter(holm(p).tolist())
    limit = OVERALL_P if cut in (EVERYONE, "triggered") else SEGMENT_P
    tests = []
    for name, row, test in zip(names, counts.tolist(), found, strict=True):
        if test is None:
            tests.append(RatioTest(cut, name, tuple(row), None, None, None, False))
        else:
            adjusted_p = next(adjusted)
            tests.append(RatioTest(cut, name, tuple(row), *test, adjusted_p, adjusted_p < limit))
    return tests

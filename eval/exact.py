"""Sums that do not depend on the order of their terms, to the last bit.

Floating-point addition is not associative: (a + b) + c and a + (b + c) differ in the last bits, and so do
two runs over the same rows in other partitions. Here every value is rounded once, to a multiple of 2**-40,
and from then on whole numbers are added: 96 bits wide, in two parts, with one form for each sum.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.counter_random import MOST_WEIGHT, poisson_weights
from eval.kernel import add_moments, add_rows, carry
from reranker.columns import FloatArray, IntArray, frozen

RESOLUTION = 2.0**-40
LARGEST_SUM = 2.0**54
LARGEST_RESAMPLED = 2.0**29  # one user's total in one partition
_TILE = 1_024  # users whose weights are made at once; the products of a tile are below 2**53, so exact


@dataclass(frozen=True, eq=False)
class ExactSums:
    """Sums high * 2**-8 + low * 2**-40, both int64 of one shape, 0 <= low < 2**32.

    Equal sums are equal arrays, whatever was added in whatever order.
    """

    high: IntArray
    low: IntArray

    def __post_init__(self) -> None:
        if self.high.shape != self.low.shape:
            raise ValueError(f"low: expected shape {self.high.shape}, got {self.low.shape}")
        for name in ("high", "low"):
            part = np.ascontiguousarray(getattr(self, name), dtype=np.int64)
            object.__setattr__(self, name, part)
        if self.low.size and (self.low.min() < 0 or self.low.max() >= 2**32):
            high, low = self.high.copy(), self.low.copy()
            carry(high.reshape(-1), low.reshape(-1))
            object.__setattr__(self, "high", high)
            object.__setattr__(self, "low", low)
        frozen(self.high)
        frozen(self.low)

    @classmethod
    def zeros(cls, *shape: int) -> "ExactSums":
        """Sums of nothing."""
        return cls(np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64))

    def __add__(self, other: "ExactSums") -> "ExactSums":
        return ExactSums(self.high + other.high, self.low + other.low)

    def sum(self, axis: int) -> "ExactSums":
        """The sums along one axis."""
        return ExactSums(self.high.sum(axis=axis), self.low.sum(axis=axis))

    def to_float(self) -> FloatArray:
        """The nearest float64 to each sum."""
        return self.high * 2.0**-8 + self.low * RESOLUTION


def group_sums(values: FloatArray, group: IntArray, n_groups: int) -> ExactSums:
    """(n_groups, d) sums of the rows of each group.

    Args:
        values: (n, d); each is rounded to the nearest multiple of 2**-40.
        group: (n,) from 0.
        n_groups: number of groups.

    Raises:
        ValueError: a value is not finite, or so large that the sum might not fit.

    Example:
        >>> many = group_sums(np.full((10, 1), 0.1), np.zeros(10, dtype=np.int64), 1).to_float()
        >>> round(float(many[0, 0]), 9)
        1.0
    """
    values = _checked(values, 1)
    sums = np.zeros((n_groups, values.shape[1], 2), dtype=np.int64)
    add_rows(values, np.ascontiguousarray(group, dtype=np.int64), sums)
    return ExactSums(sums[..., 0], sums[..., 1])


def group_moments(values: FloatArray, group: IntArray, n_groups: int) -> ExactSums:
    """(4, n_groups, P, M) sums of x, of its square, and of its product with x of policy 0 and with metric 0.

    Args:
        values: (n, P, M); they and the products are rounded to the nearest multiple of 2**-40.
        group: (n,) from 0.
        n_groups: number of groups.

    Raises:
        ValueError: a value is not finite, or so large that the sum of squares might not fit.
    """
    values = _checked(values, 2)
    sums = np.zeros((n_groups, *values.shape[1:], 8), dtype=np.int64)
    add_moments(values, np.ascontiguousarray(group, dtype=np.int64), sums)
    return ExactSums(np.moveaxis(sums[..., ::2], -1, 0), np.moveaxis(sums[..., 1::2], -1, 0))


def _checked(values: FloatArray, power: int) -> FloatArray:
    """The values, whose sums of this power are sure to fit."""
    values = np.ascontiguousarray(values, dtype=np.float64)
    if values.size:
        largest = max(float(values.max()), -float(values.min()))
        if not np.isfinite(largest):
            row = int(np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0])
            raise ValueError(f"values: expected finite numbers, got {values[row].tolist()} at row {row}")
        if max(largest, 1.0) ** power * len(values) >= LARGEST_SUM:
            raise ValueError(
                f"values: expected sums below {LARGEST_SUM:g}, got {len(values)} rows up to {largest:g}"
            )
    return values


def resampled_sums(totals: ExactSums, user: NDArray[np.uint64], n_replicates: int, *, seed: int) -> ExactSums:
    """(n_replicates, d) sums under Poisson(1) weights of the users; as exact as the totals.

    The products are matrix products of whole numbers below 2**53: they do not depend on the linear algebra
    library either.

    Args:
        totals: (n, d) of n users.
        user: (n,) their keys.
        n_replicates: resamples.
        seed: of the resampling.

    Raises:
        ValueError: a user's total is too large for that.
    """
    largest = float(np.abs(totals.high).max(initial=0)) * 2.0**-8
    if largest >= LARGEST_RESAMPLED:
        raise ValueError(f"totals: expected below {LARGEST_RESAMPLED:g} per user, got {largest:g}")
    assert LARGEST_RESAMPLED * 2**8 * MOST_WEIGHT * _TILE < 2**53
    width = totals.high.shape[1]
    parts = np.concatenate([totals.high, totals.low], axis=1).astype(np.float64)
    high, low = np.zeros((2, n_replicates, width), dtype=np.int64)
    for start in range(0, len(user), _TILE):
        weights = poisson_weights(user[start : start + _TILE], n_replicates, seed=seed)
        made = (weights.T @ parts[start : start + _TILE]).astype(np.int64)  # (n_replicates, 2 * width)
        high += made[:, :width]
        low += made[:, width:]
        carry(high.reshape(-1), low.reshape(-1))
    return ExactSums(high, low)

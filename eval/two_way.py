"""Errors of rows that share two kinds of cluster, such as users and posts."""

import numpy as np

from eval.clustered import from_influence
from reranker.columns import FloatArray, IntArray


def two_way_standard_error(influence: FloatArray, first: IntArray, second: IntArray) -> float:
    """The standard error of a mean whose rows share users and, across users, posts.

    V(first) + V(second) - V(first and second), and never less than the larger of the first two. The error
    by user speaks of these posts, the two-way one of posts like these.

    Args:
        influence: (n,) per row, in units of the estimate; sums to 0.
        first: (n,) integer codes, such as users.
        second: (n,) integer codes, such as posts.

    Raises:
        ValueError: fewer than 2 clusters either way, lengths that differ, or values that are not finite.

    Source: Cameron, Gelbach and Miller, Robust inference with multiway clustering, 2011, eq. 2.11.
    """
    codes = np.unique(second, return_inverse=True)[1]
    both = np.unique(first, return_inverse=True)[1] * (int(codes.max(initial=0)) + 1) + codes
    by_first, by_second, by_both = (
        from_influence(0.0, influence, part).standard_error ** 2 for part in (first, second, both)
    )
    return float(np.sqrt(max(by_first + by_second - by_both, by_first, by_second)))

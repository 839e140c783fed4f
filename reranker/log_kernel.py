"""The loop of the log's checks that numpy is slow at, compiled: an item that a request has twice."""

# mypy: disallow-untyped-decorators=False

import numpy as np
from numba import njit

from reranker.columns import IntArray


@njit(cache=True, nogil=True)
def first_repeated(item: IntArray, offsets: IntArray) -> int:
    """The first row whose item stands above it in the same request, -1 where there is none.

    A hash table of twice the longest request, whose cells carry the request that filled them, so that it is
    never emptied.

    Args:
        item: (c,) ids.
        offsets: (n + 1,) candidates of each request.
    """
    longest = 1
    for r in range(len(offsets) - 1):
        longest = max(longest, offsets[r + 1] - offsets[r])
    size = 2
    while size < 2 * longest:
        size *= 2
    held, owner = np.zeros(size, dtype=np.int64), np.full(size, -1, dtype=np.int64)
    for r in range(len(offsets) - 1):
        for row in range(offsets[r], offsets[r + 1]):
            mixed = item[row] ^ (item[row] >> 32)  # ids may differ in their upper bits only
            cell = ((mixed * 0x9E3779B1) >> 15) & (size - 1)
            while owner[cell] == r:
                if held[cell] == item[row]:
                    return row
                cell = (cell + 1) & (size - 1)
            held[cell], owner[cell] = item[row], r
    return -1

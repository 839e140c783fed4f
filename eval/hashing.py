"""Users as 64-bit hashes: the same on every machine, in every process and in every version of Python."""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from eval.kernel import group_keys, mix64
from reranker.columns import IntArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, odd
N_BUCKETS = 4_096
_BUCKET_SHIFT = np.uint64(52)


def user_keys(users: Sequence[str] | IntArray) -> NDArray[np.uint64]:
    """(n,) keys of users by name, or by number; equal users have equal keys.

    A number and the same number as text are different users. Two of 10 million users share a key with a
    chance of 3 in a million.

    Args:
        users: names, or an array (n,) of whole numbers.

    Raises:
        ValueError: an array of anything but whole numbers.

    Example:
        >>> user_keys(["ann", "bob", "ann"]).tolist() == user_keys(["ann", "bob"])[[0, 1, 0]].tolist()
        True
    """
    if isinstance(users, np.ndarray):
        if not np.issubdtype(users.dtype, np.integer):
            raise ValueError(f"users: expected names or whole numbers, got {users.dtype}")
        keys: NDArray[np.uint64] = mix64(users.astype(np.uint64) + GOLDEN)
        return keys
    distinct = {
        name: int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
        for name in set(users)
    }
    return np.array([distinct[name] for name in users], dtype=np.uint64)


def distinct_keys(key: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], IntArray]:
    """The distinct keys in order, and (n,) which of them each row has: `numpy.unique`, several times as fast.

    Example:
        >>> [array.tolist() for array in distinct_keys(np.array([7, 3, 7], dtype=np.uint64))]
        [[3, 7], [1, 0, 1]]
    """
    n = len(key)
    table = np.full(2 ** int(2 * n + 1).bit_length(), -1, dtype=np.int32)
    first, code = np.empty(n, dtype=np.uint64), np.empty(n, dtype=np.int32)
    n_keys = group_keys(np.ascontiguousarray(key), table, first, code)
    order = np.argsort(first[:n_keys])
    rank = np.empty(n_keys, dtype=np.int64)
    rank[order] = np.arange(n_keys)
    return first[order], rank[code]


def bucket_of(user: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(n,) one of `N_BUCKETS` groups of users, by the first 12 bits of the key."""
    return user >> _BUCKET_SHIFT

"""Poisson(1) weights that depend on the user and the number of the resample alone, not on the order.

A generator with a state gives a user another weight when the rows come in another order or another
partition. Here each weight is a hash of (seed, user, replicate), so that a partition can be resampled where
it lies and the sums of all partitions are those of one bootstrap over users.
"""

from math import exp, factorial

import numpy as np
from numpy.typing import NDArray

from eval.hashing import GOLDEN
from eval.kernel import fill_weights, fill_words, mix64
from reranker.columns import FloatArray

MOST_WEIGHT = 12  # P(more) is below the 2**-32 that one word resolves
_CDF = np.cumsum([exp(-1) / factorial(k) for k in range(MOST_WEIGHT)])
_THRESHOLDS = np.floor(_CDF * 2.0**32).astype(np.uint32)


def random_words(user: NDArray[np.uint64], n_replicates: int, *, seed: int) -> NDArray[np.uint32]:
    """(n, n_replicates) uniform 32-bit words; word [i, b] depends on (seed, user[i], b) alone.

    Args:
        user: (n,) keys of `hashing.user_keys`.
        n_replicates: replicates, from 0.
        seed: another seed gives words that have nothing to do with these.

    Raises:
        ValueError: fewer than one replicate, or a seed outside [0, 2**63).

    Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011 (counters as
    input of a mixing function); Steele, Lea and Flood, Fast splittable pseudorandom number generators,
    2014 (the mixing function).
    """
    key, counter = _key_and_counter(user, n_replicates, seed)
    out = np.empty((len(key), n_replicates), dtype=np.uint32)
    fill_words(key, counter, out)
    return out


def poisson_weights(user: NDArray[np.uint64], n_replicates: int, *, seed: int) -> FloatArray:
    """(n, n_replicates) whole numbers with the Poisson(1) distribution, as float64 for matrix products.

    The distribution is exact to 2**-32 per value; no weight exceeds `MOST_WEIGHT`.

    Args:
        user: (n,) keys of `hashing.user_keys`.
        n_replicates: replicates, from 0.
        seed: of the resampling.

    Raises:
        ValueError: as `random_words`.

    Source: Chamandy, Muralidharan, Najmi and Naidu, Estimating uncertainty for massive data streams, 2012.

    Example:
        >>> from eval.hashing import user_keys
        >>> keys = user_keys(["ann", "bob"])
        >>> both, alone = poisson_weights(keys, 5, seed=1), poisson_weights(keys[1:], 3, seed=1)
        >>> bool((both[1, :3] == alone[0]).all())
        True
    """
    key, counter = _key_and_counter(user, n_replicates, seed)
    out = np.empty((len(key), n_replicates))
    fill_weights(key, counter, _THRESHOLDS, out)
    return out


def _key_and_counter(
    user: NDArray[np.uint64], n_replicates: int, seed: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """(n,) mixed with the seed, and one per two replicates: their xor is the input of the last mixing."""
    if n_replicates < 1:
        raise ValueError(f"n_replicates: expected at least 1, got {n_replicates}")
    if not 0 <= seed < 2**63:
        raise ValueError(f"seed: expected a number in [0, 2**63), got {seed}")
    start = mix64(np.array([seed], dtype=np.uint64) + GOLDEN)
    number = np.arange(1, (n_replicates + 1) // 2 + 1, dtype=np.uint64)
    return mix64(np.ascontiguousarray(user, dtype=np.uint64) ^ start), mix64(start + number * GOLDEN)

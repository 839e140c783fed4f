"""Randomness that depends on what is drawn, not on what was drawn before.

Each draw is a hash of a key, and a key is made of the seed, the week, the user, the post and the purpose. So
two policies that show the same post to the same user meet the same feeling about it, in whatever order, and
identical policies give equal worlds to the last bit.

Source: Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, 2011, for the idea; the
hash is the finaliser of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators,
2014, figure 14).
"""

import numpy as np
from numba import njit

from reranker.columns import FloatArray, IntArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_ONE, _11, _16, _27, _30, _31, _32, _48 = (np.uint64(k) for k in (1, 11, 16, 27, 30, 31, 32, 48))
_LOW = np.uint64(0xFFFF)
_ROOT_3 = 3.0**0.5


def _key(parent: np.uint64, counter: int) -> np.uint64:
    x = parent + (np.uint64(counter) + _ONE) * _GOLDEN
    x = (x ^ (x >> _30)) * _FIRST
    x = (x ^ (x >> _27)) * _SECOND
    return x ^ (x >> _31)


key = njit(cache=True, nogil=True, inline="never")(_key)


def _uniform(own: np.uint64) -> float:
    return float(own >> _11) * 2.0**-53


uniform = njit(cache=True, nogil=True)(_uniform)


def _normal(own: np.uint64) -> float:
    total = (own & _LOW) + ((own >> _16) & _LOW) + ((own >> _32) & _LOW) + (own >> _48)
    return float((float(total) + 2.0) / 65536.0 - 2.0) * _ROOT_3


normal = njit(cache=True, nogil=True)(_normal)  # four 16-bit uniforms: variance 1, within 3.47


def root_key(seed: int, *counters: int) -> np.uint64:
    """The key of a seed and what follows it, such as the week and the session.

    Raises:
        ValueError: the seed is negative.
    """
    if seed < 0:
        raise ValueError(f"seed: expected a whole number from 0, got {seed}")
    own: np.uint64 = np.uint64(key(np.uint64(seed), 0))
    for counter in counters:
        own = np.uint64(key(own, counter))
    return own


def generator(seed: int, *counters: int) -> np.random.Generator:
    """A generator for whole arrays of a purpose; it counts (Philox) and its key is `root_key`."""
    return np.random.Generator(np.random.Philox(key=int(root_key(seed, *counters))))


def poisson_counts(u: FloatArray, mean: FloatArray, most: int) -> IntArray:
    """(n,) Poisson counts at the quantiles u, cut at `most`: a larger mean never gives a smaller count."""
    count = np.zeros(len(u), dtype=np.int64)
    term = np.exp(-mean)
    below = term.copy()
    for k in range(1, most + 1):
        count += u >= below
        term = term * mean / k
        below += term
    return count

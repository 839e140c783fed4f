"""Near-duplicate groups of texts, so that copies of one text lie on one side of every split."""

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_SHINGLE_WORDS = 4
_SKETCH_SIZE = 4
_COMPARED = 8


def near_duplicate_groups(
    text: Sequence[str], link: Sequence[str] | None = None, *, overlap: float = 0.6
) -> NDArray[np.int64]:
    """int64 (n,): the smallest row number of each text's group.

    Two texts are joined when the shorter one's word 4-grams lie to at least `overlap` in the other; case
    and punctuation do not count. Compared are texts that share one of their 4 smallest shingle hashes, so
    a pair of similarity s is found with probability of about 1 - (1 - s)^4. Texts with the same non-empty
    `link` are joined too.

    Source: A. Broder, "On the resemblance and containment of documents", 1997 (containment; sketches).
    """
    shingles = [_shingles(entry) for entry in text]
    parent = list(range(len(text)))
    buckets: dict[int, list[int]] = {}
    for row, found in enumerate(shingles):
        for key in sorted(found)[:_SKETCH_SIZE]:
            others = buckets.setdefault(key, [])
            for other in others:
                shared = len(found & shingles[other])
                if shared >= overlap * min(len(found), len(shingles[other])):
                    _join(parent, row, other)
                    break
            else:
                if len(others) < _COMPARED:
                    others.append(row)
    first: dict[str, int] = {}
    for row, name in enumerate(link or ()):
        if name:
            _join(parent, row, first.setdefault(name, row))
    return np.array([_root(parent, row) for row in range(len(text))], dtype=np.int64)


def _shingles(text: str) -> set[int]:
    words = _WORD.findall(text.lower())
    if not words:
        return set()
    n = max(1, len(words) - _SHINGLE_WORDS + 1)
    return {zlib.crc32(" ".join(words[i : i + _SHINGLE_WORDS]).encode()) for i in range(n)}


def _root(parent: list[int], row: int) -> int:
    while parent[row] != row:
        parent[row] = parent[parent[row]]
        row = parent[row]
    return row


def _join(parent: list[int], a: int, b: int) -> None:
    low, high = sorted((_root(parent, a), _root(parent, b)))
    parent[high] = low

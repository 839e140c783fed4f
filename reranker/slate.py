"""Rules on the order of one request: author diversity, author cap, threads, bounded moves, stable ties."""

import numpy as np

from reranker.columns import BoolArray, FloatArray, IntArray, StringColumn
from reranker.demotion import by_length
from reranker.kernel import count_authors
from reranker.policy import Slate


def sort_requests(score: FloatArray, tie_break: IntArray, offsets: IntArray) -> IntArray:
    """(n,) rows request by request, best score first, equal scores by the tie break."""
    order = np.empty(len(score), dtype=np.int64)
    for _, rows in by_length(offsets):
        if not rows.size:
            continue
        key = -score[rows]
        chosen = np.argsort(key, axis=1)
        ranked = np.take_along_axis(key, chosen, axis=1)
        tied = np.flatnonzero((ranked[:, 1:] == ranked[:, :-1]).any(axis=1))
        if tied.size:
            chosen[tied] = np.lexsort((tie_break[rows[tied]], key[tied]), axis=1)
        order[rows] = np.take_along_axis(rows, chosen, axis=1)
    return order


def author_counts(order: IntArray, author: StringColumn, removed: BoolArray, offsets: IntArray) -> IntArray:
    """(n,) how many posts of the same author stand above each in its request; 0 for a null author.

    Removed posts are not counted and get 0.
    """
    codes = np.where(removed, -1, author.codes) if removed.any() else author.codes
    counts = np.zeros(len(order), dtype=np.int64)
    count_authors(order, codes, offsets, len(author.values), counts)
    return counts


def author_decay(counts: IntArray, rule: Slate) -> FloatArray:
    """(n,) multiplier: a post with k better ones of its author above it gets max(floor, decay ** k).

    Because a better post of the same author is never decayed more, sorting by the decayed score is the same
    as picking greedily.
    """
    powers: FloatArray = np.maximum(
        rule.author_floor, rule.author_decay ** np.arange(int(counts.max(initial=0)) + 1)
    )
    decayed: FloatArray = powers[counts]
    return decayed


def limit_moves(order: IntArray, original: IntArray, offsets: IntArray, most: int) -> IntArray:
    """The order with no post more than `most` positions below its original one.

    Deadlines are distinct, so at each position either one post is due or the best one left is taken.
    """
    limited = order.copy()
    for i in range(len(offsets) - 1):
        low, high = int(offsets[i]), int(offsets[i + 1])
        rows = order[low:high]
        position = np.arange(high - low)
        if (position <= original[rows] + most).all():
            continue
        due = dict(zip((original[rows] + most).tolist(), rows.tolist(), strict=True))
        waiting, placed, at = rows.tolist(), set[int](), 0
        for slot in range(high - low):
            row = due.get(slot, -1)
            if row < 0 or row in placed:
                while waiting[at] in placed:
                    at += 1
                row = waiting[at]
            placed.add(row)
            limited[low + slot] = row
    return limited


def order_threads(order: IntArray, parent: IntArray, offsets: IntArray) -> IntArray:
    """The order of all or the kept rows, with replies under what they reply to, siblings in their order.

    `parent` is (n,) the row of the parent in the same request, -1 where there is none. A reply whose parents
    form a circle is kept, at the end.
    """
    threaded = order.copy()
    requests = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    for i in np.unique(requests[parent[order] >= 0]).tolist():
        low, high = int(offsets[i]), int(offsets[i + 1])
        rows = order[low:high].tolist()
        children: dict[int, list[int]] = {}
        for row in rows:
            children.setdefault(int(parent[row]), []).append(row)
        walked: list[int] = []
        stack = children.get(-1, [])[::-1]
        while stack:
            row = stack.pop()
            walked.append(row)
            stack.extend(children.get(row, [])[::-1])
        seen = set(walked)
        threaded[low:high] = walked + [row for row in rows if row not in seen]
    return threaded

"""Rules on the order of one request, each against a picker in plain Python."""

from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reranker.columns import StringColumn
from reranker.policy import Slate
from reranker.slate import author_counts, author_decay, limit_moves, order_threads, sort_requests


def offsets_of(sizes: list[int]) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)


@st.composite
def slates(draw: Any) -> tuple[list[int], np.ndarray, list[str | None], np.ndarray]:
    """Sizes of requests, scores, authors and a tie break that is an order of each request."""
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=4))
    n = sum(sizes)
    score = draw(st.lists(st.integers(-4, 9).map(float), min_size=n, max_size=n))
    author = draw(st.lists(st.sampled_from(["a", "b", None]), min_size=n, max_size=n))
    ties = [place for size in sizes for place in draw(st.permutations(range(size)))]
    return sizes, np.array(score), author, np.array(ties, dtype=np.int64)


@given(slates())
def test_rows_are_sorted_by_score_and_ties_by_the_tie_break(drawn: Any) -> None:
    sizes, score, _, ties = drawn
    offsets = offsets_of(sizes)
    expected = [
        row
        for low, high in pairwise(offsets.tolist())
        for row in sorted(range(low, high), key=lambda row: (-score[row], ties[row]))
    ]
    assert sort_requests(score, ties, offsets).tolist() == expected


def greedy(rows: list[int], score: Any, author: Any, ties: Any, decay: float, floor: float) -> list[int]:
    """Pick the best left, each author's further posts worth max(floor, decay ** k) of their score."""
    left, taken, picked = list(rows), dict[str, int](), []

    def worth(row: int) -> float:
        factor = max(floor, decay ** taken.get(author[row], 0)) if author[row] is not None else 1.0
        value = float(score[row])
        return value * factor if value >= 0 else value * (2.0 - factor)

    while left:
        best = min(left, key=lambda row: (-worth(row), ties[row]))
        left.remove(best)
        picked.append(best)
        if author[best] is not None:
            taken[author[best]] = taken.get(author[best], 0) + 1
    return picked


@settings(deadline=None)
@given(slates(), st.sampled_from([0.3, 0.5, 1.0]), st.sampled_from([0.0, 0.4]))
def test_author_decay_is_the_greedy_picker(drawn: Any, decay: float, floor: float) -> None:
    sizes, score, author, ties = drawn
    offsets = offsets_of(sizes)
    column, rule = StringColumn.from_values(author), Slate(author_decay=decay, author_floor=floor)
    order = sort_requests(score, ties, offsets)
    factor = author_decay(author_counts(order, column, np.zeros(len(score), dtype=bool), offsets), rule)
    lowered = np.where(score >= 0, score * factor, score * (2 - factor))
    got = sort_requests(lowered, ties, offsets)
    for low, high in pairwise(offsets.tolist()):
        expected = greedy(list(range(low, high)), score, author, ties, decay, floor)
        mine = got[low:high].tolist()
        # scores that tie between authors after the decay may stand either way; worth by worth they agree
        assert sorted(mine) == sorted(expected)
        assert lowered[mine].tolist() == lowered[expected].tolist()


@given(slates(), st.data())
def test_author_counts_are_the_authors_posts_above_less_the_removed(drawn: Any, data: Any) -> None:
    sizes, score, author, ties = drawn
    offsets, n = offsets_of(sizes), len(score)
    removed = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=bool)
    order = sort_requests(score, ties, offsets)
    got = author_counts(order, StringColumn.from_values(author), removed, offsets)
    for low, high in pairwise(offsets.tolist()):
        seen: dict[str, int] = {}
        for row in order[low:high].tolist():
            if removed[row] or author[row] is None:
                assert got[row] == 0
                continue
            assert got[row] == seen.get(author[row], 0)
            seen[author[row]] = seen.get(author[row], 0) + 1


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 5), st.data())
def test_no_post_moves_more_than_the_limit_below_its_original_place(
    sizes: list[int], most: int, data: Any
) -> None:
    """Always feasible, and a permutation; where the wish is within the limit it is left as it is."""
    offsets = offsets_of(sizes)
    original = np.array([p for s in sizes for p in data.draw(st.permutations(range(s)))], dtype=np.int64)
    order = np.concatenate(
        [low + np.array(data.draw(st.permutations(range(s)))) for low, s in zip(offsets, sizes, strict=False)]
    )
    limited = limit_moves(order, original, offsets, most)
    for low, high in pairwise(offsets.tolist()):
        wished, mine = order[low:high].tolist(), limited[low:high].tolist()
        assert sorted(mine) == sorted(wished)
        assert all(place <= original[row] + most for place, row in enumerate(mine))
        if all(place <= original[row] + most for place, row in enumerate(wished)):
            assert mine == wished


@given(st.integers(1, 8), st.data())
def test_the_limited_order_puts_the_wished_first_wherever_nothing_is_due(n: int, data: Any) -> None:
    """Against trying all orders: of all that keep the deadlines it is the first by wish."""
    n = min(n, 6)
    original = np.array(data.draw(st.permutations(range(n))), dtype=np.int64)
    order = np.array(data.draw(st.permutations(range(n))), dtype=np.int64)
    wish = {row: place for place, row in enumerate(order.tolist())}
    feasible = [
        rows for rows in permutations(range(n)) if all(at <= original[row] + 1 for at, row in enumerate(rows))
    ]
    best = min(feasible, key=lambda rows: [wish[row] for row in rows])
    assert tuple(limit_moves(order, original, offsets_of([n]), 1).tolist()) == best


@settings(deadline=None)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=3), st.data())
def test_replies_stand_under_what_they_reply_to_in_the_order_of_their_siblings(
    sizes: list[int], data: Any
) -> None:
    """C7. Parents may form circles, and rows may have been removed from the order."""
    offsets = offsets_of(sizes)
    parent = np.array(
        [
            data.draw(st.sampled_from([-1, *[low + i for i in range(size) if i != j]]))
            for low, size in zip(offsets.tolist(), sizes, strict=False)
            for j in range(size)
        ],
        dtype=np.int64,
    )
    wished = [
        [low + i for i in data.draw(st.permutations(range(size)))]
        for low, size in zip(offsets.tolist(), sizes, strict=False)
    ]
    cut = data.draw(st.lists(st.integers(0, sum(sizes) - 1), max_size=3))
    wished = [[row for row in rows if row not in cut] for rows in wished]
    kept = offsets_of([len(rows) for rows in wished])
    order = np.array([row for rows in wished for row in rows], dtype=np.int64)
    threaded = order_threads(order, parent, kept)
    for rows, low, high in zip(wished, kept[:-1], kept[1:], strict=True):
        mine = threaded[low:high].tolist()
        assert sorted(mine) == sorted(rows)  # none is lost, in a circle or under a removed one
        place, wish = {row: at for at, row in enumerate(mine)}, {row: at for at, row in enumerate(rows)}
        rooted = [row for row in rows if is_rooted(row, parent, set(rows))]
        for row in rooted:
            if parent[row] >= 0:
                assert place[parent[row]] < place[row]
            for other in rooted:
                if parent[other] == parent[row] and wish[other] < wish[row]:
                    assert place[other] < place[row]
        strays = [row for row in rows if row not in rooted]
        assert mine[len(mine) - len(strays) :] == strays


def is_rooted(row: int, parent: np.ndarray, shown: set[int]) -> bool:
    seen = set()
    while parent[row] >= 0:
        if row in seen or parent[row] not in shown:
            return False
        seen.add(row)
        row = int(parent[row])
    return True


def test_a_thread_stays_together() -> None:
    """Root 0 with replies 1 and 2, of which 1 has the reply 3; root 4. Wished: 4 3 2 1 0."""
    parent = np.array([-1, 0, 0, 1, -1])
    got = order_threads(np.array([4, 3, 2, 1, 0]), parent, np.array([0, 5]))
    assert got.tolist() == [4, 0, 2, 1, 3]


@pytest.mark.parametrize("counts", [[], [0], [0, 1, 2, 3]])
def test_the_decay_is_a_power_with_a_floor(counts: list[int]) -> None:
    rule = Slate(author_decay=0.5, author_floor=0.2)
    got = author_decay(np.array(counts, dtype=np.int64), rule)
    assert got == pytest.approx([max(0.2, 0.5**k) for k in counts])

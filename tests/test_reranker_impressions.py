"""What a log of impressions refuses, where it says that the fault is, and what can be read off it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reranker.columns import FeedError, StringColumn
from reranker.exploration import request_keys
from reranker.impressions import ImpressionLog
from reranker.log_kernel import first_repeated
from tests.logs import log_columns, log_of, values_of


def two(**changes: Any) -> dict[str, Any]:
    """Request "a" with 3 candidates, of which rows 2 and 0 served; request "b" with 2, of which row 3."""
    columns = {
        "request_id": StringColumn.from_values(["a", "b"]),
        "user": StringColumn.from_values(["u", "v"]),
        "offsets": np.array([0, 3, 5]),
        "item_id": np.array([10, 11, 12, 10, 13]),
        "score": np.array([1.0, 0.0, 2.0, 0.0, 0.0]),
        "slot_offsets": np.array([0, 2, 3]),
        "slate": np.array([2, 0, 3]),
        "log_prefix_propensity": np.log([0.5, 0.25, 0.5]),
        "viewed": np.array([True, False, True]),
    }
    return columns | changes


BAD = {
    "rising prefixes": (
        {"log_prefix_propensity": np.array([-1.5, -1.2, -1.0])},
        r'log_prefix_propensity: .* at most the -1.5 of the slot above, got -1.2 at request "a", slot 1',
    ),
    "probability above 1": (
        {"log_prefix_propensity": np.array([0.1, -1.0, -1.0])},
        r'log_prefix_propensity: .* at most 1, so 0 or less, got 0.1 at request "a", slot 0',
    ),
    "probability of 0 of what was served": (
        {"log_prefix_propensity": np.array([-1.0, -1.0, -np.inf])},
        r'probability above 0 of what was served, got -inf at request "b", slot 0',
    ),
    "some of a request's propensities": (
        {"log_prefix_propensity": np.array([-1.0, np.nan, -1.0])},
        r'log_prefix_propensity: expected all slots of a request or none, got nan at request "a", slot 1',
    ),
    "a candidate in two slots": (
        {"slate": np.array([2, 2, 3])},
        r'slate: expected each candidate in one slot, got 2 at request "a", slot 1',
    ),
    "a slot beyond the candidates": (
        {"slate": np.array([2, 0, 5])},
        r'slate: expected a row from 3 to 4, got 5 at request "b", slot 0',
    ),
    "a candidate of another request": (
        {"slate": np.array([2, 3, 4])},
        r'slate: expected a row from 0 to 2, got 3 at request "a", slot 1',
    ),
    "an item twice in a request": (
        {"item_id": np.array([10, 11, 10, 10, 13])},
        r'item_id: expected each item once in a request, got 10 again at request "a", candidate 2',
    ),
    "a request twice": (
        {"request_id": StringColumn.from_values(["a", "a"])},
        r'request_id: expected each request once, got "a" twice',
    ),
    "no user": (
        {"user": StringColumn.from_values(["u", None])},
        r"user: expected a value, got null at request 1",
    ),
    "a harm that is no probability": (
        {"harm": {"toxicity": np.array([0, 0, 0, 0, 1.5])}},
        r'harm.toxicity: expected a probability in \[0, 1\], got 1.5 at request "b", candidate 1',
    ),
    "a prediction below 0": (
        {"p_action": {"like": np.array([0, -0.1, 0, 0, 0], np.float32)}},
        r'p_action.like: expected a probability in \[0, 1\], got -0.1 at request "a", candidate 1',
    ),
    "an infinite score": (
        {"score": np.array([0, 0, 0, np.inf, 0])},
        r'score: expected a finite number or NaN, got inf at request "b", candidate 0',
    ),
    "an action that is not known": (
        {"action": {"like": np.array([0.0, 0.0, np.nan])}},
        r'action.like: expected a finite number >= 0, got nan at request "b", slot 0',
    ),
    "an action without a view": (
        {"action": {"like": np.array([1.0, 1.0, 0.0])}},
        r'viewed: expected a view under at least 99.9% .* 1 of 2 without, the first at request "a", slot 1',
    ),
    "fewer candidates in all than logged": (
        {"n_total": np.array([3, 1])},
        r'n_total: expected at least the 2 candidates logged, got 1 at request "b"',
    ),
    "a negative temperature": (
        {"temperature": np.array([np.nan, -1.0])},
        r'temperature: expected a finite number >= 0, got -1 at request "b"',
    ),
    "a rank from 0": (
        {"from_rank": np.array([1, 0])},
        r'from_rank: expected at least 1, got 0 at request "b"',
    ),
    "a negative time in view": (
        {"dwell_ms": np.array([1.0, np.nan, -5.0])},
        r'dwell_ms: expected a finite number >= 0, got -5 at request "b", slot 0',
    ),
    "columns of another length": (
        {"harm": {"toxicity": np.zeros(4)}},
        r"harm.toxicity: expected 5 rows, got 4",
    ),
    "numbers of another type": (
        {"viewed": np.array([1, 0, 1])},
        r"viewed: expected bool, got int64",
    ),
    "half precision, whose sums overflow": (
        {"harm": {"toxicity": np.zeros(5, np.float16)}},
        r"harm.toxicity: expected float32 or float64, got float16",
    ),
    "falling offsets": (
        {"offsets": np.array([0, 5, 3])},
        r"offsets: expected int64, 0 first and never falling",
    ),
    "requests without slots": (
        {"slot_offsets": np.array([0, 3])},
        r"slot_offsets: expected 3 numbers, got 2",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_refused_by_request_and_row(what: str) -> None:
    changes, message = BAD[what]
    with pytest.raises(FeedError, match=message):
        ImpressionLog(**two(**changes))


def test_a_slot_of_a_request_without_candidates_is_refused() -> None:
    with pytest.raises(FeedError, match=r'expected no slot without candidates, got 3 at request "b", slot 0'):
        ImpressionLog(**two(offsets=np.array([0, 5, 5]), item_id=np.arange(5)))


def test_one_lost_view_in_a_thousand_actions_is_tolerated_and_counted() -> None:
    """2,000 slots with an action: 2 without a view are 0.1 %, 3 are more."""
    n = 2_000

    def log(n_unseen: int) -> ImpressionLog:
        return ImpressionLog(
            request_id=StringColumn.from_values(f"r{i}" for i in range(n)),
            user=StringColumn.from_values(f"u{i}" for i in range(n)),
            offsets=np.arange(n + 1),
            item_id=np.arange(n),
            score=np.zeros(n),
            slot_offsets=np.arange(n + 1),
            slate=np.arange(n),
            log_prefix_propensity=np.zeros(n),
            viewed=np.arange(n) >= n_unseen,
            action={"like": np.ones(n)},
        )

    assert int(log(2).without_view.sum()) == 2
    with pytest.raises(FeedError, match=r"got 3 of 2000 without"):
        log(3)


def test_rounding_of_a_logger_is_no_error() -> None:
    ImpressionLog(**two(log_prefix_propensity=np.array([1e-12, 1e-11, -1.0])))


def test_what_was_not_logged_is_none_or_nan_and_never_zero() -> None:
    log = ImpressionLog(**two(log_prefix_propensity=np.array([np.nan, np.nan, -1.0]), viewed=None))
    assert log.viewed is None
    assert log.dwell_ms is None
    assert log.has_propensity.tolist() == [False, True]
    assert log.is_drawn.tolist() == [False, True]
    assert not log.without_view.any()


def test_an_empty_log_and_empty_requests_are_logs() -> None:
    empty = log_of(0)
    assert (empty.n, empty.n_candidates, empty.n_slots) == (0, 0, 0)
    hollow = log_of(3, most=0)
    assert hollow.has_propensity.all()
    assert not hollow.is_drawn.any()


def test_columns_are_read_only() -> None:
    log = log_of()
    for values in (log.slate, log.harm["toxicity"], log.action["like"]):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 0


def test_places_of_slots_and_keys_of_users() -> None:
    log = ImpressionLog(**two())
    assert log.position.tolist() == [0, 1, 0]
    assert log.request_of_slot.tolist() == [0, 0, 1]
    assert log.request_of_row.tolist() == [0, 0, 0, 1, 1]
    assert log.user_key.tolist() == request_keys("uv").tolist()
    part = log.take(np.array([1]))
    assert part.user_key.tolist() == request_keys("v").tolist()  # though its code is now the only one


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 6), st.integers(0, 50), st.data())
def test_taking_requests_is_building_the_log_from_them(n: int, seed: int, data: Any) -> None:
    columns = log_columns(n, seed=seed)
    log = ImpressionLog(**columns)
    chosen = np.array(
        data.draw(st.lists(st.integers(0, max(n - 1, 0)), unique=True, max_size=n)), dtype=np.int64
    )
    taken = log.take(chosen)
    ImpressionLog(**{name: value for name, value in vars(taken).items() if name in columns})  # still a log
    for i, r in enumerate(chosen.tolist()):
        own = slice(*log.offsets[r : r + 2])
        new = slice(*taken.offsets[i : i + 2])
        assert taken.item_id[new].tolist() == log.item_id[own].tolist()
        served = log.slate[log.slot_offsets[r] : log.slot_offsets[r + 1]]
        again = taken.slate[taken.slot_offsets[i] : taken.slot_offsets[i + 1]]
        assert taken.item_id[again].tolist() == log.item_id[served].tolist()
        assert taken.request_id[i] == log.request_id[r]
    assert values_of(log.take(np.arange(n))) == values_of(log)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(-3, 3) | st.sampled_from([2**40, 2**41, -(2**63)]), max_size=6), max_size=5)
)
def test_an_item_that_stands_twice_is_found_and_only_that(requests: list[list[int]]) -> None:
    expected, row = -1, 0
    for items in requests:
        for i, item in enumerate(items):
            if expected < 0 and item in items[:i]:
                expected = row
            row += 1
    offsets = np.concatenate(([0], np.cumsum([len(items) for items in requests]))).astype(np.int64)
    flat = np.array([item for items in requests for item in items], dtype=np.int64)
    assert first_repeated(flat, offsets) == expected

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.columns import (
    StringColumn,
    StringLists,
    closest,
    first_row,
    freeze_arrays,
    ragged_offsets,
    ragged_rows,
    with_changes,
)

TEXTS = st.lists(st.none() | st.sampled_from(["a", "b", "", "ü"]), max_size=20)


@given(TEXTS)
def test_a_string_column_gives_back_what_it_was_made_of(values):
    column = StringColumn.from_values(values)
    assert column.to_list() == values == list(column)
    assert [column[row] for row in range(len(column))] == values
    assert column.is_null.tolist() == [value is None for value in values]
    assert set(column.present()) == {value for value in values if value is not None}


@given(TEXTS.filter(len), st.data())
def test_taking_rows_of_a_string_column_equals_indexing_a_list(values, data):
    rows = data.draw(st.lists(st.integers(0, len(values) - 1)))
    taken = StringColumn.from_values(values).take(np.array(rows, dtype=np.int64))
    assert taken.to_list() == [values[row] for row in rows]
    assert set(taken.present()) == {values[row] for row in rows} - {None}


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=3), min_size=1, max_size=8), st.data())
def test_taking_rows_of_string_lists_equals_indexing_a_list(lists, data):
    offsets = np.concatenate(([0], np.cumsum([len(links) for links in lists]))).astype(np.int64)
    column = StringLists(offsets, StringColumn.from_values([link for links in lists for link in links]))
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1)))
    taken = column.take(np.array(rows, dtype=np.int64))
    items, bounds = taken.items.to_list(), taken.offsets.tolist()
    assert len(taken) == len(rows)
    assert [items[a:b] for a, b in pairwise(bounds)] == [lists[row] for row in rows]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=8))
def test_ragged_rows_are_the_ranges_one_after_another(ranges):
    starts = np.array([start for start, _ in ranges], dtype=np.int64)
    lengths = np.array([length for _, length in ranges], dtype=np.int64)
    expected = [row for start, length in ranges for row in range(start, start + length)]
    assert ragged_rows(starts, lengths).tolist() == expected


def test_ragged_offsets_cut_at_each_change():
    assert ragged_offsets(np.array([0, 0, 2, 1], dtype=np.int32)).tolist() == [0, 2, 3, 4]
    assert ragged_offsets(np.zeros(0, dtype=np.int32)).tolist() == [0]


@pytest.mark.parametrize(
    ("codes", "values", "message"),
    [
        ([2], ("a",), "codes: expected -1 to 0, got 2 to 2"),
        ([-2], ("a",), "codes: expected -1 to 0, got -2 to -2"),
        ([0, 1], ("a", "a"), "values: expected each string once"),
    ],
)
def test_a_string_column_refuses_codes_without_a_value_and_repeated_values(codes, values, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        StringColumn(np.array(codes, dtype=np.int32), values)


def test_a_value_that_is_not_held_has_a_code_that_matches_no_row():
    column = StringColumn.from_values(["a", None])
    assert column.code_of("a") == 0
    assert not (column.codes == column.code_of("z")).any()
    assert StringColumn.null(2).to_list() == [None, None]


def test_arrays_cannot_be_written_to():
    column = StringColumn.from_values(["a"])
    with pytest.raises(ValueError, match="read-only"):
        column.codes[0] = -1
    lists = StringLists(np.array([0, 1]), column)
    freeze_arrays(lists)
    assert not lists.offsets.flags.writeable


def test_a_near_name_is_suggested_and_a_far_one_is_not():
    assert closest("liek", ["like", "love"]) == '; did you mean "like"?'
    assert closest("zzz", ["like"]) == ""


def test_changes_replace_fields_and_leave_the_rest():
    column = StringColumn.from_values(["a", "b"])
    changed = with_changes(StringColumn, column, codes=np.array([1], dtype=np.int32))
    assert changed.to_list() == ["b"]
    assert changed.values is column.values
    assert first_row(np.array([False, True, True])) == 1

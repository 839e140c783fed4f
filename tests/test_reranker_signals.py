import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reranker.columns import FeedError
from reranker.signals import REACTIONS, SIGNAL_NAMES, Signals, check_signal, column_name

COUNTS = st.none() | st.integers(0, 2**53).map(float)


def build(columns, kind="counts"):
    values = {name: np.array([0.0 if v is None else v for v in row]) for name, row in columns.items()}
    null = {name: np.array([v is None for v in row], dtype=bool) for name, row in columns.items()}
    n = len(next(iter(columns.values())))
    return Signals.from_columns(values, null, n, kind)


def as_null(values):
    return [None if np.isnan(value) else value for value in values]


@given(st.integers(1, 6).flatmap(lambda n: st.tuples(*[st.lists(COUNTS, min_size=n, max_size=n)] * 3)))
def test_signals_give_back_counts_and_nulls(rows):
    columns = dict(zip(("share", "like", "angry"), rows, strict=True))
    signals = build(columns)
    assert signals.names == ("like", "angry", "share")
    for name, row in columns.items():
        assert as_null(signals.get(name)) == row
        assert signals.counted(name).tolist() == [value or 0.0 for value in row]
    turned = signals.take(np.arange(len(rows[0]))[::-1])
    assert as_null(turned.get("like")) == columns["like"][::-1]
    assert as_null(signals.take(np.s_[1:]).get("like")) == columns["like"][1:]


def test_a_signal_without_a_column_is_null_and_counts_as_nothing():
    signals = build({"like": [1.0, 2.0]})
    assert np.isnan(signals.get("love")).all()
    assert signals.counted("love").tolist() == [0.0, 0.0]
    assert signals.null is None


def test_chosen_candidates_stay_row_by_row_in_memory():
    signals = build({"like": [1.0, None, 3.0], "love": [1.0, 2.0, 3.0]}).take(np.array([2, 0]))
    assert signals.values.flags.c_contiguous
    assert signals.null.flags.c_contiguous
    assert not signals.values.flags.writeable


def test_dropping_signals_leaves_the_others():
    signals = build({"like": [1.0, None], "love": [1.0, 2.0]})
    assert signals.without(["love"]).names == ("like",)
    assert as_null(signals.without(["love"]).get("like")) == [1.0, None]
    assert signals.without(["angry"]) is signals


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, 2.0**54])
def test_a_count_outside_its_range_is_refused_with_its_row(value):
    with pytest.raises(
        FeedError, match=r"^like: expected a finite number from 0 to 2\*\*53, got .* at row 1$"
    ):
        Signals(("like",), np.array([[0.0, value]]), None, "counts")


def test_a_probability_over_one_is_refused_but_predicted_seconds_are_not():
    with pytest.raises(FeedError, match=r"^p_like: expected a probability in \[0, 1\], got 1.5 at row 0$"):
        Signals(("like",), np.array([[1.5]]), None, "probabilities")
    check_signal("dwell_s", np.array([30.0]), "probabilities")
    assert column_name("like", "counts") == "like"


@pytest.mark.parametrize(
    ("names", "values", "null", "kind", "message"),
    [
        (("liek",), [[1.0]], None, "counts", 'signals: unknown signal "liek"; did you mean "like"?'),
        (
            ("like", "like"),
            [[1.0], [1.0]],
            None,
            "counts",
            "signals: expected each signal once, got like, like",
        ),
        (("like",), [[1.0]], None, "odds", 'signals: expected the kind "counts" or "probabilities", got'),
        (("like",), [1.0], None, "counts", r"signals: expected shape (1, n), got (1,)"),
        (("like",), [[1.0]], [[True]], "counts", "signals: expected 0 where a value is null"),
        (("like",), [[1.0]], [[True, False]], "counts", "signals.null: expected bool (1, 1), got (1, 2)"),
    ],
)
def test_signals_that_are_not_well_formed_are_refused(names, values, null, kind, message):
    with pytest.raises(FeedError) as caught:
        Signals(names, np.array(values), None if null is None else np.array(null), kind)
    assert str(caught.value).startswith(message)


def test_each_signal_is_named_once():
    assert len(set(SIGNAL_NAMES)) == len(SIGNAL_NAMES)
    assert set(REACTIONS) <= set(SIGNAL_NAMES)

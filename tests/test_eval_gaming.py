"""Gaming alarms: planted ones are found, clean samples rarely call, lively posts do not."""

import numpy as np
import pytest
from scipy import stats

from eval.excess import all_of, any_of, excess
from eval.gaming import INNOCENT, Acts, gaming_alarms
from eval.multiplicity import benjamini_hochberg

N = 250


def drawn(rng, n, mean, spread=0.03):
    """Parts of whole numbers n with beta-binomial spread."""
    size = (1 - spread) / spread
    return rng.binomial(n.astype(int), rng.beta(mean * size, (1 - mean) * size, len(n))).astype(np.float64)


def comments(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(20, 200, N).astype(np.float64)
    return Acts(
        n, repeats=drawn(rng, n, 0.2), newcomers=drawn(rng, n, 0.5), peak=drawn(rng, n, 0.3),
        alike=drawn(rng, n, 0.3),
    ), rng.integers(0, 20, N)  # fmt: skip


def reactions(seed):
    rng = np.random.default_rng(seed)
    unit = rng.integers(0, 20, N)
    n = rng.integers(30, 400, N).astype(np.float64)
    habit = np.clip(rng.beta(3, 60, 20), 0.005, 0.3)[unit]
    angry = drawn(rng, n, habit)
    every = Acts(
        n, repeats=np.zeros(N), newcomers=drawn(rng, n, 0.3), peak=drawn(rng, n, 0.25),
        alike=np.full(N, np.nan), kinds={"like": n - angry, "angry": angry},
    )  # fmt: skip
    cross = Acts(
        angry, repeats=np.zeros(N), newcomers=drawn(rng, angry, 0.3), peak=drawn(rng, angry, 0.25),
        alike=np.full(N, np.nan), kinds={"reactions": n},
    )  # fmt: skip
    return every, cross, unit


def planted(values, at, value):
    made = values.copy()
    made[at] = value
    return made


def changed(acts, at, **parts):
    names = ("n", "repeats", "newcomers", "peak", "alike")
    made = {
        name: planted(getattr(acts, name), at, parts.get(name, getattr(acts, name)[at])) for name in names
    }
    kinds = {name: planted(v, at, parts.get(name, v[at])) for name, v in acts.kinds.items()}
    return Acts(**made, kinds=kinds)


def test_tails_are_those_of_scipy_and_p_values_are_uniform_or_larger():
    rng = np.random.default_rng(0)
    n = rng.integers(20, 300, 4_000).astype(np.float64)
    part = drawn(rng, n, 0.2)
    found = excess(part, n)
    assert found.spread == pytest.approx(0.03, rel=0.1)
    size = (1 - found.spread) / found.spread
    oracle = stats.betabinom.sf(part - 1, n, found.habit * size, (1 - found.habit) * size)
    above = part > n * found.habit
    assert found.p[above] == pytest.approx(oracle[above], rel=0.01)  # the habit is estimated: a little larger
    assert (found.p[above] >= oracle[above] * 0.999).all()
    assert (found.p[~above] == 1).all()
    for level in (0.01, 0.05, 0.2):
        assert (found.p <= level).mean() < level + 4 * np.sqrt(level * (1 - level) / 4_000)


def test_ten_brigades_do_not_hide_each_other():
    rng = np.random.default_rng(2)
    n = np.full(300, 100.0)
    part = planted(drawn(rng, n, 0.02), np.arange(10), 80.0)
    found = excess(part, n)
    assert found.spread == pytest.approx(0.03, abs=0.02)
    assert (benjamini_hochberg(found.p)[:10] < 0.001).all()


def test_a_publisher_with_an_angry_habit_is_not_an_excess():
    rng = np.random.default_rng(1)
    unit = rng.integers(0, 10, 500)
    n = np.full(500, 200.0)
    part = drawn(rng, n, np.where(unit == 0, 0.5, 0.05))
    by_habit, by_all = excess(part, n, group=unit), excess(part, n)
    angry = unit == 0
    assert by_habit.habit[angry].mean() == pytest.approx(0.5, abs=0.06)
    assert (benjamini_hochberg(by_habit.p) <= 0.05).sum() <= 2
    assert by_all.p[angry].mean() < by_habit.p[angry].mean()


def test_clean_samples_call_an_alarm_no_more_often_than_stated():
    # with no true one any alarm is false, so the chance of one is held at q = 0.05; 100 repeats
    called = 0
    for seed in range(100):
        spoken, _ = comments(seed)
        every, cross, unit = reactions(seed)
        called += bool(gaming_alarms(unit, comments=spoken, reactions=every, angry=cross).alarms)
    assert called / 100 < 0.05 + 4 * 0.022


def test_planted_spam_and_brigades_are_found_each_with_an_innocent_explanation():
    found_all = 0
    for seed in range(20):
        spoken, _ = comments(seed)
        every, cross, unit = reactions(seed)
        spoken = changed(spoken, 7, n=150.0, repeats=140.0, alike=145.0)
        every = changed(every, 3, n=300.0, newcomers=280.0, peak=270.0, like=299.0, angry=1.0)
        every = changed(every, 11, n=200.0, newcomers=60.0, peak=50.0, like=50.0, angry=150.0)
        cross = changed(cross, 11, n=150.0, repeats=0.0, newcomers=140.0, peak=140.0, reactions=200.0)
        cross = changed(cross, 3, n=1.0, newcomers=0.0, peak=0.0, reactions=300.0)
        found = gaming_alarms(unit, comments=spoken, reactions=every, angry=cross)
        kinds = {(alarm.kind, alarm.post) for alarm in found.alarms}
        found_all += kinds >= {("comment spam", 7), ("reaction brigade", 3), ("angry brigade", 11)}
        assert all(alarm.innocent == INNOCENT[alarm.kind] for alarm in found.alarms)
        assert all(alarm.signs[0].share > alarm.signs[0].habit for alarm in found.alarms)
    assert found_all >= 19


def test_a_lively_thread_and_an_outrage_of_many_accounts_are_no_alarm():
    spoken, _ = comments(0)
    every, cross, unit = reactions(0)
    lively = changed(spoken, 7, n=150.0, repeats=140.0, alike=30.0, peak=40.0)
    outrage = changed(cross, 11, n=150.0, repeats=0.0, newcomers=40.0, peak=35.0, reactions=200.0)
    found = gaming_alarms(unit, comments=lively, reactions=every, angry=outrage)
    assert not {7, 11} & {alarm.post for alarm in found.alarms}


def test_what_cannot_be_tested_says_why():
    _, cross, unit = reactions(0)
    nobody = Acts(cross.n, *[np.full(N, np.nan)] * 4, kinds=cross.kinds)
    found = gaming_alarms(unit, angry=nobody)
    assert found.n_tested == {}
    assert "repeated accounts or accounts seen nowhere else or one hour" in found.refused["angry brigade"]
    assert found.refused["comment spam"].startswith("no single acts")
    with pytest.raises(
        ValueError, match=r"expected a whole number from 0 to the whole, got 1.5 of 3 at row 0"
    ):
        excess(np.array([1.5]), np.array([3.0]))
    with pytest.raises(ValueError, match="expected a whole number from 0 to the whole, got -1"):
        excess(np.array([-1.0]), np.array([3.0]))
    with pytest.raises(ValueError, match="expected at least 20 with 20 or more to know a habit from, got 0"):
        excess(np.ones(30), np.full(30, 3.0))


def test_p_values_together():
    first, second = np.array([0.01, 0.02, np.nan, np.nan]), np.array([0.5, np.nan, 0.3, np.nan])
    assert any_of(first, second)[:3].tolist() == [0.02, 0.02, 0.3]
    assert np.isnan(any_of(first, second)[3])
    assert all_of(first, second)[0] == 0.5
    assert np.isnan(all_of(first, second)[1:]).all()

"""Audit tables: a table made from known errors, all sign flips counted out, and the published one."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from eval.audit_table import (
    COLUMNS,
    AuditTable,
    add_timeline,
    check_agreement,
    implied_errors,
    read_audit_table,
    write_audit_table,
)
from reranker.columns import StringColumn

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "engagement"
PATH = DATA / "milli_twitter_audit_effects.csv"
needs_data = pytest.mark.skipif(not PATH.exists(), reason=f"the audit table is not at {PATH}")


def table(rows=(("engagement", "anger", 0.5, 0.2, 0.3, 0.5, 0.01),)):
    columns = list(zip(*rows, strict=True))
    return AuditTable(
        *(StringColumn.from_values(names) for names in columns[:2]),
        *(np.array(numbers, dtype=np.float64) for numbers in columns[2:]),
    )


def people(n=400, *, effect=0.3, sessions=1, seed=0, sd=0.5):
    """Users with a level of their own; the new timeline adds `effect` to each, differently."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n), sessions)
    control = rng.normal(1, sd, n)[user] + rng.normal(0, 0.1, len(user))
    shown = control + rng.normal(effect, 0.3, n)[user] + rng.normal(0, 0.1, len(user))
    return user, control, shown


def test_the_errors_behind_a_rounded_table_lie_within_their_bounds():
    rng = np.random.default_rng(0)
    n = 200
    error = rng.uniform(0.02, 0.1, n)
    effect = rng.normal(0, 3, n) * error
    p = np.maximum(np.round(2 * stats.norm.sf(np.abs(effect) / error), 4), 0.0002)
    made = table([("t", f"o{i}", round(effect[i], 3), 0.1, 0.1, 0.2, p[i]) for i in range(n)])
    found = implied_errors(made)
    assert (found.low <= error).all()
    assert (error <= found.high).all()
    floor = p == 0.0002
    assert floor.sum() > 10
    assert (found.low[floor] == 0).all()
    assert (found.reaches[:, 0] <= effect - 1.959 * error).all()
    # away from both ends the bounds are narrow: z of p = 0.01 is 2.5758
    narrow = implied_errors(table())
    assert narrow.low[0] == pytest.approx(0.4995 / stats.norm.isf(0.00995 / 2))
    assert narrow.high[0] == pytest.approx(0.5005 / stats.norm.isf(0.01005 / 2))


def test_columns_that_contradict_each_other_are_found():
    rows = [
        ("a", "anger", 0.473, 0.188, 0.35, 0.54, 0.01),  # a deviation of 0.3975 +- 0.0015
        ("b", "anger", 0.110, 0.044, 0.35, 0.40, 0.01),  # 0.400 +- 0.0065
        ("a", "joy", 0.500, 0.100, 0.10, 0.30, 0.01),  # 0.2
        ("b", "joy", 0.500, 0.150, 0.10, 0.25, 0.01),  # 0.3: not the same
        ("a", "trust", 0.100, -0.020, 0.10, 0.08, 0.01),
    ]
    found = check_agreement(table(rows))
    assert found.outcomes == ("anger", "joy", "trust")
    assert (found.sd_low <= found.sd_high).tolist() == [True, False, True]
    assert found.sd_low[0] == pytest.approx(0.1875 / 0.4735)
    assert found.sd_high[0] == pytest.approx(0.1885 / 0.4725)
    assert found.signs_differ.tolist() == [False, False, False, False, True]
    assert found.mean_gap == pytest.approx([0.002, 0.006, 0.1, 0.0, 0.0])


def test_a_timeline_of_ones_own_becomes_a_row_with_the_t_interval_of_its_users():
    user, control, shown = people()
    added = add_timeline(table(), "ours", user, {"anger": (control, shown)}, seed=1)
    test = stats.ttest_rel(shown, control)
    low, high = test.confidence_interval()
    effect = added.effect["anger"]
    assert (effect.low, effect.high) == pytest.approx((low, high), rel=1e-9)
    row = added.table.row("ours", "anger")
    assert len(added.table) == 2
    assert added.table.effect[row] == pytest.approx(np.mean(shown - control))
    assert added.table.standardised[row] == pytest.approx(np.mean(shown - control) / np.std(control, ddof=1))
    assert added.table.mean[row] - added.table.control_mean[row] == pytest.approx(effect.value)
    assert added.table.p[row] == pytest.approx(0.0002)  # (1 + 0) / (1 + 4999)
    assert added.table.row("engagement", "anger") == 0


def test_the_published_rows_are_kept_as_they_are(tmp_path):
    path = tmp_path / "table.csv"
    user, control, shown = people(30)
    added = add_timeline(table(), "ours", user, {"joy": (control, shown), "anger": (shown, control)}, seed=1)
    write_audit_table(added.table, path)
    again = read_audit_table(path)
    assert again.timeline.to_list() == ["engagement", "ours", "ours"]
    assert again.outcome.to_list() == ["anger", "joy", "anger"]
    for name in ("standardised", "effect", "control_mean", "mean", "p"):
        assert getattr(again, name).tolist() == getattr(added.table, name).tolist()
        assert getattr(again, name)[0] == getattr(table(), name)[0]
    assert again.effect[1] == pytest.approx(-again.effect[2])


def test_sessions_of_a_user_do_not_count_as_users():
    once = people(60)
    user, control, shown = (np.repeat(column, 3) for column in once)
    first, second = (
        add_timeline(table(), "ours", people_[0], {"joy": people_[1:]}, seed=1)
        for people_ in (once, (user, control, shown))
    )
    for name in ("effect", "standardised"):
        one, three = getattr(first, name)["joy"], getattr(second, name)["joy"]
        assert three.standard_error == pytest.approx(one.standard_error, rel=0.02)
        assert three.n_clusters == one.n_clusters == 60
    assert second.table.p[1] == pytest.approx(first.table.p[1], abs=0.02)


def test_the_p_value_is_the_share_of_all_flips_of_users():
    # 8 users: all 2^8 flips are counted; 20,000 drawn ones are within 4 standard errors of that
    user, control, shown = people(8, effect=0.15, sessions=2, seed=4)
    totals = np.bincount(user, shown - control)
    sums = np.array([abs(np.dot(signs, totals)) for signs in product([1, -1], repeat=8)])
    exact = (sums >= abs(totals.sum()) - 1e-12).mean()
    assert 0.02 < exact < 0.8
    found = add_timeline(table(), "ours", user, {"joy": (control, shown)}, seed=2, n_flips=20_000)
    assert abs(found.table.p[1] - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000)


def test_intervals_of_both_effects_cover_the_truth():
    # truth: 0.3, and 0.3 over the deviation of the rows, sqrt(0.5^2 + 0.1^2); 300 repeats, error 0.0126
    truth = {"effect": 0.3, "standardised": 0.3 / np.sqrt(0.26)}
    covered = {name: [] for name in truth}
    for seed in range(300):
        user, control, shown = people(80, sessions=2, seed=seed)
        added = add_timeline(table(), "ours", user, {"joy": (control, shown)}, seed=0, n_flips=1)
        for name, value in truth.items():
            estimate = getattr(added, name)["joy"]
            covered[name].append(estimate.low <= value <= estimate.high)
    for name in truth:
        assert abs(np.mean(covered[name]) - 0.95) < 4 * 0.0126, name


def test_what_was_not_measured_is_left_out_and_counted():
    user, control, shown = people(30)
    holes = shown.copy()
    holes[:4] = np.nan
    first = add_timeline(table(), "ours", user, {"joy": (control, holes)}, seed=1)
    second = add_timeline(table(), "ours", user[4:], {"joy": (control[4:], shown[4:])}, seed=1)
    assert first.n_left_out == {"joy": 4}
    assert first.effect == second.effect


def test_bad_measurements_are_refused():
    user, control, shown = people(5)
    with pytest.raises(ValueError, match="timeline: expected a new name, got engagement"):
        add_timeline(table(), "engagement", user, {"joy": (control, shown)}, seed=1)
    with pytest.raises(ValueError, match=r"joy: expected shape \(5,\)"):
        add_timeline(table(), "ours", user, {"joy": (control[1:], shown)}, seed=1)
    with pytest.raises(ValueError, match="joy: expected values that vary"):
        add_timeline(table(), "ours", user, {"joy": (np.ones(5), shown)}, seed=1)
    with pytest.raises(ValueError, match="at least 2 users, got 1"):
        add_timeline(table(), "ours", np.zeros(5, dtype=np.int64), {"joy": (control, shown)}, seed=1)


def test_bad_tables_are_refused(tmp_path):
    row = ("engagement", "anger", 0.5, 0.2, 0.3, 0.5, 0.01)
    with pytest.raises(ValueError, match=r"expected each timeline and outcome once, got \('engagement'"):
        table([row, row])
    with pytest.raises(ValueError, match=r"p: expected numbers in \(0, 1\], got 0.0"):
        table([(*row[:6], 0.0)])
    with pytest.raises(ValueError, match="expected a row of engagement and joy, got none"):
        table().row("engagement", "joy")
    path = tmp_path / "table.csv"
    path.write_text(",".join(COLUMNS) + "\nengagement,anger,x,0.2,0.3,0.5,0.01\n")
    with pytest.raises(ValueError, match="std_effect: expected numbers"):
        read_audit_table(path)
    path.write_text("timeline,outcome\n")
    with pytest.raises(ValueError, match="got none named std_effect"):
        read_audit_table(path)


@needs_data
def test_the_published_table_is_read_and_agrees_with_itself():
    published = read_audit_table(PATH)
    assert (len(published), published.timeline.values) == (
        78,
        ("engagement", "stated_preference", "stated_preference_downranking"),
    )
    # the effects of the engagement timeline as its authors print them
    for outcome, effect in {
        "Author Angry (overall)": 0.47,
        "Author Sad (overall)": 0.22,
        "Author Anxious (overall)": 0.23,
        "Partisanship": 0.24,
        "Out-group Animosity": 0.24,
        "Out-group Perception": -0.17,
    }.items():
        assert published.standardised[published.row("engagement", outcome)] == pytest.approx(
            effect, abs=0.006
        )
    found = check_agreement(published)
    assert (found.sd_low <= found.sd_high).all()
    assert not found.signs_differ.any()
    # the means are not over the same rows as the effects: their difference is not quite the effect
    assert 0.01 < np.abs(found.mean_gap).max() < 0.1


@needs_data
def test_the_published_p_values_imply_errors_of_a_few_hundredths():
    published = read_audit_table(PATH)
    found = implied_errors(published)
    assert (found.low <= found.high).all()
    assert ((found.low == 0) >= (published.p == 0.0002)).all()
    overall = np.array(["political" not in name for name in published.outcome.to_list()])
    told = overall & (found.low > 0) & (found.high < 1.25 * found.low)
    assert told.sum() >= 20
    assert found.low[told].min() > 0.014
    assert found.high[told].max() < 0.05

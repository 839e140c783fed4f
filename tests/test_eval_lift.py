"""Lifts, ratios of groups and rank correlations: closed forms, scipy, and coverage of known truths."""

import numpy as np
import pytest
from scipy import stats

from eval.group_ratio import group_ratio
from eval.lift import reaction_lifts
from eval.rank_correlation import rank_correlation


def reacted(lift, *, n=4_000, n_units=60, seed=0):
    """Posts of which a tenth is angry by design; harm has chance 0.05 in all and 0.05 * lift among these."""
    rng = np.random.default_rng(seed)
    unit = rng.integers(0, n_units, n)
    hot = rng.random(n) < 0.1
    rest = (1 - 0.1 * lift) / 0.9
    harm = (rng.random(n) < np.where(hot, 0.05 * lift, 0.05 * rest)).astype(np.float64)
    angry = np.where(hot, rng.integers(60, 90, n), rng.integers(0, 20, n)).astype(np.float64)
    return {"like": 100 - angry, "angry": angry}, {"bad": harm}, unit


def of(found, reaction):
    return next(one for one in found if one.reaction == reaction)


def test_a_lift_is_the_mean_among_the_high_over_the_mean_of_all():
    reactions, harms, unit = reacted(3.0)
    found = of(reaction_lifts(reactions, harms, unit), "angry")
    share = reactions["angry"] / 100
    high = share > np.quantile(share, 0.9)
    assert found.lift.value == pytest.approx(harms["bad"][high].mean() / harms["bad"].mean())
    assert (found.n_high, found.n) == (high.sum(), 4_000)
    assert found.direction == "over-represented"
    assert found.lift.low < 3 < found.lift.high


def test_a_known_lift_is_covered_and_none_is_found_where_there_is_none():
    # posts at the quantile are not all of the tenth: the truth is that of the tenth up to a few posts
    covered, false = [], 0
    for seed in range(100):
        one = of(reaction_lifts(*reacted(3.0, seed=seed)), "angry").lift
        covered.append(one.low <= 3.0 <= one.high)
        false += any(one.direction != "not measurable" for one in reaction_lifts(*reacted(1.0, seed=seed)))
    assert np.mean(covered) > 0.95 - 4 * 0.022
    assert false / 100 < 0.05 + 4 * 0.022


def test_few_high_posts_no_harm_and_an_unmeasured_reaction_are_refused_with_a_reason():
    reactions, harms, unit = reacted(3.0)
    one_unit = np.where(reactions["angry"] > 50, 0, unit)
    assert "1 publishers have a high share" in of(reaction_lifts(reactions, harms, one_unit), "angry").refused
    none = reaction_lifts(reactions, {"bad": np.zeros(4_000)}, unit)
    assert {one.refused for one in none} == {"no post has this harm"}
    tame = {"bad": np.where(reactions["angry"] > 50, 0.0, harms["bad"])}
    none = of(reaction_lifts(reactions, tame, unit), "angry")
    assert (none.high, none.lift, none.refused) == (0.0, None, "no post with a high share has this harm")
    silent = reaction_lifts(reactions | {"sad": np.zeros(4_000)}, harms, unit)
    assert "0 posts of 0 publishers have a high share" in of(silent, "sad").refused
    absent = of(reaction_lifts(reactions | {"wow": np.full(4_000, np.nan)}, harms, unit), "wow")
    assert (absent.n, absent.direction) == (0, "refused")


def test_impossible_counts_and_harms_are_refused():
    reactions, harms, unit = reacted(3.0)
    with pytest.raises(ValueError, match="angry: expected numbers of at least 0"):
        reaction_lifts(reactions | {"angry": -reactions["angry"]}, harms, unit)
    with pytest.raises(ValueError, match=r"bad: expected numbers of \[0, 1\]"):
        reaction_lifts(reactions, {"bad": harms["bad"] * 2}, unit)


def months(ratio, *, n_publishers=60, seed=0):
    """Angry shares that grow month by month, `ratio` times higher for the first half of the publishers."""
    rng = np.random.default_rng(seed)
    publisher = np.repeat(np.arange(n_publishers), 6)
    month, first = np.tile(np.arange(6), n_publishers), publisher < n_publishers / 2
    reactions = np.floor(rng.lognormal(6, 0.5, len(publisher))) * np.where(first, 1 + month, 6 - month) + 10
    habit = rng.gamma(20, 1 / 20, n_publishers)[publisher]
    share = np.minimum(0.01 * 1.3**month * np.where(first, ratio, 1) * habit, 1)
    return rng.binomial(reactions.astype(int), share).astype(float), reactions, first, month, publisher


def test_the_ratio_of_two_months_by_hand():
    # month 0: 20 of 100 against 10 of 100; month 1: 3 of 100 against 6 of 300: as in the headline tests
    part = np.array([20, 10, 3, 6.0] + [0.0] * 8)
    whole = np.array([100, 100, 100, 300.0] + [1e-9] * 8)
    first = np.array([True, False, True, False] + [True, False] * 4)
    month = np.array([0, 0, 1, 1] + [0] * 8)
    publisher = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    found = group_ratio(part, whole, first, month, publisher)
    assert found.value == pytest.approx(12.25 / 6.5)


def test_a_ratio_within_months_is_covered_and_months_do_not_make_one():
    covered, values = [], []
    for seed in range(200):
        found = group_ratio(*months(1.7, seed=seed))
        covered.append(found.low <= 1.7 <= found.high)
        values.append(found.value)
    assert np.mean(values) == pytest.approx(1.7, abs=0.02)
    assert abs(np.mean(covered) - 0.95) < 4 * 0.0154
    part, whole, first, month, publisher = months(1.0)
    crude = (part[first].sum() / whole[first].sum()) / (part[~first].sum() / whole[~first].sum())
    assert crude > 1.2  # the first group posts more in the later, angrier months
    same = group_ratio(part, whole, first, month, publisher)
    assert same.low < 1 < same.high


def test_a_publisher_of_both_groups_or_too_few_of_one_are_refused():
    part, whole, first, month, publisher = months(1.7)
    with pytest.raises(ValueError, match="expected each in one group, got code 0 in both"):
        group_ratio(part, whole, first, month, np.zeros_like(publisher))
    few = (publisher >= 30) | (publisher < 4)
    with pytest.raises(ValueError, match="the group: expected at least 5 publishers, got 4"):
        group_ratio(part[few], whole[few], first[few], month[few], publisher[few])
    with pytest.raises(ValueError, match="part: expected 0 to the whole"):
        group_ratio(-part - 1, whole, first, month, publisher)
    with pytest.raises(ValueError, match="part: expected some in both groups"):
        group_ratio(np.where(first, 0.0, part), whole, first, month, publisher)


def test_the_rank_correlation_is_that_of_scipy_with_ties():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, 300).astype(float)
    y = x + rng.integers(0, 9, 300)
    found = rank_correlation(x, y, np.arange(300))
    assert found.value == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    drawn = [stats.spearmanr(*np.array([x, y])[:, rng.integers(0, 300, 300)]).statistic for _ in range(400)]
    assert found.standard_error == pytest.approx(np.std(drawn), rel=0.15)  # 400 draws: 3.5%


def test_the_interval_of_a_rank_correlation_covers_where_rows_of_a_publisher_are_alike():
    # Spearman of a normal pair with correlation r is 6 / pi * asin(r / 2)
    truth, root = 6 / np.pi * np.arcsin(0.25), np.linalg.cholesky([[1, 0.5], [0.5, 1]]).T
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        cluster = np.repeat(np.arange(60), 15)
        z = (rng.normal(size=(60, 2)) @ root)[cluster] + rng.normal(size=(900, 2)) @ root
        found = rank_correlation(z[:, 0], z[:, 1], cluster)
        covered.append(found.low <= truth <= found.high)
    assert abs(np.mean(covered) - 0.95) < 4 * 0.0154
    with pytest.raises(ValueError, match="expected values that vary"):
        rank_correlation(np.ones(10), np.arange(10.0), np.arange(10))

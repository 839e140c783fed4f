import itertools

import numpy as np
import pytest

from eval.browsing import candidate_examination, rbp_examination
from eval.harm_views import harm_views
from eval.producers import (
    amplification,
    deserved_examination,
    disparate_treatment,
    expected_exposure_loss,
    newest_first,
    producer_shares,
    random_examination,
)

GAMMA = 0.5 ** np.arange(4)


def test_shares_of_producers_by_hand():
    seen = np.array([1.0, 0.5, 0.5, 1.0, 1.0])
    harm = np.array([0.5, 0.0, np.nan, 1.0, 0.9])
    found = producer_shares(seen, harm, np.array([0, 0, 1, 2, -1]), 4)
    assert found.exposure.tolist() == pytest.approx([0.5, 1 / 6, 1 / 3, 0])
    assert found.harm.tolist() == pytest.approx([1 / 3, 0, 2 / 3, 0])
    assert found.share_unknown == pytest.approx(0.25)
    assert found.share_unscored == pytest.approx(0.5 / 3)
    assert found.concentration == pytest.approx(0.25 + 1 / 36 + 1 / 9)
    assert found.top(2).tolist() == [2, 0]
    assert found.top(10).tolist() == [2, 0]  # those without harm are no contributors


def test_concentration_is_one_over_the_number_of_equal_producers():
    found = producer_shares(np.ones(8), np.zeros(8), np.arange(8) % 4, 4)
    assert found.concentration == pytest.approx(0.25)
    assert np.isnan(found.harm).all()
    assert found.top().tolist() == []


def test_no_view_of_a_known_producer_is_refused():
    with pytest.raises(ValueError, match="at least one view of a known one"):
        producer_shares(np.ones(2), np.zeros(2), np.array([-1, -1]), 1)


def test_deserved_exposure_is_the_mean_over_every_order_that_merit_allows():
    merit = np.array([1.0, 0.0, 1.0, 0.0])
    offsets = np.array([0, 4])
    allowed = [
        order for order in itertools.permutations(range(4)) if (np.diff(merit[list(order)]) <= 0).all()
    ]
    mean = np.mean([candidate_examination(GAMMA, np.array(order), 4) for order in allowed], axis=0)
    np.testing.assert_allclose(deserved_examination(merit, GAMMA, offsets), mean)
    every = np.mean(
        [candidate_examination(GAMMA, np.array(order), 4) for order in itertools.permutations(range(4))],
        axis=0,
    )
    np.testing.assert_allclose(random_examination(GAMMA, offsets), every)
    # positions beyond those shown count 0
    np.testing.assert_allclose(random_examination(GAMMA[:2], offsets), np.full(4, 1.5 / 4))


def test_the_loss_is_the_squared_distance_and_splits_in_three():
    rng = np.random.default_rng(1)
    offsets = np.array([0, 4, 4, 7])
    expected, merit = rng.random(7), np.array([1.0, 1, 0, 0, 2, 1, 1])
    target = deserved_examination(merit, GAMMA, offsets)
    found = expected_exposure_loss(expected, target, offsets)
    gaps = (expected - target) ** 2
    np.testing.assert_allclose(found.loss, [gaps[:4].sum(), 0.0, gaps[4:].sum()], atol=1e-12)
    np.testing.assert_allclose(found.loss, found.disparity - 2 * found.relevance + found.target)
    fair = expected_exposure_loss(target, target, offsets)
    np.testing.assert_allclose(fair.loss, 0.0, atol=1e-12)
    # one fixed order of equal posts is not fair, though it may be right by nDCG
    fixed = expected_exposure_loss(
        np.tile(GAMMA, 1), random_examination(GAMMA, np.array([0, 4])), np.array([0, 4])
    )
    assert fixed.loss[0] > 0.3


def test_a_missing_merit_is_refused():
    with pytest.raises(ValueError, match="merit: expected a number, got nan at row 1"):
        deserved_examination(np.array([1.0, np.nan]), GAMMA, np.array([0, 2]))


def test_newest_first_stays_within_requests_and_puts_undated_posts_last():
    at = np.array(["2020-01-01", "NaT", "2020-03-01", "2021-01-01", "2022-01-01"], dtype="datetime64[us]")
    assert newest_first(at, np.array([0, 3, 5])).tolist() == [2, 0, 1, 4, 3]


def test_amplification_is_against_the_expectation_of_a_random_order():
    # the harmful one of two posts on top, gamma .5: 1 / 1.5 against the mean .75 / 1.5
    offsets, harm = np.array([0, 2, 4]), np.array([1.0, 0, 1, 0])
    seen = candidate_examination(rbp_examination(offsets, 0.5), np.arange(4), 4)
    policy = harm_views(seen, harm, offsets)
    baseline = harm_views(random_examination(GAMMA[:2], offsets), harm, offsets)
    found = amplification(policy, baseline, np.array([0, 1]))
    assert found.value == pytest.approx(1 / 0.75 - 1)
    assert found.standard_error == pytest.approx(0.0, abs=1e-12)


def groups(n: int, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(n // 8), 8)
    group = rng.random(n) < 0.3
    merit = rng.gamma(2, 1, n)
    seen = merit * np.where(group, 0.6, 1.0) * rng.gamma(3, 1 / 3, n) * rng.gamma(5, 0.2, n // 8)[user]
    return seen, merit, group, user


def test_a_silenced_group_has_a_ratio_below_one():
    seen, merit, group, user = groups(8000, 2)
    found = disparate_treatment(seen, merit, group, user)
    by_hand = seen[group].sum() / merit[group].sum() / (seen[~group].sum() / merit[~group].sum())
    assert found.value == pytest.approx(by_hand)
    assert abs(found.value - 0.6) < 4 * found.standard_error
    assert found.high < 1


def test_the_error_of_the_ratio_is_that_of_a_bootstrap_over_users():
    seen, merit, group, user = groups(800, 3)
    found = disparate_treatment(seen, merit, group, user)
    rng = np.random.default_rng(4)
    made = []
    for _ in range(1500):
        weight = rng.multinomial(100, np.full(100, 0.01))[user]
        top = (weight * seen)[group].sum() / (weight * merit)[group].sum()
        rest = (weight * seen)[~group].sum() / (weight * merit)[~group].sum()
        made.append(np.log(top / rest))
    assert found.standard_error / found.value == pytest.approx(np.std(made), rel=0.1)


def test_equal_treatment_is_a_ratio_of_exactly_one():
    merit = np.array([1.0, 2, 1, 2, 4, 8])
    found = disparate_treatment(merit / 2, merit, np.array([True, False] * 3), np.array([0, 0, 1, 1, 2, 2]))
    assert found.value == pytest.approx(1.0)


def test_a_post_of_unknown_merit_is_left_out_of_exposure_too():
    seen, merit = np.array([1.0, 1, 1, 1, 9]), np.array([1.0, 1, 1, 1, np.nan])
    group, user = np.array([True, False, True, False, True]), np.array([0, 0, 1, 1, 1])
    assert disparate_treatment(seen, merit, group, user).value == pytest.approx(1.0)


def test_a_group_without_merit_is_refused_by_name():
    with pytest.raises(ValueError, match="exposure of the group: expected a sum above 0"):
        disparate_treatment(np.ones(2), np.ones(2), np.zeros(2, dtype=bool), np.arange(2))

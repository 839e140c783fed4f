"""Boosted friends: the known truth is recovered, intervals cover, and no effect is found where none is."""

from dataclasses import replace

import numpy as np
import pytest

from eval.simulate.boosted_friends import Boost, draw_pairs, estimate, truth_of

NAMES = ("talking", "messages", "per_post")
N_SEEDS = 100
SMALL = Boost(n_people=150, n_friends=16, n_viewers=800)


def runs(boost: Boost) -> tuple[np.ndarray, np.ndarray]:
    """(seeds, 3) estimates, and whether each interval holds the truth."""
    truth, values, covers = truth_of(boost), [], []
    for seed in range(N_SEEDS):
        found = [getattr(estimate(draw_pairs(boost, seed)), name) for name in NAMES]
        values.append([one.value for one in found])
        covers.append(
            [one.low <= getattr(truth, name) <= one.high for one, name in zip(found, NAMES, strict=True)]
        )
    return np.array(values), np.array(covers)


@pytest.mark.parametrize("habit", [0.04, 0.0])
def test_the_truth_is_recovered_and_intervals_cover_at_their_rate(habit: float) -> None:
    boost = replace(SMALL, habit=habit)
    values, covers = runs(boost)
    truth = np.array([getattr(truth_of(boost), name) for name in NAMES])
    error = values.std(axis=0, ddof=1) / np.sqrt(N_SEEDS)
    # a relative change is skewed: its mean is off by about its squared relative error
    assert (np.abs(values.mean(axis=0) - truth) < 4 * error + [0, 0.006, 0]).all()
    # 95 % of 100 runs: 3.6 binomial standard errors are 8 points
    assert (covers.mean(axis=0) > 0.87).all()
    assert (covers.mean(axis=0) < 1.0).any()
    if habit == 0.0:
        assert (truth == 0).all()


def test_the_truth_is_the_mean_of_a_very_large_experiment() -> None:
    large = Boost(n_people=2_500, n_friends=60, n_viewers=2_500)
    found, truth = estimate(draw_pairs(large, 1)), truth_of(large)
    for name in NAMES:
        one = getattr(found, name)
        assert abs(one.value - getattr(truth, name)) < 4 * one.standard_error
        assert one.standard_error < 0.3 * getattr(truth, name)


def test_pairs_that_saw_more_talk_more_even_where_nothing_lasts() -> None:
    naive = estimate(draw_pairs(replace(SMALL, habit=0.0), 2)).naive
    assert naive.low > 0.5


def test_half_of_each_persons_friends_are_boosted_and_see_more() -> None:
    pairs = draw_pairs(SMALL, 0)
    per_person = np.bincount(pairs.person, weights=pairs.boosted)
    assert (per_person == SMALL.n_friends // 2).all()
    lift = pairs.seen[pairs.boosted].mean() / pairs.seen[~pairs.boosted].mean()
    assert lift == pytest.approx(SMALL.lift, rel=0.15)
    keys = pairs.person * SMALL.n_viewers + pairs.viewer
    assert len(np.unique(keys)) == len(keys)


def test_an_experiment_that_cannot_tell_is_refused() -> None:
    with pytest.raises(ValueError, match="lift: expected more than 1"):
        Boost(lift=1.0)
    with pytest.raises(ValueError, match="at least 2 people"):
        Boost(n_people=1)
    pairs = draw_pairs(SMALL, 0)
    with pytest.raises(ValueError, match="boosted: expected some pairs and not all"):
        estimate(replace(pairs, boosted=np.ones(len(pairs.person), dtype=bool)))
    with pytest.raises(ValueError, match="nobody was encouraged"):
        estimate(replace(pairs, seen=np.zeros(len(pairs.person))))
    with pytest.raises(ValueError, match="talk: expected some messages"):
        estimate(replace(pairs, talk=np.zeros(len(pairs.person))))

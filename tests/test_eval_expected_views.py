"""Exact views of candidates under random slates and readers who stop, against sums over all rankings."""

from itertools import pairwise, permutations

import numpy as np
import pytest

from eval.expected_views import expected_views
from reranker.exploration import log_slot_propensity, sample_rankings


def by_listing(logit: np.ndarray, stop: np.ndarray, n_slots: int) -> np.ndarray:
    """(C, K) the same of one request, by listing every ranking."""
    seen = np.zeros((len(logit), n_slots))
    for ranking in permutations(range(len(logit)), min(n_slots, len(logit))):
        left, chance = list(range(len(logit))), 1.0
        for item in ranking:
            strength = np.exp(logit[left] - logit[left].max())
            chance *= strength[left.index(item)] / strength.sum()
            left.remove(item)
        reads = 1.0
        for k, item in enumerate(ranking):
            seen[item, k] += chance * reads
            reads *= 1.0 - stop[item]
    return seen


@pytest.mark.parametrize("spread", [0.0, 1.0, 300.0])
def test_views_are_the_sum_over_all_rankings_also_where_one_candidate_dominates(spread: float) -> None:
    rng = np.random.default_rng(1)
    score, stop = spread * rng.standard_normal(10), rng.random(10)
    offsets = np.array([0, 5, 5, 7, 10])  # the second request is empty, the third shorter than its slate
    found = expected_views(score, offsets, 0.5, stop, 3)
    for start, end in pairwise(offsets.tolist()):
        own = by_listing(score[start:end] / 0.5, stop[start:end], 3)
        np.testing.assert_allclose(found[start:end], own, atol=1e-12)


def test_without_stopping_they_are_the_chances_to_stand_in_a_slot() -> None:
    rng = np.random.default_rng(2)
    score, offsets = rng.standard_normal(48), np.arange(5) * 12
    keys = np.arange(4, dtype=np.uint64)
    slate, slots = sample_rankings(score, offsets, 0.3, 4, seed=3, request_key=keys)
    found = expected_views(score, offsets, 0.3, np.zeros(48), 4)
    np.testing.assert_allclose(found.reshape(4, 12, 4).sum(axis=1), 1.0)  # each slot is filled
    chance = np.log(found[slate, np.tile(np.arange(4), 4)])
    np.testing.assert_allclose(chance, log_slot_propensity(score, offsets, slate, slots, 0.3), atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature: expected a number above 0"),
        ({"n_slots": 0}, "n_slots: expected at least 1"),
        ({"stop": np.full(20, 1.5)}, "stop: expected numbers in"),
        ({"score": np.full(20, np.nan)}, "score: expected 20 finite numbers"),
        ({"offsets": np.array([0, 20])}, "candidates: expected at most 16"),
        ({"offsets": np.array([0, 16, 20]), "n_slots": 9}, "n_slots: expected at most 20000 sets"),
    ],
)
def test_what_cannot_be_summed_over_is_refused(change: dict, message: str) -> None:
    given = {
        "score": np.zeros(20),
        "offsets": np.array([0, 10, 20]),
        "temperature": 1.0,
        "stop": np.zeros(20),
        "n_slots": 2,
    }
    with pytest.raises(ValueError, match=message):
        expected_views(**(given | change))

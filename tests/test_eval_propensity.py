from dataclasses import replace

import numpy as np
import pytest

from eval.propensity import expected_log_steps
from eval.support import gate
from tests.slate_world import N_CANDIDATES, RANKINGS, World, prefix_chances


def expected_of(world: World, drawn) -> np.ndarray:
    offsets = np.arange(len(drawn.kind) + 1) * N_CANDIDATES
    score = world.score[drawn.kind].ravel()
    return expected_log_steps(score, offsets, drawn.slate(), drawn.offsets, world.temperature)


def test_the_expected_surprise_is_minus_the_entropy_of_what_is_left():
    # request 0: 3 candidates, slots (row 2, row 0); request 1: 1 candidate; request 2: no slot; request 3: 2
    score = np.array([1.0, -2.0, 700.0, 5.0, 0.0, 0.3, 0.1])
    offsets, slots = np.array([0, 3, 4, 5, 7]), np.array([0, 2, 3, 3, 4])
    found = expected_log_steps(score, offsets, np.array([2, 0, 3, 6]), slots, 2.0)

    def by_hand(logits):
        p = np.exp(np.array(logits) / 2.0 - max(logits) / 2.0)
        p /= p.sum()
        return float(np.sum(p * np.log(np.maximum(p, 1e-300))))

    right = [by_hand([1.0, -2.0, 700.0]), by_hand([1.0, -2.0]), 0.0, by_hand([0.3, 0.1])]
    np.testing.assert_allclose(found, right, atol=1e-12)


def test_over_all_rankings_the_surprise_minus_its_expectation_has_mean_zero():
    logits = np.array([0.7, -0.2, 0.0, 1.5, 0.4])
    offsets, slots = np.arange(61) * 5, np.arange(61) * 3
    slate = (RANKINGS + np.arange(60)[:, None] * 5).ravel()
    prefix = prefix_chances(logits)
    steps = np.log(prefix / np.hstack([np.ones((60, 1)), prefix[:, :-1]]))
    surprise = steps - expected_log_steps(np.tile(logits, 60), offsets, slate, slots, 1.0).reshape(60, 3)
    np.testing.assert_allclose(prefix[:, -1] @ surprise, 0.0, atol=1e-12)


def test_slots_that_were_not_drawn_expect_certainty():
    score, offsets, slate, slots = (
        np.arange(6.0),
        np.array([0, 3, 6]),
        np.array([2, 1, 5, 4]),
        np.array([0, 2, 4]),
    )
    whole = expected_log_steps(score, offsets, slate, slots, 1.0)
    below = expected_log_steps(score, offsets, slate, slots, 1.0, from_rank=2)
    assert below.tolist() == [0.0, whole[1], 0.0, whole[3]]
    first_only = expected_log_steps(score, offsets, slate, slots, np.array([1.0, 0.0]))
    assert first_only.tolist() == [whole[0], whole[1], 0.0, 0.0]


@pytest.mark.parametrize("temperature", [0.85, 1.1, 1.3])
def test_temperatures_that_the_mean_weight_may_miss_are_always_found(temperature):
    world, claimed = World(), World(temperature=temperature)
    statuses, missed = set(), 0
    for seed in range(8):
        drawn = world.draw(3000, 2, seed=seed)
        served = replace(drawn.served, log_logging=drawn.log_under(claimed))
        missed += gate(served).status == "IDENTIFIED"
        report = gate(replace(served, expected_log_step=expected_of(claimed, drawn)))
        statuses.add(report.status)
        assert "PROPENSITY_MISCALIBRATED" in report.reasons
    assert statuses == {"REFUSED"}
    if temperature > 1:
        assert missed > 0  # the reason for this check


def test_right_propensities_are_not_refused():
    # 60 logs, one more test at 3 standard errors
    world, accepted, z = World(), 0, []
    for seed in range(60):
        drawn = world.draw(2000, 2, seed=seed)
        report = gate(replace(drawn.served, expected_log_step=expected_of(world, drawn)))
        accepted += report.status == "IDENTIFIED"
        z.append(report.check("PROPENSITY_MISCALIBRATED").value)
    assert accepted >= 57
    assert abs(np.mean(z)) < 4 / np.sqrt(60)
    assert np.std(z) == pytest.approx(1.0, abs=0.3)


def test_bad_input_is_refused_with_what_was_expected():
    one = np.array([0, 1])
    with pytest.raises(ValueError, match="temperature: expected at least 0, got -1"):
        expected_log_steps(np.zeros(1), one, np.zeros(1, int), one, -1.0)
    with pytest.raises(ValueError, match="slot_offsets: expected 1 requests, got 0"):
        expected_log_steps(np.zeros(1), one, np.zeros(0, int), np.zeros(1, int), 1.0)
    with pytest.raises(ValueError, match="expected finite numbers, got nan"):
        expected_log_steps(np.array([np.nan]), one, np.zeros(1, int), one, 1.0)

"""The test that weights average 1: right where tails are heavy, and not blind for it."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from eval.mean_weight import mean_weights
from eval.overlap import Limits, Served
from eval.propensity import expected_log_steps
from eval.support import gate
from reranker.exploration import log_prefix_propensity, sample_rankings

N_USERS, N_REQUESTS, N_ITEMS, N_SLOTS = 500, 2, 6, 2
N = N_USERS * N_REQUESTS
OFFSETS, SLOTS = np.arange(N + 1) * N_ITEMS, np.arange(N + 1) * N_SLOTS
USER = np.repeat(np.arange(N_USERS), N_REQUESTS)


@dataclass(frozen=True)
class Feed:
    """Logits of the logger and of the target, and what the logger served by them."""

    logger: np.ndarray
    target: np.ndarray
    slate: np.ndarray

    def served(self, *, heat: float = 1.0, claimed: np.ndarray | None = None) -> Served:
        """As logged if the logger thinks that it drew with another heat, or by other logits."""
        logit = self.logger if claimed is None else claimed
        return Served(
            log_prefix_propensity(logit, OFFSETS, self.slate, SLOTS, heat),
            log_prefix_propensity(self.target, OFFSETS, self.slate, SLOTS, 1.0),
            SLOTS,
            USER,
            expected_log_step=expected_log_steps(logit, OFFSETS, self.slate, SLOTS, heat),
        )


def feed(seed: int, *, hidden: bool = False) -> Feed:
    """In a tenth of the requests one item has nearly all the logger's chances, and none of the target's.

    Where that item is not drawn on top after all, weights are some hundreds, or more than any log will show.
    """
    rng = np.random.default_rng(seed)
    logger = rng.normal(0.0, 0.7, (N, N_ITEMS))
    target = logger + rng.normal(0.0, 0.3, (N, N_ITEMS))
    bound = rng.random(N) < 0.1
    logger[:, 0] += np.where(bound, rng.uniform(5.0, 30.0, N), 0.0)
    drawn = logger.copy()
    if hidden:
        drawn[:, -1] = -1000.0
    slate, _ = sample_rankings(
        drawn.ravel(), OFFSETS, 1.0, N_SLOTS, seed=seed, request_key=np.arange(N, dtype=np.uint64)
    )
    return Feed((drawn if hidden else logger).ravel(), target.ravel(), slate)


def checks(served: Served):
    weight = np.exp(served.log_target - served.log_logging)
    return mean_weights(served, weight, Limits())


def refused(served: Served) -> tuple[bool, bool]:
    low, high = checks(served)
    return not low.passed, not high.passed


def z_of_slates(served: Served) -> float:
    """The plain test of the slates' weights, by user: what the steps are there to replace."""
    weight = np.exp(served.log_target - served.log_logging)[N_SLOTS - 1 :: N_SLOTS]
    return float(stats.ttest_1samp(weight.reshape(N_USERS, -1).mean(axis=1), 1.0).statistic)


def test_right_logs_with_heavy_tails_fail_as_seldom_as_stated():
    # at 3 errors .27 % should fail, .8 of 300; 5 or more would have a chance of .0014
    logs = [feed(seed).served() for seed in range(300)]
    assert sum(any(refused(log)) for log in logs) < 5
    # while their slates' weights are too low, with an error too small, in most of them
    assert np.mean([z_of_slates(log) < -3 for log in logs]) > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_wrong_propensities_are_found_under_the_same_heavy_tails(seed):
    right = feed(1000 + seed)
    assert any(refused(right.served(heat=0.6)))
    # too hot a one hardly moves the weights of a target so near: see the check of the logger against itself
    assert {"PROPENSITY_MISCALIBRATED"} <= set(gate(right.served(heat=1.3)).reasons)
    floored = right.served()
    floor = np.quantile(floored.log_logging, 0.1)
    assert refused(replace(floored, log_logging=np.maximum(floored.log_logging, floor)))[0]


@pytest.mark.parametrize("seed", range(5))
def test_an_item_that_is_never_served_is_found_under_the_same_heavy_tails(seed):
    assert refused(feed(2000 + seed, hidden=True).served()) == (True, False)


def test_a_filter_after_the_ranking_is_found_by_its_weights_where_the_target_demotes_what_it_takes_out():
    hidden, whole = feed(8, hidden=True), feed(8).logger  # the logger thinks that it could
    lower = hidden.target - 3.0 * (np.arange(N * N_ITEMS) % N_ITEMS == N_ITEMS - 1)
    assert refused(replace(hidden, target=lower).served(claimed=whole)) == (False, True)


def population() -> Served:
    """Each of 6 slates as often as it is drawn: strengths 2, 1, 1 give chances of 3, 3, 2, 1, 2, 1 in 12."""
    slates = np.array([[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]])
    slate = np.repeat(slates, [3, 3, 2, 1, 2, 1], axis=0)
    rows = (slate + 3 * np.arange(12)[:, None]).ravel()
    offsets, slots = np.arange(13) * 3, np.arange(13) * 2
    logger, target = (np.tile(np.log(x), 12) for x in ([2.0, 1.0, 1.0], [1.0, 3.0, 7.0]))
    return Served(
        log_prefix_propensity(logger, offsets, rows, slots, 1.0),
        log_prefix_propensity(target, offsets, rows, slots, 1.0),
        slots,
        np.arange(12),
        expected_log_step=expected_log_steps(logger, offsets, rows, slots, 1.0),
    )


@pytest.mark.parametrize("entropy", [True, False])
def test_over_all_slates_as_often_as_they_are_drawn_the_steps_average_exactly_1(entropy):
    served = population() if entropy else replace(population(), expected_log_step=None)
    for check in checks(served):
        assert check.value == pytest.approx(0.0, abs=1e-12)
        assert "average 1 " in check.detail


def test_a_step_counts_by_how_much_the_logger_draws_there():
    # one slot: chances .9 and .1, or half and half; the target is at half and half
    chance = np.array([0.9, 0.9, 0.1, 0.5, 0.5, 0.5])
    expected = np.where(chance == 0.5, np.log(0.5), 0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    served = Served(
        np.log(chance), np.full(6, np.log(0.5)), np.arange(7), np.arange(6), expected_log_step=expected
    )
    # 1 - exp(-entropy) where items differ, 1 where nothing could be more or less surprising
    factor = np.where(chance == 0.5, 1.0, 1.0 - np.exp(expected))
    by_hand = stats.ttest_1samp(factor * (0.5 / chance - 1.0), 0.0).statistic
    for check in checks(served):
        assert check.value == pytest.approx(by_hand)


def test_where_nothing_is_known_of_the_draw_all_steps_count_alike():
    bare = replace(population(), expected_log_step=None)
    steps = np.diff(bare.log_logging.reshape(-1, 2), axis=1, prepend=0.0).ravel()
    target = bare.log_target + np.log(0.8)  # so that there is something to find
    off = replace(bare, log_target=target)
    for known, none in zip(checks(replace(off, expected_log_step=steps)), checks(off), strict=True):
        assert known.value == none.value != 0


def test_all_slots_together_fail_a_right_log_as_often_as_one_test_would():
    low, high = checks(feed(5).served())  # 2 slots, and both together
    each = 2 * stats.norm.sf(high.limit)
    assert 1 - (1 - each) ** 3 == pytest.approx(2 * stats.norm.sf(3.0), rel=1e-9)
    assert low.limit == -high.limit


def test_below_a_slot_that_the_target_never_fills_so_there_is_no_step():
    served = population()
    target = served.log_target.copy()
    target[6:8] = -np.inf  # the fourth slate, from the top on
    low, high = checks(replace(served, log_target=target))
    assert np.isfinite([low.value, high.value]).all()
    assert low.value < 0


def test_what_is_said_to_be_unsupported_is_taken_from_what_weights_have_to_average():
    served = feed(7, hidden=True).served()
    weight = np.exp(served.log_target - served.log_logging)
    # for each slot how likely the target puts the hidden item at it or above, whatever was served
    target = feed(7, hidden=True).target.reshape(N, N_ITEMS)
    chance = np.exp(target) / np.exp(target).sum(axis=1, keepdims=True)
    first = chance[:, -1]
    second = (chance[:, :-1] * (chance[:, -1:] / (1.0 - chance[:, :-1]))).sum(axis=1)
    missing = np.stack([first, first + second], axis=1).ravel()
    told = replace(served, unsupported=missing)
    for k in range(N_SLOTS):
        excess = (weight + missing - 1.0).reshape(N_USERS, N_REQUESTS, N_SLOTS)[:, :, k].mean(axis=1)
        z = stats.ttest_1samp(excess, 0.0).statistic
        assert checks(told)[0].value <= z + 1e-9
        assert checks(told)[1].value >= z - 1e-9
    assert checks(told)[0].value > checks(served)[0].value + 5.0

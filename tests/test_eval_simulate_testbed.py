"""Logged requests with a known truth: they are what they say, so that estimators may be proved on them."""

import numpy as np
import pytest
from scipy import stats

from eval.simulate.parameters import ACTIONS
from eval.simulate.testbed import (
    METRICS,
    N_CANDIDATES,
    N_SLOTS,
    WEIGHTS,
    Logged,
    angry_zero,
    log_score,
    logged,
    true_values,
    with_wrong_temperature,
)
from reranker.exploration import log_prefix_propensity

TEMPERATURE = 0.30
LOG = logged(1_500, 3, TEMPERATURE, 11)
TRUTH = true_values(20_000, TEMPERATURE, 11)


def weights_of(log: Logged) -> np.ndarray:
    """(n, K) prefix weights of angry at zero."""
    score = log_score(log.p_action, angry_zero())
    target = log_prefix_propensity(score, log.offsets, log.slate, log.slot_offsets, log.temperature)
    return np.exp(target - log.log_prefix_propensity).reshape(-1, N_SLOTS)


def by_user(values: np.ndarray, log: Logged) -> tuple[float, float]:
    """The mean per request and its standard error over users."""
    mine = np.bincount(log.user, values) / np.bincount(log.user)
    return float(mine.mean()), float(mine.std(ddof=1) / np.sqrt(len(mine)))


def test_the_log_has_the_shape_that_it_says() -> None:
    n = 4_500
    assert LOG.user.shape == (n,)
    assert np.bincount(LOG.user).tolist() == [3] * 1_500
    np.testing.assert_array_equal(np.diff(LOG.offsets), N_CANDIDATES)
    np.testing.assert_array_equal(np.diff(LOG.slot_offsets), N_SLOTS)
    slate = LOG.slate.reshape(n, N_SLOTS)
    assert (slate // N_CANDIDATES == np.arange(n)[:, None]).all()
    assert all(len(set(row)) == N_SLOTS for row in slate[:500].tolist())
    prefix = LOG.log_prefix_propensity.reshape(n, N_SLOTS)
    assert (np.diff(prefix, axis=1) <= 0).all()
    assert (prefix < 0).all()
    assert not LOG.action[~LOG.viewed].any()
    assert LOG.viewed.reshape(n, N_SLOTS)[:, 0].all()


def test_propensities_are_those_of_an_independent_formula() -> None:
    # log pi = sum over slots of logit less the log of the summed exponentials of what is left.
    logits = LOG.score.reshape(-1, N_CANDIDATES) / TEMPERATURE
    slate = LOG.slate.reshape(-1, N_SLOTS) % N_CANDIDATES
    for r in range(50):
        left, total = list(range(N_CANDIDATES)), 0.0
        for k in range(N_SLOTS):
            total += logits[r, slate[r, k]] - np.log(np.exp(logits[r, left]).sum())
            left.remove(int(slate[r, k]))
            assert LOG.log_prefix_propensity[r * N_SLOTS + k] == pytest.approx(total, abs=1e-10)


def test_weights_have_mean_one_at_every_slot() -> None:
    weight = weights_of(LOG)
    for k in range(N_SLOTS):
        mean, error = by_user(weight[:, k], LOG)
        assert abs(mean - 1) < 4 * error


def test_propensities_of_another_temperature_do_not_have_mean_one() -> None:
    wrong = with_wrong_temperature(LOG, 1.5)
    mean, error = by_user(weights_of(wrong)[:, -1], wrong)
    assert abs(mean - 1) > 4 * error


@pytest.mark.parametrize("metric", METRICS)
def test_the_logger_earns_its_true_value(metric: str) -> None:
    reward = LOG.reward(metric).reshape(-1, N_SLOTS).sum(axis=1)
    mean, error = by_user(reward, LOG)
    truth = TRUTH.logger[METRICS.index(metric)]
    assert abs(mean - truth) < 4 * np.hypot(error, truth * 0.02)


@pytest.mark.parametrize("metric", METRICS)
def test_rips_recovers_the_value_of_zeroing_angry(metric: str) -> None:
    reward = LOG.reward(metric).reshape(-1, N_SLOTS)
    gain, error = by_user(((weights_of(LOG) - 1) * reward).sum(axis=1), LOG)
    i = METRICS.index(metric)
    assert abs(gain - TRUTH.difference[i]) < 4 * np.hypot(error, TRUTH.standard_error[i])


def test_the_historic_pattern_is_in_the_truth_without_being_coded_in() -> None:
    relative = dict(zip(METRICS, TRUTH.difference / TRUTH.logger, strict=True))
    error = dict(zip(METRICS, TRUTH.standard_error / TRUTH.logger, strict=True))
    assert relative["harm_views"] < -4 * error["harm_views"]
    assert relative["angry"] < -4 * error["angry"]
    assert -0.6 < relative["angry"] < -0.15
    assert abs(relative["views"]) < 0.01
    assert abs(relative["like"]) < 0.01
    assert abs(relative["comment"]) < 0.01
    assert 0 < TRUTH.changed_items < TRUTH.changed < 0.3


def test_equal_policies_have_exactly_equal_true_values() -> None:
    same = true_values(200, TEMPERATURE, 3, target=WEIGHTS)
    np.testing.assert_array_equal(same.logger, same.target)
    np.testing.assert_array_equal(same.standard_error, 0.0)
    assert same.changed == 0.0


def test_the_truth_never_shares_its_people_with_logs_of_the_same_seed() -> None:
    # Were the truth drawn from the logs' own people, the two would rise and fall together over seeds.
    n = 60
    drawn = np.array([logged(n, 1, TEMPERATURE, seed).p_true[:, 0].mean() for seed in range(40)])
    truth = np.array([true_values(n, TEMPERATURE, seed).logger[METRICS.index("like")] for seed in range(40)])
    assert abs(np.corrcoef(drawn, truth)[0, 1]) < 4 / np.sqrt(40)


def test_common_noise_makes_the_difference_far_more_exact_than_its_parts() -> None:
    views = LOG.reward("views").reshape(-1, N_SLOTS).sum(axis=1)
    unpaired = views.std() / np.sqrt(20_000 / 2)  # of a difference of two independent means of 20,000
    assert TRUTH.standard_error[METRICS.index("views")] < 0.1 * unpaired


def test_predictions_are_off_by_the_stated_log_normal_error() -> None:
    ratio = np.log(LOG.p_action[:, 0] / LOG.p_true[:, 0])
    assert ratio.std() == pytest.approx(0.3, rel=0.02)
    assert stats.kstest(ratio[::10], "norm", args=(-0.045, 0.3)).pvalue > 1e-4
    assert ACTIONS[0] == "like"


def test_the_same_seed_gives_the_same_log_and_bad_input_is_refused() -> None:
    again = logged(1_500, 3, TEMPERATURE, 11)
    np.testing.assert_array_equal(again.slate, LOG.slate)
    np.testing.assert_array_equal(again.action, LOG.action)
    with pytest.raises(ValueError, match="temperature"):
        logged(2, 1, 0.0, 1)
    with pytest.raises(ValueError, match="n_users"):
        logged(0, 1, 0.3, 1)
    with pytest.raises(ValueError, match="n_users"):
        true_values(1, 0.3, 1)
    with pytest.raises(ValueError, match="weights"):
        log_score(LOG.p_action, {"rage": 1.0})
    with pytest.raises(ValueError, match="above 0"):
        log_score(LOG.p_action, {"angry": -1.0})
    with pytest.raises(ValueError, match="metric"):
        LOG.reward("rage")

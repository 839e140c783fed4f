import numpy as np
import pytest
from scipy import stats
from threadpoolctl import threadpool_limits

from eval.weights import (
    balanced_weights,
    effective_sample_size,
    floor_propensities,
    importance_weights,
    pareto_k,
    pareto_k_error,
    slate_weights,
)
from tests.slate_world import RANKINGS, prefix_chances


def test_weights_are_exact_where_propensities_are_tiny_and_never_floored():
    log_logging = np.array([-2.0, -60.0, -900.0])  # exp(-900) is 0 in floating point
    weight = importance_weights(np.array([-2.0, -50.0, -899.0]), log_logging)
    np.testing.assert_allclose(weight, np.exp([0.0, 10.0, 1.0]))
    assert importance_weights(np.array([-np.inf]), np.array([-1.0])).tolist() == [0.0]


def test_a_floor_is_raised_in_the_open():
    log, raised = floor_propensities(np.log([0.5, 0.01, 0.001]), 0.01)
    assert raised.tolist() == [False, False, True]
    np.testing.assert_allclose(np.exp(log), [0.5, 0.01, 0.01])
    with pytest.raises(ValueError, match=r"floor: expected a number in \(0, 1\), got 0"):
        floor_propensities(log, 0.0)


def test_balanced_weights_are_exactly_unbiased_where_no_single_logger_supports_the_target():
    # 3 of 5 items; the first logger never serves item 0 on top, the second nothing else there
    target, first, second = (
        prefix_chances(np.array(x))[:, -1] for x in ([1.0, 0, 2, 0, 1], [0.0] * 5, [3.0, 1, 0, 0, 0])
    )
    on_top = RANKINGS[:, 0] == 0
    first, second = np.where(on_top, 0, first), np.where(on_top, second, 0)
    first, second = first / first.sum(), second / second.sum()
    reward = np.random.default_rng(0).random(60)
    with np.errstate(divide="ignore"):
        loggers = np.log(np.array([first, second]))
    weight = balanced_weights(np.log(target), loggers, [3000, 1000])
    assert (0.75 * first + 0.25 * second) @ (weight * reward) == pytest.approx(target @ reward, abs=1e-12)
    alone = balanced_weights(np.log(target)[~on_top], loggers[:, ~on_top], [10, 0])
    np.testing.assert_allclose(alone, (target / np.where(first > 0, first, 1))[~on_top])


def test_the_weight_of_a_slate_stands_at_all_its_slots():
    assert slate_weights(np.array([1.0, 2, 3, 4]), np.array([0, 3, 3, 4])).tolist() == [3, 3, 3, 4]


def test_effective_sample_size_in_closed_form():
    # 13.6^2 / 105.26
    assert effective_sample_size(np.array([0.1, 0.5, 1, 2, 10])) == pytest.approx(1.757172715, abs=1e-9)
    assert effective_sample_size(np.ones(7)) == 7
    assert effective_sample_size(np.zeros(3)) == 0


def test_the_effective_sample_size_has_the_same_bits_on_any_number_of_cores():
    weights = np.random.default_rng(0).lognormal(size=(5, 100_003))
    found = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            found.append([effective_sample_size(weight) for weight in weights])
    assert found[0] == found[1]


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9])
def test_the_tail_index_is_that_of_the_pareto_tail_it_was_drawn_from(k):
    # 60 logs of 4,000 weights; the tail of 190 leaves a spread of about (1 + k) / sqrt(190), drawn towards .5
    rng = np.random.default_rng(7)
    found = np.array([pareto_k(stats.genpareto.rvs(k, size=4000, random_state=rng)) for _ in range(60)])
    spread = found.std(ddof=1)
    assert spread == pytest.approx((1 + k) / np.sqrt(190), rel=0.4)
    assert pareto_k_error(k, 4000) == pytest.approx((1 + k) / np.sqrt(190))
    shrunk = (190 * k + 5) / 200
    assert abs(found.mean() - shrunk) < 4 * spread / np.sqrt(60) + 0.02


def test_the_tail_index_agrees_with_maximum_likelihood_in_scipy():
    weight = stats.genpareto.rvs(0.6, size=40_000, random_state=8)
    tail = np.sort(weight)[-601:]
    shape, _, _ = stats.genpareto.fit(tail[1:] - tail[0], floc=0)
    assert pareto_k(weight) == pytest.approx((600 * shape + 5) / 610, abs=0.02)


def test_the_tail_index_does_not_depend_on_the_unit_of_the_weights():
    weight = np.random.default_rng(9).lognormal(0, 1, 2000)
    assert pareto_k(1e-9 * weight) == pytest.approx(pareto_k(weight), abs=1e-6)


def test_a_tail_that_is_short_or_none_has_an_error_all_the_same():
    assert pareto_k_error(-np.inf, 4000) == pareto_k_error(-0.5, 4000) == pytest.approx(0.5 / np.sqrt(190))


def test_equal_weights_have_no_tail_and_few_weights_no_tail_index():
    assert pareto_k(np.ones(100)) == -np.inf
    assert np.isnan(pareto_k(np.arange(20.0)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: importance_weights(np.zeros(2), np.zeros(1)), r"log_target: expected shape \(1,\)"),
        (lambda: importance_weights(np.zeros(1), np.array([np.nan])), "log_logging: .* got nan at row 0"),
        (lambda: importance_weights(np.zeros(1), np.array([-np.inf])), "log_logging: .* got -inf at row 0"),
        (lambda: importance_weights(np.array([0.1]), np.zeros(1)), "log_target: .* got 0.1 at row 0"),
        (lambda: balanced_weights(np.zeros(2), np.zeros((1, 2)), [1, 1]), r"expected \(2, 2\), got \(1, 2\)"),
        (lambda: balanced_weights(np.zeros(1), np.zeros((1, 1)), [0]), "expected counts with a sum above 0"),
    ],
)  # fmt: skip
def test_bad_propensities_are_refused_with_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_three_weights_far_above_the_others_are_a_heavy_tail_and_no_overflow() -> None:
    weight = np.concatenate([1.0 + np.arange(5_000) * 1e-9, np.full(3, 1e9)])
    assert pareto_k(weight) > 1.0

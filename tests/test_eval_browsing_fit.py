import numpy as np
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from eval.browsing import cascade_examination, slot_positions
from eval.browsing_check import depth_curve, held_out_log_loss, stop_log_loss
from eval.browsing_fit import fit_hazard, fit_rbp, fit_survival, hazard_stops, slots_at_risk
from eval.position_bias import click_cells, fit_click_model, harvest

THETA = np.array([1.0, 0.7, 0.45, 0.3, 0.2])


def depths(stop: np.ndarray, offsets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How far readers with these chances to stop come; the last slot is where all end."""
    length = np.diff(offsets)
    ends = rng.random(len(stop)) < stop
    ends[offsets[1:] - 1] = True
    first = np.minimum.reduceat(np.where(ends, slot_positions(offsets), 10**6), offsets[:-1])
    assert (first < length).all()
    return first + 1


def slates(n: int, rng: np.random.Generator, longest: int = 8) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(rng.integers(1, longest + 1, n))))


def test_gamma_counts_stops_over_slots_one_could_have_stopped_at():
    # depths 1, 3 and 4 of slates of 4: stops 2; slots that were not the last 1 + 3 + 3
    found = fit_rbp(np.array([1, 3, 4]), np.array([4, 4, 4]), np.arange(3))
    assert found.value == pytest.approx(1 - 2 / 7)
    assert found.low < found.value < found.high


def test_gamma_is_recovered_although_many_slates_end_before_the_reader_does():
    rng = np.random.default_rng(1)
    offsets = slates(20_000, rng)
    depth = depths(np.full(offsets[-1], 0.2), offsets, rng)
    found = fit_rbp(depth, np.diff(offsets), np.arange(20_000))
    assert abs(found.value - 0.8) < 4 * found.standard_error
    # the end of the slate taken for a stop, as a naive count has it, is far off
    assert 1 - len(depth) / depth.sum() < 0.7


def test_the_survival_curve_is_kaplan_meiers_as_scipy_has_it():
    rng = np.random.default_rng(2)
    offsets = slates(300, rng)
    depth = depths(np.full(offsets[-1], 0.25), offsets, rng)
    length = np.diff(offsets)
    found = fit_survival(depth, length, np.arange(300))
    # a slate read to its end has been seen to survive all slots but the last
    stopped = depth < length
    made = stats.ecdf(stats.CensoredData(uncensored=depth[stopped], right=depth[~stopped] - 1))
    np.testing.assert_allclose(found.examination[1:], made.sf.evaluate(np.arange(1, 8)), atol=1e-12)
    # Greenwood's variance, with G / (G - 1) for users of one slate each
    free = found.n_at_risk - found.n_stops
    with np.errstate(divide="ignore", invalid="ignore"):
        greenwood = np.cumsum(found.n_stops / (found.n_at_risk * free))[:7]
    expected = found.examination[1:] * np.sqrt(greenwood * 300 / 299)
    np.testing.assert_allclose(found.standard_error[1:], expected, rtol=1e-9)


def test_alike_slates_of_one_user_widen_the_survival_curve():
    rng = np.random.default_rng(3)
    length = np.full(50, 6)
    depth = rng.integers(1, 7, 50)
    alone = fit_survival(depth, length, np.arange(50))
    tripled = fit_survival(np.repeat(depth, 3), np.repeat(length, 3), np.repeat(np.arange(50), 3))
    np.testing.assert_allclose(tripled.examination, alone.examination)
    np.testing.assert_allclose(tripled.standard_error, alone.standard_error)


def test_positions_that_nobody_was_observed_at_are_missing_not_zero():
    found = fit_survival(np.array([2, 2, 1]), np.array([2, 2, 9]), np.arange(3))
    assert found.examination[:2].tolist() == [1.0, pytest.approx(2 / 3)]
    assert np.isnan(found.examination[3:]).all()
    gone = fit_survival(np.array([1, 1]), np.array([3, 3]), np.arange(2))
    assert gone.examination[1] == 0


def hazard_world(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(offsets, features, depth, user): harm makes people leave, pace keeps them."""
    rng = np.random.default_rng(seed)
    offsets = slates(n, rng)
    features = np.stack([rng.random(offsets[-1]), 5 + 3 * rng.normal(size=offsets[-1])], axis=1)
    level = np.array([0.0, 0.3, 0.5])[np.minimum(slot_positions(offsets), 2)]
    stop = special.expit(-1.5 + level + features @ np.array([1.2, -0.1]))
    return offsets, features, depths(stop, offsets, rng), rng.integers(0, n // 4, n)


def test_the_hazard_is_scikit_learns_logistic_regression_of_stops():
    offsets, features, depth, user = hazard_world(1500, 4)
    found = fit_hazard(features, offsets, depth, user, n_free=3, ridge=1e-9)
    risk, stopped = slots_at_risk(offsets, depth)
    position = slot_positions(offsets)
    design = np.column_stack([position == 1, position >= 2, features])[risk]
    made = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(design, stopped[risk])
    np.testing.assert_allclose(
        [found.intercept, *found.position, *found.coefficients],
        [made.intercept_[0], *made.coef_[0]],
        atol=2e-4,
    )
    np.testing.assert_allclose(
        hazard_stops(found, features, offsets)[risk], made.predict_proba(design)[:, 1], atol=1e-4
    )


def test_the_hazard_recovers_what_readers_do():
    offsets, features, depth, user = hazard_world(8000, 5)
    found = fit_hazard(features, offsets, depth, user, n_free=3)
    assert (np.abs(found.coefficients - [1.2, -0.1]) < 4 * found.standard_error).all()
    stop = hazard_stops(found, features, offsets)
    curve = depth_curve(stop, offsets, depth)
    noise = 4 * np.sqrt(curve.observed * (1 - curve.observed) / curve.n_slates)
    assert (np.abs(curve.predicted - curve.observed) <= noise).all()


def test_the_covariance_is_the_sandwich_worked_out_by_hand():
    offsets, features, depth, user = hazard_world(400, 6)
    found = fit_hazard(features, offsets, depth, user, n_free=1, ridge=0.0)
    risk, stopped = slots_at_risk(offsets, depth)
    x = np.column_stack([np.ones(risk.sum()), features[risk]])
    p = hazard_stops(found, features, offsets)[risk]
    bread = np.linalg.inv((x * (p * (1 - p))[:, None]).T @ x)
    scores = x * (stopped[risk] - p)[:, None]
    who = np.repeat(user, np.diff(offsets))[risk]
    totals = np.array([scores[who == u].sum(axis=0) for u in np.unique(who)])
    g = len(totals)
    sandwich = bread @ (g / (g - 1) * totals.T @ totals) @ bread
    np.testing.assert_allclose(found.covariance, sandwich[1:, 1:], rtol=1e-6)


def test_separable_stops_stay_finite():
    offsets = np.arange(0, 62, 3)[:21]
    features = np.tile([[1.0], [0.0], [0.0]], (20, 1))
    features[0] = 0.0
    depth = np.ones(20, dtype=int)
    depth[0] = 3
    found = fit_hazard(features, offsets, depth, np.arange(20))
    assert np.isfinite(found.coefficients).all()
    assert found.coefficients[0] > 1


def test_a_model_that_leaves_out_the_harm_is_seen_in_the_log_loss():
    offsets, features, depth, user = hazard_world(4000, 7)

    def predict(columns: list[int]):
        def fit(chosen: np.ndarray) -> np.ndarray:
            rows = np.repeat(chosen, np.diff(offsets))
            kept = np.concatenate(([0], np.cumsum(np.diff(offsets)[chosen])))
            made = fit_hazard(features[rows][:, columns], kept, depth[chosen], user[chosen])
            return hazard_stops(made, features[:, columns], offsets)

        return fit

    full, blind = (held_out_log_loss(predict(columns), offsets, depth, user) for columns in ([0, 1], []))
    assert full.value < blind.value
    # the truth cannot be beaten by more than noise
    level = np.array([0.0, 0.3, 0.5])[np.minimum(slot_positions(offsets), 2)]
    truth = special.expit(-1.5 + level + features @ np.array([1.2, -0.1]))
    assert full.value > stop_log_loss(truth, offsets, depth, user).value - 0.002


def test_a_wrong_model_is_seen_in_the_curve_of_view_depth():
    rng = np.random.default_rng(8)
    offsets = slates(5000, rng)
    stop = np.where(slot_positions(offsets) == 0, 0.5, 0.1)
    depth = depths(stop, offsets, rng)
    assert depth_curve(stop, offsets, depth).max_gap < 0.03
    gamma = fit_rbp(depth, np.diff(offsets), np.arange(5000)).value
    wrong = depth_curve(np.full(len(stop), 1 - gamma), offsets, depth)
    assert not wrong.fits
    assert wrong.max_gap > 0.1
    # by hand for the second position: the share of slates that have it and were read to it
    has = np.diff(offsets) > 1
    assert wrong.observed[1] == pytest.approx((depth[has] > 1).mean())
    assert wrong.predicted[1] == pytest.approx(gamma)


def test_log_loss_is_the_mean_over_slots_one_could_have_stopped_at():
    # slate of 3 left at the second: went on once, stopped once
    offsets, stop = np.array([0, 3, 6]), np.array([0.1, 0.4, 0.9, 0.2, 0.2, 0.9])
    found = stop_log_loss(stop, offsets, np.array([2, 3]), np.array([0, 1]))
    expected = -np.log([0.9, 0.4, 0.8, 0.8]).mean()
    assert found.value == pytest.approx(expected)
    with pytest.raises(ValueError, match="above 0 for what happened"):
        stop_log_loss(np.zeros(6), offsets, np.array([2, 3]), np.array([0, 1]))


def clicks(n_items: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(item, position, clicked, attraction): better items stand higher, half of the time."""
    rng = np.random.default_rng(seed)
    attraction = rng.beta(2, 6, n_items)
    home = 4 - np.argsort(np.argsort(attraction)) * 5 // n_items
    item = np.repeat(np.arange(n_items), each)
    position = np.where(rng.random(len(item)) < 0.5, home[item], rng.integers(0, 5, len(item)))
    return item, position, rng.random(len(item)) < THETA[position] * attraction[item], attraction


def test_a_pair_of_positions_has_the_mantel_haenszel_ratio():
    # two items; clicks / impressions at positions 0 and 1: 8/10 and 6/20, 3/10 and 1/10
    item = np.repeat([0, 0, 1, 1], [10, 20, 10, 10])
    position = np.repeat([0, 1, 0, 1], [10, 20, 10, 10])
    clicked = np.concatenate([np.arange(n) < k for n, k in ((10, 8), (20, 6), (10, 3), (10, 1))])
    found = harvest(click_cells(item, position, clicked))
    # theta_1 / theta_0 = (6 * 10/30 + 1 * 10/20) / (8 * 20/30 + 3 * 10/20)
    assert found.theta[1] == pytest.approx((2 + 0.5) / (16 / 3 + 1.5))


def test_harvesting_recovers_position_bias_where_better_posts_stand_higher():
    item, position, clicked, _ = clicks(20_000, 10, 11)
    naive = np.array([clicked[position == k].mean() for k in range(5)])
    assert np.abs(naive / naive[0] - THETA).max() > 0.1
    found = harvest(click_cells(item, position, clicked))
    reps = [harvest(click_cells(*clicks(20_000, 10, seed)[:3])).theta for seed in range(12, 17)]
    error = np.std(reps, axis=0, ddof=1)
    assert (np.abs(found.theta - THETA)[1:] < 6 * error[1:]).all()  # an error from 5 draws is rough
    assert np.abs(np.mean(reps, axis=0) - THETA).max() < 0.01


def test_expectation_maximisation_recovers_position_bias_and_attraction():
    item, position, clicked, attraction = clicks(300, 2000, 12)
    found = fit_click_model(click_cells(item, position, clicked))
    assert found.converged
    np.testing.assert_allclose(found.theta, THETA, atol=0.012)
    assert np.abs(found.attraction - attraction).max() < 0.08


def test_the_fit_is_a_maximum_of_the_likelihood():
    item, position, clicked, _ = clicks(40, 200, 13)
    cells = click_cells(item, position, clicked)
    found = fit_click_model(cells, shrinkage=0.0, tolerance=1e-10, max_steps=20_000)
    owner = np.repeat(np.arange(40), np.diff(cells.offsets))

    def likelihood(theta: np.ndarray, attraction: np.ndarray) -> float:
        p = theta[cells.position] * attraction[owner]
        return float(special.xlogy(cells.counts[0], p).sum() + special.xlog1py(cells.counts[1], -p).sum())

    best = likelihood(found.theta, found.attraction)
    rng = np.random.default_rng(0)
    for _ in range(50):
        theta = np.clip(found.theta * np.exp(0.02 * rng.normal(size=5)), 0, 1)
        near = np.clip(found.attraction * np.exp(0.02 * rng.normal(size=40)), 0, 1)
        theta[0] = 1.0
        assert likelihood(theta, near) <= best + 1e-6


def test_rare_items_do_not_win_when_they_are_drawn_to_the_mean():
    item = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    clicked = np.array([True, *[True] * 6, *[False] * 4])
    cells = click_cells(item, np.zeros(11, dtype=int), clicked)
    raw, shrunk = (fit_click_model(cells, shrinkage=s).attraction for s in (0.0, 10.0))
    np.testing.assert_allclose(raw, [1.0, 0.6])
    # ten impressions at the mean of 7/11 are added to each
    np.testing.assert_allclose(shrunk, [(1 + 70 / 11) / 11, (6 + 70 / 11) / 20])


def test_items_are_drawn_to_the_mean_of_their_group():
    item = np.repeat([0, 1, 2], [100, 100, 1])
    clicked = np.concatenate([np.arange(100) < 80, np.arange(100) < 10, [True]])
    cells = click_cells(item, np.zeros(201, dtype=int), clicked)
    found = fit_click_model(cells, group=np.array([0, 1, 1]), shrinkage=10.0).attraction
    assert found[2] < 0.3  # 1 click in 1, but of a group that is rarely clicked
    assert found[0] == pytest.approx(0.8)


def test_a_given_theta_is_held():
    item, position, clicked, attraction = clicks(300, 200, 14)
    cells = click_cells(item, position, clicked)
    found = fit_click_model(cells, theta=THETA, shrinkage=5.0)
    assert found.theta.tolist() == THETA.tolist()
    assert np.abs(found.attraction - attraction).mean() < 0.04


def test_weights_count_like_repeated_impressions():
    item, position, clicked, _ = clicks(30, 40, 15)
    times = np.random.default_rng(0).poisson(1.0, len(item))
    weighted = harvest(click_cells(item, position, clicked, weight=times.astype(float)))
    rows = np.repeat(np.arange(len(item)), times)
    repeated = harvest(click_cells(item[rows], position[rows], clicked[rows]))
    np.testing.assert_allclose(weighted.theta, repeated.theta)


def test_positions_that_share_no_item_with_the_first_are_named():
    cells = click_cells(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 3]), np.ones(4, dtype=bool))
    with pytest.raises(ValueError, match=r"got none for \[2, 3\]; log swaps"):
        harvest(cells)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_rbp(np.array([0]), np.array([3]), np.array([0])), "got 0 at slate 0; leave out"),
        (lambda: fit_rbp(np.array([4]), np.array([3]), np.array([0])), "expected 1 to 3 slots, got 4"),
        (lambda: fit_rbp(np.array([1, 2]), np.array([3, 3]), np.zeros(2, int)), "at least 2 users, got 1"),
        (
            lambda: fit_survival(np.array([1, 2]), np.array([3, 3]), np.zeros(2, int)),
            "at least 2 users, got 1",
        ),
        (
            lambda: fit_hazard(np.ones((4, 1)), np.array([0, 2, 4]), np.array([2, 2]), np.arange(2)),
            "some and not all of 2",
        ),
        (
            lambda: fit_hazard(np.full((4, 1), np.nan), np.array([0, 2, 4]), np.array([1, 2]), np.arange(2)),
            "expected finite numbers on every examined slot",
        ),
        (lambda: click_cells(np.array([0]), np.array([-1]), np.array([True])), "at least 0, got -1"),
        (
            lambda: fit_click_model(
                click_cells(np.array([0]), np.array([0]), np.array([True])), shrinkage=-1.0
            ),
            "shrinkage: expected at least 0",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_fitted_survival_curve_is_a_browsing_model():
    rng = np.random.default_rng(21)
    offsets = np.arange(0, 5 * 20_000 + 1, 5)
    stop = np.tile([0.4, 0.1, 0.3, 0.2, 0.0], 20_000)
    depth = depths(stop, offsets, rng)
    found = fit_survival(depth, np.diff(offsets), np.arange(20_000))
    truth = cascade_examination(stop[:5], np.array([0, 5]))
    assert (np.abs(found.examination - truth) <= 4 * found.standard_error).all()
    assert depth_curve(np.tile([*found.hazard[:4], 0.0], 20_000), offsets, depth).max_gap < 1e-9

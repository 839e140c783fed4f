"""The dynamic Bayesian click model: enumeration of what is hidden, direct maximisation, known truth, fit."""

import itertools

import numpy as np
import pytest

from eval.browsing import cascade_examination
from eval.browsing_check import click_curve, click_log_loss, depth_curve, stop_log_loss
from eval.clustered import clustered_mean
from eval.dbn import (
    ClickedSlates,
    Dbn,
    dbn_click_rates,
    dbn_clicks,
    dbn_intervals,
    dbn_stops,
    fit_dbn,
    held_out_clicks,
)
from eval.position_bias import click_cells, fit_click_model

GAMMA = 0.8


def drawn(n, seed, *, n_slots=6, n_items=12, gamma=GAMMA, with_depth=False):
    """Slates of a reader who follows the model exactly; the truth with them."""
    rng = np.random.default_rng(seed)
    attraction, satisfaction = rng.beta(3, 7, n_items), rng.beta(3, 4, n_items)
    item = rng.permuted(np.tile(np.arange(n_items), (n, 1)), axis=1)[:, :n_slots]
    seen, clicked, depth = np.ones(n, bool), np.zeros((n, n_slots), bool), np.zeros(n, int)
    for k in range(n_slots):
        depth[seen] = k + 1
        clicked[:, k] = seen & (rng.random(n) < attraction[item[:, k]])
        seen &= ~(clicked[:, k] & (rng.random(n) < satisfaction[item[:, k]])) & (rng.random(n) < gamma)
    slates = ClickedSlates(
        item.ravel(), clicked.ravel(), np.arange(n + 1) * n_slots, depth if with_depth else None
    )
    return slates, attraction, satisfaction


def small_fit(attraction, satisfaction, gamma):
    return Dbn(gamma, np.array(attraction), np.array(satisfaction), 0.5, 0.5, 0.0, 0, True)


def enumerated(items, attraction, satisfaction, gamma, clicked, depth):
    """Probability of clicks (and depth, where not None), by going through how far and why someone read."""
    total, n = 0.0, len(items)
    for reached, happy in itertools.product(range(1, n + 1), (False, True)):
        if depth is not None and reached != depth:
            continue
        if any(clicked[reached:]) or (happy and (reached == n or not clicked[reached - 1])):
            continue  # at the end of the slate there is no reason to tell
        p = 1.0
        for k in range(reached):
            a, s = attraction[items[k]], satisfaction[items[k]]
            p *= a if clicked[k] else 1 - a
            unsatisfied = 1 - s if clicked[k] else 1.0
            if k < reached - 1:
                p *= unsatisfied * gamma
            elif reached < n:
                p *= s if happy else unsatisfied * (1 - gamma)
        total += p
    return total


@pytest.mark.parametrize("with_depth", [False, True])
def test_the_likelihood_is_that_of_going_through_all_readers(with_depth):
    rng = np.random.default_rng(1)
    attraction, satisfaction = rng.uniform(0.1, 0.9, 5), rng.uniform(0.1, 0.9, 5)
    for n in (1, 2, 3, 4):
        items, sum_over = rng.permutation(5)[:n], 0.0
        for clicked in itertools.product((False, True), repeat=n):
            depths = [max([k + 1 for k in range(n) if clicked[k]], default=1)] if with_depth else [None]
            depths = range(depths[0], n + 1) if with_depth else depths
            for depth in depths:
                expected = enumerated(items, attraction, satisfaction, 0.7, clicked, depth)
                sum_over += expected
                slates = ClickedSlates(
                    items, np.array(clicked), np.array([0, n]), np.array([depth]) if with_depth else None
                )
                if not any(clicked):
                    continue  # nothing to fit
                one = fit_dbn(slates, start=small_fit(attraction, satisfaction, 0.7), max_steps=1)
                assert np.exp(one.log_likelihood) == pytest.approx(expected, rel=1e-12)
        assert sum_over == pytest.approx(1.0, abs=1e-12)


def test_predictions_slot_by_slot_multiply_to_the_likelihood():
    rng = np.random.default_rng(2)
    attraction, satisfaction = rng.uniform(0.1, 0.9, 4), rng.uniform(0.1, 0.9, 4)
    fit = small_fit(attraction, satisfaction, 0.7)
    for clicked in itertools.product((False, True), repeat=4):
        slates = ClickedSlates(np.arange(4), np.array(clicked), np.array([0, 4]))
        p = dbn_clicks(fit, slates)
        expected = enumerated(np.arange(4), attraction, satisfaction, 0.7, clicked, None)
        assert np.where(clicked, p, 1 - p).prod() == pytest.approx(expected, rel=1e-12)


def test_the_fit_is_the_maximum_of_the_likelihood():
    from scipy.optimize import minimize

    slates, *_ = drawn(400, 3, n_slots=4, n_items=4)
    found = fit_dbn(slates, shrinkage=0.0, tolerance=1e-10, max_steps=20_000)
    assert found.converged

    def loss(z):
        p = 1 / (1 + np.exp(-z))
        clicks = dbn_clicks(small_fit(p[1:5], p[5:], p[0]), slates)
        return -np.log(np.where(slates.clicked, clicks, 1 - clicks)).sum()

    theirs = minimize(loss, np.zeros(9), method="BFGS", options={"gtol": 1e-6})
    # above the slots of a slate the likelihood counts what the last click's reader did; the same here
    assert found.log_likelihood == pytest.approx(-theirs.fun, abs=1e-6)
    best = 1 / (1 + np.exp(-theirs.x))
    ours = np.concatenate(([found.gamma], found.attraction, found.satisfaction))
    assert ours == pytest.approx(best, abs=2e-4)


def test_each_step_makes_the_log_more_likely():
    slates, *_ = drawn(500, 4)
    values = [fit_dbn(slates, shrinkage=0.0, max_steps=k, tolerance=0.0).log_likelihood for k in range(1, 12)]
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("with_depth", [False, True])
def test_the_truth_is_found_from_clicks_alone_and_with_depths(with_depth):
    slates, attraction, satisfaction = drawn(20_000, 5, with_depth=with_depth)
    found = fit_dbn(slates)
    assert found.converged
    assert found.gamma == pytest.approx(GAMMA, abs=0.012)  # some 3 standard errors of the intervals below
    assert found.attraction == pytest.approx(attraction, abs=0.03)
    assert found.satisfaction == pytest.approx(satisfaction, abs=0.08)


def test_with_depths_gamma_is_the_share_that_read_on_after_no_click():
    # without a click nothing but tiredness stops; with depths and satisfaction free this is exact
    slates, *_ = drawn(3_000, 6, with_depth=True)
    found = fit_dbn(slates, shrinkage=0.0, tolerance=1e-12, max_steps=20_000)
    k = np.tile(np.arange(6), 3_000)
    depth = np.repeat(slates.depth, 6)
    could = (k < depth) & (k < 5)
    stopped = (k == depth - 1) & could
    quiet = ~slates.clicked
    direct = 1 - stopped[quiet & could].sum() / could[quiet].sum()
    inside = (found.satisfaction > 1e-6).all()
    assert inside
    assert found.gamma == pytest.approx(direct, abs=1e-6)
    # and an item's stops after a click are 1 - gamma (1 - satisfaction)
    for item in range(3):
        at = could & slates.clicked & (slates.item == item)
        share = stopped[at].sum() / at.sum()
        assert found.satisfaction[item] == pytest.approx(1 - (1 - share) / found.gamma, abs=1e-5)


def test_intervals_by_user_are_as_wide_as_the_spread_over_logs():
    # 60 logs of one world, 500 users with 3 equal slates each
    whole, *_ = drawn(30_000, 100, n_items=6, n_slots=5)
    item, clicked = (x.reshape(60, 500, 5) for x in (whole.item, whole.clicked))

    def log(i):
        rows = (np.repeat(x[i], 3, axis=0).ravel() for x in (item, clicked))
        return ClickedSlates(*rows, np.arange(1_501) * 5)

    logs = [log(i) for i in range(60)]
    spread = np.std([fit_dbn(one).gamma for one in logs], ddof=1)

    def error(user):
        made = [dbn_intervals(one, fit_dbn(one), user, seed=1, n_resamples=25) for one in logs[:8]]
        return np.sqrt(np.mean([one.gamma.standard_error**2 for one in made]))

    assert error(np.arange(1_500) // 3) == pytest.approx(spread, rel=0.3)
    assert error(np.arange(1_500)) < 0.75 * spread  # by slate, threefold evidence is pretended


def test_intervals_do_not_depend_on_the_order_of_the_users():
    slates, *_ = drawn(300, 7)
    fit, user = fit_dbn(slates), np.arange(300) // 2
    first = dbn_intervals(slates, fit, user, seed=1, n_resamples=20)
    rows = np.arange(300)[::-1]
    back = ClickedSlates(
        slates.item.reshape(300, -1)[rows].ravel(),
        slates.clicked.reshape(300, -1)[rows].ravel(),
        slates.slot_offsets,
    )
    second = dbn_intervals(back, fit, user[rows], seed=1, n_resamples=20)
    assert second.gamma.low == pytest.approx(first.gamma.low, abs=1e-6)
    assert second.examination == pytest.approx(first.examination, abs=1e-6)
    assert second.attraction_error == pytest.approx(first.attraction_error, abs=1e-6)
    assert first.examination.shape == (2, 6)
    assert (first.examination[0] <= first.examination[1]).all()


def test_a_right_model_fits_its_depths_and_clicks_and_a_wrong_one_does_not():
    slates, *_ = drawn(20_000, 8, with_depth=True)
    found = fit_dbn(slates)
    stops = dbn_stops(found, slates.item)
    assert depth_curve(stops, slates.slot_offsets, slates.depth).fits
    rates = dbn_click_rates(found, slates.item, slates.slot_offsets)
    assert click_curve(rates, slates.clicked, slates.slot_offsets).fits
    assert rates == pytest.approx(
        cascade_examination(stops, slates.slot_offsets) * found.of_items(slates.item)[0], abs=1e-15
    )
    never = dbn_click_rates(
        small_fit(found.attraction, 0 * found.satisfaction, 1.0), slates.item, slates.slot_offsets
    )
    assert not click_curve(never, slates.clicked, slates.slot_offsets).fits
    user = np.arange(20_000)
    flat = np.full(len(stops), 1 - found.gamma)
    ours, theirs = (stop_log_loss(s, slates.slot_offsets, slates.depth, user) for s in (stops, flat))
    assert ours.value < theirs.value


def test_held_out_it_beats_a_model_of_the_position_alone_on_its_own_kind_of_reader():
    slates, *_ = drawn(6_000, 9)
    user = np.arange(6_000) // 2
    position = np.tile(np.arange(6), 6_000)
    p = held_out_clicks(slates, user, seed=1)
    pbm = fit_click_model(click_cells(slates.item, position, slates.clicked))  # it has seen the users
    other = np.clip(pbm.theta[position] * pbm.attraction[slates.item], 1e-6, 1 - 1e-6)
    losses = [-np.log(np.where(slates.clicked, q, 1 - q)) for q in (p, other)]
    found = [click_log_loss(q, slates.clicked, slates.slot_offsets, user) for q in (p, other)]
    assert [one.value for one in found] == pytest.approx([loss.mean() for loss in losses], rel=1e-12)
    assert clustered_mean(losses[0] - losses[1], np.repeat(user, 6)).high < 0


def test_items_without_a_slot_or_click_have_the_mean():
    slates = ClickedSlates(np.array([0, 2, 0, 2] * 20), np.array([True, False] * 40), np.arange(0, 81, 2))
    for shrinkage in (0.0, 1.0):
        found = fit_dbn(slates, shrinkage=shrinkage)
        assert found.attraction[1] == pytest.approx(found.mean_attraction)
        assert found.satisfaction[2] == pytest.approx(found.mean_satisfaction)
        attraction, satisfaction = found.of_items(np.array([7]))
        assert (attraction[0], satisfaction[0]) == (found.mean_attraction, found.mean_satisfaction)


def test_a_weight_is_so_many_slates_and_more_shrinkage_brings_items_together():
    slates, *_ = drawn(300, 10)
    times = np.random.default_rng(10).integers(0, 3, 300)
    rows = np.repeat(np.arange(300), times)
    repeated = ClickedSlates(
        slates.item.reshape(300, -1)[rows].ravel(),
        slates.clicked.reshape(300, -1)[rows].ravel(),
        np.arange(len(rows) + 1) * 6,
    )
    weighted = fit_dbn(slates, weight=times.astype(float))
    assert weighted.gamma == pytest.approx(fit_dbn(repeated).gamma, abs=1e-9)
    wide, narrow = (np.ptp(fit_dbn(slates, shrinkage=s).attraction) for s in (0.0, 100.0))
    assert narrow < 0.5 * wide


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ClickedSlates(np.arange(3), np.ones(2, bool), np.array([0, 3])), "expected 3 slots"),
        (
            lambda: ClickedSlates(np.arange(2), np.ones(2, bool), np.array([0, 2, 2])),
            "no empty slate, got one",
        ),
        (lambda: ClickedSlates(np.array([-1]), np.ones(1, bool), np.array([0, 1])), "codes from 0, got -1"),
        (
            lambda: ClickedSlates(np.arange(2), np.array([False, True]), np.array([0, 2]), np.array([1])),
            "got one below at slate 0",
        ),
        (
            lambda: fit_dbn(ClickedSlates(np.arange(2), np.zeros(2, bool), np.array([0, 2]))),
            "at least 1 click, got 0",
        ),
        (
            lambda: fit_dbn(ClickedSlates(np.arange(2), np.ones(2, bool), np.array([0, 2])), shrinkage=-1.0),
            "at least 0, got -1.0",
        ),
        (
            lambda: dbn_intervals(drawn(4, 1)[0], fit_dbn(drawn(4, 1)[0]), np.zeros(4, int), seed=0),
            "expected at least 2 users over 4 slates, got 1 over 4",
        ),
        (lambda: held_out_clicks(drawn(4, 1)[0], np.arange(4), n_folds=9), "expected 2 to 4 users, got 9"),
        (
            lambda: click_log_loss(np.zeros(1), np.ones(1, bool), np.array([0, 1]), np.arange(1)),
            "expected chances above 0 for what happened",
        ),
        (lambda: click_curve(np.array([1.5]), np.ones(1, bool), np.array([0, 1])), "got 1.5 at slot 0"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

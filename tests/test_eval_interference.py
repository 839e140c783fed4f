"""Users who touch each other: exposure by hand, networks with a known spillover, the simulator's truth."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from eval.effects import Compared, cluster_effect, measured
from eval.exposure_mapping import FeedShares, communities, containment
from eval.interference import compare_designs, interference, linearised, stock_change
from eval.simulate.parameters import load_parameters
from eval.simulate.run import run_weeks
from eval.simulate.scenarios import SCENARIOS
from eval.simulate.split import harm_and_views, launchpad, outcomes_of


def network(seed, n_users=900, n_communities=30, stay=0.8, n_authors=300):
    """Feeds of 20 rows, most of them from authors of the user's own community; the communities; draws."""
    rng = np.random.default_rng(seed)
    community = np.arange(n_users) % n_communities
    viewer = np.repeat(np.arange(n_users), 20)
    inside = community[viewer] + n_communities * rng.integers(0, n_authors // n_communities, len(viewer))
    author = np.where(rng.random(len(viewer)) < stay, inside, rng.integers(0, n_authors, len(viewer)))
    return FeedShares.of(viewer, author, n_users=n_users), community, rng


def halved(cluster, rng):
    """Half of the clusters, treated."""
    n = int(cluster.max()) + 1
    side = np.zeros(n, dtype=bool)
    side[rng.permutation(n)[: n // 2]] = True
    return side[cluster]


# --- the mapping


def test_exposure_is_how_treated_the_other_readers_of_a_users_authors_are():
    # author 0: user 0 three times, user 1 once, user 2 once; author 1: users 0 and 2; author 2: user 1 alone
    viewer, author = np.array([0, 0, 0, 1, 2, 0, 2, 1]), np.array([0, 0, 0, 0, 0, 1, 1, 2])
    feeds = FeedShares.of(viewer, author, n_users=4)
    found = feeds.exposure(np.array([True, False, True, False]))
    # user 0: 3/4 of the feed is author 0, whose other readers are 1 and 2, half treated; 1/4 is author 1: 2
    # user 1: author 2 has no other reader, so author 0 is all: users 0 (three times) and 2, both treated
    # user 2: half is author 0, users 0 (3) and 1 (1): 3/4; half is author 1, user 0: 1
    assert found == pytest.approx([0.75 * 0.5 + 0.25 * 1.0, 1.0, 0.5 * 0.75 + 0.5 * 1.0, 0.0])
    assert feeds.has_feed.tolist() == [True, True, True, False]
    many = feeds.exposure(np.array([[True, False], [False, True], [True, False], [False, True]]))
    assert many[:, 0] == pytest.approx(found)


def test_exposure_is_0_where_nobody_and_1_where_everybody_is_treated_and_is_not_moved_by_oneself():
    feeds, _, rng = network(1)
    assert feeds.exposure(np.zeros(900, bool)) == pytest.approx(0.0, abs=1e-12)
    assert feeds.exposure(np.ones(900, bool)) == pytest.approx(1.0, abs=1e-12)
    treated = rng.random(900) < 0.5
    flipped = treated.copy()
    flipped[7] = not flipped[7]
    assert feeds.exposure(flipped)[7] == pytest.approx(feeds.exposure(treated)[7], abs=1e-12)


def test_containment_is_the_mean_difference_of_exposure_over_assignments():
    feeds, community, rng = network(2)
    found = []
    for _ in range(300):
        treated = halved(community, rng)
        exposed = feeds.exposure(treated)
        found.append(exposed[treated].mean() - exposed[~treated].mean())
    held = containment(feeds, community)
    assert (30 * held - 1) / 29 == pytest.approx(np.mean(found), abs=0.005)
    assert containment(feeds, np.arange(900)) == pytest.approx(0.0, abs=1e-12)
    apart = FeedShares.of(np.arange(90), np.arange(90) % 9, n_users=90)
    assert containment(apart, np.arange(90) % 9) == pytest.approx(1.0, abs=1e-12)


def test_communities_that_are_there_are_found_and_are_of_one_size():
    feeds, community, _ = network(3)
    found = communities(feeds, 30, seed=0)
    assert containment(feeds, found) > 0.97 * containment(feeds, community)
    assert np.bincount(found).max() == 30
    assert (communities(feeds, 30, seed=0) == found).all()
    uneven = communities(feeds, 7, seed=0)
    assert np.bincount(uneven, minlength=7).max() <= -(-900 // 7)


# --- the estimates


@pytest.mark.parametrize("design", ["user", "community"])
def test_direct_effect_spillover_and_total_are_covered(design):
    # 60 experiments, truth -.5, -.8 and -1.3; binomial(60, .95) is below 51 once in 1,000
    covered, naive, errors = np.zeros(3), [], []
    for seed in range(60):
        feeds, community, rng = network(seed)
        cluster = community if design == "community" else np.arange(900)
        treated = halved(cluster, rng)
        base = 0.3 * rng.standard_normal(30)[community] + rng.standard_normal(900)
        outcome = base - 0.5 * treated - 0.8 * feeds.exposure(treated)
        known = (base + 0.5 * rng.standard_normal(900))[:, None]
        found = interference(outcome, treated, feeds, cluster, before=known, seed=seed)
        for i, (estimate, truth) in enumerate(
            ((found.direct, -0.5), (found.spillover, -0.8), (found.total, -1.3))
        ):
            covered[i] += estimate.low <= truth <= estimate.high
        naive.append(found.naive)
        errors.append(found.total.standard_error)
    assert (covered >= 51).all()
    held = 0.65 if design == "community" else 0.0
    assert np.mean(naive) == pytest.approx(-0.5 - 0.8 * held, abs=0.05)
    assert np.mean(errors) < 0.15 if design == "community" else np.mean(errors) > 0.25


def test_outcomes_that_users_of_one_community_share_need_the_drawn_errors():
    # by user the slope of the exposure looks ten times as sure, with a shock per community and no effect
    from statsmodels.regression.linear_model import OLS

    wrong = right = 0
    for seed in range(40):
        feeds, community, rng = network(seed)
        treated = halved(community, rng)
        outcome = rng.standard_normal(30)[community] + 0.3 * rng.standard_normal(900)
        found = interference(outcome, treated, feeds, community, seed=seed)
        right += found.total.low <= 0 <= found.total.high
        design = np.column_stack((np.ones(900), treated, feeds.exposure(treated)))
        fit = OLS(outcome, design).fit(cov_type="HC1")
        wrong += abs(fit.t_test([0, 1, 1]).tvalue.item()) < 1.96
        assert found.total.value == pytest.approx(fit.params[1] + fit.params[2], abs=1e-9)
    assert right >= 34
    assert wrong <= 28


def test_the_direction_of_the_bias_is_stated_where_it_is_sure():
    feeds, community, rng = network(4)
    treated = halved(community, rng)
    exposed, noise = feeds.exposure(treated), 0.1 * rng.standard_normal(900)
    for direct, spillover, expected in (
        (-0.5, -0.8, "understates"),
        (-0.5, 0.2, "overstates"),
        (0.0, 0.8, "understates"),
        (-0.5, 0.8, "overstates"),  # a launch would do the opposite of what the arms show
        (-0.5, 0.0, "unclear"),
    ):
        found = interference(direct * treated + spillover * exposed + noise, treated, feeds, community)
        assert found.direction == expected
        assert found.status == "MODEL_ONLY"


def test_the_same_outcomes_have_no_effect_at_all():
    feeds, community, rng = network(5)
    found = interference(np.full(900, 3.0), halved(community, rng), feeds, community)
    for estimate in (found.direct, found.spillover, found.total):
        assert (estimate.value, estimate.standard_error) == pytest.approx((0.0, 0.0), abs=1e-12)


def test_designs_are_compared_by_what_they_hold_and_what_they_can_find():
    feeds, community, rng = network(6)
    outcome = 0.3 * rng.standard_normal(30)[community] + rng.standard_normal(900)
    by_user, by_community = compare_designs(
        feeds, outcome, {"users": np.arange(900), "communities": community}
    )
    assert (by_user.n_clusters, by_user.by_chance) == (900, 0.0)
    assert by_user.standard_error == pytest.approx(2 * outcome.std(ddof=2) / 30, rel=1e-9)
    assert by_community.containment > 0.6 > by_community.by_chance == pytest.approx(1 / 30)
    assert by_community.standard_error > 1.3 * by_user.standard_error
    assert by_community.smallest_effect > 2.8 * by_community.standard_error  # t(28), not normal


def test_a_linearised_ratio_moves_as_the_ratio_does():
    rng = np.random.default_rng(7)
    views, treated = rng.poisson(20, 500) + 1.0, np.arange(500) % 2 == 1
    harm = views * rng.uniform(0, 0.2, 500)
    outcome = linearised(harm, views, ~treated)
    assert outcome[~treated].mean() == pytest.approx(harm[~treated].sum() / views[~treated].sum())


def test_a_stock_that_falls_in_the_control_shows_a_leak():
    rng = np.random.default_rng(8)
    n = 8_000
    user, after = rng.integers(0, 300, n), rng.random(n) < 0.5
    control = user % 2 == 0
    stock = rng.poisson(np.where(after, 4.0, 5.0)).astype(float)
    found = stock_change(stock, after, control, user)
    direct = stock[control & after].mean() / stock[control & ~after].mean() - 1
    assert found.value == pytest.approx(direct, abs=1e-12)
    assert found.high < 0
    assert found.n_clusters == 150
    still = stock_change(np.where(after, stock * 1.25, stock), after, control, user)
    assert still.low < 0.05 < 0.1


# --- the simulator as the truth


@cache
def worlds():
    """Eight worlds of 400 users, 5 weeks: an experiment on half the users, nobody treated, all treated."""
    made = []
    for seed in range(8):
        pad = launchpad(load_parameters(), SCENARIOS["demotion"].formulas(), n_users=400, seed=seed)
        treated = np.random.default_rng(seed).permutation(np.arange(400) % 2 == 1)
        runs = [outcomes_of(pad, t, 5) for t in (treated, np.zeros(400, bool), np.ones(400, bool))]
        made.append((pad, treated, *(harm_and_views(run) for run in runs)))
    return made


def rate(pair, rows=slice(None)):
    return pair[0][rows].sum() / pair[1][rows].sum()


def test_in_the_simulator_each_arm_leaks_into_the_other():
    for _, treated, split, none, everybody in worlds():
        assert rate(split, ~treated) < 0.98 * rate(none, ~treated)  # the control is cleaner than without it
        assert rate(split, treated) > 1.005 * rate(everybody, treated)  # the treated less than at a launch


def test_an_experiment_by_user_misses_the_launch_and_one_by_world_does_not():
    made = worlds()
    treated = np.concatenate([w[1] for w in made])
    split = tuple(np.concatenate([w[2][i] for w in made]) for i in (0, 1))
    none, everybody = (tuple(np.concatenate([w[k][i] for w in made]) for i in (0, 1)) for k in (3, 4))
    truth = rate(everybody) / rate(none) - 1
    by_user = measured(Compared(treated), *split).relative
    assert truth < by_user.low  # it understates the fall of harm
    assert by_user.high < 0
    world = np.repeat(np.arange(8), 400)
    launched = world % 2 == 1
    harm, views = (np.where(launched, everybody[i], none[i]) for i in (0, 1))
    by_world = cluster_effect(launched, harm, views, world).relative
    assert by_world.low <= truth <= by_world.high
    assert by_world.n_clusters == 8


def test_one_experiment_by_user_cannot_tell_the_spillover_and_says_so():
    pad, treated, split, none, everybody = worlds()[0]
    outcome = linearised(*split, ~treated)
    known = linearised(*harm_and_views(pad.before), np.ones(400, bool))[:, None]
    found = interference(outcome, treated, pad.shares, np.arange(400), before=known)
    assert found.status == "REFUSED"
    assert found.direction == "unclear"
    truth = rate(everybody) - rate(none)
    assert found.total.low <= truth <= found.total.high
    assert found.total.standard_error > 20 * found.direct.standard_error
    assert found.direct.high < 0


def test_without_virality_and_adaptation_hardly_anything_leaks():
    p = replace(load_parameters(), people_per_user=0.0, adaptation_rate=0.0)
    pad = launchpad(p, SCENARIOS["demotion"].formulas(), n_users=400, seed=0)
    treated = worlds()[0][1]
    split, none = (harm_and_views(outcomes_of(pad, t, 5)) for t in (treated, np.zeros(400, bool)))
    assert rate(split, ~treated) == pytest.approx(rate(none, ~treated), rel=1e-3)


def test_a_world_that_is_all_treated_is_the_world_of_the_new_policy():
    pad = worlds()[0][0]
    treated = np.ones(400, bool)
    _, run = run_weeks(pad.world, pad.state, pad.formulas[1], 2)
    found = outcomes_of(pad, treated, 2).sum(axis=0)
    assert found == pytest.approx(run.outcomes.sum(axis=(0, 1)), rel=1e-12)
    same = replace(pad, formulas=(pad.formulas[0], pad.formulas[0]))
    assert (outcomes_of(same, treated, 2) == outcomes_of(same, ~treated, 2)).all()


def test_wrong_input_is_refused():
    feeds, community, rng = network(9)
    treated, ones = halved(community, rng), np.ones(900)
    by_user = np.arange(900)
    lone = FeedShares.of(np.arange(90), np.zeros(90, int), n_users=90)
    for call, message in (
        (lambda: FeedShares.of(np.array([0, 9]), np.array([0, 0]), n_users=2), "viewer: expected 0 to 1"),
        (lambda: FeedShares.of(np.array([0]), np.array([0, 0]), n_users=2), "expected as many as authors"),
        (
            lambda: FeedShares.of(np.array([0]), np.array([0]), n_users=2, weight=np.zeros(1)),
            "weight: expected numbers above 0",
        ),
        (lambda: communities(feeds, 1, seed=0), "n_clusters: expected 2 to 450, got 1"),
        (lambda: interference(ones[:3], treated, feeds, community), "outcome: expected 900 users"),
        (lambda: interference(ones * np.nan, treated, feeds, community), "expected finite numbers, got nan"),
        (lambda: interference(ones, by_user % 2 == 0, feeds, by_user // 3), "got a cluster in both"),
        (lambda: interference(ones, community == 0, feeds, community), "at least 2 per arm, got 29 and 1"),
        (
            lambda: interference(ones[:90], by_user[:90] % 2 == 0, lone, by_user[:90]),
            "exposure: expected surroundings that vary within an arm",
        ),
        (lambda: compare_designs(feeds, ones, {"halves": by_user % 2}), "design halves: expected at least 4"),
        (lambda: stock_change(ones, ones > 0, ones > 0, by_user), "after: expected rows of the control"),
        (lambda: linearised(ones, 0 * ones, treated), "denominator: expected a sum above 0"),
        (
            lambda: launchpad(
                replace(load_parameters(), burn_in_weeks=0),
                SCENARIOS["demotion"].formulas(),
                n_users=100,
                seed=0,
            ),
            "burn_in_weeks: expected at least 1",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()

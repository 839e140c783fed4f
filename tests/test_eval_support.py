from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from eval.off_policy import SlateLog, evaluate
from eval.ope import sips
from eval.overlap import Limits, Served
from eval.support import gate, support_bounds, unsupported_share
from tests.slate_world import N_SLOTS, RANKINGS, World, prefix_chances


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def drawn(world):
    return world.draw(3000, 2, seed=1)


def deterministic(world: World, n_users: int) -> Served:
    """A logger that serves the best three, and says so; the target draws."""
    drawn = world.draw(n_users, 2, seed=1)
    best = np.argsort(-world.score, axis=1)[drawn.kind, :N_SLOTS]
    ranking = (RANKINGS[None] == best[:, None]).all(axis=2).argmax(axis=1)
    chance = np.log(world.p_target[drawn.kind, ranking]).ravel()
    return replace(drawn.served, log_logging=np.zeros(len(chance)), log_target=chance)


def with_a_sixth_item(world: World, drawn, bonus: float) -> Served:
    """The target also places an item that was never logged; its chances by listing all 120 rankings."""
    logits = np.hstack([world.target_score, np.full((len(world.target_score), 1), bonus)])
    rankings = np.array(list(permutations(range(6), N_SLOTS)))
    chance = prefix_chances(logits, rankings)
    holds = np.cumsum(rankings == 5, axis=1) > 0  # (120, 3) the sixth item is in the prefix
    unsupported = (chance[..., -1, None] * holds).sum(axis=1)
    logged = prefix_chances(logits, RANKINGS)
    return replace(
        drawn.served,
        log_target=np.log(logged[drawn.kind, drawn.ranking]).ravel(),
        unsupported=unsupported[drawn.kind].ravel(),
    )


@pytest.mark.parametrize("estimator", ["switch_dr", "rips"])
def test_a_good_log_is_identified_with_nothing_to_mend(drawn, estimator):
    report = gate(drawn.served, estimator=estimator)
    assert (report.status, report.reasons, report.cautions) == ("IDENTIFIED", (), ())
    assert (report.needed_users, report.remedy) == (None, "")
    assert (report.n_requests, report.n_users) == (6000, 3000)


@pytest.mark.parametrize("estimator", ["switch_dr", "rips"])
def test_good_logs_are_hardly_ever_refused(world, estimator):
    # 60 logs; at most 5 % may be refused
    logs = (world.draw(2000, 2, seed=seed).served for seed in range(60))
    assert sum(gate(log, estimator=estimator).status == "IDENTIFIED" for log in logs) >= 57


def test_missing_propensities_are_refused(drawn):
    log = drawn.served.log_logging.copy()
    log[30:33] = np.nan
    report = gate(replace(drawn.served, log_logging=log))
    assert (report.status, report.reasons) == ("REFUSED", ("PROPENSITY_MISSING",))
    assert report.check("PROPENSITY_MISSING").detail == "3 of 18000 served prefixes have no propensity"
    assert "at the moment of serving" in report.remedy
    assert gate(replace(drawn.served, log_logging=log), estimator="direct").status == "MODEL_ONLY"


@pytest.mark.parametrize("value", [-np.inf, 0.5, -1e-6])
def test_impossible_propensities_are_refused(drawn, value):
    log = drawn.served.log_logging.copy()
    log[31] = value  # a 0, more than 1, and more than that of the shorter prefix
    assert gate(replace(drawn.served, log_logging=log)).reasons == ("PROPENSITY_IMPOSSIBLE",)


def test_a_deterministic_logger_is_refused_where_the_target_serves_otherwise(world):
    report = gate(deterministic(world, 2000))
    assert report.status == "REFUSED"
    assert report.reasons[0] == "LOGGER_DETERMINISTIC"
    assert "temperature above 0" in report.remedy
    assert gate(deterministic(world, 2000), estimator="direct").status == "MODEL_ONLY"


def test_a_logger_that_drew_only_below_the_top_is_refused_for_a_target_that_draws_there_too(drawn):
    log, target = (x.reshape(-1, N_SLOTS) for x in (drawn.served.log_logging, drawn.served.log_target))
    below = replace(drawn.served, log_logging=(log - log[:, :1]).ravel())
    assert gate(below).reasons[0] == "LOGGER_DETERMINISTIC"
    both = replace(below, log_target=(target - target[:, :1]).ravel())
    assert "LOGGER_DETERMINISTIC" not in gate(both).reasons


@pytest.mark.parametrize(("temperature", "demotion"), [(0.7, 1.0), (0.8, 1.0), (1.3, 0.2), (1.5, 0.2)])
def test_a_wrong_temperature_is_refused_by_the_mean_of_the_weights_alone(temperature, demotion):
    # hotter ones are found so by targets near the logger only: see the check of the logger against itself
    drawn = World(demotion=demotion).draw(3000, 2, seed=1)
    report = gate(replace(drawn.served, log_logging=drawn.log_under(World(temperature=temperature))))
    assert report.status == "REFUSED"
    assert set(report.reasons) <= {"MEAN_WEIGHT_LOW", "MEAN_WEIGHT_HIGH"}  # all checks of spread pass
    assert "more traffic does not help" in report.remedy
    assert report.needed_users is None


def test_the_mean_weight_is_tested_by_user():
    # 300 users of 40 requests each, and all of a user alike: 12,000 rows are worth 300
    rng = np.random.default_rng(6)
    chance = rng.uniform(0.2, 0.8, 300)
    chosen = rng.random(300) < chance
    user = np.repeat(np.arange(300), 40)
    log_logging = np.log(np.where(chosen, chance, 1 - chance))[user]
    weight = np.where(chosen, 0.7, 0.3)[user] / np.exp(log_logging)
    served = Served(log_logging, np.log(np.where(chosen, 0.7, 0.3))[user], np.arange(12_001), user)
    of_user = weight[::40]
    z = (of_user.mean() - 1) / (of_user.std(ddof=1) / np.sqrt(300))
    assert gate(served).check("MEAN_WEIGHT_HIGH").value == pytest.approx(z)
    surprise = chance * np.log(chance) + (1 - chance) * np.log(1 - chance)
    apart = (log_logging - surprise[user])[::40]
    report = gate(replace(served, expected_log_step=surprise[user]))
    by_hand = apart.mean() / (apart.std(ddof=1) / np.sqrt(300))
    assert report.check("PROPENSITY_MISCALIBRATED").value == pytest.approx(by_hand)


def test_floored_propensities_are_refused_and_recognised_as_such(drawn):
    for floor in (0.01, 0.02, 0.05):
        raised = np.maximum(drawn.served.log_logging, np.log(floor))
        report = gate(replace(drawn.served, log_logging=raised))
        assert report.status == "REFUSED"
        assert report.reasons == ("MEAN_WEIGHT_LOW", "PROPENSITY_FLOORED")
        share = (raised == np.log(floor)).mean()
        assert report.check("PROPENSITY_FLOORED").value >= share
        declared = gate(replace(drawn.served, log_logging=raised, clipped=raised == np.log(floor)))
        assert declared.check("PROPENSITY_CLIPPED").value == pytest.approx(share)
        assert "PROPENSITY_CLIPPED" in declared.reasons


def test_a_floor_too_low_to_move_the_mean_weight_is_seen_where_propensities_do_not_repeat():
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1.0, (4000, 5))
    chance, target = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (logits, 0.4 * logits))
    item = (rng.random((4000, 1)) > np.cumsum(chance, axis=1)).sum(axis=1).clip(max=4)
    rows = np.arange(4000)
    log = Served(np.log(chance[rows, item]), np.log(target[rows, item]), np.arange(4001), rows)
    assert gate(log).status == "IDENTIFIED"
    floor = np.sort(log.log_logging)[24]  # 0.6 % of propensities
    report = gate(replace(log, log_logging=np.maximum(log.log_logging, floor)))
    assert (report.status, report.reasons) == ("REFUSED", ("PROPENSITY_FLOORED",))
    assert report.check("PROPENSITY_FLOORED").value == pytest.approx(25 / 4000)


def test_a_uniform_logger_over_sets_of_two_sizes_does_not_look_floored():
    rows = np.arange(4000)
    log = np.log(np.where(rows % 50 == 0, 1 / 4, 1 / 5))  # nearly all at the least
    assert gate(Served(log, log, np.arange(4001), rows)).status == "IDENTIFIED"


def test_requests_with_the_same_candidates_do_not_look_floored(drawn):
    one_kind = replace(drawn, kind=np.zeros_like(drawn.kind))
    world = World()
    served = replace(
        drawn.served,
        log_logging=np.log(World(temperature=1.4).p_logging[0, one_kind.ranking]).ravel(),
        log_target=np.log(world.p_target[0, one_kind.ranking]).ravel(),
    )
    assert "PROPENSITY_FLOORED" not in gate(served).reasons


def test_an_item_that_was_not_logged_gives_bounds_if_declared_and_is_refused_if_not(world, drawn):
    served = with_a_sixth_item(world, drawn, bonus=-1.0)
    deficit = served.unsupported.reshape(-1, N_SLOTS)[:, -1].mean()
    report = gate(served)
    assert (report.status, report.reasons) == ("BOUNDED", ("SUPPORT_DEFICIT",))
    assert report.check("SUPPORT_DEFICIT").value == pytest.approx(deficit)
    assert 0.1 < deficit < 0.4
    hidden = gate(replace(served, unsupported=None))
    assert (hidden.status, hidden.reasons) == ("REFUSED", ("MEAN_WEIGHT_LOW",))
    rare = gate(with_a_sixth_item(world, drawn, bonus=-7.0))
    assert rare.status == "IDENTIFIED"
    assert 0 < rare.check("SUPPORT_DEFICIT").value <= 0.005


def test_the_bounds_hold_the_truth_whatever_the_missing_item_earns(world, drawn):
    served = with_a_sixth_item(world, drawn, bonus=-1.0)
    weight = np.exp(served.log_target - served.log_logging)
    missing = served.unsupported.reshape(-1, N_SLOTS)[:, -1]
    bounds = support_bounds(sips(weight, drawn.reward, drawn.offsets), missing, (0.0, 3.0), drawn.user)
    supported = (weight.reshape(-1, N_SLOTS)[:, -1] * drawn.reward.reshape(-1, N_SLOTS).sum(axis=1)).mean()
    assert bounds.low.value == pytest.approx(supported)
    assert bounds.high.value == pytest.approx(supported + 3.0 * missing.mean())
    renormalised = supported / weight.reshape(-1, N_SLOTS)[:, -1].mean()
    assert bounds.low.value < renormalised < bounds.high.value
    with pytest.raises(ValueError, match="expected least <= most"):
        support_bounds(missing, missing, (1.0, 0.0), drawn.user)


def test_the_mass_of_rankings_with_a_missing_item_is_the_mean_over_draws():
    # 20,000 draws of 2 of 3 items, the third not logged; its chance to be among them is listed
    rng = np.random.default_rng(3)
    rankings = np.array(list(permutations(range(3), 2)))
    chance = prefix_chances(np.array([1.0, 0.0, 0.5]), rankings)[:, -1]
    slate = rankings[rng.choice(6, 20_000, p=chance)].ravel()
    share = unsupported_share(slate, np.arange(20_001) * 2, np.array([True, True, False])).reshape(-1, 2)
    on_top, within = chance[rankings[:, 0] == 2].sum(), chance[(rankings == 2).any(axis=1)].sum()
    np.testing.assert_allclose(share.mean(axis=0), [on_top, within], atol=4 * 0.5 / np.sqrt(20_000))


def test_one_user_who_dominates_is_refused_by_name(drawn):
    report = gate(replace(drawn.served, user=np.where(drawn.user < 450, 0, drawn.user)))
    assert report.status == "REFUSED"
    assert report.reasons[-1] == "USER_DOMINATES"
    assert report.check("USER_DOMINATES").value == pytest.approx(0.15, abs=0.01)
    assert "cap the requests taken of one user" in report.remedy
    assert report.needed_users > 2551


def test_heavy_tailed_weights_are_refused_with_a_hotter_logger_as_the_remedy():
    served = World(temperature=0.2).draw(3000, 2, seed=3).served
    report = gate(served, estimator="rips")
    assert report.status == "REFUSED"
    assert {"ESS_LOW", "ESS_SHARE_LOW", "HEAVY_TAIL"} <= set(report.reasons)
    assert not {"MEAN_WEIGHT_LOW", "MEAN_WEIGHT_HIGH"} & set(report.reasons)
    assert "estimate with switch_dr" in report.remedy
    assert "log with a higher temperature, about 1." in report.remedy
    assert report.needed_users == 10_000  # 1000 effective at the least share of 10 %
    # too far for any estimator: a third of what the target serves would be the model's
    switched = gate(served)
    assert switched.reasons == ("ESS_LOW", "MODEL_SHARE_HIGH")
    assert switched.check("MODEL_SHARE_HIGH").value > 0.3


def heavy_tailed(seed: int, k: float, share: float = 1.0, n: int = 10_000) -> Served:
    """One slot, whose weight is 1, or in a share of the requests has a Pareto tail of shape k and mean 1."""
    rng = np.random.default_rng(seed)
    weight = np.where(rng.random(n) < share, (1.0 - k) * (1.0 - rng.random(n)) ** -k, 1.0)
    chance = 0.01 / np.maximum(weight, 1.0)
    return Served(np.log(chance), np.log(chance * weight), np.arange(n + 1), np.arange(n))


@pytest.mark.parametrize(("k", "status"), [(0.1, "IDENTIFIED"), (0.6, "REFUSED"), (0.75, "REFUSED")])
def test_estimators_that_use_all_weights_need_a_variance_and_no_lucky_log_slips_through(k, status):
    # 60 logs each: those that lack their largest weights have a k of about .3 less than it is
    for seed in range(60):
        report = gate(heavy_tailed(seed, k), estimator="sips")
        assert ("HEAVY_TAIL" in report.reasons) == (status == "REFUSED")


def test_the_same_log_may_identify_switch_dr_and_none_of_those_that_use_all_weights():
    served = heavy_tailed(2, 0.6, share=0.1)
    assert gate(served).status == "IDENTIFIED"
    for estimator in ("sips", "rips", "snrips", "dr"):
        report = gate(served, estimator=estimator)
        assert (report.estimator, report.status, report.reasons) == (estimator, "REFUSED", ("HEAVY_TAIL",))
    assert gate(served, switch=np.inf).reasons == ("HEAVY_TAIL",)  # a switch that is never reached
    # beyond weight 10 is a share of (10 / .4) ** (1 - 1 / .6) = 11.7 % of the target: more than the limit
    everywhere = gate(heavy_tailed(2, 0.6))
    assert everywhere.reasons == ("MODEL_SHARE_HIGH",)
    assert everywhere.check("MODEL_SHARE_HIGH").value == pytest.approx(0.117, abs=0.03)


def test_the_share_left_to_the_model_is_that_of_the_target_beyond_the_switch():
    world = World(temperature=0.6)
    weight = world.p_target / world.p_logging  # (types, 60, 3)
    last = world.p_target[..., -1:]
    for switch in (3.0, 5.0, 10.0):
        share = (last * (weight > switch)).sum(axis=1).mean(axis=0).max()
        report = gate(world.draw(20_000, 2, seed=3).served, switch=switch)
        found = report.check("MODEL_SHARE_HIGH")
        assert found.value == pytest.approx(share, abs=0.02)
        assert found.passed == (share <= 0.05)
        assert ("MODEL_SHARE_CAUTION" in report.cautions) == (0.02 < share <= 0.05)


def test_a_share_that_chance_explains_is_not_held_against_a_log():
    # a fair coin drew; the target always serves heads, which came up 46 times in 100: .08 +- .10
    target = np.where(np.arange(100) < 46, 0.0, -np.inf)
    served = Served(np.full(100, np.log(0.5)), target, np.arange(101), np.arange(100))
    share = gate(served, Limits(min_effective=10.0)).check("MODEL_SHARE_HIGH")
    assert share.value == pytest.approx(0.08)
    assert share.passed


def test_what_is_declared_unsupported_is_no_share_of_the_models(world, drawn):
    served = with_a_sixth_item(world, drawn, bonus=-1.0)
    assert abs(gate(served).check("MODEL_SHARE_HIGH").value) < 0.05
    assert served.unsupported.max() > 0.1


def test_too_few_users_are_told_how_many_it_takes(world):
    report = gate(world.draw(400, 2, seed=1).served)
    assert (report.status, report.reasons, report.remedy) == ("REFUSED", ("ESS_LOW",), "log more users")
    assert gate(world.draw(report.needed_users + 100, 2, seed=3).served).status == "IDENTIFIED"


def test_a_tail_between_the_limits_is_a_caution(drawn):
    tail = gate(drawn.served, estimator="rips").check("HEAVY_TAIL").value
    report = gate(drawn.served, Limits(caution_pareto_k=tail - 0.1), estimator="rips")
    assert (report.status, report.cautions) == ("IDENTIFIED", ("TAIL_CAUTION",))
    assert gate(drawn.served, Limits(caution_pareto_k=tail + 0.1), estimator="rips").cautions == ()


def test_a_target_that_is_the_logger_is_identified_however_the_log_was_made(drawn):
    same = replace(drawn.served, log_target=drawn.served.log_logging)
    assert gate(same).status == "IDENTIFIED"
    certain = np.zeros(30)
    few = Served(certain, certain, np.arange(11) * 3, np.arange(10) % 2)
    assert gate(few).status == "IDENTIFIED"


def test_one_user_is_refused_even_for_a_model(drawn):
    alone = replace(drawn.served, user=np.zeros(6000, int))
    for estimator in ("rips", "switch_dr", "direct"):
        report = gate(alone, estimator=estimator)
        assert (report.status, report.reasons) == ("REFUSED", ("ONE_USER",))


def test_a_model_alone_never_identifies(drawn):
    assert gate(drawn.served, estimator="direct").status == "MODEL_ONLY"


def test_what_the_gate_refuses_for_its_temperature_would_indeed_have_been_wrong(world):
    # the estimate from propensities of too cold a logger misses the truth by far more than its interval
    drawn = world.draw(20_000, 2, seed=4)
    served = replace(drawn.served, log_logging=drawn.log_under(World(temperature=0.7)))
    assert gate(served).status == "REFUSED"
    weight = np.exp(served.log_target - served.log_logging)
    estimate = evaluate(SlateLog(weight, drawn.reward, drawn.offsets, drawn.user), estimator="rips").target
    truth = world.truth()[0]
    assert not estimate.low <= truth <= estimate.high
    right = evaluate(drawn.log, estimator="rips").target
    assert abs(right.value - truth) < 4 * right.standard_error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_target": np.zeros(3)}, r"log_target: expected shape \(18000,\), got \(3,\)"),
        ({"user": np.zeros(3, int)}, r"user: expected shape \(6000,\), got \(3,\)"),
        ({"unsupported": np.full(18000, 1.5)}, r"unsupported: expected chances in \[0, 1\]"),
        ({"log_target": np.full(18000, np.nan)}, "log_target: expected log propensities of at most 0"),
    ],
)
def test_columns_that_do_not_fit_are_refused(drawn, change, message):
    with pytest.raises(ValueError, match=message):
        replace(drawn.served, **change)


def test_an_empty_log_is_refused():
    nothing = np.zeros(0)
    report = gate(Served(nothing, nothing, np.zeros(1, int), np.zeros(0, int)))
    assert report.status == "REFUSED"

import numpy as np
import pytest

from eval.clustered import clustered_mean
from eval.off_policy import (
    HOLDS,
    Responses,
    SlateLog,
    choose_switch,
    evaluate,
    independence_z,
    per_request,
)
from eval.ope import iips, rips
from tests.slate_world import World

N_LOGS = 400
ESTIMATORS = ("sips", "rips", "iips", "snrips", "dr", "switch_dr")


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def drawn(world):
    return world.draw(250, 4, seed=1)


@pytest.fixture(scope="module")
def replicates(world):
    """Per estimator (N_LOGS, 4): the difference, its error, whether level and difference are covered."""
    target, logging = world.truth()
    found = {name: [] for name in ESTIMATORS}
    flags = []
    for seed in range(N_LOGS):
        drawn = world.draw(250, 4, seed=1000 + seed)
        log = drawn.log
        flags.append(independence_z(log))
        for name in ESTIMATORS:
            values, base = per_request(log, name, drawn.responses)
            level, change = clustered_mean(values, log.user), clustered_mean(values - base, log.user)
            found[name].append(
                (
                    change.value,
                    change.standard_error,
                    level.low <= target <= level.high,
                    change.low <= target - logging <= change.high,
                )
            )
    return target - logging, {name: np.array(rows, float) for name, rows in found.items()}, np.array(flags)


@pytest.mark.parametrize("name", ["sips", "rips", "snrips", "dr", "switch_dr"])
def test_on_cascade_users_the_difference_is_unbiased_and_covered_at_the_stated_rate(replicates, name):
    truth, found, _ = replicates
    change = found[name]
    monte_carlo = change[:, 0].std(ddof=1) / np.sqrt(N_LOGS)
    assert abs(change[:, 0].mean() - truth) < 2 * monte_carlo
    # the errors are right to 10 %; 400 logs tell a coverage of .95 to +-.022 at 2 standard errors
    assert change[:, 1].mean() == pytest.approx(change[:, 0].std(ddof=1), rel=0.1)
    assert 0.92 <= change[:, 2].mean() <= 0.98
    assert 0.92 <= change[:, 3].mean() <= 0.98


def test_on_cascade_users_iips_loses_the_whole_effect_and_is_flagged_in_every_log(replicates):
    truth, found, flags = replicates
    assert truth > 0.07
    assert found["iips"][:, 0].mean() < 0.0
    assert found["iips"][:, 3].mean() == 0.0
    assert (np.abs(flags) > 3).mean() > 0.99


def test_the_model_lowers_the_error_of_the_difference(replicates):
    _, found, _ = replicates
    spread = {name: rows[:, 0].std(ddof=1) for name, rows in found.items()}
    assert spread["switch_dr"] < 0.85 * spread["rips"] < 0.85 * spread["sips"]


def test_where_people_read_by_position_iips_is_not_flagged(world):
    rng = np.random.default_rng(2)
    drawn = world.draw(3000, 2, seed=2)
    items = drawn.slate() % 5
    chance = np.tile([0.6, 0.4, 0.2], len(drawn.kind)) * np.array([0.1, 0.3, 0.5, 0.2, 0.4])[items]
    log = drawn.log
    by_position = SlateLog(
        log.weight, (rng.random(len(chance)) < chance).astype(float), log.slot_offsets, log.user,
        log.marginal_weight,
    )  # fmt: skip
    assert abs(independence_z(by_position)) < 3


def test_iips_is_refused_for_users_whose_slots_interact(drawn):
    for behaviour in ("cascade", "any"):
        with pytest.raises(ValueError, match=f"got {behaviour}, under which it is biased"):
            evaluate(drawn.log, estimator="iips", behaviour=behaviour)
    with pytest.raises(ValueError, match="rips: expected users whose behaviour is cascade or independent"):
        evaluate(drawn.log, estimator="rips", behaviour="any")
    independent = evaluate(drawn.log, estimator="iips", behaviour="independent")
    marginal = iips(drawn.marginal_weight, drawn.reward, drawn.offsets)
    assert independent.target.value == pytest.approx(marginal.mean())


def test_a_target_that_is_the_logger_differs_by_exactly_nothing(drawn):
    same = Responses(drawn.responses.predicted, drawn.responses.direct, drawn.responses.direct)
    ones = np.ones(len(drawn.reward))
    log = SlateLog(ones, drawn.reward, drawn.offsets, drawn.user, ones)
    for name in HOLDS:
        found = evaluate(log, estimator=name, behaviour="independent", responses=same)
        change = found.difference
        assert (change.value, change.standard_error, change.low, change.high) == (0.0, 0.0, 0.0, 0.0)
        assert (found.relative.value, found.bias_bound) == (0.0, 0.0)


def test_the_difference_is_paired_by_user(drawn):
    found = evaluate(drawn.log, estimator="rips")
    values = rips(drawn.log.weight, drawn.reward, drawn.offsets)
    base = drawn.reward.reshape(-1, 3).sum(axis=1)
    # by hand: totals of the differences by user, 4 requests each
    totals = (values - base).reshape(250, 4).sum(axis=1) / 4
    assert found.difference.value == pytest.approx(totals.mean())
    assert found.difference.standard_error == pytest.approx(totals.std(ddof=1) / np.sqrt(250))
    assert found.logging.value == pytest.approx(base.mean())
    level = values.reshape(250, 4).sum(axis=1) / 4
    assert found.target.standard_error == pytest.approx(level.std(ddof=1) / np.sqrt(250))
    assert found.relative.value == pytest.approx(values.mean() / base.mean() - 1)
    # users like more or less: their rows are alike, and errors by row would be too small
    assert found.logging.standard_error > 1.1 * base.std(ddof=1) / np.sqrt(1000)


def test_a_switch_that_drops_corrections_reports_how_far_it_may_be_off(drawn):
    found = evaluate(drawn.log, responses=drawn.responses, switch=2.0)
    kept = evaluate(drawn.log, responses=drawn.responses, switch=float("inf"))
    assert drawn.log.weight.max() > 2
    assert kept.bias_bound == 0.0
    assert 0 < abs(found.target.value - kept.target.value) <= found.bias_bound


def test_lepskis_rule_keeps_corrections_of_a_bad_model_and_drops_those_of_a_good_one():
    steep = World(temperature=0.4)
    drawn = steep.draw(1500, 4, seed=3)
    good = choose_switch(drawn.log, drawn.responses)
    assert good.switch <= 10
    r = drawn.responses
    bad = Responses(r.predicted * 4.0, r.direct * 4.0, r.direct_logging * 0.5)
    choice = choose_switch(drawn.log, bad)
    assert choice.switch > good.switch
    assert choice.candidates.tolist() == sorted(choice.candidates, reverse=True)
    single = choose_switch(drawn.log, bad, [7.0])
    assert single.switch == 7.0
    with pytest.raises(ValueError, match="candidates: expected at least 1 switch, got none"):
        choose_switch(drawn.log, bad, [])


def test_a_logger_that_earns_nothing_has_no_relative_change(drawn):
    log = SlateLog(drawn.log.weight, np.zeros(len(drawn.reward)), drawn.offsets, drawn.user)
    assert evaluate(log, estimator="rips").relative is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user": np.zeros(3, int)}, r"user: expected shape \(1000,\), got \(3,\)"),
        ({"weight": -np.ones(3000)}, "weight: expected at least 0"),
        ({"reward": np.full(3000, np.nan)}, "expected finite numbers, got nan at row 0"),
    ],
)
def test_a_log_that_does_not_fit_together_is_refused(drawn, change, message):
    columns = {"weight": drawn.log.weight, "reward": drawn.reward, "slot_offsets": drawn.offsets}
    with pytest.raises(ValueError, match=message):
        SlateLog(**{**columns, "user": drawn.user, **change})


def test_what_an_estimator_needs_and_has_not_is_named(drawn):
    with pytest.raises(ValueError, match="switch_dr: expected responses of a model, got None"):
        evaluate(drawn.log)
    bare = SlateLog(drawn.log.weight, drawn.reward, drawn.offsets, drawn.user)
    with pytest.raises(ValueError, match="iips: expected marginal weights, got None"):
        independence_z(bare)
    one_user = SlateLog(drawn.log.weight, drawn.reward, drawn.offsets, np.zeros(1000, int))
    with pytest.raises(ValueError, match="expected at least 2 users, got 1"):
        evaluate(one_user, estimator="rips")

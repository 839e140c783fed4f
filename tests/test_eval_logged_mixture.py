"""Logs of several loggers: weights over their mixture, exact by enumeration, refused where they cannot be."""

import dataclasses
import itertools

import numpy as np
import pytest

from eval.logged import compare_logged
from eval.logged_comparison import LoggedContext, LoggedSettings
from eval.logged_mixture import Mixture, loggers_of, parse_mixture, uneven, uneven_segments
from eval.logged_policy import LogPolicy, rank_log
from eval.logged_words import sentences
from eval.ope import rips
from eval.simulate.impressions import LABEL, impression_log
from eval.simulate.testbed import METRICS, WEIGHTS, angry_zero, logged, true_values
from eval.weights import balanced_weights
from reranker.columns import FeedError, StringColumn
from reranker.exploration import log_prefix_propensity
from reranker.impressions import ImpressionLog
from reranker.policy import PolicyError
from tests.slate_world import N_CANDIDATES, N_SLOTS, RANKINGS, cascade_views

N_KINDS = 6
COOL = LogPolicy("cool", {"like": 2.0})
HOT = LogPolicy("hot", {"like": 1.0, "angry": 3.0})
TARGET = LogPolicy("target", {"like": 2.0, "angry": -1.0}, temperature=0.7, from_rank=1)
HEAT = {"cool": 0.4, "hot": 1.5}
MIXED = Mixture("arm", {"cool": COOL, "hot": HOT})
ORIGINAL = LogPolicy("angry at 5", WEIGHTS, scale="log", temperature=0.5)
TREATMENT = LogPolicy("angry at 0", angry_zero(), scale="log", temperature=0.5)


def every_slate(share_cool: int = 1, share_hot: int = 1) -> tuple[ImpressionLog, np.ndarray, np.ndarray]:
    """A request for each kind, ranking and logger, its chance in the world, and its true reward (s,).

    The shares say how many requests each logger serves; both see every kind alike.
    """
    rng = np.random.default_rng(3)
    like, angry = rng.random((N_KINDS, N_CANDIDATES)), rng.random((N_KINDS, N_CANDIDATES))
    reward = cascade_views(0.7 * angry) * like[:, RANKINGS]  # (kinds, 60, 3): people stop at what angers them
    arms = ["cool"] * share_cool + ["hot"] * share_hot
    cells = list(itertools.product(range(N_KINDS), range(len(RANKINGS)), range(len(arms))))
    kind = np.array([k for k, _, _ in cells])
    n = len(cells)
    names = [arms[a] for _, _, a in cells]
    slate = np.concatenate([RANKINGS[r] + i * N_CANDIDATES for i, (_, r, _) in enumerate(cells)])
    offsets, slots = np.arange(n + 1) * N_CANDIDATES, np.arange(n + 1) * N_SLOTS
    heat = np.array([HEAT[name] for name in names])
    p_like, p_angry = like[kind].reshape(-1), angry[kind].reshape(-1)
    is_cool = np.repeat([name == "cool" for name in names], N_CANDIDATES)
    score = np.where(is_cool, 2 * p_like, p_like + 3 * p_angry)
    log = ImpressionLog(
        request_id=StringColumn.from_values(f"r{i}" for i in range(n)),
        user=StringColumn.from_values(f"u{i}" for i in range(n)),
        offsets=offsets.astype(np.int64),
        item_id=np.arange(n * N_CANDIDATES),
        score=score,
        slot_offsets=slots.astype(np.int64),
        slate=slate.astype(np.int64),
        log_prefix_propensity=log_prefix_propensity(score, offsets, slate, slots, heat),
        p_action={"like": p_like, "angry": p_angry},
        viewed=np.ones(n * N_SLOTS, dtype=bool),
        segments={"arm": StringColumn.from_values(names)},
        temperature=heat,
    )
    last = log.log_prefix_propensity[log.slot_offsets[1:] - 1]
    return log, np.exp(last) / (N_KINDS * len(arms)), reward[kind, [r for _, r, _ in cells]].reshape(-1)


def truth(log: ImpressionLog, reward: np.ndarray) -> float:
    """The target's value: the sum over rankings of its own chances; one arm's requests hold all of them."""
    first = log.take(np.flatnonzero(log.segments["arm"].codes == 0))
    ranked = rank_log(TARGET, first)
    chance = np.exp(ranked.log_prefix[first.slot_offsets[1:] - 1])
    of_first = np.repeat(log.segments["arm"].codes == 0, N_SLOTS)
    each = reward[of_first].reshape(-1, N_SLOTS).sum(axis=1)
    return float(chance @ each) / chance.sum()


def moments(log: ImpressionLog, chance: np.ndarray, reward: np.ndarray) -> tuple[float, float]:
    """Exact mean and variance of one request's value by prefix weights."""
    weight = np.exp(rank_log(TARGET, log).log_prefix - log.log_prefix_propensity)
    value = rips(weight, reward, log.slot_offsets)
    mean = float(chance @ value)
    return mean, float(chance @ value**2) - mean**2


@pytest.mark.parametrize("shares", [(1, 1), (3, 1)])
def test_mixture_weights_are_unbiased_and_less_variable_over_every_slate(shares: tuple[int, int]) -> None:
    log, chance, reward = every_slate(*shares)
    assert chance.sum() == pytest.approx(1.0)
    value = truth(log, reward)
    mixed = loggers_of([log], MIXED).mixed(log)
    own, mixture = moments(log, chance, reward), moments(mixed, chance, reward)
    assert own[0] == pytest.approx(value, abs=1e-12)
    assert mixture[0] == pytest.approx(value, abs=1e-12)
    assert mixture[1] < 0.6 * own[1]
    # and weights average 1, which is what the gate asks
    weight = np.exp(rank_log(TARGET, mixed).log_prefix - mixed.log_prefix_propensity)
    slot = np.arange(mixed.n_slots) % N_SLOTS
    for k in range(N_SLOTS):
        assert chance @ weight[slot == k] == pytest.approx(1.0, abs=1e-12)


def test_mixture_weights_are_those_of_the_balanced_estimator() -> None:
    log, _, _ = every_slate(3, 1)
    found = loggers_of([log.take(np.arange(100)), log.take(np.arange(100, log.n))], MIXED)
    assert [(one.name, one.temperature) for one in found.each] == [("cool", 0.4), ("hot", 1.5)]
    mixed = found.mixed(log)
    target = rank_log(TARGET, log).log_prefix
    every = np.stack([one.log_prefix(log) for one in found.each])
    wanted = balanced_weights(target, every, [one.n_requests for one in found.each])
    assert np.exp(target - mixed.log_prefix_propensity) == pytest.approx(wanted, rel=1e-9)
    own = found.arms(log)[log.request_of_slot]
    assert every[own, np.arange(log.n_slots)] == pytest.approx(log.log_prefix_propensity, rel=1e-6)


def test_one_logger_under_two_names_has_its_own_weights() -> None:
    log, _, _ = every_slate()
    same = log.take(np.flatnonzero(log.segments["arm"].codes == 0))
    halves = StringColumn.from_values(["a", "b"] * (same.n // 2))
    same = dataclasses.replace(same, segments={"arm": halves})
    found = loggers_of([same], Mixture("arm", {"a": COOL, "b": COOL}))
    assert found.one_draw
    assert found.mixed(same).log_prefix_propensity == pytest.approx(same.log_prefix_propensity, rel=1e-9)


def two_heats(n_users: int, seed: int) -> ImpressionLog:
    """Half of the users served at temperature 0.3 and half at 0.8, over the same scores."""
    cool, hot = (impression_log(logged(n_users, 2, heat, seed)) for heat in (0.3, 0.8))
    even = np.array([int(str(user)[1:]) % 2 == 0 for user in cool.user])
    parts = [cool.take(np.flatnonzero(even)), hot.take(np.flatnonzero(~even))]
    joined = {
        "request_id": StringColumn.from_values([one for log in parts for one in log.request_id]),
        "user": StringColumn.from_values([one for log in parts for one in log.user]),
        "segments": {"arm": StringColumn.from_values(["cool"] * parts[0].n + ["hot"] * parts[1].n)},
    }
    for name in ("offsets", "slot_offsets"):
        first, second = (getattr(log, name) for log in parts)
        joined[name] = np.concatenate((first, second[1:] + first[-1]))
    joined["slate"] = np.concatenate((parts[0].slate, parts[1].slate + parts[0].n_candidates))
    for name in (
        "item_id",
        "score",
        "log_prefix_propensity",
        "viewed",
        "temperature",
        "from_rank",
        "n_total",
    ):
        joined[name] = np.concatenate([getattr(log, name) for log in parts])
    for family, kept in (("p_action", None), ("harm", None), ("action", ("like", "angry"))):
        names = kept or getattr(parts[0], family)
        joined[family] = {k: np.concatenate([getattr(log, family)[k] for log in parts]) for k in names}
    return ImpressionLog(**joined)


@pytest.fixture(scope="module")
def mixed_log() -> ImpressionLog:
    return two_heats(2_400, 4)


BY_SCORE = LoggedContext(mixture=Mixture("arm", {"cool": None, "hot": None}))
FEW = LoggedSettings(n_draws=4)


def test_a_comparison_by_the_mixture_is_right_and_worth_more_users_than_by_own_propensities(
    mixed_log: ImpressionLog,
) -> None:
    own = compare_logged([mixed_log], ORIGINAL, TREATMENT, settings=FEW)
    found = compare_logged([mixed_log], ORIGINAL, TREATMENT, settings=FEW, context=BY_SCORE)
    assert found.status == "IDENTIFIED"
    assert found.served_by == "neither"
    known = true_values(30_000, 0.5, 5)
    for metric, name in ((f"harm_views.{LABEL}", "harm_views"), ("views", "views"), ("action.like", "like")):
        row, i = found.row(metric), METRICS.index(name)
        assert row.change is not None
        for one in (row.change, *row.checks.values()):
            error = np.hypot(one.standard_error, known.standard_error[i])
            assert abs(one.value - known.difference[i]) < 4 * error, metric
    # the effective size that the gate asks for: little of a cool log is worth anything to a hot target
    worth = [one.gates[1].check("ESS_SHARE_LOW").value or 0.0 for one in (own, found)]
    assert worth[1] > worth[0]
    told = " ".join(sentences(found))
    assert (
        "Weighed against the mixture of 2 loggers, by arm: cool (2,400 requests at temperature 0.3)" in told
    )
    assert "Taken as given: the logged score is what each of them would have drawn by" in told


def test_over_many_logs_the_mixture_is_unbiased_and_closer_to_the_truth() -> None:
    known = true_values(60_000, 0.5, 5)
    level, change = known.target[METRICS.index("views")], known.difference[METRICS.index("views")]
    errors: dict[str, list[tuple[float, float]]] = {"own": [], "mixture": []}
    for seed in range(40):
        log = two_heats(400, 100 + seed)
        assert BY_SCORE.mixture is not None
        mixed = loggers_of([log], BY_SCORE.mixture).mixed(log)
        for name, one in (("own", log), ("mixture", mixed)):
            assert one.viewed is not None
            first, second = (
                np.exp(rank_log(policy, one).log_prefix - one.log_prefix_propensity)
                for policy in (ORIGINAL, TREATMENT)
            )
            values = [rips(w, one.viewed.astype(float), one.slot_offsets).mean() for w in (first, second)]
            errors[name].append((values[1] - level, values[1] - values[0] - change))
    own, mixture = np.array(errors["own"]), np.array(errors["mixture"])
    assert (np.abs(mixture.mean(axis=0)) < 4 * mixture.std(axis=0) / np.sqrt(40)).all()
    # in 80 logs of twice the size the variance of the level was 5.6 times as large, of the change 2.3 times
    assert (mixture**2).mean(axis=0)[0] < 0.5 * (own**2).mean(axis=0)[0]
    assert (mixture**2).mean(axis=0)[1] < (own**2).mean(axis=0)[1]


def test_the_policies_of_loggers_and_their_score_say_the_same(mixed_log: ImpressionLog) -> None:
    named = {name: LogPolicy(name, WEIGHTS, scale="log") for name in ("cool", "hot")}
    by_policy = loggers_of([mixed_log], Mixture("arm", named))
    by_score = loggers_of([mixed_log], Mixture("arm", {"cool": None, "hot": None}))
    assert not by_policy.by_score
    first, second = (one.mixed(mixed_log).log_prefix_propensity for one in (by_policy, by_score))
    assert first == pytest.approx(second, rel=1e-9)


def test_the_mixture_against_itself_is_exactly_nothing(mixed_log: ImpressionLog) -> None:
    logger = LogPolicy("logger", None)
    found = compare_logged([mixed_log], logger, logger, settings=FEW, context=BY_SCORE)
    assert {row.change.value for row in found.rows if row.change is not None} == {0.0}
    # against another policy it is the average of what was served
    found = compare_logged([mixed_log], logger, TREATMENT, settings=FEW, context=BY_SCORE)
    assert found.status == "IDENTIFIED"
    assert mixed_log.viewed is not None
    served = found.row("views").original
    assert served == pytest.approx(mixed_log.viewed.sum() / mixed_log.n, rel=0.01)


def test_wrong_propensities_of_one_logger_are_refused_whoever_is_weighed(mixed_log: ImpressionLog) -> None:
    hot = np.repeat(mixed_log.segments["arm"].codes == 1, np.diff(mixed_log.slot_offsets))
    wrong = dataclasses.replace(
        mixed_log,
        log_prefix_propensity=np.where(
            hot, 1.25 * mixed_log.log_prefix_propensity, mixed_log.log_prefix_propensity
        ),
    )
    with pytest.raises(FeedError, match="logger hot: expected the propensities that were logged of its own"):
        compare_logged([wrong], ORIGINAL, TREATMENT, settings=FEW, context=BY_SCORE)


def test_loggers_that_served_other_countries_cannot_be_mixed(mixed_log: ImpressionLog) -> None:
    rng = np.random.default_rng(0)
    arm = mixed_log.segments["arm"].codes
    at_random = np.where(rng.random(mixed_log.n) < 0.3, "IN", "US")
    by_arm = np.where(rng.random(mixed_log.n) < np.where(arm == 1, 0.4, 0.3), "IN", "US")
    for country, unlike in ((at_random, False), (by_arm, True)):
        segments = {**mixed_log.segments, "country": StringColumn.from_values(country.tolist())}
        log = dataclasses.replace(mixed_log, segments=segments)
        found = compare_logged([log], ORIGINAL, TREATMENT, settings=FEW, context=BY_SCORE)
        assert (found.status == "REFUSED") == unlike
        assert ("LOGGERS_UNEVEN" in found.reasons) == unlike
        assert ("leave --mixture out" in sentences(found)[0]) == unlike
        assert all(row.change is None for row in found.rows if row.level == "L1") == unlike


def test_shares_that_differ_by_chance_alone_are_seldom_called_uneven() -> None:
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(300):
        user = np.repeat(np.arange(150), 2)
        arm = np.repeat(rng.integers(0, 2, 150), 2)  # a user has one arm: 150 draws, not 300
        segment = np.stack([rng.integers(0, 3, 300), rng.integers(0, 2, 300)])
        refused += bool(uneven(uneven_segments(arm, segment, user)))
    assert refused <= 300 * 0.01 + 4 * np.sqrt(300 * 0.01)
    assert uneven_segments(np.array([0, 1]), np.zeros((0, 2)), np.arange(2)) == 1.0


def test_what_no_mixture_can_be_made_of_is_one_line(mixed_log: ImpressionLog) -> None:
    def refused(log: ImpressionLog, mixture: Mixture) -> str:
        with pytest.raises(FeedError) as found:
            loggers_of([log], mixture)
        return str(found.value)

    scores = {"cool": None, "hot": None}
    assert "--mixture who: expected a segment that was logged (arm), got none" in refused(
        mixed_log, Mixture("who", scores)
    )
    assert "expected one for every logger in the log, got cool, warm and not hot" in refused(
        mixed_log, Mixture("arm", {"cool": None, "warm": None})
    )
    assert "logger warm: expected requests that it served, got none" in refused(
        mixed_log, Mixture("arm", {**scores, "warm": None})
    )
    other = {name: LogPolicy(name, angry_zero(), scale="log") for name in scores}
    assert "logger cool: expected the propensities that were logged" in refused(
        mixed_log, Mixture("arm", other)
    )
    heats = mixed_log.temperature
    assert heats is not None
    several = dataclasses.replace(mixed_log, temperature=heats + np.linspace(0, 0.1, mixed_log.n))
    assert "logger cool: temperature: expected one for all its requests, got 0.3" in refused(
        several, Mixture("arm", scores)
    )
    silent = dataclasses.replace(mixed_log, log_prefix_propensity=np.full(mixed_log.n_slots, np.nan))
    assert "expected a propensity and all its candidates, got none for request" in refused(
        silent, Mixture("arm", scores)
    )
    unknown = StringColumn.from_values([None, *list(mixed_log.segments["arm"])[1:]])
    assert "expected a logger in segment_arm, got none for request" in refused(
        dataclasses.replace(mixed_log, segments={"arm": unknown}), Mixture("arm", scores)
    )


def test_a_target_at_the_loggers_temperature_needs_loggers_of_one(mixed_log: ImpressionLog) -> None:
    floating = dataclasses.replace(TREATMENT, temperature=None)
    with pytest.raises(
        FeedError, match=r"--temperature: expected one, as the loggers drew at 0.3 from rank 1"
    ):
        compare_logged([mixed_log], ORIGINAL, floating, settings=FEW, context=BY_SCORE)


def test_texts_that_name_no_mixture_are_one_line() -> None:
    made = parse_mixture("arm", ["a=like=1,love=5", "b=like=2"], scale="log")
    assert made.loggers["a"] is not None
    assert made.loggers["a"].weights == {"like": 1.0, "love": 5.0}
    assert made.loggers["a"].scale == "log"
    assert parse_mixture("arm", ["a=score", "b=score"]).loggers == {"a": None, "b": None}
    for texts, message in (
        (["a"], "--logger: expected VALUE=POLICY, got 'a'"),
        (["a=score"], "expected at least two for a mixture, got 1"),
        (["a=score", "a=score"], "expected each once, got 'a' again"),
        (["a=score", "b=like=1"], "all of a, b to draw over the logged score or none"),
        (["a=logger", "b=like=1"], "expected weights, a policy or"),
    ):
        with pytest.raises(PolicyError, match=message):
            parse_mixture("arm", texts)

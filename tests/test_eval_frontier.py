import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval.exposure import browsing
from eval.frontier import Figure, exposures
from eval.frontier_choice import choose, on_front, parse_limit
from eval.frontier_files import NAMES, policy_toml, write_frontier
from eval.frontier_halves import changes_of, simultaneous, split_users
from eval.frontier_measures import HARM, Measures
from eval.frontier_point import frontier_point
from eval.frontier_policies import replay_of
from eval.frontier_simpler import put_back, simplest
from eval.frontier_words import finding, sentences
from eval.interval import paired_changes
from eval.outcomes import Outcome, standard_outcomes
from reranker.columns import FeedError
from reranker.pipeline import Reranker
from reranker.presets import list_presets, load_policy
from tests.frontier_world import RANGES, angry_feed, found_on, space_of


@pytest.fixture(scope="module")
def found():
    return found_on(angry_feed())


def test_the_recommended_policy_weighs_anger_less_and_shows_less_harm_to_users_who_did_not_choose_it(found):
    assert found.recommended.values["weights.angry"] < 2
    assert found.confirmed
    assert found.recommended.held_out[HARM].high < 0
    assert found.recommended.train["activity"].low > -0.05


def test_no_policy_within_the_limits_has_less_harm_than_the_recommended(found):
    holding = [point.train[HARM].value for point in found.points if point.holds]
    assert found.recommended.train[HARM].value == min(holding)


def test_the_simpler_policy_is_within_one_standard_error_and_has_fewer_settings(found):
    best, plain = found.recommended.train[HARM], found.simpler.train[HARM]
    assert plain.value <= best.value + best.standard_error
    assert len(found.simpler.values) < len(RANGES)
    assert found.simpler.holds


def test_figures_of_a_point_are_those_of_a_full_ranking_and_the_harness(found):
    feed = angry_feed()
    policies = load_policy("fb-2018-h1"), found.policy
    before, after = (exposures(Reranker(p).rank(feed), found.measures, "3") for p in policies)
    train, held_out = split_users(feed, seed=0, n_resamples=300)
    for half, figures in ((train, found.recommended.train), (held_out, found.recommended.held_out)):
        change = (after - before)[half.requests].sum(axis=0) / before[half.requests].sum(axis=0)
        assert figures[HARM].value == pytest.approx(change[0], abs=1e-12)
        assert figures["positive_activity"].value == pytest.approx(change[1], abs=1e-12)


def test_every_front_point_has_both_estimates_and_a_band_around_the_held_out_one(found):
    assert len(found.front) > 1
    for point in found.front:
        low, high, act_low, act_high = point.band
        assert low <= point.held_out[HARM].value <= high
        assert act_low <= point.held_out["positive_activity"].value <= act_high
        assert point.shrinkage(HARM) == point.held_out[HARM].value - point.train[HARM].value


def test_the_same_seed_gives_the_same_files_and_another_seed_another_split(found, tmp_path):
    again = found_on(angry_feed())
    first, second = write_frontier(found, tmp_path / "a"), write_frontier(again, tmp_path / "b")
    assert [path.name for path in first] == list(NAMES)
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
    halves = [split_users(angry_feed(), seed=seed, n_resamples=1)[0].requests.tolist() for seed in (0, 1)]
    assert halves[0] != halves[1]


def test_the_written_policy_is_the_one_that_was_measured_and_names_its_evidence(found, tmp_path):
    policy, evidence, trials, page = write_frontier(found, tmp_path / "out")
    loaded = load_policy(str(policy))
    assert loaded.digest == found.policy.digest == found.recommended.digest
    assert set(loaded.sources["weights.angry"].split()) >= {"evidence:", "frontier.json,"}
    told = json.loads(evidence.read_text("utf-8"))
    assert told["recommended_digest"] == loaded.digest
    assert told["points"][found.recommended.number]["values"]["weights.angry"] == loaded.weights["angry"]
    table = pq.read_table(trials)
    assert table.num_rows == len(found.points)
    assert table["held_out.harm_index.value"].null_count == sum(p.held_out is None for p in found.points)
    html = page.read_text("utf-8")
    assert "<svg" in html
    assert "Winner&#39;s curse" in html
    assert html.count("recommended") > 2


POLICIES = [info.name for info in list_presets() if info.kind == "policy"]


@pytest.mark.parametrize("name", POLICIES)
def test_any_policy_survives_being_written_in_full(found, name, tmp_path):
    policy = load_policy(name)
    path = tmp_path / "p.toml"
    path.write_text(policy_toml(replace(found, policy=policy)), encoding="utf-8")
    assert load_policy(str(path)).digest == policy.digest


def test_limits_that_nothing_holds_say_which_binds_and_by_how_much():
    with pytest.raises(ValueError, match=r"no policy holds activity=1e-05 by \d+\.\d\d points even alone"):
        found_on(angry_feed(), "activity=0.00001", settings=["weights.like=0"], trials=10)


def test_limits_that_can_be_held_alone_but_not_together_name_the_nearest_policy():
    low = np.array([[-0.01, -0.20], [-0.20, -0.01], [-0.08, -0.07]])
    limits = [parse_limit("a=0.05"), parse_limit("b=0.05")]
    with pytest.raises(ValueError, match=r"not all together: the nearest policy misses a=0.05 by 3.00"):
        choose(np.zeros(3), low, limits)
    assert choose(np.array([0.0, -1.0, -2.0]), low[:, :1], limits[:1]) == 0


def test_a_failed_confirmation_is_said_plainly():
    found = found_on(angry_feed(80, seed=5), "activity=0.02", "topic:politics=0.06", trials=20)
    told = " ".join(one.text for one in sentences(found))
    if found.confirmed:
        assert "NOT CONFIRMED" not in told
    else:
        assert "NOT CONFIRMED" in finding(found)
        assert all(failure in told for failure in found.failures)


def test_a_harm_that_rises_while_the_index_falls_is_named(found):
    figures = dict(found.recommended.held_out) | {"harm": Figure(0.3, 0.1, 0.5, 0.1)}
    risen = replace(found, recommended=replace(found.recommended, held_out=figures))
    told = [one.text for one in sentences(risen) if "although the index falls" in one.text]
    assert told == [text for text in told if text.startswith("Exposure to harm rises by +30.0%")]
    assert len(told) == 1
    assert not any("although" in one.text for one in sentences(found))


def test_a_harm_that_is_not_shown_at_all_is_no_promise(found):
    figures = dict(found.recommended.held_out) | {"harm": Figure(-1.0, -1.0, -1.0, 0.0)}
    gone = replace(found, recommended=replace(found.recommended, held_out=figures))
    told = [one.text for one in sentences(gone) if "shown none of it: harm" in one.text]
    assert len(told) == 1
    assert "no promise" in told[0]
    assert not any("shown none of it" in one.text for one in sentences(found))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-loss", "activity=0.1", "--max-loss", "activity=0.2"), "--max-loss: expected each name once"),
        (("--harm", "harm", "--harm", "harm=2"), "--harm: expected each name once, got harm twice"),
    ],
)
def test_a_name_that_is_stated_twice_is_refused(tmp_path, options, message):
    result = run(tmp_path, *options)
    assert isinstance(result.exception, FeedError)
    assert message in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_the_front_is_what_nothing_else_beats_on_both():
    rng = np.random.default_rng(0)
    harm, activity = rng.integers(0, 6, 60) / 10, rng.integers(0, 6, 60) / 10
    front = on_front(harm, activity)
    for i in range(60):
        beaten = (harm <= harm[i]) & (activity >= activity[i]) & ((harm < harm[i]) | (activity > activity[i]))
        assert not (front[i] and beaten.any())
    kept = {(h, a) for h, a, f in zip(harm, activity, front, strict=True) if f}
    best = {
        (h, a)
        for h, a in zip(harm, activity, strict=True)
        if not ((harm <= h) & (activity >= a) & ((harm < h) | (activity > a))).any()
    }
    assert kept == best


def test_changes_are_those_of_the_paired_bootstrap_of_the_harness():
    feed = angry_feed()
    half, _ = split_users(feed, seed=1, n_resamples=2_000)
    rng = np.random.default_rng(2)
    before = rng.random((len(half.requests), 1))
    after = before * rng.uniform(0.5, 1.2, before.shape)
    before[3] = np.nan
    mine = changes_of(half, before, after[None])
    theirs = paired_changes(before, after, np.arange(len(before)), seed=0)[0]
    low, high = mine.interval()
    assert mine.value[0, 0] == pytest.approx(theirs.relative, abs=1e-12)
    assert mine.standard_error[0, 0] == pytest.approx(theirs.relative_interval.standard_error, rel=0.08)
    assert low[0, 0] == pytest.approx(theirs.relative_interval.low, abs=0.3 * mine.standard_error[0, 0])
    assert high[0, 0] == pytest.approx(theirs.relative_interval.high, abs=0.3 * mine.standard_error[0, 0])


def test_a_band_covers_all_statistics_at_once_at_its_level_and_pointwise_intervals_do_not():
    rng = np.random.default_rng(0)
    n, m, covered, pointwise = 200, 10, 0, 0
    for _ in range(200):
        seen = rng.standard_normal((60, m))
        weights = rng.poisson(1.0, (400, 60))
        draws = weights @ seen / weights.sum(axis=1, keepdims=True)
        low, high = simultaneous(seen.mean(axis=0), draws)
        covered += bool(((low <= 0) & (high >= 0)).all())
        ends = np.quantile(draws, (0.025, 0.975), axis=0)
        pointwise += bool(((ends[0] <= 0) & (ends[1] >= 0)).all())
    assert 0.90 <= covered / n <= 0.985
    assert pointwise / n < 0.80


def test_the_best_of_200_null_policies_looks_significant_where_it_was_chosen_and_not_where_it_was_not():
    feed = angry_feed(160, 12, seed=4)
    base = load_policy("fb-2018-h1")
    rng = np.random.default_rng(5)
    nulls = [Outcome(f"null{i}", "exposure", rng.random(feed.n), "noise", "share") for i in range(400)]
    ranking = Reranker(base).rank(feed)
    replay = replay_of(ranking, nulls, browsing("3"))
    space = space_of({"weights.angry": (0, 9), "weights.love": (0, 9), "weights.comment": (0, 40)}, base)
    draws = rng.random((200, 3))
    policies = [
        space.policy(
            {d.key: d.low + x * (d.high - d.low) for d, x in zip(space.dimensions, row, strict=True)}
        )
        for row in draws
    ]
    measures = Measures(tuple(nulls), {nulls[0].name: 1.0}, nulls[0].name, {})
    before = exposures(ranking, measures, "3")
    halves = split_users(feed, seed=6, n_resamples=600)
    measured = [replay.measure(policies, half.requests) for half in halves]
    quick = replace(
        halves[0], weights=halves[0].weights[:1]
    )  # to choose by the estimate no resample is needed
    chosen_on, confirmed_on = 0, 0
    for m in range(len(nulls)):
        column = [before[half.requests][:, m : m + 1] for half in halves]
        train = changes_of(quick, column[0], measured[0][:, :, m : m + 1])
        best = int(train.value[:, 0].argmin())
        train = changes_of(halves[0], column[0], measured[0][best : best + 1, :, m : m + 1])
        held_out = changes_of(halves[1], column[1], measured[1][best : best + 1, :, m : m + 1])
        chosen_on += bool(train.interval()[1][0, 0] < 0)
        confirmed_on += bool(held_out.interval()[1][0, 0] < 0)
    nominal = 0.025
    assert confirmed_on / len(nulls) <= nominal + 3 * np.sqrt(nominal * (1 - nominal) / len(nulls))
    assert chosen_on / len(nulls) > 0.2


def test_rules_put_back_are_measured_alone_and_then_together_from_the_cheapest_on():
    cost = {"weights.a": 3.0, "weights.b": 1.0, "demotion.x.start": 2.0, "demotion.x.line": 0.0}
    values = dict.fromkeys(cost, 0.5)
    seen = []

    def measure(points):
        seen.extend(points)
        harm = np.array([sum(cost[key] for key in values if key not in point) for point in points])
        return harm, np.full(len(points), -1.0)

    put_back(values, dict.fromkeys(cost, 0.1), measure)
    assert [sorted(set(values) - set(point)) for point in seen[3:]] == [
        ["weights.b"],
        ["demotion.x.line", "demotion.x.start", "weights.b"],
        ["demotion.x.line", "demotion.x.start", "weights.a", "weights.b"],
    ]
    harm = np.array([0.0, 1.0, 3.0, 6.0])
    points = [values, *seen[3:]]
    assert simplest(points, harm, harm <= 3.5, dict.fromkeys(cost, 0.1)) == 2


def run(tmp_path, *arguments):
    """The command on a made-up feed, as the command line calls it."""
    import typer
    from typer.testing import CliRunner

    from reranker.frontier_command import frontier
    from reranker.writing import write_feed

    feeds = tmp_path / "feeds.parquet"
    write_feed(angry_feed(), feeds)
    app = typer.Typer()
    app.command()(frontier)
    small = ("--model", "none", "--base", "fb-2018-h1", "--truth", "harm", "--shown", "3", "--trials", "20")
    return CliRunner().invoke(app, [str(feeds), "-o", str(tmp_path / "out"), *small, *arguments])


def test_the_command_writes_a_policy_that_loads_and_says_what_it_found(tmp_path):
    space = tmp_path / "space.toml"
    space.write_text("schema = 1\n[weights]\nangry = { low = 0, high = 5 }\n", encoding="utf-8")
    limits = ("--max-loss", "activity=0.05", "--max-loss", "topic:politics=0.2")
    result = run(tmp_path, "--space", str(space), *limits)
    assert result.exit_code == 0, result.output
    assert "Winner's curse" in result.output
    policy = load_policy(str(tmp_path / "out" / "recommended.toml"))
    assert policy.weights["angry"] < 5
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(NAMES)


def test_limits_that_nothing_holds_leave_nothing_behind(tmp_path):
    result = run(
        tmp_path, "--set", "weights.like=0", "--set", "weights.love=0", "--max-loss", "activity=0.0001"
    )
    assert isinstance(result.exception, FeedError)
    assert "no policy holds activity=0.0001 by" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_space_that_is_no_toml_is_refused(tmp_path):
    space = tmp_path / "space.toml"
    space.write_text("weights = [", encoding="utf-8")
    result = run(tmp_path, "--space", str(space))
    assert isinstance(result.exception, FeedError)
    assert "space.toml: expected TOML in UTF-8" in str(result.exception)


def test_one_point_is_found_on_a_small_feed():
    feed = angry_feed()
    outcomes = standard_outcomes(feed, attributes=("harm",))
    found = frontier_point(feed, None, outcomes, harm=("harm",), base="fb-2018-h1")
    assert finding(found).startswith(
        f"Of {len(found.points)} policies, the one with least harm within activity"
    )
    assert found.recommended.held_out is not None

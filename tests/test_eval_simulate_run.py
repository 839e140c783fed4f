"""Worlds that run: identical policies, the historic change, what it hinges on, and how it is reported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm

from eval.simulate.behaviour import Pairs
from eval.simulate.formula import formula_of, rank
from eval.simulate.measures import MEASURES, change, first_session_change, level, weekly
from eval.simulate.page import render_page
from eval.simulate.parameters import ACTIONS, HARMS, Parameters, load_parameters
from eval.simulate.run import WorldRun, make_world, run_arms, run_seeds, step
from eval.simulate.scenarios import SCENARIOS, VARIANTS
from eval.simulate.study import Simulation, sentences, simulate, simulation_json, status_of, write_simulation
from eval.simulate.targets import check_targets, observe, poisson_regression
from eval.simulate.world import draw_candidates
from reranker.assembly import feed_from_columns
from reranker.cli import main
from reranker.pipeline import Reranker
from reranker.policy import PolicyError
from reranker.presets import load_policy

P = replace(load_parameters(), burn_in_weeks=1, n_publishers=64)
ANGRY_0 = SCENARIOS["angry0"].formulas()
TIES = ("page", "friend", "group_member", "stranger")


@pytest.fixture(scope="module")
def historic() -> tuple[tuple[WorldRun, ...], ...]:
    return run_seeds(P, ANGRY_0, weeks=3, n_users=400, seeds=range(8))


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(load_parameters(), SCENARIOS["angry0"], n_weeks=1, n_users=40, seeds=range(4, 6))


def test_identical_policies_give_exactly_equal_worlds() -> None:
    first, second = run_arms(P, SCENARIOS["identical"].formulas(), weeks=2, n_users=80, seed=1)
    for name in WorldRun.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    runs = run_seeds(P, SCENARIOS["identical"].formulas(), weeks=1, n_users=80, seeds=range(2))
    for measure in MEASURES:
        found = change(runs, measure.name)
        assert (found.value, found.standard_error) == (0.0, 0.0)
        assert status_of(found) == "identical"


def test_worlds_do_not_depend_on_what_runs_beside_them() -> None:
    both = run_seeds(P, ANGRY_0, weeks=1, n_users=80, seeds=(3, 4))
    alone = run_arms(P, ANGRY_0, weeks=1, n_users=80, seed=4)
    np.testing.assert_array_equal(both[1][1].outcomes, alone[1].outcomes)
    assert not np.array_equal(both[0][1].outcomes, alone[1].outcomes)


def test_zeroing_angry_lowers_harm_and_angry_clicks_and_leaves_activity_within_its_margin(
    historic: tuple[tuple[WorldRun, ...], ...],
) -> None:
    for name in ("misinformation", "disturbing", "graphic_violence"):
        assert change(historic, name).high < 0
        assert change(historic, f"{name}_seen").high < 0
    assert change(historic, "angry").high < 0
    for name, margin in (("positive", 0.01), ("time_s", 0.01), ("comments", 0.01), ("original_posts", 0.015)):
        low, high = change(historic, name).interval(0.9)
        assert -margin < low <= high < margin


def test_it_hinges_on_anger_being_tied_to_the_line(historic: tuple[tuple[WorldRun, ...], ...]) -> None:
    variant = next(one for one in VARIANTS if one.name == "anger-elsewhere")
    runs = run_seeds(variant.parameters(P), ANGRY_0, weeks=3, n_users=300, seeds=range(3))
    assert abs(change(runs, "misinformation").value) < 0.3 * abs(change(historic, "misinformation").value)
    assert change(runs, "angry").high < 0  # the clicks fall all the same


def test_where_comments_at_30_reward_the_same_posts_zeroing_angry_changes_next_to_nothing(
    historic: tuple[tuple[WorldRun, ...], ...],
) -> None:
    variant = next(one for one in VARIANTS if one.name == "collinear-30")
    formulas = variant.scenario(SCENARIOS["angry0"]).formulas()
    runs = run_seeds(variant.parameters(P), formulas, weeks=3, n_users=300, seeds=range(3))
    assert abs(change(runs, "misinformation").value) < 0.3 * abs(change(historic, "misinformation").value)
    assert abs(change(runs, "angry").value) < 0.01


def test_a_demotion_that_is_too_hard_costs_consumption_and_a_measured_one_far_less() -> None:
    mild, hard = (
        run_seeds(P, SCENARIOS[name].formulas(), weeks=1, n_users=200, seeds=range(2))
        for name in ("demotion", "hard-demotion")
    )
    assert change(hard, "time_s").value < -0.05
    assert change(hard, "time_s").value < change(mild, "time_s").value < 0
    assert change(hard, "misinformation").value < change(mild, "misinformation").value < -0.2


def test_the_first_session_differs_from_what_comes_later(
    historic: tuple[tuple[WorldRun, ...], ...],
) -> None:
    first = first_session_change(historic, "misinformation")
    assert first.high < 0
    assert change(historic, "misinformation").value < first.value
    same = [arms[0].coming[0] == arms[1].coming[0] for arms in historic]
    assert all(same)  # nobody can have reacted yet
    assert any(arms[0].coming[1] != arms[1].coming[1] for arms in historic)
    with pytest.raises(ValueError, match="outcome of a session"):
        first_session_change(historic, "negative_posts")


def test_publishers_who_do_not_adapt_keep_their_share() -> None:
    still = replace(P, adaptation_rate=0.0)
    first, second = run_arms(still, ANGRY_0, weeks=3, n_users=80, seed=1)
    np.testing.assert_array_equal(first.negative_posts, second.negative_posts)
    assert np.ptp(first.negative_posts) == 0


@pytest.mark.parametrize(
    "policy",
    [
        load_policy("fb-2018-h1"),
        load_policy("fb-2020-10"),
        load_policy("fb-2018-h1", ["media.boost={live_video=60}", "weights.hide=-3"]),
        load_policy("fb-2018-h1", ["score.bounded=true"]),
    ],
    ids=["2018", "2020", "live", "bounded"],
)
def test_the_simulator_ranks_as_the_product_does(policy: object) -> None:
    world, state = make_world(P, 60, 3)
    _, week = step(world, state, ANGRY_0[0])
    rows, relation = draw_candidates(P, world.users, week.posts, np.uint64(5))
    n, c = rows.shape
    formula = formula_of(policy)  # type: ignore[arg-type]
    values = np.random.default_rng(1).gamma(0.3, 0.05, (len(formula.signals), n * c)).clip(1e-9, 1)
    shown = rank(formula, values, Pairs(rows, relation, np.uint64(0)), week.posts, 10)
    columns: dict[str, object] = {
        "request_id": np.repeat([f"r{i:03d}" for i in range(n)], c).tolist(),
        "post_id": [f"p{row}" for row in rows.ravel()],
        "relation": [TIES[k] for k in relation.ravel()],
        "media": ["live_video" if live else "text" for live in week.posts.live[rows.ravel()]],
    }
    columns |= {ACTIONS[a]: values[s] for s, a in enumerate(formula.signals)}
    ranking = Reranker(policy).rank(feed_from_columns(columns, kind="probabilities"))  # type: ignore[arg-type]
    for i in range(n):
        assert [f"p{row}" for row in shown.rows[i]] == ranking.ids(i)[:10]


def test_demotion_puts_what_a_classifier_calls_harmful_below_the_rest() -> None:
    formula = SCENARIOS["hard-demotion"].formulas()[1]
    world, state = make_world(P, 60, 3)
    _, week = step(world, state, ANGRY_0[0])
    pairs = Pairs(*draw_candidates(P, world.users, week.posts, np.uint64(5)), np.uint64(0))
    shown = rank(formula, np.full((len(formula.signals), pairs.rows.size), 0.01), pairs, week.posts, 40)
    lines = {"misinformation": 0.02, "graphic_violence": 0.001, "hate": 0.001}  # of the scenario, floor 0
    full = np.zeros(shown.rows.shape, dtype=int)
    for name, line in lines.items():
        full |= week.posts.estimate[shown.rows, HARMS.index(name)] >= line
    assert 0.05 < full.mean() < 0.95
    assert (np.diff(full, axis=1) >= 0).all()


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        ("harm-aware", (), "guard"),
        ("chronological", (), "score"),
        ("fb-2018-h1", ("demotion.toxicity={start=0.1, line=0.5}",), "demotion.toxicity"),
        ("fb-2018-h1", ("holdout.share=0.1",), "holdout"),
    ],
)
def test_a_policy_that_needs_what_is_not_simulated_is_refused(
    spec: str, settings: tuple[str, ...], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        formula_of(load_policy(spec, settings))


def test_measures_are_ratios_of_sums_and_unknown_ones_are_refused(
    historic: tuple[tuple[WorldRun, ...], ...],
) -> None:
    run = historic[0][0]
    numerator, views = weekly(run, "misinformation")
    np.testing.assert_allclose(numerator, 1000 * run.outcomes[:, :, 5].sum(axis=1))
    np.testing.assert_allclose(views, run.outcomes[:, :, 0].sum(axis=1))
    assert level(historic[:1], 0, "misinformation") == pytest.approx(numerator.sum() / views.sum())
    with pytest.raises(ValueError, match="measure"):
        weekly(run, "happiness")
    with pytest.raises(ValueError, match="at least 2"):
        change(historic[:1], "angry")


def test_angry_reactions_are_no_part_of_the_activity_that_must_hold(
    historic: tuple[tuple[WorldRun, ...], ...],
) -> None:
    run = historic[0][0]
    more = run.outcomes.copy()
    for name in ("angry", "hide", "report"):
        more[:, :, 9 + ACTIONS.index(name)] *= 10
    np.testing.assert_array_equal(
        weekly(replace(run, outcomes=more), "positive")[0], weekly(run, "positive")[0]
    )


def test_the_poisson_regression_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(3)
    design = np.stack((np.ones(800), rng.poisson(1.0, 800), rng.random(800)), axis=1)
    offset = rng.normal(size=800)
    count = rng.poisson(np.exp(offset + design @ [-0.5, np.log(1.12), 0.4])).astype(float)
    fitted = sm.GLM(count, design, family=sm.families.Poisson(), offset=offset).fit(cov_type="HC0")
    slope, error = poisson_regression(design, count, offset)
    np.testing.assert_allclose(slope, fitted.params, rtol=1e-8)
    np.testing.assert_allclose(error, fitted.bse, rtol=1e-6)
    with pytest.raises(ValueError, match="count"):
        poisson_regression(design, np.zeros(800), offset)


def test_the_shape_of_the_world_meets_its_targets() -> None:
    p: Parameters = replace(P, burn_in_weeks=1)
    seen = observe(p, n_users=300, seed=2, n_weeks=2, launch_weeks=5)
    world, state = make_world(p, 300, 2)
    run = run_arms(p, ANGRY_0[:1], weeks=2, n_users=300, seed=2)
    found = {target.name: target for target in check_targets(p, run, seen)}
    for name in ("love", "angry_least", "words", "angry_on_harm", "engagement_rises", "satisfaction_falls"):
        assert found[name].met, found[name]
    assert found["launch"].met
    assert found["half_gap"].met
    assert found["love"].basis == "fitted"
    assert [name for name, one in found.items() if one.basis == "out of sample"] == ["launch"]
    assert found["half_gap"].basis == "implied"
    assert seen.shares[-1] > seen.before[-1] + 0.05  # the 2018 weights pay for negativity
    assert state.share.mean() == pytest.approx(0.8, abs=0.05)
    assert world.seed == 2


def test_the_report_is_one_page_without_scripts(simulation: Simulation, tmp_path: Path) -> None:
    page = render_page(simulation)
    files = write_simulation(simulation, page, tmp_path / "report")
    assert [file.name for file in files] == ["simulation.json", "simulation.html"]
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    for words in ("MODEL_ONLY", "Angry 5 → 0", "Comments at 30", "fitted", "out of sample", "too hard"):
        assert words in page
    assert page.count("<svg") == 11
    assert simulation_json(simulation) == files[0].read_text("utf-8")


def test_findings_never_call_a_change_that_was_not_measured_none(simulation: Simulation) -> None:
    row = simulation.row("misinformation")
    vague = replace(row.change, value=-0.01, standard_error=0.02, low=-0.05, high=0.03)
    rows = tuple(
        replace(one, change=vague, status=status_of(vague)) if one is row else one for one in simulation.rows
    )
    text = {t: tone for tone, t in sentences(replace(simulation, rows=rows))}
    told = next(one for one in text if one.startswith("Exposure to misinformation"))
    assert "did not change measurably" in told
    assert text[told] == "open"


def test_the_command_writes_the_same_bytes_again_and_refuses_what_it_does_not_know(
    simulation: Simulation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["simulate", "--scenario", "angry7", "-o", str(tmp_path / "x")])
    assert stopped.value.code == 2
    assert "--scenario: expected one of angry0" in capsys.readouterr().err
    sizes = ["--users", "40", "--seeds", "2", "--seed", "4", "--weeks", "1"]
    with pytest.raises(SystemExit) as stopped:
        main(["simulate", *sizes, "-o", str(tmp_path / "x")])
    assert stopped.value.code == 0
    written = [tmp_path / "x" / f"simulation.{suffix}" for suffix in ("json", "html")]
    assert written[0].read_text("utf-8") == simulation_json(simulation)
    assert written[1].read_text("utf-8") == render_page(simulation)
    assert "Exposure to misinformation" in capsys.readouterr().out


def test_a_simulation_of_one_world_is_refused() -> None:
    with pytest.raises(ValueError, match="seeds: expected at least 2"):
        simulate(P, SCENARIOS["angry0"], seeds=range(1))
    with pytest.raises(PolicyError):
        load_policy("fb-2018-h1", ["weights.rage=1"])

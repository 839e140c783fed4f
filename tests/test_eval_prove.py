"""The estimators against the simulator's truth, in small: `make prove` does it with 400 logs a setting."""

import json
from dataclasses import replace

import numpy as np
import pytest

from eval.broken_logs import REASONS
from eval.proof import ESTIMATORS, METRICS, Replicate, Truth, summarise
from eval.proof_page import bars, by_chance, markdown
from eval.prove import main, prove
from eval.simulate.parameters import ACTIONS, load_parameters
from eval.simulate.testbed import N_SLOTS, angry_zero, log_score, logged, true_values
from eval.trial import SETTINGS, Sizes, calibrated_views, moderate_heat, replicate

SMALL = Sizes(replicates=10, n_users=1_200, n_requests=1, n_truth=20_000, broken_every=10, seed=7)
TINY = Sizes(replicates=3, n_users=250, n_requests=2, n_truth=500, broken_every=2, seed=7)
RIPS = ESTIMATORS.index("rips")


@pytest.fixture(scope="module")
def proofs():
    return prove(SMALL, SETTINGS[:2])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("estimator", [name for name in ESTIMATORS if name != "iips"])
def test_differences_are_unbiased_in_both_regimes(proofs, metric, estimator):
    for one in proofs:
        cell = one.cell(metric, estimator)
        # 4 standard errors, whose own size 10 logs tell to 22 %
        assert abs(cell.all_logs.bias_z) < 4 * 1.22


def test_intervals_cover_and_stated_errors_are_the_true_ones(proofs):
    for one in proofs:
        cells = [cell for cell in one.cells if cell.estimator != "iips"]
        # 10 logs, at best 4 independent metrics of them: .95 less 4 standard errors is .81
        assert np.mean([cell.all_logs.coverage for cell in cells]) > 0.81
        switch = [cell.all_logs.error_ratio for cell in cells if cell.estimator == "switch_dr"]
        assert 0.6 < np.mean(switch) < 1.7


def test_the_default_estimator_meets_the_bars_against_rips_where_support_is_poor(proofs):
    hard = proofs[1]
    assert hard.name.endswith("T = .16")
    assert hard.rmse_ratio("views")[0] <= 0.6
    assert hard.rmse_ratio("harm_views")[0] <= 0.8


def test_every_broken_log_is_refused_for_what_is_broken(proofs):
    for one in proofs:
        assert [row.kind for row in one.refusals] == list(REASONS)
        for row in one.refusals:
            assert (row.n, row.identified, row.right_reason) == (1, 0, 1), row.kind


def test_the_harder_world_is_as_hard_as_the_reference_and_differs_in_anger_alone():
    shipped, hot = load_parameters(), moderate_heat(load_parameters())
    i = ACTIONS.index("angry")
    for name in ("action_base", "action_noise", "action_line"):
        before, after = np.array(getattr(shipped, name)), np.array(getattr(hot, name))
        assert np.flatnonzero(before != after).tolist() == [i]
    anger = {name: getattr(shipped, name) for name in ("action_base", "action_noise", "action_line")}
    assert replace(hot, **anger) == shipped
    truth = true_values(12_000, 0.16, 5, p=hot)
    # the reference: 21 % of requests, 3.3 % of items, -4.9 % of harm views
    assert 0.17 < truth.changed < 0.25
    assert 0.018 < truth.changed_items < 0.04
    assert -0.065 < truth.difference[1] / truth.logger[1] < -0.035
    assert truth.changed > 1.5 * true_values(12_000, 0.16, 5, p=shipped).changed


def made_up(truth: Truth, n: int, shift: float) -> list[Replicate]:
    """Estimates that are normal around truth + shift errors, each with the error that it states."""
    rng = np.random.default_rng(3)
    shape = (len(METRICS), len(ESTIMATORS))
    logs = []
    for i in range(n):
        off = 0.02 * (rng.standard_normal(shape) + shift)
        logs.append(
            Replicate(
                number=i,
                value=truth.difference[:, None] + off,
                standard_error=np.full(shape, 0.02),
                relative=(truth.difference[:, None] + off) / truth.logger[:, None],
                relative_error=np.full(shape, 0.02) / truth.logger[:, None],
                independence_z=np.full(4, 3.5 if i % 4 == 0 else -0.1),
                verdicts={
                    "switch_dr": ("IDENTIFIED", ()) if i % 2 else ("REFUSED", ("ESS_LOW",)),
                    "rips": ("IDENTIFIED", ()) if i % 4 == 1 else ("REFUSED", ("HEAVY_TAIL",)),
                },
                effective_share=0.5,
                pareto_k=0.6,
                model_share=0.01,
                broken={
                    "one user": {"switch_dr": ("REFUSED", ("ONE_USER",)), "rips": ("IDENTIFIED", ())},
                    "some propensities missing": {
                        "switch_dr": ("REFUSED", ("PROPENSITY_MISSING",)),
                        "rips": ("REFUSED", ("ESS_LOW",)),
                    },
                }
                if i == 0
                else {},
            )
        )
    return logs


@pytest.fixture(scope="module")
def truth():
    return Truth(np.full(4, 2.0), np.array([0.1, -0.1, 0.0, 0.3]), np.full(4, 1e-5), 0.2, 0.03, 1000)


def test_normal_estimates_have_the_coverage_and_the_error_rates_of_theory(truth):
    n = 1000
    one = summarise("normal", made_up(truth, n, 0.0), truth, 2000)
    for cell in one.cells:
        own = n // 2 if cell.estimator == "switch_dr" else n // 4
        for found, m in ((cell.all_logs, n), (cell.by_default, n // 2), (cell.accepted, own)):
            assert found.n == m
            assert abs(found.bias_z) < 4
            assert found.rmse == pytest.approx(0.01, rel=4 / np.sqrt(2 * m))  # 0.02 over a level of 2
            assert found.error_ratio == pytest.approx(1.0, rel=4 / np.sqrt(2 * m))
            assert found.coverage == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / m))
    for test in one.equivalences:
        assert test.margin == pytest.approx((1.644854 + 1.281552) * 0.01, rel=1e-6)
        assert test.false == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / n))
        assert test.power == pytest.approx(0.80, abs=4 * np.sqrt(0.8 * 0.2 / n))
    assert one.accepted == {"switch_dr": 0.5, "rips": 0.25}
    assert one.flagged == (0.25,) * 4
    assert one.reasons == {"switch_dr": {"ESS_LOW": n // 2}, "rips": {"HEAVY_TAIL": 3 * n // 4}}


def test_a_bias_shows_in_its_errors_and_in_the_coverage(truth):
    one = summarise("biased", made_up(truth, 400, 0.5), truth, 2000)
    for cell in one.cells:
        found = cell.all_logs
        assert found.bias == pytest.approx(0.005, rel=0.4)
        assert found.bias_z == pytest.approx(10, abs=4)  # half an error, times the root of 400
        assert found.coverage < 0.95
    found = {bar.name.partition(":")[0]: bar for bar in bars([one])}
    assert not found["bias"].met
    assert found["bias"].found.startswith("20 of 20 beyond")
    assert not found["gate, good logs"].met
    broken = found["gate, broken logs"]
    assert (broken.met, broken.found) == (False, "1 of 2 identified, 0 refused with the right reason")


def test_an_estimator_that_is_hardly_ever_identified_is_judged_by_no_bar(truth):
    logs = made_up(truth, 400, 0.0)
    seldom = {"switch_dr": ("IDENTIFIED", ()), "rips": ("REFUSED", ("HEAVY_TAIL",))}
    lucky = {**seldom, "rips": ("IDENTIFIED", ())}
    off = np.where(np.array(ESTIMATORS) == "switch_dr", 0.0, 9.0)  # of those that use weights as they are
    for few, judged in ((99, 4), (100, 20)):
        given = [
            replace(log, verdicts=lucky if i < few else seldom, value=log.value + off)
            for i, log in enumerate(logs)
        ]
        bar = next(bar for bar in bars([summarise("seldom", given, truth, 2000)]) if "bias" in bar.name)
        assert f" of {judged} beyond" in bar.found
        assert bar.found.startswith("16 of 20") == (judged == 20)
    none = [replace(log, verdicts=dict.fromkeys(seldom, ("REFUSED", ()))) for log in logs]
    found = {bar.name.partition(":")[0]: bar for bar in bars([summarise("none", none, truth, 2000)])}
    assert (found["bias"].met, found["coverage"].met) == (False, False)
    assert found["bias"].found == "no estimator is IDENTIFIED in 25% of the logs"


def test_the_margin_is_planned_with_an_error_that_four_in_five_logs_do_not_exceed(truth):
    # stated errors of .01 in three of four logs, .02 in the others, and estimates that vary as stated
    logs = made_up(truth, 2000, 0.0)
    scale = np.where(np.arange(2000) % 4 == 0, 2.0, 1.0)
    true = (truth.difference / truth.logger)[:, None]
    given = [
        replace(log, relative=true + (log.relative - true) * a, relative_error=log.relative_error * a)
        for log, a in zip(logs, scale, strict=True)
    ]
    for test in summarise("two kinds", given, truth, 2000).equivalences:
        assert test.margin == pytest.approx((1.644854 + 1.281552) * 0.02, rel=1e-6)
        assert test.power > 0.8
        assert test.false < 0.055


def test_chance_alone_puts_one_cell_in_twenty_outside_the_band_of_coverage():
    # 400 trials of .95: fewer than 372 or more than 388; summed by hand from the binomial
    assert by_chance(400) == pytest.approx(0.04975, abs=1e-5)


def test_an_error_of_the_truth_counts_against_no_estimator(truth):
    unsure = replace(truth, standard_error=np.full(4, 0.02))
    one = summarise("unsure", made_up(truth, 400, 0.5), unsure, 2000)
    # mean error 0.01 over hypot(0.02 / 20, 0.02)
    assert max(abs(cell.all_logs.bias_z) for cell in one.cells) < 0.7


def test_one_replicate_is_no_proof(truth):
    with pytest.raises(ValueError, match="expected at least 2 replicates, got 1"):
        summarise("one", made_up(truth, 1, 0.0), truth, 2000)


def test_an_interruption_loses_one_log_and_the_result_is_the_same(tmp_path):
    whole = prove(TINY, SETTINGS[:1], work=tmp_path)
    (kept,) = tmp_path.glob("*.jsonl")
    lines = kept.read_text().splitlines(keepends=True)
    assert len(lines) == 1 + 3
    altered = json.loads(lines[1])
    altered[3]["verdicts"]["switch_dr"][0] = "read, not made again"
    kept.write_text(lines[0] + json.dumps(altered) + "\n" + lines[2] + lines[3][:40])  # cut off
    again = prove(TINY, SETTINGS[:1], work=tmp_path)
    assert kept.read_text().splitlines(keepends=True) == [lines[0], json.dumps(altered) + "\n", *lines[2:]]
    assert again[0].cells == whole[0].cells
    assert again[0].cells == prove(TINY, SETTINGS[:1])[0].cells
    prove(replace(TINY, seed=8), SETTINGS[:1], work=tmp_path)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2  # another seed never reads these


def test_expected_views_are_those_of_the_log_on_average_slot_by_slot():
    log = logged(3_000, 1, 0.16, 5, SETTINGS[3].parameters())
    target_score = log_score(log.p_action, angry_zero())
    seen, target, logger = calibrated_views(log, target_score)
    viewed = log.viewed.reshape(-1, N_SLOTS)
    np.testing.assert_allclose(seen.reshape(-1, N_SLOTS).mean(axis=0), viewed.mean(axis=0))
    # the mean over all slates that the logger might have served is that over those it did, but for chance
    error = (logger.reshape(3_000, -1).sum(axis=1) - seen.reshape(3_000, -1).sum(axis=1)).std() / np.sqrt(
        3_000
    )
    assert logger.sum() / 3_000 == pytest.approx(viewed.sum() / 3_000, abs=4 * error)
    assert target.sum() / 3_000 == pytest.approx(viewed.sum() / 3_000, rel=0.01)


def test_no_log_is_the_same_as_another():
    values = [replicate(SETTINGS[0], i, TINY).value[0, RIPS] for i in range(3)]
    assert len(set(values)) == 3


def test_the_page_says_when_what_and_which_bars_were_missed(proofs):
    page = markdown(proofs, SMALL, "2026-01-02")
    assert "Made on 2026-01-02 by `python -m eval.prove --replicates 10 --seed 7" in page
    assert page.count("**MISSED**") == sum(not bar.met for bar in bars(proofs))
    switch = proofs[1].cell("harm_views", "switch_dr")
    assert (
        f"| {switch.truth:+.3%} ± {switch.truth_error:.3%} | Switch-DR | {switch.all_logs.bias:+.3%}" in page
    )
    for kind in REASONS:
        assert f"| {kind} | 2 | 0 | 1 of 1 / 1 of 1 |" in page


def test_the_command_writes_the_page_and_the_same_as_json(tmp_path):
    out = tmp_path / "proof.md"
    main(["--replicates", "2", "--users", "60", "--truth", "500", "--seed", "3", "--work", str(tmp_path),
          "-o", str(out)])  # fmt: skip
    found = json.loads(out.with_suffix(".json").read_text())
    assert [one["name"] for one in found["settings"]] == [one.name for one in SETTINGS]
    assert len(found["settings"][0]["cells"]) == len(METRICS) * len(ESTIMATORS)
    assert found["sizes"]["replicates"] == 2
    assert all(f"## {one.name[0].upper()}{one.name[1:]}" in out.read_text() for one in SETTINGS)

"""eval.decision and eval.margins: published digits, statsmodels, error rates by simulation, the words."""

import math
from dataclasses import replace

import numpy as np
import pytest

from eval.clustered import Estimate, relative_of
from eval.decision import (
    decide,
    equivalence,
    equivalence_power,
    gate,
    in_words,
    sample_size,
    smallest_margin,
)
from eval.margins import load_margins, margins


def change(value, error, *, n=1_000_000):
    """A relative change with a normal interval."""
    half = 1.959963984540054 * error
    return Estimate(value, error, value - half, value + half, 0.95, n, n, df=math.inf)


def test_the_published_example_is_equivalent():
    # D5: 10.00 and 9.98, sd 6, 200 000 each, margin 1 %
    noise = 36 / 200_000
    estimate = relative_of((10.0, 9.98), (noise, 0.0, noise), n=400_000, n_clusters=400_000, df=math.inf)
    verdict = decide(estimate, 0.01)
    assert verdict.decision == "EQUIVALENT"
    assert verdict.test.p == pytest.approx(1.218e-5, rel=5e-4)


def test_two_one_sided_tests_agree_with_statsmodels():
    from statsmodels.stats.weightstats import DescrStatsW

    values = np.random.default_rng(1).normal(0.002, 0.05, 40)
    described = DescrStatsW(values)
    theirs = described.ttost_mean(-0.02, 0.02)
    estimate = Estimate(float(values.mean()), float(described.std_mean), 0, 0, 0.95, 40, 40)
    ours = equivalence(estimate, 0.02)
    assert (ours.p, ours.p_lower, ours.p_upper) == pytest.approx(
        (theirs[0], theirs[1][1], theirs[2][1]), abs=1e-12
    )
    assert (ours.low, ours.high) == pytest.approx(described.tconfint_mean(0.10), abs=1e-12)


@pytest.mark.parametrize(
    ("value", "error", "decision"),
    [
        (0.000, 0.004, "EQUIVALENT"),  # 90 %: -.66 to .66
        (0.006, 0.002, "DIFFERENT-WITHIN-MARGIN"),  # 95 %: .21 to .99
        (-0.006, 0.002, "DIFFERENT-WITHIN-MARGIN"),
        (0.008, 0.006, "NON-INFERIOR"),  # 95 %: -.38 to 1.98
        (0.050, 0.005, "NON-INFERIOR"),
        (-0.030, 0.005, "INFERIOR"),  # 95 %: -3.98 to -2.02
        (-0.012, 0.005, "INCONCLUSIVE"),  # 95 %: -2.18 to -.22
        (0.000, 0.010, "INCONCLUSIVE"),
    ],
)
def test_each_picture_has_its_verdict(value, error, decision):
    assert decide(change(value, error), 0.01).decision == decision


def test_no_significant_change_is_not_unaffected():
    # p = .32: the mistake is to call this unaffected
    verdict = decide(change(-0.01, 0.01), 0.01)
    assert verdict.decision == "INCONCLUSIVE"
    assert "unaffected" not in in_words("Comments", verdict)


def test_unaffected_is_said_of_equivalent_and_of_nothing_else():
    seen = set()
    for value in np.linspace(-0.04, 0.04, 41):
        for error in (0.0, 0.001, 0.003, 0.006, 0.02):
            verdict = decide(change(float(value), error), 0.01)
            seen.add(verdict.decision)
            text = in_words("Time", verdict).lower()
            assert ("unaffected" in text) == (verdict.decision == "EQUIVALENT")
    assert seen == {"EQUIVALENT", "NON-INFERIOR", "INFERIOR", "DIFFERENT-WITHIN-MARGIN", "INCONCLUSIVE"}


def test_a_change_within_the_margin_says_both():
    text = in_words("Shares", decide(change(0.006, 0.002), 0.01))
    assert text == (
        "Shares: it changed (+0.60%, 95% interval +0.21% to +0.99%), by less than the margin of 1% "
        "(+0.60%, 90% interval +0.27% to +0.93%)."
    )


def test_identical_policies_are_equivalent_and_an_exact_loss_is_inferior():
    assert decide(change(0.0, 0.0), 0.01).decision == "EQUIVALENT"
    assert decide(change(0.0, 0.0), 0.01).test.p == 0.0
    assert decide(change(-0.02, 0.0), 0.01).decision == "INFERIOR"
    assert decide(change(-0.02, 0.0), 0.01).test.p == 1.0


def test_a_failed_computation_is_an_error_and_not_a_perfect_null():
    for broken in (change(math.nan, 0.01), change(0.0, math.nan), change(math.inf, 0.1)):
        with pytest.raises(ValueError, match="estimate: expected a finite value"):
            decide(broken, 0.01)
    with pytest.raises(ValueError, match="margin: expected a number above 0"):
        decide(change(0.0, 0.01), 0.0)


def test_an_unbounded_interval_is_inconclusive_even_where_its_error_looks_small():
    endless = replace(change(0.0, 0.001), low=-math.inf, high=math.inf, is_fieller=True)
    verdict = decide(endless, 0.01)
    assert (verdict.decision, verdict.n_needed, verdict.test.p) == ("INCONCLUSIVE", None, 1.0)
    assert "the baseline is too small to compare with" in in_words("Likes", verdict)


def test_few_clusters_use_t_and_not_z():
    # se .005, margin 1 %: z needs 1.645 se, t(3) needs 2.353
    few = Estimate(0.0, 0.005, -0.0159, 0.0159, 0.95, 40, 4)
    assert decide(change(0.0, 0.005), 0.01).decision == "EQUIVALENT"
    assert decide(few, 0.01).decision == "INCONCLUSIVE"


def test_sample_sizes_have_the_published_digits():
    assert sample_size(0.6, 0.01) == 61_660
    assert sample_size(0.6, 0.005) == 246_639


def test_the_users_that_are_asked_for_give_the_promised_power():
    verdict = decide(change(0.0, 0.01, n=1_000), 0.01)
    assert verdict.n_needed is not None
    error = 0.01 * math.sqrt(1_000 / verdict.n_needed)
    assert equivalence_power(error, 0.01) == pytest.approx(0.8, abs=1e-3)
    assert f"{verdict.n_needed:,} users" in in_words("Time", verdict)


def test_the_smallest_margin_has_the_stated_power():
    margin = smallest_margin(0.002)
    assert margin == pytest.approx((1.6448536 + 1.6448536) * 0.002, abs=1e-8)
    assert equivalence_power(0.002, margin) == pytest.approx(0.9, abs=1e-9)


def test_equivalence_is_claimed_at_most_as_often_as_alpha_at_the_margin_and_often_enough_at_zero():
    # 4000 experiments of 400 users; the standard error is estimated, as in use
    rng = np.random.default_rng(2)
    claimed = {}
    for truth in (0.01, -0.01, 0.0):
        values = rng.normal(truth, 0.06, (4_000, 400))  # se .003
        moments = zip(values.mean(axis=1).tolist(), (values.std(axis=1, ddof=1) / 20).tolist(), strict=True)
        found = [equivalence(Estimate(m, e, 0, 0, 0.95, 400, 400), 0.01).equivalent for m, e in moments]
        claimed[truth] = np.mean(found)
    error = math.sqrt(0.05 * 0.95 / 4_000)
    assert max(claimed[0.01], claimed[-0.01]) <= 0.055
    assert claimed[0.01] == pytest.approx(0.05, abs=4 * error)
    assert claimed[0.0] == pytest.approx(equivalence_power(0.003, 0.01), abs=0.02)
    assert claimed[0.0] >= 0.8


def test_non_inferiority_errs_in_at_most_two_and_a_half_percent_at_the_margin():
    rng = np.random.default_rng(3)
    values = rng.normal(-0.01, 0.003, 4_000)
    wrong = np.mean([decide(change(v, 0.003), 0.01).non_inferior for v in values.tolist()])
    assert wrong == pytest.approx(0.025, abs=4 * math.sqrt(0.025 * 0.975 / 4_000))


def test_the_shipped_margins_are_those_of_the_specification():
    shipped = load_margins()
    assert shipped.overall == {
        "sessions": 0.005,
        "daily_active_users": 0.005,
        "time": 0.01,
        "positive_interactions": 0.01,
        "comments": 0.01,
        "original_posts": 0.015,
        "shares": 0.02,
    }
    assert shipped.country == {"sessions": 0.01, "daily_active_users": 0.0075}
    assert (shipped.of("sessions"), shipped.of("sessions", "country")) == (0.005, 0.01)


def test_angry_clicks_are_in_no_activity_guardrail():
    shipped = load_margins()
    assert not [name for name in (*shipped.overall, *shipped.country) if "angry" in name or "all_" in name]
    with pytest.raises(ValueError, match="expected one for angry"):
        gate({"angry": change(0.0, 0.001)}, shipped, planned_digest=shipped.digest)


def test_the_digest_ignores_comments_and_order_and_sees_a_changed_margin(tmp_path):
    def digest(text):
        path = tmp_path / "margins.toml"
        path.write_text(text)
        return load_margins(path).digest

    first = digest("schema = 1\n[overall]\ntime = 0.01\nshares = 0.02\n")
    assert first == digest("schema = 1 # why\n[overall]\nshares = 0.02\ntime = 0.01\n")
    assert first != digest("schema = 1\n[overall]\ntime = 0.02\nshares = 0.02\n")
    assert first != digest("schema = 1\n[country]\ntime = 0.01\nshares = 0.02\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema = 2", "schema: expected 1, got 2"),
        ("schema = 1\n[overal]\ntime = 0.01", "expected only overall, country, got overal"),
        ("schema = 1\n[overall]\ntime = 1", r"overall.time: expected a number in \(0, 1\), got 1"),
        ("schema = 1\n[overall]\ntime = -0.01", r"overall.time: expected a number in \(0, 1\)"),
    ],
)
def test_a_wrong_margins_file_is_refused(tmp_path, text, message):
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_margins(tmp_path / "m.toml")


def test_the_gate_passes_when_each_guardrail_is_non_inferior():
    agreed = margins({"time": 0.01, "shares": 0.02})
    good = {"time": change(0.0, 0.002), "shares": change(0.03, 0.01)}
    result = gate(good, agreed, planned_digest=agreed.digest)
    assert (result.passed, result.failing, result.not_measured, result.banner) == (True, (), (), "")
    assert result.margins_digest == agreed.digest
    bad = gate(good | {"shares": change(-0.005, 0.01)}, agreed, planned_digest=agreed.digest)
    assert (bad.passed, bad.failing) == (False, ("shares",))


def test_a_guardrail_that_was_not_measured_does_not_pass():
    agreed = margins({"time": 0.01, "shares": 0.02})
    result = gate({"time": change(0.0, 0.002)}, agreed, planned_digest=agreed.digest)
    assert (result.passed, result.not_measured) == (False, ("shares",))
    assert not gate({}, margins({}), planned_digest=margins({}).digest).passed


def test_equivalent_at_five_percent_is_not_enough_for_the_gate():
    # 90 % -.98 to .17 inside 1 %, 95 % -1.09 to .29 not: equivalent, but non-inferiority is asked at 2.5 %
    agreed = margins({"time": 0.01})
    result = gate({"time": change(-0.004, 0.0035)}, agreed, planned_digest=agreed.digest)
    assert result.verdicts["time"].decision == "EQUIVALENT"
    assert not result.passed


def test_margins_changed_after_planning_are_reported_and_do_not_pass():
    planned, used = margins({"time": 0.01}), margins({"time": 0.05})
    result = gate({"time": change(0.0, 0.001)}, used, planned_digest=planned.digest)
    assert result.banner.startswith("THE MARGINS CHANGED after planning")
    assert not result.passed
    unplanned = gate({"time": change(0.0, 0.001)}, used)
    assert "were not fixed in a plan" in unplanned.banner
    assert not unplanned.passed

"""Verdicts on activity against margins, and the word that only one of them may use."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import eval as harness
from eval.figures import change_plot
from eval.guardrails import GATES, margin_name
from eval.margins import load_margins, margins
from eval.outcomes import standard_outcomes
from eval.page import render_page
from eval.report import comparison_json, comparison_table
from tests.comparisons import activity, harm, swap_feed, swapped, texts

WORD = "unaffected"


def noisy(mean, sd, n_users=60, name="comments", margin=0.01, **options):
    """Every request shows 100 before, and 100 times 1 + a change per user after."""
    feed = swap_feed(n_users)
    change = np.random.default_rng(5).normal(0, sd, n_users)
    change += mean - change.mean()
    found = swapped(
        feed, [activity(feed, 100.0, 100.0 * (1 + change), name)], margins=margins({name: margin}), **options
    )
    return found, change


def test_the_verdict_agrees_with_two_one_sided_t_tests_of_scipy():
    found, change = noisy(0.002, 0.02)
    judged = found.guardrail("comments").verdict
    lower = stats.ttest_1samp(change, -0.01, alternative="greater").pvalue
    upper = stats.ttest_1samp(change, 0.01, alternative="less").pvalue
    assert judged.test.p_lower == pytest.approx(lower, rel=1e-9)
    assert judged.test.p_upper == pytest.approx(upper, rel=1e-9)
    assert judged.estimate.value == pytest.approx(found.row("comments").relative, rel=1e-12)
    interval = stats.ttest_1samp(change, 0).confidence_interval(0.95)
    assert (judged.low, judged.high) == pytest.approx(tuple(interval), rel=1e-9)


@pytest.mark.parametrize(
    ("mean", "sd", "decision", "said"),
    [
        (0.0005, 0.01, "EQUIVALENT", "Comments on what is shown: unaffected within 1%"),
        (0.005, 0.01, "DIFFERENT-WITHIN-MARGIN", "it changed (+0.50%"),
        (0.05, 0.01, "NON-INFERIOR", "not lower by 1% or more"),
        (-0.05, 0.01, "INFERIOR", "lower by more than 1%"),
        (0.0, 0.2, "INCONCLUSIVE", "this data cannot tell whether it is lower by 1%"),
    ],
)
def test_each_verdict_is_told_in_its_own_words_and_one_alone_says_unaffected(mean, sd, decision, said):
    found, _ = noisy(mean, sd)
    assert {one.decision for one in found.guardrails if one.browsing == "top 1"} == {decision}
    assert said in texts(found)
    everywhere = texts(found) + render_page(found, None, []) + comparison_json(found, None)
    if decision != "EQUIVALENT":
        assert WORD not in everywhere
    row = next(
        row
        for row in comparison_table(found).to_pylist()
        if (row["metric"], row["browsing"]) == ("comments", "top 1")
    )
    assert (row["decision"], row["margin"]) == (decision, 0.01)


def test_an_interval_that_holds_zero_is_not_enough_for_the_word():
    found, change = noisy(0.0, 0.2)
    assert stats.ttest_1samp(change, 0).pvalue > 0.99
    judged = found.guardrail("comments").verdict
    assert judged.n_needed > 60
    assert f"about {judged.n_needed:,} users would show it if nothing changed" in texts(found)
    assert f"about {judged.n_needed:,} users are needed" in render_page(found, None, [])


def test_no_module_of_the_report_writes_the_word():
    folder = Path(harness.__file__).parent
    names = "comparison concentration figures findings guardrails other_orders page page_sections report rows"
    files = [folder / f"{name}.py" for name in f"{names} study sweep topics verdict view_rows words".split()]
    for path in (*files, folder / "report.html.j2"):
        assert WORD not in path.read_text("utf-8"), path.name


def test_where_requests_are_the_clusters_requests_are_what_is_needed():
    feed = swap_feed(60, user=None)
    after = 100.0 * (1 + np.random.default_rng(1).normal(0, 0.3, 60))
    found = swapped(feed, [activity(feed, 100.0, after)])
    assert found.cluster == "requests"
    assert " requests would show it if nothing changed" in texts(found)


def test_one_user_is_refused_and_never_a_verdict():
    feed = swap_feed(1, per_user=30)
    found = swapped(feed, [activity(feed, 100.0, 100.1), harm(feed, 0.2, 0.1)])
    judged = found.guardrail("comments")
    assert (judged.verdict, judged.status, judged.n_clusters) == (None, "REFUSED", 1)
    assert {row.status for row in (*found.rows, *found.view_rows)} == {"REFUSED"}
    assert all(row.interval == (None, None) for row in (*found.rows, *found.view_rows))
    assert "No rate of harm among views is claimed of thing: users: expected at least 2, got 1" in texts(
        found
    )
    assert "an observation, not a finding" in texts(found)
    assert WORD not in texts(found)


def test_verdicts_that_depend_on_how_far_people_read_are_told_as_such():
    feed = swap_feed(40)
    # the first post loses 5%; of both posts together nothing changes
    found = swapped(feed, [activity(feed, 100.0, 95.0)], also=("2",))
    top, both = found.guardrail("comments"), found.guardrail("comments", "top 2")
    assert (top.decision, both.decision) == ("INFERIOR", "EQUIVALENT")
    assert top.status == both.status == "MODEL_ONLY"
    assert "How far people read matters for comments: lower by more than the margin under top 1" in texts(
        found
    )
    assert "That is for the top 1; where people read otherwise the verdict is another." in texts(found)
    assert texts(found).count("How far people read matters for comments") == 1
    alone = swapped(feed, [activity(feed, 100.0, 95.0)], also=())
    assert alone.guardrail("comments").reasons == ("browsing models: expected at least 2, got 1",)
    assert "looked at one way only" in render_page(alone, None, [])


def test_the_margins_are_those_of_the_file_and_their_digest_is_recorded():
    shipped = load_margins()
    assert [margin_name(name, shipped) for name in ("reshares", "clicks", "thing")] == [
        "shares",
        "positive_interactions",
        None,
    ]
    own = margins({"reshares": 0.3, "shares": 0.02})
    assert margin_name("reshares", own) == "reshares"
    feed = swap_feed(20)
    found = swapped(feed, [activity(feed, 100.0, 95.0, "reshares")], margins=own, planned=own.digest)
    assert found.guardrail("reshares").margin == 0.3
    text = comparison_json(found, None)
    assert json.loads(text)["margins"]["digest"] == own.digest
    assert own.digest in render_page(found, None, [])
    assert "CHANGED" not in texts(found)
    assert "not fixed in a plan" not in texts(found)
    other = swapped(feed, [activity(feed, 100.0, 95.0, "reshares")], margins=own, planned=shipped.digest)
    assert "THE MARGINS CHANGED after planning" in texts(other)
    unplanned = swapped(feed, [activity(feed, 100.0, 95.0, "reshares")], margins=own)
    assert "were not fixed in a plan before the result was read" in texts(unplanned)
    digests = {json.loads(comparison_json(one, None))["config_digest"] for one in (found, unplanned)}
    loose = margins({"reshares": 0.4})
    third = swapped(feed, [activity(feed, 100.0, 95.0, "reshares")], margins=loose)
    assert len(digests) == 1
    assert json.loads(comparison_json(third, None))["config_digest"] not in digests


def test_what_lies_inside_its_margin_is_neither_better_nor_worse_on_the_plot():
    found, _ = noisy(-0.005, 0.01)
    row = found.row("comments")
    assert row.direction == "decreased"
    assert "var(--worse)" in change_plot("a", [("Comments", row)])
    assert "var(--worse)" not in change_plot("a", [("Comments", row)], margins=[0.01])


def test_a_replay_never_clears_a_launch_and_anger_is_no_part_of_the_gate():
    feed = swap_feed(40)
    found = swapped(feed, standard_outcomes(feed))
    assert not found.gate.passed
    assert {"sessions", "time", "original_posts"} <= set(found.gate.not_measured)
    assert "A launch is not cleared by this" in texts(found)
    assert "all_activity" not in GATES
    # likes go from 1 to 9; with angry reactions counted it would be from 10 to 9
    assert found.guardrail("positive_activity").verdict.estimate.value == pytest.approx(8.0)
    assert found.guardrail("all_activity").verdict.estimate.value == pytest.approx(-0.1)


def test_an_activity_that_nobody_showed_before_has_no_verdict():
    feed = swap_feed(20)
    found = swapped(feed, [activity(feed, 0.0, 3.0)], shown="1", also=("rbp:0.0001",))
    assert found.guardrail("comments").reasons == ("baseline: expected some activity, got none",)
    assert "Comments rose" in texts(found)

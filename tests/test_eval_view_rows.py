"""Harm among views in a comparison: both rates, bounds, refusal, other orders, and who holds it."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval.findings import level_note, who_measured
from eval.outcomes import Outcome, standard_outcomes
from eval.page import render_page
from eval.report import CONTRACT, comparison_json, write_report
from eval.verdict import verdict
from eval.view_rows import PER_DAY, VIEWS
from models.scores import HarmScores
from reranker.assembly import feed_from_columns
from reranker.value import Harms
from tests.comparisons import activity, harm, swap_feed, swapped, texts


def test_both_rates_stand_beside_each_other_and_are_what_the_hand_works_out():
    # 20 users, 3 requests each on one day; one post is seen per request: 0.2 before, 0.05 after
    feed = swap_feed(20, per_user=3)
    found = swapped(feed, [harm(feed, 0.2, 0.05)])
    views, days = found.views_row("thing"), found.views_row("thing", measure=PER_DAY)
    assert (views.original, views.treatment) == (pytest.approx(200.0), pytest.approx(50.0))
    assert (days.original, days.treatment) == (pytest.approx(0.6), pytest.approx(0.15))
    assert views.relative == pytest.approx(-0.75)
    assert (views.status, days.status, views.direction) == ("IDENTIFIED", "IDENTIFIED", "decreased")
    assert (
        "Of 1,000 views, 200.0 → 50.00 are harmful; of a person's views in a day, 0.6000 → 0.1500"
        in texts(found)
    )


def test_a_long_feed_counts_more_among_views_than_among_requests():
    # everything is shown: requests of 1 and of 3 posts; harm stands in the long ones alone
    n = 20
    request = [f"r{i}" for i in range(n) for _ in range(3 if i % 2 else 1)]
    feed = feed_from_columns(
        {
            "request_id": request,
            "post_id": [f"p{i}" for i in range(len(request))],
            "like": list(range(len(request))),
        }
    )
    values = np.array([0.4 if int(r[1:]) % 2 else 0.0 for r in request])
    found = swapped(feed, [Outcome("thing", "exposure", values, "", "share")], shown="9", also=("8",))
    assert found.row("thing").original == pytest.approx(0.2)  # the mean of 0.4 and 0
    assert found.views_row("thing").original == pytest.approx(300.0)  # 3 of 4 views at 0.4


@pytest.mark.parametrize("missing", ["user", "time"])
def test_without_users_or_days_there_are_no_user_days(missing):
    feed = swap_feed(20, **{missing: None})
    found = swapped(feed, [harm(feed, 0.2, 0.1)])
    days = found.views_row("thing", measure=PER_DAY)
    assert (days.status, days.estimate) == ("REFUSED", None)
    assert days.reasons == (f"{missing}: expected one for every request, got none for 20",)
    assert found.views_row("thing").status == "IDENTIFIED"
    assert "of a person's views in a day" not in texts(found)
    assert "not known" in render_page(found, None, [])


def test_more_than_two_percent_of_views_without_a_value_refuse_the_rate():
    feed = swap_feed(100)
    unknown = np.where(np.arange(100) < 3, np.nan, 0.2)
    found = swapped(feed, [harm(feed, unknown, unknown / 2)])
    for measure in (VIEWS, PER_DAY):
        row = found.views_row("thing", measure=measure)
        assert (row.status, row.direction) == ("REFUSED", "refused")
        assert (row.estimate, row.original, row.absolute_low, row.relative_low) == (None,) * 4
    row = found.views_row("thing")
    # 97 views at 0.2 and three that may be anything
    assert (row.original_low, row.original_high) == pytest.approx((194.0, 224.0))
    assert (row.treatment_low, row.treatment_high) == pytest.approx((97.0, 127.0))
    assert row.share_unscored_original == pytest.approx(0.03)
    assert found.row("thing").status == "REFUSED"
    text = texts(found)
    assert "No rate of harm among views is claimed of thing: up to 3.0% of the views have no value" in text
    assert "Of 1,000 views" not in text
    assert "fell among the posts that have a value" in text
    assert [s.tone for s in verdict(found) if "among the posts" in s.text][-1] == "open"
    assert "3.0% and 3.0% of the views have no value" in render_page(found, None, [])
    assert {one.status for one in found.amplifications} == {"REFUSED"}


def test_fewer_are_bounded_and_the_bounds_hold_whatever_they_are():
    feed = swap_feed(100)
    unknown = np.where(np.arange(100) < 1, np.nan, 0.2)
    row = swapped(feed, [harm(feed, unknown, unknown / 2)]).views_row("thing")
    assert row.status == "BOUNDED"
    for fill, end in ((0.0, "low"), (1.0, "high")):
        filled = np.where(np.isnan(unknown), fill, unknown)
        half = np.where(np.isnan(unknown), fill, unknown / 2)
        full = swapped(feed, [harm(feed, filled, half)]).views_row("thing")
        assert getattr(row, f"original_{end}") == pytest.approx(full.original)
        assert getattr(row, f"treatment_{end}") == pytest.approx(full.treatment)
    assert row.original == pytest.approx(200.0)  # of what is scored: no value is not no harm


def test_shares_without_a_value_that_differ_between_policies_refuse_too():
    feed = swap_feed(200)
    found = swapped(feed, [harm(feed, 0.2, np.where(np.arange(200) < 1, np.nan, 0.1))])
    assert found.views_row("thing").status == "REFUSED"
    assert "differ by at most 0.2 points" in found.row("thing").reasons[0]


def test_harm_of_zero_under_both_has_an_absolute_change_and_no_ratio():
    feed = swap_feed(30)
    found = swapped(feed, [harm(feed, 0.0, 0.0)])
    for row in (*found.rows, *found.view_rows):
        assert (row.absolute, row.relative, row.direction, row.status) == (
            0.0,
            None,
            "identical",
            "IDENTIFIED",
        )
        assert row.scale == "absolute"
    assert {one.status for one in found.amplifications} == {"REFUSED"}
    assert found.concentrations[0].top_original is None
    assert "exactly the same under both policies in every request" in texts(found)
    assert "none → none" in render_page(found, None, [])


def test_a_sign_that_depends_on_how_far_people_read_is_a_statement_about_the_model():
    n = 40
    feed = feed_from_columns(
        {
            "request_id": [f"r{i}" for i in range(n) for _ in range(3)],
            "post_id": [f"p{i}" for i in range(3 * n)],
            "like": [1, 9, 5] * n,
            "angry": [9, 0, 0] * n,
        }
    )
    # before: a b c; after: b c a. The top post gets better, the top two get worse
    outcome = Outcome("thing", "exposure", np.tile([0.5, 0.4, 0.9], n), "a thing", "share")
    found = swapped(feed, [outcome], shown="1", also=("2",))
    assert {row.status for row in found.rows} == {"MODEL_ONLY"}
    assert {row.status for row in found.view_rows if row.measure == VIEWS} == {"MODEL_ONLY"}
    assert "the sign depends on how far people read" in texts(found)
    assert "depends on how far people read" in render_page(found, None, [])


def judged_by_a_model(feed):
    rng = np.random.default_rng(0)
    p = rng.random((feed.n, 4)).astype(np.float32)
    labels = ("toxicity", "civic", "antivax", "health")
    return Harms(HarmScores(labels, p, np.ones_like(p), "model-a"), np.full(feed.n, np.nan))


def test_a_policy_against_itself_changes_nothing_and_says_so():
    feed = swap_feed(25, per_user=2, publisher=["a", "b"], created_at=None)
    outcomes = standard_outcomes(feed, judged_by_a_model(feed))
    found = swapped(feed, [*outcomes, harm(feed, 0.3, 0.1)], settings=())
    assert found.view_rows
    for row in (*found.rows, *found.view_rows):
        assert row.absolute == 0.0
        assert (row.direction, row.status) == ("identical", "IDENTIFIED")
    for judged in found.guardrails:
        assert judged.verdict.estimate.value == 0.0
        assert (judged.decision, judged.status) == ("EQUIVALENT", "IDENTIFIED")
    assert {(one.decisions, one.status) for one in found.topics} == {(("EQUIVALENT",) * 2, "IDENTIFIED")}
    summary, *sentences = verdict(found)
    assert "exactly the same in every request" in summary.text
    assert "fell" not in summary.text
    same = "exactly the same under both policies in every request."
    told = [sentence for sentence in sentences if sentence.text.endswith(same)]
    assert len(told) == sum(outcome.kind != "context" for outcome in outcomes) + 1
    content = json.loads(comparison_json(found, None))
    assert {row["estimate"] for row in content["rows"]} == {0.0}
    assert {row["status"] for row in content["rows"]} == {"IDENTIFIED"}


def test_amplification_is_against_newest_first_and_the_mean_of_all_orders():
    old, new = np.datetime64("2025-01-01", "us"), np.datetime64("2025-02-01", "us")
    feed = swap_feed(30, created_at=[new, old])
    found = swapped(feed, [harm(feed, 0.3, 0.1)])
    main = {one.against: one for one in found.amplifications if one.browsing == "top 1"}
    # random: (0.3 + 0.1) / 2 per view; newest first: the angry post, 0.3
    assert main["random order"].original.value == pytest.approx(0.3 / 0.2 - 1)
    assert main["random order"].treatment.value == pytest.approx(0.1 / 0.2 - 1)
    assert main["newest first"].original.value == pytest.approx(0.0, abs=1e-12)
    assert main["newest first"].treatment.value == pytest.approx(0.1 / 0.3 - 1)
    assert main["random order"].status == "IDENTIFIED"
    undated = swapped(swap_feed(30), [harm(feed, 0.3, 0.1)])
    assert {one.against for one in undated.amplifications} == {"random order"}
    html = render_page(found, None, [])
    assert "Against other orders of the same candidates" in html
    assert "+50.0% (" in html


def test_the_share_of_one_post_and_of_one_publisher_is_told():
    n = 10
    # one post goes to everybody and is all of the harm before; after, ten posts share it
    posts = [name for i in range(n) for name in ("viral", f"calm{i}")]
    feed = swap_feed(n, publisher=["big", "small"])
    columns = {"request_id": [f"r{i}" for i in range(n) for _ in range(2)], "post_id": posts}
    columns |= {"user": columns["request_id"], "like": [1, 9] * n, "angry": [9, 0] * n}
    feed = feed_from_columns(columns | {"publisher": ["big", "small"] * n})
    found = swapped(feed, [harm(feed, 0.3, 0.1)])
    by_post, by_publisher = found.concentrations
    assert (by_post.by, by_post.top_original, by_post.top_treatment) == ("post", 1.0, pytest.approx(0.1))
    assert by_post.holders[0].name == "viral"
    assert (by_publisher.top_original, by_publisher.top_treatment) == (1.0, 1.0)
    assert [one.name for one in by_publisher.holders] == ["big", "small"]
    # all views go from one publisher to the other
    assert (found.publishers.concentration_original, found.publishers.concentration_treatment) == (1.0, 1.0)
    assert [round(one.views_treatment - one.views_original) for one in found.publishers.holders] == [-1, 1]
    assert "One post alone holds much of the harmful views of thing (100%)" in texts(found)
    html = render_page(found, None, [])
    assert "Views fall on 2 publishers" in html
    assert "100.0% → 10.0%" in html
    assert swapped(swap_feed(4), [harm(swap_feed(4), 0.3, 0.1)]).publishers is None


def test_who_demoted_and_who_measured_are_named_and_the_same_one_is_sent_to_an_audit():
    feed = swap_feed(30)
    harms = judged_by_a_model(feed)
    outcomes = [*standard_outcomes(feed, harms), harm(feed, 0.3, 0.1)]
    found = swapped(feed, outcomes)
    told = who_measured(found).text
    assert told.startswith(
        "Demoted by: no classifier. Measured by: model-a; not by a classifier: angry reactions"
    )
    assert "a labelled sample (`reranker audit sample`) takes them out" in told
    assert told in render_page(found, None, [])
    assert level_note().text.startswith("Level L0, what would sit where")
    assert level_note().text in render_page(found, None, [])


def test_every_row_of_json_and_parquet_stands_alone(tmp_path):
    feed = swap_feed(30)
    found = swapped(feed, [harm(feed, 0.3, 0.1), activity(feed, 10.0, 9.0)])
    paths = write_report(found, None, [], tmp_path)
    content = json.loads(paths[0].read_text())
    table = pq.read_table(paths[1]).to_pylist()
    assert len(content["rows"]) == len(table) == len(found.rows) + len(found.view_rows)
    needed = {"metric", "level", "policy", "baseline", "method", "status", "n_requests", "reasons", *CONTRACT}
    for row in (*content["rows"], *content["guardrails"]):
        assert row["config_digest"] == content["config_digest"]
        assert (row["level"], row["n_requests"], row["n_users"]) == ("L0", 30, 30)
        assert row["policy"].startswith("fb-2018-h1@")
        assert row["policy"] != row["baseline"]
    for row, plain in zip(table, content["rows"], strict=True):
        assert needed <= set(row)
        assert row == plain


def test_rows_in_another_order_give_the_same_bytes():
    rng = np.random.default_rng(0)
    n_users, each = 20, 6
    n = n_users * each
    columns = {
        "request_id": [f"r{i // each:03d}" for i in range(n)],
        "user": [f"u{i // each // 2:03d}" for i in range(n)],
        "post_id": [f"p{i:04d}" for i in range(n)],
        "publisher": [f"s{i % 5}" for i in range(n)],
        "time": [np.datetime64("2025-03-01", "us")] * n,
        "like": (rng.poisson(20, n) + rng.random(n)).tolist(),
        "angry": rng.poisson(3, n).tolist(),
        "attr_is_toxic": rng.random(n).round(3).tolist(),
    }
    shuffled = rng.permutation(n)
    made = []
    for rows in (np.arange(n), shuffled):
        feed = feed_from_columns({name: [values[i] for i in rows] for name, values in columns.items()})
        outcomes = standard_outcomes(feed, attributes=["is_toxic"])
        made.append(comparison_json(swapped(feed, outcomes, segments=("publisher",)), None))
    assert made[0] == made[1]

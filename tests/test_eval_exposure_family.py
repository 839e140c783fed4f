"""Claims of change of exposure, held to Holm over all exposures that were measured."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from eval.exposure_family import in_families
from eval.figures import OPEN, colour_of
from eval.page import render_page
from eval.report import comparison_json, write_report
from eval.verdict import verdict
from eval.view_rows import PER_DAY, VIEWS
from tests.comparisons import activity, harm, swap_feed, swapped, texts

N = 60


def noisy(feed, effect, seed, name):
    """A harm that falls by `effect` on average, with noise between users of standard deviation .1."""
    noise = np.random.default_rng(seed).normal(0, 0.1, N)
    noise = (noise - noise.mean()) / noise.std() * 0.1
    return harm(feed, 0.5, 0.5 - effect + noise, name)


def with_nulls(effect, n_nulls, **options):
    """One harm that falls by `effect`, among others that do not change on average."""
    feed = swap_feed(N)
    outcomes = [noisy(feed, effect, 0, "real")] + [
        noisy(feed, 0.0, i + 1, f"null{i}") for i in range(n_nulls)
    ]
    return swapped(feed, outcomes, n_resamples=500, **options)


def test_a_change_that_holds_alone_is_taken_back_where_many_were_looked_at():
    # 2.4 standard errors: p = .02 by itself, and .2 among ten
    alone, among = with_nulls(0.031, 0), with_nulls(0.031, 9)
    assert "Exposure to real fell (" in texts(alone)
    assert among.row("real").direction == "decreased"
    assert (among.row("real").finding, among.row("real").claimed) == ("not shown", "not shown")
    said = texts(among)
    assert "Exposure to real fell" not in said
    assert "Exposure to real is not shown to have changed (" in said
    assert "1 not shown to have changed (p adjusted over 10 exposures)" in verdict(among)[0].text
    assert [s.tone for s in verdict(among) if s.text.startswith("Exposure to real is")] == ["open"]


def test_a_strong_change_holds_among_many_and_its_interval_stays_as_it_is():
    alone, among = with_nulls(0.08, 0), with_nulls(0.08, 9)
    assert "Exposure to real fell (" in texts(among)
    assert "adjusted over 10 exposures" in texts(among)
    assert among.row("real").interval == pytest.approx(alone.row("real").interval)
    assert "Each interval is of its figure by itself, and not adjusted." in texts(among)


def test_adjusted_values_are_those_of_statsmodels_and_p_is_the_t_test_of_the_users():
    found = with_nulls(0.031, 9)
    rows = [row for row in found.rows if row.browsing == found.browsing[0]]
    outside = multipletests([row.p for row in rows], method="holm")[1]
    assert [row.p_adjusted for row in rows] == pytest.approx(outside.tolist())
    feed = swap_feed(N)
    change = noisy(feed, 0.031, 0, "real").values.reshape(N, 2) @ [-1.0, 1.0]
    for row in (found.row("real"), found.views_row("real")):
        assert row.p == pytest.approx(stats.ttest_1samp(change, 0.0).pvalue, rel=1e-6)


def test_each_measure_and_browsing_model_is_a_family_and_activity_is_in_none():
    feed = swap_feed(N)
    outcomes = [noisy(feed, 0.05, 0, "real"), noisy(feed, 0.0, 1, "null"), activity(feed, 1.0, 1.0)]
    found = swapped(feed, outcomes, also=("rbp:0.2",))
    for model in found.browsing:
        assert found.row("real", model).family == "2 exposures"
        for measure in (VIEWS, PER_DAY):
            assert found.views_row("real", model, measure).family == "2 exposures"
    judged = found.row("comments")
    assert (judged.p, judged.p_adjusted, judged.family, judged.finding) == (None, None, "", None)


def test_segments_and_exposures_without_an_interval_are_in_no_family():
    feed = swap_feed(N, country=[("IN", "US")[(i // 2) % 2] for i in range(2 * N)])
    nan = np.full(N, np.nan)
    outcomes = [noisy(feed, 0.05, 0, "real"), harm(feed, nan, nan, "unknown")]
    found = swapped(feed, outcomes, segments=("country",))
    assert found.row("real").family == "1 exposure"
    assert found.row("unknown").p is None
    assert {row.p_adjusted for row in found.rows if row.segment_by == "country"} == {None}


def test_a_p_value_that_holds_does_not_make_a_finding_of_an_interval_that_holds_zero():
    row = replace(with_nulls(0.08, 0).row("real"), direction="not measurable", p=0.001)
    assert in_families([row])[0].finding == "not shown"


def test_equal_policies_are_identical_and_not_merely_unshown():
    feed = swap_feed(N)
    found = swapped(feed, [harm(feed, 0.3, 0.1)], settings=())
    row = found.row("thing")
    assert (row.p, row.finding, row.claimed) == (1.0, "identical", "identical")


def test_of_twenty_harms_without_an_effect_few_comparisons_claim_any():
    rng = np.random.default_rng(7)
    feed = swap_feed(40)
    wrong = raw = 0
    for _ in range(60):
        change = rng.normal(0, 0.1, (20, 40))
        outcomes = [harm(feed, 0.5, 0.5 + one, f"h{i}") for i, one in enumerate(change)]
        found = swapped(feed, outcomes, also=(), n_resamples=50)
        rows = [found.row(f"h{i}") for i in range(20)]
        wrong += any(row.claimed in ("decreased", "increased") for row in rows)
        raw += any(row.direction in ("decreased", "increased") for row in rows)
    assert raw >= 28  # unadjusted, some harm "changes" in 64%
    assert wrong <= 9  # 3 expected; at most 9 in 99.9 of 100


def test_page_plot_and_files_say_the_same(tmp_path):
    found = with_nulls(0.031, 9)
    assert colour_of(found.row("real")) == OPEN
    html = render_page(found, None, [])
    assert "not shown over 10 exposures" in html
    assert ">not shown</td>" in html
    assert '<td class="better">' not in html
    content = json.loads(comparison_json(found, None))
    row = next(r for r in content["rows"] if (r["metric"], r["browsing"]) == ("real", found.browsing[0]))
    assert (row["direction"], row["finding"], row["family"]) == ("decreased", "not shown", "10 exposures")
    assert row["p"] < 0.05 < row["p_adjusted"]
    assert "Holm" in content["method"]["exposure_family"]
    table = pq.read_table(write_report(found, None, [], tmp_path)[1])
    assert str(table.schema.field("p_adjusted").type) == "double"
    assert str(table.schema.field("finding").type) == "string"

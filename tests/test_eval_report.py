import dataclasses
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval.comparison import Context, compare
from eval.figures import change_plot, sweep_plot
from eval.outcomes import Outcome, standard_outcomes
from eval.page import Note
from eval.report import comparison_json, write_report
from eval.sweep import sweep_angry
from reranker.assembly import feed_from_columns
from reranker.pipeline import Reranker
from reranker.presets import load_policy

SECRET = "a text <script>alert(1)</script> that stays private " + "and goes on " * 20


@pytest.fixture(scope="module")
def feed():
    rng = np.random.default_rng(0)
    n = 40 * 20
    toxic = rng.random(n) < 0.3
    return feed_from_columns(
        {
            "request_id": [f"r{i // 20}" for i in range(n)],
            "post_id": [f"p{i}" for i in range(n)],
            "country": [("IN", None)[(i // 20) % 2] for i in range(n)],
            "relation": [("friend", "page")[i % 2] for i in range(n)],
            "text": [SECRET] * n,
            "like": rng.poisson(20, n),
            "angry": rng.poisson(np.where(toxic, 12, 1)),
            "comment": rng.poisson(3, n),
            "attr_is_toxic": toxic.astype(float),
        }
    )


@pytest.fixture(scope="module")
def outcomes(feed):
    return standard_outcomes(feed, attributes=["is_toxic"])


def compared(feed, outcomes, *settings, policy="fb-2018-h1", **options):
    original = Reranker(load_policy("fb-2018-h1")).rank(feed)
    treatment = Reranker(load_policy(policy, settings)).rank(feed)
    return compare(original, treatment, outcomes, n_resamples=100, **options)


@pytest.fixture(scope="module")
def comparison(feed, outcomes):
    return compared(feed, outcomes, "weights.angry=0", context=Context("sample"))


@pytest.fixture(scope="module")
def sweep(feed, outcomes):
    return sweep_angry(feed, "fb-2018-h1", outcomes, n_resamples=50, weights=(0.0, 1.5, 5.0))


def notes(comparison):
    first = comparison.diagnostics.down[0]
    why = ("It lost <b>anger</b>.",)
    return [
        Note(first.post_id, why, (("close_ties", 1.5), ("angry", -2.0)), SECRET, first.request_id),
        Note("p_unknown"),
    ]


def test_the_same_comparison_gives_the_same_bytes(feed, outcomes, comparison, sweep, tmp_path):
    again = compared(feed, outcomes, "weights.angry=0", context=Context("sample"))
    for name, one in (("a", comparison), ("b", again)):
        write_report(one, sweep, notes(one), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    other = compared(feed, outcomes, "weights.angry=0", seed=1)
    assert comparison_json(other, None) != comparison_json(comparison, None)


def test_the_json_states_every_figure_with_interval_n_status_and_provenance(comparison, sweep):
    text = comparison_json(comparison, sweep, notes(comparison))
    found = json.loads(text)
    assert list(found) == sorted(found)
    assert found["original"]["name"] == found["treatment"]["name"] == "fb-2018-h1"
    assert len({found["original"]["digest"], found["treatment"]["digest"], found["data"]["digest"]}) == 3
    assert found["data"]["name"] == "sample"
    assert found["differences"] == [{"key": "weights.angry", "original": 5.0, "treatment": 0.0}]
    row = next(r for r in found["rows"] if r["metric"] == "is_toxic" and r["segment_by"] == "all")
    assert row["direction"] == "decreased"
    assert row["relative_low"] < row["relative"] < row["relative_high"] < 0
    assert (row["n_requests"], row["n_clusters"], row["level"]) == (40, 40, "L0")
    assert [point["weight"] for point in found["angry_sweep"]["points"]] == [0.0, 1.5, 5.0]
    assert found["explanations"][0]["sentences"] == ["It lost <b>anger</b>."]
    assert "private" not in text
    assert "unaffected" not in text


def test_the_table_has_the_rows_and_says_what_they_rest_on(comparison, tmp_path):
    paths = write_report(comparison, None, [], tmp_path / "deep" / "down")
    assert [path.name for path in paths] == ["comparison.json", "comparison.parquet", "report.html"]
    table = pq.read_table(paths[1])
    assert table.num_rows == len(comparison.rows) + len(comparison.view_rows)
    assert table.schema.metadata[b"treatment_digest"].decode() == comparison.treatment.digest
    assert str(table.schema.field("relative").type) == "double"
    assert str(table.schema.field("n_requests").type) == "int64"
    assert table.column("direction").to_pylist()[0] == comparison.rows[0].direction


def page(tmp_path, *arguments, **options):
    return write_report(*arguments, tmp_path, **options)[2].read_text("utf-8")


def test_the_page_stands_alone_and_leads_with_the_verdict(comparison, sweep, tmp_path):
    html = page(tmp_path, comparison, sweep, notes(comparison))
    assert "<script" not in html
    assert "@import" not in html
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r'https?://[^"\s)]+', html)) <= namespaces
    assert re.findall(r'(?:src|href)="(?!#)', html) == []
    assert html.index("What was found") < html.index("<svg") < html.index("Every figure")
    assert "weights.angry 5 → 0" in html
    assert comparison.treatment.digest in html
    assert "unaffected" not in html
    assert html.count("<svg") == 6  # exposure, activity, context, sweep, by country, by relation
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', html)) <= set(ids)
    assert "#0" not in re.sub(r"<style>.*?</style>", "", html, flags=re.DOTALL)  # all colours are the page's


def test_texts_of_posts_are_shown_only_where_asked_and_then_a_snippet(comparison, tmp_path):
    assert "stays private" not in page(tmp_path, comparison, None, notes(comparison))
    html = page(tmp_path, comparison, None, notes(comparison), show_text=True)
    snippet = re.search(r"<blockquote>(.*?)</blockquote>", html)[1]
    assert "&lt;script&gt;alert(1)&lt;/script&gt; that stays private" in snippet
    assert len(snippet) < 200
    assert snippet.endswith("…")
    assert "It lost &lt;b&gt;anger&lt;/b&gt;." in html


def test_a_report_of_policies_that_do_not_differ_or_differ_in_name_is_written(feed, outcomes, tmp_path):
    same = page(tmp_path, compared(feed, outcomes), None, [])
    assert "the same policy" in same
    assert "no setting differs" in same
    assert "The posts that moved most" not in same
    other = page(tmp_path, compared(feed, outcomes, policy="uniform"), None, [])
    assert f"→</span> {load_policy('uniform').title}" in other
    many = ("weights.angry=0", "weights.love=1", "weights.wow=1", "weights.sad=1")
    assert "and 1 more" in page(tmp_path, compared(feed, outcomes, *many), None, [])


def test_a_report_without_intervals_or_baselines_is_written(feed, outcomes, tmp_path):
    one = feed.take(np.array([0]))
    zero = Outcome("nothing", "exposure", np.zeros(one.n), "nothing", "share")
    outcomes = [zero, *standard_outcomes(one, attributes=["is_toxic"])]
    html = page(tmp_path, compared(one, outcomes, "weights.angry=0", also=()), None, [])
    assert "refused: an interval needs at least 2 independent clusters" in html
    rows = [dataclasses.replace(zero_row(), relative=None)]
    assert change_plot("empty", [("x", row) for row in rows]) == ""


def zero_row():
    feed = feed_from_columns({"request_id": ["a", "b"], "post_id": ["x", "y"], "like": [1, 2]})
    outcome = Outcome("nothing", "exposure", np.zeros(2), "nothing", "share")
    return compared(feed, [outcome]).rows[0]


def test_a_sweep_without_baseline_has_no_plot(feed):
    nothing = Outcome("nothing", "exposure", np.zeros(feed.n), "nothing", "share")
    sweep = sweep_angry(feed, "fb-2018-h1", [nothing], n_resamples=20, weights=(0.0, 5.0))
    assert sweep_plot(sweep) == ""
    assert sweep_plot(dataclasses.replace(sweep, points=())) == ""


def test_an_absolute_interval_stands_where_there_is_no_relative_one(tmp_path):
    n = 30
    feed = feed_from_columns(
        {
            "request_id": [f"r{i}" for i in range(n) for _ in range(2)],
            "post_id": [f"p{i}" for i in range(2 * n)],
            "like": [1, 9] * n,
            "angry": [9, 0] * n,
        }
    )
    values = np.tile([0.0, 0.2], n)
    found = compared(
        feed, [Outcome("thing", "exposure", values, "", "share")], "weights.angry=0", shown="1", also=()
    )
    assert "0.2000 to 0.2000 (absolute)" in page(tmp_path, found, None, [])

"""Intervals by page: brute force over few pages, made-up pages whose truth is known, and laws.

What real pages say is in test_eval_known_answer.py.
"""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eval.comparison import compare
from eval.counter_random import poisson_weights
from eval.hashing import user_keys
from eval.outcomes import Outcome, standard_outcomes
from eval.page_exports import decisions, page_changes
from reranker.facebook import import_facebook
from reranker.pipeline import Reranker
from reranker.presets import load_policy

ORIGINAL = load_policy("fb-2018-h1", ("weights.comment=0", "weights.reshare=0"))
TREATMENT = load_policy("fb-2018-h1", ("weights.comment=0", "weights.reshare=0", "weights.angry=0"))


def export(path, *, n_pages=30, n_days=8, per_day=4, anger=0.3, seed=0):
    """Pages of unlike anger that post every day; a quarter of the domains is of low quality."""
    rng = np.random.default_rng(seed)
    level = rng.beta(1, 4, n_pages) * anger
    low = rng.random(n_pages) < 0.25
    rows = {name: [] for name in ("page", "post_id", "created_at", "likes", "angry", "domain_quality")}
    for day in range(n_days):
        for page in range(n_pages):
            for i in range(per_day):
                total = rng.lognormal(6, 1)
                angry = rng.binomial(int(total), min(level[page] * rng.gamma(2, 0.5), 1))
                rows["page"].append(f"p{page}")
                rows["post_id"].append(f"{day}-{page}-{i}")
                rows["created_at"].append(datetime(2016, 5, 1) + timedelta(days=day))
                rows["likes"].append(int(total) - angry + 1)
                rows["angry"].append(angry)
                rows["domain_quality"].append(0.2 if low[page] else 0.8)
    pq.write_table(pa.table(rows), path)
    return import_facebook(path, pool="day")[0]


@pytest.fixture
def rankings(tmp_path):
    feed = export(tmp_path / "posts.parquet")
    return Reranker(ORIGINAL).rank(feed), Reranker(TREATMENT).rank(feed)


@pytest.mark.parametrize("shown", ["10%", "25%", "7", "rbp:0.8", "log2"])
def test_the_figures_are_those_of_compare(rankings, shown):
    outcomes = standard_outcomes(rankings[0].feed)
    found = page_changes(*rankings, outcomes, shown=shown, n_resamples=20)
    rows = compare(*rankings, outcomes, shown=shown, also=(), segments=())
    assert {change.outcome.name for change in found} >= {"angry_share", "low_quality", "reactions"}
    for change in found:
        row = rows.row(change.outcome.name)
        assert (change.original, change.treatment) == pytest.approx((row.original, row.treatment), rel=1e-12)


def test_resamples_are_the_file_with_pages_left_out_or_repeated(tmp_path):
    # brute force: each resample as a file of its own, ranked and compared anew
    path, n_resamples = tmp_path / "posts.parquet", 12
    feed = export(path, n_pages=7, n_days=3, per_day=5)
    outcomes = [
        one for one in standard_outcomes(feed) if one.name in ("angry_share", "reactions", "low_quality")
    ]
    found = page_changes(
        Reranker(ORIGINAL).rank(feed),
        Reranker(TREATMENT).rank(feed),
        outcomes,
        seed=5,
        n_resamples=n_resamples,
    )
    pages = [f"p{i}" for i in range(7)]
    copies = poisson_weights(user_keys([f"page {page}" for page in pages]), n_resamples, seed=5)
    table = pq.read_table(path).to_pandas()
    changes = []
    for drawn in copies.T.astype(int):
        parts = [
            table[table.page == page].assign(post_id=lambda part, copy=copy: part.post_id + f" {copy}")
            for page, times in zip(pages, drawn, strict=True)
            for copy in range(times)
        ]
        rows = pa.Table.from_pylist([row for part in parts for row in part.to_dict("records")])
        pq.write_table(rows, tmp_path / "drawn.parquet")
        again = import_facebook(tmp_path / "drawn.parquet", pool="day")[0]
        made = [Reranker(policy).rank(again) for policy in (ORIGINAL, TREATMENT)]
        compared = compare(*made, standard_outcomes(again), also=(), segments=(), n_resamples=2)
        changes.append([compared.row(one.name).absolute for one in outcomes])
    expected = np.std(changes, axis=0, ddof=1)
    assert expected.min() > 0
    assert [one.absolute.standard_error for one in found] == pytest.approx(expected, rel=1e-9)


def test_the_error_is_that_of_other_pages_like_these(tmp_path):
    # 60 sets of 40 pages drawn anew: the spread of the change is what each set's own interval must say. In
    # pools as small as these the error of activity is too large (see the docstring), never too small; if gaps
    # were not closed when a page is missing it would be many times too large.
    changes = []
    for seed in range(60):
        feed = export(tmp_path / "posts.parquet", n_pages=40, n_days=4, per_day=3, seed=seed)
        rankings = Reranker(ORIGINAL).rank(feed), Reranker(TREATMENT).rank(feed)
        changes.append(page_changes(*rankings, standard_outcomes(feed), n_resamples=100))
    for name, too_large in (("angry_share", 1.0), ("reactions", 1.5)):
        told = [next(one for one in made if one.outcome.name == name) for made in changes]
        spread = np.std([one.absolute.value for one in told], ddof=1)
        stated = np.sqrt(np.mean([one.absolute.standard_error**2 for one in told]))
        # the spread of 60 values has a relative error of 1 / sqrt(118) = 0.092
        assert 1 - 4 * 0.092 < stated / spread < too_large * (1 + 4 * 0.092), name
        low, high = (np.array([getattr(one.absolute, end) for one in told]) for end in ("low", "high"))
        truth = np.mean([one.absolute.value for one in told])
        assert np.mean((low <= truth) & (truth <= high)) >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / 60)


def test_an_interval_by_page_is_wider_than_one_by_day_where_pages_are_unlike(rankings):
    outcomes = [one for one in standard_outcomes(rankings[0].feed) if one.name == "low_quality"]
    (found,) = page_changes(*rankings, outcomes)
    assert found.absolute.low < 0 < found.absolute.high
    assert found.direction == "not measurable"
    row = compare(*rankings, outcomes, also=(), segments=()).row("low_quality")
    assert found.absolute.n_clusters == 30
    assert found.absolute.standard_error > 1.3 * row.absolute_se


def test_the_same_policy_twice_changes_nothing(rankings):
    found = page_changes(rankings[0], rankings[0], standard_outcomes(rankings[0].feed), n_resamples=20)
    for change in found:
        assert (change.absolute.value, change.absolute.standard_error) == (0.0, 0.0)
        assert change.direction == "identical"
    margins = dict.fromkeys([change.outcome.name for change in found], 1e-6)
    assert {one.decision for one in decisions(found, margins).values()} == {"EQUIVALENT"}


def test_the_order_of_the_rows_and_of_the_pages_changes_nothing(tmp_path):
    feed = export(tmp_path / "posts.parquet", n_pages=12)
    table = pq.read_table(tmp_path / "posts.parquet")
    pq.write_table(table.take(np.random.default_rng(0).permutation(len(table))), tmp_path / "mixed.parquet")
    made = []
    for one in (feed, import_facebook(tmp_path / "mixed.parquet", pool="day")[0]):
        rankings = Reranker(ORIGINAL).rank(one), Reranker(TREATMENT).rank(one)
        made.append(page_changes(*rankings, standard_outcomes(one), n_resamples=30))
    for first, second in zip(*made, strict=True):
        assert second.absolute.value == pytest.approx(first.absolute.value, abs=1e-12)
        assert second.absolute.standard_error == pytest.approx(first.absolute.standard_error, rel=1e-9)


def test_what_has_no_value_is_left_out_and_told(rankings):
    feed = rankings[0].feed
    values = np.where(np.arange(feed.n) % 2 == 0, np.nan, 0.5)
    half = Outcome("half", "exposure", values, "half of it", "share")
    none = Outcome("none", "exposure", np.full(feed.n, np.nan), "nothing", "share")
    (found,) = page_changes(*rankings, [half, none], n_resamples=20)
    assert found.outcome.name == "half"
    assert found.original == 0.5  # not 0.25: a post without a value is not taken as 0
    assert 0.3 < found.unscored < 0.7


def test_margins_are_relative_for_counts_and_in_points_for_shares(rankings):
    outcomes = standard_outcomes(rankings[0].feed)
    found = [
        one for one in page_changes(*rankings, outcomes) if one.outcome.name in ("angry_share", "reactions")
    ]
    assert found[0].direction == "decreased"
    assert found[0].relative is not None
    assert found[0].relative.high < -0.1  # a third of a share of a few percent
    decided = decisions(found, {"angry_share": 0.5, "reactions": 0.5})
    assert decided["angry_share"].estimate == found[0].absolute
    assert decided["reactions"].estimate == found[1].relative
    assert decisions(found[:1], {"angry_share": 1e-4})["angry_share"].decision == "INFERIOR"
    with pytest.raises(ValueError, match="margins: expected one for reactions, got angry_share"):
        decisions(found, {"angry_share": 0.5})


def test_one_page_has_no_interval(tmp_path):
    feed = export(tmp_path / "posts.parquet", n_pages=1, per_day=20)
    rankings = Reranker(ORIGINAL).rank(feed), Reranker(TREATMENT).rank(feed)
    with pytest.raises(ValueError, match="pages: expected at least 2, got 1"):
        page_changes(*rankings, standard_outcomes(feed))

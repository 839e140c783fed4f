"""Rankings and harm scores as files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.scores import HarmScores
from reranker.assembly import feed_from_columns
from reranker.columns import FeedError
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.results import ranking_to_arrow, read_harms, write_harms, write_ranking
from reranker.value import Harms


def feed_of(posts: str = "abc") -> Feed:
    n = len(posts)
    requests = ["r"] * (n - 1) + ["s"]
    return feed_from_columns({"request_id": requests, "post_id": list(posts), "like": list(range(n))})


def harms_of(n: int = 3) -> Harms:
    p = np.linspace(0, 1, 2 * n).reshape(n, 2).astype(np.float32)
    p[0, 1] = np.nan
    return Harms(
        HarmScores(("toxicity", "threat"), p, 1 - p / 2, "m@1"), np.array([0.5] + [np.nan] * (n - 1))
    )


def ranking_of() -> Ranking:
    policy = load_policy("harm-aware", ["demotion.toxicity={start=0.1, line=0.3, removal=0.35}"])
    p = np.array([[0.0], [1.0], [0.2]])
    harms = Harms(HarmScores(("toxicity",), p, np.ones((3, 1)), "m@1"), np.full(3, np.nan))
    feed = feed_from_columns({"request_id": ["r", "r", "r"], "post_id": ["a", "b", "c"], "like": [1, 9, 5]})
    return Reranker(policy).rank(feed, harms)


def test_harms_come_back_as_they_were_written(tmp_path: Path) -> None:
    feed, harms, path = feed_of(), harms_of(), tmp_path / "harms.parquet"
    write_harms(feed, harms, path)
    back = read_harms(feed, path)
    assert (back.posts.labels, back.posts.model) == (harms.posts.labels, "m@1")
    assert back.posts.probability.tobytes() == harms.posts.probability.tobytes()
    assert np.array_equal(back.posts.confidence, harms.posts.confidence, equal_nan=True)
    assert np.array_equal(back.comment_toxicity, harms.comment_toxicity, equal_nan=True)
    assert pq.read_table(path)["p_threat"].null_count == 1


def test_harms_of_an_empty_feed_come_back_too(tmp_path: Path) -> None:
    feed = feed_from_columns({"request_id": [], "post_id": []})
    none = Harms(HarmScores.unscored(0, ("toxicity",), "m"), np.zeros(0))
    write_harms(feed, none, tmp_path / "h.parquet")
    assert read_harms(feed, tmp_path / "h.parquet").posts.n == 0


def test_scores_of_another_feed_are_refused(tmp_path: Path) -> None:
    write_harms(feed_of(), harms_of(), tmp_path / "h.parquet")
    for other in ("abd", "acb", "abcd"):
        with pytest.raises(FeedError, match="candidates of the feed in its order, got others"):
            read_harms(feed_of(other), tmp_path / "h.parquet")


def rewritten(path: Path, change: Any) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def test_a_file_that_holds_no_scores_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h.parquet"
    with pytest.raises(FeedError, match="expected scores in parquet"):
        read_harms(feed_of(), tmp_path / "missing.parquet")
    path.write_text("no parquet")
    with pytest.raises(FeedError, match="expected scores in parquet"):
        read_harms(feed_of(), path)
    for gone in ("post_id", "confidence_threat", "comment_toxicity"):
        write_harms(feed_of(), harms_of(), path)
        rewritten(path, lambda table, gone=gone: table.drop_columns([gone]))
        with pytest.raises(FeedError, match=f"expected a column {gone}"):
            read_harms(feed_of(), path)


@pytest.mark.parametrize("values", [[0.1, 2.0, 0.3], [0.1, None, 0.3]])
def test_scores_that_no_classifier_gives_are_refused_where_they_enter(
    tmp_path: Path, values: list[Any]
) -> None:
    path = tmp_path / "h.parquet"
    write_harms(feed_of(), harms_of(), path)
    rewritten(
        path,
        lambda table: table.set_column(
            table.column_names.index("p_toxicity"), "p_toxicity", pa.array(values, pa.float32())
        ),
    )
    with pytest.raises(FeedError, match=r"h\.parquet: .*expected"):
        read_harms(feed_of(), path)


def test_a_ranking_is_a_table_of_shown_then_removed_posts_with_what_made_it() -> None:
    """W34: policy and digest are with every score."""
    ranking = ranking_of()
    table = ranking_to_arrow(ranking)
    rows = table.to_pylist()
    # c is bounded below 1/2 and halved by toxicity .2, which is halfway
    # from .1 to .3, and a 0.95 likes, more than 1/4; b is beyond the removal line
    shown = [(row["post_id"], row["rank"], row["original_rank"], row["removed"]) for row in rows]
    assert shown == [("a", 1, 1, False), ("c", 2, 3, False), ("b", None, 2, True)]
    for row in rows:
        at = "abc".index(row["post_id"])
        assert row["score"] == ranking.score[at]
        assert row["good"] + row["bad"] == pytest.approx(row["engagement"])
        assert row["demotion_toxicity"] == row["multiplier"]
        assert row["held_out"] is False
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert metadata["policy"] == "harm-aware"
    assert metadata["policy_digest"] == ranking.policy.digest
    assert metadata["policy_canonical"] == ranking.policy.canonical()
    assert metadata["model"] == "m@1"
    assert json.loads(metadata["unscored"]) == list(ranking.unscored)


def test_parquet_and_json_lines_hold_the_same_rows(tmp_path: Path) -> None:
    ranking = ranking_of()
    write_ranking(ranking, tmp_path / "r.parquet")
    write_ranking(ranking, tmp_path / "r.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text("utf-8").splitlines()]
    made_by = {"policy": "harm-aware", "policy_digest": ranking.policy.digest}
    assert lines == [row | made_by for row in pq.read_table(tmp_path / "r.parquet").to_pylist()]
    assert pq.read_schema(tmp_path / "r.parquet").metadata[b"policy"] == b"harm-aware"


def test_a_ranking_without_a_classifier_names_no_model() -> None:
    ranking = Reranker(load_policy("fb-2018-h1")).rank(feed_of())
    table = ranking_to_arrow(ranking)
    assert table.schema.metadata[b"model"] == b""
    assert [row["rank"] for row in table.to_pylist()] == [1, 2, 1]


@pytest.mark.parametrize("name", ["ranking.csv", "ranking"])
def test_another_suffix_is_refused_and_leaves_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(FeedError, match=r"expected a name that ends in .parquet, got"):
        write_ranking(ranking_of(), tmp_path / name)
    with pytest.raises(FeedError, match=r"expected a name that ends in .parquet, got"):
        write_harms(feed_of(), harms_of(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []

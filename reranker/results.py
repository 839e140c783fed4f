"""Rankings and harm scores as files: parquet or JSON lines, with what made them in the metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.scores import HarmScores
from reranker.columns import FeedError, FloatArray, StringColumn
from reranker.feed import Feed
from reranker.ranking import Ranking
from reranker.value import Harms
from reranker.writing import atomic

_TONE = "comment_toxicity"


def ranking_to_arrow(ranking: Ranking) -> pa.Table:
    """One row per candidate, shown ones by request and rank, then the removed; rank is from 1.

    The schema's metadata hold the policy, its digest, the model and what could not be scored.
    """
    feed = ranking.feed
    removed = np.flatnonzero(ranking.removed)
    rows = np.concatenate([ranking.order, removed])
    rows = rows[np.argsort(feed.request_of_row[rows], kind="stable")]
    request = feed.request_of_row[rows]
    position = ranking.position[rows]
    columns: dict[str, Any] = {
        "request_id": _strings(feed.request_id.take(request)),
        "post_id": _strings(feed.post_id.take(rows)),
        "rank": pa.array(position + 1, mask=position < 0),
        "original_rank": pa.array(feed.original_order[rows] + 1),
    }
    for name in ("score", "base_score", "engagement", "good", "bad", "negative", "bounded"):
        columns[name] = pa.array(getattr(ranking, name)[rows])
    columns["multiplier"] = pa.array(ranking.multiplier[rows])
    for name, multiplier in ranking.demotions().items():
        columns[f"demotion_{name}"] = pa.array(multiplier[rows])
    columns["diversity"] = pa.array(ranking.diversity[rows])
    columns["removed"] = pa.array(ranking.removed[rows])
    columns["held_out"] = pa.array(ranking.held_out[request])
    if ranking.log_prefix_propensity is not None:
        logged = ranking.log_prefix_propensity[rows]
        columns["log_prefix_propensity"] = pa.array(logged, mask=ranking.removed[rows])
    metadata = {
        "policy": ranking.policy.name,
        "policy_digest": ranking.policy.digest,
        "policy_canonical": ranking.policy.canonical(),
        "model": "" if ranking.harms is None else ranking.harms.posts.model,
        "unscored": json.dumps(list(ranking.unscored)),
    }
    return pa.table(columns).replace_schema_metadata(metadata)


def write_ranking(ranking: Ranking, path: str | Path) -> None:
    """Write a ranking as .parquet or .jsonl; each line of the latter names policy and digest.

    Raises:
        FeedError: the suffix is another.
    """
    table = ranking_to_arrow(ranking)
    if Path(path).suffix == ".jsonl":
        made_by = {"policy": ranking.policy.name, "policy_digest": ranking.policy.digest}
        with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            for batch in table.to_batches(max_chunksize=10_000):
                file.writelines(json.dumps(row | made_by) + "\n" for row in batch.to_pylist())
    else:
        _write(table, path)


def harms_to_arrow(ids: Mapping[str, Any], posts: HarmScores, comment_toxicity: FloatArray) -> pa.Table:
    """Ids, then p_LABEL and confidence_LABEL per row, null where not scored, and the tone of the comments.

    Args:
        ids: columns of strings by name: post_id, and request_id where there is one.
        posts: their scores.
        comment_toxicity: (n,), NaN where no comment was scored.
    """
    columns: dict[str, Any] = {name: pa.array(values, type=pa.string()) for name, values in ids.items()}
    for i, label in enumerate(posts.labels):
        for prefix, values in (("p", posts.probability), ("confidence", posts.confidence)):
            columns[f"{prefix}_{label}"] = pa.array(values[:, i], from_pandas=True)
    columns[_TONE] = pa.array(comment_toxicity, from_pandas=True)
    return pa.table(columns).replace_schema_metadata({"model": posts.model})


def write_harms(feed: Feed, harms: Harms, path: str | Path) -> None:
    """Write the harm scores of a feed's candidates as parquet, in the columns of `harms_to_arrow`."""
    ids = {
        "request_id": feed.request_id.take(feed.request_of_row).to_list(),
        "post_id": feed.post_id.to_list(),
    }
    _write(harms_to_arrow(ids, harms.posts, harms.comment_toxicity), path)


def read_harms(feed: Feed, path: str | Path) -> Harms:
    """Scores that `reranker score` or `write_harms` wrote, put in the feed's order.

    A row belongs to the candidate with its request_id and post_id. Scores without request_id, of a plain
    table of posts, belong to every candidate with their post_id, and may cover more posts than the feed.

    Raises:
        FeedError: the file is not such a file, or its rows are not those of the feed.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FeedError(f"{path}: expected scores in parquet, got {str(error).splitlines()[0]}") from None
    labels = tuple(name.removeprefix("p_") for name in table.column_names if name.startswith("p_"))
    needed = ["post_id", _TONE, *(f"confidence_{label}" for label in labels)]
    for name in needed:
        if name not in table.column_names:
            raise FeedError(f"{path}: expected a column {name}, got {', '.join(table.column_names)}")
    table = table.take(_rows_of(feed, table, path))
    model = (table.schema.metadata or {}).get(b"model", b"").decode()
    shape = (len(labels), feed.n)
    try:
        stacked = [
            [table[f"{prefix}_{label}"].to_numpy().astype(np.float32) for label in labels]
            for prefix in ("p", "confidence")
        ]
        probability, confidence = (np.reshape(np.array(one, dtype=np.float32), shape).T for one in stacked)
        tone = table[_TONE].to_numpy().astype(np.float64)
        return Harms(HarmScores(labels, probability, confidence, model), tone)
    except ValueError as error:
        raise FeedError(f"{path}: {error}") from None


def _rows_of(feed: Feed, table: pa.Table, path: str | Path) -> Any:
    """(n,) the row of the scores that belongs to each candidate."""
    by_request = "request_id" in table.column_names
    given: list[Any] = table["post_id"].to_pylist()
    expected: list[Any] = feed.post_id.to_list()
    if by_request:
        given = list(zip(table["request_id"].to_pylist(), given, strict=True))
        expected = list(zip(feed.request_id.take(feed.request_of_row), expected, strict=True))
    row_of = dict(zip(given, range(len(given)), strict=True))
    if len(row_of) != len(given):
        twice = next(key for row, key in enumerate(given) if row_of[key] != row)
        raise FeedError(f"{path}: expected each post once, got {twice!r} twice")
    missing = next((key for key in expected if key not in row_of), None)
    if missing is not None or (by_request and len(given) != feed.n):
        found = f"{len(given)} rows" if missing is None else f"no row for {missing!r}"
        raise FeedError(
            f"{path}: expected the {feed.n} candidates of the feed in its order, got others ({found})"
        )
    return pa.array([row_of[key] for key in expected], type=pa.int64())


def _strings(column: StringColumn) -> Any:
    return pa.array(column.to_list(), type=pa.string())


def _write(table: pa.Table, path: str | Path) -> None:
    if Path(path).suffix != ".parquet":
        raise FeedError(
            f"{path}: expected a name that ends in .parquet, got {Path(path).suffix or 'no suffix'}"
        )
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")

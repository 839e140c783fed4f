"""Rankings and harm scores as files: parquet or JSON lines, with what made them in the metadata."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.scores import HarmScores
from reranker.columns import FeedError, StringColumn
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


def write_harms(feed: Feed, harms: Harms, path: str | Path) -> None:
    """Write harm scores as parquet: p_LABEL and confidence_LABEL per candidate, null where not scored."""
    columns: dict[str, Any] = {
        "request_id": _strings(feed.request_id.take(feed.request_of_row)),
        "post_id": _strings(feed.post_id),
    }
    for i, label in enumerate(harms.posts.labels):
        for prefix, values in (("p", harms.posts.probability), ("confidence", harms.posts.confidence)):
            columns[f"{prefix}_{label}"] = pa.array(values[:, i], from_pandas=True)
    columns[_TONE] = pa.array(harms.comment_toxicity, from_pandas=True)
    _write(pa.table(columns).replace_schema_metadata({"model": harms.posts.model}), path)


def read_harms(feed: Feed, path: str | Path) -> Harms:
    """Scores that `write_harms` wrote for the same feed, in the feed's order.

    Raises:
        FeedError: the file is not such a file, or its rows are not those of the feed.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise FeedError(f"{path}: expected scores in parquet, got {str(error).splitlines()[0]}") from None
    labels = tuple(name.removeprefix("p_") for name in table.column_names if name.startswith("p_"))
    needed = ["request_id", "post_id", _TONE, *(f"confidence_{label}" for label in labels)]
    for name in needed:
        if name not in table.column_names:
            raise FeedError(f"{path}: expected a column {name}, got {', '.join(table.column_names)}")
    expected = list(zip(feed.request_id.take(feed.request_of_row), feed.post_id, strict=True))
    given = list(zip(table["request_id"].to_pylist(), table["post_id"].to_pylist(), strict=True))
    if expected != given:
        raise FeedError(f"{path}: expected the {feed.n} candidates of the feed in its order, got others")
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


def _strings(column: StringColumn) -> Any:
    return pa.array(column.to_list(), type=pa.string())


def _write(table: pa.Table, path: str | Path) -> None:
    if Path(path).suffix != ".parquet":
        raise FeedError(
            f"{path}: expected a name that ends in .parquet, got {Path(path).suffix or 'no suffix'}"
        )
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")

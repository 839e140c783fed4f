"""Files of the elicited response: threads to learn from, the model as JSON, and scores with it filled in."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reranker.columns import FeedError, FloatArray, closest
from reranker.tables import ColumnKind, first_line, read_table, whole
from reranker.writing import atomic
from training.elicited_model import TOXIC_FROM, Elicited, Foresight, Threads, log_odds_of
from training.value_items import LABEL_NAMES
from training.value_reading import joined_scores, numbers, read_scores

SCHEMA = 1
LAYOUT: dict[str, ColumnKind] = {
    "post_id": "id",
    "thread": "id",
    "reply_toxicity": "number",
    **dict.fromkeys(LABEL_NAMES, "number"),
}
TONE, FORESEEN = "comment_toxicity", "comment_toxicity_foreseen"


def read_threads(path: str | Path, scores: str | Path | None = None) -> Threads:
    """Replies of a .parquet, .jsonl or .csv file, one row each.

    Args:
        path: columns post_id, reply_toxicity in [0, 1]; labels of the post by name, unless in the scores; and
            thread where several posts are one conversation (else each post is its own).
        scores: what `reranker score` wrote of the posts.

    Raises:
        FeedError: a column is missing or unknown, a value is none that it can hold, the scores lack a post.
    """
    table = read_table(path, LAYOUT)
    try:
        return _threads(table, scores)
    except ValueError as error:
        raise FeedError(f"{path}: {error}") from None


def _threads(table: pa.Table, scores: str | Path | None) -> Threads:
    if not table.num_rows:
        raise FeedError("expected rows, got none")
    for name in table.column_names:
        if name not in LAYOUT and not name.startswith("attr_"):
            raise FeedError(
                f'unknown column "{name}": expected post_id, thread, reply_toxicity or a label'
                f'{closest(name, tuple(LAYOUT))}; a column of your own is named "attr_..."'
            )
    for name in ("post_id", "reply_toxicity"):
        if name not in table.column_names:
            raise FeedError(f"{name}: expected a column, got {', '.join(table.column_names) or 'none'}")
    posts = whole(table.column("post_id"), pa.large_string()).to_pylist()
    own = [name for name in LABEL_NAMES if name in table.column_names]
    harms = {name: numbers(name, table.column(name)) for name in own}
    if scores is not None:
        found = joined_scores(posts, scores, given=own)
        harms |= {name: found[name] for name in LABEL_NAMES if name in found}
    tone = numbers("reply_toxicity", table.column("reply_toxicity"))
    for name, values in (("reply_toxicity", tone), *harms.items()):
        bad = (values < 0) | (values > 1) | (np.isnan(values) & (name == "reply_toxicity"))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise FeedError(f"{name}: expected a number in [0, 1], got {values[row]} at row {row}")
    key = posts
    if "thread" in table.column_names:
        key = whole(table.column("thread"), pa.large_string()).to_pylist()
    if None in key or None in posts:
        raise FeedError("post_id, thread: expected a value in every row, got null")
    harms = {name: values for name, values in harms.items() if not np.isnan(values).all()}
    odds = log_odds_of(harms) if harms else np.empty((len(posts), 0))
    order = np.lexsort((tone, np.array(posts), np.array(key)))  # whatever the order of the rows
    order = order[~np.isnan(odds[order]).any(axis=1)]
    _, thread = np.unique(np.array(key)[order], return_inverse=True)
    return Threads(
        labels=tuple(harms),
        log_odds=odds[order],
        toxic=(tone[order] >= TOXIC_FROM).astype(np.float64),
        thread=thread.astype(np.int64),
        n_unscored=len(posts) - len(order),
    )


def write_elicited(model: Elicited, found: Foresight, path: Path) -> None:
    """Write the model and what it is worth as JSON."""
    content = {
        "schema": SCHEMA,
        "labels": model.labels,
        "coefficients": [float(value) for value in model.coefficients],
        "intercept": model.intercept,
        "ridge": model.ridge,
        "is_useful": found.is_useful,
        "beats_own_toxicity": found.beats_own,
        "unseen_threads": asdict(found),
    }
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_elicited(path: str | Path) -> tuple[Elicited, bool]:
    """A model that `write_elicited` wrote, and whether it foresees anything.

    Raises:
        FeedError: the file is none such.
    """
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        if content["schema"] != SCHEMA:
            raise FeedError(f"{path}: schema: expected {SCHEMA}, got {content['schema']!r}")
        coefficients = np.array(content["coefficients"], dtype=np.float64)
        labels = tuple(str(name) for name in content["labels"])
        model = Elicited(labels, coefficients, float(content["intercept"]), float(content["ridge"]))
        useful = bool(content["is_useful"])
    except OSError as error:
        raise FeedError(f"{path}: expected a readable file, got {first_line(error)}") from None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, FeedError):
            raise
        raise FeedError(
            f"{path}: expected a model of the elicited response, got {first_line(error)}"
        ) from None
    if coefficients.shape != (len(labels),) or not np.isfinite([*coefficients, model.intercept]).all():
        raise FeedError(f"{path}: coefficients: expected a finite number for each of {len(labels)} labels")
    return model, useful


def foresee_comments(model: Path, scores: Path, output: Path) -> tuple[int, int]:
    """Write scores in which the tone of comments is foreseen where there are none yet.

    `comment_toxicity` is filled where it is null and the post is scored for every label of the model;
    `comment_toxicity_foreseen` says where. Everything else stays.

    Returns:
        How many posts were filled, and how many still have no tone.

    Raises:
        FeedError: the model foresees nothing, or the scores lack a column.
    """
    elicited, useful = read_elicited(model)
    if not useful:
        raise FeedError(f"{model}: expected a model that beats one rate for all posts, got one that does not")
    table = read_scores(scores)
    for name in (TONE, *(f"p_{label}" for label in elicited.labels)):
        if name not in table.column_names:
            raise FeedError(f"{scores}: expected a column {name}, which the model was fitted with, got none")
    if FORESEEN in table.column_names:
        raise FeedError(f"{scores}: expected scores as `reranker score` wrote them, got filled ones")
    tone = numbers(TONE, table.column(TONE))
    harms = {label: numbers(f"p_{label}", table.column(f"p_{label}")) for label in elicited.labels}
    predicted: FloatArray = elicited.p(log_odds_of(harms))
    fill = np.isnan(tone) & ~np.isnan(predicted)
    tone = np.where(fill, predicted, tone)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    made_by = dict(table.schema.metadata or {}) | {b"elicited": digest.encode()}
    at = table.column_names.index(TONE)
    table = table.set_column(at, TONE, pa.array(tone, from_pandas=True))
    table = table.append_column(FORESEEN, pa.array(fill)).replace_schema_metadata(made_by)
    with atomic(output) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return int(fill.sum()), int(np.isnan(tone).sum())

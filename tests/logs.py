"""Logs of impressions that several tests are made from: Plackett-Luce draws over random candidates."""

from typing import Any

import numpy as np

from reranker.columns import StringColumn
from reranker.exploration import log_prefix_propensity, request_keys, sample_rankings
from reranker.impressions import ImpressionLog


def log_columns(
    n: int = 6, *, seed: int = 0, most: int = 7, first: int = 0, **changes: Any
) -> dict[str, Any]:
    """Every field of a log of n requests with 0 to `most` candidates and up to 3 slots."""
    rng = np.random.default_rng([seed, first])
    offsets = np.concatenate(([0], np.cumsum(rng.integers(0, most + 1, n)))).astype(np.int64)
    c = int(offsets[-1])
    ids = [f"r{first + r}" for r in range(n)]
    score = rng.normal(size=c)
    slate, slots = sample_rankings(score, offsets, 0.5, 3, seed=seed, request_key=request_keys(ids))
    s = len(slate)
    viewed = rng.random(s) < 0.7
    columns = {
        "request_id": StringColumn.from_values(ids),
        "user": StringColumn.from_values(f"u{(first + r) // 2}" for r in range(n)),
        "offsets": offsets,
        "item_id": rng.integers(-(2**62), 2**62, c),
        "score": score,
        "slot_offsets": slots,
        "slate": slate,
        "log_prefix_propensity": log_prefix_propensity(score, offsets, slate, slots, 0.5),
        "p_action": {name: rng.random(c).astype(np.float32) for name in ("like", "angry")},
        "harm": {"toxicity": np.where(rng.random(c) < 0.2, np.nan, rng.random(c)).astype(np.float32)},
        "groups": {"publisher": rng.integers(-1, 5, c)},
        "viewed": viewed,
        "action": {name: (viewed & (rng.random(s) < 0.3)).astype(np.float32) for name in ("like", "hide")},
        "dwell_ms": np.where(viewed, rng.integers(0, 9_000, s), np.nan).astype(np.float32),
        "segments": {"country": StringColumn.from_values(rng.choice(["MM", "US"], n).tolist())},
        "time": np.datetime64("2020-10-01", "us") + np.arange(n),
        "temperature": np.full(n, 0.5),
        "from_rank": np.ones(n, np.int64),
        "n_total": np.diff(offsets),
    }
    return columns | changes


def log_of(n: int = 6, **options: Any) -> ImpressionLog:
    """The log of `log_columns`."""
    return ImpressionLog(**log_columns(n, **options))


def values_of(log: ImpressionLog) -> dict[str, Any]:
    """Everything in a log as plain lists, bytes where numbers must be the same to the last bit."""
    found: dict[str, Any] = {}
    for name, value in vars(log).items():
        for key, column in (value if isinstance(value, dict) else {"": value}).items():
            is_array = isinstance(column, np.ndarray)
            plain = (str(column.dtype), column.tobytes()) if is_array else list(column or ())
            found[f"{name}.{key}"] = plain
    fields = {item.split(".")[0] for item in found}
    cached = {"request_of_row", "request_of_slot", "position", "has_propensity", "is_drawn", "without_view"}
    return {name: value for name, value in found.items() if name.split(".")[0] in fields - cached}

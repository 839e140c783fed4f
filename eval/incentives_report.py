"""Diagnostics of incentives as files: incentives.json and incentives.html; the same input, the same bytes."""

import json
import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.incentives import Incentives
from eval.incentives_page import render_incentives
from eval.incentives_words import sentences
from eval.moral_words import PUBLISHED
from reranker.writing import atomic

SCHEMA = 1
DIGITS = 10  # significant ones, so that the order of a sum does not show
NAME, PAGE = "incentives.json", "incentives.html"


def write_incentives(found: Incentives, directory: str | Path, *, data: str = "") -> tuple[Path, Path]:
    """Write incentives.json and incentives.html into a directory, made where there is none; their paths.

    Args:
        found: what was found.
        directory: where to.
        data: what it was found on, in words.
    """
    folder = Path(directory)
    folder.mkdir(exist_ok=True)
    texts = incentives_json(found, data), render_incentives(found, data)
    paths = folder / NAME, folder / PAGE
    for path, text in zip(paths, texts, strict=True):
        with atomic(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def incentives_json(found: Incentives, data: str = "") -> str:
    """All figures; an interval without an end, and what was not measured, is null. No text of a post."""
    content = {"schema": SCHEMA, "data": data, **_plain(found)}
    content["post_ids"] = None
    del content["post_ids"]
    if found.gaming is not None:
        for alarm, plain in zip(found.gaming.alarms, content["gaming"]["alarms"], strict=True):
            plain["post_id"] = found.post_ids[alarm.post]
            del plain["post"]
    content["published"] = [
        {"source": source, "rate_ratio": value, "low": low, "high": high}
        for source, value, low, high in PUBLISHED
    ]
    content["sentences"] = [one.text for one in sentences(found)]
    return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """Records, arrays and numbers as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value

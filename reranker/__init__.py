"""Rerank feeds so that engagement counts and harm does not."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reranker.anger import AngerBaseline
    from reranker.assembly import feed_from_columns
    from reranker.columns import FeedError
    from reranker.feed import Feed
    from reranker.load import HarmClassifier, load_scorer, register_transformers
    from reranker.pipeline import Reranker
    from reranker.policy import Policy, PolicyError
    from reranker.presets import load_policy
    from reranker.ranking import Ranking
    from reranker.reading import feed_from, read_feed

_HOME = {
    "AngerBaseline": "anger",
    "Feed": "feed",
    "FeedError": "columns",
    "HarmClassifier": "load",
    "Policy": "policy",
    "PolicyError": "policy",
    "Ranking": "ranking",
    "Reranker": "pipeline",
    "feed_from": "reading",
    "feed_from_columns": "assembly",
    "load_policy": "presets",
    "load_scorer": "load",
    "read_feed": "reading",
    "register_transformers": "load",
}

__all__ = [
    "AngerBaseline",
    "Feed",
    "FeedError",
    "HarmClassifier",
    "Policy",
    "PolicyError",
    "Ranking",
    "Reranker",
    "feed_from",
    "feed_from_columns",
    "load_policy",
    "load_scorer",
    "read_feed",
    "register_transformers",
]


def __getattr__(name: str) -> Any:
    """Public names on first use, so that importing the package costs next to nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'reranker' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)

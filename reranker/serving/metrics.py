"""`Metrics`: what a server counts, for Prometheus.

With several worker processes the counts are those of all of them (prometheus multiprocess mode, through the
folder that `PROMETHEUS_MULTIPROC_DIR` names); otherwise those of this process.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
_SECONDS = (0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16_384)


class Metrics:
    """Counters on a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "reranker_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "reranker_request_seconds",
            "From the request's first byte of body to the end of the answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.items = Counter("reranker_items", "Candidates ranked.", registry=registry)
        self.texts = Counter("reranker_scored_texts", "Texts read by the scorer.", registry=registry)
        self.pass_seconds = Histogram(
            "reranker_pass_seconds", "Forward passes of the scorer.", buckets=_SECONDS, registry=registry
        )
        self.pass_texts = Histogram(
            "reranker_pass_texts", "Texts of a forward pass.", buckets=_TEXTS, registry=registry
        )
        self.cache_hits = Counter("reranker_cache_hits", "Posts whose scores were kept.", registry=registry)
        self.cache_misses = Counter(
            "reranker_cache_misses", "Posts whose scores were not kept.", registry=registry
        )
        self.cache_failures = Counter(
            "reranker_cache_failures", "Questions that the cache did not answer.", registry=registry
        )
        self.degraded = Counter(
            "reranker_degraded", "Rankings made without scores, by reason.", ["reason"], registry=registry
        )
        self.refused = Counter("reranker_busy", "Requests refused for a full queue.", registry=registry)
        self.demotions = Counter(
            "reranker_demotions", "Candidates moved down, by reason.", ["reason"], registry=registry
        )
        self.queue = Gauge(
            "reranker_queue_texts",
            "Texts that wait for the scorer.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def on_pass(self, n_texts: int, seconds: float) -> None:
        """Counts a forward pass; called by the thread of the scorer."""
        self.texts.inc(n_texts)
        self.pass_texts.observe(n_texts)
        self.pass_seconds.observe(seconds)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        if SHARED not in os.environ:
            return generate_latest(self.registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
        return generate_latest(shared)

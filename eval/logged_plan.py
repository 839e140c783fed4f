"""What a comparison on a log measures: outcomes of requests, and the parts they are told apart by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.guardrails import GATES
from eval.outcomes import CLICKS, COMMENTS, NEGATIVE_REACTIONS, RESHARES
from reranker.columns import FeedError, IntArray, closest
from reranker.impressions import ImpressionLog
from reranker.signals import REACTIONS

POSITIVE = (*(r for r in REACTIONS if r not in NEGATIVE_REACTIONS), *COMMENTS, *RESHARES, *CLICKS)
ACTIVITY: Mapping[str, tuple[str, ...]] = {
    "positive_activity": POSITIVE,
    "all_activity": (*POSITIVE, *NEGATIVE_REACTIONS),
    "comments": COMMENTS,
    "reshares": RESHARES,
}
assert set(GATES) <= set(ACTIVITY)
DIMENSIONS = ("country", "language", "device", "relation", "media", "publisher")  # where the log has them
MOST_PARTS = 12  # of a dimension; the smaller ones are told together
UNKNOWN, OTHERS = "unknown", "others"


@dataclass(frozen=True)
class Parts:
    """A dimension of a log and its values, the most frequent first.

    Attributes:
        name: of the column, without its prefix.
        per: whether requests have it or candidates.
        values: those that are told apart.
        n_others: how many more there are, which are told together.
        has_unknown: whether it is missing anywhere.
    """

    name: str
    per: Literal["request", "candidate"]
    values: tuple[str, ...]
    n_others: int
    has_unknown: bool

    @property
    def segments(self) -> tuple[tuple[int, str], ...]:
        """Code and name of every segment; together they are the whole log."""
        named = list(enumerate(self.values))
        if self.n_others:
            named.append((len(self.values), f"{self.n_others} {OTHERS}"))
        return (*named, (-1, UNKNOWN)) if self.has_unknown else tuple(named)

    def codes(self, log: ImpressionLog) -> IntArray:
        """Code of each request (n,), or of each candidate (c,)."""
        place = {value: i for i, value in enumerate(self.values)}
        if self.per == "request":
            column = log.segments.get(self.name)
            if column is None:
                return np.full(log.n, -1, dtype=np.int64)
            of_value = [place.get(value, len(place)) for value in column.values]
            return np.array([*of_value, -1], dtype=np.int64)[column.codes]
        codes = log.groups.get(self.name)
        if codes is None:
            return np.full(log.n_candidates, -1, dtype=np.int64)
        found, at = np.unique(codes, return_inverse=True)
        of_code = [place.get(str(code), len(place)) if code >= 0 else -1 for code in found.tolist()]
        return np.array(of_code, dtype=np.int64)[at]


class PartCounts:
    """How often each value of each dimension comes in a log; `add` its batches."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.requests = {name: Counter[str]() for name in names}
        self.slots = {name: Counter[str]() for name in names}
        self.known: set[str] = set()

    def add(self, log: ImpressionLog) -> None:
        """Count a batch in: requests by segment, served posts by group."""
        self.known |= {*log.segments, *log.groups}
        for name in self.names:
            if name in log.segments:
                self.requests[name].update(value or "" for value in log.segments[name].to_list())
            elif name in log.groups:
                codes, count = np.unique(log.groups[name][log.slate], return_counts=True)
                for code, n in zip(codes.tolist(), count.tolist(), strict=True):
                    self.slots[name][str(code) if code >= 0 else ""] += n

    def merge(self, other: "PartCounts") -> None:
        """Count in what another counted of other batches, by the same names."""
        self.known |= other.known
        for name in self.names:
            self.requests[name].update(other.requests[name])
            self.slots[name].update(other.slots[name])

    def parts(self, *, asked_for: bool) -> tuple[Parts, ...]:
        """The dimensions with at least 2 values; of equal frequency, in the order of their names.

        Args:
            asked_for: whether a dimension that the log lacks is an error.

        Raises:
            FeedError: a dimension was asked for that the log has no column of.
        """
        made = []
        for name in self.names:
            per: Literal["request", "candidate"] = "request" if self.requests[name] else "candidate"
            count = self.requests[name] or self.slots[name]
            if not count and name not in self.known:
                if asked_for:
                    held = ", ".join(sorted(self.known)) or "none"
                    raise FeedError(
                        f"segment {name}: expected a segment or group that was logged ({held}), got none"
                        f"{closest(name, tuple(self.known))}"
                    )
                continue
            ordered = sorted((value for value in count if value), key=lambda value: (-count[value], value))
            if len(ordered) + ("" in count) > 1:
                rest = len(ordered) - MOST_PARTS
                made.append(Parts(name, per, tuple(ordered[:MOST_PARTS]), max(rest, 0), "" in count))
        return tuple(made)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        views: whether views were logged; without them there is no model and no harm among views.
        harms: labels.
        actions: that were logged.
        switch: of `switch_dr`.
        n_draws: slates per policy and request that a model is averaged over.
        seed: of the draws.
        parts: dimensions to tell apart by.
        posts: whether views are to be kept post by post, for labels of them.
    """

    views: bool
    harms: tuple[str, ...]
    actions: tuple[str, ...]
    switch: float
    n_draws: int
    seed: int
    parts: tuple[Parts, ...] = ()
    posts: bool = False

    @property
    def activity(self) -> dict[str, tuple[str, ...]]:
        """The logged actions that make up each index of activity."""
        members = {name: tuple(one for one in of if one in self.actions) for name, of in ACTIVITY.items()}
        return {name: of for name, of in members.items() if of}

    @property
    def metrics(self) -> tuple[str, ...]:
        """M names, in the order of the rows of `RequestValues`."""
        seen = ("views", *(f"harm_views.{name}" for name in self.harms)) if self.views else ()
        return (*seen, *self.activity, *(f"action.{name}" for name in self.actions))

    @property
    def of_requests(self) -> tuple[Parts, ...]:
        """Dimensions of requests."""
        return tuple(one for one in self.parts if one.per == "request")

    @property
    def of_candidates(self) -> tuple[Parts, ...]:
        """Dimensions of candidates: of use only where views were logged."""
        return tuple(one for one in self.parts if one.per == "candidate") if self.views else ()

    @property
    def keeps_posts(self) -> bool:
        """Whether the views of single posts are needed."""
        return self.views and (self.posts or bool(self.of_candidates))

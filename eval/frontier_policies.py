"""Feeds and policies as the arrays that the compiled scoring reads, and the exposures that come of it."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eval.exposure import Browsing, position_weights, top_k
from eval.frontier_columns import NO_CURVE, Candidates, Settings
from eval.frontier_kernel import measure_policies
from eval.outcomes import Outcome
from reranker.columns import FloatArray, IntArray
from reranker.engagement import Engagement, measure_engagement
from reranker.feed import Feed
from reranker.policy import Policy
from reranker.ranking import Ranking
from reranker.scoring import demotions
from reranker.signals import RELATIONS, SIGNAL_NAMES
from reranker.value import endorsement

BLOCK_ROWS = 32_768  # rows of one task: few enough that all cores have work
_EMPTY = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Replay:
    """A feed as every policy of a space ranks it; make one with `replay_of`.

    Attributes:
        candidates: the arrays.
        signals: (J,) names of the rows of `candidates.gain`.
        labels: names of the columns of `candidates.probability`.
        places: (C, J) where the weight of a class of country and language is its own.
        place_weights: (C, J) what it is there.
        most_of_an_author: posts of one author in one request, at most.
    """

    candidates: Candidates
    signals: tuple[str, ...]
    labels: tuple[str, ...]
    places: NDArray[np.bool_]
    place_weights: FloatArray
    most_of_an_author: int

    def measure(
        self, policies: Sequence[Policy], requests: IntArray, *, on_block: Callable[[], None] | None = None
    ) -> FloatArray:
        """(P, q, M) what each policy shows of each outcome in each request, NaN where nothing has a value.

        The same to the last bit, but for the order of the additions in a mean, as `Reranker(policy).rank` and
        `measure_exposure` give: scores, ties and orders are equal.

        Args:
            policies: of one space around the base that the replay was made for.
            requests: (q,) which requests.
            on_block: called after each block of requests.
        """
        settings = self._settings(policies)
        out = np.empty((len(policies), len(requests), self.candidates.outcomes.shape[1]))
        rows = np.cumsum(np.diff(self.candidates.offsets)[requests])
        n_blocks = max(1, int(rows[-1]) // BLOCK_ROWS) if len(rows) else 0
        edges = (
            np.searchsorted(rows, np.linspace(0, rows[-1], n_blocks + 1)) if n_blocks else np.zeros(1, int)
        )
        edges[-1:] = len(requests)

        def work(start: int, stop: int) -> None:
            part = np.empty((len(policies), stop - start, out.shape[2]))
            measure_policies(self.candidates, settings, requests[start:stop], part)
            out[:, start:stop] = part
            if on_block is not None:
                on_block()

        spans = [(a, b) for a, b in pairwise(edges.tolist()) if a < b]
        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(work, *span) for span in spans]:
                done.result()
        return out

    def _settings(self, policies: Sequence[Policy]) -> Settings:
        harms = _names([policy.value.harms for policy in policies], self.labels)
        curves = _names([policy.demotion for policy in policies], self.labels)
        slate = policies[0].slate
        has_author = bool((self.candidates.author >= 0).any())
        decays = has_author and any(policy.slate.author_decay < 1.0 for policy in policies)
        powers = np.arange(self.most_of_an_author if decays else 0)
        return Settings(
            weights=np.array([self._weights(policy) for policy in policies]),
            closeness=np.array([_closeness(policy) for policy in policies]),
            endorsed=np.array([endorsement(policy, self.signals) for policy in policies]),
            harms=_table(policies, lambda p: [p.value.harms.get(name, 0.0) for name in harms]),
            harm_columns=np.array([self.labels.index(name) for name in harms], dtype=np.int64),
            curves=np.array([[_curve(p, name) for name in curves] for p in policies]).reshape(
                len(policies), len(curves), 3
            ),
            curve_columns=np.array([self.labels.index(name) for name in curves], dtype=np.int64),
            bad_weight=np.array([p.value.bad_weight for p in policies], dtype=np.float64),
            angry_share=np.array([p.value.angry_share for p in policies], dtype=np.float64),
            comment_toxicity=np.array([p.value.comment_toxicity for p in policies], dtype=np.float64),
            unscored=np.array([p.unscored.multiplier for p in policies], dtype=np.float64),
            most_of_a_signal=np.array([p.guard.max_signal_share for p in policies], dtype=np.float64),
            bounded=np.array([p.score.bounded for p in policies]),
            diversity=np.array(
                [np.maximum(p.slate.author_floor, p.slate.author_decay**powers) for p in policies]
            ).reshape(len(policies), len(powers)),
            author_cap=(slate.author_cap or 0) if has_author else 0,
        )

    def _weights(self, policy: Policy) -> FloatArray:
        """(C, J) likes per unit, by class of country and language."""
        own = np.array([policy.weights.get(name, 0.0) for name in self.signals], dtype=np.float64)
        return np.where(self.places, self.place_weights, own)


def replay_of(base: Ranking, outcomes: Sequence[Outcome], model: Browsing) -> Replay:
    """What is needed to rank the feed of a ranking by every policy of a space around its policy.

    What no setting of a space changes is taken from the ranking: which acts count, anger, habits of authors,
    removals, label scores.

    Args:
        base: the feed, ranked by the base of the space.
        outcomes: what is measured.
        model: how far people read.

    Raises:
        ValueError: the feed holds replies that the base puts under their parents.
    """
    feed, policy, job = base.feed, base.policy, base.job
    if policy.slate.thread_order and "parent_id" not in feed.missing:
        raise ValueError(
            "parent_id: expected no replies in a feed to search on; set slate.thread_order=false"
        )
    flat, classes, places = _counted(feed, policy)
    rank_of = {name: i for i, name in enumerate(flat)}
    signals = tuple(flat)
    place_weights = np.zeros(places.shape)
    for group in job.engagement.groups:
        for j, name in enumerate(group.names):
            place_weights[:, rank_of[name]] += group.weights[:, j]
    totals = [name for name in signals if name in feed.signals.names]
    labels = () if job.harms is None else job.harms.posts.labels
    none = np.zeros((feed.n, 0), dtype=np.float32)
    gain = np.array([flat[name][0] for name in signals]).reshape(len(signals), feed.n)
    loss = gain if all(flat[n][0] is flat[n][1] for n in signals) else np.array([flat[n][1] for n in signals])
    whole = np.s_[0 : feed.n]
    others = [found for name, found in demotions(job, whole) if name not in policy.demotion]
    author = feed.author.codes
    lengths = np.diff(feed.offsets)
    seen, shown = _positions(model, lengths)
    return Replay(
        Candidates(
            offsets=feed.offsets,
            gain=gain,
            loss=loss,
            n_totals=len(totals),
            liked=rank_of.get("like", -1),
            media=_media(feed, policy),
            relation=feed.relation,
            weight_class=np.zeros(0, dtype=np.int32) if classes is None else classes,
            probability=none if job.harms is None else job.harms.posts.probability,
            confidence=none if job.harms is None else job.harms.posts.confidence,
            angry_share=np.ascontiguousarray(np.fmax(job.engagement.angry_share, 0.0)),
            comment_toxicity=np.zeros(feed.n)
            if job.harms is None
            else np.fmax(job.harms.comment_toxicity, 0.0),
            cost=_EMPTY if job.engagement.cost is None else job.engagement.cost,
            labels=_EMPTY if job.labels is None else job.labels,
            others=np.array(others).reshape(len(others), feed.n),
            original=feed.original_order,
            author=author,
            by_author=_by_author(feed),
            removed=base.removed,
            outcomes=np.column_stack([outcome.values for outcome in outcomes]),
            seen=seen,
            shown=shown,
        ),
        signals,
        labels,
        places,
        place_weights,
        _most_of_an_author(feed),
    )


Counts = dict[str, tuple[FloatArray, FloatArray]]


def _counted(feed: Feed, policy: Policy) -> tuple[Counts, NDArray[np.int32] | None, NDArray[np.bool_]]:
    """What each signal counts for and against; the class of each row; where a class has weights of its own.

    The last is (C, J), of classes of country and language. Two policies that weigh every signal alike, one
    for and one against, tell what each counts. Totals come first.
    """
    found: list[Engagement] = []
    for sign in (1.0, -1.0):
        every = dict.fromkeys(SIGNAL_NAMES, sign)
        own = {
            kind: {place: dict.fromkeys(weights, 2 * sign) for place, weights in table.items()}
            for kind, table in policy.override.items()
        }
        found.append(measure_engagement(feed, policy.model_copy(update={"weights": every, "override": own})))
    counts: Counts = {}
    marks: dict[str, FloatArray] = {}
    for engagement, at in zip(found, (0, 1), strict=True):
        for group in engagement.groups:
            for j, name in enumerate(group.names):
                pair = counts.get(name, (group.values[j], group.values[j]))
                counts[name] = (pair[0], group.values[j]) if at else (group.values[j], pair[1])
                marks[name] = np.abs(group.weights[:, j])
    n_classes = max((len(mark) for mark in marks.values()), default=1)
    places = np.array([marks[name] == 2.0 for name in counts]).T.reshape(n_classes, len(counts))
    return counts, found[0].weight_class, places


def _media(feed: Feed, policy: Policy) -> FloatArray:
    """(n,) boosts without closeness, or empty for 1."""
    every = dict.fromkeys(SIGNAL_NAMES, 1.0)
    update = {"weights": every, "override": {}, "relationship": {}}
    groups = measure_engagement(feed, policy.model_copy(update=update)).groups
    multiplier = groups[0].multiplier if groups else None
    return _EMPTY if multiplier is None else multiplier


def _closeness(policy: Policy) -> list[float]:
    return [policy.relationship.get(name, 1.0) for name in (*RELATIONS, "unknown")]


def _names(tables: Sequence[Mapping[str, object]], known: Sequence[str]) -> list[str]:
    """The keys of all tables that are known, in the order in which they come."""
    return [name for name in dict.fromkeys(key for table in tables for key in table) if name in known]


def _curve(policy: Policy, label: str) -> tuple[float, float, float]:
    curve = policy.demotion.get(label)
    return NO_CURVE if curve is None else (curve.start, curve.line, curve.floor)


def _table(policies: Sequence[Policy], row: Callable[[Policy], list[float]]) -> FloatArray:
    """(P, k) one row per policy."""
    rows = [row(policy) for policy in policies]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]))


def _by_author(feed: Feed) -> IntArray:
    """(n,) local rows of each request, those of an author together."""
    order = np.lexsort((feed.author.codes, feed.request_of_row))
    return order - feed.offsets[feed.request_of_row]


def _most_of_an_author(feed: Feed) -> int:
    known = ~feed.author.is_null
    if not known.any():
        return 0
    key = feed.request_of_row[known] * np.int64(len(feed.author.values)) + feed.author.codes[known]
    return int(np.unique(key, return_counts=True)[1].max())


def _positions(model: Browsing, lengths: IntArray) -> tuple[FloatArray, IntArray]:
    """(longest,) the weight of each position, and (r,) how many positions of each request have one."""
    longest = int(lengths.max(initial=0))
    one = np.array([0, longest], dtype=np.int64)
    if model.kind in ("rbp", "log2"):
        at = np.arange(longest, dtype=np.int64)
        return position_weights(model, at, np.zeros(longest, dtype=np.int64), one), lengths.astype(np.int64)
    return np.ones(longest), np.minimum(top_k(model, lengths), lengths).astype(np.int64)

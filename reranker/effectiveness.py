"""Did the demotions demote? The check that a halved billion fails (W25, W26)."""

from dataclasses import asdict, dataclass

import numpy as np

from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.demotion import by_length, halvings_needed
from reranker.policy import PolicyError
from reranker.ranking import Ranking
from reranker.slate import sort_requests

LARGE = 100
SURE = 0.75  # confidence from which an estimate beyond the policy line is a full demotion


@dataclass(frozen=True)
class Effectiveness:
    """Demotions of one ranking, counted over shown posts of requests that are not held out.

    Attributes:
        n_candidates, n_demoted: candidates; those with a multiplier below 1.
        n_full: those beyond the policy line of a harm, with confidence of at least 0.75. The anger test, past
            violations and fatigue lower a post in part only, by design.
        n_ineffective: full demotions whose post still scores at or above the median of its request's
            undemoted posts.
        n_unmoved: demotions that cost the post no position although a post without demotion stands below.
        most_halvings: halvings that the highest demoted base score would need to fall below its request's
            undemoted median, or None where nothing positive was demoted.
    """

    n_candidates: int
    n_demoted: int
    n_full: int
    n_ineffective: int
    n_unmoved: int
    most_halvings: int | None

    @property
    def ineffective_per_1000(self) -> float | None:
        """Ineffective demotions per 1,000 full ones; None where there was none."""
        return 1000.0 * self.n_ineffective / self.n_full if self.n_full else None

    def as_dict(self) -> dict[str, float | int | None]:
        """All figures by name."""
        return asdict(self) | {"ineffective_per_1000": self.ineffective_per_1000}


def refuse_to_demote_everything(ranking: Ranking) -> None:
    """For a log or an export: a policy that demotes every candidate of one is a mistake.

    Raises:
        PolicyError: if at least 100 candidates stand outside the holdout and all are demoted.
    """
    considered = ranking.multiplier[~ranking.held_out[ranking.feed.request_of_row]]
    if len(considered) >= LARGE and (considered < 1.0).all():
        raise PolicyError(
            f"{ranking.policy.name}: expected some candidates to stay undemoted, got all {len(considered)} "
            "demoted; raise the start of its demotions or unscored.multiplier"
        )


def measure_effectiveness(ranking: Ranking) -> Effectiveness:
    """What the demotions of a ranking did."""
    feed = ranking.feed
    shown = (ranking.position >= 0) & ~ranking.held_out[feed.request_of_row]
    demoted = (ranking.multiplier < 1.0) & shown
    undemoted = (ranking.multiplier == 1.0) & shown
    full = demoted & _beyond_a_line(ranking)
    median = _medians_among(ranking.score, undemoted, feed.offsets)[feed.request_of_row]
    before = np.empty(feed.n, dtype=np.int64)
    by_bounded = sort_requests(ranking.bounded, feed.original_order, feed.offsets)
    before[by_bounded] = np.arange(feed.n) - feed.offsets[feed.request_of_row]
    lowest = _lowest_position(ranking.position, undemoted, feed.offsets)[feed.request_of_row]
    unmoved = demoted & (ranking.position <= before) & (lowest > ranking.position)
    base_median = _medians_among(ranking.base_score, undemoted, feed.offsets)[feed.request_of_row]
    comparable = demoted & (ranking.base_score > 0) & (base_median > 0)
    halvings = [
        halvings_needed(float(score), float(median))
        for score, median in zip(ranking.base_score[comparable], base_median[comparable], strict=True)
    ]
    return Effectiveness(
        n_candidates=feed.n,
        n_demoted=int(demoted.sum()),
        n_full=int(full.sum()),
        n_ineffective=int((full & (ranking.score >= median)).sum()),  # NaN median: no undemoted post
        n_unmoved=int(unmoved.sum()),
        most_halvings=max(halvings) if halvings else None,
    )


def _beyond_a_line(ranking: Ranking) -> BoolArray:
    """(n,) candidates that the policy means to demote in full."""
    beyond = np.zeros(ranking.feed.n, dtype=bool)
    if ranking.harms is not None:
        for label, curve in ranking.policy.demotion.items():
            if label in ranking.harms.posts.labels:
                probability, confidence = ranking.harms.posts.column(label)
                beyond |= (probability >= curve.line) & (confidence >= SURE)
    return beyond


def _medians_among(values: FloatArray, chosen: BoolArray, offsets: IntArray) -> FloatArray:
    """(r,) medians of the chosen rows of each request, NaN where there is none."""
    medians = np.full(len(offsets) - 1, np.nan)
    for requests, rows in by_length(offsets):
        if not rows.size:
            continue
        ranked = np.sort(np.where(chosen[rows], values[rows], np.inf), axis=1)
        count = chosen[rows].sum(axis=1)
        some = np.flatnonzero(count)
        low, high = (count[some] - 1) // 2, count[some] // 2
        medians[requests[some]] = 0.5 * ranked[some, low] + 0.5 * ranked[some, high]
    return medians


def _lowest_position(position: IntArray, chosen: BoolArray, offsets: IntArray) -> IntArray:
    """(r,) the lowest place among the chosen rows, -1 where there is none."""
    lowest = np.full(len(offsets) - 1, -1, dtype=np.int64)
    for requests, rows in by_length(offsets):
        if rows.size:
            lowest[requests] = np.where(chosen[rows], position[rows], -1).max(axis=1)
    return lowest

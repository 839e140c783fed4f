"""How far two rankings of the same feed differ, whatever the posts are about."""

from dataclasses import dataclass

import numpy as np

from eval.exposure import Browsing, top_k
from reranker.columns import BoolArray, FloatArray, IntArray, StringColumn
from reranker.engagement import request_sums
from reranker.ranking import Ranking

RBO_P = 0.9


@dataclass(frozen=True)
class Mover:
    """A post whose place changed. Ranks are from 1; None where the post was removed."""

    post_id: str
    request_id: str
    original_rank: int | None
    treatment_rank: int | None
    n_candidates: int


@dataclass(frozen=True)
class Diagnostics:
    """How far two rankings differ; means over requests, None where no request can be measured.

    Attributes:
        share_changed: share of requests whose order is not the same.
        share_top_changed: share of requests whose top holds other posts.
        overlap_at_k: share of the original top that is in the other top.
        rank_correlation: Spearman, over posts that both show.
        rbo: rank-biased overlap with p = 0.9, extrapolated.
        mean_move: mean of |change of position| over posts that both show.
        up, down: of the posts in either top, those whose rank changed by the largest factor.
    """

    n_requests: int
    share_changed: float | None
    share_top_changed: float | None
    overlap_at_k: float | None
    rank_correlation: float | None
    rbo: float | None
    mean_move: float | None
    up: tuple[Mover, ...]
    down: tuple[Mover, ...]


def diagnose(original: Ranking, treatment: Ranking, top: Browsing, *, n_movers: int = 10) -> Diagnostics:
    """How far two rankings of one feed differ."""
    feed = original.feed
    offsets, request = feed.offsets, feed.request_of_row
    first, second = original.position, treatment.position
    full = np.diff(offsets) > 0
    k = top_k(top, np.diff(offsets))[request]
    in_first, in_second = (first >= 0) & (first < k), (second >= 0) & (second < k)
    kept = request_sums(in_first.astype(np.float64), offsets)
    both = request_sums((in_first & in_second).astype(np.float64), offsets)
    other = request_sums(in_second.astype(np.float64), offsets)
    changed = request_sums((first != second).astype(np.float64), offsets) > 0
    common = (first >= 0) & (second >= 0)
    moved = request_sums(np.where(common, np.abs(first - second), 0).astype(np.float64), offsets)
    with np.errstate(invalid="ignore", divide="ignore"):
        overlap = both / kept
        move = moved / request_sums(common.astype(np.float64), offsets)
    up, down = _movers(original, treatment, in_first | in_second, n_movers)
    return Diagnostics(
        n_requests=int(full.sum()),
        share_changed=_mean(np.where(full, changed, np.nan)),
        share_top_changed=_mean(np.where(full, (both < kept) | (both < other), np.nan)),
        overlap_at_k=_mean(overlap),
        rank_correlation=_mean(spearman(first, second, offsets)),
        rbo=_mean(rank_biased_overlap(first, second, offsets)),
        mean_move=_mean(move),
        up=up,
        down=down,
    )


def spearman(first: IntArray, second: IntArray, offsets: IntArray) -> FloatArray:
    """(r,) rank correlation over the posts that both rankings show; NaN where fewer than 2 are."""
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    common = (first >= 0) & (second >= 0)
    gap = _rank_among(first, common, request) - _rank_among(second, common, request)
    squares = request_sums(np.where(common, gap, 0.0) ** 2, offsets)
    n = request_sums(common.astype(np.float64), offsets)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n > 1, 1.0 - 6.0 * squares / (n * (n**2 - 1.0)), np.nan)


def _rank_among(position: IntArray, chosen: BoolArray, request: IntArray) -> FloatArray:
    """(n,) the position of each chosen row among the chosen ones of its request."""
    order = np.lexsort((position, request, ~chosen))
    rank = np.empty(len(position))
    rank[order] = np.arange(len(position))
    return rank - _first_of(rank, chosen, request)


def _first_of(rank: FloatArray, chosen: BoolArray, request: IntArray) -> FloatArray:
    lowest = np.full(int(request.max()) + 1 if len(request) else 0, np.inf)
    np.minimum.at(lowest, request[chosen], rank[chosen])
    return np.where(chosen, lowest[request], 0.0)


def rank_biased_overlap(first: IntArray, second: IntArray, offsets: IntArray, p: float = RBO_P) -> FloatArray:
    """(r,) extrapolated rank-biased overlap, 1 for the same order; to the depth that both rankings reach.

    Source: Webber, Moffat and Zobel, A similarity measure for indefinite rankings, 2010, equation 30.
    """
    request = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    lengths = [request_sums((place >= 0).astype(np.float64), offsets) for place in (first, second)]
    depth = np.minimum(*lengths).astype(np.int64)
    ends = np.concatenate(([0], np.cumsum(depth)))
    # a post is in both prefixes from the depth of its later position on
    later = np.where((first >= 0) & (second >= 0), np.maximum(first, second), -1)
    seen = (later >= 0) & (later < depth[request])
    step = np.bincount(ends[:-1][request[seen]] + later[seen], minlength=int(ends[-1])).astype(np.float64)
    total = np.concatenate(([0.0], np.cumsum(step)))
    of_step = np.repeat(np.arange(len(depth)), depth)
    at = np.arange(int(ends[-1])) - ends[of_step] + 1.0  # depth from 1
    overlap = total[1:] - total[ends[of_step]]
    weighted = request_sums(overlap / at * p**at, ends)
    agreement = (total[ends[1:]] - total[ends[:-1]]) / np.maximum(depth, 1)
    return np.where(depth > 0, agreement * p**depth + (1.0 - p) / p * weighted, np.nan)


def _movers(
    original: Ranking, treatment: Ranking, in_top: BoolArray, n_movers: int
) -> tuple[tuple[Mover, ...], tuple[Mover, ...]]:
    """The posts that gained most, and those that lost most; a removed post has lost all its places."""
    feed = original.feed
    last = np.diff(feed.offsets)[feed.request_of_row]
    first, second = (
        np.where(ranking.position >= 0, ranking.position, last) + 1.0 for ranking in (original, treatment)
    )
    rows = np.flatnonzero(in_top)
    gain = np.log(first[rows] / second[rows])
    ties = (_places(feed.post_id)[rows], _places(feed.request_id)[feed.request_of_row[rows]])
    down, up = np.lexsort((*ties, gain))[:n_movers], np.lexsort((*ties, -gain))[:n_movers]
    return (
        tuple(_mover(original, treatment, int(rows[i])) for i in up.tolist() if gain[i] > 0),
        tuple(_mover(original, treatment, int(rows[i])) for i in down.tolist() if gain[i] < 0),
    )


def _places(column: StringColumn) -> IntArray:
    """The place of each row's string among the sorted ones, so that the order of the rows decides nothing."""
    place = np.empty(len(column.values), dtype=np.int64)
    place[sorted(range(len(column.values)), key=column.values.__getitem__)] = np.arange(len(column.values))
    return place[column.codes]


def _mover(original: Ranking, treatment: Ranking, row: int) -> Mover:
    feed = original.feed
    request = int(feed.request_of_row[row])
    ranks = [int(ranking.position[row]) + 1 for ranking in (original, treatment)]
    return Mover(
        post_id=str(feed.post_id[row]),
        request_id=str(feed.request_id[request]),
        original_rank=ranks[0] or None,
        treatment_rank=ranks[1] or None,
        n_candidates=int(np.diff(feed.offsets)[request]),
    )


def _mean(values: FloatArray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None

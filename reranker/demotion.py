"""Demotion that works: scores are bounded first, then multiplied down; boosts are inside the bound.

A score is bounded against the median engagement of its own request, a reference that no harm estimate
moves, so that a fully demoted post lands below every undemoted one however large its engagement was.
Halving an unbounded score is kept as history: of a billion it leaves half a billion (W25, W26).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from reranker.columns import FloatArray, IntArray, ragged_rows
from reranker.policy import Curve, PerEvent


def borderline(probability: FloatArray, confidence: FloatArray, curve: Curve) -> FloatArray:
    """(n,) multiplier: 1 up to `start`, falling to `floor` at the policy line; scaled by confidence.

    A NaN probability gives NaN: the caller decides what an unscored post gets.

    Source: Zuckerberg, A blueprint for content governance and enforcement, 2018: distribution that declines
    as content approaches the line.

    Example:
        >>> curve = Curve(start=0.4, line=0.8, floor=0.1)
        >>> borderline(np.array([0.4, 0.6, 0.9]), np.ones(3), curve).round(3).tolist()
        [1.0, 0.55, 0.1]
    """
    if curve.line > curve.start:
        depth = np.minimum(np.maximum((probability - curve.start) / (curve.line - curve.start), 0.0), 1.0)
    else:
        depth = np.where(np.isnan(probability), np.nan, (probability >= curve.line).astype(np.float64))
    return 1.0 - confidence * (1.0 - curve.floor) * depth


def repeated(count: FloatArray, rule: PerEvent) -> FloatArray:
    """(n,) multiplier that shrinks with a count; 1 where the count is not known."""
    return np.maximum(rule.floor, (1.0 - rule.per_event) ** np.nan_to_num(count))


@dataclass(frozen=True, eq=False)
class Bound:
    """The saturating transform of each request.

    bounded = 1 - scale / (2 * (scale + d)) for d = score - centre >= 0, scale / (2 * (scale - d)) below.
    It is strictly rising, 1/2 at the centre and inside (0, 1), up to the precision of a double: scores of
    more than 1e15 times the scale tie.

    Attributes:
        centre: (r,) the median score of the request's candidates, before any harm estimate.
        scale: (r,) |centre|, or the median distance from it where that is larger (scores of both signs).
    """

    centre: FloatArray
    scale: FloatArray

    def apply(self, score: FloatArray, request: IntArray) -> FloatArray:
        """(n,) bounded scores; `request` is the request of each row."""
        centre, scale = self.centre[request], self.scale[request]
        distance = score - centre
        half = 0.5 * scale / (scale + np.abs(distance))
        return np.where(distance >= 0, 1.0 - half, half)


def fit_bound(score: FloatArray, offsets: IntArray) -> Bound:
    """The bound of each request from its scores (n,)."""
    centre = request_medians(score, offsets)
    scale = np.abs(centre)
    odd = np.flatnonzero((request_extremes(score, offsets, np.minimum) < 0) | (scale == 0))
    if odd.size:
        rows = ragged_rows(offsets[odd], np.diff(offsets)[odd])
        lengths = np.diff(offsets)[odd]
        distance = np.abs(score[rows] - np.repeat(centre[odd], lengths))
        inner = np.concatenate(([0], np.cumsum(lengths)))
        spread = np.maximum(scale[odd], request_medians(distance, inner))
        largest = request_extremes(distance, inner, np.maximum)
        scale[odd] = np.where(spread > 0, spread, np.where(largest > 0, largest, 1.0))
    return Bound(centre, scale)


def request_medians(values: FloatArray, offsets: IntArray) -> FloatArray:
    """(r,) medians per request; 0 for a request without candidates.

    Example:
        >>> request_medians(np.array([3.0, 1.0, 2.0, 8.0]), np.array([0, 3, 3, 4])).tolist()
        [2.0, 0.0, 8.0]
    """
    medians = np.zeros(len(offsets) - 1)
    for requests, rows in by_length(offsets):
        size = rows.shape[1]
        if size:
            ranked = np.sort(values[rows], axis=1)
            medians[requests] = 0.5 * ranked[:, (size - 1) // 2] + 0.5 * ranked[:, size // 2]
    return medians


def request_extremes(values: FloatArray, offsets: IntArray, extreme: np.ufunc) -> FloatArray:
    """(r,) the least or largest value per request (np.minimum, np.maximum); 0 without candidates."""
    found = np.zeros(len(offsets) - 1)
    full = np.flatnonzero(np.diff(offsets))
    if len(full):
        found[full] = extreme.reduceat(values, offsets[:-1][full])
    return found


def by_length(offsets: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Requests of equal length together: (requests, rows (k, length)), so that ragged work is rectangular."""
    lengths = np.diff(offsets)
    if len(lengths) and (lengths == lengths[0]).all():
        every = np.arange(offsets[0], offsets[-1], dtype=np.int64)
        yield np.arange(len(lengths)), every.reshape(len(lengths), int(lengths[0]))
        return
    for length in np.unique(lengths):
        requests = np.flatnonzero(lengths == length)
        yield requests, offsets[:-1][requests][:, None] + np.arange(length)


def halvings_needed(score: float, reference: float) -> int:
    """How often a score must be halved before it is below a reference.

    Example:
        >>> halvings_needed(1e9, 300)
        22
    """
    if not (score > 0 and reference > 0):
        raise ValueError(f"score, reference: expected positive numbers, got {score} and {reference}")
    return max(0, int(np.floor(np.log2(score / reference))) + 1)


def lowered(score: FloatArray, multiplier: FloatArray) -> FloatArray:
    """Scores times a multiplier of at most 1; a negative score is moved down by as much.

    Example:
        >>> lowered(np.array([4.0, -4.0]), np.array([0.5, 0.5])).tolist()
        [2.0, -6.0]
    """
    return np.where(score >= 0, score * multiplier, score * (2.0 - multiplier))

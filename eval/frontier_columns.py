"""What the compiled scoring of many policies reads and writes: named arrays, and room to work in."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FloatArray, IntArray

NO_CURVE = (-1.0, 0.0, 1.0)  # of a policy that has no demotion for a label that another one has


class Candidates(NamedTuple):
    """What all policies share; n rows in r requests, of which none may be replies that move with a parent.

    Attributes:
        offsets: (r + 1,) rows of each request.
        gain: (J, n) counts that positive weights count, totals first, then single acts.
        loss: (J, n) counts that negative weights count.
        n_totals: how many of the J are totals, which closeness scales.
        liked: row of `gain` that holds plain likes, which no guard cuts; -1 for none.
        media: (n,) boosts, or empty for 1.
        relation: (n,) code, -1 where unknown.
        weight_class: (n,) class of country and language, or empty for class 0.
        probability, confidence: (n, L) estimates of harm, NaN where not scored.
        angry_share, comment_toxicity: (n,) 0 where not known.
        cost: (n,) what the computing load takes off, or empty.
        labels: (n,) weighted label score, or empty.
        others: (D, n) demotions that no estimate of harm decides.
        original: (n,) position in the request's own order, which breaks ties.
        author: (n,) code, -1 where null.
        by_author: (n,) rows within each request so that those of an author stand together.
        removed: (n,) posts beyond a removal line.
        outcomes: (n, M) what is measured, NaN where null.
        seen: (longest,) weight of each position.
        shown: (r,) positions of each request with a weight above 0.
    """

    offsets: IntArray
    gain: FloatArray
    loss: FloatArray
    n_totals: int
    liked: int
    media: FloatArray
    relation: NDArray[np.int8]
    weight_class: NDArray[np.int32]
    probability: NDArray[np.float32]
    confidence: NDArray[np.float32]
    angry_share: FloatArray
    comment_toxicity: FloatArray
    cost: FloatArray
    labels: FloatArray
    others: FloatArray
    original: IntArray
    author: NDArray[np.int32]
    by_author: IntArray
    removed: BoolArray
    outcomes: FloatArray
    seen: FloatArray
    shown: IntArray


class Settings(NamedTuple):
    """What P policies differ in.

    Attributes:
        weights: (P, C, J) by class.
        closeness: (P, relations + 1) the last is for an unknown one.
        endorsed: (P, 2, J) the parts of each signal endorsed anyway, and with quality.
        harms: (P, H) weights of the estimates that lower the quality.
        harm_columns: (H,) their columns.
        curves: (P, K, 3) start, line and floor.
        curve_columns: (K,) their columns.
        bad_weight, angry_share, comment_toxicity, unscored, most_of_a_signal: (P,) as in the policy.
        bounded: (P,)
        diversity: (P, most posts of an author) multiplier of an author's further posts; (P, 0) for none.
        author_cap: posts of an author before those that go last; 0 for no cap.
    """

    weights: FloatArray
    closeness: FloatArray
    endorsed: FloatArray
    harms: FloatArray
    harm_columns: IntArray
    curves: FloatArray
    curve_columns: IntArray
    bad_weight: FloatArray
    angry_share: FloatArray
    comment_toxicity: FloatArray
    unscored: FloatArray
    most_of_a_signal: FloatArray
    bounded: BoolArray
    diversity: FloatArray
    author_cap: int


class At(NamedTuple):
    """A policy, the first row of a request, and its number of rows."""

    policy: int
    first: int
    n: int


class Room(NamedTuple):
    """Scratch for the longest request, written anew for every request and policy."""

    gain: FloatArray
    loss: FloatArray
    harm: FloatArray
    sure: FloatArray
    factor: FloatArray
    sums: FloatArray
    group: FloatArray
    total: FloatArray
    spare: FloatArray
    score: FloatArray
    band: NDArray[np.int8]
    order: IntArray
    tie: IntArray
    waiting: IntArray

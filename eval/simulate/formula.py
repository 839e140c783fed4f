"""A policy of the product as the simulator ranks by it, with the product's own sums, bounds and demotions.

`Reranker.rank` itself is not called: it takes a feed with names, texts and times, and making one for every
session would cost more than the session. What a policy has that a simulated post has no data for is refused.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.simulate.behaviour import Pairs
from eval.simulate.parameters import ACTIONS, RELATIONS
from eval.simulate.world import Posts
from reranker.columns import FloatArray, IntArray
from reranker.demotion import borderline, fit_bound, lowered
from reranker.kernel import add_engagement
from reranker.policy import Curve, Guard, Levers, Mix, Policy, Scale, Slate, Value
from reranker.slate import sort_requests

LABELS = ("misinformation", "", "graphic_violence", "identity_attack")  # of the product, by harm of `HARMS`
_NO_CLASSES = np.zeros(0, dtype=np.int32)
_NO_FACTOR = np.zeros((0, 0))
_NO_MULTIPLIER = np.zeros(0)


@dataclass(frozen=True, eq=False)
class Formula:
    """What decides the order.

    Attributes:
        name, digest: of the policy.
        signals: (S,) indices into `ACTIONS` that have a weight.
        weights: (1, S) of them.
        relation: (4,) multipliers, in the order of `RELATIONS`.
        live: multiplier of live video.
        curves: demotion by the estimate of a harm: index into `HARMS` and curve.
        bounded: whether scores are bounded before they are demoted.
    """

    name: str
    digest: str
    signals: IntArray
    weights: FloatArray
    relation: FloatArray
    live: float
    curves: tuple[tuple[int, Curve], ...]
    bounded: bool


def formula_of(policy: Policy) -> Formula:
    """The part of a policy that bears on simulated posts.

    Weights of signals that nobody in the simulator gives, filters and the significance rule say nothing here:
    a simulated comment has no text.

    Raises:
        ValueError: the policy has a part that the simulator cannot represent.
    """
    odd = [name for name, plain in _unrepresented(policy).items() if not plain]
    odd += [f"demotion.{label}" for label in policy.demotion if label not in LABELS]
    if odd:
        raise ValueError(
            f"policy {policy.name}: expected what the simulator has data for, got {', '.join(odd)}"
        )
    weight = {name: 0.0 if name in policy.drop else policy.weights.get(name, 0.0) for name in ACTIONS}
    signals = [i for i, name in enumerate(ACTIONS) if weight[name]]
    boost = policy.media.boost.get("live_video", 1.0)
    return Formula(
        name=policy.name,
        digest=policy.digest,
        signals=np.array(signals, dtype=np.int64),
        weights=np.array([[weight[ACTIONS[i]] for i in signals]]),
        relation=np.array([policy.relationship.get(name, 1.0) for name in RELATIONS]),
        live=boost if policy.media.boost_cap is None else min(boost, policy.media.boost_cap),
        curves=tuple((LABELS.index(label), curve) for label, curve in policy.demotion.items()),
        bounded=policy.score.bounded,
    )


def _unrepresented(policy: Policy) -> dict[str, bool]:
    """By part of a policy, whether it is as if it were not there."""
    return {
        "score": policy.score.order_by == "engagement" and not policy.score.negative_squash,
        "override": policy.override == Scale().override,
        "labels": not policy.labels,
        "blend": policy.blend is None,
        "mix": policy.mix == Mix(),
        "guard": policy.guard == Guard(),
        "value": policy.value == Value(),
        "levers": policy.levers == Levers(),
        "anger": policy.anger is None,
        "repeat_offender": policy.repeat_offender is None,
        "fatigue": policy.fatigue is None,
        "slate": policy.slate.model_copy(update={"thread_order": True}) == Slate(),
        "holdout": policy.holdout.share == 0.0,
    }


def rank(formula: Formula, values: FloatArray, candidates: Pairs, posts: Posts, n_slots: int) -> Pairs:
    """The candidates that each user is shown, best first.

    Args:
        formula: what decides.
        values: (S, n * C) the ranker's probabilities of `formula.signals`.
        candidates: (n, C).
        posts: of the week.
        n_slots: how many are shown.
    """
    n, c = candidates.rows.shape
    offsets = np.arange(n + 1, dtype=np.int64) * c
    rows = candidates.rows.ravel()
    total = np.zeros((4, n * c))
    multiplier = formula.relation[candidates.relation.ravel()]
    if formula.live != 1.0:
        multiplier = multiplier * np.where(posts.live, formula.live, 1.0)[rows]
    shares = np.zeros((2, len(formula.signals)))
    # as in the product, closeness and boosts scale what speaks for a post, not what speaks against it
    for_it, against = np.maximum(formula.weights, 0.0), np.minimum(formula.weights, 0.0)
    add_engagement(values, for_it, _NO_CLASSES, multiplier, offsets, shares, _NO_FACTOR, total)
    if against.any():
        add_engagement(values, against, _NO_CLASSES, _NO_MULTIPLIER, offsets, shares, _NO_FACTOR, total)
    score = total[0] + total[3]
    if formula.bounded:
        score = fit_bound(score, offsets).apply(score, np.repeat(np.arange(n), c))
    if formula.curves:
        score = lowered(score, demotion(formula, posts)[rows])
    order = sort_requests(score, np.arange(n * c, dtype=np.int64), offsets).reshape(n, c)[:, :n_slots]
    relation: NDArray[np.int8] = candidates.relation.ravel()[order]
    return Pairs(rows[order], relation, candidates.feeling)


def demotion(formula: Formula, posts: Posts) -> FloatArray:
    """(posts,) multiplier that the estimates of harm give each post, 1 where there is no curve."""
    product = np.ones(len(posts.line))
    for harm, curve in formula.curves:
        product *= borderline(posts.estimate[:, harm], np.ones(len(product)), curve)
    return product

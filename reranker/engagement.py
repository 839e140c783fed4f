"""The base score: a sum over signals of weight times count times closeness (W33).

A policy's scales become `Group`s, each a matrix of counts with one weight per signal and a multiplier
per row. Sums run signal by signal in a fixed order, never through BLAS, so that a row's score does not
depend on what is ranked beside it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FloatArray, IntArray
from reranker.counting import InteractionCounts, count_interactions
from reranker.feed import Feed
from reranker.policy import Policy, Scale
from reranker.signals import MEDIA_TYPES, REACTIONS, RELATIONS, Signals


@dataclass(frozen=True, eq=False)
class Group:
    """Signals that share a scale.

    Attributes:
        names: (S,) the signals.
        values: (S, n) counts or probabilities.
        weights: (C, S) likes per unit, one row per class of country and language.
        multiplier: (n,) closeness, media boost and share of this scale, or None where it is 1.
    """

    names: tuple[str, ...]
    values: FloatArray
    weights: FloatArray
    multiplier: FloatArray | None


@dataclass(frozen=True, eq=False)
class Engagement:
    """All that the base score of a feed is summed from.

    Attributes:
        groups: see `Group`.
        weight_class: (n,) row of `Group.weights` for each candidate, or None when there is one class.
        cost: (n,) what the computing load takes off, or None.
        after_squash: (n,) closeness that multiplies the squashed sum, for policies with negative_squash.
        reactions: (n,) all reactions, unweighted; NaN where none was measured.
        angry: (n,) angry reactions; NaN where not measured or dropped.
        unscored: terms of the policy that this feed cannot score at all, or only for some rows.
    """

    groups: tuple[Group, ...]
    weight_class: NDArray[np.int32] | None
    cost: FloatArray | None
    after_squash: FloatArray | None
    reactions: FloatArray
    angry: FloatArray
    unscored: tuple[str, ...]

    @cached_property
    def angry_share(self) -> FloatArray:
        """(n,) angry reactions among all, NaN where there are none or they were not measured."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.angry / self.reactions


def measure_engagement(feed: Feed, policy: Policy) -> Engagement:
    """What a policy counts on a feed.

    Raises:
        FeedError: if the policy's weights are for probabilities and the feed holds counts, or the reverse.
    """
    totals = feed.signals.without(policy.drop)
    acts = count_interactions(feed, policy)
    class_of_row, classes = _weight_classes(feed, policy)
    media = _media_multiplier(feed, policy)
    scales: list[tuple[Scale, float]] = [(policy, 1.0)]
    if policy.blend is not None:
        scales = [(policy, policy.blend.alpha), (policy.blend.scale, 1.0 - policy.blend.alpha)]
    groups: list[Group] = []
    for scale, share in scales:
        part = _share_of(feed, share * (1.0 - policy.mix.share))
        closeness = None if policy.score.negative_squash else _closeness(feed, scale)
        groups += _groups((totals, totals), scale, classes, (_product(part, media, closeness), part))
        if acts is not None:
            counted = (acts.weighted_by(_multipliers(scale)), acts.totals())
            groups += _groups(counted, scale, classes, (_product(part, media), part))
    if policy.mix.share > 0:
        second = Scale(weights=policy.mix.weights)
        mask = policy.mix.share * _mix_mask(feed, policy)
        for signals in [totals] if acts is None else [totals, acts.totals()]:
            groups += _groups((signals, signals), second, classes[:1] * len(classes), (mask, mask))
    every = totals if acts is None else _stacked(totals, acts.totals().without(policy.drop))
    return Engagement(
        groups=tuple(group for group in groups if group.weights.any()),
        weight_class=class_of_row if len(classes) > 1 else None,
        cost=_cost(feed, policy),
        after_squash=_closeness(feed, policy) if policy.score.negative_squash else None,
        reactions=sum_of_reactions(every),
        angry=every.get("angry"),
        unscored=_unscored_signals(feed, policy, every, acts),
    )


def _groups(
    signals: tuple[Signals, Signals],
    scale: Scale,
    classes: list["WeightClass"],
    multipliers: tuple[FloatArray | None, FloatArray | None],
) -> list[Group]:
    """What speaks for a post and what speaks against it, each with its counts and multiplier.

    Closeness and boosts scale the first only: a report of a stranger's post is not worth less.
    """
    names = signals[0].names
    weights = np.zeros((len(classes), len(names)))
    for c, places in enumerate(classes):
        merged = dict(scale.weights)
        for kind, place in places:
            merged |= scale.override.get(kind, {}).get(place, {})
        weights[c] = [merged.get(name, 0.0) for name in names]
    return [
        Group(names, signals[0].values, np.maximum(weights, 0.0), multipliers[0]),
        Group(names, signals[1].values, np.minimum(weights, 0.0), multipliers[1]),
    ]


WeightClass = tuple[tuple[Literal["country", "language"], str], ...]


def _weight_classes(feed: Feed, policy: Policy) -> tuple[NDArray[np.int32], list[WeightClass]]:
    """The combinations of country and language that have weights of their own; 0 is everywhere else."""
    overrides = [policy.override] + ([policy.blend.scale.override] if policy.blend else [])
    countries = sorted(
        {place for o in overrides for place in o.get("country", {})} & set(feed.country.values)
    )
    languages = sorted({p for o in overrides for p in o.get("language", {})} & set(feed.language.values))
    if not countries and not languages:
        return np.zeros(0, dtype=np.int32), [()]
    country = _codes_in(feed.country.values, feed.country.codes, countries)[feed.request_of_row]
    spoken = _codes_in(feed.language.values, feed.language.codes, languages)
    classes: list[WeightClass] = []
    for place in ["", *countries]:
        here: WeightClass = (("country", place),) if place else ()
        classes += [here, *((*here, ("language", language)) for language in languages)]
    return (country * (len(languages) + 1) + spoken).astype(np.int32), classes


def _codes_in(values: tuple[str, ...], codes: NDArray[np.int32], wanted: list[str]) -> NDArray[np.int32]:
    """1 + index into `wanted`, 0 for every other value and for null."""
    lookup = np.zeros(len(values) + 1, dtype=np.int32)
    for code, value in enumerate(values):
        lookup[code] = wanted.index(value) + 1 if value in wanted else 0
    return lookup[codes]


def _multipliers(scale: Scale) -> FloatArray:
    """(relations + 1,) closeness by relation; the last is for an unknown one."""
    return np.array([scale.relationship.get(name, 1.0) for name in (*RELATIONS, "unknown")])


def _closeness(feed: Feed, scale: Scale) -> FloatArray | None:
    table = _multipliers(scale)
    return None if (table == 1.0).all() else table[feed.relation]


def _media_multiplier(feed: Feed, policy: Policy) -> FloatArray | None:
    """Boost by media type, capped, times the preference for cheap media on a weak connection."""
    cap = np.inf if policy.media.boost_cap is None else policy.media.boost_cap
    boost = np.array([min(policy.media.boost.get(name, 1.0), cap) for name in MEDIA_TYPES] + [1.0])
    multiplier = None if (boost == 1.0).all() else boost[feed.media]
    levers = policy.levers
    if not levers.low_connection_media:
        return multiplier
    cheap = np.array([levers.low_connection_media.get(name, 1.0) for name in MEDIA_TYPES] + [1.0])[feed.media]
    weak = (feed.connection_strength < levers.low_connection_below)[feed.request_of_row]  # NaN: not weak
    return _product(multiplier, np.where(weak, cheap, 1.0))


def _mix_mask(feed: Feed, policy: Policy) -> FloatArray:
    mask = np.ones(feed.n, dtype=bool)
    if policy.mix.media:
        mask &= np.isin(feed.media, [MEDIA_TYPES.index(name) for name in policy.mix.media])
    if policy.mix.relation:
        mask &= np.isin(feed.relation, [RELATIONS.index(name) for name in policy.mix.relation])
    return mask.astype(np.float64)


def _share_of(feed: Feed, share: float) -> FloatArray | None:
    return None if share == 1.0 else np.full(feed.n, share)


def _product(*factors: FloatArray | None) -> FloatArray | None:
    """The product of those that are there; None stands for 1."""
    product: FloatArray | None = None
    for factor in factors:
        if factor is not None:
            product = factor if product is None else product * factor
    return product


def _cost(feed: Feed, policy: Policy) -> FloatArray | None:
    cost = policy.levers.computing_load_cost
    return None if cost == 0 else cost * np.nan_to_num(feed.computing_load)


def _stacked(first: Signals, second: Signals) -> Signals:
    """Two sets of different signals of the same rows as one."""
    mask: BoolArray | None = None
    if first.null is not None:
        mask = np.vstack([first.null, np.zeros(second.values.shape, dtype=bool)])
    return Signals(first.names + second.names, np.vstack([first.values, second.values]), mask, first.kind)


def sum_of_reactions(signals: Signals) -> FloatArray:
    """(n,) all reactions unweighted; NaN where none was measured."""
    chosen = [signals.names.index(name) for name in REACTIONS if name in signals.names]
    total = np.zeros(signals.values.shape[1])
    for i in chosen:
        total += signals.values[i]
    if not chosen:
        total[:] = np.nan
    elif signals.null is not None:
        total[signals.null[chosen].all(axis=0)] = np.nan
    return total


def _unscored_signals(
    feed: Feed, policy: Policy, every: Signals, acts: InteractionCounts | None
) -> tuple[str, ...]:
    """Weighted signals that were not measured, and levers and filters whose column is missing."""
    terms: list[str] = []
    weighted = {name: weight for name, weight in policy.weights.items() if weight != 0}
    for name in weighted:
        if name in policy.drop:
            continue
        if name not in every.names:
            terms.append(f"signal {name}")
        elif every.null is not None:
            n_null = int(every.null[every.names.index(name)].sum())
            if n_null:
                terms.append(f"signal {name} for {n_null} of {feed.n} candidates")
    missing = set(feed.missing)
    needs = {
        "closeness (relation)": bool(policy.relationship) and "relation" in missing and acts is None,
        "media boost (media)": bool(policy.media.boost) and "media" in missing,
        "computing load (computing_load)": policy.levers.computing_load_cost > 0
        and "computing_load" in missing,
        "connection strength (connection_strength)": bool(policy.levers.low_connection_media)
        and "connection_strength" in missing,
        "country override (country)": bool(policy.override.get("country")) and "country" in missing,
        "language override (language)": bool(policy.override.get("language")) and "language" in missing,
        "filter of deleted comments (interactions)": policy.filters.deleted and acts is None,
        "filter of single-character comments (interactions)": policy.filters.single_character_comment
        and acts is None,
    }
    return tuple(terms + [name for name, lacking in needs.items() if lacking and feed.n])


def request_sums(values: FloatArray, offsets: IntArray) -> FloatArray:
    """(r,) sums per request; 0 for a request without candidates.

    Example:
        >>> request_sums(np.array([1.0, 2.0, 4.0]), np.array([0, 2, 2, 3])).tolist()
        [3.0, 0.0, 4.0]
    """
    full = np.flatnonzero(np.diff(offsets))
    sums = np.zeros(len(offsets) - 1)
    if len(full):
        sums[full] = np.add.reduceat(values, offsets[:-1][full])
    return sums

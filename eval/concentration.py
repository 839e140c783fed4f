"""Whether a finding rests on one post or one publisher, and on whom views and harm fall.

A change that comes from one post says something about that post; the interval by user does not show it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.outcomes import Outcome
from eval.producers import ProducerShares, producer_shares
from eval.view_rows import is_harm
from reranker.columns import FloatArray, StringColumn
from reranker.feed import Feed

MOST = 10
DIGITS = 12  # of a share, so that equal ones are ordered by name and not by the order of a sum


@dataclass(frozen=True)
class Holder:
    """A post or publisher with its shares of all views and of the harmful ones, under each policy."""

    name: str
    views_original: float
    views_treatment: float
    harm_original: float | None
    harm_treatment: float | None


@dataclass(frozen=True)
class Concentration:
    """On whom the harmful views of one exposure fall, in the main browsing model.

    Attributes:
        metric: the exposure.
        by: "post" or "publisher".
        top_original, top_treatment: the largest share of the harmful views that one of them holds.
        holders: those with the most harmful views under either policy, most first.
        share_unscored: of the views of known ones, under each policy.
    """

    metric: str
    by: str
    top_original: float | None
    top_treatment: float | None
    holders: tuple[Holder, ...]
    share_unscored: tuple[float, float]


@dataclass(frozen=True)
class Publishers:
    """How views fall on publishers, in the main browsing model.

    Attributes:
        n: publishers among the candidates.
        concentration_original, concentration_treatment: Herfindahl-Hirschman index of the views.
        share_unknown: of the views of posts without a publisher, under each policy.
        holders: those whose share of views changed most, most first; harm is not given.
    """

    n: int
    concentration_original: float
    concentration_treatment: float
    share_unknown: tuple[float, float]
    holders: tuple[Holder, ...]


def concentrations(
    feed: Feed, pair: tuple[FloatArray, FloatArray], outcomes: Sequence[Outcome]
) -> tuple[Concentration, ...]:
    """For every exposure that is a chance of harm: by post, and by publisher where the feed has them.

    Args:
        feed: the candidates.
        pair: (n,) how likely each is seen under each policy.
        outcomes: what is measured.
    """
    made = []
    for outcome in outcomes:
        if is_harm(outcome):
            for by, column in (("post", feed.post_id), ("publisher", feed.publisher)):
                shares = _shares(pair, outcome.values, column)
                if shares is not None:
                    made.append(_concentration(outcome.name, by, shares, column))
    return tuple(made)


def publishers(feed: Feed, pair: tuple[FloatArray, FloatArray]) -> Publishers | None:
    """How views fall on publishers; None where no seen post has one."""
    shares = _shares(pair, np.full(feed.n, np.nan), feed.publisher)
    if shares is None:
        return None
    first, second = shares
    moved = np.round(np.abs(second.exposure - first.exposure), DIGITS)
    order = sorted(np.flatnonzero(moved).tolist(), key=lambda i: (-moved[i], feed.publisher.values[i]))
    return Publishers(
        n=len(np.unique(feed.publisher.codes[feed.publisher.codes >= 0])),
        concentration_original=first.concentration,
        concentration_treatment=second.concentration,
        share_unknown=(first.share_unknown, second.share_unknown),
        holders=tuple(_holder(shares, feed.publisher.values[i], i) for i in order[:MOST]),
    )


def _shares(
    pair: tuple[FloatArray, FloatArray], harm: FloatArray, column: StringColumn
) -> tuple[ProducerShares, ProducerShares] | None:
    if any(not seen[column.codes >= 0].sum() > 0 for seen in pair):
        return None
    n = len(column.values)
    first, second = (producer_shares(seen, harm, column.codes, n) for seen in pair)
    return first, second


def _concentration(
    metric: str, by: str, shares: tuple[ProducerShares, ProducerShares], column: StringColumn
) -> Concentration:
    first, second = (np.round(np.nan_to_num(one.harm), DIGITS) for one in shares)
    most = np.maximum(first, second)
    floor = np.sort(most)[-MOST:].min()
    held = np.flatnonzero((most > 0) & (most >= floor)).tolist()
    order = sorted(held, key=lambda i: (-most[i], column.values[i]))
    return Concentration(
        metric=metric,
        by=by,
        top_original=_known(float(np.nan_to_num(shares[0].harm).max())),
        top_treatment=_known(float(np.nan_to_num(shares[1].harm).max())),
        holders=tuple(_holder(shares, column.values[i], i) for i in order[:MOST]),
        share_unscored=(shares[0].share_unscored, shares[1].share_unscored),
    )


def _known(share: float) -> float | None:
    """None where no view is harmful, so that nobody holds a share."""
    return share if share > 0 else None


def _holder(shares: tuple[ProducerShares, ProducerShares], name: str, i: int) -> Holder:
    harm = [float(one.harm[i]) for one in shares]
    return Holder(
        name=name,
        views_original=float(shares[0].exposure[i]),
        views_treatment=float(shares[1].exposure[i]),
        harm_original=None if np.isnan(harm[0]) else harm[0],
        harm_treatment=None if np.isnan(harm[1]) else harm[1],
    )

"""Parts of a feed to compare apart, and whether a change comes from the mix of parts or from within them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.exposure import Exposure
from reranker.columns import BoolArray, FloatArray, StringColumn
from reranker.feed import REQUEST_FIELDS, Feed
from reranker.signals import MEDIA_TYPES, RELATIONS

Dimension = Literal["country", "device", "language", "relation", "media", "publisher", "topic"]
MOST_SEGMENTS = 12
NAMES = {"media": MEDIA_TYPES, "relation": RELATIONS}


@dataclass(frozen=True, eq=False)
class Segment:
    """Some candidates: those of a country's requests, or those in a language.

    Attributes:
        dimension: what the segments are by.
        name: the value, "" for candidates where it is null.
        rows: (n,) True for the candidates in it.
    """

    dimension: Dimension
    name: str
    rows: BoolArray


def segments_of(
    feed: Feed, dimension: Dimension, most: int = MOST_SEGMENTS
) -> tuple[tuple[Segment, ...], int]:
    """The segments of a dimension with the most candidates, largest first, and how many were left out.

    There are none where no candidate has a value.
    """
    codes, names = _codes(feed, dimension)
    if not (codes >= 0).any():
        return (), 0
    count = np.bincount(codes + 1, minlength=len(names) + 1)
    held = sorted(
        (code for code in np.flatnonzero(count).tolist()), key=lambda code: (-count[code], _name(names, code))
    )
    chosen = tuple(Segment(dimension, _name(names, code), codes == code - 1) for code in held[:most])
    return chosen, len(held) - len(chosen)


def _name(names: tuple[str, ...], code: int) -> str:
    return names[code - 1] if code else ""


def _codes(feed: Feed, dimension: Dimension) -> tuple[NDArray[np.integer], tuple[str, ...]]:
    """(n,) code of each candidate, -1 where null, and the names of the codes."""
    values = getattr(feed, dimension)
    if not isinstance(values, StringColumn):
        return values, NAMES[dimension]
    codes = values.codes[feed.request_of_row] if dimension in REQUEST_FIELDS else values.codes
    return codes, values.values


@dataclass(frozen=True)
class Mix:
    """A change of a mean, split by segments: mix + within is the change.

    Attributes:
        metric, dimension: of what, and by which segments.
        within: what changed inside the segments, at their average shares.
        mix: what changed because other segments are shown, at their average rates.
    """

    metric: str
    dimension: Dimension
    within: float
    mix: float


def decompose(
    original: tuple[FloatArray, FloatArray], treatment: tuple[FloatArray, FloatArray]
) -> tuple[float, float]:
    """What changed within segments, and what because of their mix, from (shares, rates) of each, (g,).

    A segment that one policy does not show has no rate there; the rate of the other stands in.

    Source: Kitagawa, Components of a difference between two rates, 1955.

    Example:
        >>> shares, rates = np.array([0.5, 0.5]), np.array([0.04, 0.02])
        >>> within, mix = decompose((shares, rates), (np.array([0.4, 0.6]), np.array([0.05, 0.01])))
        >>> round(within, 9), round(mix, 9)
        (-0.001, -0.003)
    """
    (share0, rate0), (share1, rate1) = original, treatment
    rate0, rate1 = np.where(np.isnan(rate0), rate1, rate0), np.where(np.isnan(rate1), rate0, rate1)
    rate0, rate1 = np.nan_to_num(rate0), np.nan_to_num(rate1)
    within = ((share0 + share1) / 2 * (rate1 - rate0)).sum()
    mix = ((rate0 + rate1) / 2 * (share1 - share0)).sum()
    return float(within), float(mix)


def shares_and_rates(
    parts: Sequence[Exposure], whole: Exposure, used: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """(g,) each segment's share of what is shown and its rate; shares times rates add up to the mean.

    Args:
        parts: the exposure of each segment; together they are the whole.
        whole: the exposure of all candidates.
        used: (r,) the requests that count.
    """
    weight = np.array([part.weight[used] / whole.weight[used] for part in parts])  # (g, requests)
    amount = np.array([part.total[used] / whole.weight[used] for part in parts])
    share = weight.mean(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return share, np.where(share > 0, amount.mean(axis=1) / share, np.nan)


def mixes_of(
    metric: str,
    dimension: Dimension,
    whole: tuple[Exposure, Exposure],
    parts: Sequence[tuple[Exposure, Exposure]],
) -> Mix | None:
    """The change of one metric by one dimension, or None where no request can be measured."""
    used = ~(np.isnan(whole[0].mean) | np.isnan(whole[1].mean))
    if not used.any():
        return None
    before = shares_and_rates([first for first, _ in parts], whole[0], used)
    after = shares_and_rates([second for _, second in parts], whole[1], used)
    within, mix = decompose(before, after)
    return Mix(metric, dimension, within, mix)

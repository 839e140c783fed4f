"""What can be said of a classifier before labels come: drift of its scores, and a prevalence that moved."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, kstwobign

from eval.clustered import LEVEL, Estimate, from_influence
from reranker.columns import BoolArray, FloatArray, IntArray

N_BINS = 10
_EDGE = 1e-12


@dataclass(frozen=True)
class Drift:
    """How far scores have moved from a reference.

    Attributes:
        name: the period.
        psi: population stability index over bins of equal mass of the reference; 0 is no drift.
        psi_by_chance: its mean if nothing moved.
        psi_p_value: chance of as much if nothing moved and posts were independent.
        ks: largest distance of the two distribution functions.
        ks_p_value: as that of psi.
        n: posts of the period.
    """

    name: str
    psi: float
    psi_by_chance: float
    psi_p_value: float
    ks: float
    ks_p_value: float
    n: int


def score_drift(reference: FloatArray, current: FloatArray, name: str = "", *, n_bins: int = N_BINS) -> Drift:
    """PSI and Kolmogorov-Smirnov distance of the scores of two periods; no label is needed.

    With millions of posts every p-value is 0; look at the size then. A change of scores may be a change of
    what people post or of the classifier, and says nothing of which is right.

    Args:
        reference: (m,) scores.
        current: (n,) scores.
        name: of the period.
        n_bins: of the PSI; ties of the reference may leave fewer.

    Raises:
        ValueError: fewer than `n_bins` scores on a side, or one that is missing.

    Source: Yurdakul and Naranjo, Statistical properties of the population stability index, 2020 (its
    distribution); Smirnov, Table for estimating the goodness of fit of empirical distributions, 1948.
    """
    for side, values in (("reference", reference), ("current", current)):
        if len(values) < n_bins or not np.isfinite(values).all():
            raise ValueError(f"{side}: expected at least {n_bins} finite scores, got {len(values)}")
    m, n = len(reference), len(current)
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, n_bins + 1)[1:-1]))
    sides = (reference, current)
    counts = [np.bincount(np.searchsorted(edges, x), minlength=len(edges) + 1) for x in sides]
    kept = counts[0] + counts[1] > 0
    # half a post in each bin: an empty bin is not an infinite drift
    first, second = ((count[kept] + 0.5) / (count[kept] + 0.5).sum() for count in counts)
    psi = float(((second - first) * np.log(second / first)).sum())
    scale, freedom = 1 / m + 1 / n, int(kept.sum()) - 1
    values = np.concatenate([reference, current])
    ranks = [np.searchsorted(np.sort(x), values, side="right") / len(x) for x in sides]
    ks = float(np.abs(ranks[0] - ranks[1]).max())
    return Drift(
        name,
        psi,
        scale * freedom,
        float(chi2.sf(psi / scale, freedom)) if freedom else 1.0,
        ks,
        float(kstwobign.sf(ks / np.sqrt(scale))),
        n,
    )


def drift_by_period(
    score: FloatArray, period: IntArray, reference: Sequence[int], *, n_bins: int = N_BINS
) -> tuple[Drift, ...]:
    """The drift of every later period, such as a week, from the reference periods together.

    Args:
        score: (n,) in any order.
        period: (n,) number of the period.
        reference: periods to compare with, such as those of the calibration.
        n_bins: of the PSI.

    Raises:
        ValueError: as `score_drift`.
    """
    base = np.isin(period, np.asarray(reference))
    later = [int(one) for one in np.unique(period) if one not in reference]
    return tuple(score_drift(score[base], score[period == one], str(one), n_bins=n_bins) for one in later)


def labels_complete(period: IntArray, *, now: int, delay: int) -> BoolArray:
    """(n,) whether a post's labels are in: its period ended at least `delay` periods before `now`.

    What was labelled early is what was reported early: figures that need labels are biased for anything
    younger, and are to be made of these rows only.

    Raises:
        ValueError: a negative delay.
    """
    if delay < 0:
        raise ValueError(f"delay: expected 0 or more periods, got {delay}")
    return period + delay < now


def shifted_prevalence(
    p: FloatArray, prevalence: float, *, cluster: IntArray | None = None, level: float = LEVEL
) -> Estimate:
    """The prevalence of a feed without labels, if only the prevalence has changed since calibration.

    The maximum of the likelihood that the EM of the source climbs to. Valid under label shift alone:
    harmful posts look as before, and so do harmless ones; for anything else it is a sensitivity, not a
    result. The interval holds the calibration for exact. At a maximum on the edge it is not symmetric in
    truth; 0 and 1 are returned as they are.

    Args:
        p: (n,) probabilities, calibrated at `prevalence`.
        prevalence: of the calibration.
        cluster: (n,) users; None takes posts as independent.
        level: of the interval.

    Raises:
        ValueError: a prevalence or probability out of range, probabilities that are all alike, or one
            cluster.

    Source: Saerens, Latinne and Decaestecker, Adjusting the outputs of a classifier to new a priori
    probabilities, 2002, eq. 4 (EM); the information of a mixture proportion gives the error.
    """
    if not 0 < prevalence < 1 or not len(p) or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p: expected probabilities and a prevalence in (0, 1), got {prevalence}")
    harmful, harmless = p / prevalence, (1 - p) / (1 - prevalence)  # densities over that of the calibration

    def slope(share: float) -> FloatArray:
        return (harmful - harmless) / (share * harmful + (1 - share) * harmless)

    low, high = float(slope(_EDGE).mean()), float(slope(1 - _EDGE).mean())
    if np.abs(slope(0.5)).max() < 1e-12:
        raise ValueError("p: expected probabilities that differ from the prevalence, got none")
    found = 0.0 if low <= 0 else 1.0
    if low > 0 > high:  # the slope falls: one root
        found = float(brentq(lambda share: float(slope(share).mean()), _EDGE, 1 - _EDGE))
    own = slope(min(max(found, _EDGE), 1 - _EDGE))
    influence = own / float(np.mean(own**2))
    return from_influence(found, influence, np.arange(len(p)) if cluster is None else cluster, level=level)


def at_prevalence(p: FloatArray, prevalence: float, new: float) -> FloatArray:
    """(n,) the probabilities for a feed of another prevalence, under label shift alone.

    `models.calibration.Platt.at_prevalence` does the same to a calibration; this is for scores as logged.

    Source: Saerens, Latinne and Decaestecker, 2002, eq. 2.4.
    """
    harmful, harmless = p * new / prevalence, (1 - p) * (1 - new) / (1 - prevalence)
    return harmful / (harmful + harmless)

"""Whether probabilities mean what they say: calibration error without its own noise, slope, Brier score.

The plain calibration error of a perfectly calibrated classifier is not 0: every bin's frequency is noisy,
and the error adds up absolute values. What is subtracted here is measured, by cluster, bin for bin.
"""

from dataclasses import dataclass

import numpy as np

from eval.clustered import LEVEL, Estimate, clustered_ratio, from_influence
from eval.judged import Judged
from models.calibration import brier_score
from reranker.columns import BoolArray, FloatArray, IntArray

N_BINS = 15
_STEPS = 50
_EDGE = 1e-9


@dataclass(frozen=True)
class Bin:
    """Posts of like probability.

    Attributes:
        p: their mean probability.
        share: their part of the weight.
        frequency: how many are harmful, with its interval; None where they are of one cluster.
        gap: frequency less probability, with its interval; None likewise.
    """

    p: float
    share: float
    frequency: Estimate | None
    gap: Estimate | None


@dataclass(frozen=True)
class CalibrationError:
    """How far probabilities are from frequencies.

    Attributes:
        plain: mean absolute gap over bins of equal weight (ECE).
        noise: what `plain` would be by chance alone, were the classifier calibrated: from p (1 - p),
            times the design effect of the clusters. For bins with some harm; too large where there is none.
        debiased: `plain` less `noise`, at least 0: too small where the error is far above the noise.
        root_mean_square: of the gaps, each square less its own variance; 0 where noise explains all. Not
            biased by noise, whatever the error.
        in_the_large: all posts as one bin: what enters a prevalence. Frequency less probability.
        bins: lowest probability first.
    """

    plain: float
    noise: float
    debiased: float
    root_mean_square: float
    in_the_large: Estimate
    bins: tuple[Bin, ...]


def equal_weight_bins(p: FloatArray, weight: FloatArray, n_bins: int = N_BINS) -> IntArray:
    """(n,) bin of each post: about equal weights, equal probabilities always together.

    Unlike `models.calibration.reliability`, which cuts through ties in the order of the rows.
    """
    values, at = np.unique(p, return_inverse=True)
    mass = np.bincount(at, weight, len(values))
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bins = np.minimum((middle * n_bins).astype(np.int64), n_bins - 1)
    return np.unique(bins, return_inverse=True)[1][at].astype(np.int64)


def calibration_error(table: Judged, n_bins: int = N_BINS, *, level: float = LEVEL) -> CalibrationError:
    """The gap between probability and frequency, in bins of equal weight.

    Raises:
        ValueError: no weight at all, or all posts of one cluster.

    Source: Kumar, Liang and Ma, Verified uncertainty calibration, 2019, section 4 (debiased square);
    Bröcker, Estimating reliability and resolution of probability forecasts through decomposition of the
    empirical score, 2012 (bias of the plain one).
    """
    if not table.weight.sum() > 0:
        raise ValueError("weight: expected some above 0, got none")
    at = equal_weight_bins(table.p, table.weight, n_bins)
    bins = tuple(_bin(table, at == b, level) for b in range(int(at.max()) + 1))
    share = np.array([one.share for one in bins])
    gap = np.array([0.0 if one.gap is None else one.gap.value for one in bins])
    error = np.array([0.0 if one.gap is None else one.gap.standard_error for one in bins])
    plain = float(share @ np.abs(gap))
    noise = float(_null_error(table, at) @ share * np.sqrt(2 / np.pi))
    square = float(share @ (gap**2 - error**2))
    return CalibrationError(
        plain,
        noise,
        max(0.0, plain - noise),
        float(np.sqrt(max(0.0, square))),
        _gap(table, level),
        bins,
    )


@dataclass(frozen=True)
class CalibrationLine:
    """log-odds of harm = intercept + slope * log-odds of the probability; (0, 1) is calibrated.

    A slope below 1 is overconfident; an intercept below 0 at slope 1 is too high a probability.
    """

    slope: Estimate
    intercept: Estimate


def calibration_line(table: Judged, *, level: float = LEVEL) -> CalibrationLine:
    """Slope and intercept by weighted maximum likelihood, errors by cluster.

    Probabilities of exactly 0 or 1 are taken as 1e-9 from it.

    Raises:
        ValueError: one class only, one probability only, or no finite optimum (separated data).

    Source: Cox, Two further applications of a model for binary regression, 1958.
    """
    p = np.clip(table.p, _EDGE, 1 - _EDGE)
    x = np.column_stack([np.log(p) - np.log1p(-p), np.ones(table.n)])
    y = table.present.astype(np.float64)
    if len(np.unique(p)) < 2 or table.present.all() or not table.present.any():
        raise ValueError("calibration line: expected several probabilities and both classes")
    beta = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        fitted, bread = _curvature(x, beta, table.weight)
        step = bread @ (x * (table.weight * (y - fitted))[:, None]).sum(axis=0)
        beta = beta + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    else:
        raise ValueError("calibration line: expected an optimum, got data that a threshold separates")
    fitted, bread = _curvature(x, beta, table.weight)
    influence = table.n * (x * (table.weight * (y - fitted))[:, None]) @ bread
    slope, intercept = (
        from_influence(float(value), column, table.cluster, level=level)
        for value, column in zip(beta, influence.T, strict=True)
    )
    return CalibrationLine(slope, intercept)


@dataclass(frozen=True)
class BrierParts:
    """score = reliability - resolution + uncertainty + within.

    Attributes:
        score: mean squared difference of probability and truth; lower is better.
        reliability: from probabilities off their bin's frequency; 0 is best.
        resolution: from bins whose frequencies differ; more is better.
        uncertainty: prevalence times (1 - prevalence), the score of always saying the prevalence.
        within: from different probabilities in one bin; 0 where each bin holds one.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_parts(table: Judged, n_bins: int = N_BINS) -> BrierParts:
    """The Brier score by weight and its parts.

    Raises:
        ValueError: no weight at all.

    Source: Murphy, A new vector partition of the probability score, 1973; Stephenson, Coelho and Jolliffe,
    Two extra components in the Brier score decomposition, 2008 (within).
    """
    total = float(table.weight.sum())
    if not total > 0:
        raise ValueError("weight: expected some above 0, got none")
    at = equal_weight_bins(table.p, table.weight, n_bins)
    mass = np.bincount(at, table.weight)
    kept = mass > 0
    mean = np.bincount(at, table.weight * table.p)[kept] / mass[kept]
    frequency = np.bincount(at, table.weight * table.present)[kept] / mass[kept]
    share = mass[kept] / total
    prevalence = float(share @ frequency)
    score = brier_score(table.p, table.present, weight=table.weight)
    reliability = float(share @ (mean - frequency) ** 2)
    resolution = float(share @ (frequency - prevalence) ** 2)
    uncertainty = prevalence * (1 - prevalence)
    return BrierParts(
        score, reliability, resolution, uncertainty, score - (reliability - resolution + uncertainty)
    )


def _bin(table: Judged, rows: BoolArray, level: float) -> Bin:
    own = table.where(rows)
    mass = float(own.weight.sum())
    share = mass / float(table.weight.sum())
    p = float((own.weight * own.p).sum() / mass) if mass else float("nan")
    if len(np.unique(own.cluster[own.weight > 0])) < 2:
        return Bin(p, share, None, None)
    frequency = clustered_ratio(own.weight * own.present, own.weight, own.cluster, level=level)
    return Bin(p, share, frequency, _gap(own, level))


def _null_error(table: Judged, at: IntArray) -> FloatArray:
    """Standard error of each bin's gap if the probabilities were right, whatever harm was found in it."""
    mass = np.bincount(at, table.weight)
    variance = np.bincount(at, table.weight**2 * table.p * (1 - table.p))
    residual = table.weight * (table.present - table.p)
    _, of_row = np.unique(table.cluster, return_inverse=True)
    cells = np.unique(of_row * (int(at.max()) + 1) + at, return_inverse=True)[1]
    effect = (np.bincount(cells, residual) ** 2).sum() / max(float((residual**2).sum()), 1e-300)
    error: FloatArray = np.sqrt(variance * effect) / np.where(mass > 0, mass, 1.0)
    return error


def _gap(table: Judged, level: float) -> Estimate:
    return clustered_ratio(table.weight * (table.present - table.p), table.weight, table.cluster, level=level)


def _curvature(x: FloatArray, beta: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fitted probabilities (n,), and the inverse of the information."""
    fitted = 1 / (1 + np.exp(-np.clip(x @ beta, -700, 700)))
    information = np.einsum("ni,n,nj->ij", x, weight * fitted * (1 - fitted), x)  # no threads: same bits
    if not np.linalg.cond(information) < 1e14:
        raise ValueError("calibration line: expected an optimum, got data that a threshold separates")
    return fitted, np.asarray(np.linalg.inv(information), dtype=np.float64)

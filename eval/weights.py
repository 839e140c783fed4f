"""Importance weights, target policy over logger, and how far they can be trusted.

A weight is exact or it is refused: nothing floors or caps a propensity but `floor_propensities`, which says
where it did.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from reranker.columns import BoolArray, FloatArray, IntArray

MIN_TAIL = 5  # draws that a tail is fitted to, at least


def importance_weights(log_target: FloatArray, log_logging: FloatArray) -> FloatArray:
    """(s,) target over logger, from log prefix propensities; exact, without floor or cap.

    Args:
        log_target: (s,) at most 0; -inf where the target never serves the prefix.
        log_logging: (s,) at most 0, finite: what was served had a chance.

    Raises:
        ValueError: lengths that differ, a propensity above 1, or one that is missing or 0 where served.

    Example:
        >>> importance_weights(np.log([0.5, 0.1]), np.log([0.25, 1e-9])).round(3).tolist()
        [2.0, 100000000.0]
    """
    if log_target.shape != log_logging.shape:
        raise ValueError(f"log_target: expected shape {log_logging.shape}, got {log_target.shape}")
    for name, values in (("log_target", log_target), ("log_logging", log_logging)):
        bad = np.isnan(values) | (values > 1e-9)
        if name == "log_logging":
            bad |= np.isneginf(values)
        if bad.any():
            row = int(bad.argmax())
            raise ValueError(
                f"{name}: expected log propensities of at most 0, got {values[row]} at row {row}"
            )
    return np.exp(log_target - log_logging)


def balanced_weights(
    log_target: FloatArray, log_loggers: FloatArray, n_requests: Sequence[int]
) -> FloatArray:
    """(s,) target over the mixture of several loggers: the weights for their pooled logs.

    Unbiased as soon as one of the loggers supports what the target serves, and never more variable, to
    first order, than weighting each log by its own logger.

    Args:
        log_target: (s,) log prefix propensities of the target.
        log_loggers: (J, s) of every logger, also for the slates that others served; -inf where it never
            serves the prefix.
        n_requests: per logger, how many requests of the pooled log are its own.

    Raises:
        ValueError: shapes that do not fit, no requests, or a served prefix that no logger serves.

    Source: Agarwal, Basu, Schnabel and Joachims, Effective evaluation using logged bandit feedback from
    multiple loggers, 2017, definition 4.1 (balanced estimator).
    """
    counts = np.asarray(n_requests, dtype=np.float64)
    if log_loggers.shape != (len(counts), len(log_target)):
        raise ValueError(f"log_loggers: expected {(len(counts), len(log_target))}, got {log_loggers.shape}")
    if not (counts >= 0).all() or counts.sum() == 0:
        raise ValueError(f"n_requests: expected counts with a sum above 0, got {counts.tolist()}")
    share = (counts / counts.sum())[:, None]
    # an exact ratio: a logger without requests has weight 0, and the sum never leaves log space
    mixture = np.asarray(logsumexp(log_loggers, axis=0, b=np.broadcast_to(share, log_loggers.shape)))
    return importance_weights(log_target, mixture)


def floor_propensities(log_logging: FloatArray, floor: float) -> tuple[FloatArray, BoolArray]:
    """Log propensities of at least log(floor), and (s,) where they were raised: weights are biased there.

    Pass the mask on to the support gate, which refuses where more than 0.1 % were raised.

    Raises:
        ValueError: a floor outside (0, 1).
    """
    if not 0 < floor < 1:
        raise ValueError(f"floor: expected a number in (0, 1), got {floor}")
    raised = log_logging < np.log(floor)
    return np.where(raised, np.log(floor), log_logging), raised


def slate_weights(weight: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(s,) the weight of the whole slate, at each of its slots."""
    check_slots(slot_offsets, weight)
    return weight[np.repeat(slot_offsets[1:] - 1, np.diff(slot_offsets))]


def check_slots(
    slot_offsets: IntArray, *per_slot: FloatArray, per_request: Sequence[FloatArray] = ()
) -> None:
    """Refuse columns that do not fit the slots, or that hold NaN or infinity.

    Raises:
        ValueError: saying which.
    """
    if len(slot_offsets) < 1 or slot_offsets[0] != 0 or (np.diff(slot_offsets) < 0).any():
        raise ValueError("slot_offsets: expected 0 first and no decrease")
    n, s = len(slot_offsets) - 1, int(slot_offsets[-1])
    for expected, columns in ((s, per_slot), (n, tuple(per_request))):
        for column in columns:
            if column.shape != (expected,):
                raise ValueError(f"column of slots: expected shape ({expected},), got {column.shape}")
            if not np.isfinite(column).all():
                row = int(np.argmin(np.isfinite(column)))
                raise ValueError(f"column of slots: expected finite numbers, got {column[row]} at row {row}")


def effective_sample_size(weight: FloatArray) -> float:
    """How many equally weighted draws are worth as much: (sum w)^2 / sum w^2; 0 where all are 0.

    Source: Kish, Survey Sampling, 1965, section 11.2.

    Example:
        >>> round(effective_sample_size(np.array([0.1, 0.5, 1, 2, 10])), 9)
        1.757172715
    """
    squares = float((weight * weight).sum())  # BLAS splits long products by thread: other last digits
    return float(weight.sum() ** 2 / squares) if squares > 0 else 0.0


def pareto_k(weight: FloatArray) -> float:
    """The shape of the generalised Pareto tail of the largest weights: 1 / k moments exist.

    Above 0.7 the mean of the weights, and so every estimate, converges too slowly to be of use. Fitted to
    the largest min(n / 5, 3 sqrt(n)) weights and drawn towards 0.5 where they are few; -inf where they are
    all equal, which is no tail, and NaN where there are fewer than 5.

    Args:
        weight: (n,) at least 0, such as slate weights per request.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry, Pareto smoothed importance sampling, 2024, section 3 and
    appendix C; Zhang and Stephens, A new and efficient estimation method for the generalized Pareto
    distribution, 2009, section 3.
    """
    n_tail = tail_size(len(weight))
    if n_tail < MIN_TAIL:
        return float("nan")
    largest = np.sort(weight)[-(n_tail + 1) :]
    excess = largest[1:] - largest[0]
    if excess[-1] <= 1e-12 * largest[-1]:
        return float("-inf")
    excess = excess[excess > 0]
    shape = _generalised_pareto_shape(excess) if len(excess) >= MIN_TAIL else float("nan")
    return float((shape * len(excess) + 5.0) / (len(excess) + 10.0))


def pareto_k_error(k: float, n: int) -> float:
    """The standard error of a Pareto k that was fitted to n weights, by the large-sample formula.

    The formula holds from k = -0.5 on; below, where tails are short, its value there is returned.

    Source: Smith, Estimating tails of probability distributions, 1987: (1 + k)^2 / m for a tail of m.

    Example:
        >>> round(pareto_k_error(0.5, 10_000), 4)
        0.0866
    """
    return float((1.0 + max(k, -0.5)) / np.sqrt(tail_size(n)))


def tail_size(n: int) -> int:
    """How many of n weights are taken for their tail."""
    return int(np.ceil(min(0.2 * n, 3.0 * np.sqrt(n))))


def _generalised_pareto_shape(excess: FloatArray) -> float:
    """Shape of a generalised Pareto of (m,) sorted positive excesses; positive is a heavy tail."""
    m = len(excess)
    n_grid = 30 + int(np.sqrt(m))
    quartile = excess[int(m / 4 + 0.5) - 1]
    grid = np.arange(1, n_grid + 1)
    # theta = -shape / scale on a grid that its prior spreads about the largest excess
    theta = 1.0 / excess[-1] + (1.0 - np.sqrt(n_grid / (grid - 0.5))) / (3.0 * quartile)
    shape = np.log1p(-theta[:, None] * excess).mean(axis=1)
    log_likelihood = m * (np.log(-theta / shape) - shape - 1.0)
    posterior = np.exp(log_likelihood - log_likelihood.max())
    posterior /= posterior.sum()
    return float(np.log1p(-(posterior @ theta) * excess).mean())

"""Counts of posts whose rate grows by a factor per unit of feedback, the randomisation as instrument.

The rate is exp(intercept + effects x feedback + controls) times whatever else the author brings, which may
go together with the feedback received. A Poisson regression would be biased by that; dividing the posts by
the rate leaves what the author brings, and the randomised doses must be unrelated to it.
"""

from dataclasses import dataclass

import numpy as np

from reranker.columns import FloatArray, IntArray

_MOST_STEPS = 100
_SETTLED = 1e-10


@dataclass(frozen=True, eq=False)
class CountModel:
    """The fitted model of counts.

    Attributes:
        effects: (K,) change of the log rate per unit of each kind of feedback.
        covariance: (K, K), clustered by author.
    """

    effects: FloatArray
    covariance: FloatArray


def count_model(
    posts: FloatArray, received: FloatArray, doses: FloatArray, *, controls: FloatArray, cluster: IntArray
) -> CountModel:
    """The moments E[z (posts exp(-x'effects) - 1)] = 0 solved by Newton's method.

    Unbiased for large n where the doses were randomised and what the author brings multiplies the rate.
    It needs moments of exp(-x'effects), so a handful of authors with huge counts can decide it.

    Args:
        posts: (n,).
        received: (n, K).
        doses: (n, K) the instruments of the feedback.
        controls: (n, q) of full rank, the intercept among them; they are their own instruments.
        cluster: (n,) codes from 0.

    Raises:
        ValueError: no solution was found.

    Source: Mullahy, Instrumental-variable estimation of count data models, 1997, equation 10.
    """
    k = received.shape[1]
    scale = np.concatenate([_size(received), _size(controls)])
    design = np.concatenate([received, controls], axis=1) / scale
    instruments = np.concatenate([doses / _size(doses), controls / _size(controls)], axis=1)
    found = _solved(posts, design, instruments)
    ratio = posts * np.exp(-design @ found)
    slope = -(instruments * ratio[:, None]).T @ design
    n_clusters = int(cluster.max()) + 1
    scores = np.stack(
        [np.bincount(cluster, column * (ratio - 1), minlength=n_clusters) for column in instruments.T], axis=1
    )
    influence = np.linalg.solve(slope, scores.T)
    covariance = n_clusters / (n_clusters - 1) * influence @ influence.T
    return CountModel(found[:k] / scale[:k], covariance[:k, :k] / np.outer(scale[:k], scale[:k]))


def _solved(posts: FloatArray, design: FloatArray, instruments: FloatArray) -> FloatArray:
    """The solution of the moments; each step is halved until they shrink."""
    n = len(posts)
    spread = np.linalg.cholesky(instruments.T @ instruments / n)

    def moments(at: FloatArray) -> tuple[FloatArray, FloatArray]:
        with np.errstate(over="ignore", invalid="ignore"):
            ratio = posts * np.exp(-design @ at)
            return instruments.T @ (ratio - 1) / n, ratio

    def size(values: FloatArray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            found = float(np.sum(np.linalg.solve(spread, values) ** 2))
        return found if np.isfinite(found) else np.inf

    at = _poisson(posts, design)
    value, ratio = moments(at)
    for _ in range(_MOST_STEPS):
        if size(value) < _SETTLED**2 * n:
            return at
        slope = -(instruments * ratio[:, None]).T @ design / n
        try:
            step = np.linalg.solve(slope, value)
        except np.linalg.LinAlgError:
            break
        length = 1.0
        while length > 1e-8:
            tried, tried_ratio = moments(at - length * step)
            if size(tried) < size(value):
                break
            length /= 2
        else:
            break
        at, value, ratio = at - length * step, tried, tried_ratio
    raise ValueError("posts: expected counts that the Poisson model can be fitted to, got no solution")


def _poisson(posts: FloatArray, design: FloatArray) -> FloatArray:
    """The confounded Poisson regression, where the search starts."""
    at = np.linalg.lstsq(design, np.log(posts + max(posts.mean(), 0.1)), rcond=None)[0]
    for _ in range(25):
        rate = np.exp(np.clip(design @ at, -30, 30))
        step = np.linalg.lstsq((design * rate[:, None]).T @ design, design.T @ (posts - rate), rcond=None)[0]
        at = at + step * min(1.0, 2.0 / max(np.abs(design @ step).max(), 1e-12))
        if np.abs(step).max() < 1e-6:
            break
    return np.asarray(at, dtype=np.float64)


def _size(columns: FloatArray) -> FloatArray:
    """(q,) root mean squares of the columns."""
    return np.asarray(np.sqrt(np.mean(columns**2, axis=0)), dtype=np.float64)

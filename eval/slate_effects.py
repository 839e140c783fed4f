"""The pseudo-inverse estimator: slates whose reward is a sum over (slot, item), whatever the sum is.

For small candidate sets whose rankings can be listed: the moments of a policy are exact then.
"""

import numpy as np

from reranker.columns import FloatArray, IntArray


def slate_moments(
    rankings: IntArray, probability: FloatArray, n_candidates: int
) -> tuple[FloatArray, FloatArray]:
    """First (d,) and second (d, d) moments of the (slot, item) indicators, d = slots x candidates.

    Args:
        rankings: (M, K) candidate at each slot, from 0, of every ranking that the policy may serve.
        probability: (M,) of each; sums to 1.
        n_candidates: C.

    Raises:
        ValueError: probabilities that do not sum to 1, or a candidate out of range.

    Example:
        >>> first, second = slate_moments(np.array([[0], [1]]), np.array([0.25, 0.75]), 2)
        >>> first.tolist(), second.diagonal().tolist()
        ([0.25, 0.75], [0.25, 0.75])
    """
    if abs(probability.sum() - 1.0) > 1e-9:
        raise ValueError(f"probability: expected a sum of 1, got {probability.sum()}")
    columns = _columns(rankings, n_candidates)
    indicator = np.zeros((len(rankings), rankings.shape[1] * n_candidates))
    np.put_along_axis(indicator, columns, 1.0, axis=1)
    return probability @ indicator, (indicator * probability[:, None]).T @ indicator


def pseudo_inverse_weights(
    target_moment: FloatArray, logging_second_moment: FloatArray, rankings: IntArray, n_candidates: int
) -> FloatArray:
    """(M,) weights of whole slates: target' pinv(logging) indicator; some may be negative.

    The mean of weight times reward is unbiased where the expected reward of a slate is a sum of one term per
    (slot, item), and the logger serves each of the target's (slot, item) pairs at times. Far less variable
    than `eval.ope.sips`; biased where items of a slate interact.

    Args:
        target_moment: (d,) from `slate_moments` of the target.
        logging_second_moment: (d, d) from `slate_moments` of the logger.
        rankings: (M, K) slates to weight.
        n_candidates: C.

    Raises:
        ValueError: a candidate out of range, or a target that serves pairs which the logger never does.

    Source: Swaminathan, Krishnamurthy, Agarwal, Dudik, Langford, Jose and Zitouni, Off-policy evaluation
    for slate recommendation, 2017, equation 4.
    """
    unsupported = float(target_moment[logging_second_moment.diagonal() <= 0].sum())
    if unsupported > 1e-12:
        raise ValueError(
            f"target_moment: expected only pairs the logger serves, got {unsupported:.3g} others"
        )
    effect = target_moment @ np.linalg.pinv(logging_second_moment, hermitian=True)
    weights: FloatArray = effect[_columns(rankings, n_candidates)].sum(axis=1)
    return weights


def _columns(rankings: IntArray, n_candidates: int) -> IntArray:
    if rankings.size and not 0 <= rankings.min() <= rankings.max() < n_candidates:
        raise ValueError(
            f"rankings: expected 0 to {n_candidates - 1}, got {rankings.min()}, {rankings.max()}"
        )
    return rankings + np.arange(rankings.shape[1]) * n_candidates

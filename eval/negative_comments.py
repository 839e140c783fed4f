"""Do negative comments come with clicks? A slope for each publisher, and what all of them share.

Publishers' slopes are noisy, so each is drawn to their mean by how noisy it is (partial pooling). A slope is
what goes together on the posts of one publisher: a scandal brings both clicks and angry comments.
"""

from dataclasses import dataclass, replace

import numpy as np

from eval.clustered import LEVEL, Estimate, t_quantile
from eval.count_regression import fit_counts
from eval.shrinkage import Segments, random_effects
from reranker.columns import FloatArray, StringColumn

FEWEST_POSTS, FEWEST_PUBLISHERS = 30, 5
PER = 0.1  # a tenth more of the comments being negative


@dataclass(frozen=True, eq=False)
class NegativeCommentSlopes:
    """Change of the log of clicks per further tenth of the comments that is negative.

    Attributes:
        publishers: (g,) names, in the order of the segments.
        n: (g,) posts of each.
        pooled: mean over publishers, by Hartung and Knapp's interval.
        segments: raw and shrunk slopes, and how much they truly differ.
        left_out: publishers without a slope, with the reason.
    """

    publishers: tuple[str, ...]
    n: tuple[int, ...]
    pooled: Estimate
    segments: Segments
    left_out: tuple[tuple[str, str], ...]


def negative_comment_slopes(
    clicks: FloatArray, negative_share: FloatArray, publisher: StringColumn, *, level: float = LEVEL
) -> NegativeCommentSlopes:
    """The slope of clicks, or of another count of reach, on the share of negative comments.

    Per publisher a Poisson regression with an error that lets posts vary beyond Poisson; then slopes as draws
    from one normal distribution. Valid for posts that are independent given the publisher. A share of few
    comments is noisy, which draws slopes to 0.

    Args:
        clicks: (n,) of each post, at least 0, NaN where not measured.
        negative_share: (n,) in [0, 1], NaN where the post has no comments.
        publisher: (n,).
        level: of the intervals.

    Raises:
        ValueError: lengths that differ, values out of range, no clicks, or fewer than 5 publishers with a
            slope.

    Source: Hartung and Knapp, On tests of the overall treatment effect in meta-analysis with normally
    distributed responses, 2001; Morris, Parametric empirical Bayes inference, 1983.
    """
    if not clicks.shape == negative_share.shape == publisher.codes.shape:
        raise ValueError(
            f"rows: expected one length, got {clicks.shape}, {negative_share.shape}, {len(publisher)}"
        )
    if (clicks < 0).any():
        raise ValueError(f"clicks: expected counts of at least 0, got {np.nanmin(clicks):g}")
    if ((negative_share < 0) | (negative_share > 1)).any():
        raise ValueError("negative_share: expected numbers in [0, 1], got others")
    known = ~(np.isnan(clicks) | np.isnan(negative_share)) & (publisher.codes >= 0)
    if known.any() and not (clicks[known] > 0).any():
        raise ValueError("clicks: expected some above 0, got none")
    slopes, left_out = [], []
    for code in np.unique(publisher.codes[known]).tolist():
        rows = np.flatnonzero(known & (publisher.codes == code))
        name = publisher.values[code]
        if len(rows) < FEWEST_POSTS:
            left_out.append((name, f"{len(rows)} posts; {FEWEST_POSTS} are needed"))
            continue
        try:
            slopes.append((name, _slope(clicks[rows], negative_share[rows])))
        except ValueError as error:
            left_out.append((name, str(error)))
    if len(slopes) < FEWEST_PUBLISHERS:
        raise ValueError(
            f"publishers: expected at least {FEWEST_PUBLISHERS} with {FEWEST_POSTS} posts whose clicks and "
            f"comments are known, got {len(slopes)}"
        )
    values, errors = (
        np.array([getattr(one, name) for _, one in slopes]) for name in ("value", "standard_error")
    )
    segments = random_effects(values, errors, level=level)
    return NegativeCommentSlopes(
        publishers=tuple(name for name, _ in slopes),
        n=tuple(one.n for _, one in slopes),
        pooled=_pooled(segments, sum(one.n for _, one in slopes), level),
        segments=segments,
        left_out=tuple(left_out),
    )


def _slope(clicks: FloatArray, share: FloatArray) -> Estimate:
    each = np.arange(len(clicks), dtype=np.int64)
    found = fit_counts(clicks, (share / PER)[:, None], np.zeros_like(each), each).slope(0)
    if not found.standard_error > 0:
        raise ValueError("clicks: expected posts that vary beyond the slope, got none")
    return found


def _pooled(segments: Segments, n: int, level: float) -> Estimate:
    """The mean, with the spread of the slopes themselves for its error and t(g - 1)."""
    weight = 1 / (segments.standard_error**2 + segments.variance)
    g = len(weight)
    spread = (weight * (segments.effect - segments.mean) ** 2).sum() / ((g - 1) * weight.sum())
    error = float(np.sqrt(max(spread, 0.0)))
    half = t_quantile(level, g - 1) * error
    made = Estimate(segments.mean, error, segments.mean - half, segments.mean + half, level, n, g)
    return replace(made, df=float(g - 1))

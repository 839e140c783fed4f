"""Do moral-emotional words spread a post? How many times more it is shared for each further one."""

from dataclasses import dataclass

import numpy as np

from eval.clustered import LEVEL, Estimate
from eval.count_regression import CountFit, fit_counts
from reranker.columns import FloatArray, IntArray

FEWEST_POSTS, FEWEST_PUBLISHERS = 100, 10
PUBLISHED = (
    ("Brady and Van Bavel, 27 studies, preprint 2021", 1.12, 1.06, 1.19),
    ("the same, later version", 1.13, 1.06, 1.20),
)
"""Rate ratio per further moral-emotional word, with its 95% interval; of other people and platforms."""


@dataclass(frozen=True)
class MoralWords:
    """Rate ratios per further word, each within publishers and with its interval by publisher.

    Attributes:
        poisson: without anything held.
        poisson_held: with the controls held.
        negative_binomial: the same, few viral posts deciding less; None where it has no finite best value.
        dispersion: of the negative binomial: the variance is m + dispersion * m^2.
        held: names of the controls.
        n, n_publishers: posts and publishers behind them.
        n_with_words: posts with at least one such word.
        n_silent: posts of publishers that say nothing: one post, or no count above 0.
        n_without: posts left out because a count, text or control is not known.
    """

    poisson: Estimate
    poisson_held: Estimate
    negative_binomial: Estimate | None
    dispersion: float | None
    held: tuple[str, ...]
    n: int
    n_publishers: int
    n_with_words: int
    n_silent: int
    n_without: int


def moral_word_ratios(
    counts: FloatArray,
    words: FloatArray,
    publisher: IntArray,
    *,
    held: dict[str, FloatArray] | None = None,
    level: float = LEVEL,
) -> MoralWords:
    """How many times more a post is shared per further moral-emotional word, within publishers.

    What goes together on a publisher's posts, not what a word put into a text would do: outrageous news is
    written of in such words. Longer texts have more of any word, so their length should be held.

    Args:
        counts: (n,) shares or reactions, at least 0, NaN where not measured.
        words: (n,) of the list in each text, as `Lexicon.count` gives; NaN where there is no text.
        publisher: (n,) integer codes, levels and clusters at once.
        held: further columns by name, such as the log of the length.
        level: of the intervals.

    Raises:
        ValueError: lengths that differ, counts below 0, none above 0, no words in any text, fewer than 100
            posts or 10 publishers that say something, or separation.

    Source: Brady and others, Emotion shapes the diffusion of moralized content in social networks, 2017 (the
    question and the negative binomial).
    """
    controls = held or {}
    columns = np.column_stack([words, *controls.values()]).astype(np.float64)
    if not len(counts) == len(columns) == len(publisher):
        raise ValueError(
            f"words: expected {len(counts)} rows and publishers, got {len(columns)} and {len(publisher)}"
        )
    known = ~(np.isnan(counts) | np.isnan(columns).any(axis=1))
    y, x, who = counts[known], columns[known], publisher[known]
    if not (x[:, 0] > 0).any():
        raise ValueError("words: expected texts with words of the list, got none")
    plain = fit_counts(y, x[:, :1], who, who)
    if plain.n < FEWEST_POSTS or plain.n_groups < FEWEST_PUBLISHERS:
        raise ValueError(
            f"posts: expected at least {FEWEST_POSTS} of {FEWEST_PUBLISHERS} publishers, got {plain.n} of "
            f"{plain.n_groups}"
        )
    holding = fit_counts(y, x, who, who) if controls else plain
    other = _negative_binomial(y, x, who)
    return MoralWords(
        poisson=plain.rate_ratio(0, level=level),
        poisson_held=holding.rate_ratio(0, level=level),
        negative_binomial=None if other is None else other.rate_ratio(0, level=level),
        dispersion=None if other is None else other.dispersion,
        held=tuple(controls),
        n=plain.n,
        n_publishers=plain.n_groups,
        n_with_words=int((x[:, 0] > 0).sum()),
        n_silent=plain.n_silent,
        n_without=int((~known).sum()),
    )


def _negative_binomial(y: FloatArray, x: FloatArray, who: IntArray) -> CountFit | None:
    try:
        return fit_counts(y, x, who, who, family="negative binomial")
    except ValueError:
        return None

"""What texts say of a post: their length, and how many of its comments hold a word of a list."""

import numpy as np

from eval.incentives_posts import Posts, acts_on
from eval.lexicon import WORD, Lexicon
from eval.outcomes import COMMENTS
from reranker.columns import FloatArray, StringColumn


def log_length(texts: StringColumn) -> FloatArray:
    """(n,) log of 1 + words of each text, NaN where there is none; each distinct text once."""
    lookup = np.full(len(texts.values) + 1, np.nan)
    for code in np.unique(texts.codes[texts.codes >= 0]).tolist():
        lookup[code] = np.log1p(len(WORD.findall(texts.values[code])))
    return lookup[texts.codes]


def negative_comment_share(posts: Posts, negative: Lexicon) -> FloatArray:
    """(p,) share of a post's comments with a word of the list; NaN where it has no comment with a text."""
    acts = posts.feed.interactions
    if acts is None:
        return np.full(posts.n, np.nan)
    post = acts_on(posts.feed, posts.row, acts)
    chosen = np.isin(acts.kind.codes, [acts.kind.code_of(name) for name in COMMENTS]) & (post >= 0)
    rows = np.flatnonzero(chosen & ~acts.text.is_null)
    holds = negative.count(acts.text.take(rows)) > 0
    n = np.bincount(post[rows], minlength=posts.n)
    with np.errstate(invalid="ignore", divide="ignore"):
        share: FloatArray = np.where(n > 0, np.bincount(post[rows], holds, posts.n) / n, np.nan)
    return share

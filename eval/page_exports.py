"""Exports of pages, two policies: what changes in what is shown, with intervals by page.

`eval.comparison` resamples days, which says how the figures vary over other days of these pages. A page's
posts are alike on every day, so a claim about pages needs the other interval, of the same figures. Pages are
drawn again and their posts compete anew: without a page, other posts move up into the top. An interval that
forgets this is several times too wide for activity. The feed is `reranker.facebook.import_facebook`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from eval.clustered import Estimate, relative_of, t_quantile
from eval.counter_random import poisson_weights
from eval.decision import Verdict, decide
from eval.exposure import Browsing, browsing, position_weights, top_k
from eval.hashing import user_keys
from eval.interval import LEVEL
from eval.outcomes import Outcome
from eval.page_kernel import shown_means
from eval.provenance import same_feed
from eval.rows import Direction, check_outcomes
from reranker.columns import FloatArray, IntArray
from reranker.feed import Feed
from reranker.ranking import Ranking

N_RESAMPLES = 500
MOST_GROUPS = 2_000
CHUNK = 50  # resamples held at once


@dataclass(frozen=True)
class PageChange:
    """One outcome under two policies.

    Attributes:
        outcome: what was measured.
        original, treatment: the mean over pools of what each shows, as `compare` gives it.
        absolute: treatment - original, with its interval by page; `n` is the posts that were ranked.
        relative: absolute over original; None where the original is 0.
        unscored: share of what is shown that has no value, under the policy where it is larger.
    """

    outcome: Outcome
    original: float
    treatment: float
    absolute: Estimate
    relative: Estimate | None
    unscored: float

    @property
    def direction(self) -> Direction:
        """What may be said of the direction."""
        if self.absolute.value == 0 and self.absolute.standard_error == 0:
            return "identical"
        if self.absolute.low <= 0 <= self.absolute.high:
            return "not measurable"
        return "decreased" if self.absolute.high < 0 else "increased"


def page_changes(
    original: Ranking,
    treatment: Ranking,
    outcomes: Sequence[Outcome],
    *,
    shown: str = "10%",
    seed: int = 0,
    n_resamples: int = N_RESAMPLES,
) -> tuple[PageChange, ...]:
    """What changes in what is shown, each pool counting once, as in `compare`; 95% intervals by page.

    The error is that of a bootstrap over pages with Poisson(1) weights, quantiles from t(pages - 1); days are
    held. Valid for some tens of pages of which none dominates, and where a policy scores a post without
    regard to other pages' posts. In simulations the error of activity is 1.4 times too large for pools of 120
    posts and 1.2 times for 400; that of a share of posts is right. More than 2,000 pages are drawn in that
    many groups; a post of no page stands for itself.

    Args:
        original: the ranking by the policy in force.
        treatment: the ranking of the same feed by the other.
        outcomes: what to measure; one that no pool can be measured on is left out.
        shown: the browsing model.
        seed: of the resampling.
        n_resamples: resamples.

    Raises:
        ValueError: two feeds, an unknown browsing model, a bad outcome, or fewer than 2 pages.

    Source: Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8 (clusters);
    Chamandy, Muralidharan, Najmi and Naidu, Estimating uncertainty for massive data streams, 2012 (weights).
    """
    feed = same_feed(original, treatment)
    check_outcomes(outcomes, feed.n)
    names, group = _groups(feed)
    if len(names) < 2:
        raise ValueError(f"pages: expected at least 2, got {len(names)}")
    model = browsing(shown)
    values = np.column_stack([outcome.values for outcome in outcomes])  # (n, m)
    key = group * feed.n_requests + feed.request_of_row
    sizes = np.bincount(key, minlength=len(names) * feed.n_requests).reshape(len(names), -1)  # (G, r)
    rankings = (original, treatment)
    every = np.ones((1, len(names)), dtype=np.int64)
    whole = _means(rankings, model, (values, group, sizes), every)[0]  # (2, m)
    copies = poisson_weights(user_keys(names), n_resamples, seed=seed).T.astype(np.int64)  # (b, G)
    parts = [copies[start : start + CHUNK] for start in range(0, n_resamples, CHUNK)]
    drawn = np.concatenate([_means(rankings, model, (values, group, sizes), part) for part in parts])
    # the share without a value is itself a mean of what is shown
    null = _means(rankings, model, (np.isnan(values).astype(np.float64), group, sizes), every)[0].max(axis=0)
    return tuple(
        _change(outcome, whole[:, j], drawn[:, :, j], (feed.n, len(names)), float(null[j]))
        for j, outcome in enumerate(outcomes)
        if not np.isnan(whole[:, j]).any()
    )


def decisions(changes: Sequence[PageChange], margins: Mapping[str, float]) -> dict[str, Verdict]:
    """Each outcome against its margin, by the rules of `eval.decision.decide`.

    A margin is relative for counts, and absolute, in points, for shares and probabilities: the relative
    change of a share near 0 is noise.

    Args:
        changes: of `page_changes`.
        margins: by the name of the outcome, above 0, fixed before the result was read.

    Raises:
        ValueError: an outcome without a margin, or a count that was 0 and is not any more.
    """
    found = {}
    for change in changes:
        name = change.outcome.name
        if name not in margins:
            raise ValueError(f"margins: expected one for {name}, got {', '.join(margins) or 'none'}")
        estimate = change.relative if change.outcome.unit == "count" else change.absolute
        if estimate is None:
            if change.treatment != change.original:
                raise ValueError(f"{name}: expected a baseline above 0 for a relative change, got 0")
            estimate = change.absolute
        found[name] = decide(estimate, margins[name])
    return found


def _groups(feed: Feed) -> tuple[list[str], IntArray]:
    """Names of what is drawn, and (n,) which of them each candidate is of."""
    posts = feed.post_id.to_list()
    pages = [
        f"post {post}" if page is None else f"page {page}"
        for page, post in zip(feed.publisher.to_list(), posts, strict=True)
    ]
    if len(set(pages)) > MOST_GROUPS:
        pages = [f"group {key}" for key in (user_keys(pages) % np.uint64(MOST_GROUPS)).tolist()]
    names = sorted(set(pages))
    code = {name: i for i, name in enumerate(names)}
    return names, np.array([code[page] for page in pages], dtype=np.int64)


def _means(
    rankings: tuple[Ranking, Ranking],
    model: Browsing,
    table: tuple[FloatArray, IntArray, IntArray],
    copies: IntArray,
) -> FloatArray:
    """(b, 2, m) the mean over the pools that both policies can be measured on; NaN where there is none.

    Args:
        rankings: two of one feed.
        model: how far down people read.
        table: outcomes (n, m), group of each candidate (n,), candidates of each group in each pool (G, r).
        copies: (b, G) how often each group counts.
    """
    values, group, sizes = table
    size = copies @ sizes  # (b, r)
    ends = model.kind in ("top", "share")
    depth = np.minimum(top_k(model, size.ravel()).reshape(size.shape), size) if ends else size
    place = np.arange(int(depth.max(initial=0)))
    offsets = np.array([0, int(size.max(initial=0))])
    weight = np.ones(len(place)) if ends else position_weights(model, place, np.zeros_like(place), offsets)
    seen = np.concatenate(([0.0], np.cumsum(weight)))
    first, second = (
        shown_means(one.offsets, group[one.order], values[one.order], copies, depth, seen) for one in rankings
    )
    used = ~(np.isnan(first) | np.isnan(second))  # (b, r, m)
    n_used = used.sum(axis=1)
    totals = np.stack([np.where(used, one, 0.0).sum(axis=1) for one in (first, second)], axis=1)
    return np.where(n_used[:, None] > 0, totals / np.maximum(n_used, 1)[:, None], np.nan)


def _change(
    outcome: Outcome, values: FloatArray, drawn: FloatArray, sizes: tuple[int, int], unscored: float
) -> PageChange:
    """`values` (2,) as seen, `drawn` (b, 2) as resampled, `sizes` rows and groups."""
    before, after = (float(value) for value in values)
    n, n_groups = sizes
    known = drawn[~np.isnan(drawn).any(axis=1)]
    if len(known) < 0.9 * len(drawn):
        raise ValueError(
            f"{outcome.name}: expected a value in most of {len(drawn)} resamples of pages, got {len(known)}"
        )
    error = float((known[:, 1] - known[:, 0]).std(ddof=1))
    half = t_quantile(LEVEL, n_groups - 1) * error
    value = after - before
    absolute = Estimate(value, error, value - half, value + half, LEVEL, n, n_groups)
    relative = None
    if before != 0:
        (v00, v01), (_, v11) = np.cov(known.T).tolist()
        relative = relative_of((before, after), (v00, v01, v11), n=n, n_clusters=n_groups)
    return PageChange(outcome, before, after, absolute, relative, unscored)

"""From single acts to counts per kind and relation, as a policy counts them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FloatArray, IntArray, ragged_rows
from reranker.feed import Feed
from reranker.interactions import MADE_FROM, Interactions
from reranker.policy import Policy
from reranker.signals import RELATIONS, Signals


@dataclass(frozen=True, eq=False)
class InteractionCounts:
    """Interactions that a policy counts, each joined to a candidate row.

    Attributes:
        n: number of candidates.
        names: the kinds counted, after the significant-comment rule.
        row: (k,) candidate of each counted act; an act on a post counts in every request that shows it.
        kind: (k,) index into `names`.
        relation: (k,) index into RELATIONS of actor to author, -1 where unknown.
    """

    n: int
    names: tuple[str, ...]
    row: IntArray
    kind: IntArray
    relation: NDArray[np.int8]

    def weighted_by(self, multiplier: FloatArray) -> Signals:
        """Counts times the closeness of each pair; `multiplier` is by relation, unknown last."""
        flat = np.bincount(
            self.kind * self.n + self.row,
            weights=multiplier[self.relation],
            minlength=len(self.names) * self.n,
        )
        values = flat.reshape(len(self.names), self.n).astype(np.float64)
        return Signals(self.names, values, None, "counts")

    def totals(self) -> Signals:
        """Plain counts per kind."""
        return self.weighted_by(np.ones(len(RELATIONS) + 1))


def count_interactions(feed: Feed, policy: Policy) -> InteractionCounts | None:
    """What a policy counts of a feed's interactions, or None where the feed has none.

    A comment deleted before the request is removed although it was counted once (W22), under a policy
    that filters deleted ones. An act later than the request is not known to it yet.
    """
    acts = feed.interactions
    if acts is None:
        return None
    keep, kind, names = _kinds(acts, policy)
    chosen = np.flatnonzero(keep)
    row, act = _joined(feed, acts, chosen)
    asked = feed.time[feed.request_of_row[row]]
    known = ~(acts.time[act] > asked)  # NaT compares False: known
    if policy.filters.deleted:
        known &= np.isnat(acts.deleted_at[act]) | (acts.deleted_at[act] > asked)
    row, act = row[known], act[known]
    extra_rows, extra_kinds, extra_acts = [row], [kind[act]], [act]
    for name, mark in (("long_comment", _long(acts, policy)), ("avatar_comment", acts.is_avatar)):
        if name in policy.drop or name not in names:
            continue
        again = mark[act] & _is_comment(acts)[act]
        extra_rows.append(row[again])
        extra_kinds.append(np.full(int(again.sum()), names.index(name), dtype=np.int64))
        extra_acts.append(act[again])
    return InteractionCounts(
        n=feed.n,
        names=names,
        row=np.concatenate(extra_rows),
        kind=np.concatenate(extra_kinds),
        relation=acts.relation[np.concatenate(extra_acts)],
    )


def _kinds(acts: Interactions, policy: Policy) -> tuple[BoolArray, IntArray, tuple[str, ...]]:
    """Which acts count, the kind of each, and the names of the kinds."""
    names = tuple(
        dict.fromkeys(made for name in acts.kind.values for made in (name, *MADE_FROM.get(name, ())))
    )
    if "comment" in names or "reply" in names:
        names = tuple(dict.fromkeys((*names, "long_comment", "avatar_comment")))
    unique = acts.n_unique_tokens >= policy.significance.min_unique_tokens
    written = acts.is_written
    pictured = acts.has_photo | acts.has_video
    kind = np.array([names.index(name) for name in acts.kind.values], dtype=np.int64)[acts.kind.codes]
    base = kind.copy()
    for name in acts.kind.values:
        if name not in MADE_FROM:
            continue
        media_counts = name in ("reshare", "message") or policy.significance.media_counts_for_comments
        here = base == names.index(name)
        significant = unique | (pictured if media_counts else False)
        if name == "reshare":
            kind[here & written] = names.index("reshare_with_text")
        kind[here & significant] = names.index(f"significant_{name}")
    keep = np.ones(len(acts), dtype=bool)
    if policy.filters.single_character_comment:
        keep &= ~(acts.is_single_character & ~pictured & _is_comment(acts))
    dropped = [code for code, name in enumerate(names) if name in policy.drop]
    return keep & ~np.isin(kind, dropped), kind, names


def _is_comment(acts: Interactions) -> BoolArray:
    codes = [acts.kind.code_of("comment"), acts.kind.code_of("reply")]
    return np.isin(acts.kind.codes, codes)


def _long(acts: Interactions, policy: Policy) -> BoolArray:
    return acts.n_tokens >= policy.levers.long_comment_tokens


def _joined(feed: Feed, acts: Interactions, chosen: IntArray) -> tuple[IntArray, IntArray]:
    """All pairs of candidate row and act on its post, for the chosen acts."""
    index = {value: code for code, value in enumerate(feed.post_id.values)}
    translate = np.array([index.get(value, -1) for value in acts.post_id.values], dtype=np.int64)
    post = translate[acts.post_id.codes[chosen]] if len(acts) else np.zeros(0, dtype=np.int64)
    chosen, post = chosen[post >= 0], post[post >= 0]
    order = np.argsort(post, kind="stable")
    chosen, post = chosen[order], post[order]
    starts = np.searchsorted(post, feed.post_id.codes, side="left")
    lengths = np.searchsorted(post, feed.post_id.codes, side="right") - starts
    rows = np.repeat(np.arange(feed.n, dtype=np.int64), lengths)
    return rows, chosen[ragged_rows(starts.astype(np.int64), lengths.astype(np.int64))]

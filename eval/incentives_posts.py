"""A feed as posts, each once: what was gathered on it, by whom, and whose it is.

Incentives are those of who posts, so a post that a hundred requests show counts once. Where the feed holds
predicted probabilities these are of a pair of viewer and post, and each candidate stays a row of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eval.gaming import Acts
from eval.outcomes import COMMENTS
from reranker.columns import BoolArray, FloatArray, IntArray, StringColumn
from reranker.feed import Feed
from reranker.interactions import Interactions
from reranker.signals import REACTIONS, RELATIONS
from reranker.significance import n_unique_tokens

FEW_TOKENS = 5  # unique, below which a comment is not significant (W7)


@dataclass(frozen=True, eq=False)
class Posts:
    """p posts of a feed.

    Attributes:
        feed: where they are from.
        row: (p,) the first candidate of each.
        unit: (p,) code of who is independent: the publisher, else the author, else the post itself.
        unit_name: what most of the units are, in the plural.
        counts: by signal (p,), NaN where it was not measured; single acts counted among them.
    """

    feed: Feed
    row: IntArray
    unit: IntArray
    unit_name: str
    counts: dict[str, FloatArray]

    @property
    def n(self) -> int:
        """Number of posts."""
        return len(self.row)

    def ids(self, posts: Sequence[int]) -> list[str]:
        """Their post ids."""
        return [str(self.feed.post_id[int(self.row[post])]) for post in posts]

    def take(self, values: FloatArray) -> FloatArray:
        """(p,) the mean over a post's candidates of values (n,), NaN left out."""
        known = ~np.isnan(values)
        code = self.post_of_row
        n = np.bincount(code[known], minlength=self.n)
        total = np.bincount(code[known], values[known], self.n)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: FloatArray = np.where(n > 0, total / n, np.nan)
        return mean

    def total(self, names: Sequence[str]) -> FloatArray:
        """(p,) sum of the signals that were measured, NaN where none was."""
        measured = [self.counts[name] for name in names if name in self.counts]
        if not measured:
            return np.full(self.n, np.nan)
        table = np.array(measured)
        return np.where(np.isnan(table).all(axis=0), np.nan, np.nansum(table, axis=0))

    @cached_property
    def publisher(self) -> StringColumn:
        """(p,) the publisher, else the author."""
        publisher = self.feed.publisher.take(self.row)
        author = self.feed.author.take(self.row)
        return StringColumn.from_values(
            [one if one is not None else other for one, other in zip(publisher, author, strict=True)]
        )

    @cached_property
    def post_of_row(self) -> IntArray:
        """(n,) the post of each candidate."""
        if self.feed.signals.kind == "probabilities":
            return np.arange(self.feed.n, dtype=np.int64)
        lookup = np.full(len(self.feed.post_id.values), -1, dtype=np.int64)
        lookup[self.feed.post_id.codes[self.row]] = np.arange(self.n)
        return lookup[self.feed.post_id.codes]


def posts_of(feed: Feed) -> Posts:
    """The posts of a feed with all that was gathered on them, acts after the request included.

    Where several requests show a post with other totals, the first counts, as in the baseline of anger.
    """
    if feed.signals.kind == "probabilities":
        row = np.arange(feed.n, dtype=np.int64)
    else:
        row = np.sort(np.unique(feed.post_id.codes, return_index=True)[1]).astype(np.int64)
    counts = {name: feed.signals.get(name)[row] for name in feed.signals.names}
    counts = {name: values for name, values in counts.items() if not np.isnan(values).all()}
    acts = feed.interactions
    if acts is not None and len(acts):
        post = acts_on(feed, row, acts)
        for name in acts.kind.present():
            of_kind = (acts.kind.codes == acts.kind.code_of(name)) & (post >= 0)
            counts[name] = np.bincount(post[of_kind], minlength=len(row)).astype(np.float64)
    unit, unit_name = _units(feed, row)
    return Posts(feed, row, unit, unit_name, counts)


def acts_on(feed: Feed, row: IntArray, acts: Interactions) -> IntArray:
    """(m,) the post of each act, -1 where the feed does not have it."""
    place = {feed.post_id[int(at)]: post for post, at in enumerate(row.tolist())}
    lookup = np.array([place.get(name, -1) for name in acts.post_id.values] + [-1], dtype=np.int64)
    found: IntArray = lookup[acts.post_id.codes]
    return found


def _units(feed: Feed, row: IntArray) -> tuple[IntArray, str]:
    publisher, author = feed.publisher.codes[row], feed.author.codes[row]
    n = len(row)
    unit = np.where(
        publisher >= 0,
        publisher.astype(np.int64),
        np.where(author >= 0, author.astype(np.int64) + 2**32, np.arange(n, dtype=np.int64) + 2**33),
    )
    of = [(publisher >= 0).sum(), ((publisher < 0) & (author >= 0)).sum()]
    names = [name for name, some in zip(("publishers", "authors"), of, strict=True) if some]
    if n > sum(of):
        names.append("posts")
    return np.unique(unit, return_inverse=True)[1].astype(np.int64), " and ".join(names)


def comment_acts(posts: Posts) -> Acts | None:
    """What is known of single comments with their accounts; None where the feed has none."""
    acts = posts.feed.interactions
    return None if acts is None else _acts(posts, acts, COMMENTS)


def reaction_acts(posts: Posts) -> Acts | None:
    """The same of single reactions."""
    acts = posts.feed.interactions
    return None if acts is None else _acts(posts, acts, REACTIONS)


def angry_acts(posts: Posts) -> Acts | None:
    """Angry reactions by single acts, else by the feed's totals, accounts and busiest hour; None without."""
    if "angry" not in posts.counts or posts.feed.signals.kind == "probabilities":
        return None
    acts = posts.feed.interactions
    found = None if acts is None else _acts(posts, acts, ("angry",))
    reactions = posts.total(REACTIONS)
    if found is None:
        angry = posts.counts["angry"]
        accounts, peak = posts.feed.angry_accounts[posts.row], posts.feed.angry_peak_share[posts.row]
        unknown = np.full(posts.n, np.nan)
        repeats = np.maximum(angry - np.minimum(accounts, angry), 0.0)
        found = Acts(angry, repeats, unknown, np.round(peak * angry), unknown)
    return Acts(
        found.n, found.repeats, found.newcomers, found.peak, found.alike, kinds={"reactions": reactions}
    )


def _acts(posts: Posts, acts: Interactions, names: Sequence[str]) -> Acts | None:
    """Sums per post over the acts of some kinds whose account is known."""
    codes = [acts.kind.code_of(name) for name in names]
    post = acts_on(posts.feed, posts.row, acts)
    chosen = np.flatnonzero(np.isin(acts.kind.codes, codes) & (post >= 0))
    if not len(chosen) or acts.actor.is_null[chosen].all():
        return None
    at, actor = post[chosen], acts.actor.codes[chosen].astype(np.int64)
    width = len(acts.actor.values) + 1
    n = np.bincount(at, minlength=posts.n).astype(np.float64)
    known = np.bincount(at, actor >= 0, posts.n) == n
    pair = np.unique(at * width + actor % width)  # an account that is not known comes last
    distinct = np.bincount(pair // width, minlength=posts.n)
    n_posts_of_actor = np.bincount(pair % width, minlength=width)
    new = n_posts_of_actor[actor % width] == 1
    kinds = {}
    for name in names:
        of_kind = acts.kind.codes[chosen] == acts.kind.code_of(name)
        if of_kind.any() and len(names) > 1:
            kinds[name] = np.bincount(at[of_kind], minlength=posts.n).astype(np.float64)
    return Acts(
        n=n,
        repeats=np.where(known, n - distinct, np.nan),
        newcomers=np.where(known, np.bincount(at, new, posts.n), np.nan),
        peak=_peaks(at, acts.time[chosen], posts.n),
        alike=_alike(at, acts.text.take(chosen), posts.n),
        kinds=kinds,
    )


def _peaks(post: IntArray, time: np.ndarray[tuple[int], np.dtype[np.datetime64]], n: int) -> FloatArray:
    """(n,) the most acts on a post within one hour; NaN where a time is not known."""
    known = ~np.isnat(time)
    if not known.any():
        return np.full(n, np.nan)
    start = time[known].min()
    seconds = (time[known] - start) / np.timedelta64(1, "s")
    span = float(seconds.max()) + 2 * 3_600.0
    key = np.sort(post[known] * span + seconds)
    within = np.searchsorted(key, key + 3_600.0, side="right") - np.arange(len(key))
    most = np.zeros(n)
    np.maximum.at(most, (key // span).astype(np.int64), within.astype(np.float64))
    every = np.bincount(post[known], minlength=n) == np.bincount(post, minlength=n)
    found: FloatArray = np.where(every, most, np.nan)
    return found


def _alike(post: IntArray, text: StringColumn, n: int) -> FloatArray:
    """(n,) comments of few unique tokens, or whose text another comment of the post has."""
    if text.is_null.all():
        return np.full(n, np.nan)
    few = np.ones(len(text.values) + 1, dtype=bool)
    for code in np.unique(text.codes[text.codes >= 0]).tolist():
        few[code] = n_unique_tokens(text.values[code]) < FEW_TOKENS
    pair = post * (len(text.values) + 1) + text.codes
    _, back, count = np.unique(pair, return_inverse=True, return_counts=True)
    alike: BoolArray = few[text.codes] | ((count[back] > 1) & (text.codes >= 0))
    return np.bincount(post, alike, n).astype(np.float64)


def anger_by_relation(posts: Posts) -> tuple[FloatArray, FloatArray] | None:
    """(p, 7) angry and all reactions by relation of the sender, unknown last; None where it is not known.

    From single acts; or, where the feed predicts what this viewer does, from the viewer's own relation, a row
    being a view.
    """
    acts, width = posts.feed.interactions, len(RELATIONS) + 1
    if posts.feed.signals.kind == "probabilities" and "angry" in posts.counts:
        own = np.where(posts.feed.relation < 0, width - 1, posts.feed.relation)
        of_viewer = (own[:, None] == np.arange(width)).astype(np.float64)
        angry = np.nan_to_num(posts.counts["angry"])
        return of_viewer * angry[:, None], of_viewer * np.nan_to_num(posts.total(REACTIONS))[:, None]
    if acts is None:
        return None
    post = acts_on(posts.feed, posts.row, acts)
    reaction = np.isin(acts.kind.codes, [acts.kind.code_of(name) for name in REACTIONS]) & (post >= 0)
    if not reaction.any():
        return None
    relation = np.where(acts.relation < 0, width - 1, acts.relation).astype(np.int64)
    made = []
    for rows in (reaction & (acts.kind.codes == acts.kind.code_of("angry")), reaction):
        flat = np.bincount(post[rows] * width + relation[rows], minlength=posts.n * width)
        made.append(flat.reshape(posts.n, width).astype(np.float64))
    return made[0], made[1]

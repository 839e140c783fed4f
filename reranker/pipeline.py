"""`Reranker(policy, scorer).rank(feed)`: the one path from a feed to a ranking.

Requests are worked through in blocks, one thread each; nothing a block computes depends on another block,
so a batch equals its parts.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from models.scores import HarmScores, Scorer
from reranker.anger import AngerBaseline, AngerTest, measure_anger
from reranker.columns import BoolArray, FeedError, FloatArray, IntArray
from reranker.demotion import lowered
from reranker.engagement import Engagement, measure_engagement, request_sums
from reranker.exploration import draw_order, request_keys
from reranker.feed import Feed
from reranker.policy import Policy
from reranker.ranking import Ranking
from reranker.scoring import Columns, Job, score_block, unit_hash
from reranker.slate import author_counts, author_decay, limit_moves, order_threads, sort_requests
from reranker.value import Harms

BLOCK_ROWS = 131_072  # smaller ones spend their time handing the GIL over


class Reranker:
    """Ranks feeds by a policy.

    Args:
        policy: what decides.
        scorer: estimates harm from text and links; None leaves every term that needs it unscored.
        baseline: what anger is usual for each publisher; None leaves the anger term unscored.

    Example:
        >>> from reranker.assembly import feed_from_columns
        >>> from reranker.presets import load_policy
        >>> feed = feed_from_columns({"request_id": ["r", "r"], "post_id": ["a", "b"], "like": [3, 9]})
        >>> Reranker(load_policy("fb-2018-h1")).rank(feed).ids()
        ['b', 'a']
    """

    def __init__(
        self, policy: Policy, scorer: Scorer | None = None, *, baseline: AngerBaseline | None = None
    ) -> None:
        self.policy = policy
        self.scorer = scorer
        self.baseline = baseline

    def score(self, feed: Feed) -> Harms | None:
        """Harm of each candidate and tone of its comments; each distinct text is read once."""
        return None if self.scorer is None else score_harms(feed, self.scorer)

    def rank(self, feed: Feed, harms: Harms | None = None) -> Ranking:
        """The ranking of every request.

        Args:
            feed: the candidates.
            harms: scores made before, by `score`, so that several policies share one reading.

        Raises:
            FeedError: if the policy needs a column that this feed lacks, or harms are of another length.
        """
        policy = self.policy
        harms = self.score(feed) if harms is None else harms
        if harms is not None and harms.posts.n != feed.n:
            raise FeedError(f"harms: expected scores of {feed.n} candidates, got {harms.posts.n}")
        _check_kind(feed, policy)
        engagement = measure_engagement(feed, policy)
        anger = self._anger(feed, engagement)
        labels = _label_score(feed, policy, harms)
        job = Job(feed, policy, harms, engagement, anger, labels)
        columns = Columns.empty(feed.n)
        _in_blocks(feed.offsets, BLOCK_ROWS, lambda start, stop: score_block(columns, job, start, stop))
        held_out = _held_out(feed, policy)
        if held_out.any():
            rows = held_out[feed.request_of_row]
            columns.multiplier[rows], columns.score[rows] = 1.0, columns.bounded[rows]
        removed = _removed(feed, policy, harms, held_out)
        order, diversity = _order(feed, policy, columns.score, removed, held_out)
        offsets = _kept_offsets(feed.offsets, removed)
        order, propensity = _explored(feed, policy, columns.score, (order, offsets), held_out)
        return Ranking(
            job=job,
            order=order,
            offsets=offsets,
            score=columns.score,
            engagement=columns.positive,
            good=columns.good,
            negative=columns.negative,
            base_score=columns.base_score,
            bounded=columns.bounded,
            multiplier=columns.multiplier,
            diversity=diversity,
            removed=removed,
            held_out=held_out,
            log_prefix_propensity=propensity,
            unscored=(*engagement.unscored, *_unscored_terms(feed, policy, harms, anger)),
        )

    def _anger(self, feed: Feed, engagement: Engagement) -> AngerTest | None:
        rule = self.policy.anger
        if rule is None or self.baseline is None or feed.signals.kind != "counts":
            return None
        return measure_anger(feed, engagement, self.baseline, rule)


def score_harms(feed: Feed, scorer: Scorer) -> Harms:
    """Scores of the candidates, and the mean toxicity of the comments on each."""
    acts = feed.interactions
    posts = scorer(feed.content())
    return harms_of_scores(feed, posts, None if acts is None or not len(acts) else scorer(acts.content()))


def harms_of_scores(feed: Feed, posts: HarmScores, comments: HarmScores | None) -> Harms:
    """The harms of the candidates from scores made before, of them and of the feed's single acts."""
    tone = np.full(feed.n, np.nan)
    acts = feed.interactions
    if acts is not None and comments is not None and "toxicity" in comments.labels:
        toxicity = comments.column("toxicity")[0].astype(np.float64)
        scored = ~np.isnan(toxicity)
        index = {value: code for code, value in enumerate(acts.post_id.values)}
        size = len(acts.post_id.values)
        total = np.bincount(acts.post_id.codes[scored], weights=toxicity[scored], minlength=size)
        count = np.bincount(acts.post_id.codes[scored], minlength=size)
        mean = np.append(total / np.where(count > 0, count, np.nan), np.nan)
        lookup = np.array([index.get(value, -1) for value in feed.post_id.values], dtype=np.int64)
        tone = mean[lookup[feed.post_id.codes]]
    return Harms(posts, tone)


def _check_kind(feed: Feed, policy: Policy) -> None:
    kind = feed.signals.kind
    if policy.score.expects not in ("either", kind) and feed.signals.names:
        raise FeedError(f"{policy.name}: expected signals as {policy.score.expects}, got {kind}")


def _in_blocks(offsets: IntArray, rows: int, work: Callable[[int, int], None]) -> None:
    """Call work(start, stop) on runs of whole requests of about so many rows, on all cores."""
    blocks, start = [], 0
    while start < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[start] + rows, side="right")) - 1
        stop = min(max(stop, start + 1), len(offsets) - 1)
        blocks.append((start, stop))
        start = stop
    if len(blocks) < 2:
        for start, stop in blocks:
            work(start, stop)
        return
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(work, start, stop) for start, stop in blocks]:
            done.result()


def _label_score(feed: Feed, policy: Policy, harms: Harms | None) -> FloatArray | None:
    """(n,) weighted label probabilities; an unscorable post takes the score of its neighbour above."""
    if not policy.labels or harms is None:
        return None
    total, known = np.zeros(feed.n), np.zeros(feed.n, dtype=bool)
    for label, weight in policy.labels.items():
        if label in harms.posts.labels:
            probability = harms.posts.column(label)[0].astype(np.float64)
            known |= ~np.isnan(probability)
            total += weight * np.nan_to_num(probability)
    order = np.lexsort((feed.original_order, feed.request_of_row))
    first = feed.offsets[:-1][feed.request_of_row]
    at = np.arange(feed.n)
    source = np.maximum.accumulate(np.where(known[order], at, -1))
    filled = np.where(source >= first, total[order][np.maximum(source, 0)], 0.0)
    result = np.empty(feed.n)
    result[order] = filled
    return result


def _removed(feed: Feed, policy: Policy, harms: Harms | None, held_out: BoolArray) -> BoolArray:
    """Posts beyond a removal line, with the replies under them.

    A request is never emptied: where all would go, all stay, demoted.
    """
    removed = np.zeros(feed.n, dtype=bool)
    if harms is None:
        return removed
    for label, curve in policy.demotion.items():
        if curve.removal is not None and label in harms.posts.labels:
            probability, confidence = harms.posts.column(label)
            removed |= (probability >= curve.removal) & (confidence >= curve.removal)
    removed &= ~held_out[feed.request_of_row]
    if removed.any():
        if "parent_id" not in feed.missing:
            parent = _parents(feed)
            while (below := (parent >= 0) & removed[parent] & ~removed).any():
                removed |= below
        left = request_sums((~removed).astype(np.float64), feed.offsets)
        removed &= (left > 0)[feed.request_of_row]
    return removed


def _held_out(feed: Feed, policy: Policy) -> BoolArray:
    """(r,) requests of the hashed share of users who keep the original order (E8)."""
    if policy.holdout.share == 0.0:
        return np.zeros(feed.n_requests, dtype=bool)
    if "user" in feed.missing:
        raise FeedError(f"user: expected a column for the holdout of policy {policy.name}, got none")
    chosen = [
        unit_hash(f"{policy.holdout.salt}\x1f{user}") < policy.holdout.share for user in feed.user.values
    ]
    return np.array([*chosen, False])[feed.user.codes]


def _order(
    feed: Feed, policy: Policy, score: FloatArray, removed: BoolArray, held_out: BoolArray
) -> tuple[IntArray, FloatArray]:
    """Kept rows in their final order, and the diversity multiplier; `score` is lowered by it in place."""
    rule, original, offsets = policy.slate, feed.original_order, feed.offsets
    has_author = "author" not in feed.missing
    diversity, order = np.ones(feed.n), np.empty(feed.n, dtype=np.int64)

    def sort(start: int, stop: int) -> None:
        rows = np.s_[int(offsets[start]) : int(offsets[stop])]
        own = offsets[start : stop + 1] - rows.start
        author = feed.author.take(rows)
        sorted_rows = sort_requests(score[rows], original[rows], own)
        if rule.author_decay < 1.0 and has_author:
            diversity[rows] = author_decay(author_counts(sorted_rows, author, removed[rows], own), rule)
            score[rows] = lowered(score[rows], diversity[rows])
            sorted_rows = sort_requests(score[rows], original[rows], own)
        if rule.author_cap is not None and has_author:
            over = author_counts(sorted_rows, author, removed[rows], own) >= rule.author_cap
            request = np.repeat(np.arange(stop - start), np.diff(own))
            sorted_rows = sorted_rows[np.lexsort((over[sorted_rows], request))]  # stable: those over go last
        order[rows] = sorted_rows + rows.start

    before = score.copy() if held_out.any() else score
    _in_blocks(offsets, BLOCK_ROWS, sort)
    if held_out.any():
        diversity[held_out[feed.request_of_row]] = 1.0
        np.copyto(score, before, where=held_out[feed.request_of_row])
        as_it_came = np.lexsort((original, feed.request_of_row))
        order = np.where(held_out[feed.request_of_row], as_it_came, order)
    kept = _kept_offsets(offsets, removed)
    if removed.any():
        order = order[~removed[order]]
    if rule.max_demotion_positions is not None:
        order = limit_moves(order, original, kept, rule.max_demotion_positions)
    if rule.thread_order and "parent_id" not in feed.missing:
        parent = np.where(held_out[feed.request_of_row], -1, _parents(feed))
        order = order_threads(order, parent, kept)
    return order, diversity


def _explored(
    feed: Feed, policy: Policy, score: FloatArray, ordered: tuple[IntArray, IntArray], held_out: BoolArray
) -> tuple[IntArray, FloatArray | None]:
    """The order with the policy's ranks drawn, and (n,) the log probability of each prefix of it."""
    (order, offsets), rule = ordered, policy.exploration
    if rule is None:
        return order, None
    if policy.slate.thread_order and "parent_id" not in feed.missing:
        replies = np.flatnonzero(_parents(feed) >= 0)
        if replies.size:
            got = f"one at row {replies[0]}; set slate.thread_order=false"
            raise FeedError(f"parent_id: expected no reply in a feed to explore, got {got}")
    request = np.repeat(np.arange(feed.n_requests), np.diff(offsets))
    place = np.arange(len(order)) - offsets[request]
    value = np.where(held_out[request], -place, score[order])  # held-out orders are not those of the score
    keys = request_keys(feed.request_id.values)[feed.request_id.codes]
    temperature = np.where(held_out, 0.0, rule.temperature)
    at, log_prefix = draw_order(value, offsets, temperature, rule, seed=policy.score.seed, request_key=keys)
    propensity = np.full(feed.n, np.nan)
    propensity[order[at]] = log_prefix
    return order[at], propensity


def _parents(feed: Feed) -> IntArray:
    """(n,) the row of each candidate's parent in its request, -1 where it has none or it is not there."""
    known = {value: code for code, value in enumerate(feed.post_id.values)}
    translate = np.array([known.get(value, -1) for value in feed.parent_id.values] + [-1], dtype=np.int64)
    wanted = translate[feed.parent_id.codes]
    width = np.int64(len(feed.post_id.values) + 1)
    key = feed.request_of_row * width + feed.post_id.codes
    by_key = np.argsort(key)
    search = feed.request_of_row * width + wanted
    at = np.minimum(np.searchsorted(key[by_key], search), max(feed.n - 1, 0))
    found = (wanted >= 0) & (key[by_key][at] == search)
    return np.where(found, by_key[at], -1)


def _kept_offsets(offsets: IntArray, removed: BoolArray) -> IntArray:
    if not removed.any():
        return offsets
    kept = np.diff(offsets) - request_sums(removed.astype(np.float64), offsets).astype(np.int64)
    return np.concatenate(([0], np.cumsum(kept)))


def _unscored_terms(
    feed: Feed, policy: Policy, harms: Harms | None, anger: AngerTest | None
) -> tuple[str, ...]:
    """Harm terms that could not be scored, in words."""
    terms: list[str] = []
    by_count: dict[int, list[str]] = {}
    all_scored = harms is not None and not np.isnan(harms.posts.probability.sum())
    for label in policy.used_labels():
        if harms is None or label not in harms.posts.labels:
            by_count.setdefault(feed.n, []).append(label)
        elif not all_scored:
            n_unscored = int(np.isnan(harms.posts.column(label)[0]).sum())
            by_count.setdefault(n_unscored, []).append(label)
    for count, labels in by_count.items():
        if count:
            some = "" if count == feed.n else f" for {count} of {feed.n} candidates"
            terms.append(f"{'label' if len(labels) == 1 else 'labels'} {', '.join(labels)}{some}")
    if policy.value.comment_toxicity and (harms is None or bool(np.isnan(harms.comment_toxicity).all())):
        terms.append("tone of comments (interactions)")
    if policy.anger is not None and feed.n:
        if anger is None:
            terms.append("anger (counts of reactions and a baseline)")
        elif bool(np.isnan(feed.angry_peak_share).all()):
            terms.append("anger guard against bursts (angry_peak_share)")
    if policy.repeat_offender is not None and "author_violations" in feed.missing:
        terms.append("repeat offenders (author_violations)")
    if policy.fatigue is not None and "see_less_requests" in feed.missing:
        terms.append("fatigue (see_less_requests)")
    slate = policy.slate
    if (slate.author_decay < 1.0 or slate.author_cap is not None) and "author" in feed.missing:
        terms.append("author diversity (author)")
    return tuple(terms)

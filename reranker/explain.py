"""Why a post stands where it stands: signed terms that add up to its score, and two plain sentences."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from reranker.columns import FeedError, FloatArray, closest
from reranker.demotion import fit_bound, lowered
from reranker.ranking import Ranking
from reranker.scoring import bound_reference, demotions, read, signal_parts
from reranker.value import endorsement


@dataclass(frozen=True)
class Term:
    """One signed part of a final score.

    `amount` is what it adds; `kind` is reference, engagement, cost, label, rule, demotion or diversity.
    For engagement `count`, `good` and `bad` say how many units there were and how their worth in likes
    splits into what viewers would and would not endorse.
    """

    name: str
    kind: str
    amount: float
    count: float | None = None
    good: float | None = None
    bad: float | None = None


@dataclass(frozen=True)
class Explanation:
    """The position of one post in one request.

    `terms` add up to `score` to 1e-9 of its size. `rank` is from 1, None where the post was removed.
    `explored` says that its rank is one that the policy draws.
    """

    post_id: str
    request_id: str
    rank: int | None
    n_shown: int
    score: float
    base_score: float
    multiplier: float
    terms: tuple[Term, ...]
    harms: dict[str, float | None]
    sentences: tuple[str, str]
    held_out: bool
    explored: bool
    policy: str
    digest: str
    model: str | None
    unscored: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The explanation as JSON-ready values."""
        return asdict(self)


def explain(ranking: Ranking, post_id: str, request_id: str | None = None) -> Explanation:
    """Why a post stands where it stands.

    Args:
        ranking: the ranking that holds the post.
        post_id: the post.
        request_id: which request; may be left out where only one shows the post.

    Raises:
        FeedError: if the feed has no such post or request, or several requests show it.
    """
    row = _row_of(ranking, post_id, request_id)
    return _explained(ranking, row, _request_of(ranking, int(ranking.feed.request_of_row[row])))


def explain_all(ranking: Ranking) -> Iterator[Explanation]:
    """The explanations of every post, request by request: those shown in their order, then those removed."""
    for request in range(ranking.feed.n_requests):
        shared = _request_of(ranking, request)
        low, high = ranking.feed.offsets[request : request + 2]
        shown = ranking.order[ranking.offsets[request] : ranking.offsets[request + 1]]
        removed = low + np.flatnonzero(ranking.removed[low:high])
        for row in (*shown.tolist(), *removed.tolist()):
            yield _explained(ranking, row, shared)


@dataclass(frozen=True, eq=False)
class _Request:
    """What the explanations of one request share.

    `quality` (rows,), `parts` by signal and `multipliers` by demotion, each (rows,), are those of its rows;
    `centre` and `scale` are of the bound, None where scores are not bounded.
    """

    index: int
    rows: slice
    quality: FloatArray
    parts: Mapping[str, FloatArray]
    multipliers: Mapping[str, FloatArray]
    centre: float | None
    scale: float | None

    def of_row(self, row: int) -> list[tuple[str, float]]:
        """Name and multiplier of each demotion for one row of the feed."""
        here = row - self.rows.start
        return [(name, float(values[here])) for name, values in self.multipliers.items()]


def _request_of(ranking: Ranking, request: int) -> _Request:
    low, high = (int(v) for v in ranking.feed.offsets[request : request + 2])
    rows, offsets = np.s_[low:high], np.array([0, high - low])
    quality, parts = np.ones(high - low), {}
    if ranking.policy.score.order_by == "engagement":
        quality, _ = read(ranking.job, rows)
        parts = signal_parts(ranking.job, rows, offsets)
    multipliers = {} if ranking.held_out[request] else dict(demotions(ranking.job, rows))
    if not ranking.policy.score.bounded:
        return _Request(request, rows, quality, parts, multipliers, None, None)
    total = ranking.engagement[rows] + ranking.negative[rows]
    reference = bound_reference(ranking.policy, total, ranking.base_score[rows])
    bound = fit_bound(reference, offsets)
    bounds = float(bound.centre[0]), float(bound.scale[0])
    return _Request(request, rows, quality, parts, multipliers, *bounds)


def _explained(ranking: Ranking, row: int, shared: _Request) -> Explanation:
    feed, request = ranking.feed, shared.index
    terms = tuple(_terms(ranking, row, shared))
    harms: dict[str, float | None] = {}
    if ranking.harms is not None:
        for label in ranking.policy.used_labels():
            if label in ranking.harms.posts.labels:
                value = float(ranking.harms.posts.column(label)[0][row])
                harms[label] = None if np.isnan(value) else value
    position = int(ranking.position[row])
    n_shown = int(np.diff(ranking.offsets)[request])
    return Explanation(
        post_id=str(feed.post_id[row]),
        request_id=str(feed.request_id[request]),
        rank=None if position < 0 else position + 1,
        n_shown=n_shown,
        score=float(ranking.score[row]),
        base_score=float(ranking.base_score[row]),
        multiplier=float(ranking.multiplier[row]),
        terms=terms,
        harms=harms,
        sentences=(
            _position_sentence(ranking, row, terms),
            _demotion_sentence(ranking, row, shared, harms),
        ),
        held_out=bool(ranking.held_out[request]),
        explored=_is_explored(ranking, row),
        policy=ranking.policy.name,
        digest=ranking.policy.digest,
        model=None if ranking.harms is None else ranking.harms.posts.model,
        unscored=ranking.unscored,
    )


def _row_of(ranking: Ranking, post_id: str, request_id: str | None) -> int:
    feed = ranking.feed
    found = np.flatnonzero(feed.post_id.codes == feed.post_id.code_of(post_id))
    if not found.size:
        hint = closest(post_id, feed.post_id.values[:10_000])
        raise FeedError(f'post "{post_id}": expected a post of the feed{hint}')
    if request_id is not None:
        request = feed.request_id.codes[feed.request_of_row[found]]
        found = found[request == feed.request_id.code_of(request_id)]
        if not found.size:
            raise FeedError(f'post "{post_id}": expected a request that shows it, got "{request_id}"')
    if found.size > 1:
        requests = [str(feed.request_id[int(feed.request_of_row[row])]) for row in found[:3]]
        raise FeedError(
            f'post "{post_id}": expected a request id, because {found.size} requests show it '
            f"({', '.join(requests)}, ...)"
        )
    return int(found[0])


def _terms(ranking: Ranking, row: int, shared: _Request) -> Iterator[Term]:
    """All terms, in the order of operations."""
    base = list(_base_terms(ranking, row, shared))
    base_score = float(ranking.base_score[row])
    rest = base_score - sum(term.amount for term in base)
    if abs(rest) > 1e-9 * max(1.0, abs(base_score)):
        base.append(Term(_rule_name(ranking), "rule", rest))
    slope = 1.0
    if shared.centre is not None and shared.scale is not None:
        slope = 0.5 / (shared.scale + abs(base_score - shared.centre))
        yield Term("half, less the request's median engagement", "reference", 0.5 - slope * shared.centre)
    for term in base:
        yield Term(term.name, term.kind, term.amount * slope, term.count, term.good, term.bad)
    bounded, product, before = float(ranking.bounded[row]), 1.0, float(ranking.bounded[row])
    for name, multiplier in shared.of_row(row):
        product *= multiplier
        after = float(lowered(np.array([bounded]), np.array([product]))[0])
        if multiplier < 1.0:
            yield Term(name, "demotion", after - before)
        before = after
    if ranking.diversity[row] < 1.0:
        yield Term("further post of the same author", "diversity", float(ranking.score[row]) - before)


def _base_terms(ranking: Ranking, row: int, shared: _Request) -> Iterator[Term]:
    """The parts of the base score, in likes."""
    job, policy = ranking.job, ranking.policy
    if policy.score.order_by != "engagement":
        return
    here = row - shared.rows.start
    split = bool(policy.value.endorsed or policy.value.sensitivity)
    for name, part in shared.parts.items():
        amount = float(part[here])
        gain = max(amount, 0.0)
        good = gain
        if split:
            always, scaled = endorsement(policy, (name,))
            good = gain * float(always[0] + scaled[0] * shared.quality[here])
        bad = gain - good
        worth = good + policy.value.bad_weight * bad + min(amount, 0.0)
        yield Term(name, "engagement", worth, _count(ranking, name, row), good, bad)
    if job.engagement.cost is not None:
        yield Term("computing load", "cost", -float(job.engagement.cost[row]))
    if job.labels is not None and job.harms is not None:
        for label, weight in policy.labels.items():
            if label in job.harms.posts.labels:
                value = float(job.harms.posts.column(label)[0][row])
                if not np.isnan(value):
                    yield Term(label, "label", weight * value)


def _count(ranking: Ranking, name: str, row: int) -> float | None:
    """How many units of a signal the post has, where they are given as totals."""
    value = float(ranking.feed.signals.get(name)[row]) if name in ranking.feed.signals.names else np.nan
    return None if np.isnan(value) else value


def _rule_name(ranking: Ranking) -> str:
    policy = ranking.policy
    if policy.score.order_by != "engagement":
        return f"{policy.score.order_by} order"
    return "squash of negative sums" if policy.score.negative_squash else "score of the neighbour above"


_WITHOUT_ENGAGEMENT = {
    "chronological": " because newer posts come first; engagement does not count.",
    "uniform": " in an order that is random by design.",
}


def _position_sentence(ranking: Ranking, row: int, terms: tuple[Term, ...]) -> str:
    position = int(ranking.position[row])
    if position < 0:
        return "The post was removed: it, or the post it replies to, is beyond the policy's removal line."
    n_shown = int(np.diff(ranking.offsets)[ranking.feed.request_of_row[row]])
    where = f"The post is number {position + 1} of {n_shown}"
    if _is_explored(ranking, row):
        where += f", drawn by chance (number {_by_score(ranking, row)} by its score alone)"
    if ranking.held_out[ranking.feed.request_of_row[row]]:
        return f"{where} because this viewer is in the holdout that keeps the original order."
    order_by = ranking.policy.score.order_by
    if order_by in _WITHOUT_ENGAGEMENT:
        return where + _WITHOUT_ENGAGEMENT[order_by]
    if not (any(ranking.policy.every_weight()) or any(ranking.policy.labels.values())):
        return f"{where}: this policy gives weight to nothing, and what it does not move stays where it came."
    parts = sorted((t for t in terms if t.kind in ("engagement", "label")), key=lambda t: -abs(t.amount))[:3]
    named = ", ".join(t.name.replace("_", " ") for t in parts if t.amount)
    total, good = float(ranking.engagement[row]), float(ranking.good[row])
    if total == 0:
        nothing = (
            "it has no engagement yet" if any(ranking.policy.every_weight()) else "its text was not scored"
        )
        return f"{where}; what counts for it is {named or f'nothing, {nothing}'}."
    worth = f"its engagement is worth {total:,.4g} likes"
    if ranking.policy.value.bad_weight != 1.0:
        worth += f", of which {good:,.4g} are of a kind that people endorse on reflection"
    return f"{where}: {worth}, mostly {named}."


def _is_explored(ranking: Ranking, row: int) -> bool:
    rule, position = ranking.policy.exploration, int(ranking.position[row])
    if rule is None or ranking.held_out[ranking.feed.request_of_row[row]]:
        return False
    return rule.from_rank <= position + 1 <= rule.n_slots


def _by_score(ranking: Ranking, row: int) -> int:
    """The rank, from 1, that the order of the scores gives a post; equal ones keep the original order."""
    request = int(ranking.feed.request_of_row[row])
    rows = ranking.order[ranking.offsets[request] : ranking.offsets[request + 1]]
    score, came = ranking.score[rows], ranking.feed.original_order[rows]
    above = (score > ranking.score[row]) | (
        (score == ranking.score[row]) & (came < ranking.feed.original_order[row])
    )
    return 1 + int(above.sum())


def _demotion_sentence(ranking: Ranking, row: int, shared: _Request, harms: dict[str, float | None]) -> str:
    if ranking.held_out[ranking.feed.request_of_row[row]]:
        return "No demotion was applied to it."
    causes = []
    for name, multiplier in shared.of_row(row):
        if multiplier < 1.0:
            causes.append(f"{_cause(name, harms)} (-{100 * (1 - multiplier):.0f}%)")
    if causes:
        kept = 100 * float(ranking.multiplier[row])
        return f"It was moved down, to {kept:.0f}% of its score: {'; '.join(causes)}."
    policy = ranking.policy
    if not (policy.demotion or policy.anger or policy.repeat_offender or policy.fatigue):
        return "It was not demoted: this policy demotes nothing."
    unknown = [label.replace("_", " ") for label, value in harms.items() if value is None]
    if unknown:
        return f"It was not demoted; it could not be scored for {', '.join(unknown)}."
    if ranking.policy.demotion and ranking.harms is None:
        return "It was not demoted; no classifier has read it."
    return "It was not demoted: no estimate of harm reaches the policy's start of demotion."


def _cause(name: str, harms: dict[str, float | None]) -> str:
    if name == "anger":
        return "its share of angry reactions is far above what is usual for its publisher"
    if name == "repeat_offender":
        return "its author has broken the rules before"
    if name == "fatigue":
        return "this viewer asked for less of its author"
    value, words = harms.get(name), name.replace("_", " ")
    if value is None:
        return f"{words} could not be scored"
    return f"the estimated probability of {words} is {value:.2f}"


def signed_sum(terms: tuple[Term, ...]) -> float:
    """What the terms add up to."""
    amounts: FloatArray = np.array([term.amount for term in terms])
    return float(amounts.sum())

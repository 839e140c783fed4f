"""What a log of impressions holds and lacks, counted in one pass, and which estimators that supports."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FeedError
from reranker.exploration import (
    MAX_MARGINAL_CANDIDATES,
    MAX_MARGINAL_SLOTS,
    log_prefix_propensity,
    request_keys,
)
from reranker.impressions import FAMILIES, ImpressionLog, acted_slots

AGREEMENT = 1e-6  # of a logarithm of a probability, relative where that is above 1
MIN_SCORED = 0.98  # of the served slots: below it a prevalence is a bound


@dataclass
class LogSummary:
    """Counts over a log; `add` another batch.

    Attributes:
        n_requests, n_candidates, n_slots: in all.
        n_views: slots in view, where views were logged.
        n_acted, n_without_view: slots with an action, and those of them without a view.
        n_choices: requests with at least 2 candidates.
        n_unlogged: requests without propensities.
        n_drawn: requests whose slate could have been another.
        n_truncated, n_of_unknown_total: requests that had more candidates than were logged, or may have had.
        n_recomputed, n_disagreeing: slots whose propensity could be computed from score and temperature, and
            those where the logged one is another.
        n_unscored: by harm label, served slots without a probability.
        n_without_score, n_without_temperature: candidates and requests.
        most_candidates, most_slots: of one request.
        columns: by family the names; "optional" for the others that were logged.
        users: hashes of the users.
    """

    n_requests: int = 0
    n_candidates: int = 0
    n_slots: int = 0
    n_views: int = 0
    n_acted: int = 0
    n_without_view: int = 0
    n_choices: int = 0
    n_unlogged: int = 0
    n_drawn: int = 0
    n_truncated: int = 0
    n_of_unknown_total: int = 0
    n_recomputed: int = 0
    n_disagreeing: int = 0
    n_without_score: int = 0
    n_without_temperature: int = 0
    most_candidates: int = 0
    most_slots: int = 0
    n_unscored: dict[str, int] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    users: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))

    def add(self, log: ImpressionLog) -> None:
        """Count a batch in."""
        lengths, slots = np.diff(log.offsets), np.diff(log.slot_offsets)
        self.n_requests += log.n
        self.n_candidates += log.n_candidates
        self.n_slots += log.n_slots
        self.n_views += 0 if log.viewed is None else int(log.viewed.sum())
        self.n_acted += int(acted_slots(log).sum())
        self.n_without_view += int(log.without_view.sum())
        self.n_choices += int((lengths > 1).sum())
        self.n_unlogged += int((~log.has_propensity).sum())
        self.n_drawn += int(log.is_drawn.sum())
        self.n_of_unknown_total += log.n if log.n_total is None else 0
        self.n_truncated += 0 if log.n_total is None else int((log.n_total > lengths).sum())
        self.n_without_score += int(np.isnan(log.score).sum())
        heat = log.temperature
        self.n_without_temperature += log.n if heat is None else int(np.isnan(heat).sum())
        self.most_candidates = max(self.most_candidates, int(lengths.max(initial=0)))
        self.most_slots = max(self.most_slots, int(slots.max(initial=0)))
        for name, values in log.harm.items():
            unscored = int(np.isnan(values[log.slate]).sum())
            self.n_unscored[name] = self.n_unscored.get(name, 0) + unscored
        logged = {family: tuple(getattr(log, family)) for family in FAMILIES}
        optional = ("viewed", "dwell_ms", "time", "temperature", "from_rank", "n_total")
        logged["optional"] = tuple(name for name in optional if getattr(log, name) is not None)
        if not self.columns:
            self.columns = logged
        for family, names in logged.items():  # what any batch lacks, the log lacks
            self.columns[family] = tuple(name for name in self.columns[family] if name in names)
        self.users = np.union1d(self.users, request_keys(log.user.values)[np.unique(log.user.codes)])
        agrees = recomputed_agreement(log)
        self.n_recomputed += len(agrees)
        self.n_disagreeing += int((~agrees).sum())

    @property
    def n_users(self) -> int:
        """Distinct users."""
        return len(self.users)

    @property
    def has_views(self) -> bool:
        """Views were logged in every batch."""
        return "viewed" in self.columns.get("optional", ())

    def missing(self) -> list[str]:
        """What was not logged, in words; each line says what is lost by it."""
        had, lacking = self.columns, []
        optional = had.get("optional", ())
        for family, loss in _LOSS.items():
            if not (had.get(family) if family in FAMILIES else family in optional):
                lacking.append(f"{family}: {loss}")
        if self.n_unlogged:
            lacking.append(
                f"log_prefix_propensity: not logged for {self.n_unlogged} of {self.n_requests} requests"
            )
        if self.n_without_score:
            lacking.append(f"score: not logged for {self.n_without_score} of {self.n_candidates} candidates")
        for name, count in self.n_unscored.items():
            if count:
                lacking.append(f"harm.{name}: not scored in {count} of {self.n_slots} served slots")
        if self.n_truncated:
            lacking.append(f"candidates: cut short in {self.n_truncated} of {self.n_requests} requests")
        return lacking


_LOSS = {
    "viewed": "without views, exposure rests on a model of browsing alone",
    "harm": "without harm probabilities there is no exposure to harm",
    "p_action": "without the ranker's predictions no other policy can be tried on the candidates",
    "action": "without actions there is no activity",
    "temperature": "without it propensities cannot be checked against the scores",
    "n_total": "without it candidates that were not logged cannot be told",
    "segments": "without segments there are none to look into",
}


@dataclass(frozen=True)
class Support:
    """Whether a log supports an estimator, and why not, or with which limit."""

    estimator: str
    supported: bool
    why: str


def summarise(logs: Iterable[ImpressionLog]) -> LogSummary:
    """The counts of a log, batch after batch; holds 8 bytes per request and per user beside one batch.

    Raises:
        FeedError: a request is in two batches.
    """
    summary, keys = LogSummary(), [np.zeros(0, np.uint64)]
    for log in logs:
        summary.add(log)
        keys.append(request_keys(log.request_id.values)[log.request_id.codes])
    every = np.concatenate(keys)
    order = np.argsort(every, kind="stable")
    same = np.flatnonzero(every[order][1:] == every[order][:-1])
    if same.size:
        first, second = order[same[0]], order[same[0] + 1]
        raise FeedError(
            f"request_id: expected each request once, got the id of request {first} again at request {second}"
        )
    return summary


def recomputed_agreement(log: ImpressionLog) -> BoolArray:
    """(checked slots,) whether the logged propensity is that of Plackett-Luce over the logged scores.

    Only requests whose temperature, scores, propensities and candidates were all logged are checked.
    """
    if log.temperature is None:
        return np.zeros(0, dtype=np.bool_)
    unscored = np.zeros(log.n, dtype=np.bool_)
    unscored[log.request_of_row[np.isnan(log.score)]] = True
    known = ~np.isnan(log.temperature) & log.has_propensity & ~unscored
    if log.n_total is not None:
        known &= log.n_total == np.diff(log.offsets)
    cut = log if known.all() else log.take(np.flatnonzero(known))
    if cut.temperature is None or not cut.n_slots:
        return np.zeros(0, dtype=np.bool_)
    from_rank = 1 if cut.from_rank is None else cut.from_rank
    expected = log_prefix_propensity(
        cut.score, cut.offsets, cut.slate, cut.slot_offsets, cut.temperature, from_rank=from_rank
    )
    gap = np.abs(np.maximum(expected, -np.finfo(float).max) - cut.log_prefix_propensity)
    agrees: BoolArray = gap <= AGREEMENT * np.maximum(1.0, np.abs(cut.log_prefix_propensity))
    return agrees


def supported(found: LogSummary) -> tuple[Support, ...]:
    """Which estimators the log supports, before any looks at overlap, which their own gate does."""
    harm, action, predicted = (bool(found.columns.get(name)) for name in ("harm", "action", "p_action"))
    served = [
        (not found.has_views, "no views logged"),
        (not harm, "no harm probabilities logged"),
    ]
    lowest = min((1 - count / max(found.n_slots, 1) for count in found.n_unscored.values()), default=1.0)
    served_limit = "" if lowest >= MIN_SCORED else f"only {lowest:.1%} of the slots scored: as bounds"
    cut_short = f"{found.n_truncated} requests have candidates that were not logged: as bounds"
    cut_limit = cut_short if found.n_truncated else ""
    outcome = (not (found.has_views or action), "no views or actions logged")
    draws = [
        (found.n_requests == 0, "no requests"),
        (found.n_unlogged > 0, f"{found.n_unlogged} requests without propensities"),
        (found.n_drawn == 0, "no slate was drawn: the logger is deterministic"),
        (
            found.n_disagreeing > 0,
            f"{found.n_disagreeing} of {found.n_recomputed} propensities are not those of the scores at the "
            "logged temperature",
        ),
        outcome,
    ]
    fixed = found.n_choices - found.n_drawn
    fixed_limit = (
        f"{fixed} requests with a choice were not drawn: as bounds where they change" if fixed else ""
    )
    small = found.most_candidates <= MAX_MARGINAL_CANDIDATES and found.most_slots <= MAX_MARGINAL_SLOTS
    marginal = [
        (found.n_without_score > 0 or found.n_without_temperature > 0, "scores or temperature not logged"),
        (
            not small,
            f"marginals are exact for at most {MAX_MARGINAL_CANDIDATES} candidates and {MAX_MARGINAL_SLOTS} "
            f"slots, got {found.most_candidates} and {found.most_slots}",
        ),
    ]
    direct = [(not predicted, "no predictions logged"), outcome]
    rerank = [(not predicted, "no predictions logged"), (not harm, "no harm probabilities logged")]
    one_user = (found.n_users < 2, f"{found.n_users} users: expected at least 2")
    return (
        _support("prevalence as served", served, served_limit),
        _support("exposure under another policy (L0)", rerank, cut_limit),
        _support("direct method (model only)", direct, cut_limit),
        _support("SIPS, RIPS, SNIPS, DR, Switch-DR, DRos", draws, cut_limit or fixed_limit),
        _support("IIPS", draws + marginal, cut_limit or fixed_limit),
        _support("intervals", [one_user], ""),
    )


def _support(name: str, needs: list[tuple[bool, str]], limit: str) -> Support:
    lacking = [why for lacks, why in needs if lacks]
    return Support(name, not lacking, "; ".join(lacking) or limit)

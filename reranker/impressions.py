"""`ImpressionLog`: what was ranked, what was shown where, with which probability, and what came of it.

One request per row, ragged twice: `offsets` cut the candidates into requests, `slot_offsets` the slots. The
constructor checks everything once, and an evaluation trusts the type. What was not logged is None or NaN,
never zero. An action on a slot that was not viewed is tolerated up to 0.1 % of the slots with an action, as
events get lost, and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reranker.columns import (
    BoolArray,
    FeedError,
    FloatArray,
    IntArray,
    StringColumn,
    first_row,
    freeze_arrays,
    frozen,
    ragged_rows,
    with_changes,
)
from reranker.exploration import request_keys
from reranker.log_kernel import first_repeated

Values = NDArray[np.floating[Any]]  # float32 or float64

MAX_WITHOUT_VIEW = 0.001  # of the slots with an action
TOLERANCE = 1e-9  # of a logarithm of a probability, for loggers that take it of a product


@dataclass(frozen=True, eq=False)
class ImpressionLog:
    """n requests with c candidates and s slots in all.

    Attributes:
        request_id, user: (n,) without null; each request once.
        offsets: (n + 1,) request r has candidates offsets[r] to offsets[r + 1].
        item_id: (c,) int64, each once in a request; `exploration.request_keys` makes such of strings.
        score: (c,) float64, what the served order was drawn or sorted by; NaN where not logged.
        slot_offsets: (n + 1,) request r has slots slot_offsets[r] to slot_offsets[r + 1], from the top.
        slate: (s,) the candidate row in each slot.
        log_prefix_propensity: (s,) float64, log of the probability of the slate up to here given the request;
            0 where it had to be so, NaN where not logged, for a request as a whole.
        p_action: by action (c,) float32 or float64 in [0, 1], the ranker's predictions; NaN where none.
        harm: by label (c,) float32 or float64 in [0, 1], calibrated probabilities; NaN where not scored.
        groups: by name (c,) int64 codes of a candidate, such as publisher or media; -1 where unknown.
        viewed: (s,) the slot was in view; None where it was not logged.
        action: by action (s,) how often the viewer took it, at least 0.
        dwell_ms: (s,) time in view; NaN where not logged.
        segments: by name (n,) such as country, language, device, policy, experiment arm, session.
        time: (n,) datetime64[us], NaT where not logged.
        temperature: (n,) of the Plackett-Luce draw in the unit of `score`, 0 for none, NaN where not logged.
        from_rank: (n,) first rank, from 1, that was drawn; None for 1.
        n_total: (n,) candidates that the ranker had, at least those logged; None where it was not logged.
    """

    request_id: StringColumn
    user: StringColumn
    offsets: IntArray
    item_id: IntArray
    score: FloatArray
    slot_offsets: IntArray
    slate: IntArray
    log_prefix_propensity: FloatArray
    p_action: Mapping[str, Values] = field(default_factory=dict)
    harm: Mapping[str, Values] = field(default_factory=dict)
    groups: Mapping[str, IntArray] = field(default_factory=dict)
    viewed: BoolArray | None = None
    action: Mapping[str, Values] = field(default_factory=dict)
    dwell_ms: Values | None = None
    segments: Mapping[str, StringColumn] = field(default_factory=dict)
    time: NDArray[np.datetime64] | None = None
    temperature: FloatArray | None = None
    from_rank: IntArray | None = None
    n_total: IntArray | None = None

    def __post_init__(self) -> None:
        _check_lengths(self)
        _check_requests(self)
        _check_candidates(self)
        _check_slate(self)
        _check_propensities(self)
        _check_outcomes(self)
        freeze_arrays(self)
        for _, columns in _families(self):
            for values in columns.values():
                if isinstance(values, np.ndarray):
                    frozen(values)

    @property
    def n(self) -> int:
        """Number of requests."""
        return len(self.offsets) - 1

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return int(self.offsets[-1])

    @property
    def n_slots(self) -> int:
        """Number of slots."""
        return int(self.slot_offsets[-1])

    @cached_property
    def request_of_row(self) -> IntArray:
        """(c,) the request of each candidate."""
        return frozen(np.repeat(np.arange(self.n, dtype=np.int64), np.diff(self.offsets)))

    @cached_property
    def request_of_slot(self) -> IntArray:
        """(s,) the request of each slot."""
        return frozen(np.repeat(np.arange(self.n, dtype=np.int64), np.diff(self.slot_offsets)))

    @cached_property
    def position(self) -> IntArray:
        """(s,) the slot's place in its request, from 0."""
        slot = np.arange(self.n_slots, dtype=np.int64)
        return frozen(slot - self.slot_offsets[:-1][self.request_of_slot])

    @cached_property
    def has_propensity(self) -> BoolArray:
        """(n,) the probabilities of the request's slots were logged; True where it has no slot."""
        lacking = np.zeros(self.n, dtype=np.bool_)
        lacking[self.request_of_slot[np.isnan(self.log_prefix_propensity)]] = True
        return frozen(~lacking)

    @cached_property
    def is_drawn(self) -> BoolArray:
        """(n,) the request's slate could have been another: its probability is logged and below 1."""
        drawn = np.zeros(self.n, dtype=np.bool_)
        drawn[self.request_of_slot[self.log_prefix_propensity < 0.0]] = True
        return frozen(drawn)

    @cached_property
    def user_key(self) -> NDArray[np.uint64]:
        """(n,) a hash of the user's name: the same in every batch, where codes are not."""
        keys = request_keys(self.user.values)
        return frozen(keys[self.user.codes])

    @cached_property
    def without_view(self) -> BoolArray:
        """(s,) slots with an action and no view; all False where views were not logged."""
        if self.viewed is None:
            return frozen(np.zeros(self.n_slots, dtype=np.bool_))
        return frozen(acted_slots(self) & ~self.viewed)

    def take(self, requests: IntArray) -> "ImpressionLog":
        """The chosen requests, in the order given, each at most once; nothing is checked again."""
        lengths, n_slots = np.diff(self.offsets)[requests], np.diff(self.slot_offsets)[requests]
        rows = ragged_rows(self.offsets[:-1][requests], lengths)
        slots = ragged_rows(self.slot_offsets[:-1][requests], n_slots)
        offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        moved = np.repeat(offsets[:-1] - self.offsets[:-1][requests], n_slots)
        changes: dict[str, Any] = {
            "offsets": frozen(offsets),
            "slot_offsets": frozen(np.concatenate(([0], np.cumsum(n_slots))).astype(np.int64)),
            "slate": frozen(self.slate[slots] + moved),
        }
        chosen = {"n": requests, "c": rows, "s": slots}
        for name, per in PER.items():
            values = getattr(self, name)
            if name not in changes and values is not None:
                changes[name] = _chosen(values, chosen[per])
        for name, columns in _families(self):
            of = chosen[FAMILIES[name]]
            changes[name] = {key: _chosen(values, of) for key, values in columns.items()}
        return with_changes(ImpressionLog, self, **changes)


PER = {
    "request_id": "n",
    "user": "n",
    "time": "n",
    "temperature": "n",
    "from_rank": "n",
    "n_total": "n",
    "item_id": "c",
    "score": "c",
    "slate": "s",
    "log_prefix_propensity": "s",
    "viewed": "s",
    "dwell_ms": "s",
}
FAMILIES = {"p_action": "c", "harm": "c", "groups": "c", "action": "s", "segments": "n"}
_KINDS = {
    "offsets": "int64",
    "slot_offsets": "int64",
    "item_id": "int64",
    "slate": "int64",
    "from_rank": "int64",
    "n_total": "int64",
    "groups": "int64",
    "score": "float64",
    "log_prefix_propensity": "float64",
    "temperature": "float64",
    "viewed": "bool",
    "time": "datetime64[us]",
}


def _families(log: ImpressionLog) -> list[tuple[str, Mapping[str, Any]]]:
    return [(item.name, getattr(log, item.name)) for item in fields(log) if item.name in FAMILIES]


def _chosen(values: Any, rows: IntArray) -> Any:
    return values.take(rows) if isinstance(values, StringColumn) else frozen(values[rows])


def acted_slots(log: ImpressionLog) -> BoolArray:
    """(s,) slots on which the viewer did anything."""
    acted = np.zeros(log.n_slots, dtype=np.bool_)
    for values in log.action.values():
        acted |= values > 0
    return acted


def _check_lengths(log: ImpressionLog) -> None:
    for name in ("offsets", "slot_offsets"):
        cut: IntArray = getattr(log, name)
        if cut.dtype != np.int64 or len(cut) == 0 or cut[0] != 0 or (np.diff(cut) < 0).any():
            raise FeedError(f"{name}: expected int64, 0 first and never falling")
    if len(log.offsets) != len(log.slot_offsets):
        raise FeedError(f"slot_offsets: expected {len(log.offsets)} numbers, got {len(log.slot_offsets)}")
    length = {"n": log.n, "c": log.n_candidates, "s": log.n_slots}
    named = [(name, name, getattr(log, name), per) for name, per in PER.items()]
    for family, columns in _families(log):
        named += [(f"{family}.{key}", family, column, FAMILIES[family]) for key, column in columns.items()]
    for where, name, values, per in named:
        if values is None:
            continue
        if len(values) != length[per]:
            raise FeedError(f"{where}: expected {length[per]} rows, got {len(values)}")
        if isinstance(values, StringColumn):
            continue
        kind = _KINDS.get(name, "float32 or float64")
        if str(values.dtype) not in kind.split(" or "):
            raise FeedError(f"{where}: expected {kind}, got {values.dtype}")


def _check_requests(log: ImpressionLog) -> None:
    for name in ("request_id", "user"):
        column: StringColumn = getattr(log, name)
        if column.is_null.any():
            raise FeedError(f"{name}: expected a value, got null at request {first_row(column.is_null)}")
    codes = log.request_id.codes
    if len(np.unique(codes)) != len(codes):
        twice = int(np.flatnonzero(np.bincount(codes) > 1)[0])
        raise FeedError(f'request_id: expected each request once, got "{log.request_id.values[twice]}" twice')
    if log.temperature is not None:
        wrong = (log.temperature < 0.0) | np.isinf(log.temperature)
        _refuse(log, "temperature", wrong, "a finite number >= 0", log.temperature)
    if log.from_rank is not None:
        _refuse(log, "from_rank", log.from_rank < 1, "at least 1", log.from_rank)
    if log.n_total is not None:
        logged = np.diff(log.offsets)
        below = log.n_total < logged
        expected = f"at least the {logged[first_row(below)]} candidates logged" if below.any() else ""
        _refuse(log, "n_total", below, expected, log.n_total)


def _check_candidates(log: ImpressionLog) -> None:
    _refuse(log, "score", np.isinf(log.score), "a finite number or NaN", log.score)
    for family in ("p_action", "harm"):
        columns: Mapping[str, Values] = getattr(log, family)
        for name, values in columns.items():
            outside = (values < 0.0) | (values > 1.0)  # NaN, not scored, is neither
            _refuse(log, f"{family}.{name}", outside, "a probability in [0, 1]", values)
    row = first_repeated(log.item_id, log.offsets)
    if row >= 0:
        again = f"{log.item_id[row]} again at {_at(log, row, 'c')}"
        raise FeedError(f"item_id: expected each item once in a request, got {again}")


def _check_slate(log: ImpressionLog) -> None:
    request, slate = log.request_of_slot, log.slate
    outside = (slate < log.offsets[request]) | (slate >= log.offsets[request + 1])
    if outside.any():
        slot = first_row(outside)
        low, high = log.offsets[request[slot] : request[slot] + 2].tolist()
        expected = f"a row from {low} to {high - 1}" if high > low else "no slot without candidates"
        _refuse(log, "slate", outside, expected, slate)
    used = np.zeros(log.n_candidates, dtype=np.bool_)
    used[slate] = True
    if int(used.sum()) != len(slate):
        _, first = np.unique(slate, return_index=True)
        again = np.ones(len(slate), dtype=np.bool_)
        again[first] = False
        _refuse(log, "slate", again, "each candidate in one slot", slate)


def _check_propensities(log: ImpressionLog) -> None:
    name, logged = "log_prefix_propensity", log.log_prefix_propensity
    request, unknown = log.request_of_slot, np.isnan(logged)
    mixed = unknown & (np.bincount(request[~unknown], minlength=log.n)[request] > 0)
    _refuse(log, name, mixed, "all slots of a request or none", logged)
    _refuse(log, name, logged > TOLERANCE, "a probability of at most 1, so 0 or less", logged)
    _refuse(log, name, np.isneginf(logged), "a probability above 0 of what was served", logged)
    rising = np.zeros(log.n_slots, dtype=np.bool_)
    if log.n_slots:
        same = request[1:] == request[:-1]
        rising[1:] = same & (logged[1:] > logged[:-1] + TOLERANCE)
    if rising.any():
        before = logged[first_row(rising) - 1]
        _refuse(log, name, rising, f"at most the {before:.6g} of the slot above", logged)


def _check_outcomes(log: ImpressionLog) -> None:
    for name, values in log.action.items():
        wrong = ~(np.isfinite(values) & (values >= 0.0))
        _refuse(log, f"action.{name}", wrong, "a finite number >= 0", values)
    if log.dwell_ms is not None:
        wrong = (log.dwell_ms < 0.0) | np.isinf(log.dwell_ms)
        _refuse(log, "dwell_ms", wrong, "a finite number >= 0", log.dwell_ms)
    unseen, n_acted = int(log.without_view.sum()), int(acted_slots(log).sum())
    if unseen > MAX_WITHOUT_VIEW * n_acted:
        slot = first_row(log.without_view)
        raise FeedError(
            f"viewed: expected a view under at least {1 - MAX_WITHOUT_VIEW:.1%} of the slots with an action, "
            f"got {unseen} of {n_acted} without, the first at {_at(log, slot, 's')}"
        )


def _refuse(log: ImpressionLog, name: str, wrong: BoolArray, expected: str, values: Any) -> None:
    if wrong.any():
        at, family = first_row(wrong), name.partition(".")[0]
        per = PER.get(family) or FAMILIES[family]
        raise FeedError(f"{name}: expected {expected}, got {values[at]:.6g} at {_at(log, at, per)}")


def _at(log: ImpressionLog, row: int, per: str) -> str:
    """Where a row is, for a person: its request by id, and its place there."""
    if per == "n":
        return f'request "{log.request_id[row]}"'
    cut, what = (log.offsets, "candidate") if per == "c" else (log.slot_offsets, "slot")
    request = int(np.searchsorted(cut, row, side="right")) - 1
    return f'request "{log.request_id[request]}", {what} {row - int(cut[request])}'

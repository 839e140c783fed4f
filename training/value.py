"""What viewers endorse: the `[value]` table of a policy fitted to their answers, with intervals.

The scale of sensitivities and harms is not identified, as only their products are seen to first order: the
most sensitive signal has sensitivity 1 by convention. What the answers cannot tell stays at the prior, both
in the fit and in what is written, and is named.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from reranker.columns import BoolArray, FloatArray
from training.value_items import CONTEXT, ValueItems
from training.value_likelihood import EDGE, Curvature, curvature, maximise
from training.value_table import ValueTable

LEVEL = 0.95
FEWEST_VIEWERS = 50
FEWEST_ASKED = 30  # answers about a signal
FEWEST_RARER = 5  # of the rarer answer to it
_ALIKE = 0.9999  # correlation from which two terms are one


@dataclass(frozen=True)
class ValueTerm:
    """One number of the table.

    Attributes:
        key: as in a policy, less "value.": "endorsed.like", "harms.toxicity", "angry_share".
        value: as fitted, or 1 of the reference; None where it stays at the prior.
        low, high: 95% interval within [0, 1]; None with the value, and for the reference.
        prior: of the policy that it would replace.
        n: answers it rests on: about the signal, or on posts where the term is above 0.
        warning: why it stays at the prior, or what is odd about it; "" where nothing speaks against it.
    """

    key: str
    value: float | None
    low: float | None
    high: float | None
    prior: float
    n: int
    warning: str


@dataclass(frozen=True, eq=False)
class FittedValue:
    """A table fitted to answers.

    Attributes:
        table: with the prior's numbers where the answers say nothing.
        free: (2 K + H + 1,) what was fitted, in the order of `pack`.
        reference: the signal whose sensitivity is 1 by convention; None where no harm could be fitted.
        terms: every number, in the order of `pack`, without yes-saying.
        yes_saying: value and interval; None where questions were not asked both ways.
        curvature: of the likelihood at the table.
        n_asked, n_viewers: answers, and viewers who gave them.
    """

    table: ValueTable
    free: BoolArray
    reference: str | None
    terms: tuple[ValueTerm, ...]
    yes_saying: tuple[float, float, float] | None
    curvature: Curvature
    n_asked: int
    n_viewers: int

    @property
    def identified(self) -> tuple[ValueTerm, ...]:
        """The numbers that the answers tell."""
        return tuple(term for term in self.terms if term.value is not None)


def fit_value(items: ValueItems, prior: ValueTable, *, reference: str | None = None) -> FittedValue:
    """The most likely table given the answers, bounded so that it falls in every harm.

    Args:
        items: engagements; only rows with an answer are used.
        prior: table of the policy that it would replace, for the same signals and terms.
        reference: the signal whose sensitivity is 1; chosen from the answers where not named.

    Raises:
        ValueError: too few viewers, one answer only, no signal that can be fitted, or a reference that is
            none of those.
    """
    asked = items.take(items.asked)
    _check(asked)
    search = _Search(asked, prior)
    search.choose_reference(reference)
    search.run(reference is not None)
    return search.found()


def parameter_keys(items: ValueItems) -> tuple[str, ...]:
    """Keys of a policy, less "value.", for the parameters but yes-saying."""
    return (
        *(f"endorsed.{name}" for name in items.signals),
        *(f"sensitivity.{name}" for name in items.signals),
        *(name if name in CONTEXT else f"harms.{name}" for name in items.terms),
    )


def _check(asked: ValueItems) -> None:
    n_viewers = len(np.unique(asked.viewer))
    if n_viewers < FEWEST_VIEWERS:
        raise ValueError(f"viewer: expected answers of at least {FEWEST_VIEWERS} viewers, got {n_viewers}")
    if len(np.unique(asked.endorsed)) < 2:
        only = "endorsed" if asked.endorsed[0] else "not endorsed"
        raise ValueError(f"{asked.kind}: expected both answers, got {asked.n} that are all {only}")


class _Search:
    """The fit while it is decided what can be fitted: parameters held at the prior, each with its reason."""

    def __init__(self, asked: ValueItems, prior: ValueTable) -> None:
        self.asked, self.prior = asked, prior
        self.k, self.size = len(asked.signals), 2 * len(asked.signals) + len(asked.terms) + 1
        self.held: dict[int, str] = {}
        self.reference: int | None = None
        for j, name in enumerate(asked.signals):
            if reason := _unusable(asked, j):
                self._hold_signal(j, f"{name}: {reason}")
        if all(j in self.held for j in range(self.k)):
            raise ValueError("signal: expected one that can be fitted, got " + "; ".join(self.held.values()))
        self._select()
        for h, reason in _untold(self.items).items():
            self.held[2 * self.k + h] = reason
        if all(2 * self.k + h in self.held for h in range(len(asked.terms))):
            for j in range(self.k):
                self.held.setdefault(self.k + j, "no harm varies among the posts, so nothing scales with it")
        self.has_both_ways = self.items.reversed is not None and len(np.unique(self.items.reversed)) == 2

    def _hold_signal(self, j: int, reason: str) -> None:
        self.held[j] = self.held[self.k + j] = reason

    def _select(self) -> None:
        """Leave out rows of the signals that stay at the prior: it may be wrong for them."""
        usable = np.array([j not in self.held for j in range(self.k)])
        self.items = self.asked.take(usable[self.asked.signal])

    def choose_reference(self, name: str | None) -> None:
        """The signal named, or the prior's most sensitive with the most answers."""
        usable = [j for j in range(self.k) if self.k + j not in self.held]
        if name is not None:
            names = [self.asked.signals[j] for j in usable]
            if name not in names:
                raise ValueError(f"reference: expected one of {', '.join(names) or 'none'}, got {name!r}")
            self.reference = self.asked.signals.index(name)
        elif usable:
            n = np.bincount(self.items.signal, minlength=self.k)
            self.reference = max(usable, key=lambda j: (self.prior.sensitivity[j], n[j], -j))

    def run(self, is_given: bool) -> None:
        """Fit, and hold what turns out not to be told, until nothing changes."""
        self.table = self._start()
        tried = {self.reference}
        for _ in range(4 * self.size):
            self.free = self._free()
            self.table, _ = maximise(self.items, self._pinned(self.table), self.free)
            self.curvature = curvature(self.items, self.table, self.free)
            if self._hold_separated() or self._hold_widest():
                continue
            rival = None if is_given else self._more_sensitive()
            if rival is None or rival in tried:
                return
            self.reference = rival
            tried.add(rival)

    def _free(self) -> BoolArray:
        free = np.array([i not in self.held for i in range(self.size)])
        if self.reference is not None:
            free[self.k + self.reference] = False
        free[-1] = self.has_both_ways
        return free

    def _start(self) -> ValueTable:
        weight = np.bincount(self.items.signal, self.items.weight, self.k)
        yes = np.bincount(self.items.signal, self.items.weight * self.items.endorsed, self.k)
        rate = np.clip(np.divide(yes, weight, out=np.full(self.k, 0.5), where=weight > 0), 0.05, 0.95)
        start = ValueTable(
            rate,
            np.clip(self.prior.sensitivity, 0.3, 1.0),
            np.clip(self.prior.harm, 0.2, 0.8),
            0.05 if self.has_both_ways else 0.0,
        )
        return self._pinned(start)

    def _pinned(self, table: ValueTable) -> ValueTable:
        """The table with the prior's numbers where they are held, and 1 for the reference."""

        def pin(values: FloatArray, prior: FloatArray, first: int) -> FloatArray:
            is_held = np.array([first + i in self.held for i in range(len(values))], dtype=bool)
            return np.where(is_held, prior, values)

        sensitivity = pin(table.sensitivity, self.prior.sensitivity, self.k)
        if self.reference is not None:
            sensitivity[self.reference] = 1.0
        return ValueTable(
            pin(table.endorsed, self.prior.endorsed, 0),
            sensitivity,
            pin(table.harm, self.prior.harm, 2 * self.k),
            table.yes_saying,
        )

    def _hold_separated(self) -> bool:
        """Hold signals whose answers would have `endorsed` at 0 or 1."""
        odds = special.logit(self.table.endorsed)
        apart = np.flatnonzero((np.abs(odds) > EDGE - 0.5) & self.free[: self.k])
        if not apart.size:
            return False
        j = int(apart[0])
        at_prior = [name for h, name in enumerate(self.asked.terms) if 2 * self.k + h in self.held]
        also = f" and {', '.join(at_prior)} kept at the prior" if at_prior else ""
        reason = f"with the harms taken off{also}, its share is at 0 or 1, which is no estimate"
        self._hold_signal(j, f"{self.asked.signals[j]}: {reason}")
        self._select()
        if not self.items.n:
            raise ValueError(f"signal: expected one that can be fitted, got {self.held[j]}")
        if j == self.reference:
            self.reference = None
            self.choose_reference(None)
        return True

    def _hold_widest(self) -> bool:
        """Hold the least known sensitivity or harm whose interval is all of [0, 1]."""
        low, high = self._interval()
        wide = self.free & (low <= 0) & (high >= 1)
        wide[: self.k] = wide[-1] = False
        if not wide.any():
            return False
        error = np.where(wide, self.curvature.standard_error, -1.0)
        at = int(self.size - 1 - np.argmax(error[::-1]))  # the later of two that are equally unknown
        self.held[at] = "the answers do not tell it: its interval is all of 0 to 1"
        return True

    def _more_sensitive(self) -> int | None:
        """The signal that answers show to be more sensitive than the reference, if any."""
        own = np.s_[self.k : 2 * self.k]
        low, _ = self._interval()
        above = self.free[own] & (low[own] > 1)
        if not above.any():
            return None
        return int(np.argmax(np.where(above, self.curvature.unbounded[own], -np.inf)))

    def _interval(self) -> tuple[FloatArray, FloatArray]:
        """(2 K + H + 1,) ends on the scale of `pack`, bounds left aside."""
        n_viewers = len(np.unique(self.items.viewer))
        half = float(stats.t.ppf(0.5 + LEVEL / 2, n_viewers - 1)) * self.curvature.standard_error
        return self.curvature.unbounded - half, self.curvature.unbounded + half

    def found(self) -> FittedValue:
        """The result, once `run` is done."""
        table, k = self.table, self.k
        low, high = self._interval()
        low[:k], high[:k] = special.expit(low[:k]), special.expit(high[:k])
        values = np.concatenate([table.endorsed, table.sensitivity, table.harm, [table.yes_saying]])
        prior = np.concatenate([self.prior.endorsed, self.prior.sensitivity, self.prior.harm])
        n = self._rows()
        terms = []
        for i, key in enumerate(parameter_keys(self.asked)):
            if i in self.held:
                terms.append(ValueTerm(key, None, None, None, float(prior[i]), int(n[i]), self.held[i]))
            elif not self.free[i]:
                why = "1 by convention: the most sensitive signal sets the scale"
                terms.append(ValueTerm(key, 1.0, None, None, float(prior[i]), int(n[i]), why))
            else:
                ends = (
                    float(min(values[i], max(0.0, low[i]))),
                    float(max(values[i], min(1.0, high[i]))),
                )
                odd = "the answers rise with it, which the table cannot say" if high[i] < 0 else ""
                terms.append(ValueTerm(key, float(values[i]), *ends, float(prior[i]), int(n[i]), odd))
        yes = (float(values[-1]), max(0.0, float(low[-1])), min(1.0, float(high[-1])))
        return FittedValue(
            table=table,
            free=self.free,
            reference=None if self.reference is None else self.asked.signals[self.reference],
            terms=tuple(terms),
            yes_saying=yes if self.has_both_ways else None,
            curvature=self.curvature,
            n_asked=self.asked.n,
            n_viewers=len(np.unique(self.asked.viewer)),
        )

    def _rows(self) -> FloatArray:
        own = np.bincount(self.asked.signal, minlength=self.k)
        return np.concatenate([own, own, (self.asked.known > 0).sum(axis=1)])


def _unusable(asked: ValueItems, j: int) -> str:
    """Why a signal cannot be fitted, or ""."""
    rows = asked.signal == j
    n, n_yes = int(rows.sum()), int(asked.endorsed[rows].sum())
    if n < FEWEST_ASKED:
        return f"expected at least {FEWEST_ASKED} answers, got {n}"
    if min(n_yes, n - n_yes) < FEWEST_RARER:
        return f"expected at least {FEWEST_RARER} of either answer, got {n_yes} endorsed of {n}"
    return ""


def _untold(items: ValueItems) -> dict[int, str]:
    """Terms that no answers can tell, each with why."""
    held: dict[int, str] = {}
    known = items.known
    for h, level in enumerate(known):
        if np.isnan(items.level[h]).all():
            held[h] = "it was measured on no post that was asked about"
        elif not level.any():
            held[h] = "it is 0 on every post that was asked about"
        elif np.ptp(level) < 1e-6:
            held[h] = "it is the same on every post that was asked about"
        else:
            for g in range(h):
                if g not in held and abs(np.corrcoef(known[g], level)[0, 1]) > _ALIKE:
                    held[h] = f"it cannot be told apart from {items.terms[g]}"
                    break
    return held

"""Tables of audits: what timelines do to their readers, outcome by outcome, against a chronological one.

A published table gives rounded effects and p-values but neither intervals nor users. What it does say of its
errors is worked out here as bounds, and a further timeline is added from measurements of users of one's own;
those are other people on other days, so its effects stand beside the published ones and are not compared
with them by their intervals alone.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import special

from eval.clustered import Estimate, clustered_mean, from_influence
from reranker.columns import BoolArray, FloatArray, IntArray, StringColumn, freeze_arrays

COLUMNS = ("timeline", "outcome", "std_effect", "unstd_effect", "chron_mean", "pers_mean", "p_value")
ROUNDING = 0.0005  # the table has three digits
P_ROUNDING = 0.00005  # its p-values four
N_FLIPS = 4_999  # the smallest p-value is then 0.0002, as published
CHUNK = 2_000_000  # signs held at once


@dataclass(frozen=True, eq=False)
class AuditTable:
    """Effects of timelines on outcomes, one row per pair.

    Attributes:
        timeline, outcome: (n,) names.
        standardised: (n,) effect in standard deviations of the outcome under the chronological timeline.
        effect: (n,) in the unit of the outcome: another timeline minus the chronological one.
        control_mean, mean: (n,) of the outcome under the chronological timeline, and under this one.
        p: (n,) two-sided p-value.

    Raises:
        ValueError: lengths that differ, a pair twice, numbers that are not finite, or p outside (0, 1].
    """

    timeline: StringColumn
    outcome: StringColumn
    standardised: FloatArray
    effect: FloatArray
    control_mean: FloatArray
    mean: FloatArray
    p: FloatArray

    def __post_init__(self) -> None:
        n = len(self.timeline)
        for name in ("standardised", "effect", "control_mean", "mean", "p"):
            column = getattr(self, name)
            if column.shape != (n,) or not np.isfinite(column).all():
                raise ValueError(f"{name}: expected {n} finite numbers, got {column.tolist()}")
        if not ((self.p > 0) & (self.p <= 1)).all():
            raise ValueError(f"p: expected numbers in (0, 1], got {self.p.min()} to {self.p.max()}")
        pairs = list(zip(self.timeline.to_list(), self.outcome.to_list(), strict=True))
        for pair in pairs:
            if None in pair or pairs.count(pair) > 1:
                raise ValueError(f"table: expected each timeline and outcome once, got {pair}")
        freeze_arrays(self)

    def __len__(self) -> int:
        return len(self.timeline)

    def row(self, timeline: str, outcome: str) -> int:
        """The row of a pair.

        Raises:
            ValueError: the table does not have it.
        """
        found = (self.timeline.codes == self.timeline.code_of(timeline)) & (
            self.outcome.codes == self.outcome.code_of(outcome)
        )
        if not found.any():
            raise ValueError(f"table: expected a row of {timeline} and {outcome}, got none")
        return int(found.argmax())


def read_audit_table(path: str | Path) -> AuditTable:
    """The table of a CSV file with the columns of `COLUMNS`.

    Raises:
        ValueError: a column is missing, a cell is no number, or as `AuditTable`.
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise ValueError(
                f"{path}: expected columns {', '.join(COLUMNS)}, got none named {', '.join(missing)}"
            )
        rows = list(reader)
    numbers = []
    for name in COLUMNS[2:]:
        try:
            numbers.append(np.array([float(row[name]) for row in rows]))
        except (TypeError, ValueError):
            raise ValueError(f"{path}: {name}: expected numbers, got another cell") from None
    timeline, outcome = (StringColumn.from_values(row[name] for row in rows) for name in COLUMNS[:2])
    return AuditTable(timeline, outcome, *numbers)


def write_audit_table(table: AuditTable, path: str | Path) -> None:
    """Write a table as `read_audit_table` reads it, numbers in full."""
    columns = (table.standardised, table.effect, table.control_mean, table.mean, table.p)
    rows = zip(table.timeline, table.outcome, *(column.tolist() for column in columns), strict=True)
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *rows])


@dataclass(frozen=True, eq=False)
class ImpliedErrors:
    """What rounded effects and p-values say of the standard errors; all (n,), in standard deviations.

    Attributes:
        low, high: bounds of the standard error of `standardised`; low is 0 where the p-value is the smallest
            there is, which says only that the error is at most `high`; high is inf where p is about 1.
        reaches: (n, 2) the widest 95% interval in accord: 1.96 times `high` and the rounding either way.
    """

    low: FloatArray
    high: FloatArray
    reaches: FloatArray


def implied_errors(table: AuditTable) -> ImpliedErrors:
    """Bounds of the standard errors, for p-values of tests whose statistic is about normal.

    |effect| / error is the normal quantile of p; effect and p are known to half their last digit. A smallest
    p-value that comes several times is taken for the floor of a permutation test.

    Source: Altman and Bland, How to obtain the confidence interval from a P value, 2011.
    """
    size = np.abs(table.standardised)
    near, far = (_quantile(np.clip(table.p + step, 1e-300, 1)) for step in (P_ROUNDING, -P_ROUNDING))
    at_floor = (table.p == table.p.min()) & ((table.p == table.p.min()).sum() > 1)
    with np.errstate(divide="ignore"):
        high = np.where(near > 0, (size + ROUNDING) / near, np.inf)
        low = np.where(at_floor, 0.0, np.maximum(size - ROUNDING, 0.0) / np.maximum(far, 1e-300))
    half = _quantile(np.array(0.05)) * high + ROUNDING
    return ImpliedErrors(low, high, np.column_stack([table.standardised - half, table.standardised + half]))


@dataclass(frozen=True, eq=False)
class Agreement:
    """Whether the columns of a table agree with each other as far as their digits go.

    Attributes:
        outcomes: (m,) names.
        sd_low, sd_high: (m,) bounds of the standard deviation that every timeline's ratio of `effect` to
            `standardised` allows; low above high is a contradiction.
        signs_differ: (n,) rows in which the two effects have unlike signs.
        mean_gap: (n,) mean - control_mean - effect; not 0 where the means are over other rows than the
            effect, such as posts instead of users.
    """

    outcomes: tuple[str, ...]
    sd_low: FloatArray
    sd_high: FloatArray
    signs_differ: BoolArray
    mean_gap: FloatArray


def check_agreement(table: AuditTable) -> Agreement:
    """The table held against itself."""
    size, raw = np.abs(table.standardised), np.abs(table.effect)
    with np.errstate(divide="ignore"):
        most = np.where(size > ROUNDING, (raw + ROUNDING) / (size - ROUNDING), np.inf)
    least = np.maximum(raw - ROUNDING, 0.0) / (size + ROUNDING)
    m = len(table.outcome.values)
    low, high = np.zeros(m), np.full(m, np.inf)
    np.maximum.at(low, table.outcome.codes, least)
    np.minimum.at(high, table.outcome.codes, most)
    return Agreement(
        table.outcome.values,
        low,
        high,
        table.standardised * table.effect < 0,
        table.mean - table.control_mean - table.effect,
    )


@dataclass(frozen=True, eq=False)
class AddedTimeline:
    """A table with one timeline more, and what its rounded form does not hold.

    Attributes:
        table: the rows of before, then one per outcome.
        effect, standardised: per outcome, with 95% intervals by user.
        n_left_out: per outcome, rows without a value under either timeline.
    """

    table: AuditTable
    effect: Mapping[str, Estimate]
    standardised: Mapping[str, Estimate]
    n_left_out: Mapping[str, int]


def add_timeline(
    table: AuditTable,
    name: str,
    user: IntArray,
    measured: Mapping[str, tuple[FloatArray, FloatArray]],
    *,
    seed: int,
    n_flips: int = N_FLIPS,
) -> AddedTimeline:
    """The table with a further timeline, from people who saw it and the chronological one.

    Effects are paired within rows and clustered by user. The standard deviation is that of the rows under
    the chronological timeline; the published one is close to it where a row is one reader's mean over a
    timeline. The interval of `standardised` carries its error. The p-value flips the sign of whole users,
    valid where users' differences are symmetric about 0 without an effect.

    Args:
        table: the published one.
        name: of the new timeline.
        user: (n,) integer codes; a user may have several rows, such as sessions.
        measured: by outcome, (n,) under the chronological timeline and (n,) under the new one, NaN where not
            measured; outcomes may be new to the table.
        seed: of the flips.
        n_flips: 4,999 give 0.0002 as the smallest p-value.

    Raises:
        ValueError: a timeline that the table has, another length, fewer than 2 users, or an outcome that
            does not vary under the chronological timeline.

    Source: Milli and others, Engagement, user satisfaction, and the amplification of divisive content on
    social media, 2025 (the table); Ernst, Permutation methods, 2004 (flips of signs, p-value).
    """
    if name in table.timeline.values:
        raise ValueError(f"timeline: expected a new name, got {name}, which the table has")
    effects, scaled, left_out, rows = {}, {}, {}, []
    rng = np.random.default_rng(seed)
    for outcome, (control, shown) in measured.items():
        if not control.shape == shown.shape == user.shape:
            raise ValueError(f"{outcome}: expected shape {user.shape}, got {control.shape} and {shown.shape}")
        known = ~(np.isnan(control) | np.isnan(shown))
        before, change, who = control[known], (shown - control)[known], user[known]
        effect = clustered_mean(change, who)
        deviation = float(before.std(ddof=1))
        if not deviation > 0:
            raise ValueError(
                f"{outcome}: expected values that vary under the chronological timeline, got one"
            )
        in_units = effect.value / deviation
        spread = ((before - before.mean()) / deviation) ** 2 - (len(before) - 1) / len(before)
        influence = (change - effect.value) / deviation - in_units / 2 * spread
        effects[outcome] = effect
        scaled[outcome] = from_influence(in_units, influence, who)
        left_out[outcome] = int((~known).sum())
        p = _flipped_p(change, who, rng, n_flips)
        mean = float(before.mean())
        rows.append((in_units, effect.value, mean, mean + effect.value, p))
    columns = (table.standardised, table.effect, table.control_mean, table.mean, table.p)
    added = np.array(rows, dtype=np.float64).reshape(-1, len(columns)).T
    longer = AuditTable(
        StringColumn.from_values([*table.timeline, *([name] * len(rows))]),
        StringColumn.from_values([*table.outcome, *measured]),
        *(np.concatenate([old, new]) for old, new in zip(columns, added, strict=True)),
    )
    return AddedTimeline(longer, effects, scaled, left_out)


def _flipped_p(change: FloatArray, user: IntArray, rng: np.random.Generator, n_flips: int) -> float:
    """The share of flips whose sum is at least as far from 0, the data counted among them."""
    _, code = np.unique(user, return_inverse=True)
    totals = np.bincount(code, change)
    seen = abs(float(totals.sum())) * (1 - 1e-12)
    n_beyond, step = 0, max(1, CHUNK // len(totals))
    for start in range(0, n_flips, step):
        signs = rng.integers(0, 2, (min(step, n_flips - start), len(totals)), dtype=np.int8) * 2.0 - 1.0
        n_beyond += int((np.abs(signs @ totals) >= seen).sum())
    return (1 + n_beyond) / (1 + n_flips)


def _quantile(p: FloatArray) -> FloatArray:
    """The normal quantile of a two-sided p-value."""
    return np.asarray(-special.ndtri(np.asarray(p) / 2), dtype=np.float64)

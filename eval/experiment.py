"""`read_out(users, metrics)`: what an online experiment found, cut by cut.

The sizes of the arms come first: a cut whose sizes are wrong is REFUSED and has no effect at all. Rows of a
user and day are summed to users before (`totals_by_user`): users were randomised, not days.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from eval.arms import (
    IMBALANCE,
    ArmMeans,
    Covariate,
    adjusted,
    arm_means,
    balance_p,
    check_until,
    difference,
    p_of_no_difference,
    relative_difference,
)
from eval.clustered import LEVEL, Estimate
from eval.sample_ratio import EVERYONE, OVERALL_P, RatioTest, sample_ratios, segment_codes
from eval.trigger import diluted_means
from reranker.columns import BoolArray, FloatArray, IntArray, StringColumn

CAP_AT = 0.999  # of the users of both arms together
Population = Literal["everyone", "triggered", "diluted"]


@dataclass(frozen=True, eq=False)
class Users:
    """The randomised users of an experiment.

    Attributes:
        arm: (n,) index into `arm_names`; 0 is the control.
        arm_names: at least 2.
        shares: planned share of each arm.
        assigned_at: (n,) time of assignment, in the unit of the covariates' times.
        cuts: name to a column of n, known before the assignment, such as "country".
        triggered: (n,) who met the change, or would have in the control; None where all did.
    """

    arm: IntArray
    arm_names: tuple[str, ...]
    shares: tuple[float, ...]
    assigned_at: FloatArray
    cuts: Mapping[str, StringColumn] = field(default_factory=dict)
    triggered: BoolArray | None = None

    def __post_init__(self) -> None:
        n = len(self.arm)
        if not len(self.arm_names) == len(self.shares) >= 2:
            raise ValueError(f"shares: expected one for each of 2 or more arms, got {self.shares}")
        lengths = {"assigned_at": len(self.assigned_at)} | {k: len(v.codes) for k, v in self.cuts.items()}
        lengths |= {} if self.triggered is None else {"triggered": len(self.triggered)}
        for name, length in lengths.items():
            if length != n:
                raise ValueError(f"{name}: expected {n} users, got {length}")


@dataclass(frozen=True, eq=False)
class Metric:
    """Totals of each user over the experiment.

    Attributes:
        name: such as "comments".
        numerator: (n,).
        denominator: (n,) for a ratio metric; None for a mean over users.
        covariates: from before the assignment.
    """

    name: str
    numerator: FloatArray
    denominator: FloatArray | None = None
    covariates: tuple[Covariate, ...] = ()


@dataclass(frozen=True)
class Effect:
    """Two arms and their difference.

    Attributes:
        control, treatment: the values.
        difference: treatment minus control.
        relative: treatment over control, minus 1; None where the control is 0.
        p: two-sided, of no difference. A large one is no evidence that nothing changed.
    """

    control: float
    treatment: float
    difference: Estimate
    relative: Estimate | None
    p: float


@dataclass(frozen=True)
class Readout:
    """One metric of one arm against the control, in one segment.

    Attributes:
        metric, arm, cut, segment: what; "all" and "all" for everyone.
        population: "everyone" as assigned (intention to treat); "triggered" alone; "diluted", the triggered
            effect as a change of everyone.
        status: "REFUSED" where there is no effect, with `reason`.
        raw: as measured.
        winsorised: with the largest users capped; None where nothing exceeded a cap.
        adjusted: by the covariates; None without, or where one was unbalanced (see `reason`).
        n_control, n_treatment: users.
    """

    metric: str
    arm: str
    cut: str
    segment: str
    population: Population
    status: Literal["IDENTIFIED", "REFUSED"]
    reason: str
    raw: Effect | None
    winsorised: Effect | None
    adjusted: Effect | None
    n_control: int
    n_treatment: int


@dataclass(frozen=True)
class Experiment:
    """The tests of the arms' sizes and the effects."""

    sample_ratios: tuple[RatioTest, ...]
    readouts: tuple[Readout, ...]


def read_out(users: Users, metrics: Sequence[Metric], *, level: float = LEVEL) -> Experiment:
    """Every metric of every arm against the control, for everyone, the triggered and each segment.

    Args:
        users: who was assigned to what.
        metrics: their totals.
        level: of the intervals.

    Raises:
        ValueError: totals that are not finite or have another length, or a covariate from after assignment.
    """
    for metric in metrics:
        _check_metric(metric, users)
    tests = sample_ratios(users.arm, users.shares, users.cuts, triggered=users.triggered)
    blocked = {(test.cut, test.segment): test for test in tests if test.blocked}
    readouts = []
    for cut, segment, members in _segments(users):
        block = blocked.get((EVERYONE, EVERYONE)) or blocked.get((cut, segment))
        for population in _populations(users, cut):
            found = block or (blocked.get(("triggered", "triggered")) if population != "everyone" else None)
            for arm in range(1, len(users.arm_names)):
                compared = members & ((users.arm == 0) | (users.arm == arm))
                where = (users.arm_names[arm], cut, segment, population)
                readouts += [_readout(users, m, compared, where, (found, level)) for m in metrics]
    return Experiment(tests, tuple(readouts))


def totals_by_user(values: FloatArray, user: IntArray, n_users: int) -> FloatArray:
    """(n_users,) sums of the rows of each user; 0 for a user without rows, who did nothing.

    Args:
        values: (rows,) such as of a user and day.
        user: (rows,) from 0 to n_users - 1.
        n_users: all that were assigned.

    Raises:
        ValueError: values that are not finite.
    """
    if not np.isfinite(values).all():
        raise ValueError(f"values: expected finite numbers, got {values[~np.isfinite(values)][0]}")
    return np.asarray(np.bincount(user, weights=values, minlength=n_users), dtype=np.float64)


def winsorised(
    numerator: FloatArray, denominator: FloatArray | None, *, at: float = CAP_AT
) -> tuple[FloatArray, FloatArray | None]:
    """Totals with the largest capped: numerator and denominator alike, over the same users of both arms.

    Args:
        numerator: (n,) totals of the users of both arms.
        denominator: (n,) or None; users without one set no cap.
        at: quantile of the cap.
    """
    if denominator is None:
        return np.minimum(numerator, np.quantile(numerator, at)), None
    counted = denominator > 0
    if not counted.any():
        return numerator, denominator
    caps = np.quantile(numerator[counted], at), np.quantile(denominator[counted], at)
    return np.minimum(numerator, caps[0]), np.minimum(denominator, caps[1])


def effect(means: ArmMeans, *, level: float = LEVEL) -> Effect:
    """The difference and the relative effect of two arms."""
    absolute = difference(means, level=level)
    relative = relative_difference(means, level=level) if means.values[0] != 0 else None
    return Effect(*means.values, absolute, relative, p_of_no_difference(absolute))


def _readout(
    users: Users,
    metric: Metric,
    compared: BoolArray,
    where: tuple[str, str, str, Population],
    context: tuple[RatioTest | None, float],
) -> Readout:
    (block, level), (arm, cut, segment, population) = context, where
    rows = np.flatnonzero(compared)
    if population == "triggered" and users.triggered is not None:
        rows = rows[users.triggered[rows]]
    treated = users.arm[rows] > 0
    sizes = int((~treated).sum()), int(treated.sum())

    def refused(reason: str) -> Readout:
        return Readout(metric.name, *where, "REFUSED", reason, None, None, None, *sizes)

    if block is not None:
        return refused(
            f"the arms of {block.cut} {block.segment} have sizes {block.counts}, not the planned ones"
        )
    above = metric.numerator[rows]
    below = None if metric.denominator is None else metric.denominator[rows]
    triggered = users.triggered[rows] if population == "diluted" and users.triggered is not None else None
    reason = _too_few(treated, triggered, below) or _leaking(treated, triggered, above, below)
    if reason:
        return refused(reason)
    raw = _means(treated, triggered, above, below)
    capped = winsorised(above, below)
    pairs = zip((above, below), capped, strict=True)
    same = all(was is None or now is None or np.array_equal(was, now) for was, now in pairs)
    covariates = tuple(Covariate(c.name, c.values[rows], c.until[rows]) for c in metric.covariates)
    unbalanced = [c.name for c in covariates if balance_p(c, treated) < IMBALANCE]
    better = None
    if covariates and not unbalanced:
        better = effect(adjusted(raw, covariates, users.assigned_at[rows]), level=level)
    return Readout(
        metric.name,
        arm,
        cut,
        segment,
        population,
        "IDENTIFIED",
        f"not adjusted: the arms differed before in {', '.join(unbalanced)}" if unbalanced else "",
        effect(raw, level=level),
        None if same else effect(_means(treated, triggered, *capped), level=level),
        better,
        *sizes,
    )


def _means(
    treated: BoolArray, triggered: BoolArray | None, above: FloatArray, below: FloatArray | None
) -> ArmMeans:
    if triggered is None:
        return arm_means(treated, above, below)
    return diluted_means(treated, triggered, above, below)


def _too_few(treated: BoolArray, triggered: BoolArray | None, below: FloatArray | None) -> str:
    counted = np.ones(len(treated), dtype=bool) if below is None else below > 0
    counted = counted if triggered is None else counted & triggered
    fewest = min(int((counted & treated).sum()), int((counted & ~treated).sum()))
    return "" if fewest >= 2 else f"an arm has {fewest} users to measure, at least 2 are needed"


def _leaking(
    treated: BoolArray, triggered: BoolArray | None, above: FloatArray, below: FloatArray | None
) -> str:
    """Why dilution does not hold: the users who never met the change differ between the arms."""
    rest = np.zeros(len(treated), dtype=bool) if triggered is None else ~triggered
    below_rest = None if below is None else below[rest]
    if _too_few(treated[rest], None, below_rest):
        return ""
    p = p_of_no_difference(difference(arm_means(treated[rest], above[rest], below_rest)))
    return f"users who never met the change differ between the arms, p = {p:.2g}" if p < OVERALL_P else ""


def _segments(users: Users) -> Iterator[tuple[str, str, BoolArray]]:
    yield EVERYONE, EVERYONE, np.ones(len(users.arm), dtype=bool)
    for cut, column in users.cuts.items():
        names, codes = segment_codes(column)
        for code, name in enumerate(names):
            yield cut, name, codes == code


def _populations(users: Users, cut: str) -> tuple[Population, ...]:
    return (
        ("everyone", "triggered", "diluted")
        if users.triggered is not None and cut == EVERYONE
        else ("everyone",)
    )


def _check_metric(metric: Metric, users: Users) -> None:
    n = len(users.arm)
    columns = {"numerator": metric.numerator} | {c.name: c.values for c in metric.covariates}
    columns |= {} if metric.denominator is None else {"denominator": metric.denominator}
    for name, column in columns.items():
        if len(column) != n:
            raise ValueError(f"{metric.name}: {name}: expected {n} users, got {len(column)}")
    for covariate in metric.covariates:
        check_until(covariate, users.assigned_at)

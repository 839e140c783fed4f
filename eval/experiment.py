"""`read_out(users, metrics)`: what an online experiment found, cut by cut.

The sizes of the arms come first: a cut whose sizes are wrong is REFUSED and has no effect at all. Rows of a
user and day are summed to users before (`totals_by_user`): users were randomised, not days. Where whole
countries or communities were, say so in `Users.cluster`: every error is then by cluster.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from eval.arms import Covariate, check_until
from eval.clustered import LEVEL
from eval.effects import Compared, Effect, leaking, measured, measured_alike, too_few, unbalanced, winsorised
from eval.quantiles import clustered_quantile, quantile_difference, quantile_ratio
from eval.randomised_clusters import ClusterTrial, arms_of_clusters, cluster_trial
from eval.sample_ratio import EVERYONE, RatioTest, sample_ratios, segment_codes
from reranker.columns import BoolArray, FloatArray, IntArray, StringColumn

MOST_TIED = 0.05  # share of rows at a quantile itself, above which the share beyond it says more
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
        cluster: (n,) codes of what was randomised, such as countries; None where users were.
    """

    arm: IntArray
    arm_names: tuple[str, ...]
    shares: tuple[float, ...]
    assigned_at: FloatArray
    cuts: Mapping[str, StringColumn] = field(default_factory=dict)
    triggered: BoolArray | None = None
    cluster: IntArray | None = None

    def __post_init__(self) -> None:
        n = len(self.arm)
        if not len(self.arm_names) == len(self.shares) >= 2:
            raise ValueError(f"shares: expected one for each of 2 or more arms, got {self.shares}")
        lengths = {"assigned_at": len(self.assigned_at)} | {k: len(v.codes) for k, v in self.cuts.items()}
        lengths |= {} if self.triggered is None else {"triggered": len(self.triggered)}
        lengths |= {} if self.cluster is None else {"cluster": len(self.cluster)}
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


@dataclass(frozen=True, eq=False)
class QuantileMetric:
    """Values whose quantiles are compared: rows of users, such as loading times, or totals, one per user.

    Attributes:
        name: such as "harm_views".
        values: (rows,).
        user: (rows,) the user of each, from 0; `np.arange(n)` for totals.
        at: such as 0.5 and 0.99.
    """

    name: str
    values: FloatArray
    user: IntArray
    at: tuple[float, ...] = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Readout:
    """One metric of one arm against the control, in one segment.

    Attributes:
        metric, arm, cut, segment: what; "all" and "all" for everyone.
        population: "everyone" as assigned (intention to treat); "triggered" alone; "diluted", the triggered
            effect as a change of everyone.
        status: "REFUSED" where there is no effect, with `reason`.
        n_control, n_treatment: users.
        raw: as measured.
        winsorised: with the largest users capped; None where nothing exceeded a cap.
        adjusted: by the covariates; None without, or where one was unbalanced (see `reason`).
        beyond: of a quantile, the share of rows above the quantile of both arms together; else None.
        trial: where clusters were randomised, the pooled t test with G - 2 degrees of freedom and the
            permutation test; else None.
    """

    metric: str
    arm: str
    cut: str
    segment: str
    population: Population
    status: Literal["IDENTIFIED", "REFUSED"]
    reason: str
    n_control: int
    n_treatment: int
    raw: Effect | None = None
    winsorised: Effect | None = None
    adjusted: Effect | None = None
    beyond: Effect | None = None
    trial: ClusterTrial | None = None


@dataclass(frozen=True)
class Experiment:
    """The tests of the arms' sizes and the effects."""

    sample_ratios: tuple[RatioTest, ...]
    readouts: tuple[Readout, ...]


def read_out(
    users: Users, metrics: Sequence[Metric | QuantileMetric], *, level: float = LEVEL, seed: int = 0
) -> Experiment:
    """Every metric of every arm against the control, for everyone, the triggered and each segment.

    Where clusters were randomised, their sizes are tested instead of those of the arms' users, and no effect
    is diluted.

    Args:
        users: who was assigned to what.
        metrics: their totals, or values whose quantiles are compared.
        level: of the intervals.
        seed: of permutations, where there are too many to go through.

    Raises:
        ValueError: totals that are not finite or have another length, a covariate from after assignment, or
            a cluster in two arms.
    """
    for metric in metrics:
        _check_metric(metric, users)
    if users.cluster is None:
        tests = sample_ratios(users.arm, users.shares, users.cuts, triggered=users.triggered)
    else:
        tests = sample_ratios(arms_of_clusters(users.arm, users.cluster), users.shares)
    blocked = {(test.cut, test.segment): test for test in tests if test.blocked}
    readouts = []
    for cut, segment, members in _segments(users):
        block = blocked.get((EVERYONE, EVERYONE)) or blocked.get((cut, segment))
        for population in _populations(users, cut):
            found = block or (blocked.get(("triggered", "triggered")) if population != "everyone" else None)
            for arm in range(1, len(users.arm_names)):
                rows = np.flatnonzero(members & ((users.arm == 0) | (users.arm == arm)))
                if population == "triggered" and users.triggered is not None:
                    rows = rows[users.triggered[rows]]
                where = (users.arm_names[arm], cut, segment, population)
                for metric in metrics:
                    readouts += _readouts(_Cell(users, rows, where, found, level, seed), metric)
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


@dataclass(frozen=True, eq=False)
class _Cell:
    """What is compared: rows of the users in it, and what a readout says of where it is."""

    users: Users
    rows: IntArray
    where: tuple[str, str, str, Population]
    block: RatioTest | None
    level: float
    seed: int

    @property
    def compared(self) -> Compared:
        users, rows = self.users, self.rows
        diluted = users.triggered is not None and self.where[-1] == "diluted"
        return Compared(
            treated=users.arm[rows] > 0,
            level=self.level,
            triggered=users.triggered[rows] if diluted and users.triggered is not None else None,
            cluster=None if users.cluster is None else users.cluster[rows],
        )

    def refused(self, name: str, reason: str) -> Readout:
        """A readout without effects, which `replace` may give it."""
        n_treatment = int((self.users.arm[self.rows] > 0).sum())
        return Readout(name, *self.where, "REFUSED", reason, len(self.rows) - n_treatment, n_treatment)


def _readouts(cell: _Cell, metric: Metric | QuantileMetric) -> list[Readout]:
    """One readout of a metric, or one per quantile."""
    if isinstance(metric, Metric):
        return [_readout(cell, metric)]
    if cell.where[-1] == "diluted":  # the quantile of a mixture is no mixture of quantiles
        return []
    return _quantile_readouts(cell, metric)


def _blocked(cell: _Cell) -> str:
    if cell.block is None:
        return ""
    block = cell.block
    return f"the arms of {block.cut} {block.segment} have sizes {block.counts}, not the planned ones"


def _readout(cell: _Cell, metric: Metric) -> Readout:
    rows, compared = cell.rows, cell.compared
    above = metric.numerator[rows]
    below = None if metric.denominator is None else metric.denominator[rows]
    reason = _blocked(cell) or too_few(compared, below) or leaking(compared, above, below)
    if reason:
        return cell.refused(metric.name, reason)
    capped = winsorised(above, below)
    pairs = zip((above, below), capped, strict=True)
    same = all(was is None or now is None or np.array_equal(was, now) for was, now in pairs)
    covariates = tuple(Covariate(c.name, c.values[rows], c.until[rows]) for c in metric.covariates)
    differ = unbalanced(compared, covariates)
    better = trial = None
    if covariates and not differ:
        better = measured_alike(compared, (above, below), covariates, cell.users.assigned_at[rows])
    if compared.cluster is not None:
        under = np.ones(len(above)) if below is None else below
        trial = cluster_trial(
            compared.treated, above, under, compared.cluster, seed=cell.seed, level=cell.level
        )
    note = f"not adjusted: the arms differed before in {', '.join(differ)}" if differ else ""
    return replace(
        cell.refused(metric.name, note),
        status="IDENTIFIED",
        raw=measured(compared, above, below),
        winsorised=None if same else measured(compared, *capped),
        adjusted=better,
        trial=trial,
    )


def _quantile_readouts(cell: _Cell, metric: QuantileMetric) -> list[Readout]:
    """One readout per quantile: where it is in either arm, and how many are beyond that of both together."""
    n_users = len(cell.users.arm)
    member = np.zeros(n_users, dtype=bool)
    member[cell.rows] = True
    kept = member[metric.user]
    user, values = metric.user[kept], metric.values[kept]
    cluster = user if cell.users.cluster is None else cell.users.cluster[user]
    treated, compared = cell.users.arm[user] > 0, cell.compared
    n_rows = np.bincount(user, minlength=n_users)[cell.rows].astype(np.float64)
    reason = _blocked(cell) or too_few(compared, n_rows)
    made = []
    for at in metric.at:
        name = f"{metric.name} p{100 * at:g}"
        if reason:
            made.append(cell.refused(name, reason))
            continue
        first, second = (
            clustered_quantile(values[side], cluster[side], at, level=cell.level)
            for side in (~treated, treated)
        )
        difference = quantile_difference(first, second, level=cell.level)
        if not np.isfinite(difference.standard_error):
            made.append(cell.refused(name, f"too little data at either end of quantile {at:g}"))
            continue
        pooled = np.quantile(values, at, method="inverted_cdf")
        n_beyond = np.bincount(user[values > pooled], minlength=n_users)[cell.rows]
        beyond = measured(compared, n_beyond.astype(np.float64), n_rows)
        ratio = quantile_ratio(first, second, level=cell.level)
        tied = max(first.tied, second.tied)
        note = f"{tied:.0%} of an arm have exactly this value: see the share beyond it"
        raw = Effect(first.value, second.value, difference, ratio, beyond.p)
        found = cell.refused(name, note if tied > MOST_TIED else "")
        made.append(replace(found, status="IDENTIFIED", raw=raw, beyond=beyond))
    return made


def _segments(users: Users) -> Iterator[tuple[str, str, BoolArray]]:
    yield EVERYONE, EVERYONE, np.ones(len(users.arm), dtype=bool)
    for cut, column in users.cuts.items():
        names, codes = segment_codes(column)
        for code, name in enumerate(names):
            yield cut, name, codes == code


def _populations(users: Users, cut: str) -> tuple[Population, ...]:
    if users.triggered is None or cut != EVERYONE:
        return ("everyone",)
    return ("everyone", "triggered", "diluted") if users.cluster is None else ("everyone", "triggered")


def _check_metric(metric: Metric | QuantileMetric, users: Users) -> None:
    n = len(users.arm)
    if isinstance(metric, QuantileMetric):
        if len(metric.values) != len(metric.user):
            raise ValueError(f"{metric.name}: expected {len(metric.values)} users, got {len(metric.user)}")
        if len(metric.user) and not 0 <= metric.user.min() <= metric.user.max() < n:
            got = f"{metric.user.min()} to {metric.user.max()}"
            raise ValueError(f"{metric.name}: user: expected 0 to {n - 1}, got {got}")
        if not np.isfinite(metric.values).all():
            wrong = metric.values[~np.isfinite(metric.values)][0]
            raise ValueError(f"{metric.name}: expected finite numbers, got {wrong}")
        return
    columns = {"numerator": metric.numerator} | {c.name: c.values for c in metric.covariates}
    columns |= {} if metric.denominator is None else {"denominator": metric.denominator}
    for name, column in columns.items():
        if len(column) != n:
            raise ValueError(f"{metric.name}: {name}: expected {n} users, got {len(column)}")
    for covariate in metric.covariates:
        check_until(covariate, users.assigned_at)

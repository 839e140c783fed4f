"""The checks of a log: whether what was served says anything about what the target would serve.

Each is held against its limit and says in words what it found. That weights average 1, the decisive one, is
in `eval.mean_weight`.
"""

from dataclasses import dataclass

import numpy as np

from eval.browsing import slot_positions
from eval.clustered import Estimate, clustered_mean
from eval.weights import effective_sample_size, pareto_k, pareto_k_error
from reranker.columns import BoolArray, FloatArray, IntArray, freeze_arrays

CERTAIN = 1e-12  # a log propensity above minus this is a certainty
SAME = 1e-9  # policies whose log propensities differ by less serve alike
TIED = 20  # equal smallest propensities that are a floor, not chance


@dataclass(frozen=True)
class Limits:
    """What the checks ask for.

    Attributes:
        max_z: of the tests that weights average 1, in standard errors by user: of all of them together, so
            that a log of many slots is refused no more often than one of few; and of the tail's shape.
        min_effective: users, each as good as one with weight 1.
        min_effective_share: of all users.
        max_user_share: of all weight, by one user.
        max_pareto_k, caution_pareto_k: shape of the weights' tail, for estimators that use all of it: refused
            from the first on, where weights have no variance for an interval to rest on; worth a caution from
            the second on, where they have no skewness, so that intervals are slow to become right. The
            tail has to be lighter by `max_z` of its errors: a log that happens to lack its largest weights
            looks light.
        max_model_share, caution_model_share: share of what the target serves beyond the switch of
            `switch_dr`: there the response model stands alone, and 20 % of error in it are 1 % of the value
            at the first.
        max_deficit: share of the target's slates that the logger never serves.
        max_clipped: share of slots whose propensity was raised.
    """

    max_z: float = 3.0
    min_effective: float = 1000.0
    min_effective_share: float = 0.1
    max_user_share: float = 0.05
    max_pareto_k: float = 0.5
    caution_pareto_k: float = 1 / 3
    max_model_share: float = 0.05
    caution_model_share: float = 0.02
    max_deficit: float = 0.005
    max_clipped: float = 0.001


@dataclass(frozen=True, eq=False)
class Served:
    """How likely each policy was to serve what was served.

    Attributes:
        log_logging: (s,) log propensity of the prefix down to each slot; NaN where it was not logged.
        log_target: (s,) the same of the target; -inf where it never serves the prefix.
        slot_offsets: (n + 1,) slots of each request.
        user: (n,) integer codes.
        unsupported: (s,) chance that the target's prefix down to the slot is one the logger never serves,
            as by an item that was not logged; None is 0.
        clipped: (s,) where the propensity was raised to a floor; None is nowhere.
        expected_log_step: (s,) what the log chance of a slot's item should be on average, from
            `eval.propensity.expected_log_steps`; None leaves the check of the logger against itself out.

    Raises:
        ValueError: lengths that do not fit, or `unsupported` outside [0, 1].
    """

    log_logging: FloatArray
    log_target: FloatArray
    slot_offsets: IntArray
    user: IntArray
    unsupported: FloatArray | None = None
    clipped: BoolArray | None = None
    expected_log_step: FloatArray | None = None

    def __post_init__(self) -> None:
        s = (int(self.slot_offsets[-1]),)
        for name in ("log_logging", "log_target", "unsupported", "clipped", "expected_log_step"):
            column = getattr(self, name)
            if column is not None and column.shape != s:
                raise ValueError(f"{name}: expected shape {s}, got {column.shape}")
        if self.user.shape != (len(self.slot_offsets) - 1,):
            raise ValueError(f"user: expected shape ({len(self.slot_offsets) - 1},), got {self.user.shape}")
        u = self.unsupported
        if u is not None and not ((u >= 0) & (u <= 1)).all():
            raise ValueError("unsupported: expected chances in [0, 1]")
        if np.isnan(self.log_target).any() or (self.log_target > CERTAIN).any():
            raise ValueError("log_target: expected log propensities of at most 0")
        freeze_arrays(self)


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        code: what is wrong where it fails.
        passed: whether it holds.
        value: what was found; None where an earlier failure leaves nothing to compute.
        limit: what it is held against.
        detail: the finding, in words.
    """

    code: str
    passed: bool
    value: float | None
    limit: float
    detail: str


def propensities_present(served: Served) -> Check:
    """Every prefix has a propensity that could be one: at most 1, above 0, not growing down the slate."""
    log = served.log_logging
    missing = np.isnan(log)
    impossible = (log > CERTAIN) | np.isneginf(log) | (log_steps(log, served.slot_offsets) > SAME)
    n_missing, n_impossible = int(missing.sum()), int((impossible & ~missing).sum())
    if n_impossible and not n_missing:
        return Check(
            "PROPENSITY_IMPOSSIBLE", False, n_impossible / len(log), 0.0,
            f"{n_impossible} of {len(log)} logged propensities are 0, above 1 or grow down the slate",
        )  # fmt: skip
    share = n_missing / len(log) if len(log) else 1.0
    return Check(
        "PROPENSITY_MISSING", share == 0, share, 0.0,
        f"{n_missing} of {len(log)} served prefixes have no propensity",
    )  # fmt: skip


def enough_users(n_users: int) -> Check:
    """An interval needs users that are independent of each other."""
    return Check("ONE_USER", n_users >= 2, float(n_users), 2.0, f"{n_users} users")


def logger_stochastic(served: Served, limits: Limits) -> Check:
    """At no slot was the logger bound to one item where the target is not."""
    bound = log_steps(served.log_logging, served.slot_offsets) >= -CERTAIN
    bound &= ~_tied_at_least(
        served.log_logging, others_repeat=True
    )  # below a floor the next slot looks certain
    free = log_steps(served.log_target, served.slot_offsets) < -SAME  # NaN below a prefix it never serves
    stuck = np.add.reduceat(bound & free, _starts(served.slot_offsets), dtype=np.int64) > 0
    share = float(stuck.mean())
    return Check(
        "LOGGER_DETERMINISTIC", share <= limits.max_deficit, share, limits.max_deficit,
        f"{share:.1%} of requests were served in the one way possible, and the target serves others",
    )  # fmt: skip


def logger_calibrated(served: Served, limits: Limits) -> Check:
    """What was served is as surprising, on average, as the logged propensities say; by user.

    Needs no target, and finds a wrong temperature that leaves the weights' mean near 1.
    """
    z, detail = 0.0, "not checked: no expected log propensities"
    if served.expected_log_step is not None:
        surprise = log_steps(served.log_logging, served.slot_offsets) - served.expected_log_step
        z = z_score(clustered_mean(surprise, served.user[request_of_slot(served)]))
        more = "less" if z > 0 else "more"
        detail = f"what was served is {more} surprising than its propensities say, z = {z:.1f}"
    return Check("PROPENSITY_MISCALIBRATED", abs(z) <= limits.max_z, z, limits.max_z, detail)


def weight_spread(weight: FloatArray, user: IntArray, limits: Limits) -> tuple[Check, ...]:
    """What few users would decide; of no concern where every weight is 1. Weights are of requests."""
    totals = np.bincount(np.unique(user, return_inverse=True)[1], weights=weight).astype(np.float64)
    effective, n = effective_sample_size(totals), len(totals)
    largest = float(totals.max() / totals.sum()) if totals.sum() > 0 else 1.0
    alike = _alike(weight)
    return (
        Check(
            "ESS_LOW", alike or effective >= limits.min_effective, effective, limits.min_effective,
            f"the log is worth {effective:.0f} users of {n}",
        ),
        Check(
            "ESS_SHARE_LOW", alike or effective / n >= limits.min_effective_share, effective / n,
            limits.min_effective_share, f"the log is worth {effective / n:.1%} of its users",
        ),
        Check(
            "USER_DOMINATES", alike or largest <= limits.max_user_share, largest, limits.max_user_share,
            f"one user holds {largest:.1%} of all weight",
        ),
    )  # fmt: skip


def tail_light(weight: FloatArray, limits: Limits) -> Check:
    """The weights (n,) of requests surely have a variance: a mean of them an interval, with its error."""
    tail = pareto_k(weight)
    error = pareto_k_error(tail, len(weight)) if len(weight) else 0.0
    most = tail + limits.max_z * error
    return Check(
        "HEAVY_TAIL", _alike(weight) or most <= limits.max_pareto_k, most, limits.max_pareto_k,
        f"the tail of the weights has Pareto k = {tail:.2f}, at most {most:.2f} at {limits.max_z:g} errors",
    )  # fmt: skip


def model_share(served: Served, weight: FloatArray, switch: float, mean_low: Check, limits: Limits) -> Check:
    """How much of what the target serves lies beyond the switch, where the response model stands alone.

    Right weights average 1 less what is not supported: what those up to the switch lack is beyond it. They
    are bounded, so that this share is known with its error however heavy the tail; of all slots the most.
    Where weights do not average 1, only what was seen beyond the switch counts. Refused is what is surely
    more than none and more than the limit.
    """
    slot, request = slot_positions(served.slot_offsets), request_of_slot(served)
    beyond = np.where(weight > switch, weight, 0.0)
    if mean_low.passed:
        rest = 0.0 if served.unsupported is None else served.unsupported
        beyond = 1.0 - rest - np.where(weight <= switch, weight, 0.0)
    share, error = 0.0, 0.0
    for k in range(int(slot.max(initial=-1)) + 1):
        user = served.user[request[slot == k]]
        if len(np.unique(user)) >= 2:
            found = clustered_mean(beyond[slot == k], user)
            share, error = max((share, error), (found.value, found.standard_error))
    surely = share > limits.max_z * error
    return Check(
        "MODEL_SHARE_HIGH", share <= limits.max_model_share or not surely, share, limits.max_model_share,
        f"{max(share, 0.0):.1%} of what the target serves has a weight above {switch:g}, "
        "where the model stands alone",
    )  # fmt: skip


def _alike(weight: FloatArray) -> bool:
    return bool((np.abs(weight - 1.0) <= SAME).all())


def target_supported(served: Served, last: IntArray, limits: Limits) -> Check:
    """How much of the target the logger never serves."""
    known = served.unsupported is not None and len(last) > 0
    deficit = float(served.unsupported[last].mean()) if known and served.unsupported is not None else 0.0
    return Check(
        "SUPPORT_DEFICIT", deficit <= limits.max_deficit, deficit, limits.max_deficit,
        f"{deficit:.2%} of what the target serves could not have been logged",
    )  # fmt: skip


def clipped(served: Served, mean_low: Check, limits: Limits) -> tuple[Check, Check]:
    """Propensities that are said to be raised, and those that look it: many tied at the least.

    Where the others repeat too, as those of a uniform logger do, ties alone prove nothing: they count only
    where the weights are too low as well.
    """
    share = float(served.clipped.mean()) if served.clipped is not None and len(served.clipped) else 0.0
    tied = _share_tied_at_least(served, others_repeat=not mean_low.passed)
    return (
        Check(
            "PROPENSITY_CLIPPED", share <= limits.max_clipped, share, limits.max_clipped,
            f"{share:.2%} of propensities were raised to a floor",
        ),
        Check(
            "PROPENSITY_FLOORED", tied <= limits.max_clipped, tied, limits.max_clipped,
            f"{tied:.2%} of propensities equal the smallest one, as if raised to it"
            if tied else "no floor is visible",
        ),
    )  # fmt: skip


def z_score(estimate: Estimate) -> float:
    """Value over standard error; 0.0 for 0 over 0, infinite for another value over 0."""
    if estimate.standard_error > 0:
        return estimate.value / estimate.standard_error
    return 0.0 if estimate.value == 0 else float(np.copysign(np.inf, estimate.value))


def log_steps(log_prefix: FloatArray, slot_offsets: IntArray) -> FloatArray:
    """(s,) log propensity of each slot's item given what stands above it."""
    with np.errstate(invalid="ignore"):  # a prefix of propensity 0 is refused elsewhere
        steps = np.diff(log_prefix, prepend=0.0)
    starts = _starts(slot_offsets)
    steps[starts] = log_prefix[starts]
    return steps


def _starts(slot_offsets: IntArray) -> IntArray:
    """The first slot of each request that has one."""
    return slot_offsets[:-1][np.diff(slot_offsets) > 0]


def request_of_slot(served: Served) -> IntArray:
    """(s,) the request of each slot."""
    return np.repeat(np.arange(len(served.user)), np.diff(served.slot_offsets))


def _share_tied_at_least(served: Served, *, others_repeat: bool) -> float:
    """Share of propensities that a floor seems to hold: of prefixes, slates or slots, whichever is most."""
    last = served.slot_offsets[1:][np.diff(served.slot_offsets) > 0] - 1
    log = served.log_logging
    kinds = (log, log[last], log_steps(log, served.slot_offsets))
    return max(float(_tied_at_least(values, others_repeat=others_repeat).mean()) for values in kinds)


def _tied_at_least(values: FloatArray, *, others_repeat: bool) -> BoolArray:
    """Where values equal the smallest, if it is far more frequent than any other value; else nowhere.

    With `others_repeat` also where less than half of the other values are distinct.
    """
    rounded = np.round(values, 9)
    distinct, count = np.unique(rounded, return_counts=True)
    others = len(values) - int(count[0])
    floor = others > 0 and count[0] >= TIED and count[0] >= 3 * int(count[1:].max())
    floor = floor and (others_repeat or len(count) - 1 >= others / 2)
    tied: BoolArray = (rounded == distinct[0]) & floor
    return tied

"""What many policies would show of the same requests, in one pass: the fast path for large logs.

The policies are weights of predicted actions with a cap and demotion curves, the part of a policy that can
be evaluated from what a log keeps. Everything is per request; sums and intervals are `eval.sufficient`'s.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eval.exposure import Browsing
from eval.kernel import measure_requests
from eval.sufficient import Plan, SufficientStatistics, accumulate
from reranker.columns import FloatArray, IntArray, freeze_arrays
from reranker.impression_codes import UNSCORED, code_table

NO_CURVE = (0.0, 1.0, 1.0)
_NONE = np.zeros(0)


@dataclass(frozen=True, eq=False)
class PackedRequests:
    """n requests with c candidates in all, in the order that the log gives them.

    Attributes:
        user: (n,) keys of `hashing.user_keys`.
        segment: (n,) which segment each request is in.
        offsets: (n + 1,) request i holds candidates offsets[i] to offsets[i + 1].
        actions: A names.
        p_action: (A, c) probability of each action given a view; float, or uint8 `impression_codes`.
        harms: H names.
        p_harm: (H, c) probability of each harm, NaN (code 255) where not scored; float, or uint8 codes.
        multiplier: (c,) such as closeness; None is 1.
        stop: (c,) chance of reading no further after the post; None: only the position matters.
    """

    user: NDArray[np.uint64]
    segment: NDArray[np.integer]
    offsets: IntArray
    actions: tuple[str, ...]
    p_action: NDArray[Any]
    harms: tuple[str, ...]
    p_harm: NDArray[Any]
    multiplier: FloatArray | None = None
    stop: FloatArray | None = None

    def __post_init__(self) -> None:
        n, c = len(self.user), int(self.offsets[-1]) if len(self.offsets) else -1
        shapes: dict[str, tuple[int, ...]] = {
            "segment": (n,),
            "offsets": (n + 1,),
            "p_action": (len(self.actions), c),
            "p_harm": (len(self.harms), c),
            "multiplier": (c,),
            "stop": (c,),
        }
        for name, shape in shapes.items():
            found = getattr(self, name)
            if found is not None and found.shape != shape:
                raise ValueError(f"{name}: expected shape {shape}, got {found.shape}")
        if self.offsets[0] != 0 or (np.diff(self.offsets) < 0).any():
            raise ValueError("offsets: expected numbers from 0 that do not fall")
        self._check_probabilities()
        freeze_arrays(self)

    def _check_probabilities(self) -> None:
        """Codes cannot be wrong, but for an action that was not scored."""
        for name in ("p_action", "p_harm", "stop"):
            values = getattr(self, name)
            if values is None or not values.size:
                continue
            if values.dtype == np.uint8:
                if name == "p_action" and values.max() == UNSCORED:
                    raise ValueError("p_action: expected a probability of every action, got a null code")
                continue
            least, most = (np.fmin, np.fmax) if name == "p_harm" else (np.minimum, np.maximum)
            low, high = least.reduce(values, axis=None), most.reduce(values, axis=None)
            if low < 0 or high > 1 or (np.isnan(low) and name != "p_harm"):
                raise ValueError(f"{name}: expected numbers in [0, 1], got {low:g} to {high:g}")
        factor = self.multiplier
        if factor is not None and not (np.isfinite(factor).all() and (factor >= 0).all()):
            raise ValueError("multiplier: expected finite numbers of at least 0")

    @property
    def n(self) -> int:
        """Requests."""
        return len(self.user)


@dataclass(frozen=True, eq=False)
class WeightPolicies:
    """P policies over the same actions and harms; the first is the baseline.

    score = min(cap, multiplier * sum of weight * p_action), then times the demotion of each harm: 1 up to
    `start`, `floor` from `line` on, linear between; a score below zero is made lower by as much. A harm
    that was not scored demotes nothing. Ties keep the order of the log.

    Attributes:
        names: P names.
        weights: (P, A), negative ones allowed.
        cap: (P,) the largest score before demotion, inf for none.
        curves: (P, H, 3) start, line and floor of each harm's demotion; `NO_CURVE` for none.
    """

    names: tuple[str, ...]
    weights: FloatArray
    cap: FloatArray
    curves: FloatArray

    def __post_init__(self) -> None:
        p = len(self.names)
        if self.weights.ndim != 2 or len(self.weights) != p or self.cap.shape != (p,):
            raise ValueError(
                f"weights: expected {p} rows and caps, got {self.weights.shape}, {self.cap.shape}"
            )
        if self.curves.ndim != 3 or self.curves.shape[::2] != (p, 3):
            raise ValueError(f"curves: expected shape ({p}, harms, 3), got {self.curves.shape}")
        if not np.isfinite(self.weights).all():
            raise ValueError("weights: expected finite numbers")
        start, line, floor = self.curves[..., 0], self.curves[..., 1], self.curves[..., 2]
        if not ((start < line) & (floor >= 0) & (floor <= 1)).all():
            raise ValueError("curves: expected start below line and a floor in [0, 1]")
        freeze_arrays(self)

    @property
    def digest(self) -> str:
        """sha256 of all that decides."""
        text = repr((self.names, self.weights.shape, self.curves.shape)).encode()
        return sha256(
            b"".join((text, *(x.tobytes() for x in (self.weights, self.cap, self.curves))))
        ).hexdigest()


def weight_policies(
    weights: dict[str, dict[str, float]], actions: Sequence[str], n_harms: int = 0
) -> WeightPolicies:
    """Policies without cap and demotion from weights by action; an action that is not named weighs 0.

    Raises:
        ValueError: a weight of an action that is not among `actions`.
    """
    for policy, own in weights.items():
        if unknown := sorted(set(own) - set(actions)):
            raise ValueError(f"{policy}: expected weights of {', '.join(actions)}, got {unknown[0]!r}")
    table = np.array([[own.get(action, 0.0) for action in actions] for own in weights.values()])
    curves = np.broadcast_to(np.array(NO_CURVE), (len(weights), n_harms, 3)).copy()
    return WeightPolicies(tuple(weights), table, np.full(len(weights), np.inf), curves)


@dataclass(frozen=True)
class Metrics:
    """What is measured of a slate and how it is added up.

    Attributes:
        examination: e of each of the K slots, from the top; times the chance of getting there where the
            requests have `stop`.
        segments: names of the requests' segments.
        by: clusters are users, or buckets of users.
        n_resamples: of the bootstrap over users.
        seed: of the bootstrap.
    """

    examination: tuple[float, ...]
    segments: tuple[str, ...] = ("all",)
    by: Literal["bucket", "user"] = "bucket"
    n_resamples: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.examination or not all(0 <= e <= 1 for e in self.examination):
            raise ValueError(f"examination: expected numbers in [0, 1], got {self.examination}")

    def names(self, batch: PackedRequests) -> tuple[str, ...]:
        """M names: views, scored_HARM, HARM, the actions, changed (not the baseline's slate), requests."""
        scored = (f"scored_{harm}" for harm in batch.harms)
        return ("views", *scored, *batch.harms, *batch.actions, "changed", "requests")


def examination(model: Browsing, n_slots: int) -> tuple[float, ...]:
    """Chance that each slot is seen under a browsing model that knows the position alone.

    Raises:
        ValueError: a model whose depth is a share of the candidates.
    """
    if model.kind == "share":
        raise ValueError(f"browsing: expected a model by position, got {model.name!r}")
    at = np.arange(n_slots)
    if model.kind == "rbp":
        seen = float(model.amount) ** at
    elif model.kind == "log2":
        seen = 1 / np.log2(at + 2)
    else:
        seen = (at < float(model.amount)).astype(np.float64)
    return tuple(seen.tolist())


def measure_slates(
    batch: PackedRequests, policies: WeightPolicies, seen: Sequence[float], *, threads: int = 1
) -> FloatArray:
    """(n, P, M) what the top K of each request shows under each policy, in the columns of `Metrics.names`.

    A request with fewer candidates than slots shows all of them. Harm per view is HARM over scored_HARM;
    what was not scored is in neither.

    Args:
        batch: the requests.
        policies: over the same actions and harms.
        seen: (K,) the chance that each slot is seen.
        threads: that share the requests; the result does not depend on their number.

    Raises:
        ValueError: policies over another number of actions or harms.
    """
    if (policies.weights.shape[1], policies.curves.shape[1]) != (len(batch.actions), len(batch.harms)):
        raise ValueError(
            f"policies: expected {len(batch.actions)} actions and {len(batch.harms)} harms, "
            f"got {policies.weights.shape[1]} and {policies.curves.shape[1]}"
        )
    out = np.empty((batch.n, len(policies.names), 3 + 2 * len(batch.harms) + len(batch.actions)))
    slots = np.asarray(seen, dtype=np.float64)
    table = code_table()

    def work(rows: slice) -> None:
        measure_requests(
            batch.offsets[rows.start : rows.stop + 1],
            batch.p_action,
            table if batch.p_action.dtype == np.uint8 else _NONE,
            batch.p_harm,
            table if batch.p_harm.dtype == np.uint8 else _NONE,
            _NONE if batch.multiplier is None else batch.multiplier,
            _NONE if batch.stop is None else batch.stop,
            policies.weights,
            policies.cap,
            policies.curves,
            slots,
            out[rows],
        )

    edges = np.linspace(0, batch.n, threads + 1).astype(int).tolist()
    parts = [slice(low, high) for low, high in pairwise(edges)]
    if threads == 1:
        work(parts[0])
        return out
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))
    return out


def evaluate_partition(
    batch: PackedRequests, policies: WeightPolicies, metrics: Metrics
) -> SufficientStatistics:
    """What some requests add to the evaluation of the policies: add partitions up with `sufficient.merge`.

    The function to hand to whatever runs over the data, one partition at a time, in any order.

    Raises:
        ValueError: as `measure_slates` and `accumulate`.
    """
    plan = plan_of(batch, policies, metrics)
    values = measure_slates(batch, policies, metrics.examination)
    return accumulate(values, batch.user, batch.segment, plan)


def plan_of(batch: PackedRequests, policies: WeightPolicies, metrics: Metrics) -> Plan:
    """The plan of `evaluate_partition`: the same for all batches with the same actions and harms."""
    setting = repr((policies.digest, metrics.examination, batch.stop is None, batch.multiplier is None))
    return Plan(
        policies.names,
        metrics.names(batch),
        metrics.segments,
        metrics.by,
        metrics.n_resamples,
        metrics.seed,
        sha256(setting.encode()).hexdigest()[:16],
    )


def score_mass(weights: FloatArray, amount: FloatArray) -> FloatArray:
    """(P, A) the share of all score points that each action supplies.

    Args:
        weights: (P, A) at least 0.
        amount: (A,) how many of each action there are, or their probabilities added up.

    Example:
        >>> counts = np.array([63e9, 11e9, 429e6])  # likes, loves, angry reactions
        >>> share = score_mass(np.array([[1.0, 5.0, 5.0]]), counts)
        >>> round(100 * float(share[0, 2]), 9)
        1.785342711
    """
    points = weights * amount
    share: FloatArray = points / points.sum(axis=1, keepdims=True)
    return share

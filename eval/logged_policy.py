"""A policy as far as a log of impressions can rank by it: weights of its predictions, demotion by its harms.

What the log keeps no column for, such as closeness or authors, is refused by name: a policy less one of its
parts is another policy. A request whose candidates were cut short, or that lacks a prediction that counts, is
one of which nothing is known under such a policy; it is never ranked as if the rest were all.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reranker.columns import BoolArray, FeedError, FloatArray, IntArray, closest, freeze_arrays, ragged_rows
from reranker.demotion import borderline, fit_bound, lowered
from reranker.exploration import log_prefix_propensity, sample_rankings
from reranker.impressions import ImpressionLog
from reranker.log_summary import AGREEMENT
from reranker.policy import Curve, Policy, PolicyError, build_policy
from reranker.presets import differences, load_policy
from reranker.slate import sort_requests

Scale = Literal["linear", "log"]
LOGGER = "logger"
CERTAIN = 1e-12  # a log propensity above minus this is a certainty
_FIXED = 1e4  # temperatures between ranks that are not drawn: no Gumbel noise reaches across


@dataclass(frozen=True)
class LogPolicy:
    """What decides the ranking of a log's candidates.

    score = bound(sum of weight * p_action), demoted by each harm; slates are Plackett-Luce draws over it, or
    over its logarithm.

    Attributes:
        name: for a person.
        weights: by action; None is the logger itself, as it served.
        demotion: by harm.
        unscored: multiplier of a candidate that lacks a harm that demotes.
        bounded: whether scores are bounded before they are demoted.
        scale: what the temperature is in the unit of: the score, or its logarithm.
        temperature: 0 for the order of the scores; None for that of the logger in each request.
        from_rank: first rank, from 1, that is drawn; None for that of the logger.
        n_slots: last rank that is drawn; None for all.
    """

    name: str
    weights: Mapping[str, float] | None
    demotion: Mapping[str, Curve] = field(default_factory=dict)
    unscored: float = 1.0
    bounded: bool = False
    scale: Scale = "linear"
    temperature: float | None = None
    from_rank: int | None = None
    n_slots: int | None = None

    @property
    def is_logger(self) -> bool:
        """Whether it is what the log was served by."""
        return self.weights is None

    def as_dict(self) -> dict[str, Any]:
        """All that decides, and not the name."""
        if self.weights is None:
            return {"weights": None}
        return {
            "weights": {name: float(weight) for name, weight in self.weights.items() if weight},
            "demotion": {
                name: [curve.start, curve.line, curve.floor] for name, curve in self.demotion.items()
            },
            "unscored": self.unscored,
            "bounded": self.bounded,
            "scale": self.scale,
            "temperature": self.temperature,
            "from_rank": self.from_rank,
        }

    @property
    def digest(self) -> str:
        """sha256 of all that decides."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class PolicyOnLog:
    """A policy on the requests of a log.

    Attributes:
        score: (c,) that slates are drawn by; 0 where the request is not known.
        temperature: (n,) of the draw.
        from_rank: (n,) first rank, from 1, that is drawn.
        known: (n,) whether all that the policy would rank was logged.
        log_prefix: (s,) log chance of the served slate down to each slot; -inf where it never serves it.
        unsupported: (s,) chance of a slate down to the slot that the logger never serves.
    """

    score: FloatArray
    temperature: FloatArray
    from_rank: IntArray
    known: BoolArray
    log_prefix: FloatArray
    unsupported: FloatArray

    def __post_init__(self) -> None:
        freeze_arrays(self)


def parse_policy(text: str, *, temperature: float | None = None, scale: Scale = "linear") -> LogPolicy:
    """A policy from "logger", from weights, or from the name or file of a product policy.

    Args:
        text: "logger"; "like=1,love=5,demotion.toxicity=0.2:0.8:0.1", the curve as start:line:floor; or
            NAME_OR_FILE[+OVERLAY...].
        temperature: of the draw; None for the policy's own, or where it has none, the logger's.
        scale: see `LogPolicy`.

    Raises:
        PolicyError: what is no policy, or one with a part that no log keeps a column for.
    """
    if temperature is not None and not (np.isfinite(temperature) and temperature >= 0):
        raise PolicyError(f"temperature: expected a finite number of at least 0, got {temperature}")
    if text == LOGGER:
        return LogPolicy(LOGGER, None)
    if "=" in text:
        return _of_weights(text, temperature, scale)
    return of_product(load_policy(text), name=text, temperature=temperature, scale=scale)


def of_product(
    policy: Policy, *, name: str, temperature: float | None = None, scale: Scale = "linear"
) -> LogPolicy:
    """A product policy on a log's columns.

    Raises:
        PolicyError: it has a part that no log keeps a column for; the first one is named.
    """
    drawn = policy.exploration
    content: dict[str, Any] = {
        "schema": 1,
        "name": policy.name,
        "weights": dict(policy.weights),
        "drop": policy.drop,
        "demotion": {
            label: {"start": curve.start, "line": curve.line, "floor": curve.floor}
            for label, curve in policy.demotion.items()
        },
        "unscored": policy.unscored.model_dump(),
        "significance": policy.significance.model_dump(),  # says what a column counts, which the log fixed
        "score": {"bounded": policy.score.bounded, "seed": policy.score.seed},
        "slate": {"thread_order": policy.slate.thread_order},
    }
    if drawn is not None:
        content["exploration"] = drawn.model_dump()
    if policy.score.expects != "counts":
        content["score"]["expects"] = policy.score.expects
    other = differences(policy, build_policy(content, name))
    if other:
        key, got, _ = other[0]
        raise PolicyError(f"{name}: {key}: expected none, as a log has no column for it, got {got!r}")
    own = None if drawn is None else drawn.temperature
    return LogPolicy(
        name=name,
        weights={signal: w for signal, w in policy.weights.items() if signal not in policy.drop},
        demotion=policy.demotion,
        unscored=policy.unscored.multiplier,
        bounded=policy.score.bounded,
        scale=scale,
        temperature=own if temperature is None else temperature,
        from_rank=None if drawn is None else drawn.from_rank,
        n_slots=None if drawn is None else drawn.n_slots,
    )


def rank_log(policy: LogPolicy, log: ImpressionLog) -> PolicyOnLog:
    """What a policy makes of the requests of a log.

    Raises:
        FeedError: the log lacks a column that the policy ranks by, or no temperature is known.
    """
    logged_temperature = np.full(log.n, np.nan) if log.temperature is None else log.temperature
    logged_from = np.ones(log.n, dtype=np.int64) if log.from_rank is None else log.from_rank
    whole = np.ones(log.n, dtype=np.bool_) if log.n_total is None else log.n_total == np.diff(log.offsets)
    if policy.is_logger:
        known = whole & ~np.isnan(logged_temperature) & ~_any_missing(log.score, log)
        return PolicyOnLog(
            np.where(np.isnan(log.score), 0.0, log.score), np.where(known, logged_temperature, 0.0),
            logged_from, known, np.minimum(np.nan_to_num(log.log_prefix_propensity), 0.0),
            np.zeros(log.n_slots),
        )  # fmt: skip
    if policy.temperature is None and np.isnan(logged_temperature).any():
        at = log.request_id[int(np.isnan(logged_temperature).argmax())]
        raise FeedError(f'{policy.name}: expected a temperature, as that of request "{at}" was not logged')
    longest = int(np.diff(log.slot_offsets).max(initial=0))
    if policy.n_slots is not None and policy.n_slots < longest:
        raise FeedError(
            f"{policy.name}: exploration.n_slots: expected at least the {longest} slots served, "
            f"got {policy.n_slots}"
        )
    found = policy_scores(policy, log)
    known = whole & ~_any_missing(found, log)
    score = np.where(np.isnan(found), 0.0, found)
    heat = logged_temperature if policy.temperature is None else np.full(log.n, float(policy.temperature))
    first = logged_from if policy.from_rank is None else np.full(log.n, policy.from_rank, dtype=np.int64)
    prefix = log_prefix_propensity(
        score, log.offsets, log.slate, log.slot_offsets, heat, from_rank=np.ascontiguousarray(first)
    )
    of_slot = known[log.request_of_slot]
    return PolicyOnLog(
        score, heat.copy(), first.copy(), known, np.where(of_slot, np.minimum(prefix, 0.0), -np.inf),
        np.where(of_slot, _never_served(prefix, log), 1.0),
    )  # fmt: skip


def policy_scores(policy: LogPolicy, log: ImpressionLog) -> FloatArray:
    """(c,) the score of each candidate, NaN where it lacks a prediction that counts.

    Raises:
        FeedError: a weight or demotion whose column the log has not, or a score of which there is no
            logarithm.
    """
    assert policy.weights is not None
    _check_columns(policy, log)
    score = np.zeros(log.n_candidates)
    for name in sorted(policy.weights):  # in a fixed order, so that the sum is the same to the last bit
        if policy.weights[name]:
            score += policy.weights[name] * log.p_action[name]
    if policy.bounded:
        score = fit_bound(score, log.offsets).apply(score, log.request_of_row)
    multiplier, lacks = np.ones(len(score)), np.zeros(len(score), dtype=np.bool_)
    for name in sorted(policy.demotion):
        factor = borderline(log.harm[name].astype(np.float64), np.ones(1), policy.demotion[name])
        lacks |= np.isnan(factor)
        multiplier *= np.where(np.isnan(factor), 1.0, factor)
    score = lowered(score, np.where(lacks, policy.unscored, 1.0) * multiplier)
    if policy.scale == "linear":
        return score
    if (score <= 0).any():
        row = int((score <= 0).argmax())
        at = log.request_id[int(log.request_of_row[row])]
        raise FeedError(
            f'{policy.name}: expected scores above 0 for a logarithm, got {score[row]:g} in request "{at}"'
        )
    return np.log(score)


def agrees_with_log(on_log: PolicyOnLog, log: ImpressionLog) -> bool:
    """Whether the policy serves every request as likely as the log says, so that it is the logger."""
    if not (on_log.known.all() and log.has_propensity.all()):
        return False
    logged = log.log_prefix_propensity
    with np.errstate(invalid="ignore"):
        apart = np.abs(on_log.log_prefix - logged)
    return bool((apart <= AGREEMENT * np.maximum(1.0, np.abs(logged))).all())


def draw_log(
    on_log: PolicyOnLog, log: ImpressionLog, request_key: NDArray[np.uint64], *, seed: int
) -> IntArray:
    """(s,) rows of a slate per request, each as long as the one that was served.

    Policies that are drawn with one seed share their noise, by `request_key` (n,). Where a policy is not
    known, what was served.
    """
    lengths = np.diff(log.slot_offsets)
    score = _with_fixed_head(on_log, log)
    most = max(int(lengths.max(initial=0)), 1)
    drawn, slots = sample_rankings(
        score, log.offsets, on_log.temperature, most, seed=seed, request_key=request_key
    )
    rows = drawn[ragged_rows(slots[:-1], lengths)]
    return np.where(on_log.known[log.request_of_slot], rows, log.slate)


def _of_weights(text: str, temperature: float | None, scale: Scale) -> LogPolicy:
    weights: dict[str, float] = {}
    demotion: dict[str, Curve] = {}
    for part in text.split(","):
        key, _, value = (piece.strip() for piece in part.partition("="))
        label = key.removeprefix("demotion.")
        try:
            numbers = [float(number) for number in value.split(":")]
            if key in weights or label in demotion or not np.isfinite(numbers).all():
                raise ValueError
            if label != key and len(numbers) == 3:
                demotion[label] = Curve(start=numbers[0], line=numbers[1], floor=numbers[2])
            elif label == key and key and len(numbers) == 1:
                weights[key] = numbers[0]
            else:
                raise ValueError
        except ValueError:
            raise PolicyError(
                f"policy: expected weights such as like=1,love=5 or demotion.toxicity=0.2:0.8:0.1, each "
                f"once, got {part!r}"
            ) from None
    if not weights:
        raise PolicyError(f"policy: expected at least one weight such as like=1, got {text!r}")
    return LogPolicy(text, weights, demotion, scale=scale, temperature=temperature)


def _check_columns(policy: LogPolicy, log: ImpressionLog) -> None:
    weights = [name for name, weight in (policy.weights or {}).items() if weight]
    parts = (
        ("weights", "prediction", weights, log.p_action),
        ("demotion", "harm", policy.demotion, log.harm),
    )
    for part, what, names, columns in parts:
        for name in sorted(names):
            if name not in columns:
                held = ", ".join(sorted(columns)) or "none"
                raise FeedError(
                    f"{policy.name}: {part}.{name}: expected a {what} that was logged ({held}), got none"
                    f"{closest(name, tuple(columns))}"
                )


def _any_missing(values: FloatArray, log: ImpressionLog) -> BoolArray:
    """(n,) whether any candidate of a request lacks a value."""
    missing = np.zeros(log.n, dtype=np.bool_)
    missing[log.request_of_row[np.isnan(values)]] = True
    return missing


def _never_served(prefix: FloatArray, log: ImpressionLog) -> FloatArray:
    """(s,) chance that the policy departs from those top ranks that the logger was bound to."""
    logged = np.nan_to_num(log.log_prefix_propensity, nan=-np.inf)
    bound = logged >= -CERTAIN  # propensities never rise: these are the first slots of a request
    n_bound = np.bincount(log.request_of_slot[bound], minlength=log.n)
    last = log.slot_offsets[:-1] + n_bound - 1
    at = np.minimum(np.arange(log.n_slots), last[log.request_of_slot])
    held = n_bound[log.request_of_slot] > 0
    chance = np.exp(np.minimum(prefix[np.where(held, at, 0)], 0.0)) if log.n_slots else np.zeros(0)
    return np.where(held, 1.0 - chance, 0.0)


def _with_fixed_head(on_log: PolicyOnLog, log: ImpressionLog) -> FloatArray:
    """(c,) scores that keep the ranks above `from_rank` as they are, whatever the noise."""
    if not (on_log.from_rank > 1).any():
        return on_log.score
    order = sort_requests(on_log.score, np.arange(log.n_candidates), log.offsets)
    rank = np.empty(log.n_candidates, dtype=np.int64)
    rank[order] = np.arange(log.n_candidates) - log.offsets[:-1][log.request_of_row]
    above = on_log.from_rank[log.request_of_row] - 1 - rank
    lift = _FIXED * on_log.temperature[log.request_of_row] + 2.0 * np.abs(on_log.score).max()
    return np.where(above > 0, on_log.score + lift * above, on_log.score)

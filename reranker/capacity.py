"""How many cores, GPUs and bytes a day's traffic takes, from rates that were measured on one core.

Everything is linear: the rates are of jobs that part into requests or texts that know nothing of each other.
What a figure rests on goes with it: a day larger than the largest measured is marked as extrapolated. There
is no rate of any GPU here; a user measures one with benchmarks/gpu.py.
"""

import math
from dataclasses import dataclass
from typing import Literal

from reranker.capacity_rates import Assumed, Basis, Rate, Rates
from reranker.columns import FeedError

GPU_TOKENS = 64  # of the texts that benchmarks/gpu.py reads


@dataclass(frozen=True)
class Traffic:
    """What a platform does in a day, and what of it is kept.

    Attributes:
        impressions: slots that are shown.
        candidates: of each request.
        policies: that an evaluation compares.
        posts: texts to read; None where only `Assumed` says.
        characters: of a text, on average.
        slots: shown of each request.
        retention_days: that logs and scores are kept.
        sample: share of users whose requests are logged and evaluated.
        speed: of the classifier.
    """

    impressions: float
    candidates: int
    policies: int = 2
    posts: float | None = None
    characters: float = 200.0
    slots: int = 10
    retention_days: float = 30.0
    sample: float = 0.01
    speed: Literal["default", "fast"] = "default"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.impressions) and self.impressions > 0):
            raise FeedError(f"--impressions-per-day: expected a number above 0, got {self.impressions:g}")
        if self.posts is not None and not (math.isfinite(self.posts) and self.posts >= 0):
            raise FeedError(f"--posts-per-day: expected a number of at least 0, got {self.posts:g}")
        if not (math.isfinite(self.characters) and self.characters > 0):
            raise FeedError(f"--characters: expected a number above 0, got {self.characters:g}")
        if not 0 < self.sample <= 1:
            raise FeedError(f"--sample: expected a share in (0, 1], got {self.sample:g}")
        if not 1 <= self.slots <= self.candidates:
            raise FeedError(f"--slots: expected 1 to {self.candidates} (--candidates), got {self.slots}")
        if not (math.isfinite(self.retention_days) and self.retention_days > 0):
            raise FeedError(f"--retention-days: expected a number above 0, got {self.retention_days:g}")

    @property
    def requests(self) -> float:
        """Requests of a day."""
        return self.impressions / self.slots


@dataclass(frozen=True)
class Stage:
    """One job of a day.

    Attributes:
        name: of the job.
        amount: units of a day.
        unit: what is counted.
        per_core: units per second of a core.
        core_hours: of a day.
        cores: to have; at the peak where people wait for it, else to end within the batch hours.
        basis: "measured" only if the rate is and the day is no larger than what was measured.
        what: the rate in words, and the command that measures it.
    """

    name: str
    amount: float
    unit: str
    per_core: float
    core_hours: float
    cores: int
    basis: Basis
    what: str


@dataclass(frozen=True)
class Gpus:
    """What reading the texts takes on GPUs.

    Attributes:
        posts_per_s: that the user measured, at 64 tokens; None where nobody did.
        needed: at the peak; None without a rate.
        note: what the number rests on, or how to get one.
    """

    posts_per_s: float | None
    needed: int | None
    note: str


@dataclass(frozen=True)
class Volume:
    """Bytes that are kept.

    Attributes:
        name: of what.
        bytes_each: of a candidate or a post.
        per_day: bytes.
        kept: bytes at the end of the retention.
        note: what is in them.
    """

    name: str
    bytes_each: float
    per_day: float
    kept: float
    note: str


@dataclass(frozen=True)
class Memory:
    """MiB of one process, at most, as measured."""

    evaluate: float
    classifier: float


@dataclass(frozen=True)
class Plan:
    """What a day takes; of the volumes of logs only one is needed."""

    stages: tuple[Stage, ...]
    gpus: Gpus
    volumes: tuple[Volume, ...]
    memory: Memory
    assumptions: tuple[str, ...]

    @property
    def dominant(self) -> Stage:
        """The stage with the most core hours."""
        return max(self.stages, key=lambda stage: stage.core_hours)

    @property
    def core_hours(self) -> float:
        """Core hours of a day, all stages together."""
        return sum(stage.core_hours for stage in self.stages)


def log_bytes(candidates: int, slots: int, *, value_bytes: int, request_bytes: float) -> float:
    """Bytes per candidate of a packed log: 10 predictions, 4 harms, one group, and 10 actions of each slot.

    A candidate has an id and a score of 8 bytes each and its group of 8; a slot the position of 4, the
    propensity of 8, whether it was viewed, the time in view, and 4 for each action.
    """
    n_predictions, n_harms, n_actions = 10, 4, 10
    candidate = 8 + 8 + 8 + value_bytes * (n_predictions + n_harms)
    slot = 4 + 8 + 1 + 4 + 4 * n_actions
    return candidate + (slot * slots + request_bytes) / candidates


def plan_capacity(traffic: Traffic, rates: Rates, gpu_posts_per_s: float | None = None) -> Plan:
    """What the traffic takes of machines of the kind that the rates were measured on.

    Args:
        traffic: of a day.
        rates: what one core does.
        gpu_posts_per_s: what one GPU does of texts of 64 tokens, from benchmarks/gpu.py.

    Raises:
        FeedError: a GPU's rate that is no positive number.
    """
    if gpu_posts_per_s is not None and not (math.isfinite(gpu_posts_per_s) and gpu_posts_per_s > 0):
        raise FeedError(f"--gpu-posts-per-s: expected a number above 0, got {gpu_posts_per_s:g}")
    assumed, table = rates.assumed, rates.rates
    posts = traffic.impressions / assumed.impressions_per_post if traffic.posts is None else traffic.posts
    tokens = max(1.0, traffic.characters / rates.measured.characters_per_token)
    shown = traffic.requests * traffic.candidates
    logged = shown * traffic.sample
    draws = assumed.metrics * traffic.policies * assumed.resamples
    users = traffic.impressions / assumed.impressions_per_user * traffic.sample
    score = table.score_default if traffic.speed == "default" else table.score_fast
    live, batch = _live_hours(assumed), assumed.batch_hours * assumed.utilisation
    stages = (
        _stage(f"score texts ({traffic.speed})", posts * tokens, score, live),
        _stage("rerank requests", shown, table.rerank, live),
        _stage("write logs", logged, table.write_log, live),
        _stage("evaluate exposure", logged * traffic.policies, table.evaluate, batch),
        _stage("resample users", users * draws, table.resample, batch),
    )
    return Plan(
        stages,
        _gpus(posts, tokens, live, gpu_posts_per_s),
        _volumes(traffic, rates, posts, logged),
        Memory(rates.measured.evaluate_peak_mib, rates.measured.classifier_peak_mib),
        _assumptions(traffic, rates, posts, users),
    )


def _live_hours(assumed: Assumed) -> float:
    """Core hours that one core gives in a day when it is sized for the peak."""
    return 24.0 * assumed.utilisation / assumed.peak_over_mean


def _stage(name: str, amount: float, rate: Rate, hours: float) -> Stage:
    core_hours = amount / rate.per_core / 3600.0
    beyond = rate.basis == "measured" and amount > rate.up_to
    basis: Basis = "extrapolated" if beyond else rate.basis
    cores = math.ceil(core_hours / hours) if amount else 0
    said = f"{rate.what}; {rate.on}; {rate.command}; {rate.date}"
    return Stage(name, amount, rate.unit, rate.per_core, core_hours, cores, basis, said)


def _gpus(posts: float, tokens: float, hours: float, posts_per_s: float | None) -> Gpus:
    if posts_per_s is None:
        note = "not measured: run python benchmarks/gpu.py on yours and give --gpu-posts-per-s"
        return Gpus(None, None, note)
    gpu_hours = posts * (tokens / GPU_TOKENS) / posts_per_s / 3600.0
    note = (
        f"your {posts_per_s:,.0f} posts/s at {GPU_TOKENS} tokens, taken as proportional to tokens "
        f"({tokens:.0f} here); instead of the cores that score texts, for the default model"
    )
    return Gpus(posts_per_s, math.ceil(gpu_hours / hours) if posts else 0, note)


def _volumes(traffic: Traffic, rates: Rates, posts: float, logged: float) -> tuple[Volume, ...]:
    found = []
    for name, value_bytes in (("uint8", 1), ("float16", 2), ("float32", 4)):
        each = log_bytes(
            traffic.candidates,
            traffic.slots,
            value_bytes=value_bytes,
            request_bytes=rates.measured.request_bytes,
        )
        note = f"10 predictions, 4 harms as {name}; per candidate"
        found.append((f"logs, {name}", each, logged * each, note))
    each = rates.measured.score_bytes
    found.append(
        ("scores of texts", each, posts * each, "probability and confidence of each label; per post")
    )
    days = traffic.retention_days
    return tuple(Volume(name, each, day, day * days, note) for name, each, day, note in found)


def _assumptions(traffic: Traffic, rates: Rates, posts: float, users: float) -> tuple[str, ...]:
    assumed = rates.assumed
    given = "given" if traffic.posts is not None else f"1 per {assumed.impressions_per_post:g} impressions"
    return (
        f"{posts:,.0f} distinct texts a day ({given}), {traffic.characters:g} characters each, "
        f"{rates.measured.characters_per_token:g} to a token",
        f"{traffic.requests:,.0f} requests a day of {traffic.slots} slots; {users:,.0f} users in the sample "
        f"of {traffic.sample:g}, {assumed.impressions_per_user:g} impressions each",
        f"what people wait for is sized for {assumed.peak_over_mean:g} times the mean, the rest to end in "
        f"{assumed.batch_hours:g} hours, cores {assumed.utilisation:.0%} busy",
        f"{assumed.resamples:,} resamples of {assumed.metrics} metrics for each policy; intervals without "
        "resampling cost nothing beside the evaluation",
        "rates are taken to hold on every further core and machine; the engine between them is not in them",
    )

"""`Policy`: everything that decides a ranking, as closed, dated, digested data.

A policy is a TOML file (schema 1): a base, overlays on it, and `key=value` settings, merged in that
order and then checked. Unknown keys are refused. The digest is of the settings only: policies with the same
settings have the same digest whatever they are called.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.taxonomy import LABELS
from reranker.columns import closest
from reranker.signals import MEDIA_TYPES, RELATIONS, SIGNAL_NAMES

POLICY_SCHEMA = 1
MAX_FLOOR = 0.25  # what an engagement of zero is worth once bounded
LABEL_NAMES = tuple(label.name for label in LABELS)
DESCRIPTIVE = frozenset({"name", "date", "title", "description", "sources", "base", "overlays"})

Weight = Annotated[
    float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)
]  # times counts up to 2**53: far from overflow
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
NonNegative = Annotated[float, Field(ge=0, le=1e6)]
Count = Annotated[int, Field(ge=1, lt=2**31)]


class PolicyError(ValueError):
    """A policy that cannot be used: where, what was expected, what was found."""


class Section(BaseModel):
    """A closed table of a policy."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def _check_names(
    where: str, given: Mapping[str, Any] | tuple[str, ...], known: tuple[str, ...], what: str
) -> None:
    for name in given:
        if name not in known:
            raise ValueError(f'{where}: unknown {what} "{name}"{closest(name, known)}')


class Scale(Section):
    """What one unit of each signal is worth, in likes."""

    weights: dict[str, Weight] = {}
    relationship: dict[str, NonNegative] = {}
    override: dict[Literal["country", "language"], dict[str, dict[str, Weight]]] = {}

    @model_validator(mode="after")
    def _names(self) -> "Scale":
        _check_names("weights", self.weights, SIGNAL_NAMES, "signal")
        _check_names("relationship", self.relationship, (*RELATIONS, "unknown"), "relation")
        for kind, places in self.override.items():
            for place, weights in places.items():
                _check_names(f"override.{kind}.{place}", weights, SIGNAL_NAMES, "signal")
        return self


class Score(Section):
    """How the base score is made."""

    order_by: Literal["engagement", "chronological", "uniform"] = "engagement"
    expects: Literal["counts", "probabilities", "either"] = "either"
    bounded: bool = False
    negative_squash: bool = False
    seed: int = 0


class Significance(Section):
    """When a comment, reply, reshare or message counts as significant (W7)."""

    min_unique_tokens: Count = 5
    media_counts_for_comments: bool = False


class Filters(Section):
    """Which interactions are not counted."""

    deleted: bool = False
    single_character_comment: bool = False


class Media(Section):
    """Boosts by media type, multiplying the engagement score, and a cap on all of them."""

    boost: dict[str, NonNegative] = {}
    boost_cap: Positive | None = None

    @model_validator(mode="after")
    def _names(self) -> "Media":
        _check_names("media.boost", self.boost, MEDIA_TYPES, "media type")
        return self


class Levers(Section):
    """The lesser levers: comment length, computing load, the viewer's connection (W27-W31)."""

    long_comment_tokens: Count = 25
    computing_load_cost: NonNegative = 0.0
    low_connection_below: Share = 0.0
    low_connection_media: dict[str, Share] = {}

    @model_validator(mode="after")
    def _names(self) -> "Levers":
        _check_names("levers.low_connection_media", self.low_connection_media, MEDIA_TYPES, "media type")
        return self


class Mix(Section):
    """A second objective: score = (1 - share) * first + share * second."""

    share: Share = 0.0
    weights: dict[str, Weight] = {}
    media: tuple[str, ...] = ()
    relation: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names(self) -> "Mix":
        _check_names("mix.weights", self.weights, SIGNAL_NAMES, "signal")
        _check_names("mix.media", self.media, MEDIA_TYPES, "media type")
        _check_names("mix.relation", self.relation, RELATIONS, "relation")
        return self


class Blend(Section):
    """An older scale that still counts: score = alpha * this policy's scale + (1 - alpha) * the old one."""

    alpha: Share
    old: str
    scale: Scale = Scale()


class Guard(Section):
    """The most that one signal may carry of a request's positive score (W32).

    Likes, the unit of the scale, are not guarded, and no signal is cut to less than a tenth, so that one
    stray event of another kind cannot void it.
    """

    max_signal_share: Annotated[float, Field(ge=0.5, le=1)] = 1.0


class Value(Section):
    """Good and bad engagement: how likely the viewer endorses one unit of it on reflection.

    P(endorsed) = endorsed[signal] * (1 - sensitivity[signal] * (1 - quality)), where quality is the product
    over harms of (1 - harms[label] * probability), times (1 - angry_share * the post's angry share), times
    (1 - comment_toxicity * the mean toxicity of its comments). Signals that are not listed count as
    endorsed. A unit that is not endorsed is worth `bad_weight` of its weight.
    """

    bad_weight: Annotated[float, Field(ge=-1, le=1)] = 1.0
    endorsed: dict[str, Share] = {}
    sensitivity: dict[str, Share] = {}
    harms: dict[str, Share] = {}
    angry_share: Share = 0.0
    comment_toxicity: Share = 0.0

    @model_validator(mode="after")
    def _names(self) -> "Value":
        _check_names("value.endorsed", self.endorsed, SIGNAL_NAMES, "signal")
        _check_names("value.sensitivity", self.sensitivity, SIGNAL_NAMES, "signal")
        _check_names("value.harms", self.harms, LABEL_NAMES, "label")
        return self


class Curve(Section):
    """A borderline curve: no effect up to `start`, `floor` of the score from `line` on, linear between."""

    start: Annotated[float, Field(gt=0, lt=1)]
    line: Annotated[float, Field(gt=0, le=1)]
    floor: Share = 0.0
    removal: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _order(self) -> "Curve":
        if self.line < self.start:
            raise ValueError(f"line: expected at least start ({self.start}), got {self.line}")
        if self.removal is not None and self.removal < self.line:
            raise ValueError(f"removal: expected at least line ({self.line}), got {self.removal}")
        return self


class Unscored(Section):
    """What happens to a post that a demotion's classifier could not score: its multiplier, once.

    A label that no scorer serves is left out for all posts: to demote them all alike would change nothing.
    """

    multiplier: Annotated[float, Field(gt=0, le=1)] = 1.0


class Anger(Section):
    """Demotion of disproportionate anger (W13), with a guard against brigades.

    `prior_rate` and `prior_reactions` are the angry share, and its worth in reactions, that a publisher or
    topic without history starts from. A post is demoted along `curve` by the posterior probability that
    its own angry share exceeds `ratio` times that of its publisher and topic, and `min_share`.
    """

    curve: Curve
    prior_rate: Annotated[float, Field(gt=0, lt=1)]
    prior_reactions: Positive
    ratio: Annotated[float, Field(ge=1)]
    min_share: Share
    min_accounts: NonNegative
    max_peak_share: Share


class PerEvent(Section):
    """A demotion that grows with a count: multiplier = max(floor, (1 - per_event) ** count)."""

    per_event: Share
    floor: Share = 0.0


class Slate(Section):
    """Rules on the finished order.

    Threads come last: a reply may move further than `max_demotion_positions`.
    """

    author_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    author_floor: Share = 0.0
    author_cap: Count | None = None
    thread_order: bool = True
    max_demotion_positions: Count | None = None


class Exploration(Section):
    """Ranks `from_rank` to `n_slots` are drawn, so that what another order would do can be told from logs.

    Slot by slot a post is drawn with probability proportional to exp(score / temperature) among those left;
    below `n_slots` the rest keep their order. The draw depends on `score.seed` and the request's id.
    """

    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    from_rank: Count = 1
    n_slots: Count = 10

    @model_validator(mode="after")
    def _ranks(self) -> "Exploration":
        if self.n_slots < self.from_rank:
            raise ValueError(f"n_slots: expected at least from_rank ({self.from_rank}), got {self.n_slots}")
        return self


class Holdout(Section):
    """A hashed share of users who keep the original order (E8)."""

    share: Share = 0.0
    salt: str = ""


class Failure(Section):
    """How a server ranks a request whose posts it cannot score: a scorer is missing, too slow or broken.

    "original" keeps the request's own order. "median" ranks, the posts without scores taken at the median of
    those that the server scored before; until it has scored some, the original order stays.
    """

    order: Literal["original", "median"] = "original"


class Policy(Scale):
    """A checked policy. Read one with `load_policy`."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    name: str
    kind: Literal["policy", "overlay"] = "policy"
    date: str = ""
    title: str = ""
    description: str = ""
    base: str | None = None
    overlays: tuple[str, ...] = ()
    sources: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    labels: dict[str, Weight] = {}
    score: Score = Score()
    significance: Significance = Significance()
    filters: Filters = Filters()
    media: Media = Media()
    levers: Levers = Levers()
    mix: Mix = Mix()
    blend: Blend | None = None
    guard: Guard = Guard()
    value: Value = Value()
    demotion: dict[str, Curve] = {}
    unscored: Unscored = Unscored()
    anger: Anger | None = None
    repeat_offender: PerEvent | None = None
    fatigue: PerEvent | None = None
    slate: Slate = Slate()
    exploration: Exploration | None = None
    holdout: Holdout = Holdout()
    failure: Failure = Failure()

    @model_validator(mode="after")
    def _consistent(self) -> "Policy":
        _check_names("drop", self.drop, SIGNAL_NAMES, "signal")
        _check_names("labels", self.labels, LABEL_NAMES, "label")
        _check_names("demotion", self.demotion, LABEL_NAMES, "label")
        for rule in ("author_cap", "max_demotion_positions"):
            if self.exploration is not None and getattr(self.slate, rule) is not None:
                raise ValueError(f"slate.{rule}: expected none with exploration, whose draws would break it")
        if self.score.bounded:
            signed = (
                self.value.bad_weight < 0
                or self.levers.computing_load_cost > 0
                or any(weight < 0 for weight in (*self.every_weight(), *self.labels.values()))
            )
            decayed = self.slate.author_floor if self.slate.author_decay < 1 else 1.0
            limit = 0.0 if signed else MAX_FLOOR * decayed
            for label, curve in self.demotion.items():
                if curve.floor > limit:
                    why = "below the undemoted median" + (
                        ", which weights below 0 may push to 0" if signed else ""
                    )
                    raise ValueError(
                        f"demotion.{label}.floor: expected at most {limit} (full demotion must land {why}), "
                        f"got {curve.floor}"
                    )
        return self

    def every_weight(self) -> tuple[float, ...]:
        """All signal weights of the policy, overrides and mixes included."""
        scales = [
            self.weights,
            self.mix.weights,
            *(w for kind in self.override.values() for w in kind.values()),
        ]
        if self.blend is not None:
            old = self.blend.scale
            scales += [old.weights, *(w for kind in old.override.values() for w in kind.values())]
        return tuple(weight for scale in scales for weight in scale.values())

    def used_labels(self) -> tuple[str, ...]:
        """The labels that this policy reads, in the taxonomy's order."""
        used = {*self.labels, *self.demotion, *self.value.harms}
        if self.value.comment_toxicity:
            used.add("toxicity")
        return tuple(name for name in LABEL_NAMES if name in used)

    def canonical(self) -> str:
        """What decides the ranking, as JSON with sorted keys."""
        content = self.model_dump(mode="json", by_alias=True, exclude=set(DESCRIPTIVE))
        # policies without these keep the digest that they had before they existed
        if self.exploration is None:
            del content["exploration"]
        if self.failure == Failure():
            del content["failure"]
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical form, in hexadecimal."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def build_policy(content: Mapping[str, Any], where: str) -> Policy:
    """A checked policy from merged tables.

    Raises:
        PolicyError: `where: key: expected ..., got ...` for the first thing that is wrong.
    """
    if content.get("schema") != POLICY_SCHEMA:
        raise PolicyError(f"{where}: schema: expected {POLICY_SCHEMA}, got {content.get('schema')!r}")
    try:
        return Policy.model_validate(dict(content))
    except ValidationError as error:
        raise PolicyError(f"{where}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    key, got = ".".join(path), problem["input"]
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{closest(path[-1], _keys_at(path[:-1]))}"
    if problem["type"] == "missing":
        return f"{key}: expected a value, got none"
    if problem["type"] == "value_error":
        inner = problem["msg"].removeprefix("Value error, ")
        return f"{key}.{inner}" if key and not inner.startswith(key) else inner
    message = problem["msg"].replace("Input should be", "expected")
    return f"{key}: {message}, got {got!r}"


def _keys_at(path: list[str]) -> tuple[str, ...]:
    """The keys that a table of the policy may have."""
    model: Any = Policy
    for part in path:
        found = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        inner = [found.annotation, *getattr(found.annotation, "__args__", ())] if found else []
        tables = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        model = tables[0] if tables else model
    return tuple(info.alias or name for name, info in model.model_fields.items())

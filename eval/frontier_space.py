"""The space of policies that a search may try: settings with the least and the most that each may be.

A space is a box in which every point is a legal policy: the corners are checked when it is read, so that no
candidate has to be mended or thrown away later.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from reranker.columns import closest
from reranker.feed import Feed
from reranker.policy import POLICY_SCHEMA, Policy, PolicyError, build_policy
from reranker.value import Harms

SHIPPED = Path(__file__).with_name("frontier_space.toml")
DIGITS = 6  # significant ones of a value, so that a policy file can be read
SINGLE = (
    *("value.bad_weight", "value.angry_share", "value.comment_toxicity", "guard.max_signal_share"),
    *("unscored.multiplier", "slate.author_decay", "slate.author_floor"),
)
TABLES = ("weights", "relationship", "value.endorsed", "value.sensitivity", "value.harms")
CURVE = ("start", "line", "floor")
# at these ends a policy is refused first: curves meet, and full demotion must land below the median
WORST_AT_LOW = ("line", "author_decay", "author_floor", "bad_weight")


@dataclass(frozen=True)
class Dimension:
    """One setting of the policy, or several that move together, and the range, both ends included.

    Attributes:
        key: as a policy names it; names joined by + are of one dimension.
        low, high: the range.
    """

    key: str
    low: float
    high: float

    @property
    def settings(self) -> tuple[str, ...]:
        """The keys of the policy that it sets."""
        parts = [part.split("+") for part in self.key.split(".")]
        return tuple(".".join(chosen) for chosen in product(*parts))

    def rounded(self, value: float) -> float:
        """A value as it is written to a policy file, still within the range."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)


@dataclass(frozen=True)
class Space:
    """What is searched.

    Attributes:
        base: what every candidate is but for the dimensions.
        dimensions: in the order of the file.
        left_out: settings of the file that the feed cannot feel.
    """

    base: Policy
    dimensions: tuple[Dimension, ...]
    left_out: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The dimensions' keys."""
        return tuple(one.key for one in self.dimensions)

    def point(self, values: Mapping[str, float]) -> dict[str, float]:
        """The values as a policy has them: rounded, and no line below its start."""
        made = {d.key: d.rounded(values[d.key]) for d in self.dimensions if d.key in values}
        starts = {
            key.removesuffix("start") + "line": value for key, value in made.items() if key.endswith(".start")
        }
        return {key: max(value, starts.get(key, value)) for key, value in made.items()}

    def policy(self, values: Mapping[str, float], *, name: str = "candidate") -> Policy:
        """The candidate with these values of the dimensions; those not named stay as in the base.

        Raises:
            PolicyError: it is not legal, which no point of a checked space is.
        """
        return _policy(self.base, _settings(self.dimensions, self.point(values)), name)

    @property
    def widest(self) -> Policy:
        """The candidate at the high end of every dimension: it reads every label that any candidate reads."""
        return self.policy({one.key: one.high for one in self.dimensions})

    def of_base(self) -> dict[str, float | None]:
        """What the base has for each dimension, the mean of its settings; None where it lacks one."""
        made: dict[str, float | None] = {}
        for one in self.dimensions:
            found = [_value_of(self.base, key) for key in one.settings]
            known = [value for value in found if value is not None]
            made[one.key] = sum(known) / len(known) if len(known) == len(found) else None
        return made

    @property
    def digest(self) -> str:
        """sha256 of the base's settings and the ranges."""
        content = [self.base.digest, [[d.key, d.low, d.high] for d in self.dimensions]]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


def read_space(base: Policy, path: Path = SHIPPED) -> Space:
    """The space of a TOML file around a base policy.

    Raises:
        ValueError: a setting that cannot be searched exactly, a range that is none or outside what a policy
            allows, no setting at all, or a base that the search cannot score.
    """
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: expected TOML in UTF-8, got {error}") from None
    if content.pop("schema", None) != POLICY_SCHEMA:
        raise ValueError(f"{path.name}: schema: expected {POLICY_SCHEMA}, got another or none")
    return make_space(base, content, where=path.name)


def make_space(base: Policy, content: Mapping[str, Any], *, where: str = "space") -> Space:
    """The space of nested tables as a file holds them, checked.

    Raises:
        ValueError: as `read_space`.
    """
    check_base(base)
    dimensions = tuple(_dimension(key, leaf, where) for key, leaf in _leaves(content, ""))
    if not dimensions:
        raise ValueError(f"{where}: expected at least one setting with low and high, got none")
    _check_corners(base, dimensions, where)
    return Space(base, dimensions)


def felt_by(space: Space, feed: Feed, harms: Harms | None, signals: Sequence[str]) -> Space:
    """The space less the settings that no candidate of this feed can feel.

    Args:
        space: what the file names.
        feed: the candidates.
        harms: their estimates, or None.
        signals: those that the feed counts.

    Raises:
        ValueError: nothing is left.
    """
    if feed.interactions is not None and any(key.startswith("relationship.") for key in space.keys):
        raise ValueError("space: relationship: cannot be searched exactly on a feed with single acts")
    lacking = [
        one.key
        for one in space.dimensions
        if not any(_is_felt(key, feed, harms, signals) for key in one.settings)
    ]
    kept = tuple(one for one in space.dimensions if one.key not in lacking)
    if not kept:
        raise ValueError(f"space: expected a setting that this feed can feel, got only {', '.join(lacking)}")
    return Space(space.base, kept, tuple(lacking))


def _is_felt(key: str, feed: Feed, harms: Harms | None, signals: Sequence[str]) -> bool:
    """Whether some candidate of a feed can feel a setting."""
    labels = () if harms is None else harms.posts.labels
    *table, last = key.split(".")
    if table[-1] in {"weights", "endorsed", "sensitivity"}:
        return last in signals
    if table[-1] == "harms":
        return last in labels
    if table[0] == "demotion":
        return table[1] in labels
    felt = {
        "comment_toxicity": harms is not None and bool((harms.comment_toxicity >= 0).any()),
        "angry_share": "angry" in signals,
        "multiplier": harms is not None,
        "author_decay": "author" not in feed.missing,
        "author_floor": "author" not in feed.missing,
    }
    return felt.get(last, table[0] != "relationship" or "relation" not in feed.missing)


def check_base(base: Policy) -> None:
    """Refuse a base with a rule that many policies cannot be scored with at once, exactly.

    Raises:
        ValueError: names the rule.
    """
    rules = {
        'score.order_by: expected "engagement"': base.score.order_by != "engagement",
        "score.negative_squash: expected false": base.score.negative_squash,
        "mix: expected no second objective": base.mix.share > 0,
        "blend: expected no older scale": base.blend is not None,
        "exploration: expected none": base.exploration is not None,
        "holdout.share: expected 0": base.holdout.share > 0,
        "slate.max_demotion_positions: expected none": base.slate.max_demotion_positions is not None,
    }
    for rule, broken in rules.items():
        if broken:
            raise ValueError(f"--base {base.name}: {rule} in a search, got one; set it otherwise")


def _leaves(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Every setting that a file names: a table with low and high, or whatever stands there instead."""
    for name, value in content.items():
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict) and not {"low", "high"} & set(value):
            yield from _leaves(value, key)
        else:
            yield key, value


def _dimension(key: str, leaf: Any, where: str) -> Dimension:
    if not all(_searchable(one) for one in Dimension(key, 0, 1).settings):
        known = (
            *SINGLE,
            *(f"{table}.NAME" for table in TABLES),
            *(f"demotion.LABEL.{part}" for part in CURVE),
        )
        raise ValueError(
            f"{where}: {key}: cannot be searched exactly; expected one of {', '.join(known)}"
            f"{closest(key, known)}"
        )
    ends = [leaf.get(name) for name in ("low", "high")] if isinstance(leaf, dict) and len(leaf) == 2 else []
    numbers = [float(end) for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(numbers) != 2:
        raise ValueError(f"{where}: {key}: expected {{ low = NUMBER, high = NUMBER }}, got {leaf!r}")
    low, high = numbers
    if not low < high:
        raise ValueError(f"{where}: {key}: expected low below high, got {low:g} and {high:g}")
    return Dimension(key, low, high)


def _searchable(key: str) -> bool:
    table, _, last = key.rpartition(".")
    return (
        key in SINGLE
        or table in TABLES
        or (table.startswith("demotion.") and table.count(".") == 1 and last in CURVE)
    )


def _check_corners(base: Policy, dimensions: Sequence[Dimension], where: str) -> None:
    """What is legal at both ends and at the worst corner is legal within, as every rule is monotone."""
    worst = {d.key: d.low if _is_worst_at_low(d.key) else d.high for d in dimensions}
    space = Space(base, tuple(dimensions))
    for ends in ({d.key: d.low for d in dimensions}, {d.key: d.high for d in dimensions}, worst):
        try:
            space.policy(ends, name=where)
        except PolicyError as error:
            raise ValueError(
                f"{where}: expected every policy of the space to be legal, got {error}"
            ) from None


def _is_worst_at_low(key: str) -> bool:
    return key.startswith("weights.") or key.rpartition(".")[2] in WORST_AT_LOW


def _settings(dimensions: Sequence[Dimension], values: Mapping[str, float]) -> dict[str, float]:
    """The keys of the policy that values of dimensions set."""
    return {key: values[one.key] for one in dimensions if one.key in values for key in one.settings}


def _policy(base: Policy, values: Mapping[str, float], name: str) -> Policy:
    """The base with some settings replaced, checked as any policy is."""
    content: dict[str, Any] = base.model_dump(mode="json", by_alias=True, exclude_none=True)
    for key, value in values.items():
        *tables, last = key.split(".")
        table = content
        for one in tables:
            table = table.setdefault(one, {})
        table[last] = value
    return build_policy(content, name)


def _value_of(policy: Policy, key: str) -> float | None:
    value: Any = policy
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part)
        if value is None:
            return None
    return float(value)

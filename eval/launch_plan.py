"""The plan of a launch: what must hold before a policy goes out, fixed and hashed before a result is read.

A closed TOML file, as the margins are; its digest holds every number that decides, the margins of activity
included. With another digest than the planned one nothing passes.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from eval.exposure import browsing
from eval.margins import SHIPPED as SHIPPED_MARGINS
from eval.margins import Margins, load_margins, margins

SHIPPED = Path(__file__).with_name("launch.toml")
ANY = "any"  # the margin of every harm that has none of its own
DEMOTIONS = "ineffective_demotions"
_SCALARS = ("shown", "strengths", "ineffective_per_1000", "own_ruler_counts", "allow_not_measured")
_OPTIONAL = ("by",)
_TABLES = ("harm", "topics", "groups", "activity", "country")
DIMENSIONS: tuple[Literal["country", "device"], ...] = ("country", "device")  # of requests
_GROUPS = ("columns", "margin", "least_share")


@dataclass(frozen=True)
class GroupRule:
    """Which groups of publishers or authors are held to parity.

    Attributes:
        columns: of candidates: language, media, relation, publisher, topic, or an attribute of few values.
        margin: the largest relative loss of exposure against all others.
        least_share: of the original's views that a group must have to be judged.
    """

    columns: tuple[str, ...] = ()
    margin: float = 0.2
    least_share: float = 0.01


@dataclass(frozen=True)
class LaunchPlan:
    """What must hold, and the digest that shows whether it was changed.

    Attributes:
        shown: browsing models, the main one first.
        strengths: rising, in (0, 1], the last 1.
        harm: outcome to the largest relative rise; "any" is for every measured one.
        topics: topic to the largest relative fall.
        groups: parity.
        ineffective_per_1000: most ineffective demotions of 1,000 full ones.
        own_ruler_counts: whether a harm that was measured by the demoting classifier may be claimed to fall.
        allow_not_measured: names of checks that may go without a figure.
        activity: margins of the guardrails.
        by: dimensions of requests whose segments are judged one by one: country, device.
        digest: sha256 of all of it, whatever the order and the comments of the file.
    """

    shown: tuple[str, ...]
    strengths: tuple[float, ...]
    harm: Mapping[str, float]
    topics: Mapping[str, float]
    groups: GroupRule
    ineffective_per_1000: float
    own_ruler_counts: bool
    allow_not_measured: tuple[str, ...]
    activity: Margins
    by: tuple[Literal["country", "device"], ...]
    digest: str

    @property
    def margins(self) -> Margins:
        """The margins of activity and of the topics, as a comparison takes them."""
        return margins({**self.activity.overall, **self.topics}, self.activity.country)

    def harm_margin(self, outcome: str) -> float | None:
        """How far an outcome may rise; None where the plan is silent on it."""
        return self.harm.get(outcome, self.harm.get(ANY))

    def banner(self, planned: str | None) -> str:
        """Why this is not the plan that was fixed beforehand, or ""."""
        if planned is None or planned == self.digest:
            return ""
        return f"plan: expected the digest {planned[:12]} that was planned, got {self.digest[:12]}"


def load_plan(path: Path = SHIPPED) -> LaunchPlan:
    """The plan of a TOML file; the one that is shipped where none is named.

    Raises:
        ValueError: no TOML, unknown or missing keys, another schema, a number out of range, no harm at all.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: expected TOML in UTF-8, got {error}") from None
    return plan_of(table, where=path.name)


def plan_of(table: Mapping[str, Any], *, where: str = "plan") -> LaunchPlan:
    """A checked plan from the tables of its file.

    Raises:
        ValueError: as `load_plan`.
    """
    _check_keys(where, table, ("schema", *_SCALARS, *_OPTIONAL, *_TABLES))
    if table.get("schema") != 1:
        raise ValueError(f"{where}: schema: expected 1, got {table.get('schema')}")
    for key in (*_SCALARS, "harm"):
        if key not in table:
            raise ValueError(f"{where}: {key}: expected a value, got none")
    if not table["harm"]:
        raise ValueError(f"{where}: harm: expected at least one margin, got none")
    strengths = _strengths(where, table["strengths"])
    shown = _names(f"{where}: shown", table["shown"])
    if not shown:
        raise ValueError(f"{where}: shown: expected at least one browsing model, got none")
    for spec in shown:
        browsing(spec)
    limit, counts = table["ineffective_per_1000"], table["own_ruler_counts"]
    if not isinstance(limit, int | float) or isinstance(limit, bool) or not 0 < limit < 1000:
        raise ValueError(f"{where}: ineffective_per_1000: expected a number in (0, 1000), got {limit}")
    if not isinstance(counts, bool):
        raise ValueError(f"{where}: own_ruler_counts: expected true or false, got {counts!r}")
    plan = LaunchPlan(
        shown=shown,
        strengths=strengths,
        harm=_shares(f"{where}: harm", table["harm"]),
        topics=_shares(f"{where}: topics", table.get("topics", {})),
        groups=_groups(where, table.get("groups", {})),
        ineffective_per_1000=float(limit),
        own_ruler_counts=counts,
        allow_not_measured=_names(f"{where}: allow_not_measured", table["allow_not_measured"]),
        activity=_activity(where, table),
        by=_by(where, table.get("by", [])),
        digest="",
    )
    return _digested(plan)


def with_segments(plan: LaunchPlan, by: Sequence[str]) -> LaunchPlan:
    """The plan with other segments judged one by one, and its own digest.

    Raises:
        ValueError: a dimension that is not of requests.
    """
    return _digested(replace(plan, by=_by("plan", list(by))))


def _digested(plan: LaunchPlan) -> LaunchPlan:
    content = {
        "shown": plan.shown,
        "strengths": plan.strengths,
        "harm": dict(plan.harm),
        "topics": dict(plan.topics),
        "groups": [plan.groups.columns, plan.groups.margin, plan.groups.least_share],
        "ineffective_per_1000": plan.ineffective_per_1000,
        "own_ruler_counts": plan.own_ruler_counts,
        "allow_not_measured": sorted(plan.allow_not_measured),
        "activity": plan.activity.digest,
        "by": plan.by,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return replace(plan, digest=digest)


def _activity(where: str, table: Mapping[str, Any]) -> Margins:
    if "activity" not in table and "country" not in table:
        return load_margins(SHIPPED_MARGINS)
    if not table.get("activity"):
        raise ValueError(f"{where}: activity: expected at least one margin, got none")
    return margins(table["activity"], table.get("country", {}), where=where)


def _groups(where: str, table: Any) -> GroupRule:
    if not isinstance(table, Mapping):
        raise ValueError(f"{where}: groups: expected a table, got {table!r}")
    _check_keys(f"{where}: groups", table, _GROUPS)
    shares = _shares(f"{where}: groups", {key: table[key] for key in _GROUPS[1:] if key in table})
    return GroupRule(_names(f"{where}: groups.columns", table.get("columns", [])), **shares)


def _by(where: str, given: Any) -> tuple[Literal["country", "device"], ...]:
    names = _names(f"{where}: by", given)
    for name in names:
        if name not in DIMENSIONS:
            raise ValueError(f"{where}: by: expected {' or '.join(DIMENSIONS)}, got {name}")
    return tuple(one for one in DIMENSIONS if one in names)


def _strengths(where: str, given: Any) -> tuple[float, ...]:
    """Rising, with 1 at the end."""
    numbers = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    for value in numbers:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
            raise ValueError(f"{where}: strengths: expected numbers in (0, 1], got {value}")
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"{where}: strengths: expected each once, got {list(numbers)}")
    return tuple(sorted({float(value) for value in numbers} | {1.0}))


def _shares(where: str, given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise ValueError(f"{where}: expected a table, got {given!r}")
    for name, value in given.items():
        if not isinstance(value, float) or not 0 < value < 1:
            raise ValueError(f"{where}.{name}: expected a number in (0, 1), got {value}")
    return dict(given)


def _names(where: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        raise ValueError(f"{where}: expected a list of names, got {given!r}")
    if len(set(given)) != len(given):
        raise ValueError(f"{where}: expected each once, got {given}")
    return tuple(given)


def _check_keys(where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ValueError(f"{where}: expected only {', '.join(known)}, got {', '.join(unknown)}")

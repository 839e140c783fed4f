"""Policies of the playground: presets with moved sliders, what the sliders show, and the result as TOML.

A request names presets only, never a file, and sets numbers only: nothing that it says reads from disk.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from reranker.columns import closest
from reranker.policy import MAX_FLOOR, Policy, PolicyError, build_policy
from reranker.presets import differences, list_presets, load_policy, preset_names

SERVER = "server"  # the policy that this server ranks by, where that is no preset
SET_BY_HAND = "assumption: set by hand in the playground"
_KEY = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){1,3}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TABLES = (
    "weights",
    "relationship",
    "labels",
    "score",
    "significance",
    "filters",
    "media",
    "levers",
    "guard",
    "value",
    "demotion",
    "unscored",
    "anger",
    "repeat_offender",
    "fatigue",
    "slate",
)
_NAMING = ("schema", "name", "date", "title", "description", "base", "overlays", "sources", "kind")

Number = Annotated[float, Field(allow_inf_nan=False)]
Name = Annotated[str, Field(max_length=100)]


class Arm(BaseModel):
    """One side of the page: a preset with overlays, numbers over it, and labels that it does not demote."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Name
    settings: Annotated[dict[Name, Number | bool], Field(max_length=200)] = {}
    without: Annotated[tuple[Name, ...], Field(max_length=50)] = ()


def arm_policy(arm: Arm, own: str) -> Policy:
    """The policy of one side.

    Args:
        arm: as the page names it.
        own: the policy that the name "server" stands for, as `load_policy` reads it.

    Raises:
        PolicyError: no such preset, a key that cannot be set here, or a value that the policy refuses.
    """
    head, *overlays = arm.policy.split("+")
    for name in overlays if head == SERVER else (head, *overlays):
        if name not in preset_names():
            hint = closest(name, preset_names())
            raise PolicyError(f'policy: expected the name of a preset, got "{name}"{hint}')
    for key in arm.settings:
        if not _KEY.fullmatch(key) or key.partition(".")[0] not in _TABLES:
            raise PolicyError(f'settings: expected keys such as weights.angry, got "{key}"')
    spec = "+".join([own if head == SERVER else head, *overlays])
    settings = tuple(f"{key}={json.dumps(value)}" for key, value in sorted(arm.settings.items()))
    return _load(spec, settings, arm.without)


@lru_cache(maxsize=256)
def _load(spec: str, settings: tuple[str, ...], without: tuple[str, ...]) -> Policy:
    policy = load_policy(spec, settings)
    absent = [label for label in without if label not in policy.demotion]
    if absent:
        raise PolicyError(f'without: expected a label that {spec} demotes, got "{absent[0]}"')
    if not without:
        return policy
    content = policy.model_dump(mode="json", by_alias=True)
    content["demotion"] = {k: v for k, v in content["demotion"].items() if k not in without}
    return build_policy(content, spec)


def list_policies(own: str) -> list[dict[str, Any]]:
    """What the pickers offer, by date; the server's own policy first where it is no preset."""
    found = [
        {"name": info.name, "kind": info.kind, "title": info.title, "date": info.date}
        for info in list_presets()
    ]
    if own not in preset_names():
        policy = load_policy(own)
        entry = {"name": SERVER, "kind": "policy", "title": policy.title or policy.name, "date": policy.date}
        found.insert(0, entry)
    for entry in found:
        if entry["kind"] == "policy":
            entry["expects"] = arm_policy(Arm(policy=str(entry["name"])), own).score.expects
    return found


def controls(policy: Policy) -> dict[str, Any]:
    """Where the sliders of a policy stand, and how far those of its demotions may go."""
    return {
        "name": policy.name,
        "title": policy.title,
        "description": policy.description,
        "date": policy.date,
        "digest": policy.digest,
        "order_by": policy.score.order_by,
        "expects": policy.score.expects,
        "weights": dict(policy.weights),
        "dropped": list(policy.drop),
        "demotion": {label: curve.model_dump(mode="json") for label, curve in policy.demotion.items()},
        "highest_floor": highest_floor(policy),
        "bad_weight": policy.value.bad_weight if policy.value.endorsed or policy.value.sensitivity else None,
        "labels": list(policy.used_labels()),
    }


def highest_floor(policy: Policy) -> float:
    """The largest `floor` of a demotion that the policy accepts: `Policy` refuses weaker full demotions."""
    if not policy.score.bounded:
        return 1.0
    weights = (*policy.every_weight(), *policy.labels.values())
    if policy.value.bad_weight < 0 or policy.levers.computing_load_cost > 0 or min(weights, default=0.0) < 0:
        return 0.0
    return MAX_FLOOR * (policy.slate.author_floor if policy.slate.author_decay < 1 else 1.0)


def policy_toml(policy: Policy, start: Policy) -> str:
    """A policy as a file that `load_policy` reads to the same digest.

    Each number keeps the source that its preset gives; changed ones are marked as set by hand.

    Args:
        policy: to be written.
        start: the preset that it was made from.
    """
    changed = differences(start, policy)
    today = datetime.now(UTC).date().isoformat()
    sources = {
        **policy.sources,
        **{key: f"{SET_BY_HAND}, {_before(before)}" for key, before, after in changed if after is not None},
    }
    naming = {"schema": 1, "name": policy.name, "date": policy.date, "title": policy.title}
    if changed:
        naming |= {
            "name": f"{policy.name}-changed",
            "date": today,
            "title": f"{policy.title}, changed by hand",
        }
    if policy.description:
        naming["description"] = policy.description
    rules = policy.model_dump(
        mode="json",
        by_alias=True,
        exclude_defaults=True,
        exclude={"schema_": True, "blend": {"scale"}, **{name: True for name in _NAMING if name != "schema"}},
    )
    lines = [f"# reranker rank FEEDS --policy THIS_FILE -o ranking.parquet\n# digest {policy.digest}"]
    return "\n".join([*lines, *_tables({**naming, **rules, "sources": sources})]) + "\n"


def _before(value: Any) -> str:
    return (
        "not in the preset"
        if value is None
        else f"{value:g} before"
        if _is_number(value)
        else f"{value} before"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _tables(content: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> list[str]:
    """The lines of a table: its values, then the tables in it."""
    values = {k: v for k, v in content.items() if not isinstance(v, dict)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]
    if prefix and lines:
        lines = ["", f"[{'.'.join(_key(part) for part in prefix)}]", *lines]
    for key, value in content.items():
        if isinstance(value, dict):
            lines += _tables(value, (*prefix, key))
    return lines


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _value(name)


def _value(value: str | float | bool | list[Any]) -> str:
    """A TOML value: JSON's, but for the delete character, which TOML does not allow as it is."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("\x7f", "\\u007f")

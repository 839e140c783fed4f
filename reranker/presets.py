"""Policies by name or file: `NAME_OR_FILE[+OVERLAY...]`, with `key=value` settings on top.

The bundled presets are the TOML files in `policies/`; each number there names its source row. An overlay
such as break-the-glass is laid over a base and taken off again: the digests before and after say so.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reranker.columns import closest
from reranker.policy import Policy, PolicyError, Scale, build_policy

PRESETS = Path(__file__).parent / "policies"
MAX_DEPTH = 5


def preset_names() -> tuple[str, ...]:
    """The bundled policies and overlays, sorted by name."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


@dataclass(frozen=True)
class PresetInfo:
    """What a preset is; `digest` is None for an overlay, which ranks nothing on its own."""

    name: str
    kind: str
    date: str
    title: str
    digest: str | None


def list_presets() -> list[PresetInfo]:
    """The bundled policies and overlays, by date."""
    found = []
    for name in preset_names():
        content = _read(name)
        kind = str(content.get("kind", "policy"))
        digest = load_policy(name).digest if kind == "policy" else None
        found.append(PresetInfo(name, kind, str(content["date"]), str(content["title"]), digest))
    return sorted(found, key=lambda info: (info.date, info.name))


def load_policy(spec: str, settings: Iterable[str] = ()) -> Policy:
    """A policy from a preset's name or a file, overlays after `+`, then settings like "weights.angry=0".

    Raises:
        PolicyError: on an unknown name or key, a value out of range, or an overlay used as a policy.

    Example:
        >>> load_policy("fb-2018-h1", ["weights.angry=0"]).weights["angry"]
        0.0
    """
    head, *overlays = spec.split("+")
    content = _read(head)
    if content.get("kind") == "overlay":
        raise PolicyError(f"{head}: expected a policy, got an overlay; write BASE+{head}")
    for name in overlays:
        layer = _read(name)
        if layer.get("kind") != "overlay":
            raise PolicyError(f"{name}: expected an overlay after +, got a policy")
        content = _merge(content, _content(layer))
    where = spec
    for setting in settings:
        content = _merge(content, _setting(setting))
        where = f"{spec} with {setting}"
    content["overlays"] = overlays
    return build_policy(_with_old_scale(content), where)


def _content(layer: Mapping[str, Any]) -> dict[str, Any]:
    """An overlay less what describes it, so that it does not rename what it is laid over."""
    return {
        k: v for k, v in layer.items() if k not in ("name", "kind", "date", "title", "description", "schema")
    }


def _read(name: str, depth: int = 0) -> dict[str, Any]:
    """The tables of a preset or file, laid over those of its base."""
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise PolicyError(
            f'policy "{name}": expected a preset or a .toml file that exists{closest(name, preset_names())}'
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise PolicyError(f"{name}: expected TOML in UTF-8, got {error}") from None
    base = content.get("base")
    if base is None:
        return content
    if not isinstance(base, str) or depth >= MAX_DEPTH:
        raise PolicyError(
            f"{name}: base: expected the name of a policy at most {MAX_DEPTH} levels up, got {base!r}"
        )
    below = Path(name).parent / base if base.endswith(".toml") and not Path(base).is_absolute() else base
    return _merge(_read(str(below), depth + 1), content)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over tables; anything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _setting(setting: str) -> dict[str, Any]:
    key, separator, text = setting.partition("=")
    if not separator or not key:
        raise PolicyError(f'--set: expected key=value such as weights.angry=0, got "{setting}"')
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise PolicyError(
            f'--set {key}: expected a TOML value such as 0, true or "text", got {text!r}'
        ) from None
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def _with_old_scale(content: dict[str, Any]) -> dict[str, Any]:
    """Fill `blend.scale` from the policy that `blend.old` names."""
    blend = content.get("blend")
    if not isinstance(blend, dict) or not isinstance(blend.get("old"), str):
        return content
    below = _read(blend["old"])
    for table in ("blend", "mix", "media"):
        if table in below:
            raise PolicyError(f'blend.old: expected a policy without a {table}, got "{blend["old"]}"')
    old = load_policy(blend["old"])
    scale = {name: getattr(old, name) for name in Scale.model_fields}
    return content | {"blend": blend | {"scale": scale}}


@dataclass(frozen=True)
class AuditRecord:
    """That an overlay was switched, by whom and why; digests prove what ranked before and after."""

    time: str
    action: str
    overlay: str
    policy: str
    digest_before: str
    digest_after: str
    by: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        """The record as one JSON object."""
        return asdict(self)


def switch_overlay(spec: str, overlay: str, *, on: bool, by: str, reason: str) -> tuple[str, AuditRecord]:
    """The policy spec with an overlay laid on or taken off, and the record of it.

    Taking off what was laid on gives back the same digest.

    Raises:
        PolicyError: if the overlay is on already, or is not on, or by or reason is empty.
    """
    if not by.strip() or not reason.strip():
        raise PolicyError("audit: expected who switched the overlay and why, got an empty text")
    layers = spec.split("+")
    if on == (overlay in layers[1:]):
        raise PolicyError(f"{spec}: expected {overlay} to be {'off' if on else 'on'} before it is switched")
    after = "+".join([*layers, overlay] if on else [layer for layer in layers if layer != overlay])
    record = AuditRecord(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        action="on" if on else "off",
        overlay=overlay,
        policy=spec,
        digest_before=load_policy(spec).digest,
        digest_after=load_policy(after).digest,
        by=by,
        reason=reason,
    )
    return after, record


def differences(first: Policy, second: Policy) -> list[tuple[str, Any, Any]]:
    """Keys whose values differ, as (key, first, second); None where a policy does not set the key."""
    left, right = _flat(first), _flat(second)
    return [
        (key, left.get(key), right.get(key))
        for key in sorted(left | right)
        if left.get(key) != right.get(key)
    ]


def _flat(policy: Policy) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    content = policy.model_dump(mode="json", by_alias=True)
    walk(
        "",
        {
            k: v
            for k, v in content.items()
            if k not in ("name", "date", "title", "description", "sources", "base", "overlays")
        },
    )
    return flat


def numbers_without_source(spec: str) -> list[str]:
    """Numbers of a policy file that name no source row and are not marked as an assumption.

    A source given for a table ("weights" or "value.endorsed") covers the numbers in it.
    """
    content = _read(spec)
    sources = content.get("sources", {})
    missing: list[str] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            parts = prefix.split(".")
            if not any(".".join(parts[: i + 1]) in sources for i in range(len(parts))):
                missing.append(prefix)

    walk("", {k: v for k, v in content.items() if k not in ("schema", "sources")})
    return missing

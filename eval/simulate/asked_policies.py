"""Which policies the long run answers for."""

from collections.abc import Sequence
from dataclasses import dataclass

from reranker.policy import Policy
from reranker.presets import list_presets, load_policy

CALIBRATED, BEFORE = "fb-2018-h1", "chronological"
BOOST = "live-boost"  # what break-the-glass caps


@dataclass(frozen=True)
class Asked:
    """A policy to be answered for: its spec, its title, and itself."""

    spec: str
    title: str
    policy: Policy


def asked_policies(more: Sequence[str] = ()) -> tuple[Asked, ...]:
    """Every preset by date, overlays laid over the 2018 weights, then others that a user names.

    An overlay that caps a boost is laid over the one that has it.

    Raises:
        PolicyError: a policy that does not exist or cannot be used.
    """
    asked: list[Asked] = []
    for info in list_presets():
        spec = info.name
        if info.kind == "overlay":
            capped = load_policy(f"{CALIBRATED}+{spec}").media.boost_cap is not None
            spec = f"{CALIBRATED}+{BOOST}+{spec}" if capped else f"{CALIBRATED}+{spec}"
        asked.append(Asked(spec, info.title, load_policy(spec)))
    for spec in more:
        if spec not in [one.spec for one in asked]:
            policy = load_policy(spec)
            asked.append(Asked(spec, policy.title or "as given", policy))
    return tuple(asked)


def with_needed(asked: Sequence[Asked], needed: Sequence[str]) -> tuple[Asked, ...]:
    """The policies, and after them those of the needed ones that are not among them."""
    there = {one.spec for one in asked}
    policies = {spec: load_policy(spec) for spec in dict.fromkeys(needed) if spec not in there}
    return (*asked, *(Asked(spec, policy.title, policy) for spec, policy in policies.items()))

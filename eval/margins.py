"""Margins of the guardrails: how much of each may be lost, fixed before a result is read.

The digest of the margins goes into the plan and into the result; where the two differ, the result says so.
"""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SHIPPED = Path(__file__).with_name("margins.toml")
Scope = Literal["overall", "country"]
SCOPES: tuple[Scope, ...] = ("overall", "country")


@dataclass(frozen=True)
class Margins:
    """Relative margins per guardrail, and the digest that shows whether they were changed.

    Attributes:
        overall: metric to margin, as shares: 0.01 is 1 %.
        country: the same for one country; metrics without one have no margin there.
        digest: sha256 of the margins, whatever the order and the comments of the file.
    """

    overall: Mapping[str, float]
    country: Mapping[str, float]
    digest: str

    def table(self, scope: Scope) -> Mapping[str, float]:
        """The margins of a scope."""
        return self.country if scope == "country" else self.overall

    def of(self, metric: str, scope: Scope = "overall") -> float:
        """The margin of a metric.

        Raises:
            ValueError: the metric has none in that scope.
        """
        known = self.table(scope)
        if metric not in known:
            raise ValueError(f"margins: expected one for {metric} ({scope}), got {', '.join(known)}")
        return known[metric]

    def banner(self, planned_digest: str | None) -> str:
        """A warning where the margins are not those of the plan, or "" where they are."""
        if planned_digest == self.digest:
            return ""
        if planned_digest is None:
            return f"The margins ({self.digest[:12]}) were not fixed in a plan before the result was read."
        return (
            f"THE MARGINS CHANGED after planning: {planned_digest[:12]} was planned, {self.digest[:12]} "
            "was used. The decisions below do not have their stated error rates."
        )


def load_margins(path: Path = SHIPPED) -> Margins:
    """The margins of a TOML file; those that are shipped where none is named.

    Raises:
        ValueError: unknown keys, another schema, or a margin outside (0, 1).
    """
    with path.open("rb") as file:
        table = tomllib.load(file)
    if table.get("schema") != 1:
        raise ValueError(f"{path.name}: schema: expected 1, got {table.get('schema')}")
    unknown = sorted(set(table) - {"schema", *SCOPES})
    if unknown:
        raise ValueError(f"{path.name}: expected only {', '.join(SCOPES)}, got {', '.join(unknown)}")
    return margins(table.get("overall", {}), table.get("country", {}), where=path.name)


def margins(
    overall: Mapping[str, float], country: Mapping[str, float] | None = None, *, where: str = "margins"
) -> Margins:
    """Margins from tables, checked, with their digest.

    Raises:
        ValueError: a margin outside (0, 1).
    """
    tables = dict(zip(SCOPES, (dict(overall), dict(country or {})), strict=True))
    for scope, table in tables.items():
        for metric, value in table.items():
            if not isinstance(value, float) or not 0 < value < 1:
                raise ValueError(f"{where}: {scope}.{metric}: expected a number in (0, 1), got {value}")
    canonical = json.dumps(tables, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return Margins(tables["overall"], tables["country"], digest)

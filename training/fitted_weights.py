"""Weights that were fitted rather than set by judgment: a policy overlay, and the evidence beside it.

A weight is in likes, so a like is 1. What the data cannot tell stays out of the overlay and is named in the
evidence: the policy below then keeps its own number, on a scale of its own.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from training.overlay import toml_text, write_overlay

FITTED_SCHEMA = 1
TABLES = {"weight": "weights", "relationship": "relationship"}


KEPT = (
    "what is not named here keeps the weight of the policy below, which may be on another scale; what is "
    "named replaces it, also where that policy has a reason to put it at 0, as for angry"
)


@dataclass(frozen=True)
class FittedTerm:
    """One number of a policy, as fitted.

    Attributes:
        name: a signal, or a relation.
        kind: a weight of a signal, or the multiplier of a relation.
        value: in likes, or the multiplier; None where it is not identified.
        low, high: of the 95% interval; None where it is not identified, or unbounded on that side.
        n: rows it rests on.
        warning: why it is not identified or weak; "" where nothing speaks against it.
    """

    name: str
    kind: Literal["weight", "relationship"]
    value: float | None
    low: float | None
    high: float | None
    n: int
    warning: str

    @property
    def is_unit(self) -> bool:
        """Whether it is 1 by definition: the like, or the relation that the others are measured against."""
        return self.value == self.low == self.high == 1.0


@dataclass(frozen=True)
class FittedWeights:
    """Weights and multipliers from one set of data.

    Attributes:
        method: what they were fitted to.
        terms: in the order in which they are shown.
        facts: what can be written as JSON: sizes, the digest of the data, assumptions, diagnostics.
    """

    method: Literal["survey", "feedback"]
    terms: tuple[FittedTerm, ...]
    facts: Mapping[str, object]

    def identified(self) -> tuple[FittedTerm, ...]:
        """The terms that have a value."""
        return tuple(term for term in self.terms if term.value is not None)


def overlay_of(found: FittedWeights, *, name: str, date: str) -> str:
    """A policy overlay in TOML with the terms that are identified, four digits each, and their sources.

    Args:
        found: what was fitted.
        name: of the overlay.
        date: of the fit, as 2026-11-22.

    Raises:
        ValueError: nothing is identified, or a multiplier is negative, which no policy can hold.
    """
    terms = _usable(found)
    absent = [term.name for term in found.terms if term.value is None]
    description = f"Fitted to {found.method} data; a like is 1. The evidence beside it has the assumptions."
    if absent:
        description += (
            f" Not identified, so that the policy below keeps its own numbers: {', '.join(absent)}."
        )
    lines = [
        "schema = 1",
        f"name = {toml_text(name)}",
        'kind = "overlay"',
        f"date = {toml_text(date)}",
        f"title = {toml_text(f'Weights fitted to {found.method} data')}",
        f"description = {toml_text(description)}",
    ]
    for kind, table in TABLES.items():
        numbers = [f"{term.name} = {_number(term.value)}" for term in terms if term.kind == kind]
        if numbers:
            lines += ["", f"[{table}]", *numbers]
    lines += ["", "[sources]"]
    lines += [
        f"{toml_text(f'{TABLES[term.kind]}.{term.name}')} = {toml_text(_source(term, found.method))}"
        for term in terms
    ]
    return "\n".join(lines) + "\n"


def evidence_of(found: FittedWeights) -> str:
    """All terms and facts as JSON; the same fit gives the same bytes.

    Raises:
        ValueError: a number in it is not finite.
    """
    content = {
        "schema": FITTED_SCHEMA,
        "method": found.method,
        "terms": [asdict(term) for term in found.terms],
        "not_identified": [term.name for term in found.terms if term.value is None],
        "facts": found.facts,
    }
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_fitted(found: FittedWeights, output: Path, *, name: str, date: str) -> tuple[Path, Path]:
    """Write the overlay and, under the same name with .json, the evidence; both or neither.

    Args:
        found: what was fitted.
        output: where the overlay goes; ends in .toml.
        name: of the overlay.
        date: of the fit, as 2026-11-22.

    Returns:
        The paths of the overlay and of the evidence.

    Raises:
        ValueError: nothing is identified, or the name does not end in .toml; nothing is written then.
    """
    return write_overlay(output, overlay_of(found, name=name, date=date), evidence_of(found))


def _usable(found: FittedWeights) -> Sequence[FittedTerm]:
    terms = found.identified()
    if all(term.is_unit for term in terms):
        reasons = "; ".join(f"{term.name}: {term.warning}" for term in found.terms if term.warning)
        raise ValueError(f"weights: expected at least one that the data identify, got none ({reasons})")
    for term in terms:
        if term.kind == "relationship" and term.value is not None and term.value < 0:
            raise ValueError(f"relationship.{term.name}: expected at least 0, got {term.value:.4g}")
    return terms


def _source(term: FittedTerm, method: str) -> str:
    if term.is_unit:
        return "the unit"
    low = "unbounded" if term.low is None else f"{term.low:.4g}"
    high = "unbounded" if term.high is None else f"{term.high:.4g}"
    weak = f"; {term.warning}" if term.warning else ""
    return f"fitted to {method} data: 95% interval {low} to {high}, {term.n:,} rows{weak}"


def _number(value: float | None) -> str:
    return repr(float(f"{value:.4g}"))

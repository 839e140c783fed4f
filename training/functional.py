"""Functional cases: short texts that each test one thing a harm score must or must not react to.

Many come in contrast pairs, one toxic and one harmless text that share most of their words, so that a score
which reads words without their use gains nothing. A case is judged by a score of toxicity: attacks on an
identity and threats are toxic as well, and mere swearing is not (stricter than some public definitions).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.metrics import auroc, rounded

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Score = Callable[[list[str]], Floats]


@dataclass(frozen=True)
class FunctionalCase:
    """One text and whether `label` is true of it.

    `group` is the identity that the text mentions, `pair` the id of its contrast partner; either may be "".
    """

    id: str
    functionality: str
    text: str
    label: str
    expected: bool
    group: str
    pair: str


def read_cases(path: Path) -> list[FunctionalCase]:
    """The cases of a JSON-lines file with the fields of `FunctionalCase`.

    Raises:
        ValueError: a field is missing or unknown, an id is repeated, a functionality holds both kinds of
            case, or two partners do not name each other or are of the same kind.
    """
    names = {field.name for field in fields(FunctionalCase)}
    cases = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        row = json.loads(line)
        if set(row) != names:
            raise ValueError(f"{path}:{number}: expected the fields {sorted(names)}, got {sorted(row)}")
        cases.append(FunctionalCase(**row))
    _check(cases)
    return cases


def scored(score: Score, texts: list[str]) -> Floats:
    """What a score gives for n texts, as (n,).

    Raises:
        ValueError: it gives another shape, or a number that is not finite. How a text that cannot be judged
            is to count is for the caller to say.
    """
    values = np.asarray(score(texts), dtype=np.float64)
    if values.shape != (len(texts),):
        raise ValueError(f"score: expected shape ({len(texts)},), got {values.shape}")
    if bad := np.flatnonzero(~np.isfinite(values)).tolist():
        raise ValueError(f"score: expected finite numbers, got {values[bad[0]]} at text {bad[0]}")
    return values


def functional_table(score: Score, cases: list[FunctionalCase], *, threshold: float) -> dict[str, Any]:
    """Figures of a score on all cases, and under "functionalities" on each kind.

    `accuracy` is the share of cases on the right side of the threshold (flagged is at or above it).
    A functionality's `auroc` compares its cases with all cases of the other kind. `pair_accuracy` is the
    share of contrast pairs whose toxic text scores strictly above its harmless partner; None without pairs.
    """
    values = scored(score, [case.text for case in cases])
    expected = np.array([case.expected for case in cases], dtype=bool)
    right = (values >= threshold) == expected
    ahead = _ahead(values, cases)
    names = np.array([case.functionality for case in cases])
    table = {}
    for name in dict.fromkeys(names.tolist()):
        rows = names == name
        against = rows | (expected != expected[rows][0])
        table[name] = {
            "n": int(rows.sum()),
            "toxic": bool(expected[rows][0]),
            "accuracy": round(float(right[rows].mean()), 4),
            "auroc": rounded(auroc(values[against], expected[against])),
            "pair_accuracy": rounded(_mean(ahead[rows])),
        }
    return {
        "n": len(cases),
        "n_toxic": int(expected.sum()),
        "n_pairs": int((~np.isnan(ahead[expected])).sum()),
        "threshold": threshold,
        "accuracy": round(float(right.mean()), 4),
        "auroc": rounded(auroc(values, expected)),
        "pair_accuracy": rounded(_mean(ahead[expected])),
        "functionalities": table,
    }


def _ahead(values: Floats, cases: list[FunctionalCase]) -> Floats:
    """(n,): 1.0 where the toxic text of a case's pair is ahead, 0.0 where it is not, NaN without a pair."""
    row_of = {case.id: i for i, case in enumerate(cases)}
    ahead = np.full(len(cases), np.nan)
    for i, case in enumerate(cases):
        if case.pair:
            difference = values[i] - values[row_of[case.pair]]
            ahead[i] = (difference if case.expected else -difference) > 0
    return ahead


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _check(cases: list[FunctionalCase]) -> None:
    by_id: dict[str, FunctionalCase] = {}
    kind: dict[str, bool] = {}
    for case in cases:
        if by_id.setdefault(case.id, case) is not case:
            raise ValueError(f"cases: expected each id once, got {case.id!r} twice")
        if kind.setdefault(case.functionality, case.expected) != case.expected:
            raise ValueError(
                f"cases: expected one kind of case in a functionality, got both in {case.functionality!r}"
            )
    for case in cases:
        partner = by_id.get(case.pair)
        if case.pair and (partner is None or partner.pair != case.id or partner.expected == case.expected):
            raise ValueError(
                f"cases: expected the partner of {case.id!r} to be of the other kind and to name it, "
                f"got {partner or case.pair!r}"
            )

"""Which kinds and relations the answers of a country can tell apart at all, before anything is fitted."""

from dataclasses import dataclass

import numpy as np

from reranker.columns import BoolArray, IntArray

MIN_PEOPLE = 30  # who answered about a kind or a relation; fewer carry no interval by person
MIN_RESPONDENTS = 100  # of a country


@dataclass(frozen=True, eq=False)
class Told:
    """Of one country.

    Attributes:
        kinds: (K,) True where the answers identify the kind's effect.
        relations: (R,) the same for relations.
        why: reasons for what is not identified, by name.
    """

    kinds: BoolArray
    relations: BoolArray
    why: dict[str, str]


def identify(
    counts: IntArray,
    people: tuple[IntArray, IntArray],
    names: tuple[tuple[str, ...], tuple[str, ...]],
    unit: tuple[int, int],
) -> Told:
    """What a country's answers identify, under effects of kind and relation that add up.

    Left out is what too few people answered about; what got the highest answer every time, or the lowest,
    so that no finite effect fits best; what is seen with one relation (or kind) only while others are seen
    with several, as its effect then rests on that one; and what no chain of shared relations and kinds
    connects to the unit. What is left out takes its answers along, so the rest is looked at again.

    Args:
        counts: (K, R, J) answers.
        people: (K,) and (R,) people who answered about each kind and each relation.
        names: of kinds and relations.
        unit: the kind and the relation that the others are compared with.
    """
    kept = [np.ones(n, dtype=bool) for n in counts.shape[:2]]
    why: dict[str, str] = {}
    while True:
        left = counts * kept[0][:, None, None] * kept[1][None, :, None]
        found = _first_fault(left, kept, people, unit)
        if found is None:
            return Told(kept[0], kept[1], why)
        axis, at, reason = found
        kept[axis][at] = False
        why[names[axis][at]] = reason


def _first_fault(
    counts: IntArray, kept: list[BoolArray], people: tuple[IntArray, IntArray], unit: tuple[int, int]
) -> tuple[int, int, str] | None:
    """The axis, the index and the reason of one that has to go; None where all may stay."""
    levels = np.flatnonzero(counts.sum(axis=(0, 1)))
    connected = _connected(counts.sum(axis=2) > 0, unit[0])
    for axis in (0, 1):
        table = counts.sum(axis=1 - axis)  # (K or R, J)
        met = (counts.sum(axis=2) > 0).sum(axis=1 - axis)
        what = ("relation", "kind")[axis]
        for at in np.flatnonzero(kept[axis]).tolist():
            n = int(people[axis][at])
            total = int(table[at].sum())
            if n < MIN_PEOPLE or not total:
                return axis, at, f"{n if total else 0} people answered about it, at least {MIN_PEOPLE} needed"
            if len(levels) and total in (table[at, levels[0]], table[at, levels[-1]]):
                level = levels[0] if total == table[at, levels[0]] else levels[-1]
                return axis, at, f"separation: every answer is {level + 1}"
            if met[at] == 1 and kept[1 - axis].sum() > 1 and kept[axis].sum() > 1:
                return axis, at, f"seen with one {what} only"
            if not connected[axis][at]:
                return axis, at, f"shares no {what} with those that lead to the unit"
    return None


def _connected(pairs: BoolArray, kind: int) -> tuple[BoolArray, BoolArray]:
    """(K,) and (R,) True where a chain of pairs (K, R) leads to the kind."""
    kinds = np.zeros(pairs.shape[0], dtype=bool)
    kinds[kind] = True
    while True:
        relations = np.asarray(pairs[kinds].any(axis=0))
        reached = kinds | pairs[:, relations].any(axis=1)
        if (reached == kinds).all():
            return kinds, relations
        kinds = reached

"""A simpler policy than the best: settings put back to the base's, and the fewest that are needed."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from reranker.columns import BoolArray, FloatArray


def put_back(
    values: Mapping[str, float],
    base: Mapping[str, float | None],
    measure: Callable[[Sequence[Mapping[str, float]]], tuple[FloatArray, FloatArray]],
) -> None:
    """Measure policies between the best and the base, from one rule put back to all of them.

    First each rule is put back alone; then they are put back together, one more at a time, from the one that
    costs least harm on. Settings that the base leaves out stay.

    Args:
        values: of the best policy.
        base: of the base, None where it sets nothing.
        measure: of some points, (P,) harm and (P,) the largest excess over a limit, below 0 where all hold.
    """
    own = [keys for keys in rules(values) if all(base[key] is not None for key in keys)]
    if not own:
        return
    harm, excess = measure([_without(values, keys) for keys in own])
    kept = dict(values)
    path = []
    for i in np.lexsort((harm, np.maximum(excess, 0.0))).tolist():
        kept = _without(kept, own[i])
        path.append(kept)
    measure(path)


def simplest(
    points: Sequence[Mapping[str, float]], harm: FloatArray, good: BoolArray, base: Mapping[str, float | None]
) -> int:
    """Which good point has the fewest rules that differ from the base's; of equals the one with least harm.

    Args:
        points: settings that are not as in the base, as far as they were set.
        harm: (P,) of each.
        good: (P,) which may be taken; at least one.
        base: of the base.

    Source: Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984, section 3.4.3 (the
    rule of one standard error, when `good` is what lies within it).
    """
    n_own = [sum(any(base[key] != one[key] for key in keys) for keys in rules(one)) for one in points]
    order = np.lexsort((harm, np.array(n_own), ~good))
    return int(order[0])


def rules(values: Mapping[str, float]) -> list[tuple[str, ...]]:
    """The keys that only make sense together: each weight or value alone, a demotion's whole curve.

    Example:
        >>> rules({"weights.like": 1, "demotion.threat.start": 0.2, "demotion.threat.line": 0.6})
        [('weights.like',), ('demotion.threat.start', 'demotion.threat.line')]
    """
    found: dict[str, list[str]] = {}
    for key in values:
        found.setdefault(key.rpartition(".")[0] if key.startswith("demotion.") else key, []).append(key)
    return [tuple(keys) for keys in found.values()]


def _without(values: Mapping[str, float], keys: Sequence[str]) -> dict[str, float]:
    return {key: value for key, value in values.items() if key not in keys}

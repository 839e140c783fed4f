"""The loops of browsing models that numpy is slow at, compiled: down a slate, over cells of clicks.

Additions come in a fixed order, without fast-math: a slate gets the same whatever stands beside it.
"""

import numpy as np

from eval.kernel import compiled
from reranker.columns import FloatArray, IntArray


@compiled
def multiply_down(stop: FloatArray, offsets: IntArray, out: FloatArray) -> None:
    """Write the chance that nobody stopped before each slot of its slate.

    Args:
        stop: (s,) chance to stop after the slot.
        offsets: (n + 1,) slots of each slate.
        out: (s,) written.
    """
    for r in range(len(offsets) - 1):
        reached = 1.0
        for k in range(offsets[r], offsets[r + 1]):
            out[k] = reached
            reached *= 1.0 - stop[k]


@compiled
def add_harm_views(
    examined: FloatArray, harm: FloatArray, severity: FloatArray, offsets: IntArray, out: FloatArray
) -> int:
    """Write harm, scored views, unscored views and what harm those could be, of each request.

    Args:
        examined: (c,) chance that each candidate is viewed.
        harm: (c,) probability of harm, NaN where not scored.
        severity: (c,) or empty for 1.
        offsets: (n + 1,) candidates of each request.
        out: (4, n) written.

    Returns:
        The first row that is no examination, probability or severity, or -1.
    """
    for r in range(len(offsets) - 1):
        harmful, scored, unscored, possible = 0.0, 0.0, 0.0, 0.0
        for i in range(offsets[r], offsets[r + 1]):
            seen, p = examined[i], harm[i]
            weight = severity[i] if severity.size else 1.0
            if not (0.0 <= seen < np.inf and 0.0 <= weight < np.inf and (np.isnan(p) or 0.0 <= p <= 1.0)):
                return i
            if np.isnan(p):
                unscored += seen
                possible += seen * weight
            else:
                scored += seen
                harmful += seen * weight * p
        out[0, r], out[1, r], out[2, r], out[3, r] = harmful, scored, unscored, possible
    return -1


@compiled
def add_incidence(examined: FloatArray, harm: FloatArray, offsets: IntArray, out: FloatArray) -> None:
    """Write the chance of at least one harm among what is viewed: independent, least, most.

    Args:
        examined: (s,) chance that each slot is viewed, never rising down a slate.
        harm: (s,) probability of harm.
        offsets: (n + 1,) slots of each slate.
        out: (3, n) written.
    """
    for r in range(len(offsets) - 1):
        none, most, total = 1.0, 0.0, 0.0
        independent, low, high = 0.0, 0.0, 0.0
        for k in range(offsets[r], offsets[r + 1]):
            none *= 1.0 - harm[k]
            most = max(most, harm[k])
            total += harm[k]
            following = examined[k + 1] if k + 1 < offsets[r + 1] else 0.0
            ends = examined[k] - following  # the last slot viewed is this one
            independent += ends * (1.0 - none)
            low += ends * most
            high += ends * min(total, 1.0)
        out[0, r], out[1, r], out[2, r] = independent, low, high


@compiled
def expect_examined(
    position: IntArray, counts: FloatArray, offsets: IntArray, theta: FloatArray, gamma: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """One expectation step of the position-based model over cells, which are grouped by item.

    Args:
        position: (cells,) from 0.
        counts: (2, cells) impressions with and without a click.
        offsets: (items + 1,) cells of each item.
        theta: (K,) chance that a position is examined.
        gamma: (items,) chance that an examined item is clicked.

    Returns:
        Expected examined impressions (K,) and expected attractive ones (items,).
    """
    examined, attractive = np.zeros(len(theta)), np.zeros(len(gamma))
    for i in range(len(offsets) - 1):
        g, total = gamma[i], 0.0
        for c in range(offsets[i], offsets[i + 1]):
            k, clicked, unclicked = position[c], counts[0, c], counts[1, c]
            t = theta[k]
            share = unclicked / max(1.0 - t * g, 1e-300)
            examined[k] += clicked + share * t * (1.0 - g)
            total += clicked + share * g * (1.0 - t)
        attractive[i] = total
    return examined, attractive


@compiled
def compare_positions(
    position: IntArray, counts: FloatArray, offsets: IntArray, n_positions: int
) -> tuple[FloatArray, FloatArray]:
    """Compare the click rates of two positions within items, for every pair of positions.

    Args:
        position: (cells,) from 0.
        counts: (2, cells) impressions with and without a click.
        offsets: (items + 1,) cells of each item.
        n_positions: K.

    Returns:
        (K, K) clicks of the first position weighted by the impressions of the second, and (K, K) what the
        variance of the logarithm of their ratio is made of.
    """
    made, spread = np.zeros((n_positions, n_positions)), np.zeros((n_positions, n_positions))
    for i in range(len(offsets) - 1):
        for a in range(offsets[i], offsets[i + 1]):
            shown_a = counts[0, a] + counts[1, a]
            for b in range(offsets[i], offsets[i + 1]):
                if a != b:
                    shown_b = counts[0, b] + counts[1, b]
                    shown = shown_a + shown_b
                    made[position[a], position[b]] += counts[0, a] * shown_b / shown
                    clicks = counts[0, a] + counts[0, b]
                    spread[position[a], position[b]] += clicks * shown_a * shown_b / shown**2
    return made, spread

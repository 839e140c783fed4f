"""Whether there was any harm at all: in a request, in a session, of any kind.

Probabilities of single harms do not say how often they come together. What they do say is an interval; the
product formula is a claim of independence, and is labelled as one.
"""

from dataclasses import dataclass

import numpy as np

from eval.browsing_kernel import add_incidence
from reranker.columns import FloatArray, IntArray
from reranker.engagement import request_sums


@dataclass(frozen=True, eq=False)
class Incidence:
    """The chance of at least one harm among what was viewed; all (n,).

    Attributes:
        independent: if the harms of the posts of a slate are independent of each other; NaN where a slot
            that may be viewed is not scored.
        low, high: whatever their dependence, and whatever the unscored slots are.
    """

    independent: FloatArray
    low: FloatArray
    high: FloatArray


def incidence(examination: FloatArray, harm: FloatArray, slot_offsets: IntArray) -> Incidence:
    """The chance that a request shows at least one harm, for reading from the top to a last slot.

    The sum over m of P(m is the last slot viewed) times P(any harm in the first m); the latter lies between
    the largest probability and their sum, whatever their dependence.

    Args:
        examination: (s,) of the slots, best first, never rising down a slate and at most 1.
        harm: (s,) probability of harm, NaN where not scored.
        slot_offsets: (n + 1,) slots of each slate.

    Raises:
        ValueError: an examination that rises down a slate or leaves [0, 1].

    Source: Fréchet, Généralisation du théorème des probabilités totales, 1935.
    """
    fine = (examination >= 0) & (examination <= 1)
    rises = np.append(np.diff(examination) > 1e-12, False)
    rises[slot_offsets[1:][np.diff(slot_offsets) > 0] - 1] = False
    if not (fine & ~rises).all():
        row = int(np.argmin(fine & ~rises))
        raise ValueError(
            f"examination: expected numbers in [0, 1] that fall down a slate, got {examination[row]} "
            f"at slot {row}"
        )
    made = []
    for unknown in (0.0, 1.0):
        out = np.zeros((3, len(slot_offsets) - 1))
        add_incidence(examination, np.where(np.isnan(harm), unknown, harm), slot_offsets, out)
        made.append(out)
    missing = request_sums((np.isnan(harm) & (examination > 0)).astype(np.float64), slot_offsets) > 0
    return Incidence(np.where(missing, np.nan, made[0][0]), made[0][1], made[1][2])


def session_incidence(requests: Incidence, session: IntArray) -> Incidence:
    """The chance that a session shows at least one harm, from those of its requests; in the order of codes.

    Args:
        requests: of each request.
        session: (n,) code of the session of each request.
    """
    names, code = np.unique(session, return_inverse=True)
    none, low, total = np.ones(len(names)), np.zeros(len(names)), np.zeros(len(names))
    np.multiply.at(none, code, 1.0 - requests.independent)
    np.maximum.at(low, code, requests.low)
    np.add.at(total, code, requests.high)
    return Incidence(1.0 - none, low, np.minimum(total, 1.0))


def any_harm_bounds(harm: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(c,) least and most probable any-harm from the probabilities (c, h) of single harms alone.

    The largest of them, and their sum up to 1: harms of one post come together more often than independence
    would have it. A harm that is not scored may be anything; where a joint label exists, use that.
    """
    low = np.where(np.isnan(harm), 0.0, harm).max(axis=1)
    high = np.minimum(np.where(np.isnan(harm), 1.0, harm).sum(axis=1), 1.0)
    return np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)

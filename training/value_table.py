"""The `[value]` table of a policy as arrays: P(endorsed | kind of engagement, harms, anger, tone).

P = endorsed * (1 - sensitivity * (1 - quality)), the form that the ranker computes, so that what is fitted is
what ranks. With all numbers in [0, 1] it falls, or stays, in every harm.
"""

from dataclasses import dataclass

import numpy as np

from reranker.columns import FloatArray, IntArray, freeze_arrays
from reranker.policy import Policy
from training.value_items import CONTEXT, ValueItems

_SMALLEST = 1e-9  # of a factor of the quality, so that it can be divided by


@dataclass(frozen=True, eq=False)
class ValueTable:
    """Numbers in [0, 1] for K signals and H terms.

    Attributes:
        endorsed: (K,) P(endorsed) of a unit on a post that nothing speaks against.
        sensitivity: (K,) how much of that the quality of the post scales.
        harm: (H,) what a term at 1 takes off the quality.
        yes_saying: share of answers that are yes whatever the question; no property of engagement.
    """

    endorsed: FloatArray
    sensitivity: FloatArray
    harm: FloatArray
    yes_saying: float = 0.0

    def __post_init__(self) -> None:
        freeze_arrays(self)

    def quality(self, known: FloatArray) -> FloatArray:
        """(n,) the product over terms of 1 - harm * level, from levels (H, n) without NaN."""
        quality = np.ones(known.shape[1])
        for harm, level in zip(self.harm, known, strict=True):
            quality *= np.maximum(1.0 - harm * level, _SMALLEST)
        return quality

    def p(self, signal: IntArray, known: FloatArray) -> FloatArray:
        """(n,) P(endorsed) of one unit of each row's signal."""
        spoiled = 1.0 - self.quality(known)
        return self.endorsed[signal] * (1.0 - self.sensitivity[signal] * spoiled)

    def p_yes(self, items: ValueItems) -> FloatArray:
        """(n,) P(the answer is yes): P(endorsed), and what yes-saying adds or takes."""
        p = self.p(items.signal, items.known)
        if not self.yes_saying or items.reversed is None:
            return p
        return (1.0 - self.yes_saying) * p + self.yes_saying * (1.0 - items.reversed)


def table_of(policy: Policy, signals: tuple[str, ...], terms: tuple[str, ...]) -> ValueTable:
    """The table of a policy for these signals and terms, as the ranker reads it."""
    value = policy.value
    context = {"angry_share": value.angry_share, "comment_toxicity": value.comment_toxicity}
    return ValueTable(
        endorsed=np.array([value.endorsed.get(name, 1.0) for name in signals]),
        sensitivity=np.array([value.sensitivity.get(name, 0.0) for name in signals]),
        harm=np.array(
            [context[name] if name in CONTEXT else value.harms.get(name, 0.0) for name in terms],
            dtype=np.float64,
        ),
    )

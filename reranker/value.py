"""Good and bad engagement: how much of each unit the viewer would endorse on reflection (C4).

P(endorsed) of a signal on a post = endorsed * (1 - sensitivity * (1 - quality)): a prior per signal, pulled
down by the post's harms, by the angry share of its reactions and by the tone of its comments. What is not
endorsed is bad engagement; the two add up to the engagement by construction.
"""

from dataclasses import dataclass

import numpy as np

from models.scores import HarmScores
from reranker.columns import FloatArray
from reranker.policy import Policy


@dataclass(frozen=True, eq=False)
class Harms:
    """What is known of the harm of each candidate.

    Attributes:
        posts: scores of the candidates themselves.
        comment_toxicity: (n,) mean toxicity of the post's comments, NaN where none was scored.
    """

    posts: HarmScores
    comment_toxicity: FloatArray

    def __post_init__(self) -> None:
        if len(self.comment_toxicity) != self.posts.n:
            raise ValueError(
                f"comment_toxicity: expected {self.posts.n} rows, got {len(self.comment_toxicity)}"
            )


def endorsement(policy: Policy, names: tuple[str, ...]) -> tuple[FloatArray, FloatArray]:
    """Per signal the part endorsed whatever the post, and the part that its quality scales, each (S,)."""
    value = policy.value
    endorsed = np.array([value.endorsed.get(name, 1.0) for name in names])
    sensitivity = np.array([value.sensitivity.get(name, 0.0) for name in names])
    return endorsed * (1.0 - sensitivity), endorsed * sensitivity

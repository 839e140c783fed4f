"""What a rated link adds to a score made from text: log-odds of the text plus evidence of the domain.

Whether a claim is false can hardly be read off its words, and much better off who published it. So the
rating weighs more than the text, and a post none of whose links is rated keeps the text's score untouched.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.domains import DomainRatings
from models.scores import Content, HarmScores

LABEL = "misinformation"
_CLIP = 1e-4


@dataclass(frozen=True)
class LinkEvidence:
    """How text and rating combine: log-odds = base + text (text log-odds - base) + rating (neutral - score).

    `base` is the log-odds of `prevalence`, the share of positives that the text's calibration stands for.
    `text` below 1 says that words count for less once the publisher is known; `neutral` is the rating that
    moves nothing. The defaults were fitted by logistic regression on 1,187 permissively licensed headlines
    and posts with a rated link (labels by a language model), fabricated-news sites and pages counting the
    same; `neutral` is a convention, the middle of the scale.

    Raises:
        ValueError: a prevalence outside (0, 1), a negative weight, or a neutral rating outside [0, 1].
    """

    prevalence: float
    text: float = 0.62
    rating: float = 5.5
    neutral: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.prevalence < 1:
            raise ValueError(f"prevalence: expected a number in (0, 1), got {self.prevalence}")
        for name in ("text", "rating"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name}: expected a number of at least 0, got {getattr(self, name)}")
        if not 0 <= self.neutral <= 1:
            raise ValueError(f"neutral: expected a number in [0, 1], got {self.neutral}")

    def combine(self, probability: NDArray[np.float32], rating: NDArray[np.float64]) -> NDArray[np.float32]:
        """Probability (n,) from those of the text (n,) and ratings (n,) in [0, 1]; NaN = unrated.

        An unrated post keeps its probability; one whose text was not scored (NaN) stays unscored.
        """
        p = np.clip(probability.astype(np.float64), _CLIP, 1 - _CLIP)
        base = np.log(self.prevalence / (1 - self.prevalence))
        log_odds = base + self.text * (np.log(p / (1 - p)) - base) + self.rating * (self.neutral - rating)
        combined = np.where(np.isnan(rating), probability, 1 / (1 + np.exp(-log_odds)))
        return np.asarray(combined, dtype=np.float32)


def with_links(
    scores: HarmScores,
    content: Content,
    ratings: DomainRatings,
    evidence: LinkEvidence,
    *,
    label: str = LABEL,
) -> HarmScores:
    """The same scores with those of `label` moved by the worst rating among each post's links.

    The confidence stays the text's. `model` gains "*links:" and the name of the ratings.

    Raises:
        ValueError: the content is of other posts than the scores (their numbers differ), or no such label.
    """
    if content.n != scores.n:
        raise ValueError(f"content: expected {scores.n} posts, as many as were scored, got {content.n}")
    text, _ = scores.column(label)
    rating = np.array([ratings.rate(urls) for urls in content.urls], dtype=np.float64)
    probability = scores.probability.copy()
    probability[:, scores.labels.index(label)] = evidence.combine(text, rating)
    return HarmScores(scores.labels, probability, scores.confidence, f"{scores.model}*links:{ratings.name}")

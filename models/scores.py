"""What a scorer reads and what it returns, as frozen columns (numpy only).

A scorer is any callable from `Content` to `HarmScores`; there is no base class to inherit.
NaN means "not scored": a post in a language that is not served is unknown, not harmless.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

READING_VERSION = 1
"""Of the code between a post and its scores. Raise it with every change after which the same weights give a
post other scores, beyond rounding: normalise, emoji, language, windows, familiarity, calibration, links and
domains, derived labels. It is part of what kept scores are found by, so that old ones are not taken for new.
"""


@dataclass(frozen=True)
class Content:
    """The n posts a scorer reads; a value is None where the feed did not say.

    `language` holds ISO 639-1 codes ("en"); `urls` the links of each post, in order.

    Raises:
        ValueError: the three columns differ in length.
    """

    text: Sequence[str | None]
    language: Sequence[str | None]
    urls: Sequence[Sequence[str] | None]

    def __post_init__(self) -> None:
        lengths = {"text": len(self.text), "language": len(self.language), "urls": len(self.urls)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"content: expected columns of one length, got {lengths}")

    @property
    def n(self) -> int:
        """The number of posts."""
        return len(self.text)

    def take(self, rows: Sequence[int]) -> "Content":
        """These posts, in this order."""
        return Content(
            text=[self.text[row] for row in rows],
            language=[self.language[row] for row in rows],
            urls=[self.urls[row] for row in rows],
        )

    @classmethod
    def of_texts(cls, text: Sequence[str | None]) -> "Content":
        """Posts that are text alone: language and urls are not known."""
        return cls(text=text, language=[None] * len(text), urls=[None] * len(text))


@dataclass(frozen=True)
class HarmScores:
    """Calibrated harm probabilities of n posts, one column for each of L labels.

    `probability` is float32 (n, L) in [0, 1]; NaN where that label was not scored for that post.
    `confidence` is float32 (n, L) in [0, 1]: the weight that demotion may give the estimate; NaN in the
    same places. `model` says what made them, such as "bundled-en@1f2e3d4c5b6a".

    Raises:
        ValueError: wrong shapes, values outside [0, 1], NaN in one array only, or a repeated label.
    """

    labels: tuple[str, ...]
    probability: NDArray[np.float32]
    confidence: NDArray[np.float32]
    model: str

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels: expected each label once, got {self.labels}")
        for name in ("probability", "confidence"):
            values = np.array(getattr(self, name), dtype=np.float32)
            _check_unit_interval(name, values, self.labels)
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        if self.probability.shape != self.confidence.shape:
            raise ValueError(
                f"confidence: expected shape {self.probability.shape}, got {self.confidence.shape}"
            )
        differ = np.argwhere(np.isnan(self.probability) != np.isnan(self.confidence))
        if differ.size:
            row, column = differ[0]
            raise ValueError(
                f"confidence: expected NaN exactly where probability is NaN, "
                f"got a difference at row {row}, label {self.labels[column]!r}"
            )

    @property
    def n(self) -> int:
        """The number of posts."""
        return int(self.probability.shape[0])

    @property
    def scored(self) -> NDArray[np.bool_]:
        """One bool per post (n,): at least one label was scored for the post."""
        return np.asarray(~np.isnan(self.probability).all(axis=1))

    def column(self, label: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probability and confidence of one label, each (n,).

        Raises:
            ValueError: the label has no column here; the message names the nearest ones.
        """
        if label not in self.labels:
            near = difflib.get_close_matches(label, self.labels, n=3)
            hint = f"; nearest: {near}" if near else ""
            raise ValueError(f"label: expected one of {list(self.labels)}, got {label!r}{hint}")
        j = self.labels.index(label)
        return self.probability[:, j], self.confidence[:, j]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_] | Sequence[int]) -> "HarmScores":
        """The scores of these posts, in this order (integer rows or a boolean mask)."""
        index = np.asarray(rows)
        if index.size == 0:
            index = index.astype(np.intp)
        return HarmScores(self.labels, self.probability[index], self.confidence[index], self.model)

    def join(self, other: "HarmScores") -> "HarmScores":
        """These columns and those of another scorer, for the same posts in the same order.

        Raises:
            ValueError: the two differ in n, or share a label.
        """
        if self.n != other.n:
            raise ValueError(f"join: expected scores of {self.n} posts, got {other.n}")
        shared = sorted(set(self.labels) & set(other.labels))
        if shared:
            raise ValueError(f"join: expected no label in common, got {shared} from both")
        return HarmScores(
            labels=self.labels + other.labels,
            probability=np.hstack([self.probability, other.probability]),
            confidence=np.hstack([self.confidence, other.confidence]),
            model=f"{self.model}+{other.model}",
        )

    @classmethod
    def unscored(cls, n: int, labels: Sequence[str], model: str) -> "HarmScores":
        """Scores of n posts for which nothing was scored."""
        nothing = np.full((n, len(labels)), np.nan, dtype=np.float32)
        return cls(tuple(labels), nothing, nothing, model)


Scorer = Callable[[Content], HarmScores]


def _check_unit_interval(name: str, values: NDArray[np.float32], labels: tuple[str, ...]) -> None:
    if values.ndim != 2 or values.shape[1] != len(labels):
        raise ValueError(f"{name}: expected shape (n, {len(labels)}), got {values.shape}")
    bad = np.argwhere(~(np.isnan(values) | ((values >= 0) & (values <= 1))))
    if bad.size:
        row, column = bad[0]
        raise ValueError(
            f"{name}: expected numbers in [0, 1] or NaN, "
            f"got {values[row, column]} at row {row}, label {labels[column]!r}"
        )

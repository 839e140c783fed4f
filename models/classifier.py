"""`HarmClassifier`: calibrated harm scores of posts from a classifier on disk.

What cannot be judged is not guessed: posts without text or in a language that is not served come back
unscored. torch is imported by `load`, not by this module.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.artifact import TOKENIZER, Artifact, read_artifact
from models.bundled import artifact_directory
from models.calibration import Platt, calibrated
from models.device import place, quiet_memory
from models.emoji import with_emoji_words
from models.familiarity import familiarity
from models.language import is_served, languages_of
from models.normalise import normalised
from models.scores import Content, HarmScores
from models.windows import windowed, windows

if TYPE_CHECKING:
    from models.bag import BagModel
    from models.forward import LogitModel

MIN_SAMPLE = 100

_CHUNK = 16_384  # posts held at once beside the scores


class HarmClassifier:
    """A loaded classifier, itself a `Scorer`."""

    def __init__(self, artifact: Artifact, tokenizer: Tokenizer, model: "LogitModel | BagModel") -> None:
        """For `load`; takes the parts of a classifier."""
        self.artifact = artifact
        self.name = f"{artifact.name}@{artifact.digest[:12]}"
        self._tokenizer = windowed(tokenizer, artifact.max_tokens)
        self._model = model

    @classmethod
    def load(
        cls,
        source: str | Path = "bundled",
        device: str = "auto",
        *,
        prevalence: Mapping[str, float] | None = None,
        sample: Sequence[str | None] | None = None,
    ) -> "HarmClassifier":
        """A classifier that comes with the package ("bundled", "bundled-fast"), or the one in a directory.

        The fast one runs on the CPU whatever the device. `prevalence` gives the share of posts of the
        feed that have a label, and `sample` texts of posts drawn from it at random: see `at_prevalence`.

        Raises:
            FileNotFoundError: there is no classifier at the path.
            ValueError: a file was altered, the schema is unknown, the device is not there, or a prevalence
                is out of range or of a label that is not served.
        """
        directory = artifact_directory(source)
        artifact = read_artifact(directory)
        tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        loaded = cls(artifact, tokenizer, _model(directory, artifact, device))
        return loaded.at_prevalence(prevalence or {}, sample)

    def at_prevalence(
        self, prevalence: Mapping[str, float], sample: Sequence[str | None] | None = None
    ) -> "HarmClassifier":
        """The same classifier for a feed in which these shares of posts have the labels; others stay.

        Without a sample the odds of every post move by one factor, which holds if harmful posts look as they
        did in the calibration, and harmless ones too. With a random sample of the feed's posts the
        probabilities move so that their mean over it is the share: better on an unlike platform, where
        harmless posts may look worse. Texts of the sample that cannot be judged do not count.

        Raises:
            ValueError: a label is not served, a share is not in (0, 1), or fewer than 100 texts of the sample
                can be judged.
        """
        for name in prevalence:
            if name not in self.labels:
                raise ValueError(f"prevalence: expected a label of {list(self.labels)}, got {name!r}")
        logits, known = self._sampled(sample) if prevalence and sample is not None else (None, None)

        def stated(j: int, platt: Platt) -> Platt:
            share = prevalence.get(self.labels[j])
            if share is None:
                return platt
            if logits is None:
                return platt.at_prevalence(share)
            return platt.at_prevalence_of(share, logits[:, j], known)

        moved = tuple(stated(j, platt) for j, platt in enumerate(self.artifact.calibration))
        return HarmClassifier(replace(self.artifact, calibration=moved), self._tokenizer, self._model)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels served, in the order of the columns."""
        return self.artifact.labels

    def score(
        self,
        texts: Sequence[str | None],
        urls: Sequence[Sequence[str] | None] | None = None,
        languages: Sequence[str | None] | None = None,
    ) -> HarmScores:
        """The scores of n posts given as columns; see `__call__`.

        `languages` are BCP 47 tags; one that is not given is detected. `urls` may be given for the sake
        of scorers that read links; this one reads texts alone.

        Raises:
            ValueError: the columns differ in length.
        """
        unknown = [None] * len(texts)
        stated = unknown if languages is None else languages
        return self(Content(texts, stated, unknown if urls is None else urls))

    def __call__(self, content: Content, on_batch: Callable[[int], None] | None = None) -> HarmScores:
        """Calibrated probability and confidence of every post that can be judged; NaN for the others.

        A text longer than the artifact's `max_tokens` tokens is read in overlapping windows; its logit is
        the log mean exp of theirs, between mean and maximum. Of a text unlike those of the training, the
        probability stays nearer to the label's prevalence and the confidence is lower.

        Equal texts among 16,384 posts are computed once. `on_batch` gets the number of distinct texts done
        so far.
        """
        probability = np.full((content.n, len(self.labels)), np.nan, dtype=np.float32)
        confidence = probability.copy()
        done = 0
        for start in range(0, content.n, _CHUNK):
            chunk = range(start, min(start + _CHUNK, content.n))
            position, distinct = self._distinct(content, chunk)
            if not distinct:
                continue
            logits, distance = self._pooled(distinct, _counted(on_batch, done))
            known = familiarity_of(self.artifact, distance)
            found = calibrated(logits, self.artifact.calibration, known)
            rows = start + np.flatnonzero(position >= 0)
            probability[rows], confidence[rows] = (part[position[position >= 0]] for part in found)
            done += len(distinct)
        return HarmScores(self.labels, probability, confidence, self.name)

    def read(self, texts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Uncalibrated logits (n, L) and distances (n,), whatever the language, to calibrate and evaluate."""
        return self._pooled([normalised(text) for text in texts], None)

    def _sampled(
        self, sample: Sequence[str | None]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Logits (n, L) and familiarity (n,) of the posts of a sample that can be judged."""
        unknown = [None] * len(sample)
        position, distinct = self._distinct(Content(sample, unknown, unknown), range(len(sample)))
        rows = position[position >= 0]
        if len(rows) < MIN_SAMPLE:
            raise ValueError(
                f"sample: expected at least {MIN_SAMPLE} posts that can be judged, got {len(rows)} "
                f"of {len(sample)}"
            )
        logits, distance = self._pooled(distinct, None)
        known = familiarity_of(self.artifact, distance)
        return logits[rows], None if known is None else known[rows]

    def _distinct(self, content: Content, chunk: range) -> tuple[NDArray[np.intp], list[str]]:
        """The distinct texts that can be judged, and the row (n,) of each post among them, or -1."""
        texts = [normalised(content.text[i] or "") for i in chunk]
        stated = [content.language[i] for i in chunk]
        served = is_served(languages_of(texts, stated, self.artifact.languages), self.artifact.languages)
        unique: dict[str, int] = {}
        position = np.full(len(texts), -1, dtype=np.intp)
        for i, text in enumerate(texts):
            if text and served[i]:
                position[i] = unique.setdefault(text, len(unique))
        return position, list(unique)

    def _pooled(
        self, texts: Sequence[str], on_batch: Callable[[int], None] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logits (n, L) and distance (n,) of each text: log mean exp over its windows."""
        total = np.full((len(texts), len(self.labels) + 1), -np.inf)  # log of the sum of exp
        n_windows = np.zeros((len(texts), 1))
        done = 0
        for rows, ids in windows(self._tokenizer, [with_emoji_words(text) for text in texts]):
            after = rows[-1] + 1
            progress = _progress(on_batch, done, after, len(ids))
            np.logaddexp.at(total, rows, self._model.logits(ids, progress))
            np.add.at(n_windows, rows, 1)
            done = after
        pooled = total - np.log(n_windows)
        return pooled[:, :-1], pooled[:, -1]


def _model(directory: Path, artifact: Artifact, device: str) -> "LogitModel | BagModel":
    if artifact.encoder.get("model_type") == "harm-bag":
        from models.bag import BagModel  # noqa: PLC0415 - compiles; and torch is not needed for it

        return BagModel(directory, artifact)
    quiet_memory()  # before the first import of torch
    from models.forward import LogitModel  # noqa: PLC0415 - see above

    return LogitModel(directory, artifact, place(device))


def familiarity_of(artifact: Artifact, distance: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """How familiar texts at these distances (n,) are; None where the classifier does not measure it."""
    return None if artifact.familiar_up_to is None else familiarity(distance, artifact.familiar_up_to)


def _counted(on_batch: Callable[[int], None] | None, before: int) -> Callable[[int], None] | None:
    return None if on_batch is None else lambda done: on_batch(before + done)


def _progress(
    on_batch: Callable[[int], None] | None, before: int, after: int, n_windows: int
) -> Callable[[int], None] | None:
    """Turns a number of windows done into one of texts: batches mix texts, so the count is in proportion."""
    if on_batch is None:
        return None
    return lambda done: on_batch(before + (after - before) * done // n_windows)

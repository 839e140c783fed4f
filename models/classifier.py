"""`HarmClassifier`: calibrated harm scores of posts from a classifier on disk.

What cannot be judged is not guessed: posts without text, in a language that is not served, or mostly in
another script come back unscored. torch is imported by `load`, not by this module.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.artifact import TOKENIZER, Artifact, read_artifact
from models.calibration import calibrated
from models.device import place, quiet_memory
from models.normalise import is_mostly_latin, normalised
from models.scores import Content, HarmScores

if TYPE_CHECKING:
    from models.forward import LogitModel

BUNDLED = "harm-minilm-en-1"


class HarmClassifier:
    """A loaded classifier; its `score` is a `Scorer`."""

    def __init__(self, artifact: Artifact, tokenizer: Tokenizer, model: "LogitModel") -> None:
        """For `load`; takes the parts of a classifier."""
        tokenizer.no_padding()
        tokenizer.enable_truncation(artifact.max_tokens)
        self.artifact = artifact
        self.name = f"{artifact.name}@{artifact.digest[:12]}"
        self._tokenizer = tokenizer
        self._model = model

    @classmethod
    def load(cls, source: str | Path = "bundled", device: str = "auto") -> "HarmClassifier":
        """The classifier that comes with the package ("bundled"), or the one in a directory.

        Raises:
            FileNotFoundError: there is no classifier at the path.
            ValueError: a file was altered, the schema is unknown, or the device is not there.
        """
        directory = Path(__file__).parent / "pretrained" / BUNDLED if source == "bundled" else Path(source)
        artifact = read_artifact(directory)
        quiet_memory()  # before the first import of torch
        from models.forward import LogitModel  # noqa: PLC0415 - see above

        tokenizer = Tokenizer.from_file(str(directory / TOKENIZER))
        return cls(artifact, tokenizer, LogitModel(directory, artifact, place(device)))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels served, in the order of the columns."""
        return self.artifact.labels

    def score(
        self, content: Content, *, batch_size: int = 64, on_batch: Callable[[int], None] | None = None
    ) -> HarmScores:
        """Calibrated probability and confidence of every post that can be judged; NaN for the others.

        Texts are cut at the artifact's `max_tokens` tokens (128). Equal texts are computed once. A text's
        probability depends on its batch by at most 0.03 in bfloat16 and 1e-4 in float32. `on_batch` gets
        the number of distinct texts done so far.
        """
        unique: dict[str, int] = {}
        position = np.full(content.n, -1, dtype=np.intp)  # (n,): row among the distinct texts, or -1
        for i, (text, language) in enumerate(zip(content.text, content.language, strict=True)):
            clean = normalised(text or "")
            if self._serves(clean, language):
                position[i] = unique.setdefault(clean, len(unique))
        scores = HarmScores.unscored(content.n, self.labels, self.name)
        if not unique:
            return scores
        distinct = calibrated(self._logits(list(unique), batch_size, on_batch), self.artifact.calibration)
        judged = position >= 0
        probability, confidence = scores.probability.copy(), scores.confidence.copy()
        probability[judged], confidence[judged] = (part[position[judged]] for part in distinct)
        return HarmScores(self.labels, probability, confidence, self.name)

    def logits(self, texts: list[str], *, batch_size: int = 64) -> NDArray[np.float64]:
        """Uncalibrated logits (n, L) of normalised texts, for calibration and evaluation."""
        return self._logits([normalised(text) for text in texts], batch_size, None)

    def _serves(self, text: str, language: str | None) -> bool:
        if language is not None:
            spoken = language.lower().replace("_", "-").split("-")[0]
            if spoken not in self.artifact.languages:
                return False
        return is_mostly_latin(text)

    def _logits(
        self, texts: list[str], batch_size: int, on_batch: Callable[[int], None] | None
    ) -> NDArray[np.float64]:
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]), reverse=True)  # the largest batch first
        found = np.empty((len(ids), len(self.labels)))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            found[rows] = self._model.logits([ids[i] for i in rows])
            if on_batch is not None:
                on_batch(start + len(rows))
        return found

"""The composition root: turns names and paths into scorers. The only module that reaches torch."""

from collections.abc import Callable, Sequence
from pathlib import Path

from models.classifier import HarmClassifier
from models.domains import DomainRatings
from models.scores import Content, HarmScores, Scorer
from models.taxonomy import with_derived


class LoadError(ValueError):
    """A model or ratings file that cannot be used."""


def load_scorer(
    model: str | None = "bundled",
    domains: str | Path | None = None,
    *,
    device: str = "auto",
    on_batch: Callable[[int], None] | None = None,
) -> Scorer | None:
    """A scorer of texts and links; None where neither a model nor ratings are named.

    Args:
        model: "bundled", the path of an artifact, or None for no classifier.
        domains: a file of domain ratings for the label low_quality_news.
        device: "auto", "cpu" or "cuda".
        on_batch: called with the number of distinct texts read so far.

    Raises:
        LoadError: if an artifact or a ratings file is missing, altered or malformed.
    """
    try:
        scorers: list[Scorer] = []
        if model is not None:
            classifier = HarmClassifier.load(model, device)
            scorers.append(lambda content: classifier.score(content, on_batch=on_batch))
        if domains is not None:
            scorers.append(DomainRatings.read(domains).score)
    except UnicodeDecodeError as error:
        raise LoadError(f"{domains}: expected text in UTF-8, got {error}") from None
    except (ValueError, OSError) as error:
        raise LoadError(str(error)) from None
    return _joined(scorers) if scorers else None


def _joined(scorers: Sequence[Scorer]) -> Scorer:
    """All labels of several scorers, and those derived from pairs of them."""

    def score(content: Content) -> HarmScores:
        scores = scorers[0](content)
        for scorer in scorers[1:]:
            scores = scores.join(scorer(content))
        return with_derived(scores)

    return score

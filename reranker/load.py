"""The composition root: turns names and paths into scorers. The only module that reaches torch."""

from collections.abc import Callable, Mapping
from pathlib import Path

from models.compose import Part, compose, load_parts
from models.domains import LABEL, DomainRatings
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
    prevalence: Mapping[str, float] | None = None,
) -> Scorer | None:
    """A scorer of texts and links; None where neither a model nor ratings are named.

    Args:
        model: "bundled", "bundled-fast", the path of a classifier or the label map of a checkpoint, several
            joined by "+", each with the labels to take after a colon (`models.compose`); None for no model.
        domains: a file of domain ratings for the label low_quality_news.
        device: "auto", "cpu" or "cuda".
        on_batch: called with the number of distinct texts read so far.
        prevalence: how common labels are in the feed, where that differs from what a model assumes.

    Raises:
        LoadError: if an artifact or a ratings file is missing, altered or malformed.
    """
    try:
        parts = [] if model is None else load_parts(model, device, on_batch, prevalence=prevalence)
        if domains is not None:
            parts.append(Part(_ratings(domains).score, (LABEL,)))
        return _with_derived(compose(parts)) if parts else None
    except (ValueError, OSError) as error:
        raise LoadError(str(error)) from None


def _ratings(path: str | Path) -> DomainRatings:
    try:
        return DomainRatings.read(path)
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: expected text in UTF-8, got {error}") from None


def _with_derived(scorer: Scorer) -> Scorer:
    def score(content: Content) -> HarmScores:
        return with_derived(scorer(content))

    return score

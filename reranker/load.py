"""The composition root: turns names and paths into scorers.

Beside `reranker.torch_ranking`, which no other module imports, the only one that reaches torch.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from models.classifier import HarmClassifier
from models.compose import Part, compose, load_parts
from models.domains import LABEL, DomainRatings
from models.links import LABEL as LINKED
from models.links import LinkEvidence, with_links
from models.scores import Content, HarmScores, Scorer
from models.taxonomy import with_derived

__all__ = ["HarmClassifier", "LoadError", "load_scorer", "register_transformers"]


class LoadError(ValueError):
    """A model or ratings file that cannot be used."""


def load_scorer(
    model: str | None = "bundled",
    domains: str | Path | None = None,
    *,
    device: str = "auto",
    on_batch: Callable[[int], None] | None = None,
    prevalence: Mapping[str, float] | None = None,
    sample: Sequence[str | None] | None = None,
) -> Scorer | None:
    """A scorer of texts and links; None where neither a model nor ratings are named.

    Args:
        model: "bundled", "bundled-fast", the path of a classifier or the label map of a checkpoint, several
            joined by "+", each with the labels to take after a colon (`models.compose`); None for no model.
        domains: a file of domain ratings for the label low_quality_news; where a post's link is rated, the
            estimate of misinformation rests on the rating more than on the text (`models.links`).
        device: "auto", "cpu" or "cuda".
        on_batch: called with the number of distinct texts read so far.
        prevalence: how common labels are in the feed, where that differs from what a model assumes.
        sample: texts of posts drawn from the feed at random, for the probabilities to agree with `prevalence`
            on (`HarmClassifier.at_prevalence`).

    Raises:
        LoadError: if an artifact or a ratings file is missing, altered or malformed.
    """
    try:
        parts = (
            [] if model is None else load_parts(model, device, on_batch, prevalence=prevalence, sample=sample)
        )
        if domains is None:
            return _with_derived(compose(parts)) if parts else None
        ratings = _ratings(domains)
        rated = compose([*parts, Part(ratings.score, (LABEL,))])
        return _with_derived(_linked(rated, parts, ratings))
    except (ValueError, OSError) as error:
        raise LoadError(str(error)) from None


def _ratings(path: str | Path) -> DomainRatings:
    try:
        return DomainRatings.read(path)
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: expected text in UTF-8, got {error}") from None


def register_transformers() -> None:
    """Lets transformers read, in this process, what `reranker models export` writes."""
    from models.encoder import register

    register()


def _linked(scorer: Scorer, parts: Sequence[Part], ratings: DomainRatings) -> Scorer:
    """The scorer with the evidence of links, where a calibrated model estimates misinformation."""
    shares = [
        part.prevalence[LINKED] for part in parts if LINKED in part.labels and LINKED in part.prevalence
    ]
    if not shares:
        return scorer
    evidence = LinkEvidence(shares[0])
    return lambda content: with_links(scorer(content), content, ratings, evidence)


def _with_derived(scorer: Scorer) -> Scorer:
    def score(content: Content) -> HarmScores:
        return with_derived(scorer(content))

    return score

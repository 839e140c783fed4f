"""What is measured on each candidate: exposure (less is better), activity, and context.

An outcome is a column of the feed's length, NaN where it is not known. Angry reactions are never part of
the positive activity: removing their weight removes a signal and an activity at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from eval.lexicon import Lexicon
from models.taxonomy import LABELS
from reranker.columns import FloatArray, closest, frozen
from reranker.counting import count_interactions
from reranker.feed import Feed
from reranker.policy import build_policy
from reranker.signals import MEDIA_TYPES, REACTIONS, RELATIONS
from reranker.value import Harms

OutcomeKind = Literal["exposure", "activity", "context"]
Unit = Literal["probability", "share", "count"]

LOW_QUALITY_BELOW = 0.45
NEGATIVE_REACTIONS = ("angry",)
CLOSE_TIES = ("close_friend", "friend")
COMMENTS = ("comment", "significant_comment", "reply", "significant_reply", "reply_by_author")
RESHARES = ("reshare", "reshare_with_text", "significant_reshare")
CLICKS = ("click", "link_open", "photo_open", "video_open")


@dataclass(frozen=True, eq=False)
class Outcome:
    """One thing that is measured.

    Attributes:
        name: snake case, one per comparison.
        kind: exposure, activity or context.
        values: (n,) aligned with the feed's candidates, NaN where null.
        meaning: one plain sentence without a full stop.
        unit: a probability or share lies in [0, 1].
        model: the classifier that estimated it, or None where it was observed.

    Raises:
        ValueError: a value is infinite, or outside [0, 1] for a probability or share.
    """

    name: str
    kind: OutcomeKind
    values: FloatArray
    meaning: str
    unit: Unit
    model: str | None = None

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        known = values[~np.isnan(values)]
        top = np.inf if self.unit == "count" else 1.0
        if known.size and not (np.isfinite(known).all() and known.min() >= 0 and known.max() <= top):
            expected = "finite numbers of at least 0" if self.unit == "count" else "numbers in [0, 1]"
            raise ValueError(f"{self.name}: expected {expected}, got {known.min()} to {known.max()}")
        object.__setattr__(self, "values", frozen(values))

    @property
    def bounded(self) -> bool:
        """Whether the values lie in [0, 1], so that what was not scored can be bounded."""
        return self.unit != "count"


def standard_outcomes(
    feed: Feed,
    harms: Harms | None = None,
    *,
    attributes: Sequence[str] = (),
    divisive: Lexicon | None = None,
    moral_emotional: Lexicon | None = None,
) -> tuple[Outcome, ...]:
    """Every outcome that this feed can be measured on, exposure first.

    Args:
        feed: the candidates.
        harms: calibrated estimates; each label is one outcome.
        attributes: names of `feed.attributes` that hold known harm in [0, 1], such as "is_toxic".
        divisive: terms that make a text divisive.
        moral_emotional: words to count.

    Raises:
        ValueError: an attribute that the feed does not have, or with a value outside [0, 1].
    """
    exposure = [*label_outcomes(harms), *attribute_outcomes(feed, attributes), angry_share(feed)]
    if "domain_quality" in feed.attributes:
        exposure.append(low_quality(feed))
    if divisive is not None:
        exposure.append(divisive_text(feed, divisive))
    if moral_emotional is not None:
        exposure.append(moral_emotional_words(feed, moral_emotional))
    made = (*exposure, *activity_outcomes(feed), *context_outcomes(feed))
    return tuple(outcome for outcome in made if not np.isnan(outcome.values).all())


def label_outcomes(harms: Harms | None) -> tuple[Outcome, ...]:
    """The calibrated probability of each label that the classifier scored.

    Labels of bridging, humor and topic are context: to see more of them is no harm.
    """
    if harms is None:
        return ()
    harmful = {entry.name for entry in LABELS if entry.family not in ("bridging", "humor", "topic")}
    return tuple(
        Outcome(
            name=label,
            kind="exposure" if label in harmful else "context",
            values=harms.posts.column(label)[0].astype(np.float64),
            meaning=f"estimated probability that a shown post has the label {label}",
            unit="probability",
            model=harms.posts.model,
        )
        for label in harms.posts.labels
    )


def attribute_outcomes(feed: Feed, names: Sequence[str]) -> tuple[Outcome, ...]:
    """Harm that the caller knows, from `attr_` columns.

    Raises:
        ValueError: the feed has no such column, or its values lie outside [0, 1].
    """
    for name in names:
        if name not in feed.attributes:
            known = ", ".join(feed.attributes) or "none"
            hint = closest(name, tuple(feed.attributes))
            raise ValueError(f"attributes: expected one of {known}, got {name!r}{hint}")
    return tuple(
        Outcome(
            name, "exposure", feed.attributes[name], f"{name} as the feed's own column states it", "share"
        )
        for name in names
    )


def angry_share(feed: Feed) -> Outcome:
    """Angry reactions among all reactions of each post; null where a post has none."""
    counts = _counts(feed)
    reactions = _sum(counts, REACTIONS, feed.n)
    angry = counts.get("angry", np.full(feed.n, np.nan))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(reactions > 0, np.minimum(angry / reactions, 1.0), np.nan)
    return Outcome(
        "angry_share", "exposure", share, "share of a shown post's reactions that is angry", "share"
    )


def low_quality(feed: Feed, below: float = LOW_QUALITY_BELOW) -> Outcome:
    """1 where the news domain is rated below a line, 0 where rated above, null where it is not rated."""
    quality = feed.attributes["domain_quality"]
    low = np.where(np.isnan(quality), np.nan, (quality < below).astype(np.float64))
    meaning = f"share of shown posts from rated sources whose quality is below {below:g}"
    return Outcome("low_quality", "exposure", low, meaning, "share")


def divisive_text(feed: Feed, lexicon: Lexicon) -> Outcome:
    """1 where the text holds a term of the lexicon, null where there is no text."""
    found = np.minimum(lexicon.count(feed.text), 1.0)
    meaning = f"share of shown texts with a term of {', '.join(lexicon.dictionaries)}"
    return Outcome("divisive", "exposure", found, meaning, "share")


def moral_emotional_words(feed: Feed, lexicon: Lexicon) -> Outcome:
    """How many words of the lexicon each text holds, null where there is no text."""
    meaning = f"words of {', '.join(lexicon.dictionaries)} in a shown text"
    return Outcome("moral_emotional", "exposure", lexicon.count(feed.text), meaning, "count")


def activity_outcomes(feed: Feed) -> tuple[Outcome, ...]:
    """Counts of activity on what is shown, where measured: an index of it first, without and with anger.

    Observed activity belongs to the post, not to this viewer: what shown posts had gathered, not what
    these viewers would do.
    """
    counts, n = _counts(feed), feed.n
    positive = tuple(name for name in REACTIONS if name not in NEGATIVE_REACTIONS)
    acts = (*COMMENTS, *RESHARES, *CLICKS)
    made = (
        ("positive_activity", (*positive, *acts), "reactions but angry ones, comments, reshares and clicks"),
        ("all_activity", (*REACTIONS, *acts), "reactions with angry ones, comments, reshares and clicks"),
        ("reactions", REACTIONS, "all reactions, angry ones included"),
        ("comments", COMMENTS, "comments and replies"),
        ("reshares", RESHARES, "reshares"),
        ("clicks", CLICKS, "clicks, and links, photos and videos opened"),
    )
    outcomes = (
        Outcome(name, "activity", _sum(counts, names, n), f"{meaning} per shown post", "count")
        for name, names, meaning in made
    )
    return tuple(outcome for outcome in outcomes if not np.isnan(outcome.values).all())


def context_outcomes(feed: Feed) -> tuple[Outcome, ...]:
    """Who and what the shown posts are: the share from close ties, and of each kind of media there is."""
    ties = [RELATIONS.index(name) for name in CLOSE_TIES]
    columns = [("close_ties", feed.relation, np.isin(feed.relation, ties), "from friends")]
    columns += [
        (f"media_{name}", feed.media, feed.media == code, f"of type {name}")
        for code, name in enumerate(MEDIA_TYPES)
    ]
    return tuple(
        Outcome(
            name=name,
            kind="context",
            values=np.where(codes < 0, np.nan, held),
            meaning=f"share of shown posts that are {what}",
            unit="share",
        )
        for name, codes, held, what in columns
        if held.any()
    )


def _counts(feed: Feed) -> dict[str, FloatArray]:
    """(n,) per signal, totals and single acts together, NaN where null; every act counts."""
    counts = {name: feed.signals.get(name) for name in feed.signals.names}
    acts = count_interactions(feed, build_policy({"schema": 1, "name": "every act"}, "eval"))
    if acts is not None:
        totals = acts.totals()
        counts |= {name: totals.get(name) for name in totals.names}
    return counts


def _sum(counts: dict[str, FloatArray], names: Sequence[str], n: int) -> FloatArray:
    """(n,) the sum over those signals that were measured, NaN where none was."""
    measured = [counts[name] for name in names if name in counts]
    if not measured:
        return np.full(n, np.nan)
    table = np.array(measured)
    return np.where(np.isnan(table).all(axis=0), np.nan, np.nansum(table, axis=0))

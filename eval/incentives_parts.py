"""Each diagnostic of incentives from a feed: what of it the estimator needs, or why the feed cannot say."""

from dataclasses import dataclass

import numpy as np

from eval.borderline import BorderlineCurve, borderline_curve, relative_to_habit
from eval.clustered import Estimate
from eval.exposure import browsing, position_weights
from eval.gaming import GamingAlarms, gaming_alarms
from eval.group_ratio import group_ratio
from eval.incentives_materials import Materials, closeness
from eval.incentives_posts import Posts, anger_by_relation, angry_acts, comment_acts, reaction_acts
from eval.incentives_texts import log_length, negative_comment_share
from eval.lift import Lift, reaction_lifts
from eval.moral_words import MoralWords, moral_word_ratios
from eval.negative_comments import NegativeCommentSlopes, negative_comment_slopes
from eval.outcomes import CLICKS, COMMENTS, RESHARES, label_outcomes, low_quality
from eval.rank_correlation import rank_correlation
from eval.relation_anger import RelationAnger, anger_received
from eval.upworthy import WithinTests, count_words, effect_within_tests
from reranker.columns import FloatArray
from reranker.demotion import lowered
from reranker.signals import REACTIONS

MIN_REACTIONS = 10.0
SEEN = "rbp:0.8"  # how far down people read, for what a policy lets be seen


class SkippedError(Exception):
    """Something that the user may give was not given."""


@dataclass(frozen=True, eq=False)
class Correlation:
    """How one thing goes with another over posts, by rank."""

    name: str
    rho: Estimate


def borderline_of(materials: Materials, posts: Posts) -> dict[str, BorderlineCurve]:
    """Engagement, score and views by closeness to the line, before and after demotion."""
    ranking, feed = materials.ranking, materials.ranking.feed
    near = posts.take(closeness(materials))
    observed = posts.total((*REACTIONS, *COMMENTS, *RESHARES, *CLICKS))
    before = posts.take(np.maximum(ranking.bounded, 0.0))
    after = posts.take(np.maximum(lowered(ranking.bounded, ranking.multiplier), 0.0))
    seen = position_weights(browsing(SEEN), ranking.position, feed.request_of_row, feed.offsets)
    found = {}
    pairs = (
        ("engagement", observed, None),
        ("score before demotion", before, None),
        ("score after demotion", after, before),
        ("chance to be seen after demotion", posts.take(seen), None),
    )
    for name, values, habit in pairs:
        if name == "engagement" and np.isnan(values).all():
            continue
        relative = relative_to_habit(values, posts.unit, habit_of=habit)
        if np.isnan(relative).all():
            raise ValueError(
                f"{name}: expected {posts.unit_name} with five posts and a mean above 0, got none"
            )
        found[name] = borderline_curve(near, relative, posts.unit, seed=materials.seed)
    return found


def moral_of(materials: Materials, posts: Posts) -> dict[str, MoralWords]:
    """Rate ratios per moral-emotional word, by what is counted."""
    if materials.moral is None:
        raise SkippedError("no word list: pass --lexicon, a CSV with the columns dictionary and term")
    text = posts.feed.text.take(posts.row)
    words, length = materials.moral.count(text), log_length(text)
    found = {}
    for name, signals in (("reshares", RESHARES), ("reactions", REACTIONS), ("angry reactions", ("angry",))):
        counts = posts.total(signals)
        if (counts > 0).any():
            found[name] = moral_word_ratios(counts, words, posts.unit, held={"log of the length": length})
    if not found:
        raise ValueError("signals: expected reshares or reactions above 0, got none")
    return found


def reach_of(posts: Posts) -> tuple[str, FloatArray]:
    """What stands for reach: clicks where measured, else reshares."""
    for name, signals in (("clicks", CLICKS), ("reshares", RESHARES)):
        counts = posts.total(signals)
        if (counts > 0).any():
            return name, counts
    raise ValueError("signals: expected clicks or reshares above 0, got none")


def negative_of(materials: Materials, posts: Posts) -> NegativeCommentSlopes:
    """Slopes of clicks, or of what stands for them, on the share of negative comments."""
    if materials.comment_share is not None:
        share = posts.feed.attributes[materials.comment_share][posts.row]
    elif materials.negative is not None and posts.feed.interactions is not None:
        share = negative_comment_share(posts, materials.negative)
    else:
        harms = materials.ranking.harms
        if harms is None or np.isnan(harms.comment_toxicity).all():
            raise SkippedError(
                "no tone of comments: pass --interactions with their texts and a model or --negative-words, "
                "or --comment-share with an attr_ column"
            )
        share = posts.take(harms.comment_toxicity)
    return negative_comment_slopes(reach_of(posts)[1], share, posts.publisher)


def headlines_of(materials: Materials, _posts: Posts) -> WithinTests:
    """Headlines with a negative word against the others of their tests."""
    if materials.headlines is None or materials.negative is None:
        raise SkippedError("no headline tests: pass --headline-tests with --negative-words")
    return effect_within_tests(materials.headlines, count_words(materials.headlines, materials.negative))


def lifts_of(materials: Materials, posts: Posts) -> tuple[Lift, ...]:
    """Each reaction against each harm, estimated or known."""
    estimated = [one for one in label_outcomes(materials.ranking.harms) if one.kind == "exposure"]
    harms = {one.name: posts.take(one.values) for one in estimated}
    if "domain_quality" in posts.feed.attributes:
        harms["low_quality"] = low_quality(posts.feed).values[posts.row]
    harms |= {name: posts.feed.attributes[name][posts.row] for name in materials.truth}
    if not harms:
        raise ValueError(
            "no estimate of harm: pass --scores or a --model, or --truth with an attr_ column of known harm"
        )
    reactions = {name: posts.counts[name] for name in REACTIONS if name in posts.counts}
    if len(reactions) < 2:
        raise ValueError(f"reactions: expected at least two kinds, got {', '.join(reactions) or 'none'}")
    expected = posts.feed.signals.kind == "probabilities"
    found = reaction_lifts(reactions, harms, posts.unit, min_reactions=0.0 if expected else MIN_REACTIONS)
    if all(one.lift is None for one in found):
        raise ValueError(found[0].refused)
    return found


def _angry_share(posts: Posts) -> tuple[FloatArray, FloatArray]:
    """(p,) angry and all reactions; NaN where a post has too few or they were not measured."""
    if "angry" not in posts.counts:
        raise ValueError("angry: expected to be measured, got none")
    reactions = posts.total(REACTIONS)
    enough = reactions >= MIN_REACTIONS
    angry = posts.counts["angry"]
    if not (np.nan_to_num(angry)[enough] > 0).any():
        raise ValueError(f"angry: expected some on posts with {MIN_REACTIONS:g} reactions, got none")
    return np.where(enough, angry, np.nan), np.where(enough, reactions, np.nan)


def group_ratio_of(materials: Materials, posts: Posts) -> Estimate:
    """The angry share of the first group of publishers over that of the second, month by month."""
    if not materials.groups:
        raise SkippedError("no groups: pass --groups, a CSV with the columns publisher and group, two groups")
    angry, reactions = _angry_share(posts)
    names = posts.publisher
    first = next(iter(materials.groups.values()))
    group = [materials.groups.get(name or "", "") for name in names]
    known = np.array([bool(one) for one in group]) & ~(np.isnan(angry) | np.isnan(reactions))
    created = posts.feed.created_at[posts.row]
    month = np.where(np.isnat(created), -1, created.astype("datetime64[M]").astype(np.int64))
    return group_ratio(
        angry[known],
        reactions[known],
        np.array([one == first for one in group])[known],
        month[known],
        names.codes[known].astype(np.int64),
    )


def correlations_of(_materials: Materials, posts: Posts) -> tuple[Correlation, ...]:
    """What the angry share of a post goes with, by rank."""
    angry, reactions = _angry_share(posts)
    share = angry / reactions
    others = {"comments per reaction": posts.total(COMMENTS) / reactions}
    if "domain_quality" in posts.feed.attributes:
        others["quality of the source"] = posts.feed.attributes["domain_quality"][posts.row]
    found = []
    for name, values in others.items():
        known = ~(np.isnan(share) | np.isnan(values))
        if known.sum() > 1 and np.ptp(values[known]) > 0:
            found.append(Correlation(name, rank_correlation(share[known], values[known], posts.unit[known])))
    if not found:
        raise ValueError("comments: expected to be measured, or attr_domain_quality, got neither")
    return tuple(found)


def received_of(_materials: Materials, posts: Posts) -> tuple[RelationAnger, ...]:
    """Angry reactions per post, by the sender's relation to the author."""
    table = anger_by_relation(posts)
    if table is None:
        raise ValueError(
            "a total of angry reactions does not say who sent them, and the feed's relation is that of the "
            "author to the viewer: pass --interactions with single reactions and their relation"
        )
    return anger_received(table[0], table[1], posts.unit)


def gaming_of(_materials: Materials, posts: Posts) -> GamingAlarms:
    """Alarms from single acts, and from the totals that the feed has."""
    found = gaming_alarms(
        posts.unit,
        comments=comment_acts(posts),
        reactions=reaction_acts(posts),
        angry=angry_acts(posts),
    )
    if not found.n_tested:
        raise ValueError("; ".join(f"{kind}: {why}" for kind, why in found.refused.items()))
    return found

"""The compiled scoring of many policies gives what `Reranker(policy).rank` gives, policy by policy."""

import numpy as np
import pytest

from eval.exposure import browsing, measure_exposure, position_weights
from eval.frontier_policies import replay_of
from eval.outcomes import standard_outcomes
from models.scores import HarmScores
from reranker.anger import AngerBaseline
from reranker.assembly import feed_from_columns
from reranker.feed import Feed
from reranker.pipeline import Reranker, harms_of_scores
from reranker.presets import load_policy
from reranker.sample import make_sample
from reranker.value import Harms
from tests.frontier_world import space_of

LABELS = (
    "toxicity",
    "severe_toxicity",
    "misinformation",
    "low_quality_news",
    "graphic_violence",
    "clickbait",
)
RANGES = {
    "weights.like": (0, 2),
    "weights.love": (0, 6),
    "weights.angry": (-2, 5),
    "weights.comment": (0, 30),
    "weights.significant_comment": (0, 30),
    "weights.reshare": (0, 9),
    "weights.click": (0, 1),
    "weights.hide": (-9, 0),
    "relationship.stranger": (0, 1),
    "value.bad_weight": (0, 1),
    "value.angry_share": (0, 1),
    "value.comment_toxicity": (0, 1),
    "value.endorsed.like": (0.5, 1),
    "value.sensitivity.comment": (0, 1),
    "value.harms.toxicity": (0, 1),
    "guard.max_signal_share": (0.5, 1),
    "unscored.multiplier": (0.2, 1),
    "slate.author_decay": (0.3, 1),
    "slate.author_floor": (0, 0.5),
    "demotion.toxicity.start": (0.05, 0.4),
    "demotion.toxicity.line": (0.4, 0.9),
    "demotion.misinformation.start": (0.05, 0.4),
}


def made_harms(feed: Feed, seed: int = 0) -> Harms:
    """Probabilities and confidences by chance; one post in ten has no score of a label."""
    rng = np.random.default_rng(seed)
    probability = rng.beta(0.4, 1.5, (feed.n, len(LABELS))).astype(np.float32)
    confidence = rng.uniform(0.7, 1.0, probability.shape).astype(np.float32)
    lost = rng.random(probability.shape) < 0.1
    probability[lost], confidence[lost] = np.nan, np.nan
    scores = HarmScores(LABELS, probability, confidence, "by-chance@1")
    n_acts = 0 if feed.interactions is None else len(feed.interactions)
    tone = rng.beta(0.4, 2.0, (n_acts, 1)).astype(np.float32)
    comments = HarmScores(("toxicity",), tone, np.ones_like(tone), "by-chance@1") if n_acts else None
    return harms_of_scores(feed, scores, comments)


def drawn(space, n, seed=1):
    """Policies by chance, some at the ends of their ranges."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        share = np.clip(rng.uniform(-0.2, 1.2, len(space.dimensions)), 0.0, 1.0)
        values = {d.key: d.low + x * (d.high - d.low) for d, x in zip(space.dimensions, share, strict=True)}
        made.append(space.policy(values))
    return made


def expected(feed, harms, policy, outcomes, model):
    """(r, M) by a full ranking and the exposure of the harness."""
    ranking = Reranker(policy, baseline=AngerBaseline.fit(feed)).rank(feed, harms)
    weights = position_weights(model, ranking.position, feed.request_of_row, feed.offsets)
    return np.column_stack([measure_exposure(ranking, weights, o.values).mean for o in outcomes])


def assert_as_reranker(feed, harms, spec, ranges, *, settings=(), shown="10%", n=6):
    base = load_policy(spec, settings)
    outcomes = standard_outcomes(feed, harms)
    model = browsing(shown)
    ranking = Reranker(base, baseline=AngerBaseline.fit(feed)).rank(feed, harms)
    replay = replay_of(ranking, outcomes, model)
    policies = [base, *drawn(space_of(ranges, base), n)]
    found = replay.measure(policies, np.arange(feed.n_requests))
    for policy, measured in zip(policies, found, strict=True):
        np.testing.assert_allclose(
            measured, expected(feed, harms, policy, outcomes, model), rtol=0, atol=1e-9
        )


def table_feed(n_requests=60, seed=3):
    """Feeds of 1 to 40 candidates without single acts, with ties, nulls, countries, authors of many posts."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 41, n_requests)
    request = np.repeat(np.arange(n_requests), lengths)
    n = len(request)
    counts = {
        name: [
            None if lost else float(x)
            for lost, x in zip(rng.random(n) < 0.1, rng.poisson(mean, n), strict=True)
        ]
        for name, mean in {"like": 3, "love": 1, "angry": 1, "haha": 1, "comment": 2, "click": 4}.items()
    }
    columns = {
        "request_id": [f"r{i}" for i in request],
        "post_id": [f"p{i}" for i in range(n)],
        "user": [f"u{i}" for i in request],
        "country": [("MM", "US", None)[i % 3] for i in request],
        "author": [None if a == 9 else f"a{a}" for a in rng.integers(0, 10, n) % rng.integers(1, 11, n)],
        "relation": [("stranger", "friend", "group_member", None)[i] for i in rng.integers(0, 4, n)],
        "media": [("text", "live_video", None)[i] for i in rng.integers(0, 3, n)],
        "author_violations": rng.integers(0, 4, n).astype(float),
        "computing_load": rng.random(n),
        "original_position": np.concatenate([rng.permutation(k) for k in lengths]),
    }
    return feed_from_columns(columns | counts | {"report": rng.poisson(0.2, n).astype(float)})


TABLE_RANGES = {k: v for k, v in RANGES.items() if k != "value.comment_toxicity"}


def test_every_setting_of_a_space_gives_what_a_full_ranking_gives_on_a_sample_with_single_acts():
    feed = make_sample()
    ranges = {k: v for k, v in RANGES.items() if not k.startswith("relationship")}
    assert_as_reranker(feed, made_harms(feed), "harm-aware", ranges, n=4)


@pytest.mark.parametrize("shown", ["1", "10%", "rbp:0.8", "log2"])
def test_it_does_under_every_browsing_model_on_ragged_feeds_with_ties_and_nulls(shown):
    feed = table_feed()
    assert_as_reranker(feed, made_harms(feed), "harm-aware", TABLE_RANGES, shown=shown, n=20)


@pytest.mark.parametrize(
    "settings",
    [
        ["demotion.toxicity.removal=0.95"],
        ["slate.author_cap=2"],
        ["media.boost.live_video=6", "levers.computing_load_cost=0.5", "labels.clickbait=-3"],
        ["override.country.US.love=9", "override.country.US.report=-1"],
        ["score.bounded=false", "value.bad_weight=1"],
    ],
)
def test_rules_that_no_space_changes_are_kept(settings):
    feed = table_feed()
    ranges = {k: v for k, v in TABLE_RANGES.items() if not k.endswith("toxicity.line")}
    ranges["demotion.toxicity.start"] = (0.05, 0.3)
    assert_as_reranker(feed, made_harms(feed), "harm-aware", ranges, settings=settings, shown="3", n=10)


def test_an_unbounded_base_without_estimates_is_scored_to_the_last_tie():
    feed = table_feed(200)
    ranges = {"weights.love": (1, 2), "weights.angry": (0, 1), "relationship.stranger": (0.5, 1)}
    assert_as_reranker(feed, None, "fb-2018-h1", ranges, shown="2", n=10)


def test_long_feeds_of_one_author_are_sorted_in_full():
    rng = np.random.default_rng(0)
    n = 3_000
    feed = feed_from_columns(
        {
            "request_id": ["r"] * n,
            "post_id": [f"p{i}" for i in range(n)],
            "author": ["one"] * n,
            "like": rng.integers(0, 50, n).astype(float),
            "comment": rng.integers(0, 5, n).astype(float),
        }
    )
    assert_as_reranker(feed, None, "harm-aware", {"weights.comment": (0, 9)}, shown="50%", n=3)


def test_a_feed_with_replies_that_move_with_their_parents_is_refused():
    columns = {"request_id": ["r", "r"], "post_id": ["a", "b"], "parent_id": [None, "a"], "like": [1.0, 2.0]}
    feed = feed_from_columns(columns)
    ranking = Reranker(load_policy("harm-aware")).rank(feed)
    with pytest.raises(ValueError, match=r"parent_id: expected no replies"):
        replay_of(ranking, standard_outcomes(feed), browsing("1"))

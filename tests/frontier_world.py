"""A made-up feed on which angry posts are harmful, so that what a search should find is known."""

import numpy as np

from eval.frontier import Frontier, Plan, find_frontier
from eval.frontier_choice import parse_limit
from eval.frontier_measures import make_measures
from eval.frontier_space import Space, make_space
from eval.outcomes import standard_outcomes
from reranker.assembly import feed_from_columns
from reranker.feed import Feed
from reranker.policy import Policy
from reranker.presets import load_policy

RANGES = {"weights.angry": (0, 5), "weights.love": (0, 5), "guard.max_signal_share": (0.5, 1)}


def angry_feed(n_users=150, n_posts=15, seed=0) -> Feed:
    """One request per user; the more angry reactions a post has, the more likely is its harm."""
    rng = np.random.default_rng(seed)
    n = n_users * n_posts
    angry = rng.poisson(2.0, n)
    return feed_from_columns(
        {
            "request_id": [f"r{i // n_posts}" for i in range(n)],
            "post_id": [f"p{i}" for i in range(n)],
            "user": [f"u{i // n_posts}" for i in range(n)],
            "topic": [("politics", "pets", None)[i] for i in rng.integers(0, 3, n)],
            "like": rng.poisson(20.0, n).astype(float),
            "love": rng.poisson(2.0, n).astype(float),
            "comment": rng.poisson(1.0, n).astype(float),
            "angry": angry.astype(float),
            "attr_harm": (rng.random(n) < angry / 10).astype(float),
            "attr_nothing": np.zeros(n),
        }
    )


def space_of(ranges, base: Policy) -> Space:
    """A space from dotted keys."""
    content: dict = {}
    for key, (low, high) in ranges.items():
        *tables, last = key.split(".")
        table = content
        for one in tables:
            table = table.setdefault(one, {})
        table[last] = {"low": low, "high": high}
    return make_space(base, content)


def found_on(feed: Feed, *limits, trials=40, harm=("harm",), ranges=None, settings=()) -> Frontier:
    """The frontier around the 2018 weights."""
    original, base = load_policy("fb-2018-h1"), load_policy("fb-2018-h1", settings)
    asked = [parse_limit(limit) for limit in limits or ("activity=0.05",)]
    outcomes = standard_outcomes(feed, attributes=("harm", "nothing"))
    measures = make_measures(feed, outcomes, harm=harm, limits=asked)
    plan = Plan(n_trials=trials, seed=0, shown="3", n_resamples=300)
    space = space_of(ranges or RANGES, base)
    return find_frontier(feed, None, original, space, measures, limits=asked, plan=plan)

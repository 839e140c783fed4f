"""One point of a frontier, found in seconds: what a demonstration says of it."""

from collections.abc import Sequence

from eval.frontier import Frontier, Plan, find_frontier
from eval.frontier_choice import parse_limit
from eval.frontier_measures import make_measures
from eval.frontier_space import read_space
from eval.outcomes import Outcome
from reranker.feed import Feed
from reranker.presets import load_policy
from reranker.value import Harms

POINT_TRIALS = 40
POINT_LIMIT = "activity=0.2"  # a few hundred feeds cannot show less


def frontier_point(
    feed: Feed,
    harms: Harms | None,
    outcomes: Sequence[Outcome],
    *,
    harm: Sequence[str],
    original: str = "fb-2018-h1",
    base: str = "harm-aware",
    limit: str = POINT_LIMIT,
) -> Frontier:
    """A small search on a small feed; `eval.frontier_words.finding` tells it in a sentence.

    Args:
        feed: the candidates.
        harms: estimates made before.
        outcomes: what was measured on them.
        harm: names of the exposures in the index.
        original: the policy that changes are from.
        base: the policy that the shipped space is around.
        limit: what may be lost.

    Raises:
        ValueError: as `find_frontier`, and where Optuna is not installed.
    """
    limits = [parse_limit(limit)]
    measures = make_measures(feed, outcomes, harm=harm, limits=limits)
    space = read_space(load_policy(base))
    plan = Plan(n_trials=POINT_TRIALS)
    return find_frontier(feed, harms, load_policy(original), space, measures, limits=limits, plan=plan)

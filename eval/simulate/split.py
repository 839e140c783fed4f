"""An experiment inside one simulated world: some users under the new policy, the rest under the old.

They share posts, publishers and what the ranker learns, so each arm touches the other. The worlds in which
all or none are treated are run too: their difference is the truth that a launch would bring.
"""

from dataclasses import dataclass

import numpy as np

from eval.exposure_mapping import FeedShares
from eval.simulate.behaviour import FIRST_HARM, H
from eval.simulate.draws import root_key
from eval.simulate.formula import Formula
from eval.simulate.parameters import Parameters
from eval.simulate.run import CANDIDATES, State, World, make_world, step
from eval.simulate.world import draw_candidates, make_posts
from reranker.columns import BoolArray, FloatArray


@dataclass(frozen=True, eq=False)
class Launchpad:
    """A world after its burn-in, from which experiments and launches start.

    Attributes:
        world, state: as the last week left them.
        formulas: the policy in force, and the new one.
        before: (n, M) outcomes of each user in the last week, in the order of `behaviour.OUTCOMES`.
        shares: whose posts were candidates for whom in that week.
    """

    world: World
    state: State
    formulas: tuple[Formula, Formula]
    before: FloatArray
    shares: FeedShares


def launchpad(p: Parameters, formulas: tuple[Formula, Formula], *, n_users: int, seed: int) -> Launchpad:
    """A world under the policy in force.

    Raises:
        ValueError: the numbers do not fit each other, or there is no week of burn-in.
    """
    if p.burn_in_weeks < 1:
        raise ValueError(f"burn_in_weeks: expected at least 1, got {p.burn_in_weeks}")
    world, state = make_world(p, n_users, seed)
    for _ in range(p.burn_in_weeks - 1):
        state, _week = step(world, state, formulas[0])
    shares = _feed_shares(world, state)
    state, last = step(world, state, formulas[0])
    return Launchpad(world, state, formulas, last.tally.outcomes, shares)


def outcomes_of(pad: Launchpad, treated: BoolArray, weeks: int) -> FloatArray:
    """(n, M) outcomes of each user over some weeks in which the treated (n,) have the new policy."""
    state, total = pad.state, np.zeros_like(pad.before)
    for _ in range(weeks):
        state, week = step(pad.world, state, pad.formulas[0], (pad.formulas[1], treated))
        total += week.tally.outcomes
    return total


def harm_and_views(outcomes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) harms seen and views of each user."""
    return outcomes[:, FIRST_HARM : FIRST_HARM + H].sum(axis=1), outcomes[:, 0]


def _feed_shares(world: World, state: State) -> FeedShares:
    """Candidates of all sessions of a week: publishers first, then users, as authors."""
    p, users = world.p, world.users
    posts = make_posts(p, (world.publishers, users), (state.share, state.rate), state.week, world.seed)
    authors = []
    for wave in range(p.n_waves):
        rows, _ = draw_candidates(p, users, posts, root_key(world.seed, CANDIDATES, state.week, wave))
        of_user = p.n_publishers + (rows - posts.first_of_users) // p.posts_per_user
        authors.append(np.where(rows < posts.first_of_users, rows // p.posts_per_publisher, of_user))
    author = np.concatenate(authors, axis=1).astype(np.int64)
    viewer = np.repeat(np.arange(len(author)), author.shape[1])
    return FeedShares.of(viewer, author.ravel(), n_users=len(author))

"""Weeks of a simulated world under a policy, and pairs of worlds that differ in their policy only.

A week is some waves of sessions. Within it, what people do on a post changes what the ranker predicts for the
next wave; after it, people return or not, write or not, and publishers adapt. The arms of a pair share the
weeks before, the inventory's draws and every feeling of every viewer about every post.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from os import cpu_count

import numpy as np

from eval.simulate.behaviour import (
    ANGRY,
    COMMENT,
    FIRST_ACTION,
    FIRST_HARM,
    SIGNIFICANT,
    A,
    H,
    M,
    Pairs,
    Response,
    Scene,
    Tally,
    live,
    post_effect,
    post_rates,
    predict,
    remember,
    response_of,
    return_probability,
    true_effect,
)
from eval.simulate.draws import root_key
from eval.simulate.formula import Formula, rank
from eval.simulate.parameters import Parameters
from eval.simulate.publishers import next_shares
from eval.simulate.world import (
    Posts,
    Publishers,
    Users,
    draw_candidates,
    make_posts,
    make_publishers,
    make_users,
)
from reranker.columns import BoolArray, FloatArray
from reranker.ray_session import RaySession

_FEELING, CANDIDATES = 11, 12  # purposes of draws


@dataclass(frozen=True, eq=False)
class World:
    """What stays: the numbers, the seed, and who is there."""

    p: Parameters
    seed: int
    publishers: Publishers
    users: Users
    response: Response


@dataclass(frozen=True, eq=False)
class State:
    """What a week leaves to the next.

    Attributes:
        week: of the world, from 0.
        share: (P,) negative share of each publisher.
        memory: (n,) remembered satisfaction.
        coming: (n,) chance of coming to a session.
        rate: (n,) expected original posts.
    """

    week: int
    share: FloatArray
    memory: FloatArray
    coming: FloatArray
    rate: FloatArray


@dataclass(frozen=True, eq=False)
class Week:
    """A week that was: outcomes (waves, M) over all users, and the posts with what was done on them."""

    outcomes: FloatArray
    posts: Posts
    tally: Tally


@dataclass(frozen=True, eq=False)
class WorldRun:
    """What a world came to, week by week.

    Attributes:
        n_users: people simulated.
        outcomes: (weeks, waves, M) sums over users, in the order of `behaviour.OUTCOMES`.
        coming: (weeks,) mean chance of coming to a session.
        original_posts: (weeks,) sum over users of the posts expected next week.
        negative_posts: (weeks,) mean negative share of publishers.
        negative_views: (weeks,) share of the views of publishers' posts that were of negative ones.
        angry_received: (weeks,) angry reactions on posts of users.
    """

    n_users: int
    outcomes: FloatArray
    coming: FloatArray
    original_posts: FloatArray
    negative_posts: FloatArray
    negative_views: FloatArray
    angry_received: FloatArray


def make_world(p: Parameters, n_users: int, seed: int) -> tuple[World, State]:
    """A world and its state before the first week.

    Raises:
        ValueError: the numbers do not fit each other, or the seed is negative.
    """
    publishers = make_publishers(p, seed)
    users = make_users(p, publishers, n_users, seed)
    odds = np.log(p.negative_share / (1 - p.negative_share)) if 0 < p.negative_share < 1 else None
    share = np.full(p.n_publishers, p.negative_share)
    if odds is not None:
        share = 1.0 / (1.0 + np.exp(-(odds + publishers.leaning)))
    state = State(
        week=0,
        share=share,
        memory=np.full(n_users, p.satisfaction_base),
        coming=np.full(n_users, 1.0 / (1.0 + np.exp(-p.return_base))),
        rate=p.posts_base * np.exp(users.log_activity),
    )
    return World(p, seed, publishers, users, response_of(p, users)), state


def step(
    world: World, state: State, formula: Formula, other: tuple[Formula, BoolArray] | None = None
) -> tuple[State, Week]:
    """One week under a policy, or under two: `other` for the users (n,) that are True."""
    p, users = world.p, world.users
    people = (world.publishers, users)
    posts = make_posts(p, people, (state.share, state.rate), state.week, world.seed)
    n_posts = len(posts.line)
    feeling = root_key(world.seed, _FEELING, state.week)
    scene, truth = Scene(users, posts, world.response), true_effect(p, posts)
    empty = np.zeros(n_posts), np.zeros(n_posts)
    total = Tally(np.zeros((len(state.memory), M)), np.zeros((n_posts, A)), np.zeros((n_posts, A)), *empty)
    outcomes = np.empty((p.n_waves, M))
    for wave in range(p.n_waves):
        wave_key = root_key(world.seed, CANDIDATES, state.week, wave)
        rows, relation = draw_candidates(p, users, posts, wave_key)
        candidates = Pairs(rows, relation, feeling)
        effect = post_effect(p, posts, total.actions, total.expected)
        shown = _shown(p, scene, candidates, effect, formula)
        if other is not None:
            new, theirs = _shown(p, scene, candidates, effect, other[0]), other[1][:, None]
            shown = Pairs(
                np.where(theirs, new.rows, shown.rows),
                np.where(theirs, new.relation, shown.relation),
                feeling,
            )
        tally = live(scene, shown, truth, state.coming)
        outcomes[wave] = tally.outcomes.sum(axis=0)
        total = Tally(*(before + now for before, now in zip(total, tally, strict=True)))
    return _next_state(world, state, posts, total), Week(outcomes, posts, total)


def _shown(p: Parameters, scene: Scene, candidates: Pairs, effect: FloatArray, formula: Formula) -> Pairs:
    """What a policy shows, given what the ranker believes of the posts."""
    values = predict(scene, candidates, effect, formula.signals)
    return rank(formula, values, candidates, scene.posts, p.n_slots)


def _next_state(world: World, state: State, posts: Posts, tally: Tally) -> State:
    p, seen = world.p, np.maximum(tally.outcomes[:, 0], 1e-12)
    received = tally.actions[posts.first_of_users :].reshape(len(seen), p.posts_per_user, A).sum(axis=1)
    memory = remember(state.memory, tally.outcomes[:, 2] / seen, p.satisfaction_lag)
    harm_rate = tally.outcomes[:, FIRST_HARM : FIRST_HARM + H].sum(axis=1) / seen
    feedback = received[:, 0] + received[:, COMMENT] + received[:, SIGNIFICANT]
    return State(
        week=state.week + 1,
        share=next_shares(p, world.publishers, state.share, posts, tally.views),
        memory=memory,
        coming=return_probability(p, feedback, memory, harm_rate),
        rate=post_rates(p, world.users, received),
    )


def run_weeks(world: World, state: State, formula: Formula, weeks: int) -> tuple[State, WorldRun]:
    """Some weeks under one policy: the state after them, and what they came to.

    Raises:
        ValueError: fewer than one week.
    """
    if weeks < 1:
        raise ValueError(f"weeks: expected at least 1, got {weeks}")
    rows, outcomes = [], []
    for _ in range(weeks):
        coming, share = state.coming.mean(), state.share.mean()
        state, week = step(world, state, formula)
        first = week.posts.first_of_users
        of_pages = week.tally.views[:first]
        negative = of_pages[week.posts.negative[:first]].sum() / of_pages.sum()
        angry = week.tally.actions[first:, ANGRY].sum()
        rows.append((coming, state.rate.sum(), share, negative, angry))
        outcomes.append(week.outcomes)
    return state, WorldRun(len(state.memory), np.array(outcomes), *np.array(rows).T)


def run_arms(
    p: Parameters, formulas: Sequence[Formula], *, weeks: int, n_users: int, seed: int
) -> tuple[WorldRun, ...]:
    """One world under each policy, the weeks of burn-in under the first.

    Equal policies give exactly equal runs.

    Raises:
        ValueError: the numbers do not fit each other.
    """
    world, state = make_world(p, n_users, seed)
    for _ in range(p.burn_in_weeks):
        state, _ = step(world, state, formulas[0])
    return tuple(run_weeks(world, state, formula, weeks)[1] for formula in formulas)


def run_seeds(
    p: Parameters,
    formulas: Sequence[Formula],
    *,
    weeks: int,
    n_users: int,
    seeds: Sequence[int],
    on_done: Callable[[int], None] | None = None,
    session: RaySession | None = None,
) -> tuple[tuple[WorldRun, ...], ...]:
    """The arms of one world per seed, in the order of the seeds; worlds run side by side.

    Args:
        p: the numbers.
        formulas: one per arm, the policy in force first.
        weeks: after the burn-in.
        n_users: in each world.
        seeds: of the worlds.
        on_done: called with the number of worlds done so far.
        session: whose workers run the worlds; None is this process.
    """
    run = partial(_arms_of, p, tuple(formulas), weeks, n_users)
    made = []
    with ExitStack() as stack:
        if session is None:
            threads = max(1, min(len(seeds), cpu_count() or 1))
            runs = iter(stack.enter_context(ThreadPoolExecutor(max_workers=threads)).map(run, seeds))
        else:
            runs = stack.enter_context(closing(session.map(run, seeds)))
        for one in runs:
            made.append(one)
            if on_done is not None:
                on_done(len(made))
    return tuple(made)


def _arms_of(
    p: Parameters, formulas: tuple[Formula, ...], weeks: int, n_users: int, seed: int
) -> tuple[WorldRun, ...]:
    return run_arms(p, formulas, weeks=weeks, n_users=n_users, seed=seed)


def total_actions(run: WorldRun) -> FloatArray:
    """(A,) actions over all weeks."""
    total: FloatArray = run.outcomes[:, :, FIRST_ACTION:].sum(axis=(0, 1))
    return total

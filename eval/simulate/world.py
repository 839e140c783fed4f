"""Who and what is there: people with tastes and ties, publishers, a week's posts, a wave's candidates.

What a week's posts are drawn from has the same shape whatever happened before, so that two worlds with one
seed differ in nothing but what their policies changed. Records are named tuples of arrays because compiled
loops read them.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eval.simulate.draws import generator, key, poisson_counts, uniform
from eval.simulate.parameters import HARMS, Curve, Parameters
from reranker.columns import BoolArray, FloatArray, IntArray

PAGE, FRIEND, GROUP, STRANGER = range(4)  # as in parameters.RELATIONS
CIVIC, HEALTH, CRIME = range(3)  # topics that have harms of their own
TOPICS_OF_HARM = {
    "misinformation": (CIVIC, HEALTH),
    "disturbing": (CRIME,),
    "graphic_violence": (CRIME,),
    "hate": (CIVIC,),
}
DEVICES = ("android", "ios", "desktop")
MOST_WORDS = 12
_LOOKED_AT = 96  # people whom a user could know
_PEOPLE, _WEEK = 1, 2  # purposes of draws


class Users(NamedTuple):
    """People.

    Attributes:
        topic: (n, d) tastes, of length 1.
        log_activity: (n,) log of how much each does, mean 0.
        log_anger: (n,) log of the proneness to anger.
        reflection: (n,) how much content near the line is regretted, around 1.
        country: (n,) code.
        device: (n,) index into `DEVICES`.
        followed: (n, F) publishers.
        friends: (n, D) users.
        group: (n, G) users who share a group with each.
    """

    topic: FloatArray
    log_activity: FloatArray
    log_anger: FloatArray
    reflection: FloatArray
    country: IntArray
    device: IntArray
    followed: IntArray
    friends: IntArray
    group: IntArray


class Publishers(NamedTuple):
    """Publishers: (P, d) what each writes about, (P,) its main topic, (P,) its leaning to negativity."""

    topic: FloatArray
    main_topic: IntArray
    leaning: FloatArray


class Posts(NamedTuple):
    """The posts of a week: those of publishers first, then two or so for each user.

    Attributes:
        topic: (n, d) what each is about, of length 1.
        line: (n,) closeness to the line, 1 at it.
        words: (n,) moral-emotional words.
        harm: (n, 4) probability of each harm of `HARMS`, given closeness and topic.
        estimate: (n, 4) what a classifier says of it.
        negative: (n,) True where the tone is.
        live: (n,) True for live video.
        there: (n,) False where a user did not write, or the post was removed.
        first_of_users: the row of the first user's first post.
    """

    topic: FloatArray
    line: FloatArray
    words: FloatArray
    harm: FloatArray
    estimate: FloatArray
    negative: BoolArray
    live: BoolArray
    there: BoolArray
    first_of_users: int


class Shape(NamedTuple):
    """Sizes that the compiled loops need; see `Parameters`."""

    per_publisher: int
    per_user: int
    from_followed: int
    from_friends: int
    from_group: int
    from_strangers: int


def shape_of(p: Parameters) -> Shape:
    """The sizes of a world."""
    return Shape(
        p.posts_per_publisher,
        p.posts_per_user,
        p.from_followed,
        p.from_friends,
        p.from_group,
        p.from_strangers,
    )


def make_publishers(p: Parameters, seed: int) -> Publishers:
    """The publishers of a world; main topics go round, so that each has as many."""
    rng = generator(seed, _PEOPLE, 0)
    main = np.arange(p.n_publishers, dtype=np.int64) % p.n_topics
    topic = np.eye(p.n_topics)[main] + 0.3 * rng.standard_normal((p.n_publishers, p.n_topics))
    return Publishers(_unit(topic), main, p.spread * rng.standard_normal(p.n_publishers))


def make_users(p: Parameters, publishers: Publishers, n: int, seed: int) -> Users:
    """The people of a world: they follow publishers of their taste and know people of their taste.

    Raises:
        ValueError: fewer users than ties.
    """
    if n <= max(p.n_friends, p.n_group):
        raise ValueError(f"n_users: expected more than the {max(p.n_friends, p.n_group)} ties, got {n}")
    rng = generator(seed, _PEOPLE, 1)
    topic = _unit(rng.standard_normal((n, p.n_topics)))
    country = rng.choice(p.n_countries, size=n, p=rng.dirichlet(np.full(p.n_countries, 3.0)))
    draw = rng.gumbel(size=(n, p.n_publishers))
    followed = np.argsort(-(3.0 * topic @ publishers.topic.T + draw), axis=1)[:, : p.n_followed]
    return Users(
        topic=topic,
        log_activity=p.activity_sd * rng.standard_normal(n) - p.activity_sd**2 / 2,
        log_anger=np.log(np.maximum(rng.gamma(p.anger_shape, p.anger_scale, n), 1e-6)),
        reflection=np.exp(p.reflection_sd * rng.standard_normal(n) - p.reflection_sd**2 / 2),
        country=country.astype(np.int64),
        device=rng.choice(3, size=n, p=(0.5, 0.25, 0.25)).astype(np.int64),
        followed=np.ascontiguousarray(followed, dtype=np.int64),
        friends=_ties(topic, p.n_friends, 3.0, rng),
        group=_ties(topic, p.n_group, 1.0, rng),
    )


def _ties(topic: FloatArray, n_ties: int, likeness: float, rng: np.random.Generator) -> IntArray:
    """(n, n_ties) other users, more likely those of like taste, each once."""
    n = len(topic)
    n_seen = min(n - 1, max(_LOOKED_AT, 2 * n_ties))
    step = 1 + rng.integers(0, n - 1, size=(n, n_seen)) if n_seen < n - 1 else np.arange(1, n)[None, :]
    other = (np.arange(n)[:, None] + step) % n
    taste = np.einsum("nd,nsd->ns", topic, topic[other])
    value = likeness * taste + rng.gumbel(size=other.shape)
    value[_repeated(other)] = -np.inf
    chosen = np.argsort(-value, axis=1)[:, :n_ties]
    return np.ascontiguousarray(np.take_along_axis(other, chosen, axis=1), dtype=np.int64)


def _repeated(rows: IntArray) -> BoolArray:
    """True where a value stands in its row already."""
    order = np.argsort(rows, axis=1, kind="stable")
    ranked = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, dtype=bool)
    np.put_along_axis(again, order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    return again


def make_posts(
    p: Parameters,
    people: tuple[Publishers, Users],
    state: tuple[FloatArray, FloatArray],
    week: int,
    seed: int,
) -> Posts:
    """The posts of a week.

    Args:
        p: the numbers.
        people: who writes.
        state: (P,) negative share of each publisher, and (n,) expected posts of each user.
        week: which.
        seed: of the world.
    """
    publishers, users = people
    share, rate = state
    n_theirs, n_users = p.n_publishers * p.posts_per_publisher, len(rate)
    n = n_theirs + n_users * p.posts_per_user
    rng = generator(seed, _WEEK, week)
    writer = np.repeat(publishers.topic, p.posts_per_publisher, axis=0)
    author = np.repeat(users.topic, p.posts_per_user, axis=0)
    topic = _unit(np.concatenate((writer, author)) + p.topic_noise * rng.standard_normal((n, p.n_topics)) / 2)
    u = rng.random((5, n))
    noise = rng.standard_normal((n, len(HARMS)))
    wrote = poisson_counts(rng.random(n_users), rate, p.posts_per_user)
    shares = np.repeat(share, p.posts_per_publisher), np.full(n - n_theirs, p.negative_share_users)
    negative = u[0] < np.concatenate(shares)
    line = np.where(negative, kumaraswamy(u[1], p.line_negative), kumaraswamy(u[1], p.line_other))
    line *= p.line_top
    words = poisson_counts(u[2], p.words_other + p.words_negative * negative, MOST_WORDS)
    log_odds = harm_log_odds(p, line, topic)
    there = (line < 1.0) | (u[3] >= p.removal_recall)
    there[n_theirs:] &= (np.arange(p.posts_per_user) < wrote[:, None]).ravel()
    return Posts(
        topic=topic,
        line=line,
        words=words.astype(np.float64),
        harm=_sigmoid(log_odds),
        estimate=_sigmoid(log_odds + p.classifier_error * noise),
        negative=negative,
        live=u[4] < p.live_share,
        there=there,
        first_of_users=n_theirs,
    )


def kumaraswamy(u: FloatArray, shape: Curve) -> FloatArray:
    """Quantiles in [0, 1] of Kumaraswamy's distribution, whose inverse is a formula.

    Source: Jones, Kumaraswamy's distribution: a beta-type distribution with some tractability advantages,
    2009, equation 2.

    Example:
        >>> kumaraswamy(np.array([0.25]), (1.0, 2.0)).round(6).tolist()
        [0.133975]
    """
    quantile: FloatArray = (1.0 - (1.0 - u) ** (1.0 / shape[1])) ** (1.0 / shape[0])
    return quantile


def harm_log_odds(p: Parameters, line: FloatArray, topic: FloatArray) -> FloatArray:
    """(n, 4) log-odds of each harm: rising towards the line, higher on the topics that a harm belongs to."""
    columns = []
    main = np.argmax(topic, axis=1)
    for name in HARMS:
        at_line, slope = getattr(p, f"harm_{name}")
        own = np.isin(main, TOPICS_OF_HARM[name])
        columns.append(at_line + slope * (line - 1.0) + p.harm_topic * own)
    return np.stack(columns, axis=1)


def _unit(vectors: FloatArray) -> FloatArray:
    lengths: FloatArray = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / lengths)


def _sigmoid(log_odds: FloatArray) -> FloatArray:
    odds: FloatArray = 1.0 / (1.0 + np.exp(-log_odds))
    return odds


def _draw_candidates(
    users: Users, posts: Posts, shape: Shape, wave_key: np.uint64, relation: NDArray[np.int8]
) -> NDArray[np.int32]:
    """(n, C) rows of `posts`, each once in its request; writes the relation of each."""
    n = len(users.followed)
    n_candidates = shape.from_followed + shape.from_friends + shape.from_group + shape.from_strangers
    rows = np.empty((n, n_candidates), dtype=np.int32)
    chosen_by = np.full(len(posts.there), -1, dtype=np.int64)  # the last user that has each post
    for i in range(n):
        own = key(wave_key, i)
        c = 0
        spare, spare_step = _walk(key(own, 9), posts.first_of_users)
        for kind in range(4):
            pool = posts.first_of_users
            n_wanted = shape.from_strangers
            if kind == PAGE:
                pool, n_wanted = users.followed.shape[1] * shape.per_publisher, shape.from_followed
            elif kind == FRIEND:
                pool, n_wanted = users.friends.shape[1] * shape.per_user, shape.from_friends
            elif kind == GROUP:
                pool, n_wanted = users.group.shape[1] * shape.per_user, shape.from_group
            at, step = _walk(key(own, kind), pool)
            for _ in range(n_wanted):
                row = at
                if kind == PAGE:
                    row = users.followed[i, at // shape.per_publisher] * shape.per_publisher
                    row += at % shape.per_publisher
                elif kind == FRIEND:
                    row = posts.first_of_users + users.friends[i, at // shape.per_user] * shape.per_user
                    row += at % shape.per_user
                elif kind == GROUP:
                    row = posts.first_of_users + users.group[i, at // shape.per_user] * shape.per_user
                    row += at % shape.per_user
                at = (at + step) % pool
                relation[i, c] = kind
                while not posts.there[row] or chosen_by[row] == i:
                    row = spare
                    spare = (spare + spare_step) % posts.first_of_users
                    relation[i, c] = STRANGER
                chosen_by[row] = i
                rows[i, c] = row
                c += 1
    return rows


def _walk_pool(own: np.uint64, pool: int) -> tuple[int, int]:
    """Where to start in a pool and by how much to go on, so that every place comes once."""
    start = int(uniform(key(own, 0)) * pool)
    step = 1 + int(uniform(key(own, 1)) * (pool - 1))
    while True:
        a, b = pool, step
        while b:
            a, b = b, a % b
        if a == 1:
            return start, step
        step = step % pool + 1


_walk = njit(cache=True, nogil=True)(_walk_pool)
draw_candidates_loop = njit(cache=True, nogil=True)(_draw_candidates)


def draw_candidates(
    p: Parameters, users: Users, posts: Posts, wave_key: np.uint64
) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """(n, C) candidates of every user and their relation to the author, no post twice in a request.

    Where a tie wrote nothing, or its post was removed, a stranger's post takes the place.

    Raises:
        ValueError: there are fewer posts than candidates.
    """
    n_there = int(posts.there[: posts.first_of_users].sum())
    if n_there < p.n_candidates:
        raise ValueError(f"posts: expected at least {p.n_candidates} of publishers, got {n_there}")
    relation = np.empty((len(users.topic), p.n_candidates), dtype=np.int8)
    rows: NDArray[np.int32] = draw_candidates_loop(users, posts, shape_of(p), wave_key, relation)
    return rows, relation

"""Comments and replies as single acts: who wrote what under which post, and when."""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reranker.columns import FloatArray, IntArray, StringColumn
from reranker.interactions import Interactions
from reranker.sample.people import People
from reranker.sample.phrases import read_phrases
from reranker.sample.posts import Posts, after
from reranker.signals import RELATIONS

# How likely a person of each relation is to comment.
_PULL = {
    "close_friend": 10.0,
    "friend": 6.0,
    "group_member": 3.0,
    "follower": 3.0,
    "page": 3.0,
    "stranger": 0.12,
}
_P_REPLY = 0.15
_RING_COMMENTS, _RING_ACCOUNTS = 150, 8


@dataclass(frozen=True, eq=False)
class _Acts:
    """Per comment: the row of its post, the person who wrote it, when, and in which manner."""

    row: IntArray
    actor: IntArray
    time: NDArray[np.datetime64]
    manner: list[str]


def draw_comments(posts: Posts, people: People, counts: IntArray, rng: np.random.Generator) -> Interactions:
    """`counts[i]` comments and replies under post i, and a ring's spam, in order of time."""
    row = np.repeat(np.arange(posts.n), counts)
    actor = _draw_actors(row, posts, people, rng)
    hours = rng.exponential(9.0, len(row))
    manner = _draw_manners(row, posts, rng)
    for at in posts.spammed[counts[posts.spammed] > 0].tolist():
        ring = rng.choice(people.n_persons, _RING_ACCOUNTS, replace=False)
        row = np.append(row, np.full(_RING_COMMENTS, at))
        actor = np.append(actor, rng.choice(ring, _RING_COMMENTS))
        hours = np.append(hours, rng.uniform(0.0, 2.0, _RING_COMMENTS))
        manner += ["spam"] * _RING_COMMENTS
    time = after(posts.created_at[row], hours)
    order = np.argsort(time, kind="stable")
    ordered = _Acts(row[order], actor[order], time[order], [manner[i] for i in order.tolist()])
    return _interactions(ordered, posts, people, rng)


def _draw_actors(row: IntArray, posts: Posts, people: People, rng: np.random.Generator) -> IntArray:
    """(m,) a person for each comment, never the post's own author."""
    pull = np.array([_PULL[name] for name in RELATIONS])[people.relation]  # (persons, authors)
    person = np.arange(people.n_persons)
    pull[person, person] = 0.0
    cumulative = np.cumsum(pull, axis=0)
    cumulative /= cumulative[-1]
    author, u = posts.author[row], rng.random(len(row))
    actor = np.empty(len(row), dtype=np.int64)
    for one in np.unique(author).tolist():
        mine = author == one
        actor[mine] = np.searchsorted(cumulative[:, one], u[mine], side="right")
    return actor


def _draw_manners(row: IntArray, posts: Posts, rng: np.random.Generator) -> list[str]:
    manners = read_phrases().manners
    drawn = []
    for i, u in zip(row.tolist(), rng.random(len(row)).tolist(), strict=True):
        names, cumulative = manners[posts.group[i].tone]
        drawn.append(names[min(bisect_right(cumulative, u), len(names) - 1)])
    return drawn


def _interactions(acts: _Acts, posts: Posts, people: People, rng: np.random.Generator) -> Interactions:
    row, actor, time, manner = acts.row, acts.actor, acts.time, acts.manner
    phrases = read_phrases()
    m = len(row)
    is_hostile = np.array([name == "hostile" for name in manner], dtype=bool)
    is_spam = np.array([name == "spam" for name in manner], dtype=bool)
    is_reply = (rng.random(m) < _P_REPLY) & ~is_spam
    is_avatar = (rng.random(m) < 0.02) & ~is_spam
    return Interactions(
        post_id=StringColumn.from_values(posts.post_id[i] for i in row.tolist()),
        kind=StringColumn.from_values("reply" if reply else "comment" for reply in is_reply.tolist()),
        actor=StringColumn.from_values(people.author_id[i] for i in actor.tolist()),
        relation=people.relation[actor, posts.author[row]],
        text=StringColumn.from_values(
            None if bare else phrases.comment(name, rng)
            for name, bare in zip(manner, (is_avatar & (rng.random(m) < 0.3)).tolist(), strict=True)
        ),
        has_photo=(rng.random(m) < 0.03) & ~is_spam,
        has_video=(rng.random(m) < 0.005) & ~is_spam,
        is_avatar=is_avatar,
        time=time,
        deleted_at=_later(time, np.where(is_hostile, 0.12, 0.03), 5.0, rng),
        edited_at=_later(time, np.full(m, 0.02), 0.5, rng),
    )


def _later(
    time: NDArray[np.datetime64], chance: FloatArray, mean_hours: float, rng: np.random.Generator
) -> NDArray[np.datetime64]:
    """A later time with the given chance, else NaT."""
    moment = after(time, rng.exponential(mean_hours, len(time)))
    return np.where(rng.random(len(time)) < chance, moment, np.datetime64("NaT", "us"))

"""The sample itself: viewers ask for feeds, and each gets candidates as an engagement ranking left them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reranker.assembly import feed_from_columns
from reranker.columns import FloatArray, IntArray
from reranker.feed import Feed
from reranker.interactions import Interactions
from reranker.sample.comments import draw_comments
from reranker.sample.engagement import angry_burst, draw_comment_counts, draw_totals
from reranker.sample.people import LANGUAGE_COUNTRY, People, draw_people
from reranker.sample.posts import HARMS, SPAN_HOURS, START, Posts, after, draw_posts
from reranker.signals import MEDIA_TYPES, RELATIONS

MIN_POSTS = 50
_CANDIDATES = (28, 53)  # per request: at least, less than
_WINDOW_HOURS = 72.0
_NEARNESS = {
    "close_friend": 8.0,
    "friend": 5.0,
    "group_member": 3.0,
    "follower": 3.0,
    "page": 3.0,
    "stranger": 0.6,
}
_COMPUTING_LOAD = {"text": 1.0, "link": 1.4, "photo": 2.0, "video": 6.0, "live_video": 10.0}
# Chances of android, ios and web, and the mean strength of the connection.
_ACCESS = {
    "US": (0.38, 0.47, 0.15, 0.85),
    "IN": (0.88, 0.04, 0.08, 0.55),
    "BR": (0.78, 0.12, 0.10, 0.65),
    "MM": (0.93, 0.03, 0.04, 0.40),
    "DE": (0.50, 0.30, 0.20, 0.82),
    "PL": (0.68, 0.17, 0.15, 0.78),
    "MX": (0.75, 0.15, 0.10, 0.62),
    "JP": (0.35, 0.55, 0.10, 0.90),
    "TH": (0.70, 0.24, 0.06, 0.66),
}
# The engagement ranking that left the order: points per act, and per relation to the author.
_POINTS = {
    "like": 1.0,
    "love": 5.0,
    "care": 5.0,
    "haha": 5.0,
    "wow": 5.0,
    "sad": 5.0,
    "angry": 5.0,
    "reshare": 5.0,
    "reshare_with_text": 30.0,
    "rsvp": 15.0,
}
_COMMENT_POINTS = 20.0
_CLOSENESS = {
    "close_friend": 1.0,
    "friend": 1.0,
    "group_member": 0.5,
    "follower": 0.5,
    "page": 0.5,
    "stranger": 0.3,
}


@dataclass(frozen=True, eq=False)
class _World:
    """What there is before anybody asks for a feed; totals are per post."""

    people: People
    posts: Posts
    totals: dict[str, FloatArray]


@dataclass(frozen=True, eq=False)
class _Requests:
    """Who asked when: (r,) viewers, times, devices, strengths; and the rows of posts that each got."""

    viewer: IntArray
    time: NDArray[np.datetime64]
    device: list[str]
    strength: FloatArray
    shown: list[IntArray]


def make_sample(seed: int = 0, *, n_users: int = 150, n_posts: int = 3000, n_requests: int = 250) -> Feed:
    """About 40 candidates per request, with comments as interactions and all else as totals per post.

    The same arguments give the same feed with the same version of numpy. A post's totals are those at the
    sample's end, alike in every request. Posts that nobody was shown are left out.

    Attributes of the feed hold what the generator knows: `is_toxic`, `is_misinformation`, `is_outrage`,
    `is_clickbait`, `is_graphic` (0 or 1), `is_hard_negative` (benign, but looks harmful) and `near_line`
    (closeness to the line that moderation draws, in [0, 1)).

    Raises:
        ValueError: no user, no request, or fewer than 50 posts.
    """
    for name, value, least in (
        ("n_users", n_users, 1),
        ("n_posts", n_posts, MIN_POSTS),
        ("n_requests", n_requests, 1),
    ):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
    who, what, how, said, asked, rest = np.random.default_rng(seed).spawn(6)
    people = draw_people(n_users, who)
    posts = draw_posts(n_posts, people, what)
    world = _World(people, posts, draw_totals(posts, people, how))
    comments = draw_comment_counts(world.totals["like"], posts, how)
    requests = _draw_requests(n_users, n_requests, posts, people, asked)
    seen = np.zeros(posts.n, dtype=bool)
    seen[np.concatenate(requests.shown)] = True
    comments[~seen] = 0
    acts = draw_comments(posts, people, comments, said)
    return _assemble(world, requests, acts, rest)


def _draw_requests(
    n_users: int, n_requests: int, posts: Posts, people: People, rng: np.random.Generator
) -> _Requests:
    rounds = [rng.permutation(n_users) for _ in range(n_requests // n_users)]
    rounds.append(rng.choice(n_users, n_requests % n_users, replace=False))
    viewer = rng.permutation(np.concatenate(rounds)).astype(np.int64)
    first = (posts.created_at[max(MIN_POSTS - 1, posts.n // 30)] - START) / np.timedelta64(1, "h")
    time = after(np.full(n_requests, START), np.sort(rng.uniform(first + 0.1, SPAN_HOURS, n_requests)))
    access = np.array([_ACCESS[people.country[user]] for user in viewer.tolist()])  # (r, 4)
    usual = rng.random(n_users)[viewer]  # a user's device rarely changes
    chance = np.where(rng.random(n_requests) < 0.1, rng.random(n_requests), usual)
    device = np.array(["android", "ios", "web"])[
        (chance[:, None] > np.cumsum(access[:, :3], axis=1)[:, :2]).sum(axis=1)
    ]
    strength = np.round(rng.beta(8 * access[:, 3], 8 * (1 - access[:, 3])), 2)
    return _Requests(viewer, time, device.tolist(), strength, _draw_shown(viewer, time, posts, people, rng))


def _draw_shown(
    viewer: IntArray, time: NDArray[np.datetime64], posts: Posts, people: People, rng: np.random.Generator
) -> list[IntArray]:
    """Rows of posts per request: recent ones, near people's first, those that nobody saw yet preferred."""
    nearness = np.array([_NEARNESS[name] for name in RELATIONS])
    home = np.array([LANGUAGE_COUNTRY.get(group.language, "") for group in posts.group])
    appeal = np.ones(posts.n)
    appeal[np.concatenate([posts.outliers, posts.brigaded, posts.spammed])] = 8.0
    fresh = np.full(posts.n, 5.0)
    stop = np.searchsorted(posts.created_at, time)
    start = np.searchsorted(posts.created_at, after(time, np.full(len(time), -_WINDOW_HOURS)))
    shown = []
    for user, low, high in zip(viewer.tolist(), start.tolist(), stop.tolist(), strict=True):
        n_wanted = int(rng.integers(*_CANDIDATES))
        pool = np.arange(max(0, min(low, high - 2 * n_wanted)), high)
        pool = pool[posts.author[pool] != user]
        readable = np.where((home[pool] == "") | (home[pool] == people.country[user]), 1.0, 0.25)
        weight = nearness[people.relation[user, posts.author[pool]]] * readable * appeal[pool] * fresh[pool]
        rows = rng.choice(pool, min(n_wanted, len(pool)), replace=False, p=weight / weight.sum())
        fresh[rows] = 1.0
        shown.append(rows.astype(np.int64))
    return shown


def _assemble(world: _World, requests: _Requests, acts: Interactions, rng: np.random.Generator) -> Feed:
    people, posts = world.people, world.posts
    lengths = [len(rows) for rows in requests.shown]
    post = np.concatenate(requests.shown)
    request = np.repeat(np.arange(len(lengths)), lengths)
    relation = people.relation[requests.viewer[request], posts.author[post]]
    columns: dict[str, Any] = {
        "request_id": [f"r{i:04d}" for i in request.tolist()],
        "user": [people.author_id[i] for i in requests.viewer[request].tolist()],
        "country": [people.country[i] for i in requests.viewer[request].tolist()],
        "device": [requests.device[i] for i in request.tolist()],
        "connection_strength": requests.strength[request],
        "time": requests.time[request],
        "relation": relation,
        "see_less_requests": _see_less(people, rng)[requests.viewer[request], posts.author[post]],
    }
    columns["original_position"] = _positions(request, _points(world, acts)[post], relation, rng)
    per_post = _post_columns(world, rng)
    for name, values in per_post.items():
        columns[name] = values[post] if isinstance(values, np.ndarray) else [values[i] for i in post.tolist()]
    return feed_from_columns(columns, interactions=acts)


def _post_columns(world: _World, rng: np.random.Generator) -> dict[str, Any]:
    """What is the same wherever the post is shown, one entry per post."""
    people, posts = world.people, world.posts
    author, publisher = posts.author.tolist(), posts.publisher.tolist()
    unspoken = [
        group.language == "und" or not text for group, text in zip(posts.group, posts.text, strict=True)
    ]
    load = np.array([_COMPUTING_LOAD[name] for name in MEDIA_TYPES])[posts.media]
    accounts, peak = angry_burst(world.totals["angry"], posts, rng)
    columns: dict[str, Any] = {
        "post_id": posts.post_id,
        "author": [people.author_id[i] for i in author],
        "publisher": [people.publisher_of(i).name if i >= 0 else None for i in publisher],
        "topic": [None if no else group.topic for group, no in zip(posts.group, unspoken, strict=True)],
        "text": posts.text,
        "language": [None if no else group.language for group, no in zip(posts.group, unspoken, strict=True)],
        "urls": _urls(posts, people),
        "media": posts.media,
        "created_at": posts.created_at,
        "computing_load": np.round(load * rng.uniform(0.8, 1.25, posts.n), 3),
        "author_violations": _violations(posts, people, rng)[posts.author],
        "angry_accounts": accounts,
        "angry_peak_share": peak,
        "attr_is_hard_negative": np.array([float(group.hard is not None) for group in posts.group]),
        "attr_near_line": np.round(posts.near, 3),
    }
    columns |= {f"attr_is_{harm}": posts.is_harm(harm).astype(np.float64) for harm in HARMS}
    return columns | world.totals


def _urls(posts: Posts, people: People) -> list[list[str]]:
    """The article on the publisher's site under posts with a link or a recorded video."""
    is_article = (posts.publisher >= 0) & np.isin(
        posts.media, [MEDIA_TYPES.index(m) for m in ("link", "video")]
    )
    day = posts.created_at.astype("datetime64[D]").astype(str).tolist()
    links: list[list[str]] = []
    for row, (i, has_article) in enumerate(zip(posts.publisher.tolist(), is_article.tolist(), strict=True)):
        path = f"{day[row].replace('-', '/')}/{posts.post_id[row]}"
        links.append([f"https://{people.publisher_of(i).domain}/{path}"] if has_article else [])
    return links


def _violations(posts: Posts, people: People, rng: np.random.Generator) -> FloatArray:
    """(authors,) violations found: a part of what each author posted over the line."""
    over = posts.is_harm("toxic") | posts.is_harm("misinformation") | posts.is_harm("graphic")
    return rng.binomial(np.bincount(posts.author[over], minlength=len(people.kind)), 0.25).astype(np.float64)


def _see_less(people: People, rng: np.random.Generator) -> FloatArray:
    """(persons, authors) times that the person asked for less of the author."""
    tiresome = np.array(
        [
            leaning != "" or kind in ("hyperpartisan", "seller")
            for leaning, kind in zip(people.leaning, people.kind, strict=True)
        ]
    )
    return rng.poisson(np.where(tiresome, 0.12, 0.015), people.relation.shape).astype(np.float64)


def _points(world: _World, acts: Interactions) -> FloatArray:
    """(posts,) what the engagement ranking gives for the acts on each post."""
    row_of = {name: row for row, name in enumerate(world.posts.post_id)}
    row_of_value = np.array([row_of[name] for name in acts.post_id.values], dtype=np.int64)
    counts = np.bincount(row_of_value[acts.post_id.codes], minlength=world.posts.n)
    points: FloatArray = 1.0 + _COMMENT_POINTS * counts.astype(np.float64)
    for name, weight in _POINTS.items():
        points += weight * world.totals[name]
    return points


def _positions(
    request: IntArray, points: FloatArray, relation: NDArray[np.int8], rng: np.random.Generator
) -> IntArray:
    """(candidates,) position from 0 by points times closeness, with noise."""
    closeness = np.array([_CLOSENESS[name] for name in RELATIONS])[relation]
    score = points * closeness * rng.lognormal(0.0, 0.6, len(points))
    order = np.lexsort((-score, request))
    first = np.searchsorted(request, request)  # rows of a request stand together
    position = np.empty(len(points), dtype=np.int64)
    position[order] = np.arange(len(points)) - first[order]
    return position

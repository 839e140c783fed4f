"""What people did with the posts: totals per post, heavy-tailed, tilted towards harm as in real feeds.

Set by construction, so they are inputs here and never findings: the totals of the reactions relative to
likes, more comments and reshares near the line, reshares times 1.12 per moral-emotional word, and angry
reactions many times more frequent on toxic, outraged and false posts.
"""

import numpy as np

from reranker.columns import FloatArray, IntArray
from reranker.sample.people import PERSON, People
from reranker.sample.phrases import read_phrases
from reranker.sample.posts import Posts
from reranker.signals import MEDIA_TYPES

# Totals over the sample per like. Source: a platform's weekly counts in a 2020 document give love 11/63
# and angry 0.429/63, angry the least used of six; the others are assumptions in between.
REACTION_TOTALS = {"love": 0.175, "care": 0.02, "haha": 0.06, "wow": 0.025, "sad": 0.02, "angry": 0.0068}

# Relative use of love, care, haha, wow, sad and angry by tone of the post.
_TONES = {
    "warm": (1.8, 2.5, 0.5, 0.4, 0.5, 0.1),
    "funny": (0.7, 0.3, 8.0, 0.6, 0.1, 0.2),
    "excited": (1.2, 0.4, 0.6, 1.6, 0.1, 0.4),
    "curious": (0.6, 0.8, 0.4, 0.4, 0.3, 0.3),
    "reasoned": (0.6, 0.4, 0.3, 0.5, 0.4, 1.0),
    "reflective": (1.5, 3.0, 0.2, 0.8, 2.0, 0.4),
    "neutral": (0.5, 0.3, 0.3, 0.7, 0.6, 0.7),
    "sober": (0.1, 1.0, 0.1, 1.5, 9.0, 2.5),
    "angry": (0.3, 1.0, 0.3, 0.6, 2.0, 4.0),
    "hostile": (0.3, 0.1, 3.0, 1.2, 0.6, 9.0),
    "alarming": (0.5, 0.2, 2.0, 3.5, 1.2, 8.0),
    "outraged": (0.4, 0.2, 1.2, 1.8, 1.5, 11.0),
    "fearful": (0.3, 0.3, 0.8, 2.5, 2.5, 7.0),
    "teasing": (0.7, 0.2, 1.5, 2.5, 0.6, 1.0),
    "shocking": (0.1, 0.3, 0.2, 4.0, 7.0, 6.0),
}

# What is done per like: (rate far from the line, growth of its logarithm over the way to the line).
_RATES = {
    "reshare": (0.05, 1.1),
    "reshare_with_text": (0.015, 1.3),
    "message": (0.02, 0.4),
    "request_more": (0.003, -1.0),
    "worth_your_time": (0.02, -2.0),
    "hide": (0.004, 2.2),
    "not_interested": (0.003, 2.0),
    "request_less": (0.0015, 2.4),
    "report": (0.0006, 3.8),
}
_LIKE_RATES = {PERSON: 0.12, "seller": 0.03}
_PUBLISHER_LIKE_RATE = 0.025
_MEAN_COMMENTS = 3.9
_MOST_COMMENTS = 60
_VIRAL_REACH = (3e7, 9e6, 6e6, 4e6)
_BRIGADE = ((140.0, 9.0, 0.97), (110.0, 7.0, 0.93))  # angry reactions, accounts, share in the peak hour


def draw_totals(posts: Posts, people: People, rng: np.random.Generator) -> dict[str, FloatArray]:
    """(n,) observed counts per post of every signal but comments and replies, as the sample ends."""
    attention = _attention(posts, people, rng)
    expected = {"like": attention * np.exp(-0.3 * posts.near)}
    expected |= _reactions(expected["like"], posts, people, rng)
    outrage = np.where(posts.is_harm("outrage"), 1.8, 1.0)
    for name, (rate, growth) in _RATES.items():
        expected[name] = rate * attention * np.exp(growth * posts.near) * _noise(posts.n, rng)
    count_words = read_phrases().count_moral_emotional
    words = np.array([count_words(text or "") for text in posts.text])
    for name in ("reshare", "reshare_with_text"):
        expected[name] *= outrage * 1.12**words
    expected |= _media_signals(attention, posts, rng)
    counts = {name: rng.poisson(mean).astype(np.float64) for name, mean in expected.items()}
    for row, (angry, _, _) in zip(posts.brigaded.tolist(), _BRIGADE, strict=False):
        counts["angry"][row] += angry
    return counts


def _attention(posts: Posts, people: People, rng: np.random.Generator) -> FloatArray:
    """(n,) expected likes of a post far from the line: log-normal in the author and in the post."""
    reach = people.audience[posts.author] * rng.lognormal(0.0, 1.0, posts.n)
    reach[posts.outliers] = _VIRAL_REACH[: len(posts.outliers)]
    kinds = [people.kind[author] for author in posts.author.tolist()]
    like_rate: FloatArray = np.array([_LIKE_RATES.get(kind, _PUBLISHER_LIKE_RATE) for kind in kinds])
    return reach * like_rate


def _reactions(
    like: FloatArray, posts: Posts, people: People, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Expected reactions, scaled so that over the posts that did not go viral their totals are as stated."""
    tilt = np.array([_TONES[group.tone] for group in posts.group])  # (n, reactions)
    is_mm = np.array([people.country[author] == "MM" for author in posts.author.tolist()])
    serious = np.array([group.tone not in ("funny", "warm", "excited") for group in posts.group])
    harmless = posts.is_harm("benign")
    ordinary = np.ones(posts.n, dtype=bool)
    ordinary[posts.outliers] = False
    expected = {}
    for i, (name, total) in enumerate(REACTION_TOTALS.items()):
        # In Myanmar people laugh at posts, not with them: haha is an insult where nothing was funny.
        mocking = np.where(is_mm & serious, 6.0, 1.0) if name == "haha" else 1.0
        use = like * tilt[:, i] * mocking * _noise(posts.n, rng)
        scale = total * like[ordinary].sum() / use[ordinary].sum()
        viral = like * total * np.where(harmless, 1.0, np.clip(tilt[:, i], 1.0, 2.0))
        expected[name] = np.where(ordinary, use * scale, viral)
    return expected


def _media_signals(attention: FloatArray, posts: Posts, rng: np.random.Generator) -> dict[str, FloatArray]:
    """Clicks, video views and answers to invitations: only where the post offers them."""
    is_link = posts.media == MEDIA_TYPES.index("link")
    is_video = posts.media >= MEDIA_TYPES.index("video")
    is_event = np.array([group.event for group in posts.group])
    teasing = np.where(posts.is_harm("clickbait"), 2.5, 1.0)
    click = np.where(is_link, 0.8, 0.12) * teasing * np.exp(0.6 * posts.near)
    return {
        "click": attention * click * _noise(posts.n, rng),
        "video_view": attention * np.where(is_video, 3.0, 0.0) * _noise(posts.n, rng),
        "rsvp": attention * np.where(is_event, 0.15, 0.0) * _noise(posts.n, rng),
    }


def _noise(n: int, rng: np.random.Generator) -> FloatArray:
    """(n,) mean 1: what makes posts of one kind differ, and signals of one post too."""
    return rng.gamma(4.0, 0.25, n)


def draw_comment_counts(like: FloatArray, posts: Posts, rng: np.random.Generator) -> IntArray:
    """(n,) comments per post: more near the line and under outrage, fewer than likes would suggest."""
    outrage = np.where(posts.is_harm("outrage"), 1.6, 1.0)
    pull = (1.0 + like) ** 0.3 * np.exp(1.1 * posts.near**1.5) * outrage * _noise(posts.n, rng)
    pull[posts.outliers] = 0.0
    mean = pull * _MEAN_COMMENTS * posts.n / pull.sum()
    counts: IntArray = np.minimum(rng.poisson(mean), _MOST_COMMENTS).astype(np.int64)
    counts[posts.outliers] = 100
    counts[posts.spammed] = np.maximum(counts[posts.spammed], 1)
    return counts


def angry_burst(
    angry: FloatArray, posts: Posts, rng: np.random.Generator
) -> tuple[list[float], list[float | None]]:
    """Accounts behind the angry reactions, and the share of these in one hour (None without any)."""
    accounts = angry.tolist()
    share = np.maximum(rng.beta(2.0, 8.0, posts.n), 1.0 / np.maximum(angry, 1.0))
    peak = [round(s, 3) if a > 0 else None for s, a in zip(share.tolist(), accounts, strict=True)]
    for row, (_, few, burst) in zip(posts.brigaded.tolist(), _BRIGADE, strict=False):
        accounts[row], peak[row] = few, burst
    return accounts, peak

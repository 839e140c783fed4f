"""Pools of candidates, each page's post in two versions: as it draws people when negative, and when not.

Requests, appeal and noise are drawn once; only tones change between shares of negative posts, so that what
two policies or two shares give differs by nothing else. Both versions of a post are of one appeal, and over
all turns of the tones each is in either as often as the share says.
"""

from dataclasses import dataclass

import numpy as np

from eval.simulate.draws import generator, poisson_counts
from eval.simulate.market import ACTS, Market
from eval.simulate.world import MOST_WORDS, kumaraswamy
from models.scores import HarmScores
from reranker.anger import AngerBaseline
from reranker.assembly import feed_from_columns
from reranker.columns import BoolArray, FloatArray, IntArray, StringColumn, with_changes
from reranker.feed import Feed
from reranker.policy import Policy
from reranker.signals import MEDIA_TYPES, SIGNAL_NAMES, SignalKind, Signals
from reranker.value import Harms

OUTRAGE = ("angry", "comment", "reshare")  # what an attack draws more of where the rival attacks too
TURNS = 4
_POOLS = 71  # purpose of draws
_GRID = (np.arange(4_000) + 0.5) / 4_000


@dataclass(frozen=True, eq=False)
class Pools:
    """Candidates of r requests of c each, n rows.

    Attributes:
        market: the numbers.
        feed: all but the signals.
        page: (n,) the post is of a page.
        party: (n,) 0 or 1, whose post it is where two parties share the pages; of the publisher.
        tone_draw: (n,) a page's post is negative where its party's share is above this.
        negative_user: (n,) a person's negative post.
        rates: (2, A, n) acts per view of the version that is not negative, and of the negative one.
        labels: (2, n, L) what a classifier says of each.
        label_names: (L,) of them.
    """

    market: Market
    feed: Feed
    page: BoolArray
    party: IntArray
    tone_draw: FloatArray
    negative_user: BoolArray
    rates: FloatArray
    labels: FloatArray
    label_names: tuple[str, ...]

    @property
    def n_requests(self) -> int:
        """Requests."""
        return self.feed.n_requests

    def tones(self, shares: tuple[float, float], turn: int = 0) -> BoolArray:
        """(n,) True where a post is negative; each of `TURNS` turns moves every page's draw on by a part.

        Over all turns a page's post is negative in its party's share of them, where that is a multiple of
        1 / `TURNS`: a post that happens to be popular is so in either tone.
        """
        draw = (self.tone_draw + turn / TURNS) % 1.0
        of_page = draw < np.where(self.party == 0, shares[0], shares[1])
        return np.where(self.page, of_page, self.negative_user)


def draw_pools(market: Market, *, n_requests: int, seed: int) -> Pools:
    """Pools of so many requests.

    Raises:
        ValueError: fewer than 2 requests.
    """
    if n_requests < 2:
        raise ValueError(f"requests: expected at least 2, got {n_requests}")
    rng = generator(seed, _POOLS)
    c, n = market.n_candidates, n_requests * market.n_candidates
    kinds = ("page", "friend", "group_member", "stranger")
    sizes = (market.n_page, market.n_friend, market.n_group, market.n_stranger)
    relation = np.tile(np.repeat(np.arange(4), sizes), n_requests)
    page = relation == 0
    publisher = rng.integers(market.n_publishers, size=n)
    media = rng.choice(
        len(MEDIA_TYPES), size=n, p=[0.2, 0.8 - market.live - market.video, 0.0, market.video, market.live]
    )
    columns: dict[str, object] = {
        "request_id": StringColumn(
            np.repeat(np.arange(n_requests, dtype=np.int32), c), tuple(f"r{i}" for i in range(n_requests))
        ),
        # an id is a place in a pool: nothing here is read by the id of a post
        "post_id": _names("p", np.tile(np.arange(c), n_requests), c),
        "author": _names(
            "a", np.where(page, publisher, market.n_publishers + np.tile(np.arange(c), n_requests))
        ),
        "publisher": _names("a", np.where(page, publisher, -1), market.n_publishers),
        "relation": [kinds[code] for code in relation],
        "media": [MEDIA_TYPES[code] for code in media],
        "created_at": np.datetime64("2018-06-01T00:00:00", "us")
        + rng.integers(10**10, size=n).astype("m8[us]"),
        "original_position": rng.permuted(np.tile(np.arange(c), (n_requests, 1)), axis=1).ravel(),
    }
    line_draw, appeal = rng.random(n), market.appeal_sd * rng.standard_normal(n)
    noise, errors = rng.standard_normal((len(ACTS), n)), rng.standard_normal((n, len(market.labels)))
    words_draw = rng.random(n)
    versions = [
        _version(market, negative, (line_draw, words_draw, appeal), noise, page) for negative in (False, True)
    ]
    lines = [line for line, _ in versions]
    return Pools(
        market=market,
        feed=feed_from_columns(columns),
        page=page,
        party=publisher % 2,
        tone_draw=rng.random(n),
        negative_user=~page & (rng.random(n) < market.user_negative),
        rates=np.stack([rates for _, rates in versions]),
        labels=np.stack([_labels(market, line, tone, errors) for tone, line in enumerate(lines)]),
        label_names=tuple(market.labels),
    )


def _names(letter: str, codes: IntArray, size: int | None = None) -> StringColumn:
    size = int(codes.max()) + 1 if size is None else size
    return StringColumn(codes.astype(np.int32), tuple(f"{letter}{i:04d}" for i in range(size)))


def _version(
    market: Market,
    negative: bool,
    draws: tuple[FloatArray, FloatArray, FloatArray],
    noise: FloatArray,
    page: BoolArray,
) -> tuple[FloatArray, FloatArray]:
    """(n,) closeness to the line and (A, n) acts per view of every post in one tone."""
    line_draw, words_draw, appeal = draws
    line = kumaraswamy(line_draw, market.line_negative if negative else market.line_other)
    mean = np.full(len(line), market.words_other + market.words_negative * negative)
    words = poisson_counts(words_draw, mean, MOST_WORDS)
    rates = np.empty((len(ACTS), len(line)))
    for row, act in enumerate(ACTS):
        log_rate = market.line_effect[act] * line + market.noise[act] * noise[row] + appeal
        log_rate -= 0.5 * (market.noise[act] ** 2 + market.appeal_sd**2)
        if act == "reshare":
            log_rate += np.log(market.word_rate_ratio) * words
        mixes = [1.0 if act == "like" else mix[act] for mix in (market.page_mix, market.user_mix)]
        base = [mix / drawn(market, act, share) for mix, share in zip(mixes, _shares(market), strict=True)]
        rates[row] = np.where(page, base[0], base[1]) * np.exp(log_rate)
    return line, rates * market.parts["like_per_view"]


def _shares(market: Market) -> tuple[float, float]:
    """Negative posts where the mixes of pages and of people were read."""
    return market.share_before, market.user_negative


def drawn(market: Market, act: str, share: float) -> float:
    """What posts of this share of negative ones draw of an act, over what one far from the line does."""
    return sum(
        weight * tone_effect(market, act, negative=tone)
        for weight, tone in ((1.0 - share, False), (share, True))
    )


def tone_effect(market: Market, act: str, *, negative: bool) -> float:
    """What posts in a tone draw of an act on average, over one far from the line and without words."""
    line = kumaraswamy(_GRID, market.line_negative if negative else market.line_other)
    effect = float(np.exp(market.line_effect[act] * line).mean())
    if act == "reshare":
        mean = market.words_other + market.words_negative * negative
        effect *= float(np.exp(mean * (market.word_rate_ratio - 1.0)))  # of a Poisson number of words
    return effect


def _labels(market: Market, line: FloatArray, tone: int, errors: FloatArray) -> FloatArray:
    shape = np.array(list(market.labels.values())).reshape(-1, 3)
    log_odds = shape[:, 0] + shape[:, 1] * (line[:, None] - 1.0) + shape[:, 2] * tone
    estimate: FloatArray = 1.0 / (1.0 + np.exp(-(log_odds + market.classifier_error * errors)))
    return estimate


def feed_of(pools: Pools, policy: Policy, negative: BoolArray, provoked: FloatArray | float = 0.0) -> Feed:
    """The candidates as a policy finds them, by the tones of the posts.

    Args:
        pools: the candidates.
        policy: whether it reads counts or probabilities decides what the acts are called.
        negative: (n,) tones.
        provoked: (n,) log of what negative posts draw more of angry, comments and reshares.
    """
    rate = np.where(negative, pools.rates[1], pools.rates[0])
    if np.any(provoked):
        more = np.exp(np.where(negative, provoked, 0.0))
        rate[[ACTS.index(act) for act in OUTRAGE]] *= more
    by_act = dict(zip(ACTS, rate, strict=True))
    kind: SignalKind = "probabilities" if policy.score.expects == "probabilities" else "counts"
    video = pools.feed.media == MEDIA_TYPES.index("video")
    columns = _signals(pools.market, by_act, kind, video)
    scale = 1.0 if kind == "probabilities" else pools.market.audience
    names = tuple(name for name in SIGNAL_NAMES if name in columns)
    values = np.stack([columns[name] for name in names])
    values = np.minimum(values, 1.0) * scale
    return with_changes(Feed, pools.feed, signals=Signals(names, values, None, kind))


def _signals(
    market: Market, rate: dict[str, FloatArray], kind: SignalKind, video: BoolArray
) -> dict[str, FloatArray]:
    """Acts as signals; where a platform has replies and quotes, comments and reshares with text are these."""
    part = market.parts
    columns = {name: rate[name] for name in ("like", "click", "hide", "report")}
    columns |= {
        "message": part["message"] * rate["reshare"],
        "follow": part["follow"] * rate["like"],
        "mute": part["mute"] * rate["hide"],
        "block": part["block"] * rate["hide"],
        "reshare": (1.0 - part["significant_reshare"]) * rate["reshare"],
        "video_view": np.where(video, part["video_view"], 0.0),
    }
    if kind == "counts":
        return columns | {
            **{name: rate[name] for name in ("love", "haha", "wow", "sad", "angry")},
            "comment": (1.0 - part["significant_comment"]) * rate["comment"],
            "significant_comment": part["significant_comment"] * rate["comment"],
            "significant_reshare": part["significant_reshare"] * rate["reshare"],
        }
    return columns | {
        "reply": rate["comment"],
        "reply_by_author": part["reply_by_author"] * rate["comment"],
        "reshare_with_text": part["significant_reshare"] * rate["reshare"],
        "conversation_click": part["conversation_click"] * rate["click"],
        "conversation_stay": part["conversation_stay"] * rate["click"],
        "profile_engagement": part["profile_engagement"] * rate["like"],
        "link_open": part["link_open"] * rate["click"],
        "share": part["share"] * rate["reshare"],
        "copy_link": part["copy_link"] * rate["reshare"],
        "not_interested": rate["hide"],
        "negative_feedback": rate["hide"],
    }


def harms_of(pools: Pools, negative: BoolArray) -> Harms:
    """What a classifier says of the candidates, by their tones."""
    probability = np.where(negative[:, None], pools.labels[1], pools.labels[0]).astype(np.float32)
    scores = HarmScores(pools.label_names, probability, np.ones_like(probability), "simulated")
    return Harms(scores, np.full(len(negative), np.nan))


def baseline_of(pools: Pools, feed: Feed) -> AngerBaseline:
    """What anger is usual for each page, over all its posts in the pools."""
    columns = {name: feed.signals.get(name) for name in ("like", "love", "haha", "wow", "sad", "angry")}
    every, codes = sum(columns.values(), np.zeros(feed.n)), pools.feed.publisher.codes
    sums = [
        np.bincount(codes[pools.page], weights=one[pools.page], minlength=pools.market.n_publishers)
        for one in (columns["angry"], every)
    ]
    names = pools.feed.publisher.values
    habits = {name: (float(sums[0][i]), float(sums[1][i])) for i, name in enumerate(names) if sums[1][i] > 0}
    return AngerBaseline(habits, {})

"""The synthetic sample: reproducible, valid, and tilted as its docstrings say."""

import csv
from functools import cache
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from models.domains import DomainRatings
from reranker.columns import FloatArray, IntArray, StringColumn
from reranker.feed import CANDIDATE_FIELDS, REQUEST_FIELDS, Feed
from reranker.sample import DOMAIN_RATINGS, make_sample
from reranker.sample.engagement import draw_totals
from reranker.sample.people import COUNTRY_SHARES, apportioned, draw_people, read_publishers
from reranker.sample.phrases import read_phrases
from reranker.sample.posts import KIND_SHARES, SPAN_HOURS, START, draw_posts
from reranker.signals import MEDIA_TYPES, RELATIONS

HARMS = ("is_toxic", "is_misinformation", "is_outrage", "is_clickbait", "is_graphic")
VIRAL = 40_000  # likes: no ordinary post comes near


@cache
def sample(seed: int = 0) -> Feed:
    return make_sample(seed)


@pytest.fixture(params=[0, 1, 2])
def feed(request: pytest.FixtureRequest) -> Feed:
    return sample(request.param)


def one_row_per_post(feed: Feed) -> IntArray:
    return np.unique(feed.post_id.codes, return_index=True)[1]


def count(feed: Feed, name: str) -> FloatArray:
    return feed.signals.get(name)[one_row_per_post(feed)]


def truth(feed: Feed, name: str) -> FloatArray:
    return feed.attributes[name][one_row_per_post(feed)]


def n_comments(feed: Feed) -> FloatArray:
    """Comments and replies per post, aligned with `one_row_per_post`."""
    assert feed.interactions is not None
    per_post = dict.fromkeys(feed.post_id.values, 0)
    for post in feed.interactions.post_id:
        per_post[str(post)] += 1
    return np.array(
        [per_post[str(feed.post_id[row])] for row in one_row_per_post(feed).tolist()], dtype=float
    )


def fingerprint(feed: Feed) -> list[object]:
    acts = feed.interactions
    assert acts is not None
    columns = [getattr(feed, name) for name in (*REQUEST_FIELDS, *CANDIDATE_FIELDS, "urls")]
    columns += [acts.post_id, acts.kind, acts.actor, acts.text, acts.relation, acts.time, acts.deleted_at]
    columns += [feed.offsets, feed.signals.values, *feed.attributes.values()]
    return [
        (column.codes.tobytes(), column.values) if isinstance(column, StringColumn) else column.tobytes()
        for column in columns
    ]


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert fingerprint(make_sample(7, n_posts=400, n_requests=20)) == fingerprint(
        make_sample(7, n_posts=400, n_requests=20)
    )


def test_another_seed_gives_another_sample() -> None:
    assert fingerprint(sample(0)) != fingerprint(sample(1))


def test_the_default_size_is_as_documented(feed: Feed) -> None:
    assert feed.n_requests == 250
    assert 9_000 < feed.n < 11_000
    assert 2_900 < len(one_row_per_post(feed)) <= 3_000
    assert len(set(feed.user)) == 150
    assert feed.interactions is not None
    assert 10_000 < len(feed.interactions) < 15_000
    assert feed.missing == ("parent_id",)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(50, 150), st.integers(1, 8))
def test_small_samples_are_valid_and_have_no_empty_request(
    seed: int, n_users: int, n_posts: int, n_requests: int
) -> None:
    feed = make_sample(seed, n_users=n_users, n_posts=n_posts, n_requests=n_requests)
    assert feed.n_requests == n_requests
    assert np.diff(feed.offsets).min() > 0


def test_requests_hold_about_forty_candidates(feed: Feed) -> None:
    lengths = np.diff(feed.offsets)
    assert lengths.min() >= 28
    assert 38 < lengths.mean() < 42


@pytest.mark.parametrize("size", [{"n_users": 0}, {"n_posts": 49}, {"n_requests": 0}])
def test_a_sample_too_small_is_refused_by_name(size: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(size))}: expected at least"):
        make_sample(0, **size)


def test_harm_shares_are_as_stated(feed: Feed) -> None:
    for harm in HARMS:
        assert truth(feed, harm).mean() == pytest.approx(KIND_SHARES[harm.removeprefix("is_")], abs=0.004)
    harmful = sum(truth(feed, harm) for harm in HARMS)
    assert np.isin(harmful, (0, 1)).all()
    assert not (truth(feed, "is_hard_negative") * harmful).any()
    assert 0.05 < truth(feed, "is_hard_negative").mean() < 0.13


def test_reaction_totals_follow_the_published_order_and_ratios(feed: Feed) -> None:
    like, love, angry = (count(feed, name).sum() for name in ("like", "love", "angry"))
    others = [count(feed, name).sum() for name in ("haha", "wow", "sad")]
    assert angry / like == pytest.approx(0.429 / 63, rel=0.3)
    assert love / like == pytest.approx(11 / 63, rel=0.05)
    assert like > 4 * love > 8 * max(others)
    assert min(others) > 2 * angry


def test_angry_is_several_times_more_frequent_on_harm(feed: Feed) -> None:
    like, angry = count(feed, "like"), count(feed, "angry")
    usual = (like < VIRAL) & ~(angry > 0.4 * like + 20)  # neither viral nor brigaded
    benign = usual & (sum(truth(feed, harm) for harm in HARMS) == 0)
    base = angry[benign].sum() / like[benign].sum()
    for harm in ("is_toxic", "is_misinformation", "is_outrage"):
        chosen = usual & (truth(feed, harm) == 1)
        assert angry[chosen].sum() / like[chosen].sum() > 4 * base


def test_likes_are_heavy_tailed(feed: Feed) -> None:
    like = np.sort(count(feed, "like"))
    usual = like[like < VIRAL]
    assert len(usual) < len(like) <= len(usual) + 5
    assert usual[-len(usual) // 100 :].sum() > 0.15 * usual.sum()
    assert np.median(usual) < 0.4 * usual.mean()


def test_viral_outliers_include_a_live_video(feed: Feed) -> None:
    rows = one_row_per_post(feed)
    viral = rows[count(feed, "like") > VIRAL]
    assert MEDIA_TYPES.index("live_video") in feed.media[viral]


def test_engagement_rises_towards_the_line_and_satisfaction_falls(feed: Feed) -> None:
    near, like = truth(feed, "near_line"), count(feed, "like")
    usual = (like > 20) & (like < VIRAL)
    for name, sign in (
        ("reshare", 1),
        ("hide", 1),
        ("report", 1),
        ("request_less", 1),
        ("worth_your_time", -1),
    ):
        correlation = spearmanr(near[usual], (count(feed, name) / np.maximum(like, 1))[usual]).statistic
        assert sign * correlation > 0.1, name


def test_outrage_draws_more_comments_for_its_likes(feed: Feed) -> None:
    outrage, like = truth(feed, "is_outrage") == 1, count(feed, "like")
    usual = like < VIRAL
    per_like = n_comments(feed) / (1 + like) ** 0.3
    assert per_like[outrage & usual].mean() > 1.5 * per_like[~outrage & usual].mean()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_in_myanmar_people_laugh_at_posts_that_are_not_funny(seed: int) -> None:
    rng = np.random.default_rng(seed)
    people = draw_people(150, rng)
    posts = draw_posts(3000, people, rng)
    totals = draw_totals(posts, people, rng)
    per_like = totals["haha"] / np.maximum(totals["like"], 1)
    is_mm = np.array([people.country[author] == "MM" for author in posts.author.tolist()])
    tone = np.array([group.tone for group in posts.group])
    enough = totals["like"] > 5
    serious, funny = np.isin(tone, ("neutral", "sober", "reasoned", "reflective", "angry")), tone == "funny"
    assert per_like[enough & serious & is_mm].mean() > 3 * per_like[enough & serious & ~is_mm].mean()
    assert per_like[enough & funny & is_mm].mean() < 2 * per_like[enough & funny & ~is_mm].mean()


def test_two_posts_are_brigaded_by_few_accounts(feed: Feed) -> None:
    rows = one_row_per_post(feed)
    few = (count(feed, "angry") > 90) & (feed.angry_accounts[rows] < 10)
    assert few.sum() == 2
    assert (feed.angry_peak_share[rows][few] > 0.9).all()
    unmeasured = np.isnan(feed.angry_peak_share)
    assert (unmeasured == (feed.signals.get("angry") == 0)).all()


def test_a_ring_writes_one_word_comments(feed: Feed) -> None:
    acts = feed.interactions
    assert acts is not None
    most = [str(feed.post_id[row]) for row in one_row_per_post(feed)[n_comments(feed) >= 150].tolist()]
    assert len(most) == 1
    mine = acts.post_id.codes == acts.post_id.code_of(most[0])
    texts = [text for text, is_mine in zip(acts.text, mine.tolist(), strict=True) if is_mine and text]
    assert sum(" " not in text for text in texts) >= 150
    assert np.sort(np.unique(acts.actor.codes[mine], return_counts=True)[1])[-8:].sum() >= 150


def test_comments_are_interactions_and_never_totals(feed: Feed) -> None:
    acts = feed.interactions
    assert acts is not None
    assert set(acts.kind) == {"comment", "reply"}
    assert not set(acts.kind) & set(feed.signals.names)
    assert set(acts.post_id) <= set(feed.post_id)
    texts = acts.text.to_list()
    assert texts.count(".") > 50
    assert sum(len(text or "") > 300 for text in texts) > 100
    deleted = ~np.isnat(acts.deleted_at)
    assert 0.02 < deleted.mean() < 0.1
    assert (acts.deleted_at[deleted] >= acts.time[deleted]).all()


def test_every_link_leads_to_a_reserved_domain(feed: Feed) -> None:
    hosts = {str(urlsplit(str(url)).hostname) for url in feed.urls}
    assert hosts
    assert all(host.endswith(".example") for host in hosts)
    assert hosts <= {publisher.domain for publisher in read_publishers()}


def test_publishers_are_forty_distinct_ones_under_example() -> None:
    publishers = read_publishers()
    assert len(publishers) == len({p.domain for p in publishers}) == len({p.name for p in publishers}) == 40
    assert all(p.domain.endswith(".example") and p.country in COUNTRY_SHARES for p in publishers)


def test_ratings_separate_reputable_from_fabricated_and_leave_some_unrated() -> None:
    ratings = DomainRatings.read(DOMAIN_RATINGS)
    score = {p.domain: (p.kind, ratings.rate_url(f"https://www.{p.domain}/a")) for p in read_publishers()}
    by_kind = {
        kind: [s for k, s in score.values() if k == kind and not np.isnan(s)] for kind, _ in score.values()
    }
    assert min(by_kind["reputable"]) > 0.7 > max(by_kind["hyperpartisan"]) > 0.2 > max(by_kind["fabricated"])
    assert sum(np.isnan(s) for _, s in score.values()) > 5
    with DOMAIN_RATINGS.open(newline="", encoding="utf-8") as file:
        assert {row["domain"] for row in csv.DictReader(file)} <= set(score)


def test_texts_are_mostly_distinct_and_some_are_missing(feed: Feed) -> None:
    texts = [feed.text[row] for row in one_row_per_post(feed).tolist()]
    assert len(set(texts)) > 0.97 * len(texts)
    assert None in texts
    assert "" in texts
    assert any(text and not any(char.isalnum() for char in text) for text in texts)
    assert not any("{" in (text or "") for text in texts)


def test_languages_are_set_where_there_are_words(feed: Feed) -> None:
    assert {"en", "es", "de", "pt", "my", "th", "ja"} <= set(feed.language)
    silent = np.array([not text for text in feed.text])
    assert feed.language.is_null[silent].all()
    assert np.mean([language == "en" for language in feed.language]) > 0.8


def test_relations_are_consistent_per_viewer_and_author(feed: Feed) -> None:
    user = feed.user.codes[feed.request_of_row]
    pair = user.astype(np.int64) * len(feed.author.values) + feed.author.codes
    _, first, group = np.unique(pair, return_index=True, return_inverse=True)
    assert (feed.relation == feed.relation[first][group]).all()
    assert (feed.see_less_requests == feed.see_less_requests[first][group]).all()
    assert set(np.unique(feed.relation).tolist()) == set(range(len(RELATIONS)))
    viewers = np.array(feed.user.to_list())[feed.request_of_row]
    assert not (viewers == np.array(feed.author.to_list())).any()


def test_friendship_is_mutual() -> None:
    people = draw_people(50, np.random.default_rng(3))
    among = people.relation[:, : people.n_persons]
    for name in ("close_friend", "friend"):
        mask = among == RELATIONS.index(name)
        assert (mask == mask.T).all()


def test_what_is_shown_was_written_before_within_two_weeks(feed: Feed) -> None:
    asked = feed.time[feed.request_of_row]
    assert (feed.created_at <= asked).all()
    assert feed.created_at.min() >= START
    assert feed.time.max() <= START + np.timedelta64(int(SPAN_HOURS), "h")


def test_original_positions_count_from_zero_and_favour_engagement(feed: Feed) -> None:
    for start, stop in zip(feed.offsets[:-1].tolist(), feed.offsets[1:].tolist(), strict=True):
        assert sorted(feed.original_position[start:stop].tolist()) == list(range(stop - start))
    top = feed.original_position < 5
    assert np.median(feed.signals.get("like")[top]) > 3 * np.median(feed.signals.get("like")[~top])


def test_repeat_offenders_have_violations(feed: Feed) -> None:
    toxic = feed.attributes["is_toxic"] == 1
    assert feed.author_violations[toxic].mean() > 2 * feed.author_violations[~toxic].mean()
    reputable = np.isin([str(author) for author in feed.author], ["harborcourier", "meridiandaily"])
    assert not feed.author_violations[reputable].any()


def test_every_slot_and_manner_of_the_phrases_exists() -> None:
    phrases = read_phrases()
    rng = np.random.default_rng(0)
    for group in phrases.groups:
        assert group.tone in phrases.manners
        for text in (*group.texts, *group.more):
            assert "{" not in phrases.fill(text, group.language, rng)
    for names, cumulative in phrases.manners.values():
        assert set(names) <= set(phrases.comments)
        assert cumulative[-1] == pytest.approx(1.0)


def test_filling_repairs_articles_and_capitals() -> None:
    phrases = read_phrases()
    rng = np.random.default_rng(0)
    filled = {phrases.fill("{relative} met a {job}. {pet} saw the {group}.", "en", rng) for _ in range(200)}
    assert all(text[0].isupper() and "the the" not in text.lower() for text in filled)
    assert any("an electrician" in text for text in filled)
    assert not any(" a electrician" in text for text in filled)


def test_apportioned_counts_are_within_one_of_their_shares() -> None:
    drawn = apportioned(KIND_SHARES, 137, np.random.default_rng(0))
    assert len(drawn) == 137
    for kind, share in KIND_SHARES.items():
        assert abs(drawn.count(kind) - 137 * share) <= 1

"""Slopes of clicks on negative comments: known slopes, pooling, and refusals."""

import numpy as np
import pytest

from eval.negative_comments import negative_comment_slopes
from eval.relation_anger import anger_received
from reranker.columns import StringColumn
from reranker.signals import RELATIONS


def posts(mean=0.05, *, between=0.03, n_publishers=15, n_posts=60, seed=0):
    """Clicks with a slope per tenth of negative comments that differs between publishers."""
    rng = np.random.default_rng(seed)
    slope = rng.normal(mean, between, n_publishers)
    code = np.repeat(np.arange(n_publishers), n_posts)
    share = rng.beta(2, 4, len(code))
    level = np.exp(rng.normal(4, 1, n_publishers))[code] * rng.gamma(4, 0.25, len(code))
    clicks = rng.poisson(level * np.exp(slope[code] * share / 0.1)).astype(np.float64)
    return clicks, share, StringColumn.from_values([f"pub{c}" for c in code]), slope


def test_the_pooled_slope_and_the_shrunk_ones_are_covered():
    # 100 repeats: standard error 0.022 for the pooled slope; publishers' intervals cover on average
    covered, own, errors = [], [], []
    for seed in range(100):
        clicks, share, publisher, slope = posts(seed=seed)
        found = negative_comment_slopes(clicks, share, publisher)
        covered.append(found.pooled.low <= 0.05 <= found.pooled.high)
        own.append(((found.segments.low <= slope) & (slope <= found.segments.high)).mean())
        errors.append(
            [np.abs(found.segments.shrunk - slope).mean(), np.abs(found.segments.effect - slope).mean()]
        )
    assert abs(np.mean(covered) - 0.95) < 4 * 0.022
    assert np.mean(own) > 0.92
    shrunk, raw = np.mean(errors, axis=0)
    assert shrunk < raw


def test_publishers_without_a_slope_are_left_out_with_a_reason():
    clicks, share, publisher, _ = posts()
    quiet = np.where(publisher.codes == 0, 0.0, clicks)
    same = np.where(publisher.codes == 1, 0.3, share)
    few = np.where((publisher.codes == 2) & (np.arange(len(clicks)) % 3 > 0), np.nan, same)
    found = negative_comment_slopes(quiet, few, publisher)
    assert found.publishers == tuple(f"pub{c}" for c in range(3, 15))
    reasons = dict(found.left_out)
    assert "counts: expected some above 0" in reasons["pub0"]
    assert "expected each to vary" in reasons["pub1"]
    assert reasons["pub2"] == "20 posts; 30 are needed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clicks": -1}, "clicks: expected counts of at least 0, got -"),
        ({"clicks": 0}, "clicks: expected some above 0, got none"),
        ({"share": 3}, r"negative_share: expected numbers in \[0, 1\]"),
        ({"publishers": 4}, "at least 5 with 30 posts whose clicks and comments are known, got 4"),
    ],
)
def test_data_that_cannot_say_are_refused(change, message):
    clicks, share, publisher, _ = posts(n_publishers=change.get("publishers", 15))
    with pytest.raises(ValueError, match=message):
        negative_comment_slopes(clicks * change.get("clicks", 1), share * change.get("share", 1), publisher)


def received(*, n_authors=60, seed=0):
    """Friends send 0.02 angry reactions per post, strangers 0.1; the author's posts are alike."""
    rng = np.random.default_rng(seed)
    author = np.repeat(np.arange(n_authors), 20)
    angry = np.zeros((len(author), len(RELATIONS) + 1))
    habit = rng.gamma(4, 0.25, n_authors)[author]
    angry[:, RELATIONS.index("friend")] = rng.poisson(0.02 * habit)
    angry[:, RELATIONS.index("stranger")] = rng.poisson(0.1 * habit)
    every = angry.copy()
    every[:, [RELATIONS.index("friend"), RELATIONS.index("stranger")]] += 3
    return angry, every, author


def test_angry_reactions_per_post_are_told_by_relation():
    covered = []
    for seed in range(100):
        found = {one.relation: one for one in anger_received(*received(seed=seed))}
        assert set(found) == {"all", "friend", "stranger"}
        one = found["stranger"].per_post
        covered.append(one.low <= 0.1 <= one.high)
        assert found["stranger"].per_post.value > found["friend"].per_post.value
        total = found["friend"].per_post.value + found["stranger"].per_post.value
        assert found["all"].per_post.value == pytest.approx(total)
    assert np.mean(covered) > 0.95 - 4 * 0.022


def test_no_anger_few_authors_and_impossible_counts_are_refused():
    angry, every, author = received()
    with pytest.raises(ValueError, match="expected at least one angry reaction, got none"):
        anger_received(np.zeros_like(angry), every, author)
    with pytest.raises(ValueError, match="author: expected at least 10, got 3"):
        anger_received(angry[:60], every[:60], author[:60])
    with pytest.raises(ValueError, match="angry: expected counts from 0"):
        anger_received(angry + 9, every, author)

"""Good and bad engagement: two parts that add up, and harm that takes from the good one only (C4)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.scores import HarmScores
from reranker.assembly import feed_from_columns
from reranker.explain import explain
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import build_policy
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.value import Harms, endorsement

COUNTS = ("like", "love", "haha", "angry", "comment", "reshare", "report")
HARMS = tuple(load_policy("harm-aware").value.harms)


def feed_of(counts: list[Any]) -> Feed:
    columns = dict(zip(COUNTS, (list(c) for c in zip(*counts, strict=True)), strict=True))
    n = len(counts)
    return feed_from_columns({"request_id": ["r"] * n, "post_id": [f"p{i}" for i in range(n)], **columns})


def harms_of(probability: Any, tone: Any = None) -> Harms:
    values = np.asarray(probability, dtype=np.float32)
    confidence = np.where(np.isnan(values), np.nan, 1.0)
    n = len(values)
    return Harms(
        HarmScores(HARMS, values, confidence, "test"), np.asarray(tone if tone is not None else [np.nan] * n)
    )


def rank(feed: Feed, harms: Harms | None, *changes: str) -> Ranking:
    return Reranker(load_policy("harm-aware", changes)).rank(feed, harms)


rows = st.integers(1, 5).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(*[st.integers(0, 10**9)] * len(COUNTS)), min_size=n, max_size=n),
        st.lists(
            st.lists(st.floats(0, 1, width=32), min_size=len(HARMS), max_size=len(HARMS)),
            min_size=n,
            max_size=n,
        ),
        st.lists(st.none() | st.floats(0, 1), min_size=n, max_size=n),
    )
)


@settings(deadline=None, max_examples=60)
@given(rows)
def test_good_and_bad_add_up_to_the_engagement_of_each_post_and_each_signal(drawn: Any) -> None:
    """C4."""
    counts, harm, tone = drawn
    ranking = rank(feed_of(counts), harms_of(harm, np.array(tone, dtype=float)))
    assert ranking.good + ranking.bad == pytest.approx(ranking.engagement, rel=1e-12)
    assert (ranking.good >= 0).all()
    assert (ranking.bad >= -1e-12 * ranking.engagement).all()
    for row in range(ranking.feed.n):
        terms = [t for t in explain(ranking, f"p{row}").terms if t.kind == "engagement"]
        good = sum(t.good for t in terms if t.good is not None)
        bad = sum(t.bad for t in terms if t.bad is not None)
        assert good == pytest.approx(ranking.good[row], rel=1e-12)
        assert good + bad == pytest.approx(ranking.engagement[row], rel=1e-12)


@settings(deadline=None, max_examples=60)
@given(rows, st.data())
def test_more_harm_never_raises_the_good_part_nor_the_score(drawn: Any, data: Any) -> None:
    """C4, for each label, the tone of the comments and the angry share."""
    counts, harm, tone = drawn
    tone = np.array(tone, dtype=float)
    before = rank(feed_of(counts), harms_of(harm, tone))
    row, column = data.draw(st.integers(0, len(counts) - 1)), data.draw(st.integers(0, len(HARMS)))
    if column < len(HARMS):
        harm = [list(values) for values in harm]
        harm[row][column] = data.draw(st.floats(harm[row][column], 1, width=32))
    else:
        tone[row] = data.draw(st.floats(max(0.0, np.nan_to_num(tone[row])), 1))
    after = rank(feed_of(counts), harms_of(harm, tone))
    assert (after.good <= before.good).all()
    assert (after.engagement == before.engagement).all()
    assert (after.score <= before.score).all()
    others = np.arange(len(counts)) != row
    assert (after.score[others] == before.score[others]).all()


def test_the_split_is_that_of_the_docstring() -> None:
    """C4: 10 likes, 4 comments worth 4 each; toxicity .5 (weight .9), no angry, comments' toxicity .25 (.8).

    quality = (1 - .45) * (1 - .2) = .44; like: .95 * (1 - .5 * .56) = .684; comment: .75 * .44 = .33.
    good = 6.84 + 16 * .33 = 12.12 of 26.
    """
    feed = feed_of([(10, 0, 0, 0, 4, 0, 0)])
    harm = [[0.5 if label == "toxicity" else 0.0 for label in HARMS]]
    ranking = rank(feed, harms_of(harm, [0.25]), "guard.max_signal_share=1.0")
    assert ranking.engagement.tolist() == [26.0]
    assert ranking.good == pytest.approx([12.12])
    assert ranking.bad == pytest.approx([13.88])
    assert ranking.base_score == pytest.approx([12.12])
    half = rank(feed, harms_of(harm, [0.25]), "guard.max_signal_share=1.0", "value.bad_weight=0.5")
    assert half.base_score == pytest.approx([12.12 + 13.88 / 2])
    against = rank(feed, harms_of(harm, [0.25]), "guard.max_signal_share=1.0", "value.bad_weight=-1")
    assert against.base_score == pytest.approx([12.12 - 13.88])


def test_an_angry_share_takes_from_the_quality_although_angry_weighs_nothing() -> None:
    """W36, C4: half of the reactions are angry: quality 1 - .8 * .5 = .6; likes .95 * (1 - .5 * .4) = .76."""
    ranking = rank(feed_of([(50, 0, 0, 50, 0, 0, 0)]), None)
    assert ranking.good == pytest.approx([38.0])


def test_what_was_not_scored_takes_nothing_off() -> None:
    feed = feed_of([(10, 0, 0, 0, 0, 0, 0)] * 2)
    unknown = harms_of([[np.nan] * len(HARMS), [0.0] * len(HARMS)])
    ranking = rank(feed, unknown)
    assert ranking.good[0] == ranking.good[1] == rank(feed, None).good[0] == pytest.approx(9.5)
    named = next(term for term in ranking.unscored if term.startswith("labels toxicity, "))
    assert named.endswith(" for 1 of 2 candidates")


def test_a_policy_that_asks_for_nothing_counts_all_engagement_as_good() -> None:
    policy = load_policy("fb-2018-h1")
    ranking = Reranker(policy).rank(feed_of([(10, 1, 0, 0, 0, 0, 0)]))
    assert (ranking.good == ranking.engagement).all()
    assert (ranking.bad == 0).all()


def test_signals_without_a_prior_count_as_endorsed() -> None:
    policy = build_policy({"schema": 1, "name": "p", "value": {"endorsed": {"like": 0.5}}}, "p")
    always, scaled = endorsement(policy, ("like", "love"))
    assert (always.tolist(), scaled.tolist()) == ([0.5, 1.0], [0.0, 0.0])


def test_the_tone_has_one_value_per_post() -> None:
    with pytest.raises(ValueError, match="comment_toxicity: expected 1 rows, got 2"):
        harms_of([[0.0] * len(HARMS)], [0.1, 0.2])

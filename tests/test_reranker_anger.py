"""Disproportionate anger (W13): the posterior, the shrinkage, the guard against brigades, the baseline."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reranker.anger import AngerBaseline, AngerTest, measure_anger
from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.engagement import measure_engagement
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import Anger, Curve
from reranker.presets import load_policy

POLICY = load_policy("fb-2018-h1")
RULE = Anger(
    curve=Curve(start=0.9, line=0.999, floor=0.2),
    prior_rate=0.0058,
    prior_reactions=50,
    ratio=3,
    min_share=0.0,
    min_accounts=20,
    max_peak_share=0.6,
)
NOTHING = AngerBaseline({}, {})


def feed_of(**columns: Any) -> Feed:
    n = len(next(iter(columns.values())))
    return feed_from_columns({"request_id": ["r"] * n, "post_id": [f"p{i}" for i in range(n)]} | columns)


def measured(feed: Feed, baseline: AngerBaseline = NOTHING, **changes: Any) -> AngerTest:
    return measure_anger(feed, measure_engagement(feed, POLICY), baseline, RULE.model_copy(update=changes))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 100_000)), min_size=1, max_size=6),
    st.sampled_from([0.0058, 0.05, 0.3]),
    st.sampled_from([1.0, 3.0, 10.0]),
)
def test_the_posterior_is_scipys_beta(counts: list[tuple[int, int]], rate: float, ratio: float) -> None:
    """W13: Beta(50 base + angry, 50 (1 - base) + others) beyond min(ratio * base, .95), or 0 below."""
    angry, like = (list(column) for column in zip(*counts, strict=True))
    got = measured(feed_of(angry=angry, like=like), prior_rate=rate, ratio=ratio).p_exceeds
    for p, n_angry, n_like in zip(got, angry, like, strict=True):
        posterior = stats.beta(50 * rate + n_angry, 50 * (1 - rate) + n_like)
        limit = min(ratio * rate, 0.95)
        expected = posterior.sf(limit) if posterior.mean() > limit else 0.0
        assert p == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("angry", "like"), [(3, 100), (10, 300), (40, 900), (5, 5)])
def test_the_posterior_is_the_integral_of_likelihood_times_prior(angry: int, like: int) -> None:
    """W13, by summing a fine grid of rates."""
    rates = (np.arange(400_000) + 0.5) / 400_000
    a, b = 50 * 0.05, 50 * 0.95
    log_density = (a - 1 + angry) * np.log(rates) + (b - 1 + like) * np.log1p(-rates)
    density = np.exp(log_density - log_density.max())
    expected = density[rates > 0.05].sum() / density.sum()
    got = measured(feed_of(angry=[angry], like=[like]), prior_rate=0.05, ratio=1.0).p_exceeds[0]
    mean = (a + angry) / (a + b + angry + like)
    assert got == pytest.approx(expected if mean > 0.05 else 0.0, abs=1e-4)


def test_few_reactions_prove_nothing_and_many_do() -> None:
    """W13: the same share of 5 %, of 20 reactions and of 20,000; the prior is worth 50 reactions."""
    got = measured(feed_of(angry=[1, 1000], like=[19, 19_000]), min_accounts=0)
    assert got.p_exceeds[0] < 0.9 < 0.999 < got.p_exceeds[1]
    assert got.multiplier[0] == 1.0
    assert got.multiplier[1] == pytest.approx(0.2)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 3000))
def test_more_anger_never_lowers_the_posterior(first: int, more: int, like: int) -> None:
    got = measured(feed_of(angry=[first, first + more], like=[like, like])).p_exceeds
    assert got[1] >= got[0] - 1e-12


def test_a_share_below_the_least_is_never_disproportionate() -> None:
    """3 % of 100,000 reactions is far above three times .58 %, and below a least share of 5 %."""
    feed = feed_of(angry=[3000], like=[97_000])
    assert measured(feed).multiplier[0] == pytest.approx(0.2)
    assert measured(feed, min_share=0.05).multiplier[0] == 1.0


def test_rates_of_publishers_are_shrunk_towards_the_prior() -> None:
    """(50 * .0058 + angry) / (50 + reactions): of none, of 100 and of a million reactions at 20 %."""
    habits = AngerBaseline({"few": (20.0, 100.0), "many": (200_000.0, 1e6)}, {})
    rates = habits.rates(feed_of(publisher=["new", "few", "many", None], like=[1] * 4), RULE)
    assert rates == pytest.approx([0.0058, 20.29 / 150, 0.2, 0.0058], abs=1e-5)


def test_the_higher_of_the_publishers_and_the_topics_rate_counts() -> None:
    """An obituary is not demoted because its publisher is usually cheerful."""
    habits = AngerBaseline({"p": (10.0, 1000.0)}, {"war": (300.0, 1000.0)})
    rates = habits.rates(feed_of(publisher=["p", "p"], topic=["war", "cats"], like=[1, 1]), RULE)
    assert rates == pytest.approx([300.29 / 1050, 10.29 / 1050])


def test_few_accounts_or_one_burst_do_not_demote() -> None:
    """C12: a brigade cannot demote a rival; what was not measured does not guard."""
    columns = {
        "angry": [500.0] * 5,
        "like": [500.0] * 5,
        "angry_accounts": [19, 20, None, 400, 400],
        "angry_peak_share": [0.1, 0.1, None, 0.61, 0.6],
    }
    got = measured(feed_of(**columns))
    assert got.guarded.tolist() == [True, False, False, True, False]
    assert got.multiplier == pytest.approx([1.0, 0.2, 0.2, 1.0, 0.2])
    assert (got.p_exceeds > 0.999).all()  # the test is reported all the same
    small = measured(feed_of(angry=[19.0], like=[1.0]))  # accounts unknown: at most one per reaction
    assert small.guarded.tolist() == [True]
    calm = measured(feed_of(angry=[0.0], like=[100.0], angry_accounts=[0]))
    assert calm.guarded.tolist() == [False]


def test_what_was_not_measured_is_not_tested() -> None:
    got = measured(feed_of(angry=[None, 50], like=[10, 50]))
    assert np.isnan(got.p_exceeds[0])
    assert got.multiplier[0] == 1.0
    assert got.multiplier[1] < 1.0


def test_the_baseline_counts_each_post_once_and_a_viral_one_as_a_hundred_reactions() -> None:
    feed = feed_from_columns(
        {
            "request_id": ["r", "r", "s", "s", "t"],
            "post_id": ["a", "b", "a", "c", "d"],
            "publisher": ["p", "p", "p", None, "p"],
            "topic": ["war", None, "war", "war", None],
            "angry": [10, 500, 10, 1, None],
            "like": [30, 500, 30, 9, 5],
        }
    )
    habits = AngerBaseline.fit(feed)
    # p: a 10 of 40, b 50 of 100 (1000 counted as 100), d was not measured; war: a and c
    assert habits.publisher == {"p": (60.0, 140.0)}
    assert habits.topic == {"war": (11.0, 50.0)}
    assert habits.post == {"a": (10.0, 40.0), "b": (50.0, 100.0), "c": (1.0, 10.0)}


def test_a_post_is_left_out_of_the_rate_that_it_is_tested_against() -> None:
    """W13: else a publisher's only post, however angry, would be what is usual for it."""
    feed = feed_of(publisher=["new", "old", "old"], angry=[300, 30, 0], like=[700, 70, 100])
    rates = AngerBaseline.fit(feed).rates(feed, RULE)
    assert rates == pytest.approx([0.0058, 0.29 / 150, 30.29 / 150])
    assert measured(feed, AngerBaseline.fit(feed)).multiplier[0] == pytest.approx(0.2)


def test_the_baseline_is_read_from_single_acts_as_well() -> None:
    kinds = ["angry"] * 3 + ["like"] * 6 + ["comment"]
    acts = interactions_from_columns({"post_id": ["p0"] * 10, "kind": kinds})
    feed = feed_from_columns(
        {"request_id": ["r"], "post_id": ["p0"], "publisher": ["p"], "love": [1]}, interactions=acts
    )
    assert AngerBaseline.fit(feed).publisher == {"p": (3.0, 10.0)}


def test_a_publisher_that_is_always_angry_is_not_demoted_for_a_usual_post() -> None:
    """W13 is about disproportionate anger: the same post of two publishers."""
    habits = AngerBaseline({"angry": (3000.0, 10_000.0), "calm": (30.0, 10_000.0)}, {})
    feed = feed_of(publisher=["angry", "calm"], angry=[300, 300], like=[700, 700])
    ranking = Reranker(load_policy("harm-aware"), baseline=habits).rank(feed)
    assert ranking.multiplier == pytest.approx([1.0, 0.2])


def test_probabilities_cannot_be_tested_and_the_result_says_so() -> None:
    feed = feed_from_columns(
        {"request_id": ["r"], "post_id": ["a"], "angry": [0.5], "like": [0.5]}, kind="probabilities"
    )
    ranking = Reranker(load_policy("harm-aware"), baseline=NOTHING).rank(feed)
    assert "anger (counts of reactions and a baseline)" in ranking.unscored
    assert "anger" not in ranking.demotions()


def test_the_limit_is_never_beyond_a_share_that_can_be_exceeded() -> None:
    habits = AngerBaseline({"p": (900.0, 1000.0)}, {})
    got = measured(feed_of(publisher=["p"], angry=[10_000], like=[0]), habits)
    assert got.p_exceeds[0] > 0.999

"""Did the demotions demote? A halved billion stays on top; ours does not (W25, W26)."""

from typing import Any

import numpy as np
import pytest

from models.scores import HarmScores
from reranker.anger import AngerBaseline
from reranker.assembly import feed_from_columns
from reranker.effectiveness import Effectiveness, measure_effectiveness, refuse_to_demote_everything
from reranker.feed import Feed
from reranker.pipeline import Reranker
from reranker.policy import PolicyError
from reranker.presets import load_policy
from reranker.ranking import Ranking
from reranker.value import Harms

LABELS = ("toxicity", "misinformation", "low_quality_news")


def billion(**more: Any) -> Feed:
    """One toxic post of a billion likes among eight of a few hundred, twice."""
    likes = [10**9, 250, 300, 350, 280, 320, 310, 290, 300]
    return feed_from_columns(
        {
            "request_id": ["r"] * 9 + ["s"] * 9,
            "post_id": [f"p{i}" for i in range(9)] * 2,
            "like": likes * 2,
            "user": ["u"] * 9 + ["v"] * 9,
        }
        | more
    )


def harms(toxic: list[float], confidence: float = 1.0) -> Harms:
    p = np.zeros((len(toxic), 3))
    p[:, 0] = toxic
    return Harms(HarmScores(LABELS, p, np.full(p.shape, confidence), "m"), np.full(len(toxic), np.nan))


TOP = ([1.0] + [0.0] * 8) * 2


def test_a_halved_billion_stays_on_top_and_a_bounded_one_lands_at_the_bottom() -> None:
    """W25, W26: 1e9 / 300 needs 22 halvings, one was given."""
    halved = Reranker(load_policy("fb-2018-h1+halving")).rank(billion(), harms(TOP))
    assert halved.ids()[0] == "p0"
    report = measure_effectiveness(halved)
    assert report == Effectiveness(18, 2, 2, 2, 2, 22)
    assert report.ineffective_per_1000 == 1000
    assert report.as_dict()["ineffective_per_1000"] == 1000
    ours = Reranker(load_policy("harm-aware")).rank(billion(), harms(TOP))
    assert ours.ids()[-1] == "p0"
    mine = measure_effectiveness(ours)
    assert (mine.n_full, mine.n_ineffective, mine.n_unmoved, mine.ineffective_per_1000) == (2, 0, 0, 0)


def test_twenty_two_halvings_would_have_been_enough() -> None:
    """W26: a floor of 2 ** -22 in an unbounded policy."""
    policy = load_policy("fb-2018-h1", [f"demotion.toxicity={{start=0.5, line=0.5, floor={2.0**-22!r}}}"])
    assert measure_effectiveness(Reranker(policy).rank(billion(), harms(TOP))).ineffective_per_1000 == 0
    policy = load_policy("fb-2018-h1", [f"demotion.toxicity={{start=0.5, line=0.5, floor={2.0**-21!r}}}"])
    assert measure_effectiveness(Reranker(policy).rank(billion(), harms(TOP))).ineffective_per_1000 == 1000


def test_an_unsure_or_partial_demotion_is_not_a_full_one() -> None:
    policy = load_policy("fb-2018-h1+halving")
    unsure = measure_effectiveness(Reranker(policy).rank(billion(), harms(TOP, 0.7)))
    assert (unsure.n_demoted, unsure.n_full, unsure.ineffective_per_1000) == (2, 0, None)
    below = measure_effectiveness(Reranker(policy).rank(billion(), harms([0.49] + [0.0] * 17)))
    assert (below.n_demoted, below.n_full, below.most_halvings) == (0, 0, None)


def test_held_out_and_removed_posts_are_not_counted() -> None:
    held = load_policy("fb-2018-h1+halving", ["holdout.share=1.0"])
    assert measure_effectiveness(Reranker(held).rank(billion(), harms(TOP))).n_demoted == 0
    removing = load_policy("fb-2018-h1+halving", ["demotion.toxicity.removal=0.9"])
    assert measure_effectiveness(Reranker(removing).rank(billion(), harms(TOP))).n_demoted == 0


def test_the_anger_test_lowers_in_part_and_is_no_full_demotion() -> None:
    """W13, C12: an angry crowd cannot bury a rival below what is beyond a policy line."""
    angry = [900] + [0] * 8
    for accounts, n_demoted in ((500, 2), (3, 0)):
        feed = billion(like=[100] * 18, angry=angry * 2, angry_accounts=[accounts] * 18)
        ranking = Reranker(load_policy("harm-aware"), baseline=AngerBaseline({}, {})).rank(feed)
        report = measure_effectiveness(ranking)
        assert (report.n_demoted, report.n_full, report.ineffective_per_1000) == (n_demoted, 0, None)


def test_a_policy_that_demotes_every_candidate_of_a_log_is_refused() -> None:
    """Not of a single request, which may be harmful from end to end."""
    policy = load_policy("harm-aware", ["unscored.multiplier=0.5"])

    def rank(n: int, *, scored: bool = False) -> Ranking:
        feed = feed_from_columns(
            {"request_id": ["r"] * n, "post_id": [str(i) for i in range(n)], "like": [1] * n}
        )
        probability = np.full((n, 1), np.nan, dtype=np.float32)
        probability[0] = 0.0 if scored else np.nan
        scores = HarmScores(("toxicity",), probability, probability, "test")
        return Reranker(policy).rank(feed, Harms(scores, np.full(n, np.nan)))

    refuse_to_demote_everything(rank(99))
    refuse_to_demote_everything(rank(100, scored=True))
    with pytest.raises(PolicyError, match="stay undemoted, got all 100"):
        refuse_to_demote_everything(rank(100))


def test_a_request_without_undemoted_posts_has_nothing_to_compare_with() -> None:
    feed = feed_from_columns({"request_id": ["r"] * 2, "post_id": ["a", "b"], "like": [5, 6]})
    report = measure_effectiveness(Reranker(load_policy("fb-2018-h1+halving")).rank(feed, harms([1.0, 1.0])))
    assert report == Effectiveness(2, 2, 2, 0, 0, None)


def test_without_a_classifier_there_is_nothing_to_measure() -> None:
    report = measure_effectiveness(Reranker(load_policy("fb-2018-h1+halving")).rank(billion()))
    assert (report.n_demoted, report.ineffective_per_1000) == (0, None)
    empty = feed_from_columns({"request_id": [], "post_id": []})
    assert measure_effectiveness(Reranker(load_policy("fb-2018-h1")).rank(empty)).n_candidates == 0


@pytest.mark.parametrize("score", [1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("overlay", ["", "+live-boost", "+live-boost+break-the-glass"])
def test_no_engagement_makes_our_full_demotion_ineffective(score: float, overlay: str) -> None:
    """W26, C11, with a boost of six hundred."""
    feed = billion(like=[score, *[300.0] * 8] * 2, media=(["live_video"] + ["text"] * 8) * 2)
    report = measure_effectiveness(Reranker(load_policy(f"harm-aware{overlay}")).rank(feed, harms(TOP)))
    assert (report.n_full, report.ineffective_per_1000, report.n_unmoved) == (2, 0, 0)

"""What the harness finds on real pages, against figures computed apart from it.

Protocol: posts with at least 10 reactions; pools are days with at least 100 of them; counts divided by
the page's median reactions; the policy of early 2018 on totals; the top max(5, n // 10) of each pool; the
weight of angry from 5 to 0; relative change of the mean over pools. A harness that finds more is wrong.
"""

from pathlib import Path

import pytest

from eval.comparison import Comparison, compare
from eval.lexicon import read_lexicon
from eval.outcomes import standard_outcomes
from eval.page_exports import decisions, page_changes
from eval.verdict import verdict
from reranker.facebook import import_facebook
from reranker.pipeline import Reranker
from reranker.presets import load_policy

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "engagement"
NEWS = DATA / "fb_news_2016_17_rleun.parquet"
WORDS = DATA / "moral_emotional_and_group_words.csv"

pytestmark = pytest.mark.skipif(not NEWS.exists(), reason=f"needs the data in {DATA}")


@pytest.fixture(scope="module")
def feed():
    made, report = import_facebook(NEWS, pool="day", min_reactions=10, min_pool=100, normalise="page-median")
    assert report.n_pools == made.n_requests == 290
    return made


@pytest.fixture(scope="module")
def other_feed():
    path = DATA / "fb_pages_2016_minimaxir.parquet"
    return import_facebook(path, pool="day", min_reactions=10, min_pool=100, normalise="page-median")[0]


@pytest.fixture(scope="module")
def outcomes(feed):
    return standard_outcomes(feed, divisive=read_lexicon(WORDS, exclude=["MoralEmotional"]))


def without_anger(feed, outcomes, *settings) -> Comparison:
    original = Reranker(load_policy("fb-2018-h1", settings)).rank(feed)
    treatment = Reranker(load_policy("fb-2018-h1", [*settings, "weights.angry=0"])).rank(feed)
    return compare(original, treatment, outcomes, segments=(), also=("rbp:0.8",))


def percents(comparison: Comparison) -> dict[str, float]:
    return {o.name: 100 * comparison.row(o.name).relative for o in comparison.outcomes}


def test_on_news_pages_anger_falls_and_low_quality_does_not(feed, outcomes):
    found = without_anger(feed, outcomes)
    change = percents(found)
    assert change["angry_share"] == pytest.approx(-12.1, abs=0.5)
    assert change["reactions"] == pytest.approx(0.5, abs=0.2)
    assert change["comments"] == pytest.approx(-0.3, abs=0.1)
    assert change["low_quality"] == pytest.approx(-0.2, abs=0.5)
    assert found.row("angry_share").direction == "decreased"
    assert found.row("low_quality").direction == "not measurable"
    assert (
        0.3 < found.row("low_quality").n_unscored_original / found.row("low_quality").n_shown_original < 0.6
    )
    text = " ".join(sentence.text for sentence in verdict(found))
    assert "Exposure to low-quality sources did not change measurably" in text
    assert "it does not show by itself that harm fell" in text
    assert (found.cluster, found.n_clusters) == ("requests", 290)


def test_divisive_words_fall_slightly(feed, outcomes):
    found = without_anger(feed, [outcome for outcome in outcomes if outcome.name == "divisive"])
    assert percents(found)["divisive"] == pytest.approx(-2.3, abs=0.1)
    assert found.row("divisive").direction == "decreased"


def test_where_comments_and_reshares_do_not_count_the_effects_are_several_times_larger(feed, outcomes):
    found = without_anger(feed, outcomes, "weights.comment=0", "weights.reshare=0")
    change = percents(found)
    assert change["angry_share"] == pytest.approx(-54.4, abs=0.5)
    # -5.6% is the ratio over all top posts together (measured -5.57); the mean over pools is -3.9%
    assert change["comments"] == pytest.approx(-3.9, abs=0.2)
    assert found.row("comments").direction == "decreased"
    assert found.row("low_quality").direction == "not measurable"


def test_on_other_pages_anger_falls_and_low_quality_rises(other_feed):
    # a harness that always reports that harm fell is wrong
    found = without_anger(other_feed, standard_outcomes(other_feed))
    change = percents(found)
    assert change["angry_share"] == pytest.approx(-12.0, abs=1.0)
    assert change["low_quality"] == pytest.approx(5.8, abs=1.8)
    assert found.row("low_quality").direction == "increased"
    sentences = [s for s in verdict(found) if "low-quality sources rose" in s.text]
    assert sentences[0].tone == "worse"


def test_on_pages_of_sellers_almost_nothing_moves():
    path = DATA / "fb_live_sellers_uci.parquet"
    feed, _ = import_facebook(path, pool="all", min_reactions=10, normalise="page-median")
    found = without_anger(feed, standard_outcomes(feed))
    assert {row.direction for row in found.rows if row.browsing == found.browsing[0]} == {"identical"}
    harder = without_anger(feed, standard_outcomes(feed), "weights.comment=0", "weights.reshare=0")
    assert abs(harder.row("angry_share").absolute) < 1e-4
    assert all(abs(change) < 0.5 for name, change in percents(harder).items() if name != "angry_share")
    assert harder.row("comments").direction == "refused"  # one pool is no basis for an interval


# of what may be lost of each, relative for counts, in points of the share for angry reactions; as in
# eval/margins.toml where that has it
MARGINS = {
    "angry_share": 0.001,
    "positive_activity": 0.01,
    "all_activity": 0.01,
    "reactions": 0.01,
    "comments": 0.01,
    "reshares": 0.02,
}


def by_page(feed, outcomes, *settings, shown="10%"):
    rankings = [
        Reranker(load_policy("fb-2018-h1", [*settings, *more])).rank(feed)
        for more in ((), ("weights.angry=0",))
    ]
    return {one.outcome.name: one for one in page_changes(*rankings, outcomes, shown=shown)}


def holds(change, percent):
    return 100 * change.relative.low <= percent <= 100 * change.relative.high


@pytest.mark.parametrize("shown", ["5%", "10%", "25%", "rbp:0.8"])
def test_on_pages_of_sellers_angry_at_zero_is_equivalent_everywhere(shown):
    path = DATA / "fb_live_sellers_uci.parquet"
    feed, _ = import_facebook(path, pool="all", min_reactions=10, normalise="page-median")
    outcomes = [one for one in standard_outcomes(feed) if one.name in MARGINS]
    assert len(outcomes) == len(MARGINS)
    found = by_page(feed, outcomes, shown=shown)
    decided = decisions(tuple(found.values()), MARGINS)
    assert {name: one.decision for name, one in decided.items()} == dict.fromkeys(MARGINS, "EQUIVALENT")


def test_over_the_whole_order_of_sellers_the_angry_share_falls_by_less_than_its_margin():
    # 0.0703% to 0.0701%: a change that is told from nothing and is nothing
    path = DATA / "fb_live_sellers_uci.parquet"
    feed, _ = import_facebook(path, pool="all", min_reactions=10, normalise="page-median")
    outcomes = [one for one in standard_outcomes(feed) if one.name in MARGINS]
    decided = decisions(tuple(by_page(feed, outcomes, shown="log2").values()), MARGINS)
    assert decided.pop("angry_share").decision == "DIFFERENT-WITHIN-MARGIN"
    assert {one.decision for one in decided.values()} == {"EQUIVALENT"}


def test_on_news_pages_other_pages_might_show_more_or_less_of_low_quality(feed, outcomes):
    found = by_page(feed, outcomes)
    assert found["angry_share"].absolute.n_clusters == 141
    assert found["low_quality"].direction == "not measurable"
    assert 0.4 < found["low_quality"].unscored < 0.5
    told = {"angry_share": -12, "divisive": -2.3, "low_quality": -0.2, "reactions": 0.5, "comments": -0.4}
    assert all(holds(found[name], percent) for name, percent in told.items())
    assert {name: found[name].direction for name in ("angry_share", "divisive", "comments", "reactions")} == {
        "angry_share": "decreased",
        "divisive": "decreased",
        "comments": "decreased",
        "reactions": "increased",
    }
    counts = tuple(one for name, one in found.items() if name in MARGINS and name != "angry_share")
    assert {one.decision for one in decisions(counts, MARGINS).values()} == {"DIFFERENT-WITHIN-MARGIN"}


def test_on_other_pages_low_quality_is_not_said_to_have_fallen_and_activity_is_held(other_feed):
    found = by_page(other_feed, standard_outcomes(other_feed))
    # by days it rose; few pages carry it, so that of pages like these nothing can be said
    assert found["low_quality"].absolute.value > 0
    assert found["low_quality"].direction != "decreased"
    # divisive words: -0.7% is told; found is -1.7% (-2.9% to -0.8%), the one figure that does not agree
    told = {"angry_share": -12, "low_quality": 5.8, "reactions": 0.5, "comments": -0.4}
    assert all(holds(found[name], percent) for name, percent in told.items())
    harder = by_page(other_feed, standard_outcomes(other_feed), "weights.comment=0", "weights.reshare=0")
    assert harder["angry_share"].relative.high < 4 * found["angry_share"].relative.value
    assert harder["comments"].direction == "decreased"
    assert holds(harder["comments"], -6)
    assert decisions((harder["comments"],), MARGINS)["comments"].decision == "INFERIOR"

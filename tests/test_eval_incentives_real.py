"""The diagnostics on real pages and headlines, against figures computed apart from them.

Angry share about 1.7 times higher on hyperpartisan pages of the same months, almost unrelated to the quality
of a post's domain (rank correlation -.085), going with comments per reaction (.53); headlines with a negative
word clicked 5.6% more, by another list of words than the one here.
"""

import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval.group_ratio import group_ratio
from eval.incentives import diagnose
from eval.incentives_materials import Materials
from eval.lexicon import read_lexicon
from eval.upworthy import read_upworthy
from reranker.facebook import import_facebook
from reranker.pipeline import Reranker
from reranker.presets import load_policy

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "engagement"
NEWS, WEEKS = DATA / "fb_news_2016_17_rleun.parquet", DATA / "fb_partisan_page_week_2015_17_buzzfeed.parquet"
MORAL = DATA / "moral_emotional_and_group_words.csv"
NEGATIVE = Path(__file__).parent / "data" / "headline_words.csv"

pytestmark = pytest.mark.skipif(not NEWS.exists(), reason=f"needs the data in {DATA}")


@pytest.fixture(scope="module")
def found():
    feed, _ = import_facebook(NEWS, pool="day", min_reactions=10, min_pool=100)
    materials = Materials(
        Reranker(load_policy("fb-2018-h1")).rank(feed),
        moral=read_lexicon(MORAL, ["MoralEmotional"]),
        negative=read_lexicon(NEGATIVE, ["Negative"]),
        headlines=read_upworthy(DATA / "upworthy_ab_tests.parquet"),
    )
    return diagnose(materials)


def test_the_angry_share_goes_with_comments_and_hardly_with_the_quality_of_the_source(found):
    rho = {one.name: one.rho for one in found.correlations}
    assert rho["comments per reaction"].low <= 0.53 <= rho["comments per reaction"].high
    assert rho["comments per reaction"].low > 0.4
    assert rho["quality of the source"].value == pytest.approx(-0.085, abs=0.01)
    assert rho["quality of the source"].n_clusters > 100
    assert abs(rho["quality of the source"].low) < 0.2


def test_headlines_with_a_negative_word_are_clicked_more_and_the_stated_effect_lies_in_the_interval(found):
    effect = found.headlines.relative
    assert effect.value == pytest.approx(0.040, abs=0.001)
    assert 0 < effect.low <= 0.056 <= effect.high


def test_moral_words_draw_anger_to_news_pages_and_no_shares(found):
    # measured first here: on these pages the published 1.12 to 1.13 for shares is outside the interval
    shares, angry = found.moral["reshares"], found.moral["angry reactions"]
    assert shares.negative_binomial.value == pytest.approx(0.96, abs=0.01)
    assert shares.negative_binomial.high < 1.06
    assert shares.poisson_held.high < 1.06
    assert angry.negative_binomial.low > 1.15
    assert shares.n_publishers > 130


def test_what_the_export_cannot_say_is_refused_with_a_reason(found):
    assert "--scores" in found.part("borderline").reason
    assert "does not say who sent them" in found.part("angry received").reason
    assert found.part("gaming").status == "refused"
    assert found.part("angry groups").status == "skipped"
    lifts = {one.reaction: one for one in found.lifts}
    assert {one.harm for one in found.lifts} == {"low_quality"}
    assert lifts["angry"].direction == "not measurable"


def test_the_angry_share_is_1_7_times_higher_on_hyperpartisan_pages_of_the_same_months():
    kinds = ("likes", "love", "haha", "wow", "sad", "angry")
    weeks, news = (pq.read_table(path).to_pandas() for path in (WEEKS, NEWS))
    partisan = {re.sub("[^a-z]", "", name.lower()) for name in weeks["page"]}
    partisan |= {re.sub("[^a-z]", "", site.rsplit(".", 1)[0].lower()) for site in weeks["site"].dropna()}
    both = [page for page in news["page"].unique() if re.sub("[^a-z]", "", page.lower()) in partisan]
    assert len(both) == 7
    news = news[~news["page"].isin(both)]  # a page is of one group
    tables = [
        (weeks["page_id"], weeks["week"], weeks["angry"], weeks["reactions_total"]),
        (news["page"], news["created_at"], news["angry"], news[list(kinds)].sum(axis=1)),
    ]
    names = np.concatenate([np.char.add(p, t[0].to_numpy(str)) for p, t in zip("hm", tables, strict=True)])
    month, angry, reactions = (
        np.concatenate([t[i].to_numpy().astype(kind) for t in tables])
        for i, kind in ((1, "datetime64[M]"), (2, np.float64), (3, np.float64))
    )
    since = month >= np.datetime64("2016-02")  # before, there was no angry reaction
    first = np.arange(len(month)) < len(weeks)
    publisher = np.unique(names, return_inverse=True)[1]
    arrays = (angry, reactions, first, month.astype(np.int64), publisher)
    found = group_ratio(*(values[since] for values in arrays))
    assert found.value == pytest.approx(1.68, abs=0.02)
    assert found.low > 1
    assert found.low <= 1.7 <= found.high

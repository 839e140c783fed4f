import numpy as np
import pytest

from eval.lexicon import read_lexicon
from eval.outcomes import (
    Outcome,
    activity_outcomes,
    angry_share,
    attribute_outcomes,
    context_outcomes,
    divisive_text,
    label_outcomes,
    low_quality,
    moral_emotional_words,
    standard_outcomes,
)
from models.scores import HarmScores
from reranker.assembly import feed_from_columns, interactions_from_columns
from reranker.columns import StringColumn
from reranker.value import Harms

NAN = float("nan")
WORDS = (
    "dictionary,term\nParty,left-wing*\nParty,democrat*\nParty,gop\nNames,nancy pelosi\n"
    "Names,nancy\nNames,@speakerpelosi\nMoral,hate*\nMoral,good\nMoral,\n"
)


def feed(**columns):
    n = len(next(iter(columns.values()))) if columns else 3
    return feed_from_columns({"request_id": ["r"] * n, "post_id": [f"p{i}" for i in range(n)]} | columns)


def by_name(outcomes):
    return {outcome.name: outcome for outcome in outcomes}


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text(WORDS, encoding="utf-8")
    return path


def test_terms_are_found_as_whole_words_in_any_case(words):
    lexicon = read_lexicon(words, exclude=["Moral"])
    texts = [
        "The GOP and the Democrats",
        "gopher, stop",
        "left-wingers; LEFT WING.",
        "Nancy Pelosi spoke",
        "nan",
        "by @SpeakerPelosi",
        None,
        "",
        "left",
    ]
    assert lexicon.dictionaries == ("Party", "Names")
    found = lexicon.count(StringColumn.from_values(texts))
    np.testing.assert_array_equal(found, [2, 0, 2, 1, 0, 1, NAN, 0, 0])


def test_only_the_named_dictionaries_are_read(words):
    texts = StringColumn.from_values(["hateful GOP", "a good day, goodness"])
    assert read_lexicon(words, ["Moral"]).count(texts).tolist() == [1, 1]
    assert read_lexicon(words).count(texts).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("word\na\n", {}, "expected the columns dictionary and term, got \\['word'\\]"),
        ("", {}, "expected the columns"),
        (
            WORDS,
            {"dictionaries": ["Morals"]},
            "expected a dictionary of Party, Names, Moral, got 'Morals'; did",
        ),
        (WORDS, {"exclude": ["x"]}, "got 'x'"),
        ("dictionary,term\nA,*\nA,-\n", {}, "expected terms in A, got none"),
    ],
)
def test_a_bad_lexicon_is_refused(tmp_path, content, options, message):
    path = tmp_path / "bad.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_lexicon(path, **options)


def test_text_outcomes_are_null_without_text(words):
    posts = feed(text=["the gop", "hate and hatred are not good", None])
    divisive = divisive_text(posts, read_lexicon(words, ["Party"]))
    moral = moral_emotional_words(posts, read_lexicon(words, ["Moral"]))
    np.testing.assert_array_equal(divisive.values, [1, 0, NAN])
    np.testing.assert_array_equal(moral.values, [0, 2, NAN])
    assert (divisive.unit, moral.unit) == ("share", "count")


def test_the_angry_share_is_of_all_reactions_and_null_without_any():
    share = angry_share(feed(like=[6, 0, 3, None], angry=[2, 0, None, 4], love=[0, 0, 1, None]))
    np.testing.assert_array_equal(share.values, [0.25, NAN, NAN, 1.0])
    assert np.isnan(angry_share(feed(like=[1, 2])).values).all()


def test_low_quality_is_judged_among_rated_sources_only():
    found = low_quality(feed(attr_domain_quality=[0.44, 0.45, None]))
    np.testing.assert_array_equal(found.values, [1, 0, NAN])


def test_angry_clicks_are_never_positive_activity():
    found = by_name(
        activity_outcomes(feed(like=[5, 5], love=[1, 1], angry=[0, 90], comment=[2, 2], click=[1, 1]))
    )
    assert found["positive_activity"].values.tolist() == [9, 9]
    assert found["all_activity"].values.tolist() == [9, 99]
    assert found["reactions"].values.tolist() == [6, 96]
    assert found["clicks"].values.tolist() == [1, 1]
    assert "reshares" not in found


def test_single_acts_count_as_totals_do():
    acts = interactions_from_columns(
        {
            "post_id": ["p0", "p0", "p1", "p0"],
            "kind": ["comment", "comment", "reshare", "angry"],
            "text": ["one two three four five six", "no", None, None],
        }
    )
    posts = feed_from_columns(
        {"request_id": ["r", "r"], "post_id": ["p0", "p1"], "like": [1, 1]}, interactions=acts
    )
    found = by_name(activity_outcomes(posts))
    assert found["comments"].values.tolist() == [2, 0]
    assert found["reshares"].values.tolist() == [0, 1]
    assert angry_share(posts).values.tolist() == [0.5, 0.0]


def test_ties_and_media_are_shares_of_what_is_known():
    posts = feed(relation=["friend", "close_friend", "page", None], media=["link", "video", None, "link"])
    found = by_name(context_outcomes(posts))
    np.testing.assert_array_equal(found["close_ties"].values, [1, 1, 0, NAN])
    np.testing.assert_array_equal(found["media_link"].values, [1, 0, NAN, 1])
    assert "media_photo" not in found


def test_labels_carry_the_model_that_estimated_them():
    scores = np.array([[0.1], [np.nan]], dtype=np.float32)
    harms = Harms(HarmScores(("toxicity",), scores, scores, "model-a"), np.full(2, np.nan))
    (found,) = label_outcomes(harms)
    assert (found.name, found.kind, found.model, found.bounded) == ("toxicity", "exposure", "model-a", True)
    assert np.isnan(found.values[1])
    assert label_outcomes(None) == ()


def test_attributes_are_named_by_the_caller_and_must_be_shares():
    posts = feed(attr_is_toxic=[0, 1, None], attr_reach=[5, 6, 7])
    assert np.nansum(attribute_outcomes(posts, ["is_toxic"])[0].values) == 1
    with pytest.raises(
        ValueError, match=r"attributes: expected one of is_toxic, reach, got 'is_toxi'; did you"
    ):
        attribute_outcomes(posts, ["is_toxi"])
    with pytest.raises(ValueError, match=r"reach: expected numbers in \[0, 1\], got 5.0 to 7.0"):
        attribute_outcomes(posts, ["reach"])
    with pytest.raises(ValueError, match="x: expected finite numbers of at least 0"):
        Outcome("x", "activity", np.array([-1.0]), "", "count")


def test_the_standard_outcomes_are_those_that_the_feed_has(words):
    lexicon = read_lexicon(words)
    posts = feed(
        like=[1, 2], angry=[1, 0], text=["gop", None], attr_domain_quality=[0.1, 0.9], attr_bad=[0, 1]
    )
    found = standard_outcomes(posts, attributes=["bad"], divisive=lexicon, moral_emotional=lexicon)
    assert [outcome.name for outcome in found] == [
        "bad",
        "angry_share",
        "low_quality",
        "divisive",
        "moral_emotional",
        "positive_activity",
        "all_activity",
        "reactions",
    ]
    assert standard_outcomes(feed(click=[1, 2]))[0].name == "positive_activity"

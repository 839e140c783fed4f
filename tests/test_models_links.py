import numpy as np
import pytest
from scipy.special import expit, logit

from models.domains import DomainRatings
from models.links import LinkEvidence, with_links
from models.scores import Content, HarmScores

RATINGS = DomainRatings({"good.example": 0.9, "bad.example": 0.1, "middle.example": 0.5}, "mine")
LABELS = ("misinformation", "toxicity")


def scores_of(probability: list[float]) -> HarmScores:
    column = np.array(probability, dtype=np.float32)
    values = np.stack([column, np.full_like(column, 0.25)], axis=1)
    return HarmScores(LABELS, values, np.where(np.isnan(values), np.nan, 0.5).astype(np.float32), "text")


def content_of(*domains: str | None) -> Content:
    urls = [None if domain is None else [f"https://{domain}/story"] for domain in domains]
    return Content(text=["a claim"] * len(urls), language=[None] * len(urls), urls=urls)


def test_a_post_without_a_rated_link_keeps_the_score_of_its_text_exactly() -> None:
    scores = scores_of([0.31, 0.77])
    combined = with_links(scores, content_of(None, "unknown.example"), RATINGS, LinkEvidence(0.2))
    np.testing.assert_array_equal(combined.probability, scores.probability)
    assert combined.model == "text*links:mine"


def test_the_combination_is_the_sum_of_log_odds() -> None:
    evidence = LinkEvidence(prevalence=0.2, text=0.6, rating=5.0, neutral=0.5)
    combined = with_links(scores_of([0.3, 0.3]), content_of("bad.example", "good.example"), RATINGS, evidence)
    about_text = logit(0.2) + 0.6 * (logit(0.3) - logit(0.2))
    expected = expit([about_text + 5 * 0.4, about_text - 5 * 0.4])
    np.testing.assert_allclose(combined.probability[:, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(combined.probability[:, 1], np.float32(0.25))
    np.testing.assert_array_equal(combined.confidence, np.float32(0.5))


def test_text_at_the_base_rate_and_a_neutral_rating_give_the_base_rate() -> None:
    combined = with_links(scores_of([0.2]), content_of("middle.example"), RATINGS, LinkEvidence(0.2))
    np.testing.assert_allclose(combined.probability[0, 0], 0.2, rtol=1e-5)


def test_text_weight_one_and_rating_weight_zero_change_nothing() -> None:
    evidence = LinkEvidence(0.1, text=1.0, rating=0.0)
    combined = with_links(
        scores_of([0.01, 0.9]), content_of("bad.example", "good.example"), RATINGS, evidence
    )
    np.testing.assert_allclose(combined.probability[:, 0], [0.01, 0.9], rtol=1e-5)


@pytest.mark.parametrize("p", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_a_worse_rating_never_lowers_the_risk(p: float) -> None:
    content = content_of("good.example", "middle.example", "bad.example")
    risk = with_links(scores_of([p] * 3), content, RATINGS, LinkEvidence(0.2)).probability[:, 0]
    assert risk[0] < risk[1] < risk[2]


def test_text_that_was_not_scored_stays_unscored() -> None:
    combined = with_links(
        scores_of([np.nan, np.nan]), content_of("bad.example", None), RATINGS, LinkEvidence(0.2)
    )
    assert np.isnan(combined.probability[:, 0]).all()


def test_a_feed_of_no_posts_is_combined() -> None:
    assert with_links(scores_of([]), Content([], [], []), RATINGS, LinkEvidence(0.2)).n == 0


def test_content_of_other_posts_is_refused() -> None:
    with pytest.raises(ValueError, match="content: expected 1 posts, as many as were scored, got 2"):
        with_links(scores_of([0.5]), content_of(None, None), RATINGS, LinkEvidence(0.2))


def test_a_label_without_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="label: expected one of"):
        with_links(scores_of([0.5]), content_of(None), RATINGS, LinkEvidence(0.2), label="antivax")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prevalence": 0.0}, r"prevalence: expected a number in \(0, 1\), got 0.0"),
        ({"prevalence": 0.2, "text": -1.0}, "text: expected a number of at least 0, got -1.0"),
        ({"prevalence": 0.2, "rating": float("nan")}, "rating: expected a number of at least 0, got nan"),
        ({"prevalence": 0.2, "neutral": 1.5}, r"neutral: expected a number in \[0, 1\], got 1.5"),
    ],
)
def test_evidence_out_of_range_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinkEvidence(**settings)

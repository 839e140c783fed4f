"""The composition root: what one scorer makes of texts, links and stated prevalences."""

from pathlib import Path

import numpy as np
import pytest

from models.links import LinkEvidence
from models.scores import Content
from reranker.load import LoadError, load_scorer

TEXT = "The mayor signed the budget on Tuesday"


@pytest.fixture(scope="module")
def ratings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    path.write_text("domain,score\nbad.example,0.05\ngood.example,0.95\n")
    return path


def test_a_rated_link_moves_the_risk_of_misinformation_and_an_unrated_one_does_not(ratings: Path) -> None:
    links = [["https://bad.example/a"], ["https://good.example/a"], ["https://unknown.example/a"], None]
    content = Content([TEXT] * 4, ["en"] * 4, links)
    with_ratings, without = (load_scorer("bundled", domains) for domains in (ratings, None))
    assert with_ratings is not None
    assert without is not None
    text = float(without(content).column("misinformation")[0][0])
    bad, good, unknown, none = with_ratings(content).column("misinformation")[0]
    assert bad > unknown > good
    assert unknown == none == pytest.approx(text, abs=1e-6)


def test_the_evidence_of_links_rests_on_the_stated_prevalence(ratings: Path) -> None:
    scorer = load_scorer("bundled", ratings, prevalence={"misinformation": 0.3})
    plain = load_scorer("bundled", prevalence={"misinformation": 0.3})
    assert scorer is not None
    assert plain is not None
    content = Content([TEXT], ["en"], [["https://bad.example/a"]])
    text = plain(content).column("misinformation")[0]
    expected = LinkEvidence(0.3).combine(text, np.array([0.05]))
    np.testing.assert_allclose(scorer(content).column("misinformation")[0], expected, rtol=1e-5)


def test_the_fast_classifier_serves_the_same_families_and_is_told_apart() -> None:
    fast, exact = load_scorer("bundled-fast"), load_scorer("bundled")
    assert fast is not None
    assert exact is not None
    content = Content(["you are a worthless idiot", "thanks, that was kind of you"], ["en"] * 2, [None] * 2)
    found = fast(content)
    assert found.model != exact(content).model
    rude, kind = found.column("toxicity")[0]
    assert rude > kind
    assert {"toxicity", "identity_attack", "civic"} <= set(found.labels)


def test_a_prevalence_of_no_label_is_refused(ratings: Path) -> None:
    with pytest.raises(LoadError, match=r"prevalence: expected labels .*, got \['rudeness'\]"):
        load_scorer("bundled", ratings, prevalence={"rudeness": 0.5})

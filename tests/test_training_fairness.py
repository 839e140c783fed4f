import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pmean
from sklearn.metrics import roc_auc_score

from training.fairness import (
    IdentityTexts,
    SentencePairs,
    bnsp_auroc,
    bpsn_auroc,
    pair_gap,
    power_mean,
    read_identity_texts,
    read_sentence_pairs,
    subgroup_auroc,
    term_table,
)

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def identity() -> IdentityTexts:
    return read_identity_texts(DATA / "identity_templates.json")


def test_each_auroc_is_that_of_scikit_learn_on_the_rows_the_paper_names() -> None:
    rng = np.random.default_rng(0)
    toxic, member = rng.random(200) < 0.4, rng.random(200) < 0.3
    score = rng.integers(0, 20, 200) + 3.0 * toxic
    rows = {
        subgroup_auroc: member,
        bpsn_auroc: (toxic & ~member) | (~toxic & member),
        bnsp_auroc: (~toxic & ~member) | (toxic & member),
    }
    for metric, chosen in rows.items():
        assert metric(score, toxic, member) == pytest.approx(roc_auc_score(toxic[chosen], score[chosen]))


def test_the_aurocs_of_a_group_that_is_always_flagged_are_those_worked_by_hand() -> None:
    toxic = np.array([True, True, False, False])
    member = np.array([True, False, True, False])
    score = np.array([0.9, 0.5, 0.8, 0.1])
    assert subgroup_auroc(score, toxic, member) == 1.0
    assert bpsn_auroc(score, toxic, member) == 0.0  # harmless .8 of the group above toxic .5 outside
    assert bnsp_auroc(score, toxic, member) == 1.0  # toxic .9 of the group above harmless .1 outside


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=20))
def test_the_power_mean_is_that_of_scipy_and_lies_between_the_worst_and_the_mean(values: list[float]) -> None:
    found = power_mean(np.array(values))
    assert found == pytest.approx(pmean(values, -5))
    assert min(values) - 1e-9 <= found <= np.mean(values) + 1e-9


def test_a_zero_makes_the_power_mean_zero() -> None:
    assert power_mean(np.array([0.0, 1.0])) == 0.0


def template_score(texts: IdentityTexts):
    """A score that reads the template and not the term."""
    template = np.arange(len(texts.text)) // len(texts.terms)
    value = np.random.default_rng(1).random(template.max() + 1)[template] + 0.3 * texts.toxic
    by_text = dict(zip(texts.text, value, strict=True))
    return lambda sentences: np.array([by_text[sentence] for sentence in sentences])


def test_a_score_that_ignores_identity_has_the_same_figures_for_every_term(identity: IdentityTexts) -> None:
    found = term_table(template_score(identity), identity, threshold=0.6)
    for row in found["terms"].values():
        assert row["subgroup_auroc"] == row["bpsn_auroc"] == row["bnsp_auroc"] == found["auroc"]
        assert row["false_positive_gap"] == row["false_negative_gap"] == 0
    assert set(found["power_mean"].values()) == {found["auroc"]}


def test_a_term_that_raises_the_score_has_the_worst_bpsn_and_a_false_positive_gap(
    identity: IdentityTexts,
) -> None:
    plain = template_score(identity)

    def biased(texts: list[str]) -> np.ndarray:
        return plain(texts) + 0.5 * np.array([identity.terms[3] in text for text in texts])

    found = term_table(biased, identity, threshold=0.6)
    row = found["terms"][identity.terms[3]]
    assert found["worst_bpsn"] == identity.terms[3]
    assert row["bpsn_auroc"] < found["auroc"] < row["bnsp_auroc"]
    assert row["false_positive_gap"] > 0.1
    assert row["false_negative_gap"] < 0


PAIRS = SentencePairs(["a", "b", "c"], ["d", "e", "f"], np.array([False, False, True]))


def test_the_gaps_of_three_pairs_are_those_worked_by_hand() -> None:
    value = dict(zip("abcdef", [0.6, 0.2, 0.9, 0.3, 0.4, 0.5], strict=True))
    found = pair_gap(lambda texts: np.array([value[text] for text in texts]), PAIRS, threshold=0.5)
    assert found["harmless"] == {
        "n": 2,
        "mean_difference": 0.05,  # (.3 - .2) / 2
        "mean_absolute_difference": 0.25,  # (.3 + .2) / 2
        "flag_rate_difference": 0.5,  # a alone is flagged
    }
    assert found["toxic"]["mean_difference"] == 0.4
    assert found["toxic"]["flag_rate_difference"] == 0.0  # a score at the threshold is flagged


def test_changing_sides_changes_the_sign_of_a_gap_and_one_kind_alone_gives_one_row() -> None:
    def score(texts: list[str]) -> np.ndarray:
        return np.array([ord(text) / 128 for text in texts])

    there = pair_gap(score, PAIRS, threshold=0.77)
    back = pair_gap(score, SentencePairs(PAIRS.second, PAIRS.first, PAIRS.toxic), threshold=0.77)
    for key in ("mean_difference", "flag_rate_difference"):
        assert there["harmless"][key] == -back["harmless"][key] != 0
    harmless = SentencePairs(["a"], ["b"], np.array([False]))
    assert set(pair_gap(score, harmless, threshold=0.5)) == {"harmless"}


def test_a_template_without_a_place_for_the_term_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "templates.json"
    path.write_text(json.dumps({"terms": [], "harmless": ["Hello {one}."], "toxic": ["Hello."]}))
    with pytest.raises(ValueError, match=r"templates\.json: expected \{one\} or \{many\}.*'Hello\.'"):
        read_identity_texts(path)


def test_templates_are_filled_with_each_term_and_begin_with_a_capital(tmp_path: Path) -> None:
    path = tmp_path / "templates.json"
    terms = [{"category": "x", "one": "a poet", "many": "poets"}, {"category": "y", "one": "I", "many": "we"}]
    path.write_text(json.dumps({"terms": terms, "harmless": ["{many} sing."], "toxic": ["You are {one}."]}))
    found = read_identity_texts(path)
    assert found.text == ["Poets sing.", "We sing.", "You are a poet.", "You are I."]
    assert found.toxic.tolist() == [False, False, True, True]
    assert found.term.tolist() == [0, 1, 0, 1]
    assert (found.terms, found.categories) == (("poets", "we"), ("x", "y"))


def test_the_published_templates_are_many_balanced_and_never_alike(identity: IdentityTexts) -> None:
    templates = json.loads((DATA / "identity_templates.json").read_text(encoding="utf-8"))
    assert len(identity.terms) == len(set(identity.terms)) >= 40
    assert len(templates["harmless"]) == len(templates["toxic"]) >= 25
    assert len(set(identity.text)) == len(identity.text)
    sides = Counter(identity.categories)
    assert sides["political left"] == sides["political right"] >= 4
    assert len(sides) >= 9


def test_the_published_pairs_are_many_and_never_alike() -> None:
    dialect = read_sentence_pairs(DATA / "dialect_pairs.json")
    political = read_sentence_pairs(DATA / "identity_political_pairs.json")
    assert len(dialect.first) >= 60
    assert not dialect.toxic.any()
    assert len(political.first) >= 40
    assert political.toxic.mean() == 0.5
    for pairs in (dialect, political):
        texts = pairs.first + pairs.second
        assert len({text.casefold() for text in texts}) == len(texts)

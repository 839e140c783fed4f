"""Fitted weights as files: an overlay that loads, its evidence, and nothing where nothing is known."""

import json
import tomllib

import pytest

from reranker.presets import load_policy, numbers_without_source
from training.fitted_weights import FittedTerm, FittedWeights, evidence_of, overlay_of, write_fitted

LIKE = FittedTerm("like", "weight", 1.0, 1.0, 1.0, 100, "")
COMMENT = FittedTerm("comment", "weight", 2.34567, 2.0, None, 50, "weak")
ANGRY = FittedTerm("angry", "weight", None, None, None, 7, "7 people answered about it")
STRANGER = FittedTerm("stranger", "relationship", 0.25, 0.2, 0.3, 60, "")


def fitted(*terms):
    return FittedWeights("survey", terms, {"n_respondents": 12, "seed": None})


def test_the_overlay_loads_on_any_policy_and_leaves_what_is_not_identified_to_it(tmp_path):
    files = write_fitted(
        fitted(LIKE, COMMENT, ANGRY, STRANGER), tmp_path / "own.toml", name="own", date="2026-11-22"
    )
    policy = load_policy(f"fb-2018-h1+{files[0]}")
    before = load_policy("fb-2018-h1")
    assert (policy.weights["like"], policy.weights["comment"]) == (1.0, 2.346)
    assert policy.relationship["stranger"] == 0.25
    assert policy.weights["angry"] == before.weights["angry"]
    assert policy.name == before.name
    assert numbers_without_source(str(files[0])) == []
    assert "angry" in tomllib.loads(files[0].read_text())["description"]


def test_the_evidence_names_every_term_and_what_is_missing(tmp_path):
    found = fitted(LIKE, COMMENT, ANGRY)
    _, beside = write_fitted(found, tmp_path / "own.toml", name="own", date="2026-11-22")
    content = json.loads(beside.read_text())
    assert beside.name == "own.json"
    assert [term["name"] for term in content["terms"]] == ["like", "comment", "angry"]
    assert content["terms"][1] == {
        "name": "comment",
        "kind": "weight",
        "value": 2.34567,
        "low": 2.0,
        "high": None,
        "n": 50,
        "warning": "weak",
    }
    assert content["not_identified"] == ["angry"]
    assert content["facts"]["n_respondents"] == 12
    assert beside.read_text() == evidence_of(found)


def test_sources_tell_the_interval_the_rows_and_the_warning():
    sources = tomllib.loads(overlay_of(fitted(LIKE, COMMENT), name="own", date="2026-11-22"))["sources"]
    assert sources["weights.like"] == "the unit"
    expected = "fitted to survey data: 95% interval 2 to unbounded, 50 rows; weak"
    assert sources["weights.comment"] == expected


@pytest.mark.parametrize("terms", [(LIKE,), (LIKE, ANGRY), ()])
def test_nothing_is_written_where_nothing_but_the_unit_is_known(tmp_path, terms):
    with pytest.raises(ValueError, match="expected at least one that the data identify, got none"):
        write_fitted(fitted(*terms), tmp_path / "own.toml", name="own", date="2026-11-22")
    assert list(tmp_path.iterdir()) == []


def test_a_negative_multiplier_or_a_number_that_is_none_writes_nothing(tmp_path):
    negative = FittedTerm("page", "relationship", -0.1, -0.2, 0.0, 9, "")
    with pytest.raises(ValueError, match=r"relationship.page: expected at least 0, got -0.1"):
        write_fitted(fitted(LIKE, negative), tmp_path / "own.toml", name="own", date="2026-11-22")
    infinite = FittedTerm("love", "weight", 2.0, 1.0, float("inf"), 9, "")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_fitted(fitted(LIKE, infinite), tmp_path / "own.toml", name="own", date="2026-11-22")
    with pytest.raises(ValueError, match=r"ends in \.toml"):
        write_fitted(fitted(LIKE, COMMENT), tmp_path / "own.txt", name="own", date="2026-11-22")
    assert list(tmp_path.iterdir()) == []


def test_names_with_quotes_and_other_scripts_stay_valid_toml():
    content = tomllib.loads(overlay_of(fitted(LIKE, COMMENT), name='a "b" \\ 😀', date="2026-11-22"))
    assert content["name"] == 'a "b" \\ 😀'

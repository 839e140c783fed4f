"""What viewers endorse, fitted: against a known truth, statsmodels, closed forms, and the ranker itself."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import approx_fprime

from models.scores import HarmScores
from reranker.assembly import feed_from_columns
from reranker.pipeline import Reranker
from reranker.presets import load_policy, numbers_without_source
from reranker.value import Harms
from training.value import FittedValue, fit_value
from training.value_items import ValueItems, items_from_columns
from training.value_likelihood import curvature, maximise, pack, unpack
from training.value_proof import PRIOR
from training.value_report import evidence_of, study_value, warnings_of, write_value
from training.value_sample import (
    SIGNALS,
    TERMS,
    TRUTH,
    Survey,
    sample_columns,
    sample_items,
)
from training.value_table import ValueTable, table_of

SURVEY = Survey(n_viewers=800, per_viewer=20)
RISING = ValueTable(np.array([0.95, 0.8, 0.6, 0.5, 0.85]), np.array([0.5, 0.8, 0.7, 0.2, 1.0]), TRUTH.harm)


@cache
def items() -> ValueItems:
    return sample_items(SURVEY, 1)


def values_of(found: FittedValue) -> dict[str, Any]:
    return {term.key: term for term in found.terms}


def columns_of(n: int = 400, seed: int = 0) -> dict[str, Any]:
    """Answers about likes of posts that differ in toxicity, four of each viewer."""
    rng = np.random.default_rng(seed)
    toxicity = rng.random(n)
    return {
        "viewer": [f"v{i // 4}" for i in range(n)],
        "post_id": [f"p{i}" for i in range(n)],
        "signal": ["like"] * n,
        "endorsed": (rng.random(n) < 0.9 - 0.5 * toxicity).astype(float),
        "sampling_probability": np.full(n, 0.5),
        "toxicity": toxicity,
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_recovered_within_four_standard_errors(seed: int) -> None:
    """Half an interval is 1.96 standard errors; `comment_toxicity` is truly 0, at its bound."""
    found = fit_value(sample_items(SURVEY, seed), PRIOR, reference="comment")
    off = np.abs(found.curvature.unbounded - pack(TRUTH)) / found.curvature.standard_error.clip(1e-9)
    assert off[found.free].max() < 4
    assert found.free.sum() == 13  # all but the reference and yes-saying
    for term, true in zip(found.terms, [*TRUTH.endorsed, *TRUTH.sensitivity, *TRUTH.harm], strict=True):
        assert term.value is not None
        if term.low is not None and term.high is not None:
            half = (term.high - term.low) / 2
            assert term.low - half < true < term.high + half


def test_what_is_fitted_is_what_the_ranker_computes() -> None:
    """The share of each post's like and comment that `rank` calls good, for posts with every term."""
    policy = load_policy("harm-aware", ["guard.max_signal_share=1.0", "anger.min_share=1.0"])
    labels = tuple(policy.value.harms)
    rng = np.random.default_rng(0)
    n = 20
    harm, tone = rng.random((n, len(labels))).astype(np.float32), rng.random(n)
    angry = rng.integers(0, 9, n)
    for signal, j in (("like", 0), ("reshare", 1)):
        feed = feed_from_columns(
            {
                "request_id": [str(i) for i in range(n)],
                "post_id": [f"p{i}" for i in range(n)],
                signal: [10.0] * n,
                "angry": angry.astype(float),
            }
        )
        scores = HarmScores(labels, harm, np.ones_like(harm), "test")
        ranking = Reranker(policy).rank(feed, Harms(scores, tone))
        terms = (*labels, "angry_share", "comment_toxicity")
        reactions = angry + (10 if signal == "like" else 0)
        share = np.divide(angry, reactions, out=np.zeros(n), where=reactions > 0)
        table = table_of(policy, ("like", "reshare"), terms)
        p = table.p(np.full(n, j), np.vstack([harm.T.astype(float), share, tone]))
        assert ranking.good / ranking.engagement == pytest.approx(p, rel=1e-9)


unit = st.floats(0, 1)


@settings(max_examples=60)
@given(
    arrays(float, 3, elements=unit),
    arrays(float, 3, elements=unit),
    arrays(float, 2, elements=unit),
    arrays(float, (2, 6), elements=unit),
    st.integers(0, 1),
    arrays(float, 6, elements=unit),
)
def test_raising_a_harm_never_raises_what_is_endorsed(
    endorsed: Any, sensitivity: Any, harm: Any, known: Any, h: int, more: Any
) -> None:
    table, signal = ValueTable(endorsed, sensitivity, harm), np.arange(6) % 3
    worse = known.copy()
    worse[h] = np.maximum(known[h], more)
    before, after = table.p(signal, known), table.p(signal, worse)
    assert (after <= before + 1e-12).all()
    assert (before >= 0).all()
    assert (before <= 1).all()


def test_the_fitted_table_falls_in_every_harm_even_where_the_answers_rise() -> None:
    columns = columns_of(800)
    rng = np.random.default_rng(5)
    columns["endorsed"] = (rng.random(800) < 0.3 + 0.6 * columns["toxicity"]).astype(float)
    one = ValueTable(np.array([0.9]), np.array([1.0]), np.array([0.5]))
    found = fit_value(items_from_columns(columns), one, reference="like")
    assert found.table.harm[0] == 0.0
    term = values_of(found)["harms.toxicity"]
    assert (term.value, term.low, term.high) == (0.0, 0.0, 0.0)
    assert "rise with it" in term.warning


def test_the_slopes_of_the_likelihood_are_its_slopes() -> None:
    """Numerically, through a fit that may move one parameter only: at the optimum its slope is 0."""
    small = sample_items(Survey(n_viewers=100, per_viewer=10, asked=0.9, yes_saying=0.1), 2)
    asked = small.take(small.asked)
    table = ValueTable(np.full(5, 0.7), np.full(5, 0.6), np.full(4, 0.4), 0.07)

    def loss(theta: Any) -> float:
        return maximise(asked, unpack(theta, 5), np.zeros(len(theta), dtype=bool))[1]

    every = np.ones(15, dtype=bool)
    slope = approx_fprime(pack(table), loss, 1e-6)
    found = curvature(asked, table, every)
    step = found.unbounded - pack(table)  # information^-1 score
    assert step @ slope < 0  # uphill in likelihood
    moved, better = maximise(asked, table, every)
    at_best = approx_fprime(pack(moved), loss, 1e-6)
    theta = pack(moved)
    inside = (theta > 1e-6) & (theta < 1 - 1e-6)
    inside[:5] = True
    assert np.abs(at_best[inside]).max() < 1e-4
    assert better < loss(pack(table))


def test_without_harms_the_fit_is_the_weighted_share_with_the_error_of_statsmodels() -> None:
    """Log-odds of one signal: a weighted logistic regression on a constant, clustered by viewer."""
    import statsmodels.api as sm

    columns = columns_of(600)
    columns["toxicity"] = np.zeros(600)
    columns["sampling_probability"] = np.random.default_rng(1).uniform(0.1, 1, 600)
    found = items_from_columns(columns)
    result = fit_value(found, ValueTable(np.array([0.9]), np.array([0.5]), np.array([0.7])))
    share = float(found.weight @ found.endorsed / found.weight.sum())
    assert result.table.endorsed[0] == pytest.approx(share, abs=1e-6)
    family = sm.families.Binomial()
    model = sm.GLM(found.endorsed, np.ones((600, 1)), family=family, var_weights=found.weight)
    with pytest.warns(sm.tools.sm_exceptions.SpecificationWarning):
        oracle = model.fit(cov_type="cluster", cov_kwds={"groups": found.viewer}, use_t=False)
    assert result.curvature.standard_error[0] == pytest.approx(oracle.bse[0], rel=1e-4)
    terms = values_of(result)
    assert terms["harms.toxicity"].value is None
    assert "0 on every post" in terms["harms.toxicity"].warning
    assert terms["sensitivity.like"].value is None


def test_the_order_of_the_rows_changes_no_byte() -> None:
    survey = Survey(n_viewers=150, per_viewer=20, asked=0.6)
    columns = sample_columns(survey, np.random.default_rng(4))
    order = np.random.default_rng(5).permutation(len(columns["viewer"]))
    turned = {k: v[order] if isinstance(v, np.ndarray) else [v[i] for i in order] for k, v in columns.items()}
    policy = load_policy("harm-aware")
    first, second = (
        evidence_of(study_value(items_from_columns(c), policy, n_folds=2)) for c in (columns, turned)
    )
    assert first == second


def test_the_reference_is_the_signal_that_the_answers_show_to_be_most_sensitive() -> None:
    prior = replace(PRIOR, sensitivity=np.array([0.5, 0.5, 0.5, 1.0, 0.5]))
    survey = Survey(n_viewers=1500, per_viewer=20, asked=0.6)
    found = fit_value(sample_items(survey, 3, RISING), prior)
    assert found.reference == "reshare"
    assert values_of(found)["sensitivity.comment"].high < 0.5


def test_yes_saying_is_told_apart_when_questions_are_asked_both_ways() -> None:
    survey = replace(SURVEY, n_viewers=1500, yes_saying=0.2)
    with_both = sample_items(survey, 7)
    found = fit_value(with_both, PRIOR, reference="comment")
    assert found.yes_saying is not None
    value, low, high = found.yes_saying
    assert low < 0.2 < high
    assert abs(value - 0.2) < 0.03
    naive = fit_value(replace(with_both, reversed=None), PRIOR, reference="comment")
    assert naive.table.endorsed[0] < 0.95 - 0.05  # of likes; a no to the turned question counts as regret
    assert abs(found.table.endorsed[0] - 0.95) < 0.02


def held_reasons(columns: dict[str, Any]) -> dict[str, str]:
    found = items_from_columns(columns)
    k, h = len(found.signals), len(found.terms)
    prior = ValueTable(np.full(k, 0.9), np.full(k, 0.5), np.full(h, 0.1))
    return {t.key: t.warning for t in fit_value(found, prior).terms if t.value is None}


def test_what_the_answers_cannot_tell_is_named_and_stays_at_the_prior() -> None:
    columns = columns_of(600)
    columns["signal"] = ["like"] * 500 + ["haha"] * 80 + ["wow"] * 20
    columns["endorsed"][500:580] = 1.0
    columns["misinformation"] = columns["toxicity"].copy()
    columns["clickbait"] = np.full(600, 0.05)
    columns["angry_share"] = np.zeros(600)
    columns["comment_toxicity"] = np.full(600, np.nan)
    reasons = held_reasons(columns)
    assert reasons["endorsed.wow"] == "wow: expected at least 30 answers, got 20"
    assert "80 endorsed of 80" in reasons["endorsed.haha"]
    assert reasons["harms.misinformation"] == "it cannot be told apart from toxicity"
    assert "same on every post" in reasons["harms.clickbait"]
    assert "0 on every post" in reasons["angry_share"]
    assert "measured on no post" in reasons["comment_toxicity"]
    assert "endorsed.like" not in reasons
    assert "harms.toxicity" not in reasons


def test_answers_that_a_harm_separates_leave_the_signal_at_the_prior() -> None:
    columns = columns_of(800)
    second = np.arange(800) % 2 == 1
    columns["signal"] = np.where(second, "haha", "like").tolist()
    harmless = second & (columns["toxicity"] < 0.5)
    columns["toxicity"][harmless] = 0.0
    columns["endorsed"][harmless] = 1.0
    reasons = held_reasons(columns)
    assert "at 0 or 1" in reasons["endorsed.haha"]
    assert "endorsed.like" not in reasons


def test_the_overlay_replaces_the_prior_and_ranks(tmp_path: Path) -> None:
    survey = Survey(n_viewers=300, per_viewer=20, asked=0.6)
    study = study_value(sample_items(survey, 9), load_policy("harm-aware"), reference="comment", n_folds=2)
    overlay, evidence = write_value(study, tmp_path / "fitted.toml", date="2026-11-22")
    policy = load_policy(f"harm-aware+{overlay}")
    assert policy.value.endorsed["comment"] == pytest.approx(study.fitted.table.endorsed[3], abs=1e-4)
    assert policy.value.sensitivity["comment"] == 1.0
    assert policy.value.harms["toxicity"] == pytest.approx(study.fitted.table.harm[0], abs=1e-4)
    assert policy.value.harms["scapegoating"] == load_policy("harm-aware").value.harms["scapegoating"]
    assert policy.value.bad_weight == 0
    assert policy.digest != load_policy("harm-aware").digest
    assert numbers_without_source(str(overlay)) == []
    content = json.loads(evidence.read_text())
    assert content["reference"] == "comment"
    assert set(content["held_out"]) == {"fitted", "freer", "prior", "rates"}
    assert "scapegoating" in content["unmeasured"]
    assert any("scapegoating" in text for text in warnings_of(study))


def test_a_policy_that_counts_bad_engagement_in_full_is_named() -> None:
    survey = Survey(n_viewers=150, per_viewer=20, asked=0.6)
    study = study_value(sample_items(survey, 9), load_policy("fb-2018-h1"), n_folds=2)
    assert study.items.terms == ("angry_share", "comment_toxicity")
    assert study.unused == ("toxicity", "misinformation")
    assert any("bad_weight is 1" in text for text in warnings_of(study))
    assert any("not fitted" in text and "misinformation" in text for text in warnings_of(study))
    assert study.against_prior is None  # that policy lists no signal


def test_a_harm_that_was_measured_but_not_asked_for_is_not_called_missing() -> None:
    survey = Survey(n_viewers=150, per_viewer=20, asked=0.6)
    study = study_value(sample_items(survey, 9), load_policy("harm-aware"), harms=("toxicity",), n_folds=2)
    assert "misinformation" not in study.unmeasured
    assert any(
        text.startswith("not asked for") and "harms.misinformation" in text for text in warnings_of(study)
    )
    assert not any("weighs none of them" in text for text in warnings_of(study))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"viewer": ["v1"] * 400}, "viewer: expected answers of at least 50 viewers, got 1"),
        ({"endorsed": np.ones(400)}, "endorsed: expected both answers, got 400 that are all endorsed"),
        ({"endorsed": np.full(400, np.nan)}, "at least 50 viewers, got 0"),
        ({"endorsed": np.arange(400) > 2.0}, "of either answer, got 397 endorsed of 400"),
    ],
)
def test_answers_that_cannot_be_fitted_are_refused(change: dict[str, Any], message: str) -> None:
    found = items_from_columns(columns_of() | change)
    with pytest.raises(ValueError, match=message):
        fit_value(found, ValueTable(np.array([0.9]), np.array([0.5]), np.array([0.5])))


def test_a_reference_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"reference: expected one of like.*got 'wow'"):
        fit_value(items(), PRIOR, reference="wow")


def test_a_harm_that_the_items_lack_is_refused() -> None:
    with pytest.raises(ValueError, match=r"harm: expected one of toxicity.*got 'threat'"):
        study_value(items(), load_policy("harm-aware"), harms=("threat",))


def test_the_terms_of_the_sample_are_in_the_order_of_the_items() -> None:
    assert items().terms == TERMS
    assert items().signals == SIGNALS

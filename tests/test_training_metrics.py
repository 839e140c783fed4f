from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from models.calibration import calibrated
from models.examples import LabelledTexts
from tests.tiny import labelled_texts
from training.calibrate import LabelPlan, fit, read_plan
from training.evidence import evaluate_calibration, evaluate_label, refusal
from training.metrics import auroc, auroc_error, average_precision, within_source
from training.natural import evaluate_groups

PLAN = Path(__file__).parents[1] / "training" / "configs" / "calibration-en.toml"


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_figures_equal_those_of_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    score, present = np.array([row[0] for row in rows], dtype=float), np.array([row[1] for row in rows])
    if present.all() or not present.any():
        assert np.isnan(auroc(score, present))
    else:
        assert auroc(score, present) == pytest.approx(roc_auc_score(present, score))
        assert average_precision(score, present) == pytest.approx(average_precision_score(present, score))


def test_telling_sources_apart_earns_nothing_within_sources() -> None:
    rng = np.random.default_rng(0)
    source = np.repeat(["a", "b"], 500)
    present = rng.random(1000) < np.where(source == "a", 0.9, 0.1)
    found = within_source((source == "a") + 0.01 * rng.random(1000), present, source)
    assert found["auroc"] == pytest.approx(0.5, abs=0.06)
    assert found["auroc_pooled"] > 0.85
    assert set(found["sources"]) == {"a", "b"}


def test_a_part_without_both_classes_has_no_figure() -> None:
    found = within_source(np.zeros(3), np.zeros(3, dtype=bool), np.array(["a"] * 3))
    assert found["auroc"] is None
    assert found["n_positive_compared"] == 0


def test_the_standard_error_matches_the_spread_over_samples() -> None:
    rng = np.random.default_rng(0)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        present = rng.random(400) < 0.3
        return rng.normal(present * 1.0, 1), present

    spread = np.std([auroc(*draw()) for _ in range(300)])
    assert auroc_error(*draw()) == pytest.approx(spread, rel=0.25)
    assert np.isnan(auroc_error(np.arange(3.0), np.array([True, False, False])))


def part(value: float | None, n: int) -> dict:
    return {"auroc": value, "n_positive_compared": n}


@pytest.mark.parametrize(
    ("seen", "unseen", "reason"),
    [
        (part(0.9, 50), part(0.8, 50), None),
        (part(0.9, 50), part(0.4, 5), None),
        (part(0.4, 13), part(0.8, 50), None),
        (part(0.9, 13), part(0.8, 7), None),
        (part(0.9, 12), part(None, 0), "12 positives on held-out texts, fewer than 20"),
        (part(0.62, 13), part(0.7, 13), None),
        (part(0.6, 19), part(0.7, 13), "AUROC 0.641 on all held-out texts"),
        (part(0.6, 50), part(0.8, 50), "AUROC 0.600 on held-out"),
        (part(0.9, 50), part(0.64, 20), "AUROC 0.640 on unseen"),
    ],
)
def test_a_label_without_evidence_is_refused(seen: dict, unseen: dict, reason: str | None) -> None:
    found = refusal({"in_domain": seen, "unseen": unseen})
    assert found is None if reason is None else found is not None and found.startswith(reason)


def synthetic(n: int = 4000) -> tuple[LabelledTexts, np.ndarray]:
    """Texts whose logit is right by construction, at a prevalence of about 12%."""
    rng = np.random.default_rng(0)
    logit = rng.normal(-3, 2, n)
    present = rng.random(n) < 1 / (1 + np.exp(-logit))
    texts = labelled_texts(
        ("toxicity",),
        [f"text {i}" for i in range(n)],
        present[:, None],
        source=np.where(np.arange(n) % 4 == 0, "x/1", "y"),
        split=np.where(np.arange(n) % 2 == 0, "dev", "test"),
        aspect=np.where(np.arange(n) % 3 == 0, "cats", ""),
    )
    return texts, logit[:, None]


def test_calibration_on_development_rows_holds_on_test_rows() -> None:
    texts, logits = synthetic()
    plan = {"toxicity": LabelPlan(("x/", "y"))}
    fitted = fit(3 * logits + 2, texts, plan)
    p = calibrated(3 * logits + 2, [fitted["toxicity"]])[0][:, 0].astype(np.float64)
    found = evaluate_calibration(p, texts, "toxicity", plan["toxicity"])
    assert found["ece"] < 0.03
    assert found["brier"] < found["brier_of_prevalence"]
    assert found["n"] == 2000
    figures = evaluate_label(p, texts, "toxicity")
    assert figures["in_domain"]["auroc"] > 0.8
    assert figures["unseen"]["n"] == 0
    groups = evaluate_groups(p, texts, 0.5)
    assert set(groups) == {"cats"}
    assert groups["cats"]["false_positive_rate"] < 0.1 < groups["cats"]["true_positive_rate"]


def test_a_plan_selects_sources_by_name_or_prefix() -> None:
    texts, _ = synthetic(400)
    assert (texts.source[LabelPlan(("x/",)).rows(texts, "toxicity")] == "x/1").all()
    assert len(LabelPlan(("y",)).rows(texts, "toxicity", "test")) == 200
    assert not len(LabelPlan(("x",)).rows(texts, "toxicity"))


def test_the_shipped_plan_is_read_and_a_bad_one_refused(tmp_path: Path) -> None:
    plan = read_plan(PLAN)
    assert plan["toxicity"].prevalence is None
    assert plan["toxicity"].test_split == "natural_test"
    (tmp_path / "p.toml").write_text('schema = 1\n[label.toxicity]\nsources = ["a"]\nshare = 0.1\n')
    with pytest.raises(ValueError, match=r"label\.toxicity: expected a list of sources"):
        read_plan(tmp_path / "p.toml")
    for line, message in (
        ('sources = "a"', "expected a list of sources"),
        ('sources = ["a"]\nprevalence = 2', r"prevalence: expected a number in \(0, 1\), got 2"),
        ('sources = ["a"]\nsplit = "test"', r"split: expected one of .*, got 'test'"),
    ):
        (tmp_path / "p.toml").write_text(f"schema = 1\n[label.toxicity]\n{line}\n")
        with pytest.raises(ValueError, match=message):
            read_plan(tmp_path / "p.toml")
    (tmp_path / "p.toml").write_text('schema = 1\n[label.toxicty]\nsources = ["a"]\n')
    with pytest.raises(ValueError, match="got 'toxicty'"):
        read_plan(tmp_path / "p.toml")
    (tmp_path / "p.toml").write_text("schema = 2\n")
    with pytest.raises(ValueError, match="schema: expected 1, got 2"):
        read_plan(tmp_path / "p.toml")

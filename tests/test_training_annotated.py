import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from models.examples import LabelledTexts
from training.annotated import evaluate_annotated
from training.shift import evaluate_shift

LABELS = ("respect", "civic", "threat")


def texts(n: int = 400) -> tuple[np.ndarray, LabelledTexts]:
    """Half of the texts are of an annotated unseen source, a quarter of another, a quarter of the tests."""
    rng = np.random.default_rng(0)
    degree = rng.choice([0.0, 0.35, 0.9, 1.0], n)
    target = np.column_stack([degree, rng.random(n) < 0.3, np.full(n, np.nan)]).astype(np.float32)
    turn = np.arange(n) % 4
    found = LabelledTexts(
        labels=LABELS,
        text=[f"t{i}" for i in range(n)],
        target=target,
        weight=np.ones((n, 3), np.float32),
        source=np.select([turn < 2, turn == 2], ["annotations/a", "b"], "annotations/c"),
        split=np.where(turn == 3, "test", "unseen"),
        group=np.arange(n),
        aspect=np.full(n, ""),
    )
    return np.nan_to_num(target) * 2 + rng.normal(0, 1, (n, 3)), found


def test_annotated_figures_equal_those_of_other_libraries(tmp_path: Path) -> None:
    logits, found = texts()
    passes = {"round1": {name: {"spearman": 0.9} for name in LABELS}}
    (tmp_path / "agreement.json").write_text(json.dumps(passes))
    table = evaluate_annotated(logits, found, tmp_path / "agreement.json")
    rows = found.source == "annotations/a"
    degree, score = found.target[rows, 0], logits[rows, 0]
    kept = degree != np.float32(0.35)
    entry = table["labels"]["respect"]
    assert entry["auroc"] == pytest.approx(roc_auc_score(degree[kept] > 0.5, score[kept]), abs=1e-4)
    assert entry["spearman"] == pytest.approx(spearmanr(degree, score).statistic, abs=1e-4)
    assert entry["agreement_spearman"] == {"round1": 0.9}
    assert entry["n"] == rows.sum()
    assert not entry["weakly_tested"]
    assert set(table["labels"]) == {"respect", "civic"}
    assert table["mean"]["auroc"] == pytest.approx(
        np.mean([one["auroc"] for one in table["labels"].values()]), abs=1e-4
    )


def test_a_label_with_few_clear_texts_is_marked() -> None:
    logits, found = texts(60)
    assert evaluate_annotated(logits, found)["labels"]["respect"]["weakly_tested"]
    nothing = found.take(found.split == "test")
    assert evaluate_annotated(logits[:15], nothing) == {"labels": {}, "mean": {"n_labels": 0}}


def test_stating_the_prevalence_mends_the_calibration_of_a_source_that_differs_only_in_it() -> None:
    rng = np.random.default_rng(1)
    n = 4000
    present = rng.random(n) < 0.4
    logit = rng.normal(np.where(present, 1.5, -1.5), np.sqrt(3))  # log-odds of equal classes: 2 * 1.5 / 3 = 1
    found = LabelledTexts(
        labels=("threat",),
        text=[""] * n,
        target=present[:, None].astype(np.float32),
        weight=np.ones((n, 1), np.float32),
        source=np.full(n, "elsewhere"),
        split=np.full(n, "unseen"),
        group=np.arange(n),
        aspect=np.full(n, ""),
    )
    log_odds = logit[:, None] + np.log(0.01 / 0.99)
    table = evaluate_shift(log_odds, found, {"threat": 0.01})
    entry = table["labels"]["threat"]["sources"]["elsewhere"]
    assert entry["ece"] < 0.03 < 0.2 < entry["ece_uncorrected"]
    assert table["mean_ece"] == entry["ece"]
    assert len(entry["reliability"]) == 10
    few = found.take(np.arange(30))
    assert evaluate_shift(log_odds[:30], few, {"threat": 0.01}) == {"labels": {}, "mean_ece": None}

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from models.artifact import TOKENIZER, WEIGHTS, Artifact
from models.calibration import Platt
from models.examples import LabelledTexts
from tests.tiny import labelled_texts
from training.annotated import evaluate_annotated
from training.calibrate import Held
from training.shift import evaluate_shift

LABELS = ("respect", "civic", "threat")


def texts(n: int = 400) -> tuple[np.ndarray, LabelledTexts]:
    """Half of the texts are of an annotated unseen source, a quarter of another, a quarter of the tests."""
    rng = np.random.default_rng(0)
    degree = rng.choice([0.0, 0.35, 0.9, 1.0], n)
    target = np.column_stack([degree, rng.random(n) < 0.3, np.full(n, np.nan)]).astype(np.float32)
    turn = np.arange(n) % 4
    found = labelled_texts(
        LABELS,
        [f"t{i}" for i in range(n)],
        target,
        source=np.select([turn < 2, turn == 2], ["annotations/a", "b"], "annotations/c"),
        split=np.where(turn == 3, "test", "unseen"),
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


def test_the_ceiling_is_that_of_a_perfect_score_without_ties() -> None:
    _, found = texts(400)
    rng = np.random.default_rng(2)
    perfect = np.nan_to_num(found.target) + rng.random(found.target.shape) * 1e-3  # no two alike
    entry = evaluate_annotated(perfect, found)["labels"]["respect"]
    degree = found.target[found.source == "annotations/a", 0]
    counts = np.unique(degree, return_counts=True)[1]
    n = len(degree)
    # Against degrees in whose order they are, ranks without ties reach sqrt(1 - sum(t^3 - t) / (n^3 - n)).
    ceiling = np.sqrt(1 - (counts**3 - counts).sum() / (n**3 - n))
    assert entry["spearman_ceiling"] == pytest.approx(ceiling, abs=1e-4)
    assert entry["spearman"] == pytest.approx(ceiling, abs=0.02)
    assert entry["spearman"] < entry["spearman_absent_tied"] <= 1


def test_scores_below_the_cut_of_the_test_texts_count_as_absent_alike() -> None:
    logits, found = texts(400)
    entry = evaluate_annotated(logits, found)["labels"]["respect"]
    tested, unseen = found.source == "annotations/c", found.source == "annotations/a"
    cut = np.quantile(logits[tested, 0], (found.target[tested, 0] == 0).mean())
    tied = spearmanr(np.where(logits[unseen, 0] < cut, cut, logits[unseen, 0]), found.target[unseen, 0])
    assert entry["spearman_absent_tied"] == pytest.approx(tied.statistic, abs=1e-4)


def held(n: int, roughness: float = 0.0) -> Held:
    """Unseen texts of which 40 % are threats, read by a classifier calibrated to 1 %.

    The logit is normal around +-1.5 with variance 3, so that it is the log-odds of equal classes
    (2 * 1.5 / 3 = 1); `roughness` is added to every logit.
    """
    rng = np.random.default_rng(1)
    present = rng.random(n) < 0.4
    logit = rng.normal(np.where(present, 1.5, -1.5), np.sqrt(3))
    found = labelled_texts(("threat",), [""] * n, present[:, None], source="elsewhere", split="unseen")
    platt = Platt(1.0, float(np.log(0.01 / 0.99)), (0.0, 0.0, 0.0, 0.0), 0.01, True, 100, 10)
    artifact = Artifact(
        name="x",
        labels=("threat",),
        calibration=(platt,),
        languages=("en",),
        max_tokens=128,
        encoder={},
        files={WEIGHTS: "", TOKENIZER: ""},
        about={},
    )
    return Held(found, artifact, logit[:, None] + roughness, np.zeros(n))


def test_stating_the_prevalence_mends_the_calibration_of_a_source_that_differs_only_in_it() -> None:
    table = evaluate_shift(held(4000))
    entry = table["labels"]["threat"]["sources"]["elsewhere"]
    assert entry["ece"] < 0.03 < 0.2 < entry["ece_uncorrected"]
    assert entry["ece_by_factor"] < 0.03
    assert table["mean_ece"] == entry["ece"]
    assert len(entry["reliability"]) == 10


def test_where_everything_reads_rougher_it_takes_a_sample_of_texts() -> None:
    entry = evaluate_shift(held(4000, roughness=2.0))["labels"]["threat"]["sources"]["elsewhere"]
    assert entry["ece"] < 0.03 < 0.2 < entry["ece_by_factor"]


def test_few_texts_say_nothing_of_a_shift() -> None:
    nothing = {"mean_ece": None, "mean_ece_by_factor": None, "mean_ece_uncorrected": None}
    assert evaluate_shift(held(30)) == {"labels": {}, **nothing}

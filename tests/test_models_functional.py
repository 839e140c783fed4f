from pathlib import Path

import numpy as np
import pytest

from models.classifier import HarmClassifier
from training.functional import functional_table, read_cases

CASES = Path(__file__).parent / "data" / "functional_cases.jsonl"
FLOOR_AUROC = 0.80
FLOOR_PAIR_ACCURACY = 0.87


@pytest.fixture(scope="module")
def table() -> dict:
    classifier = HarmClassifier.load("bundled", device="cpu")

    def toxicity(texts: list[str]) -> np.ndarray:
        probability, _ = classifier.score(texts).column("toxicity")
        return np.nan_to_num(probability, nan=0.0).astype(np.float64)  # what is not judged is not demoted

    return functional_table(toxicity, read_cases(CASES), threshold=0.5)


def test_the_bundled_model_tells_toxic_from_harmless_uses(table: dict) -> None:
    assert table["auroc"] >= FLOOR_AUROC


def test_the_bundled_model_orders_contrast_pairs(table: dict) -> None:
    assert table["pair_accuracy"] >= FLOOR_PAIR_ACCURACY

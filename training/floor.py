"""`python -m training.floor --examples FILE --out FILE`: what simple models reach on the same splits.

A development command (needs scikit-learn, from the dev extra): TF-IDF with logistic regression for every
label, and a probe that sees no word at all for those in which style may give the class away.
"""

import argparse
import logging
import string
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.examples import LabelledTexts
from training.atomic import write_json
from training.command import run_command
from training.evidence import evaluate_label
from training.metrics import auroc, average_precision, rounded

_log = logging.getLogger(__name__)

NO_WORDS_LABELS = ("misinformation", "antivax", "clickbait", "toxicity")


def tfidf_floor(texts: LabelledTexts) -> dict[str, Any]:
    """Figures of `evaluate_label` for word 1-2-grams and logistic regression, per label."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - dev extra
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - dev extra

    train = np.flatnonzero(texts.split == "train")
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=3, sublinear_tf=True, dtype=np.float32)
    words.fit([texts.text[int(i)] for i in train])
    features = words.transform(texts.text)
    figures = {}
    for j, label in enumerate(texts.labels):
        rows = train[~np.isnan(texts.target[train, j])]
        model = LogisticRegression(C=2.0, max_iter=200)
        model.fit(features[rows], texts.target[rows, j] >= 0.5, sample_weight=texts.weight[rows, j])
        score = model.decision_function(features).astype(np.float64)
        figures[label] = evaluate_label(score, texts, label)
        if label == "toxicity":
            natural = np.flatnonzero(texts.split == "natural_test")
            present = texts.target[natural, j] >= 0.5
            figures[label]["natural"] = {
                "auroc": rounded(auroc(score[natural], present)),
                "average_precision": rounded(average_precision(score[natural], present)),
            }
        _log.info("%s done", label)
    return figures


def no_words_floor(texts: LabelledTexts) -> dict[str, Any]:
    """The same for gradient boosting on length, capitals, digits and punctuation: style without content."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - dev extra

    features = np.array([style(text) for text in texts.text])
    figures = {}
    for label in (name for name in NO_WORDS_LABELS if name in texts.labels):
        target = texts.target[:, texts.labels.index(label)]
        rows = np.flatnonzero((texts.split == "train") & ~np.isnan(target))
        model = HistGradientBoostingClassifier(random_state=0)
        model.fit(features[rows], target[rows] >= 0.5)
        figures[label] = evaluate_label(model.predict_proba(features)[:, 1], texts, label)
    return figures


def style(text: str) -> NDArray[np.float64]:
    """Length, words, shares of capitals and digits, and counts of punctuation: no word among them."""
    n = max(1, len(text))
    words = text.split()
    counts = [text.count(mark) for mark in string.punctuation]
    shares = [sum(char.isupper() for char in text) / n, sum(char.isdigit() for char in text) / n]
    return np.array([n, len(words), n / max(1, len(words)), *shares, *counts], dtype=np.float64)


def main() -> None:
    """Reads the arguments, fits, writes JSON."""
    parser = argparse.ArgumentParser(prog="training.floor", description=__doc__)
    parser.add_argument("--examples", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    texts = LabelledTexts.read(arguments.examples)
    figures = {"tfidf": tfidf_floor(texts), "no_words": no_words_floor(texts)}
    write_json(arguments.out, figures)


if __name__ == "__main__":
    run_command(main)

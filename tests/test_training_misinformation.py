import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from models.examples import LabelledTexts
from tests.tiny import labelled_texts, save_encoder
from training.misinformation import RIDGE, compare, frozen_features, left_out, main, ridge_scores

WORDS = {"false": ["hoax", "secret", "cure"], "true": ["report", "council", "budget"]}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost minutes on a busy machine."""
    with threadpool_limits(1):
        yield


def texts_of(sources: list[str], *, n: int = 60, seed: int = 0) -> LabelledTexts:
    rng = np.random.default_rng(seed)
    text, target, source = [], [], []
    for name in sources:
        for i in range(n):
            kind = "false" if i % 2 else "true"
            text.append(" ".join([*rng.choice(WORDS[kind], 3), f"{name[-1]}{i}"]))
            target.append(float(kind == "false"))
            source.append(name)
    both = np.column_stack([np.full(len(text), np.nan), target])
    return labelled_texts(("toxicity", "misinformation"), text, both, source=source)


def counts_of(texts: LabelledTexts) -> np.ndarray:
    vocabulary = WORDS["false"] + WORDS["true"]
    return np.array([[entry.count(word) for word in vocabulary] for entry in texts.text], dtype=np.float32)


def test_ridge_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(80, 5)).astype(np.float32)
    target, weight = rng.random(60), rng.random(60)
    rows, test = np.arange(60), np.arange(60, 80)
    ours = ridge_scores(features, rows, target, weight, test)
    mean, spread = features[:60].mean(axis=0), features[:60].std(axis=0) + 1e-6
    standard = ((features - mean) / spread).astype(np.float64)
    theirs = Ridge(alpha=RIDGE).fit(standard[:60], target, sample_weight=weight / weight.sum())
    difference = theirs.predict(standard[60:]) - ours
    np.testing.assert_allclose(difference, difference[0], atol=1e-4)


def test_a_data_set_is_left_out_with_its_second_annotation_and_its_near_duplicates() -> None:
    texts = texts_of(["claims/a", "a", "claims/b"])
    group = texts.group.copy()
    group[130] = group[3]  # a text of b that nearly repeats one of a
    parts = {name: field for name, field in vars(texts).items() if name != "group"}
    found = {name: (test, others) for name, test, others in left_out(LabelledTexts(**parts, group=group))}
    assert sorted(found) == ["a", "b"]
    assert found["a"][0].tolist() == list(range(120))
    assert found["a"][1].tolist() == [i for i in range(120, 180) if i != 130]


def test_words_that_mean_the_same_everywhere_transfer_and_style_does_not() -> None:
    texts = texts_of(["claims/a", "claims/b", "c"])
    figures = compare(texts, counts_of(texts), frozenset({"claims/a", "claims/b"}))
    assert sorted(figures["sets"]) == ["a", "b", "c"]
    assert (figures["sets"]["c"]["n"], figures["sets"]["c"]["n_positive"]) == (60, 30)
    for head in ("permissive", "all"):
        assert figures["mean"][head]["encoder"] > 0.99
        assert figures["mean"][head]["tfidf"] > 0.99


def test_labels_that_mean_nothing_transfer_nothing() -> None:
    texts = texts_of(["claims/a", "c"], n=400)
    noise = np.random.default_rng(2).normal(size=(texts.n, 4)).astype(np.float32)
    figures = compare(texts, noise, frozenset({"claims/a"}))
    # Standard error of an AUROC of 200 against 200 is 0.029.
    assert figures["sets"]["c"]["permissive"]["encoder"] == pytest.approx(0.5, abs=4 * 0.029)


def test_a_head_without_other_data_has_no_figure() -> None:
    texts = texts_of(["claims/a", "c"])
    figures = compare(texts, counts_of(texts), frozenset({"claims/a"}))
    assert "permissive" not in figures["sets"]["a"]
    assert "all" in figures["sets"]["a"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"), WORDS["false"] + WORDS["true"])


def test_features_of_a_text_do_not_depend_on_its_batch(encoder: Path) -> None:
    text = ["hoax", "secret cure report", "budget council hoax cure secret", "report"]
    together = frozen_features(text, str(encoder))
    alone = np.vstack([frozen_features([entry], str(encoder)) for entry in text])
    assert together.shape == (4, 16)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_command_writes_figures(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts_of(["claims/horne2017_titles", "liar"]).write(tmp_path / "examples.parquet")
    arguments = ["--examples", str(tmp_path / "examples.parquet"), "--encoder", str(encoder)]
    monkeypatch.setattr(sys, "argv", ["misinformation", *arguments, "--out", str(tmp_path / "out.json")])
    main()
    figures = json.loads((tmp_path / "out.json").read_text())
    assert set(figures["sets"]["liar"]) == {"n", "n_positive", "permissive", "all"}

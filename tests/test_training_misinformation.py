import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from models.examples import LabelledTexts
from tests.tiny import labelled_texts, save_encoder
from training.head import HeadConfig
from training.misinformation import compare, left_out, main

HEAD = HeadConfig(schema=1, read_layers=(1,), source_tempering=0.5, ridge=0.1, source_ridge=0.001)
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
    figures = compare(HEAD, texts, counts_of(texts), frozenset({"claims/a", "claims/b"}))
    assert sorted(figures["sets"]) == ["a", "b", "c"]
    assert (figures["sets"]["c"]["n"], figures["sets"]["c"]["n_positive"]) == (60, 30)
    for head in ("permissive", "all"):
        assert figures["mean"][head]["encoder"] > 0.99
        assert figures["mean"][head]["tfidf"] > 0.99


def test_labels_that_mean_nothing_transfer_nothing() -> None:
    texts = texts_of(["claims/a", "c"], n=400)
    noise = np.random.default_rng(2).normal(size=(texts.n, 4)).astype(np.float32)
    figures = compare(HEAD, texts, noise, frozenset({"claims/a"}))
    # Standard error of an AUROC of 200 against 200 is 0.029.
    assert figures["sets"]["c"]["permissive"]["encoder"] == pytest.approx(0.5, abs=4 * 0.029)


def test_a_head_without_other_data_has_no_figure() -> None:
    texts = texts_of(["claims/a", "c"])
    figures = compare(HEAD, texts, counts_of(texts), frozenset({"claims/a"}))
    assert "permissive" not in figures["sets"]["a"]
    assert "all" in figures["sets"]["a"]


def told_apart() -> LabelledTexts:
    """Headlines of a, b and c say "hoax" when false; statements of d to h say it when true."""
    rng = np.random.default_rng(3)
    text, target, source = [], [], []
    for name in ("claims/a", "claims/b", "claims/c", "d", "e", "f", "g", "h"):
        kind = "headline" if name.startswith("claims/") else "statement"
        for i in range(120):
            false = i % 2 == 0
            says = false == (kind == "headline")
            text.append(" ".join([kind, "hoax" if says else "report", *rng.choice(["cure", "budget"], 2)]))
            target.append([float(false)])
            source.append(name)
    return labelled_texts(("misinformation",), text, target, source=source)


def test_kinds_of_text_that_contradict_each_other_are_told_apart() -> None:
    texts = told_apart()
    words = ("headline", "statement", "hoax", "report", "cure", "budget")
    counts = np.array([[entry.count(word) for word in words] for entry in texts.text], dtype=np.float32)
    found = compare(HEAD, texts, counts, frozenset({"claims/a", "claims/b", "claims/c"}))["sets"]
    assert found["d"]["permissive"]["encoder"] < 0.1
    assert found["d"]["by_kind"]["encoder"] > 0.9
    assert found["a"]["all"]["encoder"] < 0.1
    assert found["a"]["by_kind"]["encoder"] > 0.9
    assert found["a"]["by_kind"].keys() == {"encoder"}


def test_data_sets_that_collect_the_same_are_left_out_together_as_well() -> None:
    """What coaid and constraint_covid alone share helps either while the other one may train."""
    texts = texts_of(["claims/a", "coaid", "constraint_covid"], n=120)
    counts = counts_of(texts)
    shared = np.isin(texts.source, ["coaid", "constraint_covid"])
    counts = np.where(shared[:, None], counts, 0.0).astype(np.float32)  # a cannot teach these words
    found = compare(HEAD, texts, counts, frozenset({"claims/a"}))
    assert found["sets"]["coaid"]["all"]["encoder"] > 0.9
    assert found["apart"].keys() == {"coaid", "constraint_covid"}
    assert found["apart"]["coaid"]["all"]["encoder"] == pytest.approx(0.5)
    assert found["mean_apart"]["all"]["encoder"] < found["mean"]["all"]["encoder"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"), WORDS["false"] + WORDS["true"])


def test_the_command_writes_figures(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts_of(["claims/horne2017_titles", "liar"]).write(tmp_path / "examples.parquet")
    (tmp_path / "head.toml").write_text(
        "schema = 1\nread_layers = [1]\nsource_tempering = 0.5\nridge = 0.1\nsource_ridge = 0.001\n"
    )
    arguments = [
        "--head",
        str(tmp_path / "head.toml"),
        "--examples",
        str(tmp_path / "examples.parquet"),
        "--encoder",
        str(encoder),
    ]
    monkeypatch.setattr(sys, "argv", ["misinformation", *arguments, "--out", str(tmp_path / "out.json")])
    main()
    figures = json.loads((tmp_path / "out.json").read_text())
    assert set(figures["sets"]["liar"]) == {"n", "n_positive", "permissive", "all"}
    assert (figures["read_layers"], bool(figures["commit"]), figures["apart"]) == ([1], True, {})

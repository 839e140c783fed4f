import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from models.taxonomy import LABELS
from training.functional import FunctionalCase, functional_table, read_cases, scored

DATA = Path(__file__).parent / "data" / "functional_cases.jsonl"


@pytest.fixture(scope="module")
def published() -> list[FunctionalCase]:
    return read_cases(DATA)


def case(number: int, functionality: str, expected: bool, pair: str = "") -> FunctionalCase:
    return FunctionalCase(str(number), functionality, f"text {number}", "toxicity", expected, "", pair)


# Two toxic and two harmless kinds; pairs are 0-2 and 1-3.
SMALL = [
    case(0, "insult", True, "2"),
    case(1, "insult", True, "3"),
    case(2, "idiom", False, "0"),
    case(3, "idiom", False, "1"),
    case(4, "threat", True),
]


def score_of(values: list[float]):
    return lambda texts: np.array([values[int(text.split()[1])] for text in texts])


def write(path: Path, cases: list[FunctionalCase]) -> Path:
    path.write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in cases), encoding="utf-8")
    return path


def test_the_figures_of_a_small_table_are_those_worked_by_hand() -> None:
    found = functional_table(score_of([0.9, 0.2, 0.5, 0.2, 0.6]), SMALL, threshold=0.5)
    # Toxic .9 .2 .6 against harmless .5 .2: of 6 comparisons 4 are won and one is tied.
    assert found["auroc"] == pytest.approx(4.5 / 6, abs=1e-4)
    assert found["pair_accuracy"] == 0.5  # .9 > .5, and .2 = .2 does not count
    assert found["accuracy"] == 0.6  # texts 0, 3 and 4; a score at the threshold is flagged
    assert (found["n"], found["n_toxic"], found["n_pairs"]) == (5, 3, 2)
    rows = found["functionalities"]
    assert rows["idiom"] == {"n": 2, "toxic": False, "accuracy": 0.5, "auroc": 0.75, "pair_accuracy": 0.5}
    assert rows["threat"] == {"n": 1, "toxic": True, "accuracy": 1.0, "auroc": 1.0, "pair_accuracy": None}


def test_aurocs_equal_those_of_scikit_learn(published: list[FunctionalCase]) -> None:
    value = dict(
        zip(
            [entry.text for entry in published],
            np.random.default_rng(0).integers(0, 50, len(published)) / 50,
            strict=True,
        )
    )
    found = functional_table(lambda texts: np.array([value[t] for t in texts]), published, threshold=0.5)
    expected = [entry.expected for entry in published]
    assert found["auroc"] == pytest.approx(roc_auc_score(expected, [*value.values()]), abs=5e-5)
    chosen = [entry for entry in published if not entry.expected or entry.functionality == "polite_hate"]
    outside = roc_auc_score([entry.expected for entry in chosen], [value[entry.text] for entry in chosen])
    assert found["functionalities"]["polite_hate"]["auroc"] == pytest.approx(outside, abs=5e-5)


def test_the_truth_earns_full_marks_and_an_increasing_change_of_it_keeps_the_order() -> None:
    values = np.random.default_rng(0).random(5).tolist()
    truth = functional_table(score_of([float(c.expected) for c in SMALL]), SMALL, threshold=0.5)
    assert (truth["auroc"], truth["accuracy"], truth["pair_accuracy"]) == (1.0, 1.0, 1.0)
    plain = functional_table(score_of(values), SMALL, threshold=0.5)
    bent = functional_table(score_of([v**3 for v in values]), SMALL, threshold=0.125)
    assert plain | {"threshold": 0} == bent | {"threshold": 0}


def test_a_table_of_one_kind_has_no_auroc() -> None:
    found = functional_table(score_of([0.1, 0.2]), [replace(c, pair="") for c in SMALL[:2]], threshold=0.5)
    assert found["auroc"] is None
    assert found["pair_accuracy"] is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(2), r"score: expected shape \(1,\), got \(2,\)"),
        (np.array([np.nan]), "score: expected finite numbers, got nan at text 0"),
    ],
)
def test_a_score_that_is_no_score_is_refused(values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scored(lambda _: values, ["one"])


def test_cases_survive_the_file(tmp_path: Path) -> None:
    assert read_cases(write(tmp_path / "cases.jsonl", SMALL)) == SMALL


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ([SMALL[4], SMALL[4]], "expected each id once, got '4' twice"),
        ([case(0, "x", True), case(1, "x", False)], "expected one kind of case in a functionality"),
        (SMALL[:1], "expected the partner of '0' .*, got '2'"),
        ([SMALL[0], replace(SMALL[2], pair="")], "expected the partner of '0'"),
        ([case(0, "x", True, "1"), case(1, "x", True, "0")], "expected the partner of '0'"),
    ],
)
def test_inconsistent_cases_are_refused(cases: list[FunctionalCase], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_cases(write(tmp_path / "cases.jsonl", cases))


def test_a_row_with_other_fields_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "1", "text": "hello"}\n')
    with pytest.raises(ValueError, match=r"cases\.jsonl:1: expected the fields"):
        read_cases(path)


def test_the_published_cases_are_many_balanced_and_never_alike(published: list[FunctionalCase]) -> None:
    counts = Counter(entry.functionality for entry in published)
    assert len(published) >= 480
    assert len(counts) >= 24
    assert min(counts.values()) >= 16
    assert len({entry.text.casefold() for entry in published}) == len(published)
    assert 0.45 < np.mean([entry.expected for entry in published]) < 0.55
    assert sum(entry.pair != "" for entry in published) >= 400


def test_the_published_cases_are_clean(published: list[FunctionalCase]) -> None:
    known = {label.name for label in LABELS}
    for entry in published:
        assert entry.text == entry.text.strip() != ""
        assert entry.label in known
        assert entry.id.startswith(entry.functionality)


def test_length_alone_does_not_tell_the_published_cases_apart(published: list[FunctionalCase]) -> None:
    found = functional_table(
        lambda texts: np.array([len(text) for text in texts], dtype=float), published, threshold=80
    )
    assert 0.4 < found["auroc"] < 0.6

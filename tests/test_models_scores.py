import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.scores import Content, HarmScores
from models.taxonomy import DERIVED_PARTS, LABELS, family, label, with_derived


def scores(probability: list[list[float]], labels: tuple[str, ...], model: str = "m@1") -> HarmScores:
    p = np.array(probability, dtype=np.float32).reshape(-1, len(labels))
    return HarmScores(labels, p, np.where(np.isnan(p), np.nan, 0.5).astype(np.float32), model)


TWO = scores([[0.1, 0.2], [np.nan, np.nan], [np.nan, 0.9]], ("toxicity", "civic"))


def test_a_post_is_scored_when_any_label_is() -> None:
    assert TWO.scored.tolist() == [True, False, True]
    assert TWO.n == 3


def test_arrays_are_read_only_and_copied() -> None:
    p = np.zeros((1, 1), dtype=np.float32)
    made = HarmScores(("toxicity",), p, p, "m")
    p[0, 0] = 1
    assert made.probability[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        made.probability[0, 0] = 1


def test_an_unknown_label_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"got 'toxcity'; nearest: \['toxicity'\]"):
        TWO.column("toxcity")


@pytest.mark.parametrize(
    ("probability", "confidence", "message"),
    [
        (
            [[1.5]],
            [[1.0]],
            r"probability: expected numbers in \[0, 1\] or NaN, got 1.5 at row 0, label 'toxicity'",
        ),
        ([[0.5]], [[np.nan]], "expected NaN exactly where probability is NaN, got a difference at row 0"),
        ([[0.5]], [[0.5], [0.5]], r"confidence: expected shape \(1, 1\), got \(2, 1\)"),
        ([0.5], [0.5], r"probability: expected shape \(n, 1\), got \(1,\)"),
        ([[np.inf]], [[1.0]], "got inf"),
    ],
)
def test_bad_arrays_are_refused(probability: object, confidence: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HarmScores(("toxicity",), np.array(probability), np.array(confidence), "m")


def test_a_repeated_label_is_refused() -> None:
    with pytest.raises(ValueError, match="each label once"):
        scores([[0.1, 0.1]], ("civic", "civic"))


def test_join_adds_columns_and_refuses_a_shared_label() -> None:
    other = scores([[0.3], [0.4], [np.nan]], ("humor",), "d@2")
    joined = TWO.join(other)
    assert joined.labels == ("toxicity", "civic", "humor")
    assert joined.model == "m@1+d@2"
    np.testing.assert_array_equal(joined.column("humor")[0], other.probability[:, 0])
    assert joined.scored.tolist() == [True, True, True]
    with pytest.raises(ValueError, match=r"no label in common, got \['civic', 'toxicity'\]"):
        TWO.join(TWO)
    with pytest.raises(ValueError, match="expected scores of 3 posts, got 1"):
        TWO.join(scores([[0.3]], ("humor",)))


@given(st.lists(st.integers(0, 2), max_size=8))
def test_take_gives_the_rows_in_order(rows: list[int]) -> None:
    taken = TWO.take(rows)
    np.testing.assert_array_equal(taken.probability, TWO.probability[np.array(rows, dtype=int)])
    assert taken.n == len(rows)


def test_take_accepts_a_mask() -> None:
    assert TWO.take(np.array([True, False, True])).n == 2


def test_unscored_posts_have_no_score() -> None:
    none = HarmScores.unscored(4, ["toxicity"], "m")
    assert none.n == 4
    assert not none.scored.any()


def test_columns_of_content_have_one_length() -> None:
    assert Content.of_texts(["a", None]).n == 2
    with pytest.raises(ValueError, match="one length"):
        Content(text=["a"], language=[], urls=[None])


def test_names_of_labels_are_unique_and_derived_parts_exist() -> None:
    names = [entry.name for entry in LABELS]
    assert len(set(names)) == len(names)
    public = [entry.public_name for entry in LABELS if entry.public_name]
    assert len(set(public)) == len(public)
    assert set(DERIVED_PARTS) == set(family("derived"))
    assert {part for parts in DERIVED_PARTS.values() for part in parts} <= set(names)
    assert label("nuance").public_name == "NUANCE_EXPERIMENTAL"
    with pytest.raises(ValueError, match=r"nearest: .*toxicity"):
        label("toxicty")


def test_derived_labels_are_products_of_their_parts() -> None:
    derived = with_derived(TWO)
    assert derived.labels == ("toxicity", "civic", "civic_toxicity")
    probability, confidence = derived.column("civic_toxicity")
    np.testing.assert_allclose(probability, [0.02, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(confidence, [0.5, np.nan, np.nan])
    assert with_derived(scores([[0.5]], ("humor",))).labels == ("humor",)


def test_scores_classifier_and_artifact_do_not_import_torch() -> None:
    code = (
        "import sys; from models.scores import HarmScores; from models.classifier import HarmClassifier; "
        "from models.artifact import Artifact; from models.device import place; "
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

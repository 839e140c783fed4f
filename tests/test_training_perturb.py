import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.normalise import normalised
from training.perturb import PERTURBATIONS, perturbed
from training.robustness import robustness_table

TEXT = "You are a stupid idiot, and nobody wants to listen to your fucking nonsense."


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_each_changes_a_text_the_same_way_for_the_same_seed(name: str) -> None:
    first, second = (
        [perturbed(TEXT, name, np.random.default_rng(seed)) for seed in range(12)] for _ in range(2)
    )
    assert first == second
    assert any(text != TEXT for text in first)


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
def test_empty_text_stays_empty(name: str) -> None:
    assert perturbed("", name, np.random.default_rng(0)) == ""


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
@given(text=st.text(max_size=40), seed=st.integers(0, 99))
def test_no_text_is_refused(name: str, text: str, seed: int) -> None:
    assert isinstance(perturbed(text, name, np.random.default_rng(seed)), str)


@pytest.mark.parametrize("name", ["zero_width", "homoglyphs"])
@given(seed=st.integers(0, 999))
def test_normalisation_recovers_the_text(name: str, seed: int) -> None:
    assert normalised(perturbed(TEXT, name, np.random.default_rng(seed))) == TEXT


@pytest.mark.parametrize("name", ["leetspeak", "punctuation", "typos", "mixed", "spacing"])
def test_short_words_and_handles_are_left_alone(name: str) -> None:
    text = "@anna is it ok"
    assert perturbed(text, name, np.random.default_rng(1)).startswith("@anna")


def test_an_unknown_perturbation_is_named() -> None:
    with pytest.raises(ValueError, match=r"^perturbation: expected one of leetspeak, .*, got 'rot13'$"):
        perturbed("a", "rot13", np.random.default_rng(0))


def test_a_score_that_ignores_case_loses_nothing_by_case() -> None:
    texts, present = (
        ["bad bad word", "a fine day", "bad thing", "hello there"],
        np.array([1, 0, 1, 0], dtype=bool),
    )
    table = robustness_table(
        lambda found: np.array([text.lower().count("bad") for text in found], dtype=np.float64),
        texts,
        present,
        np.random.default_rng(0),
    )
    assert set(table) == {"clean", *PERTURBATIONS}
    perfect = {"auroc": 1.0, "mean_abs_change": 0.0, "recall": 1.0, "false_positive_rate": 0.0}
    for name in ("clean", "all_caps", "lower_case", "random_case"):
        assert table[name] == perfect
    assert all(0 <= row["recall"] <= 1 for row in table.values())


def test_rows_without_a_comparison_are_refused() -> None:
    def score(found: list[str]) -> np.ndarray:
        return np.zeros(len(found))

    with pytest.raises(ValueError, match=r"^present: expected 1 values, got 2$"):
        robustness_table(score, ["a"], np.array([True, False]), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"^present: expected both classes, got 1 of 1$"):
        robustness_table(score, ["a"], np.array([True]), np.random.default_rng(0))

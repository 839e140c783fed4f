import numpy as np

from tests.tiny import labelled_texts
from training.implied import NOT_WITHOUT_TOXICITY, with_implied

LABELS = ("toxicity", "severe_toxicity", "identity_attack", "insult", "profanity", "threat")
NONE = np.nan


def test_a_text_that_is_not_toxic_has_none_of_the_labels_that_need_toxicity() -> None:
    target = np.array(
        [
            [0.0, NONE, NONE, 0.7, NONE, NONE],  # annotated as an insult all the same: that stays
            [0.2, NONE, NONE, NONE, NONE, NONE],  # hardly toxic: nothing follows
            [NONE, NONE, 0.0, NONE, NONE, NONE],  # toxicity unknown: nothing follows
        ]
    )
    texts = labelled_texts(LABELS, ["a", "b", "c"], target, split="train")
    found, n_implied = with_implied(texts)
    assert n_implied == {"severe_toxicity": 1, "identity_attack": 1, "insult": 0}
    np.testing.assert_array_equal(found.target[0], np.float32([0, 0, 0, 0.7, NONE, NONE]))
    np.testing.assert_array_equal(found.target[1:], texts.target[1:])
    assert found.weight[0, 1:3].tolist() == [texts.weight[0, 0]] * 2
    np.testing.assert_array_equal(found.weight[1:], texts.weight[1:])


def test_without_annotations_of_toxicity_nothing_follows() -> None:
    labels = NOT_WITHOUT_TOXICITY
    texts = labelled_texts(labels, ["a"], np.full((1, len(labels)), NONE), split="train")
    found, n_implied = with_implied(texts)
    assert np.isnan(found.target).all()
    assert n_implied == {}


def test_only_texts_of_the_training_get_what_follows() -> None:
    texts = labelled_texts(LABELS[:2], ["a", "b"], [[0.0, NONE]] * 2, split=["dev", "unseen"])
    found, n_implied = with_implied(texts)
    assert np.isnan(found.target[:, 1]).all()
    assert n_implied == {"severe_toxicity": 0}

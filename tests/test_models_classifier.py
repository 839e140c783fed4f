import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from models.artifact import write_artifact
from models.classifier import HarmClassifier
from models.device import place, quiet_memory
from models.encoder import config_of, from_config
from models.familiarity import fit_distance
from models.scores import Content
from tests.tiny import PLATT, random_network, random_texts, save_classifier, word_tokenizer

WORDS = ["the", "a", "you", "are", "this", "that", "good", "bad", "day", "kind", "rude", "thanks", "post"]
LABELS = ("toxicity", "humor", "civic")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("tiny"), WORDS, LABELS)


@pytest.fixture(scope="module")
def classifier(tiny: Path) -> HarmClassifier:
    return HarmClassifier.load(tiny, device="cpu")


def test_the_mean_leaves_padding_out() -> None:
    model = random_network(len(LABELS))
    ids = torch.tensor([[2, 5, 6, 3]])
    padded = torch.cat([ids, torch.zeros(1, 5, dtype=torch.long)], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0, 0]])
    with torch.inference_mode():
        torch.testing.assert_close(
            model(ids, torch.ones_like(ids)), model(padded, mask), atol=1e-5, rtol=1e-4
        )


def test_the_architecture_is_built_again_from_its_config() -> None:
    model = random_network(len(LABELS))
    again = from_config(config_of(model), len(LABELS)).eval()
    again.load_state_dict(model.state_dict())
    ids = torch.tensor([[2, 5, 6, 3]])
    with torch.inference_mode():
        torch.testing.assert_close(model(ids, torch.ones_like(ids)), again(ids, torch.ones_like(ids)))


def test_loaded_scores_equal_those_of_the_model_in_memory(classifier: HarmClassifier) -> None:
    text = "you are kind"
    ids = torch.tensor([word_tokenizer(WORDS).encode(text).ids])
    with torch.inference_mode():
        logits = random_network(len(LABELS))(ids, torch.ones_like(ids))[0].numpy()
    expected = 1 / (1 + np.exp(-(logits - 1)))
    found = classifier.score([text]).probability[0]
    np.testing.assert_allclose(found, expected, atol=0.03)  # int8 weights, and bfloat16 where the CPU has it


def test_a_batch_equals_its_parts(classifier: HarmClassifier) -> None:
    texts = random_texts(WORDS, 70)
    together = classifier.score(texts).probability
    alone = np.vstack([classifier.score([text]).probability for text in texts])
    np.testing.assert_allclose(together, alone, atol=0.03)


def test_scores_repeat_exactly(classifier: HarmClassifier) -> None:
    texts = random_texts(WORDS, 50)
    np.testing.assert_array_equal(classifier.score(texts).probability, classifier.score(texts).probability)


def test_permuting_posts_permutes_scores(classifier: HarmClassifier) -> None:
    texts = random_texts(WORDS, 40)
    order = np.random.default_rng(1).permutation(40)
    permuted = classifier.score([texts[i] for i in order]).probability
    np.testing.assert_allclose(permuted, classifier.score(texts).probability[order], atol=0.03)


def test_equal_texts_get_equal_scores_and_are_computed_once(classifier: HarmClassifier) -> None:
    done: list[int] = []
    texts = ["good day", *random_texts(WORDS, 20), "good  day ", "good day"]
    found = classifier(Content.of_texts(texts), done.append)
    assert (found.probability[0] == found.probability[-1]).all()
    assert (found.probability[0] == found.probability[-2]).all()
    assert done[-1] == len(set(texts) - {"good  day "})
    assert done == sorted(done)


@pytest.mark.parametrize(
    ("text", "language", "is_scored"),
    [
        ("good day", None, True),
        ("good day", "en", True),
        ("good day", "en-GB", True),
        ("good day", "de", False),
        (None, "en", False),
        ("", None, False),
        (" \n\t", None, False),
        ("https://example.org/x", None, False),
        ("привет мир", None, False),
        ("12345 !!!", None, True),
    ],
)
def test_what_cannot_be_judged_is_not_scored(
    classifier: HarmClassifier, text: str | None, language: str | None, is_scored: bool
) -> None:
    found = classifier.score([text, "good day"], languages=[language, None])
    assert found.scored.tolist() == [is_scored, True]
    assert np.isnan(found.probability[0]).all() == (not is_scored)


def test_no_posts_give_no_scores(classifier: HarmClassifier) -> None:
    found = classifier.score([])
    assert found.n == 0
    assert found.labels == LABELS
    assert found.model.startswith("tiny@")


def test_every_word_of_a_long_text_counts(classifier: HarmClassifier) -> None:
    def in_windows(text: str) -> np.ndarray:
        words = text.split()  # 10 words beside the two special tokens, each window repeats the last one
        return classifier.read([" ".join(words[i : i + 10]) for i in range(0, len(words) - 1, 9)])[0]

    for text in (" ".join(["good"] * 40 + ["rude"]), " ".join(random_texts(WORDS, 30, seed=3))):
        expected = np.log(np.exp(in_windows(text)).mean(axis=0))
        np.testing.assert_allclose(classifier.read([text])[0][0], expected, atol=0.02)


def test_a_stated_prevalence_moves_one_label_and_the_name(classifier: HarmClassifier) -> None:
    texts = random_texts(WORDS, 30)
    moved = classifier.at_prevalence({"humor": 0.4})
    before, after = classifier.score(texts), moved.score(texts)
    odds = [p.column("humor")[0] / (1 - p.column("humor")[0]) for p in (before, after)]
    np.testing.assert_allclose(odds[1] / odds[0], (0.4 / 0.6) / (0.1 / 0.9), rtol=1e-3)
    np.testing.assert_array_equal(before.column("toxicity")[0], after.column("toxicity")[0])
    assert before.model != after.model
    with pytest.raises(ValueError, match=r"prevalence: expected a label of \['toxicity'.*, got 'threat'"):
        classifier.at_prevalence({"threat": 0.1})


def test_a_sample_of_the_feed_gives_the_stated_mean_over_its_posts(classifier: HarmClassifier) -> None:
    posts = random_texts(WORDS, 150, seed=5) + ["good day"] * 60  # a post that is repeated counts each time
    unread = ["", None, "это не по-английски, и потому здесь не читается"]
    moved = classifier.at_prevalence({"humor": 0.3}, [*posts, *unread])
    scores = moved.score(posts)
    assert scores.column("humor")[0].mean() == pytest.approx(0.3, abs=1e-3)
    np.testing.assert_array_equal(scores.column("toxicity")[0], classifier.score(posts).column("toxicity")[0])
    assert moved.name != classifier.at_prevalence({"humor": 0.3}).name
    with pytest.raises(
        ValueError, match="sample: expected at least 100 posts that can be judged, got 99 of 102"
    ):
        classifier.at_prevalence({"humor": 0.3}, [*posts[:99], *unread])


def test_an_unfamiliar_text_gets_the_base_rate_and_little_confidence(tiny: Path, tmp_path: Path) -> None:
    """The measure knows texts of "good" and "day" alone."""
    model = random_network(len(LABELS))
    known = [f"good {'day ' * n}" for n in range(1, 9)] + [f"day {'good ' * n}" for n in range(1, 9)]
    ids = [torch.tensor([word_tokenizer(WORDS).encode(text).ids]) for text in known]
    with torch.inference_mode():
        features = torch.cat([model.encoder(one).last_hidden_state.mean(dim=1) for one in ids]).numpy()
    whitening, offset = (part.astype(np.float32) for part in fit_distance(features))
    write_artifact(
        tmp_path,
        {name: value.numpy() for name, value in model.state_dict().items()}
        | {"familiarity.weight": whitening, "familiarity.bias": offset},
        word_tokenizer(WORDS).to_str(),
        name="tiny",
        labels=LABELS,
        calibration=(PLATT,) * 3,
        encoder=config_of(model),
        about={},
        max_tokens=12,
        familiar_up_to=3.0,
    )
    measured, plain = HarmClassifier.load(tmp_path, "cpu"), HarmClassifier.load(tiny, "cpu")
    texts = ["good day day", "rude thanks are post this"]
    distance = measured.read(texts)[1]
    assert distance[0] < 3 < distance[1]
    found, exact = measured.score(texts, languages=["en"] * 2), plain.score(texts, languages=["en"] * 2)
    np.testing.assert_allclose(found.probability[0], exact.probability[0], atol=0.03)
    assert (np.abs(found.probability[1] - 0.1) < np.abs(exact.probability[1] - 0.1)).all()
    assert (found.confidence[1] < 0.6).all()


def test_columns_of_another_length_are_refused(classifier: HarmClassifier) -> None:
    with pytest.raises(ValueError, match="expected columns of one length"):
        classifier.score(["good day"], languages=[])
    with pytest.raises(ValueError, match="expected columns of one length"):
        classifier.score(["good day"], [None, None])


def test_texts_are_never_logged(classifier: HarmClassifier, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        classifier.score(["a kind rude post"])
    assert "rude" not in caplog.text


def test_a_device_that_is_not_there_is_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match='device: expected "auto", "cpu" or "cuda'):
        HarmClassifier.load(tiny, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="CUDA is not available"):
            place("cuda")
    with pytest.raises(FileNotFoundError, match="expected a classifier"):
        HarmClassifier.load(tiny / "nowhere")


def test_cuda_agrees_with_the_cpu(tiny: Path, classifier: HarmClassifier) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    texts = random_texts(WORDS, 64)
    found = HarmClassifier.load(tiny, device="cuda").score(texts).probability
    np.testing.assert_allclose(found, classifier.score(texts).probability, atol=0.03)


def test_quiet_memory_can_be_called_twice() -> None:
    assert quiet_memory() == quiet_memory()


@pytest.fixture(scope="module")
def bundled() -> HarmClassifier:
    return HarmClassifier.load("bundled")


class TestBundled:
    """The classifier that the package ships."""

    def test_it_serves_labels_and_stays_small(self, bundled: HarmClassifier) -> None:
        assert {"toxicity", "insult", "identity_attack"} <= set(bundled.labels)
        directory = Path(__file__).parents[1] / "models" / "pretrained"
        assert sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) < 30e6

    def test_insults_outrank_courtesy(self, bundled: HarmClassifier) -> None:
        rude = [
            "You are a complete idiot and a pathetic loser.",
            "Shut up, you stupid moron, nobody likes you.",
        ]
        polite = ["Thank you so much, that was really helpful.", "The meeting starts at ten on Tuesday."]
        found = bundled.score(rude + polite)
        for label in ("toxicity", "insult"):
            p = found.column(label)[0]
            assert p[:2].min() > 5 * p[2:].max()
            assert p[2:].max() < 0.05
        threshold = bundled.artifact.about["figures"]["threshold"]["probability"]
        assert found.column("toxicity")[0][:2].min() > threshold

    def test_naming_a_group_kindly_is_less_toxic_than_insulting(self, bundled: HarmClassifier) -> None:
        texts = [
            "My neighbours are Muslim and they brought us dinner.",
            "You disgusting idiots ruin everything.",
        ]
        p = bundled.score(texts).column("toxicity")[0]
        assert p[0] < p[1]

    def test_bridging_labels_tell_thanks_and_questions_apart(self, bundled: HarmClassifier) -> None:
        thanks, question = (
            "Thank you, I really appreciate your work on this.",
            "What did you mean by the second edit?",
        )
        found = bundled.score([thanks, question])
        respect, curiosity = (found.column(label)[0] for label in ("respect", "curiosity"))
        assert respect[0] > respect[1]
        assert curiosity[1] > curiosity[0]

    def test_a_batch_equals_its_parts(self, bundled: HarmClassifier) -> None:
        texts = [" ".join(["good", "people", "talk"] * n) for n in range(1, 40)]
        together = bundled.score(texts).probability
        alone = np.vstack([bundled.score([text]).probability for text in texts])
        np.testing.assert_allclose(together, alone, atol=0.03)

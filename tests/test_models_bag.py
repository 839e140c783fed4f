from pathlib import Path

import numpy as np
import pytest

from models import bag
from models.artifact import Artifact, read_artifact, read_weights, write_artifact
from models.bag import BagModel
from models.calibration import Platt

PLATT = Platt(1.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.1, True, 100, 10)
VOCABULARY, WIDTH, FILTERS, SPAN, HIDDEN, LABELS = 50, 8, 12, 3, 10, 2


def random_weights(rng: np.random.Generator, span: int = SPAN) -> dict[str, np.ndarray]:
    shapes = {
        "embedding.weight": (VOCABULARY, WIDTH),
        "token_weight.weight": (VOCABULARY, 1),
        "filters.weight": (span * FILTERS, WIDTH),
        "filters.bias": (FILTERS,),
        "norm.weight": (2 * FILTERS,),
        "norm.bias": (2 * FILTERS,),
        "hidden.weight": (HIDDEN, 2 * FILTERS),
        "hidden.bias": (HIDDEN,),
        "head.weight": (LABELS, HIDDEN),
        "head.bias": (LABELS,),
    }
    return {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


def stored(directory: Path, weights: dict[str, np.ndarray], span: int = SPAN) -> Artifact:
    return write_artifact(
        directory,
        weights,
        "{}",
        name="tiny",
        labels=("toxicity", "humor"),
        calibration=(PLATT,) * LABELS,
        encoder={"model_type": "harm-bag", "span": span},
        about={},
    )


def random_ids(n: int, longest: int = 40) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, VOCABULARY, rng.integers(1, longest)).tolist() for _ in range(n)]


def by_definition(ids: list[int], weights: dict[str, np.ndarray], span: int) -> np.ndarray:
    """The logits (L,) of one text, computed the long way in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    kernel = w["filters.weight"].reshape(span, FILTERS, WIDTH)
    half = span // 2
    padded = np.vstack([np.zeros((half, WIDTH)), w["embedding.weight"][ids], np.zeros((half, WIDTH))])
    places = np.array(
        [w["filters.bias"] + sum(kernel[j] @ padded[i + j] for j in range(span)) for i in range(len(ids))]
    )
    places = np.maximum(places, 0)
    share = np.exp(w["token_weight.weight"][ids, 0])
    pooled = np.concatenate([share @ places / share.sum(), places.max(axis=0)])
    pooled = (pooled - pooled.mean()) / np.sqrt(pooled.var() + 1e-5) * w["norm.weight"] + w["norm.bias"]
    hidden = np.maximum(w["hidden.weight"] @ pooled + w["hidden.bias"], 0)
    return np.asarray(w["head.weight"] @ hidden + w["head.bias"])


@pytest.mark.parametrize("span", [1, 3, 5])
def test_logits_are_those_of_the_definition(tmp_path: Path, span: int) -> None:
    artifact = stored(tmp_path, random_weights(np.random.default_rng(0), span), span)
    weights = read_weights(tmp_path)
    ids = random_ids(30, longest=12)
    expected = [by_definition(entry, weights, span) for entry in ids]
    np.testing.assert_allclose(BagModel(tmp_path, artifact).logits(ids)[:, :-1], expected, atol=2e-4)


def test_the_batch_does_not_matter_at_all(tmp_path: Path) -> None:
    model = BagModel(tmp_path, stored(tmp_path, random_weights(np.random.default_rng(0))))
    ids = random_ids(5000)
    whole = model.logits(ids)
    alone = np.vstack([model.logits([entry]) for entry in ids[:200]])
    np.testing.assert_array_equal(alone, whole[:200])
    np.testing.assert_array_equal(model.logits(ids[::-1])[::-1], whole)


def test_eight_bits_change_little(tmp_path: Path) -> None:
    weights = random_weights(np.random.default_rng(0))
    model = BagModel(tmp_path, stored(tmp_path, weights))
    ids = random_ids(50)
    exact = np.array([by_definition(entry, weights, SPAN) for entry in ids])
    assert np.abs(model.logits(ids)[:, :-1] - exact).max() < 0.05 * np.ptp(exact)


def test_the_loops_say_the_same_without_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BagModel(tmp_path, stored(tmp_path, random_weights(np.random.default_rng(0))))
    ids = [[], *random_ids(4, 8)]
    compiled = model.logits(ids)
    for name in ("_write_states", "_write_logits", "_pool", "_normalise", "_linear"):
        monkeypatch.setattr(bag, name, getattr(bag, name).py_func)
    np.testing.assert_allclose(model.logits(ids), compiled, atol=1e-4)


def test_progress_counts_texts(tmp_path: Path) -> None:
    model = BagModel(tmp_path, stored(tmp_path, random_weights(np.random.default_rng(0))))
    seen: list[int] = []
    model.logits(random_ids(5000, 4), seen.append)
    assert seen == [4096, 5000]
    assert model.logits([]).shape == (0, LABELS + 1)


def test_a_text_without_tokens_gets_the_logits_of_nothing(tmp_path: Path) -> None:
    model = BagModel(tmp_path, stored(tmp_path, random_weights(np.random.default_rng(0))))
    empty, other = model.logits([[], [3, 4]])
    assert np.isfinite(empty).all()
    np.testing.assert_array_equal(other, model.logits([[3, 4]])[0])


def test_ids_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    model = BagModel(tmp_path, stored(tmp_path, random_weights(np.random.default_rng(0))))
    for ids, told in (([[1, VOCABULARY]], "50"), ([[3, -1]], "-1")):
        with pytest.raises(ValueError, match=f"ids: expected numbers from 0 to 49, got {told}"):
            model.logits(ids)


def test_the_distance_is_that_of_the_state_the_heads_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plain = random_weights(rng)
    measure = {
        "familiarity.weight": rng.normal(size=(HIDDEN, HIDDEN)).astype(np.float32),
        "familiarity.bias": rng.normal(size=HIDDEN).astype(np.float32),
    }
    ids = random_ids(20)
    without = BagModel(tmp_path / "a", stored(tmp_path / "a", plain)).logits(ids)
    model = BagModel(tmp_path / "b", stored(tmp_path / "b", plain | measure))
    found, kept = model.logits(ids), read_weights(tmp_path / "b")
    assert (without[:, -1] == 0).all()
    np.testing.assert_array_equal(found[:, :-1], without[:, :-1])
    mapped = model.features(ids) @ kept["familiarity.weight"].T + kept["familiarity.bias"]
    np.testing.assert_allclose(found[:, -1], np.square(mapped).sum(axis=1), rtol=1e-4)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    weights = random_weights(np.random.default_rng(0))
    for name, value, message in (
        ("norm.bias", np.zeros(3, np.float32), r"norm.bias: expected shape \(24,\), got \(3,\)"),
        ("head.extra", np.zeros(3, np.float32), "expected the weights .*got .*head.extra"),
    ):
        stored(tmp_path / name, weights | {name: value})
        with pytest.raises(ValueError, match=message):
            BagModel(tmp_path / name, read_artifact(tmp_path / name))

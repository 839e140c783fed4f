"""The operations of torch against the compiled loop, which is tested against plain Python elsewhere."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from eval.hashing import user_keys
from eval.slates import PackedRequests, WeightPolicies
from eval.slates import measure_slates as measure_compiled
from reranker.torch_ranking import (
    DevicePolicies,
    DeviceRequests,
    measure_slates,
    score_policies,
    top_of_requests,
)

SEEN = (1.0, 0.9, 0.8, 0.5, 0.4, 0.1)


def packed(seed: int = 0, n: int = 60, *, codes: bool = False, ties: bool = False) -> PackedRequests:
    """Requests of 0 to 40 candidates, some shorter than the slate, with unscored harm."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate(([0], np.cumsum(rng.integers(0, 41, n))))
    c = int(offsets[-1])
    if codes:
        p_action = rng.integers(0, 3 if ties else 255, (4, c), dtype=np.uint8)
        p_harm = rng.integers(0, 256, (3, c), dtype=np.uint8)
    else:
        p_action = rng.integers(0, 3, (4, c)) / 4 if ties else rng.random((4, c))
        p_harm = np.where(rng.random((3, c)) < 0.2, np.nan, rng.random((3, c)))
    return PackedRequests(
        user=user_keys(np.arange(n)),
        segment=np.zeros(n, dtype=np.int64),
        offsets=offsets,
        actions=("a0", "a1", "a2", "a3"),
        p_action=p_action,
        harms=("h0", "h1", "h2"),
        p_harm=p_harm,
        multiplier=None if ties else rng.choice([0.3, 0.5, 1.0], c),
        stop=rng.random(c) / 2,
    )


def weights(seed: int = 0) -> WeightPolicies:
    """Three policies, with negative weights, caps and curves."""
    rng = np.random.default_rng(seed)
    curves = np.array([[[0.0, 1.0, 1.0]] * 3, [[0.2, 0.8, 0.1]] * 3, [[0.5, 0.6, 0.0]] * 3])
    drawn = np.array([[1.0, 1.0, 1.0, 0.0], [1.0, -2.0, 5.0, 0.5], [3.0, 1.0, -4.0, 0.0]])
    return WeightPolicies(
        ("old", "new", "hard"), drawn * rng.integers(1, 4, 3)[:, None], np.array([np.inf, 2.0, 1.5]), curves
    )


def on(device: str, batch: PackedRequests, policies: WeightPolicies, numbers: torch.dtype = torch.float64):
    def tensor(values):
        return None if values is None else torch.from_numpy(np.array(values)).to(device)

    given = DeviceRequests(
        tensor(batch.offsets),
        tensor(batch.p_action),
        tensor(batch.p_harm),
        tensor(batch.multiplier),
        tensor(batch.stop),
    )
    found = [tensor(values).to(numbers) for values in (policies.weights, policies.cap, policies.curves)]
    return given, DevicePolicies(*found)


@pytest.mark.parametrize("codes", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_float64_gives_the_bytes_of_the_compiled_loop(codes: bool, ties: bool) -> None:
    for seed in range(5):
        batch, policies = packed(seed, codes=codes, ties=ties), weights(seed)
        found = measure_slates(*on("cpu", batch, policies), SEEN).contiguous().numpy()
        assert found.tobytes() == measure_compiled(batch, policies, SEEN).tobytes()


def test_equal_scores_keep_their_order_and_short_requests_end_in_none() -> None:
    score = torch.tensor([[1.0, 2.0, 2.0, 2.0, 5.0, 1.0], [0.0, 0.0, 0.0, 0.0, -1.0, -1.0]])
    top = top_of_requests(score, torch.tensor([0, 4, 4, 6]), 3)
    assert top.tolist() == [[[1, 2, 3], [-1, -1, -1], [4, 5, -1]], [[0, 1, 2], [-1, -1, -1], [4, 5, -1]]]


def test_a_small_block_changes_no_byte() -> None:
    given, policies = on("cpu", packed(3), weights())
    whole = measure_slates(given, policies, SEEN)
    for cells in (1, 500, 5_000):
        assert torch.equal(measure_slates(given, policies, SEEN, cells_at_once=cells), whole)


def test_requests_without_candidates_show_nothing() -> None:
    batch, policies = packed(0, 1), weights()
    given, policies_on = on("cpu", batch, policies)
    none = DeviceRequests(torch.tensor([0, 0, 0]), given.p_action[:, :0], given.p_harm[:, :0])
    found = measure_slates(none, policies_on, SEEN)
    assert found.shape == (2, 3, 13)
    assert found[:, :, :-1].abs().sum() == 0.0
    assert (found[:, :, -1] == 1.0).all()


def test_no_requests_are_no_rows() -> None:
    given, policies = on("cpu", packed(0, 1), weights())
    none = DeviceRequests(torch.tensor([0]), given.p_action[:, :0], given.p_harm[:, :0])
    assert measure_slates(none, policies, SEEN).shape == (0, 3, 13)


def test_float32_agrees_within_its_tolerance() -> None:
    batch, policies = packed(7, 400), weights()
    exact, exact_policies = on("cpu", batch, policies)
    score = score_policies(exact, exact_policies)
    single = score_policies(*on("cpu", batch, policies, torch.float32))
    scale = score.abs().clamp(min=1.0)
    assert ((single.double() - score).abs() / scale).max() < 1e-5
    found = measure_slates(*on("cpu", batch, policies, torch.float32), SEEN).double().sum(0)
    expected = measure_slates(exact, exact_policies, SEEN).sum(0)
    assert ((found - expected).abs() / expected.clamp(min=1.0)).max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_compiled_loop() -> None:
    for seed in range(5):
        batch, policies = packed(seed, 400, codes=bool(seed % 2)), weights(seed)
        expected = measure_compiled(batch, policies, SEEN)
        found = measure_slates(*on("cuda", batch, policies), SEEN).cpu().numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p_harm": torch.tensor([[0.5, 1.5]])}, r"p_harm: expected numbers in \[0, 1\], got 1.5"),
        ({"p_action": torch.tensor([[0.5, torch.nan]])}, r"p_action: expected numbers in \[0, 1\], got nan"),
        ({"p_action": torch.tensor([[3, 255]], dtype=torch.uint8)}, "p_action: .* got a null code"),
        ({"p_action": torch.tensor([[0.5]])}, "p_action: expected 2 candidates, got torch.float32"),
        ({"offsets": torch.tensor([0, 3, 2])}, "offsets: expected numbers from 0 that do not fall"),
        ({"multiplier": torch.tensor([1.0, -1.0])}, "multiplier: expected finite numbers of at least 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change: dict[str, torch.Tensor], message: str) -> None:
    given = {
        "offsets": torch.tensor([0, 2]),
        "p_action": torch.tensor([[0.5, 0.25]]),
        "p_harm": torch.tensor([[0.5, torch.nan]]),
    }
    with pytest.raises(ValueError, match=message):
        DeviceRequests(**(given | change))


def test_policies_over_other_columns_are_refused() -> None:
    given, policies = on("cpu", packed(0), weights())
    fewer = DevicePolicies(policies.weights[:, :2], policies.cap, policies.curves)
    with pytest.raises(ValueError, match="expected 4 actions and 3 harms, got 2 and 3"):
        measure_slates(given, fewer, SEEN)


def test_ranking_never_reaches_these_operations() -> None:
    code = (
        "import reranker.cli, reranker.pipeline, sys; "
        "print('reranker.torch_ranking' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from models.artifact import Artifact, write_artifact
from models.batches import token_batches, within_memory
from models.calibration import Platt
from models.device import Placement, cpu_precision
from models.encoder import MultiLabelEncoder, config_of, layers_read, reading
from models.familiarity import fit_distance
from models.forward import LogitModel
from models.packed import is_packable, runs_of
from models.packed_int8 import Int8Bert, is_packable_int8

CPU = Placement("cpu", "float32")
PLATT = Platt(1.0, 0.0, (0.0, 0.0, 0.0, 0.0), 0.1, True, 100, 10)


def bert() -> BertModel:
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    return BertModel(config, add_pooling_layer=False)


def roberta() -> RobertaModel:
    config = RobertaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    return RobertaModel(config, add_pooling_layer=False)


@pytest.fixture(
    params=[(make, layers) for make in (bert, roberta) for layers in ([2], [1, 2])],
    ids=lambda one: f"{one[0].__name__}-{len(one[1])}",
)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Artifact]:
    torch.manual_seed(0)
    make, layers = request.param
    model = reading(MultiLabelEncoder(make(), 32, 2), layers)
    for values in model.parameters():
        torch.nn.init.normal_(values, std=0.2)
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    rng = np.random.default_rng(0)
    whitening, offset = fit_distance(rng.normal(size=(100, 32 * len(layers))).astype(np.float32))
    measure = {"familiarity.weight": whitening, "familiarity.bias": offset}
    artifact = write_artifact(
        tmp_path,
        weights | {name: value.astype(np.float32) for name, value in measure.items()},
        "{}",
        name="tiny",
        labels=("toxicity", "humor"),
        calibration=(PLATT,) * 2,
        encoder=config_of(model),
        about={},
    )
    return tmp_path, artifact


def random_ids(n: int, longest: int = 60) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(2, 64, rng.integers(2, longest)).tolist() for _ in range(n)]


def alone(directory: Path, artifact: Artifact, ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """The oracle: the transformers module reads each text alone, in float32; numpy takes the distance."""
    from models.artifact import read_weights
    from models.encoder import from_config

    model = from_config(artifact.encoder, 2).eval()
    weights = read_weights(directory)
    whitening, offset = weights.pop("familiarity.weight"), weights.pop("familiarity.bias")
    model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    rows = []
    for entry in ids:
        with torch.inference_mode():
            states = model.encoder(torch.tensor([entry]), output_hidden_states=True).hidden_states
            hidden = torch.cat([states[layer][0].mean(dim=0) for layer in layers_read(model.encoder)])
            logits = model.head(hidden)
        distance = np.square(whitening @ hidden.numpy() + offset).sum()
        rows.append([*logits.tolist(), float(distance)])
    return np.array(rows)


def test_any_batch_gives_the_logits_of_each_text_alone(stored: tuple[Path, Artifact]) -> None:
    ids = random_ids(150)
    expected = alone(*stored, ids)
    model = LogitModel(*stored, CPU)
    np.testing.assert_allclose(model.logits(ids), expected, atol=1e-4, rtol=1e-4)
    order = np.random.default_rng(2).permutation(150)
    np.testing.assert_allclose(model.logits([ids[i] for i in order]), expected[order], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(model.logits(ids[7:9]), expected[7:9], atol=1e-4, rtol=1e-4)


def test_bfloat16_stays_near_float32_in_any_batch(stored: tuple[Path, Artifact]) -> None:
    ids = random_ids(100)
    exact = LogitModel(*stored, CPU).logits(ids)
    model = LogitModel(*stored, Placement("cpu", "bfloat16"))
    together, halves = model.logits(ids), np.vstack([model.logits(ids[:50]), model.logits(ids[50:])])
    np.testing.assert_allclose(together, exact, atol=0.005)
    np.testing.assert_allclose(together, halves, atol=0.005)


def test_int8_stays_near_float32_and_gives_each_text_the_same_in_any_batch(
    stored: tuple[Path, Artifact],
) -> None:
    ids = random_ids(100)
    exact = LogitModel(*stored, CPU).logits(ids)
    model = LogitModel(*stored, Placement("cpu", "int8"))
    together, halves = model.logits(ids), np.vstack([model.logits(ids[:50]), model.logits(ids[50:])])
    np.testing.assert_allclose(together, exact, atol=0.005)
    alike = 0 if is_packable_int8(stored[1].encoder) else 0.005  # what is not packed runs in bfloat16
    np.testing.assert_allclose(together, halves, rtol=0, atol=alike)
    np.testing.assert_array_equal(together, model.logits(ids))


def test_int8_gives_the_same_bits_in_any_number_of_threads() -> None:
    torch.manual_seed(4)  # wide enough for products that MKL shares among threads
    wide = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 512}
    model = MultiLabelEncoder(BertModel(BertConfig(vocab_size=64, num_hidden_layers=1, **wide)), 384, 61)
    torch.nn.init.normal_(model.head.weight)
    model.eval().requires_grad_(False)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 5):
            torch.set_num_threads(n_threads)
            packed = Int8Bert(model)
            assert packed.tokens_at_once == 2048 * n_threads
            with ThreadPoolExecutor() as later:  # a thread that begins now computes as if there were no model
                assert later.submit(torch.get_num_threads).result() == torch.get_num_threads() == n_threads
            with torch.inference_mode():
                found.append([packed(random_ids(n, 8)).numpy().tobytes() for n in range(1, 40)])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_int8_keeps_its_precision_beside_outliers(tmp_path: Path) -> None:
    model = MultiLabelEncoder(bert(), 32, 2)
    torch.manual_seed(3)
    for values in model.parameters():
        torch.nn.init.normal_(values, std=0.2)
    with torch.no_grad():
        for layer in model.encoder.encoder.layer:  # type: ignore[union-attr, operator]
            layer.output.LayerNorm.bias[:2] += 60.0
            layer.attention.output.LayerNorm.bias[:2] += 60.0
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    artifact = write_artifact(
        tmp_path,
        weights,
        "{}",
        name="tiny",
        labels=("toxicity", "humor"),
        calibration=(PLATT,) * 2,
        encoder=config_of(model),
        about={},
    )
    ids = random_ids(60)
    exact = LogitModel(tmp_path, artifact, CPU).logits(ids)
    found = LogitModel(tmp_path, artifact, Placement("cpu", "int8")).logits(ids)
    np.testing.assert_allclose(found, exact, atol=0.03, rtol=1e-3)


def test_a_cpu_runs_in_what_it_multiplies_quickest() -> None:
    assert cpu_precision({"avx2"}) == "float32"
    assert cpu_precision({"avx2", "avx512_vnni"}) == "float32"  # int8 alone: not measured
    assert cpu_precision({"avx512_bf16"}) == "bfloat16"
    assert cpu_precision({"avx512_bf16", "avx512_vnni"}) == "int8"
    assert cpu_precision({"avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8"}) == "bfloat16"
    assert Placement("cpu", "int8").dtype == torch.bfloat16


def test_progress_counts_texts_up_to_all(stored: tuple[Path, Artifact]) -> None:
    done: list[int] = []
    LogitModel(*stored, CPU).logits(random_ids(400), done.append)
    assert done[-1] == 400
    assert done == sorted(set(done))
    assert len(done) > 1
    assert LogitModel(*stored, CPU).logits([]).shape == (0, 3)


def test_weights_of_another_architecture_are_refused(stored: tuple[Path, Artifact]) -> None:
    directory, artifact = stored
    with pytest.raises(ValueError, match="expected weights of the encoder in its manifest"):
        LogitModel(directory, replace(artifact, encoder=artifact.encoder | {"hidden_size": 64}), CPU)


def test_only_plain_bert_is_packed() -> None:
    config = {"model_type": "bert"}
    assert is_packable(config)
    assert not is_packable({"model_type": "roberta"})
    assert not is_packable(config | {"hidden_act": "relu"})
    assert not is_packable(config | {"position_embedding_type": "relative_key"})
    assert not is_packable(config | {"is_decoder": True})
    assert is_packable_int8(config)
    assert not is_packable_int8({"model_type": "roberta"})
    assert not is_packable_int8(config | {"intermediate_size": 10_000})
    assert runs_of([5, 5, 3, 4, 4]) == [(0, 2, 5), (10, 1, 3), (13, 2, 4)]
    assert runs_of([]) == []


@pytest.mark.parametrize(("size", "n_heads"), [(32, 2), (60, 10), (96, 4)])
def test_int8_reads_heads_of_any_width(size: int, n_heads: int) -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=size,
        num_hidden_layers=1,
        num_attention_heads=n_heads,
        intermediate_size=80,
    )
    model = (
        MultiLabelEncoder(BertModel(config, add_pooling_layer=False), size, 2).eval().requires_grad_(False)
    )
    for values in model.parameters():
        torch.nn.init.normal_(values, std=0.2)
    ids = [torch.randint(1, 64, (n,)).tolist() for n in (1, 4, 17, 33)]
    with torch.inference_mode():
        expected = torch.cat([model(torch.tensor([one]), torch.ones(1, len(one))) for one in ids])
    np.testing.assert_allclose(Int8Bert(model)(ids).numpy(), expected.numpy(), atol=0.03)


def test_batches_hold_each_row_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(1, 128, 500).tolist()
    batches = token_batches(lengths, 1000)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(max(lengths[i] for i in rows) * len(rows) <= 1000 for rows in batches)
    flat = [lengths[i] for rows in batches for i in rows]
    assert flat == sorted(flat, reverse=True)
    assert [rows.tolist() for rows in token_batches([5, 2000, 4], 1000)] == [[1], [0, 2]]
    assert token_batches([], 1000) == []


def test_a_batch_that_does_not_fit_is_halved_down_to_single_texts() -> None:
    sizes = []

    def forward(ids: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        sizes.append(len(ids))
        if sum(map(len, ids)) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
        return np.array([[float(len(entry))] for entry in ids])

    ids = [[0] * n for n in (4, 3, 3, 9, 1, 8, 2)]
    np.testing.assert_array_equal(within_memory(forward, ids)[:, 0], [4, 3, 3, 9, 1, 8, 2])
    assert sizes == [7, 3, 4, 2, 2]
    with pytest.raises(
        ValueError, match=r"memory for one text of 11 tokens, got: CUDA out of memory.*GiB\.$"
    ):
        within_memory(forward, [[0], [0] * 11])

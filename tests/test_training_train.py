import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

from models.examples import LabelledTexts
from tests.tiny import labelled_texts, save_encoder
from training.batches import batch_order, n_batches, tokenize
from training.checkpoint import Progressed, RunFiles, load_best, load_checkpoint, save_best, save_checkpoint
from training.config import TrainConfig
from training.loss import balanced_weights, masked_loss
from training.settings import read_settings, settings_digest
from training.train import train

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
WORDS = [f"w{i}" for i in range(40)]


def config_text(**changes: object) -> str:
    found: dict = {
        "schema": 3,
        "seed": 3,
        "epochs": 1,
        "batch_size": 4,
        "max_tokens": 16,
        "learning_rate": 1e-3,
        "head_learning_rate": 1e-2,
        "weight_decay": 0.01,
        "warmup_share": 0.1,
        "gradient_clip": 1.0,
        "source_tempering": 0.5,
        "label_tempering": 0.5,
        "class_tempering": 0.0,
        "preserve_weight": 0.5,
        "frozen_layers": -1,
        "dropout": 0.1,
        "perturbed_share": 0.2,
        "checkpoint_every": 5,
        "evaluations": 2,
        "patience": 5,
        "dev_texts": 100,
    } | changes
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in found.items())


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """On models this small, two threads wait for each other: nine times as long on a busy machine."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_encoder(tmp_path_factory.mktemp("encoder"), WORDS, n_layers=2)


def labelled(n: int, split: str = "train", dev: int = 0) -> LabelledTexts:
    """Texts that are toxic when they hold w0 more than once; half of them say nothing about humor.

    The last `dev` texts are of the split "dev".
    """
    rng = np.random.default_rng(0)
    words = [rng.choice(WORDS[:6], rng.integers(3, 14)) for _ in range(n)]
    toxic = np.array([(entry == "w0").sum() > 1 for entry in words], dtype=np.float32)
    humor = np.where(np.arange(n) % 2 == 0, 1 - toxic, np.nan)
    return labelled_texts(
        ("toxicity", "humor"),
        [" ".join(entry) for entry in words],
        np.column_stack([toxic, humor]),
        source=np.where(np.arange(n) % 5 == 0, "small", "large"),
        split=np.where(np.arange(n) < n - dev, split, "dev"),
    )


def test_a_config_is_closed_and_has_a_digest(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(config_text())
    config = read_settings(path, TrainConfig)
    assert settings_digest(config) == settings_digest(read_settings(path, TrainConfig))
    path.write_text(config_text(seed=4))
    assert settings_digest(read_settings(path, TrainConfig)) != settings_digest(config)
    for changes, message in (
        ({"droput": 0.1}, r"unknown: \['droput'\]"),
        ({"patience": 0}, "patience: expected a number above 0, got 0"),
        ({"batch_size": 0}, "batch_size: expected a number above 0, got 0"),
        ({"warmup_share": 2}, r"warmup_share: expected a number in \[0, 1\], got 2"),
        ({"schema": 7}, r"c\.toml: schema: expected 3, got 7"),
        ({"epochs": 1.5}, "epochs: expected a whole number, got 1.5"),
        ({"seed": True}, "seed: expected a whole number, got True"),
        ({"dropout": "0.1"}, "dropout: expected a finite number, got '0.1'"),
    ):
        path.write_text(config_text(**changes))
        with pytest.raises(ValueError, match=message):
            read_settings(path, TrainConfig)
    for text, message in (
        (config_text().replace("0.001", "nan"), "learning_rate: expected a finite number, got nan"),
        ("epochs", r"c\.toml: Expected '=' after a key"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_settings(path, TrainConfig)


def test_the_shipped_config_is_valid() -> None:
    assert read_settings(ROOT / "training" / "configs" / "minilm-en.toml", TrainConfig).epochs > 0


def test_tempering_balances_sources_and_labels() -> None:
    texts = labelled(100)  # 20 small, 80 large; humor annotated for half
    plain = balanced_weights(texts, source_tempering=0, label_tempering=0)
    assert plain.sum() == pytest.approx(100, rel=1e-5)
    assert np.unique(plain).size == 2
    assert (plain[np.isnan(texts.target)] == 0).all()
    equal = balanced_weights(texts, source_tempering=1, label_tempering=1)
    small = texts.source == "small"
    np.testing.assert_allclose(equal.sum(axis=0), [50, 50], rtol=1e-5)
    np.testing.assert_allclose(equal[small].sum(axis=0), [25, 25], rtol=1e-5)


def test_the_masked_loss_equals_a_sum_by_hand() -> None:
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
    target = torch.tensor([[1.0, float("nan")], [0.25, 0.0]])
    weight = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    p = 1 / (1 + np.exp(-logits.numpy().astype(float)))
    by_hand = (
        -2 * np.log(p[0, 0]) - 0.25 * np.log(p[1, 0]) - 0.75 * np.log(1 - p[1, 0]) - 0.5 * np.log(1 - p[1, 1])
    ) / 2
    assert float(masked_loss(logits, target, weight)) == pytest.approx(by_hand, rel=1e-5)


def test_class_tempering_lifts_a_rare_label() -> None:
    texts = labelled(200)
    weight = balanced_weights(texts, source_tempering=0, label_tempering=0, class_tempering=1)
    present = texts.target[:, 0] == 1
    assert weight[present, 0].sum() == pytest.approx(weight[~present, 0].sum(), rel=1e-5)
    assert np.unique(weight[present, 0]).size == 1


def test_what_is_not_annotated_has_no_gradient() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    masked_loss(logits, torch.tensor([[1.0, float("nan")]]), torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert logits.grad[0, 0] < 0


def test_an_epoch_visits_every_row_once_with_little_padding(encoder: Path) -> None:
    texts = labelled(500)
    tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    tokens = tokenize(texts.text, tokenizer, max_tokens=10, pad_id=0)
    assert tokens.length.max() == 10
    batches = batch_order(tokens.length, 8, np.random.default_rng(0))
    assert len(batches) == n_batches(500, 8)
    assert len(batch_order(tokens.length, 3, np.random.default_rng(0))) == n_batches(500, 3)
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    padded = sum(int(tokens.length[rows].max()) * len(rows) for rows in batches)
    assert padded < 1.1 * tokens.length.sum()
    ids, mask = tokens.padded(np.array([0, 1]))
    assert mask.sum(dim=1).tolist() == tokens.length[:2].tolist()
    assert (ids[mask == 0] == 0).all()


def test_a_checkpoint_restores_weights_and_moments(tmp_path: Path) -> None:
    def fresh() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 1)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        model(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = fresh()
    step(model, optimizer)
    done = Progressed(1, [0.5], [(1, 0.75)])
    save_checkpoint(RunFiles(tmp_path, "r"), model, optimizer, done)
    step(model, optimizer)
    again, other = fresh()
    assert load_checkpoint(RunFiles(tmp_path, "r"), again, other) == done
    step(again, other)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert load_checkpoint(RunFiles(tmp_path / "none", "r"), again, other) == Progressed()
    with pytest.raises(ValueError, match="expected a checkpoint of run s, got one of r"):
        load_checkpoint(RunFiles(tmp_path, "s"), again, other)


def test_half_written_weights_are_never_loaded(tmp_path: Path) -> None:
    model = torch.nn.Linear(3, 1)
    files = RunFiles(tmp_path, "r")
    save_best(files, model)
    content = (tmp_path / "best").read_bytes()
    (tmp_path / "best").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="best: expected a checkpoint, got a damaged file"):
        load_best(files, model)


def test_training_learns_and_says_where_it_comes_from(encoder: Path, tmp_path: Path) -> None:
    labelled(900, dev=100).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text(batch_size=16, epochs=2))
    train(
        read_settings(tmp_path / "c.toml", TrainConfig),
        tmp_path / "e.parquet",
        str(encoder),
        tmp_path / "run",
        device="cpu",
    )
    about = json.loads((tmp_path / "run" / "training.json").read_text())
    assert np.mean(about["losses"][-20:]) < 0.8 * np.mean(about["losses"][:5])
    assert {"commit", "versions", "examples_sha256", "config_digest", "base_encoder_sha256"} <= set(about)
    assert str(tmp_path) not in json.dumps(about)
    assert len(about["dev"]) == 4
    assert max(score for _, score in about["dev"]) > 0.6
    assert about["n_texts"] == 800
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"model.safetensors", "tokenizer.json", "training.json", "curves.csv", "curves.png"}
    lines = (tmp_path / "run" / "curves.csv").read_text().splitlines()
    assert lines[0] == "step,loss,dev_mean_auroc"
    assert len(lines) == 1 + len(about["losses"])


def test_training_stops_when_dev_no_longer_improves(encoder: Path, tmp_path: Path) -> None:
    texts = labelled(200, dev=60)
    target = texts.target.copy()
    target[texts.split == "dev", 0] = 1 - target[texts.split == "dev", 0]  # learning makes dev worse
    dataclasses.replace(texts, target=target).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(
        config_text(epochs=20, patience=2, head_learning_rate=0.05, learning_rate=5e-3, evaluations=1)
    )
    config = read_settings(tmp_path / "c.toml", TrainConfig)
    train(config, tmp_path / "e.parquet", str(encoder), tmp_path / "run", device="cpu")
    about = json.loads((tmp_path / "run" / "training.json").read_text())
    assert about["stopped_early"]
    assert len(about["losses"]) < 20 * 35
    scores = [score for _, score in about["dev"]]
    assert len(scores) - 1 - int(np.argmax(scores)) == 2


LAUNCHERS = {
    "torchrun": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"],
    "accelerate": [
        *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--main_process_port", "0"),
    ],
}


def test_two_processes_make_the_steps_of_one(encoder: Path, tmp_path: Path) -> None:
    """The oracle is the single process; without dropout both sum the same gradients."""
    labelled(122, dev=40).write(tmp_path / "e.parquet")  # 82 rows: the last batch of 4 holds 2
    (tmp_path / "c.toml").write_text(config_text(dropout=0.0, gradient_clip=100.0))
    arguments = ["--config", tmp_path / "c.toml", "--examples", tmp_path / "e.parquet", "--encoder", encoder]
    for name, how in LAUNCHERS.items():
        command = [sys.executable, *how, "-m", "training.train", *map(str, arguments), "--device", "cpu"]
        done = subprocess.run(
            [*command, "--out", str(tmp_path / name)],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-2000:]
    config = read_settings(tmp_path / "c.toml", TrainConfig)
    train(config, tmp_path / "e.parquet", str(encoder), tmp_path / "one", device="cpu")
    one = json.loads((tmp_path / "one" / "training.json").read_text())
    weights = load_file(tmp_path / "one" / "model.safetensors")
    assert one["n_processes"] == 1
    for name in LAUNCHERS:
        two = json.loads((tmp_path / name / "training.json").read_text())
        assert two["n_processes"] == 2, name
        np.testing.assert_allclose(one["losses"], two["losses"], atol=0.02)
        shared = load_file(tmp_path / name / "model.safetensors")
        torch.testing.assert_close(weights, shared, rtol=0, atol=0.02)


def test_what_wraps_the_model_is_gone_when_the_processes_part(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were DistributedDataParallel the last to hold the connection, one run in some dozens would hang."""
    wrappers: list[weakref.ref[Wrapper]] = []
    gone: list[bool] = []

    def prepare(accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple:
        accelerator._models.append(Wrapper(model))
        wrappers.append(weakref.ref(accelerator._models[-1]))
        return accelerator._models[-1], optimizer

    monkeypatch.setattr(Accelerator, "prepare", prepare)
    monkeypatch.setattr(Accelerator, "end_training", lambda _: gone.append(wrappers[0]() is None))
    labelled(22, dev=10).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text())
    train(
        read_settings(tmp_path / "c.toml", TrainConfig),
        tmp_path / "e.parquet",
        str(encoder),
        tmp_path / "run",
        device="cpu",
    )
    assert gone == [True]


class Wrapper(nn.Module):
    """As DistributedDataParallel wraps a model, in a cycle of references."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.itself = [self]

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.module(*given)


def test_a_training_killed_at_any_moment_ends_with_the_same_weights(encoder: Path, tmp_path: Path) -> None:
    labelled(660, dev=60).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text())
    config = read_settings(tmp_path / "c.toml", TrainConfig)
    files = [
        "--config",
        tmp_path / "c.toml",
        "--examples",
        tmp_path / "e.parquet",
        "--out",
        tmp_path / "killed",
    ]
    command = [
        sys.executable,
        "-m",
        "training.train",
        *map(str, files),
        "--encoder",
        str(encoder),
        "--device",
        "cpu",
    ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoint").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    for name in ("killed", "whole"):
        train(config, tmp_path / "e.parquet", str(encoder), tmp_path / name, device="cpu")
    killed, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("killed", "whole"))
    torch.testing.assert_close(killed, whole, rtol=0, atol=1e-6)


def test_a_run_directory_of_another_config_is_refused(encoder: Path, tmp_path: Path) -> None:
    labelled(40).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text())
    config = read_settings(tmp_path / "c.toml", TrainConfig)
    model = torch.nn.Linear(1, 1)
    (tmp_path / "run").mkdir()
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(RunFiles(tmp_path / "run", "another"), model, optimizer, Progressed(1))
    with pytest.raises(ValueError, match="expected a checkpoint of run"):
        train(config, tmp_path / "e.parquet", str(encoder), tmp_path / "run", device="cpu")
    labelled(40, "test").write(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="expected texts of split 'train', got none"):
        train(config, tmp_path / "t.parquet", str(encoder), tmp_path / "other", device="cpu")


def dies_at(step: int, out: Path, run: Callable[[Path], None]) -> bool:
    """Whether the run was interrupted before its operation number `step` on files of the directory."""
    left = iter(range(step))

    def dying(operation: Callable[..., object]) -> Callable[..., object]:
        def tried(path: Path, *arguments: object, **options: object) -> object:
            if path.parent == out and next(left, None) is None:
                raise KeyboardInterrupt
            return operation(path, *arguments, **options)

        return tried

    with pytest.MonkeyPatch.context() as death:
        death.setattr(Path, "replace", dying(Path.replace))
        death.setattr(Path, "unlink", dying(Path.unlink))
        try:
            run(out)
        except KeyboardInterrupt:
            return True
    return False


def test_a_death_between_any_two_files_leaves_what_the_same_command_finishes(
    encoder: Path, tmp_path: Path
) -> None:
    labelled(40, dev=20).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text())
    config = read_settings(tmp_path / "c.toml", TrainConfig)

    def run(out: Path) -> None:
        train(config, tmp_path / "e.parquet", str(encoder), out, device="cpu")

    run(tmp_path / "whole")
    weights = load_file(tmp_path / "whole" / "model.safetensors")
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    step = 0
    while dies_at(step, out := tmp_path / str(step), run):
        if (out / "training.json").exists():  # what says that the rest is there
            torch.testing.assert_close(load_file(out / "model.safetensors"), weights, rtol=0, atol=1e-6)
            assert names <= {path.name for path in out.iterdir()}
        run(out)
        assert {path.name for path in out.iterdir()} == names
        torch.testing.assert_close(load_file(out / "model.safetensors"), weights, rtol=0, atol=1e-6)
        step += 1
    assert step >= 8  # 2 best weights, a checkpoint, 3 files of the run, and the removal of the first two


def test_a_finished_run_stays_as_it_is_and_no_other_takes_its_place(encoder: Path, tmp_path: Path) -> None:
    labelled(20).write(tmp_path / "e.parquet")
    (tmp_path / "c.toml").write_text(config_text())
    config = read_settings(tmp_path / "c.toml", TrainConfig)
    arguments = tmp_path / "e.parquet", str(encoder), tmp_path / "run"
    train(config, *arguments, device="cpu")
    about = (tmp_path / "run" / "training.json").read_text()
    assert json.loads(about)["dev"] == [[2, None], [5, None]]  # there is no dev text
    assert "nan" not in (tmp_path / "run" / "curves.csv").read_text()
    train(config, *arguments, device="cpu")
    assert (tmp_path / "run" / "training.json").read_text() == about  # with the seconds of the first time
    with pytest.raises(ValueError, match=r"training\.json: expected none, or that of this run"):
        train(dataclasses.replace(config, seed=4), *arguments, device="cpu")

"""The optimisation loop: resumable, shared by any number of processes, stopped when dev is best."""

import gc
import logging
import math
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from torch import nn

from models.device import Placement, place
from models.encoder import MultiLabelEncoder
from models.examples import LabelledTexts
from training.batches import Tokens, batch_order, n_batches, tokenize
from training.checkpoint import (
    Dev,
    Losses,
    RunFiles,
    load_best,
    load_checkpoint,
    save_best,
    save_checkpoint,
)
from training.config import TrainConfig
from training.loss import balanced_weights, masked_loss
from training.perturb import PERTURBATIONS, perturbed
from training.preserve import Preserving, distance, pooled_features
from training.validation import dev_logits, mean_auroc, sampled_dev

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fit:
    """How a run went: the loss of each step, and (step, dev score) of each measurement."""

    losses: Losses
    dev: Dev
    stopped_early: bool
    seconds: float
    n_processes: int


def fit(
    config: TrainConfig,
    model: MultiLabelEncoder,
    texts: LabelledTexts,
    tokenizer: Tokenizer,
    *,
    files: RunFiles,
    device: str = "auto",
) -> Fit | None:
    """Trains `model` in place to its best weights on dev; None in every process but the first.

    Without texts of split "dev" the last weights are the best.

    Raises:
        ValueError: the checkpoint among `files` is that of another run.
    """
    loop = _Loop(config, model, texts, tokenizer, files=files, placement=place(device))
    began = time.monotonic()
    stopped = loop.run()
    loop.end()
    if not loop.accelerator.is_main_process:
        return None
    load_best(files, model)
    state = loop.progressed
    return Fit(state.losses, state.dev, stopped, time.monotonic() - began, loop.accelerator.num_processes)


class _Loop:
    """The state of one run in one process."""

    def __init__(
        self,
        config: TrainConfig,
        model: MultiLabelEncoder,
        texts: LabelledTexts,
        tokenizer: Tokenizer,
        *,
        files: RunFiles,
        placement: Placement,
    ) -> None:
        self.config, self.model, self.files = config, model, files
        self.placement, self.tokenizer = placement, tokenizer
        self.accelerator = Accelerator(cpu=placement.device == "cpu")
        self.pad_id = int(getattr(model.encoder.config, "pad_token_id", 0) or 0)
        self.texts = texts.take(texts.split == "train")
        self.dev = sampled_dev(texts, config.dev_texts, np.random.default_rng(config.seed))
        self.dev_tokens = self._tokens(list(self.dev.text)) if self.dev.n else None
        self.target = torch.from_numpy(self.texts.target.copy())
        self.weight = torch.from_numpy(
            balanced_weights(
                self.texts,
                source_tempering=config.source_tempering,
                label_tempering=config.label_tempering,
                class_tempering=config.class_tempering,
            )
        )
        _quicken(model, config.dropout, self.accelerator.device.type)
        model.to(self.accelerator.device)
        self.start = self._start_features() if config.preserve_weight else None
        self.trained = Preserving(model, with_map=self.start is not None).to(self.accelerator.device).train()
        optimizer = _optimizer(config, self.trained)
        self.progressed = load_checkpoint(files, self.trained, optimizer)
        self.wrapped, self.optimizer = self.accelerator.prepare(self.trained, optimizer)
        self.steps_per_epoch = n_batches(self.texts.n, config.batch_size)
        self.n_steps = self.steps_per_epoch * config.epochs

    def end(self) -> None:
        """Leaves the other processes; nothing can be trained after that.

        One that ends while another still holds the connection would abort instead of ending. And what
        DistributedDataParallel holds goes first: were it the last to let go of the connection, that would
        wait for the threads of gloo with Python's lock held, and one of those may be waiting for the lock.
        """
        self.accelerator.wait_for_everyone()
        if self.wrapped is not self.trained:
            del self.wrapped
            self.accelerator.free_memory()
            gc.collect()
        self.accelerator.end_training()

    def run(self) -> bool:
        """Trains to the end; whether it stopped before the last step."""
        done = self.progressed.step
        _log.info("%d texts, %d steps, %d done", self.texts.n, self.n_steps, done)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        shown = sys.stderr.isatty() and self.accelerator.is_main_process
        with Progress(*columns, disable=not shown) as progress:
            task = progress.add_task("training", total=self.n_steps, completed=done)
            for epoch in range(done // self.steps_per_epoch, self.config.epochs):
                tokens, batches = self._epoch(epoch)
                for step in range(self.progressed.step, (epoch + 1) * self.steps_per_epoch):
                    if self._has_stopped():
                        return True
                    self._step(step, tokens, batches[step - epoch * self.steps_per_epoch])
                    progress.update(task, completed=step + 1)
        return False

    def _epoch(self, epoch: int) -> tuple[Tokens, list[NDArray[np.int64]]]:
        """Tokens and batches of an epoch, which depend on the seed and its number alone."""
        rng = np.random.default_rng([self.config.seed, epoch])
        text = list(self.texts.text)
        names = list(PERTURBATIONS)
        for row in np.flatnonzero(rng.random(len(text)) < self.config.perturbed_share):
            text[row] = perturbed(text[row], names[rng.integers(len(names))], rng)
        tokens = self._tokens(text)
        return tokens, batch_order(tokens.length, self.config.batch_size, rng)

    def _tokens(self, text: list[str]) -> Tokens:
        return tokenize(text, self.tokenizer, max_tokens=self.config.max_tokens, pad_id=self.pad_id)

    def _start_features(self) -> torch.Tensor:
        """Features of the training texts, as they are, by the model that the training starts from."""
        _log.info("features of %d texts by the unchanged encoder", self.texts.n)
        tokens = self._tokens(list(self.texts.text))
        with self._autocast():
            return pooled_features(self.model, tokens, str(self.accelerator.device))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.accelerator.device.type, self.placement.dtype, enabled=self.placement.precision != "float32"
        )

    def _step(self, step: int, tokens: Tokens, rows: NDArray[np.int64]) -> None:
        self._seed(step)
        _set_learning_rates(self.config, self.optimizer, step / self.n_steps)
        process, n_processes = self.accelerator.process_index, self.accelerator.num_processes
        own = rows[process::n_processes]
        # A process without a row of a small last batch still takes part, at weight 0.
        scale = n_processes / len(rows) if len(own) else 0.0
        own = own if len(own) else rows[:1]
        ids, mask = (part.to(self.accelerator.device) for part in tokens.padded(own))
        with self._autocast():
            logits, mapped = self.wrapped(ids, mask)
        target, weight = (part[own].to(self.accelerator.device) for part in (self.target, self.weight))
        loss = masked_loss(logits, target, weight, n_texts=1) * scale
        if self.start is not None:
            start = self.start[own].to(self.accelerator.device)
            loss = loss + self.config.preserve_weight * distance(mapped, start).sum() * scale
        if not math.isfinite(float(loss.detach())):
            raise ValueError(f"step {step}: expected a finite loss, got {float(loss.detach())}")
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.progressed.losses.append(float(self.accelerator.reduce(loss.detach(), reduction="mean")))
        self.progressed.step = step + 1
        self._keep(step + 1)

    def _seed(self, step: int) -> None:
        """Dropout depends on the step and the process, not on interruptions."""
        own = step * self.accelerator.num_processes + self.accelerator.process_index
        torch.manual_seed(self.config.seed * 1_000_003 + own)

    def _keep(self, step: int) -> None:
        """Measures and saves when it is time."""
        last = step == self.n_steps
        every = max(1, self.steps_per_epoch // self.config.evaluations)
        if (step % every == 0 and self.n_steps - step >= every) or last:
            self._measure(step)
        if step % self.config.checkpoint_every == 0 or last:
            losses = self.progressed.losses
            _log.info("step %d of %d, loss %.4f", step, self.n_steps, np.mean(losses[-100:]))
            if self.accelerator.is_main_process:
                save_checkpoint(self.files, self.trained, self.optimizer, self.progressed)

    def _measure(self, step: int) -> None:
        score = float("nan")
        if self.dev_tokens is not None:
            logits = dev_logits(self.model, self.dev_tokens, str(self.accelerator.device))
            score = mean_auroc(logits, self.dev)
        score = float(self.accelerator.gather(torch.tensor([score], device=self.accelerator.device))[0])
        known = [value for _, value in self.progressed.dev if not math.isnan(value)]
        better = not known if math.isnan(score) else score >= max(known, default=0.0)
        self.progressed.dev.append((step, score))
        _log.info("step %d: dev %.4f", step, score)
        if better and self.accelerator.is_main_process:
            save_best(self.files, self.model)

    def _has_stopped(self) -> bool:
        values = [value for _, value in self.progressed.dev]
        if np.isnan(values).all():
            return False
        return len(values) - 1 - int(np.nanargmax(values)) >= self.config.patience


def _quicken(model: MultiLabelEncoder, dropout: float, device: str) -> None:
    """Sets the dropout of the encoder, and on a CPU the plain form of attention.

    Of two forms the plain one took half the time in the backward pass on a CPU, at 40 tokens a text.
    """
    if device == "cpu":
        encoder: Any = model.encoder
        encoder.set_attn_implementation("eager")
    for name, part in model.named_modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0 if "attention.self" in name else dropout


def _freeze(model: MultiLabelEncoder, n_layers: int) -> None:
    """Keeps the embeddings and the first layers of the encoder as they are; -1 keeps nothing.

    Layers are the children of the longest module list, as every transformers encoder has one.

    Raises:
        ValueError: the encoder has fewer layers.
    """
    if n_layers < 0:
        return
    lists = [part for part in model.encoder.modules() if isinstance(part, nn.ModuleList)]
    layers = max(lists, key=len) if lists else nn.ModuleList()
    if n_layers > len(layers):
        raise ValueError(f"frozen_layers: expected at most {len(layers)} for this encoder, got {n_layers}")
    for name, part in model.encoder.named_children():
        if name == "embeddings":
            part.requires_grad_(False)
    encoder: Any = model.encoder
    encoder.get_input_embeddings().requires_grad_(False)
    layers[:n_layers].requires_grad_(False)


def _optimizer(config: TrainConfig, trained: Preserving) -> torch.optim.Optimizer:
    _freeze(trained.model, config.frozen_layers)
    body = [parameter for parameter in trained.model.encoder.parameters() if parameter.requires_grad]
    head = [*trained.model.head.parameters(), *trained.back.parameters()]
    groups: list[dict[str, Any]] = [{"params": body}, {"params": head}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def _set_learning_rates(config: TrainConfig, optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Linear warm-up, then cosine decay to a tenth; `progress` is the share of steps done."""
    warm = min(1.0, progress / config.warmup_share) if config.warmup_share else 1.0
    share = max(0.02, warm) * (0.55 + 0.45 * math.cos(math.pi * progress))
    for group, peak in zip(
        optimizer.param_groups, (config.learning_rate, config.head_learning_rate), strict=True
    ):
        group["lr"] = peak * share

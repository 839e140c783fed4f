"""The small model that learns from a large one: that of models.bag, in torch, and its optimisation."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.bag import MODEL_TYPE
from training.batches import Tokens, batch_order, n_batches
from training.loss import masked_loss
from training.settings import check_settings
from training.teacher import taught_loss

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1

_INITIAL_SPREAD = 0.3
_WARMUP_SHARE = 0.05
_GRADIENT_CLIP = 1.0
_BATCH = 512


@dataclass(frozen=True)
class StudentConfig:
    """All that decides the weights of a student, apart from its teacher and the texts.

    `width` is that of the embeddings; a filter sees `span` neighbouring tokens; `hidden` is the layer
    before the head. The loss is `teacher_share` times that against the teacher's probabilities plus the
    rest times that against the annotations, which the temperings balance as in `TrainConfig`.

    Raises:
        ValueError: a value of another type or out of range, or another schema.
    """

    schema: int
    seed: int
    epochs: int
    batch_size: int
    max_tokens: int
    width: int
    filters: int
    span: int
    hidden: int
    learning_rate: float
    weight_decay: float
    dropout: float
    teacher_share: float
    source_tempering: float
    label_tempering: float
    class_tempering: float

    def __post_init__(self) -> None:
        check_settings(
            self,
            schema=SCHEMA_VERSION,
            above_zero=("epochs", "batch_size", "max_tokens", "width", "filters", "hidden", "learning_rate"),
            shares=("dropout", "teacher_share", "source_tempering", "label_tempering", "class_tempering"),
        )
        if self.span < 1 or self.span % 2 == 0:
            raise ValueError(f"span: expected an odd number above 0, got {self.span}")

    @property
    def encoder(self) -> dict[str, str | int]:
        """What `models.bag.BagModel` needs to know besides the weights."""
        return {"model_type": MODEL_TYPE, "span": self.span}


class Student(nn.Module):
    """The computation of models.bag on padded batches."""

    def __init__(self, config: StudentConfig, words: NDArray[np.float32], n_labels: int) -> None:
        """Starts from word vectors (vocabulary, d), reduced to the width by their principal components."""
        super().__init__()
        self.embedding = nn.Embedding(len(words), config.width, _weight=_reduced(words, config.width))
        self.token_weight = nn.Embedding(len(words), 1)
        self.filters = nn.Linear(config.width, config.span * config.filters, bias=False)
        self.filters.bias = nn.Parameter(torch.zeros(config.filters))
        self.norm = nn.LayerNorm(2 * config.filters)
        self.hidden = nn.Linear(2 * config.filters, config.hidden)
        self.head = nn.Linear(config.hidden, n_labels)
        self.dropout = nn.Dropout(config.dropout)
        self.span = config.span
        for weight in (self.token_weight.weight, self.head.weight, self.head.bias):
            nn.init.zeros_(weight)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (n, L) of ids (n, length) with the mask of what is text."""
        kept = mask.unsqueeze(-1).float()  # (n, length, 1)
        embedded = self.embedding(ids) * kept
        places = functional.relu(self._convolved(embedded)) * kept  # (n, length, filters), at least 0
        share = torch.exp(self.token_weight(ids)) * kept
        mean = (places * share).sum(dim=1) / share.sum(dim=1).clamp(min=1e-9)
        pooled = self.norm(torch.cat([mean, places.amax(dim=1)], dim=1))
        logits: Tensor = self.head(functional.relu(self.hidden(self.dropout(pooled))))
        return logits

    def _convolved(self, embedded: Tensor) -> Tensor:
        """(n, length, filters): what the tokens of each span add up to, 0 outside the text."""
        n_filters = len(self.filters.bias)
        kernel = self.filters.weight.view(self.span, n_filters, -1).permute(1, 2, 0)
        return functional.conv1d(
            embedded.transpose(1, 2), kernel, self.filters.bias, padding=self.span // 2
        ).transpose(1, 2)


def fit_student(
    config: StudentConfig,
    student: Student,
    tokens: Tokens,
    annotated: tuple[NDArray[np.float32], NDArray[np.float32]],
    taught: NDArray[np.float32],
) -> list[float]:
    """Trains in place; the loss of each epoch.

    Args:
        config: the settings.
        student: with fresh weights.
        tokens: n texts.
        annotated: target (n, L) and weight (n, L), 0 where there is none.
        taught: logits (n, L) of the teacher, NaN for labels that it does not serve.
    """
    rng = np.random.default_rng(config.seed)
    target, weight = (torch.from_numpy(np.array(part)) for part in annotated)
    advice = torch.from_numpy(taught)
    optimizer = _optimizer(config, student)
    n_steps = config.epochs * n_batches(len(tokens.length), config.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, n_steps))
    losses = []
    student.train()
    for epoch in range(config.epochs):
        began, total = time.monotonic(), 0.0
        for rows in batch_order(tokens.length, config.batch_size, rng):
            at = torch.from_numpy(rows)
            logits = student(*tokens.padded(rows))
            loss = config.teacher_share * taught_loss(logits, advice[at])
            loss = loss + (1 - config.teacher_share) * masked_loss(logits, target[at], weight[at])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(student.parameters(), _GRADIENT_CLIP)
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / len(tokens.length))
        _log.info("epoch %d: loss %.4f, %.0f s", epoch + 1, losses[-1], time.monotonic() - began)
    return losses


def student_logits(student: Student, tokens: Tokens) -> NDArray[np.float64]:
    """float64 (n, L) of all texts in `tokens`."""
    order = np.argsort(tokens.length, kind="stable")
    found = np.empty((len(order), student.head.out_features))
    student.eval()
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            found[rows] = student(*tokens.padded(rows)).double().numpy()
    return found


def _optimizer(config: StudentConfig, student: Student) -> torch.optim.Optimizer:
    tables = [student.embedding.weight, student.token_weight.weight]
    own = {id(table) for table in tables}
    rest = [weight for weight in student.parameters() if id(weight) not in own]
    groups = [
        {"params": tables, "weight_decay": 0.0},  # a word that does not occur keeps its vector
        {"params": rest, "weight_decay": config.weight_decay},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def _rate(step: int, n_steps: int) -> float:
    return min((step + 1) / (_WARMUP_SHARE * n_steps + 1), max(0.0, 1 - step / n_steps))


def _reduced(words: NDArray[np.float32], width: int) -> Tensor:
    centred = words.astype(np.float64) - words.mean(axis=0)
    if width > centred.shape[1]:
        raise ValueError(f"width: expected at most {centred.shape[1]}, that of the word vectors, got {width}")
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    found = centred @ directions[:, ::-1][:, :width]
    return torch.from_numpy((found * (_INITIAL_SPREAD / found.std())).astype(np.float32))

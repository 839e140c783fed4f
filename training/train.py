"""`python -m training.train --config FILE --examples FILE --encoder PATH|HUB_ID --out DIR`.

One epoch or more over the training split. Run the same command again after an interruption: it resumes at
the last checkpoint and ends with the weights that an uninterrupted run would have.
"""

import argparse
import dataclasses
import hashlib
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from models.device import Placement, place
from models.encoder import MultiLabelEncoder, config_of, from_pretrained
from models.examples import LabelledTexts
from training.batches import Tokens, batch_order, tokenize
from training.checkpoint import Losses, load_checkpoint, save_checkpoint
from training.config import TrainConfig
from training.loss import balanced_weights, masked_loss
from training.provenance import commit, sha256_of, versions

_log = logging.getLogger(__name__)


def train(config: TrainConfig, examples: Path, encoder: str, out: Path, *, device: str = "auto") -> None:
    """Trains, and leaves model.safetensors, tokenizer.json and training.json in `out`.

    Raises:
        ValueError: `out` holds a checkpoint of another run, or there is no training row.
    """
    out.mkdir(parents=True, exist_ok=True)
    texts = LabelledTexts.read(examples)
    texts = texts.take(texts.split == "train")
    if not texts.n:
        raise ValueError(f"{examples}: expected texts of split 'train', got none")
    run = hashlib.sha256(f"{config.digest} {sha256_of(examples)} {encoder}".encode()).hexdigest()
    torch.manual_seed(config.seed)
    model = from_pretrained(encoder, len(texts.labels))
    tokenizer: Tokenizer = AutoTokenizer.from_pretrained(encoder).backend_tokenizer
    pad_id = int(getattr(model.encoder.config, "pad_token_id", 0) or 0)
    tokens = tokenize(texts.text, tokenizer, max_tokens=config.max_tokens, pad_id=pad_id)
    losses = _fit(
        config, model, texts, tokens, placement=place(device), checkpoint=out / "checkpoint", run=run
    )
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, out / "model.safetensors"
    )
    tokenizer.no_truncation()
    tokenizer.save(str(out / "tokenizer.json"))
    about = {
        "labels": list(texts.labels),
        "encoder": config_of(model),
        "base_encoder_sha256": _encoder_digest(encoder),
        "config": dataclasses.asdict(config),
        "config_digest": config.digest,
        "examples_sha256": sha256_of(examples),
        "commit": commit(),
        "versions": versions(),
        "n_texts": texts.n,
        "losses": [round(loss, 5) for loss in losses],
    }
    (out / "training.json").write_text(json.dumps(about, indent=1) + "\n")
    (out / "checkpoint").unlink(missing_ok=True)


def _fit(
    config: TrainConfig,
    model: MultiLabelEncoder,
    texts: LabelledTexts,
    tokens: Tokens,
    *,
    placement: Placement,
    checkpoint: Path,
    run: str,
) -> Losses:
    model.to(placement.device).train()
    optimizer = _optimizer(config, model)
    target = torch.from_numpy(texts.target.copy())
    weight = torch.from_numpy(
        balanced_weights(
            texts, source_tempering=config.source_tempering, label_tempering=config.label_tempering
        )
    )
    rng = np.random.default_rng(config.seed)
    batches = [b for _ in range(config.epochs) for b in batch_order(tokens.length, config.batch_size, rng)]
    done, losses = load_checkpoint(checkpoint, model, optimizer, run=run)
    _log.info("%d texts, %d steps, %d done", texts.n, len(batches), done)
    with Progress(disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("training", total=len(batches), completed=done)
        for step in range(done, len(batches)):
            torch.manual_seed(config.seed * 1_000_003 + step)  # dropout does not depend on interruptions
            _set_learning_rates(config, optimizer, step / len(batches))
            rows = batches[step]
            ids, mask = (part.to(placement.device) for part in tokens.padded(rows))
            with torch.autocast(
                torch.device(placement.device).type,
                placement.dtype,
                enabled=placement.precision == "bfloat16",
            ):
                logits = model(ids, mask)
            loss = masked_loss(logits, target[rows].to(placement.device), weight[rows].to(placement.device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
            optimizer.step()
            losses.append(float(loss.detach()))
            progress.advance(task)
            if (step + 1) % config.checkpoint_every == 0 or step + 1 == len(batches):
                _log.info("step %d of %d, loss %.4f", step + 1, len(batches), np.mean(losses[-100:]))
                save_checkpoint(checkpoint, model, optimizer, step=step + 1, run=run, losses=losses)
    return losses


def _optimizer(config: TrainConfig, model: MultiLabelEncoder) -> torch.optim.Optimizer:
    if config.freeze_embeddings:
        model.encoder.embeddings.requires_grad_(False)
    head = [parameter for name, parameter in model.named_parameters() if name.startswith("head.")]
    body = [
        parameter
        for name, parameter in model.named_parameters()
        if not name.startswith("head.") and parameter.requires_grad
    ]
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


def _encoder_digest(encoder: str) -> str | None:
    weights = Path(encoder) / "model.safetensors"
    return sha256_of(weights) if weights.exists() else None


def main() -> None:
    """Reads the arguments and trains."""
    parser = argparse.ArgumentParser(prog="training.train", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="TOML file, see training/configs")
    parser.add_argument("--examples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--encoder", required=True, help="local path or hub id of the encoder to start from")
    parser.add_argument("--out", type=Path, required=True, help="directory of the run")
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    train(
        TrainConfig.read(arguments.config),
        arguments.examples,
        arguments.encoder,
        arguments.out,
        device=arguments.device,
    )


if __name__ == "__main__":
    main()
